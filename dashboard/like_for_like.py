"""The same model at the same size trained on each pair set, all on the hard test: the one fair comparison of sets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from dashboard.documents import RunResult
from dashboard.paired import compare_predictions
from lurker.comparison import Comparison
from lurker.pair_sets import HARD_TEST
from lurker.workspace import Workspace

MODEL, TFIDF = "model", "tfidf"
_ROWS: dict[str, Any] = {
    "pairs": pl.String,
    "accuracy": pl.Float64,
    "accuracy_low": pl.Float64,
    "accuracy_high": pl.Float64,
    **dict.fromkeys(("tfidf", "tfidf_low", "tfidf_high"), pl.Float64),
    "n_seeds": pl.Int64,
    "runs": pl.List(pl.String),
}


@dataclass(frozen=True, slots=True)
class LikeForLike:
    """Runs that differ by their pair set and seed only."""

    model: str
    n_parameters: int
    n_train_pairs: int
    rows: pl.DataFrame
    """pairs, accuracy and tfidf (null if it was not fitted) with their ends, n_seeds, runs; by pair set"""


def like_for_like(runs: Iterable[RunResult], communities: Mapping[str, Iterable[str]]) -> LikeForLike | None:
    """The model, settings and size with which the most pair sets were trained, then the most pairs, then parameters.

    Which group is shown depends on no accuracy.

    Args:
        runs: all finished runs.
        communities: of each pair set; runs on some of them do not stand for the set.
    """
    groups: dict[tuple[str, int, int, str], list[RunResult]] = {}
    for run in runs:
        is_whole = run.pairs in communities and set(run.subreddits) == set(communities[run.pairs])
        if is_whole and MODEL in run.tests.get(HARD_TEST, {}):
            groups.setdefault((run.model, run.n_parameters, run.n_train_pairs, run.settings), []).append(run)
    if not groups:
        return None

    def rank(key: tuple[str, int, int, str]) -> tuple[int, int, int, int, str]:
        model, n_parameters, n_train_pairs, settings = key
        return len({run.pairs for run in groups[key]}), n_train_pairs, n_parameters, len(groups[key]), model + settings

    model, n_parameters, n_train_pairs, settings = max(groups, key=rank)
    of_set: dict[str, dict[int, RunResult]] = {}
    for run in sorted(groups[model, n_parameters, n_train_pairs, settings], key=lambda run: run.run_id):
        of_set.setdefault(run.pairs, {}).setdefault(run.seed, run)
    rows = [_mean(name, list(by_seed.values())) for name, by_seed in sorted(of_set.items())]
    return LikeForLike(model, n_parameters, n_train_pairs, pl.DataFrame(rows, schema=_ROWS, orient="row"))


def _mean(name: str, runs: list[RunResult]) -> tuple[object, ...]:
    """A row of `_ROWS`: means over seeds; the interval is of the test posts."""
    model = np.mean([run.tests[HARD_TEST][MODEL] for run in runs], axis=0).tolist()
    baselines = [run.tests[HARD_TEST][TFIDF] for run in runs if TFIDF in run.tests[HARD_TEST]]
    tfidf = np.mean(baselines, axis=0).tolist() if baselines else [None] * 3
    return name, *model, *tfidf, len(runs), [run.run_id for run in runs]


def paired(workspace: Workspace, group: LikeForLike, first: str, second: str) -> Comparison:
    """The difference of two pair sets on the hard test, pair by pair, as `lurker rm compare` prints it.

    Raises:
        LurkerError: predictions are missing or damaged.
    """
    runs = dict(group.rows.select("pairs", "runs").iter_rows())
    return compare_predictions(workspace, runs[first], runs[second], HARD_TEST, "test", (first, second))
