"""Near-linear candidates: the responses of a post in order, each beside its next K, whatever the threads' shape.

The k-th neighbours of a block of whole posts are its columns shifted by k. There is no join of a post with itself, and
a block needs the memory of its responses, not of its candidates.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.hashing import quick_hashes, salted
from features.recipes.recipe import Recipe

Side = Callable[[str], NDArray[Any]]
"""A column of one side of the candidates, by its name: [n]."""
Rule = Callable[[Side, Side], NDArray[np.bool_]]
"""chosen, rejected -> whether the candidate goes: [n]."""


def in_neighbour_order(block: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The responses of whole posts by post, then in the recipe's order of neighbours, ties by id.

    block: by post, time and id.
    """
    if recipe.neighbour_order == "delay":
        return block
    place = quick_hashes(block["comment_id"], salted("neighbour", recipe.seed))
    return block.with_columns(_place=place).sort("post_id", "_place", "comment_id").drop("_place")


def candidates(block: pl.DataFrame, recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64], Counter[str]]:
    """Rows of chosen and of rejected that pass all rules; how many there were ("candidates") and went by each rule.

    block: responses of whole posts in order. A candidate that several rules would take is counted under the first.
    """
    columns = _columns(block, recipe)
    rules = pair_rules(recipe)
    post = block["post_id"].rle_id().to_numpy()
    counts: Counter[str] = Counter()
    kept = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for k in range(1, recipe.n_neighbours + 1):
        first = np.flatnonzero(post[:-k] == post[k:])
        if first.size == 0:
            break
        counts["candidates"] += first.size
        is_first_chosen = columns["score"][first] > columns["score"][first + k]
        chosen, rejected = first + k * ~is_first_chosen, first + k * is_first_chosen
        for reason, is_dropped in rules.items():
            goes = is_dropped(*(_side(columns, rows) for rows in (chosen, rejected)))
            counts[reason] += int(goes.sum())
            chosen, rejected = chosen[~goes], rejected[~goes]
        kept.append((chosen, rejected))
    return np.concatenate([c for c, _ in kept]), np.concatenate([r for _, r in kept]), counts


def _columns(block: pl.DataFrame, recipe: Recipe) -> dict[str, NDArray[Any]]:
    """What the rules look at, by name. Each [n]."""
    columns = {name: block[name].to_numpy() for name in ("score", "delay_s", "text_hash")}
    columns["log_delay"] = block["delay_s"].log1p().to_numpy()
    columns["log_chars"] = block["n_chars"].log().to_numpy()
    columns["is_train"] = (block["split"] == "train").to_numpy()
    if recipe.min_held_out_rank_gap > 0:
        # The share of the post's other responses with a lower score.
        # The place among the post's different scores, as DialogRPT's match_time counts it: 0 the lowest, 1 the highest.
        rank = (pl.col("score").rank("dense").over("post_id") - 1) / (
            pl.col("score").n_unique().over("post_id") - 1
        ).clip(1)
        columns["score_rank"] = block.select(rank.cast(pl.Float64)).to_series().to_numpy()
    return columns


def _side(columns: dict[str, NDArray[Any]], rows: NDArray[np.int64]) -> Side:
    return lambda name: columns[name][rows]


def pair_rules(recipe: Recipe) -> dict[str, Rule]:
    """reason -> true when the candidate goes; in the order in which reasons are given."""

    def gap(chosen: Side, rejected: Side, name: str = "score") -> NDArray[Any]:
        return chosen(name) - rejected(name)

    def outside(name: str, caliper: float) -> Rule:
        return lambda c, r: np.abs(gap(c, r, name)) > caliper

    rules: dict[str, Rule] = {
        "scores equal": lambda c, r: gap(c, r) == 0,
        "texts equal": lambda c, r: c("text_hash") == r("text_hash"),
    }
    if recipe.newer_must_win:
        rules["older one won"] = lambda c, r: c("delay_s") < r("delay_s")
    if recipe.min_score_gap > 1:
        rules["below min_score_gap"] = lambda c, r: gap(c, r) < recipe.min_score_gap
    if recipe.min_score_ratio > 1:
        rules["below min_score_ratio"] = lambda c, r: (
            np.maximum(c("score"), 1) / np.maximum(r("score"), 1) < recipe.min_score_ratio
        )
    if recipe.min_held_out_score_gap > 1:
        rules["below min_held_out_score_gap"] = lambda c, r: (
            ~c("is_train") & (gap(c, r) < recipe.min_held_out_score_gap)
        )
    if recipe.min_held_out_rank_gap > 0:
        rules["below min_held_out_rank_gap"] = lambda c, r: (
            ~c("is_train") & (gap(c, r, "score_rank") < recipe.min_held_out_rank_gap)
        )
    for reason, name, caliper in (
        ("outside max_delay_difference_s", "delay_s", recipe.max_delay_difference_s),
        ("outside max_log_delay_difference", "log_delay", recipe.max_log_delay_difference),
        ("outside max_log_length_difference", "log_chars", recipe.max_log_length_difference),
    ):
        if caliper is not None:
            rules[reason] = outside(name, caliper)
    return rules
