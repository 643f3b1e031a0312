"""The simulator's quality of any text: what a simulated community would think of a response that it never saw.

For texts that the simulator drew, this is the quality of the table TRUTH. Others, such as a language model's, may lack
what every drawn text has, or repeat what no writer would repeat. Two rules cover them:

- What is missing costs one standard deviation of its part: a liked or disliked word, a turn between two such words
  ("a … yet … b"), the name of a subject.
- Faulty words count for nothing and cost `COST_OF_FAULTS` times their share of the text. These are words that the
  community never uses, words said more often than even the keenest writer would say them, taste words or names beyond
  what a text holds of them, what a text lacks to the shortest comment, and what it has beyond the longest one: a text
  that goes on where every writer has stopped is not rewarded for it. A long text of one liked word, said over and over,
  is therefore worse than good natural texts. In a short one no count tells: of five taste words the keenest
  writers of all do repeat one five times, once in millions of texts, and what they write is natural.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lurker.errors import CallError, LurkerError
from lurker.files import read_object, write_json
from lurker.workspace import Workspace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

COST_OF_FAULTS = 10.0
"""Standard deviations of quality that a text of faulty words alone loses."""
LEAST_PROBABILITY_OF_TASTE = 1e-6
"""Probability, for the keenest writer, below which a taste word's count in a text is not natural. Such writers are few,
so that hardly one drawn text in ten million is beyond it."""
LEAST_PROBABILITY = 1e-12
"""The same for a neutral word. It is lower because all writers use them alike, and there are hundreds."""
MOST_TASTE = 1.5
"""Taste words of a text above which the others are faults, times their natural number."""
_WORDS = re.compile(r"\w+|[^\w\s.,;:!?'\"()\-]+")
"""Words, and runs of symbols other than punctuation, which no simulated text has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityRule:
    """How the communities of a simulated Reddit judge a text; numbers are lists, so that the rule is JSON."""

    subreddits: list[str]
    taste_words: list[str]
    neutral_words: list[str]
    subjects: list[str]
    """words that name the subject of a post; empty where uptake plays no part"""
    turn: str
    """word that divides a phrase; empty where phrases play no part"""
    word_share: float
    phrase_share: float
    uptake_share: float
    taste_word_share: float
    """share of a text's words that carry taste"""
    subject_word_share: float
    """share of a text's words that name a subject"""
    min_words: int
    """words of the shortest comment"""
    max_words: int | None = None
    """words of the longest comment; None, as in the rule of an earlier Lurker: words beyond it are no faults"""
    weights: list[list[float]]
    """how much each taste word is liked, [subreddits, taste words]"""
    mean_weight: list[float]
    """of a written taste word, [subreddits]"""
    variance_between: list[float]
    """of a writer's mean weight, over writers, [subreddits]"""
    variance_within: list[float]
    """of a writer's words, [subreddits]"""
    largest_probability: list[list[float]]
    """of each taste word among the taste words of its keenest writer, then of each neutral word among the other words,
    [subreddits, taste words + neutral words]"""

    @property
    def words(self) -> list[str]:
        """Taste words, neutral words, subjects, the turn."""
        return [*self.taste_words, *self.neutral_words, *self.subjects, *([self.turn] if self.turn else [])]


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of n texts, one after the other."""

    text: Ints
    """index of each word's text, [words]"""
    token: Ints
    """index in the rule's words, -1 for an unknown word, [words]"""
    n_words: Ints
    """of each text, [n]"""


def true_quality(
    rule: QualityRule, subreddit: str | Sequence[str], prompts: Sequence[str], responses: Sequence[str]
) -> Floats:
    """Quality of each response to its prompt, in standard deviations of the community's comments.

    Args:
        rule: as returned by `read_quality_rule`.
        subreddit: community that judges, one for all or one per response, [n].
        prompts: title and body of each post, [n]; its subject is the subject named most, the first of equals.
        responses: any texts, [n].

    Returns:
        [n]. To a post that names no subject no text can respond better or worse: that part is then 0.

    Raises:
        CallError: the numbers of prompts and responses differ, or the simulation has no such community.
    """
    parts = quality_parts(rule, subreddit, prompts, responses)
    return np.asarray(sum(parts.values(), np.zeros(len(responses))), dtype=np.float64)


