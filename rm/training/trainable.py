"""Which weights train: all, LoRA's adapters, or only the reward head on embeddings that are computed once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lurker.config import override
from lurker.errors import CallError
from rm.models.ladder import LADDER, learning_rate, reward_head, silence_dropout
from rm.models.layers import layers_of
from rm.training.config import TrainConfig

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
