"""Lines of JSON -> staged rows, whatever brought them: the one door through which dumps and live rows come in.

Rows are parsed, filtered and normalised a batch at a time and kept under `staging/<fingerprint>/<batch>.*`, sorted
runs of each table, the batch's summary last: a batch with a summary is whole, one without is done again.
`merge_staged` brings batches into the tables.
"""

import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ingest.native import json_lines
from ingest.tables import merge as store
from ingest.tables import normalize
from ingest.tables.compiled_comments import normalize_comments
from ingest.tables.normalize import RowFilters
from ingest.tables.parse import FIELDS, Malformed, parse_lines, with_odd_lines
from ingest.tables.sorted_runs import Run, in_order, write_run
from lurker.progress import say
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table
from lurker.workspace import Workspace, atomic_path, read_json, write_json

STAGING_VERSION = 6
"""Part of the fingerprint: a change of what staged rows, or the numbers of blocks, mean makes old ones void."""

COUNTS = ("n_rows", "n_posts", "n_comments", "n_malformed")
"""What every summary counts, beside the dropped by reason and the kept by subreddit."""

DROPPED = ".dropped-"
"""Begins the name of a folder that is on its way out."""
_MENTION = re.compile(r"\b[uU](?:ser)?/[A-Za-z0-9_-]{2,30}", re.ASCII)
_NAME_FIELD = re.compile(r'("(?:author\w*|\w+_by|permalink|t)"\s*:\s*)"[^"]*"?')
"""Fields of Reddit's that bear a user's name; `t` is the text of a flair."""


def staged_summary(folder: Path, name: str) -> dict[str, Any] | None:
    """The summary of a batch that was staged whole, else None."""
    path = folder / f"{name}.json"
    return read_json(path) if path.exists() else None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that belong together: a run of each table, the lines that nothing can read, and what is told of them.

    runs: name of a table -> rows in its order; of those that have any.
    """

    runs: dict[str, pl.DataFrame]
    malformed: tuple[Malformed, ...]
    summary: dict[str, Any]


def read_batch(
    data: bytes | memoryview,
    filters: RowFilters,
    source: str,
    salt: bytes,
    *,
    first_line: int = 1,
    n_lines: int | None = None,
) -> Batch:
    """Parse, filter and normalise lines.

    data: whole lines of JSON objects, each ending in a newline. source: goes into the rows. first_line: its number.
    n_lines: how many there are, where that is known.
    """
    if not json_lines.is_built():
        raw, malformed = parse_lines(data, first_line)
        posts, comments, summary = _normalised(raw, filters, source, salt)
    else:
        lines = json_lines.read_lines(data, FIELDS, n_lines)
        posts, (comments, dropped, left) = POSTS.empty(), normalize_comments(lines, filters, source, salt)
        summary, malformed = _summary(lines.n_rows - len(left), posts, comments, dropped), []
        if lines.odd or len(left):
            raw, malformed = with_odd_lines(lines.frame(left), lines, data, first_line)
            posts, others, summary_of_others = _normalised(raw, filters, source, salt)
            comments, summary = pl.concat([comments, others]), add_up([summary, summary_of_others])
    summary["n_rows"] += len(malformed)
    return Batch(_runs(posts, comments), tuple(malformed), {**summary, "n_malformed": len(malformed)})


def _normalised(
    raw: pl.DataFrame, filters: RowFilters, source: str, salt: bytes
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Posts and comments of raw rows of any kind, and a summary."""
    rows = normalize.with_common_fields(raw).with_columns(normalize.drop_reason(filters))
    kept = rows.filter(pl.col("drop_reason").is_null())
    posts = normalize.posts(kept, source, salt, keep_mentions=filters.keep_mentions)
    comments = normalize.comments(kept, source, salt, keep_mentions=filters.keep_mentions)
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


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of several."""
    runs = {
        table.name: in_order(pl.concat(found), table)
        for table in store.TABLES
        if (found := [batch.runs[table.name] for batch in batches if table.name in batch.runs])
    }
    malformed = tuple(line for batch in batches for line in batch.malformed)
    return Batch(runs, malformed, add_up([batch.summary for batch in batches]))


def add_up(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums of what summaries count."""
    total: dict[str, Any] = {name: sum(one[name] for one in summaries) for name in COUNTS}
    for name in ("dropped", "subreddits"):
        total[name] = dict(sum((Counter(one[name]) for one in summaries), Counter[str]()))
    return total


