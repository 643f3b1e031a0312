"""A run evaluated on its way: accuracies after so many training pairs, the points of a learning curve in one pass.

The points are in the run's folder, `curve/PAIRS/`: predictions pair by pair, and `point.json`, written last. The end of
the pass is no such point: it is the run itself.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lurker.errors import LurkerError
from lurker.files import read_json, write_json, write_parquet
from lurker.progress import quiet
from rm.evaluation.evaluate_run import margins_of_sets, tokenised_tests
from rm.evaluation.metrics import ALL, evaluation_table, prediction_table
from rm.evaluation.trained_run import TrainedRun
from rm.pairs.tokens import Indices
from rm.training.checkpoint import TrainingState
from rm.training.run_folder import MODEL, predictions_file

POINT = "point.json"


def point_folder(run_folder: Path, n_pairs: int) -> Path:
    """The folder of one point."""
    return run_folder / "curve" / str(n_pairs)


def point_predictions(run_folder: Path, n_pairs: int, pairs: str) -> Path:
    """PREDICTIONS on the test split of a pair set after n_pairs training pairs; those of the run at its end."""
    folder = point_folder(run_folder, n_pairs)
    return predictions_file(folder if folder.exists() else run_folder, pairs, "test")


def read_point(run_folder: Path, n_pairs: int) -> dict[str, Any]:
    """n_pairs, step, n_tokens, train_time_s, and the EVALUATIONS of the model over all subreddits."""
    return dict(read_json(point_folder(run_folder, n_pairs) / POINT))


def steps_of_points(points: Sequence[int], steps: Sequence[Indices]) -> dict[int, int]:
    """The point of each step after which the model is evaluated: the step whose end is nearest, at least one.

    Args:
        points: numbers of training pairs, each below all of them.
        steps: pairs of each step of the pass.

    Raises:
        LurkerError: two points have the same step, or one has the last.
    """
    ends = np.cumsum([step.size for step in steps])
    nearest = [int(np.abs(ends - point).argmin()) + 1 for point in points]
    if len({*nearest, len(steps)}) <= len(points):
        raise LurkerError(
            f"The sizes {', '.join(map(str, points))} of {int(ends[-1]):,} pairs do not fall on different steps of "
            f"about {int(ends[-1] / len(steps))} pairs.",
            "Choose sizes further apart, or fewer pairs in a step: `--set pairs_per_step=8`.",
        )
    return dict(zip(nearest, points, strict=True))


def point_recorder(
    run: TrainedRun, tests: dict[str, pl.DataFrame], steps: dict[int, int]
) -> Callable[[TrainingState], None]:
    """What the training loop calls after each step: it evaluates the model after the steps of the points.

    Args:
        run: whose model is in training.
        tests: PAIRS by name of their set.
        steps: as returned by `steps_of_points`.
    """
    sets = tokenised_tests(run, tests)

    def record(state: TrainingState) -> None:
        if (n_pairs := steps.get(state.step)) is None:
            return
        with quiet():
            margins = margins_of_sets(run, tests, sets)
        folder, rows = point_folder(run.folder, n_pairs), []
        for name, frame in tests.items():
            write_parquet(prediction_table(frame, margins[name]), predictions_file(folder, name, "test"))
            table = evaluation_table(frame, {MODEL: margins[name]}, run.run_id, name, "test")
            rows += table.filter(subreddit=ALL).to_dicts()
        facts = {"n_pairs": n_pairs, "step": state.step, "n_tokens": state.n_tokens}
        write_json({**facts, "train_time_s": round(state.train_time_s, 3), "evaluations": rows}, folder / POINT)

    return record
