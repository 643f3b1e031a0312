"""Training the reward head alone, on embeddings that are computed once and cached for later runs.

Training then takes seconds. A head that starts as a linear probe also lets full training begin where frozen embeddings
end, so that the layers below do not adapt to random weights.
Source: Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution" (LP-FT).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lurker.pairwise import EMBEDDING_PENALTIES, fit_chosen
from lurker.progress import advance, progress
from rm.models.embedding_cache import Keys, add_vectors, find_vectors, sequence_keys, unknown_shards
from rm.models.frozen_pass import Outputs, Wanted, collect, frozen_batches
from rm.models.ladder import reward_head
from rm.models.layer_cache import weights_digest
from rm.models.scorer import Scorer
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices, Sequences
from rm.training.config import TrainConfig
from rm.training.reward_step import pair_targets


@dataclass(frozen=True, slots=True)
class EmbeddedSequences:
    """Sequences reduced to the input of the reward head; used instead of `Sequences` in `TokenisedPairs`."""

    features: Tensor
    """[n, width] float32, on the model's device"""
    n_tokens: NDArray[np.int64]
    """[n] tokens of each sequence before embedding"""

    def __len__(self) -> int:
        return self.n_tokens.size

    def take(self, indices: Indices) -> "EmbeddedSequences":
        """The sequences with these indices, in that order."""
        features = self.features[torch.from_numpy(indices).to(self.features.device)]
        return EmbeddedSequences(features, self.n_tokens[indices])


@dataclass(frozen=True, slots=True)
class MeansFolder:
    """Where a pass keeps the mean last-layer states of the responses that it reads."""

    path: Path
    """`rm.training.identity.embedding_folder`"""
    has_pooling_layer: bool
    """whether the model's last layer is that of pooling=mean"""

    @property
    def wanted(self) -> dict[str, bool]:
        """The fields of `Wanted`."""
        return {"has_means": True, "has_pooling_layer": self.has_pooling_layer}


class HeadScorer(nn.Module):
    """Rewards of embedded sequences by the head alone; used instead of `Scorer` in the training loop."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.model = head

    def forward(self, sequences: EmbeddedSequences, tokens_per_batch: int) -> Tensor:
        """Reward of each sequence, [n] float32, with the head's graph."""
        rewards: Tensor = self.model(sequences.features)[:, 0]
        return rewards


def embed_for_head(
    scorer: Scorer,
    sets: Sequence[TokenisedPairs],
    tokens_per_batch: int,
    cache: Path,
    means: MeansFolder | None = None,
) -> tuple[HeadScorer, list[TokenisedPairs]]:
    """Compute what the reward head reads; moves the innermost progress bar by tokens.

    Args:
        scorer: Model with its head.
        sets: Pair sets to embed.
        tokens_per_batch: Tokens computed together.
        cache: Folder of embeddings, which later runs with the same weights and tokens reuse.
        means: Where to keep the mean last-layer states that the same pass yields.

    Returns:
        The head as a scorer, and the pair sets with `EmbeddedSequences`.
    """
    head = reward_head(scorer.model)
    embedded = []
    for pairs in sets:
        features = _features(scorer, head, pairs.sequences, tokens_per_batch, cache, means)
        sequences = EmbeddedSequences(features, pairs.sequences.n_tokens)
        embedded.append(replace(pairs, sequences=sequences))  # type: ignore[arg-type]
    return HeadScorer(head), embedded


@torch.no_grad()
def head_margins(
    scorer: Scorer, pairs: TokenisedPairs, tokens_per_batch: int, cache: Path, means: MeansFolder | None = None
) -> NDArray[np.float64]:
    """[n_pairs] reward of chosen minus rejected, as `rm.evaluation.metrics.model_margins`, with cached embeddings.

    Args:
        means: As in `embed_for_head`.
    """
    head, (embedded,) = embed_for_head(scorer, [pairs], tokens_per_batch, cache, means)
    rewards = head(embedded.sequences, tokens_per_batch).cpu().numpy().astype(np.float64)
    return np.asarray(rewards[pairs.chosen] - rewards[pairs.rejected])


