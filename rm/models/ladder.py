"""Reward models: a ladder of small decoders trained from scratch, or any sequence classifier of transformers.

SPEC is a name on the ladder (`scratch-200k`), a packaged model (`minilm`), a Hugging Face id or a local folder.
Names on the ladder count parameters without embeddings, as scaling laws do.
Source: Kaplan et al. 2020, section 2.1.
"""

import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lurker.arguments import require_kind
from lurker.errors import CallError, LurkerError
from lurker.progress import say
from rm.models.loading import explained, pretrained_tokenizer, require_hub, require_model_files
from rm.models.pretrained import PACKAGED, locate
from rm.models.scorer import Scorer
from rm.pairs.tokens import ensure_pad_token, train_tokenizer

MAX_POSITIONS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One model on the ladder: the shape of a Llama, and its default learning rate.

    Up to scratch-200k the rate was searched on the validation split of simulated pairs (500 to 4,000 pairs, rates from
    1e-3 to 1e-2). Larger models follow the usual decrease with width, without a search.
    """

    hidden_size: int
    """width of the residual stream"""
    intermediate_size: int
    """width inside the gated feed-forward layer"""
    n_layers: int
    """decoder layers"""
    n_heads: int
    """attention heads, of width hidden_size / n_heads"""
    learning_rate: float
    """peak of AdamW's schedule"""


