"""The same model trained on each recipe's pairs: its accuracies, and what its reward correlates with."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from lurker.charts.look import (
    RULE_PX,
    TEXT,
    HorizontalAxis,
    colours,
    largest,
    layered,
    marker,
    selects,
    shapes,
    share_axis,
    smallest,
)
from lurker.decimals import decimal

PARTS = {
    "all": "all pairs",
    "better is shorter": "the better response is shorter",
    "better is later": "the better response is later",
}
MEASURES = {"quality": "true quality", "length": "length, at fixed quality", "delay": "delay, at fixed quality"}
ALONE = {"length": "length alone", "time": "time alone"}
ROW_PX = 20
LEGEND_ROW_PX = 30
LABEL_ROOM = 0.16
"""Room for the figures right of the intervals, as a share of the axis."""


def recipe_figures(cells: pl.DataFrame) -> pl.DataFrame:
    """Average a RECIPES table over seeds: one row per figure, in the table's order."""
    keys = ["pairs", "recipe", "predictor", "is_baseline", "max_pairs", "n_train_pairs"]
    keys += ["measure", "measured_on", "part"]
    return cells.group_by(keys, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n_seeds"),
        pl.col("value", "low", "high", "standard_error").mean(),
        pl.col("n", "n_posts").max(),
    )


def recipe_accuracy(figures: pl.DataFrame, test: str) -> alt.LayerChart:
    """Accuracy on one test by training set, its parts side by side, with 95 % intervals.

    Args:
        figures: as returned by `recipe_figures`, of one predictor and size, and of the baselines. Only the baselines
            length and time are drawn, once each, as they do not depend on the training set.
        test: pair set tested on, or "truth".
    """
    first = figures["pairs"].first()
    is_alone = pl.col("predictor").is_in(list(ALONE)) & (pl.col("pairs") == first)
    shown = figures.filter(
        (pl.col("measured_on") == test) & (pl.col("measure") == "accuracy") & (~pl.col("is_baseline") | is_alone)
    ).with_columns(
        row=pl.when("is_baseline").then(pl.col("predictor").replace(ALONE)).otherwise("pairs"),
        series=pl.col("part").replace(PARTS),
    )
    shown = shown.sort("is_baseline", maintain_order=True)
    low, high = min(0.47, smallest(shown["low"]) - 0.01), max(0.55, largest(shown["high"]))
    high += LABEL_ROOM * (high - low)
    axis = _axis("accuracy (0.5 is chance)", low, min(1.02, high))
    return _forest(shown, axis, 0.5, "tested on").properties(title=f"Accuracy on {test}")


def recipe_correlations(figures: pl.DataFrame) -> alt.LayerChart:
    """Correlation of the reward with quality, length and delay within posts, by training set.

    A good reward correlates with quality and not with the others.

    Args:
        figures: as returned by `recipe_figures`, of one predictor and size.
    """
    shown = figures.filter((pl.col("measure") != "accuracy") & ~pl.col("is_baseline")).with_columns(
        row="pairs", series=pl.col("measure").replace(MEASURES)
    )
    axis = _axis("Spearman correlation", min(-0.1, smallest(shown["low"]) - 0.02), 1.0)
    return _forest(shown, axis, 0.0, "correlation with").properties(
        title="What the reward correlates with, within posts"
    )


def _axis(title: str, low: float, high: float) -> HorizontalAxis:
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    return lambda column: alt.X(f"{column}:Q", title=title, scale=scale, axis=share_axis(tickCount=8))


def _forest(shown: pl.DataFrame, axis: HorizontalAxis, zero: float, legend: str) -> alt.LayerChart:
    """Points with intervals: one row per training set, one colour and shape per series.

    Args:
        shown: columns row, series, value, low, high, n_train_pairs, n.
        zero: where the marker line is.
        legend: title of the series.
    """
    shown = shown.with_columns(label=pl.col("value").map_elements(decimal, return_dtype=pl.String))
    rows = shown["row"].unique(maintain_order=True).to_list()
    series: Sequence[str] = shown["series"].unique(maintain_order=True).to_list()
    base = alt.Chart(shown).encode(
        y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelFontSize=13, labelLimit=200)),
        yOffset=alt.YOffset("series:N", sort=series, scale=alt.Scale(domain=series, paddingOuter=0.6)),
        color=alt.Color("series:N", title=legend, scale=colours(series), legend=alt.Legend(orient="top", columns=1)),
    )
    tooltips = [
        alt.Tooltip("row:N", title="trained on"),
        alt.Tooltip("series:N", title=legend),
        alt.Tooltip("value:Q", format=".3f"),
        alt.Tooltip("low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
        alt.Tooltip("n_train_pairs:Q", title="training pairs", format=","),
        alt.Tooltip("n:Q", title="pairs or responses tested", format=","),
    ]
    shape = alt.Shape("series:N", title=legend, scale=shapes(series))
    return layered(
        marker(zero, axis),
        base.mark_rule(strokeWidth=RULE_PX).encode(x=axis("low"), x2="high:Q"),
        base.mark_point(filled=True, size=85, opacity=1, cursor="pointer")
        .encode(x=axis("value"), shape=shape, tooltip=tooltips)
        .add_params(selects("row")),
        base.mark_text(align="left", dx=8, fontSize=11, color=TEXT).encode(
            x=axis("high"), text="label:N", color=alt.value(TEXT)
        ),
    ).properties(height=190 + LEGEND_ROW_PX * len(series) + len(rows) * (14 + ROW_PX * len(series)))
