"""The cells of an experiment: training runs whose ids follow from their content, each run once, here or on Ray."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lurker.config import fingerprint
from lurker.engine import Engine, Resources, gpus_available, run_tasks, running
from lurker.pair_sets import HARD_TEST, has_hard_test, split_of
from lurker.progress import progress, reported_in, reports, say
from lurker.workspace import Workspace, read_json, write_json
from rm.models.ladder import LADDER, slug
from rm.pairs.subsets import content_digest, texts
from rm.pairs.tokens import train_tokenizer
from rm.runs.train_run import train_run
from rm.training.run_folder import MODEL, RESULT, RunConfig

TFIDF = "tfidf"
"""The model that is no run: `lurker.pairwise.fit_tfidf`."""
REPORT = "progress.txt"
"""In a run's folder while its cell is under way: how far it is."""
STEP_OVERHEAD = 20_000
"""Parameters whose arithmetic takes as long as what every response costs besides: for the remaining time only."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training run of an experiment."""

    run_id: str
    config: RunConfig
    n_train_pairs: int

    @property
    def is_run(self) -> bool:
        """Whether it leaves a run's folder."""
        return self.config.model != TFIDF

    @property
    def cost(self) -> float:
        """Work, in arbitrary units, for the remaining time and the order of cells: parameters times pairs."""
        return (nominal_parameters(self.config.model) + STEP_OVERHEAD) * max(self.n_train_pairs, 500)


def cell(experiment: str, config: RunConfig, n_train_pairs: int, data_digest: str) -> Cell:
    """The cell of a config; its run id changes with the config and the pairs, so a stale run is never taken for it."""
    model = slug(config.model)
    place = "-".join(config.subreddits) if len(config.subreddits) == 1 else str(n_train_pairs)
    name = f"{experiment}-{model}-{place}-s{config.train.seed}-{fingerprint(config, data_digest)[:8]}"
    return Cell(re.sub(r"[^A-Za-z0-9._-]", "-", name)[-100:].lstrip("-._"), config, n_train_pairs)


def run_cells(
    workspace: Workspace, cells: Sequence[Cell], engine: Engine, n_workers: int | None
) -> dict[str, dict[str, Any]]:
    """Train the cells that have no result yet, the costly ones first; the result of each by its run id.

    Each cell writes its own run folder as it ends, so a stopped experiment goes on with the cells that are left.
    """
    root = workspace.root.resolve()
    run_waiting(
        workspace,
        cells,
        is_done=lambda cell: (workspace.folder("runs", cell.run_id) / RESULT).exists(),
        function=run_cell,
        task=lambda cell: {"root": str(root), "run_id": cell.run_id, "config": cell.config},
        engine=engine,
        n_workers=n_workers,
    )
    return {cell.run_id: read_json(workspace.folder("runs", cell.run_id) / RESULT) for cell in cells}


def run_waiting(
    workspace: Workspace,
    cells: Sequence[Cell],
    *,
    is_done: Callable[[Cell], bool],
    function: Callable[..., Any],
    task: Callable[[Cell], dict[str, Any]],
    engine: Engine,
    n_workers: int | None,
) -> None:
    """Call `function(**task(cell))` for each cell that is not done, the costly ones first, and show those under way."""
    waiting = sorted((cell for cell in cells if not is_done(cell)), key=lambda cell: (-cell.cost, cell.run_id))
    if len(waiting) < len(cells):
        say(f"{len(cells) - len(waiting)} of {len(cells)} cells are finished already.")
    total = sum(cell.cost for cell in waiting) or 1.0
    tasks = [task(cell) for cell in waiting]
    told = [(cell.run_id, workspace.folder("runs", cell.run_id) / REPORT) for cell in waiting]
    for _, file in told:
        file.unlink(missing_ok=True)  # of a cell that was killed
    errors = {}
    with (
        running(engine),
        progress(f"{len(waiting)} cells", 100.0, "% of the work", notes=lambda: reports(told)) as advance,
    ):
        n_gpus = min(1, gpus_available(engine)) if waiting else 0
        needs = [Resources(gpus=n_gpus if cell.is_run else 0) for cell in waiting]
        for index, outcome in run_tasks(function, tasks, engine=engine, n_workers=n_workers, resources=needs):
            advance(100.0 * waiting[index].cost / total)
            if outcome.error is not None:
                errors[waiting[index].run_id] = outcome.error
    for run_id, error in errors.items():
        say(f"{run_id} failed: {error}")
    for error in errors.values():
        raise error


def run_cell(root: str, run_id: str, config: RunConfig) -> str:
    """Train one cell: what a worker is sent."""
    train_cell(Workspace(Path(root)), run_id, config)
    return run_id


def train_cell(workspace: Workspace, run_id: str, config: RunConfig) -> None:
    """Train and judge the run of a cell where it is not finished; what it does is told where `run_waiting` looks."""
    with reported_in(workspace.folder("runs", run_id) / REPORT):
        train_run(workspace, run_id, config, resume=True)


def evaluations(workspace: Workspace, run_id: str, test_pairs: str) -> pl.DataFrame:
    """The EVALUATIONS of a finished cell on the experiment's test."""
    table = pl.read_parquet(workspace.folder("runs", run_id) / "evaluations.parquet")
    return table.filter((pl.col("pairs") == test_pairs) & (pl.col("split") == "test"))


def accuracy_rows(table: pl.DataFrame, config: RunConfig, *, with_baselines: bool) -> list[dict[str, Any]]:
    """Rows of EVALUATIONS as SCALING and TRANSFER name them: predictor is the model's SPEC or the baseline."""
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


def mean_accuracy(rows: pl.DataFrame) -> str:
    """The mean over seeds of accuracy and of the ends of its interval, for people to read."""
    if rows.is_empty():
        return "–"
    value, low, high = rows.select("accuracy", "accuracy_low", "accuracy_high").mean().row(0)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def test_set(workspace: Workspace, pairs: str, wanted: str | None) -> str:
    """The pair set an experiment is judged on: the one wanted, else the hard test where there is one, else its own."""
    if wanted:
        return wanted
    if not has_hard_test(workspace):
        say(f"There is no pair set {HARD_TEST}: judged on the test split of {pairs}.")
        return pairs
    return HARD_TEST


def shared_tokenizer(workspace: Workspace, folder: Path, training: pl.DataFrame, vocabulary_size: int) -> str:
    """Train the tokenizer that the cells share, on the training split's texts; its folder, relative to the workspace.

    The folder's name is a digest of what it is trained on: made once.
    """
    target = folder / f"tokenizer-{fingerprint(content_digest(training), vocabulary_size)}"
    if not (target / "complete.json").exists():
        train_tokenizer(texts(training), vocabulary_size).save_pretrained(target)
        write_json({"vocabulary_size": vocabulary_size, "n_pairs": training.height}, target / "complete.json")
    return str(target.relative_to(workspace.root))


def data_digest(frame: pl.DataFrame, pairs: str, judged: pl.DataFrame) -> str:
    """A digest of all that an experiment's cells read."""
    parts = [split_of(frame, pairs, split) for split in ("train", "validation")]
    return fingerprint(*(content_digest(part) for part in (*parts, judged)))


def nominal_parameters(spec: str) -> float:
    """A ladder model's size by its name; a guess for a pretrained one; TF-IDF costs a pair and no more."""
    if spec == TFIDF:
        return 0.0
    if spec not in LADDER:
        return 1e8
    number, unit = re.fullmatch(r"scratch-(\d+)([km])", spec).groups()  # type: ignore[union-attr]
    return float(number) * {"k": 1e3, "m": 1e6}[unit]
