"""What surrounds a response: its place in the thread, the clock, its author's record. The text is never looked at."""

from collections.abc import Sequence

import polars as pl

from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace

POST_CONTEXT = ("post_created_utc", "log_post_score", "log_thread_size")


def read_context(workspace: Workspace, subreddits: Sequence[str]) -> pl.DataFrame:
    """A row a top-level comment, sorted by comment_id, from the workspace's tables without their texts.

    thread_rank: top-level comments before it, ties by id. log_rank: log(1 + that). hour: 0-24, UTC. weekday: 0-6.
    author_n_earlier, author_score_earlier: comments its author wrote before the post was, within these subreddits, as
    log(1 + count), and the mean of sign(s) · log(1 + |s|) of their scores; both 0 without any: nothing of this thread
    or the future. post_created_utc, log_post_score, log_thread_size: of the post, the same for all its responses.
    """
    posts = workspace.scan(POSTS).select("post_id", post_created_utc="created_utc", post_score="score")
    names = ["comment_id", "post_id", "created_utc", "author_hash", "score", "is_top_level"]
    known = {name.lower() for name in workspace.subreddits(COMMENTS)}
    found = [name for name in subreddits if name.lower() in known]
    comments = workspace.scan(COMMENTS, found).select(names).collect()
    in_order = comments.filter("is_top_level").sort("post_id", "created_utc", "comment_id")
    rank = pl.int_range(pl.len()).over("post_id").cast(pl.Float64)
    placed = in_order.with_columns(
        thread_rank=rank,
        log_rank=rank.log1p(),
        hour=(pl.col("created_utc") % 86_400) / 3_600,
        weekday=((pl.col("created_utc") // 86_400 + 3) % 7).cast(pl.Float64),
        log_thread_size=pl.len().over("post_id").cast(pl.Float64).log(),
    ).join(posts.collect(), on="post_id", how="left", maintain_order="left")
    placed = placed.with_columns(
        pl.col("post_created_utc").cast(pl.Float64),
        log_post_score=pl.col("post_score").clip(0).fill_null(0).cast(pl.Float64).log1p(),
        _post_utc=pl.col("post_created_utc"),
    )
    return _add_record(placed, comments).sort("comment_id").drop("created_utc", "author_hash", "score", "is_top_level")


def _add_record(placed: pl.DataFrame, comments: pl.DataFrame) -> pl.DataFrame:
    """Every response with its author's record at the time of the post."""
    written = comments.drop_nulls(["author_hash", "score"]).sort("author_hash", "created_utc", "comment_id")
    signed = pl.col("score").sign() * pl.col("score").abs().cast(pl.Float64).log1p()
    record = written.select(
        "author_hash",
        pl.col("created_utc").alias("_utc"),
        _n=pl.int_range(1, pl.len() + 1).over("author_hash"),
        _sum=signed.cum_sum().over("author_hash"),
    ).sort("_utc", "author_hash", "_n")
    asked = placed.sort("_post_utc", "comment_id").filter(pl.col("_post_utc").is_not_null())
    # A backward asof join takes the last comment strictly before the post: the running count and sum up to it.
    met = asked.select("comment_id", "author_hash", "_post_utc").join_asof(
        record,
        left_on="_post_utc",
        right_on="_utc",
        by="author_hash",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    kept = met.select(
        "comment_id",
        author_n_earlier=pl.col("_n").fill_null(0).cast(pl.Float64).log1p(),
        author_score_earlier=(pl.col("_sum") / pl.col("_n")).fill_null(0.0),
    )
    joined = placed.drop("_post_utc", "post_score").join(kept, on="comment_id", how="left")
    return joined.with_columns(pl.col("author_n_earlier", "author_score_earlier").fill_null(0.0))
