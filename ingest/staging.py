"""Lines of JSON -> staged rows, whatever brought them: the one door through which dumps and live rows come in.

Rows are parsed, filtered and normalised a batch at a time and kept under `staging/<fingerprint>/<batch>.*`, sorted
runs of each table, the batch's summary last: a batch with a summary is whole, one without is done again.
`merge_staged` brings batches into the tables.
"""

import json
import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ingest import normalize, store
from ingest.normalize import RowFilters
from ingest.parse import parse_lines
from ingest.runs import write_run
from lurker.progress import say
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table
from lurker.workspace import Workspace, atomic_path, read_json, write_json

STAGING_VERSION = 2
"""Part of the fingerprint: a change of what staged rows mean makes old staged rows and records void."""


DROPPED = ".dropped-"
"""Begins the name of a folder that is on its way out."""
_MENTION = re.compile(r"\b[uU](?:ser)?/[A-Za-z0-9_-]{2,30}", re.ASCII)
_NAME_FIELD = re.compile(r'("(?:author\w*|\w+_by|permalink|t)"\s*:\s*)"[^"]*"?')
"""Fields of Reddit's that bear a user's name; `t` is the text of a flair."""


def staged_summary(folder: Path, name: str) -> dict[str, Any] | None:
    """The summary of a batch that was staged whole, else None."""
    path = folder / f"{name}.json"
    return read_json(path) if path.exists() else None


def stage_lines(
    data: bytes,
    folder: Path,
    name: str,
    filters: RowFilters,
    source: str,
    salt: bytes,
    *,
    first_line: int = 1,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Parse, filter and stage one batch of lines; its summary, which is written last.

    data: whole lines of JSON objects, each ending in a newline. name: of the batch, unique in the folder.
    source: goes into the rows. notes: what else the summary shall keep.
    """
    raw, malformed = parse_lines(data, folder / f"{name}.lines", first_line)
    rows = normalize.with_common_fields(raw).with_columns(normalize.drop_reason(filters))
    kept = rows.filter(pl.col("drop_reason").is_null())
    posts = normalize.posts(kept, source, salt, keep_mentions=filters.keep_mentions)
    comments = normalize.comments(kept, source, salt, keep_mentions=filters.keep_mentions)
    write_staged(folder, name, posts, comments)
    if malformed:
        with atomic_path(folder / f"{name}.malformed") as temporary, temporary.open("w", encoding="utf-8") as file:
            for line in malformed:
                text = _without_names(line.data.decode("utf-8", "backslashreplace"))
                file.write(json.dumps({"line": line.line, "text": text}, ensure_ascii=True) + "\n")
    reasons = rows["drop_reason"].drop_nulls().value_counts().rows()
    summary = {
        "n_rows": raw.height + len(malformed),
        "n_posts": posts.height,
        "n_comments": comments.height,
        "n_malformed": len(malformed),
        "dropped": dict(reasons),
        "subreddits": dict(kept["subreddit"].str.to_lowercase().value_counts().rows()),
        **(notes or {}),
    }
    write_json(summary, folder / f"{name}.json")
    return summary


def write_staged(folder: Path, name: str, posts: pl.DataFrame, comments: pl.DataFrame) -> None:
    """Write rows of the two tables, and the looks they are, as runs of a batch."""
    seen = pl.col("retrieved_utc").is_not_null() & pl.col("score").is_not_null()
    looks = [
        rows.filter(seen).select(
            *(pl.col(table.key[0]).alias("item_id"), pl.lit(kind).alias("kind"), "subreddit"),
            *(pl.col("retrieved_utc").alias("observed_utc"), "score"),
        )
        for rows, table, kind in ((posts, POSTS, "post"), (comments, COMMENTS, "comment"))
    ]
    for rows, table in ((pl.concat(looks), OBSERVATIONS), (posts, POSTS), (comments, COMMENTS)):
        if rows.height:
            write_run(rows, table, folder / f"{name}.{table.name}.arrow")


def staged_runs(folder: Path, table: Table) -> list[Path]:
    """The runs of a table in a folder of batches."""
    return sorted(folder.glob(f"*.{table.name}.arrow"))


def merge_staged(workspace: Workspace, folders: Sequence[Path]) -> None:
    """Merge every staged batch of the folders into posts, comments and observations; twice is the same as once."""
    runs = {table.name: [run for folder in folders for run in staged_runs(folder, table)] for table in store.TABLES}
    spill = folders[0] / "spill"
    shutil.rmtree(spill, ignore_errors=True)
    say("Merging into the tables ...")
    store.merge(workspace, runs, spill)
    shutil.rmtree(spill, ignore_errors=True)


def drop_staged(folder: Path) -> None:
    """Remove a folder of batches whose rows are in the tables, with what an earlier, killed removal left of others.

    It is renamed first: a half removed folder must not be taken for one whose batches are whole.
    """
    dropped = folder.with_name(f"{DROPPED}{uuid.uuid4().hex[:8]}")
    if folder.exists():
        folder.rename(dropped)
    for left_over in folder.parent.glob(f"{DROPPED}*"):
        shutil.rmtree(left_over, ignore_errors=True)


def _without_names(line: str) -> str:
    """A line that nothing can parse, without what looks like a name of a user; its place says where the rest stands."""
    return _MENTION.sub("u/[name]", _NAME_FIELD.sub(r'\1"[name]"', line))
