"""Train, validation and test by a hash of the post's id: a post never changes sides, however much data comes later.

By author, the posts stand as ever, and whoever stands under a held-out post, as its author or with a response, is left
out of training, so that the hard test's posts and people are both unseen. By time, later posts are held out.

Copies of a post that stands on a more held-out side are left out rather than moved: a post moves never.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.hashing import SPAN, hash_ids
from features.recipes.recipe import MIN_TEST_FRACTION, Recipe
from lurker.errors import CallError
from lurker.pair_sets import SPLITS

SALT = "split"


@dataclass(frozen=True, slots=True)
class TimeCuts:
    """Posts written at or after these times are held out, seconds since 1970."""

    validation_from_utc: int
    test_from_utc: int


def split_places(post_ids: pl.Series) -> pl.Series:
    """The place of each post in [0, 1), fixed by its id. [n]."""
    return pl.Series("place", hash_ids(post_ids, SALT) / SPAN)


def time_cuts(created_utc: pl.Series, recipe: Recipe) -> TimeCuts:
    """The recipe's times, or those after which its shares of the posts were written. created_utc: [n], of posts.

    Errors: CallError where the cuts are not in order.
    """
    times = np.sort(created_utc.drop_nulls().to_numpy())
    held_out = recipe.validation_fraction + recipe.test_fraction

    def at(share: float) -> int:
        return int(times[min(int(np.ceil((1 - share) * len(times))), len(times) - 1)]) if len(times) else 0

    test_from = at(recipe.test_fraction) if recipe.test_from_utc is None else recipe.test_from_utc
    validation_from = at(held_out) if recipe.validation_from_utc is None else recipe.validation_from_utc
    if validation_from > test_from:
        raise CallError(
            f"validation_from_utc ({validation_from}) must not be after test_from_utc ({test_from}).",
            "Set both, in order: `--set validation_from_utc=... --set test_from_utc=...`.",
        )
    return TimeCuts(validation_from, test_from)


def with_time_cuts(recipe: Recipe, created_utc: pl.Series) -> Recipe:
    """The recipe with both its times where it splits by time, so that it can be applied to some of the posts.

    created_utc: [n], of all posts. Errors: as `time_cuts`.
    """
    if recipe.split_by != "time":
        return recipe
    return dataclasses.replace(recipe, **dataclasses.asdict(time_cuts(created_utc, recipe)))


def assign_splits(posts: pl.DataFrame, recipe: Recipe, copied_posts: pl.DataFrame | None = None) -> pl.DataFrame:
    """The split of each post: post_id, split (train | validation | test), misplaced; a row a different id, by id.

    posts: post_id, created_utc (of the post, null where unknown). copied_posts: as of `features.responses.duplicates`. misplaced:
    why the post may not stand where it does, null where it may: a copy of it is held out more, or it feeds the frozen
    hard test and is not held out here. A post's place u in [0, 1) is fixed by its id; test is u < test_fraction and
    validation the next validation_fraction, so two recipes with the same fractions agree on every post.
    """
    posts = posts.select("post_id", "created_utc").unique("post_id", keep="any").sort("post_id")
    rows = posts.with_columns(place=split_places(posts["post_id"]), copy_group=pl.col("post_id"), is_copy=False)
    if copied_posts is not None and not copied_posts.is_empty():
        copies = copied_posts.select("post_id", "created_utc", "copy_group")
        others = copies.with_columns(place=split_places(copies["post_id"]), is_copy=True)
        own = rows.drop("copy_group").join(copies.select("post_id", "copy_group"), on="post_id", how="left")
        rows = pl.concat([own.with_columns(pl.col("copy_group").fill_null(pl.col("post_id"))), others], how="diagonal")
    rows = rows.with_columns(side=_side(recipe, posts["created_utc"]))
    most_held_out = pl.col("side").max().over("copy_group")
    feeds_hard_test = pl.col("place").min().over("copy_group") < MIN_TEST_FRACTION
    misplaced = (
        pl.when(pl.col("side") < most_held_out)
        .then(pl.lit(HELD_OUT_COPY))
        .when(feeds_hard_test & (pl.col("side") < SPLITS.index("test")))
        .then(pl.lit(FEEDS_HARD_TEST))
    )
    judged = rows.with_columns(misplaced=misplaced).filter(~pl.col("is_copy"))
    named = pl.col("side").replace_strict(dict(enumerate(SPLITS)), return_dtype=pl.String)
    return judged.select("post_id", split=named, misplaced="misplaced").sort("post_id")


HELD_OUT_COPY = "a copy of the post is held out"
FEEDS_HARD_TEST = "post feeds the frozen hard test"


def _side(recipe: Recipe, created_utc: pl.Series) -> pl.Expr:
    """0 train, 1 validation, 2 test."""
    if recipe.split_by == "time":
        cuts = time_cuts(created_utc, recipe)
        created = pl.col("created_utc")
        is_test, is_validation = created >= cuts.test_from_utc, created >= cuts.validation_from_utc
    else:
        is_test = pl.col("place") < recipe.test_fraction
        is_validation = pl.col("place") < recipe.test_fraction + recipe.validation_fraction
    return pl.when(is_test).then(2).when(is_validation).then(1).otherwise(0).cast(pl.Int64)


def held_out_sides(writers: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The most held-out side that each author stands on, for those on one at all: author_hash, side.

    writers: author_hash, post_id.
    """
    posts = writers["post_id"].unique().sort()
    sides = pl.DataFrame({"post_id": posts, "place": split_places(posts)}).with_columns(
        side=_side(recipe, pl.Series(dtype=pl.Int64))
    )
    held = writers.join(sides, on="post_id").group_by("author_hash").agg(pl.col("side").max())
    return held.filter(pl.col("side") > 0).sort("author_hash")


def stands_on_a_side_held_out_more(authors: pl.DataFrame) -> pl.Expr:
    """Whether a response, or the post it answers, is by someone who stands under a post that is held out more.

    authors: as of `held_out_sides`, over the whole workspace. An expression for frames with author_hash,
    post_author_hash and split.
    """
    own = pl.col("split").replace_strict({name: side for side, name in enumerate(SPLITS)}, return_dtype=pl.Int64)
    conditions = []
    for name in ("author_hash", "post_author_hash"):
        for side in (1, 2):
            people = authors.filter(pl.col("side") == side)["author_hash"]
            conditions.append(pl.col(name).is_in(people.implode()) & (own < side))
    return pl.any_horizontal(conditions).fill_null(False)
