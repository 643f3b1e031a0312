"""What ties items of a whole workspace together: copies of posts, copies of responses, and who wrote under what.

It looks at every subreddit of the workspace, whichever are built from: a pair set must share nothing with the frozen
hard test of another community either.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from features.blocks import Means, batches, connect, parquet_sql, staging, write_block
from features.recipes.recipe import Recipe
from features.responses.splits import held_out_sides, split_places
from features.text.clean import clean_text
from features.text.language import is_foreign
from features.text.near_duplicates import Likeness, group_links, near_duplicate_groups, words_of
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
    held_out_authors: pl.DataFrame
    """Who stands under a post that is held out, as its author or with a response, and on which side: author_hash,
    side."""
    foreign: pl.DataFrame
    """Responses and posts in another language: id, is_post."""
    bots: pl.Series
    """Hashes of well-known bots in this workspace."""


def no_ties() -> Ties:
    """Nothing is tied to anything."""
    return Ties(
        pl.DataFrame(schema={"post_id": pl.String, "copy_group": pl.String, "created_utc": pl.Int64}),
        pl.DataFrame(schema={"comment_id": pl.String}),
        pl.DataFrame(schema={"author_hash": pl.String, "side": pl.Int64}),
        pl.DataFrame(schema={"id": pl.String, "is_post": pl.Boolean}),
        pl.Series("author_hash", [], dtype=pl.String),
    )


def read_ties(workspace: Workspace, recipe: Recipe, means: Means) -> Ties:
    """The ties that the recipe asks for."""
    likeness = Likeness(min_similarity=recipe.min_copy_similarity, min_words=recipe.min_copy_words)
    none = no_ties()
    return Ties(
        _copied_posts(workspace, likeness, means) if recipe.keep_copies_together else none.copied_posts,
        _repeats(workspace, likeness, means) if recipe.exclude_near_duplicates else none.repeats,
        _held_out_authors(workspace, recipe, means) if recipe.split_by == "author" else none.held_out_authors,
        _foreign(workspace, recipe.language, recipe.min_language_probability, means)
        if recipe.language
        else none.foreign,
        hash_authors(pl.Series(KNOWN_BOTS), workspace.salt()) if recipe.exclude_bots else none.bots,
    )


def _copied_posts(workspace: Workspace, likeness: Likeness, means: Means) -> pl.DataFrame:
    """Posts that are one to a reader: crossposts by Reddit's word, titles and bodies that are nearly the same, or the
    same and by one author however short.
    """
    near = near_duplicate_groups(lambda: _texts(workspace, POSTS, means), likeness, means)
    same = _same_posts(workspace, means)
    links = pl.concat([near.select("id", "copy_group"), same.rename({"post_id": "id"}), _crossposts(workspace, means)])
    grouped = group_links(links["id"], links["copy_group"]).rename({"id": "post_id"})
    return _with_columns_of(workspace, POSTS, grouped, "min(created_utc) AS created_utc", means)


def _crossposts(workspace: Workspace, means: Means) -> pl.DataFrame:
    """Posts that show another again, with its id, whether it is here or not: id, copy_group."""
    if not (files := workspace.files(POSTS)):
        return pl.DataFrame(schema={"id": pl.String, "copy_group": pl.String})
    with connect(means) as connection:
        found: pl.DataFrame = connection.sql(
            f"SELECT post_id AS id, crosspost_of AS copy_group FROM {parquet_sql(files)} "
            "WHERE crosspost_of IS NOT NULL AND NOT is_deleted"
        ).pl()
    return found


def _same_posts(workspace: Workspace, means: Means) -> pl.DataFrame:
    """Posts of the same words by one author: post_id, copy_group (the lowest id of these)."""
    found = pl.DataFrame(schema={"post_id": pl.String, "copy_group": pl.String})
    with staging(means) as folder, connect(means) as connection:
        files = [
            write_block(
                part.select("id", "author_hash", words=words_of(pl.col("text")).hash()), folder / f"{n:06}.parquet"
            )
            for n, part in enumerate(_texts(workspace, POSTS, means, "author_hash"))
        ]
        if files:
            found = connection.sql(
                f"WITH posts AS (SELECT id, min(author_hash) AS author, min(words) AS words FROM {parquet_sql(files)} "
                f"WHERE author_hash IS NOT NULL AND words <> {pl.Series(['']).hash().item()} GROUP BY id) "
                "SELECT id AS post_id, min(id) OVER alike AS copy_group FROM posts "
                "WINDOW alike AS (PARTITION BY author, words) QUALIFY count(*) OVER alike > 1"
            ).pl()
    return found


def _repeats(workspace: Workspace, likeness: Likeness, means: Means) -> pl.DataFrame:
    """All but one of every group of responses: the one whose post lies lowest in the order of splits stays, for the
    hard test is made of those; of several there the oldest, then by id.
    """
    groups = near_duplicate_groups(lambda: _texts(workspace, COMMENTS, means), likeness, means)
    groups = groups.rename({"id": "comment_id"})
    columns = "min(post_id) AS post_id, min(created_utc) AS created_utc"
    where = _with_columns_of(workspace, COMMENTS, groups, columns, means)
    placed = where.with_columns(place=split_places(where["post_id"]))
    ordered = placed.sort("copy_group", "place", "created_utc", "comment_id")
    return ordered.filter(~pl.col("copy_group").is_first_distinct()).select("comment_id").sort("comment_id")


def _with_columns_of(
    workspace: Workspace, table: Table, rows: pl.DataFrame, columns: str, means: Means
) -> pl.DataFrame:
    """The rows with columns of the table's item, by its id."""
    key = table.key[0]
    if rows.is_empty():
        return rows.with_columns(post_id=pl.lit(""), created_utc=pl.lit(0))
    with connect(means) as connection:
        connection.register("_wanted", rows.to_arrow())
        found = connection.sql(
            f"SELECT {key}, {columns} FROM {parquet_sql(workspace.files(table))} "
            f"WHERE {key} IN (SELECT {key} FROM _wanted) GROUP BY {key}"
        ).pl()
    return rows.join(found, on=key).sort(key)


