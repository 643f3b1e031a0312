"""Win rates at equal length: how often one policy's responses beat another's when neither is longer.

Judges and people prefer longer responses. A logistic regression of the outcome on the difference of lengths, read where
it is zero, takes that preference away.

Source: Dubois et al. 2024, "Length-controlled AlpacaEval", 2404.04475, equation 2 without the term of the instruction;
Liang & Zeger 1986, Biometrika 73(1), for the variance clustered by prompt.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, stdtrit

from lurker.errors import CallError
from lurker.stats import Estimate, mean_interval

Floats = NDArray[np.float64]
LEVEL = 0.95
PRIOR_WEIGHT = 0.5
"""Weight of one win and one loss at equal length that are added, so that a policy that never loses has an estimate."""
MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class WinRates:
    """How often a policy's responses beat another's."""

    raw: Estimate
    """as they are"""
    at_equal_length: Estimate
    """read where the lengths are equal"""
    length_slope: float
    """log-odds of winning per unit of tanh(difference / its standard deviation)"""
    mean_difference: float
    """of lengths, in their unit"""
    is_extrapolated: bool
    """whether fewer than one in forty pairs is at or beyond equal length, so that nothing was seen there"""

    def report(self) -> dict[str, Any]:
        """JSON-ready."""
        rates = {"win_rate": self.raw, "win_rate_at_equal_length": self.at_equal_length}
        found: dict[str, Any] = {}
        for name, one in rates.items():
            found |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        return found | {
            "length_slope": self.length_slope,
            "mean_length_difference": self.mean_difference,
            "is_extrapolated": self.is_extrapolated,
        }


def win_rates(
    wins: ArrayLike, length_differences: ArrayLike, prompts: ArrayLike, weights: ArrayLike | None = None
) -> WinRates:
    """Win rate as it is and at equal length, with intervals clustered by prompt.

    Args:
        wins: 1 where the policy wins, 0 where the other one does, 0.5 for a tie, or a probability; [n].
        length_differences: length of the policy's response minus that of the other's, [n].
        prompts: of each pair, any labels, [n].
        weights: how many pairs each stands for, > 0, [n]; one by default.

    Raises:
        CallError: there are fewer than two prompts, or an outcome is not from 0 to 1.
    """
    outcome = np.asarray(wins, dtype=np.float64)
    difference = np.asarray(length_differences, dtype=np.float64)
    clusters = np.unique(np.asarray(prompts), return_inverse=True)[1]
    weight = np.ones_like(outcome) if weights is None else np.asarray(weights, dtype=np.float64)
    if outcome.size == 0 or clusters.max() < 1:
        raise CallError("A win rate needs pairs of two prompts or more.", "Sample more prompts.")
    if not ((outcome >= 0) & (outcome <= 1)).all():
        raise CallError(f"An outcome is from 0 to 1, got {outcome.min():.3f} to {outcome.max():.3f}.")
    raw = mean_interval(outcome, clusters, weight)
    mean = float(np.average(difference, weights=weight))
    spread = float(np.sqrt(np.average((difference - mean) ** 2, weights=weight)))
    if spread == 0:  # nothing tells how length matters, and where all are equal nothing has to
        is_equal = bool(difference[0] == 0)
        return WinRates(_bounded(raw), _bounded(raw), 0.0, float(difference[0]), not is_equal)
    x = np.column_stack([np.ones_like(difference), np.tanh(difference / spread)])
    theta = _fit(x, outcome, weight)
    error = _clustered_error(x, outcome, weight, theta, clusters)
    half = float(stdtrit(int(clusters.max()), 0.5 + LEVEL / 2)) * error
    value, low, high = (float(expit(theta[0] + shift)) for shift in (0.0, -half, half))
    beyond = min(float(np.average(is_there, weights=weight)) for is_there in (difference <= 0, difference >= 0))
    return WinRates(
        raw=_bounded(raw),
        at_equal_length=Estimate(value, low, high, raw.n, raw.n_clusters),
        length_slope=float(theta[1]),
        mean_difference=mean,
        is_extrapolated=beyond < 1 / 40,
    )


def _bounded(estimate: Estimate) -> Estimate:
    """The interval within 0 and 1."""
    return Estimate(estimate.value, max(estimate.low, 0.0), min(estimate.high, 1.0), estimate.n, estimate.n_clusters)


def _fit(x: Floats, outcome: Floats, weight: Floats) -> Floats:
    """Intercept and slope by Newton's method, with PRIOR_WEIGHT of a win and of a loss at equal length."""
    x = np.vstack([x, [[1.0, 0.0], [1.0, 0.0]]])
    outcome = np.concatenate([outcome, [1.0, 0.0]])
    weight = np.concatenate([weight, [PRIOR_WEIGHT, PRIOR_WEIGHT]])
    ridge = np.diag([0.0, PRIOR_WEIGHT])
    theta = np.zeros(2)
    for _ in range(MAX_STEPS):
        probability = expit(x @ theta)
        gradient = x.T @ (weight * (outcome - probability)) - ridge @ theta
        curvature = (x * (weight * np.maximum(probability * (1 - probability), 1e-9))[:, None]).T @ x + ridge
        step = np.linalg.solve(curvature, gradient)
        theta += step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))  # no jump beyond where it is linear
        if float(np.abs(step).max()) < 1e-10:
            break
    return theta


def _clustered_error(x: Floats, outcome: Floats, weight: Floats, theta: Floats, clusters: NDArray[np.int64]) -> float:
    """Standard error of the intercept, clustered by prompt."""
    probability = expit(x @ theta)
    curvature = (x * (weight * probability * (1 - probability))[:, None]).T @ x
    bread = np.linalg.inv(curvature + PRIOR_WEIGHT * np.eye(2))
    scores = np.zeros((int(clusters.max()) + 1, 2))
    np.add.at(scores, clusters, x * (weight * (outcome - probability))[:, None])
    n = len(scores)
    # One success and one failure more than was seen, so that a policy that always wins has an interval too.
    meat = scores.T @ scores + 0.5 * PRIOR_WEIGHT * np.eye(2)
    return float(np.sqrt(n / (n - 1) * (bread @ meat @ bread)[0, 0]))
