"""A run as `lurker rm show` prints it: its accuracies once it is finished, and its learning curve at any time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lurker.errors import CallError, nearest
from lurker.learning_curves import LearningCurve, read_learning_curve
from lurker.progress import console
from lurker.report import ResultTable
from lurker.workspace import Workspace
from rm.runs.run import Evaluations
from rm.training.run_folder import RESULT

REDRAW_S = 1.0
"""Seconds between two looks at a run in training."""


@dataclass(frozen=True, slots=True)
class ShownRun:
    """What is known of a run."""

    run_id: str
    evaluations: Evaluations | None
    """None until the run is finished"""
    curve: LearningCurve

    def tables(self) -> Sequence[ResultTable]:
        """The accuracies, or that the run is unfinished."""
        if self.evaluations is not None:
            return [self.evaluations.table()]
        return [ResultTable(f"Run {self.run_id}: unfinished after {len(self.curve.steps):,} steps", [])]

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        rows = [] if self.evaluations is None else self.evaluations.frame.drop("run_id").to_dicts()
        state = "unfinished" if self.evaluations is None else "finished"
        return {"run_id": self.run_id, "state": state, "evaluations": rows, "curve": self.curve.rows()}


def show_run(workspace: Workspace, run_id: str) -> ShownRun:
    """What is known of a run, finished or in training.

    Raises:
        CallError: there is no such run; the message lists those that exist.
    """
    folder = workspace.folder("runs", run_id)
    if not (folder / "config.json").exists():
        existing = nearest(run_id, workspace.names("runs", "config.json"))
        raise CallError(f"There is no run {run_id!r} in {workspace.root} (runs: {existing}).", "See `lurker rm list`.")
    curve = read_learning_curve(folder)
    if not (folder / RESULT).exists():
        return ShownRun(run_id, None, curve)
    return ShownRun(run_id, Evaluations(run_id, pl.read_parquet(folder / "evaluations.parquet")), curve)


def follow_run(workspace: Workspace, run_id: str) -> ShownRun:
    """Draw the learning curve on stderr until the run is finished or Ctrl-C, then return what is known."""
    from rich.live import Live
    from rich.text import Text

    shown = show_run(workspace, run_id)
    with Live(Text(shown.curve.text()), console=console, auto_refresh=False, transient=True) as live:
        try:
            while shown.evaluations is None:
                time.sleep(REDRAW_S)
                shown = show_run(workspace, run_id)
                live.update(Text(shown.curve.text()), refresh=True)
        except KeyboardInterrupt:
            pass
    return shown
