"""What surrounds a response: its rank in the thread, the clock, its author's record. The text is never read."""

from collections.abc import Sequence

import polars as pl

from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace

POST_CONTEXT = ("post_created_utc", "log_post_score", "log_thread_size")
AUTHOR_RECORD = (
    *("author_n_earlier", "author_here_earlier", "author_score_earlier"),
    *("author_votes_earlier", "author_best_earlier", "author_worst_earlier"),
)
LAST_GAP_S = 30 * 86_400
"""Gap assumed after the last top-level comment of a thread, seconds."""


def read_context(workspace: Workspace, subreddits: Sequence[str], pairs: pl.DataFrame) -> pl.DataFrame:
    """The context of the responses in some pairs, from the workspace's tables without their texts.

    Args:
        subreddits: whose comments are an author's record.
        pairs: post_id, {chosen,rejected}_id.

    Returns:
        One row per response, and one for the first of each of their threads, which tells the post even where the
        workspace lacks both responses of a pair; sorted by comment_id, with

        - thread_rank: number of top-level comments before it, ties by id; log_rank: log(1 + thread_rank)
        - log_gap_before, log_gap_after: log(1 + seconds) since the previous top-level comment (or the post), and until
          the next one (LAST_GAP_S for the last)
        - hour: 0-24, UTC; weekday: 0-6, 0 is Monday
        - author_n_earlier, author_here_earlier: log(1 + number of comments) that its author wrote before the post, in
          these subreddits and in the post's subreddit
        - of the scores s of those in these subreddits, with signed(s) = sign(s) · log(1 + |s|): author_score_earlier,
          the mean of signed(s); author_votes_earlier, signed(mean of s); author_best_earlier and author_worst_earlier
        - post_created_utc, log_post_score, log_thread_size: of the post

        The author's columns are 0 without earlier comments; nothing of this thread or of the future enters them.
    """
    posts = workspace.scan(POSTS).select("post_id", post_created_utc="created_utc", post_score="score")
    names = ["comment_id", "post_id", "subreddit", "created_utc", "author_hash", "score", "is_top_level"]
    known = {name.lower() for name in workspace.subreddits(COMMENTS)}
    present = [name for name in subreddits if name.lower() in known]
    comments = workspace.scan(COMMENTS, present).select(names).collect()
    wanted = pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique()
    threads = comments.filter("is_top_level").join(pairs.select("post_id").unique(), on="post_id", how="semi")
    in_order = threads.sort("post_id", "created_utc", "comment_id")
    in_order = in_order.join(posts.collect(), on="post_id", how="left", maintain_order="left")
    responses = add_thread_context(in_order)
    is_wanted = pl.col("comment_id").is_in(wanted.implode()) | (pl.col("thread_rank") == 0)
    responses = responses.filter(is_wanted)
    written = comments.join(responses.select("author_hash").unique(), on="author_hash", how="semi")
    records = author_records(responses, written)
    in_subreddit = author_records(responses, written, ("author_hash", "subreddit"))
    records = records.join(
        in_subreddit.select("comment_id", author_here_earlier="author_n_earlier"), on="comment_id", how="left"
    )
    context = responses.join(records, on="comment_id", how="left")
    context = context.with_columns(
        pl.col("post_created_utc").cast(pl.Float64), pl.col("^author_.*_earlier$").fill_null(0.0)
    ).sort("comment_id")
    return context.drop("subreddit", "created_utc", "author_hash", "score", "is_top_level", "post_score")


def context_from_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """The context of the responses in some pairs, as far as the pairs themselves give it.

    Rank and gaps are those among the responses in the pairs. Null: the author's record, post score and thread size, and
    without a column post_created_utc also the clock.

    Args:
        pairs: post_id, {chosen,rejected}_id, {chosen,rejected}_delay_s; optionally post_created_utc.

    Returns:
        The columns of `read_context`.
    """
    has_clock = "post_created_utc" in pairs.columns
    post_utc = pl.col("post_created_utc").cast(pl.Int64) if has_clock else pl.lit(0, dtype=pl.Int64)
    responses = pl.concat(
        pairs.select("post_id", comment_id=f"{side}_id", delay_s=f"{side}_delay_s", post_created_utc=post_utc)
        for side in ("chosen", "rejected")
    ).unique("comment_id", keep="first", maintain_order=True)
    comments = responses.with_columns(
        created_utc=pl.col("post_created_utc") + pl.col("delay_s"),
        is_top_level=pl.lit(True),
        post_score=pl.lit(None, dtype=pl.Int64),
    ).sort("post_id", "created_utc", "comment_id")
    unknown = ["log_post_score", "log_thread_size", *AUTHOR_RECORD]
    unknown += [] if has_clock else ["post_created_utc", "hour", "weekday"]
    context = add_thread_context(comments).with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in unknown)
    return context.with_columns(pl.col("post_created_utc").cast(pl.Float64)).drop(
        "delay_s", "created_utc", "is_top_level", "post_score"
    )


def add_thread_context(comments: pl.DataFrame) -> pl.DataFrame:
    """Add rank and gaps in the thread, the clock, and score and thread size of the post, as in `read_context`.

    Args:
        comments: all comments of complete posts, sorted by post_id, created_utc, comment_id; with is_top_level,
            post_score, post_created_utc. Replies get no thread_rank.
    """
    is_top_level = pl.col("is_top_level").cast(pl.Int64)
    rank = (is_top_level.cum_sum().over("post_id") - 1).cast(pl.Float64)
    top_level_utc = pl.when("is_top_level").then("created_utc")
    before = top_level_utc.shift(1).forward_fill().over("post_id").fill_null(pl.col("post_created_utc"))
    after = top_level_utc.shift(-1).backward_fill().over("post_id")
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


def author_records(
    responses: pl.DataFrame, written: pl.DataFrame, by: Sequence[str] = ("author_hash",)
) -> pl.DataFrame:
    """What the authors of the responses had written before the post.

    Sums run in one order, by time and id, so an author's record does not depend on which other authors are present.

    Args:
        responses: comment_id, author_hash, post_created_utc.
        written: all comments of these authors, with score.
        by: columns that identify an author, such as author_hash within a subreddit.

    Returns:
        comment_id and the author's columns of `read_context`, for responses whose author had written any.
    """
    known = written.drop_nulls(["author_hash", "score"]).sort(*by, "created_utc", "comment_id")
    signed = _signed_log(pl.col("score"))
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
    joined = (
        responses.filter(pl.col("post_created_utc").is_not_null())
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
    return joined.filter(pl.col("_n").is_not_null()).select(
        "comment_id",
        author_n_earlier=pl.col("_n").cast(pl.Float64).log1p(),
        author_score_earlier=pl.col("_sum") / pl.col("_n"),
        author_votes_earlier=_signed_log(pl.col("_votes") / pl.col("_n")),
        author_best_earlier="_best",
        author_worst_earlier="_worst",
    )


def _signed_log(score: pl.Expr) -> pl.Expr:
    return score.sign() * score.abs().cast(pl.Float64).log1p()
