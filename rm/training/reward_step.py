"""Training a reward model: steps of whole posts, the loss of each step's pairs, validation by log loss.

Each response of a step is scored once, whatever the number of its pairs.
Source: Ouyang et al. 2022 (InstructGPT), section 3.5: all comparisons of a prompt are one batch element.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lurker.errors import LurkerError
from rm.pairs.steps import post_steps, shuffled_steps
from rm.pairs.tokenised import TokenisedPairs, tokenise
from rm.pairs.tokens import Indices
from rm.training.checkpoint import TrainingState
from rm.training.config import TrainConfig
from rm.training.distributed import current_processes
from rm.training.loop import Trained, train
from rm.training.loss import Targets, log_loss, pair_losses, smooth_labels

POST_WEIGHT_EXPONENT = {"root": 0.5, "pair": 0.0, "post": 1.0}
"""A pair of a post with n pairs weighs n to the power of minus this."""


@dataclass(frozen=True, slots=True)
class RewardStep:
    """The `Objective` of a reward model; made by `reward_step`."""

    network: Any
    """a `Scorer`, or any module that computes rewards as it does"""
    training: TokenisedPairs
    validation: TokenisedPairs
    config: TrainConfig
    targets: Targets
    """of the training pairs"""
    auxiliary: nn.Linear | None
    """the nuisance head"""

    @property
    def auxiliary_learning_rate(self) -> float:
        """Peak learning rate of the nuisance head."""
        return self.config.nuisance_rate

    def epoch_steps(self, epoch: int) -> list[Indices]:
        """Indices of the training pairs of each optimiser step."""
        config = self.config
        if config.steps_of == "posts":
            return post_steps(self.training, config.pairs_per_step, config.seed, epoch, config.min_posts_per_step)
        return shuffled_steps(self.training, config.pairs_per_step, config.seed, epoch)

    def loss(self, network: nn.Module, examples: Indices, step: Indices) -> tuple[Tensor, int]:
        """Weighted loss of these pairs in nats, divided by the pairs of the step, and the tokens read.

        Each response of the pairs is scored once.
        """
        training = self.training
        sides = np.stack([training.chosen[examples], training.rejected[examples]])
        responses, position = np.unique(sides, return_inverse=True)
        sequences = training.sequences.take(responses)
        scores = network(sequences, self.config.tokens_per_batch)
        chosen, rejected = scores[torch.from_numpy(position.reshape(2, -1)).to(scores.device)]
        targets = self.targets.take(examples)
        if self.auxiliary is not None:
            nuisance = self.auxiliary(torch.from_numpy(training.nuisance[examples]))[:, 0]
            targets = replace(targets, offset=targets.offset + nuisance)
        losses = pair_losses(chosen, rejected, targets.to(scores.device), self.config.reward_centring)
        return losses.sum() / step.size, int(sequences.n_tokens.sum())

    def validate(self) -> tuple[float, float]:
        """Mean log loss of the validation pairs in nats, and the accuracy of the reward on them."""
        return validate(self.network, self.validation, self.config, self.auxiliary)

    def describe(self, examples: Indices) -> str:
        """The posts of these training pairs."""
        posts = np.unique(self.training.post[examples])
        return f"the pairs of posts {', '.join(self.training.post_ids[post] for post in posts)}"


def train_rewards(
    scorer: Any,
    training: TokenisedPairs,
    validation: TokenisedPairs,
    config: TrainConfig,
    folder: Path,
    after_step: Callable[[TrainingState], None] | None = None,
) -> Trained:
    """Train the scorer's model on pairs and load its best weights into it; see `rm.training.loop.train`."""
    return train(reward_step(scorer, training, validation, config), config.loop, folder, after_step)


def reward_step(scorer: Any, training: TokenisedPairs, validation: TokenisedPairs, config: TrainConfig) -> RewardStep:
    """The objective of training the scorer's model on these pairs.

    Raises:
        LurkerError: Both sides are equal in every pair, or config.adjusted lacks confounder_log_odds.
    """
    if training.is_equal.all():
        raise LurkerError(
            "No pair is left to train on: the two sides of every pair are equal.",
            f"Raise max_tokens, now {config.max_tokens}: `--set max_tokens=...`.",
        )
    targets = pair_targets(training, config)
    return RewardStep(scorer, training, validation, config, targets, _nuisance_head(training, config))


