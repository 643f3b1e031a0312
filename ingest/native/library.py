"""Load the compiled library, if it was built from the C sources next to it.

Without it `ingest.tables` reads every line with DuckDB and Polars: the same rows, in more time.
"""

import ctypes
import threading
from functools import cache

from ingest.native.build import COMMAND, LIBRARY, is_ci, is_expected, source_hash
from lurker.errors import LurkerError
from lurker.progress import say

_loading = threading.Lock()


class Column(ctypes.Structure):
    """`column` of json_lines.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("length", ctypes.c_int64),
        ("kind", ctypes.c_int64),
        ("parent", ctypes.c_int64),
        ("valid", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
    )


def compiled() -> ctypes.CDLL | None:
    """The compiled library; None, after one message, if it is missing or was built from other sources.

    Raises:
        LurkerError: in CI, where a library that cannot be used is an error.
    """
    with _loading:  # threads call this at the same time, and the message must appear once
        return _load()


def names(library: ctypes.CDLL, symbol: str) -> list[str]:
    """The lines of a list that the library declares: the order of a structure or an enumeration."""
    text = ctypes.c_char_p.in_dll(library, symbol).value or b""
    return text.decode().splitlines()


def reject(problem: str, next_step: str) -> None:
    """Say why compiled code is not used.

    Raises:
        LurkerError: in CI.
    """
    if is_ci():
        raise LurkerError(problem, next_step)
    say(f"{problem} Dumps are read without it, which takes longer. {next_step}")


@cache
def _load() -> ctypes.CDLL | None:
    if not LIBRARY.exists():
        if is_expected():
            reject(f"The compiled reader of dumps, {LIBRARY.name}, is missing.", f"Build it: `{COMMAND}`.")
        else:
            say("There is no compiled reader of dumps, because no C compiler was found: reading them takes longer.")
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        reject(f"The compiled reader of dumps cannot be loaded: {error}.", f"Build it again: `{COMMAND}`.")
        return None
    if not _is_current(library):
        problem = f"The compiled reader of dumps, {LIBRARY.name}, was built from other C sources than the present ones."
        reject(problem, f"Build it again: `{COMMAND}`.")
        return None
    for function in ("lurker_count_lines", "lurker_read_lines", "lurker_comments"):
        getattr(library, function).restype = ctypes.c_int64
    library.lurker_fill_names.restype = None
    return library


def _is_current(library: ctypes.CDLL) -> bool:
    """Whether it was built from the present sources, and sees a column as Python does."""
    try:
        built_from = names(library, "lurker_source_hash")
    except ValueError:  # it is older than the hash
        return False
    n_bytes = ctypes.c_int64.in_dll(library, "lurker_column_bytes").value
    return built_from == [source_hash()] and n_bytes == ctypes.sizeof(Column)
