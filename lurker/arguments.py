"""What library functions accept: one value for a list of one, paths, workspaces; a CallError for anything else."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lurker.errors import CallError

T = TypeVar("T")


def as_path(value: Any, what: str) -> Path:
    """A path from text or a path; `~` is the home folder.

    Args:
        what: name of the argument, for the error.

    Raises:
        CallError: it is neither, or no file can have this name.
    """
    if not isinstance(value, str | os.PathLike):
        raise CallError(f"{what} takes a path, as text or a Path, got {shown(value)}.")
    try:
        path = Path(value)
        if "\0" in str(path):
            raise ValueError("it contains the character NUL")
        return path.expanduser()
    except (TypeError, ValueError, RuntimeError) as error:  # bytes, NUL, a home folder that does not exist
        raise CallError(
            f"{what} takes a path, got {value!r}: {str(error).rstrip('.')}.", "Choose another path."
        ) from error


def as_list(values: Any, what: str) -> list[Any]:
    """The values; one value, such as a text or a mapping, is a list of one.

    Raises:
        CallError: there are no values: None.
    """
    if values is None:
        raise CallError(f"{what} takes one value or a list, got None.")
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return [values]
    return list(values)


def as_names(values: Iterable[str] | str, what: str) -> list[str]:
    """The names; one name is a list of one.

    Raises:
        CallError: one of them is not text.
    """
    names = as_list(values, what)
    for name in names:
        if not isinstance(name, str):
            raise CallError(f"{what} takes names, got {shown(name)}.", f"Pass texts, such as {what}=['tea'].")
    return [str(name) for name in names]


def require_text(value: Any, what: str) -> str:
    """The value, if it is text.

    Raises:
        CallError: it is not.
    """
    if not isinstance(value, str):
        raise CallError(f"{what} takes text, got {shown(value)}.")
    return value


def require_kind(value: Any, kind: type[T], what: str, next_step: str) -> T:
    """The value, if it is of this class.

    Args:
        what: what the function needs, such as "a pair set".

    Raises:
        CallError: it is not.
    """
    if not isinstance(value, kind):
        raise CallError(f"{what} is needed here, got {shown(value)}.", next_step)
    return value


def shown(value: Any) -> str:
    """A value with its type, cut to a length that a sentence can hold."""
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
