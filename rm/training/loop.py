"""The training loop: whole posts a step, each response scored once, best model by validation, exact resume.

Source: Ouyang et al. 2022 (InstructGPT), section 3.5: all comparisons of a prompt are one batch element.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lurker.errors import CallError, LurkerError
from rm.models.scorer import Scorer
from rm.pairs.steps import epoch_steps, shuffled_steps
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices
from rm.training.checkpoint import (
    ALONE,
    Checkpoint,
    append_metric,
    cut_metrics,
    read_checkpoint,
    save_best,
    write_checkpoint,
)
from rm.training.config import TrainConfig
from rm.training.distributed import Team, wrapped
from rm.training.loss import Targets, log_loss, pair_losses, smoothed


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
    scorer: Scorer,
    training: TokenisedPairs,
    validation: TokenisedPairs,
    config: TrainConfig,
    folder: Path,
    advance: Callable[[float], None],
    team: Team = ALONE,
) -> Trained:
    """Train the scorer's model (on the device it is on) and leave the weights of the best validation log loss in it.

    folder: takes metrics.jsonl (a line a step) and the checkpoint; when it holds one, training goes on from there and
    gives the losses of a run that was never stopped. advance: told about each step done, and at last of those that
    early stopping saved. team: the processes that train together; each calls this with the same pairs and config.
    Errors: LurkerError that names the step whose loss is not finite, and its posts.
    """
    model, caller = scorer.model, wrapped(scorer, team, config.is_sharded)
    plan = _plan(training, config)
    targets = pair_targets(training, config)
    nuisance = _nuisance_head(training, config)
    optimiser = _optimiser(model, config, nuisance)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, len(plan), config))
    state = read_checkpoint(folder, model, optimiser, scheduler, nuisance) or Checkpoint()
    if team.is_first:
        cut_metrics(folder, state.step)
    board = _board(folder, state.step) if config.has_tensorboard and team.is_first else None
    advance(state.step)
    started = saved = time.monotonic()
    before_s = state.train_time_s
    while state.step < len(plan) and state.n_worse < config.patience:
        pairs, is_evaluation = plan[state.step]
        model.train()
        torch.manual_seed(step_seed(config.seed, state.step, team.rank))
        try:
            metric, n_tokens = _step(caller, training, targets, pairs, optimiser, config, state.step, nuisance, team)
        except RuntimeError as error:
            raise _memory_error(error, state.step, config) from error
        scheduler.step()
        state.step += 1
        state.n_tokens += n_tokens
        if is_evaluation:
            metric["validation_log_loss"] = validate(scorer, validation, config, nuisance, team)
            if metric["validation_log_loss"] < state.best_validation_log_loss:
                save_best(folder, model, state.step, team)
                state.best_step, state.best_validation_log_loss = state.step, metric["validation_log_loss"]
                state.n_worse = 0
            else:
                state.n_worse += 1
        if team.is_first:
            append_metric(folder, {"step": state.step, **metric})
        if board is not None:
            for name, value in metric.items():
                board.add_scalar(name, value, state.step)
        advance(1)
        now = time.monotonic()
        state.train_time_s = before_s + now - started
        if team.most(int(is_evaluation or now - saved >= config.checkpoint_interval_s)):
            write_checkpoint(folder, model, optimiser, scheduler, state, nuisance, team)
            saved = now
    if board is not None:
        board.close()
    advance(len(plan) - state.step)
    state.load_best(folder, model)
    return Trained(
        state.step, state.best_step, state.best_validation_log_loss, round(state.train_time_s, 3), state.n_tokens
    )


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of one step's dropout in one process: the same when the step is done again after a kill."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)


def n_planned_steps(training: TokenisedPairs, config: TrainConfig) -> int:
    """Steps that training takes unless validation stops it earlier."""
    return len(_plan(training, config))


def pair_targets(pairs: TokenisedPairs, config: TrainConfig) -> Targets:
    """What each pair is held to, [n_pairs] each.

    Errors: LurkerError when the config is *adjusted* and the pair set holds no confounder_log_odds.
    """
    if config.adjusted and not pairs.confounder_log_odds.any():
        raise LurkerError(
            "adjusted=true needs the pairs' confounder_log_odds, which were not estimated here.",
            "Build a pair set with them: `lurker pairs build adjusted --recipe adjusted`.",
        )
    n_of_post = np.bincount(pairs.post[~pairs.is_equal], minlength=len(pairs.post_ids)).clip(1)[pairs.post]
    weight = pairs.weight * n_of_post ** -{"root": 0.5, "pair": 0.0, "post": 1.0}[config.post_weight]
    label = torch.ones(weight.size) if config.labels == "hard" else torch.from_numpy(pairs.confidence)
    margin = config.margin_per_log_gap * np.log1p(np.maximum(pairs.score_gap, 0))
    return Targets(
        weight=torch.from_numpy((weight / weight[~pairs.is_equal].mean()).astype(np.float32)),
        label=smoothed(label, config.label_smoothing),
        margin=torch.from_numpy(margin.astype(np.float32)),
        offset=torch.from_numpy(_offset(pairs, config)),
    )


def _offset(pairs: TokenisedPairs, config: TrainConfig) -> NDArray[np.float32]:
    """[n_pairs] log-odds added to each pair's logit while training: 0 unless *adjusted*."""
    return pairs.confounder_log_odds if config.adjusted else np.zeros(pairs.post.size, dtype=np.float32)


