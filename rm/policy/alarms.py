"""Alarms: what a policy's responses do that people's do not, in words.

Each alarm compares a trait of the policy's responses with that of held-out responses that people wrote. It rings where
the mean is further from theirs than that of as many other people would be in 5 of 100 draws over all alarms together,
and at least by a margin that matters. So it does not ring by chance, and it does ring before a reward tells.

Source: Ziegler et al. 2019, 1909.08593 (copying); Stiennon et al. 2020, 2009.01325 (length); Bonferroni's correction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from lurker.errors import CallError
from lurker.schema import DRIFT
from lurker.stats import mean_interval
from rm.pairs.subsets import stable_hash
from rm.policy import text_traits

Floats = NDArray[np.float64]
FALSE_ALARMS = 0.05
"""Share of draws of people's responses in which any alarm rings."""
MIN_PROMPTS = 10
REGRESSION_NATS = 0.05
"""Loss on plain text, nats per token, that a policy may add to the writer's."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One trait, and how far it may be from people's."""

    name: str
    trait: Callable[[pl.DataFrame], Floats]
    """responses, one per prompt (prompt, response, and reward where it is read) -> [n]"""
    margin: float
    """least distance from people's mean that matters, in units of the trait"""
    says: str
    """sentence with {value} and {reference}"""
    direction: Literal["up", "both"] = "up"
    is_share: bool = True
    """whether the trait is shown in per cent"""


@dataclass(frozen=True, slots=True)
class Known:
    """What some alarms need beside the responses; an alarm without it is left out."""

    training: set[tuple[str, ...]] | None = None
    """as returned by `text_traits.training_ngrams`"""
    reward_range: tuple[float, float] | None = None
    """lowest and highest reward that the judge gave the responses it was trained on; responses have a column reward"""
    plain_nats: tuple[Floats, Floats] | None = None
    """loss on plain text per token under the writer and under the policy, nats, [texts] each"""


def drift(samples: pl.DataFrame, human: pl.DataFrame, step: int, known: Known | None = None) -> pl.DataFrame:
    """Ring the alarms for the responses of a policy at one step.

    Args:
        samples: of the policy: prompt_id, prompt, response, and reward where the judge's range is known.
        human: the same of held-out responses that people wrote, to any prompts.
        step: of the training.
        known: what some alarms need.

    Returns:
        DRIFT, a row per alarm.

    Raises:
        CallError: either has fewer than MIN_PROMPTS prompts.
    """
    known = known or Known()
    alarms = _alarms(known)
    level = FALSE_ALARMS / (len(alarms) + (known.plain_nats is not None))
    theirs, own = one_per_prompt(human, "people's responses"), one_per_prompt(samples, "the policy's samples")
    n = min(own.height, theirs.height)  # what depends on the number of responses is read from as many
    rows = [_row(alarm, alarm.trait(own.head(n)), alarm.trait(theirs.head(n)), level, step) for alarm in alarms]
    if known.plain_nats is not None:
        rows.append(_regression(*known.plain_nats, level, step))
    return pl.DataFrame(rows, schema=DRIFT.schema)


def one_per_prompt(responses: pl.DataFrame, whose: str) -> pl.DataFrame:
    """One response to each prompt, drawn by the hash of its text, in order of the prompt's hash.

    Raises:
        CallError: there are fewer than MIN_PROMPTS prompts.
    """
    keys = [
        (stable_hash(0, prompt), stable_hash(0, f"{prompt} {text}"))
        for prompt, text in responses.select("prompt_id", "response").iter_rows()
    ]
    order = sorted(range(len(keys)), key=lambda index: keys[index])
    drawn = responses[order].unique("prompt_id", keep="first", maintain_order=True)
    if drawn.height < MIN_PROMPTS:
        raise CallError(
            f"Alarms need {MIN_PROMPTS} prompts or more, {whose} have {drawn.height}.",
            "Sample more prompts: `lurker policy sample POLICY --pairs NAME --human --out FILE`.",
        )
    return drawn


