"""Weights by which votes stand for all items of an arena, although the design asked about some more often."""

import polars as pl


def design_weights(votes: pl.DataFrame) -> pl.DataFrame:
    """The weight of each first vote on an ordinary item: vote_id and weight, with mean 1 in expectation.

    A rater never sees an item twice, so an active design uses up the items that tell most: late draws come from the
    others. 1 / (n · propensity) alone corrects a draw for the items that were left, not for those that were gone. With
    n items left at a rater's draw, q its propensity and r items left after the rater's last one, the weight is
    1 + r / (n - 1) · (1 / (n q) - 1): exact for draws without replacement. Skipped votes are draws too.

    Args:
        votes: VOTES that stand.

    Source:
        Farquhar, Gal & Rainforth 2021, "On statistical bias in active learning", ICLR: R_LURE, per rater.
    """
    drawn = votes.filter((pl.col("phase") == "main") & (pl.col("occasion") == 0))
    n, left = pl.col("n_eligible"), pl.col("n_eligible").min().over("rater") - 1
    inverse = 1 / (n * pl.col("propensity"))
    return drawn.select("vote_id", weight=pl.when(n > 1).then(1 + left / (n - 1) * (inverse - 1)).otherwise(1.0))
