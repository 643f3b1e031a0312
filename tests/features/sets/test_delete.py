"""Pair sets are deleted all or none, and not from under what is built on them."""

from pathlib import Path

import pytest

from features.sets.delete import delete_pair_sets
from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.files import write_json
from lurker.workspace import Workspace, open_workspace


@pytest.fixture
def sets(tmp_path: Path) -> Workspace:
    """Pair sets a, b and the hard test: a run was trained on a, a writer on b."""
    workspace = open_workspace(tmp_path / "w", create=True)
    for name in ("a", "b", "hard-test"):
        write_json({"recipe": {"name": name}}, workspace.folder("pairs", name) / "manifest.json")
    write_json({"pairs": "a"}, workspace.folder("runs", "first") / "config.json")
    write_json({"pairs": "b"}, workspace.folder("policies", "writer") / "config.json")
    return workspace


def left(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in (workspace.root / "pairs").iterdir())


def test_a_set_that_something_was_trained_on_is_refused_unless_forced(sets: Workspace) -> None:
    with pytest.raises(CallError, match="a is used by run first; b is used by policy writer"):
        delete_pair_sets(sets, ["a", "b"])
    with pytest.raises(CallError, match="hard-test is used by pair set a, pair set b"):
        delete_pair_sets(sets, "hard-test")
    assert left(sets) == ["a", "b", "hard-test"]
    delete_pair_sets(sets, ["a", "b"], force=True)
    delete_pair_sets(sets, "hard-test")  # nothing is built with it any more
    assert left(sets) == []


def test_nothing_is_deleted_while_pairs_are_built(sets: Workspace) -> None:
    with sets.lock("pairs build"), pytest.raises(LurkerError, match="pairs build"):
        delete_pair_sets(sets, "a", force=True)
    assert left(sets) == ["a", "b", "hard-test"]


def test_the_command_names_what_there_is(sets: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--workspace", str(sets.root), "pairs", "delete"]
    assert run([*call, "a", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "Would be deleted" in shown and "run first" in shown
    assert run([*call, "c"]) == 2
    assert "no pair set 'c'" in capsys.readouterr().err and left(sets) == ["a", "b", "hard-test"]
