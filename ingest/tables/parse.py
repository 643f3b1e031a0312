"""Lines of JSON -> a frame of the fields that are kept, one row per line, and the malformed lines.

Three readers, each for the lines that the one before leaves. The compiled reader takes lines in the usual form of a
dump, nearly all. DuckDB's reader, the fastest of the libraries measured, converts types and decides what an unusual
value means; it turns a line it cannot read into a row of nulls, and it rejects lone surrogates and NaN. Such lines are
read by the standard library, so no line that `json.loads` can read is lost.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import polars as pl

from ingest.native import json_lines

if TYPE_CHECKING:  # imported where it is used: lines in the usual form need no DuckDB
    import duckdb

RAW_TYPES = {
    "id": "VARCHAR",
    "subreddit": "VARCHAR",
    "author": "VARCHAR",
    "created_utc": "DOUBLE",
    "score": "BIGINT",
    "ups": "BIGINT",
    "downs": "BIGINT",
    "retrieved_on": "DOUBLE",
    "retrieved_utc": "DOUBLE",
    "updated_on": "DOUBLE",
    "updated_utc": "DOUBLE",
    "_meta": "STRUCT(retrieved_2nd_on DOUBLE, was_deleted_later BOOLEAN)",
    "edited": "VARCHAR",
    "controversiality": "VARCHAR",
    "over_18": "BOOLEAN",
    "stickied": "BOOLEAN",
    "distinguished": "VARCHAR",
    "title": "VARCHAR",
    "selftext": "VARCHAR",
    "upvote_ratio": "DOUBLE",
    "num_comments": "BIGINT",
    "is_self": "BOOLEAN",
    "domain": "VARCHAR",
    "url": "VARCHAR",
    "link_flair_text": "VARCHAR",
    "removed_by_category": "VARCHAR",
    "crosspost_parent": "VARCHAR",
    "link_id": "VARCHAR",
    "parent_id": "VARCHAR",
    "body": "VARCHAR",
    "score_hidden": "BOOLEAN",
    "hide_score": "BOOLEAN",
    "contest_mode": "BOOLEAN",
    "suggested_sort": "VARCHAR",
    "is_submitter": "BOOLEAN",
}
"""Reddit's fields that are read, with DuckDB types; a value of another type becomes null, and its row is kept."""
IDS = ("id", "link_id", "parent_id", "crosspost_parent")
"""Ids, strings in base 36. A JSON number is an id in base 10, as Pushshift's API returned them, and is converted."""
TIMES = ("created_utc", "retrieved_on", "retrieved_utc", "updated_on", "updated_utc")
"""Times, numbers or texts of numbers. A value that is not a number becomes NaN: `normalize` drops the row."""

_META = ("retrieved_2nd_on", "was_deleted_later")
_KINDS = {"VARCHAR": "TEXT", "BIGINT": "WHOLE", "DOUBLE": "REAL", "BOOLEAN": "FLAG"}
FIELDS = {
    **{name: _KINDS.get(dtype, "OBJECT") for name, dtype in RAW_TYPES.items()},
    **{
        "edited": "LOOSE",
        "controversiality": "LOOSE",
        "_meta.retrieved_2nd_on": "REAL",
        "_meta.was_deleted_later": "FLAG",
    },
}
"""The same fields with the types of the compiled reader."""

