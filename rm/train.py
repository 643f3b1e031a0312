"""The training loop: whole posts a step, Bradley-Terry loss, best model by validation, exact resume after a kill."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lurker.errors import LurkerError
from rm.checkpoint import Checkpoint, append_metric, cut_metrics, read_checkpoint, save_best, write_checkpoint
from rm.data import Indices, TokenisedPairs, epoch_steps
from rm.forward import rewards
from rm.loss import bradley_terry_loss, log_loss


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a reward model is trained."""

    learning_rate: float
    """peak of AdamW's schedule"""
    epochs: int = 3
    """passes over the training pairs, at most: validation may stop earlier"""
    min_steps: int = 60
    """steps that even a small training set gets: more passes are planned until it has them"""
    pairs_per_step: int = 32
    """pairs of one optimiser step, from whole posts where possible"""
    warmup_fraction: float = 0.1
    """share of the steps in which the learning rate rises linearly"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """learning rate after warm-up: down to zero along a cosine, or constant"""
    weight_decay: float = 0.1
    """AdamW's decoupled decay, of matrices only"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm"""
    max_tokens: int = 512
    """tokens of prompt and response together: the prompt is cut first, then the response's end"""
    vocabulary_size: int = 4096
    """tokens of the tokenizer that a model from scratch gets"""
    evaluations_per_epoch: int = 2
    """how often the validation log loss is taken"""
    patience: int = 3
    """evaluations without a better validation log loss before training stops"""
    max_validation_pairs: int = 2000
    """validation pairs used, the first by hash of their post"""
    checkpoint_interval_s: float = 60.0
    """seconds between checkpoints; one is also written at every evaluation"""
    seed: int = 0
    """seed of subset, initial weights and order"""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epochs", "pairs_per_step", "max_grad_norm", "evaluations_per_epoch", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be over 0, got {getattr(self, name)}")
        for name in ("weight_decay", "min_steps", "checkpoint_interval_s", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"warmup_fraction must be in [0, 1), got {self.warmup_fraction}")
        if self.max_tokens < 8 or self.vocabulary_size < 300 or self.max_validation_pairs < 2:
            raise ValueError(
                f"max_tokens ≥ 8, vocabulary_size ≥ 300 and max_validation_pairs ≥ 2 are needed, got "
                f"{self.max_tokens}, {self.vocabulary_size} and {self.max_validation_pairs}"
            )