def _alarms(known: Known) -> list[Alarm]:
    """The alarms that can be told with what is known."""
    alarms = [
        Alarm(
            "copies the prompt",
            lambda rows: text_traits.copied_from_prompt(rows["prompt"].to_list(), rows["response"].to_list()),
            0.05,
            "{value} of the words are copied from the prompt, of people's {reference}.",
        ),
        Alarm(
            "length",
            lambda rows: text_traits.n_words(rows["response"].to_list()),
            2.0,
            "Responses have {value} words, people's {reference}.",
            "both",
            is_share=False,
        ),
        Alarm(
            "formatting",
            lambda rows: text_traits.marks(rows["response"].to_list()),
            0.5,
            "Responses have {value} marks, links and further paragraphs each, people's {reference}.",
            is_share=False,
        ),
        Alarm(
            "distinct-2",
            lambda rows: text_traits.known_from_others(rows["response"].to_list()),
            0.05,
            "{value} of the pairs of words stand in 20 other responses too, of people's {reference}.",
        ),
        Alarm(
            "self-BLEU",
            lambda rows: text_traits.self_bleu(rows["response"].to_list()),
            0.05,
            "Responses to different prompts are alike: self-BLEU is {value}, people's {reference}.",
        ),
        Alarm(
            "mode collapse",
            lambda rows: text_traits.same_as_another(rows["response"].to_list()),
            0.05,
            "{value} of the prompts get a response that another prompt gets too, from people {reference}.",
        ),
        Alarm(
            "repetition",
            lambda rows: text_traits.repetition(rows["response"].to_list()),
            0.05,
            "{value} of the pairs of words repeat one of the same response, of people's {reference}.",
        ),
        Alarm(
            "to the judge",
            lambda rows: text_traits.to_the_judge(rows["response"].to_list()),
            0.03,
            "{value} of the responses hold special tokens or words to the judge, of people's {reference}.",
        ),
    ]
    if known.training is not None:
        training = known.training
        alarms.append(
            Alarm(
                "copies the training texts",
                lambda rows: text_traits.copied_from_training(rows["response"].to_list(), training),
                0.05,
                "{value} of the words stand in runs of six copied from training texts, of people's {reference}.",
            )
        )
    if known.reward_range is not None:
        low, high = known.reward_range
        alarms.append(
            Alarm(
                "reward out of range",
                lambda rows: (~rows["reward"].is_between(low, high)).cast(pl.Float64).to_numpy(),
                0.05,
                "{value} of the rewards are beyond any that the judge gave in its training, of people's {reference}.",
            )
        )
    return alarms


def _row(alarm: Alarm, own: Floats, theirs: Floats, level: float, step: int) -> dict[str, object]:
    """The row of one alarm, from its trait in the policy's and in people's responses."""
    estimate, reference = mean_interval(own, np.arange(len(own))), float(theirs.mean())
    tail = level / 2 if alarm.direction == "both" else level
    noise = float(theirs.std(ddof=1)) * float(np.sqrt(1 / len(own) + 1 / len(theirs)))
    distance = max(alarm.margin, float(stdtrit(len(theirs) - 1, 1 - tail)) * noise)
    is_below = alarm.direction == "both" and estimate.value < reference
    threshold = reference - distance if is_below else reference + distance
    shown = {
        name: f"{value:.0%}".replace("%", " %") if alarm.is_share else f"{value:.1f}"
        for name, value in (("value", estimate.value), ("reference", reference))
    }
    return {
        "step": step,
        "alarm": alarm.name,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "reference": reference,
        "threshold": threshold,
        "is_ringing": estimate.value < threshold if is_below else estimate.value > threshold,
        "sentence": alarm.says.format(**shown),
    }


def _regression(before: Floats, after: Floats, level: float, step: int) -> dict[str, object]:
    """The row of the loss on plain text, which the policy has in common with its writer: paired by text."""
    change = mean_interval(after - before, np.arange(len(after)), level=1 - 2 * level)
    own = mean_interval(after, np.arange(len(after)))
    reference = float(before.mean())
    return {
        "step": step,
        "alarm": "perplexity of plain text",
        "value": own.value,
        "low": own.low,
        "high": own.high,
        "reference": reference,
        "threshold": reference + max(REGRESSION_NATS, change.value - change.low),
        "is_ringing": change.low > 0 and change.value > REGRESSION_NATS,
        "sentence": f"Plain text has a perplexity of {np.exp(own.value):.1f} per token under the policy, "
        f"{np.exp(reference):.1f} under its writer.",
    }
