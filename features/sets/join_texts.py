"""Texts are joined last: only those of the final pairs are read, one block of posts at a time."""

from collections import deque
from collections.abc import Iterator

import duckdb
import polars as pl

from features.blocks import Blocks
from features.build_context import BuildContext
from features.databases import connect
from features.recipes.recipe import Recipe
from features.text.clean import prompt_text, response_text
from lurker.engine import map_in_order
from lurker.files import sql_string
from lurker.schema import COMMENTS, PAIRS, POSTS, check
from lurker.workspace import Workspace

PART_PAIRS = 10_000
"""Pairs held with their texts at a time; the prompt is repeated for every pair."""


def attach_texts(pairs: Blocks, recipe: Recipe, context: BuildContext) -> Iterator[pl.DataFrame]:
    """The PAIRS table of matched pairs, part by part in their order, with cleaned prompts and responses.

    The posts of a block are a range of one subreddit, and ingest writes files in that order, so only the part of the
    files that holds the block is read. Files in another order give the same result but are read completely for every
    block.
    """
    pending = deque[pl.DataFrame]()
    with connect(context.options) as connection:

        def tasks() -> Iterator[dict[str, pl.DataFrame]]:
            for subreddit, block in zip(pairs.subreddits, pairs, strict=True):
                if not block.is_empty():
                    pending.append(block)
                    yield _read_texts(connection, context.workspace, subreddit, block)

        for texts, prompts in map_in_order(_clean, tasks(), engine=context.options.engine):
            for part in pending.popleft().iter_slices(PART_PAIRS):
                joined = _join(part.lazy(), texts.lazy(), prompts.lazy()).collect()
                weight = pl.col("weight") if "weight" in part.columns else pl.lit(1.0)
                yield check(joined.with_columns(weight=weight, recipe=pl.lit(recipe.name)), PAIRS)


def _read_texts(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, subreddit: str, block: pl.DataFrame
) -> dict[str, pl.DataFrame]:
    """Raw comments and posts of a block of pairs."""
    ids = pl.DataFrame({"id": pl.concat([block["chosen_id"], block["rejected_id"]]).unique()})
    posts = block.select(id=pl.col("post_id").unique())
    first, last = (sql_string(str(post_id)) for post_id in (block["post_id"].min(), block["post_id"].max()))
    texts = {}
    for table, columns, wanted in ((COMMENTS, "comment_id, body", ids), (POSTS, "post_id, title, body", posts)):
        connection.register("_wanted", wanted.to_arrow())
        texts[table.name] = connection.sql(
            f"SELECT {columns} FROM {workspace.sql(table, [subreddit])} "
            f"WHERE post_id BETWEEN {first} AND {last} AND {table.key[0]} IN (SELECT id FROM _wanted)"
        ).pl()
        connection.unregister("_wanted")
    return texts


def _clean(comments: pl.DataFrame, posts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """comment_id, text; and post_id, prompt."""
    return (
        comments.select("comment_id", text=response_text(pl.col("body"))),
        posts.select("post_id", prompt=prompt_text(pl.col("title"), pl.col("body"))),
    )


def join_texts(workspace: Workspace, pairs: pl.DataFrame) -> pl.DataFrame:
    """Add cleaned prompt, chosen and rejected, in order; null for a text that the workspace does not have.

    Args:
        pairs: post_id, subreddit, chosen_id, rejected_id.
    """
    wanted = pl.LazyFrame({"comment_id": pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique()})
    known = {name.lower() for name in workspace.subreddits(COMMENTS)}
    subreddits = [name for name in pairs["subreddit"].unique().sort() if name.lower() in known]
    comments = workspace.scan(COMMENTS, subreddits).join(wanted, on="comment_id", how="semi")
    texts = _newest(comments, "comment_id").select("comment_id", text=response_text(pl.col("body")))
    posts = workspace.scan(POSTS).join(pairs.lazy().select("post_id").unique(), on="post_id", how="semi")
    prompts = _newest(posts, "post_id").select("post_id", prompt=prompt_text(pl.col("title"), pl.col("body")))
    return _join(pairs.lazy(), texts, prompts).collect()


def _newest(rows: pl.LazyFrame, key: str) -> pl.LazyFrame:
    """One row per id, sorted by id; if an id occurs in two subreddits, the row retrieved last."""
    ordered = rows.sort(key, "retrieved_utc", "subreddit", descending=[False, True, False], nulls_last=True)
    return ordered.unique(key, keep="first", maintain_order=True)


def _join(pairs: pl.LazyFrame, texts: pl.LazyFrame, prompts: pl.LazyFrame) -> pl.LazyFrame:
    for side in ("chosen", "rejected"):
        named = texts.rename({"comment_id": f"{side}_id", "text": side})
        pairs = pairs.join(named, on=f"{side}_id", how="left", maintain_order="left")
    return pairs.join(prompts, on="post_id", how="left", maintain_order="left")
