"""Responses without their texts: every comment measured once, then the recipe's rules on who may be in a pair."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from features.blocks import Blocks, Means, batches, connect, parquet_sql, whole_blocks, write_block
from features.confounders.context import add_places, author_records
from features.confounders.measures import CONFOUNDERS
from features.ledger import Ledger, apply_rules
from features.recipes.recipe import Recipe
from features.responses.duplicates import Ties, no_ties
from features.responses.splits import FEEDS_HARD_TEST, HELD_OUT_COPY, assign_splits, stands_on_a_side_held_out_more
from features.text.clean import is_link_only, response_text, says_it_is_a_bot
from features.text.formatting import form_counts
from lurker.digest import FrameDigest
from lurker.engine import map_in_order
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table
from lurker.workspace import Workspace, sql_string

TWICE = "id seen twice"
REPLY = "reply to a comment"
OF_POST = ("created_utc", "score", "is_self", "is_nsfw", "is_edited", "is_deleted", "author_hash", "subreddit")
"""What is looked at of a post; post_* in the rows of its comments."""
_NEWEST = "retrieved_utc DESC NULLS LAST, subreddit"


@dataclass(frozen=True, slots=True)
class Measured:
    """Every comment, in blocks of whole posts: a row a comment, sorted by subreddit, post_id, created_utc, comment_id.

    Besides the comment's own columns: post_* of its post (null when the post was not ingested), is_twice (the same id
    was seen later in another subreddit), delay_s (seconds from post to comment), log_delay = log(1 + delay_s); of the
    cleaned text n_chars, n_words, text_hash, the counts of `features.text.formatting` and log_chars = log(n_chars), nats (the text
    of replies is not looked at); what `add_places` says; the author's record, author_* within these subreddits and
    own_* within the comment's; first_score and later_votes where its score was seen twice or more.
    """

    blocks: Blocks
    inputs: list[dict[str, Any]]
    """For every subreddit: comments and a SHA-256 of all that the rules see of them and their posts."""
    post_times: pl.Series
    """When each post was written, seconds since 1970."""


def measure_responses(
    workspace: Workspace,
    subreddits: Sequence[str],
    folder: Path,
    means: Means,
    advance: Callable[[float], None] = lambda _: None,
) -> Measured:
    """Every comment of the subreddits with what the rules look at, without texts.

    folder: to put the blocks in. advance: told the number of comments done. Texts are read a batch at a time; DuckDB
    joins and sorts what is measured of them, within its memory or by way of the disk.
    """
    files = {"comments": _measure_texts(workspace, subreddits, folder, means, advance)}
    with connect(means) as connection:
        files["posts"] = [folder / "posts.parquet"]
        _copy(connection, _posts_sql(workspace), files["posts"][0])
        files["records"] = _write_records(connection, files, folder / "records")
        files["looks"] = [folder / "looks.parquet"]
        _copy(connection, _looks_sql(workspace), files["looks"][0])
        names = ", ".join(sql_string(name) for name in sorted(subreddits))
        connection.execute(f"CREATE TYPE subreddit_word AS ENUM ({names})")  # sorted and spilled as a number
        ordered = whole_blocks(batches(connection, _ordered_sql(files, subreddits)), "post_id", "subreddit")
        measured = _write_measured(ordered, folder / "measured", means)
    for path in (path for paths in files.values() for path in paths):
        path.unlink()
    return measured


def _measure_texts(
    workspace: Workspace, subreddits: Sequence[str], folder: Path, means: Means, advance: Callable[[float], None]
) -> list[Path]:
    """Comments with measures instead of texts, in the order of the files."""
    columns = ", ".join(name for name in COMMENTS.columns if name not in ("parent_id", "source"))

    def tasks(connection: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
        for rows in batches(connection, f"SELECT {columns} FROM {parquet_sql(workspace.files(COMMENTS, subreddits))}"):
            yield {"comments": rows}

    (folder / "texts").mkdir()
    paths = []
    with connect(means) as connection:
        for number, rows in enumerate(map_in_order(measure_texts, tasks(connection), engine=means.engine)):
            paths.append(write_block(rows, folder / "texts" / f"{number:06}.parquet"))
            advance(rows.height)
    return paths


def measure_texts(comments: pl.DataFrame) -> pl.DataFrame:
    """Comments with the measures of their texts instead of these; null for replies."""
    text = pl.col("_text")
    of_text = {
        "n_chars": text.str.len_chars().cast(pl.Int64),
        "n_words": text.str.count_matches(r"\S+").cast(pl.Int64),
        # Only ever compared for equality within one build, so the hash may differ between versions of Polars.
        "text_hash": text.hash(),
        **form_counts(text),
        "is_link_only": is_link_only(text),
        "says_it_is_a_bot": says_it_is_a_bot(text),
    }
    top = comments.lazy().filter("is_top_level").with_columns(_text=response_text(pl.col("body")))
    measured = top.with_columns(**of_text).select(pl.exclude("body", "_text"))
    replies = comments.lazy().filter(~pl.col("is_top_level")).select(pl.exclude("body"))
    return pl.concat([measured, replies], how="diagonal").collect()


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    connection.execute(f"COPY ({query}) TO {sql_string(str(path))} (FORMAT parquet, COMPRESSION lz4)")


def _table_sql(workspace: Workspace, table: Table) -> str:
    """The table for DuckDB's FROM, without rows when nothing was ingested."""
    if files := workspace.files(table):
        return parquet_sql(files)
    types = {pl.String: "VARCHAR", pl.Int64: "BIGINT", pl.Boolean: "BOOLEAN", pl.Float64: "DOUBLE"}
    nulls = ", ".join(f"NULL::{types[column.dtype]} AS {name}" for name, column in table.columns.items())  # type: ignore[index]
    return f"(SELECT {nulls} WHERE false)"


