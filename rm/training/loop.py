"""The training loop: plan, optimiser steps, validation, early stopping, checkpoints with exact resume, metrics.

The loop knows neither pairs nor rewards: an `Objective` supplies batches, losses and the validation loss, such as
`rm.training.reward_step.RewardStep`.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lurker.errors import CallError, LurkerError
from lurker.progress import progress, timed
from rm.pairs.tokens import Indices
from rm.training.checkpoint import (
    Trainee,
    TrainingState,
    append_metric,
    has_checkpoint,
    load_best,
    restore_checkpoint,
    save_best,
    truncate_metrics,
    write_checkpoint,
)
from rm.training.config import LoopConfig
from rm.training.distributed import current_processes, distribute
from rm.training.objective import LOG_LOSS, MetricNames, Objective
from rm.training.optimiser import new_trainee


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One optimiser step of the plan."""

    examples: Indices
    """training examples that it reads"""
    is_evaluated: bool
    """whether validation follows"""


@dataclass(frozen=True, slots=True)
class Trained:
    """Outcome of training; the model now holds its best weights."""

    n_steps: int
    best_step: int
    best_validation_loss: float
    train_time_s: float
    n_tokens: int
    stop_reason: str
    """what ended training early, if `after_step` did; otherwise empty"""

    @property
    def tokens_per_s(self) -> float:
        """Training tokens per second; evaluation time counts."""
        return self.n_tokens / max(self.train_time_s, 1e-9)


def train(
    objective: Objective,
    config: LoopConfig,
    folder: Path,
    after_step: Callable[[TrainingState], str | None] | None = None,
    *,
    names: MetricNames = LOG_LOSS,
    step_figures: Callable[[], dict[str, float]] | None = None,
    is_start_evaluated: bool = False,
) -> Trained:
    """Train the objective's model on its device and load the weights with the best validation loss into it.

    With several processes (`rm.training.distributed`), each calls this with the same objective and config.

    Args:
        objective: What to train on.
        config: How to train.
        folder: Receives metrics.jsonl (one line per step) and the checkpoint. If it holds a checkpoint, training
            resumes from it with the losses of an uninterrupted run.
        after_step: Called after each step, such as to evaluate the model on the way, and at step 0 after the start was
            evaluated. It must not change the model, and its time does not count as training. After a kill it is called
            again for the steps since the checkpoint. What it returns, unless it is empty, ends the training and says
            why.
        names: What metrics.jsonl calls the losses.
        step_figures: Further figures of the last step, for its line in metrics.jsonl.
        is_start_evaluated: Validate the model as it comes, too: it stays as it is if no step makes it better.

    Raises:
        LurkerError: A loss is not finite (the error names the step and its data), memory ran out, or the disk is full.
        CallError: TensorBoard is requested but missing.
    """
    model, processes = objective.network.model, current_processes()
    network = distribute(objective.network, config.is_sharded)
    plan = planned_steps(objective, config)
    trainee = new_trainee(model, objective.auxiliary, objective.auxiliary_learning_rate, config, len(plan))
    state = restore_checkpoint(folder, trainee)
    if processes.is_first:
        truncate_metrics(folder, state.step)
    if is_start_evaluated and not has_checkpoint(folder):
        _evaluate(objective, state, folder, model, names)
        if after_step is not None:
            after_step(state)
    started = saved = time.monotonic()
    earlier_s = state.train_time_s
    with (
        progress("Training", len(plan), "steps", begun=state.step) as advance,
        _metric_log(folder, state.step, config) as log,
    ):
        while state.step < len(plan) and state.n_worse < config.patience and not state.stop_reason:
            step = plan[state.step]
            try:
                loss, metrics, n_tokens = _take_step(objective, network, trainee, step.examples, state.step, config)
            except RuntimeError as error:
                raise _explained(error, state.step, config) from error
            state.step += 1
            state.n_tokens += n_tokens
            metrics = {names.train: loss, **metrics, **(step_figures() if step_figures is not None else {})}
            if step.is_evaluated:
                with timed("Validating"):
                    metrics |= _evaluate(objective, state, folder, model, names) | {"planned_steps": len(plan)}
            log(state.step, metrics)
            advance(1)
            now = time.monotonic()
            state.train_time_s = earlier_s + now - started
            if after_step is not None:  # before the checkpoint, so that no step before one is left out
                with timed("Testing on the way"):
                    state.stop_reason = after_step(state) or ""
                started += time.monotonic() - now
            is_due = step.is_evaluated or now - saved >= config.checkpoint_interval_s or bool(state.stop_reason)
            if processes.max_value(int(is_due)):
                write_checkpoint(folder, trainee, state)
                saved = now
        advance(len(plan) - state.step)  # steps that early stopping saved
    load_best(folder, model, state.best_step)
    return Trained(
        state.step,
        state.best_step,
        state.best_validation_loss,
        round(state.train_time_s, 3),
        state.n_tokens,
        state.stop_reason,
    )


def planned_steps(objective: Objective, config: LoopConfig) -> list[PlannedStep]:
    """All steps of a training that early stopping does not end; depends on the objective and config alone.

    Raises:
        LurkerError: The objective has no training examples.
    """
    plan: list[PlannedStep] = []
    epoch = 0
    while epoch < config.epochs or len(plan) < config.min_steps:
        steps = objective.epoch_steps(epoch)
        if not steps:
            raise LurkerError("There is nothing to train on.")
        n_parts = config.evaluations_per_epoch
        evaluated = {math.ceil(len(steps) * part / n_parts) - 1 for part in range(1, n_parts + 1)}
        plan += [PlannedStep(examples, number in evaluated) for number, examples in enumerate(steps)]
        epoch += 1
    return plan


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of one step's dropout in one process: the same when a resumed run repeats the step."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)


