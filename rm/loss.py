"""The training loss on rewards: pure functions of tensors."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_loss(
    rewards: Tensor,  # [n_responses] one reward a unique response
    chosen: Tensor,  # [n_pairs] int64, index of each pair's chosen response
    rejected: Tensor,  # [n_pairs] int64, index of each pair's rejected response
    weight: Tensor,  # [n_pairs] > 0
) -> Tensor:
    """Weighted mean of -log sigmoid(r_chosen - r_rejected), in nats; a scalar.

    Source: Bradley & Terry 1952; as a reward model's loss over all pairs of a prompt in Ouyang et al. 2022
    (InstructGPT), eq. 1: each response is scored once however many pairs it is in.
    """
    margin = rewards[chosen] - rewards[rejected]
    return -(weight * logsigmoid(margin)).sum() / weight.sum()


def log_loss(margin: Tensor) -> Tensor:
    """Mean -log sigmoid(margin) of [n_pairs] margins in log-odds, in nats, without weights; a scalar."""
    return -torch.mean(logsigmoid(margin.double()))
