"""`lurker ingest reddit`: what it prints and returns, that its rows become pairs, and that no secret leaks."""

import json
import logging

import polars as pl
import pytest

from lurker.cli import run
from tests.ingest import reddit_faults as faults
from tests.ingest.little_reddit import TWO_SUBREDDITS, comments_of, little_reddit
from tests.ingest.reddit_double import CLIENT_SECRET, TOKEN, Server, kind_of


@pytest.fixture
def command(tmp_path, credentials, fake_clock, monkeypatch):
    """command(server, *arguments) is `lurker ingest reddit` against the double; its exit code."""
    fake_clock.replace_clocks(monkeypatch)

    def command(server, *arguments):
        monkeypatch.setenv("LURKER_REDDIT_URL", server.url)
        return run(["--workspace", str(tmp_path / "live"), "ingest", "reddit", *arguments])

    return command


def test_fetched_threads_become_pairs(command, tmp_path, capsys):
    world = little_reddit(n_posts=20, n_comments=16)
    with Server(world) as server:
        assert command(server, "r/college", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["subreddits"][0]["n_posts"] == 18
    assert found["next"].startswith("lurker pairs build")
    assert run(["--workspace", str(tmp_path / "live"), "pairs", "build", "first", "--recipe", "naive"]) == 0
    pairs = pl.read_parquet(tmp_path / "live" / "pairs" / "first" / "pairs.parquet")
    everything = comments_of(world)
    assert pairs.height > 20
    for row in pairs.iter_rows(named=True):
        chosen, rejected = everything[row["chosen_id"]], everything[row["rejected_id"]]
        assert chosen["score"] > rejected["score"]
        assert row["chosen"] == chosen["body"]
        assert row["prompt"].startswith(world.posts[row["post_id"]]["title"])


@pytest.mark.parametrize(
    ("listing", "options", "span"),
    [("new", [], None), ("hot", [], None), ("rising", [], None), ("top", ["--time", "week"], "week")],
)
def test_every_listing(command, listing, options, span):
    with Server(TWO_SUBREDDITS) as server:
        assert command(server, "college", "--listing", listing, *options, "--limit", "2", "--top-level-only") == 0
        (page,) = [entry for entry in server.log if kind_of(entry[2]) == "listing"]
        assert (page[2], page[3].get("t")) == (f"/r/college/{listing}", span)
        assert server.counts["tree"] == 2


def test_failures_are_printed_and_exit_1(command, capsys):
    world = little_reddit(("college", "closed"), n_posts=3, n_comments=5)
    world.closed |= {"closed": "private", world.listings["college"][0]: "missing"}
    with Server(world) as server:
        assert command(server, "college", "closed") == 1
    printed = capsys.readouterr()
    assert "not found (status 404)" in printed.out
    assert "Not read: r/closed (private (status 403)). Kept from the others: 2 posts" in printed.err
    with Server(world) as server:
        assert command(server, "college") == 0  # a deleted thread is no failure


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a/b"], "'a/b' is not a valid subreddit name"),
        (["college", "--limit", "0"], "greater than or equal to 1"),
        (["college", "--listing", "best"], "best"),
        (["college", "--reddit-url", "nowhere"], "http://"),
        ([], "SUBREDDIT"),
    ],
)
def test_a_wrong_call_is_reported_before_any_request(command, tmp_path, capsys, arguments, said):
    with Server(TWO_SUBREDDITS) as server:
        assert command(server, *arguments) == 2
        assert server.log == []
    assert said in capsys.readouterr().err
    assert not (tmp_path / "live").exists()


def test_missing_credentials_exit_2_and_say_what_to_set(command, monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("praw_client_secret")
    with Server(TWO_SUBREDDITS) as server:
        assert command(server, "college") == 2
    assert "praw_client_id and praw_client_secret" in capsys.readouterr().err
    assert not (tmp_path / "live").exists()


def texts_of(root):
    """All that is written below a folder, Parquet read as rows."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        yield str(pl.read_parquet(path).to_dicts()) if path.suffix == ".parquet" else path.read_bytes().decode()


@pytest.mark.parametrize("kind", [None, "tree", "token"])
@pytest.mark.parametrize("fault", [faults.status(401), faults.html])
def test_no_secret_is_printed_logged_or_written(command, tmp_path, capsys, caplog, monkeypatch, fault, kind):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("praw_username", "someone_responsible")
    monkeypatch.setenv("praw_password", "pa55word-of-tests")
    with Server(TWO_SUBREDDITS, faults.first(10**9 if kind else 1, fault, kind)) as server:
        code = command(server, "college")
        agents = {entry[4]["User-Agent"] for entry in server.log}
    printed = capsys.readouterr()
    said = [printed.out, printed.err, caplog.text, *texts_of(tmp_path / "live")]
    assert code in (0, 1)
    assert len(said) > 4
    for secret in (CLIENT_SECRET, TOKEN, "pa55word-of-tests"):
        assert not any(secret in text for text in said)
    assert all(":lurker:v" in agent and "someone_responsible" in agent for agent in agents)
