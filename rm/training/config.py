"""How a reward model is trained: every choice that changes a figure is a field here."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a reward model is trained."""

    learning_rate: float
    """peak of AdamW's schedule"""
    epochs: int = 3
    """passes over the training pairs, at most: validation may stop earlier"""
    min_steps: int = 60
    """steps that even a small training set gets: more passes are planned until it has them"""
    pairs_per_step: int = 32
    """pairs of one optimiser step, from whole posts where possible"""
    steps_of: Literal["posts", "pairs"] = "posts"
    """posts: a step holds whole posts, which share prompts and responses; pairs: shuffled, as other trainers do"""
    min_posts_per_step: int = 2
    """posts that a full step mixes at least: a post with more than its share of the pairs is spread over steps"""
    accumulation: int = 1
    """parts into which a step's pairs are cut, computed one after another: less memory, the same update"""
    trained: Literal["all", "lora", "head"] = "all"
    """weights that train: all; LoRA's adapters of every linear layer and the head; the head on fixed embeddings"""
    train_layers: int | None = None
    """train the head and this many last layers only: what is below runs once and is cached in the workspace"""
    pooling: Literal["own", "mean"] = "own"
    """what the head reads: own: what the model's classifier does; mean: of a BERT, the mean of all tokens, through one
    more layer, which always trains"""
    head: Literal["random", "probe"] = "random"
    """what the reward head begins as: random weights, or the best linear reward of what the untrained model gives it"""
    lora_rank: int = 16
    """rank of LoRA's adapters; their alpha is twice that"""
    is_checkpointed: bool = False
    """gradient checkpointing: layers are computed again in the backward pass, for less memory"""
    is_sharded: bool = False
    """with several processes: each holds a part of weights and optimiser (FSDP), not a copy of all (DDP)"""
    is_compiled: bool = False
    """compile the decoder's layers (worth it on a GPU)"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """of matrix products in training: auto takes bfloat16 where the machine is fast in it; judging is in float32"""
    has_tensorboard: bool = False
    """write the metrics for TensorBoard too, into the run's folder"""
    post_weight: Literal["root", "pair", "post"] = "root"
    """how a post of n pairs counts: root: each pair 1/sqrt(n); pair: each pair 1; post: each pair 1/n"""
    labels: Literal["hard", "confidence"] = "hard"
    """the target of a pair: chosen wins for certain, or with its label_confidence"""
    label_smoothing: float = 0.0
    """share of labels that are taken to be turned round, 0 to under 0.5"""
    margin_per_log_gap: float = 0.0
    """log-odds by which chosen must lead, per unit of log(1 + score gap)"""
    reward_centring: float = 0.0
    """weight of the penalty (r_chosen + r_rejected)², which keeps rewards around 0"""
    adjusted: bool = False
    """add the pair's confounder_log_odds to its logit in training, so that the text explains what they leave over"""
    has_nuisance_head: bool = False
    """train a linear head on what confounders say of a pair beside the reward, and throw it away (after ODIN)"""
    nuisance_rate: float = 1e-2
    """learning rate of that head: it starts from nothing, however finely the model is tuned"""
    reads: Literal["one", "both"] = "one"
    """one: a reward for each response; both: a pairwise model that reads the two, in both orders"""
    with_delay: bool = False
    """ablation: write each response's delay before its text; what that adds is a shortcut's worth, not taste"""
    warmup_fraction: float = 0.1
    """share of the steps in which the learning rate rises linearly"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """learning rate after warm-up: down to zero along a cosine, or constant"""
    weight_decay: float = 0.1
    """AdamW's decoupled decay, of matrices only"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm"""
    has_dropout: bool = False
    """keep the model's dropout; without it the two responses of a pair are judged by the same network"""
    max_tokens: int = 512
    """tokens of prompt and response together: the prompt is cut first, then the response's end"""
    max_prompt_tokens: int | None = None
    """tokens of the prompt at most, its start; 0: the model reads the response alone; no such limit when absent"""
    tokens_per_batch: int = 8192
    """tokens that are computed together, in training and judging"""
    vocabulary_size: int = 4096
    """tokens of the tokenizer that a model from scratch gets"""
    evaluations_per_epoch: int = 2
    """how often the validation log loss is taken"""
    patience: int = 3
    """evaluations without a better validation log loss before training stops"""
    max_validation_pairs: int = 2000
    """validation pairs used, the first by hash of their post"""
    checkpoint_interval_s: float = 60.0
    """seconds between checkpoints; one is also written at every evaluation"""
    seed: int = 0
    """seed of subset, initial weights and order"""

    def __post_init__(self) -> None:
        over_0 = (
            "learning_rate",
            "epochs",
            "pairs_per_step",
            "min_posts_per_step",
            "accumulation",
            "max_grad_norm",
        )
        for name in (*over_0, "tokens_per_batch", "lora_rank", "evaluations_per_epoch", "patience", "nuisance_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be over 0, got {getattr(self, name)}")
        at_least_0 = ("weight_decay", "min_steps", "checkpoint_interval_s", "seed", "margin_per_log_gap")
        for name in (*at_least_0, "reward_centring"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 0:
            raise ValueError(f"max_prompt_tokens must be at least 0, got {self.max_prompt_tokens}")
        if self.train_layers is not None and (self.train_layers < 1 or self.trained != "all"):
            raise ValueError(
                f"train_layers must be at least 1 and goes with trained=all, got {self.train_layers} and {self.trained}"
            )
        if self.head == "probe" and self.trained == "head":
            raise ValueError("head=probe goes with trained=all or lora: of the head alone it is all there is to train")
        if self.is_sharded and (self.has_nuisance_head or self.trained == "head" or self.train_layers is not None):
            raise ValueError("is_sharded goes with trained=all or lora, without train_layers and has_nuisance_head")
        if self.adjusted and self.has_nuisance_head:
            raise ValueError("adjusted and has_nuisance_head are two answers to one question: take one of them")
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"warmup_fraction must be in [0, 1), got {self.warmup_fraction}")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        if self.margin_per_log_gap and (self.labels != "hard" or self.label_smoothing):
            raise ValueError("margin_per_log_gap needs hard labels: a margin for the loser has no meaning")
        if self.max_tokens < 8 or self.vocabulary_size < 300 or self.max_validation_pairs < 2:
            raise ValueError(
                f"max_tokens ≥ 8, vocabulary_size ≥ 300 and max_validation_pairs ≥ 2 are needed, got "
                f"{self.max_tokens}, {self.vocabulary_size} and {self.max_validation_pairs}"
            )
