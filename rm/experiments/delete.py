"""Delete experiments, and if wanted their runs, as far as nothing else is built on these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lurker.arguments import as_list
from lurker.deletion import folder_bytes, remove_folders
from lurker.errors import CallError, nearest
from lurker.files import read_json
from lurker.report import ResultTable
from lurker.workspace import CACHE, Workspace
from rm.experiments.results import CELLS, MANIFEST
from rm.experiments.stored import experiment_names
from rm.runs.delete import run_users
from rm.training.run_folder import unwritten_runs


@dataclass(frozen=True, slots=True)
class ExperimentDeletion:
    """Experiments that were deleted, or would be."""

    rows: tuple[dict[str, Any], ...]
    """experiment, bytes, runs: those that go with it; kept: those that stay"""
    is_dry: bool
    """whether nothing was deleted"""

    def table(self) -> ResultTable:
        """One row per experiment."""
        shown = [
            {
                "experiment": row["experiment"],
                "MB": row["bytes"] / 1e6,
                "runs deleted": len(row["runs"]),
                "runs kept": len(row["kept"]),
            }
            for row in self.rows
        ]
        has_kept = any(row["kept"] for row in self.rows)
        note = "Runs stay unless `--runs` is given, and those that something else is built on stay in any case."
        return ResultTable("Would be deleted" if self.is_dry else "Deleted", shown, note if has_kept else "")

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        return {"is_dry_run": self.is_dry, "experiments": list(self.rows)}


def delete_experiments(
    workspace: Workspace, names: Sequence[str] | str, *, with_runs: bool = False, is_dry: bool = False
) -> ExperimentDeletion:
    """Delete the folders of experiments, all or none, finished or not.

    Args:
        workspace: where they are.
        names: of the experiments.
        with_runs: also delete their runs, except those that other runs or experiments are built on.
        is_dry: only say what would be deleted.

    Raises:
        CallError: there is no such experiment.
        LurkerError: a run of one is being written, or a folder cannot be moved.
    """
    wanted = list(dict.fromkeys(as_list(names, "names")))
    existing = experiment_names(workspace)
    for name in wanted:
        if name not in existing:
            raise CallError(
                f"There is no experiment {name!r} in {workspace.root} (it has: {nearest(name, existing)}). Nothing was "
                "deleted.",
                "`lurker experiment list` lists all.",
            )
    cells = {name: _cells(workspace, name) for name in wanted}
    own = {run for runs in cells.values() for run in runs}
    going = _deletable(workspace, own, wanted) if with_runs else set()
    rows = []
    for name in wanted:
        gone = sorted(going & set(cells[name]))
        folders = [workspace.folder("experiments", name), *(workspace.folder("runs", run) for run in gone)]
        kept = sorted(set(cells[name]) - going)
        rows.append({"experiment": name, "bytes": sum(map(folder_bytes, folders)), "runs": gone, "kept": kept})
    if not is_dry:
        with unwritten_runs(workspace, sorted(own)):
            experiments = [workspace.folder("experiments", name) for name in wanted]
            runs = [workspace.folder("runs", run) for run in sorted(going)]
            remove_folders([*experiments, *runs], workspace.root / CACHE)
    return ExperimentDeletion(tuple(rows), is_dry)


def _cells(workspace: Workspace, name: str) -> list[str]:
    """The runs of an experiment that exist."""
    listed: dict[str, None] = {}
    for file in (MANIFEST, CELLS):
        path = workspace.folder("experiments", name) / file
        content = read_json(path) if path.exists() else {}
        listed |= dict.fromkeys(map(str, content.get("cells", ())))
    return [run for run in listed if workspace.folder("runs", run).is_dir()]


def _deletable(workspace: Workspace, runs: set[str], experiments: Sequence[str]) -> set[str]:
    """The runs that nothing is built on which stays."""
    users = run_users(workspace)
    going = set(runs)
    while True:
        leaving = {f"run {run}" for run in going} | {f"experiment {name}" for name in experiments}
        staying = {run for run in going if set(users.get(run, ())) - leaving}
        if not staying:
            return going
        going -= staying
