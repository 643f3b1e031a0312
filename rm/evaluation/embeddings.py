"""Frozen embeddings of a pretrained model, for the baseline that shows what fine-tuning adds.

The model reads each response as the trained one does, after its prompt and as many tokens; the embedding is the mean
last-layer state over the response's tokens.
Source: Reimers & Gurevych 2019 (Sentence-BERT), mean pooling.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.errors import LurkerError
from lurker.progress import advance, progress
from rm.models.embedding_cache import Keys, Vectors, add_vectors, find_vectors, sequence_keys, unknown_shards
from rm.models.frozen_pass import Wanted, collect, frozen_batches
from rm.models.ladder import LADDER, build
from rm.models.layers import classifier_of, layers_of
from rm.models.scorer import Scorer, move_to_device, training_dtype
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices, Sequences
from rm.training.config import TrainConfig
from rm.training.head_only import MeansFolder
from rm.training.identity import embedding_folder, lineage
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import RunConfig


@dataclass(slots=True)
class Embedder:
    """Differences of frozen embeddings, chosen minus rejected, of PAIRS; every sequence is computed once."""

    spec: str
    """SPEC of a pretrained model"""
    train: TrainConfig
    """how the run that is compared reads texts"""
    cache: Path
    """folder of embeddings, shared by all runs"""
    _scorer: Scorer | None = None
    _tokenizer: Any = None

    def __call__(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """[n_pairs, width], each embedding scaled to a mean square of 1."""
        rows, chosen, rejected = self.responses(frame)
        scaled = to_unit_square(rows.astype(np.float64))
        return np.asarray(scaled[chosen] - scaled[rejected])

    def responses(self, frame: pl.DataFrame) -> tuple[Vectors, Indices, Indices]:
        """The embedding of each response, [n, width], and the rows of each pair's chosen and rejected, [n_pairs]."""
        pairs = self._tokenise(frame)
        return self._embed([pairs])[0], pairs.chosen, pairs.rejected

    def prepare(self, frames: Sequence[pl.DataFrame]) -> None:
        """Embed all of these pairs at once, so that the progress bar covers them."""
        self._embed([self._tokenise(frame) for frame in frames])

    def _tokenise(self, frame: pl.DataFrame) -> TokenisedPairs:
        """The pairs as a model reads single responses, without the delay, which would be a shortcut."""
        self._load()
        return tokenise_for_model(frame, self._tokenizer, replace(self.train, reads="one", with_delay=False))

    def _embed(self, sets: Sequence[TokenisedPairs]) -> list[Vectors]:
        """The embedding of each sequence of each set, [n, width]; computed, each once, where the cache lacks it."""
        scorer = self._load()
        folder = embedding_folder(self.cache, self.spec, str(scorer.dtype), frozen_layers(scorer, self.train))
        keys = [sequence_keys(pairs.sequences) for pairs in sets]
        found = [find_vectors(folder, of_set) for of_set in keys]
        computed: list[tuple[Keys, Vectors]] = []
        n_missing = _missing_tokens(sets, keys, [known for known, _ in found])
        with progress("Embeddings", n_missing, "tokens", is_quiet=not n_missing):
            for pairs, of_set, (known, _) in zip(sets, keys, found, strict=True):
                for rows in unknown_shards(folder, pairs.sequences, of_set, known):
                    seen = np.concatenate([np.empty(0, dtype=np.uint64), *(part for part, _ in computed)])
                    first = rows[np.sort(np.unique(of_set[rows], return_index=True)[1])]
                    new = first[~np.isin(of_set[first], seen)]
                    computed += [self._of_shard(folder, pairs.sequences.take(new))] if new.size else []
        return [_filled(of_set, vectors, computed) for of_set, (_, vectors) in zip(keys, found, strict=True)]

    def _of_shard(self, folder: Path, sequences: Sequences) -> tuple[Keys, Vectors]:
        """Keys, sorted, and embeddings of sequences; computed and kept unless another process has just done it."""
        scorer, keys = self._load(), sequence_keys(sequences)
        known, vectors = find_vectors(folder, keys)
        advance(float(sequences.n_tokens[known].sum()))
        missing = np.flatnonzero(~known)
        if missing.size:
            part, n_frozen = sequences.take(missing), frozen_layers(scorer, self.train)
            batches = frozen_batches(
                scorer, part, self.train.tokens_per_batch, Wanted(has_means=True), n_layers=n_frozen
            )
            _, means = collect(batches, missing.size)
            if means is None:
                raise LurkerError(f"{self.spec} has no state for each token.")
            add_vectors(folder, keys[missing], means)
            if not vectors.shape[1]:
                vectors = np.empty((keys.size, means.shape[1]), dtype=means.dtype)
            vectors[missing] = means
        order = np.argsort(keys)
        return keys[order], vectors[order]

    def _load(self) -> Scorer:
        """The frozen model, loaded when it is first needed."""
        if self._scorer is None:
            reward_model = build(self.spec, [], 0, seed=0)
            device = move_to_device(reward_model.model, reward_model.n_parameters)
            dtype = training_dtype(self.train.precision, device, reward_model.n_parameters)
            self._tokenizer = reward_model.tokenizer
            self._scorer = Scorer(reward_model.model, self._tokenizer.pad_token_id, self.train.max_tokens, dtype)
        return self._scorer


