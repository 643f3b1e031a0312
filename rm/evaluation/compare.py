"""Compare two runs, or a run and a baseline, on the same pairs: is the difference more than chance?"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pairs
from lurker.report import Displayed, ResultTable, true_minus
from lurker.stats import mean_interval
from lurker.workspace import Workspace
from rm.evaluation.baselines import BASELINES
from rm.training.run_folder import MODEL, finished_run, predictions_file

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
    second_accuracy: float
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

    def table(self) -> ResultTable:
        """One row per side, and the difference in a sentence."""
        sides = (
            (self.first, self.first_accuracy, self.only_first_right),
            (self.second, self.second_accuracy, self.only_second_right),
        )
        rows = [{"predictor": name, "accuracy": value, "only this one is right": n} for name, value, n in sides]
        title = f"{self.first} against {self.second} on {self.pairs} ({self.split})"
        return ResultTable(f"{title}: {self.n_pairs:,} pairs of {self.n_posts:,} posts", rows, self.sentence)

    @property
    def sentence(self) -> str:
        """The difference with its intervals, and whether it is more than chance."""
        shown = f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        bootstrap = f"[{self.bootstrap_low:+.3f}, {self.bootstrap_high:+.3f}] by bootstrap over posts"
        claim = "more than chance" if self.low > 0 or self.high < 0 else "not more than chance"
        said = f"{self.first} minus {self.second}: {shown}, {claim} ({bootstrap}; McNemar's p {self.mcnemar_p:.3f})."
        return true_minus(said)


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
    estimate = mean_interval(difference, posts)
    low, high = _bootstrap(difference, np.unique(posts, return_inverse=True)[1], seed)
    return Comparison(
        n_pairs=estimate.n,
        n_posts=estimate.n_clusters,
        first_accuracy=float(first.mean()),
        second_accuracy=float(second.mean()),
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
    from scipy.stats import binomtest  # slow to import, and no training needs it

    only_first, only_second = int((difference > 0).sum()), int((difference < 0).sum())
    n_differ = only_first + only_second
    return float(binomtest(only_first, n_differ).pvalue) if n_differ else 1.0


def compare_runs(workspace: Workspace, first: str, second: str, pairs: str, split: str) -> Comparison:
    """Compare two predictors on the pairs of a split that both were evaluated on.

    Args:
        workspace: holds the runs and the pair set.
        first: a run, or several that differ by seed, as `RUN,RUN`: what they get right is averaged pair by pair.
            `RUN:tfidf` is the baseline fitted on that run's training pairs.
        second: the same, or a baseline's name for the baseline of the first.
        pairs, split: what both were evaluated on.

    Raises:
        CallError: a run was not evaluated on these pairs, or has no such baseline.
        LurkerError: the two were evaluated on different pairs.
    """
    firsts = _predictors(first)
    seconds = [(run_id, second) for run_id, _ in firsts] if second in BASELINES else _predictors(second)
    tables = [
        _mean_correct(
            [read_predictions(workspace, run_id, pairs, split, predictor) for run_id, predictor in predictors]
        )
        for predictors in (firsts, seconds)
    ]
    posts = read_pairs(workspace, pairs).select("pair_id", "post_id")
    both = tables[0].join(tables[1], on="pair_id", suffix="_second").join(posts, on="pair_id").sort("pair_id")
    if not both.height == tables[0].height == tables[1].height:
        raise LurkerError(
            f"{first} was evaluated on {tables[0].height:,} pairs of {pairs}, {second} on {tables[1].height:,}; "
            f"only {both.height:,} are the same.",
            f"Evaluate both again: `lurker rm evaluate RUN --pairs {pairs} --split {split}`.",
        )
    first_correct, second_correct, posts_of_pairs = both["is_correct"], both["is_correct_second"], both["post_id"]
    comparison = compare_accuracy(first_correct.to_numpy(), second_correct.to_numpy(), posts_of_pairs.to_numpy())
    return replace(comparison, first=first, second=second, pairs=pairs, split=split)


def _predictors(runs: str) -> list[tuple[str, str]]:
    """(run, predictor) of each part of `RUN,RUN:BASELINE`."""
    predictors = []
    for part in runs.split(","):
        run_id, _, predictor = part.strip().partition(":")
        if predictor and predictor not in BASELINES:
            raise CallError(f"Run {run_id} has no baseline {predictor!r}.", f"Baselines: {', '.join(BASELINES)}.")
        predictors.append((run_id, predictor or MODEL))
    return predictors


def read_predictions(workspace: Workspace, run_id: str, pairs: str, split: str, predictor: str) -> pl.DataFrame:
    """The PREDICTIONS of a run's model, or of one of its baselines.

    Raises:
        CallError: it was not evaluated on these pairs.
    """
    path = predictions_file(finished_run(workspace, run_id), pairs, split, predictor)
    if not path.exists():
        name = f"Run {run_id}" if predictor == MODEL else f"The baseline {predictor} of run {run_id}"
        known = ", ".join(sorted(one.stem.removesuffix(f"-{split}") for one in path.parent.glob(f"*-{split}.parquet")))
        raise CallError(
            f"{name} was not evaluated on {pairs} ({split}).",
            f"Evaluate it: `lurker rm evaluate {run_id} --pairs {pairs} --split {split}`"
            + (f"; or choose what it was evaluated on: {known}." if known else "."),
        )
    return pl.read_parquet(path)


def _mean_correct(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """The mean of is_correct over tables, for the pairs that all of them have."""
    correct = pl.concat(table.select("pair_id", "is_correct") for table in tables)
    means = correct.group_by("pair_id").agg(pl.col("is_correct").mean(), n=pl.len())
    return means.filter(pl.col("n") == len(tables)).drop("n")


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
