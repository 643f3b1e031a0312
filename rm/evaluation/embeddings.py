"""Frozen embeddings of texts by a pretrained model, for the baseline that asks what fine-tuning adds."""

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

MAX_TOKENS = 128
TOKENS_PER_BATCH = 8192


def embeddings(spec: str, texts: Sequence[str], folder: Path) -> NDArray[np.float64]:
    """[n, width] the mean of the last layer's states over the text's first MAX_TOKENS tokens, its mean square 1.

    Each distinct text is computed once and kept in `folder`, for this run and all later ones of the same model.
    Source: Reimers & Gurevych 2019 (Sentence-BERT), mean pooling.
    """
    keys = np.array([_number(text) for text in texts], dtype=np.uint64)
    path = folder / f"embeddings-{hashlib.sha256(str(spec).encode()).hexdigest()[:12]}.npz"
    known, vectors = _kept(path)
    wanted, place = np.unique(keys, return_inverse=True)
    missing = np.setdiff1d(wanted, known)
    if missing.size:
        first = {int(key): text for key, text in zip(keys, texts, strict=True)}
        new = _embed(spec, [first[int(key)] for key in missing])
        known, vectors = np.append(known, missing), np.concatenate([vectors.reshape(-1, new.shape[1]), new])
        order = np.argsort(known)
        known, vectors = known[order], vectors[order]
        _keep(path, known, vectors)
    found = vectors[np.searchsorted(known, wanted)].astype(np.float64)
    return np.asarray((found * found.shape[1] ** 0.5 / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-9))[place])


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _kept(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
    """What was computed before; nothing when the file is absent or damaged."""
    try:
        with np.load(path) as kept:
            return kept["keys"], kept["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return np.empty(0, dtype=np.uint64), np.empty((0, 0), dtype=np.float16)


def _keep(path: Path, keys: NDArray[np.uint64], vectors: NDArray[np.float16]) -> None:
    """Write the file whole; what cannot be kept is computed again next time."""
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=keys, vectors=vectors)
    except (LurkerError, OSError) as error:
        say(f"Embeddings are not kept for later runs: {error}")


@torch.no_grad()
def _embed(spec: str, texts: Sequence[str]) -> NDArray[np.float16]:
    """[n, width] the mean state of each text."""
    model, tokenizer = backbone(spec)
    device = choose_device()
    model.to(device).eval()
    dtype = training_dtype("auto", device, sum(parameter.numel() for parameter in model.parameters()))
    ids = tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS, return_attention_mask=False)["input_ids"]
    ids = [tokens or [tokenizer.pad_token_id] for tokens in ids]  # a text of nothing
    lengths = np.array([len(tokens) for tokens in ids], dtype=np.int64)
    out: list[NDArray[np.float16]] = [np.empty(0, dtype=np.float16)] * len(ids)
    with progress("Embeddings", int(lengths.sum()), "tokens") as advance:
        for batch in micro_batches(lengths, TOKENS_PER_BATCH):
            is_token = torch.arange(int(lengths[batch].max()))[None] < torch.from_numpy(lengths[batch])[:, None]
            padded = torch.full(is_token.shape, tokenizer.pad_token_id)
            padded[is_token] = torch.tensor([token for number in batch for token in ids[number]])
            padded, is_token = padded.to(device), is_token.to(device)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                states = model(input_ids=padded, attention_mask=is_token.long()).last_hidden_state.float()
            means = (states * is_token[..., None]).sum(1) / is_token.sum(1, keepdim=True)
            for number, vector in zip(batch, means.cpu().numpy().astype(np.float16), strict=True):
                out[number] = vector
            advance(int(lengths[batch].sum()))
    return np.stack(out)
