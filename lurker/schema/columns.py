"""What a table of a workspace is, which versions of it can be read, and how a frame is checked against it."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from lurker.errors import LurkerError

SCHEMA_VERSION = 4
READABLE_VERSIONS = (2, 3, 4)
"""Versions of workspaces that can be read: columns that are newer than a workspace read as null."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    """with its unit"""
    nullable: bool = False
    default: float | None = None
    """value of the column in older tables that lack it"""
    since: int = 1
    """SCHEMA_VERSION that added the column; older tables that lack it read as null"""


@dataclass(frozen=True, slots=True)
class Table:
    """A named set of columns, in writing order."""

    name: str
    columns: dict[str, Column]
    key: tuple[str, ...]

    @property
    def schema(self) -> pl.Schema:
        """The Polars schema of the table."""
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    def empty(self) -> pl.DataFrame:
        """The table without rows."""
        return pl.DataFrame(schema=self.schema)


def check(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return `frame` with exactly the table's columns, in order; newer ones that it lacks get their default or null.

    Raises:
        LurkerError: a column is missing, has another type, or has nulls and may not.
    """
    defaults = {name: column.default for name, column in table.columns.items() if column.default is not None}
    frame = with_newer_columns(frame, table)
    frame = frame.with_columns(pl.col(name).fill_null(value) for name, value in defaults.items())
    missing = [name for name in table.columns if name not in frame.columns]
    if missing:
        raise LurkerError(f"Table {table.name} lacks the columns {', '.join(missing)}.")
    if faults := column_faults(frame, table.columns):
        raise LurkerError(f"Table {table.name}: {faults[0]}.")
    return frame.select(list(table.columns))


def with_newer_columns(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows written by any readable version, with null in the columns that are newer; pure."""
    newer = {
        name: pl.lit(None, column.dtype)
        for name, column in table.columns.items()
        if name not in frame.columns and (column.since > 1 or column.default is not None)
    }
    return frame.with_columns(**newer) if newer else frame


def column_faults(frame: pl.DataFrame, columns: Mapping[str, Column]) -> list[str]:
    """What is wrong with these columns of a frame: their types, and nulls where there may be none."""
    faults = []
    for name, column in columns.items():
        if frame.schema[name] != column.dtype:
            faults.append(f"column {name} is {frame.schema[name]}, expected {column.dtype}")
        elif not column.nullable and (n_nulls := frame[name].null_count()):
            faults.append(f"column {name} has {n_nulls:,} missing values")
    return faults
