"""What surrounds a response: its place in the thread, the clock, its author's record. The text is never looked at."""

from collections.abc import Sequence

import polars as pl

from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace

POST_CONTEXT = ("post_created_utc", "log_post_score", "log_thread_size")
LAST_GAP_S = 30 * 86_400
"""How long after the last top-level comment the next is taken to come, seconds."""


def read_context(workspace: Workspace, subreddits: Sequence[str]) -> pl.DataFrame:
    """A row a top-level comment, sorted by comment_id, from the workspace's tables without their texts.

    thread_rank: top-level comments before it, ties by id. log_rank: log(1 + that). log_gap_before, log_gap_after:
    log(1 + seconds) since the top-level comment before it, or the post, and until the next, of the last one as if
    after LAST_GAP_S. hour: 0-24, UTC. weekday: 0-6. author_n_earlier, author_here_earlier: comments its author wrote
    before the post was, within these subreddits and within the post's, as log(1 + count). Of the scores s of the
    former, as signed(s) = sign(s) · log(1 + |s|): author_score_earlier the mean of the signed, author_votes_earlier the
    signed mean, author_best_earlier and author_worst_earlier. All are 0 without any: nothing of this thread or the
    future. post_created_utc, log_post_score, log_thread_size: of the post.
    """
    posts = workspace.scan(POSTS).select("post_id", post_created_utc="created_utc", post_score="score")
    names = ["comment_id", "post_id", "subreddit", "created_utc", "author_hash", "score", "is_top_level"]
    known = {name.lower() for name in workspace.subreddits(COMMENTS)}
    found = [name for name in subreddits if name.lower() in known]
    comments = workspace.scan(COMMENTS, found).select(names).collect()
    in_order = comments.filter("is_top_level").sort("post_id", "created_utc", "comment_id")
    asked = in_order.join(posts.collect(), on="post_id", how="left", maintain_order="left")
    records = author_records(asked, comments)
    here = author_records(asked, comments, ("author_hash", "subreddit"))
    records = records.join(
        here.select("comment_id", author_here_earlier="author_n_earlier"), on="comment_id", how="left"
    )
    context = add_places(asked).join(records, on="comment_id", how="left")
    context = context.with_columns(
        pl.col("post_created_utc").cast(pl.Float64), pl.col("^author_.*_earlier$").fill_null(0.0)
    ).sort("comment_id")
    return context.drop("subreddit", "created_utc", "author_hash", "score", "is_top_level", "post_score")


def add_places(comments: pl.DataFrame) -> pl.DataFrame:
    """Comments of whole posts with their place in the thread and on the clock, and the levels of their post.

    comments: sorted by post_id, created_utc, comment_id; with is_top_level, post_score, post_created_utc. Replies have
    no thread_rank.
    """
    is_top_level = pl.col("is_top_level").cast(pl.Int64)
    rank = (is_top_level.cum_sum().over("post_id") - 1).cast(pl.Float64)
    of_top_level = pl.when("is_top_level").then("created_utc")
    before = of_top_level.shift(1).forward_fill().over("post_id").fill_null(pl.col("post_created_utc"))
    after = of_top_level.shift(-1).backward_fill().over("post_id")
    return comments.with_columns(
        thread_rank=pl.when("is_top_level").then(rank),
        log_rank=pl.when("is_top_level").then(rank.log1p()),
        log_gap_before=(pl.col("created_utc") - before).abs().cast(pl.Float64).log1p(),
        log_gap_after=(after - pl.col("created_utc")).fill_null(LAST_GAP_S).cast(pl.Float64).log1p(),
        hour=(pl.col("created_utc") % 86_400) / 3_600,
        weekday=((pl.col("created_utc") // 86_400 + 3) % 7).cast(pl.Float64),
        log_thread_size=is_top_level.sum().over("post_id").cast(pl.Float64).log(),
        log_post_score=pl.col("post_score").clip(0).fill_null(0).cast(pl.Float64).log1p(),
    )


def author_records(asked: pl.DataFrame, written: pl.DataFrame, by: Sequence[str] = ("author_hash",)) -> pl.DataFrame:
    """What the authors of the responses had written before the post was: for those who had, by comment_id.

    asked: comment_id, author_hash, post_created_utc. written: all that these authors wrote, with score. by: an author
    within what. The sums run in one order, by time and id, so an author's record is the same among whichever others.
    """
    known = written.drop_nulls(["author_hash", "score"]).sort(*by, "created_utc", "comment_id")
    signed = _signed(pl.col("score"))
    record = known.select(
        *by,
        pl.col("created_utc").alias("_utc"),
        _n=pl.int_range(1, pl.len() + 1).over(by),
        _sum=signed.cum_sum().over(by),
        _votes=pl.col("score").cum_sum().over(by),
        _best=signed.cum_max().over(by),
        _worst=signed.cum_min().over(by),
    ).sort("_utc", *by, "_n")
    # A backward asof join takes the last comment strictly before the post: the running figures up to it.
    met = (
        asked.filter(pl.col("post_created_utc").is_not_null())
        .select("comment_id", *by, "post_created_utc")
        .sort("post_created_utc", "comment_id")
        .join_asof(
            record,
            left_on="post_created_utc",
            right_on="_utc",
            by=list(by),
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )
    return met.filter(pl.col("_n").is_not_null()).select(
        "comment_id",
        author_n_earlier=pl.col("_n").cast(pl.Float64).log1p(),
        author_score_earlier=pl.col("_sum") / pl.col("_n"),
        author_votes_earlier=_signed(pl.col("_votes") / pl.col("_n")),
        author_best_earlier="_best",
        author_worst_earlier="_worst",
    )


def _signed(score: pl.Expr) -> pl.Expr:
    return score.sign() * score.abs().cast(pl.Float64).log1p()
