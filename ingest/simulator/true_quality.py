"""The rule by which a simulated Reddit judges any text, from its configuration."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ingest.simulator.communities import World, make_world
from ingest.simulator.config import SimulationConfig
from ingest.simulator.draws import Floats
from ingest.simulator.words import COMMON_WORDS, SUBJECT_WORDS, TASTE_WORDS, TOPIC_WORDS, TURN_WORD
from lurker.true_quality import QualityRule
from lurker.true_quality import true_quality as quality_by_rule


def true_quality(
    config: SimulationConfig, subreddit: str | Sequence[str], prompts: Sequence[str], responses: Sequence[str]
) -> Floats:
    """Quality of each response to its prompt in the Reddit of this configuration; see `lurker.true_quality`.

    Args:
        config: of the simulation.
        subreddit: community that judges, one for all or one per response, [n].
        prompts: title and body of each post, [n].
        responses: any texts, [n].

    Returns:
        In standard deviations of the community's comments, [n].
    """
    return quality_by_rule(_rule_of(config), subreddit, prompts, responses)


def quality_rule(world: World) -> QualityRule:
    """The rule of a world: its tastes, the frequencies of its words, and what quality is made of."""
    config = world.config
    n_taste = config.n_taste_words
    keenest = np.diff(world.tilt_cdf, axis=2, prepend=0.0).max(axis=1)
    neutral = np.diff(world.neutral_cdf, axis=1, prepend=0.0)
    return QualityRule(
        subreddits=list(world.subreddits),
        taste_words=list(TASTE_WORDS[:n_taste]),
        neutral_words=[*COMMON_WORDS, *TOPIC_WORDS],
        subjects=list(SUBJECT_WORDS[: config.n_subjects]) if config.uptake_share else [],
        turn=TURN_WORD if config.phrase_share else "",
        word_share=config.word_share,
        phrase_share=config.phrase_share,
        uptake_share=config.uptake_share,
        taste_word_share=config.taste_word_share,
        subject_word_share=config.subject_word_share,
        min_words=config.min_words,
        max_words=config.max_words,
        weights=world.weights.tolist(),
        mean_weight=world.mean_weight.tolist(),
        variance_between=world.variance_between.tolist(),
        variance_within=world.variance_within.tolist(),
        largest_probability=np.concatenate([keenest, neutral], axis=1).tolist(),
    )


@lru_cache(maxsize=4)
def _rule_of(config: SimulationConfig) -> QualityRule:
    return quality_rule(make_world(config))
