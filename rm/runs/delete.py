"""Delete runs, and know what is built on each: runs, experiments, and policies that learned from it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lurker.deletion import Deletion, Kind, delete_named
from lurker.errors import LurkerError
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.training.run_folder import unwritten_runs

CONFIG = "config.json"

CELLS = ("manifest.json", "cells.json")
"""In an experiment's folder: the files whose `cells` are the ids of its runs."""


def delete_runs(
    workspace: Workspace, runs: Sequence[str] | str, *, force: bool = False, is_dry: bool = False
) -> Deletion:
    """Delete the folders of runs, all that are named or none, finished or not.

    Args:
        workspace: where they are.
        runs: ids.
        force: also runs that other runs, policies or experiments are built on.
        is_dry: only say what would be deleted.

    Raises:
        CallError: there is no such run, or something is built on one and `force` is not set.
        LurkerError: a run is being written, or a folder cannot be moved.
    """
    kind = Kind("run", "runs", "lurker rm list", partial(workspace.folder, "runs"), partial(unwritten_runs, workspace))
    existing = workspace.names("runs", CONFIG)
    return delete_named(workspace, kind, runs, run_users(workspace), existing=existing, force=force, is_dry=is_dry)


def run_users(workspace: Workspace) -> dict[str, list[str]]:
    """What is built on each run: runs that start from it or average it, experiments with it, policies it judged."""
    users: dict[str, list[str]] = {}
    for name in workspace.names("runs", CONFIG):
        folder = workspace.folder("runs", name)
        described, result = _read(folder / CONFIG), _read(folder / "result.json")
        parents = {str(one.get("run")) for one in described.get("parents", ()) if isinstance(one, dict)}
        parents |= set(map(str, result.get("mean_of", ())))
        if (model := Path(str(described.get("model", "")))).name == "model":
            parents.add(model.parent.name)
        for parent in sorted(parents - {name}):
            users.setdefault(parent, []).append(f"run {name}")
    for experiment in workspace.names("experiments", "manifest.json"):
        folder = workspace.folder("experiments", experiment)
        cells = (_read(folder / file).get("cells") for file in CELLS)
        for run in sorted({str(cell) for listed in cells if isinstance(listed, list) for cell in listed}):
            users.setdefault(run, []).append(f"experiment {experiment}")
    for policy in workspace.names("policies", CONFIG):
        described = _read(workspace.folder("policies", policy) / CONFIG)
        for run in sorted({str(described[role]) for role in ("judge", "held_out") if described.get(role)}):
            users.setdefault(run, []).append(f"policy {policy}")
    return users


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none or it is damaged."""
    try:
        content = read_json(path) if path.exists() else {}
    except LurkerError:
        return {}
    return content if isinstance(content, dict) else {}
