"""Posts, comments and their scores over time; of simulated comments also the truth."""

import polars as pl

from lurker.schema.columns import Column, Table

_ITEM = {
    "author_hash": Column(pl.String, "salted hash of the author's name; null if deleted or missing", nullable=True),
    "created_utc": Column(pl.Int64, "time of writing, seconds since 1970"),
    "score": Column(pl.Int64, "upvotes minus downvotes at the latest observation", nullable=True),
    "is_edited": Column(pl.Boolean, "edited after it was first written"),
    "is_deleted": Column(pl.Boolean, "deleted by its author or removed by a moderator"),
    "source": Column(pl.String, "origin of the row: dump | reddit | archive | simulator"),
    "retrieved_utc": Column(pl.Int64, "time of the latest observation, seconds since 1970, or null", nullable=True),
}

_VOTES = {
    "ups": Column(
        pl.Int64, "upvotes, where the row tells both counts (Reddit did until 2014, with noise)", nullable=True, since=3
    ),
    "downs": Column(pl.Int64, "downvotes, where the row tells both counts", nullable=True, since=3),
    "first_retrieved_utc": Column(
        pl.Int64,
        "time of the earlier retrieval that the text comes from, seconds since 1970; null if it is retrieved_utc",
        nullable=True,
        since=3,
    ),
}
_IS_CONTROVERSIAL = (
    "Reddit's mark of at least 7 votes of which 40–60 % are up, the author's own upvote among them; null if not known"
)

POSTS = Table(
    "posts",
    {
        "post_id": Column(pl.String, "base-36 id"),
        "subreddit": Column(pl.String, "display name without r/"),
        "title": Column(pl.String, "title as written"),
        "body": Column(pl.String, "text as written (Markdown); empty for links"),
        "author_hash": _ITEM["author_hash"],
        "created_utc": _ITEM["created_utc"],
        "score": _ITEM["score"],
        "upvote_ratio": Column(pl.Float64, "upvotes divided by votes, 0–1", nullable=True),
        "n_comments": Column(pl.Int64, "comments on the post, as Reddit counts them", nullable=True),
        "is_self": Column(pl.Boolean, "text post, not a link"),
        "is_nsfw": Column(pl.Boolean, "marked over 18"),
        "is_edited": _ITEM["is_edited"],
        "is_deleted": _ITEM["is_deleted"],
        "flair": Column(pl.String, "link flair", nullable=True),
        "crosspost_of": Column(pl.String, "post_id of the crossposted post; null if not a crosspost", nullable=True),
        "source": _ITEM["source"],
        "retrieved_utc": _ITEM["retrieved_utc"],
        "is_contest": Column(
            pl.Boolean,
            "contest mode: comments in random order, scores hidden; null if not known",
            nullable=True,
            since=3,
        ),
        "suggested_sort": Column(
            pl.String,
            "order of comments that moderators set for the post: top | new | qa ...",
            nullable=True,
            since=3,
        ),
        "is_score_hidden": Column(
            pl.Boolean, "Reddit hid the score at the latest observation; null if not known", nullable=True, since=3
        ),
        **_VOTES,
    },
    key=("post_id",),
)

COMMENTS = Table(
    "comments",
    {
        "comment_id": Column(pl.String, "base-36 id"),
        "post_id": Column(pl.String, "post_id of its post"),
        "parent_id": Column(pl.String, "id of the comment or post it replies to, without prefix"),
        "is_top_level": Column(pl.Boolean, "replies to the post itself, so it is a response"),
        "subreddit": Column(pl.String, "display name without r/"),
        "body": Column(pl.String, "text as written (Markdown)"),
        "author_hash": _ITEM["author_hash"],
        "created_utc": _ITEM["created_utc"],
        "score": _ITEM["score"],
        "is_score_hidden": Column(pl.Boolean, "Reddit hid the score at the latest observation"),
        "is_edited": _ITEM["is_edited"],
        "is_deleted": _ITEM["is_deleted"],
        "is_stickied": Column(pl.Boolean, "pinned to the top of the thread"),
        "is_distinguished": Column(pl.Boolean, "marked as written by a moderator or admin"),
        "is_by_op": Column(pl.Boolean, "written by the author of the post"),
        "source": _ITEM["source"],
        "retrieved_utc": _ITEM["retrieved_utc"],
        "is_controversial": Column(pl.Boolean, _IS_CONTROVERSIAL, nullable=True, since=3),
        "was_score_hidden": Column(
            pl.Boolean,
            "Reddit hid the score at some observation: moderators can ask for it, for some minutes; null if not known",
            nullable=True,
            since=4,
        ),
        **_VOTES,
    },
    key=("comment_id",),
)

OBSERVATIONS = Table(
    "observations",
    {
        "item_id": Column(pl.String, "post_id or comment_id"),
        "kind": Column(pl.String, "post | comment, as ids of the two overlap"),
        "subreddit": Column(pl.String, "display name without r/"),
        "observed_utc": Column(pl.Int64, "time of the observation, seconds since 1970"),
        "score": Column(pl.Int64, "upvotes minus downvotes at that time"),
        "is_controversial": Column(
            pl.Boolean, "is_controversial of the comment at that time; null if not known", nullable=True, since=3
        ),
    },
    key=("item_id", "kind", "observed_utc"),
)

TRUTH = Table(
    "truth",
    {
        "comment_id": Column(pl.String, "id of a simulated comment"),
        "post_id": Column(pl.String, "post_id of its post"),
        "subreddit": Column(pl.String, "community whose taste determines its quality"),
        "quality": Column(pl.Float64, "how much the community truly likes the text, in standard deviations"),
        "log_exposure": Column(pl.Float64, "log of the number of readers"),
        "expected_score": Column(pl.Float64, "expected value of the drawn score, without herding and fuzz"),
        "log_herding": Column(pl.Float64, "log of the factor that early votes applied to later upvotes", default=0.0),
        "fuzz": Column(pl.Int64, "votes that fuzzing added to the displayed score", default=0),
        "net_vote_rate": Column(
            pl.Float64,
            "expected score given readers, noise on its vote rates and herding; without counting noise and fuzz",
            nullable=True,
            since=3,
        ),
    },
    key=("comment_id",),
)

TASTES = Table(
    "tastes",
    {
        "subreddit": Column(pl.String, "simulated community"),
        "word": Column(pl.String, "word that the community likes or dislikes"),
        "weight": Column(pl.Float64, "how much the community likes it; negative if it dislikes it"),
    },
    key=("subreddit", "word"),
)

WORKSPACE_TABLES = (POSTS, COMMENTS, OBSERVATIONS, TRUTH)
"""Tables stored as Parquet by subreddit."""
