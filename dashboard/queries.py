"""Every query of the dashboard: Parquet files, keyed by the state of the file.

Whatever is read can be cached until the file changes. DuckDB answers all but the look-up of single rows. It runs in
memory: nothing is written, and a command that replaces a file meanwhile is not blocked. Values reach a query as
parameters only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.errors import LurkerError
from lurker.pair_sets import SPLITS, TEXTS
from lurker.schema import PAIRS, Table, check
from lurker.schema.columns import with_newer_columns

NO_SPLIT = 255
"""Place of a split that is none of SPLITS."""
SEARCHED = 512_000
"""Pairs whose texts are searched at once: four parts of the file as it is written."""
HELD_BYTES = 400_000_000
"""Texts of a set that are held in memory once it is searched; those of a larger set are read at every search."""
SAMPLED = 2_000
"""Pairs of whose texts the mean length is taken."""
_NUMBERED = "read_parquet($path, file_row_number => true)"
_WINNER = "(hash(chosen_id) >> 32)::UINTEGER AS winner"
_TESTED = """(SELECT NULL::VARCHAR AS chosen_id WHERE false
    UNION ALL BY NAME SELECT * FROM read_parquet($predictions))"""
"""Prediction files; older ones do not say which response was the winner when the pair was tested"""
_TIMES = {"created_utc", "observed_utc"}

_READING = Lock()
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A file and its state when last seen: the cache key of everything read from it."""

    path: Path
    mtime_ns: int
    n_bytes: int


def version(path: Path) -> FileVersion:
    """The file as it is now.

    Raises:
        LurkerError: the file is missing.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise LurkerError(f"Cannot read {path}: {error.strerror}.") from error
    return FileVersion(path, status.st_mtime_ns, status.st_size)


def read_table(file: FileVersion, table: Table) -> pl.DataFrame:
    """All rows of a file that contains one of the schema's tables.

    Raises:
        LurkerError: the file is damaged or not this table; the message names it.
    """
    return _checked(_frame("SELECT * FROM read_parquet($path)", file), table, file)


def require_columns(file: FileVersion, table: Table) -> None:
    """Check, without reading the rows, that a file has the columns of one of the schema's tables.

    Raises:
        LurkerError: the file is damaged or not this table; the message names it.
    """
    _checked(_frame("SELECT * FROM read_parquet($path) LIMIT 0", file), table, file)


def rows_and_dates(file: FileVersion, time_column: str) -> tuple[int, int | None, int | None]:
    """Number of rows of an ingested file, and its first and last time in seconds, None without a row."""
    assert time_column in _TIMES, time_column
    sql = f"SELECT count(*) AS n, min({time_column}) AS first, max({time_column}) AS last FROM read_parquet($path)"
    n, first, last = _frame(sql, file).row(0)
    return n, first, last


def first_rows(file: FileVersion, n: int) -> pl.DataFrame:
    """The first n rows of a file, with all its columns."""
    return _frame("SELECT * FROM read_parquet($path) LIMIT $n", file, n=n)


def policy_curve(file: FileVersion) -> pl.DataFrame:
    """What each measure says at each step of a policy, by step and measure."""
    columns = "step, kl, measure, value, low, high, n_prompts"
    return _frame(f"SELECT {columns} FROM read_parquet($path) ORDER BY step, measure", file)


def communities(file: FileVersion) -> list[str]:
    """Communities of a pair set, sorted."""
    names = _frame("SELECT DISTINCT subreddit FROM read_parquet($path) ORDER BY subreddit", file)["subreddit"]
    return [str(name) for name in names]


def pair_numbers(file: FileVersion, of_communities: Sequence[str]) -> Arrays:
    """What filters and orders need of every pair, in the file's order.

    Args:
        of_communities: as `communities` returns them.

    Returns:
        Arrays [n_pairs]: pair, winner (hashes of the ids of the pair and of its chosen response), community and split
        (places in their lists, NO_SPLIT for an unknown one), gap (chosen score minus rejected score).
    """
    sql = f"""SELECT hash(pair_id) AS pair, {_WINNER},
        (list_position($communities, subreddit) - 1)::USMALLINT AS community,
        coalesce(list_position($splits, split) - 1, {NO_SPLIT})::UTINYINT AS split,
        (chosen_score - rejected_score)::INTEGER AS gap
        FROM read_parquet($path)"""
    return _arrays(sql, file, communities=list(of_communities), splits=list(SPLITS))


def prediction_numbers(predictions: Sequence[FileVersion]) -> Arrays:
    """What a run predicted, over the files of its splits.

    Returns:
        Arrays [n_predictions]: pair and winner as in `pair_numbers`, has_winner (whether the file says it), margin,
        is_correct.
    """
    sql = f"""SELECT hash(pair_id) AS pair, {_WINNER}, chosen_id IS NOT NULL AS has_winner,
        margin::DOUBLE AS margin, is_correct::DOUBLE AS is_correct FROM {_TESTED}
        WHERE margin IS NOT NULL AND is_correct IS NOT NULL"""
    return _arrays(sql, predictions[0], predictions=[str(file.path) for file in predictions])


def hash_of(pair_id: str) -> np.uint64:
    """The hash of a pair's id, as in `pair_numbers`."""
    with duckdb.connect() as connection:
        found = connection.execute("SELECT hash($pair_id) AS pair", {"pair_id": pair_id}).fetchnumpy()
    return np.uint64(found["pair"][0])


