"""kill -9 at random moments: whatever was killed, the same commands end in the tables of an undisturbed run.

Each case runs the real command in a process of its own. The small numbers run always, the large ones with
`pytest -m slow tests/ingest/test_kills.py`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import zstandard

from ingest.dump_files.read import ingest_dumps
from ingest.live_reddit.live import LiveConfig, ingest_reddit
from ingest.tables.normalize import RowFilters
from ingest.tables.staging import DROPPED_PREFIX
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, check
from lurker.workspace import open_workspace
from tests.ingest.archive_double import served
from tests.ingest.little_reddit import CREATED_UTC, little_reddit
from tests.ingest.reddit_double import CLIENT_ID, CLIENT_SECRET, Server

PROJECT = Path(__file__).parents[2]
TABLES = (POSTS, COMMENTS, OBSERVATIONS)
SMALL_BLOCKS = (
    "import sys; from ingest.dump_files import read\n"
    "blocks = read.blocks\n"
    "read.blocks = lambda path: blocks(path, block_bytes=200_000)\n"
    "read.HELD_BYTES = 500_000\n"
    "from lurker.cli import run; sys.exit(run(sys.argv[1:]))\n"
)
"""The command with small blocks and staged runs, so that a small file has many of them."""


def start(root, arguments):
    environment = os.environ | {"praw_client_id": CLIENT_ID, "praw_client_secret": CLIENT_SECRET}
    command = [sys.executable, "-c", SMALL_BLOCKS, "--workspace", str(root), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=PROJECT, env=environment, text=True, **pipes)


def finish(root, arguments):
    """Run to the end; seconds, and what was printed."""
    started = time.monotonic()
    child = start(root, arguments)
    out, err = child.communicate()
    assert child.returncode == 0, err
    return time.monotonic() - started, json.loads(out)


def tables(root, without=()):
    workspace = open_workspace(root)
    frames = [check(workspace.scan(table).collect(), table).sort(table.key) for table in TABLES]
    return [frame.drop("author_hash", *without, strict=False) for frame in frames]


def kill_at_random(make_root, arguments, n_kills, seed, is_done, check_end):
    """Kill the command `n_kills` times; whenever it got to its end, check what it left and start again.

    make_root: gives a new workspace. is_done: whether a killed run had ended but for its exit.
    """
    moments = random.Random(seed)
    takes_s, _ = finish(make_root(), arguments)
    root, n_killed, n_ended = make_root(), 0, 0
    while n_killed < n_kills:
        child = start(root, arguments)
        try:
            _, err = child.communicate(timeout=moments.uniform(0.15, 1.05) * takes_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            _, err = child.communicate()
        assert child.returncode in (0, -signal.SIGKILL), err
        n_killed += child.returncode != 0
        if child.returncode == 0 or is_done(root):
            n_ended += 1
            check_end(root)
            root = make_root()
    finish(root, arguments)
    check_end(root)
    return n_ended + 1


def survivors(printed):
    """Items that are left, by kind and subreddit."""
    left = Counter()
    for row in printed["survivorship"]:
        left[row["kind"], row["subreddit"]] += row["after"]
    return left


def staged(root):
    """Folders from which a next run would resume."""
    return [path for path in (root / "staging").glob("*") if not path.name.startswith(DROPPED_PREFIX)]


def assert_nothing_left_over(root):
    workspace = open_workspace(root)
    assert [path.name for path in root.rglob("*") if path.suffix in (".tmp", ".lines")] == []
    assert staged(root) == []
    for table in TABLES:
        assert len(list((root / table.name).rglob("*.parquet"))) == len(workspace.files(table))


def test_a_killed_run_leaves_no_author_name_on_disk(tmp_path, make):
    """Staged runs are written as they are in memory, where columns of text may share a buffer with the raw lines."""
    names = [f"An_Author_Of_Some_Length_{number}" for number in range(40)]
    rows = [make.post(author=names[0], selftext="Tell me, at some length.")]
    rows += [
        make.comment(number, author=name, body=f"{number}: a text of some length") for number, name in enumerate(names)
    ]
    broken = json.dumps(rows[1])[:-1].encode()
    path = make.file(tmp_path / "dump", [*rows, broken])
    killed = "import os; from ingest.dump_files import read; read.merge_staged = lambda *_: os._exit(9)\n"
    command = [sys.executable, "-c", killed + SMALL_BLOCKS.replace("500_000", "0"), "--workspace", str(tmp_path / "ws")]
    done = subprocess.run([*command, "ingest", "dump", str(path)], cwd=PROJECT, capture_output=True, check=False)
    assert done.returncode == 9, done.stderr
    files = [one for one in (tmp_path / "ws").rglob("*") if one.is_file()]
    assert [one for one in files if one.suffix == ".arrow"], "nothing was staged"
    found = {(name, one.name) for one in files for name in names if name.encode() in one.read_bytes()}
    assert found == set()


@pytest.fixture
def roots(tmp_path):
    """roots(template) gives a new workspace each time: none yet, or a copy."""
    n_made = 0

    def make(template=None):
        nonlocal n_made
        n_made += 1
        root = tmp_path / f"ws{n_made}"
        if template:
            shutil.copytree(template, root)
        return root

    return make


@pytest.mark.parametrize("n_kills", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_ingest_of_dumps(tmp_path, make, roots, n_kills):
    """Two files with a malformed line each, read side by side."""
    rows = [make.post(f"p{n}") for n in range(300)]
    rows += [make.comment(n, post=f"p{n % 300}", body="word " * (n % 60)) for n in range(20_000)]
    compress = zstandard.ZstdCompressor().compress
    first = make.file(tmp_path / "first.zst", [*rows[:9_000], b"{broken"], compress=compress)
    second = make.file(tmp_path / "second.zst", [b'{"id": ', *rows[8_000:]], compress=compress)
    arguments = ["ingest", "dump", str(first), str(second), "--json"]
    whole = roots()
    finish(whole, arguments)
    wanted = tables(whole)
    assert wanted[1].height == 20_000

    def check_end(root):
        _, printed = finish(root, arguments)
        assert all(report["was_ingested_before"] and report["n_malformed"] == 1 for report in printed["files"])
        assert len(list((root / "malformed").iterdir())) == 2
        assert all(left.equals(right) for left, right in zip(tables(root), wanted, strict=True))
        assert_nothing_left_over(root)

    def is_done(root):
        return len(list((root / "ingested").glob("*.json"))) == 2

    assert kill_at_random(roots, arguments, n_kills, 0, is_done, check_end) >= 1


def test_ctrl_c_says_how_to_resume(tmp_path, make, roots):
    rows = [make.comment(n, body="word " * 40) for n in range(60_000)]
    path = make.file(tmp_path / "dump.zst", rows, compress=zstandard.ZstdCompressor().compress)
    root, arguments = roots(), ["ingest", "dump", str(path), "--json"]
    child = start(root, arguments)
    while not list(root.glob("staging/*")):  # the work has begun
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert (child.returncode, out) == (130, "")
    assert "run the same command to resume" in err
    assert "Traceback" not in err
    _, printed = finish(root, arguments)
    assert printed["files"][0]["n_comments"] == 60_000 == tables(root)[1].height


@pytest.mark.slow
def test_live_ingest(roots):
    world = little_reddit(("college", "Emory"), n_posts=15, n_comments=60)
    n_comments = sum(map(len, world.comments.values()))
    with Server(world) as server:
        arguments = ["ingest", "reddit", "college", "emory", "--keep-nsfw", "--reddit-url", server.url, "--json"]
        whole = roots()
        finish(whole, arguments)
        wanted = tables(whole, ("retrieved_utc", "observed_utc"))

        def check_end(root):
            found = tables(root, ("retrieved_utc", "observed_utc"))
            assert found[1].height == n_comments
            assert all(left.equals(right) for left, right in zip(found, wanted, strict=True))  # one look an item
            assert_nothing_left_over(root)

        def is_done(root):
            is_merged = (root / "lurker.json").exists() and bool(open_workspace(root).subreddits(COMMENTS))
            return is_merged and not staged(root)

        assert kill_at_random(roots, arguments, 15, 1, is_done, check_end) >= 1


@pytest.mark.slow
def test_archive_ingest(roots, make):
    with served() as archive:
        archive.auto_rows = 400  # a call takes half a second
        archive.posts = [make.post(f"p{n}", created_utc=1_500_000_000 + 60 * n) for n in range(900)]
        archive.comments = [make.comment(n, f"p{n % 900}", created_utc=1_500_000_000 + 7 * n) for n in range(2_000)]
        arguments = ["ingest", "archive", "college", "--until", "2018-01-01", "--archive-url", archive.url, "--json"]
        whole = roots()
        finish(whole, arguments)
        wanted = tables(whole)
        assert wanted[1].height == 2_000

        def check_end(root):
            assert all(left.equals(right) for left, right in zip(tables(root), wanted, strict=True))
            assert_nothing_left_over(root)

        def is_done(root):
            is_merged = (root / "lurker.json").exists() and bool(open_workspace(root).subreddits(COMMENTS))
            return is_merged and not staged(root)

        assert kill_at_random(roots, arguments, 10, 2, is_done, check_end) >= 1


@pytest.mark.slow
def test_refresh_and_purge(roots, make_api, fake_clock, make, tmp_path):
    """Every item is looked at twice and no more, deleted texts are erased, and the survivors are counted right."""
    world = little_reddit(("college", "Emory"), n_posts=8, n_comments=120)
    everything = {name: one for tree in world.comments.values() for name, one in tree.items()}
    fake_clock.now_utc = CREATED_UTC + 20_000
    young = roots()
    with Server(world) as server:
        workspace = open_workspace(young, create=True)
        ingest_reddit(workspace, ["college", "emory"], LiveConfig(keep_nsfw=True), make_api(server))
        ingest_dumps(
            workspace, [make.file(tmp_path / "dump", [make.post(), make.comment(1), b"{broken"])], RowFilters()
        )
        for number, one in enumerate(everything.values()):
            one["score"] += 5
            if number % 9 == 0:
                one["body"] = "[deleted]"
        arguments = ["ingest", "refresh", "--purge", "--reddit-url", server.url, "--json"]
        whole = roots(young)
        _, printed = finish(whole, arguments)
        assert printed["n_gone"] == -(-len(everything) // 9)
        wanted = tables(whole, ("retrieved_utc", "observed_utc"))
        assert wanted[2].height == 2 * (len(everything) + len(world.posts)) + 2

        def check_end(root):
            _, again = finish(root, arguments)
            found = tables(root, ("retrieved_utc", "observed_utc"))
            assert all(left.equals(right) for left, right in zip(found, wanted, strict=True))
            assert set(found[1].filter(pl.col("is_deleted"))["body"]) <= {"", "[deleted]"}
            assert survivors(again) == survivors(printed)
            assert_nothing_left_over(root)
            assert '"text": ""' in next((root / "malformed").iterdir()).read_text()

        def is_done(root):
            unripe = tables(root)[1].filter(pl.col("retrieved_utc") < CREATED_UTC + 30_000, ~pl.col("is_deleted"))
            return unripe.filter(pl.col("source") == "reddit").is_empty() and not list((root / "staging").glob("*"))

        assert kill_at_random(lambda: roots(young), arguments, 20, 3, is_done, check_end) >= 1
