"""A subreddit out of the archive: every row once, whatever the pages, the seconds and the faults."""

import json
import random
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.arctic_shift.api import ArchiveClient, ArchiveConfig
from ingest.arctic_shift.history import ingest_archive
from ingest.arctic_shift.pages import Position, pages
from ingest.http.rate_limit import Budget, RateLimitConfig
from ingest.tables.normalize import RowFilters
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, check
from tests.ingest.archive_double import DAY_S, FAULTS, served
from tests.ingest.conftest import FakeClock

BEGAN = 1_700_000_000
NOW = BEGAN + 100 * DAY_S


@pytest.fixture
def archive():
    with served() as double:
        yield double


@pytest.fixture(scope="module")
def shared_archive():
    with served() as double:
        yield double


def client_of(archive, max_tries=7):
    limits = RateLimitConfig(gap_s=0.0, backoff_base_s=0.001)
    config = ArchiveConfig(url=archive.url, limits=limits, max_tries=max_tries, call_timeout_s=0.5)
    return ArchiveClient(config, Budget(limits, FakeClock().clock(), random.Random(0)))


def seconds_row(number, second):
    return {"id": f"c{number:04d}", "subreddit": "college", "created_utc": second}


def ids_read(archive, position=None, until_utc=NOW):
    read = list(pages(client_of(archive), "comments", "college", position or Position(cursor_utc=BEGAN), until_utc))
    assert read[-1].position.is_done
    return [row["id"] for page in read for row in page.rows], [page.crowded_utc for page in read if page.crowded_utc]