def _posts_sql(workspace: Workspace) -> str:
    """A row a post: an id may stand in two subreddits, and then the row that was seen last counts."""
    columns = ", ".join(f"{name} AS post_{name}" for name in OF_POST)
    return (
        f"SELECT post_id, {columns} FROM {_table_sql(workspace, POSTS)} "
        f"QUALIFY row_number() OVER (PARTITION BY post_id ORDER BY {_NEWEST}) = 1"
    )


def _looks_sql(workspace: Workspace) -> str:
    """Of comments that were seen twice or more: the score at first, and the votes that came later."""
    return (
        "SELECT item_id AS comment_id, arg_min(score, observed_utc) AS first_score, "
        "arg_max(score, observed_utc) - arg_min(score, observed_utc) AS later_votes "
        f"FROM {_table_sql(workspace, OBSERVATIONS)} WHERE kind = 'comment' GROUP BY item_id HAVING count(*) > 1"
    )


def _write_records(connection: duckdb.DuckDBPyConnection, files: dict[str, list[Path]], folder: Path) -> list[Path]:
    """Who had written before the post: comment_id and the author's record, for those with any."""
    folder.mkdir()
    by_author = batches(
        connection,
        "SELECT comment_id, subreddit, author_hash, created_utc, score, is_top_level, post_created_utc "
        f"FROM {parquet_sql(files['comments'])} comments LEFT JOIN {parquet_sql(files['posts'])} posts USING (post_id) "
        "WHERE author_hash IS NOT NULL ORDER BY author_hash, created_utc, comment_id",
    )
    paths = []
    for number, block in enumerate(whole_blocks(by_author, "author_hash")):
        asked = block.filter("is_top_level")
        records = author_records(asked, block, by=["author_hash"])
        own = author_records(asked, block, by=["author_hash", "subreddit"])
        both = records.join(own.rename(lambda name: name.replace("author_", "own_")), on="comment_id", how="left")
        both = both.with_columns(author_here_earlier="own_n_earlier", own_here_earlier="own_n_earlier")
        paths.append(write_block(both, folder / f"{number:06}.parquet"))
    if not paths:
        paths.append(write_block(_no_records(), folder / "none.parquet"))
    return paths


def _no_records() -> pl.DataFrame:
    names = [name for author in CONFOUNDERS["author"] for name in (author, author.replace("author_", "own_"))]
    return pl.DataFrame(schema={"comment_id": pl.String, **dict.fromkeys(names, pl.Float64)})


