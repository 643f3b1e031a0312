"""A run's state on disk, whole at every moment: a killed run goes on with the losses of one that was never stopped."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from lurker.errors import LurkerError
from lurker.workspace import atomic_path
from rm.training.distributed import Team, is_sharded

CHECKPOINT = "checkpoint.pt"
ALONE = Team()
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)
FROM_FIRST = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
METRICS = "metrics.jsonl"


@dataclass(slots=True)
class Checkpoint:
    """Where training stands."""

    step: int = 0
    n_tokens: int = 0
    train_time_s: float = 0.0
    best_step: int = 0
    best_validation_log_loss: float = float("inf")
    n_worse: int = 0

    def load_best(self, folder: Path, model: Any) -> None:
        """Put the weights of the best validation log loss into the model."""
        _put(model, _load(folder / _best_name(self.best_step), model))


def write_checkpoint(
    folder: Path,
    model: Any,
    optimiser: Any,
    scheduler: Any,
    state: Checkpoint,
    nuisance: Any = None,
    team: Team = ALONE,
) -> None:
    """Write all that the next step depends on, in one rename; then drop the best weights it no longer names.

    No state of a random generator is among it: each step seeds its own.

    Every process of a team calls it, the first one writes.
    """
    content = {
        "state": asdict(state),
        "model": trained_state(model),
        "nuisance": nuisance.state_dict() if nuisance is not None else {},
        "optimiser": _optimiser_state(model, optimiser),
        "scheduler": scheduler.state_dict(),
    }
    if not team.is_first:
        return
    _save(content, folder / CHECKPOINT)
    for path in folder.glob("best-*.pt"):
        if path.name != _best_name(state.best_step):
            path.unlink()


def has_checkpoint(folder: Path) -> bool:
    """Whether a run was stopped here after it wrote one."""
    return (folder / CHECKPOINT).exists()


def read_checkpoint(
    folder: Path, model: Any, optimiser: Any, scheduler: Any, nuisance: Any = None
) -> Checkpoint | None:
    """Restore what `write_checkpoint` wrote into the given objects; None when there is no checkpoint."""
    if not has_checkpoint(folder):
        return None
    content = _load(folder / CHECKPOINT, model)
    _put(model, content["model"])
    if nuisance is not None:
        nuisance.load_state_dict(content["nuisance"])
    if is_sharded(model):
        set_optimizer_state_dict(model, optimiser, content["optimiser"], options=FROM_FIRST)
    else:
        optimiser.load_state_dict(content["optimiser"])
    scheduler.load_state_dict(content["scheduler"])
    return Checkpoint(**content["state"])


def save_best(folder: Path, model: Any, step: int, team: Team = ALONE) -> None:
    """Keep the weights of this step beside those that the checkpoint on disk names; called by every process."""
    weights = trained_state(model)
    if team.is_first:
        _save(weights, folder / _best_name(step))
    team.wait()


def drop_checkpoint(folder: Path) -> None:
    """Remove the checkpoint and the best weights of a run whose model is written."""
    for path in (folder / CHECKPOINT, *folder.glob("best-*.pt")):
        path.unlink(missing_ok=True)


def append_metric(folder: Path, metric: Mapping[str, float]) -> None:
    """Add one line to metrics.jsonl."""
    with (folder / METRICS).open("ab") as file:
        file.write(orjson.dumps(metric) + b"\n")


def cut_metrics(folder: Path, step: int) -> None:
    """Drop lines after the checkpoint's step: those steps are done again."""
    path = folder / METRICS
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)[:step]  # a line a step; a torn last line is past the checkpoint
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(lines))


def trained_state(model: Any) -> dict[str, Any]:
    """The state without frozen weights, which the next start builds again from the model's SPEC.

    Of a sharded model, whose every process must call this, the first process gets it whole.
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    state = get_model_state_dict(model, options=WHOLE) if is_sharded(model) else model.state_dict()
    return {name: value for name, value in state.items() if name not in frozen}


def _put(model: Any, weights: dict[str, Any]) -> None:
    if is_sharded(model):
        set_model_state_dict(model, weights, options=FROM_FIRST)
    else:
        model.load_state_dict(weights, strict=False)


def _optimiser_state(model: Any, optimiser: Any) -> Any:
    if is_sharded(model):
        return get_optimizer_state_dict(model, optimiser, options=WHOLE)
    return optimiser.state_dict()


def _save(content: Any, path: Path) -> None:
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError when a disk is full
        raise LurkerError(
            f"Cannot write {path}: {error}; the last good checkpoint stays.", "Free some space, then add `--resume`."
        ) from error


def _best_name(step: int) -> str:
    return f"best-{step}.pt"


def _load(path: Path, model: Any) -> Any:
    try:
        return torch.load(path, map_location=next(model.parameters()).device, weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise LurkerError(
            f"Cannot read the checkpoint {path}.", f"Remove {os.fspath(path.parent)} and train again."
        ) from error
