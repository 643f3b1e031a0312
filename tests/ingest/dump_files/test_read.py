"""Dump files into tables: merged, resumed, repeated, refused."""

import json
import os
import random
from pathlib import Path

import polars as pl
import pytest
import zstandard

from ingest.dump_files import read
from ingest.dump_files.read import ingest_dumps
from ingest.tables.normalize import RowFilters
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, check
from lurker.workspace import open_workspace

ANY = RowFilters()


def table(workspace, which):
    """All rows of a table, sorted by key, after checking them."""
    return check(workspace.scan(which).collect(), which).sort(which.key)


def tables(workspace):
    """The three tables without what differs between workspaces (the salt)."""
    frames = [table(workspace, which) for which in (POSTS, COMMENTS, OBSERVATIONS)]
    return [frame.drop("author_hash", strict=False) for frame in frames]


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        assert one.equals(other)


def test_rows_are_counted_and_kept_by_subreddit(workspace, tmp_path, make):
    rows = [
        make.post(),
        make.comment(1),
        make.comment(2, subreddit="Emory"),
        make.comment(3, subreddit="emory"),
        make.comment(4, subreddit="emory"),
        make.post("p2", over_18=True),
        {"kind": "t5"},
        b"{broken",
        b"",
    ]
    (report,) = ingest_dumps(workspace, [make.file(tmp_path / "mixed", rows)], ANY).files
    assert (report.n_rows, report.n_posts, report.n_comments, report.n_malformed) == (8, 1, 4, 1)
    assert report.dropped == {"nsfw": 1, "neither post nor comment": 1}
    assert workspace.subreddits(COMMENTS) == ["college", "emory"]
    assert table(workspace, COMMENTS)["subreddit"].to_list() == ["college", "emory", "emory", "emory"]
    (malformed,) = Path(report.malformed_file).read_text().splitlines()
    problem = "Expecting property name enclosed in double quotes at character 2"
    wanted = {"file": str(tmp_path / "mixed"), "line": 8, "problem": problem, "text": "{x"}
    assert json.loads(malformed) == wanted
    assert list((workspace.root / "staging").iterdir()) == []


def test_the_newest_retrieval_is_the_row_and_every_observation_is_kept(workspace, tmp_path, make):
    old = make.file(tmp_path / "old", [make.post(), make.comment(1, score=1, retrieved_on=10)])
    new = make.file(tmp_path / "new", [make.comment(1, score=50, retrieved_on=20, body="edited", edited=15)])
    ingest_dumps(workspace, [new], ANY)
    ingest_dumps(workspace, [old], ANY)  # the order of files does not count
    (row,) = table(workspace, COMMENTS).to_dicts()
    assert (row["score"], row["body"], row["is_edited"], row["retrieved_utc"]) == (50, "edited", True, 20)
    looks = table(workspace, OBSERVATIONS).filter(pl.col("item_id") == "c1")
    assert looks.select("observed_utc", "score").rows() == [(10, 1), (20, 50)]


@pytest.mark.parametrize("order", [("posts", "comments"), ("comments", "posts")])
def test_the_posts_author_is_known_among_the_comments(workspace, tmp_path, make, order):
    rows = {
        "posts": [make.post(author="ann"), make.post("p2", author="[deleted]")],
        "comments": [
            make.comment(1, author="ann"),
            make.comment(2, author="bob"),
            make.comment(3, author="bob", is_submitter=True),
            make.comment(4, post="p2", author="[deleted]"),
        ],
    }
    for name in order:
        ingest_dumps(workspace, [make.file(tmp_path / name, rows[name])], ANY)
    assert table(workspace, COMMENTS)["is_by_op"].to_list() == [True, False, True, False]


def test_threads_are_stored_together(workspace, tmp_path, make):
    numbers = list(range(40))
    random.Random(0).shuffle(numbers)
    path = make.file(tmp_path / "dump", [make.comment(n, post=f"p{n % 3}") for n in numbers])
    ingest_dumps(workspace, [path], ANY)
    rows = workspace.scan(COMMENTS).select("post_id", "created_utc", "comment_id").collect()
    assert rows.rows() == sorted(rows.rows())


def test_ingesting_twice_changes_nothing(workspace, tmp_path, make, monkeypatch):
    rows = [make.post(), *(make.comment(n) for n in range(50))]
    path = make.file(tmp_path / "dump.zst", rows, compress=zstandard.ZstdCompressor().compress)
    ingest_dumps(workspace, [path], ANY)
    before, files = tables(workspace), workspace.files(COMMENTS)
    (report,) = ingest_dumps(workspace, [path], ANY).files
    assert report.was_ingested_before
    assert workspace.files(COMMENTS) == files
    monkeypatch.setattr(read, "STAGING_VERSION", "other")  # as if no record were known
    (report,) = ingest_dumps(workspace, [path], ANY).files
    assert not report.was_ingested_before
    assert_same(tables(workspace), before)


def test_filters_and_files_add_up(workspace, tmp_path, make):
    path = make.file(tmp_path / "dump", [make.post(), *(make.comment(n) for n in range(50))])
    ingest_dumps(workspace, [path], RowFilters(min_score=4))
    assert table(workspace, COMMENTS)["score"].to_list() == [4] * 10
    ingest_dumps(workspace, [path, path], RowFilters())
    assert table(workspace, COMMENTS).height == 50


