"""The same model trained on each pair set and tested on the same pairs and, if known, the truth."""

from typing import Any

import polars as pl
import streamlit as st

from dashboard import experiments, layout
from dashboard.figures import show_figure
from dashboard.queries import version
from dashboard.tables import show_table
from lurker import charts
from lurker.charts.figure import Figure
from lurker.comparison import told_apart
from lurker.decimals import p_value
from lurker.errors import LurkerError
from lurker.seeds import seeds_in_words
from lurker.workspace import Workspace

HOW_TO = "lurker experiment recipes naive matched balanced --models tfidf"
BUILD = ("lurker pairs build naive --recipe naive", "lurker pairs build balanced --recipe balanced")
ALL = "all"
CLICK_NOTE = "Click a dot to open the audit of its training pairs."


def has_any(workspace: Workspace) -> bool:
    """Whether an experiment compared recipes."""
    return bool(experiments.experiment_names(workspace, "recipes"))


def show(workspace: Workspace) -> None:
    """Draw one experiment: what is told apart, accuracy on one test, correlations of the reward, the figures."""
    names = experiments.experiment_names(workspace, "recipes")
    if not names:
        layout.show_missing("There is no finished comparison of recipes yet.", [*BUILD, HOW_TO])
        return
    first, second, third, fourth = st.columns(4)
    name = layout.select_in_url(first, "Experiment", names, "recipes_experiment")
    try:
        file, other = (experiments.experiment_file(workspace, name, table) for table in ("recipes", "differences"))
        figures = experiments.recipe_figures(version(file))
        differences = experiments.recipe_differences(version(other))
    except LurkerError as error:
        layout.show_errors([error])
        return
    models = figures.filter(~pl.col("is_baseline"))
    if models.is_empty():
        layout.show_missing(f"The experiment {name!r} has no model yet.", [HOW_TO])
        return
    predictors = models["predictor"].unique(maintain_order=True).to_list()
    predictor = second.selectbox("Model", predictors, key="recipes_model", bind="query-params")
    of_model = pl.col("predictor") == predictor
    sizes = {_size(size): size for size in models.filter(of_model)["max_pairs"].unique(maintain_order=True)}
    size = third.selectbox("Most training pairs", list(sizes), key="recipes_size", bind="query-params")
    tests = models["measured_on"].unique(maintain_order=True).to_list()
    test = str(fourth.selectbox("Tested on", tests, key="recipes_test", bind="query-params"))
    of_size = pl.col("max_pairs").eq_missing(sizes[size])
    shown = figures.filter((of_model & of_size) | pl.col("is_baseline"))
    paired = differences.filter(of_model & of_size)
    for sentence in _sentences(paired, test):
        st.markdown(f"**{layout.escape(sentence)}**")
    _charts(name, shown, str(predictor), test)
    _differences(paired)
    _table(shown)


def _size(size: int | None) -> str:
    return ALL if size is None else f"{size:,}"


def _sentences(paired: pl.DataFrame, test: str) -> list[str]:
    """One sentence per set compared with the reference, on all pairs of the test."""
    told = paired.filter(
        (pl.col("measure") == "accuracy") & (pl.col("measured_on") == test) & (pl.col("part") == "all")
    )
    return [
        told_apart(row["reference"], row["pairs"], (row["difference"], row["low"], row["high"]), f" on {test}")
        for row in told.iter_rows(named=True)
    ]


def _charts(name: str, shown: pl.DataFrame, predictor: str, test: str) -> None:
    models = shown.filter(~pl.col("is_baseline"))
    counts = models.select("pairs", "n_train_pairs").unique(maintain_order=True).iter_rows()
    trained = ", ".join(f"{pairs} {n:,}" for pairs, n in counts)
    seeds = seeds_in_words(models["n_seeds"])
    sets = models["pairs"].unique().to_list()

    def opens(picked: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
        return ("views/data.py", {"set": picked["row"]}) if picked["row"] in sets else None

    on_test = shown.filter((pl.col("measured_on") == test) & (pl.col("measure") == "accuracy"))
    show_figure(
        Figure(
            f"accuracy-{predictor}",
            test,
            f"Accuracy on {test}",
            f"{predictor}; training pairs: {trained}; {seeds}",
            charts.recipe_accuracy(shown, test),
            f"{layout.INTERVAL_NOTE} {CLICK_NOTE}",
        ),
        name,
        on_test,
        opens,
    )
    if (models["measure"] == "accuracy").all():
        st.info("The true quality of these responses is unknown, as on any real Reddit: only the tests can decide.")
        return
    show_figure(
        Figure(
            f"correlations-{predictor}",
            "truth",
            "What the reward follows, within posts",
            f"Spearman correlation of {predictor}'s reward",
            charts.recipe_correlations(shown),
            "A reward that correlates with length or delay among responses of equal quality uses a shortcut. "
            + CLICK_NOTE,
        ),
        name,
        models.filter(pl.col("measure") != "accuracy"),
        opens,
    )


def _differences(differences: pl.DataFrame) -> None:
    if differences.is_empty():
        return
    st.subheader(f"{layout.escape(differences['reference'][0])} minus the others, on the same pairs")
    show_table(
        differences.drop("reference", "predictor", "max_pairs").with_columns(
            pl.col("mcnemar_p").map_elements(p_value, return_dtype=pl.String)
        ),
        {"pairs": "compared with", "measured_on": "tested on"},
        {"mcnemar_p": st.column_config.TextColumn("McNemar p", alignment="right")},
    )
    st.caption("For length and delay, differences of absolute values: below 0 is better.")


def _table(figures: pl.DataFrame) -> None:
    titles = {"pairs": "trained on", "max_pairs": "most pairs", "n": "tested", "measured_on": "tested on"}
    with st.expander("All figures as a table"):
        show_table(figures.drop("is_baseline"), titles | {"value": "figure", "standard_error": "s.e."})
