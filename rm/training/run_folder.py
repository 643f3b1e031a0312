"""What a run is: its config, its pairs, its folder and the files in it."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from lurker.config import fingerprint
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pairs, require_disjoint, split_of
from lurker.workspace import Workspace
from rm.pairs.subsets import content_digest, subset
from rm.training.config import TrainConfig

RESULT = "result.json"
MODEL = "model"
"""The model's own name among the predictors of an evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What makes a run: two runs with the same fingerprint are the same run."""

    pairs: str
    """pair set trained on"""
    model: str
    """SPEC: a name of the ladder, a Hugging Face id or a local folder"""
    train: TrainConfig
    """how it is trained"""
    subreddits: tuple[str, ...] = ()
    """communities trained on; all of the pair set when empty"""
    max_pairs: int | None = None
    """training pairs, a nested subset by hash of their post; all when absent"""
    validation_pairs: str | None = None
    """pair set whose validation split chooses the best step; that trained on when absent"""
    test_pairs: tuple[str, ...] = ()
    """pair sets whose test split it is judged on"""
    test_subreddits: tuple[str, ...] = ()
    """communities judged on; all of the test pairs when empty"""
    tokenizer: str | None = None
    """folder of a tokenizer shared by the runs of an experiment; trained on the run's own texts when absent"""

    def __post_init__(self) -> None:
        if self.max_pairs is not None and self.max_pairs < 2:
            raise ValueError(f"max_pairs must be at least 2, got {self.max_pairs}")


@dataclass(frozen=True, slots=True)
class RunPairs:
    """The pairs of a run: what trains, what chooses, what judges (by name of the pair set)."""

    training: pl.DataFrame
    validation: pl.DataFrame
    judged: dict[str, pl.DataFrame]

    @property
    def digest(self) -> str:
        """Changes when a pair set was built anew with another content."""
        return fingerprint(
            *(content_digest(frame) for frame in (self.training, self.validation, *self.judged.values()))
        )


def finished_run(workspace: Workspace, run_id: str) -> Path:
    """The folder of a finished run.

    Errors: CallError that lists the runs there are.
    """
    folder = workspace.folder("runs", run_id)
    if not (folder / RESULT).exists():
        have = ", ".join(workspace.names("runs", RESULT)) or "none yet"
        raise CallError(
            f"There is no finished run {run_id!r} in {workspace.root} (it has: {have}).",
            "Train one: `lurker rm train NAME --model SPEC`.",
        )
    return folder


def predictions_file(folder: Path, pairs: str, split: str, predictor: str = MODEL) -> Path:
    """Where a run's folder keeps the PREDICTIONS of its model, or of a baseline, on a split of a pair set."""
    within = folder / "predictions" if predictor == MODEL else folder / "baselines" / predictor
    return within / f"{pairs}-{split}.parquet"


def run_config(described: dict[str, Any]) -> RunConfig:
    """The RunConfig that a run's config.json holds."""
    names = {field.name for field in fields(RunConfig)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in described.items()
    }
    values["train"] = TrainConfig(**described["train"])
    return RunConfig(**{name: value for name, value in values.items() if name in names})


def read_run_pairs(workspace: Workspace, config: RunConfig) -> RunPairs:
    """The run's training subset, validation pairs and judged pairs, none of whose posts trained or chose the model."""
    frame = read_pairs(workspace, config.pairs, config.subreddits)
    training = subset(split_of(frame, config.pairs, "train"), config.max_pairs, config.train.seed)
    validation = _validation(workspace, config, frame)
    require_disjoint(training, validation, config.validation_pairs or config.pairs)
    validation = subset(validation, min(config.train.max_validation_pairs, validation.height), seed=0)
    if training.height < 2:
        raise LurkerError(f"Pair set {config.pairs} has {training.height} training pair here.", "Take more posts.")
    judged = {}
    for name in config.test_pairs:
        subreddits = config.test_subreddits or tuple(training["subreddit"].unique().sort())
        tested = read_pairs(workspace, name).filter(pl.col("subreddit").is_in(subreddits))
        judged[name] = split_of(tested, name, "test")
        require_disjoint(pl.concat([training, validation]), judged[name], name)
    return RunPairs(training, validation, judged)


def _validation(workspace: Workspace, config: RunConfig, trained_on: pl.DataFrame) -> pl.DataFrame:
    name = config.validation_pairs or config.pairs
    frame = trained_on if name == config.pairs else read_pairs(workspace, name, config.subreddits)
    return split_of(frame, name, "validation")
