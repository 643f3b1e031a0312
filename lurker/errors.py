"""Errors that a user reads: what is wrong, the value seen, and the next command."""


class LurkerError(Exception):
    """The work failed (exit code 1).

    message: one sentence that says what is wrong and names the value seen.
    next_step: what to do about it, a command where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __reduce__(self) -> tuple[type["LurkerError"], tuple[str, str]]:
        # Crosses process borders whole: the default would drop next_step.
        return (type(self), (self.message, self.next_step))

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class CallError(LurkerError):
    """The call was wrong: an unknown name, an impossible value (exit code 2)."""

    exit_code = 2
