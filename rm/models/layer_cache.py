"""Frozen lower layers: computed once, cached on disk, and read by every step and every later run.

Source: as in Houlsby et al. 2019, section 3.4, "fine-tuning only the top layers"; here the layers below are cached.
"""

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lurker.errors import CallError, LurkerError
from lurker.locks import locked
from rm.models.frozen_pass import FrozenBatch, Outputs, Wanted, collect, frozen_batches
from rm.models.layers import backbone_of, layers_of
from rm.models.scorer import CachedStates, Scorer
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices, Sequences


def freeze_below(model: Any, n_trained: int) -> int:
    """Freeze the embeddings and all layers except the last n_trained.

    Returns:
        The number of frozen layers.

    Raises:
        CallError: The model has n_trained layers or fewer.
    """
    layers = layers_of(model)
    if n_trained >= len(layers):
        raise CallError(
            f"train_layers={n_trained} freezes nothing: the model has {len(layers)} layers.",
            f"Set it from 1 to {len(layers) - 1}, or leave it out." if len(layers) > 1 else "Leave it out.",
        )
    below = [*layers[:-n_trained], getattr(backbone_of(model), "embeddings", None)]
    below += [module for module in model.modules() if isinstance(module, nn.Embedding)]
    for module in below:
        if module is not None:
            module.requires_grad_(False)
    return len(layers) - n_trained


def use_cached_states(
    scorer: Scorer,
    sets: Sequence[TokenisedPairs],
    n_layers: int,
    tokens_per_batch: int,
    cache: Path,
    keep: Callable[[TokenisedPairs, Outputs], None] | None = None,
    wanted: Wanted = Wanted(),
) -> list[TokenisedPairs]:
    """Compute the outputs of the first n_layers, unless cached, and start the scorer from them.

    Moves the innermost progress bar by tokens computed.

    Args:
        scorer: Packed scorer of the model; its `states` is set.
        sets: Pair sets to compute.
        n_layers: Number of frozen layers.
        tokens_per_batch: Tokens computed together.
        cache: Folder of states, which later runs with the same frozen weights and tokens reuse.
        keep: Called with each pair set and what else its pass yielded; not called where states are cached.
        wanted: What else the pass yields.

    Returns:
        The pair sets with rows of the cached states in place of tokens.

    Raises:
        LurkerError: The disk is full, or a state overflows float16.
    """
    rows, tokens = _number_rows([pairs.sequences for pairs in sets], scorer.is_causal)
    path = cache / f"states-{_digest(scorer, rows, tokens, n_layers)}.npy"
    if not path.exists():
        with locked(path.with_name(f".{path.name}.lock"), waits=True):
            if not path.exists():  # a process that reads the same, such as a cell of another seed, may have been first
                outputs = _compute(scorer, rows, tokens, n_layers, tokens_per_batch, path, wanted)
                for pairs, output in zip(sets, outputs, strict=True):
                    if keep is not None:
                        keep(pairs, output)
    scorer.states = CachedStates(n_layers, tokens, np.load(path, mmap_mode="r"))
    return [replace(pairs, sequences=part) for pairs, part in zip(sets, rows, strict=True)]


def _number_rows(sets: Sequence[Sequences], is_causal: bool) -> tuple[list[Sequences], Indices]:
    """Number the rows of the cache; sequences that share a prompt share its rows if the model is causal.

    Returns:
        The sequences with rows in place of tokens, and the token of each row, [n_rows].
    """
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
    wanted: Wanted,
) -> list[Outputs]:
    """Write the states of all rows to `path`, which appears only when complete; what else the pass yields, by set."""
    width = int(scorer.model.config.hidden_size)
    _require_space(tokens.size * width * 2, path.parent)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        cached = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=(tokens.size, width))
        outputs = []
        for rows in sets:
            batches = frozen_batches(scorer, rows, tokens_per_batch, wanted, n_layers=n_layers, tokens=tokens)
            outputs.append(collect(_stored(batches, cached, n_layers), len(rows)))
        cached.flush()
        del cached
        temporary.rename(path)
    except OSError as error:
        raise LurkerError(f"Cannot write {path}: {error}.", "Free some space, or leave train_layers out.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return outputs


def _stored(batches: Iterator[FrozenBatch], cached: Any, n_layers: int) -> Iterator[FrozenBatch]:
    """Pass batches on after writing their states into `cached`.

    Raises:
        LurkerError: A state overflows float16.
    """
    for batch in batches:
        half = batch.states.numpy().astype(np.float16)  # type: ignore[union-attr]
        if not np.isfinite(half).all():
            raise LurkerError(
                f"A state of layer {n_layers} overflows float16.", "Leave train_layers out for this model."
            )
        cached[batch.rows] = half
        yield batch


def _require_space(n_bytes: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise LurkerError(
            f"Caching frozen layers takes {n_bytes / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free.",
            "Free some space, lower max_tokens or max_prompt_tokens, or leave train_layers out.",
        )


def _digest(scorer: Scorer, sets: Sequence[Sequences], tokens: Indices, n_layers: int) -> str:
    """Changes with the frozen weights, the tokens, which tokens are shared, and the precision."""
    frozen = ((name, weight) for name, weight in scorer.model.named_parameters() if not weight.requires_grad)
    digest = weights_digest(f"{n_layers} {scorer.dtype} {scorer.is_causal}", frozen)
    digest.update(tokens.tobytes())
    for rows in sets:
        digest.update(np.concatenate(rows.tokens).tobytes() if len(rows) else b"")
        digest.update(rows.n_tokens.tobytes())
    return str(digest.hexdigest()[:16])


def weights_digest(settings: str, weights: Iterable[tuple[str, Tensor]]) -> Any:
    """A SHA-256 object of a settings string and named weights, which callers may update further."""
    digest = hashlib.sha256(settings.encode())
    for name, weight in weights:
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest
