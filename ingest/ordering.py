"""The order of rows by text and whole-number columns, by compiled code: several times as fast as a general sort."""

import ctypes
from collections.abc import Sequence

import numpy as np
import polars as pl

from ingest.json_lines import compiled

_SORTED, _IN_ORDER = 0, 1
"""What lurker_order returns."""


class _Key(ctypes.Structure):
    """As `key` in order.c."""

    _fields_ = (("values", ctypes.c_void_p), ("buffers", ctypes.c_void_p))


def sorted_rows(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame | None:
    """The rows in the order of some columns: the subreddit in any case, a text, then texts and integers.

    Equal rows stay as they came. None where there is no compiled code, a key is missing, or a subreddit's name is none
    of Reddit's.
    """
    library = compiled()
    if library is None or any(rows[name].null_count() for name in columns) or rows.height >= 2**32:
        return None
    rows = rows.rechunk()
    keys, held = (_Key * len(columns))(), []
    for place, name in enumerate(columns):
        array = rows[name].to_arrow(compat_level=pl.CompatLevel.newest())
        _, values, *texts = array.buffers()
        n_bytes = 16 if rows.schema[name] == pl.String else 8
        buffers = (ctypes.c_void_p * (len(texts) + 1))(*(text.address for text in texts))
        address = values.address + n_bytes * array.offset if len(array) else None
        keys[place] = _Key(address, ctypes.addressof(buffers) if n_bytes == 16 else None)
        held.append((array, buffers))
    places = np.empty(rows.height, dtype=np.uint32)
    found = library.lurker_order(
        *(keys, ctypes.c_int64(len(keys)), ctypes.c_int64(rows.height), ctypes.c_void_p(places.ctypes.data))
    )
    if found == _IN_ORDER:
        return rows
    return rows[pl.Series(places)] if found == _SORTED else None
