"""Lines of JSON -> staged rows: the one path that the rows of every source take.

Rows are parsed, filtered and normalised one batch at a time and written to `staging/<fingerprint>/<batch>.*`: a sorted
run per table, then the batch's summary. A batch with a summary is complete; one without is done again. `merge_staged`
merges batches into the tables.
"""

import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from ingest.native import json_lines
from ingest.tables import normalize
from ingest.tables.compiled_comments import normalize_comments
from ingest.tables.merge import TABLES, merge
from ingest.tables.normalize import RowContext
from ingest.tables.parse import FIELDS, RAW_TYPES, Malformed, parse_lines, with_odd_lines
from ingest.tables.sorted_runs import Run, in_order, write_run
from lurker.files import atomic_path, read_json, write_json
from lurker.progress import say
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table
from lurker.workspace import Workspace

STAGING_VERSION = 9
"""Part of every fingerprint; raise it when the meaning of staged rows or of block numbers changes."""

COUNTS = ("n_rows", "n_posts", "n_comments", "n_malformed")
"""Counts in every summary, next to `dropped` (rows by reason) and `subreddits` (kept rows by subreddit)."""

DROPPED_PREFIX = ".dropped-"
"""Prefix of folders that are being deleted."""
MAX_SHAPE_BYTES = 300
FIELD_NAMES = frozenset({*RAW_TYPES, "data", "children", "comments", "replies", "kind"})
_WORD = re.compile(r"[^\s{}\[\]:,\"']+")
_JSON_NAMES = {list: "an array", str: "a text", int: "a number", float: "a number", bool: "a truth value"}


def staged_summary(folder: Path, name: str) -> dict[str, Any] | None:
    """The summary of a batch that was staged completely, else None."""
    path = folder / f"{name}.json"
    return read_json(path) if path.exists() else None


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of some lines, their malformed lines and a summary."""

    rows: dict[str, pl.DataFrame]
    """Rows by table name, in no particular order; tables without rows are absent."""
    malformed: tuple[Malformed, ...]
    summary: dict[str, Any]
    """COUNTS, `dropped` and `subreddits`."""


def read_batch(
    data: bytes | memoryview, context: RowContext, *, first_line: int = 1, n_lines: int | None = None
) -> Batch:
    """Parse, filter and normalise lines.

    Args:
        data: complete lines of JSON objects, each ending in a newline.
        first_line: number of the first line in its file.
        n_lines: number of lines, if known.
    """
    if not json_lines.is_built():
        raw, malformed = parse_lines(data, first_line)
        posts, comments, summary = _normalised(raw, context)
    else:
        lines = json_lines.read_lines(data, FIELDS, n_lines)
        posts, (comments, dropped, left) = POSTS.empty(), normalize_comments(lines, context)
        summary, malformed = _summary(lines.n_rows - len(left), posts, comments, dropped), []
        if lines.odd or len(left):
            raw, malformed = with_odd_lines(lines.frame(left), lines, data, first_line)
            posts, others, summary_of_others = _normalised(raw, context)
            comments, summary = pl.concat([comments, others]), sum_summaries([summary, summary_of_others])
    summary["n_rows"] += len(malformed)
    return Batch(_tables(posts, comments), tuple(malformed), {**summary, "n_malformed": len(malformed)})


def _normalised(raw: pl.DataFrame, context: RowContext) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Posts and comments from raw rows of any kind, and a summary."""
    rows = normalize.with_common_fields(raw).with_columns(normalize.drop_reason(context.filters))
    kept = rows.filter(pl.col("drop_reason").is_null())
    posts, comments = normalize.posts(kept, context), normalize.comments(kept, context)
    dropped = dict(rows["drop_reason"].drop_nulls().value_counts().rows())
    return posts, comments, _summary(raw.height, posts, comments, dropped)


def _summary(n_rows: int, posts: pl.DataFrame, comments: pl.DataFrame, dropped: dict[str, int]) -> dict[str, Any]:
    subreddits = Counter[str]()
    for rows in (posts, comments):
        for name, n in rows["subreddit"].value_counts().iter_rows():
            subreddits[name.lower()] += n
    return {
        **{"n_rows": n_rows, "n_posts": posts.height, "n_comments": comments.height, "n_malformed": 0},
        **{"dropped": dropped, "subreddits": dict(subreddits)},
    }


def concat_batches(batches: Sequence[Batch]) -> Batch:
    """Several batches as one."""
    rows = {
        table.name: pl.concat(parts)
        for table in TABLES
        if (parts := [batch.rows[table.name] for batch in batches if table.name in batch.rows])
    }
    malformed = tuple(line for batch in batches for line in batch.malformed)
    return Batch(rows, malformed, sum_summaries([batch.summary for batch in batches]))


def sorted_batch(batch: Batch) -> Batch:
    """The batch with its rows in the order of runs."""
    tables = (table for table in TABLES if table.name in batch.rows)
    return replace(batch, rows={table.name: in_order(batch.rows[table.name], table) for table in tables})


