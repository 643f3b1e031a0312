"""Raw rows of any era -> rows of the tables posts and comments; pure functions of frames.

Whether a row is a comment (a body and a link to a post) or a submission (a title) is decided by its content, never by
the name of its file.
"""

from dataclasses import dataclass, field
from functools import partial

import polars as pl

from lurker.authors import KNOWN_BOTS, hash_authors
from lurker.removed import is_removed
from lurker.schema import COMMENTS, POSTS

_NO_CATEGORY = ("", "null", "none", "nan", "false")
"""Values of `removed_by_category` of posts that are not removed, after conversions between formats."""
_MENTION = r"(?-u:\b)[uU](?:ser)?/[A-Za-z0-9_-]{2,30}"
_UNCLEAN = ["&amp;", "&lt;", "&gt;", "\x00", "u/", "U/", "ser/"]
"""Every text that needs cleaning contains one of these; some clean texts do too."""
MAX_TIME = 4_102_444_800
"""The year 2100 in seconds since 1970: a larger time is in another unit."""
_FIRST_LOOKS = {name: pl.col(name) for name in ("retrieved_on", "retrieved_utc")}
"""Times at which the text may have been seen."""
_LATER_LOOKS = {
    **{name: pl.col(name) for name in ("updated_on", "updated_utc")},
    "_meta.retrieved_2nd_on": pl.col("_meta").struct.field("retrieved_2nd_on"),
}
"""Times at which an archive may have seen the item again."""
_LOOKS = {**_FIRST_LOOKS, **_LATER_LOOKS}
"""Times at which the score may have been seen; the latest counts, as archives replace the score at each."""
_FLAGS = {True: ("1", "1.0", "true", "True"), False: ("0", "0.0", "false", "False")}
"""What `controversiality` is written as: Reddit returns 0 or 1, conversions between formats write it otherwise."""
_UNITS = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_SUBREDDIT = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"  # r/reddit.com had a dot, r/u_name may have a dash


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFilters:
    """Which rows are kept, and whether user names are replaced in their texts."""

    subreddits: tuple[str, ...] = ()
    """Names without r/, in any case; empty keeps all."""
    since_utc: int | None = None
    """Keep rows written at or after this time, seconds since 1970."""
    until_utc: int | None = None
    """Keep rows written before this time, seconds since 1970."""
    min_score: int | None = None
    """Lowest score to keep; rows without a score are then dropped."""
    keep_nsfw: bool = False
    """Keep rows marked over 18."""
    keep_profiles: bool = False
    """Keep rows of user profiles (u_NAME), whose name is their author's; profiles in `subreddits` are always kept."""
    bots: tuple[str, ...] = KNOWN_BOTS
    """Authors whose rows are dropped, in any case; empty keeps everyone."""
    keep_mentions: bool = False
    """Leave u/name in titles and bodies as written."""

    def __post_init__(self) -> None:
        """Raises: ValueError for an empty span of time."""
        if self.since_utc is not None and self.until_utc is not None and self.since_utc >= self.until_utc:
            raise ValueError(f"the span from {self.since_utc} to {self.until_utc} (seconds since 1970) is empty")


@dataclass(frozen=True, slots=True)
class RowContext:
    """What every step from a raw line to a row of a table needs to know."""

    filters: RowFilters
    source: str
    """Written to the column `source`: dump, reddit, archive or simulator."""
    salt: bytes = field(repr=False)
    """Key of the authors' hashes; secret, it never leaves the workspace."""


def with_common_fields(raw: pl.DataFrame) -> pl.DataFrame:
    """Add to raw rows: is_comment, is_post, post_id, created, observed and final_score.

    A row is a comment when it has a body and names a post, and a post when it has a title.
    """
    link = pl.coalesce(
        _filled(pl.col("link_id").str.strip_prefix("t3_")),
        _prefixed("parent_id", "t3_"),
    )
    is_comment = pl.col("body").is_not_null() & link.is_not_null()
    return raw.with_columns(
        id=pl.col("id").str.replace(r"^t[13]_", ""),
        is_comment=is_comment,
        is_post=~is_comment & pl.col("title").is_not_null(),
        post_id=link,
        created=_seconds(pl.col("created_utc")),
        observed=pl.max_horizontal(_seconds(time) for time in _LOOKS.values()),
        final_score=pl.when(~pl.col("hide_score").fill_null(False)).then(  # a post's hidden score is shown as 1
            pl.coalesce("score", pl.col("ups") - pl.col("downs").fill_null(0))
        ),
    )


FILTER_REASONS = frozenset(
    {
        *("other subreddit", "a user's profile", "before --since", "not before --until", "below --min-score"),
        *("written by a bot", "nsfw"),
    }
)
"""Reasons of `drop_reason` that a filter chose; a row dropped for another reason could not be used."""


