"""The difference of two predictors on the same pairs, clustered by post: is it more than chance?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from lurker.decimals import difference, interval, p_value, signed
from lurker.report import Displayed, ResultTable
from lurker.stats import ACCURACY_GAIN, accuracy_interval, mean_interval

N_RESAMPLES = 10_000
"""Draws of the bootstrap."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Comparison(Displayed):
    """The difference of two accuracies, first minus second, on the same pairs.

    McNemar's test takes pairs as independent, so its p is too small where a post has many: rely on the clustered
    intervals. When a side is several seeds, a pair can be partly right; the test then counts which side gets it right
    more often.
    """

    first: str = "first"
    """run or runs, as named in the call"""
    second: str = "second"
    """runs, or a baseline"""
    pairs: str = ""
    """pair set"""
    split: str = ""
    """its split"""
    n_pairs: int
    n_posts: int
    first_accuracy: float
    first_ends: tuple[float, float]
    """95 % interval of the first accuracy, clustered by post"""
    second_accuracy: float
    second_ends: tuple[float, float]
    """95 % interval of the second accuracy"""
    difference: float
    """first minus second"""
    low: float
    """lower end of the 95 % interval of the difference: t statistic, clustered by post"""
    high: float
    """upper end"""
    bootstrap_low: float
    """lower end of the 95 % interval from resampled posts"""
    bootstrap_high: float
    """upper end"""
    only_first_right: int
    """pairs that only the first gets right"""
    only_second_right: int
    """pairs that only the second gets right"""
    mcnemar_p: float
    """two-sided p of those two counts"""

    @property
    def sentence(self) -> str:
        """What may be claimed: a difference is named only if its clustered interval excludes 0."""
        return told_apart(self.first, self.second, (self.difference, self.low, self.high), f" on {self.pairs}")

    def table(self) -> ResultTable:
        """One row per side, and the difference in words."""
        sides = (
            (self.first, self.first_accuracy, self.first_ends, self.only_first_right),
            (self.second, self.second_accuracy, self.second_ends, self.only_second_right),
        )
        rows = [
            {"predictor": name, "accuracy": interval(value, *ends), "only this one is right": n}
            for name, value, ends, n in sides
        ]
        counts = f"{self.n_pairs:,} pairs of {self.n_posts:,} posts"
        resampled = f"{signed(self.bootstrap_low)}, {signed(self.bootstrap_high)}"
        tests = f"Bootstrap over posts [{resampled}]; McNemar's p {p_value(self.mcnemar_p)}."
        title = f"{self.first} against {self.second} on {self.pairs} ({self.split}): {counts}"
        return ResultTable(title, rows, f"{self.sentence}\n{tests}")


def told_apart(first: str, second: str, found: tuple[float, float, float], where: str = "") -> str:
    """The sentence about two accuracies.

    Args:
        first, second: what is compared.
        found: first minus second, and its 95 % interval.
        where: " on TEST".
    """
    value, low, high = found
    if low <= 0 <= high:
        return f"{first} and {second} are not told apart{where}: {difference(*found)}."
    better, worse = (first, second) if value > 0 else (second, first)
    ends = sorted((abs(low), abs(high)))
    return f"{better} is more accurate than {worse}{where} by {interval(abs(value), *ends)}."


def compare_accuracy(
    first: NDArray[np.float64], second: NDArray[np.float64], posts: ArrayLike, seed: int = 0
) -> Comparison:
    """Compare two predictors pair by pair.

    Args:
        first, second: is_correct of each predictor, [n_pairs].
        posts: post of each pair, [n_pairs].
        seed: of the bootstrap.

    Source:
        McNemar 1947 (the exact binomial form); Cameron, Gelbach & Miller 2008 for the bootstrap over clusters.
    """
    difference = first - second
    sides = [accuracy_interval(side, posts) for side in (first, second)]
    estimate = mean_interval(difference, posts, bounds=ACCURACY_GAIN)
    low, high = _bootstrap(difference, np.unique(posts, return_inverse=True)[1], seed)
    return Comparison(
        n_pairs=estimate.n,
        n_posts=estimate.n_clusters,
        first_accuracy=float(first.mean()),
        first_ends=(sides[0].low, sides[0].high),
        second_accuracy=float(second.mean()),
        second_ends=(sides[1].low, sides[1].high),
        difference=estimate.value,
        low=estimate.low,
        high=estimate.high,
        bootstrap_low=low,
        bootstrap_high=high,
        only_first_right=int((difference > 0).sum()),
        only_second_right=int((difference < 0).sum()),
        mcnemar_p=mcnemar_p(difference),
    )


def mcnemar_p(difference: NDArray[np.float64]) -> float:
    """McNemar's two-sided p over the pairs that only one of two predictors gets right.

    Args:
        difference: is_correct of the first minus that of the second, [n_pairs].
    """
    only_first, only_second = int((difference > 0).sum()), int((difference < 0).sum())
    n_differ = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), n_differ, 0.5))) if n_differ else 1.0


def _bootstrap(values: NDArray[np.float64], clusters: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the mean over N_RESAMPLES draws of entire clusters with replacement."""
    sums, sizes = np.bincount(clusters, weights=values), np.bincount(clusters)
    rng = np.random.default_rng(seed)
    means = np.empty(N_RESAMPLES)
    for number in range(N_RESAMPLES):
        drawn = rng.integers(sums.size, size=sums.size)
        means[number] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
