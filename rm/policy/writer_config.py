"""How a writer is trained: every choice that changes a figure is a field here."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from lurker.config import override
from rm.models.ladder import LADDER
from rm.training.config import LoopConfig, require_in_range
from rm.training.trainable import LORA_RATE_FACTOR

ABOVE_0 = (
    "learning_rate",
    "epochs",
    "responses_per_step",
    "accumulation",
    "max_grad_norm",
    "tokens_per_batch",
    "lora_rank",
    "evaluations_per_epoch",
    "patience",
    "max_held_out_responses",
)
AT_LEAST_0 = (
    "weight_decay",
    "min_steps",
    "checkpoint_interval_s",
    "seed",
    "max_prompt_tokens",
    "n_memorisation_prompts",
)
PRETRAINED_LEARNING_RATE = 5e-5
LADDER_RATE_FACTOR = 25 / 6
"""Learning rate of a writer relative to that of a reward model of the same shape: each of its tokens is a target, so
gradients are less noisy."""
LADDER_RESPONSES = 8_000
"""Training responses of a writer from scratch by default: as many as scratch-1m learns in minutes on two cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterConfig:
    """How a writer is trained."""

    learning_rate: float
    """peak of AdamW's schedule"""
    selected_by: Literal["residual", "score", "all"] = "residual"
    """which responses count as well received: residual: score above what time, thread and length foretell; score: raw
    score within the community, confounded; all: every response"""
    top_share: float = 0.3
    """share of the responses of each community that is trained on, the best received, above 0 to 1"""
    exclude_nsfw: bool = True
    """leave out posts marked over 18, also where the pair set keeps them"""
    max_responses: int | None = None
    """largest number of training responses, whole posts in order of their hash; all when absent"""
    max_prompt_tokens: int = 256
    """maximum tokens of the prompt, from its start; 0: the writer sees no prompt"""
    max_response_tokens: int = 256
    """longest response that is learned, end token included; longer ones are left out, as their end would be missing"""
    learns_prompt: bool = False
    """also learn to predict prompts, each once per step however many responses it has there"""
    epochs: int = 2
    """maximum passes over the training responses; early stopping may end sooner"""
    min_steps: int = 60
    """optimiser steps planned at least"""
    responses_per_step: int = 32
    """responses in one optimiser step, from whole posts where possible"""
    accumulation: int = 1
    """parts into which a step is cut, computed one after another: less memory, same update"""
    trained: Literal["all", "lora"] = "all"
    """weights that train: all of them, or LoRA adapters of every linear layer"""
    lora_rank: int = 16
    """rank of LoRA's adapters; alpha is twice the rank"""
    is_checkpointed: bool = False
    """gradient checkpointing: recompute layers in the backward pass to save memory"""
    is_sharded: bool = False
    """with several processes: split weights and optimiser over them (FSDP) instead of copying both (DDP)"""
    is_compiled: bool = False
    """compile the model's layers (worth it on a GPU)"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """of matrix products in training: auto takes bfloat16 where the hardware is fast in it; evaluation uses float32"""
    has_tensorboard: bool = False
    """also write the metrics as TensorBoard events"""
    warmup_fraction: float = 0.1
    """fraction of the steps in which the learning rate rises linearly"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """learning rate after warm-up: cosine decay to 0, or constant"""
    weight_decay: float = 0.1
    """AdamW's decoupled decay, of matrices only"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm"""
    has_dropout: bool = False
    """keep the model's dropout"""
    tokens_per_batch: int = 8192
    """tokens computed together, in training and evaluation"""
    vocabulary_size: int = 4096
    """vocabulary of the tokenizer trained for a model from scratch"""
    evaluations_per_epoch: int = 2
    """how often per epoch the validation log loss is taken"""
    patience: int = 3
    """evaluations without a lower validation log loss before training stops"""
    max_held_out_responses: int = 1000
    """maximum responses of validation and of test posts that are read, in order of the hash of their post"""
    n_memorisation_prompts: int = 200
    """held-out prompts that the writer answers once, to measure what it copies; 0: it is not measured"""
    checkpoint_interval_s: float = 60.0
    """seconds between checkpoints; every evaluation also writes one"""
    seed: int = 0
    """seed of the initial weights, order and dropout"""

    @property
    def loop(self) -> LoopConfig:
        """The fields that the training loop needs."""
        return LoopConfig(**{field.name: getattr(self, field.name) for field in fields(LoopConfig)})

    def __post_init__(self) -> None:
        require_in_range(self, ABOVE_0, AT_LEAST_0)
        if not 0 < self.top_share <= 1:
            raise ValueError(f"top_share must be above 0 and at most 1, got {self.top_share}")
        if self.max_response_tokens < 2:
            raise ValueError(f"max_response_tokens must be at least 2, got {self.max_response_tokens}")
        if self.vocabulary_size < 300:
            raise ValueError(f"vocabulary_size must be at least 300, got {self.vocabulary_size}")
        if self.max_responses is not None and self.max_responses < 2:
            raise ValueError(f"max_responses must be at least 2, got {self.max_responses}")


def writer_config(spec: str, seed: int, settings: Sequence[str]) -> WriterConfig:
    """The config of a writer, with defaults that fit its model.

    Args:
        spec: SPEC of the model that training starts from; of a reward model, that which its run started from, as it
            has to learn to write as its own rung does.
        seed: of the training.
        settings: `field=value` strings, as `--set` takes them.

    Raises:
        CallError: a setting names an unknown field or an invalid value.
    """
    if spec in LADDER:
        defaults = WriterConfig(
            learning_rate=LADDER[spec].learning_rate * LADDER_RATE_FACTOR,
            max_responses=LADDER_RESPONSES,
            epochs=3,
            max_prompt_tokens=64,
            max_response_tokens=48,
            vocabulary_size=2048,
        )
    else:
        defaults = WriterConfig(learning_rate=PRETRAINED_LEARNING_RATE)
    config = override(defaults, [f"seed={seed}", *settings])
    if config.trained == "lora" and not any(one.partition("=")[0].strip() == "learning_rate" for one in settings):
        config = override(config, [f"learning_rate={config.learning_rate * LORA_RATE_FACTOR}"])
    return config
