"""From ids back to pairs: join an export without texts to the texts of a workspace."""

from pathlib import Path
from typing import Any

import polars as pl

from features.ledger import apply_rules
from features.sets.export import text_digest
from features.sets.join_texts import join_texts
from features.sets.store import write_pairs
from lurker.digest import frame_sha256
from lurker.errors import CallError, LurkerError
from lurker.files import read_json
from lurker.pair_sets import HARD_TEST, MANIFEST, SPLITS, TEXTS
from lurker.schema import COMMENTS, PAIRS, POSTS, check
from lurker.workspace import Workspace


def rehydrate(workspace: Workspace, folder: Path, name: str) -> dict[str, Any]:
    """Write pair set `name` from an `ids` export and the workspace's texts.

    A pair is kept if its post and both responses are in the workspace with the same text as at the export: votes on
    another text say nothing about this one.

    Returns:
        The manifest; the stage `rehydrate` of its ledger adds up to the export's pairs.

    Raises:
        CallError: the folder is not an export of ids, or the name is taken.
        LurkerError: no pair is left.
    """
    exported = _read_manifest(folder)
    check_name(workspace, name)
    with workspace.lock("pairs rehydrate"):
        joined = join_texts(workspace, _read_ids(folder))
        kept, ledger = apply_rules(joined, _missing_rules(joined))
        if kept.is_empty():
            reasons = ", ".join(f"{reason}: {n:,}" for reason, n in ledger.dropped)
            raise LurkerError(
                f"None of the {ledger.n_input:,} pairs has all its texts in this workspace ({reasons}).",
                "Fetch the texts: `lurker pairs rehydrate DIR --name NAME --fetch reddit`, or ingest r/"
                f"{', r/'.join(exported['subreddits'])}.",
            )
        pairs = check(kept, PAIRS)
        manifest = {key: value for key, value in exported.items() if key != "format"} | {
            "name": name,
            "n_pairs": pairs.height,
            "n_posts": pairs["post_id"].n_unique(),
            "n_responses": pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).n_unique(),
            "pairs_by_split": {split: int((pairs["split"] == split).sum()) for split in SPLITS},
            "pairs_sha256": frame_sha256(pairs),
            "ledger": exported["ledger"] | {"rehydrate": ledger.to_dict()},
        }
        write_pairs(workspace, name, pairs, manifest)
    return manifest


def check_name(workspace: Workspace, name: str) -> None:
    """Require that the name is free.

    Raises:
        CallError: the name is taken.
    """
    if name == HARD_TEST or workspace.folder("pairs", name).exists():
        raise CallError(f"There is a pair set {name!r} already.", "Use another --name.")


def missing_items(workspace: Workspace, folder: Path) -> list[str]:
    """Fullnames of the export's posts (t3_) and responses (t1_) that the workspace does not have, sorted.

    Raises:
        CallError: the folder is not an export of ids.
    """
    _read_manifest(folder)
    pairs = _read_ids(folder)
    missing = []
    for table, prefix, ids in (
        (POSTS, "t3_", pairs["post_id"]),
        (COMMENTS, "t1_", pl.concat([pairs["chosen_id"], pairs["rejected_id"]])),
    ):
        known = workspace.scan(table).select(table.key[0])
        wanted = pl.LazyFrame({table.key[0]: ids.unique()})
        absent = wanted.join(known, on=table.key[0], how="anti").collect().to_series()
        missing += [prefix + item for item in absent.sort()]
    return missing


def _read_ids(folder: Path) -> pl.DataFrame:
    """The rows of the export, split by split."""
    files = [path for split in SPLITS if (path := folder / "data" / f"{split}.parquet").exists()]
    if not files:
        raise CallError(f"{folder} has no data/*.parquet.", "Export it again: `lurker pairs export NAME --format ids`.")
    return pl.concat([_read_rows(path) for path in files])


def _read_rows(path: Path) -> pl.DataFrame:
    """One file of the export.

    Raises:
        CallError: the file is damaged or lacks a column.
    """
    again = "Copy it again, or export again: `lurker pairs export NAME --format ids`."
    try:
        rows = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise CallError(f"{path} cannot be read: {str(error).splitlines()[0]}.", again) from error
    needed = [name for name in PAIRS.columns if name not in TEXTS] + [f"{role}_digest" for role in TEXTS]
    if missing := [name for name in needed if name not in rows.columns]:
        raise CallError(f"{path} has no column {', '.join(missing)}.", again)
    return rows


def _missing_rules(joined: pl.DataFrame) -> dict[str, pl.Expr]:
    """reason -> true for a pair to drop."""
    changed = {role: pl.lit(text_digest(joined[role].fill_null(""))) != pl.col(f"{role}_digest") for role in TEXTS}
    return {
        "post not ingested": pl.col("prompt").is_null(),
        "response not ingested": pl.col("chosen").is_null() | pl.col("rejected").is_null(),
        "text deleted or removed": (pl.col("chosen") == "") | (pl.col("rejected") == ""),
        "text changed": pl.any_horizontal(changed.values()),
    }


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    manifest = read_json(path) if path.is_file() else {}
    if manifest.get("format") != "ids":
        actual = f"an export of format {manifest['format']!r}" if "format" in manifest else "not an export"
        raise CallError(
            f"{folder} is {actual}; an export of ids is needed.", "`lurker pairs export NAME --format ids --out DIR`."
        )
    return manifest
