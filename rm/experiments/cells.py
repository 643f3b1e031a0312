"""The cells of an experiment: training runs whose ids follow from their content, each run once, locally or on Ray."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from lurker.config import fingerprint
from lurker.engine import Resources, gpus_available, run_tasks, running
from lurker.errors import LurkerError
from lurker.files import write_json
from lurker.learning_curves import read_learning_curve
from lurker.pair_sets import split_of
from lurker.progress import progress, reported_in, reports, say, timed
from lurker.workspace import Workspace
from rm.evaluation.baselines import Which
from rm.experiments.cell_work import (
    LOADING,
    STEP_OVERHEAD,
    TRAINING,
    CellWork,
    cell_work,
    in_order,
    nominal_parameters,
)
from rm.experiments.config import Experiment
from rm.experiments.remaining import CellTime, CellTimes
from rm.experiments.results import Failure, record_cells, require_finished
from rm.models.ladder import TFIDF, slug
from rm.pairs.subsets import content_digest, texts
from rm.pairs.tokens import train_tokenizer
from rm.runs.train_run import lacks_baselines, train_run
from rm.training.checkpoint import has_checkpoint
from rm.training.identity import model_digest
from rm.training.run_folder import MODEL, RESULT, RunConfig, describe_run, run_writer, short_name

REPORT = "progress.txt"
"""In a run's folder while its cell is running: how far it is."""
GPU_FROM = 1_000_000
"""Parameters from which a cell reserves a GPU, if there is one; smaller models run on cores, several at once."""
BASE_MEMORY_BYTES = 2**30
"""Memory of a cell besides its model: Python, torch and the pairs."""
BYTES_PER_PARAMETER = 16
"""float32 weights, gradients and the two moments of AdamW."""
LIBRARIES = ("transformers.models.llama.modeling_llama", "sklearn.feature_extraction.text", "sklearn.linear_model")
"""What a run imports when it first needs it: seconds in a worker's first cell and none in the others, so apart."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training run of an experiment."""

    run_id: str
    config: RunConfig
    n_train_pairs: int
    n_available: int = 0
    """training pairs that the subset is taken from; as many as it has when 0"""
    baselines: Which = "all"
    """which are fitted beside it; where cells share their pairs, one with baselines is enough"""

    @property
    def is_run(self) -> bool:
        """Whether it leaves a run's folder."""
        return self.config.model != TFIDF

    @property
    def cost(self) -> float:
        """Work in arbitrary units, parameters times pairs: orders the cells."""
        return (nominal_parameters(self.config.model) + STEP_OVERHEAD) * max(self.n_train_pairs, 500)

    def resources(self, *, has_gpu: bool) -> Resources:
        """What the cell needs.

        Args:
            has_gpu: whether the machine or cluster has a GPU.
        """
        n_parameters = nominal_parameters(self.config.model)
        memory_bytes = BASE_MEMORY_BYTES + int(BYTES_PER_PARAMETER * n_parameters)
        return Resources(cpus=1, gpus=int(has_gpu and n_parameters >= GPU_FROM), memory_bytes=memory_bytes)


def make_cell(
    experiment: str, config: RunConfig, n_train_pairs: int, data_digest: str, *, n_available: int = 0
) -> Cell:
    """The cell of a config.

    Its run id changes with the config and with the pairs, so a finished run is reused only for the same content.

    Args:
        experiment: first part of the run id.
        config: the run.
        n_train_pairs: pairs it trains on.
        data_digest: of the pairs that the experiment reads.
        n_available: training pairs that the subset is taken from; 0 for all.
    """
    variant = config.subreddits[0] if len(config.subreddits) == 1 else str(n_train_pairs)
    of_model = model_digest(config.model) if config.model != TFIDF else None
    digest = fingerprint(describe_run(config), data_digest, *([of_model] if of_model else []))[:8]
    name = f"{experiment}-{slug(config.model)}-{variant}-s{config.train.seed}-{digest}"
    return Cell(short_name(re.sub(r"[^A-Za-z0-9._-]", "-", name)), config, n_train_pairs, n_available)


