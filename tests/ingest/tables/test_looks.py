"""What a row keeps of several looks at its item, whatever the order in which they are ingested."""

import itertools
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import ingest
import lurker
from ingest.revisit.purge import purge_texts
from ingest.tables.looks import flags_of_looks
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, Table, check
from lurker.workspace import Workspace

T1, T2, T3 = 1_600_000_001, 1_600_000_002, 1_600_000_003


@pytest.fixture
def row_after(tmp_path, make):
    """Ingest looks at one item, each from a file of its own, in an order or all at once; its row and its workspace."""

    def row_after(
        make_row: Any, *looks: dict[str, Any], order: tuple[int, ...] | None, table: Table
    ) -> SimpleNamespace:
        files = [make.file(tmp_path / f"{number}", [make_row(**look)]) for number, look in enumerate(looks)]
        workspace = lurker.open(tmp_path / f"ws-{order}")
        for group in [files] if order is None else [[files[number]] for number in order]:
            ingest.dumps(workspace, *group)
        return SimpleNamespace(workspace=workspace, **row_of(workspace, table))

    return row_after


def row_of(workspace: Workspace, table: Table) -> dict[str, Any]:
    (row,) = workspace.scan(table).collect().to_dicts()
    return row


def looks_of(workspace: Workspace) -> list[tuple[Any, ...]]:
    seen = workspace.scan(OBSERVATIONS).sort("observed_utc").collect()
    return seen.select("observed_utc", "score", "is_controversial").rows()


@pytest.mark.parametrize("order", [None, *itertools.permutations(range(3))])
@pytest.mark.parametrize("gone", ["[deleted]", "[removed]", "[ Removed by Reddit ]", ""])
def test_a_deleted_comment_keeps_its_last_text_and_is_marked(row_after, make, order, gone):
    looks = (
        {"retrieved_on": T1, "body": "first", "score": 1, "controversiality": 0},
        {"retrieved_on": T2, "body": "edited", "edited": True, "score": 2, "controversiality": 1},
        {"retrieved_on": T3, "body": gone, "score": 3, "controversiality": 0},
    )
    row = row_after(lambda **look: make.comment(1, **look), *looks, order=order, table=COMMENTS)
    assert (row.body, row.is_deleted, row.score, row.is_controversial) == ("edited", True, 3, False)
    assert (row.retrieved_utc, row.first_retrieved_utc) == (T3, T2)
    assert looks_of(row.workspace) == [(T1, 1, False), (T2, 2, True), (T3, 3, False)]
    purge_texts(row.workspace)
    assert row_of(row.workspace, COMMENTS)["body"] == ""


@pytest.mark.parametrize("order", [None, (0, 1), (1, 0)])
def test_a_deleted_post_keeps_title_and_text(row_after, make, order):
    looks = (
        {"retrieved_on": T1, "title": "Which?", "selftext": "Tell me."},
        {"retrieved_on": T2, "title": "[deleted by user]", "selftext": "[removed]", "removed_by_category": "deleted"},
    )
    row = row_after(make.post, *looks, order=order, table=POSTS)
    assert (row.title, row.body, row.is_deleted, row.first_retrieved_utc) == ("Which?", "Tell me.", True, T1)


@pytest.mark.parametrize("order", [None, *itertools.permutations(range(3))])
def test_a_comment_that_was_restored_has_its_newest_text(row_after, make, order):
    looks = (
        {"retrieved_on": T1, "body": "first"},
        {"retrieved_on": T2, "body": "[removed]"},
        {"retrieved_on": T3, "body": "approved"},
    )
    row = row_after(lambda **look: make.comment(1, **look), *looks, order=order, table=COMMENTS)
    assert (row.body, row.is_deleted, row.retrieved_utc, row.first_retrieved_utc) == ("approved", False, T3, None)


