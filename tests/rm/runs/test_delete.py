"""Runs are deleted all or none, and not from under what is built on them."""

import os
from pathlib import Path

import pytest

from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.files import write_json
from lurker.workspace import Workspace, open_workspace
from rm.runs.delete import delete_runs, run_users
from rm.training.run_folder import run_lock


@pytest.fixture
def runs(tmp_path: Path) -> Workspace:
    """Runs a, b, c and mean: b starts from a, mean averages b and c, and an experiment has c."""
    workspace = open_workspace(tmp_path / "w", create=True)
    for name in ("a", "b", "c", "mean"):
        folder = workspace.folder("runs", name)
        model = str(workspace.folder("runs", "a") / "model") if name == "b" else "scratch-10k"
        write_json({"model": model, "pairs": "p"}, folder / "config.json")
        write_json({"mean_of": ["b", "c"]} if name == "mean" else {}, folder / "result.json")
    write_json({"kind": "scaling", "cells": ["c"]}, workspace.folder("experiments", "grid") / "manifest.json")
    return workspace


def left(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in (workspace.root / "runs").iterdir())


def test_what_is_built_on_a_run_is_known(runs: Workspace) -> None:
    users = run_users(runs)
    assert (users["a"], users["b"], users["c"]) == (["run b"], ["run mean"], ["run mean", "experiment grid"])


def test_an_experiment_uses_its_cells_and_no_run_that_is_called_like_its_pairs(runs: Workspace) -> None:
    folder = runs.folder("experiments", "found")
    write_json({"kind": "search", "config": {"pairs": "a"}}, folder / "manifest.json")
    write_json({"cells": ["mean"], "failures": []}, folder / "cells.json")
    users = run_users(runs)
    assert (users["a"], users["mean"]) == (["run b"], ["experiment found"])


def test_a_run_in_use_is_refused_unless_its_users_go_too_or_by_force(runs: Workspace) -> None:
    with pytest.raises(CallError, match="a is used by run b"):
        delete_runs(runs, ["mean", "a"])
    with pytest.raises(CallError, match="experiment grid"):
        delete_runs(runs, ["mean", "b", "c"])
    assert delete_runs(runs, ["a", "b", "mean"], is_dry=True).rows[0]["users"] == []
    assert left(runs) == ["a", "b", "c", "mean"]
    delete_runs(runs, ["a", "b", "mean"])
    assert left(runs) == ["c"]
    delete_runs(runs, "c", force=True)
    assert left(runs) == [] and not list((runs.root / "cache").iterdir())


def test_a_run_that_is_written_or_cannot_be_moved_leaves_all_in_place(
    runs: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_lock(runs, "b", waits=False), pytest.raises(LurkerError, match=f"process {os.getpid()}"):
        delete_runs(runs, ["mean", "b"])
    move = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if path.name == "b" and path.parent.name == "runs":
            raise PermissionError(13, "Permission denied")
        return move(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(LurkerError, match="Permission denied"):
        delete_runs(runs, ["mean", "b"])
    assert left(runs) == ["a", "b", "c", "mean"]


def test_the_command_deletes_and_names_what_there_is(runs: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--workspace", str(runs.root), "rm", "delete"]
    assert run([*call, "mean", "--dry-run"]) == 0 and "Would be deleted" in capsys.readouterr().out
    assert run([*call, "mean", "nothing"]) == 2
    assert "no run 'nothing'" in capsys.readouterr().err and "mean" in left(runs)
    assert run([*call, "mean", "--json"]) == 0 and "mean" not in left(runs)


def test_a_policy_uses_its_judges(runs: Workspace) -> None:
    write_json({"judge": "a", "held_out": "c"}, runs.folder("policies", "agent") / "config.json")
    users = run_users(runs)
    assert "policy agent" in users["a"] and "policy agent" in users["c"]
