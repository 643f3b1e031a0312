"""A Reddit with a known truth: threads whose scores arise from taste, readers and chance.

A comment's quality depends on its text but not on its length: on words that its community likes or dislikes with known
weights and, where asked for, on their order and on whether it takes up its post's subject (`ingest.simulator.texts`).
Large threads have more readers, and their number falls with time, so an early comment has more of them. A reader's vote
depends on quality, and a little on length; votes are overdispersed counts. Optionally, later readers follow the visible
score (herding), and Reddit's noise is added to visible scores (fuzzing). Communities share a known part of their taste,
so transfer between communities has a known answer.

Source: Muchnik, Aral & Taylor 2013, "Social Influence Bias: A Randomized Experiment", Science 341 (herding).
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ingest.simulator.communities import World, make_world
from ingest.simulator.config import SimulationConfig
from ingest.simulator.draws import Floats, Ints, draw_authors, index_in_group, log_normal
from ingest.simulator.texts import draw_prompts, draw_texts
from ingest.simulator.votes import FIRST_LOOK_S, draw_votes

POSTS_PER_CHUNK = 1_000
FIRST_POST_UTC = 1_577_836_800  # 2020-01-01
COMMENTS_PER_CHUNK = 1 << 20
STICKY_TEXT = "Welcome. Please read the rules of this community before you answer."


def simulate(config: SimulationConfig) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield (posts, comments) for a thousand posts at a time.

    Columns of posts: post (row number), post_number, subreddit, created_utc, subject (number), title, body, score,
    upvote_ratio, n_comments, is_nsfw, is_contest, is_hidden, author.

    Columns of comments, sorted by time: comment_number, post, thread_index, parent_index (thread_index of the parent
    comment, -1 for the post), subreddit, created_utc, delay_s, n_words, body, quality, log_exposure, expected_score,
    log_herding, fuzz, score, author ("[deleted]" if deleted), is_by_op, is_edited, removal ("", deleted or removed),
    is_sticky, and the columns of `ingest.simulator.votes.draw_votes`. Of these, pinned comments have only votes.
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
    part_rng = np.random.default_rng([config.seed, 3, chunk])
    posts = _draw_posts(world, rng, part_rng, number, size)
    contest_rng = np.random.default_rng([config.seed, 4, chunk])
    is_contest = contest_rng.random(POSTS_PER_CHUNK) < config.contest_share
    hidden_rng = np.random.default_rng([config.seed, 7, chunk])
    is_hidden = ~is_contest & (hidden_rng.random(POSTS_PER_CHUNK) < config.hidden_share)
    posts = posts.with_columns(is_contest=is_contest, is_hidden=is_hidden)
    thread = _draw_threads(config, rng, posts, size)
    subject = posts["subject"].to_numpy()[thread["post"]]
    texts = draw_texts(world, rng, part_rng, thread["community"], subject)
    quality = np.asarray(texts["quality"], dtype=np.float64)
    votes = draw_votes(config, rng, chunk, thread, texts, size, posts)
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


def _draw_posts(
    world: World, rng: np.random.Generator, part_rng: np.random.Generator, number: Ints, size: Ints
) -> pl.DataFrame:
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
            **draw_prompts(world, rng, part_rng, community),
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
        ups=pl.lit(0, dtype=pl.Int64),
        downs=pl.lit(0, dtype=pl.Int64),
        is_controversial=pl.lit(False),
        is_contest="is_contest",
        is_hidden="is_hidden",
        first_score=pl.lit(1 if config.first_look_share else None, dtype=pl.Int64),
        first_is_controversial=pl.lit(False if config.first_look_share else None, dtype=pl.Boolean),
        first_look_s=pl.lit(FIRST_LOOK_S[0] if config.first_look_share else None, dtype=pl.Int64),
        author=pl.lit("ModTeam"),
        is_by_op=pl.lit(False),
        is_edited=pl.lit(False),
        removal=pl.lit(""),
        is_sticky=pl.lit(True),
    )
    return pl.concat([comments, stickies], how="diagonal")
