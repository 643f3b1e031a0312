"""Stable numbers from ids: the same in Python and in SQL, on every machine, whatever the order of rows.

Everything that looks random in a pair set (splits, neighbours, caps, thinning, folds) is keyed by these numbers.
"""

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

HEX_DIGITS = 15  # 60 bits: fits a signed 64-bit integer, so every engine holds the number exactly
SPAN = 16**HEX_DIGITS


def hash_ids(ids: pl.Series, salt: str) -> NDArray[np.int64]:
    """Numbers in [0, SPAN), one an id. ids: [n] strings. salt: what the numbers are for, so uses are independent."""
    digests = (hashlib.md5(f"{salt}:{item}".encode(), usedforsecurity=False).hexdigest() for item in ids)
    return np.fromiter((int(digest[:HEX_DIGITS], 16) for digest in digests), dtype=np.int64, count=len(ids))


def hash_sql(column: str, salt: str) -> str:
    """The DuckDB expression that gives the numbers of `hash_ids` for a column of ids. salt: letters and dashes."""
    return f"CAST('0x' || substr(md5('{salt}:' || {column}), 1, {HEX_DIGITS}) AS BIGINT)"
