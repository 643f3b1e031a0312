"""Frozen lower layers: their outputs are computed once, kept on disk, and read by every step and every later run.

Source: as in Houlsby et al. 2019, section 3.4, "fine-tuning only the top layers"; here what is below them is cached.
"""

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lurker.errors import CallError, LurkerError
from rm.models.layers import backbone_of, layers_of
from rm.models.scorer import Scorer, States
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices, Sequences


def freeze_below(model: Any, n_trained: int) -> int:
    """Freeze the embeddings and all but the last n_trained layers; how many layers that are.

    Errors: CallError when the model has no more layers than that.
    """
    layers = layers_of(model)
    if n_trained >= len(layers):
        raise CallError(
            f"train_layers={n_trained} leaves nothing frozen: the model has {len(layers)} layers.",
            f"Take 1 to {len(layers) - 1}, or leave it out." if len(layers) > 1 else "Leave it out.",
        )
    below = [*layers[:-n_trained], getattr(backbone_of(model), "embeddings", None)]
    below += [module for module in model.modules() if isinstance(module, nn.Embedding)]
    for module in below:
        if module is not None:
            module.requires_grad_(False)
    return len(layers) - n_trained


def with_states(
    scorer: Scorer,
    sets: Sequence[TokenisedPairs],
    n_layers: int,
    tokens_per_batch: int,
    folder: Path,
    advance: Callable[[float], None],
) -> list[TokenisedPairs]:
    """The pair sets with rows of cached states for tokens; the scorer reads the states from now on.

    folder: where states are kept; those of the same weights and tokens are taken up. advance: told about tokens done.
    Errors: LurkerError when the disk is full or a state is not a number in float16.
    """
    rows, tokens = _number_rows([pairs.sequences for pairs in sets], scorer.is_causal)
    path = folder / f"states-{_digest(scorer, rows, tokens, n_layers)}.npy"
    if not path.exists():
        _compute(scorer, rows, tokens, n_layers, tokens_per_batch, path, advance)
    scorer.states = States(n_layers, tokens, np.load(path, mmap_mode="r"))
    return [replace(pairs, sequences=part) for pairs, part in zip(sets, rows, strict=True)]


def _number_rows(sets: Sequence[Sequences], is_causal: bool) -> tuple[list[Sequences], Indices]:
    """Sequences of rows, and the token of each row: where prompts are shared, their rows are too."""
    parts: list[NDArray[np.int32]] = []
    numbered, end = [], 0
    for sequences in sets:
        prompts: dict[int, tuple[int, int]] = {}
        if is_causal:
            for number in np.argsort(-sequences.n_prefix, kind="stable"):
                code, n_prefix = int(sequences.prompt[number]), int(sequences.n_prefix[number])
                if code not in prompts:
                    prompts[code] = end, n_prefix
                    parts.append(sequences.tokens[number][:n_prefix])
                    end += n_prefix
        rows = []
        for tokens, prompt, n_prefix in zip(sequences.tokens, sequences.prompt, sequences.n_prefix, strict=True):
            n_shared = int(n_prefix) if is_causal else 0
            first = prompts[int(prompt)][0] if is_causal else 0
            own = tokens[n_shared:]
            rows.append(np.concatenate([np.arange(first, first + n_shared), np.arange(end, end + own.size)]))
            parts.append(own)
            end += own.size
        numbered.append(replace(sequences, tokens=rows))
    return numbered, np.concatenate(parts).astype(np.int64)


def _compute(
    scorer: Scorer,
    sets: Sequence[Sequences],
    tokens: Indices,
    n_layers: int,
    tokens_per_batch: int,
    path: Path,
    advance: Callable[[float], None],
) -> None:
    width = int(scorer.model.config.hidden_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    n_bytes, free = tokens.size * width * 2, shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise LurkerError(
            f"The states of {tokens.size:,} tokens take {n_bytes / 1e9:.1f} GB, {path.parent} has {free / 1e9:.1f}.",
            "Free some space, lower max_tokens or max_prompt_tokens, or leave train_layers out.",
        )
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}.tmp")
    scorer.model.eval()
    try:
        kept = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=(tokens.size, width))
        for rows in sets:
            for numbers, states in scorer.lower_states(tokens, rows, n_layers, tokens_per_batch):
                half = states.numpy().astype(np.float16)
                if not np.isfinite(half).all():
                    raise LurkerError(
                        f"A state of layer {n_layers} is beyond float16.", "Leave train_layers out for this model."
                    )
                kept[numbers] = half
                advance(numbers.size)
        kept.flush()
        del kept
        temporary.rename(path)
    except OSError as error:
        raise LurkerError(f"Cannot write {path}: {error}.", "Free some space, or leave train_layers out.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _digest(scorer: Scorer, sets: Sequence[Sequences], tokens: Indices, n_layers: int) -> str:
    """Changes with the frozen weights, the tokens, what shares them, and the precision."""
    frozen = ((name, one) for name, one in scorer.model.named_parameters() if not one.requires_grad)
    digest = weights_digest(f"{n_layers} {scorer.dtype} {scorer.is_causal}", frozen)
    digest.update(tokens.tobytes())
    for rows in sets:
        digest.update(np.concatenate(rows.tokens).tobytes() if len(rows) else b"")
        digest.update(rows.n_tokens.tobytes())
    return str(digest.hexdigest()[:16])


def weights_digest(first: str, weights: Iterable[tuple[str, Tensor]]) -> Any:
    """A SHA-256 of some words and of weights by name, to which more may be added."""
    digest = hashlib.sha256(first.encode())
    for name, weight in weights:
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest
