"""Search for training settings on validation pairs alone: one stage of candidates after another, keeping the best.

No test is read. All candidates are evaluated on the validation split of one pair set, whatever they trained on, by log
loss at the best scale of their margins, so rewards that differ in scale only are equal. Accuracy, which is coarser, is
reported next to it.

Source: coordinate search; Bergstra & Bengio 2012 for why few fields matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from lurker.arguments import as_list, require_kind
from lurker.config import to_dict
from lurker.decimals import accuracy_text
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import PairSet, read_pairs, require_pair_set, split_of
from lurker.pairwise import best_scale
from lurker.report import ResultTable
from lurker.schema import SEARCH, check
from lurker.stats import accuracy_interval, mean_interval
from lurker.workspace import Workspace
from rm.evaluation.metrics import Margins, is_correct, model_margins, prediction_table
from rm.evaluation.trained_run import load_trained
from rm.experiments.cells import Cell, make_cell, result_file, run_cells, timed_cell
from rm.experiments.config import Experiment, experiment_on, make_config
from rm.experiments.remaining import CellTime
from rm.experiments.results import ExperimentResult, Failure, record_cells, require_finished
from rm.models.ladder import require_loadable
from rm.pairs.subsets import content_digest
from rm.pairs.tokenised import CONFOUNDERS
from rm.runs.train_run import train_run
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import RunConfig, model_of_run, predictions_file
from rm.training.settings import as_settings
from rm.training.trainable import train_config

RUN_FIELDS = ("pairs", "max_pairs")
"""Fields that a candidate may set besides those of TrainConfig."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """A search."""

    pairs: str
    """pair set whose validation split evaluates all candidates; trained on unless a candidate names another"""
    model: str
    """SPEC"""
    stages: tuple[str, ...]
    """candidates of each stage, as `field=value field=value | field=value`; `pairs` and `max_pairs` are fields too"""
    settings: tuple[str, ...] = ()
    """field=value that the search starts from"""
    seed: int = 0
    """seed of every candidate"""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a search needs candidates, e.g. --try 'learning_rate=3e-5 | learning_rate=1e-4'")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One training run of a search."""

    stage: int
    changes: str
    """field=value that it adds to the best of the stages before"""
    settings: tuple[str, ...]
    """all field=value it trains with"""
    cell: Cell


@dataclass(frozen=True, slots=True, repr=False)
class Search(ExperimentResult):
    """The SEARCH table: one row per stage and candidate."""

    config: SearchConfig

    @property
    def best(self) -> dict[str, str]:
        """Field -> value of the candidate kept last."""
        return dict(setting.split("=", 1) for setting in self.frame.filter("is_kept")["settings"][-1].split())

    @property
    def train_command(self) -> str:
        """The command that trains with the best settings."""
        fields = self.best
        pairs, max_pairs = fields.pop("pairs", self.config.pairs), fields.pop("max_pairs", None)
        words = [f"lurker rm train {pairs} --model {self.config.model}"]
        words += [f"--max-pairs {max_pairs}"] if max_pairs else []
        words += [f"--validation {self.config.pairs}"] if pairs != self.config.pairs else []
        return " ".join([*words, *(f"--set {field}={value}" for field, value in fields.items())])

    @property
    def sentence(self) -> str:
        """The command that trains with the best settings."""
        return f"Best: `{self.train_command}`"

    def plot(self) -> Any:
        """The candidates of each stage against the one kept, in log loss."""
        from lurker.charts import search_excess

        return search_excess(self.frame)

    def table(self) -> ResultTable:
        """One row per candidate: log loss and its excess over the best of the stage, accuracy, steps and time."""
        rows = [
            {
                "stage": row["stage"],
                "candidate": row["candidate"],
                "log loss": f"{row['log_loss']:.4f}",
                "over the best": f"{row['excess']:+.4f} [{row['excess_low']:+.4f}, {row['excess_high']:+.4f}]",
                "accuracy": accuracy_text(row),
                "best step": f"{row['best_step']} of {row['steps']}",
                "seconds": round(row["train_time_s"]),
                "kept": "yes" if row["is_kept"] else "",
            }
            for row in self.frame.to_dicts()
        ]
        return ResultTable(f"Validation on {self.config.pairs} (experiment {self.experiment.name})", rows)


