"""How far a policy has moved from its writer, token by token, and the weight that keeps it near.

The divergence of a response is the sum over its tokens; padding never counts. Given the words before it, the exact
divergence of a token's distribution is known from both models' logits; its sum along drawn responses has the
divergence of whole responses as its mean, and less noise than the log-ratio of the drawn tokens.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

KlEstimator = Literal["exact", "k3"]
LARGEST_ERROR = 0.2
"""Relative distance from the target that the controller reacts to at most, per step."""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What the losses need of each drawn token; of n tokens, [n] float32 each, nats."""

    log_prob: Tensor
    """under the policy, with its graph"""
    writer_log_prob: Tensor
    """under the writer"""
    kl: Tensor
    """divergence of the policy from the writer, with its graph"""


def token_terms(logits: Tensor, writer_logits: Tensor, tokens: Tensor, estimator: KlEstimator) -> TokenTerms:
    """Log-probabilities and divergences of drawn tokens.

    Args:
        logits: [n, vocabulary] of the policy before each token.
        writer_logits: [n, vocabulary] of the writer.
        tokens: [n] the tokens drawn.
        estimator: "exact" over the vocabulary, or "k3" from the drawn token alone, which needs no sum over both
            distributions and is noisier.
    """
    log_p, log_q = logits.float().log_softmax(-1), writer_logits.float().log_softmax(-1)
    log_prob, writer_log_prob = (table.gather(1, tokens[:, None])[:, 0] for table in (log_p, log_q))
    kl = exact_kl(log_p, log_q) if estimator == "exact" else k3(log_prob, writer_log_prob)
    return TokenTerms(log_prob, writer_log_prob, kl)


def exact_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) of each row, nats.

    Args:
        log_p, log_q: [n, vocabulary] log-probabilities.

    Source: Amini et al. 2025, "Better estimation of the Kullback-Leibler divergence between language models".
    """
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def k3(log_prob: Tensor, writer_log_prob: Tensor) -> Tensor:
    """An estimate of KL(p ‖ q) from a token drawn from p: unbiased and never negative, nats.

    Its gradient is unbiased, too: it counts that p decides which token is drawn.

    Args:
        log_prob: log p of the drawn token.
        writer_log_prob: log q of it.

    Source: Schulman 2020, "Approximating KL divergence", k3; the ratio as in DeepSeek-V3.2, section 3.1, and TRL.
    """
    log_ratio = writer_log_prob - log_prob
    return (log_ratio.exp() - log_ratio - 1) * (log_prob - log_prob.detach()).exp()


class KlWeight(nn.Module):
    """The weight of the divergence in the loss, fixed or adapted to a target; checkpoints keep it.

    Source: Ziegler et al. 2019, "Fine-tuning language models from human preferences", section 2.2.
    """

    def __init__(self, weight: float, target: float | None, gain: float) -> None:
        """Start.

        Args:
            weight: the first weight, in reward per nat.
            target: divergence of a response to reach, nats; None keeps the weight.
            gain: relative change of the weight for a relative error of 1.
        """
        super().__init__()
        self.target, self.gain = target, gain
        self.weight: Tensor
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.float64))

    @property
    def value(self) -> float:
        """The weight now."""
        return float(self.weight)

    def update(self, kl: float) -> None:
        """Raise the weight when the divergence of a step's responses is above the target, lower it when below."""
        if self.target is None:
            return
        error = max(-LARGEST_ERROR, min(LARGEST_ERROR, kl / self.target - 1))
        self.weight *= 1 + self.gain * error
