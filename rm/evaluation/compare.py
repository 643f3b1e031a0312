"""Compare two runs, or a run and a baseline, on the same pairs: is the difference more than chance?"""

from dataclasses import replace

import polars as pl

from lurker.comparison import Comparison, compare_accuracy
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pairs
from lurker.predictions import require_current
from lurker.workspace import Workspace
from rm.evaluation.baselines import BASELINES
from rm.training.run_folder import MODEL, finished_run, predictions_file


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
    tested = read_pairs(workspace, pairs).filter(split=split).select("pair_id", "post_id", "chosen_id")
    tables = [
        _mean_correct(
            [
                require_current(read_predictions(workspace, run_id, pairs, split, predictor), tested, run_id, pairs)
                for run_id, predictor in predictors
            ]
        )
        for predictors in (firsts, seconds)
    ]
    both = tables[0].join(tables[1], on="pair_id", suffix="_second").join(tested, on="pair_id").sort("pair_id")
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
