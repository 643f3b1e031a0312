"""Pairs in which the confounders say nothing (`balanced`), or say how much they say (`adjusted`).

`balanced`: a pair whose outcome the confounders foretell with probability p is kept with probability min(p, 1-p)/p of
the outcome that occurred. Among what is kept both outcomes are equally likely whatever the confounders. This is
matching on the probability of the outcome by overlap: Li, Morgan & Zaslavsky 2018, JASA 113(521), where w = 1 - e(x)
for the treated and e(x) for the rest, up to a factor of x. Thinning comes before the caps, or the caps would spend
their places on pairs that go.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.confounds import DIFFERENCES, add_confounders
from features.hashing import SPAN, hash_ids
from features.ledger import Ledger
from features.matching import cap_per_post, cap_per_response
from features.propensity import PropensityConfig, chosen_log_odds, earlier_wins_probability, is_earlier_chosen
from features.recipes import Recipe
from lurker.stats import accuracy_interval

MIN_PAIRS_PER_MOMENT = 20
"""Fewer pairs of a split than this times the moments cannot carry them, pairs."""
MAX_MOMENT = 4.0
"""Moments are held within this many standard deviations, or a few pairs would carry all the change."""


def balance_pairs(
    pool: pl.DataFrame, ledger: Ledger, context: pl.DataFrame, recipe: Recipe, config: PropensityConfig | None = None
) -> tuple[pl.DataFrame, Ledger, list[dict[str, Any]]]:
    """The balanced pairs with their weight, the ledger gone on with, and what each round found.

    pool: candidate pairs with the counts of form, before any cap. Thin, cap, then fit anew on what is kept: while a
    probe of the outcome still beats one half there, thin again; publish the last round's weights, with what is left of
    the moments taken out in each split. Every probability is of models that saw other posts only.
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
        p = earlier_wins_probability(pairs, config)
        found = accuracy_interval((p > 0.5) == is_earlier_chosen(pairs), pairs["post_id"])
        rounds.append({"round": number, "n_pairs": found.n, "accuracy": found.value, "low": found.low})
        weight = np.ones(pairs.height) if recipe.weighting == "none" else _weight(pairs, p)
        if found.low <= 0.5 or number == recipe.n_balance_rounds:
            break
        pairs, ledger = _thin(pairs, p, f"thin-{number}", ledger)
    if recipe.weighting == "moments":
        weight = balance_moments(pairs, weight)
    return pairs.with_columns(weight=pl.Series(weight, dtype=pl.Float64)), ledger, rounds


def adjust_pairs(pool: pl.DataFrame, context: pl.DataFrame, config: PropensityConfig | None = None) -> pl.DataFrame:
    """The pairs with confounder_log_odds. pool: with the counts of form."""
    pairs = add_confounders(pool.sort("pair_id"), context)
    log_odds = chosen_log_odds(pairs, config or PropensityConfig())
    return pairs.with_columns(confounder_log_odds=pl.Series(log_odds, dtype=pl.Float64))


def balance_moments(pairs: pl.DataFrame, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights changed as little as makes chosen and rejected alike on average, in every split. [n], mean 1 there.

    Alike are the mean of every confounder, of which came first and which is longer, and of the latter two times the
    level of log delay, log length and thread size. A split too small for that keeps its weights.
    Source: entropy balancing, Hainmueller 2012, Political Analysis 20(1), 25-46.
    """
    moments = _moments(pairs)
    balanced = weight.copy()
    for split in sorted(pairs["split"].unique()):
        mine = np.flatnonzero((pairs["split"] == split).to_numpy())
        Z = moments[mine]
        Z = Z[:, Z.std(axis=0) > 0]
        if Z.shape[1] and mine.size >= MIN_PAIRS_PER_MOMENT * Z.shape[1]:
            balanced[mine] = _entropy_balance(Z / Z.std(axis=0), weight[mine])
    return balanced


def _moments(pairs: pl.DataFrame) -> NDArray[np.float64]:
    """What must be 0 on average: [n, k], each standardised and held within MAX_MOMENT standard deviations."""

    def difference(name: str) -> NDArray[np.float64]:
        return (pairs[f"chosen_{name}"] - pairs[f"rejected_{name}"]).to_numpy().astype(np.float64)

    def level(name: str) -> NDArray[np.float64]:
        return ((pairs[f"chosen_{name}"] + pairs[f"rejected_{name}"]) / 2).to_numpy().astype(np.float64)

    levels = [level("log_delay"), level("log_chars"), pairs["log_thread_size"].to_numpy()]
    columns = [difference(name) for name in DIFFERENCES]
    for name in ("log_delay", "log_chars"):
        sign = np.sign(difference(name))
        columns += [sign, *(sign * (one - one.mean()) for one in levels)]
    Z = np.column_stack(columns)
    spread = Z.std(axis=0)
    return np.clip(Z / np.where(spread > 0, spread, 1), -MAX_MOMENT, MAX_MOMENT)


def _entropy_balance(Z: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights proportional to weight · exp(Z λ) under which every column of Z is 0 on average; mean 1. [n]."""
    from scipy.optimize import minimize

    base = weight / weight.sum()

    def dual(multipliers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        exponent = Z @ multipliers
        top = exponent.max()
        terms = base * np.exp(exponent - top)
        return float(np.log(terms.sum()) + top), Z.T @ terms / terms.sum()

    with threadpool_limits(1):
        found = minimize(dual, np.zeros(Z.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-7})
        exponent = Z @ found.x
    changed = base * np.exp(exponent - exponent.max())
    return np.asarray(changed / changed.mean(), dtype=np.float64)


def _weight(pairs: pl.DataFrame, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """min(p, 1-p) over the probability of the outcome that occurred. [n], in (0, 1]."""
    return np.minimum(p, 1 - p) / np.where(is_earlier_chosen(pairs), p, 1 - p)


def _thin(pairs: pl.DataFrame, p: NDArray[np.float64], salt: str, ledger: Ledger) -> tuple[pl.DataFrame, Ledger]:
    """Keep each pair with probability `_weight`, by a hash of its id."""
    stays = hash_ids(pairs["pair_id"], salt) / SPAN < _weight(pairs, p)
    return pairs.filter(stays), ledger.drop("thinned: confounders foretell the outcome", int((~stays).sum()))
