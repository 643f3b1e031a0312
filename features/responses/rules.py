"""The recipe's rules on which responses may be in a pair; every other comment is counted under the rule it breaks."""

import polars as pl

from features.ledger import Ledger, apply_rules
from features.recipes.recipe import Recipe
from features.responses.exclusions import Exclusions, no_exclusions
from features.responses.splits import FEEDS_HARD_TEST, HELD_OUT_COPY, assign_splits, is_by_held_out_author

FIRST_LOOK = ("score", "is_controversial", "retrieved_utc")
"""Columns of a comment's last look that have a twin, first_*, for its first look."""
DUPLICATE_ID = "id seen twice"
REPLY = "reply to a comment"


def select_responses(
    block: pl.DataFrame, recipe: Recipe, exclusions: Exclusions | None = None
) -> tuple[pl.DataFrame, Ledger]:
    """The responses that may be in a pair.

    Args:
        block: complete posts, as returned by `measure_comments`.
        recipe: with both cut times if it splits by time.

    Returns:
        The responses in their order, with their split, and the ledger of every other comment.
    """
    exclusions = exclusions or no_exclusions()
    if recipe.label_look == "first":
        is_seen_twice = pl.col(
            "first_score"
        ).is_not_null()  # an unknown flag stays unknown: the last one is of later votes
        first = (pl.when(is_seen_twice).then(f"first_{name}").otherwise(name).alias(name) for name in FIRST_LOOK)
        block = block.with_columns(first)
    posts = block.select("post_id", created_utc="post_created_utc")
    splits = assign_splits(posts, recipe, exclusions.copied_posts)
    comments = block.join(splits, on="post_id", how="left", maintain_order="left")
    kept, ledger = apply_rules(comments, response_rules(recipe, exclusions))
    return kept.drop("misplaced"), ledger


def response_rules(recipe: Recipe, exclusions: Exclusions) -> dict[str, pl.Expr]:
    """reason -> true for a comment to drop, in the order of application."""
    return _basic_rules() | _optional_rules(recipe, exclusions) | _exclusion_rules(recipe, exclusions)


def _basic_rules() -> dict[str, pl.Expr]:
    """Rules of every recipe."""
    col = pl.col
    return {
        DUPLICATE_ID: col("is_twice"),
        REPLY: ~col("is_top_level"),
        "post not ingested": col("post_created_utc").is_null(),
        "post of another subreddit": col("subreddit").str.to_lowercase() != col("post_subreddit").str.to_lowercase(),
        "text deleted or removed": col("is_deleted"),
        "empty text": col("n_chars") == 0,
        "score missing": col("score").is_null(),
        "score hidden": col("is_score_hidden"),
        "written before its post": col("delay_s") < 0,
    }


def _optional_rules(recipe: Recipe, exclusions: Exclusions) -> dict[str, pl.Expr]:
    """Rules on a response or its post that the recipe switches on."""
    col = pl.col
    maturity_s = col("retrieved_utc") - col("created_utc")
    rules: dict[str, pl.Expr | bool] = {
        "seen once": (recipe.label_look == "first" or recipe.require_agreeing_looks) and col("first_score").is_null(),
        "post deleted or removed": recipe.exclude_deleted_posts and col("post_is_deleted"),
        "post is a link": recipe.require_self_post and ~col("post_is_self"),
        "post marked over 18": recipe.exclude_nsfw and col("post_is_nsfw"),
        "post edited": recipe.exclude_edited_posts and col("post_is_edited"),
        "edited": recipe.exclude_edited and col("is_edited"),
        "by the post's author": recipe.exclude_op and col("is_by_op"),
        "author deleted": recipe.exclude_deleted_authors and col("author_hash").is_null(),
        "post's author deleted": recipe.exclude_deleted_authors and col("post_author_hash").is_null(),
        "written by a bot": recipe.exclude_bots and _is_bot(exclusions),
        "controversial": recipe.exclude_controversial and col("is_controversial").fill_null(False),
        "distinguished": recipe.exclude_distinguished and col("is_distinguished"),
        "stickied": recipe.exclude_stickied and col("is_stickied"),
        # Deconfounding learns from the other posts first, and drops them at the end.
        "not a test post": recipe.test_posts_only and recipe.deconfound == "none" and col("split") != "test",
        "post too new": recipe.created_before_utc is not None and col("post_created_utc") >= recipe.created_before_utc,
        "post score below min_post_score": recipe.min_post_score is not None
        and (col("post_score") < recipe.min_post_score).fill_null(True),
        "seen before min_maturity_s": recipe.min_maturity_s > 0
        and (maturity_s < recipe.min_maturity_s).fill_null(True),
        "only links": recipe.exclude_link_only and col("is_link_only"),
        "below min_chars": col("n_chars") < recipe.min_chars,
        "below min_words": col("n_words") < recipe.min_words,
        "above max_chars": recipe.max_chars is not None and col("n_chars") > recipe.max_chars,
        "above max_words": recipe.max_words is not None and col("n_words") > recipe.max_words,
        "score below min_score": recipe.min_score is not None and col("score") < recipe.min_score,
    }
    return {reason: rule for reason, rule in rules.items() if isinstance(rule, pl.Expr)}


def _exclusion_rules(recipe: Recipe, exclusions: Exclusions) -> dict[str, pl.Expr]:
    """Rules on what a response shares with others; they come last, so each counts only what no earlier rule drops."""
    col = pl.col
    rules = {reason: (col("misplaced") == reason).fill_null(False) for reason in (HELD_OUT_COPY, FEEDS_HARD_TEST)}
    if recipe.split_by == "time":
        ends = {"train": recipe.validation_from_utc, "validation": recipe.test_from_utc}
        end = col("split").replace_strict(ends, default=None, return_dtype=pl.Int64)
        rules["written after its split's end"] = (col("created_utc") >= end).fill_null(False)
    if recipe.split_by == "author":
        rules["author unknown"] = col("author_hash").is_null() | col("post_author_hash").is_null()
        rules["author is in a more held-out split"] = is_by_held_out_author(exclusions.held_out_authors)
    if recipe.language is not None:
        posts, comments = (exclusions.foreign.filter(pl.col("is_post") == is_post)["id"] for is_post in (True, False))
        rules["post in another language"] = col("post_id").is_in(posts.implode())
        rules["in another language"] = col("comment_id").is_in(comments.implode())
    if recipe.exclude_near_duplicates:
        duplicates = exclusions.duplicate_responses["comment_id"]
        rules["near-duplicate of another response"] = col("comment_id").is_in(duplicates.implode())
    return rules


def _is_bot(exclusions: Exclusions) -> pl.Expr:
    is_known = pl.col("author_hash").is_in(exclusions.bots.implode()).fill_null(False)
    return is_known | pl.col("says_it_is_a_bot").fill_null(False)