def pairs_at(file: FileVersion, rows: Sequence[int], columns: Sequence[str] = tuple(PAIRS.columns)) -> pl.DataFrame:
    """Pairs by their rows in the file, in that order.

    A slice of the file decompresses only the pages that hold it, which a query by DuckDB does not; neighbouring rows
    are one slice.

    Args:
        columns: of PAIRS.

    Raises:
        LurkerError: the file is damaged, or has fewer rows.
    """
    try:
        scan = _scan(file)
        known = scan.collect_schema()
        kept = scan.select([name for name in columns if name in known])
        slices = [kept.slice(start, n).collect() for start, n in _runs(rows) or [(0, 0)]]
        found = with_newer_columns(pl.concat(slices), PAIRS).select(columns)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(file, error) from error
    if found.height < len(rows):
        raise LurkerError(f"{file.path} has no row {max(rows):,}.")
    return found


@lru_cache(maxsize=8)
def _scan(file: FileVersion) -> pl.LazyFrame:
    """The file, unread: it keeps its schema, so that the next slice does not look for it again."""
    return pl.scan_parquet(file.path)


def _runs(rows: Sequence[int]) -> list[tuple[int, int]]:
    """First row and length of each run of neighbours, in order."""
    runs: list[tuple[int, int]] = []
    for row in rows:
        if runs and row == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((row, 1))
    return runs


@lru_cache(maxsize=64)
def _holding(file: FileVersion, search: str, first: int) -> NDArray[np.bool_]:
    """Whether a text of each pair contains the search, for SEARCHED pairs from the row `first` on."""
    holds = " OR ".join(f"contains(lower({name}), lower($search))" for name in TEXTS)
    sql = f"SELECT coalesce({holds}, false) AS holds FROM {_NUMBERED} WHERE file_row_number BETWEEN $first AND $last"
    found = _arrays(sql, file, search=search, first=first, last=first + SEARCHED - 1)["holds"]
    return np.asarray(found, np.bool_)


def held_texts(file: FileVersion, n_pairs: int) -> pl.DataFrame | None:
    """The texts of all pairs in lower case, read once; None if they are too large to hold.

    Args:
        n_pairs: of the set.
    """
    with _READING:  # who searches while they are read waits for them
        return _lowered(file) if _mean_bytes(file) * n_pairs <= HELD_BYTES else None


@lru_cache(maxsize=8)
def _mean_bytes(file: FileVersion) -> float:
    """Mean size of the texts of a pair, of the first SAMPLED."""
    size = " + ".join(f"strlen({name})" for name in TEXTS)
    sampled = "(SELECT * FROM read_parquet($path) LIMIT $n)"
    found = _frame(f"SELECT coalesce(avg({size}), 0) AS size FROM {sampled}", file, n=SAMPLED)
    return float(found["size"][0])


@lru_cache(maxsize=1)
def _lowered(file: FileVersion) -> pl.DataFrame:
    return _frame(f"SELECT {', '.join(f'lower({name}) AS {name}' for name in TEXTS)} FROM read_parquet($path)", file)


def pairs_with(
    file: FileVersion, search: str, n_pairs: int, advance: Callable[[float], object] = lambda share: None
) -> NDArray[np.bool_]:
    """Whether the prompt or a response of each pair contains a text, in any case, [n_pairs].

    Args:
        n_pairs: of the set.
        advance: called with the share of the pairs that is searched, if their texts have to be read.
    """
    texts = held_texts(file, n_pairs)
    if texts is not None:
        with duckdb.connect() as connection:  # lower case as DuckDB has it, on both sides
            lowered = connection.execute("SELECT lower($search)", {"search": search}).fetchall()[0][0]
        holds = pl.any_horizontal(pl.col(TEXTS).str.contains(lowered, literal=True).fill_null(False))
        return texts.select(holds=holds)["holds"].to_numpy()
    parts = []
    for first in range(0, n_pairs, SEARCHED):
        advance(first / n_pairs)
        parts.append(_holding(file, search, first))
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def tested_pairs(file: FileVersion, predictions: Sequence[FileVersion]) -> pl.DataFrame:
    """Columns pair_id, post_id and chosen_id of the pairs that a run was tested on, as they are now."""
    sql = """SELECT pair_id, post_id, chosen_id FROM read_parquet($path)
        WHERE pair_id IN (SELECT pair_id FROM read_parquet($predictions))"""
    return _frame(sql, file, predictions=[str(one.path) for one in predictions])


def _frame(sql: str, file: FileVersion, **parameters: Any) -> pl.DataFrame:
    """The rows of a query in which `$path` is the file.

    Raises:
        LurkerError: the file is damaged; the message names it.
    """
    with duckdb.connect() as connection:
        try:
            rows = connection.sql(sql, params={"path": str(file.path)} | parameters).to_arrow_table()
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise _unreadable(file, error) from error
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame), "an Arrow table converts to a frame"
    return frame


def _arrays(sql: str, file: FileVersion, **parameters: Any) -> Arrays:
    """The columns of a query as arrays; as `_frame`."""
    used = {"path": str(file.path)} if "$path" in sql else {}
    with duckdb.connect() as connection:
        try:
            found: Arrays = connection.execute(sql, used | parameters).fetchnumpy()
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise _unreadable(file, error) from error
    return found


def _checked(frame: pl.DataFrame, table: Table, file: FileVersion) -> pl.DataFrame:
    """The frame as `check` returns it; the message of an error names the file."""
    try:
        return check(frame, table)
    except LurkerError as error:
        message = error.message if str(file.path) in error.message else f"{file.path}: {error.message}"
        raise LurkerError(message, error.next_step) from error


def _unreadable(file: FileVersion, error: Exception) -> LurkerError:
    reason = str(error).strip().splitlines()[0].rstrip(".")
    return LurkerError(f"Cannot read {file.path}: {reason}.")
