"""Staged runs -> the workspace's tables: merged with the rows already there, one row per item, sorted by thread.

The keys of all runs are cut into ranges, each about the size of a good Parquet file. Each range is read, merged, sorted
and written independently, a few in parallel, and the manifests are replaced after all are written, so memory does not
grow with the data. Merging the same runs again changes nothing: a merge that was killed is simply run again.
"""

import os
import uuid
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from ingest.tables.looks import flags_of_looks, with_earlier_texts
from ingest.tables.moved_posts import keep_newest_of_moved_posts
from ingest.tables.sorted_runs import Key, Run, in_order, key_ranges, limit_runs, read_run, rows_between, size_bytes
from lurker.files import atomic_path
from lurker.progress import progress
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table, check
from lurker.workspace import Workspace

TABLES = (OBSERVATIONS, POSTS, COMMENTS)
STEPS = ((POSTS,), (OBSERVATIONS, COMMENTS))
"""Posts are merged before comments, whose `is_by_op` needs them; the tables of one step are merged in parallel."""
RANGE_BYTES = 128 << 20
"""Largest range, rows in memory: about half a million comments, or a Parquet file of some 50 MB."""
MIN_RANGE_BYTES = 8 << 20
RANGES_PER_WORKER = 3
"""Fewest ranges per worker when there is enough data: ranges differ in cost, and no core should wait for the last."""
MAX_WORKERS = 4
"""Each worker holds a range in memory."""
ROWS_PER_GROUP = 128_000
ZSTD_LEVEL = 1
"""A third faster than level 3, for files a tenth larger."""

NEWEST_FIRST = {
    **{"retrieved_utc": True, "is_deleted": True, "score": True, "is_edited": True},
    **{"source": False, "body": False},
}
"""Sort columns (and whether descending) by which the first of an item's rows is kept. The columns after retrieved_utc
only make ties deterministic."""


