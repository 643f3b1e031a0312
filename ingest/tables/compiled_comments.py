"""Comments with usual values: from the compiled reader's columns to rows of the table, by compiled code.

`ingest.tables.normalize` defines what becomes of a row. `comments.c` does the same for comments whose fields all have
usual values, nearly all of a dump, and leaves the other rows to it.
"""

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ingest.native import library
from ingest.native.json_lines import N_BYTES, Bytes, Lines, Rows, array, frame_of
from ingest.native.library import Column, names
from ingest.tables.normalize import RowContext, RowFilters, clean_text
from ingest.tables.parse import FIELDS
from lurker.authors import hash_authors
from lurker.removed import is_removed
from lurker.schema import COMMENTS

KINDS = {pl.String: "TEXT", pl.Int64: "WHOLE", pl.Boolean: "FLAG"}
"""Type of a column of the table -> kind of the values that compiled code writes."""
ADDED = {"author_hash": "author", "source": None, "was_score_hidden": None}
"""Columns that are added here, and the column of the compiled code that each is made from."""
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The order of columns, filters and outcomes, as comments.c declares it."""

    inputs: dict[str, str]
    """Field of a line -> kind."""
    outputs: dict[str, str]
    """Column of the table -> kind."""
    nullable: frozenset[str]
    """Columns with a validity bitmap."""
    filters: tuple[str, ...]
    """Integers that select rows."""
    outcomes: tuple[str, ...]
    """What becomes of a row: "kept", "left", or a reason of `normalize.drop_reason`."""


class _NameSet(ctypes.Structure):
    """`name_set` of comments.c."""

    _fields_ = (
        ("texts", ctypes.c_void_p),
        ("ends", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("n_slots", ctypes.c_int64),
    )


def normalize_comments(lines: Lines, context: RowContext) -> tuple[pl.DataFrame, dict[str, int], Rows]:
    """Filter and normalise the comments with usual values among the rows.

    Returns:
        Rows of the table comments, with `is_by_op` null where it is not known; the number of dropped rows per reason;
        and the numbers of the rows that are left to `ingest.tables.normalize`.
    """
    layout = current_layout()
    if layout is None:
        return COMMENTS.empty(), {}, np.arange(lines.n_rows)
    kept, counts, left = _call(layout, lines, context.filters)
    comments = kept.with_columns(
        author_hash=hash_authors(kept["author"], context.salt),
        body=clean_text(pl.col("body"), context.filters.keep_mentions),
        is_deleted=pl.col("is_deleted") | is_removed(pl.col("body")),
        source=pl.lit(context.source),
        was_score_hidden="is_score_hidden",
    ).select(*COMMENTS.columns)
    return comments, {reason: n for reason, n in counts.items() if n and reason not in {"kept", "left"}}, left


@cache
def current_layout() -> Layout | None:
    """The layout of the compiled code; None, after one message, if tables or fields have changed since it was written.

    Raises:
        LurkerError: in CI, where this is an error.
    """
    code = library.compiled()
    assert code is not None
    outputs = [line.split() for line in names(code, "lurker_comment_outputs")]
    layout = Layout(
        inputs=dict(line.split() for line in names(code, "lurker_comment_inputs")),
        outputs={name: kind for name, kind, _ in outputs},
        nullable=frozenset(name for name, _, null in outputs if null == "NULLABLE"),
        filters=tuple(names(code, "lurker_comment_filters")),
        outcomes=tuple(names(code, "lurker_comment_outcomes")),
    )
    if differences := _differences(layout):
        problem = f"comments.c does not fit lurker/schema and ingest/tables/parse.py: {', '.join(differences)}."
        library.reject(problem, "Change its lists INPUTS and OUTPUTS.")
        return None
    return layout


def _differences(layout: Layout) -> list[str]:
    """What comments.c reads or writes otherwise than the table and the reader have it."""
    expected = {ADDED.get(name, name): KINDS.get(type(dtype), str(dtype)) for name, dtype in COMMENTS.schema.items()}
    expected.pop(None)
    outputs = set(layout.outputs.items()) ^ set(expected.items())
    inputs = {(name, kind) for name, kind in layout.inputs.items() if FIELDS.get(name) != kind}
    return sorted(f"{name} ({kind})" for name, kind in outputs | inputs)


def _call(layout: Layout, lines: Lines, filters: RowFilters) -> tuple[pl.DataFrame, dict[str, int], Rows]:
    """The comments, the number of rows per outcome, and the numbers of the rows that are left."""
    code = library.compiled()
    assert code is not None
    n_bits = lines.n_rows // 8 + 1
    valid = {name: np.zeros(n_bits, dtype=np.uint8) for name in layout.nullable}
    values = {
        name: np.zeros(n_bits if kind == "FLAG" else N_BYTES[kind] * lines.n_rows, dtype=np.uint8)
        for name, kind in layout.outputs.items()
    }
    left, counts = np.empty(lines.n_rows, dtype=np.int64), np.empty(len(layout.outcomes), dtype=np.int64)
    integers = _integers(filters)
    n_rows = code.lurker_comments(
        *(_pointers(layout.inputs, lines.valid, lines.values), _pointers(layout.outputs, valid, values)),
        (ctypes.c_int64 * len(layout.filters))(*(integers[name] for name in layout.filters)),
        *(ctypes.byref(_name_set(one)[0]) for one in (filters.subreddits, filters.bots)),
        *(ctypes.c_int64(lines.n_rows), ctypes.c_void_p(lines.texts.ctypes.data)),
        *(ctypes.c_void_p(left.ctypes.data), ctypes.c_void_p(counts.ctypes.data)),
    )
    text = pa.py_buffer(lines.texts[: lines.n_text_bytes])
    columns = {name: array(kind, n_rows, valid.get(name), values[name], text) for name, kind in layout.outputs.items()}
    n_by_outcome = dict(zip(layout.outcomes, counts.tolist(), strict=True))
    return frame_of(columns), n_by_outcome, left[: n_by_outcome["left"]]


def _pointers(order: Iterable[str], valid: dict[str, Bytes], values: dict[str, Bytes]) -> ctypes.Array[Any]:
    """Pointers to columns, in the order of a structure."""
    columns = [
        Column(valid=valid[name].ctypes.data if name in valid else None, values=values[name].ctypes.data)
        for name in order
    ]
    return (ctypes.POINTER(Column) * len(columns))(*map(ctypes.pointer, columns))


def _integers(filters: RowFilters) -> dict[str, int]:
    """The filters other than names, within 64 bits; an absent limit is one that every row passes."""
    return {
        "since_utc": _clipped(filters.since_utc, -_LARGEST),
        "until_utc": _clipped(filters.until_utc, _LARGEST),
        "min_score": _clipped(filters.min_score, 0),
        "needs_score": filters.min_score is not None,
        "keep_nsfw": filters.keep_nsfw,
        "keep_profiles": filters.keep_profiles,
    }


def _clipped(limit: int | None, default: int) -> int:
    return default if limit is None else max(-_LARGEST, min(limit, _LARGEST))


@cache
def _name_set(members: tuple[str, ...]) -> tuple[_NameSet, Sequence[Any]]:
    """A set of names in lower case, and the memory that it refers to."""
    coded = [name.encode() for name in sorted({name.lower() for name in members})]
    texts = np.frombuffer(b"".join([*coded, b" "]), dtype=np.uint8)
    ends = np.cumsum([0, *map(len, coded)], dtype=np.int64)[1:]
    slots = np.empty(1 << (2 * len(coded)).bit_length() if coded else 0, dtype=np.int32)
    name_set = _NameSet(texts.ctypes.data, ends.ctypes.data, slots.ctypes.data, len(slots))
    code = library.compiled()
    assert code is not None
    code.lurker_fill_names(ctypes.byref(name_set), ctypes.c_int64(len(coded)))
    return name_set, [texts, ends, slots]
