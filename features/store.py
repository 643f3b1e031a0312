"""Pair sets on disk: `pairs/NAME/pairs.parquet`, its manifest last, and the audit beside them."""

from pathlib import Path
from typing import Any

import polars as pl

from features.noise import ceiling
from features.recipes import Recipe
from lurker.config import to_dict
from lurker.digest import frame_sha256
from lurker.errors import LurkerError
from lurker.purged import with_texts
from lurker.schema import PAIRS, SCHEMA_VERSION, check
from lurker.workspace import Workspace, read_json, write_json, write_parquet


def write_pairs(workspace: Workspace, name: str, pairs: pl.DataFrame, manifest: dict[str, Any]) -> None:
    """Write a pair set; an audit of the set that stood there before goes, for it says nothing of this one."""
    folder = workspace.folder("pairs", name)
    (folder / "audit.json").unlink(missing_ok=True)
    write_parquet(pairs, folder / "pairs.parquet")
    write_json(manifest, folder / "manifest.json")


def read_pairs(workspace: Workspace, name: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    """A pair set and its manifest.

    Errors: LurkerError when there is none of that name (it lists those there are) or it was not written to its end.
    """
    manifest = read_json(existing_folder(workspace, name) / "manifest.json")
    pairs = pl.read_parquet(workspace.folder("pairs", name) / "pairs.parquet")
    if frame_sha256(pairs) != manifest["pairs_sha256"]:
        raise LurkerError(
            f"Pair set {name!r} is not what its manifest describes: a build of it was stopped or its file was changed.",
            f"Build it again: `lurker pairs build {name} --recipe {manifest['recipe']['name']}`.",
        )
    return with_texts(check(pairs, PAIRS), name), manifest


def existing_folder(workspace: Workspace, name: str) -> Path:
    """The folder of a finished pair set.

    Errors: LurkerError that lists the pair sets there are.
    """
    folder = workspace.folder("pairs", name)
    if not (folder / "manifest.json").exists():
        known = ", ".join(workspace.names("pairs", "manifest.json")) or "none yet"
        raise LurkerError(
            f"There is no pair set {name!r} in {workspace.root} (it has: {known}).",
            f"Build it: `lurker pairs build {name} --recipe matched`.",
        )
    return folder


def effective_size(weight: pl.Series) -> float:
    """How many pairs of equal weight say as much: (Σw)²/Σw². Source: Kish 1965, Survey Sampling, §11.7."""
    w = weight.to_numpy()
    return float(w.sum() ** 2 / (w**2).sum()) if w.size else 0.0


def describe_pairs(pairs: pl.DataFrame, name: str, recipe: Recipe, subreddits: list[str]) -> dict[str, Any]:
    """The part of a manifest that the pairs themselves tell."""
    by_split = dict(pairs.group_by("split").len().iter_rows())
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "recipe": to_dict(recipe),
        "subreddits": subreddits,
        "n_pairs": pairs.height,
        "ceiling": ceiling(pairs),
        "n_effective": effective_size(pairs["weight"]),
        "n_posts": pairs["post_id"].n_unique(),
        "n_responses": pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).n_unique(),
        "pairs_by_split": {split: by_split.get(split, 0) for split in ("train", "validation", "test")},
        "pairs_sha256": frame_sha256(pairs),
    }