def train_cells(experiment: Experiment, cells: Sequence[Cell]) -> tuple[list[Cell], tuple[Failure, ...]]:
    """Train and evaluate the cells that have no result yet.

    Returns:
        The finished cells, in order, and the failures.

    Raises:
        LurkerError: every cell failed.
    """
    root = str(experiment.workspace.root.resolve())
    failures = run_cells(
        experiment,
        cells,
        is_finished=lambda cell: has_result(experiment.workspace, cell),
        function=train_cell_task,
        arguments=lambda cell: {
            "root": root,
            "run_id": cell.run_id,
            "config": cell.config,
            "baselines": cell.baselines,
        },
    )
    finished = [cell for cell in cells if has_result(experiment.workspace, cell)]
    require_finished(len(finished), failures)
    return finished, failures


def run_cells(
    experiment: Experiment,
    cells: Sequence[Cell],
    *,
    is_finished: Callable[[Cell], bool],
    function: Callable[..., Any],
    arguments: Callable[[Cell], dict[str, Any]],
) -> tuple[Failure, ...]:
    """Run the cells that are not finished; one that fails does not stop the others.

    Args:
        experiment: where and how they run.
        cells: distinct cells.
        is_finished: whether a cell needs no run.
        function: picklable; called as `function(**arguments(cell))` in a worker, it returns the cell's CellTime.
        arguments: picklable keyword arguments of a cell.

    Returns:
        The cells that failed, by name.
    """
    waiting = in_order([cell for cell in cells if not is_finished(cell)])
    if len(waiting) < len(cells):
        say(f"{len(cells) - len(waiting)} of {len(cells)} cells are already finished.")
    if writers := [by for cell in waiting if (by := run_writer(experiment.workspace, cell.run_id))]:
        others = ", ".join(sorted(set(writers)))
        say(f"{others} trains {len(writers)} of these cells already: this call waits for them and trains the others.")
    run_ids = [cell.run_id for cell in cells]
    record_cells(experiment, run_ids, ())
    if not waiting:
        return ()
    report_files = [(cell.run_id, experiment.workspace.folder("runs", cell.run_id) / REPORT) for cell in waiting]
    for _, file in report_files:
        with suppress(OSError):  # the cell itself reports what is wrong with its folder
            file.unlink(missing_ok=True)  # left behind by a cell that was killed
    failures = []
    finished = [cell for cell in cells if cell not in waiting]
    works = [
        left_of(work, file.parent)
        for work, (_, file) in zip(cell_work([*finished, *waiting])[len(finished) :], report_files, strict=True)
    ]
    times = CellTimes(works, [file for _, file in report_files])
    with (
        running(experiment.engine),
        progress(f"{len(waiting)} cells", 100.0, "%", notes=lambda: reports(report_files), estimate=times),
    ):
        has_gpu = gpus_available(experiment.engine) > 0
        outcomes = run_tasks(
            function,
            [arguments(cell) for cell in waiting],
            engine=experiment.engine,
            n_workers=experiment.n_workers,
            resources=[cell.resources(has_gpu=has_gpu) for cell in waiting],
        )
        for index, outcome in outcomes:
            if outcome.error is not None:
                failures.append(Failure(waiting[index].run_id, _in_words(outcome.error)))
            times.finish(index, outcome.value)
    failures.sort(key=lambda failure: failure.cell)
    record_cells(experiment, run_ids, failures)
    return tuple(failures)


def _in_words(error: BaseException) -> str:
    return str(error) if isinstance(error, LurkerError) else f"{type(error).__name__}: {error}"


def train_cell_task(root: str, run_id: str, config: RunConfig, baselines: Which) -> CellTime:
    """Train one cell, in a worker; how long it took."""
    workspace = Workspace(Path(root))
    with timed_cell(workspace, run_id) as took:
        train_run(workspace, run_id, config, resume=True, baselines=baselines, waits=True)
    return took()