def start_from_probe(
    scorer: Scorer,
    training: TokenisedPairs,
    validation: TokenisedPairs,
    config: TrainConfig,
    cache: Path,
    means: MeansFolder | None = None,
) -> None:
    """Initialise the reward head with the coefficients of a pairwise logistic regression, and no bias.

    Validation selects the penalty. If training subtracts what confounders explain, so does the regression: they are
    extra inputs, whose coefficients are discarded. Every process computes the same head.

    Args:
        scorer: Model whose head is set.
        training: Pairs to fit on.
        validation: Pairs that select the penalty.
        config: How the model will be trained.
        cache, means: As in `embed_for_head`.
    """
    if training.is_equal.all():
        return  # training rejects such pairs with an explanation
    sets = (training, validation)
    with progress("Probing", sum(int(pairs.sequences.n_tokens.sum()) for pairs in sets), "tokens"):
        embedded = embed_for_head(scorer, sets, config.tokens_per_batch, cache, means)[1]
    features = embedded[0].sequences.features  # type: ignore[attr-defined]
    scale = float(features.square().mean().sqrt().clamp(min=1e-9))  # penalties assume a mean square of 1
    known, held_out = (_differences(pairs, scale, config) for pairs in embedded)
    weight = pair_targets(training, config).weight.numpy()[~training.is_equal].astype(np.float64)
    coefficients = fit_chosen(known, held_out, weight, EMBEDDING_PENALTIES)[: features.shape[1]] / scale
    head = reward_head(scorer.model)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(coefficients)[None])
        if head.bias is not None:
            head.bias.zero_()


def _differences(pairs: TokenisedPairs, scale: float, config: TrainConfig) -> NDArray[np.float64]:
    """[n_usable_pairs, n_features] chosen minus rejected, in units of scale, of pairs with two distinct sides."""
    features = pairs.sequences.features.cpu().numpy().astype(np.float64)  # type: ignore[attr-defined]
    differences = (features[pairs.chosen] - features[pairs.rejected]) / scale
    if config.adjusted or config.has_nuisance_head:
        differences = np.column_stack([differences, pairs.nuisance])
    return np.asarray(differences[~pairs.is_equal])


def _features(
    scorer: Scorer, head: nn.Module, sequences: Sequences, tokens_per_batch: int, cache: Path, means: MeansFolder | None
) -> Tensor:
    """[n, width] float32 on the model's device; the model runs on the sequences alone that no earlier run has read."""
    folder, keys = _features_folder(scorer, head, cache), _keys(scorer, sequences)
    known, vectors = find_vectors(folder, keys)
    advance(float(sequences.n_tokens[known].sum()))
    device = next(scorer.model.parameters()).device
    for new in unknown_shards(folder, sequences, keys, known):
        part = _of_shard(scorer, head, sequences.take(new), tokens_per_batch, cache, means)
        if not vectors.shape[1]:
            vectors = np.empty((len(sequences), part.shape[1]), dtype=np.float32)
        vectors[new] = part
    return torch.from_numpy(vectors).to(device)


def _of_shard(
    scorer: Scorer, head: nn.Module, sequences: Sequences, tokens_per_batch: int, cache: Path, means: MeansFolder | None
) -> NDArray[np.float32]:
    """What the head reads of each sequence, [n, width]; computed unless another process has just done it."""
    known, vectors = find_vectors(_features_folder(scorer, head, cache), _keys(scorer, sequences))
    advance(float(sequences.n_tokens[known].sum()))
    missing = np.flatnonzero(~known)
    if missing.size:
        part, wanted = sequences.take(missing), Wanted(head=head, **(means.wanted if means else {}))
        outputs = collect(frozen_batches(scorer, part, tokens_per_batch, wanted), missing.size)
        keep_outputs(scorer, head, part, outputs, cache, means)
        assert outputs[0] is not None
        if not vectors.shape[1]:
            vectors = np.empty((len(sequences), outputs[0].shape[1]), dtype=np.float32)
        vectors[missing] = outputs[0].cpu().numpy()
    return np.asarray(vectors, dtype=np.float32)


def _features_folder(scorer: Scorer, head: nn.Module, cache: Path) -> Path:
    return cache / f"features-{_digest(scorer, head)}"


def keep_outputs(
    scorer: Scorer, head: nn.Module, sequences: Sequences, outputs: Outputs, cache: Path, means: MeansFolder | None
) -> None:
    """Keep what one pass over the sequences yielded where later steps and runs look for it."""
    features, vectors = outputs
    if features is not None:
        add_vectors(_features_folder(scorer, head, cache), _keys(scorer, sequences), features.cpu().numpy())
    if means is not None and vectors is not None:
        add_vectors(means.path, _keys(scorer, sequences), vectors)


def _keys(scorer: Scorer, sequences: Sequences) -> Keys:
    """Keys of the tokens that the model reads, of which sequences of cached states hold the rows."""
    if scorer.states is not None:
        tokens = [scorer.states.tokens[rows].astype(np.int32) for rows in sequences.tokens]
        sequences = replace(sequences, tokens=tokens)
    return sequence_keys(sequences)


def _digest(scorer: Scorer, head: nn.Module) -> str:
    """Changes with the precision, and every weight except the head's."""
    of_head = {id(parameter) for parameter in head.parameters()}
    below = ((name, weight) for name, weight in scorer.model.named_parameters() if id(weight) not in of_head)
    return str(weights_digest(f"{scorer.dtype} {scorer.is_causal}", below).hexdigest()[:16])
