"""Pair sets on disk: `pairs/NAME/pairs.parquet`, its manifest last, and the audit beside them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from features.pairing.label_noise import ceiling
from features.recipes.recipe import Recipe
from lurker.config import to_dict
from lurker.digest import FrameDigest
from lurker.pair_sets import MANIFEST, PAIRS_FILE, SPLITS
from lurker.schema import PAIRS, SCHEMA_VERSION, check
from lurker.workspace import Workspace, atomic_path, write_json


def write_pairs(workspace: Workspace, name: str, pairs: pl.DataFrame, manifest: dict[str, Any]) -> None:
    """Write a pair set; audits of the set that stood there before go, for they say nothing of this one."""
    stream_pairs(workspace, name, [pairs])
    write_json(manifest, workspace.folder("pairs", name) / MANIFEST)


def stream_pairs(workspace: Workspace, name: str, parts: Iterable[pl.DataFrame]) -> str:
    """Write the pairs of a set, a part at a time, whole or not at all; the manifest has to follow. Their SHA-256."""
    folder = workspace.folder("pairs", name)
    for audit in ("audit.json", "second-opinion.json"):
        (folder / audit).unlink(missing_ok=True)
    with atomic_path(folder / PAIRS_FILE) as path:
        return write_parts(path, parts)


def write_parts(path: Path, parts: Iterable[pl.DataFrame]) -> str:
    """Write the table pairs as Parquet, each part a row group, so that no more than one is held; their SHA-256.

    Pages end where chunks do, and how many chunks a join leaves hangs on the threads: so each part is made one.
    """
    schema, digest = PAIRS.empty().to_arrow().schema, FrameDigest()
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer:
        for part in parts:
            digest.update(part)
            writer.write_table(part.rechunk().to_arrow().cast(schema))
    return digest.hexdigest()


def read_parts(path: Path) -> Iterator[pl.DataFrame]:
    """The table pairs as it was written, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield check(pl.DataFrame(file.read_row_group(number)), PAIRS)


def effective_size(weight: pl.Series) -> float:
    """How many pairs of equal weight say as much: (Σw)²/Σw². Source: Kish 1965, Survey Sampling, §11.7."""
    w = weight.to_numpy()
    return float(w.sum() ** 2 / (w**2).sum()) if w.size else 0.0


def describe_blocks(
    blocks: Iterable[pl.DataFrame], pairs_sha256: str, name: str, recipe: Recipe, subreddits: list[str]
) -> dict[str, Any]:
    """What a manifest says of pairs, in blocks of whole posts, with or without texts; without `weight` all weigh 1."""
    n_posts = n_responses = 0
    by_split = {split: np.zeros(4) for split in SPLITS}
    for block in blocks:
        n_posts += block["post_id"].n_unique()
        n_responses += pl.concat([block["chosen_id"], block["rejected_id"]]).n_unique()
        for split, sums in by_split.items():
            mine = block.filter(pl.col("split") == split)
            weight = mine["weight"].to_numpy() if "weight" in block.columns else np.ones(mine.height)
            confident = weight * mine["label_confidence"].to_numpy()
            sums += [mine.height, weight.sum(), (weight**2).sum(), confident.sum()]
    n_pairs, weights, squares, _ = sum(by_split.values(), np.zeros(4))
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "recipe": to_dict(recipe),
        "subreddits": subreddits,
        "n_pairs": int(n_pairs),
        "ceiling": ceiling({split: (sums[3], sums[1]) for split, sums in by_split.items() if sums[0]}),
        "n_effective": float(weights**2 / squares) if squares else 0.0,
        "n_posts": n_posts,
        "n_responses": n_responses,
        "pairs_by_split": {split: int(sums[0]) for split, sums in by_split.items()},
        "pairs_sha256": pairs_sha256,
    }
