"""The alarms of an agent: what they compare its responses with, and what the judge and plain text add."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from rm.policy.agent_evaluation import PROXY, Evaluated, Evaluator
from rm.policy.alarms import MIN_PROMPTS, Known, drift, one_per_prompt
from rm.policy.causal import prompt_tokens, response_tokens
from rm.policy.judges import Judge
from rm.policy.response_logits import ResponseLogits, response_log_probs
from rm.policy.text_traits import training_ngrams
from rm.training.run_folder import read_run_pairs

Floats = NDArray[np.float64]
MOST_TEXTS = 64
"""Plain texts whose loss is taken at each evaluation."""
MOST_PAIRS = 500
"""Training pairs of the judge whose rewards make its range."""


class AgentAlarms:
    """Rings the alarms for what an agent answered at one step."""

    def __init__(self, evaluator: Evaluator, human: pl.DataFrame, training_texts: Sequence[str]) -> None:
        """Read what is known before training: rewards and losses of people's held-out responses.

        Args:
            evaluator: of the agent, with its judges and its writer.
            human: prompt_id, prompt and response of held-out responses that people wrote.
            training_texts: people's responses to training posts.
        """
        self.evaluator = evaluator
        self.is_possible = min(human["prompt_id"].n_unique(), len(evaluator.prompts.ids)) >= MIN_PROMPTS
        """whether there are enough prompts for alarms"""
        if not self.is_possible:
            return
        self.human = one_per_prompt(human, "people's responses")
        self.plain = self.human.head(MOST_TEXTS)
        judge = evaluator.judges[PROXY]
        self.range = reward_range(judge)
        if self.range is not None and judge.rewards is not None:
            rewards = judge.rewards(self.human["prompt"].to_list(), self.human["response"].to_list())
            self.human = self.human.with_columns(reward=rewards)
        self.ngrams = training_ngrams(training_texts)
        self.before = self._nats(evaluator.writer_logits)

    def ring(self, evaluated: Evaluated, network: ResponseLogits, step: int) -> pl.DataFrame:
        """DRIFT of one step.

        Args:
            evaluated: what the agent answered.
            network: its logits.
            step: of the training.
        """
        evaluator = self.evaluator
        samples = pl.DataFrame(
            {
                "prompt_id": [evaluator.prompts.ids[one] for one in evaluator.code],
                "prompt": evaluator.texts,
                "response": evaluated.responses.texts,
            }
        )
        if self.range is not None:
            samples = samples.with_columns(reward=evaluator.as_given(PROXY, evaluated.rewards[PROXY]))
        known = Known(self.ngrams, self.range, (self.before, self._nats(network)))
        return drift(samples, self.human, step, known)

    def _nats(self, network: ResponseLogits) -> Floats:
        """Loss per token of the plain texts, nats, [texts]."""
        writer, config = self.evaluator.writer, self.evaluator.config
        prompts = [prompt_tokens(writer, text, config.max_prompt_tokens) for text in self.plain["prompt"]]
        tokens = [response_tokens(writer, text, config.new_tokens) for text in self.plain["response"]]
        was_training = network.model.training
        network.model.eval()
        with torch.no_grad():
            total = response_log_probs(network, prompts, tokens, writer.tokenizer.pad_token_id, config.tokens_per_batch)
        network.model.train(was_training)
        return np.asarray(-total / np.array([len(one) for one in tokens]))


def reward_range(judge: Judge) -> tuple[float, float] | None:
    """Lowest and highest reward that a judge gives the responses it was trained on, log-odds.

    Args:
        judge: the judge; one that is no reward model, or reads two responses, has no range.
    """
    if judge.run is None or judge.rewards is None:
        return None
    pairs = read_run_pairs(judge.run.workspace, judge.run.config).training.head(MOST_PAIRS)
    rewards = judge.rewards([*pairs["prompt"]] * 2, [*pairs["chosen"], *pairs["rejected"]])
    return float(rewards.min()), float(rewards.max())
