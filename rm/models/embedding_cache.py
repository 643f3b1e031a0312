"""What a frozen model computes of texts on disk, found by the tokens that it read.

A cache is a folder of parts. A pass over many texts adds a part for each shard of them, so that an interrupted one goes
on where it stopped, and two processes that need the same texts share the work.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lurker.errors import LurkerError
from lurker.files import atomic_path
from lurker.locks import locked
from lurker.progress import say
from rm.pairs.tokens import Indices, Sequences

Keys = NDArray[np.uint64]
Vectors = NDArray[Any]
"""[n, width], float32 or float16."""
KEYS, VECTORS = "-keys.npy", "-vectors.npy"
"""Ends of the names of a part's two files."""
SHARD_TOKENS = 65_536
"""Tokens computed between two writes: ten seconds of a model of 20 million parameters on a core."""


class BusyError(LurkerError):
    """Another process computes the same shard."""


def sequence_keys(sequences: Sequences) -> Keys:
    """A key of each sequence's tokens and of where its prompt ends, [n]."""
    digests = (
        hashlib.blake2b(np.append(tokens, n_prefix).astype(np.int32).tobytes(), digest_size=8).digest()
        for tokens, n_prefix in zip(sequences.tokens, sequences.n_prefix, strict=True)
    )
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def shards(sequences: Sequences) -> list[Indices]:
    """Cut sequences into shards of about SHARD_TOKENS, those of a prompt next to each other; indices of each.

    They depend on the sequences alone, so that all processes that read these cut them alike.
    """
    ordered = np.argsort(sequences.prompt, kind="stable")
    number = (np.cumsum(sequences.n_tokens[ordered]) - 1) // SHARD_TOKENS
    return [part for part in np.split(ordered, np.flatnonzero(np.diff(number)) + 1) if part.size]


def shard_name(keys: Keys) -> str:
    """What a shard is called, by its keys.

    In the order of names, processes whose sets share texts start at different places, and skip what others have done.
    """
    return hashlib.blake2b(keys.tobytes(), digest_size=8).hexdigest()


@contextmanager
def alone_with(folder: Path, keys: Keys, *, waits: bool) -> Iterator[None]:
    """Within, no other process computes the sequences of these keys; a folder that cannot be written needs no lock.

    Raises:
        BusyError: another process does, and `waits` is False.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        yield
        return
    with locked(
        folder / f".{shard_name(keys)}.lock", waits=waits, busy=BusyError("Another process computes these texts.")
    ):
        yield


def unknown_shards(folder: Path, sequences: Sequences, keys: Keys, known: NDArray[np.bool_]) -> Iterator[Indices]:
    """Rows of each shard whose vectors are not known, each while no other process computes that shard.

    First come the shards that are free, then those that others computed meanwhile: look for their vectors again.

    Args:
        folder: the cache.
        sequences: all that is read, known or not, so that all processes that read these cut them alike.
        keys: of the sequences, [n].
        known: whether their vectors are, [n].
    """
    waiting = sorted(shards(sequences), key=lambda shard: shard_name(keys[shard]))
    waiting = [shard for shard in waiting if not known[shard].all()]
    for waits in (False, True):
        busy = []
        for shard in waiting:
            try:
                with alone_with(folder, keys[shard], waits=waits):
                    yield shard[~known[shard]]
            except BusyError:
                busy.append(shard)
        waiting = busy


def find_vectors(folder: Path, keys: Keys) -> tuple[NDArray[np.bool_], Vectors]:
    """Which keys the folder has, [n], and their vectors, [n, width]; rows of other keys are undefined."""
    known = np.zeros(keys.size, dtype=bool)
    vectors: Vectors = np.empty((keys.size, 0), dtype=np.float32)
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
            vectors = np.empty((keys.size, rows.shape[1]), dtype=rows.dtype)
        vectors[found] = rows[place[found]]
        known[found] = True
    return known, vectors


def add_vectors(folder: Path, keys: Keys, vectors: Vectors) -> None:
    """Add a part to the folder; one that cannot be written only costs later runs time."""
    unique, first = np.unique(keys, return_index=True)
    part = folder / uuid.uuid4().hex[:12]
    try:
        for suffix, content in ((VECTORS, vectors[first]), (KEYS, unique)):  # keys last: a part is complete or unseen
            with atomic_path(part.with_name(part.name + suffix)) as temporary, temporary.open("wb") as file:
                np.save(file, content)
    except (LurkerError, OSError) as error:
        say(f"Cannot cache embeddings for later runs: {error}")
