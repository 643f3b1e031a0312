"""Commands that messages recommend, as they work for whoever reads them: on the workspace that the call named."""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_named: ContextVar[Path | None] = ContextVar("named", default=None)
"""The workspace, if the command line named one; a default or a variable also holds for the next command."""
COMMAND = re.compile(r"(?:(?<=`)|(?<=next: ))lurker (?=[a-z])")
"""Where a command begins in a message, unless it names a workspace already."""


@contextmanager
def one_call() -> Iterator[None]:
    """Within, a workspace that is named counts; afterwards, what counted before."""
    token = _named.set(None)
    try:
        yield
    finally:
        _named.reset(token)


def name_workspace(workspace: Path) -> None:
    """Let the commands of later messages of this call name the workspace."""
    _named.set(workspace)


def as_typed(message: str) -> str:
    """The message, its commands with `--workspace` if this call has it."""
    if (workspace := _named.get()) is None:
        return message
    option = f"lurker --workspace {shlex.quote(str(workspace))} "
    return COMMAND.sub(lambda _: option, message)


def tell(message: str) -> None:
    """Print one line on stdout, its commands as typed.

    Not by Typer, whose `echo` gives a terminal of ASCII characters that it cannot show.
    """
    sys.stdout.write(as_typed(message) + "\n")
