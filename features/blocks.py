"""Rows on disk in blocks of whole posts: by these a workspace larger than memory becomes pairs.

DuckDB sorts rows, within its memory limit or by way of the disk, and they come back in blocks that end where a post
ends. Every stage reads blocks and writes blocks, a few at a time, so what it holds does not grow with the workspace.
Where a block ends hangs on the rows alone: not on the memory limit, the engine, the threads or the files of the input.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from lurker.engine import Engine, map_in_order
from lurker.errors import CallError, LurkerError
from lurker.workspace import sql_string

BLOCK_ROWS = 50_000
"""Rows of a block, at least; it ends with the post that passes this, or with the subreddit."""
BATCH_ROWS = 20_000
"""Rows that DuckDB hands over at a time; texts are read so many at a time too."""
Place = TypeVar("Place", Path, BytesIO)
_OURS = re.compile(r"lurker-(?:blocks|spill)-(\d+)-")
"""Begins the name of a folder of ours, with the process that made it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """By what means pairs are built; no byte of the result hangs on them."""

    engine: Engine = "local"
    """local: threads of this process; ray: every block of posts a task of a cluster."""
    memory_limit: str | None = None
    """Memory of DuckDB, like 500MB or 8GB; what does not fit goes to the disk. None: four fifths of the machine's."""
    temp_folder: Path | None = None
    """Where blocks and what is spilled lie; None: a temporary folder of the system."""

    def __post_init__(self) -> None:
        if self.memory_limit is not None:
            try:
                duckdb.connect(config={"memory_limit": self.memory_limit}).close()
            except duckdb.Error as error:
                raise CallError(
                    f"The memory limit takes a size like 500MB or 8GB, got {self.memory_limit!r}."
                ) from error


@dataclass(frozen=True, slots=True)
class Blocks:
    """Files of rows in order, each of whole posts of one subreddit."""

    files: tuple[Path, ...]
    subreddits: tuple[str, ...]
    """Of each file."""

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return (pl.read_parquet(file, memory_map=False) for file in self.files)

    @property
    def n_rows(self) -> int:
        """Rows of all blocks, from the files' own counts."""
        return sum(pq.read_metadata(file).num_rows for file in self.files)

    def of(self, subreddit: str) -> "Blocks":
        """Those of one subreddit."""
        files = [file for file, of in zip(self.files, self.subreddits, strict=True) if of == subreddit]
        return Blocks(tuple(files), (subreddit,) * len(files))

    def sql(self) -> str:
        """All rows, for DuckDB's FROM."""
        return parquet_sql(self.files)

    def remove(self) -> None:
        """Free their place on the disk."""
        for file in self.files:
            file.unlink(missing_ok=True)


@contextmanager
def staging(means: Means) -> Iterator[Path]:
    """A folder for blocks, gone at the end."""
    place = means.temp_folder or Path(tempfile.gettempdir())
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=f"lurker-blocks-{os.getpid()}-", dir=place))
    try:
        yield folder
    except OSError as error:
        raise LurkerError(
            f"Cannot write {folder}: {error.strerror or error}.", "Free some space, or name a larger disk in TMPDIR."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove folders of builds that were killed: they may hold texts."""
    for folder in place.glob("lurker-*"):
        if (made_by := _OURS.match(folder.name)) and not _is_alive(int(made_by[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def map_blocks(
    function: Callable[..., tuple[pl.DataFrame, Any]],
    blocks: Blocks,
    folder: Path,
    means: Means,
    advance: Callable[[float], None] = lambda _: None,
    **given: Any,
) -> tuple[Blocks, list[Any]]:
    """The blocks that `function(block, **given)` makes of each block, and what it says of each beside them.

    folder: of the new blocks; made. advance: told the rows of each block that was read.
    """
    folder.mkdir(parents=True)
    tasks = ({"file": file.read_bytes()} for file in blocks.files)
    results = map_in_order(_map_file, tasks, engine=means.engine, shared={"function": function} | given)
    files: list[Path] = []
    told = []
    for file, said, n_rows in results:
        files.append(folder / f"{len(files):06}.parquet")
        files[-1].write_bytes(file)
        told.append(said)
        advance(n_rows)
    return Blocks(tuple(files), blocks.subreddits), told


def _map_file(file: bytes, function: Callable[..., tuple[pl.DataFrame, Any]], **given: Any) -> tuple[bytes, Any, int]:
    """A block's file made of another's, what was said of it, and the rows that were read. Blocks travel as their files:
    these take a fraction of the place, in a cluster's shared memory too, and who hands out tasks decodes none."""
    block, made = pl.read_parquet(file), BytesIO()
    rows, said = function(block, **given)
    write_block(rows, made)
    return made.getvalue(), said, block.height


def write_block(rows: pl.DataFrame, place: Place) -> Place:
    """Write what is soon read again; nothing is flushed, for it is of no use to another process."""
    rows.write_parquet(place, compression="lz4", statistics=False)
    return place


@contextmanager
def connect(means: Means) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB within the memory limit; that memory or disk is full is said in a sentence."""
    folder = means.temp_folder or Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=f"lurker-spill-{os.getpid()}-", dir=folder) as spill:
        config: dict[str, Any] = {"temp_directory": spill, "preserve_insertion_order": False}
        if means.memory_limit is not None:
            config["memory_limit"] = means.memory_limit
        try:
            with duckdb.connect(config=config) as connection:
                yield connection
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            memory, said = means.memory_limit or "this machine's memory", str(error).splitlines()[0]
            raise LurkerError(
                f"The responses cannot be sorted within {memory} and the free space of {folder}: {said}.",
                "Give more with --memory-limit, or name a larger disk in TMPDIR.",
            ) from error


def batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pl.DataFrame]:
    """The rows of a query as they come."""
    for batch in connection.sql(query).to_arrow_reader(BATCH_ROWS):
        yield pl.DataFrame(batch)


def parquet_sql(files: Sequence[Path]) -> str:
    """Parquet files for DuckDB's FROM."""
    return f"read_parquet([{', '.join(sql_string(str(file)) for file in files)}])"


def whole_blocks(parts: Iterable[pl.DataFrame], whole: str, apart: str | None = None) -> Iterator[pl.DataFrame]:
    """Rows that are sorted by `apart` and `whole`, in blocks that end where `whole` does, or `apart`."""
    held: list[pl.DataFrame] = []
    for part in parts:
        held.append(part)
        if sum(one.height for one in held) < BLOCK_ROWS:
            continue
        rows = pl.concat(held)
        while (end := _end(rows, whole, apart)) is not None:
            yield rows.head(end)
            rows = rows.slice(end)
        held = [rows]
    rows = pl.concat(held) if held else pl.DataFrame()
    while not rows.is_empty():
        end = _end(rows, whole, apart) or rows.height
        yield rows.head(end)
        rows = rows.slice(end)


def _end(rows: pl.DataFrame, whole: str, apart: str | None) -> int | None:
    """Rows of the first block; None where more rows may belong to it."""
    ends = []
    for name, least in ((whole, BLOCK_ROWS), (apart, 1)):
        if name is not None:
            changes = np.flatnonzero((rows[name] != rows[name].shift()).fill_null(False).to_numpy())
            ends += changes[changes >= least][:1].tolist()
    return min(ends, default=None)