def merge(workspace: Workspace, staged: dict[str, list[Run]], scratch: Path) -> None:
    """Merge runs of observations, posts and comments into the workspace's three tables.

    The newest retrieval of each post and comment is kept, and every observation (a score seen at a known time). An item
    deleted meanwhile keeps its last text and is marked.
    Comments of subreddits with new posts are merged again too, because their `is_by_op` may only now be known.

    Args:
        staged: runs by table name.
        scratch: an empty folder for intermediate runs, used when there are more than MAX_RUNS.
    """
    n_workers = min(os.cpu_count() or 1, MAX_WORKERS)
    with ThreadPoolExecutor(n_workers) as pool:
        spellings = pool.map(_spellings, [*staged[POSTS.name], *staged[COMMENTS.name]])
        names = _display_names(workspace, sum(spellings, Counter[str]()))
    old = {table.name: _files(workspace, table, names) for table in TABLES}
    all_bytes = sum(size_bytes(run) for tables in (staged, old) for runs in tables.values() for run in runs)
    with progress("Merging", all_bytes, unit="bytes") as advance, ThreadPoolExecutor(n_workers) as pool:
        for step in STEPS:
            tasks = []
            for table in step:
                runs = [*limit_runs(staged[table.name], table, scratch, RANGE_BYTES), *old[table.name]]
                total = sum(map(size_bytes, runs))
                range_bytes = min(max(total // (n_workers * RANGES_PER_WORKER), MIN_RANGE_BYTES), RANGE_BYTES)
                spans = key_ranges(runs, table, max(1, round(total / range_bytes))) if runs else []
                merge_range = partial(_merge_range, workspace, table, runs, names)
                tasks += [(table, total / len(spans), pool.submit(merge_range, span)) for span in spans]
            written = defaultdict[tuple[str, str], list[dict[str, Any]]](list)
            for table, n_bytes, task in tasks:
                for key, file in task.result():
                    written[table.name, key].append(file)
                advance(n_bytes)
            for table in step:
                for (name, key), files in written.items():
                    if name == table.name:
                        workspace.commit_partition(table, names[key], files)
            if POSTS in step:
                keep_newest_of_moved_posts(workspace)


def _merge_range(
    workspace: Workspace, table: Table, runs: Sequence[Run], names: dict[str, str], span: tuple[Key, Key | None]
) -> list[tuple[str, dict[str, Any]]]:
    """Write one range of keys as Parquet files, one per subreddit.

    Returns:
        For each file, the subreddit in lower case and the file's entry in the manifest.
    """
    parts = [part for run in runs if (part := rows_between(run, table, *span)).height]
    if not parts:
        return []
    rows = parts[0] if len(parts) == 1 else in_order(pl.concat(parts), table)  # a run is in order
    unique = _unique_observations(rows) if table is OBSERVATIONS else _newest_rows(rows, table)
    if unique.height < rows.height:
        unique = in_order(unique, table)
    if table is COMMENTS:
        unique = _with_is_by_op(workspace, unique, [key for key, _ in _by_subreddit(unique)])
    written = []
    for key, part in _by_subreddit(unique):
        name = f"part-{uuid.uuid4().hex[:12]}.parquet"
        named = check(part.with_columns(subreddit=pl.lit(names[key])), table)
        with atomic_path(workspace.partition(table, key) / name) as temporary:
            named.write_parquet(temporary, compression_level=ZSTD_LEVEL, row_group_size=ROWS_PER_GROUP)
        written.append((key, {"name": name, "n_rows": part.height}))
    return written


def _by_subreddit(rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Split sorted rows by subreddit, in lower case."""
    names, start = rows["subreddit"], 0
    while start < rows.height:
        key = names[start].lower()
        end = bisect_right(names, key, lo=start, key=str.lower)
        yield key, rows.slice(start, end - start)
        start = end


def _spellings(run: Run) -> Counter[str]:
    """Number of rows by spelling of the subreddit."""
    return Counter(dict(read_run(run, ["subreddit"])["subreddit"].value_counts().iter_rows()))


def _display_names(workspace: Workspace, spellings: Counter[str]) -> dict[str, str]:
    """Display name by lower-case name: the workspace's, else the most frequent spelling."""
    names: dict[str, str] = {}
    for name, _ in sorted(spellings.items(), key=lambda item: (item[1], item[0])):  # the most frequent comes last
        known = [workspace.manifest(table, name).get("subreddit") for table in (POSTS, COMMENTS)]
        names[name.lower()] = next((display for display in known if display), name)
    return names


def _newest_rows(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """One row per item: the newest, with the text of an earlier one if it was deleted since."""
    key = table.key[0]
    if rows[key].n_unique() == rows.height:
        return rows
    is_double = rows[key].is_duplicated()
    others = [name for name in rows.columns if name not in NEWEST_FIRST]
    descending = [*NEWEST_FIRST.values(), *(False for _ in others)]
    doubles = rows.filter(is_double).sort(*NEWEST_FIRST, *others, descending=descending, nulls_last=True)
    newest = doubles.unique(key, keep="first", maintain_order=True)
    if table is COMMENTS:
        flags = flags_of_looks(doubles)
        newest = newest.drop(flags.columns[1:]).join(flags, on=key, maintain_order="left")
    newest = with_earlier_texts(newest, doubles, table)
    return pl.concat([rows.filter(~is_double), newest.select(rows.columns)])


def _unique_observations(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per observation, from sorted rows; of two seen at the same time, the higher score and any flag."""
    key = list(OBSERVATIONS.key)
    if not (rows["item_id"] == rows["item_id"].shift()).any():
        return rows
    is_double = rows.select(pl.struct(key).is_duplicated()).to_series()
    if not is_double.any():
        return rows
    doubles = (
        rows.filter(is_double).group_by(key).agg(pl.col("subreddit").min(), pl.col("score", "is_controversial").max())
    )
    return pl.concat([rows.filter(~is_double), doubles.select(rows.columns)])


def _with_is_by_op(workspace: Workspace, comments: pl.DataFrame, subreddits: Sequence[str]) -> pl.DataFrame:
    """Comments with `is_by_op` true where the row says so, or where post and comment have the same author hash."""
    files = _files(workspace, POSTS, subreddits)
    if not files:
        return comments.with_columns(pl.col("is_by_op").fill_null(False))
    posts = (
        pl.scan_parquet(files)
        .filter(pl.col("post_id").is_between(pl.lit(comments["post_id"].min()), pl.lit(comments["post_id"].max())))
        .select("post_id", op_hash="author_hash")
        .collect()
        .unique("post_id")
    )
    is_op = (pl.col("author_hash") == pl.col("op_hash")).fill_null(False)
    joined = comments.join(posts, on="post_id", how="left", maintain_order="left")
    return joined.with_columns(is_by_op=pl.col("is_by_op").fill_null(False) | is_op).drop("op_hash")


def _files(workspace: Workspace, table: Table, names: Iterable[str]) -> list[Path]:
    return [
        workspace.partition(table, key) / file["name"]
        for key in sorted(names)
        for file in workspace.manifest(table, key).get("files", [])
    ]