_idle_readers: list[tuple["duckdb.DuckDBPyConnection", BinaryIO]] = []


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that is not a JSON object: its number in the file (from 1) and its bytes."""

    line: int
    data: bytes


def parse_lines(data: bytes | memoryview, first_line: int = 1) -> tuple[pl.DataFrame, list[Malformed]]:
    """Parse lines of JSON objects.

    Args:
        data: complete lines, each ending in a newline; blank ones are skipped.
        first_line: number of the first line in its file.

    Returns:
        One row per readable line with the columns of RAW_TYPES, in no particular order, and the malformed lines.
    """
    if not json_lines.is_built():
        return _parse_odd(data, first_line)
    lines = json_lines.read_lines(data, FIELDS)
    return with_odd_lines(lines.frame(np.arange(lines.n_rows)), lines, data, first_line)


def with_odd_lines(
    frame: pl.DataFrame, lines: json_lines.Lines, data: bytes | memoryview, first_line: int
) -> tuple[pl.DataFrame, list[Malformed]]:
    """Add to rows of the compiled reader the lines that it left; returns as `parse_lines`."""
    frame = frame.with_columns(pl.col("id").fill_null(""))
    if not lines.odd:
        return frame, []
    odd = [bytes(data[start:end]) for start, end, _ in lines.odd]
    others, malformed = _parse_odd(b"\n".join([*odd, b""]), 0)
    numbers = [first_line + number for _, _, number in lines.odd]
    return pl.concat([frame, others]), [Malformed(numbers[one.line], one.data) for one in malformed]


def _parse_odd(data: bytes | memoryview, first_line: int) -> tuple[pl.DataFrame, list[Malformed]]:
    """As `parse_lines`, with DuckDB and the standard library only."""
    frame = _read_json(data)
    is_unread = frame["id"].is_null()
    if not is_unread.any() and bytes(data[:3]) != b"\xef\xbb\xbf":  # DuckDB skips a line that is only this mark
        return frame, []
    lines = [(number, line) for number, line in enumerate(bytes(data).split(b"\n"), start=first_line) if line.strip()]
    if len(lines) == frame.height:
        lines = [lines[row] for row in is_unread.arg_true()]
        frame = frame.filter(~is_unread)
    else:  # rows cannot be matched to lines: read all of them again
        frame = frame.clear()
    rescued, malformed = _rescue(lines)
    if rescued:
        frame = pl.concat([frame, _read_json(b"".join(rescued))])
    return frame, malformed


def _read_json(data: bytes | memoryview) -> pl.DataFrame:
    """One row per line, in order (DuckDB with one thread keeps it); nulls where DuckDB cannot read the line."""
    with _reader() as (connection, scratch):
        os.pwrite(scratch.fileno(), data, 0)
        scratch.truncate(len(data))
        result = connection.sql(_QUERY, params=[f"/dev/fd/{scratch.fileno()}", max(len(data), 1 << 20)])
        return pl.DataFrame(result.to_arrow_table())


def _id_of(name: str) -> str:
    """SQL for an id: a text as it is, a whole number in base 36, null for any other value."""
    number = f"try_cast({name}->>'$' AS HUGEINT)"
    is_whole = f"{number} BETWEEN 0 AND {2**63 - 1} AND try_cast({name}->>'$' AS DOUBLE) = {number}"
    return (
        f"CASE json_type({name}) WHEN 'VARCHAR' THEN {name}->>'$' WHEN 'BOOLEAN' THEN NULL WHEN 'ARRAY' THEN NULL "
        f"WHEN 'OBJECT' THEN NULL ELSE CASE WHEN {is_whole} THEN lower(to_base({number}::BIGINT, 36)) END END"
    )


def _time_of(value: str) -> str:
    """SQL for a time: null if the value is absent, empty or false, NaN if it is not a number."""
    text = f"nullif(nullif(trim({value}), ''), 'false')"
    return f"CASE WHEN {text} IS NOT NULL THEN coalesce(try_cast({text} AS DOUBLE), 'nan'::DOUBLE) END"


_RETRIEVED_AGAIN = _time_of("_meta->>'$.retrieved_2nd_on'")
_CONVERTED = {
    **{name: _id_of(name) for name in IDS},
    **{name: _time_of(f"{name}->>'$'") for name in TIMES},
    "_meta": f"CASE WHEN json_type(_meta) = 'OBJECT' THEN {{'retrieved_2nd_on': "
    f"{_RETRIEVED_AGAIN}, "
    "'was_deleted_later': try_cast(_meta->>'$.was_deleted_later' AS BOOLEAN)} END",
}
"""Columns that are read as JSON, and the SQL that makes their values."""
_COLUMNS = ", ".join(f"{name}: '{'JSON' if name in _CONVERTED else dtype}'" for name, dtype in RAW_TYPES.items())
_SELECTED = ", ".join(f"{_CONVERTED.get(name, name)} AS {name}" for name in RAW_TYPES)
_QUERY = (
    f"SELECT {_SELECTED} FROM read_json(?, format = 'newline_delimited', ignore_errors = true, "
    f"columns = {{{_COLUMNS}}}, maximum_object_size = ?)"
)


@contextmanager
def _reader() -> Iterator[tuple["duckdb.DuckDBPyConnection", BinaryIO]]:
    """A single-threaded DuckDB connection and the file it reads from, for the caller alone until it is done.

    Connections are used again, by any thread: opening one takes 40 ms, many times what a small batch takes.
    The file has no name and, on Linux, is in memory: lines hold author names, which must not reach a disk.
    """
    try:
        reader = _idle_readers.pop()
    except IndexError:
        import duckdb

        connection = duckdb.connect(config={"threads": 1, "produce_arrow_string_view": True})
        connection.execute("SET arrow_output_version = '1.4'")
        reader = connection, os.fdopen(_unnamed_file(), "r+b", buffering=0)
    yield reader
    _idle_readers.append(reader)  # not after an exception: a query may be under way


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("lines")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _rescue(lines: list[tuple[int, bytes]]) -> tuple[list[bytes], list[Malformed]]:
    """Read numbered lines with the standard library: lines rewritten for DuckDB, and those that are not objects."""
    rescued, malformed = [], []
    for number, line in lines:
        try:
            value = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            rescued.append(json.dumps(_storable(value), ensure_ascii=True).encode() + b"\n")
        else:
            malformed.append(Malformed(number, line))
    return rescued, malformed


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """The fields that are kept, NaN as null, lone surrogates as U+FFFD, and an id even if empty, to mark it as read."""
    kept = {name: _clean(row[name]) for name in RAW_TYPES if name in row}
    return {**kept, "id": kept.get("id") or ""}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {name: _clean(inner) for name, inner in value.items() if name in _META}
    return value if isinstance(value, int) else None
