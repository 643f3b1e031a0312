"""Sorted runs: rows of a table in sorted files, of which a range of keys can be read without the rest.

Staging sorts every batch while it is small and writes it as an uncompressed Arrow file, a run. The merge maps runs into
memory and takes the same range of keys from each: an external merge sort whose memory is that of a range, whatever the
size of the data. The workspace's Parquet files are sorted the same way, so they are runs too.

Source: Knuth, The Art of Computer Programming 3, 5.4 (external sorting).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table
from lurker.workspace import atomic_path

Key = tuple[str, str]
"""What ranges are made of: the subreddit in lower case, then the id of the post (of the item, in observations)."""
FIRST: Key = ("", "")
Run = Path | pl.DataFrame
"""A sorted file, or rows in order that never left the memory."""

ORDER = {
    POSTS.name: ("post_id",),
    COMMENTS.name: ("post_id", "created_utc", "comment_id"),
    OBSERVATIONS.name: ("item_id", "kind", "observed_utc"),
}
"""How rows are sorted within a subreddit: a thread lies together, ties are broken by id."""
MAX_RUNS = 256
"""Most runs that are merged at once; more are first merged into longer ones."""
KEYS_A_RANGE = 64
"""Sampled keys for each range that is wanted: their quantiles cut ranges of nearly one size."""


def in_order(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The rows as the table's files hold them: by subreddit in any case, then by ORDER; equal rows as they came."""
    return rows.sort(_subreddit_ranks(rows["subreddit"]), *ORDER[table.name], maintain_order=True)


def _subreddit_ranks(names: pl.Series) -> pl.Series:
    """The rank of each name in any case; integers sort in two thirds of the time that names take."""
    spellings = names.unique()
    ranks = spellings.str.to_lowercase().rank("dense")
    return names.replace_strict(spellings, ranks, return_dtype=pl.UInt32)


def write_run(rows: pl.DataFrame, table: Table, path: Path) -> None:
    """Sort rows and write them as a run, whole or not at all."""
    with atomic_path(path) as temporary:
        in_order(rows, table).write_ipc(temporary, compression="uncompressed")


def read_run(run: Run) -> pl.DataFrame:
    """All rows of a run; those of a staged file are mapped into memory, not read until they are used."""
    if isinstance(run, pl.DataFrame):
        return run
    return pl.DataFrame(_mapped(run)) if run.suffix == ".arrow" else pl.read_parquet(run)


def size_bytes(run: Run) -> int:
    """About how large a run is."""
    return int(run.estimated_size()) if isinstance(run, pl.DataFrame) else run.stat().st_size


def ranges(runs: Sequence[Run], table: Table, n_wanted: int) -> list[tuple[Key, Key | None]]:
    """Cut the keys of all runs into about `n_wanted` ranges [low, high) of nearly equal bytes; None is the end."""
    sizes = [size_bytes(run) for run in runs]
    per_key = max(1, sum(sizes) // (n_wanted * KEYS_A_RANGE))
    keys = sorted(
        key for run, size in zip(runs, sizes, strict=True) for key in _sampled(run, table, 1 + size // per_key)
    )
    cuts = sorted({keys[len(keys) * part // n_wanted] for part in range(1, n_wanted)} - {FIRST})
    bounds: list[Key | None] = [*cuts, None]
    return list(zip([FIRST, *cuts], bounds, strict=True))


def between(run: Run, table: Table, low: Key, high: Key | None) -> pl.DataFrame:
    """The rows of a run whose key is in [low, high)."""
    if isinstance(run, pl.DataFrame) or run.suffix == ".arrow":
        rows = read_run(run)
        start, end = _place(rows, table, low), rows.height if high is None else _place(rows, table, high)
        return rows.slice(start, end - start)
    name, column = run.parent.name, pl.col(ORDER[table.name][0])
    if low[0] > name or (high is not None and high[0] < name):
        return table.empty()
    rows_of_file = pl.scan_parquet(run)
    if low[0] == name:
        rows_of_file = rows_of_file.filter(column >= low[1])
    if high is not None and high[0] == name:
        rows_of_file = rows_of_file.filter(column < high[1])
    return rows_of_file.collect()


def few_runs(runs: Sequence[Run], table: Table, scratch: Path, n_bytes: int) -> list[Run]:
    """The runs themselves, or, where there are more than MAX_RUNS, longer ones made of them in `scratch`.

    n_bytes: about as much is held in memory at once.
    """
    runs = list(runs)
    while len(runs) > MAX_RUNS:
        groups = [runs[start : start + MAX_RUNS] for start in range(0, len(runs), MAX_RUNS)]
        runs = [_longer(group, table, scratch, n_bytes) for group in groups]
    return runs


def _longer(runs: Sequence[Run], table: Table, scratch: Path, n_bytes: int) -> Path:
    path = scratch / f"{len(list(scratch.glob('*.arrow'))):06d}.{table.name}.arrow"
    n_wanted = 1 + sum(map(size_bytes, runs)) // n_bytes
    with atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as file:
        writer = None
        for low, high in ranges(runs, table, n_wanted):
            rows = in_order(pl.concat(between(run, table, low, high) for run in runs), table).to_arrow()
            writer = writer or pa.ipc.new_file(file, rows.schema)
            writer.write_table(rows)
        if writer:
            writer.close()
    return path


def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _sampled(run: Run, table: Table, n_keys: int) -> Iterator[Key]:
    """About `n_keys` keys of a run, evenly spaced."""
    columns = ["subreddit", ORDER[table.name][0]]
    if isinstance(run, Path) and run.suffix == ".parquet":
        rows = pl.read_parquet(run, columns=columns)
    else:
        rows = read_run(run).select(columns)
    for subreddit, item in rows[:: max(1, rows.height // n_keys)].iter_rows():
        yield subreddit.lower(), item


def _place(rows: pl.DataFrame, table: Table, key: Key) -> int:
    """The first row of a run whose key is not below `key`."""
    subreddits, items = rows["subreddit"], rows[ORDER[table.name][0]]

    def key_of(row: int) -> Key:
        return subreddits[row].lower(), items[row]

    return bisect_left(range(rows.height), key, key=key_of)