@dataclass(frozen=True, slots=True)
class Trained:
    """What training found; the model it was given now holds the best weights."""

    n_steps: int
    best_step: int
    best_validation_log_loss: float
    train_time_s: float
    n_tokens: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens trained on a second, evaluation included."""
        return self.n_tokens / max(self.train_time_s, 1e-9)


def train(
    model: Any,
    pad_token_id: int,
    training: TokenisedPairs,
    validation: TokenisedPairs,
    config: TrainConfig,
    folder: Path,
    advance: Callable[[float], None],
) -> Trained:
    """Train the model (on the device it is on) and leave the weights of the best validation log loss in it.

    folder: takes metrics.jsonl (a line a step) and the checkpoint; when it holds one, training goes on from there and
    gives the losses of a run that was never stopped. advance: told about each step done, and at last of those that
    early stopping saved.
    Errors: LurkerError that names the step whose loss is not finite.
    """
    plan = _plan(training, config)
    optimiser = _optimiser(model, config)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, len(plan), config))
    state = read_checkpoint(folder, model, optimiser, scheduler) or Checkpoint()
    cut_metrics(folder, state.step)
    advance(state.step)
    started = saved = time.monotonic()
    before_s = state.train_time_s
    while state.step < len(plan) and state.n_worse < config.patience:
        pairs, is_evaluation = plan[state.step]
        model.train()
        metric, n_tokens = _step(model, pad_token_id, training, pairs, optimiser, scheduler, config, state.step)
        state.step += 1
        state.n_tokens += n_tokens
        if is_evaluation:
            metric["validation_log_loss"] = validate(model, pad_token_id, validation)
            if metric["validation_log_loss"] < state.best_validation_log_loss:
                save_best(folder, model, state.step)
                state.best_step, state.best_validation_log_loss = state.step, metric["validation_log_loss"]
                state.n_worse = 0
            else:
                state.n_worse += 1
        append_metric(folder, {"step": state.step, **metric})
        advance(1)
        now = time.monotonic()
        state.train_time_s = before_s + now - started
        if is_evaluation or now - saved >= config.checkpoint_interval_s:
            write_checkpoint(folder, model, optimiser, scheduler, state)
            saved = now
    advance(len(plan) - state.step)
    state.load_best(folder, model)
    return Trained(
        state.step, state.best_step, state.best_validation_log_loss, round(state.train_time_s, 3), state.n_tokens
    )


def n_planned_steps(training: TokenisedPairs, config: TrainConfig) -> int:
    """Steps that training takes unless validation stops it earlier."""
    return len(_plan(training, config))


@torch.no_grad()
def validate(model: Any, pad_token_id: int, pairs: TokenisedPairs) -> float:
    """The mean validation log loss, in nats.

    Errors: LurkerError when it is not finite.
    """
    model.eval()
    scores = rewards(model, pairs.sequences, pad_token_id)
    value = float(log_loss(scores[pairs.chosen] - scores[pairs.rejected]))
    if not math.isfinite(value):
        raise LurkerError(f"The validation log loss is {value}.", "Lower the rate: `--set learning_rate=...`.")
    return value


def _step(
    model: Any,
    pad_token_id: int,
    training: TokenisedPairs,
    pairs: Indices,
    optimiser: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LambdaLR,
    config: TrainConfig,
    step: int,
) -> tuple[dict[str, float], int]:
    """One update from the pairs: each of their responses is scored once. Returns the step's metrics and tokens."""
    used, place = np.unique(np.stack([training.chosen[pairs], training.rejected[pairs]]), return_inverse=True)
    sequences = [training.sequences[number] for number in used]
    scores = rewards(model, sequences, pad_token_id)
    chosen, rejected = torch.from_numpy(place.reshape(2, -1)).to(scores.device)
    weight = torch.from_numpy(training.weight[pairs]).to(scores.device)
    loss = bradley_terry_loss(scores, chosen, rejected, weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm))
    value = float(loss.detach())
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise LurkerError(
            f"Step {step + 1}: the loss is {value} and its gradient {norm}.",
            f"Lower the rate, now {config.learning_rate:g}: `--set learning_rate={config.learning_rate / 3:.1g}`.",
        )
    metric = {"train_log_loss": value, "grad_norm": norm, "learning_rate": float(scheduler.get_last_lr()[0])}
    optimiser.step()
    scheduler.step()
    return metric, sum(sequence.size for sequence in sequences)


def _plan(training: TokenisedPairs, config: TrainConfig) -> list[tuple[Indices, bool]]:
    """Every step's pairs, and whether validation follows it; the same for the same pairs, config and seed."""
    plan: list[tuple[Indices, bool]] = []
    epoch = 0
    while epoch < config.epochs or len(plan) < config.min_steps:
        steps = epoch_steps(training.post, ~training.is_equal, config.pairs_per_step, config.seed, epoch)
        if not steps:
            raise LurkerError("No pair is left to train on: both sides of each are equal.", "Raise max_tokens.")
        parts = config.evaluations_per_epoch
        evaluations = {math.ceil(len(steps) * part / parts) - 1 for part in range(1, parts + 1)}
        plan += [(pairs, number in evaluations) for number, pairs in enumerate(steps)]
        epoch += 1
    return plan


def _optimiser(model: Any, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices, not gains and biases. Source: Loshchilov & Hutter 2019."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def _rate(step: int, n_steps: int, config: TrainConfig) -> float:
    """The learning rate at a step, as a share of its peak."""
    n_warmup = math.ceil(config.warmup_fraction * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))
