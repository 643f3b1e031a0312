"""The reward head by itself: on what the model below gives it, computed once and kept for later runs.

Training the head alone then takes seconds, and a head that starts as a linear probe lets training begin where frozen
embeddings end, so that the layers below are not bent to fit random weights.
Source: Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution" (LP-FT).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lurker.errors import LurkerError
from lurker.pairwise import EMBEDDING_PENALTIES, fit_chosen
from lurker.progress import ignore, progress, say
from lurker.workspace import atomic_path
from rm.models.ladder import reward_head
from rm.models.layer_cache import weights_digest
from rm.models.scorer import Scorer
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices, Sequences
from rm.training.config import TrainConfig
from rm.training.loop import pair_targets


@dataclass(frozen=True, slots=True)
class Embedded:
    """Sequences of which only what the reward head reads is left: features [n, width]; n_tokens [n], as they had."""

    features: Tensor
    n_tokens: NDArray[np.int64]

    def __len__(self) -> int:
        return self.n_tokens.size

    def take(self, numbers: Indices) -> "Embedded":
        """Those of these indices, in their order."""
        return Embedded(self.features[torch.from_numpy(numbers).to(self.features.device)], self.n_tokens[numbers])


class HeadScorer(nn.Module):
    """Rewards of embedded sequences by the head alone; used by the training loop like a `Scorer`."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.model = head

    def forward(self, sequences: Embedded, tokens_per_batch: int) -> Tensor:
        """The reward of each: [n], with the head's graph."""
        rewards: Tensor = self.model(sequences.features)[:, 0]
        return rewards


def on_embeddings(
    scorer: Scorer,
    sets: Sequence[TokenisedPairs],
    tokens_per_batch: int,
    folder: Path,
    advance: Callable[[float], None] = ignore,
) -> tuple[HeadScorer, list[TokenisedPairs]]:
    """The head as a scorer of its own, and the pair sets with each response as what the head reads.

    folder: where that is kept; what the same weights gave for the same tokens is taken up. advance: told about tokens.
    """
    scorer.model.eval()
    head = reward_head(scorer.model)
    read = []
    for pairs in sets:
        features = _features(scorer, head, pairs.sequences, tokens_per_batch, folder, advance)
        read.append(replace(pairs, sequences=Embedded(features, pairs.sequences.n_tokens)))  # type: ignore[arg-type]
    return HeadScorer(head), read


@torch.no_grad()
def head_margins(
    scorer: Scorer,
    pairs: TokenisedPairs,
    tokens_per_batch: int,
    folder: Path,
    advance: Callable[[float], None] = ignore,
) -> NDArray[np.float64]:
    """As `rm.evaluation.metrics.model_margins`, of a model whose head alone was trained: [n_pairs]."""
    head, (read,) = on_embeddings(scorer, [pairs], tokens_per_batch, folder, advance)
    rewards = head(read.sequences, tokens_per_batch).cpu().numpy().astype(np.float64)
    return np.asarray(rewards[pairs.chosen] - rewards[pairs.rejected])


def start_from_probe(
    scorer: Scorer,
    training: TokenisedPairs,
    validation: TokenisedPairs,
    config: TrainConfig,
    folder: Path,
    *,
    is_quiet: bool = False,
) -> None:
    """Put the coefficients of a pairwise logistic regression into the reward head of the scorer's model, no bias.

    Validation chooses the penalty. Where training takes off what confounders explain, so does the regression: they are
    further inputs of it, whose coefficients are dropped. folder: as of `on_embeddings`. The same on every process of a
    team.
    """
    if training.is_equal.all():
        return  # training refuses such pairs, and says why
    sets = (training, validation)
    with progress(
        "Probing", sum(int(one.sequences.n_tokens.sum()) for one in sets), "tokens", is_quiet=is_quiet
    ) as told:
        read = on_embeddings(scorer, sets, config.tokens_per_batch, folder, told)[1]
    features = read[0].sequences.features  # type: ignore[attr-defined]
    scale = float(features.square().mean().sqrt().clamp(min=1e-9))  # penalties are those of a mean square of 1
    known, held_out = (_differences(pairs, scale, config) for pairs in read)
    weight = pair_targets(training, config).weight.numpy()[~training.is_equal].astype(np.float64)
    coefficients = fit_chosen(known, held_out, weight, EMBEDDING_PENALTIES)[: features.shape[1]] / scale
    head = reward_head(scorer.model)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(coefficients)[None])
        if head.bias is not None:
            head.bias.zero_()


def _differences(pairs: TokenisedPairs, scale: float, config: TrainConfig) -> NDArray[np.float64]:
    """[n_pairs, n_features] chosen minus rejected, of pairs with two sides; features in units of scale."""
    features = pairs.sequences.features.cpu().numpy().astype(np.float64)  # type: ignore[attr-defined]
    differences = (features[pairs.chosen] - features[pairs.rejected]) / scale
    if config.adjusted or config.has_nuisance_head:
        differences = np.column_stack([differences, pairs.nuisance])
    return np.asarray(differences[~pairs.is_equal])


def _features(
    scorer: Scorer,
    head: nn.Module,
    sequences: Sequences,
    tokens_per_batch: int,
    folder: Path,
    advance: Callable[[float], None] = ignore,
) -> Tensor:
    """[n, width] float32 on the model's device. A file that is damaged, or cannot be written, costs time alone."""
    device = next(scorer.model.parameters()).device
    path = folder / f"features-{_digest(scorer, head, sequences)}.npy"
    try:
        kept = torch.from_numpy(np.load(path)).to(device)
        advance(float(sequences.n_tokens.sum()))
        return kept
    except (OSError, ValueError, EOFError):
        features = scorer.embeddings(head, sequences, tokens_per_batch, advance)
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, features.cpu().numpy())
    except (LurkerError, OSError) as error:
        say(f"What the head reads is not kept for later runs: {error}")
    return features


def _digest(scorer: Scorer, head: nn.Module, sequences: Sequences) -> str:
    """Changes with every weight but the head's, with the tokens, and with the precision."""
    of_head = {id(parameter) for parameter in head.parameters()}
    below = ((name, one) for name, one in scorer.model.named_parameters() if id(one) not in of_head)
    digest = weights_digest(f"{scorer.dtype} {scorer.is_causal}", below)
    tokens = np.concatenate(sequences.tokens).astype(np.int64)
    digest.update((tokens if scorer.states is None else scorer.states.tokens[tokens]).tobytes())
    digest.update(sequences.n_tokens.tobytes())
    return str(digest.hexdigest()[:16])