LADDER: dict[str, Rung] = {
    "scratch-10k": Rung(hidden_size=32, intermediate_size=64, n_layers=1, n_heads=2, learning_rate=2e-3),
    "scratch-50k": Rung(hidden_size=64, intermediate_size=168, n_layers=1, n_heads=4, learning_rate=2e-3),
    "scratch-200k": Rung(hidden_size=96, intermediate_size=232, n_layers=2, n_heads=4, learning_rate=1e-3),
    "scratch-1m": Rung(hidden_size=160, intermediate_size=448, n_layers=3, n_heads=4, learning_rate=6e-4),
    "scratch-4m": Rung(hidden_size=256, intermediate_size=688, n_layers=5, n_heads=4, learning_rate=4e-4),
    "scratch-16m": Rung(hidden_size=448, intermediate_size=1200, n_layers=7, n_heads=7, learning_rate=2e-4),
}
PRETRAINED_LEARNING_RATE = 2e-5


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A sequence classifier with one output, and its tokenizer, which pads on the right with its own padding token."""

    model: Any
    tokenizer: Any

    def scorer(self, max_tokens: int) -> Scorer:
        """A scorer of sequences of at most max_tokens tokens, on the model's device."""
        return Scorer(self.model, self.tokenizer.pad_token_id, max_tokens)

    @property
    def n_parameters_total(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def n_parameters(self) -> int:
        """Number of parameters without token and position embeddings."""
        embeddings = [module for module in self.model.modules() if isinstance(module, nn.Embedding)]
        return self.n_parameters_total - sum(p.numel() for module in embeddings for p in module.parameters())


NEED_NO_HUB = (*LADDER, *PACKAGED)
"""Names of models that no hub is asked for."""
TFIDF = "tfidf"
"""A baseline that is no SPEC: it leaves no run."""


def learning_rate(spec: str) -> float:
    """The default learning rate of a model."""
    return LADDER[spec].learning_rate if spec in LADDER else PRETRAINED_LEARNING_RATE


def check_spec(spec: str) -> None:
    """Reject a SPEC that cannot name a model, without loading it.

    Raises:
        CallError: Lists the known models, or names the command that installs a packaged one.
    """
    require_kind(spec, str, "The SPEC of one model", known_models())
    if spec in LADDER:
        return
    if spec == TFIDF:
        raise CallError(
            "tfidf is a baseline, with which every run is compared, and no model to train.",
            "Leave it out; `lurker experiment recipes NAME --models tfidf` fits it alone.",
        )
    if spec in PACKAGED:
        locate(spec)
        return
    if not spec.strip():  # as a path it is the current folder
        raise CallError(f"Unknown model {spec!r}.", known_models())
    path = Path(spec)
    if (path / "model" / "config.json").exists():
        raise CallError(f"{spec} is the folder of a run that is not finished.", "Finish it with `--resume`.")
    if path.is_dir() and not (path / "config.json").exists():
        raise CallError(f"The folder {spec} holds no model: config.json is missing.", known_models())
    if path.is_file() or spec.startswith("scratch-"):
        raise CallError(f"Unknown model {spec!r}.", known_models())


def require_loadable(spec: str) -> None:
    """Reject a SPEC that does not load, before any work is done for it.

    Raises:
        CallError: Says why, or lists the known models.
    """
    check_spec(spec)
    if spec not in LADDER:
        require_reachable(spec)
        require_model_files(str(locate(spec)) if spec in PACKAGED else spec, known_models())


def require_reachable(spec: str, advice: str = "") -> None:
    """Reject a SPEC that is no model here and that the hub does not give, as `require_hub`.

    Args:
        advice: the next step; the known reward models by default.
    """
    if spec not in NEED_NO_HUB:
        require_hub(spec, advice or known_models(), NEED_NO_HUB)


def build(
    spec: str, texts: Sequence[str], vocabulary_size: int, seed: int, tokenizer: Any = None, *, head: str = "random"
) -> RewardModel:
    """Build an untrained reward model: a model with a new head, and its tokenizer.

    Args:
        spec: SPEC of the model.
        texts: Texts of the training split, which a new tokenizer is trained on (ladder only).
        vocabulary_size: Size of that tokenizer.
        seed: Seed of the initial weights (of a pretrained model: of its new layers), which depend on nothing else.
        tokenizer: A trained tokenizer to share between models, in place of a new one (ladder only).
        head: The initial head, as in TrainConfig: "kept" needs the model's own, "fresh" draws it anew.

    Raises:
        CallError: The SPEC is neither on the ladder nor loads, or it has no head to keep.
    """
    check_spec(spec)
    torch.manual_seed(seed)
    if spec in LADDER:
        if head == "kept":
            raise _no_head(spec)
        tokenizer = tokenizer or train_tokenizer(texts, vocabulary_size)
        return RewardModel(_from_scratch(LADDER[spec], tokenizer), tokenizer)
    return _from_pretrained(str(locate(spec)) if spec in PACKAGED else spec, head)


def load(folder: Path) -> RewardModel:
    """Load a trained model from the `model` folder of a run.

    Raises:
        CallError: The folder holds no model.
    """
    check_spec(str(folder))
    return _from_pretrained(str(folder))


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights, config and tokenizer as transformers loads them; the folder appears only when complete.

    Raises:
        LurkerError: The folder cannot be written.
    """
    temporary = folder.with_name(f".model-{uuid.uuid4().hex[:8]}.tmp")
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        raise LurkerError(
            f"Cannot write {folder}: {error}.",
            "Free some space, then repeat the command, with `--resume` if it trains.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def disable_dropout(model: nn.Module) -> None:
    """Turn dropout off in training, so that the same network scores both responses of a pair.

    Source: Ziegler et al. 2019, section 2.1; TRL's `disable_dropout` does the same.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def llama_config(rung: Rung, tokenizer: Any, **fields: Any) -> Any:
    """The configuration of a Llama of a rung's shape, with the fields that are its user's own."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=rung.hidden_size,
        intermediate_size=rung.intermediate_size,
        num_hidden_layers=rung.n_layers,
        num_attention_heads=rung.n_heads,
        num_key_value_heads=rung.n_heads,
        max_position_embeddings=MAX_POSITIONS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **fields,
    )


def _from_scratch(rung: Rung, tokenizer: Any) -> Any:
    from transformers import LlamaForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = LlamaForSequenceClassification(llama_config(rung, tokenizer, num_labels=1, use_cache=False))
    _initialise_head(model.score)
    return model


def _from_pretrained(spec: str, head: str = "random") -> RewardModel:
    """A pretrained model and its tokenizer; a head that is missing or has several outputs is drawn anew.

    Raises:
        CallError: The model does not load, or has no head where head is "kept".
    """
    require_reachable(spec)
    tokenizer = pretrained_tokenizer(spec, known_models())
    model, fresh = _classifier(spec)
    ensure_pad_token(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    for name, module in model.named_modules():
        if name in fresh and isinstance(module, nn.Linear) and module.out_features == 1:
            if head == "kept":
                raise _no_head(spec)
            _initialise_head(module)
    if head == "fresh" and not fresh & _heads(model):
        _initialise_head(reward_head(model))
    return RewardModel(model, tokenizer)


def _classifier(spec: str) -> tuple[Any, set[str]]:
    """A sequence classifier with one output, and the names of its modules that the SPEC has no weights for.

    Raises:
        CallError: It does not load, or weights other than the head's have another shape.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()  # it would warn about the new head, which is initialised afterwards
    logging.disable_progress_bar()
    with explained(spec, known_models()):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            spec,
            num_labels=1,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    heads = _heads(model)
    other_shape = {str(key).rpartition(".")[0] for key, *_ in info["mismatched_keys"]}
    if odd := sorted(other_shape - heads):
        raise CallError(f"Cannot load the model {spec!r}: the weights of {', '.join(odd)} have another shape.")
    if other_shape:
        say(f"{spec} is a classifier with several outputs: its head is replaced by a new one with one.")
    return model, {key.rpartition(".")[0] for key in info["missing_keys"]} | other_shape


def new_layers(spec: str) -> list[str]:
    """Names of a pretrained model's layers that get random weights, other than a linear head with one output."""
    model, fresh = _classifier(str(locate(spec)) if spec in PACKAGED else spec)
    return sorted(fresh - _heads(model))


def _heads(model: nn.Module) -> set[str]:
    """Names of the linear layers with one output."""
    return {
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module.out_features == 1
    }


def reward_head(model: nn.Module) -> nn.Linear:
    """The linear layer that computes the reward: the last one with one output.

    Raises:
        CallError: The model has no such layer.
    """
    heads = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 1]
    if not heads:
        raise CallError(f"{type(model).__name__} has no linear head with one output.", known_models())
    return heads[-1]


def _initialise_head(head: nn.Linear) -> None:
    """Draw the reward head's weights from N(0, 1/(width + 1)); its bias is 0.

    Source: Stiennon et al. 2020, "Learning to summarize from human feedback", appendix B.1.
    """
    nn.init.normal_(head.weight, std=(head.in_features + 1) ** -0.5)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def _no_head(spec: str) -> CallError:
    return CallError(
        f"head=kept needs a model with a reward head of one output, and {spec} has none.",
        "Start from a run: `--model run:ID`; or use `--set head=probe`.",
    )


def known_models() -> str:
    """What to choose instead of a model that does not load, as the next step of an error."""
    return f"Choose {', '.join(NEED_NO_HUB)}, a Hugging Face id that loads here, a local folder, or run:ID."


def slug(spec: str) -> str:
    """A SPEC as part of a folder name."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", spec.rstrip("/").split("/")[-1])[:40]
