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
from lurker.progress import progress
from rm.models.embedding_cache import Keys, Vectors, add_vectors, find_vectors, sequence_keys, shards
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
        missing: list[Sequences] = []
        seen = np.empty(0, dtype=np.uint64)
        for pairs, of_set, (known, _) in zip(sets, keys, found, strict=True):
            first = np.unique(of_set, return_index=True)[1]
            rows = np.sort(first[~known[first] & ~np.isin(of_set[first], seen)])
            missing += [pairs.sequences.take(rows)] if rows.size else []
            seen = np.concatenate([seen, of_set])
        with progress("Embeddings", sum(int(part.n_tokens.sum()) for part in missing), "tokens", is_quiet=not missing):
            computed = [self._compute(folder, part) for part in missing]
        return [_filled(of_set, vectors, computed) for of_set, (_, vectors) in zip(keys, found, strict=True)]

    def _compute(self, folder: Path, sequences: Sequences) -> tuple[Keys, Vectors]:
        """Keys, sorted, and embeddings of sequences; each shard is kept as soon as it is computed."""
        scorer, keys, vectors = self._load(), [], []
        n_frozen = frozen_layers(scorer, self.train)
        for shard in shards(sequences):
            part, wanted = sequences.take(shard), Wanted(has_means=True)
            batches = frozen_batches(scorer, part, self.train.tokens_per_batch, wanted, n_layers=n_frozen)
            _, means = collect(batches, len(part))
            if means is None:
                raise LurkerError(f"{self.spec} has no state for each token.")
            keys.append(sequence_keys(part))
            vectors.append(means)
            add_vectors(folder, keys[-1], means)
        order = np.argsort(np.concatenate(keys))
        return np.concatenate(keys)[order], np.concatenate(vectors)[order]

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
