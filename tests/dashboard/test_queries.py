"""Queries on tables small enough to check by hand."""

import os
from pathlib import Path

import polars as pl
import pytest

from dashboard import queries
from dashboard.queries import PairFilter, version
from lurker.errors import LurkerError
from lurker.schema import SCALING, TRANSFER
from lurker.workspace import Workspace, write_parquet

CELL = {
    "pairs": "matched",
    "test_pairs": "hard-test",
    "is_baseline": False,
    "n_parameters": 1000,
    "seed": 0,
    "run_id": None,
    "train_time_s": 1.0,
    "n_test_pairs": 100,
    "n_test_posts": 50,
    "log_loss": None,
}


def scaling_file(path: Path, cells: list[tuple[str, int, int, float]], **others: object) -> queries.FileVersion:
    """cells: predictor, n_train_pairs, seed, accuracy; intervals reach 0.1 to each side."""
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


def test_curve_averages_over_seeds_and_keeps_their_range(tmp_path: Path) -> None:
    file = scaling_file(tmp_path / "s.parquet", [("m", 100, 0, 0.5), ("m", 100, 1, 0.7), ("time", 100, 0, 0.55)])
    curve = queries.scaling_curve(file)
    assert curve["predictor"].to_list() == ["m", "time"]
    model = curve.row(0, named=True)
    assert model["n_seeds"] == 2
    assert model["accuracy"] == pytest.approx(0.6)
    assert (model["accuracy_low"], model["accuracy_high"]) == pytest.approx((0.5, 0.7))
    assert (model["lowest_seed"], model["highest_seed"]) == (0.5, 0.7)


def test_reach_takes_the_largest_model_with_most_data_not_the_best(tmp_path: Path) -> None:
    cells = [("small", 100, 0, 0.9), ("small", 200, 0, 0.8), ("large", 100, 0, 0.7), ("large", 200, 0, 0.6)]
    file = scaling_file(tmp_path / "s.parquet", [*cells, ("tfidf", 100, 0, 0.54), ("tfidf", 200, 0, 0.55)])
    reach = queries.hard_test_reach(file)
    assert dict(reach.select("predictor", "accuracy").iter_rows()) == {"large": 0.6, "tfidf": 0.55}


def test_reach_ignores_what_was_judged_on_another_test(tmp_path: Path) -> None:
    file = scaling_file(tmp_path / "s.parquet", [("m", 100, 0, 0.9)], test_pairs="matched")
    assert queries.hard_test_reach(file).is_empty()


def test_transfer_difference_is_taken_from_the_target_at_home(tmp_path: Path) -> None:
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
    matrix = queries.transfer_matrix(version(tmp_path / "t.parquet"))
    found = {(row["source"], row["target"]): row["difference"] for row in matrix.iter_rows(named=True)}
    assert found[("a", "a")] == 0.0
    assert found[("a", "b")] == pytest.approx(-0.15)
    assert found[("c", "b")] == pytest.approx(-0.25)
    assert found[("a", "d")] is None  # nothing was trained on d


def test_an_answer_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    first = queries.scaling_cells(scaling_file(path, [("m", 100, 0, 0.5)]))
    assert queries.scaling_cells(version(path)) is first
    file = scaling_file(path, [("m", 100, 0, 0.8), ("m", 200, 0, 0.9)])
    os.utime(path, ns=(file.mtime_ns + 1, file.mtime_ns + 1))
    assert queries.scaling_cells(version(path)).height == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 cut", b"not a table at all, but long enough to look"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scaling.parquet"
    path.write_bytes(content)
    with pytest.raises(LurkerError, match=r"scaling\.parquet"):
        queries.scaling_curve(version(path))


