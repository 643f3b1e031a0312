"""Train, validation and test by a hash of the post's id: a post never changes its split, however much data is added.

split_by=author: posts are split as before, and everyone who writes under a held-out post, or wrote it, is excluded from
training, so that both the posts and the people of the hard test are unseen. split_by=time: later posts are held out.

A copy of a post in a more held-out split is dropped rather than moved, because a post never moves.
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
HELD_OUT_COPY = "a copy of the post is held out"
FEEDS_HARD_TEST = "post feeds the frozen hard test"


@dataclass(frozen=True, slots=True)
class TimeCuts:
    """Posts written at or after these times are held out, seconds since 1970."""

    validation_from_utc: int
    test_from_utc: int


def split_positions(post_ids: pl.Series) -> pl.Series:
    """The position of each post in [0, 1), fixed by its id. Shape [n]."""
    return pl.Series("position", hash_ids(post_ids, SALT) / SPAN)


def time_cuts(created_utc: pl.Series, recipe: Recipe) -> TimeCuts:
    """The recipe's cut times, or those that hold out its fractions of the posts.

    Args:
        created_utc: when each post was written, shape [n].

    Raises:
        CallError: the cuts are not in order.
    """
    times = np.sort(created_utc.drop_nulls().to_numpy())
    held_out = recipe.validation_fraction + recipe.test_fraction

    def last(fraction: float) -> int:
        """Where the last fraction of the posts begins."""
        return int(times[min(int(np.ceil((1 - fraction) * len(times))), len(times) - 1)]) if len(times) else 0

    test_from = last(recipe.test_fraction) if recipe.test_from_utc is None else recipe.test_from_utc
    validation_from = last(held_out) if recipe.validation_from_utc is None else recipe.validation_from_utc
    if validation_from > test_from:
        raise CallError(
            f"validation_from_utc ({validation_from}) must not be after test_from_utc ({test_from}).",
            "Set both, in order: `--set validation_from_utc=... --set test_from_utc=...`.",
        )
    return TimeCuts(validation_from, test_from)


def with_time_cuts(recipe: Recipe, created_utc: pl.Series) -> Recipe:
    """The recipe with both cut times set if it splits by time, so that it can be applied to a part of the posts.

    Args:
        created_utc: when each post was written, of all posts, shape [n].

    Raises:
        CallError: the cuts are not in order.
    """
    if recipe.split_by != "time":
        return recipe
    return dataclasses.replace(recipe, **dataclasses.asdict(time_cuts(created_utc, recipe)))


def assign_splits(posts: pl.DataFrame, recipe: Recipe, copied_posts: pl.DataFrame | None = None) -> pl.DataFrame:
    """The split of each post.

    The position u of a post in [0, 1) is fixed by its id: test is u < test_fraction, validation the next
    validation_fraction. So two recipes with the same fractions agree on every post.

    Args:
        posts: post_id, created_utc (null if unknown).
        copied_posts: as in `Exclusions.copied_posts`.

    Returns:
        One row per distinct post, sorted by id: post_id, split (train | validation | test), misplaced. `misplaced` says
        why the post must be dropped, null if it is kept: a copy of it is in a more held-out split, or it feeds the
        frozen hard test and is not held out here.
    """
    posts = posts.select("post_id", "created_utc").unique("post_id", keep="any").sort("post_id")
    rows = posts.with_columns(position=split_positions(posts["post_id"]), copy_group=pl.col("post_id"), is_copy=False)
    if copied_posts is not None and not copied_posts.is_empty():
        copies = copied_posts.select("post_id", "created_utc", "copy_group")
        others = copies.with_columns(position=split_positions(copies["post_id"]), is_copy=True)
        own = rows.drop("copy_group").join(copies.select("post_id", "copy_group"), on="post_id", how="left")
        rows = pl.concat([own.with_columns(pl.col("copy_group").fill_null(pl.col("post_id"))), others], how="diagonal")
    rows = rows.with_columns(side=_split_number(recipe, posts["created_utc"]))
    most_held_out = pl.col("side").max().over("copy_group")
    feeds_hard_test = pl.col("position").min().over("copy_group") < MIN_TEST_FRACTION
    misplaced = (
        pl.when(pl.col("side") < most_held_out)
        .then(pl.lit(HELD_OUT_COPY))
        .when(feeds_hard_test & (pl.col("side") < SPLITS.index("test")))
        .then(pl.lit(FEEDS_HARD_TEST))
    )
    judged = rows.with_columns(misplaced=misplaced).filter(~pl.col("is_copy"))
    split = pl.col("side").replace_strict(dict(enumerate(SPLITS)), return_dtype=pl.String)
    return judged.select("post_id", split=split, misplaced="misplaced").sort("post_id")


def _split_number(recipe: Recipe, created_utc: pl.Series) -> pl.Expr:
    """0 train, 1 validation, 2 test: a higher number is more held out."""
    if recipe.split_by == "time":
        cuts = time_cuts(created_utc, recipe)
        created = pl.col("created_utc")
        is_test, is_validation = created >= cuts.test_from_utc, created >= cuts.validation_from_utc
    else:
        is_test = pl.col("position") < recipe.test_fraction
        is_validation = pl.col("position") < recipe.test_fraction + recipe.validation_fraction
    return pl.when(is_test).then(2).when(is_validation).then(1).otherwise(0).cast(pl.Int64)


def held_out_authors(writers: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The most held-out split each author appears in, of authors in validation or test.

    Args:
        writers: author_hash, post_id.

    Returns:
        author_hash, side (1 validation, 2 test), sorted by author_hash.
    """
    posts = writers["post_id"].unique().sort()
    sides = pl.DataFrame({"post_id": posts, "position": split_positions(posts)}).with_columns(
        side=_split_number(recipe, pl.Series(dtype=pl.Int64))
    )
    held = writers.join(sides, on="post_id").group_by("author_hash").agg(pl.col("side").max())
    return held.filter(pl.col("side") > 0).sort("author_hash")


def is_by_held_out_author(authors: pl.DataFrame) -> pl.Expr:
    """Whether a response, or its post, is by someone who also appears in a more held-out split.

    Args:
        authors: as returned by `held_out_authors`, of the entire workspace.

    Returns:
        An expression for frames with author_hash, post_author_hash and split.
    """
    own = pl.col("split").replace_strict({name: side for side, name in enumerate(SPLITS)}, return_dtype=pl.Int64)
    conditions = []
    for name in ("author_hash", "post_author_hash"):
        for side in (1, 2):
            people = authors.filter(pl.col("side") == side)["author_hash"]
            conditions.append(pl.col(name).is_in(people.implode()) & (own < side))
    return pl.any_horizontal(conditions).fill_null(False)
