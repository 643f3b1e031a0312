"""Recipes page: the same model trained on each pair set and tested on the same pairs and, if known, the truth."""

import polars as pl
import streamlit as st

from dashboard import experiments, layout
from dashboard.parquet import version
from lurker import charts
from lurker.errors import LurkerError

HOW_TO = "lurker experiment recipes naive matched balanced --models tfidf"
BUILD = ("lurker pairs build naive --recipe naive", "lurker pairs build balanced --recipe balanced")
ALL = "all"


def render() -> None:
    """Draw one experiment: accuracy on one test, correlations of the reward, differences, figures as a table."""
    workspace = layout.start_page("Recipes", "Which pairs teach taste, and which teach a shortcut?")
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
    test = fourth.selectbox("Tested on", tests, key="recipes_test", bind="query-params")
    of_size = pl.col("max_pairs").eq_missing(sizes[size])
    shown = figures.filter((of_model & of_size) | pl.col("is_baseline"))
    left, right = st.columns(2, gap="large")
    left.altair_chart(charts.recipe_accuracy(shown, test), width="stretch", key="recipe_accuracy")
    if (shown["measure"] != "accuracy").any():
        right.altair_chart(charts.recipe_correlations(shown), width="stretch", key="recipe_correlations")
    else:
        right.info("The true quality of these responses is unknown, as on any real Reddit: only the tests can decide.")
    st.caption(_reading_note(shown.filter(~pl.col("is_baseline"))))
    _differences(differences.filter(of_model & of_size))
    _table(shown, name)


def _size(size: int | None) -> str:
    return ALL if size is None else f"{size:,}"


def _reading_note(shown: pl.DataFrame) -> str:
    counts = shown.select("pairs", "n_train_pairs").unique(maintain_order=True).iter_rows()
    trained = ", ".join(f"{layout.escape(pairs)} {n:,}" for pairs, n in counts)
    n_seeds = shown.select(pl.col("n_seeds").max()).item()
    return (
        f"Training pairs: {trained}. Means over up to {n_seeds} seeds and of their intervals. {layout.INTERVAL_NOTE} A "
        "reward that correlates with length or delay among responses of equal quality uses a shortcut."
    )


def _differences(differences: pl.DataFrame) -> None:
    if differences.is_empty():
        return
    st.subheader(f"{differences['reference'][0]} minus the others")
    st.dataframe(
        differences.drop("reference", "predictor", "max_pairs"),
        width="stretch",
        hide_index=True,
        column_config={
            "pairs": "compared with",
            "measured_on": "tested on",
            **{
                key: st.column_config.NumberColumn(title, format="%+.3f")
                for key, title in {"difference": "difference", "low": "95 % from", "high": "to"}.items()
            },
            "mcnemar_p": st.column_config.NumberColumn("McNemar p", format="%.3g"),
        },
    )
    st.caption("On the same pairs and posts. For length and delay, differences of absolute values: below 0 is better.")


def _table(figures: pl.DataFrame, name: str) -> None:
    st.subheader("Table")
    titles = {"value": "figure", "low": "95 % from", "high": "to", "standard_error": "s.e."}
    st.dataframe(
        figures.drop("is_baseline"),
        width="stretch",
        hide_index=True,
        column_config={
            "pairs": "trained on",
            "max_pairs": st.column_config.NumberColumn("most pairs", format="localized"),
            "n_train_pairs": st.column_config.NumberColumn("training pairs", format="localized"),
            "measured_on": "tested on",
            "n": st.column_config.NumberColumn("tested", format="localized"),
            "n_posts": st.column_config.NumberColumn("posts", format="localized"),
            "n_seeds": "seeds",
            **{key: st.column_config.NumberColumn(title, format="%.3f") for key, title in titles.items()},
        },
    )
    csv = figures.write_csv()
    st.download_button("Download CSV", csv, f"{name}-recipes.csv", "text/csv", icon=":material/download:")


if __name__ == "__main__":
    render()
