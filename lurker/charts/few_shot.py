"""Accuracy on a target against the pairs of it that were bought, one line per start."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from lurker.charts.look import BASELINE, SERIES, TEXT, largest, layered, shapes, share_axis, smallest

HEIGHT_PX = 420
LABELS = {"tfidf": "TF-IDF alone", "length": "the longer one", "both": "time + length"}
DRAWN_BASELINES = ("tfidf", "length")
MAX_WIDTH_SHARE = 0.02
"""How far the lines of different starts stand apart, as a share of the axis, so that their intervals can be read."""


def few_shot_curves(differences: pl.DataFrame, unit: str = "target pairs") -> alt.LayerChart:
    """Accuracy by target pairs, training and validation together (log), with 95 % intervals; baselines dashed.

    Args:
        differences: FEW_SHOT_DIFFERENCES; starts that read no target pair stand at the left edge.
        unit: what is bought, for the axis.
    """
    drawn = ~pl.col("is_baseline") | pl.col("start").is_in(DRAWN_BASELINES)
    largest_source = pl.col("n_source_pairs").is_null() | (
        pl.col("n_source_pairs") == pl.col("n_source_pairs").max().over("start")
    )
    points = differences.filter(drawn & largest_source).with_columns(
        bought=pl.col("n_target_pairs") + pl.col("n_validation_pairs"),
        series=pl.col("start").replace(LABELS),
    )
    bought = sorted(points.filter(pl.col("bought") > 0)["bought"].unique())
    edge = bought[0] / 4
    names = points.sort("is_baseline", maintain_order=True)["series"].unique(maintain_order=True).to_list()
    shift = {name: 1 + MAX_WIDTH_SHARE * 2 * (place - (len(names) - 1) / 2) for place, name in enumerate(names)}
    points = points.with_columns(
        place=pl.when(pl.col("bought") == 0).then(edge).otherwise("bought") * pl.col("series").replace_strict(shift)
    )
    return _lines(points, names, edge, bought, unit)


def _colours(points: pl.DataFrame, names: Sequence[str]) -> alt.Scale:
    """One colour per start; baselines are grey, and told apart by their shapes."""
    baselines = set(points.filter("is_baseline")["series"])
    starts = [name for name in names if name not in baselines]
    named = {name: SERIES[place % len(SERIES)] for place, name in enumerate(starts)}
    return alt.Scale(domain=list(names), range=[named.get(name, BASELINE) for name in names])


def _lines(points: pl.DataFrame, names: Sequence[str], edge: float, bought: Sequence[int], unit: str) -> alt.LayerChart:
    low = min(0.47, smallest(points["accuracy_low"]) - 0.01)
    high = min(1.0, max(0.6, largest(points["accuracy_high"]) + 0.01))
    words = " : ".join(f"datum.value == {n} ? '{n:,}'" for n in bought)
    axis = alt.Axis(values=[edge, *bought], labelExpr=f"{words} : '0'", grid=False)
    x = alt.X(
        "place:Q",
        title=f"{unit} bought, validation included (log scale)",
        scale=alt.Scale(type="log", domain=[edge * 0.85, bought[-1] * 1.18], nice=False),
        axis=axis,
    )
    y_scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    colour = alt.Color(
        "series:N",
        scale=_colours(points, names),
        title="start",
        sort=list(names),
        legend=alt.Legend(orient="top", columns=2, labelLimit=260),
    )
    base = alt.Chart(points).encode(x=x, color=colour)
    y = alt.Y("accuracy:Q", title="accuracy on the target", scale=y_scale, axis=share_axis())
    tooltips = [
        *("series:N", alt.Tooltip("n_target_pairs:Q", format=","), alt.Tooltip("n_validation_pairs:Q", format=",")),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("accuracy", "accuracy_low", "accuracy_high")),
        *(alt.Tooltip(f"{name}:Q", format="+.3f") for name in ("difference", "difference_low", "difference_high")),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]
    dash = alt.condition("datum.is_baseline", alt.value([3, 4]), alt.value([1, 0]))
    shape = alt.Shape("series:N", scale=shapes(names), legend=None)
    chance = alt.Chart(pl.DataFrame({"value": [0.5]})).mark_rule(color=TEXT, strokeDash=[5, 3])
    return layered(
        chance.encode(y=alt.Y("value:Q", scale=y_scale)),
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash),
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(
            y=alt.Y("accuracy_low:Q", scale=y_scale), y2="accuracy_high:Q"
        ),
        base.mark_point(size=60, filled=True, opacity=1).encode(y=y, shape=shape, tooltip=tooltips),
    ).properties(height=HEIGHT_PX, title="Accuracy against pairs of the target bought")