def drop_reason(filters: RowFilters) -> pl.Expr:
    """Why a row returned by `with_common_fields` is dropped: the first reason that applies, null when it is kept."""
    wanted = [name.lower() for name in filters.subreddits]
    name = pl.col("subreddit").str.to_lowercase()
    reasons = {
        "neither post nor comment": ~(pl.col("is_comment") | pl.col("is_post")),
        "no id, time or subreddit": (pl.col("id").fill_null("") == "")
        | pl.col("created_utc").is_null()
        | ~pl.col("subreddit").str.contains(_SUBREDDIT).fill_null(False),
        **_bad_times(),
        "other subreddit": ~name.is_in(wanted) if wanted else pl.lit(False),
        "a user's profile": pl.lit(False) if wanted or filters.keep_profiles else name.str.starts_with("u_"),
        "before --since": pl.col("created") < filters.since_utc if filters.since_utc is not None else pl.lit(False),
        "not before --until": pl.col("created") >= filters.until_utc
        if filters.until_utc is not None
        else pl.lit(False),
        "below --min-score": ~(pl.col("final_score") >= filters.min_score).fill_null(False)
        if filters.min_score is not None
        else pl.lit(False),
        "written by a bot": pl.col("author").str.to_lowercase().is_in(bots).fill_null(False)
        if (bots := [bot.lower() for bot in filters.bots])
        else pl.lit(False),
        "nsfw": pl.lit(False) if filters.keep_nsfw else pl.col("over_18").fill_null(False),
    }
    reason = pl.lit(None, dtype=pl.String)
    for text, applies in reversed(reasons.items()):
        reason = pl.when(applies).then(pl.lit(text)).otherwise(reason)
    return reason.alias("drop_reason")


def posts(raw: pl.DataFrame, context: RowContext) -> pl.DataFrame:
    """Rows of the table posts from the submissions among `raw`, as returned by `with_common_fields`."""
    rows = raw.filter("is_post")
    if rows.is_empty():
        return POSTS.empty()
    keep_mentions = context.filters.keep_mentions
    text = pl.coalesce(_filled(pl.col("selftext")), "body")  # some tools write a post's text as its body
    has_no_link = _filled(pl.col("url")).is_null() & _filled(pl.col("domain")).is_null()
    has_text = has_no_link | pl.col("domain").str.starts_with("self.")
    return (
        rows.with_columns(author_hash=hash_authors(rows["author"], context.salt))
        .with_columns(
            post_id="id",
            title=clean_text(pl.col("title"), keep_mentions),
            body=clean_text(text.fill_null(""), keep_mentions),
            upvote_ratio=pl.when(pl.col("upvote_ratio").is_between(0, 1)).then("upvote_ratio"),
            n_comments="num_comments",
            is_self=pl.coalesce("is_self", has_text.fill_null(False)),
            is_nsfw=pl.col("over_18").fill_null(False),
            is_deleted=is_removed(text)
            | is_removed(pl.col("title"))
            | ~pl.col("removed_by_category").fill_null("").str.strip_chars().str.to_lowercase().is_in(_NO_CATEGORY)
            | _was_deleted_later(),
            flair=clean_text(pl.col("link_flair_text"), keep_mentions),
            crosspost_of=_filled(pl.col("crosspost_parent").str.strip_prefix("t3_")),
            is_contest="contest_mode",
            suggested_sort=_filled(pl.col("suggested_sort")),
            is_score_hidden="hide_score",
            **_item_columns(context.source),
        )
        .select(*POSTS.columns)
        .cast(POSTS.schema)
    )


def comments(raw: pl.DataFrame, context: RowContext) -> pl.DataFrame:
    """Rows of the table comments from the comments among `raw`, as returned by `with_common_fields`.

    `is_by_op` is Reddit's `is_submitter`; where a row has none it is null, and `ingest.tables.merge` compares authors.
    """
    rows = raw.filter("is_comment")
    if rows.is_empty():
        return COMMENTS.empty()
    has_parent = pl.col("parent_id").str.replace(r"^t[13]_", "") != ""
    parent = pl.when(has_parent).then("parent_id").otherwise(pl.lit("t3_") + pl.col("post_id"))
    return (
        rows.with_columns(author_hash=hash_authors(rows["author"], context.salt))
        .with_columns(
            comment_id="id",
            is_top_level=parent.str.strip_prefix("t3_") == pl.col("post_id"),
            parent_id=parent.str.replace(r"^t[13]_", ""),
            is_controversial=_flag(pl.col("controversiality")),
            is_deleted=is_removed(pl.col("body")) | (pl.col("body") == "") | _was_deleted_later(),
            is_score_hidden=pl.col("score_hidden").fill_null(False),
            was_score_hidden=pl.col("score_hidden").fill_null(False),
            is_stickied=pl.col("stickied").fill_null(False),
            is_distinguished=pl.col("distinguished").fill_null("").is_in(["moderator", "admin", "special"]),
            is_by_op="is_submitter",
            **_item_columns(context.source),
        )
        .with_columns(body=clean_text(pl.col("body"), context.filters.keep_mentions))
        .select(*COMMENTS.columns)
        .cast(COMMENTS.schema)
    )


