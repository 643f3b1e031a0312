"""The pairs of a recipe, without texts: matched, then deconfounded where the recipe says so, then its last rules."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from features.confounds import add_confounders, standardised_mean_differences
from features.deconfound import adjust_pairs, balance_pairs
from features.form import FORM
from features.ledger import Ledger
from features.matching import balance_signs, match_pairs
from features.neighbours import Means
from features.recipes import Recipe, balanced
from lurker.progress import say

ORDER = ("subreddit", "post_id", "pair_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The pairs of a recipe and how they came to be."""

    pairs: pl.DataFrame
    """Sorted by subreddit, post and pair; weight where the recipe gives one, confounder_log_odds of adjusted pairs."""
    ledgers: dict[str, Ledger]
    """Of every pool of candidate pairs, by name; what they keep adds up to the pairs."""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """What each round of balancing found: round, n_pairs, accuracy, low."""
    differences_before: list[dict[str, Any]] = field(default_factory=list)
    """Standardised mean differences of the candidate pairs before they were thinned or adjusted: confounder, smd."""


def choose_pairs(
    responses: pl.DataFrame, recipe: Recipe, read: Callable[[], pl.DataFrame], means: Means | None = None
) -> Chosen:
    """The pairs that the recipe makes of the responses.

    responses: as of `select_responses`. read: gives what `read_context` does, where it is needed. Deconfounding learns
    from the posts outside the test, so of a recipe of test posts only the others go at the end.
    """
    pool, ledger = match_pairs(responses, recipe, means)
    if recipe.deconfound == "none" or pool.is_empty():
        return Chosen(pairs=pool, ledgers={"pairs": ledger})
    say("Probing what the confounders say of the outcome.")
    context, pool = read(), add_form(pool, responses)
    before = standardised_mean_differences(add_confounders(pool.with_columns(weight=pl.lit(1.0)), context))
    if recipe.deconfound == "balance":
        return _balanced(pool, ledger, recipe, context, before)
    return _adjusted(pool, ledger, responses, recipe, context, before, means)


def _balanced(
    pool: pl.DataFrame, ledger: Ledger, recipe: Recipe, context: pl.DataFrame, before: list[dict[str, Any]]
) -> Chosen:
    pairs, ledger, rounds = balance_pairs(pool, ledger, context, recipe)
    if recipe.test_posts_only:
        kept = pairs.filter(split="test")
        ledger, pairs = ledger.drop("not a test post", pairs.height - kept.height), kept
    kept = balance_signs(pairs, recipe)
    ledger = ledger.drop("signs balanced", pairs.height - kept.height)
    return Chosen(pairs=kept.sort(ORDER), ledgers={"pairs": ledger}, rounds=rounds, differences_before=before)


def _adjusted(
    pool: pl.DataFrame,
    ledger: Ledger,
    responses: pl.DataFrame,
    recipe: Recipe,
    context: pl.DataFrame,
    before: list[dict[str, Any]],
    means: Means | None,
) -> Chosen:
    """Training pairs with their log-odds; held out, the pairs of `balanced`."""
    train = pool.filter(split="train")
    ledger = ledger.drop("held out: balanced pairs stand there", pool.height - train.height)
    rules = dataclasses.replace(
        balanced(), validation_fraction=recipe.validation_fraction, test_fraction=recipe.test_fraction
    )
    held_pool, held_ledger = match_pairs(responses, rules, means)
    held, held_ledger, rounds = balance_pairs(add_form(held_pool, responses), held_ledger, context, rules)
    held_out = held.filter(pl.col("split") != "train")
    held_ledger = held_ledger.drop("train: adjusted pairs stand there", held.height - held_out.height)
    adjusted = adjust_pairs(train, context).with_columns(weight=pl.lit(1.0))
    pairs = pl.concat([adjusted, held_out.with_columns(confounder_log_odds=pl.lit(0.0))], how="diagonal")
    ledgers = {"pairs": ledger, "held-out pairs": held_ledger}
    return Chosen(pairs=pairs.sort(ORDER), ledgers=ledgers, rounds=rounds, differences_before=before)


def add_form(pool: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """The pairs with the counts of form of both sides."""
    for side in ("chosen", "rejected"):
        named = {"comment_id": f"{side}_id"} | {name: f"{side}_{name}" for name in FORM}
        counts = responses.select("comment_id", *FORM).rename(named)
        pool = pool.join(counts, on=f"{side}_id", how="left", maintain_order="left")
    return pool
