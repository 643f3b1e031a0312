"""Votes: durable before the call returns, counted once, and none lost when many write at once."""

import dataclasses
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lurker.errors import LurkerError
from lurker.votes.store import (
    Rater,
    Vote,
    add_rater,
    append_remark,
    append_vote,
    find_rater,
    mark_rater,
    read_raters,
    read_remarks,
    read_votes,
    undo_vote,
    votes_of,
)
from lurker.workspace import Workspace, open_workspace


def vote(vote_id: str, **changes: object) -> Vote:
    first = Vote(vote_id, "tea", "r1", "i1", "x", "y", "a", "main", 0, "better", "random", 0.5, 2, 900, None, 100, 101)
    return dataclasses.replace(first, **changes)  # type: ignore[arg-type]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace", create=True)


def test_a_vote_sent_twice_counts_once_and_an_undo_is_a_mark(workspace: Workspace) -> None:
    assert append_vote(workspace, vote("v1"))
    assert not append_vote(workspace, vote("v1", choice="b"))
    assert append_vote(workspace, vote("v2", choice="level"))
    assert undo_vote(workspace, "v2")
    assert not undo_vote(workspace, "v2")
    assert not undo_vote(workspace, "unknown")
    frame = read_votes(workspace, "tea")
    assert frame["choice"].to_list() == ["a", "level"]
    assert frame["undone_utc"].is_null().to_list() == [True, False]
    assert [one.is_standing for one in votes_of(workspace, "tea", "r1")] == [True, False]
    assert read_votes(workspace, "coffee").is_empty()


def test_raters_reach_what_was_marked(workspace: Workspace) -> None:
    assert find_rater(workspace, "tea", "r1") is None
    add_rater(workspace, Rater("r1", "tea", "Ada'); DROP TABLE votes; --", True, None, 5))
    mark_rater(workspace, "r1", "consented")
    mark_rater(workspace, "r1", "consented")
    mark_rater(workspace, "r1", "revoked")
    rater = find_rater(workspace, "tea", "r1")
    assert rater is not None
    assert rater.is_held_out
    assert rater.consented_utc is not None
    assert rater.revoked_utc is not None
    assert rater.qualified_utc is None
    append_remark(workspace, "m1", "tea", "r1", "i1", "both are jokes 🙂")
    assert read_remarks(workspace, "tea")["text"].to_list() == ["both are jokes 🙂"]
    assert read_raters(workspace, "tea")["name"].to_list() == ["Ada'); DROP TABLE votes; --"]


WRITER = """
import sys
from pathlib import Path
from lurker.workspace import Workspace
from tests.lurker.votes.test_store import vote
from lurker.votes.store import append_vote
workspace, who = Workspace(Path(sys.argv[1])), sys.argv[2]
for number in range(1_000):
    append_vote(workspace, vote(f"{who}-{number}", rater=who))
    print(number, flush=True)
"""


def test_a_killed_server_loses_no_vote_that_was_confirmed(workspace: Workspace) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(workspace.root), "r1"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    confirmed = -1
    for line in process.stdout:
        confirmed = int(line)
        if confirmed == 20:
            process.send_signal(signal.SIGKILL)
    process.wait()
    assert 20 <= confirmed < 999
    assert {f"r1-{number}" for number in range(confirmed + 1)} <= set(read_votes(workspace, "tea")["vote_id"])


def test_fifty_writers_interleave_without_loss(workspace: Workspace) -> None:
    def write(rater: int) -> None:
        for number in range(4):
            append_vote(workspace, vote(f"{rater}-{number}", rater=f"r{rater}"))
            append_vote(workspace, vote(f"{rater}-{number}", rater=f"r{rater}"))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(write, range(50)))
    frame = read_votes(workspace, "tea")
    assert frame.height == 200
    assert frame["rater"].value_counts()["count"].unique().to_list() == [4]


def test_a_damaged_store_is_an_error_with_its_name(workspace: Workspace) -> None:
    (workspace.root / "votes").mkdir()
    (workspace.root / "votes" / "votes.sqlite").write_bytes(b"not a database at all, but long enough" * 50)
    with pytest.raises(LurkerError, match=r"votes\.sqlite"):
        append_vote(workspace, vote("v1"))
