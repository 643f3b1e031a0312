"""Sorted runs: sorted files of a table's rows from which a range of keys can be read without the rest.

Staging sorts each batch while it is small and writes it as an uncompressed Arrow file, a run. The merge memory-maps the
runs and reads the same range of keys from each: an external merge sort that needs memory for one range, whatever the
size of the data. The workspace's Parquet files are sorted the same way, so they serve as runs too.

Source: Knuth, The Art of Computer Programming 3, 5.4 (external sorting).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ingest.native.json_lines import array, frame_of
from lurker.files import atomic_path
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table, with_newer_columns

Numbers = np.ndarray[tuple[int], np.dtype[Any]]
Key = tuple[str, str]
"""The subreddit in lower case, then the id of the post (in observations: of the item)."""
FIRST_KEY: Key = ("", "")
Run = Path | pl.DataFrame
"""A sorted file, or sorted rows that were kept in memory."""

ORDER = {
    POSTS.name: ("post_id",),
    COMMENTS.name: ("post_id", "created_utc", "comment_id"),
    OBSERVATIONS.name: ("item_id", "kind", "observed_utc"),
}
"""Sort columns within a subreddit: threads stay together, and ids break ties."""
MAX_RUNS = 256
"""Runs merged at once; if there are more, they are first merged into longer ones."""
OWN_TEXTS = pl.CompatLevel.oldest()
"""Texts are written as values of their own. Polars' newer format writes views together with the buffers they point
into, and these may hold the raw lines, author names included."""
MAX_ID_BYTES = 7
"""Reddit's ids in base 36 have 7 characters until its 78 billionth comment; rows with longer ids sort more slowly."""
KEYS_PER_RANGE = 64
"""Keys sampled per range: their quantiles cut ranges of nearly equal size."""


