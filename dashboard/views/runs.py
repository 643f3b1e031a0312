"""Runs page: every run with its state, and one run's learning curve, drawn again while it trains."""

import time
from functools import partial

import polars as pl
import streamlit as st

from dashboard import layout
from dashboard.figures import show_figure
from dashboard.runs import (
    ACCURACY,
    Calibration,
    calibrations,
    changed,
    config_differences,
    over_seeds,
    run_rows,
    seconds_left,
    state,
)
from dashboard.tables import shortened, show_table
from lurker import charts
from lurker.charts.figure import Figure
from lurker.decimals import counted, decimal
from lurker.learning_curves import LearningCurve, read_learning_curve
from lurker.listings import RESULT
from lurker.workspace import Workspace

HOW_TO = "lurker rm train balanced --model scratch-50k"
REDRAW_S = 3.0
NOTHING = "no other run"
CHARACTERS = {"run": 22, "model": 18}
"""Shown of long names in the table, so that the figures beside them are seen on a page of 1,280 px."""


def render() -> None:
    """Draw the table of runs, then one of them: losses, accuracy, remaining time, and how its configuration differs."""
    workspace = layout.open_page()
    rows, problems = run_rows(workspace)
    if rows.is_empty():
        layout.header("Runs", "How models learned, or are learning.")
        layout.show_missing("There is no run yet.", [layout.BUILD_PAIRS, HOW_TO])
        return
    counts = dict(rows.group_by("state").len().iter_rows())
    states = [f"{counts[name]:,} {name}" for name in ("training", "stale", "finished", "broken") if name in counts]
    layout.header("Runs", " · ".join(states))
    for problem in problems:
        st.warning(layout.escape_with_code(problem), icon=":material/broken_image:")
    _table(rows)
    names = rows["run"].to_list()
    left, right = st.columns(2)
    name = layout.select_in_url(left, "Run", names, "run")
    other = right.selectbox("Its configuration against", [NOTHING, *(run for run in names if run != name)], key="other")
    is_finished = (workspace.folder("runs", name) / RESULT).exists()
    st.fragment(_curve, run_every=None if is_finished else REDRAW_S)(workspace, name)
    layout.guarded(name, _facts, workspace, name, str(other))


def _table(rows: pl.DataFrame) -> None:
    by_seed = st.toggle("A row for every seed", key="by_seed", bind="query-params")
    shown = rows if by_seed else over_seeds(rows)
    shown = shown.with_columns(changed=pl.from_epoch(pl.col("changed").cast(pl.Int64)))
    first = ["run", "state", "pairs", "model", "train_pairs", "seed" if by_seed else "n_seeds"]

    def choose() -> None:
        if chosen := st.session_state["runs_table"].selection.rows:
            st.session_state["run"] = shown["run"][chosen[0]]

    show_table(
        shown.select(*first, "tested_on", *ACCURACY, "losses", "changed").with_columns(
            pl.col(column).map_elements(partial(shortened, n_characters=most), return_dtype=pl.String)
            for column, most in CHARACTERS.items()
        ),
        {"pairs": "trained on", "train_pairs": "training pairs"},
        {
            "losses": st.column_config.LineChartColumn("loss", help="validation log loss by step", width=70),
            "changed": st.column_config.DatetimeColumn("changed (UTC)", format="YYYY-MM-DD HH:mm", width=128),
        },
        height=min(400, 38 + 35 * shown.height),
        key="runs_table",
        on_select=choose,
        selection_mode="single-row",
    )
    st.caption("Select a row to see its learning curve and its whole id.")


def _curve(workspace: Workspace, name: str) -> None:
    folder = workspace.folder("runs", name)
    curve = read_learning_curve(folder)
    now = "finished" if (folder / RESULT).exists() else state(folder, "unfinished")
    st.markdown(f"**{layout.escape(name)}** is {now}: {_progress(name, curve, now, changed(folder))}")
    if not curve.steps:
        layout.show_missing("It has no step yet.", [f"lurker rm show {name}"])
        return
    rows = pl.DataFrame(curve.rows(), infer_schema_length=None)
    losses = Figure(
        "losses", "validation", "Log loss by step", "Training and validation", charts.learning_losses(curve)
    )
    if rows.is_empty() or rows["validation_accuracy"].null_count() == rows.height:
        show_figure(losses, name, rows)
        return
    left, right = st.columns(2)
    with left:
        show_figure(losses, name, rows)
    with right:
        on = "On the validation pairs, which choose the best step"
        figure = Figure("accuracy", "validation", "Accuracy by step", on, charts.learning_accuracy(curve))
        show_figure(figure, name, rows)


def _progress(name: str, curve: LearningCurve, now: str, last_change: float) -> str:
    """Steps done, and the remaining time at the pace since the page was opened."""
    done, planned = len(curve.steps), curve.planned_steps
    words = counted(done, "step") if planned is None or now == "finished" else f"{done:,} of {counted(planned, 'step')}"
    if now == "stale":
        silence = layout.duration(int(time.time() - last_change))
        return f"{words}, no line for {silence}. Start it again with the same command to resume."
    if now != "training":
        return words
    looks: list[tuple[float, int]] = st.session_state.setdefault(f"looks-{name}", [])
    looks.append((time.time(), done))
    left = seconds_left(looks, planned)
    return words if left is None else f"{words}, about {layout.duration(int(left))} left at this pace"


def _facts(workspace: Workspace, name: str, other: str) -> None:
    found = calibrations(workspace, name)
    if found:
        _calibration(name, found)
    elif (workspace.folder("runs", name) / RESULT).exists():
        st.caption(f"Calibration and strata: `lurker rm diagnose {name}`.")
    if other != NOTHING:
        differing = config_differences(workspace, name, other)
        st.markdown(f"**The configurations differ in {counted(differing.height, 'field')}**")
        show_table(differing.rename({"first": name, "second": other}))


def _calibration(name: str, found: dict[str, Calibration]) -> None:
    """How often the run is right at each confidence, on the tests that it was diagnosed on."""
    left, _ = st.columns(2)
    test = layout.select_in_url(left, "Diagnosed on", list(found), "diagnosed_on")
    one = found[test]
    if not one.bins:
        st.caption("The diagnosis has no pair.")
        return
    n_pairs = int(sum(row["n_pairs"] for row in one.bins))
    on = f"{test}: {counted(n_pairs, 'pair')}; expected calibration error {decimal(one.expected_error)}"
    note = "Bins of equal numbers of pairs. Below the diagonal the model is surer than it is right. "
    chart = charts.calibration_curve(one.bins)
    with left:
        figure = Figure("calibration", test, "Right as often as it is sure?", on, chart, note + layout.INTERVAL_NOTE)
        show_figure(figure, name, pl.DataFrame(one.bins))


if __name__ == "__main__":
    render()
