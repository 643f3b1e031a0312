"""The training loss on rewards: pure functions of tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True, slots=True)
class Targets:
    """What each pair of a batch is held to; all [n_pairs].

    weight: > 0, mean 1 over the training set. label: P(chosen is liked more), 0–1. margin: log-odds by which chosen
    must lead. offset: log-odds that chosen wins which are known without the text.
    """

    weight: Tensor
    label: Tensor
    margin: Tensor
    offset: Tensor

    def take(self, pairs: NDArray[np.int64]) -> "Targets":
        """Those of the pairs of these indices."""
        numbers = torch.from_numpy(pairs)
        return Targets(*(part[numbers] for part in (self.weight, self.label, self.margin, self.offset)))

    def to(self, device: torch.device) -> "Targets":
        """The same on another device."""
        return Targets(*(part.to(device) for part in (self.weight, self.label, self.margin, self.offset)))


def pair_losses(
    chosen: Tensor,  # [n_pairs] rewards
    rejected: Tensor,  # [n_pairs] rewards
    targets: Targets,
    centring: float = 0.0,
) -> Tensor:
    """[n_pairs] losses in nats, times their weight; with z = r_chosen - r_rejected - margin + offset and label p,

        -p log σ(z) - (1 - p) log σ(-z) + centring · (r_chosen + r_rejected)².

    Sources: Bradley & Terry 1952 and Ouyang et al. 2022 (InstructGPT), eq. 1, for p = 1. Soft labels: Wang et al. 2024,
    "Secrets of RLHF in large language models part II: reward modeling". Margin: Touvron et al. 2023 (Llama 2), eq. 2.
    Centring: Eisenstein et al. 2023, "Helping or herding?", eq. 3. Offset: as a known covariate in a generalised
    linear model, McCullagh & Nelder 1989, section 6.3; what time and length explain is not left for the text.
    """
    logit = chosen - rejected - targets.margin + targets.offset
    loss = -targets.label * logsigmoid(logit) - (1 - targets.label) * logsigmoid(-logit)
    return targets.weight * (loss + centring * (chosen + rejected) ** 2)


def smoothed(label: Tensor, share: float) -> Tensor:
    """Labels of which a share is taken to be turned round.

    Source: Szegedy et al. 2016, section 7; for preferences Mitchell 2023, "A note on DPO with noisy preferences".
    """
    return label * (1 - share) + (1 - label) * share


def log_loss(logit: Tensor) -> Tensor:
    """Mean -log sigmoid(logit) of [n_pairs] log-odds that chosen wins, in nats, without weights; a scalar."""
    return -torch.mean(logsigmoid(logit.double()))