def _ordered_sql(files: dict[str, list[Path]], subreddits: Sequence[str]) -> str:
    """All that is known of each comment, in order."""
    comments = parquet_sql(files["comments"])
    twice = (
        f"SELECT comment_id, subreddit FROM {comments} "
        f"WHERE comment_id IN (SELECT comment_id FROM {comments} GROUP BY comment_id HAVING count(*) > 1) "
        f"QUALIFY row_number() OVER (PARTITION BY comment_id ORDER BY {_NEWEST}) > 1"
    )
    is_twice = "false"
    if len(subreddits) > 1:  # within one an id stands once
        is_twice = f"(comment_id, subreddit) IN ({twice})"
    return (
        f"SELECT * REPLACE (subreddit::subreddit_word AS subreddit), {is_twice} AS is_twice FROM {comments} comments "
        + "".join(
            f"LEFT JOIN {parquet_sql(files[name])} {name} USING ({key}) "
            for name, key in (("posts", "post_id"), ("records", "comment_id"), ("looks", "comment_id"))
        )
        + "ORDER BY subreddit, post_id, created_utc, comment_id"
    )


def _write_measured(ordered: Iterable[pl.DataFrame], folder: Path, means: Means) -> Measured:
    """The blocks with what takes a whole thread to tell; the digest of each subreddit."""
    folder.mkdir()
    files, subreddits, times = [], [], []
    digests: dict[str, FrameDigest] = {}
    for number, block in enumerate(map_in_order(_finish, ({"block": block} for block in ordered), engine=means.engine)):
        subreddit = block["subreddit"][0]
        files.append(write_block(block, folder / f"{number:06}.parquet"))
        subreddits.append(subreddit)
        times.append(block.unique("post_id")["post_created_utc"].drop_nulls())
        digests.setdefault(subreddit, FrameDigest()).update(block.drop("text_hash"))
    inputs = [
        {"subreddit": subreddit, "n_comments": digest.n_rows, "sha256": digest.hexdigest()}
        for subreddit, digest in digests.items()
    ]
    return Measured(Blocks(tuple(files), tuple(subreddits)), inputs, pl.concat(times))


def _finish(block: pl.DataFrame) -> pl.DataFrame:
    delay_s = pl.col("created_utc") - pl.col("post_created_utc")
    timed = block.with_columns(
        pl.col("subreddit").cast(pl.String),
        delay_s=delay_s,
        log_delay=pl.when(delay_s >= 0).then(delay_s).cast(pl.Float64).log1p(),
        log_chars=pl.when(pl.col("n_chars") > 0).then("n_chars").cast(pl.Float64).log(),
    )
    return add_places(timed).with_columns(pl.col("^(author|own)_.*_earlier$").fill_null(0.0))


def select_responses(block: pl.DataFrame, recipe: Recipe, ties: Ties | None = None) -> tuple[pl.DataFrame, Ledger]:
    """The responses that may be in a pair, with their split, in their order, and the ledger of every other comment.

    block: whole posts, as of `measure_responses`. recipe: with both times where it splits by time.
    """
    ties = ties or no_ties()
    posts = block.select("post_id", created_utc="post_created_utc")
    splits = assign_splits(posts, recipe, ties.copied_posts)
    placed = block.join(splits, on="post_id", how="left", maintain_order="left")
    kept, ledger = apply_rules(placed, response_rules(recipe, ties))
    return kept.drop("misplaced"), ledger


def response_rules(recipe: Recipe, ties: Ties) -> dict[str, pl.Expr]:
    """reason -> true when the comment goes; in the order in which reasons are given."""
    return _rules_on_responses(recipe, ties) | _rules_on_ties(recipe, ties)


