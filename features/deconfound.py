"""Pairs in which the confounders say nothing (`balanced`), or say how much they say (`adjusted`).

`balanced`: a pair whose outcome the confounders foretell with probability p is kept with probability min(p, 1-p)/p of
the outcome that occurred. Among what is kept both outcomes are equally likely whatever the confounders. This is
matching on the probability of the outcome by overlap: Li, Morgan & Zaslavsky 2018, JASA 113(521), where w = 1 - e(x)
for the treated and e(x) for the rest, up to a factor of x. The last caps come after thinning, or they would spend
their places on pairs that go; the pool's caps come before it, so that the last ones seldom bind.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.confounds import add_confounders
from features.hashing import SPAN, hash_ids
from features.ledger import Ledger
from features.matching import cap_per_post, cap_per_response
from features.propensity import PropensityConfig, chosen_log_odds, earlier_wins_probability, is_earlier_chosen
from features.recipes import Recipe
from lurker.stats import accuracy_interval


def balance_pairs(
    pool: pl.DataFrame, ledger: Ledger, context: pl.DataFrame, recipe: Recipe, config: PropensityConfig | None = None
) -> tuple[pl.DataFrame, Ledger, list[dict[str, Any]]]:
    """The balanced pairs with their weight, the ledger gone on with, and what each round found.

    pool: candidate pairs with the counts of form, before any cap. Thin, cap, then fit anew on what is kept: while a
    probe of the outcome still beats one half there, thin again. Every probability is of models of other posts.

    Weights all 1 are the default. Weights of a second fit were measured on college data, and so were entropy-balanced
    means, fitted on the same pairs or across posts: where little is left they fit noise, which posts that are held out
    then show turned round, and a linear probe falls below chance (.484-.494, without them .497-.504).
    """
    config = config or PropensityConfig()
    pairs = add_confounders(pool.sort("pair_id"), context)
    p = earlier_wins_probability(pairs, config)
    overlaps = np.maximum(p, 1 - p) <= recipe.max_confounder_probability
    ledger = ledger.drop("no overlap: outcome foretold above max_confounder_probability", int((~overlaps).sum()))
    pairs, p = pairs.filter(overlaps), p[overlaps]
    pairs, ledger = _thin(pairs, p, "thin", ledger)
    for reason, cap in (
        ("over max_pairs_per_response", cap_per_response),
        ("over max_pairs_per_post", cap_per_post),
    ):
        kept = cap(pairs, recipe)
        ledger, pairs = ledger.drop(reason, pairs.height - kept.height), kept
    pairs = pairs.sort("pair_id")
    rounds: list[dict[str, Any]] = []
    weight = np.ones(pairs.height)
    for number in range(1, recipe.n_balance_rounds + 1):
        if pairs.is_empty():
            break
        # Other folds: those that the pairs were thinned by would find them turned round.
        p = earlier_wins_probability(pairs, config, f"propensity-fold-{number}")
        found = accuracy_interval((p > 0.5) == is_earlier_chosen(pairs), pairs["post_id"])
        rounds.append({"round": number, "n_pairs": found.n, "accuracy": found.value, "low": found.low})
        weight = np.ones(pairs.height) if recipe.weighting == "none" else _weight(pairs, p)
        if found.low <= 0.5 or number == recipe.n_balance_rounds:
            break
        pairs, ledger = _thin(pairs, p, f"thin-{number}", ledger)
    return pairs.with_columns(weight=pl.Series(weight, dtype=pl.Float64)), ledger, rounds


def adjust_pairs(pool: pl.DataFrame, context: pl.DataFrame, config: PropensityConfig | None = None) -> pl.DataFrame:
    """The pairs with confounder_log_odds. pool: with the counts of form."""
    pairs = add_confounders(pool.sort("pair_id"), context)
    log_odds = chosen_log_odds(pairs, config or PropensityConfig())
    return pairs.with_columns(confounder_log_odds=pl.Series(log_odds, dtype=pl.Float64))


def _weight(pairs: pl.DataFrame, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """min(p, 1-p) over the probability of the outcome that occurred. [n], in (0, 1]."""
    return np.minimum(p, 1 - p) / np.where(is_earlier_chosen(pairs), p, 1 - p)


def _thin(pairs: pl.DataFrame, p: NDArray[np.float64], salt: str, ledger: Ledger) -> tuple[pl.DataFrame, Ledger]:
    """Keep each pair with probability `_weight`, by a hash of its id."""
    stays = hash_ids(pairs["pair_id"], salt) / SPAN < _weight(pairs, p)
    return pairs.filter(stays), ledger.drop("thinned: confounders foretell the outcome", int((~stays).sum()))
