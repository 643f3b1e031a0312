"""What an agent has gained, and at what divergence from its writer: the same prompts and random numbers at each step.

Rewards are standardised by the writer's responses: 0 is the writer's mean, 1 its standard deviation within prompts, so
that judges can be compared. Each is compared with the writer's mean reward on the same prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lurker.errors import LurkerError
from lurker.schema import CURVE, SAMPLES
from lurker.stats import Estimate, mean_interval
from rm.pairs.subsets import stable_hash
from rm.policy.agent_config import AgentConfig
from rm.policy.agent_step import Prompts, WriterScale
from rm.policy.causal import CausalModel, response_text
from rm.policy.generate import generate
from rm.policy.judges import Judge
from rm.policy.length_control import win_rates
from rm.policy.response_logits import ResponseLogits, response_log_probs

PROXY, HELD_OUT, TRUTH_MEASURE, WIN_RATE, LENGTH_MEASURE = "proxy", "held-out", "truth", "win rate", "length"
AT_EQUAL_LENGTH = "win rate at equal length"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Responses:
    """The responses of one model to the evaluation prompts, prompt by prompt."""

    texts: list[str]
    """[n]"""
    n_tokens: Floats
    """[n]"""
    is_finished: NDArray[np.bool_]
    """[n]"""
    log_prob: Floats
    """[n] nats under the model that wrote them"""
    writer_log_prob: Floats
    """[n] nats under the writer"""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An agent at one step."""

    rows: pl.DataFrame
    """CURVE of the step"""
    responses: Responses
    rewards: dict[str, Floats]
    """measure -> standardised reward of each response, [n]"""

    def value(self, measure: str) -> float:
        """The value of a measure."""
        return float(self.rows.filter(measure=measure)["value"][0])