def quality_parts(
    rule: QualityRule, subreddit: str | Sequence[str], prompts: Sequence[str], responses: Sequence[str]
) -> dict[str, Floats]:
    """What the quality of each response is the sum of: words, phrases, uptake, and faults, which are never above 0.

    Arguments and errors are those of `true_quality`; each part is [n].
    """
    n = len(responses)
    names = [subreddit] * n if isinstance(subreddit, str) else list(subreddit)
    if not len(names) == len(prompts) == n:
        raise CallError(f"{len(names)} subreddits, {len(prompts)} prompts and {n} responses do not match.")
    community = _communities(rule, names)
    words, subject = _read(rule, responses), _subjects(rule, prompts)
    is_fault = _is_fault(rule, words, community) | _is_beyond(rule, words)
    n_missing = np.maximum(rule.min_words - words.n_words, 0)
    n_faults = np.bincount(words.text[is_fault], minlength=n) + n_missing
    sound = _Words(words.text[~is_fault], words.token[~is_fault], words.n_words)
    liked, phrases = _taste_parts(rule, sound, community)
    return {
        "words": np.sqrt(rule.word_share) * liked,
        "phrases": np.sqrt(rule.phrase_share) * phrases,
        "uptake": np.sqrt(rule.uptake_share) * _uptake(rule, sound, subject),
        "faults": -COST_OF_FAULTS * n_faults / np.maximum(words.n_words, rule.min_words),
    }


def write_quality_rule(rule: QualityRule, simulation: dict[str, Any], workspace: Workspace) -> None:
    """Store the rule in the workspace, with the configuration of the simulation it belongs to."""
    write_json({"simulation": simulation, "rule": asdict(rule)}, _path(workspace))


def read_quality_rule(workspace: Workspace) -> QualityRule:
    """The rule of the workspace's simulated Reddit.

    Raises:
        LurkerError: the workspace holds no simulation, or one of an earlier Lurker, which stored no rule.
    """
    path = _path(workspace)
    if not path.exists():
        raise LurkerError(
            f"{workspace.root} has no {path.name}: the quality of any text is known for a simulated Reddit only.",
            "For a simulation of an earlier Lurker, run `lurker ingest simulate` again with the same settings.",
        )
    return QualityRule(**read_object(path)["rule"])


def _path(workspace: Workspace) -> Path:
    return workspace.root / "truth" / "quality_rule.json"


def _communities(rule: QualityRule, names: Sequence[str]) -> Ints:
    """Index of each community, whose name may be in any case, [n]."""
    index = {name.lower(): number for number, name in enumerate(rule.subreddits)}
    if unknown := sorted({name for name in names if name.lower() not in index}):
        raise CallError(f"The simulation has no r/{unknown[0]}.", f"It has: r/{', r/'.join(rule.subreddits)}.")
    return np.array([index[name.lower()] for name in names], dtype=np.int64)


def _read(rule: QualityRule, texts: Sequence[str]) -> _Words:
    """The words of the texts."""
    number = {word: index for index, word in enumerate(rule.words)}
    found = [[number.get(word, -1) for word in _WORDS.findall(text.lower())] for text in texts]
    n_words = np.array([len(words) for words in found], dtype=np.int64)
    tokens = np.array([token for words in found for token in words], dtype=np.int64)
    return _Words(np.repeat(np.arange(len(texts)), n_words), tokens, n_words)


def _subjects(rule: QualityRule, prompts: Sequence[str]) -> Ints:
    """Token of the subject of each prompt, -1 for none, [n]."""
    first, known = len(rule.taste_words) + len(rule.neutral_words), set(rule.subjects)
    subjects = []
    for prompt in prompts:
        named = [word for word in _WORDS.findall(prompt.lower()) if word in known]
        subjects.append(first + rule.subjects.index(max(named, key=named.count)) if named else -1)
    return np.array(subjects, dtype=np.int64)


def _kinds(rule: QualityRule, token: Ints) -> tuple[Bools, Bools, Bools]:
    """Whether each word carries taste, names a subject, is the turn: [words] each."""
    n_taste, first_subject = len(rule.taste_words), len(rule.taste_words) + len(rule.neutral_words)
    turn = first_subject + len(rule.subjects)
    return (token >= 0) & (token < n_taste), (token >= first_subject) & (token < turn), token >= turn


