"""How well a model trained on one community works in another, and what it is worth in target pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import documents, experiments, layout
from dashboard.figures import show_figure
from dashboard.queries import version
from dashboard.tables import show_table
from lurker import charts
from lurker.charts.figure import Figure
from lurker.errors import LurkerError
from lurker.pair_sets import pair_set_names
from lurker.workspace import Workspace

HOW_TO = "lurker experiment transfer balanced --model scratch-200k"
VIEWS = ("accuracy", "difference from in-domain")
MAP_NOTE = (
    "Each community's model ranks the same test pairs, whoever won them: the figure is Spearman's correlation of the "
    "margins. Communities stand in the order of a hierarchical clustering; distances in the plane are near "
    "√(2 − 2 correlation)."
)
CLICK_NOTE = " Click a cell to read the pairs that it was tested on."
MAP_PX = 400
FEW_SHOT_NOTE = (
    "Bars are 95 % intervals over test posts, and over seeds if there are several. All starts are tested on the same "
    "pairs. “nothing” is the model without any earlier training; validation pairs choose the best step and are bought "
    "too."
)


def has_any(workspace: Workspace) -> bool:
    """Whether an experiment tested models in other communities."""
    names = experiments.experiment_names(workspace, "transfer") or experiments.experiment_names(workspace, "few-shot")
    return bool(names)


def show(workspace: Workspace) -> None:
    """Draw one experiment: of sources and targets, or of starts tuned on few pairs."""
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
    """What the command found, the source × target heatmap, the map of communities, a table."""
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
    is_difference = view == VIEWS[1]
    if is_difference and shown["difference_low"].null_count() == shown.height:
        has_home = shown["difference"].null_count() < shown.height
        why = (
            "These differences have no interval, so none is shown: an earlier version wrote them."
            if has_home
            else "No source was also tested on itself, so there is nothing to compare with."
        )
        layout.show_missing(why, [f"lurker experiment transfer {matrix['pairs'][0]} --model MODEL"])
    else:
        _heatmap(name, shown, is_difference=is_difference)
    if found is not None and found.get("map"):
        _map(name, shown["test_pairs"][0], found["map"])
    _table(shown)


def _heatmap(name: str, shown: pl.DataFrame, *, is_difference: bool) -> None:
    trained, tested = shown["pairs"][0], shown["test_pairs"][0]
    on = f"{shown['predictor'][0]} trained on {trained} and tested on {tested}, by community"
    if is_difference:
        title = "Accuracy gained or lost by training elsewhere"
        note = "A cell: accuracy minus that of the same model trained on the target, on the same pairs, and its "
        note += "95 % interval: blue is better than in-domain, orange worse."
    else:
        title = "Accuracy across communities"
        note = f"A cell: the mean accuracy over seeds with its 95 % interval. {layout.INTERVAL_NOTE}"
    chart = charts.transfer_heatmap(shown, difference=is_difference)
    stem = "transfer-difference" if is_difference else "transfer"
    figure = Figure(stem, tested, title, on, chart, note + CLICK_NOTE, height_px=42 * shown["source"].n_unique())

    def opens(picked: dict[str, Any]) -> tuple[str, dict[str, str]]:
        return "views/read.py", {"pairs": tested, "subreddit": picked["target"]}

    show_figure(figure, name, shown, opens)


def _map(name: str, tested: str, found: Mapping[str, Any]) -> None:
    """How alike the communities' models rank, as a heatmap and as distances."""
    st.subheader("Map of communities", anchor=False)
    on = f"Models of {len(found['positions'])} communities on {tested}"
    with st.container(key="map"):
        left, right = st.columns(2, gap="medium")
    with left:
        chart = charts.community_correlations(found).properties(height=MAP_PX)
        cells = pl.DataFrame(found["correlations"])
        show_figure(Figure("community-map", tested, "Rank correlation of the models", on, chart), name, cells)
    with right:
        chart = charts.community_plane(found).properties(width=MAP_PX, height=MAP_PX)  # distances: not stretched
        far = f"{100 * found['shown']:.0f} % of squared distances shown"
        figure = Figure("community-plane", tested, "Near: models that rank alike", far, chart)
        show_figure(figure, name, pl.DataFrame(found["positions"]))
    st.caption(layout.escape(MAP_NOTE))


def _few_shot(workspace: Workspace, name: str) -> None:
    """The sentence, accuracy against target pairs by start, exchange rates, a table."""
    differences = experiments.few_shot_differences(
        version(experiments.experiment_file(workspace, name, "few-shot-differences"))
    )
    found = documents.findings(workspace, name)
    if found is not None:
        st.markdown(f"**{layout.escape(found['sentence'])}**")
    chart, on = charts.few_shot_curves(differences), "By what was learned before"
    figure = Figure("few-shot", "target", "What pairs of the target buy", on, chart, FEW_SHOT_NOTE)
    show_figure(figure, name, differences)
    if found is not None and found.get("exchange"):
        rates = [{"this": one["what"], "is worth": one["words"]} for one in found["exchange"]]
        show_table(rates)
    with st.expander("As a table"):
        show_table(differences.drop("is_baseline"))


def _table(matrix: pl.DataFrame) -> None:
    titles = {"source": "trained on", "target": "tested on", "difference": "from in-domain"}
    with st.expander("As a table"):
        show_table(matrix.drop("is_baseline", "pairs", "test_pairs"), titles)
