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
    MAX_REMARK_CHARS,
    MAX_REMARKS,
    Rater,
    Vote,
    add_rater,
    append_remark,
    append_vote,
    erase_remarks,
    find_rater,
    forget_rater,
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
    sent = [append_remark(workspace, f"n{n}", "tea", "r1", "i1", "x" * 5_000) for n in range(MAX_REMARKS)]
    assert sent == [True] * (MAX_REMARKS - 1) + [False]
    assert append_remark(workspace, "m2", "tea", "r2", "i1", "another rater may")
    assert max(map(len, read_remarks(workspace, "tea")["text"])) == MAX_REMARK_CHARS
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


def test_several_processes_interleave_without_loss(workspace: Workspace) -> None:
    root = Path(__file__).parents[3]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER.replace("1_000", "60"), str(workspace.root), f"r{number}"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        for number in range(4)
    ]
    for writer in writers:
        printed, _ = writer.communicate()
        assert writer.returncode == 0
        assert len(printed.split()) == 60
    by_rater = read_votes(workspace, "tea")["rater"].value_counts()
    assert sorted(by_rater.rows()) == [(f"r{number}", 60) for number in range(4)]


def test_a_forgotten_rater_leaves_nothing_in_the_file(workspace: Workspace) -> None:
    for rater in ("r1", "r2"):
        add_rater(workspace, Rater(rater, "tea", f"name of {rater}", False, None, 5))
        append_vote(workspace, vote(f"v-{rater}", rater=rater, address=f"address-{rater}"))
        append_remark(workspace, f"m-{rater}", "tea", rater, "i1", f"remark of {rater}")
        mark_rater(workspace, rater, "consented")
    undo_vote(workspace, "v-r1")
    erased = forget_rater(workspace, "r1")
    assert erased == {"undos": 1, "votes": 1, "remarks": 1, "rater_events": 1, "raters": 1}
    assert find_rater(workspace, "tea", "r1") is None
    assert read_votes(workspace, "tea")["rater"].to_list() == ["r2"]
    assert read_remarks(workspace, "tea")["text"].to_list() == ["remark of r2"]
    written = b"".join(path.read_bytes() for path in (workspace.root / "votes").iterdir())
    assert b"name of r2" in written
    assert not any(trace in written for trace in (b"name of r1", b"remark of r1", b"address-r1"))
    assert forget_rater(workspace, "r1")["votes"] == 0


def test_remarks_on_erased_texts_are_erased(workspace: Workspace) -> None:
    assert erase_remarks(workspace, "tea", ["i1"]) == 0  # there is no store yet
    append_remark(workspace, "m1", "tea", "r1", "i1", "it quotes the text")
    append_remark(workspace, "m2", "tea", "r1", "i2", "fine")
    assert erase_remarks(workspace, "tea", ["i1"]) == 1
    assert erase_remarks(workspace, "tea", ["i1"]) == 0
    assert read_remarks(workspace, "tea")["text"].to_list() == ["", "fine"]


def test_a_store_that_was_replaced_is_opened_again(workspace: Workspace) -> None:
    append_vote(workspace, vote("v1"))
    for path in (workspace.root / "votes").iterdir():
        path.unlink()
    assert read_votes(workspace, "tea").is_empty()
    assert append_vote(workspace, vote("v2"))
    assert read_votes(workspace, "tea")["vote_id"].to_list() == ["v2"]


def test_a_damaged_store_is_an_error_with_its_name(workspace: Workspace) -> None:
    (workspace.root / "votes").mkdir()
    (workspace.root / "votes" / "votes.sqlite").write_bytes(b"not a database at all, but long enough" * 50)
    with pytest.raises(LurkerError, match=r"votes\.sqlite"):
        append_vote(workspace, vote("v1"))
