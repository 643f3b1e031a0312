"""A Reddit with a known truth: threads whose scores arise from taste, readers and chance.

Each comment's words determine its quality: about a third of them are words that its community likes or dislikes with
known weights, and quality is the standardised mean of those weights, so it depends on the text but not on its length.
Large threads have more readers, and their number falls with time, so an early comment has more of them. A reader's vote
depends on quality, and a little on length; votes are overdispersed counts. Optionally, later readers follow the visible
score (herding), and Reddit's noise is added to visible scores (fuzzing). Communities share a known part of their taste,
so transfer between communities has a known answer.

Source: Muchnik, Aral & Taylor 2013, "Social Influence Bias: A Randomized Experiment", Science 341 (herding).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ingest.simulator.config import SUBREDDIT_NAMES, SimulationConfig
from ingest.simulator.draws import Floats, Ints, cumulative, draw_authors, draw_columns, index_in_group, log_normal
from ingest.simulator.words import COMMON_WORDS, TASTE_WORDS, TOPIC_WORDS
from lurker.schema import TASTES

POSTS_PER_CHUNK = 1_000
FIRST_POST_UTC = 1_577_836_800  # 2020-01-01
N_TILTS = 41
COMMENTS_PER_CHUNK = 1 << 20
SENTENCE_WORDS = 10
DELAY_SCALE_S = 600.0
STICKY_TEXT = "Welcome. Please read the rules of this community before you answer."


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
        """Taste words, then neutral words; tokens are indices into them."""
        return (*TASTE_WORDS[: self.config.n_taste_words], *COMMON_WORDS, *TOPIC_WORDS)

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
    """Weights of the taste words, [subreddits, words]; the correlation of any two rows is exactly `taste_shared`."""
    raw = rng.standard_normal((config.n_taste_words, config.n_subreddits + 1))
    basis = np.linalg.qr(raw - raw.mean(axis=0))[0] * np.sqrt(config.n_taste_words)
    rho = config.taste_shared
    weights: Floats = (np.sqrt(rho) * basis[:, :1] + np.sqrt(1 - rho) * basis[:, 1:]).T
    return weights


def tastes(world: World) -> pl.DataFrame:
    """The true weights as the table TASTES."""
    rows = [
        (name, word, float(weight))
        for name, row in zip(world.subreddits, world.weights, strict=True)
        for word, weight in zip(world.words, row, strict=False)
    ]
    return pl.DataFrame(rows, schema=TASTES.schema, orient="row").sort(TASTES.key)


def simulate(config: SimulationConfig) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield (posts, comments) for a thousand posts at a time.

    Columns of posts: post (row number), post_number, subreddit, created_utc, title, body, score, upvote_ratio,
    n_comments, is_nsfw, author.

    Columns of comments, sorted by time: comment_number, post, thread_index, parent_index (thread_index of the parent
    comment, -1 for the post), subreddit, created_utc, delay_s, n_words, body, quality, log_exposure, expected_score,
    log_herding, fuzz, score, author ("[deleted]" if deleted), is_by_op, is_edited, removal ("", deleted or removed),
    is_sticky.
    """
    world = make_world(config)
    for chunk in range(-(-config.n_posts // POSTS_PER_CHUNK)):
        posts, comments = simulate_chunk(world, chunk)
        n_posts = min(POSTS_PER_CHUNK, config.n_posts - chunk * POSTS_PER_CHUNK)
        yield posts.head(n_posts), comments.filter(pl.col("post") < n_posts)


def simulate_chunk(world: World, chunk: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A thousand posts and their comments; they depend on the config and the chunk's number only."""
    config = world.config
    rng = np.random.default_rng([config.seed, 1, chunk])
    number = chunk * POSTS_PER_CHUNK + np.arange(POSTS_PER_CHUNK)
    size = log_normal(rng, POSTS_PER_CHUNK, config.median_comments, config.comments_sigma, 0, config.max_comments)
    posts = _draw_posts(world, rng, number, size)
    thread = _draw_threads(config, rng, posts, size)
    texts = _draw_texts(world, rng, thread["community"])
    votes = _draw_votes(config, rng, np.random.default_rng([config.seed, 2, chunk]), thread, texts, size)
    quality = np.asarray(texts["quality"], dtype=np.float64)
    comments = pl.DataFrame(
        {**thread, **texts, **votes, **_draw_authors_and_deletions(config, rng, posts, thread, quality)}
    )
    comments = _with_stickies(config, rng, posts, comments)
    names = pl.Series(world.subreddits)
    comments = comments.sort("created_utc", "post", "thread_index").with_columns(
        comment_number=pl.int_range(pl.len()) + chunk * COMMENTS_PER_CHUNK,
        subreddit=pl.lit(names).gather(pl.col("community")),
    )
    counts = np.bincount(comments["post"], minlength=POSTS_PER_CHUNK)
    return posts.with_columns(subreddit=names.gather(posts["community"]), n_comments=counts), comments


def _draw_posts(world: World, rng: np.random.Generator, number: Ints, size: Ints) -> pl.DataFrame:
    config = world.config
    n_posts = len(number)
    community = number % config.n_subreddits
    heat = rng.gamma(config.vote_spread, 1 / config.vote_spread, n_posts)
    return pl.DataFrame(
        {
            "post": np.arange(n_posts),
            "post_number": number,
            "community": community,
            "created_utc": FIRST_POST_UTC
            + number * config.seconds_between_posts
            + rng.integers(0, config.seconds_between_posts, n_posts),
            "title": _neutral_texts(world, rng, community, rng.integers(5, 9, n_posts)),
            "body": _neutral_texts(world, rng, community, rng.integers(10, 26, n_posts)),
            "score": 1 + rng.poisson(heat * 2 * size),
            "upvote_ratio": np.round(rng.uniform(0.6, 1.0, n_posts), 2),
            "is_nsfw": rng.random(n_posts) < config.nsfw_share,
            "author": draw_authors(rng, n_posts),
        }
    )


def _draw_threads(
    config: SimulationConfig, rng: np.random.Generator, posts: pl.DataFrame, size: Ints
) -> dict[str, Ints]:
    """Times and parents: comments sorted by post and time, each a reply to the post or to an earlier comment."""
    post = np.repeat(np.arange(len(size)), size)
    n_comments = len(post)
    latest = ndtr(np.log(config.max_delay_s / config.median_delay_s) / max(config.delay_sigma, 1e-9))
    normal = ndtri(np.clip(rng.random(n_comments) * latest, 1e-12, 1 - 1e-12))
    delay = 1 + (config.median_delay_s * np.exp(config.delay_sigma * normal)).astype(np.int64)
    delay = delay[np.lexsort((delay, post))]
    thread_index = index_in_group(size)
    is_reply = (rng.random(n_comments) < config.reply_share) & (thread_index > 0)
    parent_index = (rng.random(n_comments) * thread_index).astype(np.int64)
    return {
        "post": post,
        "community": posts["community"].to_numpy()[post],
        "thread_index": thread_index,
        "parent_index": np.where(is_reply, parent_index, -1),
        "delay_s": delay,
        "created_utc": posts["created_utc"].to_numpy()[post] + delay,
    }


def _draw_texts(world: World, rng: np.random.Generator, community: Ints) -> dict[str, Any]:
    """Comments of random length whose taste words determine their quality.

    quality = (mean weight of the taste words − its expectation) / its standard deviation for that number of taste
    words, both known from the world: about standard normal whatever the length, and a function of the words only.
    """
    config = world.config
    n_comments = len(community)
    n_words = log_normal(rng, n_comments, config.median_words, config.words_sigma, config.min_words, config.max_words)
    n_taste = np.maximum(1, np.rint(config.taste_word_share * n_words).astype(np.int64))
    tilt = rng.integers(0, N_TILTS, n_comments)
    phase = (rng.random(n_comments) * n_words).astype(np.int64)

    comment = np.repeat(np.arange(n_comments), n_words)
    step = index_in_group(n_words) * n_taste[comment] + phase[comment]
    # n_taste words of each comment, evenly spread
    is_taste = (step + n_taste[comment]) // n_words[comment] > step // n_words[comment]
    taste_comment, neutral_comment = comment[is_taste], comment[~is_taste]
    tokens = np.empty(len(comment), dtype=np.int64)
    taste_rows = community[taste_comment] * N_TILTS + tilt[taste_comment]
    tokens[is_taste] = draw_columns(rng, world.tilt_cdf.reshape(-1, config.n_taste_words), taste_rows)
    tokens[~is_taste] = config.n_taste_words + draw_columns(rng, world.neutral_cdf, community[neutral_comment])

    weight = world.weights[community[taste_comment], tokens[is_taste]]
    mean_weight = np.bincount(taste_comment, weight, minlength=n_comments) / n_taste
    spread = np.sqrt(world.variance_between[community] + world.variance_within[community] / n_taste)
    return {
        "n_words": n_words,
        "body": _sentences(world.words, tokens, n_words),
        "quality": (mean_weight - world.mean_weight[community]) / spread,
    }


def _draw_votes(
    config: SimulationConfig,
    rng: np.random.Generator,
    crowd_rng: np.random.Generator,
    thread: dict[str, Ints],
    texts: dict[str, Any],
    size: Ints,
) -> dict[str, Floats | Ints]:
    """Readers, then votes: score = 1 + ups − downs, each gamma–Poisson with mean readers × rate(quality, length).

    Args:
        crowd_rng: draws herding and fuzzing, so that these do not change any other draw.
    """
    quality = texts["quality"]
    log_exposure = (
        np.log(config.readers)
        + config.size_effect * np.log(size[thread["post"]] / config.median_comments)
        - config.delay_effect * np.log1p(thread["delay_s"] / DELAY_SCALE_S)
        - config.reply_effect * (thread["parent_index"] >= 0)
    )
    log_votes_per_reader = config.length_effect * np.log(texts["n_words"] / config.median_words)
    ups = config.up_rate * np.exp(log_exposure + log_votes_per_reader + config.quality_effect * quality)
    downs = config.down_rate * np.exp(log_exposure + log_votes_per_reader - config.quality_effect * quality)
    noise = rng.gamma(config.vote_spread, 1 / config.vote_spread, (2, len(quality)))
    drawn_ups, drawn_downs = rng.poisson(ups * noise[0]), rng.poisson(downs * noise[1])
    log_herding = np.zeros(len(quality))
    if config.herding_effect:
        drawn_ups, log_herding = _herd(config, crowd_rng, ups, noise[0], drawn_ups)
    score = 1 + drawn_ups - drawn_downs
    spread = config.vote_fuzzing * np.sqrt(1 + np.abs(score))
    fuzz = np.rint(spread * crowd_rng.standard_normal(len(score))).astype(np.int64)
    return {
        "log_exposure": log_exposure,
        "expected_score": 1 + ups - downs,
        "log_herding": log_herding,
        "fuzz": fuzz,
        "score": score + fuzz,
    }


def _herd(
    config: SimulationConfig, rng: np.random.Generator, ups: Floats, noise: Floats, drawn_ups: Ints
) -> tuple[Ints, Floats]:
    """Upvotes when later readers follow the early ones.

    Args:
        ups: expected upvotes.
        noise: gamma noise on them.
        drawn_ups: Poisson(ups × noise) counts without herding; a binomial share of them is a Poisson count too.

    Returns:
        Upvotes with herding, and the log of the factor on later votes.
    """
    early = rng.binomial(drawn_ups, config.early_share)
    log_herding = config.herding_effect * np.log((1 + early) / (1 + config.early_share * ups))
    late = rng.poisson((1 - config.early_share) * ups * noise * np.exp(log_herding))
    return early + late, log_herding


def _draw_authors_and_deletions(
    config: SimulationConfig, rng: np.random.Generator, posts: pl.DataFrame, thread: dict[str, Ints], quality: Floats
) -> dict[str, pl.Series | NDArray[np.bool_]]:
    """Authors, edits, deletions and removals."""
    n_comments = len(thread["post"])
    uniform = rng.random((4, n_comments))
    odds_factor = np.exp(-config.deletion_effect * quality)
    gone = config.deleted_share * odds_factor / (1 - config.deleted_share + config.deleted_share * odds_factor)
    removal = np.select([uniform[0] < gone / 2, uniform[0] < gone], ["deleted", "removed"], "")
    op = posts["author"].gather(thread["post"])
    author = pl.select(
        pl.when(pl.Series((removal == "deleted") | (uniform[1] < config.no_author_share)))
        .then(pl.lit("[deleted]"))
        .when(pl.Series(uniform[2] < config.op_share))
        .then(op)
        .otherwise(draw_authors(rng, n_comments))
        .alias("author")
    )["author"]
    return {
        "author": author,
        "is_by_op": author == op,
        "is_edited": uniform[3] < config.edited_share,
        "removal": pl.Series(removal, dtype=pl.String),
        "is_sticky": np.zeros(n_comments, dtype=bool),
    }


def _with_stickies(
    config: SimulationConfig, rng: np.random.Generator, posts: pl.DataFrame, comments: pl.DataFrame
) -> pl.DataFrame:
    """Add comments pinned by moderators, which have no quality."""
    counts = np.bincount(comments["post"], minlength=posts.height)
    stickies = posts.filter(rng.random(posts.height) < config.sticky_share).select(
        "post",
        "community",
        thread_index=pl.lit(pl.Series(counts)).gather(pl.col("post")),
        parent_index=pl.lit(-1, dtype=pl.Int64),
        delay_s=pl.lit(1, dtype=pl.Int64),
        created_utc=pl.col("created_utc") + 1,
        body=pl.lit(STICKY_TEXT),
        score=pl.lit(1, dtype=pl.Int64),
        author=pl.lit("ModTeam"),
        is_by_op=pl.lit(False),
        is_edited=pl.lit(False),
        removal=pl.lit(""),
        is_sticky=pl.lit(True),
    )
    return pl.concat([comments, stickies], how="diagonal")


def _neutral_texts(world: World, rng: np.random.Generator, community: Ints, n_words: Ints) -> list[str]:
    tokens = world.config.n_taste_words + draw_columns(rng, world.neutral_cdf, np.repeat(community, n_words))
    return _sentences(world.words, tokens, n_words)


def _sentences(words: tuple[str, ...], tokens: Ints, n_words: Ints) -> list[str]:
    """Join the tokens of consecutive texts into sentences of ten words."""
    index = index_in_group(n_words)
    opens = index % SENTENCE_WORDS == 0
    closes = (index % SENTENCE_WORDS == SENTENCE_WORDS - 1) | (index == np.repeat(n_words, n_words) - 1)
    forms = [*words, *(word.capitalize() for word in words)]
    spellings = np.array([*forms, *(f"{form}." for form in forms)], dtype=object)
    spelled = spellings[tokens + len(words) * (opens + 2 * closes)].tolist()
    ends = np.cumsum(n_words).tolist()
    return [" ".join(spelled[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
