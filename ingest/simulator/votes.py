"""The votes on simulated comments: readers, then counts of votes, then what Reddit shows of them at each look.

Source: Muchnik, Aral & Taylor 2013, "Social Influence Bias: A Randomized Experiment", Science 341 (herding);
`Builder._is_controversial` in r2/r2/models/builder.py of https://github.com/reddit-archive/reddit.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.simulator.config import SimulationConfig
from ingest.simulator.draws import Floats, Ints

DELAY_SCALE_S = 600.0
MIN_VOTES = 7
CONTROVERSIAL_SHARES = (0.4, 0.6)
"""Share of upvotes from which, and up to which, a comment with at least MIN_VOTES votes is controversial."""
FIRST_LOOK_S = (3_600, 43_200)
"""Range of the time from a comment to its first look, seconds."""

Flags = NDArray[np.bool_]


def draw_votes(
    config: SimulationConfig,
    rng: np.random.Generator,
    chunk: int,
    thread: dict[str, Ints],
    texts: dict[str, Any],
    size: Ints,
    posts: pl.DataFrame,
) -> dict[str, Any]:
    """Readers, then votes: score = 1 + ups − downs, each gamma–Poisson with mean readers × rate(quality, length).

    Herding with fuzzing, contest mode and first looks have a generator each, so that none changes any other draw.

    Args:
        chunk: number of the thousand posts.
        thread: of the comments: post, delay_s, parent_index.
        texts: of the comments: quality, n_words.
        size: comments per post, shape [posts].
        posts: is_contest, whether a post is in contest mode, and is_hidden, whether scores are hidden at first.

    Returns:
        log_exposure, expected_score, log_herding, fuzz, score; ups and downs, the true counts without the author's own
        upvote; is_controversial; net_vote_rate, see TRUTH; is_contest and is_hidden; and of the first look, null if
        there is none: first_score, first_is_controversial, first_look_s (seconds after the comment).
    """
    quality = texts["quality"]
    is_contest, is_hidden = (posts[name].to_numpy()[thread["post"]] for name in ("is_contest", "is_hidden"))
    log_votes_per_reader = config.length_effect * np.log(texts["n_words"] / config.median_words)

    def expected(log_readers: Floats) -> tuple[Floats, Floats]:
        ups = config.up_rate * np.exp(log_readers + log_votes_per_reader + config.quality_effect * quality)
        downs = config.down_rate * np.exp(log_readers + log_votes_per_reader - config.quality_effect * quality)
        return ups, downs

    exposure = log_exposure(config, thread, size, config.delay_effect)
    ups, downs = expected(exposure)
    noise = rng.gamma(config.vote_spread, 1 / config.vote_spread, (2, len(quality)))
    drawn_ups, drawn_downs = rng.poisson(ups * noise[0]), rng.poisson(downs * noise[1])
    log_herding, early = np.zeros(len(quality)), None
    crowd_rng = np.random.default_rng([config.seed, 2, chunk])
    if config.herding_effect:
        led_ups, early, log_herding = herd(config, crowd_rng, ups, noise[0], drawn_ups)
        drawn_ups = np.where(is_hidden, drawn_ups, led_ups)
        log_herding = np.where(is_hidden, 0.0, log_herding)
    if is_contest.any():
        lot_rng = np.random.default_rng([config.seed, 5, chunk])
        exposure = np.where(is_contest, log_exposure(config, thread, size, config.contest_delay_effect), exposure)
        ups, downs = expected(exposure)
        drawn_ups = np.where(is_contest, lot_rng.poisson(ups * noise[0]), drawn_ups)
        drawn_downs = np.where(is_contest, lot_rng.poisson(downs * noise[1]), drawn_downs)
        log_herding = np.where(is_contest, 0.0, log_herding)
    score = 1 + drawn_ups - drawn_downs
    fuzz = draw_fuzz(config, crowd_rng, score)
    late_share = 1 - config.early_share
    rate_of_ups = ups * noise[0] * (config.early_share + late_share * np.exp(log_herding))
    follows = None if early is None else (early, ~is_contest & ~is_hidden)
    return {
        "log_exposure": exposure,
        "expected_score": 1 + ups - downs,
        "log_herding": log_herding,
        "fuzz": fuzz,
        "score": score + fuzz,
        "ups": drawn_ups,
        "downs": drawn_downs,
        "is_controversial": is_controversial(drawn_ups, drawn_downs),
        "net_vote_rate": 1 + rate_of_ups - downs * noise[1],
        "is_contest": is_contest,
        "is_hidden": is_hidden,
        **_first_looks(config, np.random.default_rng([config.seed, 6, chunk]), drawn_ups, drawn_downs, follows),
    }


def log_exposure(config: SimulationConfig, thread: dict[str, Ints], size: Ints, delay_effect: float) -> Floats:
    """Log of the number of readers of each comment, shape [comments]; arguments as of `draw_votes`."""
    exposure: Floats = (
        np.log(config.readers)
        + config.size_effect * np.log(size[thread["post"]] / config.median_comments)
        - delay_effect * np.log1p(thread["delay_s"] / DELAY_SCALE_S)
        - config.reply_effect * (thread["parent_index"] >= 0)
    )
    return exposure


def herd(
    config: SimulationConfig, rng: np.random.Generator, ups: Floats, noise: Floats, drawn_ups: Ints
) -> tuple[Ints, Ints, Floats]:
    """Upvotes when later readers follow the early ones.

    Args:
        ups: expected upvotes.
        noise: gamma noise on them.
        drawn_ups: Poisson(ups × noise) counts without herding; a binomial share of them is a Poisson count too.

    Returns:
        Upvotes with herding, the early ones among them, and the log of the factor on later votes.
    """
    early = rng.binomial(drawn_ups, config.early_share)
    log_herding = config.herding_effect * np.log((1 + early) / (1 + config.early_share * ups))
    late = rng.poisson((1 - config.early_share) * ups * noise * np.exp(log_herding))
    return early + late, early, log_herding


def draw_fuzz(config: SimulationConfig, rng: np.random.Generator, score: Ints) -> Ints:
    """Votes that Reddit adds to each score when it shows it; a new draw at each look."""
    spread = config.vote_fuzzing * np.sqrt(1 + np.abs(score))
    fuzz: Ints = np.rint(spread * rng.standard_normal(len(score))).astype(np.int64)
    return fuzz


def is_controversial(ups: Ints, downs: Ints) -> Flags:
    """Reddit's mark, from true counts: at least 7 votes, 40–60 % of them up.

    Args:
        ups: upvotes without the author's own, which is counted too.
        downs: downvotes.
    """
    n_votes = ups + 1 + downs
    low, high = CONTROVERSIAL_SHARES
    share = (ups + 1) / n_votes
    flags: Flags = (n_votes >= MIN_VOTES) & (low <= share) & (share <= high)
    return flags


def _first_looks(
    config: SimulationConfig,
    rng: np.random.Generator,
    ups: Ints,
    downs: Ints,
    follows: tuple[Ints, Flags] | None,
) -> dict[str, Any]:
    """What a first look shows: first_score, first_is_controversial and first_look_s, each of shape [comments].

    Each vote is among the first ones with the probability `first_look_share`; where there is herding, the early
    voters come before those who follow them.

    Args:
        follows: early upvotes, and whether later readers follow them; None without herding.
    """
    share, n_comments = config.first_look_share, len(ups)
    if not share:
        nothing = {"first_score": pl.Int64, "first_is_controversial": pl.Boolean, "first_look_s": pl.Int64}
        return {name: pl.Series([None] * n_comments, dtype=dtype) for name, dtype in nothing.items()}
    first_ups, first_downs = rng.binomial(ups, share), rng.binomial(downs, share)
    if follows is not None:
        early, is_herd = follows
        if share <= config.early_share:
            in_order = rng.binomial(early, share / config.early_share)
        else:
            # In contest mode there may be fewer votes than early ones; those rows are not used.
            late = np.maximum(ups - early, 0)
            in_order = early + rng.binomial(late, (share - config.early_share) / (1 - config.early_share))
        first_ups = np.where(is_herd, in_order, first_ups)
    first_score = 1 + first_ups - first_downs
    return {
        "first_score": first_score + draw_fuzz(config, rng, first_score),
        "first_is_controversial": is_controversial(first_ups, first_downs),
        "first_look_s": rng.integers(*FIRST_LOOK_S, n_comments),
    }
