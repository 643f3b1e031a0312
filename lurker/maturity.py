"""When a score counts as ripe: its newest look came long enough after the item was written.

Votes come in within a day or two; archives first see an item within seconds, when its score is 0 or 1, and look
again after 36 hours.
Source: https://github.com/ArthurHeitmann/arctic_shift/blob/master/api/README.md ("Upvotes count").
"""

import polars as pl

RIPE_AFTER_S = 36 * 3600
"""Seconds from writing to a look after which the score seen is taken as settled."""


def is_unripe(ripe_after_s: int) -> pl.Expr:
    """Whether a row of posts or comments was last seen sooner than that after it was written, or at no known time.

    What was deleted or removed has no score left to ripen.
    """
    seen_after_s = pl.col("retrieved_utc") - pl.col("created_utc")
    return ~pl.col("is_deleted") & (seen_after_s < ripe_after_s).fill_null(True)


def unripe_sql(ripe_after_s: int) -> str:
    """The same condition for DuckDB."""
    return f"(NOT is_deleted AND coalesce(retrieved_utc - created_utc < {ripe_after_s:d}, true))"
