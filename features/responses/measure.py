"""Every comment measured once: all that the rules of any recipe look at, without its text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from features.blocks import Blocks, batches, parquet_sql, split_into_blocks, write_block
from features.build_context import BuildContext
from features.confounders.context import add_thread_context, author_records
from features.confounders.measures import CONFOUNDERS
from features.databases import connect
from features.text.clean import is_link_only, response_text, says_it_is_a_bot
from lurker.digest import FrameDigest
from lurker.engine import map_in_order, write_behind
from lurker.files import sql_string
from lurker.formatting import formatting_counts
from lurker.progress import advance
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS
from lurker.workspace import Workspace

POST_COLUMNS = ("created_utc", "score", "is_self", "is_nsfw", "is_edited", "is_deleted", "author_hash", "subreddit")
"""Columns of a post that rules look at; post_* in the rows of its comments."""
UNREAD = ("parent_id", "source", "ups", "downs", "first_retrieved_utc")
"""Columns of a comment that no rule looks at."""
NOT_IN_DIGEST = ("text_hash", "is_controversial", "first_is_controversial", "first_retrieved_utc", "first_age_s")
"""Columns that frozen hard tests do not depend on: a digest stays when they become known."""
_NEWEST_FIRST = "retrieved_utc DESC NULLS LAST, subreddit"


@dataclass(frozen=True, slots=True)
class MeasuredComments:
    """Every comment of some subreddits, in blocks of complete posts."""

    blocks: Blocks
    """One row per comment, sorted by subreddit, post_id, created_utc, comment_id.

    Besides the comment's own columns:

    - post_*: of its post, null if the post was not ingested
    - is_twice: the same id was seen later in another subreddit
    - delay_s: seconds from post to comment; log_delay: log(1 + delay_s)
    - n_chars, n_words, text_hash, the counts of `lurker.formatting`, and log_chars = log(n_chars), of the
      cleaned text; null for replies, whose text is not read
    - the columns of `add_thread_context`
    - the author's record: author_* within these subreddits, own_* within the comment's subreddit
    - first_score, first_is_controversial, first_retrieved_utc, first_age_s (its age then, seconds) and later_votes, if
      its score was observed at least twice
    """
    inputs: list[dict[str, Any]]
    """For every subreddit: number of comments, and a SHA-256 of all that the rules see of them and their posts."""
    post_times: pl.Series
    """When each post was written, seconds since 1970."""


def measure_comments(subreddits: Sequence[str], context: BuildContext) -> MeasuredComments:
    """Measure every comment of the subreddits.

    Texts are read in batches; DuckDB joins and sorts their measures within its memory limit. The innermost progress bar
    advances by the number of comments measured.
    """
    workspace, folder = context.workspace, context.folder
    files = {"comments": _measure_texts(subreddits, context)}
    with connect(context.options) as connection:
        files["posts"] = [folder / "posts.parquet"]
        _copy(connection, _posts_sql(workspace), files["posts"][0])
        files["records"] = _write_records(connection, files, folder / "records")
        files["observations"] = [folder / "observations.parquet"]
        _copy(connection, _observations_sql(workspace), files["observations"][0])
        names = ", ".join(sql_string(name) for name in sorted(subreddits))
        connection.execute(f"CREATE TEMP TYPE subreddit_word AS ENUM ({names})")  # sorted and spilled as a number
        ordered = split_into_blocks(batches(connection, _ordered_sql(files, subreddits)), "post_id", "subreddit")
        measured = _write_measured(ordered, context.subfolder("measured"))
    for path in (path for paths in files.values() for path in paths):
        path.unlink()
    return measured


def _measure_texts(subreddits: Sequence[str], context: BuildContext) -> list[Path]:
    """Files of comments with measures instead of texts, in the order of the workspace's files."""
    comments = context.workspace.sql(COMMENTS, subreddits)
    columns = ", ".join(name for name in COMMENTS.columns if name not in UNREAD)

    def tasks(connection: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
        for rows in batches(connection, f"SELECT {columns} FROM {comments}"):
            yield {"comments": rows}

    folder = context.subfolder("texts").folder
    folder.mkdir()
    paths = []
    with connect(context.options) as connection:
        for number, rows in enumerate(map_in_order(measure_texts, tasks(connection), engine=context.options.engine)):
            paths.append(write_block(rows, folder / f"{number:06}.parquet"))
            advance(rows.height)
    return paths


def measure_texts(comments: pl.DataFrame) -> pl.DataFrame:
    """The comments with measures of their texts instead of the texts; null for replies."""
    text = pl.col("_text")
    measures = {
        "n_chars": text.str.len_chars().cast(pl.Int64),
        "n_words": text.str.count_matches(r"\S+").cast(pl.Int64),
        # Compared for equality within one build only, so it may differ between versions of Polars.
        "text_hash": text.hash(),
        **formatting_counts(text),
        "is_link_only": is_link_only(text),
        "says_it_is_a_bot": says_it_is_a_bot(text),
    }
    top = comments.lazy().filter("is_top_level").with_columns(_text=response_text(pl.col("body")))
    measured = top.with_columns(**measures).select(pl.exclude("body", "_text"))
    replies = comments.lazy().filter(~pl.col("is_top_level")).select(pl.exclude("body"))
    return pl.concat([measured, replies], how="diagonal").collect()


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    connection.execute(f"COPY ({query}) TO {sql_string(str(path))} (FORMAT parquet, COMPRESSION lz4)")


def _posts_sql(workspace: Workspace) -> str:
    """One row per post; if an id occurs in two subreddits, the row retrieved last."""
    columns = ", ".join(f"{name} AS post_{name}" for name in POST_COLUMNS)
    return (
        f"SELECT post_id, {columns} FROM {workspace.sql(POSTS)} "
        f"QUALIFY row_number() OVER (PARTITION BY post_id ORDER BY {_NEWEST_FIRST}) = 1"
    )


def _observations_sql(workspace: Workspace) -> str:
    """Comments observed at least twice: the first score, and the votes that came later."""
    return (
        "SELECT item_id AS comment_id, arg_min(score, observed_utc) AS first_score, "
        "arg_min_null(is_controversial, observed_utc) AS first_is_controversial, "
        "min(observed_utc) AS first_retrieved_utc, "
        "arg_max(score, observed_utc) - arg_min(score, observed_utc) AS later_votes "
        f"FROM {workspace.sql(OBSERVATIONS)} WHERE kind = 'comment' GROUP BY item_id HAVING count(*) > 1"
    )


def _write_records(connection: duckdb.DuckDBPyConnection, files: dict[str, list[Path]], folder: Path) -> list[Path]:
    """comment_id and the author's record, for responses whose author had written before the post."""
    folder.mkdir()
    by_author = batches(
        connection,
        "SELECT comment_id, subreddit, author_hash, created_utc, score, is_top_level, post_created_utc "
        f"FROM {parquet_sql(files['comments'])} comments LEFT JOIN {parquet_sql(files['posts'])} posts USING (post_id) "
        "WHERE author_hash IS NOT NULL ORDER BY author_hash, created_utc, comment_id",
    )
    paths = []
    for number, block in enumerate(split_into_blocks(by_author, "author_hash")):
        responses = block.filter("is_top_level")
        records = author_records(responses, block, by=["author_hash"])
        own = author_records(responses, block, by=["author_hash", "subreddit"])
        both = records.join(own.rename(lambda name: name.replace("author_", "own_")), on="comment_id", how="left")
        both = both.with_columns(author_here_earlier="own_n_earlier", own_here_earlier="own_n_earlier")
        paths.append(write_block(both, folder / f"{number:06}.parquet"))
    if not paths:
        paths.append(write_block(_no_records(), folder / "none.parquet"))
    return paths


def _no_records() -> pl.DataFrame:
    names = [name for column in CONFOUNDERS["author"] for name in (column, column.replace("author_", "own_"))]
    return pl.DataFrame(schema={"comment_id": pl.String, **dict.fromkeys(names, pl.Float64)})


def _ordered_sql(files: dict[str, list[Path]], subreddits: Sequence[str]) -> str:
    """Every comment with all its measures, in order."""
    comments = parquet_sql(files["comments"])
    older_duplicates = (
        f"SELECT comment_id, subreddit FROM {comments} "
        f"WHERE comment_id IN (SELECT comment_id FROM {comments} GROUP BY comment_id HAVING count(*) > 1) "
        f"QUALIFY row_number() OVER (PARTITION BY comment_id ORDER BY {_NEWEST_FIRST}) > 1"
    )
    is_twice = "false"
    if len(subreddits) > 1:  # ids are unique within a subreddit
        is_twice = f"(comment_id, subreddit) IN ({older_duplicates})"
    return (
        f"SELECT * REPLACE (subreddit::subreddit_word AS subreddit), {is_twice} AS is_twice FROM {comments} comments "
        + "".join(
            f"LEFT JOIN {parquet_sql(files[name])} {name} USING ({key}) "
            for name, key in (("posts", "post_id"), ("records", "comment_id"), ("observations", "comment_id"))
        )
        + "ORDER BY subreddit, post_id, created_utc, comment_id"
    )


def _write_measured(ordered: Iterable[pl.DataFrame], context: BuildContext) -> MeasuredComments:
    """The blocks with the measures that need a complete thread, and the digest of each subreddit."""
    context.folder.mkdir()
    files: list[Path] = []
    subreddits: list[str] = []
    times: list[pl.Series] = []
    digests: dict[str, FrameDigest] = {}
    tasks = ({"block": block} for block in ordered)

    def write(block: pl.DataFrame) -> None:
        subreddit = block["subreddit"][0]
        files.append(write_block(block, context.folder / f"{len(files):06}.parquet"))
        subreddits.append(subreddit)
        times.append(block.unique("post_id")["post_created_utc"].drop_nulls())
        digests.setdefault(subreddit, FrameDigest()).update(block.drop(NOT_IN_DIGEST))

    write_behind(write, map_in_order(_add_thread_measures, tasks, engine=context.options.engine))
    inputs = [
        {"subreddit": subreddit, "n_comments": digest.n_rows, "sha256": digest.hexdigest()}
        for subreddit, digest in digests.items()
    ]
    return MeasuredComments(Blocks(tuple(files), tuple(subreddits)), inputs, pl.concat(times))


def _add_thread_measures(block: pl.DataFrame) -> pl.DataFrame:
    delay_s = pl.col("created_utc") - pl.col("post_created_utc")
    timed = block.with_columns(
        pl.col("subreddit").cast(pl.String),
        delay_s=delay_s,
        log_delay=pl.when(delay_s >= 0).then(delay_s).cast(pl.Float64).log1p(),
        first_age_s=pl.col("first_retrieved_utc") - pl.col("created_utc"),
        log_chars=pl.when(pl.col("n_chars") > 0).then("n_chars").cast(pl.Float64).log(),
    )
    return add_thread_context(timed).with_columns(pl.col("^(author|own)_.*_earlier$").fill_null(0.0))
