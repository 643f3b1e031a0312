"""Rows of a transfer experiment as people read them."""

from typing import Any

import polars as pl

from lurker.report import true_minus
from rm.experiments.results import mean_accuracy

CELL_COLUMNS = (
    "no text: accuracy of time and length alone; detectable: the difference that 80 % of such tests would detect; "
    "posts for: test posts needed to detect that many points."
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
            "minus in-domain": points(row) or None,
            "no text": row["shortcut"],
            "posts": row["n_test_posts"],
            f"posts for {100 * row['effect']:g}": row["posts_needed"],
            "detectable": None if row["smallest_effect"] is None else f"{100 * row['smallest_effect']:.1f}",
        }
        for row in differences.iter_rows(named=True)
    ]


def points(row: dict[str, Any]) -> str:
    """A difference in accuracy with its interval, in points; nothing where there is none."""
    if row["difference"] is None:
        return ""
    if row["difference_low"] is None:
        return true_minus(f"{100 * row['difference']:+.1f}")
    low, high = 100 * row["difference_low"], 100 * row["difference_high"]
    return true_minus(f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]")


def named_side(row: dict[str, Any]) -> str:
    """What a row of net transfer is the mean over."""
    words = {"all": "all cells", "source": f"trained on {row['community']}", "target": f"tested on {row['community']}"}
    return words[row["side"]]