@pytest.mark.parametrize("compress", [None, zstandard.ZstdCompressor().compress])
def test_rows_of_a_truncated_file_are_kept_and_the_exit_code_is_1(tmp_path, make, capsys, compress):
    whole = make.file(tmp_path / "whole", [make.comment(n) for n in range(3_000)], compress=compress)
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:-30])
    for _ in range(2):  # known or new, it stays cut
        assert run(["--workspace", str(tmp_path / "ws"), "ingest", "dump", str(cut), "--json"]) == 1
        printed = capsys.readouterr()
        (report,) = json.loads(printed.out)["files"]
        assert report["is_cut_short"]
        assert "Cut short" in printed.err
        assert report["n_malformed"] == 0
    workspace = open_workspace(tmp_path / "ws")
    assert table(workspace, COMMENTS).height == report["n_comments"] > 0
    ingest_dumps(workspace, [whole], ANY)
    assert table(workspace, COMMENTS).height == 3_000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.zst"], 1, "no file"),
        (["nothing"], 1, "a folder without files"),
        (["*.zst"], 1, "No file matches"),
        (["empty"], 1, "is empty"),
        (["binary"], 1, "not a dump"),
        (["empty", "binary"], 1, "None of 2 files is a dump: empty is empty. binary is not a dump"),
        (["good", "absent"], 1, "no file"),
        (["good", "--max-malformed-share", "2"], 2, "less than or equal to 1"),
        (["good", "--since", "yesterday"], 2, "2020-01-31"),
        (["good", "--since", "2020-01-02", "--until", "2020-01-01"], 2, "empty"),
        (["good", "--min-score", "many"], 2, "integer"),
        ([], 2, "FILE"),
    ],
)
def test_wrong_calls_create_nothing(tmp_path, make, capsys, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    make.file(tmp_path / "good", [make.comment(1)])
    (tmp_path / "empty").touch()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 9)
    assert run(["--workspace", "ws", "ingest", "dump", *arguments]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ws").exists()


def test_a_filter_that_matches_nothing_writes_no_row(workspace, tmp_path, make, capsys):
    path = make.file(tmp_path / "dump", [make.comment(n) for n in range(9)])
    assert run(["--workspace", str(workspace.root), "ingest", "dump", str(path), "--subreddit", "r/Emory"]) == 1
    printed = capsys.readouterr().err
    assert "No row of dump was kept. Rows read: 9; dropped: 9 other subreddit." in printed
    assert workspace.subreddits(COMMENTS) == []
    assert list((workspace.root / "staging").iterdir()) == []


def test_a_simultaneous_ingest_names_the_holder_of_the_lock(workspace, tmp_path, make):
    path = make.file(tmp_path / "dump", [make.comment(1)])
    with workspace.lock("ingest dump"), pytest.raises(LurkerError, match=f"process {os.getpid()}"):
        ingest_dumps(open_workspace(workspace.root), [path], ANY)


def test_no_name_of_an_author_reaches_a_table(workspace, tmp_path, make):
    rows = [make.post(author="ann_the_author"), make.comment(1, author="ann_the_author", body="hi u/ann_the_author")]
    ingest_dumps(workspace, [make.file(tmp_path / "dump", rows)], ANY)
    for path in workspace.root.rglob("*"):
        assert path.is_dir() or b"ann_the_author" not in path.read_bytes()
    for which in (POSTS, COMMENTS):
        assert "ann_the_author" not in table(workspace, which).write_json()


def test_a_slice_of_the_real_files(workspace, tmp_path, make, college):
    for name, n_lines in (("RS_college.zst", 500), ("RC_college.zst", 5_000)):
        with zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader((college / name).open("rb")) as reader:
            data = reader.read(8 << 20)
        lines = data.split(b"\n")[:n_lines]
        make.file(tmp_path / name, lines, compress=zstandard.ZstdCompressor().compress)
    reports = ingest_dumps(workspace, [tmp_path / "RS_college.zst", tmp_path / "RC_college.zst"], ANY).files
    assert [(report.n_rows, report.n_malformed) for report in reports] == [(500, 0), (5_000, 0)]
    comments, posts = table(workspace, COMMENTS), table(workspace, POSTS)
    assert comments.height == 5_000
    assert posts.height + reports[0].dropped.get("nsfw", 0) == 500
    assert 0 < comments["is_top_level"].mean() < 1
    assert comments["is_by_op"].sum() > 0
    assert posts["is_self"].all()
    assert table(workspace, OBSERVATIONS).height == comments.height + posts.height


@pytest.mark.parametrize(("gigabytes", "n_readers"), [(None, 4), (100, 4), (9, 3), (3, 1), (0.1, 1)])
def test_the_number_of_files_read_at_once_fits_the_memory(monkeypatch, gigabytes, n_readers):
    monkeypatch.setattr(read, "window_bytes", lambda path: 2 << 30)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    available = None if gigabytes is None else int(gigabytes * 1e9)
    assert read._n_readers([Path("RC_2020-01.zst")] * 9, available) == n_readers


def test_the_memory_of_this_machine_is_known():
    available = read._available_bytes()
    assert available is None or 1 << 20 < available < 1 << 50
