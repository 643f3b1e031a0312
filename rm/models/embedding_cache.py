"""Mean last-layer states of a frozen model on disk, found by the tokens that it read."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lurker.errors import LurkerError
from lurker.files import atomic_path
from lurker.locks import locked
from lurker.progress import say
from rm.pairs.tokens import Sequences

Keys = NDArray[np.uint64]
Vectors = NDArray[np.float16]


def sequence_keys(sequences: Sequences) -> Keys:
    """A key of each sequence's tokens and of where its prompt ends, [n]."""
    digests = (
        hashlib.blake2b(np.append(tokens, n_prefix).astype(np.int32).tobytes(), digest_size=8).digest()
        for tokens, n_prefix in zip(sequences.tokens, sequences.n_prefix, strict=True)
    )
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def read_vectors(path: Path) -> tuple[Keys, Vectors]:
    """Sorted keys and their vectors [n, width]; empty when the file is absent or damaged."""
    try:
        with np.load(path) as cached:
            return cached["keys"], cached["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return np.empty(0, dtype=np.uint64), np.empty((0, 0), dtype=np.float16)


def add_vectors(path: Path, keys: Keys, vectors: Vectors) -> tuple[Keys, Vectors]:
    """Add vectors to the file, and return all it then has; a file that cannot be written only costs later runs time."""
    try:
        with locked(path.with_name(f".{path.name}.lock"), waits=True):
            merged = _merged(read_vectors(path), keys, vectors)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(file, keys=merged[0], vectors=merged[1])
            return merged
    except (LurkerError, OSError) as error:
        say(f"Cannot cache embeddings for later runs: {error}")
        return _merged(read_vectors(path), keys, vectors)


def _merged(known: tuple[Keys, Vectors], keys: Keys, vectors: Vectors) -> tuple[Keys, Vectors]:
    all_keys = np.concatenate([known[0], keys])
    all_vectors = np.concatenate([known[1].reshape(-1, vectors.shape[1]), vectors])
    unique, first = np.unique(all_keys, return_index=True)
    return unique, all_vectors[first]
