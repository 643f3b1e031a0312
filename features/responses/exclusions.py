"""What must be excluded because of the rest of the workspace: copies of posts and responses, people who are held out.

Every subreddit of the workspace is searched, not only those a set is built from: a pair set must not share anything
with the frozen hard test of another community either.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from features.blocks import batches, parquet_sql, write_block
from features.build_context import BuildContext, temporary_folder
from features.databases import connect
from features.recipes.recipe import Recipe
from features.responses.splits import held_out_authors, split_positions
from features.text.clean import clean_text
from features.text.language import is_foreign
from features.text.near_duplicates import DuplicateRule, connected_groups, near_duplicate_groups, normalised_words
from lurker.authors import KNOWN_BOTS, hash_authors
from lurker.progress import progress
from lurker.schema import COMMENTS, POSTS, Table


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Frames that the rules of a recipe look up; empty where the recipe does not use them."""

    copied_posts: pl.DataFrame
    """Posts that have a copy: post_id, copy_group, created_utc."""
    duplicate_responses: pl.DataFrame
    """Responses that are near-duplicates of one that is kept: comment_id."""
    held_out_authors: pl.DataFrame
    """Authors of held-out posts and of responses to them: author_hash, side (1 validation, 2 test)."""
    foreign: pl.DataFrame
    """Responses and posts in another language: id, is_post."""
    bots: pl.Series
    """Author hashes of well-known bots in this workspace."""


def no_exclusions() -> Exclusions:
    """Empty frames."""
    return Exclusions(
        pl.DataFrame(schema={"post_id": pl.String, "copy_group": pl.String, "created_utc": pl.Int64}),
        pl.DataFrame(schema={"comment_id": pl.String}),
        pl.DataFrame(schema={"author_hash": pl.String, "side": pl.Int64}),
        pl.DataFrame(schema={"id": pl.String, "is_post": pl.Boolean}),
        pl.Series("author_hash", [], dtype=pl.String),
    )


def find_exclusions(recipe: Recipe, context: BuildContext) -> Exclusions:
    """Search the workspace for what the recipe's rules look up."""
    rule = DuplicateRule(min_similarity=recipe.min_copy_similarity, min_words=recipe.min_copy_words)
    none = no_exclusions()
    return Exclusions(
        _copied_posts(rule, context) if recipe.keep_copies_together else none.copied_posts,
        _duplicate_responses(rule, context) if recipe.exclude_near_duplicates else none.duplicate_responses,
        _held_out_authors(recipe, context) if recipe.split_by == "author" else none.held_out_authors,
        _foreign(recipe.language, recipe.min_language_probability, context) if recipe.language else none.foreign,
        hash_authors(pl.Series(KNOWN_BOTS), context.workspace.salt()) if recipe.exclude_bots else none.bots,
    )


def _copied_posts(rule: DuplicateRule, context: BuildContext) -> pl.DataFrame:
    """Posts that are the same to a reader: crossposts according to Reddit, near-duplicates of title and body, and posts
    of the same words by one author, however short.
    """
    near = near_duplicate_groups(lambda: _texts(POSTS, context), rule, context.options)
    same = _same_posts(context)
    links = pl.concat([near.select("id", "copy_group"), same.rename({"post_id": "id"}), _crossposts(context)])
    grouped = connected_groups(links["id"], links["copy_group"]).rename({"id": "post_id"})
    return _join_columns(POSTS, grouped, "min(created_utc) AS created_utc", context)


def _crossposts(context: BuildContext) -> pl.DataFrame:
    """Posts that show another post, which need not be in the workspace: id, copy_group (the id of the other)."""
    with connect(context.options) as connection:
        crossposts: pl.DataFrame = connection.sql(
            f"SELECT post_id AS id, crosspost_of AS copy_group FROM {context.workspace.sql(POSTS)} "
            "WHERE crosspost_of IS NOT NULL AND NOT is_deleted"
        ).pl()
    return crossposts