def tokenise_for_model(frame: pl.DataFrame, tokenizer: Any, config: TrainConfig) -> TokenisedPairs:
    """Tokenise PAIRS the way a model trained with this config reads them."""
    return tokenise(
        frame,
        tokenizer,
        config.max_tokens,
        config.max_prompt_tokens,
        reads=config.reads,
        with_delay=config.with_delay,
    )


def pair_targets(pairs: TokenisedPairs, config: TrainConfig) -> Targets:
    """Weight, label, margin and offset of each pair, [n_pairs] each.

    Raises:
        LurkerError: config.adjusted is set but the pair set holds no confounder_log_odds.
    """
    if config.adjusted and not pairs.confounder_log_odds.any():
        raise LurkerError(
            "adjusted=true needs confounder_log_odds, and this pair set has none.",
            "Build one that has: `lurker pairs build adjusted --recipe adjusted`.",
        )
    n_pairs_of_post = np.bincount(pairs.post[~pairs.is_equal], minlength=len(pairs.post_ids)).clip(1)[pairs.post]
    weight = pairs.weight * n_pairs_of_post ** -POST_WEIGHT_EXPONENT[config.post_weight]
    label = torch.ones(weight.size) if config.labels == "hard" else torch.from_numpy(pairs.confidence)
    margin = config.margin_per_log_gap * np.log1p(np.maximum(pairs.score_gap, 0))
    return Targets(
        weight=torch.from_numpy((weight / weight[~pairs.is_equal].mean()).astype(np.float32)),
        label=smooth_labels(label, config.label_smoothing),
        margin=torch.from_numpy(margin.astype(np.float32)),
        offset=torch.from_numpy(_known_log_odds(pairs, config)),
    )


@torch.no_grad()
def validate(
    scorer: Any, pairs: TokenisedPairs, config: TrainConfig, nuisance_head: nn.Linear | None = None
) -> tuple[float, float]:
    """Mean unweighted log loss of the pairs in nats, and accuracy, ties counting half, over all processes.

    The log loss includes the offset that training adds for confounders, because it selects the step that trained best
    with it; the accuracy is of the reward alone.
    """
    scorer.model.eval()
    processes, indices = current_processes(), np.arange(len(pairs.sequences))
    own = processes.share(indices)
    scored = own if own.size else indices[:1]  # all processes must take part
    scores = torch.zeros(indices.size)
    scores[torch.from_numpy(scored)] = scorer(pairs.sequences.take(scored), config.tokens_per_batch).cpu()
    if not own.size:
        scores.zero_()
    scores = processes.sum_tensor(scores)
    offset = torch.from_numpy(_known_log_odds(pairs, config))
    if nuisance_head is not None:
        offset = offset + nuisance_head(torch.from_numpy(pairs.nuisance))[:, 0]
    margins = scores[pairs.chosen] - scores[pairs.rejected]
    return float(log_loss(margins + offset)), float((margins.sign() + 1).mean() / 2)


def _known_log_odds(pairs: TokenisedPairs, config: TrainConfig) -> NDArray[np.float32]:
    """[n_pairs] log-odds added to each pair's logit in training: 0 unless config.adjusted."""
    return pairs.confounder_log_odds if config.adjusted else np.zeros(pairs.post.size, dtype=np.float32)


def _nuisance_head(training: TokenisedPairs, config: TrainConfig) -> nn.Linear | None:
    """A linear head on confounders, starting at 0, that absorbs what they explain.

    It is never part of the model, so the reward at test time excludes what it explains.
    Source: Chen et al. 2024 (ODIN), section 3.2, whose length head reads the text; here the confounders are known.
    """
    if not config.has_nuisance_head:
        return None
    head = nn.Linear(training.nuisance.shape[1], 1, bias=False)
    nn.init.zeros_(head.weight)
    return head