def stage_lines(
    data: bytes,
    folder: Path,
    name: str,
    filters: RowFilters,
    source: str,
    salt: bytes,
    *,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Parse, filter and stage one batch of lines; its summary, which is written last.

    data, source: as `read_batch` takes them. name, notes: as `write_batch` does.
    """
    return write_batch(read_batch(data, filters, source, salt), folder, name, notes)


def write_batch(batch: Batch, folder: Path, name: str, notes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write a batch's runs, then its summary, which is returned.

    name: of the batch, unique in the folder. notes: what else the summary shall keep.
    """
    _write_runs(batch.runs, folder, name)
    if batch.malformed:
        with atomic_path(folder / f"{name}.malformed") as temporary:
            temporary.write_text("".join(f"{json.dumps(line)}\n" for line in side_lines(batch)), encoding="utf-8")
    summary = {**batch.summary, **(notes or {})}
    write_json(summary, folder / f"{name}.json")
    return summary


def side_lines(batch: Batch) -> Iterator[dict[str, Any]]:
    """The lines of a batch that nothing can read, as a side file keeps them: line (its number) and text."""
    for line in batch.malformed:
        yield {"line": line.line, "text": _without_names(line.data.decode("utf-8", "backslashreplace"))}


def write_staged(folder: Path, name: str, posts: pl.DataFrame, comments: pl.DataFrame) -> None:
    """Write rows of the two tables, and the looks they are, as runs of a batch."""
    _write_runs(_runs(posts, comments), folder, name)


def _write_runs(runs: dict[str, pl.DataFrame], folder: Path, name: str) -> None:
    for table in store.TABLES:
        if table.name in runs:
            write_run(runs[table.name], table, folder / f"{name}.{table.name}.arrow")


def _runs(posts: pl.DataFrame, comments: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Rows of the two tables, and the looks they are, each in its order: of those tables that have any."""
    seen = pl.col("retrieved_utc").is_not_null() & pl.col("score").is_not_null()
    looks = [
        rows.filter(seen).select(
            *(pl.col(table.key[0]).alias("item_id"), pl.lit(kind).alias("kind"), "subreddit"),
            *(pl.col("retrieved_utc").alias("observed_utc"), "score"),
        )
        for rows, table, kind in ((posts, POSTS, "post"), (comments, COMMENTS, "comment"))
    ]
    rows = ((OBSERVATIONS, pl.concat(looks)), (POSTS, posts), (COMMENTS, comments))
    return {table.name: in_order(frame, table) for table, frame in rows if frame.height}


def staged_runs(folder: Path, table: Table) -> list[Path]:
    """The runs of a table in a folder of batches."""
    return sorted(folder.glob(f"*.{table.name}.arrow"))


def merge_staged(workspace: Workspace, folders: Sequence[Path], held: Sequence[Batch] = ()) -> None:
    """Merge every staged batch of the folders into posts, comments and observations; twice is the same as once.

    held: batches that are in memory only.
    """
    runs: dict[str, list[Run]] = {
        table.name: [run for folder in folders for run in staged_runs(folder, table)] for table in store.TABLES
    }
    say("Merging into the tables ...")
    for batch in held:
        for name, rows in batch.runs.items():
            runs[name].append(rows)
    spill = folders[0] / "spill"
    shutil.rmtree(spill, ignore_errors=True)
    store.merge(workspace, runs, spill)
    shutil.rmtree(spill, ignore_errors=True)


def drop_staged(*folders: Path) -> None:
    """Remove folders of batches whose rows are in the tables, with what an earlier, killed removal left of others.

    All are renamed first: a half removed folder must not be taken for one whose batches are whole, and a kill between
    two of them must not have one read again.
    """
    for folder in folders:
        if folder.exists():
            folder.rename(folder.with_name(f"{DROPPED}{uuid.uuid4().hex[:8]}"))
    for staging in {folder.parent for folder in folders}:
        for left_over in staging.glob(f"{DROPPED}*"):
            shutil.rmtree(left_over, ignore_errors=True)


def _without_names(line: str) -> str:
    """A line that nothing can parse, without what looks like a name of a user; its place says where the rest stands."""
    return _MENTION.sub("u/[name]", _NAME_FIELD.sub(r'\1"[name]"', line))
