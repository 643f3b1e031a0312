"""How an agent is trained: every choice that changes a figure is a field here."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from lurker.config import override
from rm.policy.advantages import Advantages, LossPer
from rm.policy.judges import Against
from rm.policy.kl_control import KlEstimator
from rm.training.config import LoopConfig, require_in_range

Method = Literal["grpo-pairwise", "rloo", "online-dpo", "dpo"]
PREFERENCES = ("online-dpo", "dpo")
"""Methods that learn from the best and the worst response of a group."""
ABOVE_0 = (
    "learning_rate",
    "steps",
    "prompts_per_step",
    "dpo_scale",
    "kl_limit",
    "kl_gain",
    "max_grad_norm",
    "accumulation",
    "tokens_per_batch",
    "evaluate_every",
    "patience",
    "evaluation_prompts",
)
AT_LEAST_0 = ("kl_weight", "mixing_weight", "weight_decay", "checkpoint_interval_s", "seed")
SMALL_RATE, LARGE_RATE = 1e-3, 1e-5
"""Default learning rates of models from scratch and of pretrained ones."""
SMALL_MODEL = 20_000_000
"""Parameters up to which a model is taken for one from scratch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentConfig:
    """How an agent is trained."""

    learning_rate: float
    """peak of AdamW's schedule"""
    method: Method = "grpo-pairwise"
    """grpo-pairwise: policy gradient on the probability to win within the group; rloo: on the reward itself, less the
    divergence; online-dpo: DPO on the best and the worst response of each group; dpo: the same on the writer's
    responses, so that nothing is sampled from the policy"""
    steps: int = 150
    """optimiser steps planned; the held-out judge, the KL budget or the limit may end training sooner"""
    prompts_per_step: int = 8
    """prompts of one step"""
    group_size: int = 8
    """responses that are drawn for each prompt, at least 2"""
    max_new_tokens: int | None = None
    """longest response, tokens, its end token included; the longest that the writer learned when absent"""
    max_prompt_tokens: int | None = None
    """maximum tokens of the prompt, from its start; what the writer was trained with when absent"""
    against: Against = "all"
    """whom a response must beat: all others of its group, or one drawn member, which is cheaper for a judge that reads
    two responses"""
    advantages: Advantages = "centred"
    """grpo-pairwise: rewards minus the group's mean, or also over its standard deviation"""
    loss_per: LossPer = "response"
    """response: token losses of a response are summed, so that weights are nats per response; token: averaged over the
    step's tokens; mean: averaged within each response first"""
    kl_weight: float = 0.02
    """weight β of the divergence from the writer: reward lost per nat; the first one if kl_target adapts it"""
    kl_estimator: KlEstimator = "exact"
    """divergence of a token: exact over the vocabulary, or k3, from the drawn token alone"""
    kl_target: float | None = None
    """nats per response that kl_weight is adapted to; fixed when absent"""
    kl_gain: float = 0.1
    """relative change of kl_weight per step for a divergence of twice the target, which counts as 0.2 at most"""
    kl_budget: float | None = None
    """nats per response at which training ends; no budget when absent"""
    kl_limit: float = 150.0
    """nats per response that mean the policy has fallen apart: training ends and says so"""
    mixing_weight: float = 0.0
    """weight of the writer's own loss, per token of people's responses, beside the reward (PPO-ptx); with online-dpo
    and dpo, also of the chosen response"""
    length_weight: float = 0.0
    """reward lost per standard deviation of the writer's log length that a response is longer than its mean; 0: the
    length is left alone"""
    dpo_scale: float = 0.1
    """β of DPO: the divergence that a nat of preference is worth"""
    evaluate_every: int = 10
    """steps between evaluations, which select the weights"""
    patience: int = 5
    """evaluations without a better held-out reward before training stops"""
    evaluation_prompts: int = 64
    """test prompts that evaluations answer, in order of the hash of their post"""
    evaluation_samples: int = 4
    """responses to each of them, at least 2"""
    warmup_fraction: float = 0.05
    """fraction of the steps in which the learning rate rises linearly"""
    schedule: Literal["cosine", "constant"] = "constant"
    """learning rate after warm-up"""
    weight_decay: float = 0.0
    """AdamW's decoupled decay, of matrices only"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm"""
    accumulation: int = 1
    """parts into which a step's prompts are cut, computed one after another: less memory, same update"""
    tokens_per_batch: int = 8192
    """tokens computed together"""
    trained: Literal["all", "lora"] = "all"
    """weights that train: all of them, or LoRA adapters of every linear layer"""
    lora_rank: int = 16
    """rank of LoRA's adapters; alpha is twice the rank"""
    has_dropout: bool = False
    """keep the model's dropout in the update; responses are drawn without"""
    is_checkpointed: bool = False
    """gradient checkpointing: recompute layers in the backward pass to save memory"""
    is_compiled: bool = False
    """compile the model's layers (worth it on a GPU)"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """of matrix products in training: auto takes bfloat16 where the hardware is fast in it"""
    has_tensorboard: bool = False
    """also write the metrics as TensorBoard events"""
    checkpoint_interval_s: float = 60.0
    """seconds between checkpoints; every evaluation also writes one"""
    seed: int = 0
    """seed of the prompts' order and of all samples"""

    @property
    def loop(self) -> LoopConfig:
        """The fields that the training loop needs; one pass over the steps is its epoch."""
        shared = {field.name for field in fields(self)} & {field.name for field in fields(LoopConfig)}
        values = {name: getattr(self, name) for name in shared}
        n_evaluations = max(1, round(self.steps / self.evaluate_every))
        return LoopConfig(**values, epochs=1, min_steps=0, is_sharded=False, evaluations_per_epoch=n_evaluations)

    @property
    def new_tokens(self) -> int:
        """Longest response, tokens."""
        if self.max_new_tokens is None:
            raise ValueError("max_new_tokens is not set")
        return self.max_new_tokens

    def __post_init__(self) -> None:
        require_in_range(self, ABOVE_0, AT_LEAST_0)
        for name in ("group_size", "evaluation_samples"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        for name in ("kl_target", "kl_budget"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.max_new_tokens is not None and self.max_new_tokens < 2:
            raise ValueError(f"max_new_tokens must be at least 2, got {self.max_new_tokens}")
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 0:
            raise ValueError(f"max_prompt_tokens must be at least 0, got {self.max_prompt_tokens}")
        self._require_compatible_fields()

    def _require_compatible_fields(self) -> None:
        if self.method in PREFERENCES and self.kl_target is not None:
            raise ValueError(f"kl_target adapts kl_weight, and {self.method} has dpo_scale in its place")
        if self.method == "rloo" and self.loss_per != "response":
            raise ValueError(f"rloo weighs whole responses: loss_per must be response, got {self.loss_per}")


def agent_config(n_parameters: int, settings: Sequence[str], method: Method, seed: int) -> AgentConfig:
    """The config with `field=value` settings applied to the defaults for a writer of this size.

    Raises:
        CallError: an unknown field or an impossible value.
    """
    rate = SMALL_RATE if n_parameters <= SMALL_MODEL else LARGE_RATE
    return override(AgentConfig(learning_rate=rate, method=method, seed=seed), settings)
