"""The state of a training run on disk, consistent at every moment: a killed run resumes with identical losses."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import nn

from lurker.errors import LurkerError
from lurker.files import atomic_path
from lurker.learning_curves import METRICS
from rm.training.distributed import current_processes, is_sharded

CHECKPOINT = "checkpoint.pt"
RENAMED = {"best_validation_log_loss": "best_validation_loss"}
"""Fields of `TrainingState` by the names that checkpoints of earlier versions have."""
GATHER_TO_FIRST: dict[str, Any] = {"full_state_dict": True, "cpu_offload": True, "strict": False}
SCATTER_FROM_FIRST: dict[str, Any] = {"full_state_dict": True, "broadcast_from_rank0": True, "strict": False}
"""Fields of torch's StateDictOptions. Its module, which only sharded models need, takes most of a second to import."""


@dataclass(slots=True)
class TrainingState:
    """How far training has come."""

    step: int = 0
    """optimiser steps done"""
    n_tokens: int = 0
    """tokens trained on"""
    train_time_s: float = 0.0
    """wall-clock seconds, over all starts of the run"""
    best_step: int = 0
    """step with the lowest validation loss"""
    best_validation_loss: float = float("inf")
    """in the objective's unit"""
    n_worse: int = 0
    """evaluations since the best one"""
    stop_reason: str = ""
    """why training ended before its plan and patience did, in words; empty if it did not"""


@dataclass(frozen=True, slots=True)
class Trainee:
    """The objects that an optimiser step changes, which a checkpoint saves and restores."""

    model: Any
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    auxiliary: nn.Module | None = None
    """weights trained alongside the model that are no part of it"""


def write_checkpoint(folder: Path, trainee: Trainee, state: TrainingState) -> None:
    """Write everything that the next step depends on, in one rename, then delete best weights of earlier steps.

    Random generators need no saving: each step seeds its own. Every process must call this; the first one writes.

    Raises:
        LurkerError: The file cannot be written; the previous checkpoint stays.
    """
    content = {
        "state": asdict(state),
        "model": trained_weights(trainee.model),
        "nuisance": trainee.auxiliary.state_dict() if trainee.auxiliary is not None else {},
        "optimiser": _optimiser_state(trainee.model, trainee.optimiser),
        "scheduler": trainee.scheduler.state_dict(),
    }
    if not current_processes().is_first:
        return
    _save(content, folder / CHECKPOINT)
    for path in folder.glob("best-*.pt"):
        if path.name != _best_name(state.best_step):
            path.unlink()


def has_checkpoint(folder: Path) -> bool:
    """Whether the folder holds a checkpoint to resume from."""
    return (folder / CHECKPOINT).exists()


def restore_checkpoint(folder: Path, trainee: Trainee) -> TrainingState:
    """Load the folder's checkpoint into the trainee; a fresh state when there is none.

    Raises:
        LurkerError: The checkpoint is damaged.
    """
    if not has_checkpoint(folder):
        return TrainingState()
    model = trainee.model
    content = _load(folder / CHECKPOINT, model)
    _set_weights(model, content["model"])
    if trainee.auxiliary is not None:
        trainee.auxiliary.load_state_dict(content["nuisance"])
    if is_sharded(model):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        options = StateDictOptions(**SCATTER_FROM_FIRST)
        set_optimizer_state_dict(model, trainee.optimiser, content["optimiser"], options=options)
    else:
        trainee.optimiser.load_state_dict(content["optimiser"])
    trainee.scheduler.load_state_dict(content["scheduler"])
    return TrainingState(**{RENAMED.get(name, name): value for name, value in content["state"].items()})


def save_best(folder: Path, model: Any, step: int) -> None:
    """Save this step's weights, next to those that the checkpoint on disk still refers to.

    Every process must call this.
    """
    weights, processes = trained_weights(model), current_processes()
    if processes.is_first:
        _save(weights, folder / _best_name(step))
    processes.wait()


def load_best(folder: Path, model: Any, step: int) -> None:
    """Load the weights that `save_best` saved at this step into the model."""
    _set_weights(model, _load(folder / _best_name(step), model))


def delete_checkpoint(folder: Path) -> None:
    """Delete the checkpoint and best weights of a run whose final model is saved."""
    for path in (folder / CHECKPOINT, *folder.glob("best-*.pt")):
        path.unlink(missing_ok=True)


def append_metric(folder: Path, metric: Mapping[str, float]) -> None:
    """Append one line to metrics.jsonl."""
    with (folder / METRICS).open("ab") as file:
        file.write(orjson.dumps(metric) + b"\n")


def truncate_metrics(folder: Path, n_steps: int) -> None:
    """Keep the lines of the first n_steps in metrics.jsonl: steps after the checkpoint run again."""
    path = folder / METRICS
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)[:n_steps]  # a torn last line lies after the checkpoint
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(lines))


def trained_weights(model: Any) -> dict[str, Any]:
    """The state dict without frozen weights, which the next start rebuilds from the model's SPEC.

    With a sharded model every process must call this, and only the first receives the weights.
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if is_sharded(model):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        state = get_model_state_dict(model, options=StateDictOptions(**GATHER_TO_FIRST))
    else:
        state = model.state_dict()
    return {name: value for name, value in state.items() if name not in frozen}


def _set_weights(model: Any, weights: dict[str, Any]) -> None:
    if is_sharded(model):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        set_model_state_dict(model, weights, options=StateDictOptions(**SCATTER_FROM_FIRST))
    else:
        model.load_state_dict(weights, strict=False)


def _optimiser_state(model: Any, optimiser: Any) -> Any:
    if is_sharded(model):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        return get_optimizer_state_dict(model, optimiser, options=StateDictOptions(**GATHER_TO_FIRST))
    return optimiser.state_dict()


def _save(content: Any, path: Path) -> None:
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError when the disk is full
        raise LurkerError(
            f"Cannot write {path}: {error}. The last good checkpoint is kept.",
            "Free some space, then run the same command with `--resume`.",
        ) from error


def _best_name(step: int) -> str:
    return f"best-{step}.pt"


def _load(path: Path, model: Any) -> Any:
    try:
        return torch.load(path, map_location=next(model.parameters()).device, weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise LurkerError(
            f"Cannot read the checkpoint {path}: {error}.", f"Delete {os.fspath(path.parent)} and train again."
        ) from error
