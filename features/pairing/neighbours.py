"""Candidate pairs in near-linear time: each response of a post with its next K, whatever the size of the thread.

The k-th neighbours of a block of complete posts are its columns shifted by k. No post is joined with itself, and a
block needs the memory of its responses, not of its candidates.
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
"""Returns a column of one side of the candidates by its name, shape [n]."""
Rule = Callable[[Side, Side], NDArray[np.bool_]]
"""chosen, rejected -> whether to drop the candidate, shape [n]."""


def sort_by_neighbour_order(block: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The responses by post, then in the recipe's order of neighbours, ties by id.

    Args:
        block: complete posts, sorted by post, time and id.
    """
    if recipe.neighbour_order == "delay":
        return block
    order = quick_hashes(block["comment_id"], salted("neighbour", recipe.seed))
    return block.with_columns(_order=order).sort("post_id", "_order", "comment_id").drop("_order")


def candidates(block: pl.DataFrame, recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64], Counter[str]]:
    """The candidate pairs that pass all rules.

    Args:
        block: responses of complete posts, in the order of neighbours.

    Returns:
        Row numbers of chosen and of rejected, shape [n] each, and counts: all "candidates", and how many each rule
        dropped. A candidate that breaks several rules counts under the first.
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
        for reason, rule in rules.items():
            is_dropped = rule(*(_side(columns, rows) for rows in (chosen, rejected)))
            counts[reason] += int(is_dropped.sum())
            chosen, rejected = chosen[~is_dropped], rejected[~is_dropped]
        kept.append((chosen, rejected))
    return np.concatenate([c for c, _ in kept]), np.concatenate([r for _, r in kept]), counts


def _columns(block: pl.DataFrame, recipe: Recipe) -> dict[str, NDArray[Any]]:
    """The columns that the rules use, by name. Shape [n] each."""
    columns = {name: block[name].to_numpy() for name in ("score", "delay_s", "text_hash")}
    columns["log_delay"] = block["delay_s"].log1p().to_numpy()
    columns["log_chars"] = block["n_chars"].log().to_numpy()
    columns["is_train"] = (block["split"] == "train").to_numpy()
    if recipe.require_agreeing_looks:
        other = pl.col("first_score")
        if recipe.label_look == "first":
            other = other + pl.col("later_votes")
        columns["score_at_other_look"] = block.select(other).to_series().to_numpy()
    if recipe.min_held_out_rank_gap > 0:
        # Rank among the post's distinct scores, as in DialogRPT's match_time: 0 the lowest, 1 the highest.
        rank = (pl.col("score").rank("dense").over("post_id") - 1) / (
            pl.col("score").n_unique().over("post_id") - 1
        ).clip(1)
        columns["score_rank"] = block.select(rank.cast(pl.Float64)).to_series().to_numpy()
    return columns


def _side(columns: dict[str, NDArray[Any]], rows: NDArray[np.int64]) -> Side:
    return lambda name: columns[name][rows]


def pair_rules(recipe: Recipe) -> dict[str, Rule]:
    """reason -> whether to drop the candidate, in the order of application."""

    def gap(chosen: Side, rejected: Side, name: str = "score") -> NDArray[Any]:
        return chosen(name) - rejected(name)

    def outside(name: str, caliper: float) -> Rule:
        return lambda c, r: np.abs(gap(c, r, name)) > caliper

    rules: dict[str, Rule] = {
        "scores equal": lambda c, r: gap(c, r) == 0,
        "texts equal": lambda c, r: c("text_hash") == r("text_hash"),
    }
    if recipe.require_agreeing_looks:
        rules["looks disagree"] = lambda c, r: gap(c, r, "score_at_other_look") <= 0
    if recipe.newer_must_win:
        rules["older response won"] = lambda c, r: c("delay_s") < r("delay_s")
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
