"""Judges of responses: a reward model (`run:ID`), the simulator's truth (`truth`), or length alone (`length`).

A judge that reads one response gives rewards whose differences are log-odds; one that reads two gives log-odds of each
pair. Both tell with which probability a response beats another one to the same prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.special import expit

from lurker.errors import CallError, LurkerError
from lurker.judgements.read import prompt_key
from lurker.pair_sets import read_pairs
from lurker.true_quality import read_quality_rule, true_quality
from lurker.workspace import Workspace
from rm.evaluation.score import score_texts, text_scorer
from rm.evaluation.trained_run import TrainedRun, load_trained
from rm.pairs.tokens import encode_both
from rm.training.identity import is_unseen
from rm.training.run_folder import RUN_PREFIX

TRUTH, LENGTH = "truth", "length"
Floats = NDArray[np.float64]
Against = Literal["all", "one"]


@dataclass(frozen=True, slots=True)
class Judge:
    """What tells better responses from worse ones; made by `open_judge`."""

    name: str
    """SPEC: run:ID, truth or length"""
    log_odds: Callable[[Sequence[str], Sequence[str], Sequence[str]], Floats]
    """log-odds with which each first response beats the second one to its prompt, [n]"""
    rewards: Callable[[Sequence[str], Sequence[str]], Floats] | None
    """reward of each response to its prompt, [n]; None for a judge that reads two responses"""
    run: TrainedRun | None = None
    """the reward model, if it is one"""

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """A reward of each response, comparable with the others to its prompt, [n] log-odds.

        Of a judge that reads two responses it is the mean log-odds against the others to the same prompt.

        Raises:
            LurkerError: a reward is not finite, or a pairwise judge has a single response to a prompt.
        """
        if self.rewards is not None:
            return self.rewards(prompts, responses)
        first, second = _pairs_within(prompts)
        if np.unique(first).size < len(responses):
            raise LurkerError(
                f"{self.name} reads two responses at a time, and a prompt has a single one.",
                "Draw at least two for each prompt.",
            )
        odds = self._of_pairs(prompts, responses, first, second)
        return np.bincount(first, odds, minlength=len(responses)) / np.bincount(first, minlength=len(responses))

    def against(self, prompts: Sequence[str], responses: Sequence[str], rivals: Sequence[Sequence[str]]) -> Floats:
        """Log-odds with which each response beats each of its rivals, [n, rivals].

        Args:
            prompts: [n].
            responses: [n].
            rivals: [n] equally many other responses to the same prompt.
        """
        n_rivals = len(rivals[0])
        others = [rival for row in rivals for rival in row]
        if self.rewards is not None:
            own = self.rewards(prompts, responses)
            theirs = self.rewards(np.repeat(np.array(prompts, dtype=object), n_rivals).tolist(), others)
            return np.asarray(own[:, None] - theirs.reshape(-1, n_rivals))
        repeated = [[text for text in texts for _ in range(n_rivals)] for texts in (prompts, responses)]
        return self.log_odds(repeated[0], repeated[1], others).reshape(-1, n_rivals)

    def group_win_probability(
        self, prompts: Sequence[str], responses: Sequence[str], group: int, against: Against = "all", seed: int = 0
    ) -> Floats:
        """Probability with which each response beats others of its group.

        Args:
            prompts: [n], those of a group equal.
            responses: [n], group by group.
            group: responses of a group, at least 2.
            against: all: the mean over all others; one: one other, drawn for each group, which beats itself with
                probability 0.5. It needs fewer reads of a judge that reads two responses.
            seed: of the draw.

        Returns:
            [n / group, group].

        Source: one member as the reference: Jia et al. 2025, "Writing-Zero", section 3.2.
        """
        n_groups = len(responses) // group
        if against == "one":
            first = np.arange(len(responses))
            drawn = np.random.default_rng(seed).integers(0, group, n_groups)
            second = np.repeat(np.arange(n_groups) * group + drawn, group)
            different = first != second
            odds = np.zeros(len(responses))
            odds[different] = self._of_pairs(prompts, responses, first[different], second[different])
            return np.asarray(expit(odds).reshape(n_groups, group))
        block = np.arange(n_groups)[:, None] * group
        one, other = np.nonzero(~np.eye(group, dtype=bool))
        first, second = (block + one).ravel(), (block + other).ravel()
        wins = expit(self._of_pairs(prompts, responses, first, second))
        return np.asarray(wins.reshape(n_groups, group, group - 1).mean(axis=2))

    def _of_pairs(
        self, prompts: Sequence[str], responses: Sequence[str], first: NDArray[Any], second: NDArray[Any]
    ) -> Floats:
        """Log-odds with which responses beat others, by their indices, [pairs]."""
        if self.rewards is not None:
            reward = self.rewards(prompts, responses)
            return np.asarray(reward[first] - reward[second])
        texts = ([prompts[one] for one in first], [responses[one] for one in first], [responses[one] for one in second])
        return self.log_odds(*texts)


def judge_name(judge: str) -> str:
    """SPEC of a judge as judges are opened: a run may be given by its id alone."""
    return judge if judge in (TRUTH, LENGTH) or judge.startswith(RUN_PREFIX) else f"{RUN_PREFIX}{judge}"


def open_judge(workspace: Workspace, spec: str, prompts: pl.DataFrame) -> Judge:
    """Open a judge for some prompts.

    Args:
        workspace: where runs and the simulation are.
        spec: run:ID, truth or length.
        prompts: prompt and subreddit of all texts that it will read; the truth needs to know whose taste counts.

    Raises:
        CallError: there is no such judge, or it reads a response's delay.
        LurkerError: the truth is asked for, and the workspace holds no simulation.
    """
    if spec == LENGTH:
        return _of_rewards(spec, lambda _, responses: np.array([float(len(one.split())) for one in responses]))
    if spec == TRUTH:
        rule = read_quality_rule(workspace)
        community = dict(prompts.select("prompt", "subreddit").iter_rows())
        return _of_rewards(
            spec, lambda texts, responses: true_quality(rule, [community[one] for one in texts], texts, responses)
        )
    if not spec.startswith(RUN_PREFIX):
        raise CallError(
            f"Unknown judge {spec!r}.", "Use run:ID (see `lurker rm list`), truth in a simulation, or length."
        )
    run = load_trained(workspace, spec.removeprefix(RUN_PREFIX).strip())
    if run.config.train.with_delay:
        raise CallError(
            f"{spec} reads each response's delay, which a written one does not have.",
            "Judge by a run that was trained without with_delay.",
        )
    if run.config.train.reads == "both":
        return Judge(spec, _pair_reader(run), None, run)
    scorer = text_scorer(run.reward_model, run.config.train)
    return _of_rewards(spec, lambda texts, responses: np.array(score_texts(scorer, texts, responses)), run)


def require_no_leak(workspace: Workspace, judge: Judge, training: pl.DataFrame, evaluation: pl.DataFrame) -> None:
    """Refuse a judge that knows what it will be measured on, or whose own test would be trained on.

    Args:
        workspace: where the judge's pair sets are.
        judge: the judge.
        training: post_id and prompt of the prompts that the policy learns from.
        evaluation: the same of those that it is measured on.

    Raises:
        LurkerError: it read a prompt of the evaluation in training, or a training prompt is among its test pairs.
    """
    if judge.run is None:
        return
    run = judge.run
    is_new = is_unseen(run.folder / "model", run.config.model, evaluation)
    if n_seen := int((~is_new).sum()):
        raise LurkerError(
            f"{judge.name} was trained on {n_seen:,} of the {evaluation.height:,} prompts of the evaluation: it would "
            "be judged on what it has learned by heart.",
            "Take prompts of a pair set with the same split as the judge's: `--pairs NAME`.",
        )
    for name in run.config.test_pairs:
        test = read_pairs(workspace, name).filter(pl.col("split") == "test")
        posts, prompts = set(test["post_id"]), {prompt_key(prompt) for prompt in test["prompt"].unique()}
        rows = training.select("post_id", "prompt").iter_rows()
        if n_shared := sum(post in posts or prompt_key(prompt) in prompts for post, prompt in rows):
            raise LurkerError(
                f"{n_shared:,} training prompts are posts of {name} that {judge.name} is tested on: what the "
                "policy learns there would flatter every later test.",
                "Take prompts of a pair set with the same split as the judge's: `--pairs NAME`.",
            )


def describe_judge(judge: Judge, tokenizer: Any, training: pl.DataFrame) -> list[str]:
    """What is special about a judge for these prompts and this policy, in sentences.

    Args:
        judge: the judge.
        tokenizer: the policy's.
        training: post_id, prompt and subreddit of the prompts that the policy learns from.
    """
    if judge.run is None:
        return []
    said, run = [], judge.run
    if run.reward_model.tokenizer.get_vocab() != tokenizer.get_vocab():
        said.append(f"{judge.name} has other tokens than the writer: it reads responses as text.")
    known = {str(name).lower() for name in run.config.subreddits}
    if not known:
        known = {name.lower() for name in read_pairs(run.workspace, run.config.pairs)["subreddit"].unique()}
    if other := sorted(name for name in training["subreddit"].unique() if str(name).lower() not in known):
        said.append(f"{judge.name} was not trained on r/{', r/'.join(other)}, where it judges now.")
    n_read = int((~is_unseen(run.folder / "model", run.config.model, training)).sum())
    if n_read:
        said.append(f"{judge.name} was trained on {n_read:,} of the {training.height:,} training prompts.")
    return said


def _of_rewards(
    name: str, rewards: Callable[[Sequence[str], Sequence[str]], Floats], run: TrainedRun | None = None
) -> Judge:
    """A judge that reads one response."""

    def checked(prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        pairs = list(zip(prompts, responses, strict=True))
        distinct = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}  # policies repeat themselves
        values = rewards([prompt for prompt, _ in distinct], [response for _, response in distinct])
        return _finite(name, values)[[distinct[pair] for pair in pairs]]

    def log_odds(prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> Floats:
        return checked(prompts, firsts) - checked(prompts, seconds)

    return Judge(name, log_odds, checked, run)


def _pair_reader(run: TrainedRun) -> Callable[[Sequence[str], Sequence[str], Sequence[str]], Floats]:
    """Log-odds of a run that reads two responses, each pair in both orders."""
    config, tokenizer = run.config.train, run.reward_model.tokenizer
    scorer = run.reward_model.scorer(config.max_tokens)

    @torch.no_grad()
    def log_odds(prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> Floats:
        scorer.model.eval()
        parts = []
        for one, other in ((firsts, seconds), (seconds, firsts)):
            sequences = encode_both(tokenizer, prompts, one, other, config.max_tokens, config.max_prompt_tokens)
            parts.append(scorer(sequences, config.tokens_per_batch).cpu().numpy().astype(np.float64))
        return _finite(f"run:{run.run_id}", parts[0] - parts[1])

    return log_odds


def _finite(name: str, values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise LurkerError(
            f"{name} gave {int((~np.isfinite(values)).sum()):,} of {values.size:,} rewards that are not finite.",
            "Its weights are damaged, or its training diverged: train it again, or name another judge.",
        )
    return values


def _pairs_within(prompts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of all ordered pairs of responses to one prompt."""
    rows: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(number)
    pairs = [(one, other) for members in rows.values() for one in members for other in members if one != other]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return first, second