@contextmanager
def timed_cell(workspace: Workspace, run_id: str) -> Iterator[Callable[[], CellTime]]:
    """Within, a cell's progress goes where `run_cells` reads it; what is yielded tells afterwards how long it took."""
    folder, started = workspace.folder("runs", run_id), time.monotonic()
    with suppress(OSError):  # the run itself says what is wrong with its folder
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with reported_in(folder / REPORT) as parts:
            with timed(LOADING):
                for library in LIBRARIES:
                    import_module(library)
            yield lambda: CellTime(
                seconds=time.monotonic() - started,
                parts=parts.seconds,
                share_trained=_share_trained(folder) or 1.0,
                share_before=parts.begun.get(TRAINING, 0.0),
            )
    finally:
        with suppress(OSError):  # nothing is left of a run that could not start
            folder.rmdir()


def left_of(work: CellWork, folder: Path) -> CellWork:
    """What an earlier start has left of a cell's work."""
    if (folder / RESULT).exists():
        return work.without_training()
    return replace(work, begun=(_share_trained(folder) or 0.0) if has_checkpoint(folder) else 0.0)


def _share_trained(folder: Path) -> float | None:
    """Share of the planned steps that a run has trained; None for one that tells no plan, such as TF-IDF."""
    curve = read_learning_curve(folder)
    planned = curve.planned_steps or 0
    return min(len(curve.steps) / planned, 1.0) if planned > 0 else None


def result_file(workspace: Workspace, cell: Cell) -> Path:
    """The result of a cell's run, written last."""
    return workspace.folder("runs", cell.run_id) / RESULT


def has_result(workspace: Workspace, cell: Cell) -> bool:
    """Whether a cell's run is finished and has its baselines."""
    file = result_file(workspace, cell)
    return file.exists() and not lacks_baselines(file.parent, cell.baselines)


def read_evaluations(workspace: Workspace, run_id: str, test_pairs: str) -> pl.DataFrame:
    """The EVALUATIONS of a finished cell on the experiment's test."""
    table = pl.read_parquet(workspace.folder("runs", run_id) / "evaluations.parquet")
    return table.filter((pl.col("pairs") == test_pairs) & (pl.col("split") == "test"))


def accuracy_rows(table: pl.DataFrame, config: RunConfig, *, with_baselines: bool) -> list[dict[str, Any]]:
    """Rows of EVALUATIONS in the columns of SCALING and TRANSFER; predictor is the model's SPEC or the baseline."""
    kept = table if with_baselines else table.filter(pl.col("predictor") == MODEL)
    rows = []
    for row in kept.to_dicts():
        is_baseline = row["predictor"] != MODEL
        rows.append(
            {
                **{name: row[name] for name in ("n_test_pairs", "n_test_posts", "log_loss", "subreddit")},
                **{name: row[name] for name in ("accuracy", "accuracy_low", "accuracy_high")},
                "pairs": config.pairs,
                "test_pairs": row["pairs"],
                "predictor": row["predictor"] if is_baseline else config.model,
                "is_baseline": is_baseline,
                "seed": config.train.seed,
                "run_id": None if is_baseline else row["run_id"],
            }
        )
    return rows


def shared_tokenizer(experiment: Experiment, training: pl.DataFrame, vocabulary_size: int) -> str:
    """The tokenizer that the cells share, trained once on the training split's texts.

    Returns:
        Its folder, relative to the workspace; the name is a digest of what it was trained on.
    """
    target = experiment.folder / f"tokenizer-{fingerprint(content_digest(training), vocabulary_size)}"
    if not (target / "complete.json").exists():
        train_tokenizer(texts(training), vocabulary_size).save_pretrained(target)
        write_json({"vocabulary_size": vocabulary_size, "n_pairs": training.height}, target / "complete.json")
    return str(target.relative_to(experiment.workspace.root))


def data_digest(frame: pl.DataFrame, pairs: str, test: pl.DataFrame) -> str:
    """A digest of all pairs that an experiment's cells read.

    Args:
        frame: PAIRS trained on.
        pairs: name of their set.
        test: PAIRS tested on.
    """
    parts = [split_of(frame, pairs, split) for split in ("train", "validation")]
    return fingerprint(*(content_digest(part) for part in (*parts, test)))
