"""Accuracies and paired differences whose intervals hold test posts and seeds, and the power to see a difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from lurker.stats import ACCURACY_GAIN, clustered_standard_error, unseen_margins

Z_95, Z_80 = 1.959964, 0.841621
"""Normal quantiles: a two-sided test at 5 %, found in 80 % of tests."""
ACCURACY = (0.0, 1.0)
"""Bounds of an accuracy."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and test pairs with its 95 % interval."""

    value: float
    low: float
    high: float
    error: float
    """standard error; infinite with one post"""
    n_posts: int

    @property
    def is_known(self) -> bool:
        """Whether the interval has ends: a single post gives none."""
        return bool(np.isfinite(self.error))

    @property
    def is_named(self) -> bool:
        """Whether the interval excludes 0."""
        return self.is_known and (self.low > 0 or self.high < 0)

    def smallest_effect(self) -> float:
        """The difference that 80 % of such tests would tell from 0."""
        return (Z_95 + Z_80) * self.error

    def posts_needed(self, effect: float) -> int | None:
        """Test posts that tell this difference from 0 in 80 % of tests; None where the error is unknown or 0."""
        if not self.is_known or self.error == 0:
            return None
        return ceil(self.n_posts * (self.smallest_effect() / effect) ** 2)


def over_posts_and_seeds(values: ArrayLike, posts: ArrayLike, bounds: tuple[float, float] = ACCURACY_GAIN) -> Estimate:
    """The mean of values by seed and pair.

    The variance of posts is that of the seeds' mean, clustered; that of seeds is added, as far as there are several.
    With one seed the interval holds for this model alone.

    Args:
        values: [n_seeds, n_pairs]: right or wrong, or a difference of the two.
        posts: [n_pairs], any labels.
        bounds: the least and the largest possible value.
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    codes = np.unique(np.asarray(posts), return_inverse=True)[1].astype(np.int64)
    n_posts = int(codes.max()) + 1
    of_posts = clustered_standard_error(table.mean(axis=0), codes, np.ones(table.shape[1])) ** 2
    return combine([float(table.mean())], [of_posts], [n_posts], seeds=table.mean(axis=1), bounds=bounds)


def combine(
    values: Sequence[float],
    variances: Sequence[float],
    n_posts: Sequence[int],
    *,
    seeds: ArrayLike = (),
    bounds: tuple[float, float] = ACCURACY_GAIN,
) -> Estimate:
    """The plain mean of estimates from different posts.

    Where an estimate has few posts, or posts that do not differ, the interval holds what they may have missed.

    Args:
        values, variances: of each estimate.
        n_posts: of each, the clusters of its variance.
        seeds: the mean by seed; its variance counts from two seeds on.
        bounds: the least and the largest possible value of each.

    Source:
        Satterthwaite 1946 for the degrees of freedom of a sum of variances.
    """
    parts = [variance / len(values) ** 2 for variance in variances]
    freedom = [max(n - 1, 1) for n in n_posts]
    by_seed = np.asarray(seeds, dtype=np.float64)
    if by_seed.size > 1:
        parts.append(float(by_seed.var(ddof=1)) / by_seed.size)
        freedom.append(by_seed.size - 1)
    value, variance = float(np.mean(values)), float(sum(parts))
    if not np.isfinite(variance):
        return Estimate(value, -np.inf, np.inf, np.inf, sum(n_posts))
    squares = sum(part**2 / n for part, n in zip(parts, freedom, strict=True))
    half = float(stdtrit(variance**2 / squares, 0.975)) * variance**0.5 if squares > 0 else 0.0
    missed = [
        unseen_margins(one, of_posts**0.5, n, bounds)
        for one, of_posts, n in zip(values, variances, n_posts, strict=True)
    ]
    below, above = (max(half, sum(margins) / len(values)) for margins in zip(*missed, strict=True))
    error = max(variance**0.5, max(below, above) / Z_95 if max(below, above) > half else 0.0)
    return Estimate(value, value - below, value + above, error, sum(n_posts))
