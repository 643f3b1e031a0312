"""What a frozen model computes of texts on disk, found by the tokens that it read.

Mean last-layer states are one file, which every addition rewrites. What a reward head reads is a folder of parts, one
for each pass, so that a pass over a few new texts writes no more than these.
"""

import hashlib
import uuid
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
Features = NDArray[np.float32]
KEYS, VECTORS = "-keys.npy", "-vectors.npy"
"""Ends of the names of a part's two files."""


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


def find_features(folder: Path, keys: Keys) -> tuple[NDArray[np.bool_], Features]:
    """Which keys the folder has, [n], and their vectors, [n, width]; rows of other keys are undefined."""
    known = np.zeros(keys.size, dtype=bool)
    vectors = np.empty((keys.size, 0), dtype=np.float32)
    for path in sorted(folder.glob(f"*{KEYS}")):
        try:
            of_part, rows = np.load(path), np.load(path.with_name(path.name.replace(KEYS, VECTORS)), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            continue  # a damaged part only costs time
        if not of_part.size:
            continue
        place = np.searchsorted(of_part, keys).clip(max=of_part.size - 1)
        found = np.flatnonzero(~known & (of_part[place] == keys))
        if not vectors.shape[1]:
            vectors = np.empty((keys.size, rows.shape[1]), dtype=np.float32)
        vectors[found] = rows[place[found]]
        known[found] = True
    return known, vectors


def add_features(folder: Path, keys: Keys, vectors: Features) -> None:
    """Add a part to the folder; one that cannot be written only costs later runs time."""
    unique, first = np.unique(keys, return_index=True)
    part = folder / uuid.uuid4().hex[:12]
    try:
        for suffix, content in ((VECTORS, vectors[first]), (KEYS, unique)):  # keys last: a part is complete or unseen
            with atomic_path(part.with_name(part.name + suffix)) as temporary, temporary.open("wb") as file:
                np.save(file, content)
    except (LurkerError, OSError) as error:
        say(f"Cannot cache embeddings for later runs: {error}")
