"""The training loss on rewards, as pure functions of tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True, slots=True)
class Targets:
    """Training targets of pairs; every field has shape [n_pairs]."""

    weight: Tensor
    """weight of the pair's loss, > 0, with mean 1 over the training set"""
    label: Tensor
    """P(chosen is liked more), from 0 to 1"""
    margin: Tensor
    """log-odds by which chosen must lead"""
    offset: Tensor
    """log-odds that chosen wins that are known without the text"""

    def take(self, pairs: NDArray[np.int64]) -> "Targets":
        """The targets of the pairs with these indices."""
        indices = torch.from_numpy(pairs)
        return Targets(*(part[indices] for part in (self.weight, self.label, self.margin, self.offset)))

    def to(self, device: torch.device) -> "Targets":
        """The targets on another device."""
        return Targets(*(part.to(device) for part in (self.weight, self.label, self.margin, self.offset)))


def pair_losses(
    chosen: Tensor,  # [n_pairs] rewards
    rejected: Tensor,  # [n_pairs] rewards
    targets: Targets,
    centring: float = 0.0,
) -> Tensor:
    """Weighted loss of each pair in nats, [n_pairs].

    With logit z = r_chosen - r_rejected - margin + offset and label p, the loss is

        weight · (-p log σ(z) - (1 - p) log σ(-z) + centring · (r_chosen + r_rejected)²).

    Source:
        Bradley & Terry 1952 and Ouyang et al. 2022 (InstructGPT), eq. 1, for p = 1.
        Soft labels: Wang et al. 2024, "Secrets of RLHF in large language models part II: reward modeling".
        Margin: Touvron et al. 2023 (Llama 2), eq. 2.
        Centring: Eisenstein et al. 2023, "Helping or herding?", eq. 3.
        Offset: a known covariate of a generalised linear model, McCullagh & Nelder 1989, section 6.3, so that the text
        does not learn what time and length explain.
    """
    logit = chosen - rejected - targets.margin + targets.offset
    loss = -targets.label * logsigmoid(logit) - (1 - targets.label) * logsigmoid(-logit)
    return targets.weight * (loss + centring * (chosen + rejected) ** 2)


def smooth_labels(label: Tensor, flipped: float) -> Tensor:
    """Labels under the assumption that a fraction `flipped` of them is wrong.

    Source: Szegedy et al. 2016, section 7; for preferences Mitchell 2023, "A note on DPO with noisy preferences".
    """
    return label * (1 - flipped) + (1 - label) * flipped


def log_loss(logit: Tensor) -> Tensor:
    """Unweighted mean of -log σ(logit) in nats, a scalar; logit: [n_pairs] log-odds that chosen wins."""
    return -torch.mean(logsigmoid(logit.double()))
