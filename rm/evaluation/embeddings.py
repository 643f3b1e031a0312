"""Frozen text embeddings of a pretrained model, for the baseline that shows what fine-tuning adds."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lurker.errors import LurkerError
from lurker.progress import progress, say
from lurker.workspace import atomic_path
from rm.models.ladder import backbone
from rm.models.scorer import choose_device, micro_batches, training_dtype
from rm.training.identity import model_digest

MAX_TOKENS = 128
TOKENS_PER_BATCH = 8192


def embeddings(spec: str, texts: Sequence[str], folder: Path) -> NDArray[np.float64]:
    """The mean last-layer state over each text's first MAX_TOKENS tokens, scaled to a mean square of 1.

    Each distinct text is computed once and cached in `folder`, for this run and later ones of the same model.

    Args:
        spec: SPEC of a pretrained model.
        texts: [n].
        folder: the cache.

    Returns:
        Vectors, [n, width].

    Source:
        Reimers & Gurevych 2019 (Sentence-BERT), mean pooling.
    """
    keys = np.array([_text_key(text) for text in texts], dtype=np.uint64)
    path = folder / f"embeddings-{hashlib.sha256(f'{spec} {model_digest(str(spec))}'.encode()).hexdigest()[:12]}.npz"
    cached_keys, vectors = _read_cache(path)
    wanted, position = np.unique(keys, return_inverse=True)
    missing = np.setdiff1d(wanted, cached_keys)
    if missing.size:
        text_of = {int(key): text for key, text in zip(keys, texts, strict=True)}
        new = _mean_states(spec, [text_of[int(key)] for key in missing])
        cached_keys = np.append(cached_keys, missing)
        vectors = np.concatenate([vectors.reshape(-1, new.shape[1]), new])
        order = np.argsort(cached_keys)
        cached_keys, vectors = cached_keys[order], vectors[order]
        _write_cache(path, cached_keys, vectors)
    rows = vectors[np.searchsorted(cached_keys, wanted)].astype(np.float64)
    scaled = rows * rows.shape[1] ** 0.5 / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)
    return np.asarray(scaled[position])


def _text_key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _read_cache(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
    """Keys and vectors computed before; empty when the file is absent or damaged."""
    try:
        with np.load(path) as cached:
            return cached["keys"], cached["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return np.empty(0, dtype=np.uint64), np.empty((0, 0), dtype=np.float16)


def _write_cache(path: Path, keys: NDArray[np.uint64], vectors: NDArray[np.float16]) -> None:
    """Replace the cache file; a failure only costs later runs the computation."""
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=keys, vectors=vectors)
    except (LurkerError, OSError) as error:
        say(f"Embeddings could not be cached: {error}")


@torch.no_grad()
def _mean_states(spec: str, texts: Sequence[str]) -> NDArray[np.float16]:
    """The mean last-layer state of each text, [n, width]."""
    model, tokenizer = backbone(spec)
    device = choose_device()
    model.to(device).eval()
    dtype = training_dtype("auto", device, sum(parameter.numel() for parameter in model.parameters()))
    ids = tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS, return_attention_mask=False)["input_ids"]
    ids = [tokens or [tokenizer.pad_token_id] for tokens in ids]  # an empty text has one padding token
    lengths = np.array([len(tokens) for tokens in ids], dtype=np.int64)
    out: list[NDArray[np.float16]] = [np.empty(0, dtype=np.float16)] * len(ids)
    with progress("Embeddings", int(lengths.sum()), "tokens") as advance:
        for batch in micro_batches(lengths, TOKENS_PER_BATCH):
            is_token = torch.arange(int(lengths[batch].max()))[None] < torch.from_numpy(lengths[batch])[:, None]
            padded = torch.full(is_token.shape, tokenizer.pad_token_id)
            padded[is_token] = torch.tensor([token for index in batch for token in ids[index]])
            padded, is_token = padded.to(device), is_token.to(device)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                states = model(input_ids=padded, attention_mask=is_token.long()).last_hidden_state.float()
            means = (states * is_token[..., None]).sum(1) / is_token.sum(1, keepdim=True)
            for index, vector in zip(batch, means.cpu().numpy().astype(np.float16), strict=True):
                out[index] = vector
            advance(int(lengths[batch].sum()))
    return np.stack(out)
