"""Which weights train: all, LoRA adapters, or only the reward head on frozen embeddings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from lurker.config import override
from lurker.errors import CallError
from rm.models.ladder import LADDER, disable_dropout, learning_rate, reward_head
from rm.models.layers import layers_of
from rm.training.config import TrainConfig
from rm.training.identity import origin

LORA_RATE_FACTOR = 10.0
"""Best learning rate of LoRA relative to full fine-tuning. Source: Schulman et al. 2025, "LoRA without regret"."""
HEAD_LEARNING_RATE = 1e-3
WHOLE_HEADS = r"(.*\.)?\w*(classifier|score)"
"""Names that end like a classifier's head, whose layers PEFT trains as a whole: DistilBERT's pre_classifier too."""


def train_config(spec: str, seed: int, settings: Sequence[str]) -> TrainConfig:
    """The training config of a model, with a default learning rate that fits the weights that train.

    Args:
        spec: SPEC of the model.
        seed: Seed of the run.
        settings: `field=value` strings, as `--set` takes them.

    Raises:
        CallError: A setting names an unknown field or an invalid value.
    """
    config = override(TrainConfig(learning_rate=learning_rate(origin(spec))), [f"seed={seed}", *settings])
    if any(setting.partition("=")[0].strip() == "learning_rate" for setting in settings) or config.trained == "all":
        return config
    rate = config.learning_rate * LORA_RATE_FACTOR if config.trained == "lora" else HEAD_LEARNING_RATE
    return replace(config, learning_rate=rate)


class TrainedWeights(Protocol):
    """The fields of a config that say which weights train, and how they are computed; as in `TrainConfig`."""

    @property
    def trained(self) -> str: ...
    @property
    def lora_rank(self) -> int: ...
    @property
    def has_dropout(self) -> bool: ...
    @property
    def is_checkpointed(self) -> bool: ...
    @property
    def is_compiled(self) -> bool: ...


def make_trainable(model: Any, spec: str, config: TrainedWeights, task: str = "SEQ_CLS") -> Any:
    """Apply the config's frozen weights, adapters, dropout, gradient checkpointing and compilation to a model.

    Args:
        model: the model.
        spec: its SPEC.
        config: what trains.
        task: PEFT's name for what the model does: SEQ_CLS, or CAUSAL_LM.

    Returns:
        The model, wrapped by PEFT if trained=lora.

    Raises:
        CallError: PEFT is missing, or trained=head is set for a model from scratch.
    """
    if config.trained == "head" and spec in LADDER:
        raise CallError(
            f"trained=head would freeze the random weights of {spec}, which then learns nothing.",
            "Choose a pretrained model, or leave trained out.",
        )
    if not config.has_dropout:
        disable_dropout(model)
    if config.is_checkpointed:
        model.activation_checkpointing_enable()
        model.config.use_cache = False
    if config.is_compiled:
        for layer in layers_of(model)[:-1]:  # the last layer is called with two kinds of input
            layer.compile(dynamic=True)
    if config.trained == "head":
        model.requires_grad_(False)
        reward_head(model).requires_grad_(True)
    return _add_lora(model, config, task) if config.trained == "lora" else model


def merge_adapters(model: Any) -> Any:
    """The model as transformers saves and loads it, with adapters merged into the weights.

    Source: Hu et al. 2022 (LoRA), section 4.1.
    """
    return model.merge_and_unload() if hasattr(model, "peft_config") else model


def _add_lora(model: Any, config: TrainedWeights, task: str) -> Any:
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise CallError("trained=lora needs PEFT.", "Install it: `pip install -c constraints.txt peft`.") from error
    lora = LoraConfig(
        task_type=TaskType[task],
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=WHOLE_HEADS,
    )
    return get_peft_model(model, lora)
