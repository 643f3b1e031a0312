"""From rewards to losses: advantages within a group, the policy gradient, and the loss of preferred responses."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from rm.policy.kl_control import TokenTerms

Advantages = Literal["centred", "normalised"]
LossPer = Literal["response", "token", "mean"]
SMALLEST_SPREAD = 1e-4
"""Added to a group's standard deviation, as TRL does."""


def group_advantages(rewards: NDArray[np.float64], kind: Advantages) -> NDArray[np.float64]:
    """How much better each response is than its group.

    Args:
        rewards: [prompts, group].
        kind: centred: minus the group's mean; normalised: also over its standard deviation, so that prompts whose
            responses hardly differ count as much as others.

    Returns:
        [prompts, group].

    Source: Shao et al. 2024 (DeepSeekMath), eq. 4; without the division Liu et al. 2025, "Understanding R1-Zero-like
    training", section 3.
    """
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    if kind == "centred":
        return np.asarray(centred)
    return np.asarray(centred / (rewards.std(axis=1, ddof=1, keepdims=True) + SMALLEST_SPREAD))


def leave_one_out(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each reward minus the mean of the others in its group, [prompts, group].

    Source: Ahmadian et al. 2024, "Back to basics", eq. 8.
    """
    n = rewards.shape[1]
    return np.asarray((rewards - rewards.mean(axis=1, keepdims=True)) * n / (n - 1))


def best_and_worst(probability: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The response of each group that wins most, the one that wins least, and whether they differ.

    Args:
        probability: [prompts, group] mean probability to win against the others.

    Returns:
        Indices within the group, [prompts] each; a group whose probabilities are all equal tells nothing and is no
        pair. Of equals the first is taken.
    """
    best, worst = probability.argmax(axis=1), probability.argmin(axis=1)
    return best, worst, np.asarray(np.ptp(probability, axis=1) > 0)


def policy_gradient_loss(
    terms: TokenTerms, response: Tensor, advantages: Tensor, kl_weight: float, per: LossPer, n_responses: int
) -> Tensor:
    """The surrogate whose gradient raises the reward and lowers the divergence, of responses just drawn.

    Args:
        terms: of n tokens.
        response: [n] number of each token's response among `advantages`.
        advantages: [responses].
        kl_weight: weight of the divergence.
        per: response: token losses of a response are summed; token: the step's token losses are averaged; mean: those
            of a response are averaged first, which favours short good and long bad responses.
        n_responses: responses of the whole step, over which the loss is averaged; for per="token" its tokens.

    Source: Shao et al. 2024, eq. 3, at the first update of a batch, where the ratio is 1 and no clipping acts; the sum
    over tokens as in Liu et al. 2025, section 3.1.
    """
    ratio = (terms.log_prob - terms.log_prob.detach()).exp()
    losses = -advantages[response] * ratio
    if kl_weight:
        losses = losses + kl_weight * terms.kl
    if per == "mean":
        n_tokens = torch.bincount(response, minlength=advantages.numel())
        losses = losses / n_tokens[response]
    return losses.sum() / n_responses


def preference_loss(
    terms: TokenTerms, response: Tensor, pairs: Tensor, scale: float, sft_weight: float, n_pairs: int
) -> Tensor:
    """DPO's loss of chosen and rejected responses, and the log loss of the chosen one.

    Args:
        terms: of n tokens.
        response: [n] number of each token's response.
        pairs: [pairs, 2] numbers of the chosen and the rejected response.
        scale: β of DPO: the divergence that a gain of one nat of preference is worth.
        sft_weight: weight of the chosen response's log loss per token.
        n_pairs: pairs of the whole step, over which the loss is averaged.

    Source: Rafailov et al. 2023, eq. 7; with the log loss as Pang et al. 2024, "Iterative reasoning preference
    optimization", eq. 1, and TRL's loss_type ["sigmoid", "sft"].
    """
    n_responses = int(pairs.max()) + 1 if pairs.numel() else 0
    n_responses = max(n_responses, int(response.max()) + 1 if response.numel() else 0)
    zeros = torch.zeros(n_responses, device=terms.log_prob.device)
    ratio = zeros.index_add(0, response, terms.log_prob - terms.writer_log_prob)
    losses = -logsigmoid(scale * (ratio[pairs[:, 0]] - ratio[pairs[:, 1]]))
    if sft_weight:
        nats = zeros.index_add(0, response, terms.log_prob)
        n_tokens = torch.bincount(response, minlength=n_responses).clamp(min=1)
        losses = losses - sft_weight * (nats / n_tokens)[pairs[:, 0]]
    return losses.sum() / n_pairs
