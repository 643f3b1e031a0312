"""Intervals clustered by post, as pairs of one post are not independent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # Student's t; importing scipy.stats takes half a second

from lurker.decimals import interval

MIN_CLUSTERS = 6
"""With fewer, no test that flips the signs of whole clusters rejects at 5 %: 2 / 2^5 > .05."""
NO_SPREAD = 1e-9
"""Standard error over the largest value below which clusters do not differ, but for rounding."""
ACCURACY_GAIN = (-1.0, 1.0)
"""Bounds of a difference of two accuracies."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval, and the number of values and clusters."""

    value: float
    low: float
    high: float
    n: int
    n_clusters: int

    def __str__(self) -> str:
        return interval(self.value, self.low, self.high)


def clustered_standard_error(
    values: NDArray[np.float64], clusters: NDArray[np.int64], weights: NDArray[np.float64]
) -> float:
    """Standard error of a weighted mean whose observations are independent between clusters only.

    Args:
        values: [n].
        clusters: [n], codes 0..G-1.
        weights: [n], > 0.

    Source:
        Cameron & Miller 2015, "A practitioner's guide to cluster-robust inference", eq. 11 for a mean, with the
        G/(G-1) correction.
    """
    n_clusters = int(clusters.max()) + 1
    if n_clusters < 2:
        return float("inf")
    mean = float(np.average(values, weights=weights))
    sums = np.bincount(clusters, weights=weights * (values - mean), minlength=n_clusters)
    return float(np.sqrt(n_clusters / (n_clusters - 1) * np.sum(sums**2)) / weights.sum())


def accuracy_interval(
    is_correct: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """A share in [0, 1] with an interval clustered by post.

    The interval is Wilson's at the effective sample size p(1-p)/se², so it stays within [0, 1] and does not collapse
    when every pair is right, with t quantiles of G-1 degrees of freedom for few clusters.

    Args:
        is_correct: [n], 0, 0.5 or 1.
        clusters: [n], any labels.
        weights: [n], > 0.
        level: coverage of the interval.

    Raises:
        ValueError: there are no pairs.

    Source:
        Wilson 1927; effective sample size as in Korn & Graubard 1998, "Confidence intervals for proportions with small
        expected number of positive counts estimated from survey data".
    """
    values = np.asarray(is_correct, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no pairs to average")
    weight = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)
    n_clusters = int(codes.max()) + 1
    share = float(np.clip(np.average(values, weights=weight), 0.0, 1.0))
    error = clustered_standard_error(values, codes, weight)
    if n_clusters < 2:
        return Estimate(share, 0.0, 1.0, values.size, n_clusters)
    n_effective = share * (1 - share) / error**2 if error > 0 and 0 < share < 1 else float(n_clusters)
    quantile = float(stdtrit(n_clusters - 1, 0.5 + level / 2))
    z2 = quantile**2 / n_effective
    centre = (share + z2 / 2) / (1 + z2)
    half = quantile / (1 + z2) * np.sqrt(share * (1 - share) / n_effective + z2 / (4 * n_effective))
    low, high = float(np.clip(centre - half, 0.0, share)), float(np.clip(centre + half, share, 1.0))
    return Estimate(share, low, high, values.size, n_clusters)


def average_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Average several estimates of the same quantity from the same data: values and interval ends.

    An average of estimators varies at most as much as they do on average, however correlated they are, so its interval
    covers at least as often as theirs.

    Args:
        estimates: at least one.

    Returns:
        The average; n and n_clusters are the largest of any.
    """
    value, low, high = np.mean([(one.value, one.low, one.high) for one in estimates], axis=0).tolist()
    return Estimate(value, low, high, max(e.n for e in estimates), max(e.n_clusters for e in estimates))


def auc_interval(
    labels: ArrayLike, scores: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """The area under the ROC curve, P(a positive scores higher than a negative), with an interval clustered by post.

    Args:
        labels: [n], boolean.
        scores: [n]; ties count half.
        clusters: [n], any labels.
        weights: [n], > 0.
        level: coverage of the interval.

    Raises:
        ValueError: one of the two labels does not occur.

    Source:
        Obuchowski 1997, Biometrics 53(2), 567-578: the variance of the sums of DeLong's placements by cluster.
    """
    positive, score = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if positive.all() or not positive.any():
        raise ValueError("an AUC needs positives and negatives")
    weight = np.ones_like(score) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)
    n_clusters = int(codes.max()) + 1
    placement = np.empty_like(score)
    placement[positive] = _share_below(score[~positive], weight[~positive], score[positive])
    placement[~positive] = 1 - _share_below(score[positive], weight[positive], score[~positive])
    auc = float(np.clip(np.average(placement[positive], weights=weight[positive]), 0.0, 1.0))
    if n_clusters < 2:
        return Estimate(auc, 0.0, 1.0, score.size, n_clusters)
    total = np.where(positive, weight[positive].sum(), weight[~positive].sum())
    sums = np.bincount(codes, weights=weight / total * (placement - auc), minlength=n_clusters)
    error = float(np.sqrt(n_clusters / (n_clusters - 1) * np.sum(sums**2)))
    half = float(stdtrit(n_clusters - 1, 0.5 + level / 2)) * error
    return Estimate(auc, max(auc - half, 0.0), min(auc + half, 1.0), score.size, n_clusters)


def _share_below(
    values: NDArray[np.float64], weights: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted share of the values below each point, ties counting half: [n_points]."""
    order = np.argsort(values, kind="stable")
    cumulative = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
    below, up_to = (cumulative[np.searchsorted(values[order], points, side=side)] for side in ("left", "right"))
    return np.asarray((below + up_to) / 2, dtype=np.float64)


def worst_by_chance(
    is_correct: ArrayLike, clusters: ArrayLike, weights: ArrayLike, rng: np.random.Generator, n_draws: int = 2_000
) -> tuple[float, float]:
    """Accuracy of the most accurate of k classifiers when none knows anything.

    Every draw flips all labels of each cluster at random, which keeps the dependence between pairs and classifiers.

    Args:
        is_correct: [k, n], 0, 0.5 or 1, of k classifiers tested on the same pairs.
        clusters: [n], any labels.
        weights: [n], > 0.
        n_draws: random sign flips.

    Returns:
        The mean and the 95th percentile over draws.

    Source:
        The sign-flip test of clusters, Canay, Romano & Shaikh 2017, Econometrica 85(3), 1013-1030.
    """
    values, weight = np.atleast_2d(np.asarray(is_correct, dtype=np.float64)), np.asarray(weights, dtype=np.float64)
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)
    sums = np.stack([np.bincount(codes, weights=weight * (row - 0.5)) for row in values])
    worst = np.empty(n_draws)
    for draw in range(n_draws):  # one at a time: all signs at once would take n_draws × n_clusters bytes
        worst[draw] = np.max(sums @ rng.choice([-1.0, 1.0], sums.shape[1])) / weight.sum()
    return 0.5 + float(worst.mean()), 0.5 + float(np.quantile(worst, 0.95))