def search(
    pairs: PairSet,
    model: str,
    stages: Sequence[Sequence[Mapping[str, Any]]],
    *,
    start: Mapping[str, Any] | None = None,
    seed: int = 0,
    name: str | None = None,
    engine: Engine = "local",
    n_workers: int | None = None,
) -> Search:
    """Find training settings on validation pairs alone, stage by stage; finished candidates are not run again.

    Args:
        pairs: pair set whose validation split evaluates all candidates, and that they train on.
        model: SPEC, such as "scratch-200k" or a Hugging Face id.
        stages: candidates of each stage, such as [[{"learning_rate": 1e-3}, {"learning_rate": 3e-3}], [{"epochs": 1}]].
            Each stage continues from the best of the one before. Fields are
            those of `rm.training.config.TrainConfig`, `pairs` and `max_pairs`.
        start: fields that the search starts from, such as {"epochs": 1}.
        seed: of every candidate.
        name: of the experiment; `<pairs>-search` by default.
        engine: "local" (processes of this machine) or "ray".
        n_workers: processes of the local engine; as many as fit by default.

    Raises:
        CallError: a pair set, model or field does not exist.
        LurkerError: every candidate of a stage failed.
    """
    require_pair_set(pairs)
    config = make_config(
        SearchConfig,
        pairs=pairs.name,
        model=model_of_run(pairs.workspace, model),
        stages=[
            " | ".join(" ".join(_settings(one)) for one in as_list(stage, "a stage"))
            for stage in as_list(stages, "stages")
        ],
        settings=_settings(start or {}),
        seed=seed,
    )
    return run_search(experiment_on(pairs, name or f"{pairs.name}-search", engine, n_workers), config)


def _settings(fields: Mapping[str, Any]) -> tuple[str, ...]:
    return as_settings(require_kind(fields, dict, "A mapping of fields", 'Such as {"learning_rate": 1e-3}.'))


def parse_stage(text: str) -> list[dict[str, str]]:
    """The candidates of `field=value field=value | field=value`.

    Raises:
        CallError: a part is not `field=value`.
    """
    return [dict(_field(setting) for setting in candidate.split()) for candidate in text.split("|")]


def run_search(experiment: Experiment, config: SearchConfig) -> Search:
    """Run the candidates that are not finished; write SEARCH after each stage, and the manifest last."""
    require_loadable(config.model)
    validation = split_of(read_pairs(experiment.workspace, config.pairs), config.pairs, "validation")
    best: Sequence[str] = config.settings
    rows: list[dict[str, Any]] = []
    table, failures, run_ids = SEARCH.empty(), list[Failure](), list[str]()
    for stage, texts in enumerate(config.stages, 1):
        candidates = [plan_candidate(experiment, config, stage, best, changes) for changes in texts.split("|")]
        failed = _run_candidates(experiment, config, candidates)
        failures += failed
        run_ids += [one.cell.run_id for one in candidates]
        names = {failure.cell for failure in failed}
        finished = [one for one in candidates if one.cell.run_id not in names]
        require_finished(len(finished), failed)
        stage_rows, kept = _stage_rows(experiment.workspace, config.pairs, finished, validation)
        rows += stage_rows
        best = finished[kept].settings
        table = check(pl.DataFrame(rows), SEARCH)
        write_parquet(table, experiment.folder / "search.parquet")
    record_cells(experiment, list(dict.fromkeys(run_ids)), failures)
    write_json({"kind": "search", "config": to_dict(config), "best": list(best)}, experiment.folder / "manifest.json")
    return Search(experiment, table, tuple(failures), config)


def plan_candidate(
    experiment: Experiment, config: SearchConfig, stage: int, before: Sequence[str], changes: str
) -> Candidate:
    """The candidate that applies `changes` to the settings before it.

    A pair set with confounder_log_odds trains adjusted=true unless it is set.
    """
    fields = dict(_field(setting) for setting in (*before, *changes.split()))
    pairs = fields.get("pairs", config.pairs)
    training = split_of(read_pairs(experiment.workspace, pairs), pairs, "train")
    is_adjusted = bool((training[CONFOUNDERS] != 0).any())
    for_training = [f"{field}={value}" for field, value in fields.items() if field not in RUN_FIELDS]
    train = train_config(config.model, config.seed, [f"adjusted={str(is_adjusted).lower()}", *for_training])
    wanted = _pair_count(fields["max_pairs"]) if "max_pairs" in fields else training.height
    n_pairs = min(wanted, training.height)
    run = RunConfig(
        pairs=pairs,
        model=config.model,
        train=train,
        max_pairs=n_pairs if n_pairs < training.height else None,
        validation_pairs=config.pairs,
    )
    settings = tuple(f"{field}={value}" for field, value in fields.items())
    cell = make_cell(experiment.name, run, n_pairs, content_digest(training), n_available=training.height)
    return Candidate(stage, " ".join(changes.split()), settings, cell)


