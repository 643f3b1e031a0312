"""Ratings of sources by Bradley–Terry with Davidson's ties: strengths, intervals, tiers, and what would flip them."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

RIDGE = 1e-6
"""Keeps the strength of a source that always wins finite; far below what one vote tells."""
NO_TIES = -30.0
"""log ν where no vote is a tie."""
MAX_STEPS, MAX_STEP, TOLERANCE = 100, 3.0, 1e-10
MAX_FLIP = 10_000
Z = 1.959964


@dataclass(frozen=True, slots=True)
class Fit:
    """Strengths of the sources, in log-odds with mean 0, and what else the votes depend on."""

    sources: tuple[str, ...]
    strengths: NDArray[np.float64]
    """[n_sources]"""
    covariance: NDArray[np.float64]
    """[n_sources, n_sources], of the strengths, clustered by item and by rater"""
    log_tie: float
    """log of Davidson's ν: how likely ties are between equals"""
    effects: NDArray[np.float64]
    """[n_covariates], log-odds per unit"""


def fit_davidson(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    outcome: NDArray[np.float64],
    weight: NDArray[np.float64],
    sources: tuple[str, ...],
    covariates: NDArray[np.float64] | None = None,
    clusters: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Fit:
    """Fit P(first wins), P(second wins), P(tie) proportional to exp(d/2), exp(-d/2), ν; d is the difference of the
    strengths plus the effects of the covariates.

    Args:
        first, second: indices of the sources, [n].
        outcome: 1 first, 0 second, 0.5 tie, [n].
        weight: [n], > 0.
        covariates: first minus second, [n, n_covariates].
        clusters: items and raters, [n] each; None for no covariance between votes.

    Source:
        Davidson 1970, JASA 65(329), 317-328, eq. 2.2; intervals for two crossed clusters by Cameron, Gelbach & Miller
        2011, J. Business & Economic Statistics 29(2), 238-249, eq. 2.4.
    """
    n, n_sources = len(outcome), len(sources)
    x = np.zeros((n, n_sources))
    x[np.arange(n), first] += 1
    x[np.arange(n), second] -= 1
    if covariates is not None:
        x = np.column_stack([x, covariates])
    observed = np.column_stack([outcome == 1, outcome == 0, outcome == 0.5]).astype(np.float64)
    n_free = x.shape[1] + bool((outcome == 0.5).any())  # without ties, ν is 0 and is not fitted
    penalty = RIDGE * np.eye(x.shape[1] + 1)
    penalty[:n_sources, :n_sources] += 1.0 / n_sources  # fixes the level of the strengths, which votes leave free
    parameters = np.zeros(x.shape[1] + 1)
    parameters[-1] = -1.0 if n_free > x.shape[1] else NO_TIES
    for _ in range(MAX_STEPS):
        scores, information = _derivatives(x, observed, weight, parameters)
        curvature = (information + penalty)[:n_free, :n_free]
        step = np.linalg.solve(curvature, (scores.sum(axis=0) - penalty @ parameters)[:n_free])
        largest = float(np.abs(step).max())
        parameters[:n_free] += step * min(1.0, MAX_STEP / max(largest, RIDGE))
        if largest < TOLERANCE:
            break
    inverse = np.linalg.inv(curvature)
    covariance = inverse @ _crossed(scores[:, :n_free], clusters) @ inverse
    centre = np.eye(n_sources) - 1.0 / n_sources
    return Fit(
        sources,
        centre @ parameters[:n_sources],
        centre @ covariance[:n_sources, :n_sources] @ centre,
        float(parameters[-1]),
        parameters[n_sources:-1],
    )


def _derivatives(
    x: NDArray[np.float64], observed: NDArray[np.float64], weight: NDArray[np.float64], parameters: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of each vote [n, k] and the information [k, k]; the last parameter is log ν.

    Args:
        observed: one column each for first, second, tie, [n, 3].
    """
    d = x @ parameters[:-1]
    logits = np.column_stack([d / 2, -d / 2, np.full(len(d), parameters[-1])])
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    lead = p[:, 0] - p[:, 1]
    residual = observed - p
    scores = np.column_stack([x * ((residual[:, 0] - residual[:, 1]) / 2)[:, None], residual[:, 2]]) * weight[:, None]
    information = np.zeros((len(parameters), len(parameters)))
    information[:-1, :-1] = (x * (weight * (p[:, 0] + p[:, 1] - lead**2) / 4)[:, None]).T @ x
    information[:-1, -1] = information[-1, :-1] = -(weight * lead * p[:, 2] / 2) @ x
    information[-1, -1] = float((weight * p[:, 2] * (1 - p[:, 2])).sum())
    return scores, information


def rate_sources(votes: pl.DataFrame) -> list[dict[str, Any]]:
    """The sources, the best first, with intervals, tiers and what would flip neighbours.

    Args:
        votes: of `Evidence.main`, with the sources of both sides.

    Returns:
        source, strength and its interval (log-odds, mean 0), votes, tier, strength at equal length, and
        votes_to_flip: votes for the next source over this one that would put it first; empty without two sources.
    """
    two = votes.filter(pl.col("chosen_source") != pl.col("rejected_source"))
    if two.is_empty():
        return []
    sources = tuple(sorted({*two["chosen_source"], *two["rejected_source"]}))
    place = {name: index for index, name in enumerate(sources)}
    first, second = (
        np.array([place[name] for name in two[column]], dtype=np.int64)
        for column in ("chosen_source", "rejected_source")
    )
    outcome, weight = two["outcome"].to_numpy(), two["weight"].to_numpy()
    clusters = (two["item_id"].to_numpy(), two["rater"].to_numpy())
    fit = fit_davidson(first, second, outcome, weight, sources, clusters=clusters)
    lengths = two["log_length"].to_numpy()[:, None]
    at_length = fit_davidson(first, second, outcome, weight, sources, lengths, clusters)
    order = np.argsort(-fit.strengths)
    tiers = _tiers(fit, order)
    flips = [
        _votes_to_flip(first, second, outcome, weight, sources, int(upper), int(lower))
        for upper, lower in itertools.pairwise(order)
    ]
    errors, errors_at_length = (np.sqrt(np.diag(one.covariance)) for one in (fit, at_length))
    return [
        {
            "source": sources[index],
            "strength": float(fit.strengths[index]),
            "low": float(fit.strengths[index] - Z * errors[index]),
            "high": float(fit.strengths[index] + Z * errors[index]),
            "tier": tiers[rank],
            "votes": int((first == index).sum() + (second == index).sum()),
            "at_equal_length": float(at_length.strengths[index]),
            "at_equal_length_low": float(at_length.strengths[index] - Z * errors_at_length[index]),
            "at_equal_length_high": float(at_length.strengths[index] + Z * errors_at_length[index]),
            "votes_to_flip": flips[rank] if rank < len(flips) else None,
        }
        for rank, index in enumerate(order)
    ]


def _crossed(scores: NDArray[np.float64], clusters: tuple[NDArray[Any], NDArray[Any]] | None) -> NDArray[np.float64]:
    """The sum of outer products of scores that are dependent within items and within raters."""
    if clusters is None:
        return np.asarray(scores.T @ scores)
    meat = np.zeros((scores.shape[1], scores.shape[1]))
    items, raters = (np.unique(one, return_inverse=True)[1] for one in clusters)
    for groups, sign in ((items, 1), (raters, 1), (items * (int(raters.max()) + 1) + raters, -1)):
        codes = np.unique(groups, return_inverse=True)[1]
        n = int(codes.max()) + 1
        sums = np.zeros((n, scores.shape[1]))
        np.add.at(sums, codes, scores)
        meat += sign * (n / (n - 1) if n > 1 else 1.0) * (sums.T @ sums)
    values, vectors = np.linalg.eigh(meat)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)  # the difference need not be positive


def _tiers(fit: Fit, order: NDArray[np.int64]) -> list[int]:
    """Tier of each source in this order: a new one begins where the interval of the difference to the tier's first
    source excludes 0."""
    tiers, leader = [1], int(order[0])
    for index in order[1:]:
        gap = fit.strengths[leader] - fit.strengths[index]
        variance = fit.covariance[leader, leader] + fit.covariance[index, index] - 2 * fit.covariance[leader, index]
        if gap > Z * np.sqrt(max(0.0, float(variance))):
            tiers.append(tiers[-1] + 1)
            leader = int(index)
        else:
            tiers.append(tiers[-1])
    return tiers


def _votes_to_flip(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    outcome: NDArray[np.float64],
    weight: NDArray[np.float64],
    sources: tuple[str, ...],
    upper: int,
    lower: int,
) -> int | None:
    """The fewest more votes for `lower` over `upper` that put it first; None if more than MAX_FLIP."""

    def is_flipped(n: int) -> bool:
        more = (np.append(first, lower), np.append(second, upper), np.append(outcome, 1.0), np.append(weight, float(n)))
        strengths = fit_davidson(*more, sources).strengths
        return bool(strengths[lower] > strengths[upper])

    high = 1
    while not is_flipped(high):
        high *= 2
        if high > MAX_FLIP:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_flipped(middle) else (middle, high)
    return high