def in_order(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Sort rows by subreddit, ignoring case, then by ORDER; the sort is stable."""
    rows = rows.rechunk()  # taking rows from several chunks is ten times slower
    ranks = _subreddit_ranks(rows["subreddit"])
    integers = [_as_integers(rows[name]) for name in ORDER[table.name]]
    keys = [key for key in integers if key is not None]
    if len(keys) < len(integers):
        return rows.sort(ranks, *ORDER[table.name], maintain_order=True)
    order = np.lexsort([*reversed(keys), ranks])  # in one thread: those of a parallel sort wait in loops
    return rows[frame_of({"row": array("WHOLE", len(order), None, order)})["row"]]


def _subreddit_ranks(names: pl.Series) -> Numbers:
    """Rank of each name, ignoring case."""
    coded = names.cast(pl.Categorical(pl.Categories.random()))
    spellings = pl.Series(coded.to_arrow().dictionary.to_pylist(), dtype=pl.String)
    ranks: Numbers = spellings.str.to_lowercase().rank("dense").to_numpy()[coded.to_physical().to_numpy()]
    return ranks


def _as_integers(values: pl.Series) -> Numbers | None:
    """Integers in the same order, which sort faster; None if a text is longer than ids are, or missing.

    A text of up to 7 bytes is the first bytes of its integer, and its length is the last one.
    """
    if values.null_count():
        return None
    if values.dtype != pl.String:
        return values.to_numpy()
    views = values.to_arrow(compat_level=pl.CompatLevel.newest())
    words = np.frombuffer(views.buffers()[1], dtype="<u4").reshape(-1, 4)[views.offset : views.offset + len(views)]
    lengths = words[:, 0]  # a view is the length of its text and, if it is short, the text
    if lengths.max(initial=0) > MAX_ID_BYTES:
        return None
    integers: Numbers = np.ascontiguousarray(words[:, 1:3]).view(">u8").ravel().astype(np.uint64) | lengths
    return integers


def write_run(rows: pl.DataFrame, table: Table, path: Path) -> None:
    """Sort rows and write them as a run, completely or not at all.

    Texts are written one after the other. Views would be written with the buffer that they share, in which the raw
    lines' texts lie too, author names among them.
    """
    with atomic_path(path) as temporary:
        in_order(rows, table).write_ipc(temporary, compression="uncompressed", compat_level=OWN_TEXTS)


def read_run(run: Run, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """All rows of a run, with some columns or all."""
    if isinstance(run, Path) and run.suffix == ".parquet":
        return pl.read_parquet(run, columns=list(columns) if columns else None)
    rows = run if isinstance(run, pl.DataFrame) else _memory_mapped(run)
    return pl.DataFrame(rows.select(columns) if columns else rows)


def size_bytes(run: Run) -> int:
    """Approximate size of a run: in memory for rows, on disk for a file."""
    return int(run.estimated_size()) if isinstance(run, pl.DataFrame) else run.stat().st_size


def key_ranges(runs: Sequence[Run], table: Table, n_ranges: int) -> list[tuple[Key, Key | None]]:
    """Cut the keys of all runs into about `n_ranges` ranges [low, high) of nearly equal size in bytes.

    Returns:
        The ranges in ascending order; the last one has no upper end (None).
    """
    sizes = [size_bytes(run) for run in runs]
    per_key = max(1, sum(sizes) // (n_ranges * KEYS_PER_RANGE))
    keys = sorted(
        key for run, size in zip(runs, sizes, strict=True) for key in _sampled_keys(run, table, 1 + size // per_key)
    )
    cuts = sorted({keys[len(keys) * part // n_ranges] for part in range(1, n_ranges)} - {FIRST_KEY})
    bounds: list[Key | None] = [*cuts, None]
    return list(zip([FIRST_KEY, *cuts], bounds, strict=True))


def rows_between(run: Run, table: Table, low: Key, high: Key | None) -> pl.DataFrame:
    """The rows of a run whose key is in [low, high); columns newer than the run are null."""
    if isinstance(run, pl.DataFrame) or run.suffix == ".arrow":
        rows = run if isinstance(run, pl.DataFrame) else _memory_mapped(run)
        start, end = _first_row(rows, table, low), len(rows) if high is None else _first_row(rows, table, high)
        return _completed(pl.DataFrame(rows.slice(start, end - start)), table)  # converts these rows, not the whole run
    name, column = run.parent.name, pl.col(ORDER[table.name][0])
    if low[0] > name or (high is not None and high[0] < name):
        return table.empty()
    rows_of_file = pl.scan_parquet(run)
    if low[0] == name:
        rows_of_file = rows_of_file.filter(column >= low[1])
    if high is not None and high[0] == name:
        rows_of_file = rows_of_file.filter(column < high[1])
    return _completed(rows_of_file.collect(), table)


def _completed(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    return with_newer_columns(rows, table).select(*table.columns)


def limit_runs(runs: Sequence[Run], table: Table, scratch: Path, memory_bytes: int) -> list[Run]:
    """Merge runs into longer ones in `scratch` until there are at most MAX_RUNS.

    Args:
        memory_bytes: approximate memory to use while merging.
    """
    runs = list(runs)
    while len(runs) > MAX_RUNS:
        groups = [runs[start : start + MAX_RUNS] for start in range(0, len(runs), MAX_RUNS)]
        runs = [_merged_run(group, table, scratch, memory_bytes) for group in groups]
    return runs


def _merged_run(runs: Sequence[Run], table: Table, scratch: Path, memory_bytes: int) -> Path:
    path = scratch / f"{len(list(scratch.glob('*.arrow'))):06d}.{table.name}.arrow"
    n_ranges = 1 + sum(map(size_bytes, runs)) // memory_bytes
    with atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as file:
        writer = None
        for low, high in key_ranges(runs, table, n_ranges):
            parts = pl.concat(rows_between(run, table, low, high) for run in runs)
            rows = in_order(parts, table).to_arrow(compat_level=OWN_TEXTS)
            writer = writer or pa.ipc.new_file(file, rows.schema)
            writer.write_table(rows)
        if writer:
            writer.close()
    return path


def _memory_mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _sampled_keys(run: Run, table: Table, n_keys: int) -> Iterator[Key]:
    """About `n_keys` keys of a run, evenly spaced."""
    columns = ["subreddit", ORDER[table.name][0]]
    rows = read_run(run, columns)
    for subreddit, item in rows[:: max(1, rows.height // n_keys)].iter_rows():
        yield subreddit.lower(), item


def _first_row(rows: pl.DataFrame | pa.Table, table: Table, key: Key) -> int:
    """Index of the first row of a run whose key is at least `key`."""
    subreddits, items = rows["subreddit"], rows[ORDER[table.name][0]]

    def key_of(row: int) -> Key:
        return str(subreddits[row]).lower(), str(items[row])

    return bisect_left(range(len(rows)), key, key=key_of)
