"""Training an agent: draw responses to the prompts of a step, let the judge compare them, and move towards the better.

An example is one visit of a prompt. Its responses have random numbers of their own, so they depend neither on the other
prompts of the step nor on the number of processes or parts.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rm.pairs.subsets import stable_hash
from rm.pairs.tokens import Indices
from rm.policy.advantages import (
    best_and_worst,
    group_advantages,
    leave_one_out,
    policy_gradient_loss,
    preference_loss,
)
from rm.policy.agent_config import PREFERENCES, AgentConfig
from rm.policy.causal import CausalModel, response_text
from rm.policy.generate import generate
from rm.policy.judges import Judge
from rm.policy.kl_control import KlWeight, TokenTerms, token_terms
from rm.policy.response_logits import ReadBatch, ResponseLogits, read_sequences
from rm.training.distributed import current_processes

MIXED_PER_PROMPT = 2
"""People's responses that a step mixes in for each of its prompts."""
MOST_EMPTY = 0.5
"""Share of empty responses in a step at which training ends."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is answered; [n] each."""

    ids: list[str]
    texts: list[str]
    tokens: list[list[int]]
    """as the policy reads them"""


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterScale:
    """What is normal for the writer, so that rewards and lengths have one scale whatever the judge."""

    reward_mean: float
    """of the judge's rewards of the writer's responses"""
    reward_spread: float
    """their standard deviation within prompts, > 0"""
    log_length_mean: float
    """of log(1 + tokens)"""
    log_length_spread: float
    """its standard deviation, > 0"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Responses to the prompts of a part of a step, group by group."""

    prompts: list[int]
    """[n] index of each response's prompt"""
    tokens: list[list[int]]
    """[n] with the end token"""
    texts: list[str]
    """[n]"""


