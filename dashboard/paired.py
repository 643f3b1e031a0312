"""The paired difference of two runs, or of two groups of runs, from what both were tested on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import polars as pl

from dashboard import queries
from dashboard.pairs import pairs_file
from dashboard.queries import FileVersion, version
from lurker.comparison import Comparison, compare_accuracy
from lurker.errors import LurkerError
from lurker.predictions import require_current
from lurker.schema import PREDICTIONS
from lurker.workspace import Workspace


def compare_predictions(
    workspace: Workspace, first: Sequence[str], second: Sequence[str], pairs: str, split: str, names: tuple[str, str]
) -> Comparison:
    """The difference of two runs, or of two groups of runs that differ by seed, pair by pair.

    Args:
        first, second: runs; what those of one side get right is averaged.
        pairs, split: what all of them were tested on.
        names: of the two sides, for the sentence.

    Raises:
        LurkerError: a run was not tested on these pairs, a file is damaged, or both sides share no pair.
    """
    sides = []
    for runs in (first, second):
        paths = [workspace.folder("runs", run) / "predictions" / f"{pairs}-{split}.parquet" for run in runs]
        for run, path in zip(runs, paths, strict=True):
            if not path.exists():
                step = f"Evaluate it: `lurker rm evaluate {run} --pairs {pairs} --split {split}`."
                raise LurkerError(f"Run {run} was not evaluated on {pairs} ({split}).", step)
        sides.append(tuple(version(path) for path in paths))
    return _compared(pairs_file(workspace, pairs), sides[0], sides[1], pairs, split, names)


@lru_cache(maxsize=64)
def _compared(
    file: FileVersion,
    first: tuple[FileVersion, ...],
    second: tuple[FileVersion, ...],
    pairs: str,
    split: str,
    names: tuple[str, str],
) -> Comparison:
    tested = queries.tested_pairs(file, [*first, *second])
    tables = [_mean_correct(side, tested, pairs) for side in (first, second)]
    both = tables[0].join(tables[1], on="pair_id", suffix="_second").join(tested, on="pair_id").sort("pair_id")
    if not both.height == tables[0].height == tables[1].height or both.is_empty():
        counts = " and ".join(f"{table.height:,}" for table in tables)
        raise LurkerError(f"The runs were evaluated on {counts} pairs of {pairs}, and {both.height:,} are the same.")
    compared = compare_accuracy(
        both["is_correct"].to_numpy(), both["is_correct_second"].to_numpy(), both["post_id"].to_numpy()
    )
    return replace(compared, first=names[0], second=names[1], pairs=pairs, split=split)


def _mean_correct(files: tuple[FileVersion, ...], pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """The mean of is_correct over files, for the pairs that all of them have."""
    tables = [
        require_current(queries.read_table(file, PREDICTIONS), pairs, file.path.parents[1].name, name) for file in files
    ]
    correct = pl.concat(table.select("pair_id", "is_correct") for table in tables)
    means = correct.group_by("pair_id").agg(pl.col("is_correct").mean(), n=pl.len())
    return means.filter(pl.col("n") == len(files)).drop("n")