def sum_summaries(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The counts of several summaries, added up."""
    total: dict[str, Any] = {name: sum(summary[name] for summary in summaries) for name in COUNTS}
    for name in ("dropped", "subreddits"):
        total[name] = dict(sum((Counter(summary[name]) for summary in summaries), Counter[str]()))
    return total


def stage_lines(
    data: bytes, folder: Path, name: str, context: RowContext, *, notes: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Read lines as `read_batch` does and write them as `write_batch` does; returns the summary."""
    return write_batch(read_batch(data, context), folder, name, notes)


def write_batch(batch: Batch, folder: Path, name: str, notes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write a batch's rows as runs, then its summary.

    Args:
        name: name of the batch, unique in the folder.
        notes: further entries of the summary.

    Returns:
        The summary as written.
    """
    _write_runs(batch.rows, folder, name)
    if batch.malformed:
        records = "".join(f"{json.dumps(record)}\n" for record in malformed_records(batch))
        with atomic_path(folder / f"{name}.malformed") as temporary:
            temporary.write_text(records, encoding="utf-8")
    summary = {**batch.summary, **(notes or {})}
    write_json(summary, folder / f"{name}.json")
    return summary


def malformed_records(batch: Batch) -> Iterator[dict[str, Any]]:
    """The malformed lines of a batch: `line` (its number), `problem`, and `text`, the line without its words."""
    for line in batch.malformed:
        yield {"line": line.line, "problem": problem_of(line.data), "text": _without_words(line.data)}


def stage_rows(folder: Path, name: str, posts: pl.DataFrame, comments: pl.DataFrame) -> None:
    """Write posts, comments and the observations made from them as runs of a batch."""
    _write_runs(_tables(posts, comments), folder, name)


def _write_runs(rows: dict[str, pl.DataFrame], folder: Path, name: str) -> None:
    for table in TABLES:
        if table.name in rows:
            write_run(rows[table.name], table, folder / f"{name}.{table.name}.arrow")


def _tables(posts: pl.DataFrame, comments: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Posts, comments and the observations made from them, by table name; empty tables are absent."""
    has_time_and_score = pl.col("retrieved_utc").is_not_null() & pl.col("score").is_not_null()
    observations = [
        rows.filter(has_time_and_score & is_shown).select(
            *(pl.col(table.key[0]).alias("item_id"), pl.lit(kind).alias("kind"), "subreddit"),
            *(pl.col("retrieved_utc").alias("observed_utc"), "score", flag.alias("is_controversial")),
        )
        for rows, table, kind, is_shown, flag in (
            (posts, POSTS, "post", pl.lit(True), pl.lit(None, dtype=pl.Boolean)),
            # Reddit returns 1 for a hidden score
            (comments, COMMENTS, "comment", ~pl.col("is_score_hidden"), pl.col("is_controversial")),
        )
    ]
    tables = ((OBSERVATIONS, pl.concat(observations)), (POSTS, posts), (COMMENTS, comments))
    return {table.name: frame for table, frame in tables if frame.height}


def staged_runs(folder: Path, table: Table) -> list[Path]:
    """Paths of a table's runs in a folder of batches."""
    return sorted(folder.glob(f"*.{table.name}.arrow"))


def merge_staged(workspace: Workspace, folders: Sequence[Path], in_memory: Sequence[Batch] = ()) -> None:
    """Merge every staged batch of the folders into posts, comments and observations; merging twice changes nothing.

    Args:
        in_memory: further batches, which were sorted and not written.
    """
    runs: dict[str, list[Run]] = {
        table.name: [run for folder in folders for run in staged_runs(folder, table)] for table in TABLES
    }
    say("Merging into the tables ...")
    for batch in in_memory:
        for name, rows in batch.rows.items():
            runs[name].append(rows)
    spill = folders[0] / "spill"
    shutil.rmtree(spill, ignore_errors=True)
    merge(workspace, runs, spill)
    shutil.rmtree(spill, ignore_errors=True)


def drop_staged(*folders: Path) -> None:
    """Delete folders of merged batches, and what remains of folders whose deletion was killed.

    All are renamed first: a half-deleted folder must not look like one with complete batches, and after a kill between
    two of them neither may be read again.
    """
    for folder in folders:
        if folder.exists():
            folder.rename(folder.with_name(f"{DROPPED_PREFIX}{uuid.uuid4().hex[:8]}"))
    for staging in {folder.parent for folder in folders}:
        for left_over in staging.glob(f"{DROPPED_PREFIX}*"):
            shutil.rmtree(left_over, ignore_errors=True)


def problem_of(line: bytes) -> str:
    """Why a line is no JSON object."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"{error.msg} at character {error.pos + 1:,}"
    except UnicodeDecodeError:
        return "not UTF-8"
    except RecursionError:
        return "nested too deeply"
    return "not readable" if isinstance(value, dict) else f"not an object but {_JSON_NAMES.get(type(value), 'a value')}"


def _without_words(line: bytes) -> str:
    """The form of a malformed line: any word in it could be a name, so all but field names become x."""
    start = line[:MAX_SHAPE_BYTES].decode("utf-8", "replace")
    return _WORD.sub(lambda word: word[0] if word[0] in FIELD_NAMES else "x", start)
