"""Errors for users: what is wrong, the value seen, and the command that helps."""

from collections.abc import Sequence
from difflib import SequenceMatcher

LISTED = 8
"""Names that a message lists at most."""


def nearest(wanted: str, names: Sequence[str], none: str = "none yet") -> str:
    """The existing names, or of many the most like the one wanted, for a message: `a, b, c and 34 more`.

    Args:
        wanted: the name that does not exist.
        names: those that do.
        none: what to say if there are none.
    """
    if len(names) <= LISTED:
        return ", ".join(names) or none
    alike = sorted(names, key=lambda name: -SequenceMatcher(None, wanted, name).ratio())[:LISTED]
    return f"{', '.join(alike)} and {len(names) - LISTED} more"


class LurkerError(Exception):
    """The work failed (exit code 1).

    Args:
        message: one sentence that says what is wrong, with the value seen.
        next_step: what to do about it, if possible a command.
    """

    exit_code = 1

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __reduce__(self) -> tuple[type["LurkerError"], tuple[str, str]]:
        # Keeps next_step when pickled, which the default would drop.
        return (type(self), (self.message, self.next_step))

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class CallError(LurkerError):
    """The call was wrong: an unknown name, an impossible value (exit code 2)."""

    exit_code = 2
