"""The search for a recipe of training, on validation pairs alone: one field after another, the best kept each time.

No test is read. All candidates are judged on the validation split of one pair set, whatever they trained on, by log
loss at the best scale of their margins: rewards that only differ in size are the same, and accuracy, a coarser figure,
stands beside it. Source: coordinate search, Bergstra & Bengio 2012 for why few fields matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lurker.config import to_dict
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.pair_sets import read_pairs, split_of
from lurker.pairwise import best_scale
from lurker.schema import SEARCH, check
from lurker.stats import accuracy_interval, mean_interval
from lurker.workspace import Workspace, read_json, write_json, write_parquet
from rm.evaluation.metrics import Margins, is_correct, model_margins, predictions
from rm.experiments.cells import Cell, cell, run_waiting, train_cell
from rm.models.ladder import check_spec, load
from rm.models.scorer import move_to_device
from rm.pairs.subsets import content_digest
from rm.pairs.tokenised import CONFOUNDERS
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import RESULT, RunConfig, predictions_file
from rm.training.trainable import train_config

RUN_FIELDS = ("pairs", "max_pairs")
"""What a candidate may name besides the fields of TrainConfig."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """A search."""

    pairs: str
    """pair set whose validation split judges all, and that is trained on unless a candidate names another"""
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
    """One training of a search: what it says beyond the best of the stages before, and its cell."""

    stage: int
    says: str
    settings: tuple[str, ...]
    cell: Cell


def run_search(
    workspace: Workspace, name: str, config: SearchConfig, engine: Engine = "local", n_workers: int | None = None
) -> pl.DataFrame:
    """Run the candidates that are not finished; write and return SEARCH, the manifest last.

    Errors: CallError for a pair set, model or field that is not there.
    """
    check_spec(config.model)
    judged = split_of(read_pairs(workspace, config.pairs), config.pairs, "validation")
    folder = workspace.folder("experiments", name)
    best, rows = config.settings, []
    table = SEARCH.empty()
    for stage, candidates in enumerate(config.stages, 1):
        tried = [plan(workspace, name, config, stage, best, says) for says in candidates.split("|")]
        run_waiting(
            workspace,
            list({one.cell.run_id: one.cell for one in tried}.values()),
            is_done=lambda ran: _judged(workspace, ran.run_id, config.pairs).exists(),
            function=run_search_cell,
            task=lambda ran: {"root": str(workspace.root.resolve()), "ran": ran, "judged_on": config.pairs},
            engine=engine,
            n_workers=n_workers,
        )
        margins = [_margins(workspace, one, config.pairs, judged) for one in tried]
        losses = [np.logaddexp(0.0, -best_scale(values) * values) for values in margins]
        kept = int(np.argmin([values.mean() for values in losses]))
        rows += [
            _row(workspace, one, judged["post_id"].to_numpy(), margins[number], losses[number], losses[kept])
            | {"is_kept": number == kept}
            for number, one in enumerate(tried)
        ]
        best = tried[kept].settings
        table = check(pl.DataFrame(rows), SEARCH)
        write_parquet(table, folder / "search.parquet")
    write_json({"kind": "search", "config": to_dict(config), "best": list(best)}, folder / "manifest.json")
    return table


def plan(
    workspace: Workspace, name: str, config: SearchConfig, stage: int, before: Sequence[str], says: str
) -> Candidate:
    """A candidate: the settings before it, with its own in their place.

    A pair set with confounder_log_odds trains adjusted=true unless it is set.
    """
    fields = dict(_field(setting) for setting in (*before, *says.split()))
    pairs = fields.get("pairs", config.pairs)
    training = split_of(read_pairs(workspace, pairs), pairs, "train")
    is_adjusted = bool((training[CONFOUNDERS] != 0).any())
    for_training = [f"{field}={value}" for field, value in fields.items() if field not in RUN_FIELDS]
    train = train_config(config.model, config.seed, [f"adjusted={str(is_adjusted).lower()}", *for_training])
    n_pairs = min(_count(fields["max_pairs"]) if "max_pairs" in fields else training.height, training.height)
    run = RunConfig(
        pairs=pairs,
        model=config.model,
        train=train,
        max_pairs=n_pairs if n_pairs < training.height else None,
        validation_pairs=config.pairs,
    )
    settings = tuple(f"{field}={value}" for field, value in fields.items())
    return Candidate(stage, " ".join(says.split()), settings, cell(name, run, n_pairs, content_digest(training)))


def run_search_cell(root: str, ran: Cell, judged_on: str) -> str:
    """Train one candidate and write its margins of the validation pairs: what a worker is sent."""
    workspace = Workspace(Path(root))
    train_cell(workspace, ran.run_id, ran.config)
    frame = split_of(read_pairs(workspace, judged_on), judged_on, "validation")
    reward_model = load(workspace.folder("runs", ran.run_id) / "model")
    move_to_device(reward_model.model, reward_model.n_parameters)
    train = ran.config.train
    tokenised = tokenise_for_model(frame, reward_model.tokenizer, train)
    margins = model_margins(reward_model.scorer(train.max_tokens), tokenised, train.tokens_per_batch)
    write_parquet(predictions(frame, margins), _judged(workspace, ran.run_id, judged_on))
    return ran.run_id


def _field(setting: str) -> tuple[str, str]:
    field, equals, value = setting.partition("=")
    if not equals:
        raise CallError(f"A candidate is made of field=value, got {setting!r}.", "E.g. --try 'epochs=1 | epochs=2'.")
    return field, value


def _count(value: str) -> int:
    """Errors: CallError for what is no number of pairs."""
    if not value.isdecimal() or int(value) < 1:
        raise CallError(f"max_pairs is a whole number of at least 1, got {value!r}.", "E.g. --try 'max_pairs=2000'.")
    return int(value)


def _judged(workspace: Workspace, run_id: str, pairs: str) -> Path:
    return predictions_file(workspace.folder("runs", run_id), pairs, "validation")


def _margins(workspace: Workspace, one: Candidate, judged_on: str, judged: pl.DataFrame) -> Margins:
    """The candidate's margins of the judged pairs, in their order."""
    said = pl.read_parquet(_judged(workspace, one.cell.run_id, judged_on))
    return judged.select("pair_id").join(said, on="pair_id", how="left", maintain_order="left")["margin"].to_numpy()


def _row(
    workspace: Workspace, one: Candidate, posts: Any, margins: Margins, losses: Margins, kept: Margins
) -> dict[str, Any]:
    estimate = accuracy_interval(is_correct(margins), posts)
    excess = mean_interval(losses - kept, posts)
    result = read_json(workspace.folder("runs", one.cell.run_id) / RESULT)
    return {
        "stage": one.stage,
        "candidate": one.says,
        "settings": " ".join(one.settings),
        "run_id": one.cell.run_id,
        "n_train_pairs": one.cell.n_train_pairs,
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
