"""Pair sets on disk: `pairs/NAME/pairs.parquet`, the manifest, which is written last, and the audits."""

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
from lurker.engine import write_behind
from lurker.files import atomic_path, write_json
from lurker.pair_sets import AUDIT_FILE, MANIFEST, PAIRS_FILE, SPLITS
from lurker.schema import PAIRS, SCHEMA_VERSION, check
from lurker.workspace import Workspace

SECOND_OPINION_FILE = "second-opinion.json"


def write_pairs(workspace: Workspace, name: str, pairs: pl.DataFrame, manifest: dict[str, Any]) -> None:
    """Write a pair set and its manifest; audits of an earlier set of this name are deleted."""
    stream_pairs(workspace, name, [pairs])
    write_json(manifest, workspace.folder("pairs", name) / MANIFEST)


def stream_pairs(workspace: Workspace, name: str, parts: Iterable[pl.DataFrame]) -> str:
    """Write the pairs of a set part by part, completely or not at all; the caller writes the manifest afterwards.

    Returns:
        SHA-256 of the pairs.
    """
    folder = workspace.folder("pairs", name)
    for audit in (AUDIT_FILE, SECOND_OPINION_FILE):
        (folder / audit).unlink(missing_ok=True)
    with atomic_path(folder / PAIRS_FILE) as path:
        return write_parts(path, parts)


def write_parts(path: Path, parts: Iterable[pl.DataFrame]) -> str:
    """Write PAIRS tables as one Parquet file, each a row group, so that only one is in memory at a time.

    Parquet pages end where chunks end, and the number of chunks after a join depends on the threads: so each part is
    rechunked to one.

    Returns:
        SHA-256 of the pairs.
    """
    schema, digest = PAIRS.empty().to_arrow().schema, FrameDigest()
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer:

        def write(part: pl.DataFrame) -> None:
            digest.update(part)
            writer.write_table(part.rechunk().to_arrow().cast(schema))

        write_behind(write, parts)
    return digest.hexdigest()


def read_parts(path: Path) -> Iterator[pl.DataFrame]:
    """The PAIRS table in a file, one row group at a time."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield check(pl.DataFrame(file.read_row_group(number)), PAIRS)


def effective_size(weight: pl.Series) -> float:
    """The number of equally weighted pairs with the same information: (Σw)²/Σw².

    Source: Kish 1965, Survey Sampling, §11.7.
    """
    w = weight.to_numpy()
    return float(w.sum() ** 2 / (w**2).sum()) if w.size else 0.0


def describe_blocks(
    blocks: Iterable[pl.DataFrame], pairs_sha256: str, name: str, recipe: Recipe, subreddits: list[str]
) -> dict[str, Any]:
    """The part of a manifest that describes the pairs.

    Args:
        blocks: the pairs in blocks of complete posts, with or without texts; every weight is 1 without a weight column.
    """
    n_posts = n_responses = 0
    by_split = {split: np.zeros(4) for split in SPLITS}
    for block in blocks:
        n_posts += block["post_id"].n_unique()
        n_responses += pl.concat([block["chosen_id"], block["rejected_id"]]).n_unique()
        for split, sums in by_split.items():
            part = block.filter(pl.col("split") == split)
            weight = part["weight"].to_numpy() if "weight" in block.columns else np.ones(part.height)
            confidence = weight * part["label_confidence"].to_numpy()
            sums += [part.height, weight.sum(), (weight**2).sum(), confidence.sum()]
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
