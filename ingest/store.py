"""Staged rows -> the workspace's tables: merged with what is there, one row an item, a thread together.

The merge is a sort that DuckDB may spill to disk, read back as a stream: memory does not grow with the data. Merging
the same staged rows again changes nothing, so a merge that was killed is simply run again.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import duckdb
import polars as pl

from lurker.progress import progress
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table, check
from lurker.workspace import Workspace, sql_string

TABLES = (OBSERVATIONS, POSTS, COMMENTS)
ROWS_PER_FILE = 1_000_000
BYTES_PER_FILE = 96 << 20
MEMORY_LIMIT = "300MB"

NEWEST_FIRST = "retrieved_utc DESC NULLS LAST, is_deleted DESC, score DESC NULLS LAST, is_edited DESC, source, body"
"""Which of several rows of one item is kept; beyond the time of retrieval it only settles ties the same way always."""


def merge(workspace: Workspace, staged_posts: Sequence[Path], staged_comments: Sequence[Path], scratch: Path) -> None:
    """Merge staged Parquet files of posts and comments into the workspace's three tables.

    Of each item the newest retrieval is kept, of its looks (a score seen at a known time) all. Comments of the
    subreddits that got posts are merged again too, because their `is_by_op` may only now be known.
    scratch: a folder for what a sort spills.
    """
    connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(scratch)})
    names = _display_names(connection, workspace, [*staged_posts, *staged_comments])
    counts = f"SELECT count(*) FROM {_parquet([*staged_posts, *staged_comments])}"
    n_staged = 2 * connection.execute(counts).fetchall()[0][0] if names else 0
    n_old = sum(workspace.manifest(table, key).get("n_rows", 0) for table in TABLES for key in names)
    with progress("Merging", n_staged + n_old, unit="rows") as advance:
        looks = _looks(connection, workspace, staged_posts, staged_comments, names)
        _replace(workspace, OBSERVATIONS, names, looks, advance)
        _replace(workspace, POSTS, names, _newest(connection, workspace, POSTS, staged_posts, names), advance)
        comments = _newest(connection, workspace, COMMENTS, staged_comments, names)
        _replace(workspace, COMMENTS, names, comments, advance)
    connection.close()


def _display_names(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, staged: Sequence[Path]
) -> dict[str, str]:
    """Lower-case name -> display name: the one the workspace has, else the most frequent spelling."""
    if not staged:
        return {}
    rows = connection.execute(
        f"SELECT lower(subreddit), subreddit FROM {_parquet(staged)} GROUP BY ALL ORDER BY count(*), subreddit"
    ).fetchall()
    names: dict[str, str] = {}
    for key, frequent in rows:  # the most frequent spelling comes last and stays
        known = [workspace.manifest(table, key).get("subreddit") for table in (POSTS, COMMENTS)]
        names[key] = next((name for name in known if name), frequent)
    return names


def _newest(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    table: Table,
    staged: Sequence[Path],
    names: dict[str, str],
) -> Iterator[pl.DataFrame]:
    """The old and the staged rows of the named subreddits, one an item, sorted by subreddit and thread."""
    files = [*staged, *_files(workspace, table, names)]
    if not files:
        return iter(())
    key = table.key[0]
    is_by_op, join = "", ""
    if table is COMMENTS:
        is_by_op = ", coalesce(is_by_op, false) OR coalesce(item.author_hash = op.author_hash, false) AS is_by_op"
        op_files = _files(workspace, POSTS, names)
        op = (
            f"(SELECT post_id, author_hash FROM {_parquet(op_files)})"
            if op_files
            else "(SELECT NULL post_id, NULL author_hash)"
        )
        join = f"LEFT JOIN {op} AS op ON op.post_id = item.post_id"
    replaced = "lower(item.subreddit) AS subreddit" + is_by_op
    query = f"""
        SELECT item.* REPLACE ({replaced})
        FROM ({_one_an_item(connection, files, key)}) AS item {join}
        ORDER BY lower(item.subreddit), item.post_id, item.created_utc, item.{key}
    """
    return _stream(connection, query)


def _one_an_item(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], key: str) -> str:
    """The query of the newest row of each item, without the costly window where no id comes twice, as in most dumps."""
    query = f"SELECT * FROM {_parquet(files)}"
    n_rows, n_items = connection.execute(f"SELECT count(*), count(DISTINCT {key}) FROM ({query})").fetchall()[0]
    if n_rows == n_items:
        return query
    return f"{query} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {NEWEST_FIRST}) = 1"


def _looks(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    staged_posts: Sequence[Path],
    staged_comments: Sequence[Path],
    names: dict[str, str],
) -> Iterator[pl.DataFrame]:
    """Every score that was seen at a known time, the old ones and the staged, sorted by subreddit and item."""
    parts = [
        f"SELECT {key} AS item_id, '{kind}' AS kind, subreddit, retrieved_utc AS observed_utc, score"
        f" FROM {_parquet(files)} WHERE retrieved_utc IS NOT NULL AND score IS NOT NULL"
        for key, kind, files in (("post_id", "post", staged_posts), ("comment_id", "comment", staged_comments))
        if files
    ]
    if old := _files(workspace, OBSERVATIONS, names):
        parts.append(f"SELECT * FROM {_parquet(old)}")
    if not parts:
        return iter(())
    query = f"""
        SELECT item_id, kind, lower(subreddit) AS subreddit, observed_utc, max(score) AS score
        FROM ({" UNION ALL ".join(parts)}) GROUP BY ALL ORDER BY lower(subreddit), kind, item_id, observed_utc
    """
    return _stream(connection, query)


def _replace(
    workspace: Workspace,
    table: Table,
    names: dict[str, str],
    rows: Iterator[pl.DataFrame],
    advance: Callable[[float], None],
) -> None:
    """Replace the partitions of a stream of rows that is sorted by lower-case subreddit."""
    slices = (part for frame in rows for part in frame.partition_by("subreddit", maintain_order=True))
    for key, group in groupby(slices, key=lambda part: str(part["subreddit"][0])):
        named = (check(part.with_columns(subreddit=pl.lit(names[key])), table) for part in group)
        workspace.replace_partition(table, names[key], _file_sized(named, advance))


def _file_sized(frames: Iterator[pl.DataFrame], advance: Callable[[float], None]) -> Iterator[pl.DataFrame]:
    """Gather frames into frames of a healthy file's size."""
    pending: list[pl.DataFrame] = []
    for frame in frames:
        pending.append(frame)
        advance(frame.height)
        if (
            sum(part.height for part in pending) >= ROWS_PER_FILE
            or sum(part.estimated_size() for part in pending) >= BYTES_PER_FILE
        ):
            yield pl.concat(pending)
            pending = []
    if pending:
        yield pl.concat(pending)


def _stream(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pl.DataFrame]:
    for batch in connection.sql(query).to_arrow_reader(64_000):
        yield pl.DataFrame(batch)


def _files(workspace: Workspace, table: Table, names: dict[str, str]) -> list[Path]:
    return [
        workspace.partition(table, key) / file["name"]
        for key in sorted(names)
        for file in workspace.manifest(table, key).get("files", [])
    ]


def _parquet(files: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(sql_string(str(path)) for path in files)}])"