def test_a_table_with_other_columns_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scaling.parquet"
    pl.DataFrame({"predictor": ["m"]}).write_parquet(path)
    with pytest.raises(LurkerError, match=r"scaling\.parquet.*lacks the columns pairs"):
        queries.scaling_curve(version(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LurkerError, match="No such file"):
        version(tmp_path / "absent.parquet")


# --- pairs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs_file(full_root: Path) -> queries.FileVersion:
    return version(full_root / "pairs/matched/pairs.parquet")


@pytest.fixture
def judged(full_root: Path) -> tuple[queries.FileVersion, ...]:
    return queries.predictions_of(Workspace(full_root), "matched")["scratch-1m-4000-0"]


def test_filters_agree_with_the_frame(pairs_file: queries.FileVersion) -> None:
    frame = pl.read_parquet(pairs_file.path)
    expected = frame.filter((pl.col("subreddit") == "cooking") & (pl.col("split") == "train"))["pair_id"]
    found = queries.find_pairs(pairs_file, PairFilter(subreddit="cooking", split="train"))
    assert sorted(found) == sorted(expected)
    assert found != sorted(found)  # shuffled, not in the order of ids


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("QUESTION 17?", ["c017-r017"]),
        ("onerror=", ["c000-r000"]),
        ("%", []),  # no wildcard
        ("'; DROP TABLE pairs; --", []),
        ("صديقي", ["c002-r002"]),
        ("moneyCook", []),  # the end of a prompt and the start of a response are two texts
    ],
)
def test_search_finds_text_as_it_is_typed(pairs_file: queries.FileVersion, search: str, expected: list[str]) -> None:
    assert queries.find_pairs(pairs_file, PairFilter(search=search)) == expected


def test_right_and_wrong_part_the_judged_pairs(
    pairs_file: queries.FileVersion, judged: tuple[queries.FileVersion, ...]
) -> None:
    predictions = pl.concat([pl.read_parquet(file.path) for file in judged])
    right = queries.find_pairs(pairs_file, PairFilter(outcome="right"), judged)
    wrong = queries.find_pairs(pairs_file, PairFilter(outcome="wrong"), judged)
    assert set(right) == set(predictions.filter(pl.col("is_correct") == 1)["pair_id"])
    assert set(wrong) == set(predictions.filter(pl.col("is_correct") < 1)["pair_id"])
    assert len(queries.find_pairs(pairs_file, PairFilter(), judged)) == 60


def test_surest_mistakes_come_by_margin(
    pairs_file: queries.FileVersion, judged: tuple[queries.FileVersion, ...]
) -> None:
    predictions = pl.concat([pl.read_parquet(file.path) for file in judged]).sort("margin")
    found = queries.find_pairs(pairs_file, PairFilter(split="test", order="surest mistakes"), judged)
    assert found == predictions["pair_id"].to_list()


def test_what_needs_a_model_is_refused_without_one(pairs_file: queries.FileVersion) -> None:
    with pytest.raises(ValueError, match="needs the predictions"):
        queries.find_pairs(pairs_file, PairFilter(outcome="wrong"))


def test_a_pair_is_read_whole_with_its_margin(
    pairs_file: queries.FileVersion, judged: tuple[queries.FileVersion, ...]
) -> None:
    pair_id = queries.find_pairs(pairs_file, PairFilter(outcome="wrong"), judged)[0]
    pair = queries.read_pair(pairs_file, pair_id, judged)
    assert pair["margin"] < 0
    assert pair["is_correct"] == 0
    assert queries.read_pair(pairs_file, pair_id)["margin"] is None
    with pytest.raises(LurkerError, match="no pair 'zzz'"):
        queries.read_pair(pairs_file, "zzz")


def test_holdings_count_rows_and_dates_by_community(full_root: Path) -> None:
    held, damaged = queries.holdings(Workspace(full_root))
    assert not damaged
    row = held.filter((pl.col("table") == "comments") & (pl.col("subreddit") == "cooking")).row(0, named=True)
    assert row["n_rows"] == 120
    assert (row["first_utc"], row["last_utc"]) == (1_600_000_000, 1_600_000_000 + 119 * 3600)


def test_holdings_name_what_is_damaged_and_keep_the_rest(damaged_root: Path) -> None:
    held, damaged = queries.holdings(Workspace(damaged_root))
    assert held.height == 4
    assert any("posts/advice" in error.message for error in damaged)
    assert any("comments/cooking" in error.message for error in damaged)


def test_recipe_figures_are_means_over_seeds_in_the_order_of_the_table(full_root: Path) -> None:
    figures = queries.recipe_figures(version(full_root / "experiments/taught/recipes.parquet"))
    assert figures["pairs"].unique(maintain_order=True).to_list() == ["naive", "matched"]
    of = (pl.col("pairs") == "matched") & (pl.col("max_pairs") == 4000) & (pl.col("measure") == "quality")
    (row,) = figures.filter(of).to_dicts()
    assert (row["n_seeds"], row["n"]) == (2, 900)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((0.71, 0.69, 0.73))
