"""Texts join last: only those of the pairs that stayed are read, for a block of posts at a time."""

from collections import deque
from collections.abc import Iterator

import duckdb
import polars as pl

from features.blocks import Blocks, Means, connect, parquet_sql
from features.recipes.recipe import Recipe
from features.text.clean import prompt_text, response_text
from lurker.engine import map_in_order
from lurker.schema import COMMENTS, PAIRS, POSTS, check
from lurker.workspace import Workspace, sql_string

PART_PAIRS = 10_000
"""Pairs that are held with their texts at a time; a prompt is there once a pair."""


def attach_texts(workspace: Workspace, matched: Blocks, recipe: Recipe, means: Means) -> Iterator[pl.DataFrame]:
    """The table `pairs` from matched pairs, a part at a time in their order: prompt and both texts, cleaned.

    The posts of a block are a range of one subreddit, the order in which ingest writes files, so of these no more is
    read than holds the block. Files in another order give the same, but are read whole for every block.
    """
    waiting = deque[pl.DataFrame]()
    with connect(means) as connection:

        def tasks() -> Iterator[dict[str, pl.DataFrame]]:
            for subreddit, block in zip(matched.subreddits, matched, strict=True):
                if not block.is_empty():
                    waiting.append(block)
                    yield _read_texts(connection, workspace, subreddit, block)

        for texts, prompts in map_in_order(_clean, tasks(), engine=means.engine):
            for part in waiting.popleft().iter_slices(PART_PAIRS):
                joined = _join(part.lazy(), texts.lazy(), prompts.lazy()).collect()
                weight = pl.col("weight") if "weight" in part.columns else pl.lit(1.0)
                yield check(joined.with_columns(weight=weight, recipe=pl.lit(recipe.name)), PAIRS)


def _read_texts(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, subreddit: str, block: pl.DataFrame
) -> dict[str, pl.DataFrame]:
    """Comments and posts of a block of pairs as written."""
    ids = pl.DataFrame({"id": pl.concat([block["chosen_id"], block["rejected_id"]]).unique()})
    posts = block.select(id=pl.col("post_id").unique())
    first, last = (sql_string(str(one)) for one in (block["post_id"].min(), block["post_id"].max()))
    found = {}
    for table, columns, wanted in ((COMMENTS, "comment_id, body", ids), (POSTS, "post_id, title, body", posts)):
        connection.register("_wanted", wanted.to_arrow())
        found[table.name] = connection.sql(
            f"SELECT {columns} FROM {parquet_sql(workspace.files(table, [subreddit]))} "
            f"WHERE post_id BETWEEN {first} AND {last} AND {table.key[0]} IN (SELECT id FROM _wanted)"
        ).pl()
        connection.unregister("_wanted")
    return found


def _clean(comments: pl.DataFrame, posts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """comment_id, text; and post_id, prompt."""
    return (
        comments.select("comment_id", text=response_text(pl.col("body"))),
        posts.select("post_id", prompt=prompt_text(pl.col("title"), pl.col("body"))),
    )


def join_texts(workspace: Workspace, pairs: pl.DataFrame) -> pl.DataFrame:
    """The rows with prompt, chosen and rejected, cleaned, in their order; null where the workspace lacks the text.

    pairs: post_id, subreddit, chosen_id, rejected_id.
    """
    wanted = pl.LazyFrame({"comment_id": pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique()})
    known = {name.lower() for name in workspace.subreddits(COMMENTS)}
    subreddits = [name for name in pairs["subreddit"].unique().sort() if name.lower() in known]
    found = workspace.scan(COMMENTS, subreddits).join(wanted, on="comment_id", how="semi")
    texts = _newest(found, "comment_id").select("comment_id", text=response_text(pl.col("body")))
    posts = workspace.scan(POSTS).join(pairs.lazy().select("post_id").unique(), on="post_id", how="semi")
    prompts = _newest(posts, "post_id").select("post_id", prompt=prompt_text(pl.col("title"), pl.col("body")))
    return _join(pairs.lazy(), texts, prompts).collect()


def _newest(rows: pl.LazyFrame, key: str) -> pl.LazyFrame:
    """One row an id, by id: an id may stand in two subreddits, and then the row that was seen last counts."""
    ordered = rows.sort(key, "retrieved_utc", "subreddit", descending=[False, True, False], nulls_last=True)
    return ordered.unique(key, keep="first", maintain_order=True)


def _join(pairs: pl.LazyFrame, texts: pl.LazyFrame, prompts: pl.LazyFrame) -> pl.LazyFrame:
    for side in ("chosen", "rejected"):
        named = texts.rename({"comment_id": f"{side}_id", "text": side})
        pairs = pairs.join(named, on=f"{side}_id", how="left", maintain_order="left")
    return pairs.join(prompts, on="post_id", how="left", maintain_order="left")
