"""Read Parquet files with DuckDB, keyed by the state of the file, so that results can be cached until it changes.

DuckDB runs in memory: nothing is written, and a command that replaces a file meanwhile is not blocked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from lurker.errors import LurkerError
from lurker.schema import Table, check


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A file and its state when last seen: the cache key of everything read from it."""

    path: Path
    mtime_ns: int
    n_bytes: int


def version(path: Path) -> FileVersion:
    """The file as it is now.

    Raises:
        LurkerError: the file is missing.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise LurkerError(f"Cannot read {path}: {error.strerror}.") from error
    return FileVersion(path, status.st_mtime_ns, status.st_size)


def read_table(file: FileVersion, table: Table) -> pl.DataFrame:
    """All rows of a file that contains one of the schema's tables.

    Raises:
        LurkerError: the file is damaged or not this table; the message names it.
    """
    try:
        return check(select("SELECT * FROM read_parquet($path)", file), table)
    except LurkerError as error:
        message = error.message if str(file.path) in error.message else f"{file.path}: {error.message}"
        raise LurkerError(message, error.next_step) from error


def select(sql: str, file: FileVersion, predictions: Sequence[FileVersion] = (), **parameters: Any) -> pl.DataFrame:
    """Run a query in which `$path` is the file and `$predictions` are the prediction files.

    Raises:
        LurkerError: a file is damaged; the message names it.
    """
    parameters["path"] = str(file.path)
    if predictions:
        parameters["predictions"] = [str(one.path) for one in predictions]
    with duckdb.connect() as connection:
        try:
            rows = connection.sql(sql, params=parameters).to_arrow_table()
        except (duckdb.Error, UnicodeDecodeError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise LurkerError(f"Cannot read {file.path}: {reason}.") from error
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame), "an Arrow table converts to a frame"
    return frame
