"""Runs page: the learning curve of a run, drawn again while it trains."""

import streamlit as st

from dashboard import layout
from lurker import charts
from lurker.learning_curves import read_learning_curve
from lurker.listings import CONFIG, RESULT
from lurker.workspace import Workspace

HOW_TO = "lurker rm train balanced --model scratch-50k"
REDRAW_S = 3.0


def render() -> None:
    """Draw one run: its row of `lurker rm list`, losses and validation accuracy by step."""
    workspace = layout.open_page()
    layout.header("Runs", "How a model learned, or is learning.")
    newest = sorted(
        workspace.names("runs", CONFIG),
        key=lambda name: (workspace.folder("runs", name) / CONFIG).stat().st_mtime,
        reverse=True,
    )
    if not newest:
        layout.show_missing("There is no run yet.", [layout.BUILD_PAIRS, HOW_TO])
        return
    name = layout.select_in_url(st.columns([6, 6])[0], "Run", newest, "run")
    is_finished = (workspace.folder("runs", name) / RESULT).exists()
    st.fragment(_curve, run_every=None if is_finished else REDRAW_S)(workspace, name)


def _curve(workspace: Workspace, name: str) -> None:
    folder = workspace.folder("runs", name)
    curve = read_learning_curve(folder)
    state = "finished" if (folder / RESULT).exists() else "unfinished"
    st.caption(f"**{layout.escape(name)}** is {state}, {len(curve.steps):,} steps. `lurker rm show {name}`")
    if not curve.steps:
        layout.show_missing("It has no step yet.", [f"lurker rm show {name}"])
        return
    left, right = st.columns(2)
    left.altair_chart(charts.learning_losses(curve), width="stretch", key="losses")
    if any(row["validation_accuracy"] is not None for row in curve.rows()):
        right.altair_chart(charts.learning_accuracy(curve), width="stretch", key="accuracy")


if __name__ == "__main__":
    render()
