"""What an experiment returns: its table, the cells that failed, and how both are shown and reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lurker.decimals import interval
from lurker.errors import CallError, LurkerError
from lurker.files import read_object, write_json
from lurker.report import Displayed, ResultTable
from rm.experiments.config import Experiment

MANIFEST = "manifest.json"
"""In an experiment's folder, written last: an experiment that has it has a table."""
CELLS = "cells.json"
"""In an experiment's folder: the cells of the last call, written before the first runs, and those that failed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that could not be finished."""

    cell: str
    """run id"""
    error: str


@dataclass(frozen=True, slots=True, repr=False)
class ExperimentResult(Displayed):
    """The table of an experiment, over the cells that finished."""

    experiment: Experiment
    frame: pl.DataFrame
    """as written into the experiment's folder"""
    failures: tuple[Failure, ...]
    """cells that failed; the same call tries them again"""

    @property
    def sentence(self) -> str:
        """What may be claimed; empty if the experiment makes no claim."""
        return ""

    def result_tables(self) -> Sequence[ResultTable]:
        """The experiment's figures for people."""
        return [self.table()]

    def tables(self) -> Sequence[ResultTable]:
        """The experiment's figures, and the cells that failed."""
        return [*self.result_tables(), *([failure_table(self.failures)] if self.failures else [])]

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        failed = [{"cell": one.cell, "error": one.error} for one in self.failures]
        return {
            "experiment": self.experiment.name,
            "folder": str(self.experiment.folder),
            "rows": self.frame.to_dicts(),
            **({"failures": failed} if failed else {}),
        }


def require_same_experiment(experiment: Experiment, kind: str, **choices: Any) -> None:
    """Refuse to replace the table of an experiment by one of other choices, which is another experiment.

    Args:
        experiment: about to be run.
        kind: what it is.
        **choices: field of its config, or `test_pairs`, and the value now.

    Raises:
        CallError: there is a table of another kind, or with another value of a field.
    """
    file = experiment.folder / MANIFEST
    before = read_object(file) if file.exists() else {}
    fix = f"Keep both: add `--name OTHER`. Or remove it first: `lurker experiment delete {experiment.name}`."
    if before and before.get("kind") != kind:
        raise CallError(f"{experiment.name} is an experiment of another kind: {before.get('kind')}.", fix)
    known = {**before.get("config", {}), "test_pairs": before.get("test_pairs")} if before else {}
    for field, value in choices.items():
        if field in known and _listed(known[field]) != _listed(value):
            was, now = ("; ".join(_listed(one)) or "none" for one in (known[field], value))
            raise CallError(f"Experiment {experiment.name} has a table for {field}: {was}. This call has {now}.", fix)


def _listed(value: Any) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return sorted(map(str, values))


def failure_table(failures: Sequence[Failure]) -> ResultTable:
    """One row per failed cell."""
    rows = [{"cell": one.cell, "error": one.error} for one in failures]
    return ResultTable("Cells that failed", rows, "Run the same command to try them again.")


def record_cells(experiment: Experiment, run_ids: Sequence[str], failures: Sequence[Failure]) -> None:
    """Write what an unfinished experiment is told by: its cells, and those that failed."""
    failed = [{"cell": one.cell, "error": one.error} for one in failures]
    write_json({"cells": list(run_ids), "failures": failed}, experiment.folder / CELLS)


def require_finished(n_finished: int, failures: Sequence[Failure]) -> None:
    """Check that an experiment has anything to tabulate.

    Raises:
        LurkerError: every cell failed; the message has each error once.
    """
    if not n_finished and failures:
        first = failures[0]
        others = {one.error: one.cell for one in reversed(failures) if one.error != first.error}
        more = "".join(f"\n{cell}: {error}" for error, cell in reversed(others.items()))
        raise LurkerError(f"All {len(failures)} cells failed; the first, {first.cell}: {first.error}{more}")


def mean_accuracy(rows: pl.DataFrame) -> str:
    """Mean accuracy over seeds with the mean ends of its interval, as text."""
    if rows.is_empty():
        return "–"
    value, low, high = rows.select("accuracy", "accuracy_low", "accuracy_high").mean().row(0)
    return interval(value, low, high)
