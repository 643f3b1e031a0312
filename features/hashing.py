"""Stable numbers from ids: the same on every machine, whatever the order of rows.

Everything that looks random in a pair set (splits, neighbours, caps, thinning, folds) is keyed by these numbers.
"""

import hashlib

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

HEX_DIGITS = 15  # 60 bits: fits a signed 64-bit integer, so every engine holds the number exactly
SPAN = 16**HEX_DIGITS


def hash_ids(ids: pl.Series, salt: str) -> NDArray[np.int64]:
    """Numbers in [0, SPAN), one an id. ids: [n] strings. salt: what the numbers are for, so uses are independent."""
    digests = (hashlib.md5(f"{salt}:{item}".encode(), usedforsecurity=False).hexdigest() for item in ids)
    return np.fromiter((int(digest[:HEX_DIGITS], 16) for digest in digests), dtype=np.int64, count=len(ids))


def salted(salt: str, seed: int) -> str:
    """The salt of the draw of that number; draw 0 is the one without a number."""
    return f"{salt}-{seed}" if seed else salt


def quick_hashes(ids: pl.Series, salt: str) -> pl.Series:
    """The numbers of `hash_ids` in a quarter of the time, by DuckDB's md5. [n]. salt: letters, digits and dashes."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("_ids", pl.DataFrame({"id": ids}).to_arrow())
        number = f"CAST('0x' || substr(md5('{salt}:' || id), 1, {HEX_DIGITS}) AS BIGINT)"
        found = connection.sql(f"SELECT {number} AS number FROM _ids").fetchnumpy()
    return pl.Series(salt, found["number"], dtype=pl.Int64)
