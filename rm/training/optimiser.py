"""The optimiser of a training: AdamW with weight decay of matrices alone, and its learning rate schedule."""

import math
from typing import Any

import torch
from torch import nn

from rm.training.checkpoint import Trainee
from rm.training.config import LoopConfig


def new_trainee(
    model: Any, auxiliary: nn.Module | None, auxiliary_learning_rate: float, config: LoopConfig, n_steps: int
) -> Trainee:
    """The model with AdamW, which decays matrices but not gains and biases, and its learning rate schedule.

    Args:
        model: What is trained.
        auxiliary: Weights that are trained alongside, without decay.
        auxiliary_learning_rate: Their peak learning rate.
        config: How to train.
        n_steps: Steps of the whole schedule.

    Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization".
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in trained if weight.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in trained if weight.ndim < 2], "weight_decay": 0.0},
    ]
    if auxiliary is not None and (weights := [*auxiliary.parameters()]):
        groups.append({"params": weights, "weight_decay": 0.0, "lr": auxiliary_learning_rate})
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _relative_rate(step, n_steps, config))
    return Trainee(model, optimiser, schedule, auxiliary)


def _relative_rate(step: int, n_steps: int, config: LoopConfig) -> float:
    """Learning rate at a step, as a fraction of its peak: linear warm-up, then the config's schedule."""
    n_warmup = math.ceil(config.warmup_fraction * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))