@pytest.mark.parametrize("has_edges", [False, True])
@given(
    seconds=st.lists(st.integers(0, 12), max_size=60),
    limit=st.integers(3, 20),
    since=st.integers(0, 6),
    until=st.integers(7, 14),
)
@settings(deadline=None, max_examples=40)
def test_every_row_once_in_order(shared_archive, has_edges, seconds, limit, since, until):
    shared_archive.has_edges = has_edges
    shared_archive.comments = [seconds_row(n, BEGAN + second) for n, second in enumerate(seconds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.arctic_shift.pages.RUNGS", ((str(limit), None),))
        read, crowded = ids_read(shared_archive, Position(cursor_utc=BEGAN + since), BEGAN + until)
    assert len(read) == len(set(read))
    wanted = [row for row in shared_archive.comments if since <= row["created_utc"] - BEGAN < until]
    missing = [row for row in wanted if row["id"] not in read]
    assert {row["id"] for row in wanted} >= set(read)
    assert {row["created_utc"] for row in missing} <= set(crowded)  # what is not read is reported
    per_second = {second: seconds.count(second) for second in seconds}
    assert all(per_second[row["created_utc"] - BEGAN] >= 2 * limit for row in missing)


@pytest.mark.parametrize(("n_rows", "n_missing"), [(100, 0), (199, 0), (250, 50)])
def test_a_second_with_more_rows_than_a_page(archive, n_rows, n_missing):
    archive.comments = [seconds_row(0, BEGAN), *(seconds_row(n, BEGAN + 5) for n in range(1, n_rows + 1))]
    archive.comments.append(seconds_row(999, BEGAN + 9))
    read, crowded = ids_read(archive)
    assert len(set(read)) == len(read) == n_rows + 2 - n_missing
    assert read[-1] == "c0999"
    assert crowded == ([BEGAN + 5] if n_missing else [])


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_no_fault_loses_or_doubles_a_row(archive, fault):
    archive.comments = [seconds_row(n, BEGAN + n // 3) for n in range(350)]
    archive.faults = [None, fault, fault, None, fault]
    read, _ = ids_read(archive)
    assert read == [f"c{n:04d}" for n in range(350)]


@pytest.mark.parametrize("fault", ["empty", "stale", "reversed"])
def test_impossible_answers_end_in_an_error(archive, fault):
    archive.comments = [seconds_row(n, BEGAN + n) for n in range(150)]
    archive.faults = [None, *[fault] * 50]
    with pytest.raises(LurkerError, match="7 times in a row at comments/search: "):
        ids_read(archive)


def test_an_empty_answer_is_requested_twice(archive):
    assert ids_read(archive) == ([], [])
    assert len(archive.calls) == 2


def test_heavy_requests_shrink_and_grow_again(archive):
    archive.comments = [seconds_row(n, BEGAN + n * DAY_S // 4) for n in range(150)]
    archive.heavy_over_s = 10 * DAY_S
    read, _ = ids_read(archive, until_utc=BEGAN + 40 * DAY_S)
    assert read == [f"c{n:04d}" for n in range(150)]
    limits = [call.asked["limit"] for call in archive.calls]
    assert "25" in limits[-12:-1]
    assert limits[-12:].count("100") <= 4  # does not knock at the closed door with every call
    archive.heavy_over_s, archive.heavy_over_rows = None, 10
    assert ids_read(archive, until_utc=BEGAN + 40 * DAY_S)[0] == read
    archive.heavy_over_rows = 0
    with pytest.raises(LurkerError, match="timed out on the request"):
        ids_read(archive)


def test_an_archive_without_auto_limits_gets_numbers(archive):
    archive.comments = [seconds_row(n, BEGAN + n * 60) for n in range(320)]
    archive.auto_rows = None
    assert ids_read(archive)[0] == [f"c{n:04d}" for n in range(320)]
    with pytest.raises(LurkerError, match="'subreddit' is no name"):
        list(pages(client_of(archive), "comments", "a-b", Position(cursor_utc=BEGAN), NOW))


# --- into the tables -------------------------------------------------------------------------------------------------


def fill(archive, n_posts=6, n_comments=260):
    """Posts a day apart, comments under them; the second look at an item comes 36 h after the first."""
    archive.posts = [
        {
            **{"id": f"p{n}", "subreddit": "College", "title": f"Question {n}", "selftext": "Well?", "author": "ann"},
            **{"created_utc": BEGAN + n * DAY_S, "score": 9, "num_comments": 40, "over_18": n == 5},
            **{"retrieved_on": BEGAN + n * DAY_S + 8, "_meta": {"retrieved_2nd_on": BEGAN + n * DAY_S + 36 * 3600}},
        }
        for n in range(n_posts)
    ]
    archive.comments = [
        {
            **{"id": f"c{n}", "link_id": f"t3_p{n % n_posts}", "parent_id": f"t3_p{n % n_posts}", "score": n % 9},
            **{"subreddit": "College", "body": f"answer {n}", "author": f"user_{n}"},
            **{"created_utc": BEGAN + n_posts * DAY_S + n, "retrieved_on": BEGAN + n_posts * DAY_S + n + 3},
        }
        for n in range(n_comments)
    ]
    for row in archive.comments[: n_comments // 2]:
        row["_meta"] = {"retrieved_2nd_on": row["created_utc"] + 36 * 3600}


def tables(workspace):
    return [check(workspace.scan(t).collect(), t).sort(t.key) for t in (POSTS, COMMENTS, OBSERVATIONS)]


def test_posts_comments_and_unripe_rows_are_counted(archive, workspace):
    fill(archive)
    report = ingest_archive(workspace, client_of(archive), "college", RowFilters(), NOW)
    assert (report.n_posts, report.n_comments, report.n_unripe, report.dropped) == (5, 260, 130, {"nsfw": 1})
    assert (report.n_posts_by_id, report.n_posts_unknown, report.crowded_utc) == (0, 0, [])
    posts, comments, observations = tables(workspace)
    assert (posts.height, comments.height, observations.height) == (5, 260, 265)
    assert set(comments["source"]) == {"archive"}
    assert workspace.subreddits(COMMENTS) == ["College"]
    assert list((workspace.root / "staging").iterdir()) == []
    again = ingest_archive(workspace, client_of(archive), "College", RowFilters(), NOW)
    assert replace(again, workspace=report.workspace, subreddit="college", n_calls=report.n_calls) == report
    for before, after in zip((posts, comments, observations), tables(workspace), strict=True):
        assert before.equals(after)


def test_posts_from_outside_the_span_are_fetched_by_id(archive, workspace):
    fill(archive)
    archive.posts = [row for row in archive.posts if row["id"] != "p1"]
    since = BEGAN + 3 * DAY_S
    report = ingest_archive(workspace, client_of(archive), "college", RowFilters(since_utc=since), NOW)
    assert (report.n_posts, report.n_posts_by_id, report.n_posts_unknown) == (4, 2, 1)
    assert tables(workspace)[0]["post_id"].to_list() == ["p0", "p2", "p3", "p4"]
    asked = [call.asked["ids"] for call in archive.calls if call.path.endswith("/ids")]
    assert asked == ["p0,p1,p2"]  # p5 was seen, and is not safe for work


def test_a_stopped_run_resumes_at_its_page(archive, workspace):
    fill(archive)
    archive.faults = [None] * 4 + ["500"] * 3
    with pytest.raises(LurkerError, match="3 times in a row"):
        ingest_archive(workspace, client_of(archive, max_tries=3), "college", RowFilters(), NOW)
    assert workspace.files(COMMENTS) == []
    n_before = len(archive.calls)
    report = ingest_archive(workspace, client_of(archive), "college", RowFilters(), NOW)
    assert report.n_comments == 260
    later = archive.calls[n_before:]
    assert all(call.path == "/api/comments/search" for call in later)
    assert min(call.asked["after"] for call in later) > str(BEGAN + 6 * DAY_S)


def test_a_run_stopped_anywhere_ends_with_the_same_tables(archive, tmp_path):
    from lurker.workspace import open_workspace

    fill(archive)
    whole = open_workspace(tmp_path / "whole", create=True)
    n_calls = ingest_archive(whole, client_of(archive), "college", RowFilters(), NOW).n_calls
    stopped = open_workspace(tmp_path / "stopped", create=True)
    for stop in range(n_calls):
        archive.faults = [None] * stop + ["503 html"]
        try:
            ingest_archive(stopped, client_of(archive, max_tries=1), "college", RowFilters(), NOW)
            break
        except LurkerError:
            archive.faults = []
    for one, other in zip(tables(whole), tables(stopped), strict=True):
        assert one.drop("author_hash", strict=False).equals(other.drop("author_hash", strict=False))


def test_a_subreddit_unknown_to_the_archive_is_reported(archive, workspace):
    fill(archive)
    with pytest.raises(LurkerError, match=r"has nothing of r/colege\."):
        ingest_archive(workspace, client_of(archive), "colege", RowFilters(), NOW)
    with pytest.raises(LurkerError, match="nothing of r/college in that span"):
        ingest_archive(workspace, client_of(archive), "college", RowFilters(until_utc=BEGAN), NOW)
    assert list((workspace.root / "staging").iterdir()) == []


def test_the_command(archive, tmp_path, capsys, monkeypatch):
    fill(archive)
    monkeypatch.setenv("LURKER_ARCHIVE_URL", archive.url)
    command = ["--workspace", str(tmp_path / "ws"), "ingest", "archive", "r/college", "--since", "2023-11-14"]
    assert run([*command, "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["n_posts"], found["n_comments"], found["n_unripe"]) == (5, 260, 130)
    assert run([*command, "--until", "2023-11-14"]) == 2
    assert run([*command, "--archive-url", "nowhere"]) == 2
    assert "http://" in capsys.readouterr().err
    assert run(["--workspace", str(tmp_path / "ws"), "ingest", "archive", "a/b"]) == 2


def test_unripe_rows_are_reported(archive, tmp_path, capsys, monkeypatch):
    fill(archive, n_posts=2, n_comments=8)
    monkeypatch.setenv("LURKER_ARCHIVE_URL", archive.url)
    assert run(["--workspace", str(tmp_path / "ws"), "ingest", "archive", "college"]) == 0
    printed = capsys.readouterr()
    assert "4 rows were seen less than 36 h after they were written" in printed.err
    frame = pl.read_parquet(list((tmp_path / "ws" / "comments").rglob("*.parquet")))
    assert frame.height == 8
