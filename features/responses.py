"""Responses without their texts: every comment measured once, then the recipe's rules on who may be in a pair."""

from collections.abc import Callable, Sequence

import polars as pl

from features.clean import is_link_only, response_text, says_it_is_a_bot
from features.copies import Ties, no_ties
from features.form import form_counts
from features.ledger import Ledger, apply_rules
from features.recipes import Recipe
from features.splits import FEEDS_HARD_TEST, HELD_OUT_COPY, assign_splits, stands_on_a_side_held_out_more, time_cuts
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace

TWICE = "id seen twice"
REPLY = "reply to a comment"


def measure_responses(
    workspace: Workspace, subreddits: Sequence[str], advance: Callable[[float], None] = lambda _: None
) -> pl.DataFrame:
    """Every comment of the subreddits with what the rules look at: a row a comment, sorted by comment_id, no text.

    Besides the comment's own columns: post_* of its post (null when the post was not ingested), delay_s (seconds from
    post to comment), log_delay = log(1 + delay_s), and of the cleaned text n_chars, n_words, text_hash, the counts of
    `features.form` and log_chars = log(n_chars), nats; the text of replies is not looked at. advance: told the number
    of comments done, a subreddit at a time.
    """
    of_post = ("created_utc", "score", "is_self", "is_nsfw", "is_edited", "is_deleted", "author_hash")
    posts = newest(workspace.scan(POSTS).select("post_id", "subreddit", "retrieved_utc", *of_post), "post_id")
    posts = posts.select("post_id", pl.col(*of_post, "subreddit").name.prefix("post_")).collect().lazy()
    parts = []
    for subreddit in subreddits:
        part = _measure(workspace.scan(COMMENTS, [subreddit]), posts).collect(engine="streaming")
        parts.append(part)
        advance(part.height)
    return _newest_first(pl.concat(parts).lazy(), "comment_id").collect()


def newest(rows: pl.LazyFrame, key: str) -> pl.LazyFrame:
    """One row an id, by id: an id may stand in two subreddits, and then the row that was seen last counts."""
    return _newest_first(rows, key).unique(key, keep="first", maintain_order=True)


def _newest_first(rows: pl.LazyFrame, key: str) -> pl.LazyFrame:
    return rows.sort(key, "retrieved_utc", "subreddit", descending=[False, True, False], nulls_last=True)


def _measure(comments: pl.LazyFrame, posts: pl.LazyFrame) -> pl.LazyFrame:
    text = pl.col("_text")
    of_text = {
        "n_chars": text.str.len_chars().cast(pl.Int64),
        "n_words": text.str.count_matches(r"\S+").cast(pl.Int64),
        # Only ever compared for equality within one build, so the hash may differ between versions of Polars.
        "text_hash": text.hash(),
        **form_counts(text),
        "is_link_only": is_link_only(text),
        "says_it_is_a_bot": says_it_is_a_bot(text),
    }
    seen = pl.exclude("body", "_text", "parent_id", "source")
    top = comments.filter("is_top_level").with_columns(_text=response_text(pl.col("body"))).select(seen, **of_text)
    replies = comments.filter(~pl.col("is_top_level")).select(seen)
    joined = pl.concat([top, replies], how="diagonal").join(posts, on="post_id", how="left")
    delay_s = pl.col("created_utc") - pl.col("post_created_utc")
    return joined.with_columns(
        delay_s=delay_s,
        log_delay=pl.when(delay_s >= 0).then(delay_s).cast(pl.Float64).log1p(),
        log_chars=pl.when(pl.col("n_chars") > 0).then("n_chars").cast(pl.Float64).log(),
    )


def select_responses(measured: pl.DataFrame, recipe: Recipe, ties: Ties | None = None) -> tuple[pl.DataFrame, Ledger]:
    """The responses that may be in a pair, with their split, and the ledger of every other comment."""
    ties = ties or no_ties()
    posts = measured.select("post_id", created_utc="post_created_utc")
    splits = assign_splits(posts, recipe, ties.copied_posts)
    placed = measured.join(splits, on="post_id", how="left", maintain_order="left")
    kept, ledger = apply_rules(placed, _response_rules(recipe, ties) | _rules_on_ties(placed, recipe, ties))
    return kept.drop("misplaced"), ledger