def _is_fault(rule: QualityRule, words: _Words, community: Ints) -> Bools:
    """Whether each word is unknown to the community, or said more often than its keenest writer would, [words].

    The keenest writer says a word k times or more, among the n words of its kind in the text, with a binomial
    probability; the largest k that is probable enough is natural.
    """
    from scipy.stats import binom  # slow to import

    is_taste, is_name, is_turn = _kinds(rule, words.token)
    is_drawn = (words.token >= 0) & ~is_name & ~is_turn
    n_taste = np.bincount(words.text[is_taste], minlength=len(words.n_words))
    n_of_kind = np.where(is_taste, n_taste[words.text], (words.n_words - n_taste)[words.text])[is_drawn]
    probability = np.array(rule.largest_probability)[community[words.text[is_drawn]], words.token[is_drawn]]
    least = np.where(is_taste[is_drawn], LEAST_PROBABILITY_OF_TASTE, LEAST_PROBABILITY)
    limit = np.zeros(len(words.token), dtype=np.int64)
    limit[is_drawn] = np.where(probability > 0, np.maximum(binom.isf(least, n_of_kind, probability), 1), 0)
    limit[is_turn] = 1
    limit[is_name] = np.maximum(np.rint(rule.subject_word_share * words.n_words), 1)[words.text[is_name]]
    all_names = np.where(is_name, len(rule.words), words.token)
    natural_taste = np.maximum(np.rint(rule.taste_word_share * words.n_words), 2)
    is_repeated = _occurrence(words.text, all_names) > limit
    is_list = is_taste & (_occurrence(words.text, is_taste.astype(np.int64)) > (MOST_TASTE * natural_taste)[words.text])
    return np.asarray(is_repeated | is_list)


def _is_beyond(rule: QualityRule, words: _Words) -> Bools:
    """Whether each word stands where the longest comment has ended, [words]."""
    place = np.arange(len(words.text)) - (np.cumsum(words.n_words) - words.n_words)[words.text]
    return np.asarray(place >= (np.inf if rule.max_words is None else rule.max_words))


def _occurrence(text: Ints, token: Ints) -> Ints:
    """Whether a word stands in its text for the first (1), second (2) … time, [words]."""
    order = np.lexsort((token, text))
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (np.diff(text[order]) != 0) | (np.diff(token[order]) != 0)
    position = np.arange(len(order))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = 1 + position - np.maximum.accumulate(np.where(is_new, position, 0))
    return rank


def _taste_parts(rule: QualityRule, words: _Words, community: Ints) -> tuple[Floats, Floats]:
    """The parts that words and phrases have in quality, each standardised: [n] and [n]."""
    n = len(words.n_words)
    is_taste, _, is_turn = _kinds(rule, words.token)
    everywhere = _standard_mean(rule, words, community, is_taste)
    if not rule.phrase_share:
        return np.nan_to_num(everywhere, nan=-1.0), np.zeros(n)
    place = np.arange(len(words.token))
    turn_of = np.full(n, len(place))
    turn_of[words.text[is_turn]] = place[is_turn]
    is_after = place > turn_of[words.text]
    before = _standard_mean(rule, words, community, is_taste & ~is_after)
    after = _standard_mean(rule, words, community, is_taste & is_after)
    liked = np.where(np.isnan(before + after), everywhere, (after + before) / np.sqrt(2))
    return np.nan_to_num(liked, nan=-1.0), np.nan_to_num((after - before) / np.sqrt(2), nan=-1.0)


def _standard_mean(rule: QualityRule, words: _Words, community: Ints, is_chosen: Bools) -> Floats:
    """Mean weight of the chosen words of each text, standardised as that of a drawn text; NaN without one, [n]."""
    text, token = words.text[is_chosen], words.token[is_chosen]
    weight = np.array(rule.weights)[community[text], token]
    count = np.bincount(text, minlength=len(community)).astype(np.float64)
    count[count == 0] = np.nan
    mean = np.bincount(text, weight, minlength=len(community)) / count
    within, between = np.array(rule.variance_within)[community], np.array(rule.variance_between)[community]
    return np.asarray((mean - np.array(rule.mean_weight)[community]) / np.sqrt(between + within / count))


def _uptake(rule: QualityRule, words: _Words, subject: Ints) -> Floats:
    """Share of the post's subject among the subjects that each text names, standardised, [n]."""
    if not rule.uptake_share:
        return np.zeros(len(subject))
    _, is_name, _ = _kinds(rule, words.token)
    text = words.text[is_name]
    n_names = np.bincount(text, minlength=len(subject))
    is_own = words.token[is_name] == subject[text]
    share = np.bincount(text, is_own, minlength=len(subject)) / np.maximum(n_names, 1)
    taken_up = (share - 0.5) / np.sqrt((1 + 2 / np.maximum(n_names, 1)) / 12)
    return np.asarray(np.where(subject < 0, 0.0, taken_up))
