"""Transfer: what a model trained on one community knows of another."""

import polars as pl
import streamlit as st

from dashboard import layout, queries
from lurker import charts
from lurker.errors import LurkerError
from lurker.pair_sets import pair_set_names

HOW_TO = "lurker experiment transfer matched --model scratch-200k"
VIEWS = ("accuracy", "difference from in-domain")


def render() -> None:
    """One experiment's source × target heatmap, what it says in a sentence, its table."""
    workspace = layout.begin("Transfer", "How taste learned in one community carries over to another.")
    names = queries.experiments(workspace, "transfer")
    if not names:
        commands = [HOW_TO] if pair_set_names(workspace) else [layout.BUILD_PAIRS, HOW_TO]
        layout.missing("No transfer experiment has finished yet.", commands)
        return
    first, second, third = st.columns([4, 4, 5])
    name = layout.choose(first, "Experiment", names, "transfer_experiment")
    try:
        matrix = queries.transfer_matrix(queries.version(queries.experiment_file(workspace, name, "transfer")))
    except LurkerError as error:
        layout.damaged([error])
        return
    if matrix.is_empty():
        layout.missing(f"The experiment {name!r} holds no cell yet.", [HOW_TO])
        return
    predictors = matrix["predictor"].unique(maintain_order=True).to_list()
    predictor = second.selectbox("Predictor", predictors, key="transfer_predictor", bind="query-params")
    view = third.segmented_control(
        "Cells show", VIEWS, default=VIEWS[0], required=True, key="transfer_view", bind="query-params"
    )
    shown = matrix.filter(pl.col("predictor") == predictor)
    _summary(shown)
    is_difference = view == VIEWS[1]
    if is_difference and shown["difference"].null_count() == shown.height:
        layout.missing("No source was also judged on itself, so there is nothing to compare with.", [HOW_TO])
    else:
        st.altair_chart(charts.transfer_heatmap(shown, difference=is_difference), width="stretch", key="heatmap")
    st.caption(_reading_note(shown, is_difference))
    _table(shown, name)


def _summary(matrix: pl.DataFrame) -> None:
    """Mean accuracy at home and away, and the mean loss, as figures."""
    is_home = pl.col("source") == pl.col("target")
    home, away = matrix.filter(is_home), matrix.filter(~is_home)
    figures: list[tuple[str, pl.Series, str]] = [
        ("At home: its own community", home["accuracy"], "{:.3f}"),
        ("Away: communities it never saw", away["accuracy"], "{:.3f}"),
        ("Away from home, difference in points", 100 * away["difference"].drop_nulls(), "{:+.1f}"),
    ]
    for column, (label, values, pattern) in zip(st.columns(3), figures, strict=True):
        mean = values.mean()
        column.metric(label, pattern.format(mean) if isinstance(mean, float) else "–", border=True)


def _reading_note(matrix: pl.DataFrame, is_difference: bool) -> str:
    trained, judged = layout.plain(matrix["pairs"][0]), layout.plain(matrix["test_pairs"][0])
    what = (
        "A cell is the accuracy minus that of the same predictor trained on the community it is judged on, in points: "
        "blue is better than at home, orange worse. Both are judged on the same test pairs."
        if is_difference
        else f"A cell is the mean accuracy over seeds and its 95 % interval. {layout.COIN_NOTE}"
    )
    return f"Trained on **{trained}**, judged on **{judged}**. {what}"


def _table(matrix: pl.DataFrame, name: str) -> None:
    st.subheader("Table")
    columns = {"accuracy": "accuracy", "accuracy_low": "95 % from", "accuracy_high": "to"}
    st.dataframe(
        matrix.drop("is_baseline", "pairs", "test_pairs"),
        width="stretch",
        hide_index=True,
        column_config={
            "source": "trained on",
            "target": "judged on",
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