def mean_interval(
    values: ArrayLike,
    clusters: ArrayLike,
    weights: ArrayLike | None = None,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """A mean of real values, such as a paired difference of two models, with a t interval clustered by post.

    Few clusters, or clusters that do not differ, say little about the spread: then the interval is at least as wide as
    `unseen_margins` allows.

    Args:
        values: [n].
        clusters: [n], any labels; with one cluster the interval is unbounded.
        weights: [n], > 0.
        level: coverage of the interval.
        bounds: the least and the largest possible value; by default no value is taken to be larger than those seen.

    Raises:
        ValueError: there are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values to average")
    weight = np.ones_like(array) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)
    n_clusters = int(codes.max()) + 1
    mean = float(np.average(array, weights=weight))
    if n_clusters < 2:
        return Estimate(mean, float("-inf"), float("inf"), array.size, n_clusters)
    error = clustered_standard_error(array, codes, weight)
    largest = float(np.abs(array).max())
    half = float(stdtrit(n_clusters - 1, 0.5 + level / 2)) * error
    below, above = unseen_margins(mean, error, n_clusters, bounds or (-largest, largest), level)
    return Estimate(mean, mean - max(half, below), mean + max(half, above), array.size, n_clusters)


def unseen_margins(
    mean: float, error: float, n_clusters: int, bounds: tuple[float, float], level: float = 0.95
) -> tuple[float, float]:
    """How far a mean may be above and below the truth because a kind of cluster was never drawn.

    A kind that makes up a share q of all clusters is missed by n of them with probability (1 - q)^n. So with
    q = 1 - ((1 - level) / 2)^(1 / n), the truth may be off by q times the way to the nearest or farthest possible
    value. It counts where a t interval fails: below MIN_CLUSTERS, or where all clusters have the same value.

    Args:
        mean: of the clusters that were drawn.
        error: its standard error.
        n_clusters: clusters drawn.
        bounds: the least and the largest possible value.
        level: coverage of the interval.

    Returns:
        The margins below and above; 0 where the t interval holds.

    Source:
        Clopper & Pearson 1934 for no occurrence in n draws.
    """
    scale = max(abs(bounds[0]), abs(bounds[1]))
    if n_clusters >= MIN_CLUSTERS and error > NO_SPREAD * scale:
        return 0.0, 0.0
    missed = 1 - ((1 - level) / 2) ** (1 / max(n_clusters, 1))
    return missed * max(mean - bounds[0], 0.0), missed * max(bounds[1] - mean, 0.0)
