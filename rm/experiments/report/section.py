"""One experiment of a report: what it found, how it was made, on which data, runs and machines."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lurker.charts.figure import Figure
from lurker.decimals import accuracy_text
from lurker.errors import CallError, LurkerError
from lurker.files import read_object
from lurker.listings import list_pair_sets, model_in_short
from lurker.report import ResultTable
from lurker.workspace import Workspace
from rm.experiments.report.call import command
from rm.experiments.report.figures import figures
from rm.experiments.report.words import is_simulated, limits, method
from rm.experiments.results import failure_table
from rm.experiments.stored import Stored, open_experiment, report_damage
from rm.training.run_folder import MODEL, RESULT

ENVIRONMENT = ("processor", "device", "platform", "python", "torch", "transformers", "lurker")


@dataclass(frozen=True, slots=True)
class Section:
    """Everything that a report says about one experiment or policy."""

    name: str
    kind: str
    sentence: str
    """what may be claimed"""
    partial: str
    """what is missing; empty if nothing is"""
    problem: str
    """why it could not be read; then the rest is empty"""
    figures: Sequence[Figure] = ()
    tables: Sequence[ResultTable] = ()
    data: pl.DataFrame | None = None
    """the table that all figures come from"""
    method: Sequence[str] = ()
    limits: Sequence[str] = ()
    command: str = ""
    background: Sequence[ResultTable] = ()
    """pair sets, runs and machines"""
    of: Literal["experiment", "policy"] = "experiment"


def read_section(workspace: Workspace, name: str) -> Section:
    """The section of an experiment; one that is damaged has a `problem`.

    Raises:
        CallError: there is no experiment of this name.
    """
    try:
        stored = open_experiment(workspace, name)
        with report_damage(stored.experiment.folder):
            return make_section(stored)
    except CallError:
        raise
    except LurkerError as error:
        return Section(name, "", "", "", str(error))


def make_section(stored: Stored) -> Section:
    """The section of an experiment that was read."""
    result, workspace = stored.result, stored.experiment.workspace
    tables = [*result.result_tables()] if result else []
    if stored.failures:
        tables.append(failure_table(stored.failures))
    finished = [cell for cell in stored.cells if cell not in stored.waiting]
    runs = [run for cell in finished if (run := _run(workspace, cell))]
    background = [pair_sets(workspace, _sets(stored)), _runs(runs), machines(runs)]
    return Section(
        name=stored.name,
        kind=stored.kind,
        sentence=result.sentence if result else "",
        partial=stored.partial,
        problem="",
        figures=figures(result) if result else [],
        tables=tables,
        data=result.frame if result else None,
        method=method(stored),
        limits=limits(stored),
        command=f"{called}\nlurker experiment report {stored.name}" if (called := command(stored)) else "",
        background=[table for table in background if table.rows],
    )


def _sets(stored: Stored) -> set[str]:
    """Names of the pair sets that the experiment trained or tested on."""
    config = stored.manifest.get("config", {})
    names = [stored.manifest.get("pairs"), config.get("pairs"), stored.manifest.get("test_pairs")]
    names += stored.manifest.get("tests", [])
    return {one for name in names if name for one in ([name] if isinstance(name, str) else name)}


def pair_sets(workspace: Workspace, names: set[str]) -> ResultTable:
    """One row per pair set of these names that the workspace still has."""
    rows = [
        {
            "pair set": row["name"],
            "recipe": row["recipe"],
            "pairs": row["pairs"],
            "posts": row["posts"],
            "communities": ", ".join(f"r/{name}" for name in row["subreddits"]) or "–",
            "audit": row["audit"] or "not audited",
            "digest": row["digest"],
        }
        for row in list_pair_sets(workspace).rows
        if row["name"] in names
    ]
    note = "Simulated threads." if is_simulated(workspace) else ""
    return ResultTable("Pair sets", rows, note)


def _run(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """A finished run's result and environment; empty for a cell that leaves no run."""
    folder = workspace.folder("runs", run_id)
    if not (folder / RESULT).exists():
        return {}
    environment = folder / "env.json"
    facts = {"run_id": run_id, "environment": read_object(environment) if environment.exists() else {}}
    return read_object(folder / RESULT) | facts


def _runs(runs: Sequence[dict[str, Any]]) -> ResultTable:
    rows = []
    for run in runs:
        evaluated = [one for one in run.get("evaluations", []) if one.get("predictor") == MODEL]
        row = {"run": run["run_id"], "model": model_in_short(run.get("model")), "pairs": run.get("n_train_pairs")}
        row |= {"seed": run.get("seed"), "training time (s)": run.get("train_time_s")}
        for one in evaluated or [{}]:
            interval = accuracy_text(one) if one else None
            rows.append(row | {"tested on": one.get("pairs"), "accuracy": interval})
    return ResultTable("Runs", rows)


def machines(runs: Sequence[dict[str, Any]]) -> ResultTable:
    """One row per machine and software of runs, each with its `environment`."""
    kinds = Counter(tuple(str(run["environment"].get(name, "–")) for name in ENVIRONMENT) for run in runs)
    rows = [{"runs": n, **dict(zip(ENVIRONMENT, values, strict=True))} for values, n in kinds.most_common()]
    return ResultTable("Machines", rows)
