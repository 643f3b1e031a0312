"""What a run makes of one's own texts: the one thing that a page computes, by the command `lurker rm score`."""

import json
import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from dashboard import queries
from dashboard.pair_index import spread_rows
from dashboard.pairs import PairFilter, find_pairs
from dashboard.queries import FileVersion
from lurker.cli import app
from lurker.decimals import percent
from lurker.next_commands import one_call
from lurker.pairwise import TextReward, fit_tfidf
from lurker.workspace import Workspace

N_REFERENCES = 200
"""Responses of the community that are scored beside the reader's own."""
N_KNOWN = 4_000
"""Responses whose words count as known."""
MOST_FITTED = 4_000
"""Pairs that TF-IDF is fitted on at most: a few seconds."""
DELAY_S = 3_600
"""Delay that a run which reads it is given."""
UNLIKE = 0.99
"""Share of the community's responses that are more alike than one that is warned about."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Scored:
    """Rewards of the reader's answers and of a sample of the community's responses."""

    rewards: list[float]
    reference_rewards: list[float]

    def percentile(self, reward: float) -> float:
        """Share of the community's sampled responses with a lower reward, ties counting half."""
        references = np.asarray(self.reference_rewards)
        return float((references < reward).mean() + (references == reward).mean() / 2)


@dataclass(frozen=True, slots=True)
class References:
    """Responses of one community."""

    prompts: list[str]
    responses: list[str]
    known_words: frozenset[str]
    unseen_limit: float
    """share of unseen words that UNLIKE of its responses stay below"""
    shortest: float
    longest: float
    """characters between which UNLIKE of them lie"""

    def warnings(self, answer: str) -> list[str]:
        """Why an answer is unlike the community's responses; none if it is not."""
        found = []
        if not self.shortest <= len(answer) <= self.longest:
            found.append(f"{len(answer):,} characters, while most have {self.shortest:,.0f} to {self.longest:,.0f}")
        if (share := unseen_share(answer, self.known_words)) > self.unseen_limit:
            found.append(f"{percent(share)} of its words do not occur in {N_KNOWN:,} responses of the community")
        return found


@lru_cache(maxsize=8)
def references(file: FileVersion, subreddit: str) -> References:
    """A fixed sample of a community's responses, those of test pairs first, and what is usual among them."""
    n_pairs = (N_REFERENCES + N_KNOWN) // 2
    of_test, of_all = (find_pairs(file, PairFilter(subreddit=subreddit, split=split)) for split in ("test", None))
    drawn = spread_rows(np.sort(of_test), n_pairs)
    more = spread_rows(np.setdiff1d(of_all, of_test), n_pairs - len(drawn))
    parts = [queries.pairs_at(file, rows).sample(fraction=1.0, shuffle=True, seed=0) for rows in (drawn, more)]
    pairs = pl.concat(parts)
    responses = pairs.select("prompt", response=pl.concat_list("chosen", "rejected")).explode("response")
    rows = responses.filter(pl.col("response") != "").unique("response", keep="first", maintain_order=True)
    compared, others = rows.head(N_REFERENCES), rows.tail(max(0, rows.height - N_REFERENCES))
    known = frozenset(word for text in (others if others.height else rows)["response"] for word in words(text))
    unseen = [unseen_share(text, known) for text in compared["response"]] or [1.0]
    lengths = rows["response"].str.len_chars().to_numpy() if rows.height else np.array([0, 1e9])
    shortest, longest = np.quantile(lengths, ((1 - UNLIKE) / 2, (1 + UNLIKE) / 2))
    return References(
        compared["prompt"].to_list(),
        compared["response"].to_list(),
        known,
        float(np.quantile(unseen, UNLIKE)),
        float(shortest),
        float(longest),
    )


@dataclass(frozen=True, slots=True)
class TextBaseline:
    """TF-IDF, fitted on pairs that a run may have been trained on."""

    reward: TextReward
    n_pairs: int


@lru_cache(maxsize=4)
def tfidf(file: FileVersion, subreddits: tuple[str, ...], n_pairs: int) -> TextBaseline | None:
    """TF-IDF fitted on training pairs of a set; None where a split is empty or no word occurs twice.

    Args:
        file: the pair set that the run was trained on.
        subreddits: its communities.
        n_pairs: pairs that the run was trained on; at most MOST_FITTED of them are drawn.
    """
    fitted = []
    for split, n in (("train", min(n_pairs, MOST_FITTED)), ("validation", MOST_FITTED // 4)):
        found = [find_pairs(file, PairFilter(subreddit=name, split=split)) for name in subreddits]
        rows = spread_rows(np.sort(np.concatenate(found)), n)
        if not rows:
            return None
        fitted.append(queries.pairs_at(file, rows))
    training, validation = fitted
    reward = fit_tfidf(training, validation)
    return None if reward is None else TextBaseline(reward, training.height)


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def unseen_share(text: str, known: frozenset[str]) -> float:
    """Share of a text's words that are not known; 0 without a word."""
    found = words(text)
    return sum(word not in known for word in found) / len(found) if found else 0.0


def score(workspace: Workspace, run: str, prompt: str, answers: Sequence[str], sample: References) -> Scored:
    """The rewards of answers to a prompt and of the community's sample, by `lurker rm score`.

    Raises:
        LurkerError: the run cannot score single responses, or its files are damaged.
    """
    prompts, responses = [prompt] * len(answers) + sample.prompts, [*answers, *sample.responses]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "texts.jsonl", Path(folder) / "scored.jsonl"
        rows = (
            {"prompt": one, "response": two, "delay_s": DELAY_S} for one, two in zip(prompts, responses, strict=True)
        )
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        line = ["--workspace", str(workspace.root), "rm", "score", run, str(source), "--out", str(target), "--json"]
        with one_call():  # later messages do not name its workspace
            app(line, standalone_mode=False)
        rewards = [float(json.loads(text)["reward"]) for text in target.read_text(encoding="utf-8").splitlines()]
    return Scored(rewards[: len(answers)], rewards[len(answers) :])


def beats(first: float, second: float) -> float:
    """P(the first is liked more), of two rewards in log-odds.

    Source:
        Bradley & Terry 1952.
    """
    return 1 / (1 + math.exp(-(first - second)))
