"""Predictions hold for the pairs they were made on: a set that is built again can name another winner of a pair."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from lurker.errors import LurkerError
from lurker.schema import PREDICTIONS, check
from lurker.schema.columns import with_newer_columns


def predictions_on(folder: Path, name: str, splits: Sequence[str]) -> pl.DataFrame:
    """PREDICTIONS of a run's model on some splits of a pair set, as far as it was tested on them; else empty.

    Args:
        folder: of the run.
        name: of the pair set.
    """
    files = (folder / "predictions" / f"{name}-{split}.parquet" for split in splits)
    tested = [check(pl.read_parquet(file), PREDICTIONS) for file in files if file.exists()]
    return pl.concat(tested) if tested else PREDICTIONS.empty()


def of_these_pairs(predictions: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The predictions whose pair is still there and still has the winner it was tested with.

    Args:
        predictions: PREDICTIONS; those of versions that did not store the winner are trusted.
        pairs: with pair_id and chosen_id.
    """
    now = pairs.select("pair_id", now="chosen_id")
    joined = with_newer_columns(predictions, PREDICTIONS).join(now, on="pair_id", maintain_order="left")
    is_same = pl.col("chosen_id").is_null() | (pl.col("chosen_id") == pl.col("now"))
    return joined.filter(is_same).drop("now")


def require_current(predictions: pl.DataFrame, pairs: pl.DataFrame, run_id: str, name: str) -> pl.DataFrame:
    """The predictions, all of which hold for the pairs as they are now.

    Args:
        predictions: PREDICTIONS of a run.
        pairs: of the set called `name`, with pair_id and chosen_id.

    Raises:
        LurkerError: the set was built again since the run was tested on it.
    """
    kept = of_these_pairs(predictions, pairs)
    if n_stale := predictions.height - kept.height:
        raise LurkerError(
            f"{name} was built again since run {run_id} was evaluated on it: {n_stale:,} of {predictions.height:,} "
            "pairs are gone or have another winner now.",
            f"Evaluate it again: `lurker rm evaluate {run_id} --pairs {name}`.",
        )
    return kept
