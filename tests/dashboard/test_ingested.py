"""Rows and dates of the ingested tables."""

from pathlib import Path

import polars as pl

from dashboard.ingested import ingested_rows
from lurker.workspace import Workspace


def test_rows_and_dates_are_counted_by_subreddit(full_root: Path) -> None:
    held, damaged = ingested_rows(Workspace(full_root))
    assert not damaged
    row = held.filter((pl.col("table") == "comments") & (pl.col("subreddit") == "cooking")).row(0, named=True)
    assert row["n_rows"] == 120
    assert (row["first_utc"], row["last_utc"]) == (1_600_000_000, 1_600_000_000 + 119 * 3600)


def test_damaged_files_are_named_and_the_rest_is_kept(damaged_root: Path) -> None:
    held, damaged = ingested_rows(Workspace(damaged_root))
    assert held.height == 4
    assert any("posts/advice" in error.message for error in damaged)
    assert any("comments/cooking" in error.message for error in damaged)