def _take_step(
    objective: Objective, network: nn.Module, trainee: Trainee, examples: Indices, step: int, config: LoopConfig
) -> tuple[float, dict[str, float], int]:
    """Do one optimiser step, the step-th from 0; its loss, other metrics and tokens over all processes."""
    trainee.model.train()
    _seed_generators(step_seed(config.seed, step, current_processes().rank), trainee.model)
    loss, n_tokens = _accumulate_gradients(objective, network, trainee, examples, config)
    norm = _clip_gradients(network, config.max_grad_norm)
    _average_auxiliary_gradients(trainee.auxiliary)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise LurkerError(
            f"Step {step + 1}: the loss is {loss} and its gradient norm {norm}, on {objective.describe(examples)}.",
            f"Lower the learning rate, now {config.learning_rate:g}: "
            f"`--set learning_rate={config.learning_rate / 3:.1g}`.",
        )
    rate = float(trainee.optimiser.param_groups[0]["lr"])
    trainee.optimiser.step()
    trainee.scheduler.step()
    return loss, {"grad_norm": norm, "learning_rate": rate}, n_tokens


def _seed_generators(seed: int, model: nn.Module) -> None:
    """Seed what a step of the model draws from.

    On a CPU, `torch.manual_seed` would also record the seed, with the call stack, for each kind of accelerator that is
    not in use: half a millisecond of a step, and memory that grows with every step.
    """
    if next(model.parameters()).device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _accumulate_gradients(
    objective: Objective, network: nn.Module, trainee: Trainee, examples: Indices, config: LoopConfig
) -> tuple[float, int]:
    """Compute the gradient of the step's mean loss, part by part; the loss and the tokens over all processes."""
    processes = current_processes()
    trainee.optimiser.zero_grad(set_to_none=True)
    own = processes.share(examples)
    has_work = float(own.size > 0)
    if not own.size:  # all processes must take part, so this one computes a loss that counts 0
        own = examples[:1]
    loss, n_tokens = 0.0, 0
    for part in np.array_split(own, min(config.accumulation, max(1, examples.size // processes.count))):
        part_loss, n_part_tokens = objective.loss(network, part, examples)
        part_loss = has_work * part_loss
        (part_loss * processes.count).backward()  # DDP and FSDP average gradients over processes
        loss += float(part_loss.detach())
        n_tokens += n_part_tokens
    return processes.sum_value(loss), int(processes.sum_value(n_tokens))


def _evaluate(
    objective: Objective, state: TrainingState, folder: Path, model: Any, names: MetricNames
) -> dict[str, float]:
    """Validate; save the weights if the loss is the best so far."""
    loss, share = objective.validate()
    if not math.isfinite(loss):
        raise LurkerError(
            f"The {names.validation.replace('_', ' ')} is {loss}.",
            "Lower the learning rate: `--set learning_rate=...`.",
        )
    if loss < state.best_validation_loss:
        save_best(folder, model, state.step)
        state.best_step, state.best_validation_loss, state.n_worse = state.step, loss, 0
    else:
        state.n_worse += 1
    return {names.validation: loss, names.share: share}


def _clip_gradients(network: nn.Module, max_norm: float) -> float:
    """Scale gradients down to max_norm; returns their norm before, over all processes."""
    norm = nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _average_auxiliary_gradients(auxiliary: nn.Module | None) -> None:
    """Average the auxiliary weights' gradients over processes, as DDP does for the network's."""
    processes = current_processes()
    for weight in auxiliary.parameters() if auxiliary is not None else ():
        if weight.grad is not None:
            weight.grad = processes.sum_tensor(weight.grad) / processes.count


def _explained(error: RuntimeError, step: int, config: LoopConfig) -> Exception:
    """An error with advice if memory ran out; any other error unchanged."""
    if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
        return error
    return LurkerError(
        f"Step {step + 1}: out of memory with accumulation={config.accumulation}.",
        f"Train again with `--set accumulation={2 * config.accumulation}`; if that is not enough, also with "
        "`--set is_checkpointed=true` or a smaller `max_tokens`.",
    )


@contextmanager
def _metric_log(folder: Path, step: int, config: LoopConfig) -> Iterator[Any]:
    """Yields log(step, metrics), which writes metrics.jsonl and TensorBoard's events in the first process."""
    if not current_processes().is_first:
        yield lambda _step, _metrics: None
        return
    board = _tensorboard(folder, step) if config.has_tensorboard else None

    def log(step: int, metrics: dict[str, float]) -> None:
        append_metric(folder, {"step": step, **metrics})
        if board is not None:
            for name, value in metrics.items():
                board.add_scalar(name, value, step)

    try:
        yield log
    finally:
        if board is not None:
            board.close()


def _tensorboard(folder: Path, step: int) -> Any:
    """TensorBoard's writer, which discards events of steps after this one."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CallError(
            "has_tensorboard=true needs TensorBoard.", "Install it: `pip install -c constraints.txt tensorboard`."
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