def _held_out_authors(workspace: Workspace, recipe: Recipe, means: Means) -> pl.DataFrame:
    queries = []
    if files := workspace.files(COMMENTS):
        queries.append(f"SELECT author_hash, post_id FROM {parquet_sql(files)} WHERE is_top_level AND NOT is_deleted")
    if files := workspace.files(POSTS):
        queries.append(f"SELECT author_hash, post_id FROM {parquet_sql(files)}")
    written = f"SELECT DISTINCT * FROM ({' UNION ALL '.join(queries)}) WHERE author_hash IS NOT NULL"
    held = no_ties().held_out_authors
    with connect(means) as connection:
        for part in batches(connection, written):
            held = pl.concat([held, held_out_sides(part, recipe)]).group_by("author_hash").agg(pl.col("side").max())
    return held.sort("author_hash")


def _foreign(workspace: Workspace, language: str, min_probability: float, means: Means) -> pl.DataFrame:
    found = [no_ties().foreign]
    for table in (POSTS, COMMENTS):
        for part in _texts(workspace, table, means, doing="Telling languages apart"):
            texts = part.select(clean_text(pl.col("text"))).to_series()
            ids = part.filter(is_foreign(texts, language, min_probability)).select("id")
            found.append(ids.with_columns(is_post=pl.lit(table is POSTS)))
    return pl.concat(found)


def _texts(
    workspace: Workspace, table: Table, means: Means, *columns: str, doing: str = "Looking for copies"
) -> Iterator[pl.DataFrame]:
    """The texts as written of all posts or responses that are there, a part at a time: id, text, the columns."""
    if not (files := workspace.files(table)):
        return
    text, rule = ("title || '\n\n' || body", "") if table is POSTS else ("body", "AND is_top_level")
    chosen = ", ".join([f"{table.key[0]} AS id", f"{text} AS text", *columns])
    n_rows = sum(workspace.manifest(table, name)["n_rows"] for name in workspace.subreddits(table))
    with connect(means) as connection, progress(f"{doing}: {table.name}", n_rows, table.name) as advance:
        for part in batches(connection, f"SELECT {chosen} FROM {parquet_sql(files)} WHERE NOT is_deleted {rule}"):
            yield part
            advance(part.height)
