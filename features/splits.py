"""Train, validation and test by a hash of the post's id: a post never changes sides, however much data comes later."""

import polars as pl

from features.hashing import SPAN, hash_ids
from features.recipes import Recipe

SALT = "split"


def assign_splits(post_ids: pl.Series, recipe: Recipe) -> pl.DataFrame:
    """The split of each post: columns post_id, split (train | validation | test), one row a different id.

    A post's place u in [0, 1) is fixed by its id; test is u < test_fraction and validation the next
    validation_fraction, so two recipes with the same fractions agree on every post.
    """
    posts = post_ids.unique().sort()
    place = pl.Series("place", hash_ids(posts, SALT) / SPAN)
    split = (
        pl.when(place < recipe.test_fraction)
        .then(pl.lit("test"))
        .when(place < recipe.test_fraction + recipe.validation_fraction)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    return pl.DataFrame({"post_id": posts}).with_columns(split=split)
