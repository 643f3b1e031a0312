"""The experiments of a workspace, one row each; only manifests and lists of cells are read, so it is quick."""

from datetime import UTC, datetime
from typing import Any

from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.listings import Listing
from lurker.workspace import Workspace
from rm.experiments.config import Experiment
from rm.experiments.results import CELLS, MANIFEST
from rm.experiments.stored import experiment_names, read_cells, read_failures, report_damage

Row = dict[str, Any]


def list_experiments(workspace: Workspace) -> Listing:
    """The experiments by name: kind, pair sets, cells of the last call, and when it last wrote; unfinished ones too."""
    rows = [_row(Experiment(workspace, name)) for name in experiment_names(workspace)]
    hint = "None yet. Make one: `lurker experiment scaling NAME --models SPEC,SPEC --sizes N,N`."
    return Listing(f"Experiments in {workspace.root}", rows, _shown, hint)


def _row(experiment: Experiment) -> Row:
    """One experiment; kind and pairs are null until it has a table, and whatever could not be read."""
    row: Row = {"experiment": experiment.name, "kind": None, "pairs": [], "cells": None, "finished_cells": None}
    row |= {"failed_cells": None, "has_table": False, "written": None, "problem": None}
    file = experiment.folder / MANIFEST
    manifest: dict[str, Any] = {}
    try:
        with report_damage(file):
            if file.exists():
                manifest = read_object(file)
                trained = manifest.get("pairs") or manifest["config"]["pairs"]
                pairs = [trained] if isinstance(trained, str) else list(trained)
                row |= {"has_table": True, "kind": manifest["kind"], "pairs": pairs}
        cells, waiting = read_cells(experiment, manifest)
        row |= {"cells": len(cells), "finished_cells": len(cells) - len(waiting)}
        row |= {"failed_cells": len(read_failures(experiment))}
        times = [path.stat().st_mtime for path in (file, experiment.folder / CELLS) if path.exists()]
        row["written"] = datetime.fromtimestamp(max(times), UTC).isoformat(timespec="minutes")
    except LurkerError as error:
        row["problem"] = str(error)
    return row


def _shown(row: Row) -> Row:
    failed = f", {row['failed_cells']:,} failed" if row["failed_cells"] else ""
    has_cells = row["cells"]  # a ceiling has none
    return {
        "experiment": row["experiment"],
        "kind": row["kind"],
        "pairs": ", ".join(row["pairs"]),
        "cells finished": f"{row['finished_cells']:,} of {row['cells']:,}{failed}" if has_cells else None,
        "table": "yes" if row["has_table"] else "no",
        "written (UTC)": (row["written"] or "")[:16].replace("T", " ") or None,
    }