def _rules_on_ties(recipe: Recipe, ties: Ties) -> dict[str, pl.Expr]:
    """Rules on what a response shares with others: they come last, so that each counts what it alone takes."""
    col = pl.col
    rules = {reason: (col("misplaced") == reason).fill_null(False) for reason in (HELD_OUT_COPY, FEEDS_HARD_TEST)}
    if recipe.split_by == "time":
        ends = {"train": recipe.validation_from_utc, "validation": recipe.test_from_utc}
        end = col("split").replace_strict(ends, default=None, return_dtype=pl.Int64)
        rules["written after its split's end"] = (col("created_utc") >= end).fill_null(False)
    if recipe.split_by == "author":
        rules["author unknown"] = col("author_hash").is_null() | col("post_author_hash").is_null()
        rules["author stands on a side held out more"] = stands_on_a_side_held_out_more(ties.held_out_authors)
    if recipe.language is not None:
        of_posts, of_comments = (ties.foreign.filter(pl.col("is_post") == is_post)["id"] for is_post in (True, False))
        rules["post in another language"] = col("post_id").is_in(of_posts.implode())
        rules["in another language"] = col("comment_id").is_in(of_comments.implode())
    if recipe.exclude_near_duplicates:
        rules["near-duplicate of another response"] = col("comment_id").is_in(ties.repeats["comment_id"].implode())
    return rules


def _rules_on_responses(recipe: Recipe, ties: Ties) -> dict[str, pl.Expr]:
    """Rules on what each response and its post are by themselves."""
    col = pl.col
    rules = {
        TWICE: col("is_twice"),
        REPLY: ~col("is_top_level"),
        "post not ingested": col("post_created_utc").is_null(),
        "post of another subreddit": col("subreddit").str.to_lowercase() != col("post_subreddit").str.to_lowercase(),
        "text deleted or removed": col("is_deleted"),
        "empty text": col("n_chars") == 0,
        "score missing": col("score").is_null(),
        "score hidden": col("is_score_hidden"),
        "written before its post": col("delay_s") < 0,
    }
    optional: dict[str, pl.Expr | bool] = {
        "post deleted or removed": recipe.exclude_deleted_posts and col("post_is_deleted"),
        "post is a link": recipe.require_self_post and ~col("post_is_self"),
        "post marked over 18": recipe.exclude_nsfw and col("post_is_nsfw"),
        "post edited": recipe.exclude_edited_posts and col("post_is_edited"),
        "edited": recipe.exclude_edited and col("is_edited"),
        "by the post's author": recipe.exclude_op and col("is_by_op"),
        "author deleted": recipe.exclude_deleted_authors and col("author_hash").is_null(),
        "post's author deleted": recipe.exclude_deleted_authors and col("post_author_hash").is_null(),
        "written by a bot": recipe.exclude_bots and (_is_bot(ties)),
        "distinguished": recipe.exclude_distinguished and col("is_distinguished"),
        "stickied": recipe.exclude_stickied and col("is_stickied"),
    }
    if recipe.test_posts_only and recipe.deconfound == "none":  # deconfounding learns from the others first
        optional["not a test post"] = col("split") != "test"
    if recipe.created_before_utc is not None:
        optional["post too new"] = col("post_created_utc") >= recipe.created_before_utc
    if recipe.min_post_score is not None:
        optional["post score below min_post_score"] = (col("post_score") < recipe.min_post_score).fill_null(True)
    if recipe.min_maturity_s > 0:
        maturity_s = col("retrieved_utc") - col("created_utc")
        optional["seen before min_maturity_s"] = (maturity_s < recipe.min_maturity_s).fill_null(True)
    if recipe.exclude_link_only:
        optional["nothing but addresses"] = col("is_link_only")
    optional["below min_chars"] = col("n_chars") < recipe.min_chars
    optional["below min_words"] = col("n_words") < recipe.min_words
    if recipe.max_chars is not None:
        optional["above max_chars"] = col("n_chars") > recipe.max_chars
    if recipe.max_words is not None:
        optional["above max_words"] = col("n_words") > recipe.max_words
    if recipe.min_score is not None:
        optional["score below min_score"] = col("score") < recipe.min_score
    return rules | {reason: rule for reason, rule in optional.items() if isinstance(rule, pl.Expr)}


def _is_bot(ties: Ties) -> pl.Expr:
    by_name = pl.col("author_hash").is_in(ties.bots.implode()).fill_null(False)
    return by_name | pl.col("says_it_is_a_bot").fill_null(False)
