"""Erase texts from pairs: in pair sets, frozen hard tests, and every other Parquet file with the columns of pairs.

Rows, ids, scores and counts stay, so that figures made with them can still be traced; a text becomes "". The manifest
of a pair set is updated after its file: the digest of the pairs, `n_purged` (pairs without a text), and the digests of
hard tests, in the set's own manifest and in those of the other sets that use them. So a set still matches its manifest,
and the hard test stays frozen: the same pairs, fewer of them with a text.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from lurker.digest import frame_sha256
from lurker.exports import exports_before
from lurker.files import read_json, write_json, write_parquet
from lurker.workspace import Workspace

TEXT_OF = {"prompt": "post_id", "chosen": "chosen_id", "rejected": "rejected_id"}
"""Text column of a pair -> the column with the id of the item it comes from."""
FOLDERS = ("pairs", "votes", "runs", "experiments")
PAIRS_FILE, MANIFEST = "pairs.parquet", "manifest.json"
NOTE = "purge.json"
"""Changes that a purge is about to make to a pair set; deleted when they are made."""


def pair_files(workspace: Workspace) -> Iterator[Path]:
    """Every Parquet file outside the tables that holds texts of pairs; partial files of killed builds are deleted."""
    for left_over in (workspace.root / "pairs").glob("*/.*.parquet.*.tmp"):
        left_over.unlink()
    for folder in FOLDERS:
        for path in sorted((workspace.root / folder).rglob("*.parquet")):
            if {*TEXT_OF, *TEXT_OF.values(), "pair_id"} <= set(pl.read_parquet_schema(path)):
                yield path


def purge_pairs(
    workspace: Workspace, path: Path, gone_posts: pl.Series, gone_comments: pl.Series
) -> tuple[int, set[str]]:
    """Erase texts of deleted items in one file of pairs.

    Returns:
        The number of pairs that lost a text now, and the ids of all pairs that lack one.
    """
    is_set = path.name == PAIRS_FILE and (path.parent / MANIFEST).exists()
    if is_set:
        _apply_note(workspace, path)
    before = pl.read_parquet(path)
    after = without_texts(before, gone_posts, gone_comments)
    texts = list(TEXT_OF)
    n_pairs = int((before.select(texts).hash_rows() != after.select(texts).hash_rows()).sum())
    lacking = set(after.filter(pl.any_horizontal(pl.col(text) == "" for text in texts))["pair_id"])
    if n_pairs:
        if is_set:
            write_json(_note(path, before, after, len(lacking)), path.parent / NOTE)
        write_parquet(after, path)
        if is_set:
            _apply_note(workspace, path)
    return n_pairs, lacking


def without_texts(pairs: pl.DataFrame, gone_posts: pl.Series, gone_comments: pl.Series) -> pl.DataFrame:
    """Pairs with "" for each text of a deleted item; pure."""
    gone = {"post_id": gone_posts, "chosen_id": gone_comments, "rejected_id": gone_comments}
    return pairs.with_columns(
        **{
            text: pl.when(pl.col(item).is_in(gone[item].implode())).then(pl.lit("")).otherwise(text)
            for text, item in TEXT_OF.items()
        }
    )


def _note(path: Path, before: pl.DataFrame, after: pl.DataFrame, n_purged: int) -> dict[str, Any]:
    """The changes to the manifests to make once the file is replaced.

    A set whose file did not match its manifest keeps the wrong digest, so that readers still reject it.
    """
    digest = frame_sha256(after)
    manifest = read_json(path.parent / MANIFEST)
    fields: dict[str, Any] = {"n_purged": n_purged}
    if manifest.get("pairs_sha256") == frame_sha256(before):
        fields["pairs_sha256"] = digest
    renamed = {
        known: frame_sha256(after.filter(pl.col("subreddit") == name))
        for name, known in manifest.get("hard_test", {}).items()
        if known == frame_sha256(before.filter(pl.col("subreddit") == name))
    }
    return {"file_sha256": digest, "manifest": fields, "hard_test": renamed}


def _apply_note(workspace: Workspace, path: Path) -> None:
    """Make a note's changes to the manifests if its file was replaced; otherwise discard the note."""
    note_path = path.parent / NOTE
    if not note_path.exists():
        return
    note = read_json(note_path)
    if note["file_sha256"] == frame_sha256(pl.read_parquet(path)):
        for manifest in sorted((workspace.root / "pairs").glob(f"*/{MANIFEST}")):
            content = read_json(manifest)
            hard_tests = content.get("hard_test", {})
            changes = note["manifest"] if manifest.parent == path.parent else {}
            changes |= {"hard_test": {name: note["hard_test"].get(known, known) for name, known in hard_tests.items()}}
            if any(content.get(field) != value for field, value in changes.items()):
                write_json(content | changes, manifest)
    note_path.unlink()


def count_predictions(workspace: Workspace, pair_ids: set[str]) -> int:
    """Number of predictions of all runs on the pairs."""
    if not pair_ids:
        return 0
    wanted = pl.Series(sorted(pair_ids), dtype=pl.String).implode()
    files = sorted((workspace.root / "runs").glob("*/predictions/*.parquet"))
    return sum(pl.scan_parquet(path).select(pl.col("pair_id").is_in(wanted).sum()).collect().item() for path in files)


def out_of_reach(workspace: Workspace, path: Path) -> tuple[list[str], list[str]]:
    """What a purge of a pair set cannot change: ids of runs trained on it before, and paths of its exported copies.

    Args:
        path: the set's file, last written by the purge.
    """
    purged_utc = path.stat().st_mtime
    copies = exports_before(path.parent, purged_utc)
    runs = []
    for config in sorted((workspace.root / "runs").glob("*/config.json")):
        if read_json(config).get("pairs") == path.parent.name and config.stat().st_mtime < purged_utc:
            runs.append(config.parent.name)
            copies += exports_before(config.parent, purged_utc)
    return runs, copies
