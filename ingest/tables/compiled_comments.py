"""Comments that are as dumps have them, from the reader's columns to rows of the table by compiled code.

`ingest.tables.normalize` says what a row becomes; `comments.c` does the same for rows of which it is sure, nearly all of a
dump of comments, and leaves the others. So whoever reads rows takes what is here first and gives the rest to normalize.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ingest.native.json_lines import N_BYTES, Bytes, Column, Lines, Rows, array, compiled, frame_of
from ingest.tables.normalize import RowFilters
from lurker.schema import COMMENTS

_INPUTS = (
    *("id", "subreddit", "author", "created_utc", "score", "ups", "downs", "retrieved_on", "retrieved_utc"),
    *("_meta.retrieved_2nd_on", "_meta.was_deleted_later", "edited", "over_18", "stickied", "distinguished"),
    *("link_id", "parent_id", "body", "score_hidden", "is_submitter"),
)
"""As `fields` in comments.c."""
_OUTPUTS = tuple(name for name in COMMENTS.columns if name not in {"source"})
"""As `table` in comments.c."""
_KINDS = {
    name: "TEXT" if dtype == pl.String else "WHOLE" if dtype == pl.Int64 else "FLAG"
    for name, dtype in COMMENTS.schema.items()
    if name in _OUTPUTS
}
_NULLABLE = {"author_hash", "score", "is_by_op", "retrieved_utc"}
_FATES = (
    *("kept", "left", "other subreddit", "a user's profile", "before --since", "not before --until"),
    *("below --min-score", "written by a bot", "nsfw"),
)
"""As `enum fate` in comments.c: after the first two, the reasons of `normalize.drop_reason`."""
_MAX_KEY_BYTES = 64
_LARGEST = 2**63 - 1


class _Names(ctypes.Structure):
    """As `names` in comments.c."""

    _fields_ = (
        ("texts", ctypes.c_void_p),
        ("ends", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("n_slots", ctypes.c_int64),
    )


class _Filters(ctypes.Structure):
    """As `filters` in comments.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("since_utc", "until_utc", "min_score", "needs_score")),
        *((name, ctypes.c_int64) for name in ("keep_nsfw", "keep_profiles", "keep_mentions")),
        ("subreddits", _Names),
        ("bots", _Names),
    )


def ordinary_comments(
    lines: Lines, filters: RowFilters, source: str, salt: bytes
) -> tuple[pl.DataFrame, dict[str, int], Rows]:
    """Filter and normalise what was read, as far as it is ordinary.

    Returns rows of comments, with `is_by_op` null where it is not known; how many were dropped for each reason; and the
    numbers of the rows that are left, of which nothing else is told.
    """
    library = compiled()
    assert library is not None
    if not 0 < len(salt) <= _MAX_KEY_BYTES:
        return COMMENTS.empty(), {}, np.arange(lines.n_rows)
    n_bits = lines.n_rows // 8 + 1
    valid = {name: np.zeros(n_bits, dtype=np.uint8) for name in _NULLABLE}
    values = {
        name: np.zeros(n_bits, dtype=np.uint8)
        if kind == "FLAG"
        else np.empty(N_BYTES[kind] * lines.n_rows, dtype=np.uint8)
        for name, kind in _KINDS.items()
    }
    left, counts = np.empty(lines.n_rows, dtype=np.int64), np.empty(len(_FATES), dtype=np.int64)
    n_text_bytes = ctypes.c_int64(lines.n_text_bytes)
    n_rows = library.lurker_comments(
        *(_pointers(_INPUTS, lines.valid, lines.values), _pointers(_OUTPUTS, valid, values)),
        *(ctypes.byref(_filters(filters)), ctypes.c_int64(lines.n_rows), ctypes.c_void_p(lines.texts.ctypes.data)),
        *(ctypes.c_int64(len(lines.texts)), ctypes.byref(n_text_bytes), salt, ctypes.c_int64(len(salt))),
        *(ctypes.c_void_p(left.ctypes.data), ctypes.c_void_p(counts.ctypes.data)),
    )
    text = pa.py_buffer(lines.texts[: n_text_bytes.value])
    found = {name: array(kind, n_rows, valid.get(name), values[name], text) for name, kind in _KINDS.items()}
    comments = frame_of(found).with_columns(source=pl.lit(source)).select(*COMMENTS.columns)
    n_of = dict(zip(_FATES, counts.tolist(), strict=True))
    dropped = {reason: n for reason, n in n_of.items() if n and reason not in {"kept", "left"}}
    return comments, dropped, left[: n_of["left"]]


def _pointers(order: Sequence[str], valid: dict[str, Bytes], values: dict[str, Bytes]) -> ctypes.Array[Any]:
    """Pointers to columns, in the order of a structure."""
    pointers = (ctypes.POINTER(Column) * len(order))()
    for place, name in enumerate(order):
        bitmap = valid.get(name)
        column = Column(valid=None if bitmap is None else bitmap.ctypes.data, values=values[name].ctypes.data)
        pointers[place] = ctypes.pointer(column)
    return pointers


def _filters(filters: RowFilters) -> _Filters:
    since, until, least = filters.since_utc, filters.until_utc, filters.min_score
    return _Filters(
        since_utc=-_LARGEST if since is None else max(-_LARGEST, min(since, _LARGEST)),
        until_utc=_LARGEST if until is None else max(-_LARGEST, min(until, _LARGEST)),
        min_score=0 if least is None else max(-_LARGEST, min(least, _LARGEST)),
        needs_score=least is not None,
        keep_nsfw=filters.keep_nsfw,
        keep_profiles=filters.keep_profiles,
        keep_mentions=filters.keep_mentions,
        subreddits=_names(filters.subreddits)[0],
        bots=_names(filters.bots)[0],
    )


@cache
def _names(names: tuple[str, ...]) -> tuple[_Names, list[Any]]:
    """A set of names in lower case, and the memory it stands in."""
    coded = [name.encode() for name in sorted({name.lower() for name in names})]
    texts = np.frombuffer(b"".join([*coded, b" "]), dtype=np.uint8)
    ends = np.cumsum([0, *map(len, coded)], dtype=np.int64)[1:]
    slots = np.empty(1 << (2 * len(coded)).bit_length() if coded else 0, dtype=np.int32)
    found = _Names(texts.ctypes.data, ends.ctypes.data, slots.ctypes.data, len(slots))
    library = compiled()
    assert library is not None
    library.lurker_fill_names(ctypes.byref(found), ctypes.c_int64(len(coded)))
    return found, [texts, ends, slots]
