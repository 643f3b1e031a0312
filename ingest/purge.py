"""Erases the texts of what was deleted or removed, wherever the workspace keeps them; ids and counts stay.

Texts stand in posts and comments, and in every Parquet file that has the columns of pairs (pair sets, votes).
Predictions name pairs by id and hold no text. Rows stay, so that figures made with them can still be traced.
Doing it twice is the same as once, and a run that was killed is finished by the next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ingest.normalize import is_removed
from lurker.digest import frame_sha256
from lurker.progress import progress
from lurker.schema import COMMENTS, POSTS, Table
from lurker.workspace import Workspace, read_json, write_json, write_parquet

TEXTS = {POSTS.name: ("title", "body"), COMMENTS.name: ("body",)}
"""Erased to the empty string; `author_hash` and `flair` become null with them."""
PAIR_TEXTS = {"prompt": "post_id", "chosen": "chosen_id", "rejected": "rejected_id"}
"""Text of a pair -> the item it comes from."""
PAIR_FOLDERS = ("pairs", "votes", "runs", "experiments")
PENDING = "purge.json"


@dataclass(kw_only=True, slots=True)
class PurgeReport:
    """What was erased now."""

    n_posts: int = 0
    n_comments: int = 0
    pairs: dict[str, int] = field(default_factory=dict)
    """File -> pairs that lost a text now."""
    n_predictions: int = 0
    """Predictions on pairs that lost a text, now or before; they stay."""


def purge(workspace: Workspace) -> PurgeReport:
    """Erase the texts of every post and comment that is marked as deleted or removed.

    Errors: LurkerError when another process writes to the workspace.
    """
    report = PurgeReport()
    with workspace.lock("ingest refresh --purge"):
        report.n_posts = _purge_table(workspace, POSTS)
        report.n_comments = _purge_table(workspace, COMMENTS)
        gone = {
            "post_id": _deleted(workspace, POSTS),
            "chosen_id": (comments := _deleted(workspace, COMMENTS)),
            "rejected_id": comments,
        }
        purged = set[str]()
        for path in _pair_files(workspace):
            n_pairs, ids = _purge_pairs(path, gone)
            purged |= ids
            if n_pairs:
                report.pairs[str(path.relative_to(workspace.root))] = n_pairs
        report.n_predictions = _predictions_of(workspace, purged)
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


def erased_pairs(pairs: pl.DataFrame, gone: dict[str, pl.Series]) -> pl.DataFrame:
    """Pairs without the texts that come from items in `gone` (id column -> ids); pure."""
    return pairs.with_columns(
        **{
            text: pl.when(pl.col(column).is_in(gone[column].implode())).then(pl.lit("")).otherwise(text)
            for text, column in PAIR_TEXTS.items()
        }
    )


def _purge_table(workspace: Workspace, table: Table) -> int:
    """Rewrite the partitions that hold texts of deleted items; the rows that lost something."""
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


def _n_changed(path: Path, table: Table) -> int:
    """Rows of a file that would lose something."""
    rows = pl.scan_parquet(path).filter("is_deleted").collect()
    return sum(before != after for before, after in zip(rows.rows(), erased(rows, table).rows(), strict=True))


def _deleted(workspace: Workspace, table: Table) -> pl.Series:
    return workspace.scan(table).filter("is_deleted").select(table.key[0]).collect().to_series()


def _pair_files(workspace: Workspace) -> Iterator[Path]:
    """Every Parquet file beside the tables that holds texts of pairs."""
    wanted = {*PAIR_TEXTS, *PAIR_TEXTS.values()}
    for folder in PAIR_FOLDERS:
        for path in sorted((workspace.root / folder).rglob("*.parquet")):
            if wanted <= set(pl.read_parquet_schema(path)):
                yield path


def _purge_pairs(path: Path, gone: dict[str, pl.Series]) -> tuple[int, set[str]]:
    """Erase in one file of pairs and bring its manifest along; pairs that lost a text now, ids of all without one."""
    _finish(path)
    before = pl.read_parquet(path)
    after = erased_pairs(before, gone)
    texts = list(PAIR_TEXTS)
    n_pairs = int((before.select(texts).hash_rows() != after.select(texts).hash_rows()).sum())
    is_without = pl.any_horizontal(pl.col(text) == "" for text in texts)
    without = after.filter(is_without)
    if n_pairs:
        manifest = path.parent / "manifest.json"
        if path.name == "pairs.parquet" and manifest.exists():
            _keep_consistent(path, before, after, without.height)
        else:
            write_parquet(after, path)
    return n_pairs, set(without["pair_id"])


def _keep_consistent(path: Path, before: pl.DataFrame, after: pl.DataFrame, n_purged: int) -> None:
    """Replace a pair set's file and the digest in its manifest; what was meant is noted first, for a run to finish."""
    was_whole = read_json(path.parent / "manifest.json").get("pairs_sha256") == frame_sha256(before)
    pending = {"n_purged": n_purged, "pairs_sha256": frame_sha256(after) if was_whole else None}
    write_json(pending, path.parent / PENDING)
    write_parquet(after, path)
    _finish(path)


def _finish(path: Path) -> None:
    """Bring the manifest up to a purge that was noted, where its file is in place."""
    note = path.parent / PENDING
    if path.name != "pairs.parquet" or not note.exists():
        return
    pending = read_json(note)
    if pending["pairs_sha256"] in (None, frame_sha256(pl.read_parquet(path))):
        manifest = read_json(path.parent / "manifest.json") | {"n_purged": pending["n_purged"]}
        if pending["pairs_sha256"]:
            manifest["pairs_sha256"] = pending["pairs_sha256"]
        write_json(manifest, path.parent / "manifest.json")
    note.unlink()


def _predictions_of(workspace: Workspace, pair_ids: set[str]) -> int:
    """Rows of the runs' predictions on the pairs."""
    if not pair_ids:
        return 0
    wanted = pl.Series(sorted(pair_ids), dtype=pl.String).implode()
    files: Sequence[Path] = sorted((workspace.root / "runs").glob("*/predictions/*.parquet"))
    return sum(pl.scan_parquet(path).select(pl.col("pair_id").is_in(wanted).sum()).collect().item() for path in files)