def _run_candidates(
    experiment: Experiment, config: SearchConfig, candidates: Sequence[Candidate]
) -> tuple[Failure, ...]:
    """Run the candidates that have no margins yet, each distinct cell once."""
    root = str(experiment.workspace.root.resolve())
    return run_cells(
        experiment,
        list({one.cell.run_id: one.cell for one in candidates}.values()),
        is_finished=lambda cell: _margins_file(experiment.workspace, cell.run_id, config.pairs).exists(),
        function=search_cell_task,
        arguments=lambda cell: {"root": root, "cell": cell, "evaluated_on": config.pairs},
    )


def search_cell_task(root: str, cell: Cell, evaluated_on: str) -> CellTime:
    """Train one candidate and write its margins on the validation pairs, in a worker; how long it took."""
    workspace = Workspace(Path(root))
    with timed_cell(workspace, cell.run_id) as took:
        train_run(workspace, cell.run_id, cell.config, resume=True, waits=True)
        _write_margins(workspace, cell, evaluated_on)
    return took()


def _write_margins(workspace: Workspace, cell: Cell, evaluated_on: str) -> None:
    frame = split_of(read_pairs(workspace, evaluated_on), evaluated_on, "validation")
    reward_model = load_trained(workspace, cell.run_id).reward_model
    train = cell.config.train
    tokenised = tokenise_for_model(frame, reward_model.tokenizer, train)
    margins = model_margins(reward_model.scorer(train.max_tokens), tokenised, train.tokens_per_batch)
    write_parquet(prediction_table(frame, margins), _margins_file(workspace, cell.run_id, evaluated_on))


def _stage_rows(
    workspace: Workspace, pairs: str, candidates: Sequence[Candidate], validation: pl.DataFrame
) -> tuple[list[dict[str, Any]], int]:
    """The rows of SEARCH for one stage, and the index of the candidate with the lowest log loss."""
    margins = [_read_margins(workspace, one, pairs, validation) for one in candidates]
    losses = [np.logaddexp(0.0, -best_scale(values) * values) for values in margins]
    kept = int(np.argmin([values.mean() for values in losses]))
    posts = validation["post_id"].to_numpy()
    rows = [
        _row(workspace, one, posts, margins[index], losses[index], losses[kept]) | {"is_kept": index == kept}
        for index, one in enumerate(candidates)
    ]
    return rows, kept


def _row(
    workspace: Workspace, candidate: Candidate, posts: ArrayLike, margins: Margins, losses: Margins, best: Margins
) -> dict[str, Any]:
    """A row of SEARCH without is_kept; losses and best (the kept candidate's losses): nats per pair, [n_pairs]."""
    estimate = accuracy_interval(is_correct(margins), posts)
    excess = mean_interval(losses - best, posts)
    result = read_json(result_file(workspace, candidate.cell))
    return {
        "stage": candidate.stage,
        "candidate": candidate.changes,
        "settings": " ".join(candidate.settings),
        "run_id": candidate.cell.run_id,
        "n_train_pairs": candidate.cell.n_train_pairs,
        "n_validation_pairs": estimate.n,
        "log_loss": float(losses.mean()),
        "excess": excess.value,
        "excess_low": excess.low,
        "excess_high": excess.high,
        "accuracy": estimate.value,
        "accuracy_low": estimate.low,
        "accuracy_high": estimate.high,
        "best_step": result["best_step"],
        "steps": result["steps"],
        "train_time_s": result["train_time_s"],
    }


def _field(setting: str) -> tuple[str, str]:
    field, equals, value = setting.partition("=")
    if not equals:
        raise CallError(f"A candidate is field=value, got {setting!r}.", "For example --try 'epochs=1 | epochs=2'.")
    return field, value


def _pair_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise CallError(f"max_pairs must be a whole number of at least 1, got {text!r}.", "E.g. 'max_pairs=2000'.")
    return int(text)


def _margins_file(workspace: Workspace, run_id: str, pairs: str) -> Path:
    return predictions_file(workspace.folder("runs", run_id), pairs, "validation")


def _read_margins(workspace: Workspace, candidate: Candidate, pairs: str, validation: pl.DataFrame) -> Margins:
    """The candidate's margins in the order of the validation pairs, [n_pairs]."""
    predictions = pl.read_parquet(_margins_file(workspace, candidate.cell.run_id, pairs))
    joined = validation.select("pair_id").join(predictions, on="pair_id", how="left", maintain_order="left")
    return joined["margin"].to_numpy()
