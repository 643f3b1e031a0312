"""The head's start: the best linear reward of what the untrained model gives it, so that training begins where frozen
embeddings end and the layers below are not bent to fit random weights.

Source: Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution" (LP-FT).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from lurker.pairwise import fit_chosen
from lurker.progress import progress
from rm.adapt import on_embeddings
from rm.baselines import EMBEDDING_PENALTIES
from rm.config import TrainConfig
from rm.data import TokenisedPairs
from rm.forward import Scorer
from rm.model import reward_head
from rm.train import pair_targets


def start_from_probe(
    scorer: Scorer, training: TokenisedPairs, validation: TokenisedPairs, config: TrainConfig, *, is_quiet: bool = False
) -> None:
    """Put the coefficients of a pairwise logistic regression into the reward head of the scorer's model, no bias.

    Validation chooses the penalty. Where training takes off what confounders explain, so does the regression: they are
    further inputs of it, whose coefficients are dropped. The same on every process of a team.
    """
    n_tokens = sum(int(pairs.sequences.n_tokens.sum()) for pairs in (training, validation))
    with progress("Probing", n_tokens, "tokens", is_quiet=is_quiet) as advance:
        read = on_embeddings(scorer, (training, validation), config, advance)[1]
    features = read[0].sequences.features  # type: ignore[attr-defined]
    scale = float(features.square().mean().sqrt().clamp(min=1e-9))  # penalties are those of a mean square of 1
    known, held_out = (_differences(pairs, config) for pairs in read)
    width = features.shape[1]
    known[:, :width] /= scale
    held_out[:, :width] /= scale
    weight = pair_targets(training, config).weight.numpy()[~training.is_equal].astype(np.float64)
    coefficients = fit_chosen(known, held_out, weight, EMBEDDING_PENALTIES)[:width] / scale
    head = reward_head(scorer.model)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(coefficients)[None])
        if head.bias is not None:
            head.bias.zero_()


def _differences(pairs: TokenisedPairs, config: TrainConfig) -> NDArray[np.float64]:
    """[n_pairs, n_features] chosen minus rejected, of pairs with two sides."""
    features = pairs.sequences.features.cpu().numpy().astype(np.float64)  # type: ignore[attr-defined]
    differences = features[pairs.chosen] - features[pairs.rejected]
    if config.adjusted or config.has_nuisance_head:
        differences = np.column_stack([differences, pairs.nuisance])
    return np.asarray(differences[~pairs.is_equal])