class Evaluator:
    """Answers the evaluation prompts with a model, and compares with the writer's answers."""

    def __init__(
        self,
        writer: CausalModel,
        writer_logits: ResponseLogits,
        prompts: Prompts,
        judges: Mapping[str, Judge],
        config: AgentConfig,
    ) -> None:
        """Let the writer answer, and learn from its answers what is normal.

        Args:
            writer: the writer.
            writer_logits: its logits.
            prompts: evaluation prompts.
            judges: by measure: proxy, and held-out and truth where they are known.
            config: how many samples, and of what length.

        Raises:
            LurkerError: a judge that rewards or selects gives all responses to each prompt one reward, so it cannot
                tell them apart. A truth that only looks on is left out then.
        """
        self.writer, self.writer_logits, self.prompts, self.judges = writer, writer_logits, prompts, dict(judges)
        self.config = config
        n = config.evaluation_samples
        self.texts = [text for text in prompts.texts for _ in range(n)]
        """[n] prompt of each response"""
        self.code = np.repeat(np.arange(len(prompts.texts)), n)
        self.base = self._answer(writer.model)
        self.rivals = [self.base.texts[prompt * n : (prompt + 1) * n] for prompt in self.code]
        self._means: dict[str, Floats] = {}
        self._spreads: dict[str, float] = {}
        for measure, judge in judges.items():
            scores = judge.score(self.texts, self.base.texts).reshape(-1, n)
            spread = float(np.sqrt(scores.var(axis=1, ddof=1).mean()))
            if spread == 0 and measure == TRUTH_MEASURE:
                self.judges.pop(measure)  # it only looks on; as the judge it is the proxy, too
                continue
            if spread == 0:
                raise LurkerError(
                    f"{judge.name} rates the writer's {n} responses to each prompt alike: it gives no signal to learn "
                    "from.",
                    "Choose another judge, or a writer whose responses differ more.",
                )
            self._means[measure] = (
                scores.mean(axis=1)[self.code] if judge.rewards is not None else np.zeros(len(self.code))
            )
            self._spreads[measure] = spread

    @property
    def scale(self) -> WriterScale:
        """What is normal for the writer, by the proxy."""
        log_length = np.log1p(self.base.n_tokens)
        return WriterScale(
            reward_mean=float(self._means[PROXY].mean()),
            reward_spread=self._spreads[PROXY],
            log_length_mean=float(log_length.mean()),
            log_length_spread=max(float(log_length.std()), 1e-6),
        )

    def evaluate(self, model: Any, step: int) -> Evaluated:
        """Let a model answer, and compare.

        Args:
            model: a causal language model with the writer's tokens.
            step: training step, for the rows.
        """
        answers = self._answer(model)
        rewards = {measure: self._standardised(measure, answers.texts) for measure in self.judges}
        measures = {measure: self._mean(values) for measure, values in rewards.items()}
        measures[LENGTH_MEASURE] = self._mean(answers.n_tokens)
        measures |= self._win_rates(answers)
        kl = self._mean(answers.log_prob - answers.writer_log_prob)
        rows = [
            {
                "step": step,
                "kl": kl.value,
                "kl_low": kl.low,
                "kl_high": kl.high,
                "measure": measure,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "n_prompts": estimate.n_clusters,
            }
            for measure, estimate in measures.items()
        ]
        return Evaluated(pl.DataFrame(rows, schema=CURVE.schema), answers, rewards)

    def samples(self, evaluated: Evaluated | None, source: str, subreddits: Sequence[str]) -> pl.DataFrame:
        """The responses of an evaluation, or the writer's, as SAMPLES with a column `reward:JUDGE` for each judge."""
        n = self.config.evaluation_samples
        answers = self.base if evaluated is None else evaluated.responses
        table = pl.DataFrame(
            {
                "prompt_id": np.array(self.prompts.ids)[self.code],
                "prompt": self.texts,
                "subreddit": np.array(subreddits)[self.code],
                "source": [source] * len(self.texts),
                "sample": np.tile(np.arange(n), len(self.prompts.texts)),
                "response": answers.texts,
                "n_tokens": answers.n_tokens.astype(np.int64),
                "is_finished": answers.is_finished,
                "log_prob": answers.log_prob,
                "reference_log_prob": answers.writer_log_prob,
            },
            schema=SAMPLES.schema,
        )
        return table.with_columns(
            pl.Series(f"reward:{judge.name.removeprefix('run:')}", judge.score(self.texts, answers.texts))
            for judge in {judge.name: judge for judge in self.judges.values()}.values()
        )

    def as_given(self, measure: str, standardised: Floats) -> Floats:
        """Standardised rewards of responses in the order of the prompts, as the judge gave them, log-odds, [n]."""
        return np.asarray(standardised * self._spreads[measure] + self._means[measure])

    def _standardised(self, measure: str, texts: Sequence[str]) -> Floats:
        judge = self.judges[measure]
        if judge.rewards is not None:
            score = judge.rewards(self.texts, texts)
        else:
            score = judge.against(self.texts, texts, self.rivals).mean(axis=1)
        return np.asarray((score - self._means[measure]) / self._spreads[measure])

    def _win_rates(self, answers: Responses) -> dict[str, Estimate]:
        """Share of pairs with the writer's responses to the same prompt that the best known referee gives the agent."""
        referee = self.judges.get(HELD_OUT, self.judges[PROXY])
        wins = (np.sign(referee.against(self.texts, answers.texts, self.rivals)) + 1) / 2
        n = self.config.evaluation_samples
        rivals_tokens = self.base.n_tokens.reshape(-1, n)[self.code]
        longer = answers.n_tokens[:, None] - rivals_tokens
        rates = win_rates(wins.ravel(), longer.ravel(), np.repeat(self.code, n))
        return {WIN_RATE: rates.raw, AT_EQUAL_LENGTH: rates.at_equal_length}

    def _mean(self, values: Floats) -> Estimate:
        return mean_interval(values, self.code)

    def _answer(self, model: Any) -> Responses:
        """A model's responses; each prompt has random numbers of its own, the same at each call."""
        tokenizer, config = self.writer.tokenizer, self.config
        drawn = generate(
            model,
            self.prompts.tokens,
            config.evaluation_samples,
            config.new_tokens,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
            generator=[
                torch.Generator().manual_seed(stable_hash(config.seed, f"evaluation {one}")) for one in self.prompts.ids
            ],
        )
        tokens = [row[mask].tolist() for row, mask in zip(drawn.tokens, drawn.mask, strict=True)]
        own = drawn.log_probs.double().sum(1).numpy()
        writes_itself = model is self.writer.model
        return Responses(
            [response_text(self.writer, one) for one in tokens],
            drawn.n_tokens.numpy().astype(np.float64),
            drawn.is_finished(tokenizer.eos_token_id).numpy(),
            own,
            own if writes_itself else self._writer_log_prob(tokens),
        )

    def _writer_log_prob(self, tokens: Sequence[list[int]]) -> Floats:
        prompts = [self.prompts.tokens[one] for one in self.code]
        pad = self.writer.tokenizer.pad_token_id
        return response_log_probs(self.writer_logits, prompts, tokens, pad, self.config.tokens_per_batch)
