"""Transfer page: how well a model trained on one community works in another, and what it is worth in target pairs."""

from collections.abc import Sequence

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import documents, experiments, layout
from dashboard.parquet import version
from lurker import charts
from lurker.errors import LurkerError
from lurker.pair_sets import pair_set_names
from lurker.workspace import Workspace

HOW_TO = "lurker experiment transfer matched --model scratch-200k"
VIEWS = ("accuracy", "difference from in-domain")
MAP_NOTE = (
    "Each community's model ranks the same test pairs, whoever won them: the figure is Spearman's correlation of the "
    "margins. Communities stand in the order of a hierarchical clustering; distances in the plane are near "
    "√(2 − 2 correlation)."
)
FEW_SHOT_NOTE = (
    "All starts are tested on the same pairs. *nothing* is the model without any earlier training; validation pairs "
    "choose the best step and are bought too."
)


def render() -> None:
    """Draw one experiment: of sources and targets, or of starts tuned on few pairs."""
    workspace = layout.start_page("Transfer", "How well taste learned in one community transfers to another.")
    few_shot = experiments.experiment_names(workspace, "few-shot")
    names = sorted([*experiments.experiment_names(workspace, "transfer"), *few_shot])
    if not names:
        commands = [HOW_TO] if pair_set_names(workspace) else [layout.BUILD_PAIRS, HOW_TO]
        layout.show_missing("There is no finished transfer experiment yet.", commands)
        return
    columns = st.columns([4, 4, 5])
    name = layout.select_in_url(columns[0], "Experiment", names, "transfer_experiment")
    try:
        if name in few_shot:
            _few_shot(workspace, name)
        else:
            _sources_and_targets(workspace, name, columns[1:])
    except LurkerError as error:
        layout.show_errors([error])


def _sources_and_targets(workspace: Workspace, name: str, columns: Sequence[DeltaGenerator]) -> None:
    """Mean figures, the source × target heatmap, the map of communities, a table."""
    differences = experiments.experiment_file(workspace, name, "transfer-differences")
    matrix = experiments.transfer_matrix(
        version(experiments.experiment_file(workspace, name, "transfer")),
        version(differences) if differences.exists() else None,
    )
    found = documents.findings(workspace, name)
    if matrix.is_empty():
        layout.show_missing(f"The experiment {name!r} has no results yet.", [HOW_TO])
        return
    predictors = matrix["predictor"].unique(maintain_order=True).to_list()
    predictor = columns[0].selectbox("Predictor", predictors, key="transfer_predictor", bind="query-params")
    view = columns[1].segmented_control(
        "Cells show", VIEWS, default=VIEWS[0], required=True, key="transfer_view", bind="query-params"
    )
    if found is not None:
        st.markdown(f"**{layout.escape(found['sentence'])}**")
    shown = matrix.filter(pl.col("predictor") == predictor)
    _summary(shown)
    is_difference = view == VIEWS[1]
    if is_difference and shown["difference"].null_count() == shown.height:
        layout.show_missing("No source was also tested on itself, so there is nothing to compare with.", [HOW_TO])
    else:
        st.altair_chart(charts.transfer_heatmap(shown, difference=is_difference), width="stretch", key="heatmap")
    st.caption(_reading_note(shown, is_difference))
    if found is not None and found.get("map"):
        st.subheader("Map of communities")
        st.altair_chart(charts.community_map(found["map"]), width="content", key="community_map")
        st.caption(MAP_NOTE)
    _table(shown, name)


def _few_shot(workspace: Workspace, name: str) -> None:
    """The sentence, accuracy against target pairs by start, exchange rates, a table."""
    differences = experiments.few_shot_differences(
        version(experiments.experiment_file(workspace, name, "few-shot-differences"))
    )
    found = documents.findings(workspace, name)
    if found is not None:
        st.markdown(f"**{layout.escape(found['sentence'])}**")
    st.altair_chart(charts.few_shot_curves(differences), width="stretch", key="few_shot")
    st.caption(f"Bars are 95 % intervals over test posts, and over seeds if there are several. {FEW_SHOT_NOTE}")
    if found is not None and found.get("exchange"):
        rates = [{"this": one["what"], "is worth": one["words"]} for one in found["exchange"]]
        st.dataframe(pl.DataFrame(rates), width="stretch", hide_index=True)
    st.subheader("Table")
    st.dataframe(differences, width="stretch", hide_index=True)
    csv = differences.write_csv()
    st.download_button("Download CSV", csv, f"{name}.csv", "text/csv", icon=":material/download:")


def _summary(matrix: pl.DataFrame) -> None:
    """Show mean accuracy in-domain and out-of-domain, and the mean difference."""
    is_home = pl.col("source") == pl.col("target")
    home, away = matrix.filter(is_home), matrix.filter(~is_home)
    figures: list[tuple[str, pl.Series, str]] = [
        ("In-domain: the community trained on", home["accuracy"], "{:.3f}"),
        ("Out-of-domain: other communities", away["accuracy"], "{:.3f}"),
        ("Out-of-domain minus in-domain, in points", 100 * away["difference"].drop_nulls(), "{:+.1f}"),
    ]
    for column, (label, values, pattern) in zip(st.columns(3), figures, strict=True):
        mean = values.mean()
        column.metric(label, pattern.format(mean) if isinstance(mean, float) else "–", border=True)


def _reading_note(matrix: pl.DataFrame, is_difference: bool) -> str:
    trained, tested = layout.escape(matrix["pairs"][0]), layout.escape(matrix["test_pairs"][0])
    explanation = (
        "A cell is the accuracy minus that of the same predictor trained on the target community, in points, with its "
        "95 % interval: blue is better than in-domain, orange worse. Both are tested on the same pairs."
        if is_difference
        else f"A cell is the mean accuracy over seeds with its 95 % interval. {layout.INTERVAL_NOTE}"
    )
    return f"Trained on **{trained}**, tested on **{tested}**. {explanation}"


def _table(matrix: pl.DataFrame, name: str) -> None:
    st.subheader("Table")
    columns = {"accuracy": "accuracy", "accuracy_low": "95 % from", "accuracy_high": "to"}
    st.dataframe(
        matrix.drop("is_baseline", "pairs", "test_pairs"),
        width="stretch",
        hide_index=True,
        column_config={
            "source": "trained on",
            "target": "tested on",
            "n_train_pairs": st.column_config.NumberColumn("training pairs", format="localized"),
            "n_test_pairs": st.column_config.NumberColumn("test pairs", format="localized"),
            "n_seeds": "seeds",
            "difference": st.column_config.NumberColumn("from in-domain", format="%+.3f"),
            **{key: st.column_config.NumberColumn(title, format="%.3f") for key, title in columns.items()},
        },
    )
    csv = matrix.write_csv()
    st.download_button("Download CSV", csv, f"{name}-transfer.csv", "text/csv", icon=":material/download:")


if __name__ == "__main__":
    render()
