"""Which weights train: all, LoRA's adapters, or only the reward head on embeddings that are computed once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lurker.config import override
from lurker.errors import CallError
from lurker.progress import ignore
from rm.config import TrainConfig
from rm.data import TokenisedPairs
from rm.forward import Scorer
from rm.layers import layers_of
from rm.model import LADDER, learning_rate, reward_head, silence_dropout
from rm.tokens import Indices

LORA_RATE_FACTOR = 10.0
"""LoRA's best rate over full fine-tuning's. Source: Schulman et al. 2025, "LoRA without regret"."""
HEAD_LEARNING_RATE = 1e-3


def train_config(spec: str, seed: int, settings: Sequence[str]) -> TrainConfig:
    """The config of a model's training, its default learning rate that of the weights which train.

    Errors: CallError for a setting that the config does not take.
    """
    config = override(TrainConfig(learning_rate=learning_rate(spec), seed=seed), settings)
    if any(setting.partition("=")[0].strip() == "learning_rate" for setting in settings) or config.trained == "all":
        return config
    rate = config.learning_rate * LORA_RATE_FACTOR if config.trained == "lora" else HEAD_LEARNING_RATE
    return replace(config, learning_rate=rate)


def prepare(model: Any, spec: str, config: TrainConfig) -> Any:
    """The model ready to train: what is frozen, dropout, gradient checkpointing and compiling as the config says.

    Errors: CallError when PEFT is missing, or nothing of a model from scratch would train but its head.
    """
    if config.trained == "head" and spec in LADDER:
        raise CallError(
            f"trained=head freezes the random weights of {spec}: it would learn nothing.", "Take a pretrained model."
        )
    if not config.has_dropout:
        silence_dropout(model)
    if config.is_checkpointed:
        model.activation_checkpointing_enable()
        model.config.use_cache = False
    if config.is_compiled:
        for layer in layers_of(model)[:-1]:  # the last one is called in two ways
            layer.compile(dynamic=True)
    if config.trained == "head":
        model.requires_grad_(False)
        reward_head(model).requires_grad_(True)
    return _with_adapters(model, config) if config.trained == "lora" else model


def merged(model: Any) -> Any:
    """The model as transformers saves and loads it: adapters become part of the weights.

    Source: Hu et al. 2022 (LoRA), section 4.1.
    """
    return model.merge_and_unload() if hasattr(model, "peft_config") else model


def _with_adapters(model: Any, config: TrainConfig) -> Any:
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise CallError("trained=lora needs PEFT.", "Install it: `pip install -c constraints.txt peft`.") from error
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    return get_peft_model(model, lora)


@dataclass(frozen=True, slots=True)
class Embedded:
    """Sequences of which only what the reward head reads is left: features [n, width]; n_tokens [n], as they had."""

    features: Tensor
    n_tokens: NDArray[np.int64]

    def __len__(self) -> int:
        return self.n_tokens.size

    def take(self, numbers: Indices) -> "Embedded":
        """Those of these indices, in their order."""
        return Embedded(self.features[torch.from_numpy(numbers).to(self.features.device)], self.n_tokens[numbers])


class HeadScorer(nn.Module):
    """Rewards of embedded sequences by the head alone; used by the training loop like a `Scorer`."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.model = head

    def forward(self, sequences: Embedded, tokens_per_batch: int) -> Tensor:
        """The reward of each: [n], with the head's graph."""
        rewards: Tensor = self.model(sequences.features)[:, 0]
        return rewards


def on_embeddings(
    scorer: Scorer,
    sets: Sequence[TokenisedPairs],
    config: TrainConfig,
    advance: Callable[[float], None] = ignore,
) -> tuple[Any, list[TokenisedPairs]]:
    """The head as a scorer of its own, and the pair sets with each response as what the head reads, computed once.

    advance: told about tokens done.
    """
    scorer.model.eval()
    head = reward_head(scorer.model)
    read = []
    for pairs in sets:
        features = scorer.embeddings(head, pairs.sequences, config.tokens_per_batch, advance)
        read.append(replace(pairs, sequences=Embedded(features, pairs.sequences.n_tokens)))  # type: ignore[arg-type]
    return HeadScorer(head), read
