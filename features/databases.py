"""DuckDB for the stages of a build, each database used again by the next stage: opening one takes 40 ms."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb

from lurker.errors import LurkerError

if TYPE_CHECKING:
    from features.build_context import BuildOptions


@dataclass(frozen=True, slots=True)
class _Kept:
    """The open databases of a build."""

    stack: ExitStack
    """Closes them."""
    idle: dict["BuildOptions", list[duckdb.DuckDBPyConnection]] = field(default_factory=dict)


_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def reuse_databases() -> Iterator[None]:
    """Let every `connect` of this thread use the databases of earlier ones; close them all at the end."""
    with ExitStack() as stack:
        token = _kept.set(_Kept(stack))
        stack.callback(_kept.reset, token)
        yield


@contextmanager
def connect(options: "BuildOptions") -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a DuckDB that nobody else uses, within the memory limit; its tables are to be temporary.

    Raises:
        LurkerError: memory or disk is full.
    """
    kept = _kept.get()
    try:
        if kept is None:
            with _open(options) as database:
                yield database
        else:
            idle = kept.idle.setdefault(options, [])
            database = idle.pop() if idle else kept.stack.enter_context(_open(options))
            with database.cursor() as connection:
                yield connection
            idle.append(database)  # not after an exception: a query may be under way
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        memory, reason = options.database_memory, str(error).splitlines()[0]
        raise LurkerError(
            f"The responses cannot be sorted within {memory} and the free space of {options.temp_parent}: {reason}.",
            "Give more with --memory-limit, or name a larger disk in TMPDIR.",
        ) from error


@contextmanager
def _open(options: "BuildOptions") -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with a folder to spill to, which is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix=f"lurker-spill-{os.getpid()}-", dir=options.temp_parent) as spill:
        config: dict[str, Any] = {
            "temp_directory": spill,
            "preserve_insertion_order": False,
            "memory_limit": options.database_memory,
        }
        with duckdb.connect(config=config) as database:
            yield database
