"""Queries: all of them in one module, and only what is asked for is read."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import dashboard
from dashboard import queries
from dashboard.pairs import pairs_file
from dashboard.queries import FileVersion
from lurker.pair_sets import SPLITS
from lurker.workspace import Workspace

SQL = re.compile(r"\bSELECT\b|\bimport duckdb\b|\bfrom duckdb\b")


@pytest.fixture
def file(full_root: Path) -> FileVersion:
    return pairs_file(Workspace(full_root), "matched")


def test_sql_is_in_one_module() -> None:
    modules = Path(dashboard.__file__).parent.rglob("*.py")
    assert {one.name for one in modules if SQL.search(one.read_text(encoding="utf-8"))} == {"queries.py"}


def test_numbers_of_pairs_are_those_of_the_frame(file: FileVersion) -> None:
    frame, names = pl.read_parquet(file.path), queries.communities(file)
    numbers = queries.pair_numbers(file, names)
    assert [names[place] for place in numbers["community"]] == frame["subreddit"].to_list()
    assert [SPLITS[place] for place in numbers["split"]] == frame["split"].to_list()
    np.testing.assert_array_equal(numbers["gap"], frame["chosen_score"] - frame["rejected_score"])
    assert np.unique(numbers["pair"]).size == frame.height
    assert numbers["pair"][7] == queries.hash_of(frame["pair_id"][7])


def test_pairs_come_in_the_order_of_their_rows(file: FileVersion) -> None:
    frame = pl.read_parquet(file.path)
    assert queries.pairs_at(file, [40, 3, 11])["pair_id"].to_list() == frame["pair_id"].gather([40, 3, 11]).to_list()
    assert queries.pairs_at(file, [7, 8, 9, 2])["pair_id"].to_list() == frame["pair_id"].gather([7, 8, 9, 2]).to_list()
    assert queries.pairs_at(file, []).is_empty()


def test_a_search_through_parts_of_the_file_tells_how_far_it_is(
    file: FileVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = queries.pairs_with(file, "QUESTION 1", 60)
    monkeypatch.setattr(queries, "HELD_BYTES", 0)
    monkeypatch.setattr(queries, "SEARCHED", 25)
    queries._holding.cache_clear()
    seen: list[float] = []
    assert queries.pairs_with(file, "QUESTION 1", 60, seen.append).tolist() == whole.tolist()
    assert whole.sum() == 11 and seen == [0.0, 25 / 60, 50 / 60]
    queries._holding.cache_clear()


@pytest.mark.parametrize("search", ["QUESTION 1", "straße", "İ", "%", "no text holds this"])
def test_a_search_finds_the_same_in_held_texts_as_in_the_file(
    file: FileVersion, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    n_pairs = pl.read_parquet(file.path).height
    assert queries.held_texts(file, n_pairs) is not None
    held = queries.pairs_with(file, search, n_pairs)
    monkeypatch.setattr(queries, "HELD_BYTES", 0)
    assert queries.held_texts(file, n_pairs) is None
    assert queries.pairs_with(file, search, n_pairs).tolist() == held.tolist()
