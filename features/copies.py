"""What ties items of a whole workspace together: copies of posts, copies of responses, and who wrote under what.

It looks at every subreddit of the workspace, whichever are built from: a pair set must share nothing with the frozen
hard test of another community either.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.clean import clean_text
from features.language import is_foreign
from features.near_duplicates import Likeness, join_groups, near_duplicate_groups, words_of
from features.recipes import Recipe
from features.splits import split_places
from lurker.authors import KNOWN_BOTS, hash_authors
from lurker.progress import progress
from lurker.schema import COMMENTS, POSTS, Table
from lurker.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Ties:
    """Frames, empty where the recipe does not ask for them."""

    copied_posts: pl.DataFrame
    """Posts that have a copy: post_id, copy_group, created_utc."""
    repeats: pl.DataFrame
    """Responses that are near-duplicates of one that stays: comment_id."""
    writers: pl.DataFrame
    """Who stands under which post, as its author or with a response: author_hash, post_id."""
    foreign: pl.DataFrame
    """Responses and posts in another language: id, is_post."""
    bots: pl.Series
    """Hashes of well-known bots in this workspace."""


def no_ties() -> Ties:
    """Nothing is tied to anything."""
    return Ties(
        pl.DataFrame(schema={"post_id": pl.String, "copy_group": pl.String, "created_utc": pl.Int64}),
        pl.DataFrame(schema={"comment_id": pl.String}),
        pl.DataFrame(schema={"author_hash": pl.String, "post_id": pl.String}),
        pl.DataFrame(schema={"id": pl.String, "is_post": pl.Boolean}),
        pl.Series("author_hash", [], dtype=pl.String),
    )


def read_ties(workspace: Workspace, recipe: Recipe) -> Ties:
    """The ties that the recipe asks for."""
    likeness = Likeness(min_similarity=recipe.min_copy_similarity, min_words=recipe.min_copy_words)
    none = no_ties()
    return Ties(
        _copied_posts(workspace, likeness) if recipe.keep_copies_together else none.copied_posts,
        _repeats(workspace, likeness) if recipe.exclude_near_duplicates else none.repeats,
        _writers(workspace) if recipe.split_by == "author" else none.writers,
        _foreign(workspace, recipe.language, recipe.min_language_probability) if recipe.language else none.foreign,
        hash_authors(pl.Series(KNOWN_BOTS), workspace.salt()) if recipe.exclude_bots else none.bots,
    )


def _copied_posts(workspace: Workspace, likeness: Likeness) -> pl.DataFrame:
    """Posts whose title and body are nearly the same, or the same and by one author however short: crossposts."""
    text = (pl.col("title") + "\n\n" + pl.col("body")).alias("text")
    whole = workspace.scan(POSTS).filter(~pl.col("is_deleted"))
    near = near_duplicate_groups(
        _parts(workspace, POSTS, text), lambda ids: _texts(whole, POSTS, text, ids), likeness
    ).rename({"id": "post_id"})
    same = (
        whole.filter(pl.col("author_hash").is_not_null())
        .select("post_id", "author_hash", words=words_of(text))
        .sort("post_id", "words")
        .unique("post_id", keep="first", maintain_order=True)
        .filter(pl.col("words") != "", pl.len().over("author_hash", "words") > 1)
        .select("post_id", same_group=pl.col("post_id").min().over("author_hash", "words"))
        .collect()
    )
    posts = near.join(same, on="post_id", how="full", coalesce=True).sort("post_id")
    ids = posts["post_id"]
    links = [
        (place, name) for column in ("copy_group", "same_group") for place, name in enumerate(posts[column]) if name
    ]
    left = np.array([place for place, _ in links], dtype=np.int64)
    right = ids.search_sorted(pl.Series([name for _, name in links], dtype=pl.String)).to_numpy().astype(np.int64)
    grouped = join_groups(ids, left, right).rename({"id": "post_id"})
    written = workspace.scan(POSTS).group_by("post_id").agg(pl.col("created_utc").min()).collect()
    return grouped.join(written, on="post_id").sort("post_id")


def _repeats(workspace: Workspace, likeness: Likeness) -> pl.DataFrame:
    """All but one of every group of responses: the one whose post lies lowest in the order of splits stays, for the
    hard test is made of those; of several there the oldest, then by id.
    """
    text = pl.col("body").alias("text")
    whole = workspace.scan(COMMENTS).filter("is_top_level", ~pl.col("is_deleted"))
    groups = near_duplicate_groups(
        _parts(workspace, COMMENTS, text), lambda ids: _texts(whole, COMMENTS, text, ids), likeness
    ).rename({"id": "comment_id"})
    where = whole.select("comment_id", "post_id", "created_utc").join(groups.lazy(), on="comment_id").collect()
    placed = where.with_columns(place=split_places(where["post_id"]))
    ordered = placed.sort("copy_group", "place", "created_utc", "comment_id")
    return ordered.filter(~pl.col("copy_group").is_first_distinct()).select("comment_id").sort("comment_id")


def _writers(workspace: Workspace) -> pl.DataFrame:
    responses = workspace.scan(COMMENTS).filter("is_top_level", ~pl.col("is_deleted")).select("author_hash", "post_id")
    askers = workspace.scan(POSTS).select("author_hash", "post_id")
    return pl.concat([responses, askers]).filter(pl.col("author_hash").is_not_null()).unique().collect()


def _foreign(workspace: Workspace, language: str, min_probability: float) -> pl.DataFrame:
    found = []
    for table, text in ((POSTS, pl.col("title") + "\n\n" + pl.col("body")), (COMMENTS, pl.col("body"))):
        for part in _parts(workspace, table, clean_text(text).alias("text"), "Telling languages apart"):
            ids = part.filter(is_foreign(part["text"], language, min_probability)).select("id")
            found.append(ids.with_columns(is_post=pl.lit(table is POSTS)))
    return pl.concat(found)


def _parts(
    workspace: Workspace, table: Table, text: pl.Expr, doing: str = "Looking for copies"
) -> Iterator[pl.DataFrame]:
    """A file's texts at a time, with ids."""
    files = workspace.files(table)
    with progress(f"{doing}: {table.name}", len(files), "files") as advance:
        for file in files:
            rows = pl.scan_parquet(file).filter(~pl.col("is_deleted"))
            if table is COMMENTS:
                rows = rows.filter("is_top_level")
            yield rows.select(pl.col(table.key[0]).alias("id"), text).collect()
            advance(1)


def _texts(rows: pl.LazyFrame, table: Table, text: pl.Expr, ids: pl.Series) -> pl.DataFrame:
    wanted = pl.LazyFrame({table.key[0]: ids})
    found = rows.join(wanted, on=table.key[0], how="semi").select(pl.col(table.key[0]).alias("id"), text).collect()
    return found.sort("id", "text").unique("id", keep="first", maintain_order=True)