def test_a_text_of_the_archive_counts_by_the_time_it_was_retrieved(row_after, make):
    """The archive's row has the text of T1 and the score of T3; the other row has the text of T2."""
    looks = (
        {"retrieved_on": T1, "_meta": {"retrieved_2nd_on": T3}, "body": "[deleted]", "score": 9},
        {"retrieved_on": T2, "body": "seen at T2", "score": 4},
        {"retrieved_on": T1, "body": "seen at T1", "score": 1},
    )
    row = row_after(lambda **look: make.comment(1, **look), *looks, order=None, table=COMMENTS)
    assert (row.body, row.score, row.retrieved_utc, row.first_retrieved_utc) == ("seen at T2", 9, T3, T2)


@pytest.mark.parametrize("order", [None, (0, 1), (1, 0)])
@pytest.mark.parametrize(("flags", "expected"), [((0, 1), True), ((1, 0), True), ((0, 0), False), ((None, 1), True)])
def test_of_two_looks_at_the_same_second_any_may_have_the_flag(row_after, make, order, flags, expected):
    looks = [{"retrieved_on": T1, "score": 4 + n, "controversiality": flag} for n, flag in enumerate(flags)]
    row = row_after(lambda **look: make.comment(1, **look), *looks, order=order, table=COMMENTS)
    assert (row.score, row.is_controversial) == (5, expected)
    assert looks_of(row.workspace) == [(T1, 5, expected)]


@pytest.mark.parametrize("order", [None, (0, 1), (1, 0)])
def test_a_flag_without_a_score_is_kept_and_is_no_observation(row_after, make, order):
    looks = ({"retrieved_on": T1, "score": 2, "controversiality": 0}, {"retrieved_on": T2, "score": None})
    looks[1]["controversiality"] = 1
    row = row_after(lambda **look: make.comment(1, **look), *looks, order=order, table=COMMENTS)
    assert (row.score, row.is_controversial) == (None, True)
    assert looks_of(row.workspace) == [(T1, 2, False)]


@pytest.mark.parametrize("order", [None, (0, 1), (1, 0)])
def test_that_a_score_was_hidden_stays_known(row_after, make, order):
    looks = ({"retrieved_on": T1, "score": 1, "score_hidden": True}, {"retrieved_on": T2, "score": 9})
    row = row_after(lambda **look: make.comment(1, **look), *looks, order=order, table=COMMENTS)
    assert (row.score, row.is_score_hidden, row.was_score_hidden) == (9, False, True)
    assert [look[:2] for look in looks_of(row.workspace)] == [(T2, 9)]


@pytest.mark.parametrize("order", [None, (0, 1), (1, 0)])
@pytest.mark.parametrize("is_contest", [(False, True), (True, False)])
def test_contest_mode_is_that_of_the_newest_look(row_after, make, order, is_contest):
    looks = [
        {"retrieved_on": time, "contest_mode": flag, "suggested_sort": "random" if flag else None}
        for time, flag in zip((T1, T2), is_contest, strict=True)
    ]
    row = row_after(make.post, *looks, order=order, table=POSTS)
    assert (row.is_contest, row.suggested_sort) == (is_contest[1], "random" if is_contest[1] else None)


def test_a_flag_at_an_unknown_time_counts_only_beside_others_of_unknown_time():
    rows = pl.DataFrame(
        {
            "comment_id": ["a", "a", "b", "b", "c"],
            "retrieved_utc": [None, T1, None, None, None],
            "is_controversial": [True, False, True, False, None],
            "was_score_hidden": [True, False, False, False, None],
        }
    )
    flags = flags_of_looks(rows).sort("comment_id").rows()
    assert flags == [("a", False, True), ("b", True, False), ("c", None, None)]


def test_an_erased_text_stays_erased_after_an_older_look(tmp_path, make):
    workspace = lurker.open(tmp_path / "ws")
    first = make.file(tmp_path / "first", [make.comment(1, retrieved_on=T1, body="private"), make.comment(2)])
    later = make.file(tmp_path / "later", [make.comment(1, retrieved_on=T2, body="[deleted]", author="[deleted]")])
    ingest.dumps(workspace, first, later)
    assert purge_texts(workspace).n_comments == 1
    ingest.dumps(workspace, first, min_score=-5)
    bodies = check(workspace.scan(COMMENTS).collect(), COMMENTS).sort("comment_id")["body"].to_list()
    assert bodies == ["", "answer 2"]
