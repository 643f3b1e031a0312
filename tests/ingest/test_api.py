"""The public functions, with keyword arguments, a workspace or its path, and reports that show themselves."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ingest
from ingest.options import parse_age, parse_day
from lurker.errors import CallError, LurkerError
from lurker.schema import COMMENTS, POSTS, TRUTH
from lurker.workspace import open_workspace
from tests.ingest.archive_double import served
from tests.ingest.little_reddit import little_reddit
from tests.ingest.reddit_double import Server

NOON = 1_600_000_000


@pytest.fixture
def waitless(credentials, fake_clock, monkeypatch):
    """Credentials of the test double, and waits that take no time."""
    fake_clock.replace_clocks(monkeypatch)


def test_the_package_lists_its_functions_and_nothing_else():
    assert dir(ingest) == ["archive", "dumps", "ids", "reddit", "refresh", "simulate"]
    assert all(callable(getattr(ingest, name)) for name in dir(ingest))
    with pytest.raises(AttributeError, match="'ingest' has no attribute 'dump'"):
        _ = ingest.dump


def test_dumps_keep_the_rows_that_pass_the_filters(tmp_path, make, workspace):
    day_s = 86_400
    rows = [make.post(created_utc=NOON), make.post("p2", subreddit="other", created_utc=NOON)]
    rows += [make.comment(n, created_utc=NOON + n * day_s, score=n) for n in range(6)]
    first_day = datetime.fromtimestamp(NOON, UTC).date()
    report = ingest.dumps(
        workspace,
        make.file(tmp_path / "dump", rows),
        subreddits="r/college",
        since=str(first_day),
        until=first_day + timedelta(days=4),
        min_score=2,
    )
    assert workspace.scan(COMMENTS).collect()["score"].to_list() == [2, 3]
    (file,) = report.files
    assert (file.n_rows, file.n_kept) == (8, 2 + workspace.scan(POSTS).collect().height)
    assert file.dropped["other subreddit"] == 1
    report.require_complete()


def test_a_path_is_a_workspace_that_is_created_after_the_arguments_are_checked(tmp_path, make):
    dump, root = make.file(tmp_path / "dump", [make.comment(1)]), tmp_path / "new"
    with pytest.raises(CallError, match="since takes a day such as 2020-01-31, got 'soon'"):
        ingest.dumps(root, dump, since="soon")
    with pytest.raises(CallError, match="is empty"):
        ingest.dumps(root, dump, since="2020-02-01", until="2020-01-01")
    with pytest.raises(CallError, match="No dump files"):
        ingest.dumps(root)
    with pytest.raises(CallError, match="not a valid subreddit name"):
        ingest.reddit(root, "a/b")
    assert not root.exists()
    ingest.dumps(str(root), str(dump))
    assert open_workspace(root).scan(COMMENTS).collect().height == 1


def test_a_report_shows_itself_as_text_and_html_and_says_what_is_incomplete(tmp_path, make, workspace):
    path = make.file(tmp_path / "cut", [make.post(), make.comment(1), make.comment(2, over_18=True), b"{broken"])
    path.write_bytes(path.read_bytes()[:-3])
    report = ingest.dumps(workspace, path)
    assert "cut short" in repr(report)
    assert "dropped because" in str(report)
    assert "<td>cut</td>" in report._repr_html_()
    assert report.to_dict()["files"][0]["n_kept"] == 2
    with pytest.raises(
        LurkerError, match=r"Cut short: .*cut: the file ends inside a line \(3 complete rows were read\)"
    ):
        report.require_complete()


def test_simulate_takes_parameters_by_name_and_rejects_unknown_ones(tmp_path):
    report = ingest.simulate(tmp_path / "ws", seed=3, n_posts=20, median_comments=3.0)
    assert open_workspace(tmp_path / "ws").scan(TRUTH).collect().height > 0
    assert report.ingested is not None
    assert report.to_dict() == report.ingested.to_dict()
    with pytest.raises(CallError, match="Unknown parameter 'herding'") as caught:
        ingest.simulate(tmp_path / "other", herding=1.0)
    assert "herding_effect" in caught.value.next_step
    with pytest.raises(CallError, match="n_posts must be positive"):
        ingest.simulate(tmp_path / "other", n_posts=0)
    written = ingest.simulate(tmp_path / "other", n_posts=20, ingest=False)
    assert written.ingested is None
    assert written.next_command.startswith("lurker --workspace ")
    assert all(path.name in repr(written) for path in written.files)


def test_reddit_then_refresh(waitless, tmp_path):
    with Server(little_reddit(n_posts=3, n_comments=5)) as server:
        report = ingest.reddit(tmp_path / "ws", "r/college", reddit_url=server.url)
        report.require_complete()
        assert report.subreddits[0].n_posts > 0
        assert f"{report.n_calls:,} calls" in repr(report)
        refreshed = ingest.refresh(tmp_path / "ws", older_than=timedelta(0), limit=0, purge=True, reddit_url=server.url)
    assert refreshed.to_dict()["n_looked"] == 0
    assert refreshed.purged is not None
    assert "Second look" in str(refreshed)


def test_archive_then_ids(waitless, tmp_path, make):
    with served() as double:
        double.posts = [make.post(created_utc=NOON)]
        double.comments = [make.comment(n, created_utc=NOON + n) for n in range(3)]
        report = ingest.archive(tmp_path / "ws", "college", since=date(2020, 1, 1), archive_url=double.url)
        assert (report.n_posts, report.n_comments) == (1, 3)
        assert "Rows" in repr(report)
        names = ["t1_c1", "t1_zzz", "t1_c1"]
        fetched = ingest.ids(tmp_path / "two", names, source="archive", archive_url=double.url)
    assert (fetched.n_asked, fetched.n_comments, fetched.absent) == (2, 1, ["t1_zzz"])
    with pytest.raises(CallError, match="'c1' in the given ids is not a valid id"):
        ingest.ids(tmp_path / "two", ["c1"], source="archive")
    with pytest.raises(CallError, match="source must be reddit or archive, got 'dump'"):
        ingest.ids(tmp_path / "two", names, source="dump")


def test_days_and_ages():
    midnight = datetime(2020, 1, 31, tzinfo=UTC)
    assert parse_day("2020-01-31", "since") == parse_day(date(2020, 1, 31), "since") == midnight
    assert parse_day(datetime(2020, 1, 31, 0), "since") == parse_day(midnight, "since") == midnight
    assert parse_day("", "since") is parse_day(None, "since") is None
    assert parse_age("90m", "older_than") == parse_age(timedelta(minutes=90), "older_than") == timedelta(minutes=90)
    with pytest.raises(CallError, match="older_than takes an age such as 90m, 36h or 30d, got 'soon'"):
        parse_age("soon", "older_than")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda root: ingest.dumps(3, "x"), "There is no file x"),
        (lambda root: ingest.dumps(root, 3), r"A dump takes a path, as text or a Path, got 3 \(int\)"),
        (lambda root: ingest.dumps(root, "x", subreddits=None), "subreddits takes one value or a list, got None"),
        (lambda root: ingest.dumps(root, "x", since=3), r"since takes text, got 3 \(int\)"),
        (lambda root: ingest.dumps(root, "x", min_score="3"), r"min_score takes a whole number, got '3' \(str\)"),
        (lambda root: ingest.reddit(root, 3), r"subreddits takes names, got 3 \(int\)"),
        (lambda root: ingest.reddit(root, "tea", listing="best"), r"listing takes new \| top \| hot \| rising"),
        (lambda root: ingest.archive(root, None), r"subreddit takes text, got None"),
        (lambda root: ingest.ids(root, [3], source="archive"), r"fullnames takes names, got 3 \(int\)"),
        (lambda root: ingest.refresh(None), r"The workspace takes a path, as text or a Path, got None"),
        (lambda root: ingest.refresh(root, older_than=3), r"older_than takes text, got 3 \(int\)"),
        (lambda root: ingest.simulate(root, n_posts=1.5), r"n_posts takes a whole number, got 1.5 \(float\)"),
    ],
)
def test_arguments_of_another_type_are_named(call: Callable[[Path], Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(LurkerError, match=words):
        call(tmp_path / "ws")
    assert not (tmp_path / "ws").exists()
