"""The ways to train on pairs that `bench_rm.py` compares: a plain loop, our ideas added one by one, and TRL."""

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from rm.models.ladder import RewardModel
from rm.models.scorer import Scorer
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices, Sequences
from rm.training.config import TrainConfig
from rm.training.loss import Targets, pair_losses
from rm.training.reward_step import pair_targets

CONFIG = TrainConfig(learning_rate=1e-4, pairs_per_step=64, post_weight="pair")
OURS, TRL = "+ last layer where read", "TRL RewardTrainer"
PAIRS_PER_BATCH = 8
"""Pairs in a forward pass of the plain loop and of TRL (its default)."""

Scored = list[tuple[Indices, torch.Tensor, torch.Tensor]]
"""Parts of a step: pair indices, rewards of chosen, rewards of rejected."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What every contender trains on."""

    reward_model: RewardModel
    pairs: TokenisedPairs
    steps: list[Indices]
    """pair indices of each step"""
    max_tokens: int


@dataclass(slots=True)
class Contender:
    """A way to score the responses of a step, and the time it has taken so far."""

    name: str
    scorer: Scorer
    score: Callable[[Scorer, TokenisedPairs, Indices], Scored]
    time_s: float = 0.0
    cpu_time_s: float = 0.0


def contenders(reward_model: RewardModel, max_tokens: int) -> list[Contender]:
    """From the plain loop to ours, each with one more idea."""

    def scorer(is_packed: bool, reads_last_only: bool = False) -> Scorer:
        made = Scorer(copy.deepcopy(reward_model.model), reward_model.tokenizer.pad_token_id, max_tokens)
        made.is_packed, made.reads_last_only = is_packed and made.is_packed, reads_last_only
        return made

    return [
        Contender("plain, per pair", scorer(False), score_per_pair),
        Contender("unique + sorted by length", scorer(False), score_unique),
        Contender("unique + packed", scorer(True), score_unshared),
        Contender("prefix-shared + packed", scorer(True), score_unique),
        Contender(OURS, scorer(True, True), score_unique),
    ]


def score_per_pair(scorer: Scorer, pairs: TokenisedPairs, step: Indices) -> Scored:
    """Score both sides of each pair, PAIRS_PER_BATCH pairs at a time, padded to the longest."""
    parts = []
    for part in np.array_split(step, max(1, round(step.size / PAIRS_PER_BATCH))):
        sides = pairs.sequences.take(np.concatenate([pairs.chosen[part], pairs.rejected[part]]))
        rewards = scorer.run_padded(sides, np.arange(len(sides)), torch.device("cpu"))
        chosen, rejected = rewards.chunk(2)
        parts.append((part, chosen, rejected))
    return parts


def score_unique(scorer: Scorer, pairs: TokenisedPairs, step: Indices) -> Scored:
    """Score each response of the step once."""
    used, position = np.unique(np.stack([pairs.chosen[step], pairs.rejected[step]]), return_inverse=True)
    rewards = scorer(pairs.sequences.take(used))
    chosen, rejected = rewards[torch.from_numpy(position.reshape(2, -1))]
    return [(step, chosen, rejected)]


def score_unshared(scorer: Scorer, pairs: TokenisedPairs, step: Indices) -> Scored:
    """Score each response of the step once, packed, with its own copy of the prompt."""
    alone = Sequences(pairs.sequences.tokens, np.arange(len(pairs.sequences)), np.zeros_like(pairs.sequences.prompt))
    return score_unique(scorer, replace(pairs, sequences=alone), step)


def backward(contender: Contender, pairs: TokenisedPairs, targets: Targets, step: Indices) -> float:
    """Compute the gradient of a step; returns its loss in nats."""
    loss = torch.zeros(())
    for part, chosen, rejected in contender.score(contender.scorer, pairs, step):
        part_loss = pair_losses(chosen, rejected, targets.take(part)).sum() / step.size
        part_loss.backward()
        loss += part_loss.detach()
    return float(loss)


def optimiser_of(contender: Contender) -> torch.optim.Optimizer:
    """AdamW with the contenders' common rate."""
    return torch.optim.AdamW(contender.scorer.parameters(), lr=CONFIG.learning_rate, fused=True)


def run_steps(rivals: list[Contender], pairs: TokenisedPairs, steps: list[Indices]) -> list[float]:
    """Train all contenders on the steps in turns; returns the largest difference of their losses at each step."""
    targets = pair_targets(pairs, CONFIG)
    optimisers = [optimiser_of(rival) for rival in rivals]
    spread = []
    for number, step in enumerate(steps):
        losses = []
        for rival, optimiser in zip(rivals, optimisers, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            optimiser.zero_grad(set_to_none=True)
            losses.append(backward(rival, pairs, targets, step))
            optimiser.step()
            if number:  # the first step is a warm-up
                rival.time_s += time.perf_counter() - wall
                rival.cpu_time_s += time.process_time() - cpu
        spread.append(max(losses) - min(losses))
    return spread


def run_trl(
    setup: Setup, steps: list[Indices], callbacks: list[Any] | None = None, n_epochs: int = 1
) -> dict[str, float]:
    """Train TRL's RewardTrainer on the pairs of the steps; returns time_s, cpu_time_s and n_pairs."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    pairs, indices = setup.pairs, np.concatenate(steps)
    rows = {
        f"{side}_ids": [pairs.sequences.tokens[number].tolist() for number in responses[indices]]
        for side, responses in (("chosen", pairs.chosen), ("rejected", pairs.rejected))
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            output_dir=folder,
            per_device_train_batch_size=PAIRS_PER_BATCH,
            gradient_accumulation_steps=CONFIG.pairs_per_step // PAIRS_PER_BATCH,
            max_length=setup.max_tokens,
            learning_rate=CONFIG.learning_rate,
            num_train_epochs=n_epochs,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_steps=10_000,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = RewardTrainer(
            model=copy.deepcopy(setup.reward_model.model),
            args=arguments,
            train_dataset=Dataset.from_dict(rows),
            processing_class=setup.reward_model.tokenizer,
            callbacks=callbacks,
        )
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        return {
            "time_s": time.perf_counter() - wall,
            "cpu_time_s": time.process_time() - cpu,
            "n_pairs": len(trainer.train_dataset),
        }
