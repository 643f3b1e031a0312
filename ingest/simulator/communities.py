"""The communities of a simulated Reddit: what each likes, and the words it uses."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import ndtri

from ingest.simulator.config import SUBREDDIT_NAMES, SimulationConfig
from ingest.simulator.draws import Floats, cumulative
from ingest.simulator.words import COMMON_WORDS, SUBJECT_WORDS, TASTE_WORDS, TOPIC_WORDS, TURN_WORD
from lurker.schema import TASTES

N_TILTS = 41
"""Kinds of writers, from those who use disliked words most to those who use liked words most."""


@dataclass(frozen=True, slots=True)
class World:
    """The communities: their tastes and their use of words."""

    config: SimulationConfig
    weights: Floats
    """How much a word is liked, [subreddits, taste words]; mean 0 and variance 1 over words."""
    tilt_cdf: Floats
    """Cumulative probabilities of taste words per tilt of a writer, [subreddits, N_TILTS, taste words]."""
    mean_weight: Floats
    """Mean weight of a written taste word, [subreddits]."""
    variance_between: Floats
    """Variance of that mean between tilts, [subreddits]."""
    variance_within: Floats
    """Mean variance of the weight within tilts, [subreddits]."""
    neutral_cdf: Floats
    """Cumulative probabilities of neutral words, [subreddits, neutral words]."""

    @property
    def words(self) -> tuple[str, ...]:
        """Taste words, neutral words, subjects, the turn; tokens are indices into them."""
        return (*TASTE_WORDS[: self.config.n_taste_words], *COMMON_WORDS, *TOPIC_WORDS, *SUBJECT_WORDS, TURN_WORD)

    @property
    def first_subject(self) -> int:
        """Token of the first subject."""
        return self.config.n_taste_words + len(COMMON_WORDS) + len(TOPIC_WORDS)

    @property
    def turn(self) -> int:
        """Token of the word that divides a phrase."""
        return self.first_subject + len(SUBJECT_WORDS)

    @property
    def subreddits(self) -> tuple[str, ...]:
        """Names of the communities."""
        return SUBREDDIT_NAMES[: self.config.n_subreddits]


def make_world(config: SimulationConfig) -> World:
    """Draw the tastes and word frequencies of the communities."""
    rng = np.random.default_rng([config.seed, 0])
    weights = draw_tastes(config, rng)
    tilts = ndtri((np.arange(N_TILTS) + 0.5) / N_TILTS)
    odds = np.exp(config.taste_tilt * tilts[None, :, None] * weights[:, None, :])
    probabilities = odds / odds.sum(axis=2, keepdims=True)
    means = (probabilities * weights[:, None, :]).sum(axis=2)
    squares = (probabilities * weights[:, None, :] ** 2).sum(axis=2)
    n_common, n_topic = len(COMMON_WORDS), len(TOPIC_WORDS)
    common = 1 / (np.arange(n_common) + 3.0)
    topic = 1 / (np.arange(n_topic) + 3.0)
    neutral = np.stack(
        [np.concatenate([common / common.sum(), 0.6 * rng.permutation(topic) / topic.sum()]) for _ in weights]
    )
    return World(
        config=config,
        weights=weights,
        tilt_cdf=cumulative(probabilities),
        mean_weight=means.mean(axis=1),
        variance_between=means.var(axis=1),
        variance_within=(squares - means**2).mean(axis=1),
        neutral_cdf=cumulative(neutral),
    )


def draw_tastes(config: SimulationConfig, rng: np.random.Generator) -> Floats:
    """Weights of the taste words, [subreddits, words]; their correlations are exactly those of `taste_layout`."""
    raw = rng.standard_normal((config.n_taste_words, config.n_subreddits + 1))
    basis = np.linalg.qr(raw - raw.mean(axis=0))[0] * np.sqrt(config.n_taste_words)
    rho = config.taste_shared
    if config.taste_layout == "chain":
        places = np.arange(config.n_subreddits)
        chained: Floats = _root(rho ** np.abs(places[:, None] - places)) @ basis[:, 1:].T
        return chained
    weights: Floats = (np.sqrt(rho) * basis[:, :1] + np.sqrt(1 - rho) * basis[:, 1:]).T
    return weights


def _root(correlations: Floats) -> Floats:
    """A square root of a correlation matrix, which may be singular, [subreddits, subreddits]."""
    values, vectors = np.linalg.eigh(correlations)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None)))


def tastes(world: World) -> pl.DataFrame:
    """The true weights as the table TASTES."""
    rows = [
        (name, word, float(weight))
        for name, row in zip(world.subreddits, world.weights, strict=True)
        for word, weight in zip(world.words, row, strict=False)
    ]
    return pl.DataFrame(rows, schema=TASTES.schema, orient="row").sort(TASTES.key)
