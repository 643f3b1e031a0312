"""Scaling page: accuracy against data size and model size."""

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import documents, experiments, layout
from dashboard.parquet import version
from lurker import charts
from lurker.errors import LurkerError
from lurker.pair_sets import pair_set_names
from lurker.workspace import Workspace

HOW_TO = "lurker experiment scaling matched --models scratch-50k,scratch-200k --sizes 500,1000,2000 --seeds 3"


def render() -> None:
    """Draw one experiment: filters, two charts, a table."""
    workspace = layout.start_page("Scaling", "How accuracy grows with data and model size.")
    names = experiments.experiment_names(workspace, "scaling")
    if not names:
        commands = [HOW_TO] if pair_set_names(workspace) else [layout.BUILD_PAIRS, HOW_TO]
        layout.show_missing("There is no finished scaling experiment yet.", commands)
        return
    left, right = st.columns([1, 3])
    name = layout.select_in_url(left, "Experiment", names, "scaling_experiment")
    try:
        file = version(experiments.experiment_file(workspace, name, "scaling"))
        curve = experiments.scaling_curve(file)
        cells = experiments.scaling_cells(file)
        fit = documents.scaling_fit(workspace, name)
    except LurkerError as error:
        layout.show_errors([error])
        return
    if curve.filter(~pl.col("is_baseline")).is_empty():
        layout.show_missing(f"The experiment {name!r} has no model yet.", [HOW_TO])
        return
    curve = _filter(curve, right)
    truth = _truth(workspace, curve)
    if curve.filter(~pl.col("is_baseline")).is_empty():
        st.info("Choose at least one model and one data size.")
        return
    if fit is not None:
        st.markdown(f"**{layout.escape(fit.sentence)}** {layout.escape(fit.left_out)}")
    left, right = st.columns(2, gap="large")
    by_data = charts.accuracy_by_data(curve, truth, None if fit is None else fit.curve)
    left.altair_chart(by_data, width="stretch", key="accuracy_by_data")
    right.altair_chart(charts.accuracy_by_parameters(curve), width="stretch", key="accuracy_by_parameters")
    st.caption(_reading_note(curve, cells, is_fitted=fit is not None and not fit.curve.is_empty()))
    _table(curve, name)


def _filter(curve: pl.DataFrame, column: DeltaGenerator) -> pl.DataFrame:
    """The rows of the models and data sizes that the reader selects."""
    models = curve.filter(~pl.col("is_baseline"))["predictor"].unique(maintain_order=True).to_list()
    sizes = [f"{n:,}" for n in sorted(curve.filter(~pl.col("is_baseline"))["n_train_pairs"].unique())]
    model_column, size_column = column.columns([6, 5])
    kept_models = model_column.pills(
        "Models", models, selection_mode="multi", default=models, key="scaling_models", bind="query-params"
    )
    kept_sizes = size_column.pills(
        "Training pairs", sizes, selection_mode="multi", default=sizes, key="scaling_sizes", bind="query-params"
    )
    n_pairs = [int(size.replace(",", "")) for size in kept_sizes]
    is_kept = pl.col("is_baseline") | pl.col("predictor").is_in(kept_models)
    return curve.filter(is_kept & pl.col("n_train_pairs").is_in(n_pairs))


def _truth(workspace: Workspace, curve: pl.DataFrame) -> float | None:
    """Accuracy of the simulator's truth on the test pairs, if it is known and the reader wants it drawn."""
    if curve.is_empty():
        return None
    try:
        truth = documents.audit(workspace, curve["test_pairs"][0]).truth
    except LurkerError:  # the audit page shows the error; here only the line is left out
        return None
    if truth is None:
        return None
    shown = st.toggle("Show the simulator's truth", value=True, key="scaling_truth", bind="query-params")
    return truth[0] if shown else None


def _reading_note(curve: pl.DataFrame, cells: pl.DataFrame, *, is_fitted: bool) -> str:
    test_pairs, train_pairs = layout.escape(cells["test_pairs"][0]), layout.escape(cells["pairs"][0])
    n_test_pairs, n_seeds = curve.select(pl.col("n_test_pairs", "n_seeds").max()).row(0)
    return (
        f"Trained on **{train_pairs}**, tested on **{test_pairs}** ({n_test_pairs:,} pairs). "
        f"Points are means over up to {n_seeds} seeds; bands are 95 % intervals of the test posts and the seeds, apart "
        "in the table. All seeds are tested on the same pairs, so more seeds narrow their own part only. Grey lines "
        "are baselines"
        f"{', dashed lines in the colour of a model its fitted curve' if is_fitted else ''}."
    )


def _table(curve: pl.DataFrame, name: str) -> None:
    st.subheader("Table")
    st.dataframe(
        curve.drop("test_pairs"),
        width="stretch",
        hide_index=True,
        column_config={
            "is_baseline": st.column_config.CheckboxColumn("baseline"),
            "n_parameters": st.column_config.NumberColumn("parameters", format="localized"),
            "n_train_pairs": st.column_config.NumberColumn("training pairs", format="localized"),
            "n_test_pairs": st.column_config.NumberColumn("test pairs", format="localized"),
            "n_seeds": st.column_config.NumberColumn("seeds"),
            "n_tokens": st.column_config.NumberColumn("tokens read", format="localized"),
            "train_time_s": st.column_config.NumberColumn("training (s)", format="%.1f"),
            **{
                column: st.column_config.NumberColumn(title, format="%.3f")
                for column, title in {
                    "accuracy": "accuracy",
                    "accuracy_low": "95 % from",
                    "accuracy_high": "to",
                    "by_posts": "± posts",
                    "by_seeds": "± seeds",
                    "lowest_seed": "lowest seed",
                    "highest_seed": "highest seed",
                }.items()
            },
        },
    )
    st.download_button("Download CSV", curve.write_csv(), f"{name}-scaling.csv", "text/csv", icon=":material/download:")


if __name__ == "__main__":
    render()
