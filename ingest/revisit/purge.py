"""Erases the texts of what was deleted or removed, wherever the workspace keeps them; ids and counts stay.

- posts, comments: title, body, flair and author's hash. What Reddit put in place of a text ("[removed]") stays.
- `staging/`: the same rows, where an ingest was stopped; raw lines that it left behind go.
- `malformed/`: every line. Nobody can tell whose words they are; file and line number stay, to find them in the dump.
- pair sets, the frozen hard test and every other Parquet file with the columns of pairs: see `ingest.revisit.purge_pairs`.

Predictions hold ids and margins, no text. Models and tokenizers that were trained on a text are not changed, nor are
files that were exported from the workspace: the report names both. A dump that is ingested again with other filters
may bring texts back that the archive itself kept: purge again then.

Each table's partition, each pair set and each file changes at once or not at all. Doing it twice is the same as once,
and a run that was killed is finished by the next.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ingest.revisit.purge_pairs import PAIRS_FILE, learned_from, pair_files, predictions_of, purge_pairs
from ingest.tables.normalize import is_removed
from ingest.tables.sorted_runs import read_run, write_run
from lurker.progress import progress
from lurker.schema import COMMENTS, POSTS, Table
from lurker.workspace import CACHE, Workspace, atomic_path

TEXTS = {POSTS.name: ("title", "body"), COMMENTS.name: ("body",)}
"""Erased to the empty string; `author_hash` and `flair` become null with them."""


@dataclass(kw_only=True, slots=True)
class PurgeReport:
    """What was erased now."""

    n_posts: int = 0
    n_comments: int = 0
    n_staged: int = 0
    """Rows of ingests that were stopped."""
    n_malformed: int = 0
    """Lines of side files."""
    pairs: dict[str, int] = field(default_factory=dict)
    """File -> pairs that lost a text now."""
    n_predictions: int = 0
    """Predictions on pairs that lost a text, now or before; they stay."""
    runs: list[str] = field(default_factory=list)
    """Runs that were trained on pairs that lost a text since; their models stay."""
    exports: list[str] = field(default_factory=list)
    """Copies of such sets and models outside the workspace; they stay."""


def purge(workspace: Workspace) -> PurgeReport:
    """Erase the texts of every post and comment that is marked as deleted or removed.

    Errors: LurkerError when another process writes to the workspace.
    """
    report = PurgeReport()
    with workspace.lock("ingest refresh --purge"):
        report.n_posts = _purge_table(workspace, POSTS)
        report.n_comments = _purge_table(workspace, COMMENTS)
        gone_posts, gone_comments = _deleted(workspace, POSTS), _deleted(workspace, COMMENTS)
        report.n_staged = _purge_staging(workspace, {POSTS.name: gone_posts, COMMENTS.name: gone_comments})
        report.n_malformed = sum(_purge_malformed(path) for path in _side_files(workspace))
        purged = set[str]()
        for path in pair_files(workspace):
            n_pairs, ids = purge_pairs(workspace, path, gone_posts, gone_comments)
            purged |= ids
            if ids and path.name == PAIRS_FILE:
                runs, copies = learned_from(workspace, path)
                report.runs, report.exports = [*report.runs, *runs], [*report.exports, *copies]
            if n_pairs:
                report.pairs[str(path.relative_to(workspace.root))] = n_pairs
        report.n_predictions = predictions_of(workspace, purged)
        shutil.rmtree(workspace.root / CACHE, ignore_errors=True)  # states and embeddings of texts that may be gone
    return report


def erased(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows of posts or comments without the texts and authors of what is deleted; pure.

    What Reddit itself puts in place of a text ("[removed]") stays.
    """
    columns = {
        name: pl.when(pl.col("is_deleted") & ~is_removed(pl.col(name))).then(pl.lit("")).otherwise(name)
        for name in TEXTS[table.name]
    }
    personal = [name for name in ("author_hash", "flair") if name in table.columns]
    return rows.with_columns(**columns, **{name: pl.when(~pl.col("is_deleted")).then(name) for name in personal})


def _purge_table(workspace: Workspace, table: Table) -> int:
    """Rewrite the partitions that hold texts of deleted items; the rows that lost something."""
    _drop_unnamed(workspace, table)
    n_purged = 0
    names = workspace.subreddits(table)
    with progress(f"Erasing in {table.name}", len(names), "subreddits") as advance:
        for name in names:
            partition = workspace.partition(table, name)
            files = workspace.manifest(table, name)["files"]
            n_here = sum(_n_changed(partition / file["name"], table) for file in files)
            if n_here:
                frames = (erased(pl.read_parquet(partition / file["name"]), table) for file in files)
                workspace.replace_partition(table, name, frames)
            n_purged += n_here
            advance(1)
    return n_purged


def _drop_unnamed(workspace: Workspace, table: Table) -> None:
    """Drop what killed writes left behind: files that no manifest names."""
    for path in (workspace.root / table.name).glob("*/*.parquet*"):
        named = workspace.manifest(table, path.parent.name).get("files", [])
        if path.name not in {file["name"] for file in named}:
            path.unlink()


def _n_changed(path: Path, table: Table) -> int:
    """Rows of a file that would lose something."""
    rows = pl.scan_parquet(path).filter("is_deleted").collect()
    return int((rows.hash_rows() != erased(rows, table).hash_rows()).sum())


def _deleted(workspace: Workspace, table: Table) -> pl.Series:
    return workspace.scan(table).filter("is_deleted").select(table.key[0]).collect().to_series()


def _purge_staging(workspace: Workspace, gone: dict[str, pl.Series]) -> int:
    """Erase in what stopped ingests staged, and drop what they left behind; the rows that lost something."""
    staging = workspace.root / "staging"
    for left_over in [*staging.glob("*/*.lines"), *staging.glob("*/.*.tmp")]:
        left_over.unlink()
    for spill in staging.glob("*/spill"):
        shutil.rmtree(spill)
    n_purged = 0
    for table in (POSTS, COMMENTS):
        key = table.key[0]
        for path in sorted(staging.rglob(f"*.{table.name}.arrow")):
            before = read_run(path)
            is_gone = pl.col("is_deleted") | pl.col(key).is_in(gone[table.name].implode())
            after = erased(before.with_columns(is_deleted=is_gone), table)
            n_here = int((before.hash_rows() != after.hash_rows()).sum())
            if n_here:
                write_run(after, table, path)
            n_purged += n_here
    return n_purged


def _side_files(workspace: Workspace) -> Iterator[Path]:
    """Files of malformed lines, one JSON object with a text for each."""
    yield from sorted((workspace.root / "malformed").glob("*.ndjson"))
    yield from sorted((workspace.root / "staging").glob("*/*.malformed"))


def _purge_malformed(path: Path) -> int:
    """Erase the texts of a side file; the lines that lost theirs."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    n_purged = sum(1 for row in rows if row["text"])
    if n_purged:
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({**row, "text": ""}) + "\n")
    return n_purged
