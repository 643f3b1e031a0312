"""Erase the texts of deleted and removed items everywhere in the workspace; ids and counts stay.

- posts, comments: title, body, flair and author hash. A text that Reddit put there itself ("[removed]") stays.
- `staging/`: the same rows of stopped ingests; raw lines that they left behind are deleted.
- `malformed/`: every line, because its author cannot be determined; file and line number stay.
- pair sets, frozen hard tests and every other Parquet file with the columns of pairs: see `purge_pairs.py`.
- remarks of an arena's raters on items that lost a text, which they may quote.

Predictions hold ids and margins, no text. Models and tokenizers trained on a text, and files exported from the
workspace, are not changed: the report lists both. Ingesting a dump again with other filters may bring back texts that
the archive itself kept, and an earlier look at an item that was first seen deleted brings its text, marked as deleted;
purge again afterwards.

Each partition, pair set and file is replaced atomically. Purging twice changes nothing, and the next run completes one
that was killed.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ingest.revisit.purge_pairs import PAIRS_FILE, TEXT_OF, count_predictions, out_of_reach, pair_files, purge_pairs
from ingest.tables.looks import TEXTS
from ingest.tables.sorted_runs import read_run, write_run
from lurker.files import atomic_path
from lurker.progress import progress
from lurker.removed import is_removed
from lurker.schema import COMMENTS, POSTS, Table, with_newer_columns
from lurker.votes.arenas import ITEMS_FILE, arena_names
from lurker.votes.store import erase_remarks, read_remarks
from lurker.workspace import CACHE, Workspace


@dataclass(kw_only=True, slots=True)
class PurgeReport:
    """What this purge erased, and what it could not reach."""

    n_posts: int = 0
    n_comments: int = 0
    n_staged: int = 0
    """Rows of stopped ingests."""
    n_malformed: int = 0
    """Malformed lines."""
    pairs: dict[str, int] = field(default_factory=dict)
    """Pairs that lost a text, by file."""
    n_remarks: int = 0
    """Remarks of raters on items without a text."""
    n_predictions: int = 0
    """Predictions on pairs without a text; they stay."""
    runs: list[str] = field(default_factory=list)
    """Runs trained on pairs that lost a text since; their models stay."""
    exports: list[str] = field(default_factory=list)
    """Copies of such sets and models outside the workspace; they stay."""


def purge_texts(workspace: Workspace) -> PurgeReport:
    """Erase the texts of every post and comment marked as deleted or removed.

    Raises:
        LurkerError: another process is writing to the workspace.
    """
    report = PurgeReport()
    with workspace.lock("ingest refresh --purge"):
        report.n_posts = _purge_table(workspace, POSTS)
        report.n_comments = _purge_table(workspace, COMMENTS)
        gone_posts, gone_comments = _deleted(workspace, POSTS), _deleted(workspace, COMMENTS)
        report.n_staged = _purge_staging(workspace, {POSTS.name: gone_posts, COMMENTS.name: gone_comments})
        report.n_malformed = sum(_purge_malformed(path) for path in _malformed_files(workspace))
        purged = set[str]()
        for path in pair_files(workspace):
            n_pairs, ids = purge_pairs(workspace, path, gone_posts, gone_comments)
            purged |= ids
            if ids and path.name == PAIRS_FILE:
                runs, copies = out_of_reach(workspace, path)
                report.runs, report.exports = [*report.runs, *runs], [*report.exports, *copies]
            if n_pairs:
                report.pairs[str(path.relative_to(workspace.root))] = n_pairs
        report.n_remarks = _purge_remarks(workspace)
        report.n_predictions = count_predictions(workspace, purged)
        shutil.rmtree(workspace.root / CACHE, ignore_errors=True)  # may hold embeddings of erased texts
    return report


def without_deleted_texts(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows of posts or comments without the texts, flairs and author hashes of deleted items; pure.

    A text that Reddit put there itself ("[removed]") stays.
    """
    columns = {
        name: pl.when(pl.col("is_deleted") & ~is_removed(pl.col(name))).then(pl.lit("")).otherwise(name)
        for name in TEXTS[table.name]
    }
    personal = [name for name in ("author_hash", "flair") if name in table.columns]
    return rows.with_columns(**columns, **{name: pl.when(~pl.col("is_deleted")).then(name) for name in personal})


