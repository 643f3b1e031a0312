"""Two runs, or a run and a baseline, on the same pairs: is one better, or is it chance?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import binomtest

from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pairs
from lurker.stats import mean_interval
from lurker.workspace import Workspace
from rm.evaluation.baselines import BASELINES
from rm.training.run_folder import MODEL, finished_run, predictions_file

N_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two accuracies, first minus second, on the same pairs.

    low, high: its 95 % interval from a t statistic clustered by post; bootstrap_*: from resampled posts.
    mcnemar_p: two-sided, of pairs that only one of them gets right; it takes pairs as independent, so it is too sure
    where a post has many: the clustered intervals decide. Of several seeds together there are pairs that are right in
    part; it then counts which of the two gets a pair right more often.
    """

    n_pairs: int
    n_posts: int
    first_accuracy: float
    second_accuracy: float
    difference: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    only_first_right: int
    only_second_right: int
    mcnemar_p: float


def compare(first: NDArray[np.float64], second: NDArray[np.float64], posts: Any, seed: int = 0) -> Comparison:
    """Compare is_correct of two predictors, [n_pairs] each, pair by pair; posts: [n_pairs] labels.

    Sources: McNemar 1947 (the exact binomial form); Cameron, Gelbach & Miller 2008 for the bootstrap over clusters.
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
    """Two-sided p of pairs that only one of two predictors gets right; difference: [n_pairs], first minus second."""
    only_first, only_second = int((difference > 0).sum()), int((difference < 0).sum())
    n_differ = only_first + only_second
    return float(binomtest(only_first, n_differ).pvalue) if n_differ else 1.0


def compare_runs(workspace: Workspace, first: str, second: str, pairs: str, split: str) -> Comparison:
    """Compare two predictors on the pairs of a split that both have judged.

    first, second: a run, or several that differ by seed, as `RUN,RUN`: what they get right is averaged pair by pair.
    `RUN:tfidf` is a baseline that was fitted on the run's training pairs; as second, `tfidf` is that of the first.
    Errors: CallError when a run has not judged them or has no such baseline; LurkerError when they judged other pairs.
    """
    firsts = _named(first)
    seconds = [(run_id, second) for run_id, _ in firsts] if second in BASELINES else _named(second)
    tables = [
        _mean([_judged(workspace, run_id, pairs, split, predictor) for run_id, predictor in named])
        for named in (firsts, seconds)
    ]
    posts = read_pairs(workspace, pairs).select("pair_id", "post_id")
    both = tables[0].join(tables[1], on="pair_id", suffix="_second").join(posts, on="pair_id").sort("pair_id")
    if not both.height == tables[0].height == tables[1].height:
        raise LurkerError(
            f"{first} judged {tables[0].height:,} pairs of {pairs}, {second} {tables[1].height:,}; "
            f"{both.height:,} are the same.",
            f"Judge both on the same: `lurker rm evaluate RUN --pairs {pairs} --split {split}`.",
        )
    return compare(both["is_correct"].to_numpy(), both["is_correct_second"].to_numpy(), both["post_id"].to_numpy())


def _named(runs: str) -> list[tuple[str, str]]:
    """Run and predictor of each that is named."""
    named = []
    for part in runs.split(","):
        run_id, _, predictor = part.strip().partition(":")
        if predictor and predictor not in BASELINES:
            raise CallError(f"Run {run_id} has no baseline {predictor!r}.", f"Baselines: {', '.join(BASELINES)}.")
        named.append((run_id, predictor or MODEL))
    return named


def _judged(workspace: Workspace, run_id: str, pairs: str, split: str, predictor: str = MODEL) -> pl.DataFrame:
    """What a run's model, or a baseline of it, got right: pair_id, is_correct."""
    path = predictions_file(finished_run(workspace, run_id), pairs, split, predictor)
    if not path.exists():
        whose = "" if predictor == MODEL else f" with the baseline {predictor}"
        raise CallError(
            f"Run {run_id} has not judged {pairs} ({split}){whose}.",
            f"Judge it: `lurker rm evaluate {run_id} --pairs {pairs} --split {split}`.",
        )
    return pl.read_parquet(path).select("pair_id", "is_correct")


def _mean(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """The mean of is_correct over tables, of the pairs that all of them hold."""
    held = pl.concat(tables).group_by("pair_id").agg(pl.col("is_correct").mean(), n=pl.len())
    return held.filter(pl.col("n") == len(tables)).drop("n")


def _bootstrap(values: NDArray[np.float64], clusters: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of the mean when whole clusters are drawn with replacement."""
    sums, sizes = np.bincount(clusters, weights=values), np.bincount(clusters)
    rng = np.random.default_rng(seed)
    means = np.empty(N_RESAMPLES)
    for number in range(N_RESAMPLES):
        drawn = rng.integers(sums.size, size=sums.size)
        means[number] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
