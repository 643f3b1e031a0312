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
from rm.models.embedding_cache import add_vectors, read_vectors, sequence_keys
from rm.models.frozen_pass import Wanted, collect, frozen_batches
from rm.models.ladder import build
from rm.models.layers import classifier_of, layers_of
from rm.models.scorer import Scorer, move_to_device, training_dtype
from rm.pairs.tokenised import TokenisedPairs
from rm.training.config import TrainConfig
from rm.training.identity import embedding_file
from rm.training.reward_step import tokenise_for_model


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
        pairs = self._tokenise(frame)
        keys, vectors = self._known([pairs])
        rows = vectors[np.searchsorted(keys, sequence_keys(pairs.sequences))].astype(np.float64)
        scaled = rows * rows.shape[1] ** 0.5 / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)
        return np.asarray(scaled[pairs.chosen] - scaled[pairs.rejected])

    def prepare(self, frames: Sequence[pl.DataFrame]) -> None:
        """Embed all of these pairs at once, so that the progress bar covers them."""
        self._known([self._tokenise(frame) for frame in frames])

    def _tokenise(self, frame: pl.DataFrame) -> TokenisedPairs:
        """The pairs as a model reads single responses, without the delay, which would be a shortcut."""
        self._load()
        return tokenise_for_model(frame, self._tokenizer, replace(self.train, reads="one", with_delay=False))

    def _known(self, sets: Sequence[TokenisedPairs]) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
        """Keys and vectors of the sequences and all others of the file, computed where they are missing."""
        scorer = self._load()
        n_frozen = frozen_layers(scorer, self.train)
        path = embedding_file(self.cache, self.spec, str(scorer.dtype), n_frozen)
        keys, vectors = read_vectors(path)
        missing, known = [], keys
        for pairs in sets:
            own = sequence_keys(pairs.sequences)
            _, first = np.unique(own, return_index=True)
            part = pairs.sequences.take(first[~np.isin(own[first], known)])
            missing += [part] if len(part) else []
            known = np.concatenate([known, own])
        with progress("Embeddings", sum(int(part.n_tokens.sum()) for part in missing), "tokens", is_quiet=not missing):
            for part in missing:
                batches = frozen_batches(
                    scorer, part, self.train.tokens_per_batch, Wanted(has_means=True), n_layers=n_frozen
                )
                _, means = collect(batches, len(part))
                if means is None:
                    raise LurkerError(f"{self.spec} has no state for each token.")
                keys, vectors = add_vectors(path, sequence_keys(part), means)
        return keys, vectors

    def _load(self) -> Scorer:
        """The frozen model, loaded when it is first needed."""
        if self._scorer is None:
            reward_model = build(self.spec, [], 0, seed=0)
            device = move_to_device(reward_model.model, reward_model.n_parameters)
            dtype = training_dtype(self.train.precision, device, reward_model.n_parameters)
            self._tokenizer = reward_model.tokenizer
            self._scorer = Scorer(reward_model.model, self._tokenizer.pad_token_id, self.train.max_tokens, dtype)
        return self._scorer


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