class AgentStep:
    """The `Objective` of an agent."""

    def __init__(
        self,
        network: ResponseLogits,
        writer: ResponseLogits,
        policy: CausalModel,
        judge: Judge,
        prompts: Prompts,
        human: Sequence[tuple[list[int], list[int]]],
        scale: WriterScale,
        config: AgentConfig,
        evaluate: Callable[[], tuple[float, float]],
    ) -> None:
        """Set up.

        Args:
            network: the policy's logits; its model is trained.
            writer: the frozen writer's.
            policy: the policy's model and tokenizer.
            judge: what rewards.
            prompts: training prompts.
            human: tokens of prompts and people's responses to them; read with mixing_weight only.
            scale: what is normal for the writer.
            config: how to train.
            evaluate: takes the validation loss and a share.
        """
        self.network, self.writer, self.policy = network, writer, policy
        self.judge, self.prompts, self.human = judge, prompts, human
        self.scale, self.config, self._evaluate = scale, config, evaluate
        self.auxiliary: nn.Module | None = KlWeight(config.kl_weight, config.kl_target, config.kl_gain)
        self.auxiliary_learning_rate = 0.0
        self._sums: defaultdict[str, float] = defaultdict(float)
        self.figures: dict[str, float] = {}
        """means over the responses of the last step"""

    @property
    def kl_weight(self) -> KlWeight:
        """The weight of the divergence."""
        assert isinstance(self.auxiliary, KlWeight)
        return self.auxiliary

    def epoch_steps(self, epoch: int) -> list[Indices]:
        """Visits of each step; all of the training is one epoch."""
        size = self.config.prompts_per_step
        visits = np.arange(self.config.steps * size) + epoch * self.config.steps * size
        return np.split(visits, self.config.steps)

    def loss(self, network: nn.Module, examples: Indices, step: Indices) -> tuple[Tensor, int]:
        """The surrogate loss of these visits' responses, and the tokens read."""
        config = self.config
        drawn = self._draw(examples)
        rewards = self._rewards(drawn, examples)
        pairs = self._pairs(rewards) if config.method in PREFERENCES else None
        read = np.arange(len(drawn.tokens))
        if pairs is not None:  # one response at least, so that every process has a gradient
            read = np.unique(pairs) if pairs.size else read[:1]
        batches, n_tokens = self._batches(drawn, read)
        mixed = self._mixed_batches(examples) if config.mixing_weight else []
        logits = network([*batches, *mixed])
        terms, response = self._terms(batches, logits[: len(batches)])
        self._count(drawn, rewards, terms, len(read))
        if pairs is None:
            advantages = self._advantages(rewards, terms, response)
            n = step.size * config.group_size
            if config.loss_per == "token":
                n = response.numel() * step.size // examples.size
            weight = 0.0 if config.method == "rloo" else self.kl_weight.value
            loss = policy_gradient_loss(terms, response, advantages, weight, config.loss_per, n)
        else:
            places = torch.from_numpy(np.searchsorted(read, pairs)).to(response.device)
            loss = preference_loss(terms, response, places, config.dpo_scale, config.mixing_weight, step.size)
        if mixed:
            targets = torch.cat([batch.targets for batch in mixed])
            nats = nn.functional.cross_entropy(torch.cat(logits[len(batches) :]), targets)
            loss = loss + config.mixing_weight * nats * examples.size / step.size
        return loss, n_tokens

    def validate(self) -> tuple[float, float]:
        """Minus the mean held-out reward, standardised, and the share of wins against the writer.

        Processes evaluate the same prompts; their mean makes them agree to the last bit.
        """
        processes = current_processes()
        loss, share = (processes.sum_value(value) / processes.count for value in self._evaluate())
        return loss, share

    def describe(self, examples: Indices) -> str:
        """The posts whose prompts were answered."""
        return f"responses to posts {', '.join(self.prompts.ids[one] for one in self._prompts_of(examples))}"

    def step_figures(self) -> dict[str, float]:
        """Means over the responses of the last step, by all processes; called once per step."""
        sums = {name: current_processes().sum_value(float(self._sums[name])) for name in FIGURES}
        self._sums.clear()
        n, n_groups = max(sums.pop("n"), 1.0), max(sums.pop("n_groups"), 1.0)
        kl = sums.pop("kl") / max(sums.pop("n_read"), 1.0)
        spread = sums.pop("spread") / n_groups
        without = sums.pop("without_signal") / n_groups
        self.figures = {name: value / n for name, value in sums.items()} | {
            "kl": kl,
            "reward_spread": spread,
            "share_without_signal": without,
            "kl_weight": self.kl_weight.value,
        }
        return dict(self.figures)

    def finish_step(self, measured_kl: float) -> str:
        """Adapt the weight of the divergence; why training should end now, in words, or nothing.

        Args:
            measured_kl: divergence at the last evaluation, nats per response; with method=dpo, which draws from the
                writer, no later one is known.
        """
        figures, config = self.figures, self.config
        kl = measured_kl if config.method == "dpo" else figures["kl"]
        self.kl_weight.update(kl)
        if kl > config.kl_limit:
            return (
                f"the divergence from the writer is {kl:,.0f} nats per response, above kl_limit="
                f"{config.kl_limit:g}: the policy has fallen apart"
            )
        if config.kl_budget is not None and kl > config.kl_budget:
            return f"the KL budget of {config.kl_budget:g} nats per response is spent"
        if figures["share_empty"] > MOST_EMPTY:
            return f"{figures['share_empty']:.0%} of the responses are empty"
        if figures["share_without_signal"] == 1:
            return "the judge rates all responses to each prompt alike, so nothing is left to learn"
        return ""

    def _prompts_of(self, visits: Indices) -> list[int]:
        """The prompt of each visit: every pass visits all prompts, in an order of its own."""
        n = len(self.prompts.texts)
        orders: dict[int, Any] = {}
        for turn in {int(visit) // n for visit in visits}:
            orders[turn] = np.random.default_rng([self.config.seed, turn]).permutation(n)
        return [int(orders[int(visit) // n][int(visit) % n]) for visit in visits]

    def _draw(self, visits: Indices) -> Drawn:
        """Responses of the policy, or with method=dpo of the writer."""
        config, tokenizer = self.config, self.policy.tokenizer
        numbers = self._prompts_of(visits)
        source = self.writer if config.method == "dpo" else self.network
        device, dtype = next(source.model.parameters()).device, source.dtype
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            drawn = generate(
                source.model,
                [self.prompts.tokens[number] for number in numbers],
                config.group_size,
                config.new_tokens,
                tokenizer.eos_token_id,
                tokenizer.pad_token_id,
                generator=[
                    torch.Generator().manual_seed(stable_hash(config.seed, f"visit {visit}"))
                    for visit in visits.tolist()
                ],
            )
        tokens = [row[mask].tolist() for row, mask in zip(drawn.tokens, drawn.mask, strict=True)]
        texts = [response_text(self.policy, one) for one in tokens]
        return Drawn([number for number in numbers for _ in range(config.group_size)], tokens, texts)

    def _rewards(self, drawn: Drawn, visits: Indices) -> NDArray[np.float64]:
        """What each response earns, less the length term: [prompts, group]."""
        config, scale = self.config, self.scale
        prompts = [self.prompts.texts[one] for one in drawn.prompts]
        if config.method == "rloo":
            score = self.judge.score(prompts, drawn.texts)
            rewards = ((score - scale.reward_mean) / scale.reward_spread).reshape(-1, config.group_size)
        else:
            seed = stable_hash(config.seed, f"against {visits[0]}")
            rewards = self.judge.group_win_probability(prompts, drawn.texts, config.group_size, config.against, seed)
        self._sums["reward"] += float(rewards.sum())
        if config.length_weight:
            log_length = np.log1p([len(one) for one in drawn.tokens]).reshape(rewards.shape)
            rewards = rewards - config.length_weight * (log_length - scale.log_length_mean) / scale.log_length_spread
        return rewards

    def _advantages(self, rewards: NDArray[np.float64], terms: TokenTerms, response: Tensor) -> Tensor:
        """[responses] of a part of a step."""
        if self.config.method == "rloo":
            ratio = (terms.log_prob - terms.writer_log_prob).detach().double()
            of_response = torch.zeros(rewards.size, dtype=torch.float64, device=ratio.device)
            kl = of_response.index_add(0, response, ratio).cpu().numpy().reshape(rewards.shape)
            advantages = leave_one_out(rewards - self.kl_weight.value * kl)
        else:
            advantages = group_advantages(rewards, self.config.advantages)
        return torch.from_numpy(advantages.ravel()).float().to(terms.log_prob.device)

    def _pairs(self, rewards: NDArray[np.float64]) -> NDArray[np.int64]:
        """[pairs, 2] number of the best and the worst response of each group that has both."""
        best, worst, differ = best_and_worst(rewards)
        first = np.arange(len(rewards)) * self.config.group_size
        return np.stack([first + best, first + worst], axis=1)[differ]

    def _batches(self, drawn: Drawn, read: NDArray[np.int64]) -> tuple[list[ReadBatch], int]:
        """The responses that the loss reads, numbered by their place in `read`, and their tokens."""
        prompts = [self.prompts.tokens[drawn.prompts[one]] for one in read]
        sequences = read_sequences(prompts, [drawn.tokens[one] for one in read])
        pad = self.policy.tokenizer.pad_token_id
        return [*self.network.batches(sequences, pad, self.config.tokens_per_batch)], int(sequences.n_tokens.sum())

    def _mixed_batches(self, visits: Indices) -> list[ReadBatch]:
        """People's responses, drawn for each visit."""
        keys = [f"human {visit} {number}" for visit in visits.tolist() for number in range(MIXED_PER_PROMPT)]
        chosen = [self.human[stable_hash(self.config.seed, key) % len(self.human)] for key in keys]
        sequences = read_sequences([prompt for prompt, _ in chosen], [response for _, response in chosen])
        return [*self.network.batches(sequences, self.policy.tokenizer.pad_token_id, self.config.tokens_per_batch)]

    def _terms(self, batches: Sequence[ReadBatch], logits: Sequence[Tensor]) -> tuple[TokenTerms, Tensor]:
        """Of all tokens of the batches, and the response of each."""
        with torch.no_grad():
            known = self.writer(batches)
        parts = [
            token_terms(one, other, batch.targets, self.config.kl_estimator)
            for one, other, batch in zip(logits, known, batches, strict=True)
        ]
        joined = [torch.cat([getattr(part, name) for part in parts]) for name in TokenTerms.__slots__]
        return TokenTerms(*joined), torch.cat([batch.response for batch in batches])

    def _count(self, drawn: Drawn, rewards: NDArray[np.float64], terms: TokenTerms, n_read: int) -> None:
        end = self.policy.tokenizer.eos_token_id
        self._sums["n"] += len(drawn.tokens)
        self._sums["n_groups"] += len(rewards)
        self._sums["n_read"] += n_read
        self._sums["kl"] += float(terms.kl.detach().sum())
        self._sums["spread"] += float(rewards.std(axis=1, ddof=1).sum())
        self._sums["without_signal"] += int((np.ptp(rewards, axis=1) == 0).sum())
        self._sums["n_tokens"] += sum(map(len, drawn.tokens))
        self._sums["share_empty"] += sum(not text for text in drawn.texts)
        self._sums["share_finished"] += sum(one[-1] == end for one in drawn.tokens)


FIGURES = (
    "n",
    "n_groups",
    "n_read",
    "kl",
    "reward",
    "spread",
    "without_signal",
    "n_tokens",
    "share_empty",
    "share_finished",
)
"""Sums over the responses of a step."""
