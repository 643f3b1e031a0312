"""Rows on disk in blocks of complete posts, so that a workspace larger than memory can be turned into pairs.

DuckDB sorts rows within its memory limit, spilling to disk if needed, and they come back in blocks that end where a
post ends. Every stage reads and writes a few blocks at a time, so its memory does not grow with the workspace. Where a
block ends depends on the rows alone, not on the memory limit, the engine, the threads or the input files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from features.build_context import BuildContext
from lurker.engine import map_in_order
from lurker.files import sql_string
from lurker.progress import progress

BLOCK_ROWS = 50_000
"""Minimum rows of a block; it ends with the post that passes this number, or with the subreddit."""
BATCH_ROWS = 20_000
"""Rows that DuckDB hands over at a time; texts are read in batches of this size too."""
Target = TypeVar("Target", Path, BytesIO)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Parquet files of ordered rows, each holding complete posts of one subreddit."""

    files: tuple[Path, ...]
    subreddits: tuple[str, ...]
    """Subreddit of each file."""

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return (pl.read_parquet(file, memory_map=False) for file in self.files)

    @property
    def n_rows(self) -> int:
        """Rows of all blocks, from the files' metadata."""
        return sum(pq.read_metadata(file).num_rows for file in self.files)

    def for_subreddit(self, subreddit: str) -> "Blocks":
        """The blocks of one subreddit."""
        files = [file for file, name in zip(self.files, self.subreddits, strict=True) if name == subreddit]
        return Blocks(tuple(files), (subreddit,) * len(files))

    def sql(self) -> str:
        """All rows, for DuckDB's FROM."""
        return parquet_sql(self.files)

    def remove(self) -> None:
        """Delete the files."""
        for file in self.files:
            file.unlink(missing_ok=True)


def map_blocks(
    function: Callable[..., tuple[pl.DataFrame, Any]],
    blocks: Blocks,
    context: BuildContext,
    description: str,
    **arguments: Any,
) -> tuple[Blocks, list[Any]]:
    """Apply a function to every block.

    Args:
        function: called as `function(block, **arguments)`; returns the new block and a summary of it.
        context: its folder is created and holds the new blocks.
        description: label of the progress bar, which counts blocks.

    Returns:
        The new blocks, and the summary of each.
    """
    context.folder.mkdir(parents=True)
    tasks = ({"file": file.read_bytes()} for file in blocks.files)
    shared = {"function": function} | arguments
    files: list[Path] = []
    summaries = []
    with progress(description, len(blocks.files), "blocks of posts") as advance:
        for content, summary in map_in_order(_map_file, tasks, engine=context.options.engine, shared=shared):
            files.append(context.folder / f"{len(files):06}.parquet")
            files[-1].write_bytes(content)
            summaries.append(summary)
            advance(1)
    return Blocks(tuple(files), blocks.subreddits), summaries


def _map_file(file: bytes, function: Callable[..., tuple[pl.DataFrame, Any]], **arguments: Any) -> tuple[bytes, Any]:
    """The file of the new block and its summary.

    Blocks travel as Parquet: that takes a fraction of the memory, in a cluster's shared memory too, and the process
    that hands out tasks need not decode any.
    """
    new_file = BytesIO()
    rows, summary = function(pl.read_parquet(file), **arguments)
    write_block(rows, new_file)
    return new_file.getvalue(), summary


def write_block(rows: pl.DataFrame, target: Target) -> Target:
    """Write rows that are soon read again; not flushed to disk, since no other process needs them."""
    rows.write_parquet(target, compression="lz4", statistics=False)
    return target


def batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pl.DataFrame]:
    """The rows of a query, BATCH_ROWS at a time."""
    for batch in connection.sql(query).to_arrow_reader(BATCH_ROWS):
        yield pl.DataFrame(batch)


def parquet_sql(files: Sequence[Path]) -> str:
    """Parquet files for DuckDB's FROM."""
    return f"read_parquet([{', '.join(sql_string(str(file)) for file in files)}])"


def split_into_blocks(parts: Iterable[pl.DataFrame], key: str, partition: str | None = None) -> Iterator[pl.DataFrame]:
    """Cut a stream of rows into blocks of at least BLOCK_ROWS.

    Args:
        parts: the rows in order, sorted by `partition` and `key`.
        key: column whose equal values stay in one block, such as post_id.
        partition: column that ends a block whenever its value changes.
    """
    pending: list[pl.DataFrame] = []
    for part in parts:
        pending.append(part)
        if sum(one.height for one in pending) < BLOCK_ROWS:
            continue
        rows = pl.concat(pending)
        while (end := _block_end(rows, key, partition)) is not None:
            yield rows.head(end)
            rows = rows.slice(end)
        pending = [rows]
    rows = pl.concat(pending) if pending else pl.DataFrame()
    while not rows.is_empty():
        end = _block_end(rows, key, partition) or rows.height
        yield rows.head(end)
        rows = rows.slice(end)


def _block_end(rows: pl.DataFrame, key: str, partition: str | None) -> int | None:
    """Rows of the first block; None when rows still to come may belong to it."""
    ends = []
    for name, minimum in ((key, BLOCK_ROWS), (partition, 1)):
        if name is not None:
            changes = np.flatnonzero((rows[name] != rows[name].shift()).fill_null(False).to_numpy())
            ends += changes[changes >= minimum][:1].tolist()
    return min(ends, default=None)