def clean_text(text: pl.Expr, keep_mentions: bool = False) -> pl.Expr:
    """Text as its author wrote it: without NUL, and with the three entities that Reddit's API escapes (& < >) restored.

    User names (u/name, /user/name) become u/[name] unless `keep_mentions`.
    """
    return text.map_batches(partial(_cleaned, keep_mentions=keep_mentions), return_dtype=pl.String)


def _cleaned(texts: pl.Series, keep_mentions: bool) -> pl.Series:
    """Most texts need no cleaning: one pass over all finds the few that do."""
    rows = texts.str.contains_any(_UNCLEAN).fill_null(False).arg_true()
    cleaned = texts.gather(rows).str.replace_many({"&amp;": "&", "&lt;": "<", "&gt;": ">", "\x00": ""})
    return texts.scatter(rows, cleaned if keep_mentions else cleaned.str.replace_all(_MENTION, "u/[name]"))


def _item_columns(source: str) -> dict[str, pl.Expr]:
    return {
        "created_utc": pl.col("created"),
        "score": pl.col("final_score"),
        "is_edited": ~pl.col("edited").fill_null("false").is_in(["false", "0", "0.0", ""]),
        "source": pl.lit(source),
        "retrieved_utc": pl.col("observed"),
        **_both_counts(),
        "first_retrieved_utc": _first_of_two_looks(),
    }


def _both_counts() -> dict[str, pl.Expr]:
    """Upvotes and downvotes, where the row tells them; null where `ups` repeats the score and `downs` is 0.

    Source: `"downs": 0, "ups": item.score`, r2/r2/lib/jsontemplates.py of https://github.com/reddit-archive/reddit.
    """
    are_told = (pl.col("downs") > 0) & (pl.col("ups") >= 0)
    return {name: pl.when(are_told).then(name) for name in ("ups", "downs")}


def _first_of_two_looks() -> pl.Expr:
    """When the item was retrieved first, if the row tells that it was retrieved again later; else null."""
    first = pl.min_horizontal(_seconds(time) for time in _FIRST_LOOKS.values())
    later = pl.max_horizontal(_seconds(time) for time in _LATER_LOOKS.values())
    return pl.when(later > first).then(first)


def _flag(text: pl.Expr) -> pl.Expr:
    """The truth value that is written as one of `_FLAGS`; null for any other text."""
    return pl.when(text.is_in(_FLAGS[True])).then(True).when(text.is_in(_FLAGS[False])).then(False)


def _was_deleted_later() -> pl.Expr:
    """Whether the archive found the item deleted when it retrieved it again; it still keeps the first text.

    Source: https://github.com/ArthurHeitmann/arctic_shift/blob/master/file_content_explanations.md
    """
    return pl.col("_meta").struct.field("was_deleted_later").fill_null(False)


def _seconds(time: pl.Expr) -> pl.Expr:
    """A time in whole seconds; null when it is not finite or out of range."""
    return pl.when(time.is_between(0, MAX_TIME)).then(time).cast(pl.Int64)


def _bad_times() -> dict[str, pl.Expr]:
    """reason -> whether a time of the row is not in seconds since 1970; the same rule for every field."""
    reasons = {}
    for name, time in {"created_utc": pl.col("created_utc"), **_LOOKS}.items():
        is_bad = (time.is_nan() | ~time.is_between(0, MAX_TIME)).fill_null(False)
        for unit, factor in _UNITS.items():
            in_unit = time.is_between(1e8 * factor, MAX_TIME * factor).fill_null(False) & is_bad
            reasons[f"{name} is in {unit}, not seconds"] = in_unit
        reasons[f"{name} is not a number"] = time.is_nan().fill_null(False)
        reasons[f"{name} is not between 1970 and 2100"] = is_bad
    return reasons


def _filled(text: pl.Expr) -> pl.Expr:
    """The text; null where it is empty."""
    return pl.when(text != "").then(text)


def _prefixed(name: str, prefix: str) -> pl.Expr:
    """The id without its prefix; null where it has another prefix or none."""
    return _filled(pl.when(pl.col(name).str.starts_with(prefix)).then(pl.col(name).str.strip_prefix(prefix)))
