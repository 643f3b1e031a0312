"""Rows of a transfer experiment as people read them."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lurker.decimals import decimal, difference, signed
from rm.experiments.results import mean_accuracy

CELL_COLUMNS = (
    "no text: accuracy of time and length alone; detectable: the difference that 80 % of such tests would detect; "
    "posts for: test posts needed to detect that difference."
)
"""What the columns of `cell_rows` are."""


def source_rows(differences: pl.DataFrame, predictor: str) -> list[dict[str, Any]]:
    """One row per source and one column per target: accuracy with its interval."""
    kept = differences.filter(pl.col("predictor") == predictor)
    rows = []
    for source in sorted(kept["source"].unique()):
        row: dict[str, Any] = {"trained on": source}
        for target in sorted(kept["target"].unique()):
            row[f"on {target}"] = mean_accuracy(
                kept.filter((pl.col("source") == source) & (pl.col("target") == target))
            )
        rows.append(row)
    return rows


def cell_rows(differences: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per cell: the difference from in-domain training, what time and length reach, and power."""
    return [
        {
            "trained on": row["source"],
            "tested on": row["target"],
            "accuracy": row["accuracy"],
            "minus in-domain": difference_text(row) or None,
            "no text": row["shortcut"],
            "posts": row["n_test_posts"],
            f"posts for {decimal(row['effect'])}": row["posts_needed"],
            "detectable": row["smallest_effect"],
        }
        for row in differences.iter_rows(named=True)
    ]


def difference_text(row: Mapping[str, Any]) -> str:
    """A difference in accuracy with its interval, as far as they are known; empty where there is none."""
    value, low, high = (row[name] for name in ("difference", "difference_low", "difference_high"))
    if value is None:
        return ""
    return signed(value) if low is None else difference(value, low, high)


def named_side(row: dict[str, Any]) -> str:
    """What a row of net transfer is the mean over."""
    words = {"all": "all cells", "source": f"trained on {row['community']}", "target": f"tested on {row['community']}"}
    return words[row["side"]]
