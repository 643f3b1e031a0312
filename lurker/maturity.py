"""Which scores are mature ("ripe"): last observed long enough after the item was written.

Most votes arrive within two days. Archives first observe an item within seconds, when its score is 0 or 1, and again
after 36 hours.

Source:
    https://github.com/ArthurHeitmann/arctic_shift/blob/master/api/README.md ("Upvotes count").
"""

import polars as pl

RIPE_AFTER_S = 36 * 3600
"""Seconds from writing to observation after which a score counts as final."""


def is_unripe(ripe_after_s: int) -> pl.Expr:
    """Whether a row of posts or comments was last observed too soon after it was written, or at an unknown time.

    Deleted and removed items are never unripe, as their scores no longer change.
    """
    seen_after_s = pl.col("retrieved_utc") - pl.col("created_utc")
    return ~pl.col("is_deleted") & (seen_after_s < ripe_after_s).fill_null(True)