def to_unit_square(rows: Vectors) -> Vectors:
    """The embeddings scaled to a mean square of 1, [n, width]."""
    return np.asarray(rows * rows.shape[1] ** 0.5 / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9))


def means_folder(scorer: Scorer, config: RunConfig, cache: Path) -> MeansFolder | None:
    """Where the baseline's embeddings are kept; None where it does not read what a run's model reads."""
    if config.model in LADDER or config.train.reads == "both" or config.train.with_delay:
        return None
    is_mean = config.train.pooling == "mean"
    if is_mean and lineage(config.model):
        return None  # its layers may include an earlier run's pooling, which the baseline would count otherwise
    n_frozen = frozen_layers(scorer, config.train, has_pooling_layer=is_mean)
    return MeansFolder(embedding_folder(cache, config.model, str(scorer.dtype), n_frozen), is_mean)


def _missing_tokens(sets: Sequence[TokenisedPairs], keys: Sequence[Keys], known: Sequence[NDArray[np.bool_]]) -> int:
    """Tokens of the sequences of all sets that are not known, each counted once."""
    of_all = np.concatenate([of_set[~is_known] for of_set, is_known in zip(keys, known, strict=True)])
    n_tokens = np.concatenate(
        [pairs.sequences.n_tokens[~is_known] for pairs, is_known in zip(sets, known, strict=True)]
    )
    return int(n_tokens[np.unique(of_all, return_index=True)[1]].sum())


def _filled(keys: Keys, vectors: Vectors, computed: Sequence[tuple[Keys, Vectors]]) -> Vectors:
    """The vectors of all keys, [n, width]: those that were known, and those that were computed."""
    for own_keys, own in computed:
        if not vectors.shape[1]:
            vectors = np.empty((keys.size, own.shape[1]), dtype=own.dtype)
        place = np.searchsorted(own_keys, keys).clip(max=own_keys.size - 1)
        is_own = own_keys[place] == keys
        vectors[is_own] = own[place[is_own]]
    return vectors


def frozen_layers(scorer: Scorer, train: TrainConfig, *, has_pooling_layer: bool = False) -> int | None:
    """Layers whose outputs the run reads from its cache, in float16; None without such a cache.

    Args:
        scorer: the model.
        train: how the run trains.
        has_pooling_layer: whether the model has one more layer, of pooling=mean.
    """
    if train.train_layers is None or not scorer.is_packed:
        return None
    return len(layers_of(classifier_of(scorer.model))) - has_pooling_layer - train.train_layers