def _rules_on_ties(placed: pl.DataFrame, recipe: Recipe, ties: Ties) -> dict[str, pl.Expr]:
    """Rules on what a response shares with others: they come last, so that each counts what it alone takes."""
    col = pl.col
    rules = {reason: (col("misplaced") == reason).fill_null(False) for reason in (HELD_OUT_COPY, FEEDS_HARD_TEST)}
    if recipe.split_by == "time":
        cuts = time_cuts(placed.unique("post_id")["post_created_utc"], recipe)
        ends = {"train": cuts.validation_from_utc, "validation": cuts.test_from_utc}
        end = col("split").replace_strict(ends, default=None, return_dtype=pl.Int64)
        rules["written after its split's end"] = (col("created_utc") >= end).fill_null(False)
    if recipe.split_by == "author":
        rules["author unknown"] = col("author_hash").is_null() | col("post_author_hash").is_null()
        rules["author stands on a side held out more"] = stands_on_a_side_held_out_more(ties.writers, recipe)
    if recipe.language is not None:
        of_posts, of_comments = (ties.foreign.filter(pl.col("is_post") == is_post)["id"] for is_post in (True, False))
        rules["post in another language"] = col("post_id").is_in(of_posts.implode())
        rules["in another language"] = col("comment_id").is_in(of_comments.implode())
    if recipe.exclude_near_duplicates:
        rules["near-duplicate of another response"] = col("comment_id").is_in(ties.repeats["comment_id"].implode())
    return rules


def _response_rules(recipe: Recipe, ties: Ties) -> dict[str, pl.Expr]:
    """reason -> true when the comment goes; in the order in which reasons are given."""
    col = pl.col
    rules = {
        TWICE: ~col("comment_id").is_first_distinct(),
        REPLY: ~col("is_top_level"),
        "post not ingested": col("post_created_utc").is_null(),
        "post of another subreddit": col("subreddit").str.to_lowercase() != col("post_subreddit").str.to_lowercase(),
        "text deleted or removed": col("is_deleted"),
        "empty text": col("n_chars") == 0,
        "score missing": col("score").is_null(),
        "score hidden": col("is_score_hidden"),
        "written before its post": col("delay_s") < 0,
    }
    optional: dict[str, pl.Expr | bool] = {
        "post deleted or removed": recipe.exclude_deleted_posts and col("post_is_deleted"),
        "post is a link": recipe.require_self_post and ~col("post_is_self"),
        "post marked over 18": recipe.exclude_nsfw and col("post_is_nsfw"),
        "post edited": recipe.exclude_edited_posts and col("post_is_edited"),
        "edited": recipe.exclude_edited and col("is_edited"),
        "by the post's author": recipe.exclude_op and col("is_by_op"),
        "author deleted": recipe.exclude_deleted_authors and col("author_hash").is_null(),
        "post's author deleted": recipe.exclude_deleted_authors and col("post_author_hash").is_null(),
        "written by a bot": recipe.exclude_bots and (_is_bot(ties)),
        "distinguished": recipe.exclude_distinguished and col("is_distinguished"),
        "stickied": recipe.exclude_stickied and col("is_stickied"),
    }
    if recipe.test_posts_only and recipe.deconfound == "none":  # deconfounding learns from the others first
        optional["not a test post"] = col("split") != "test"
    if recipe.created_before_utc is not None:
        optional["post too new"] = col("post_created_utc") >= recipe.created_before_utc
    if recipe.min_post_score is not None:
        optional["post score below min_post_score"] = (col("post_score") < recipe.min_post_score).fill_null(True)
    if recipe.min_maturity_s > 0:
        maturity_s = col("retrieved_utc") - col("created_utc")
        optional["seen before min_maturity_s"] = (maturity_s < recipe.min_maturity_s).fill_null(True)
    if recipe.exclude_link_only:
        optional["nothing but addresses"] = col("is_link_only")
    optional["below min_chars"] = col("n_chars") < recipe.min_chars
    optional["below min_words"] = col("n_words") < recipe.min_words
    if recipe.max_chars is not None:
        optional["above max_chars"] = col("n_chars") > recipe.max_chars
    if recipe.max_words is not None:
        optional["above max_words"] = col("n_words") > recipe.max_words
    if recipe.min_score is not None:
        optional["score below min_score"] = col("score") < recipe.min_score
    return rules | {reason: rule for reason, rule in optional.items() if isinstance(rule, pl.Expr)}


def _is_bot(ties: Ties) -> pl.Expr:
    by_name = pl.col("author_hash").is_in(ties.bots.implode()).fill_null(False)
    return by_name | pl.col("says_it_is_a_bot").fill_null(False)
