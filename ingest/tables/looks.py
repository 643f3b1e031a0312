"""Several looks at one item: which text and which flags its row keeps; pure functions of frames.

The newest look wins, but for three things. An item that was deleted since keeps the text it had, and is marked as
deleted. Of several looks at the same second, any may tell that the item is controversial. That a score was hidden at
one look stays known after later ones.
"""

import polars as pl

from lurker.removed import is_removed
from lurker.schema import COMMENTS, POSTS, Table

TEXTS = {POSTS.name: ("title", "body"), COMMENTS.name: ("body",)}
"""Columns with texts; a purge sets those of deleted items to the empty string, `author_hash` and `flair` to null."""


def text_time(suffix: str = "") -> pl.Expr:
    """When the text of a row was retrieved, seconds since 1970.

    Args:
        suffix: of the columns' names.
    """
    return pl.coalesce(f"first_retrieved_utc{suffix}", f"retrieved_utc{suffix}")


def with_earlier_texts(newest: pl.DataFrame, looks: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The newest rows; those of deleted items get the text that was retrieved last.

    A text that a purge erased stays erased. `first_retrieved_utc` becomes the time of the look with the text.

    Args:
        newest: one row per item.
        looks: all rows of these items; of texts retrieved at the same time, the first row's counts.
    """
    key, names = table.key[0], TEXTS[table.name]
    is_erased = pl.all_horizontal(pl.col(name) == "" for name in names) & pl.col("author_hash").is_null()
    deleted = newest.filter(pl.col("is_deleted") & ~is_erased).select(key)
    if deleted.is_empty():
        return newest
    by_text = looks.join(deleted, on=key, how="semi").with_columns(_text_utc=text_time())
    by_text = by_text.sort("_text_utc", descending=True, nulls_last=True, maintain_order=True)
    has_text = {name: ~is_removed(pl.col(name)) & (pl.col(name) != "") for name in names}
    found = by_text.group_by(key).agg(
        *(pl.col(name).filter(has_text[name]).first().alias(f"_{name}") for name in names),
        *(pl.col("_text_utc").filter(has_text[name]).first().alias(f"_{name}_utc") for name in names),
    )
    text_utc = pl.coalesce(f"_{name}_utc" for name in reversed(names))  # a post's text is its body, else its title
    earlier_utc = pl.when(text_utc < pl.col("retrieved_utc")).then(text_utc)
    return (
        newest.join(found, on=key, how="left", maintain_order="left")
        .with_columns(
            *(pl.coalesce(f"_{name}", name).alias(name) for name in names),
            first_retrieved_utc=pl.when(text_utc.is_null()).then("first_retrieved_utc").otherwise(earlier_utc),
        )
        .select(newest.columns)
    )


def flags_of_looks(looks: pl.DataFrame) -> pl.DataFrame:
    """The flags of each comment: is_controversial at any of the newest looks, was_score_hidden at any look.

    Args:
        looks: rows of the table comments.
    """
    newest = pl.col("retrieved_utc").max()
    is_newest = pl.col("retrieved_utc").eq_missing(newest)
    return looks.group_by(COMMENTS.key).agg(
        pl.col("is_controversial").filter(is_newest).max(), pl.col("was_score_hidden").max()
    )