def _purge_table(workspace: Workspace, table: Table) -> int:
    """Rewrite the partitions that hold texts of deleted items; returns the number of rows changed."""
    _delete_unlisted_files(workspace, table)
    n_purged = 0
    names = workspace.subreddits(table)
    with progress(f"Erasing in {table.name}", len(names), "subreddits") as advance:
        for name in names:
            partition = workspace.partition(table, name)
            files = workspace.manifest(table, name)["files"]
            n_here = sum(_n_changed(partition / file["name"], table) for file in files)
            if n_here:
                frames = (_erased_file(partition / file["name"], table) for file in files)
                workspace.replace_partition(table, name, frames)
            n_purged += n_here
            advance(1)
    return n_purged


def _delete_unlisted_files(workspace: Workspace, table: Table) -> None:
    """Delete files that killed writes left behind: those that no manifest lists."""
    for path in (workspace.root / table.name).glob("*/*.parquet*"):
        listed = workspace.manifest(table, path.parent.name).get("files", [])
        if path.name not in {file["name"] for file in listed}:
            path.unlink()


def _erased_file(path: Path, table: Table) -> pl.DataFrame:
    return without_deleted_texts(with_newer_columns(pl.read_parquet(path), table), table)


def _n_changed(path: Path, table: Table) -> int:
    """Number of rows of a file that a purge would change."""
    rows = pl.scan_parquet(path).filter("is_deleted").collect()
    return int((rows.hash_rows() != without_deleted_texts(rows, table).hash_rows()).sum())


def _deleted(workspace: Workspace, table: Table) -> pl.Series:
    return workspace.scan(table).filter("is_deleted").select(table.key[0]).collect().to_series()


def _purge_staging(workspace: Workspace, gone: dict[str, pl.Series]) -> int:
    """Erase in the rows that stopped ingests staged, and delete their leftovers; returns the number of rows changed."""
    staging = workspace.root / "staging"
    for left_over in [*staging.glob("*/*.lines"), *staging.glob("*/.*.tmp")]:
        left_over.unlink()
    for spill in staging.glob("*/spill"):
        shutil.rmtree(spill)
    n_purged = 0
    for table in (POSTS, COMMENTS):
        key = table.key[0]
        for path in sorted(staging.rglob(f"*.{table.name}.arrow")):
            before = with_newer_columns(read_run(path), table)
            is_gone = pl.col("is_deleted") | pl.col(key).is_in(gone[table.name].implode())
            after = without_deleted_texts(before.with_columns(is_deleted=is_gone), table)
            n_here = int((before.hash_rows() != after.hash_rows()).sum())
            if n_here:
                write_run(after, table, path)
            n_purged += n_here
    return n_purged


def _purge_remarks(workspace: Workspace) -> int:
    """Erase what raters wrote about items that lack a text; returns the number of remarks changed."""
    n_purged = 0
    for arena in arena_names(workspace):
        lacking = pl.any_horizontal(pl.col(*TEXT_OF) == "")
        items = pl.read_parquet(workspace.folder("votes", arena) / ITEMS_FILE, columns=["item_id", *TEXT_OF])
        erased = items.filter(lacking)["item_id"].implode()
        about = read_remarks(workspace, arena).filter(pl.col("item_id").is_in(erased))["item_id"]
        n_purged += erase_remarks(workspace, arena, about.unique().to_list())
    return n_purged


def _malformed_files(workspace: Workspace) -> Iterator[Path]:
    """Files of malformed lines: one JSON object with a text per line."""
    yield from sorted((workspace.root / "malformed").glob("*.ndjson"))
    yield from sorted((workspace.root / "staging").glob("*/*.malformed"))


def _purge_malformed(path: Path) -> int:
    """Erase the texts in a file of malformed lines; returns the number of lines changed."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    n_purged = sum(1 for row in rows if row["text"])
    if n_purged:
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({**row, "text": ""}) + "\n")
    return n_purged
