"""Errors for users: what is wrong, the value seen, and the command that helps."""


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
