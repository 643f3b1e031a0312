"""Scaling page: accuracy against data, model size or time, and what the command concluded."""

from typing import Any

import polars as pl
import streamlit as st

from dashboard import claims, documents, experiments, layout
from dashboard.ceilings import ceiling_of
from dashboard.documents import ScalingFit
from dashboard.figures import show_figure
from dashboard.queries import version
from dashboard.tables import show_table
from lurker import charts
from lurker.charts.figure import Figure
from lurker.charts.look import largest
from lurker.charts.scaling import NAMES, SHORTCUTS
from lurker.decimals import counted, decimal
from lurker.errors import LurkerError
from lurker.pair_sets import pair_set_names
from lurker.seeds import mean_over_seeds, seeds_in_words
from lurker.workspace import Workspace

HOW_TO = "lurker experiment scaling balanced --models scratch-50k,scratch-200k --sizes 500,1000,2000,4000 --seeds 3"
AXES = {"data": "n_train_pairs", "model size": "n_parameters", "time": "train_time_s"}


def render() -> None:
    """Draw one experiment: the sentence, one chart, predictions against what came, and a table."""
    workspace = layout.open_page()
    names = experiments.experiment_names(workspace, "scaling")
    if not names:
        layout.header("How accuracy grows", "With data, with model size, with time")
        commands = [HOW_TO] if pair_set_names(workspace) else [layout.BUILD_PAIRS, HOW_TO]
        layout.show_missing("There is no finished scaling experiment yet.", commands)
        return
    head = st.container()
    left, right = st.columns([2, 3])
    name = layout.select_in_url(left, "Experiment", names, "scaling_experiment")
    axis = right.segmented_control(
        "Against", list(AXES), default="data", required=True, key="scaling_axis", bind="query-params"
    )
    try:
        file = version(experiments.experiment_file(workspace, name, "scaling"))
        curve = experiments.scaling_curve(file)
        cells = experiments.scaling_cells(file)
        fit = documents.scaling_fit(workspace, name)
    except LurkerError as error:
        with head:
            layout.header("How accuracy grows", name)
        layout.show_errors([error])
        return
    models = curve.filter(~pl.col("is_baseline"))
    if models.is_empty():
        with head:
            layout.header("How accuracy grows", name)
        layout.show_missing(f"The experiment {name!r} has no model yet.", [HOW_TO])
        return
    with head:
        layout.header("How accuracy grows", _subtitle(cells, models))
        if fit is not None:
            st.markdown(f"**{layout.escape(fit.sentence)}** {layout.escape(fit.left_out)}")
    _chart(workspace, name, cells, fit, str(axis))
    if fit is not None and not fit.figures.is_empty():
        _fitted(fit)
    _table(curve)


def _subtitle(cells: pl.DataFrame, models: pl.DataFrame) -> str:
    n, n_posts = cells.select(pl.col("n_test_pairs", "n_test_posts").max()).row(0)
    luck = seeds_in_words(models["n_seeds"])
    luck += ": intervals hold the test posts only" if luck == "1 seed" else ""
    trained, tested = cells["pairs"][0], cells["test_pairs"][0]
    return f"Trained on {trained}, tested on {tested} ({counted(n, 'pair')} of {counted(n_posts, 'post')}) · {luck}"


def _chart(workspace: Workspace, name: str, cells: pl.DataFrame, fit: ScalingFit | None, axis: str) -> None:
    curve = mean_over_seeds(cells)
    test = str(curve["test_pairs"][0])
    source = "the test posts" if seeds_in_words(curve["n_seeds"]) == "1 seed" else "the test posts and the seeds"
    note = f"Bands: 95 % intervals of {source}; hover a point for its figures, click it for its run."
    if axis == "model size":
        if curve["n_parameters"].drop_nulls().n_unique() < 2:
            st.info("Only one model size: add another with `--models`.")
            return
        figure = Figure(
            "by-size", test, "Accuracy against model size", _tested(curve), charts.accuracy_by_parameters(curve), note
        )
    else:
        drawn = None
        if fit is not None and not fit.curve.is_empty() and AXES[axis] in fit.curve.columns:
            drawn = charts.Fitted.of(fit.curve, fit.figures.to_dicts())
            note = " ".join([note, drawn.note, *claims.of_fit(drawn, curve)])
        chart = charts.accuracy_by_data(curve, _ceiling(workspace, test), drawn, AXES[axis], shortcuts=False)
        note += _shortcuts_in_words(curve)
        what = "training pairs" if axis == "data" else "training time, on the machines that trained them"
        figure = Figure(f"by-{axis}", test, f"Accuracy against {what}", _tested(curve), chart, note)
    show_figure(figure, name, curve, opens=lambda picked: _run_of(cells, picked))


def _run_of(cells: pl.DataFrame, picked: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
    """The page of the run behind a point, of its first seed."""
    of_point = (pl.col("predictor") == picked["predictor"]) & (pl.col("n_train_pairs") == picked["n_train_pairs"])
    runs = cells.filter(of_point & pl.col("run_id").is_not_null()).sort("seed")["run_id"]
    return ("views/runs.py", {"run": runs[0]}) if len(runs) else None


def _tested(curve: pl.DataFrame) -> str:
    return f"On {curve['test_pairs'][0]}, {int(largest(curve['n_test_pairs'])):,} pairs; the same pairs at every point"


def _ceiling(workspace: Workspace, test: str) -> charts.Ceiling | None:
    """What no model can exceed on the test pairs, if anything tells."""
    audits, _ = documents.read_each([test], lambda name: documents.audit(workspace, name))  # the page of data names it
    return ceiling_of(workspace, test, audits)


def _shortcuts_in_words(curve: pl.DataFrame) -> str:
    """The baselines that read no text, in place of lines along the bottom."""
    drawn = curve.filter(pl.col("predictor").is_in(SHORTCUTS))
    if drawn.is_empty():
        return ""
    last = drawn.sort("n_train_pairs").group_by("predictor", maintain_order=True).last()
    words = [f"{NAMES[row['predictor']]} {decimal(row['accuracy'])}" for row in last.iter_rows(named=True)]
    return f" Not drawn, as they read no text: {', '.join(words)}."


def _fitted(fit: ScalingFit) -> None:
    """Draw what the fit says: parameters, gains, and predictions of what was held out against what came."""
    with st.expander("The fitted curve: parameters, gains, and predictions against what came"):
        show_table(fit.figures)


def _table(curve: pl.DataFrame) -> None:
    """All points, without the columns that nothing was measured for."""
    titles = {"by_posts": "± posts", "by_seeds": "± seeds", "n_tokens": "tokens read"}
    with st.expander("As a table"):
        shown = curve.drop("test_pairs", "is_baseline").sort("predictor", "n_train_pairs")
        show_table(
            shown.select(name for name in shown.columns if shown[name].null_count() < shown.height),
            titles,
            {"train_time_s": st.column_config.NumberColumn("training (s)", format="%.1f")},
        )


if __name__ == "__main__":
    render()
