"""How a reward model is trained: every choice that changes a figure is a field here."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

ABOVE_0 = (
    "learning_rate",
    "epochs",
    "pairs_per_step",
    "min_posts_per_step",
    "accumulation",
    "max_grad_norm",
    "tokens_per_batch",
    "lora_rank",
    "evaluations_per_epoch",
    "patience",
    "nuisance_rate",
)
AT_LEAST_0 = ("weight_decay", "min_steps", "checkpoint_interval_s", "seed", "margin_per_log_gap", "reward_centring")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """What `rm.training.loop` needs of a config; fields mean what `TrainConfig` says."""

    learning_rate: float
    """peak of AdamW's schedule"""
    schedule: Literal["cosine", "constant"]
    """learning rate after warm-up"""
    warmup_fraction: float
    """fraction of the steps in which the learning rate rises"""
    weight_decay: float
    """AdamW's decoupled decay"""
    max_grad_norm: float
    """gradients are scaled down to this norm"""
    epochs: int
    """maximum passes over the training examples"""
    min_steps: int
    """steps planned at least"""
    accumulation: int
    """parts into which a step is cut"""
    is_sharded: bool
    """split weights over processes"""
    evaluations_per_epoch: int
    """how often the validation log loss is taken"""
    patience: int
    """evaluations without improvement before training stops"""
    checkpoint_interval_s: float
    """seconds between checkpoints"""
    has_tensorboard: bool
    """also write TensorBoard events"""
    seed: int
    """seed of dropout"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a reward model is trained."""

    learning_rate: float
    """peak of AdamW's schedule"""
    epochs: int = 3
    """maximum passes over the training pairs; early stopping may end sooner"""
    min_steps: int = 60
    """optimiser steps planned at least: a small training set gets more passes until it has them"""
    pairs_per_step: int = 32
    """pairs in one optimiser step, from whole posts where possible"""
    steps_of: Literal["posts", "pairs"] = "posts"
    """posts: a step holds whole posts, whose pairs share responses; pairs: shuffled pairs, as other trainers do"""
    min_posts_per_step: int = 2
    """posts that a full step mixes at least: a post with more than its share of the pairs is spread over steps"""
    accumulation: int = 1
    """parts into which a step's pairs are cut, computed one after another: less memory, same update"""
    trained: Literal["all", "lora", "head"] = "all"
    """weights that train: all of them; LoRA adapters of every linear layer and the head; or the head on frozen
    embeddings"""
    train_layers: int | None = None
    """train only the head and this many last layers: frozen layers run once and are cached in the workspace"""
    pooling: Literal["own", "mean"] = "own"
    """what the head reads: own: as the model's classifier does; mean: the mean of all tokens (BERT only), through one
    extra layer, which always trains"""
    head: Literal["random", "probe", "kept", "fresh"] = "random"
    """initial reward head: random: the model's own if it has one with one output, as a run's model has, else random
    weights; kept: the model's own, and an error where it has none; fresh: random weights in any case; probe: the best
    linear reward on the untrained model's embeddings"""
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
    """also write the metrics as TensorBoard events, into the run's folder"""
    subset_of: Literal["posts", "pairs", "communities"] = "posts"
    """what --max-pairs keeps: whole posts; pairs of all posts, as where few prompts have many pairs each; or whole
    posts, as many pairs of each community, so that large ones do not dominate"""
    half: Literal["both", "first", "second"] = "both"
    """posts that train and validate: all, or one half of them by the hash of their id, so that a judge and the one that
    is held out share no post"""
    post_weight: Literal["root", "pair", "post"] = "root"
    """weight of each pair of a post with n pairs: root: 1/sqrt(n); pair: 1; post: 1/n"""
    labels: Literal["hard", "confidence"] = "hard"
    """target of a pair: chosen wins with certainty (hard), or with probability label_confidence"""
    label_smoothing: float = 0.0
    """assumed fraction of wrong labels, from 0 to below 0.5"""
    margin_per_log_gap: float = 0.0
    """log-odds by which chosen must lead, per unit of log(1 + score gap)"""
    reward_centring: float = 0.0
    """weight of the penalty (r_chosen + r_rejected)², which keeps rewards near 0"""
    adjusted: bool = False
    """add the pair's confounder_log_odds to its logit in training, so that the text learns only what is left"""
    has_nuisance_head: bool = False
    """train a linear head on confounders next to the reward and discard it afterwards (after ODIN)"""
    nuisance_rate: float = 1e-2
    """learning rate of the nuisance head, which starts at 0 however small the model's own rate is"""
    reads: Literal["one", "both"] = "one"
    """one: a reward for each response; both: a pairwise model that reads two responses, in both orders"""
    with_delay: bool = False
    """ablation: write each response's delay before its text; the gain is what the shortcut is worth"""
    warmup_fraction: float = 0.1
    """fraction of the steps in which the learning rate rises linearly"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """learning rate after warm-up: cosine decay to 0, or constant"""
    weight_decay: float = 0.1
    """AdamW's decoupled decay, of matrices only"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm"""
    has_dropout: bool = False
    """keep the model's dropout; without it, the same network scores both responses of a pair"""
    max_tokens: int = 512
    """maximum tokens of prompt and response together: the prompt is cut first, then the end of the response"""
    max_prompt_tokens: int | None = None
    """maximum tokens of the prompt, from its start; 0: the model reads the response alone; no limit when absent"""
    tokens_per_batch: int = 8192
    """tokens computed together, in training and evaluation"""
    vocabulary_size: int = 4096
    """vocabulary of the tokenizer trained for a model from scratch"""
    evaluations_per_epoch: int = 2
    """how often per epoch the validation log loss is taken"""
    patience: int = 3
    """evaluations without a lower validation log loss before training stops"""
    max_validation_pairs: int = 2000
    """maximum validation pairs, taken in order of the hash of their post"""
    checkpoint_interval_s: float = 60.0
    """seconds between checkpoints; every evaluation also writes one"""
    seed: int = 0
    """seed of the training subset, initial weights, order and dropout"""
    head_seed: int | None = None
    """seed of the new layers of a pretrained model, so that runs whose weights are averaged start alike; `seed` when
    absent"""

    @property
    def loop(self) -> LoopConfig:
        """The fields that the training loop needs."""
        return LoopConfig(**{field.name: getattr(self, field.name) for field in fields(LoopConfig)})

    def __post_init__(self) -> None:
        require_in_range(self, ABOVE_0, AT_LEAST_0)
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        if self.head_seed is not None and self.head_seed < 0:
            raise ValueError(f"head_seed must be at least 0, got {self.head_seed}")
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 0:
            raise ValueError(f"max_prompt_tokens must be at least 0, got {self.max_prompt_tokens}")
        for name, lowest in (("max_tokens", 8), ("vocabulary_size", 300), ("max_validation_pairs", 2)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")
        self._require_compatible_fields()

    def _require_compatible_fields(self) -> None:
        if self.train_layers is not None and (self.train_layers < 1 or self.trained != "all"):
            raise ValueError(
                "train_layers must be at least 1 and works with trained=all only, "
                f"got train_layers={self.train_layers} and trained={self.trained}"
            )
        if self.head == "probe" and self.trained == "head":
            raise ValueError("head=probe works with trained=all or lora only: trained=head already trains nothing else")
        if self.is_sharded and (self.has_nuisance_head or self.trained == "head" or self.train_layers is not None):
            raise ValueError("is_sharded works with trained=all or lora, without train_layers and has_nuisance_head")
        if self.adjusted and self.has_nuisance_head:
            raise ValueError("adjusted and has_nuisance_head solve the same problem: set only one of them")
        if self.margin_per_log_gap and (self.labels != "hard" or self.label_smoothing):
            raise ValueError("margin_per_log_gap needs labels=hard and label_smoothing=0")


def require_in_range(config: Any, above_0: Sequence[str], at_least_0: Sequence[str]) -> None:
    """Check the numbers that all trainings share: these fields, and `warmup_fraction`.

    Raises:
        ValueError: one is out of its range.
    """
    for name in above_0:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be above 0, got {getattr(config, name)}")
    for name in at_least_0:
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name} must be at least 0, got {getattr(config, name)}")
    if not 0 <= config.warmup_fraction < 1:
        raise ValueError(f"warmup_fraction must be in [0, 1), got {config.warmup_fraction}")
