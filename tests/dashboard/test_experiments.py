"""Averages over seeds, on tables small enough to check by hand."""

import os
from pathlib import Path

import polars as pl
import pytest

from dashboard import experiments
from dashboard.queries import FileVersion, version
from lurker.errors import LurkerError
from lurker.files import write_parquet
from lurker.schema import SCALING, TRANSFER

CELL = {
    "pairs": "matched",
    "test_pairs": "hard-test",
    "is_baseline": False,
    "n_parameters": 1000,
    "seed": 0,
    "run_id": None,
    "train_time_s": 1.0,
    "n_tokens": 5000,
    "n_test_pairs": 100,
    "n_test_posts": 50,
    "log_loss": None,
}


def scaling_file(path: Path, cells: list[tuple[str, int, int, float]], **others: object) -> FileVersion:
    """Write cells of (predictor, n_train_pairs, seed, accuracy) with intervals of ±0.1."""
    rows = [
        CELL
        | {"predictor": predictor, "n_train_pairs": n, "seed": seed, "accuracy": accuracy}
        | {"accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}
        | ({"is_baseline": True, "n_parameters": None} if predictor in ("time", "tfidf") else {})
        | ({"n_parameters": 9000} if predictor == "large" else {})
        | others
        for predictor, n, seed, accuracy in cells
    ]
    write_parquet(pl.DataFrame(rows, schema_overrides=SCALING.schema).select(list(SCALING.columns)), path)
    return version(path)


def test_the_curve_averages_over_seeds_and_keeps_their_range(tmp_path: Path) -> None:
    file = scaling_file(tmp_path / "s.parquet", [("m", 100, 0, 0.5), ("m", 100, 1, 0.7), ("time", 100, 0, 0.55)])
    curve = experiments.scaling_curve(file)
    assert curve["predictor"].to_list() == ["m", "time"]
    model = curve.row(0, named=True)
    assert model["n_seeds"] == 2
    assert model["accuracy"] == pytest.approx(0.6)
    assert model["by_posts"] == pytest.approx(0.1)
    assert model["by_seeds"] == pytest.approx(12.706 * 0.1, rel=1e-4)  # t of one degree of freedom
    assert (model["accuracy_low"], model["accuracy_high"]) == (0.0, 1.0)
    assert (model["lowest_seed"], model["highest_seed"]) == (0.5, 0.7)


def test_transfer_difference_is_from_the_model_trained_on_the_target(tmp_path: Path) -> None:
    accuracies = {("a", "a"): 0.7, ("a", "b"): 0.6, ("b", "b"): 0.75, ("c", "b"): 0.5, ("a", "d"): 0.5}
    rows = [
        {key: value for key, value in CELL.items() if key in TRANSFER.columns}
        | {"predictor": "m", "source": source, "target": target, "n_train_pairs": 10, "accuracy": accuracy}
        | {"accuracy_low": 0.4, "accuracy_high": 0.8}
        for (source, target), accuracy in accuracies.items()
    ]
    write_parquet(
        pl.DataFrame(rows, schema_overrides=dict(TRANSFER.schema.items())).select(list(TRANSFER.columns)),
        tmp_path / "t.parquet",
    )
    matrix = experiments.transfer_matrix(version(tmp_path / "t.parquet"))
    differences = {(row["source"], row["target"]): row["difference"] for row in matrix.iter_rows(named=True)}
    assert differences[("a", "a")] == 0.0
    assert differences[("a", "b")] == pytest.approx(-0.15)
    assert differences[("c", "b")] == pytest.approx(-0.25)
    assert differences[("a", "d")] is None  # nothing was trained on d


def test_results_are_cached_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    first = experiments.scaling_cells(scaling_file(path, [("m", 100, 0, 0.5)]))
    assert experiments.scaling_cells(version(path)) is first
    file = scaling_file(path, [("m", 100, 0, 0.8), ("m", 200, 0, 0.9)])
    os.utime(path, ns=(file.mtime_ns + 1, file.mtime_ns + 1))
    assert experiments.scaling_cells(version(path)).height == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 cut", b"not a table at all, but long enough to look"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scaling.parquet"
    path.write_bytes(content)
    with pytest.raises(LurkerError, match=r"scaling\.parquet"):
        experiments.scaling_curve(version(path))


def test_a_table_with_other_columns_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scaling.parquet"
    pl.DataFrame({"predictor": ["m"]}).write_parquet(path)
    with pytest.raises(LurkerError, match=r"scaling\.parquet.*lacks the columns pairs"):
        experiments.scaling_curve(version(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LurkerError, match="No such file"):
        version(tmp_path / "absent.parquet")


def test_recipe_figures_are_means_over_seeds_in_the_order_of_the_table(full_root: Path) -> None:
    figures = experiments.recipe_figures(version(full_root / "experiments/taught/recipes.parquet"))
    assert figures["pairs"].unique(maintain_order=True).to_list() == ["naive", "matched"]
    is_shown = (pl.col("pairs") == "matched") & (pl.col("max_pairs") == 4000) & (pl.col("measure") == "quality")
    (row,) = figures.filter(is_shown).to_dicts()
    assert (row["n_seeds"], row["n"]) == (2, 900)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((0.71, 0.69, 0.73))
