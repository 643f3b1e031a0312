"""Filters, search and orders of the pairs of a set."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dashboard import pairs
from dashboard.pair_index import pair_index, spread_rows
from dashboard.pairs import PairFilter, pairs_file, place_of, prediction_files
from dashboard.queries import FileVersion, version
from lurker.errors import LurkerError
from lurker.workspace import Workspace


@pytest.fixture
def file(full_root: Path) -> FileVersion:
    return pairs_file(Workspace(full_root), "matched")


@pytest.fixture
def tested(full_root: Path) -> tuple[FileVersion, ...]:
    return prediction_files(Workspace(full_root), "matched")["scratch-1m-4000-0"]


def find_pairs(file: FileVersion, shown: PairFilter, *of_runs: tuple[FileVersion, ...]) -> list[str]:
    """Ids of what is found, in order."""
    return pl.read_parquet(file.path)["pair_id"].gather(pairs.find_pairs(file, shown, *of_runs)).to_list()


def test_filters_agree_with_the_frame(file: FileVersion) -> None:
    frame = pl.read_parquet(file.path)
    expected = frame.filter((pl.col("subreddit") == "cooking") & (pl.col("split") == "train"))["pair_id"]
    found = find_pairs(file, PairFilter(subreddit="cooking", split="train"))
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
    assert find_pairs(file, PairFilter(search=search)) == expected


def test_right_and_wrong_split_the_tested_pairs(file: FileVersion, tested: tuple[FileVersion, ...]) -> None:
    predictions = pl.concat([pl.read_parquet(one.path) for one in tested])
    right = find_pairs(file, PairFilter(outcome="right"), tested)
    wrong = find_pairs(file, PairFilter(outcome="wrong"), tested)
    assert set(right) == set(predictions.filter(pl.col("is_correct") == 1)["pair_id"])
    assert set(wrong) == set(predictions.filter(pl.col("is_correct") < 1)["pair_id"])
    assert len(find_pairs(file, PairFilter(), tested)) == 60


def test_surest_mistakes_are_sorted_by_margin(file: FileVersion, tested: tuple[FileVersion, ...]) -> None:
    predictions = pl.concat([pl.read_parquet(one.path) for one in tested]).sort("margin")
    found = find_pairs(file, PairFilter(split="test", order="surest mistakes"), tested)
    assert found == predictions["pair_id"].to_list()


def test_filters_on_outcomes_need_a_run(file: FileVersion) -> None:
    with pytest.raises(ValueError, match="needs the predictions"):
        find_pairs(file, PairFilter(outcome="wrong"))


def test_a_pair_is_read_with_its_margin(file: FileVersion, tested: tuple[FileVersion, ...]) -> None:
    found = pairs.find_pairs(file, PairFilter(outcome="wrong"), tested)
    rows = tuple(found[:2].tolist())
    margins = pairs.margins(file, [*rows, 0], tested)
    assert all(margin is not None and margin < 0 for margin in margins[:2])
    assert margins[2] is None  # a pair for training
    frame = pl.read_parquet(file.path)
    assert pairs.read_pair(file, rows[1]) == frame.row(rows[1], named=True)
    assert pairs.prompts(file, rows).to_list() == frame["prompt"].gather(rows).to_list()
    with pytest.raises(LurkerError, match="no row 60"):
        pairs.read_pair(file, 60)


def test_a_pair_is_found_by_its_id(file: FileVersion) -> None:
    found = pairs.find_pairs(file, PairFilter(split="train"))
    ids = find_pairs(file, PairFilter(split="train"))
    assert [place_of(file, found, pair_id) for pair_id in ids] == list(range(len(ids)))
    assert place_of(file, found, "zzz") is None
    other = find_pairs(file, PairFilter(split="test"))[0]
    assert place_of(file, found, other) is None  # filtered out


def test_predictions_for_another_winner_are_left_out(file: FileVersion, full_root: Path, tmp_path: Path) -> None:
    source = full_root / "runs/scratch-1m-4000-0/predictions/matched-test.parquet"
    predictions = pl.read_parquet(source)
    swapped = pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("r999")).otherwise("chosen_id")
    predictions.with_columns(chosen_id=swapped).write_parquet(tmp_path / "p.parquet")
    files = (version(tmp_path / "p.parquet"),)
    judged = [pair for outcome in ("right", "wrong") for pair in find_pairs(file, PairFilter(outcome=outcome), files)]
    assert set(judged) == set(predictions["pair_id"][3:])
    predictions.drop("chosen_id").write_parquet(tmp_path / "old.parquet")  # such files are trusted
    old = (version(tmp_path / "old.parquet"),)
    right = find_pairs(file, PairFilter(outcome="right"), old)
    assert set(right) == set(predictions.filter(pl.col("is_correct") == 1)["pair_id"])


def test_a_sample_of_rows_is_spread_over_all_of_them(file: FileVersion) -> None:
    rows = pair_index(file).shuffled
    assert spread_rows(rows, 100) == rows.tolist()
    many = np.arange(100_000, dtype=np.uint32)
    drawn = spread_rows(many, 1_000)
    assert len(drawn) == len(set(drawn)) == 1_000
    assert drawn[0] == 0 and drawn[-1] == 99_999
    assert spread_rows(many, 0) == []


def test_a_set_whose_rows_differ_from_its_manifest_is_damaged(full_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full_root, tmp_path / "copy"))
    manifest = root / "pairs/matched/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"n_pairs": 61}))
    with pytest.raises(LurkerError, match="'matched' is not what its manifest describes") as error:
        pairs_file(Workspace(root), "matched")
    assert error.value.next_step == "Build it again: `lurker pairs build matched --recipe matched`."
