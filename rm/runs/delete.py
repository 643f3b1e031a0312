"""Delete runs: all that are named or none, and none that something else is built on, unless forced."""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lurker.arguments import as_list
from lurker.errors import CallError, LurkerError, nearest
from lurker.files import read_json
from lurker.report import ResultTable
from lurker.workspace import CACHE, Workspace
from rm.training.run_folder import unwritten_runs

CELLS = ("manifest.json", "cells.json")
"""In an experiment's folder: the files whose `cells` are the ids of its runs."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Runs, or policies, that were deleted, or would be."""

    rows: tuple[dict[str, Any], ...]
    """run (or policy), bytes and users: what is built on it"""
    is_dry: bool
    """whether nothing was deleted"""
    kind: Literal["run", "policy"] = "run"

    def table(self) -> ResultTable:
        """One row per run."""
        shown = [
            {self.kind: row[self.kind], "MB": row["bytes"] / 1e6, "used by": ", ".join(row["users"]) or "–"}
            for row in self.rows
        ]
        return ResultTable("Would be deleted" if self.is_dry else "Deleted", shown)

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        return {"is_dry_run": self.is_dry, "runs" if self.kind == "run" else "policies": list(self.rows)}


def delete_runs(
    workspace: Workspace, runs: Sequence[str] | str, *, force: bool = False, is_dry: bool = False
) -> Deletion:
    """Delete the folders of runs, finished or not.

    All folders leave their place by renames before the first byte is deleted; if one cannot, the others come back.

    Args:
        workspace: where they are.
        runs: ids.
        force: also runs that other runs or experiments are built on.
        is_dry: only say what would be deleted.

    Raises:
        CallError: there is no such run, or something is built on one and `force` is not set.
        LurkerError: a run is being written, or a folder cannot be moved.
    """
    names = list(dict.fromkeys(as_list(runs, "runs")))
    for name in names:
        if not workspace.folder("runs", name).is_dir():
            existing = nearest(name, workspace.names("runs", "config.json"))
            what = f"There is no run {name!r} in {workspace.root} (runs: {existing}). Nothing was deleted."
            raise CallError(what, "See `lurker rm list`.")
    users = run_users(workspace)
    rows = []
    for name in names:
        files = [path for path in workspace.folder("runs", name).rglob("*") if path.is_file()]
        others = [user for user in users.get(name, []) if user not in {f"run {one}" for one in names}]
        rows.append({"run": name, "bytes": sum(path.stat().st_size for path in files), "users": others})
    if not force and not is_dry and (used := [row for row in rows if row["users"]]):
        what = "; ".join(f"{row['run']} is used by {', '.join(row['users'])}" for row in used)
        raise CallError(f"{what}. Nothing was deleted.", "Delete those runs too, or add `--force`.")
    if not is_dry:
        with unwritten_runs(workspace, names):
            remove_folders([workspace.folder("runs", name) for name in names], workspace.root / CACHE)
    return Deletion(tuple(rows), is_dry)


def run_users(workspace: Workspace) -> dict[str, list[str]]:
    """What is built on each run: runs that start from it or average it, and experiments whose table has it."""
    users: dict[str, list[str]] = {}
    for name in workspace.names("runs", "config.json"):
        folder = workspace.folder("runs", name)
        described, result = _read(folder / "config.json"), _read(folder / "result.json")
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
    return users


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none or it is damaged."""
    try:
        content = read_json(path) if path.exists() else {}
    except LurkerError:
        return {}
    return content if isinstance(content, dict) else {}


def remove_folders(folders: Sequence[Path], cache: Path) -> None:
    """Move folders into one folder of the cache, all or none, then delete that; a kill leaves no half folder behind.

    Raises:
        LurkerError: a folder cannot be moved.
    """
    trash = cache / f"deleted-{uuid.uuid4().hex[:8]}"
    moved: list[tuple[Path, Path]] = []
    try:
        trash.mkdir(parents=True)
        for number, folder in enumerate(folders):
            place = trash / f"{number}-{folder.name}"
            folder.replace(place)
            moved.append((folder, place))
    except OSError as error:
        for before, place in moved:
            place.replace(before)
        raise LurkerError(f"Cannot move {folder}: {error.strerror or error}.", "Nothing was deleted.") from error
    shutil.rmtree(trash, ignore_errors=True)
