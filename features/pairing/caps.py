"""Caps on the pairs of one response or one post: the first pairs by pair_hash are kept."""

from collections import Counter
from collections.abc import Callable

import polars as pl

from features.recipes.recipe import Recipe

ORDER = ("subreddit", "post_id", "pair_id")
"""Order of the pairs of a set."""
PairRule = Callable[[pl.DataFrame, Recipe], pl.DataFrame]
"""pairs, recipe -> the pairs to keep."""


def apply_pair_rules(
    rules: dict[str, PairRule], pairs: pl.DataFrame, recipe: Recipe, counts: Counter[str]
) -> pl.DataFrame:
    """The pairs that the rules keep, in order; adds what each rule drops to the counts."""
    for reason, rule in rules.items():
        kept = rule(pairs, recipe)
        counts[reason] += pairs.height - kept.height
        pairs = kept
    return pairs.sort(ORDER)


def cap_per_response(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Pairs that are among the first max_pairs_per_response of both their responses."""
    return _first_of_responses(pairs, recipe.max_pairs_per_response)


def cap_pool_per_response(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Pairs that are among the first max_pool_pairs_per_response of both their responses."""
    return _first_of_responses(pairs, recipe.max_pool_pairs_per_response)


def cap_per_post(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The first max_pairs_per_post pairs of every post."""
    return _first_of_post(pairs, recipe.max_pairs_per_post)


def cap_pool_per_post(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The first max_pool_pairs_per_post pairs of every post."""
    return _first_of_post(pairs, recipe.max_pool_pairs_per_post)


def _first_of_responses(pairs: pl.DataFrame, n_pairs: int | None) -> pl.DataFrame:
    if n_pairs is None:
        return pairs
    ordered = pairs.sort("pair_hash", "pair_id").with_row_index("_n")
    roles = [ordered.select("_n", pl.col(role).alias("response")) for role in ("chosen_id", "rejected_id")]
    ranked = pl.concat(roles).sort("_n", "response").with_columns(rank=pl.int_range(pl.len()).over("response"))
    over = ranked.filter(pl.col("rank") >= n_pairs).select("_n").unique()
    return ordered.join(over, on="_n", how="anti").drop("_n")


def _first_of_post(pairs: pl.DataFrame, n_pairs: int | None) -> pl.DataFrame:
    if n_pairs is None:
        return pairs
    return pairs.sort("pair_hash", "pair_id").filter(pl.int_range(pl.len()).over("post_id") < n_pairs)
