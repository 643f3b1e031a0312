"""Filters, search and orders of the pairs of a set."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from dashboard.pairs import PairFilter, find_pairs, pairs_file, prediction_files, read_pairs
from dashboard.parquet import FileVersion
from lurker.errors import LurkerError
from lurker.workspace import Workspace


@pytest.fixture
def file(full_root: Path) -> FileVersion:
    return pairs_file(Workspace(full_root), "matched")


@pytest.fixture
def tested(full_root: Path) -> tuple[FileVersion, ...]:
    return prediction_files(Workspace(full_root), "matched")["scratch-1m-4000-0"]


def test_filters_agree_with_the_frame(file: FileVersion) -> None:
    frame = pl.read_parquet(file.path)
    expected = frame.filter((pl.col("subreddit") == "cooking") & (pl.col("split") == "train"))["pair_id"]
    found = find_pairs(file, PairFilter(subreddit="cooking", split="train")).to_list()
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
def test_search_takes_text_literally(file: FileVersion, search: str, expected: list[str]) -> None:
    assert find_pairs(file, PairFilter(search=search)).to_list() == expected


def test_right_and_wrong_split_the_tested_pairs(file: FileVersion, tested: tuple[FileVersion, ...]) -> None:
    predictions = pl.concat([pl.read_parquet(one.path) for one in tested])
    right = find_pairs(file, PairFilter(outcome="right"), tested).to_list()
    wrong = find_pairs(file, PairFilter(outcome="wrong"), tested).to_list()
    assert set(right) == set(predictions.filter(pl.col("is_correct") == 1)["pair_id"])
    assert set(wrong) == set(predictions.filter(pl.col("is_correct") < 1)["pair_id"])
    assert len(find_pairs(file, PairFilter(), tested)) == 60


def test_surest_mistakes_are_sorted_by_margin(file: FileVersion, tested: tuple[FileVersion, ...]) -> None:
    predictions = pl.concat([pl.read_parquet(one.path) for one in tested]).sort("margin")
    found = find_pairs(file, PairFilter(split="test", order="surest mistakes"), tested).to_list()
    assert found == predictions["pair_id"].to_list()


def test_filters_on_outcomes_need_a_run(file: FileVersion) -> None:
    with pytest.raises(ValueError, match="needs the predictions"):
        find_pairs(file, PairFilter(outcome="wrong")).to_list()


def test_a_pair_is_read_with_its_margin(file: FileVersion, tested: tuple[FileVersion, ...]) -> None:
    pair_id = find_pairs(file, PairFilter(outcome="wrong"), tested)[0]
    pair = read_pairs(file, (pair_id,), tested).row(0, named=True)
    assert pair["margin"] < 0
    assert pair["is_correct"] == 0
    assert read_pairs(file, (pair_id,))["margin"][0] is None
    with pytest.raises(LurkerError, match="no pair 'zzz'"):
        read_pairs(file, (pair_id, "zzz"))


def test_a_set_whose_rows_differ_from_its_manifest_is_damaged(full_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full_root, tmp_path / "copy"))
    manifest = root / "pairs/matched/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"n_pairs": 61}))
    with pytest.raises(LurkerError, match="'matched' is not what its manifest describes") as error:
        pairs_file(Workspace(root), "matched")
    assert error.value.next_step == "Build it again: `lurker pairs build matched --recipe matched`."