@torch.no_grad()
def validate(
    scorer: Scorer,
    pairs: TokenisedPairs,
    config: TrainConfig,
    nuisance: nn.Linear | None = None,
    team: Team = ALONE,
) -> float:
    """The mean validation log loss, in nats; with what training adds for confounders, whose best step it chooses.

    Errors: LurkerError when it is not finite.
    """
    scorer.model.eval()
    numbers = np.arange(len(pairs.sequences))
    own = team.share(numbers)
    own = own if own.size else numbers[:1]
    scores = torch.zeros(numbers.size)
    scores[torch.from_numpy(own)] = scorer(pairs.sequences.take(own), config.tokens_per_batch).cpu()
    if not team.share(numbers).size:
        scores.zero_()
    scores = team.summed(scores)
    known = torch.from_numpy(_offset(pairs, config))
    if nuisance is not None:
        known = known + nuisance(torch.from_numpy(pairs.nuisance))[:, 0]
    value = float(log_loss(scores[pairs.chosen] - scores[pairs.rejected] + known))
    if not math.isfinite(value):
        raise LurkerError(f"The validation log loss is {value}.", "Lower the rate: `--set learning_rate=...`.")
    return value


def _step(
    scorer: nn.Module,
    training: TokenisedPairs,
    targets: Targets,
    pairs: Indices,
    optimiser: torch.optim.Optimizer,
    config: TrainConfig,
    step: int,
    nuisance: nn.Linear | None = None,
    team: Team = ALONE,
) -> tuple[dict[str, float], int]:
    """One update from the pairs: a part scores each of its responses once. Returns the step's metrics and tokens."""
    optimiser.zero_grad(set_to_none=True)
    value, n_tokens = 0.0, 0
    own = team.share(pairs)
    weight = float(own.size > 0)  # a process without a pair computes one for nothing: all must take part
    for part in np.array_split(
        own if own.size else pairs[:1], min(config.accumulation, max(1, pairs.size // team.size))
    ):
        used, place = np.unique(np.stack([training.chosen[part], training.rejected[part]]), return_inverse=True)
        sequences = training.sequences.take(used)
        scores = scorer(sequences, config.tokens_per_batch)
        chosen, rejected = scores[torch.from_numpy(place.reshape(2, -1)).to(scores.device)]
        held = targets.take(part)
        if nuisance is not None:
            held = replace(held, offset=held.offset + nuisance(torch.from_numpy(training.nuisance[part]))[:, 0])
        held = held.to(scores.device)
        loss = weight * pair_losses(chosen, rejected, held, config.reward_centring).sum() / pairs.size
        (loss * team.size).backward()  # gradients are averaged over processes
        value += float(loss.detach())
        n_tokens += int(sequences.n_tokens.sum())
    value, n_tokens = team.total(value), int(team.total(n_tokens))
    norm = _clip(scorer, config.max_grad_norm)
    if nuisance is not None and nuisance.weight.grad is not None:
        nuisance.weight.grad = team.summed(nuisance.weight.grad) / team.size
    if not (math.isfinite(value) and math.isfinite(norm)):
        posts = [training.post_ids[code] for code in np.unique(training.post[pairs])]
        raise LurkerError(
            f"Step {step + 1}: the loss is {value} and its gradient {norm}; its posts are {', '.join(posts)}.",
            f"Lower the rate, now {config.learning_rate:g}: `--set learning_rate={config.learning_rate / 3:.1g}`.",
        )
    metric = {"train_log_loss": value, "grad_norm": norm, "learning_rate": float(optimiser.param_groups[0]["lr"])}
    optimiser.step()
    return metric, n_tokens


def _clip(scorer: nn.Module, max_norm: float) -> float:
    """Scale gradients down to the norm; the norm they had, over all processes."""
    norm = nn.utils.clip_grad_norm_(scorer.parameters(), max_norm)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _memory_error(error: RuntimeError, step: int, config: TrainConfig) -> Exception:
    """What to do when memory ran out; any other error as it is."""
    if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
        return error
    return LurkerError(
        f"Step {step + 1}: out of memory with accumulation={config.accumulation}, max_tokens={config.max_tokens}.",
        f"Start again with `--set accumulation={2 * config.accumulation}`, then also `--set is_checkpointed=true`.",
    )


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, from this step on.

    Errors: CallError when TensorBoard is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CallError(
            "has_tensorboard=true needs TensorBoard.", "Install it: `pip install -c constraints.txt tensorboard`."
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)


def _plan(training: TokenisedPairs, config: TrainConfig) -> list[tuple[Indices, bool]]:
    """Every step's pairs, and whether validation follows it; the same for the same pairs, config and seed."""
    plan: list[tuple[Indices, bool]] = []
    epoch = 0
    while epoch < config.epochs or len(plan) < config.min_steps:
        if config.steps_of == "posts":
            steps = epoch_steps(training, config.pairs_per_step, config.seed, epoch, config.min_posts_per_step)
        else:
            steps = shuffled_steps(training, config.pairs_per_step, config.seed, epoch)
        if not steps:
            raise LurkerError("No pair is left to train on: both sides of each are equal.", "Raise max_tokens.")
        parts = config.evaluations_per_epoch
        evaluations = {math.ceil(len(steps) * part / parts) - 1 for part in range(1, parts + 1)}
        plan += [(pairs, number in evaluations) for number, pairs in enumerate(steps)]
        epoch += 1
    return plan


def _nuisance_head(training: TokenisedPairs, config: TrainConfig) -> nn.Linear | None:
    """The head that takes on what confounders explain, at 0.

    It never becomes a part of the model: what it explains is left out of the reward at test time.
    Source: Chen et al. 2024 (ODIN), section 3.2, whose length head reads the text; here the confounders are known.
    """
    if not config.has_nuisance_head:
        return None
    head = nn.Linear(training.nuisance.shape[1], 1, bias=False)
    nn.init.zeros_(head.weight)
    return head


def _optimiser(model: Any, config: TrainConfig, nuisance: nn.Linear | None = None) -> torch.optim.AdamW:
    """AdamW that decays matrices, not gains and biases. Source: Loshchilov & Hutter 2019."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim >= 2]
    vectors = [parameter for parameter in trained if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if nuisance is not None:
        groups.append({"params": [*nuisance.parameters()], "weight_decay": 0.0, "lr": config.nuisance_rate})
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _rate(step: int, n_steps: int, config: TrainConfig) -> float:
    """The learning rate at a step, as a share of its peak."""
    n_warmup = math.ceil(config.warmup_fraction * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))
