"""Krippendorff's alpha of the raters' choices: agreement beyond chance, for any number of raters and missing votes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

N_DRAWS = 1_000


def alpha_interval(votes: pl.DataFrame, without: Sequence[str] = (), seed: int = 0) -> dict[str, Any] | None:
    """Nominal alpha over the responses chosen, level and both bad; the interval is a bootstrap over posts.

    Args:
        votes: columns rater, item_id, post_id, choice, outcome; one per rater and item.
        without: raters to leave out.

    Returns:
        value, low, high, n_items, n_raters; None without an item that two raters judged.

    Source:
        Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C.
    """
    kept = votes.filter(~pl.col("rater").is_in(list(without)))
    value = (
        pl.when(pl.col("choice") == "both_bad").then(pl.lit("both_bad")).otherwise(pl.col("outcome").cast(pl.String))
    )
    counts = kept.with_columns(value=value).pivot(
        "value", index=["item_id", "post_id"], values="rater", aggregate_function="len"
    )
    if counts.is_empty():
        return None
    table = counts.drop("item_id", "post_id").fill_null(0).to_numpy().astype(np.float64)
    is_judged = table.sum(axis=1) >= 2
    if not is_judged.any():
        return None
    table, posts = table[is_judged], counts["post_id"].to_numpy()[is_judged]
    codes = np.unique(posts, return_inverse=True)[1]
    n_posts = int(codes.max()) + 1
    per_item = table.sum(axis=1)
    disagreeing = (per_item**2 - (table**2).sum(axis=1)) / (per_item - 1)
    sums = np.zeros((n_posts, table.shape[1] + 1))
    np.add.at(sums, codes, np.column_stack([table, disagreeing]))
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_posts, np.full(n_posts, 1 / n_posts), N_DRAWS).astype(np.float64) @ sums
    low, high = np.nanquantile(_alpha(draws), [0.025, 0.975])
    if n_posts < 2:
        low, high = -1.0, 1.0
    return {
        "value": float(_alpha(sums.sum(axis=0, keepdims=True))[0]),
        "low": float(low),
        "high": float(high),
        "n_items": int(is_judged.sum()),
        "n_raters": kept["rater"].n_unique(),
    }


def _alpha(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha from sums over items, [n, values + 1]: how often each value was given, and the observed disagreement.

    Where all votes have one value, agreement is perfect and cannot be told from chance: alpha is 1 by convention.
    """
    counts, observed = sums[:, :-1], sums[:, -1]
    n = counts.sum(axis=1)
    expected = n**2 - (counts**2).sum(axis=1)
    return np.where(expected > 0, 1 - (n - 1) * observed / np.where(expected > 0, expected, 1), 1.0)
