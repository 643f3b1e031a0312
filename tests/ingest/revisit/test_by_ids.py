"""Ids that were shared become texts again: from a Reddit and an archive on localhost, with one command."""

import json

import polars as pl
import pytest

from lurker.cli import run
from tests.ingest.archive_double import served
from tests.ingest.little_reddit import little_reddit
from tests.ingest.reddit_double import Server
from tests.ingest.reddit_faults import status


@pytest.fixture
def shared(tmp_path, make, capsys):
    """Rows of posts and comments, the pairs made of them, and the folder that shares the pairs as ids."""
    posts = [make.post(f"p{n}", author=f"asker{n}") for n in range(12)]
    comments = [make.comment(n, post=f"p{n % 12}", score=n * 7 % 23, edited=False) for n in range(240)]
    dump = make.file(tmp_path / "rows.ndjson", [*posts, *comments])
    first = ["--workspace", str(tmp_path / "first")]
    assert run([*first, "ingest", "dump", str(dump)]) == 0
    assert run([*first, "pairs", "build", "mine", "--recipe", "naive"]) == 0
    assert run([*first, "pairs", "export", "mine", "--format", "ids", "--out", str(tmp_path / "ids")]) == 0
    capsys.readouterr()
    return posts, comments, pl.read_parquet(tmp_path / "first/pairs/mine/pairs.parquet")


@pytest.fixture
def rehydrate(tmp_path, monkeypatch, credentials, fake_clock):
    """rehydrate(source) is `lurker pairs rehydrate --fetch source --json` into a workspace that is not there yet."""
    fake_clock.replace_clocks(monkeypatch)
    call = ["--workspace", str(tmp_path / "second"), "pairs", "rehydrate", str(tmp_path / "ids"), "--name", "again"]
    return lambda source: run([*call, "--fetch", source, "--json"])


def dropped(printed):
    ledger = json.loads(printed)["ledger"]["rehydrate"]
    return {line["reason"]: line["n"] for line in ledger["dropped"]}, ledger["kept"]


def n_with(pairs, ids):
    return pairs.filter(pl.col("chosen_id").is_in(ids) | pl.col("rejected_id").is_in(ids)).height


@pytest.fixture
def archive():
    with served() as double:
        yield double


def test_the_archive_restores_all_pairs(shared, rehydrate, archive, tmp_path, monkeypatch, capsys):
    archive.posts, archive.comments, pairs = shared
    monkeypatch.setenv("LURKER_ARCHIVE_URL", archive.url)
    assert rehydrate("archive") == 0
    printed = capsys.readouterr()
    assert dropped(printed.out) == ({}, pairs.height)
    again = pl.read_parquet(tmp_path / "second/pairs/again/pairs.parquet")
    assert again.sort("pair_id").equals(pairs.sort("pair_id"))
    assert not list((tmp_path / "second/staging").iterdir())


def test_items_that_reddit_no_longer_has_are_counted(shared, rehydrate, tmp_path, monkeypatch, capsys):
    posts, comments, pairs = shared
    used = pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique().sort().to_list()
    deleted, unknown, edited = used[0], used[1], used[2]
    world = little_reddit(n_posts=0)
    for row in posts:
        world.posts[row["id"]] = row
    for row in comments:
        body = {deleted: "[deleted]", edited: "Something else."}.get(row["id"], row["body"])
        if row["id"] != unknown:
            world.comments.setdefault(row["link_id"][3:], {})[row["id"]] = row | {"body": body}
    with Server(world) as server:
        monkeypatch.setenv("LURKER_REDDIT_URL", server.url)
        assert rehydrate("reddit") == 0
    printed = capsys.readouterr()
    reasons, n_kept = dropped(printed.out)
    assert reasons["response not ingested"] == n_with(pairs, [unknown])
    assert reasons["text deleted or removed"] == n_with(pairs, [unknown, deleted]) - n_with(pairs, [unknown])
    assert n_kept == pairs.height - n_with(pairs, [unknown, deleted, edited])
    assert "not known there" in printed.err


def test_a_failed_fetch_resumes(shared, rehydrate, archive, tmp_path, monkeypatch, capsys):
    archive.posts, archive.comments, pairs = shared
    n_items = pairs["post_id"].n_unique() + pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).n_unique()
    monkeypatch.setenv("LURKER_ARCHIVE_URL", archive.url)
    monkeypatch.setattr("ingest.revisit.by_ids.BATCH_IDS", 50)
    archive.faults = [None, None, *["500"] * 20]
    assert rehydrate("archive") == 1
    assert "again to resume" in capsys.readouterr().err
    n_calls = len(archive.calls)
    archive.faults = []
    assert rehydrate("archive") == 0
    assert len(archive.calls) - n_calls == -(-n_items // 50) - 1  # the first batch was kept


def test_refused_credentials_are_reported(shared, rehydrate, tmp_path, monkeypatch, capsys):
    with Server(little_reddit(n_posts=0), status(401)) as server:
        monkeypatch.setenv("LURKER_REDDIT_URL", server.url)
        assert rehydrate("reddit") == 1
    assert "refuses the credentials" in capsys.readouterr().err
    assert not (tmp_path / "second/pairs").exists()


@pytest.mark.parametrize(
    ("text", "words"), [("t1_abc\nabc\n", "'abc' in"), ("", "There are no ids"), (None, "Cannot read")]
)
def test_a_file_that_is_not_a_list_of_ids_is_rejected(tmp_path, capsys, text, words):
    path = tmp_path / "ids.txt"
    if text is not None:
        path.write_text(text)
    assert run(["--workspace", str(tmp_path / "ws"), "ingest", "ids", str(path), "--from", "archive"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "ws").exists()