def _same_posts(context: BuildContext) -> pl.DataFrame:
    """Posts of the same words by one author: post_id, copy_group (the lowest id of these)."""
    same = pl.DataFrame(schema={"post_id": pl.String, "copy_group": pl.String})
    with temporary_folder(context.options) as folder, connect(context.options) as connection:
        files = [
            write_block(
                part.select("id", "author_hash", words=normalised_words(pl.col("text")).hash()),
                folder / f"{n:06}.parquet",
            )
            for n, part in enumerate(_texts(POSTS, context, "author_hash"))
        ]
        if files:
            same = connection.sql(
                f"WITH posts AS (SELECT id, min(author_hash) AS author, min(words) AS words FROM {parquet_sql(files)} "
                f"WHERE author_hash IS NOT NULL AND words <> {pl.Series(['']).hash().item()} GROUP BY id) "
                "SELECT id AS post_id, min(id) OVER same AS copy_group FROM posts "
                "WINDOW same AS (PARTITION BY author, words) QUALIFY count(*) OVER same > 1"
            ).pl()
    return same


def _duplicate_responses(rule: DuplicateRule, context: BuildContext) -> pl.DataFrame:
    """All but one response of every group of near-duplicates: comment_id.

    The response whose post comes first in the order of splits is kept, because the hard test is made of those; of
    several, the oldest, then the lowest id.
    """
    groups = near_duplicate_groups(lambda: _texts(COMMENTS, context), rule, context.options)
    groups = groups.rename({"id": "comment_id"})
    columns = "min(post_id) AS post_id, min(created_utc) AS created_utc"
    responses = _join_columns(COMMENTS, groups, columns, context)
    responses = responses.with_columns(position=split_positions(responses["post_id"]))
    ordered = responses.sort("copy_group", "position", "created_utc", "comment_id")
    return ordered.filter(~pl.col("copy_group").is_first_distinct()).select("comment_id").sort("comment_id")


def _join_columns(table: Table, rows: pl.DataFrame, columns: str, context: BuildContext) -> pl.DataFrame:
    """The rows with columns of the table, joined by id."""
    key = table.key[0]
    if rows.is_empty():
        return rows.with_columns(post_id=pl.lit(""), created_utc=pl.lit(0))
    with connect(context.options) as connection:
        connection.register("_wanted", rows.to_arrow())
        items = connection.sql(
            f"SELECT {key}, {columns} FROM {context.workspace.sql(table)} "
            f"WHERE {key} IN (SELECT {key} FROM _wanted) GROUP BY {key}"
        ).pl()
    return rows.join(items, on=key).sort(key)


def _held_out_authors(recipe: Recipe, context: BuildContext) -> pl.DataFrame:
    comments, posts = context.workspace.sql(COMMENTS), context.workspace.sql(POSTS)
    queries = (
        f"SELECT author_hash, post_id FROM {comments} WHERE is_top_level AND NOT is_deleted "
        f"UNION ALL SELECT author_hash, post_id FROM {posts}"
    )
    writers = f"SELECT DISTINCT * FROM ({queries}) WHERE author_hash IS NOT NULL"
    held = no_exclusions().held_out_authors
    with connect(context.options) as connection:
        for part in batches(connection, writers):
            held = pl.concat([held, held_out_authors(part, recipe)]).group_by("author_hash").agg(pl.col("side").max())
    return held.sort("author_hash")


def _foreign(language: str, min_probability: float, context: BuildContext) -> pl.DataFrame:
    parts = [no_exclusions().foreign]
    for table in (POSTS, COMMENTS):
        for part in _texts(table, context, description="Detecting languages"):
            texts = part.select(clean_text(pl.col("text"))).to_series()
            ids = part.filter(is_foreign(texts, language, min_probability)).select("id")
            parts.append(ids.with_columns(is_post=pl.lit(table is POSTS)))
    return pl.concat(parts)


def _texts(
    table: Table, context: BuildContext, *columns: str, description: str = "Searching for copies"
) -> Iterator[pl.DataFrame]:
    """The raw texts of all posts or responses that are not deleted, in batches: id, text, and the columns."""
    workspace = context.workspace
    if not workspace.subreddits(table):
        return
    text, rule = ("title || '\n\n' || body", "") if table is POSTS else ("body", "AND is_top_level")
    selected = ", ".join([f"{table.key[0]} AS id", f"{text} AS text", *columns])
    n_rows = sum(workspace.manifest(table, name)["n_rows"] for name in workspace.subreddits(table))
    with (
        connect(context.options) as connection,
        progress(f"{description}: {table.name}", n_rows, table.name) as advance,
    ):
        for part in batches(connection, f"SELECT {selected} FROM {workspace.sql(table)} WHERE NOT is_deleted {rule}"):
            yield part
            advance(part.height)
