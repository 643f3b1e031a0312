"""Sorted runs: any number of them, cut into any number of ranges, merge to the same rows."""

import random
from itertools import pairwise

import polars as pl
import pytest

from ingest.dump_files.read import ingest_dumps
from ingest.tables import merge, sorted_runs
from ingest.tables.normalize import RowFilters
from ingest.tables.sorted_runs import FIRST_KEY, in_order, key_ranges, limit_runs, read_run, rows_between, write_run
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, check
from lurker.workspace import open_workspace

SUBREDDITS = ("college", "Emory", "emory", "xmas", "Zebra")


def looks(n, start=0):
    """Rows of observations of items that lie in several subreddits, some seen twice."""
    numbers = range(start, start + n)
    columns = {
        "item_id": [f"i{number * 7919 % 10_007:05d}" for number in numbers],
        "kind": ["comment"] * n,
        "subreddit": [SUBREDDITS[number % len(SUBREDDITS)] for number in numbers],
        "observed_utc": [number % 3 for number in numbers],
        "score": list(numbers),
        "is_controversial": [(None, True, False)[number % 3] for number in numbers],
    }
    return pl.DataFrame(columns, schema=OBSERVATIONS.schema)


@pytest.mark.parametrize("longest", [7, 8, 13])
def test_rows_sort_like_texts_whatever_ids_are(longest):
    """Ids with NUL, other letters, and of every length, with ties: integers stand for up to 7 bytes, no more."""
    draw = random.Random(longest)
    ids = ["".join(draw.choices("ab\0é", k=draw.randrange(4)))[:3] for _ in range(2_000)] + ["z" * longest]
    rows = looks(len(ids)).with_columns(item_id=pl.Series(ids), score=pl.Series(range(len(ids))))
    expected = sorted(
        rows.rows(named=True), key=lambda row: (row["subreddit"].lower(), row["item_id"].encode(), row["observed_utc"])
    )
    assert in_order(pl.concat([rows[:700], rows[700:]]), OBSERVATIONS).rows(named=True) == expected


@pytest.mark.parametrize("n_wanted", [1, 2, 7, 40])
def test_ranges_cover_every_row_once_in_order(tmp_path, n_wanted):
    paths = [tmp_path / f"{number}.arrow" for number in range(5)]
    for number, path in enumerate(paths):
        write_run(looks(400, 400 * number), OBSERVATIONS, path)
    spans = key_ranges(paths, OBSERVATIONS, n_wanted)
    assert spans[0][0] == FIRST_KEY
    assert spans[-1][1] is None
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert n_wanted / 2 < len(spans) <= n_wanted
    parts = [pl.concat([rows_between(path, OBSERVATIONS, *span) for path in paths]) for span in spans]
    merged = pl.concat([in_order(part, OBSERVATIONS) for part in parts])
    assert merged.equals(in_order(looks(2_000), OBSERVATIONS))
    assert max(part.height for part in parts) < 3 * 2_000 / len(spans)


@pytest.mark.parametrize("n_runs", [3, 4, 5, 17, 65])
def test_too_many_runs_are_merged_into_fewer_with_the_same_rows(tmp_path, monkeypatch, n_runs):
    """A most of four at once: 65 runs need four rounds."""
    monkeypatch.setattr(sorted_runs, "MAX_RUNS", 4)
    paths = [tmp_path / f"{number:03d}.arrow" for number in range(n_runs)]
    for number, path in enumerate(paths):
        write_run(looks(40, 40 * number), OBSERVATIONS, path)
    few = limit_runs(paths, OBSERVATIONS, tmp_path / "scratch", memory_bytes=4_000)
    assert len(few) <= 4
    assert (few == paths) == (n_runs <= 4)
    rows = [read_run(path) for path in few]
    assert all(part.equals(in_order(part, OBSERVATIONS)) for part in rows)
    assert in_order(pl.concat(rows), OBSERVATIONS).equals(in_order(looks(40 * n_runs), OBSERVATIONS))


def test_more_runs_than_are_merged_at_once(tmp_path):
    """At its real size: 300 runs of three subreddits."""
    paths = [tmp_path / f"{number:03d}.arrow" for number in range(300)]
    for number, path in enumerate(paths):
        write_run(looks(20, 20 * number), OBSERVATIONS, path)
    few = limit_runs(paths, OBSERVATIONS, tmp_path / "scratch", memory_bytes=merge.RANGE_BYTES)
    assert len(few) == 2
    assert in_order(pl.concat(map(read_run, few)), OBSERVATIONS).equals(in_order(looks(6_000), OBSERVATIONS))


def tables(workspace):
    frames = [check(workspace.scan(table).collect(), table) for table in (POSTS, COMMENTS, OBSERVATIONS)]
    return [frame.drop("author_hash", strict=False) for frame in frames]


def test_merging_many_ranges_and_runs_equals_merging_one(tmp_path, make, monkeypatch):
    """Rows in threads, a thread over several blocks; half of the items come again with a newer look."""
    rows = [make.post(f"p{n}", subreddit=SUBREDDITS[n % 5], author=f"asker_{n}") for n in range(60)]
    fields = {"subreddit": "college", "body": "word " * 9}
    for n in range(6_000):
        post = n * 7 % 60
        rows.append(make.comment(n, f"p{post}", **{**fields, "subreddit": SUBREDDITS[post % 5]}))
    old = make.file(tmp_path / "old", rows)
    again = [{**row, "score": 77, "retrieved_on": 1_700_000_000} for row in rows[::2]]
    new = make.file(tmp_path / "new", again)
    whole = open_workspace(tmp_path / "whole", create=True)
    cut = open_workspace(tmp_path / "cut", create=True)
    for path in (old, new):
        ingest_dumps(whole, [path], RowFilters())
    assert len(whole.files(COMMENTS)) == 4
    monkeypatch.setattr(sorted_runs, "MAX_RUNS", 3)
    monkeypatch.setattr(merge, "RANGE_BYTES", 40_000)
    monkeypatch.setattr(merge, "MIN_RANGE_BYTES", 1)
    monkeypatch.setattr("ingest.dump_files.read.blocks", small_blocks)
    monkeypatch.setattr("ingest.dump_files.read.HELD_BYTES", 0)
    for path in (old, new):
        ingest_dumps(cut, [path], RowFilters())
    assert len(cut.files(COMMENTS)) > 12
    for one, other in zip(tables(whole), tables(cut), strict=True):
        assert one.equals(other)
    assert set(tables(cut)[1]["score"]) == {0, 1, 2, 3, 4, 77}
    threads = cut.scan(COMMENTS).collect()
    assert in_order(threads, COMMENTS).equals(threads)  # files in their manifest's order: a thread lies together


def small_blocks(path):
    from ingest.dump_files.blocks import blocks

    return blocks(path, block_bytes=60_000)


def test_many_small_ingests_leave_few_files(tmp_path, make):
    """Every ingest merges what is there: fifteen of them leave a file a subreddit and table, not fifteen."""
    workspace = open_workspace(tmp_path / "ws", create=True)
    ingest_dumps(workspace, [make.file(tmp_path / "posts", [make.post()])], RowFilters())
    for number in range(15):
        ingest_dumps(workspace, [make.file(tmp_path / f"dump{number}", [make.comment(number)])], RowFilters())
    assert workspace.scan(COMMENTS).collect().height == 15
    for table in (POSTS, COMMENTS, OBSERVATIONS):
        assert len(list((workspace.root / table.name).rglob("*.parquet"))) == len(workspace.files(table)) == 1
