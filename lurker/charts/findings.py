"""Per pair set: what shortcuts know of its winners, and what a model learns from it."""

import altair as alt
import polars as pl

from lurker.charts.ceiling import Ceiling
from lurker.charts.look import (
    BASELINE,
    INK,
    LEAK,
    POINT_AREA_PX,
    RULE_PX,
    TASTE,
    accuracy_axis,
    accuracy_tooltips,
    layered,
    marker,
    selects,
)

ROW_PX, AXIS_PX = 46, 40
CHANCE = 0.5
BAND_OPACITY = 0.12
"""Of the band around a ceiling."""
NAMES = alt.Axis(labelFontSize=14, labelColor=INK, labelFontWeight=600, labelLimit=150)


def leaks(rows: pl.DataFrame) -> alt.LayerChart:
    """The strongest probe of each pair set: a bar from chance, its 95 % interval, and what it sees.

    Args:
        rows: columns pairs, sees, probe, accuracy, accuracy_low, accuracy_high, label; the most accurate first.
    """
    names = rows["pairs"].to_list()
    axis = accuracy_axis(rows, None, room=0.17)
    base = alt.Chart(rows.with_columns(chance=pl.lit(CHANCE))).encode(
        y=alt.Y("pairs:N", sort=names, title=None, axis=NAMES)
    )
    tooltips = [alt.Tooltip("pairs:N", title="pair set"), "sees:N", "probe:N", *accuracy_tooltips()]
    return layered(
        marker(CHANCE, axis),
        base.mark_bar(height=14, color=LEAK, opacity=0.3).encode(x=axis("chance"), x2="accuracy:Q"),
        base.mark_rule(strokeWidth=RULE_PX, color=LEAK).encode(x=axis("accuracy_low"), x2="accuracy_high:Q"),
        base.mark_point(filled=True, size=POINT_AREA_PX, color=LEAK, opacity=1, cursor="pointer")
        .encode(x=axis("accuracy"), tooltip=tooltips)
        .add_params(selects("pairs")),
        base.mark_text(align="left", dx=8, color=INK, fontSize=13).encode(x=axis("accuracy_high"), text="label:N"),
    ).properties(height=AXIS_PX + ROW_PX * len(names))


def learned(rows: pl.DataFrame, order: list[str], ceiling: Ceiling | None = None) -> alt.LayerChart:
    """The same model at the same size trained on each set, on one test: dot and interval, TF-IDF as a tick.

    Args:
        rows: columns pairs, accuracy, accuracy_low, accuracy_high, tfidf (may be null), n_seeds, label.
        order: names of the rows from the top; a set without a model has an empty row.
        ceiling: what no model can exceed, a line and the band of its interval.
    """
    reach = [] if ceiling is None else [ceiling.accuracy, ceiling.low, ceiling.high]
    ends = pl.concat(
        [
            rows.select("accuracy_low", "accuracy_high"),
            pl.DataFrame({"accuracy_low": [*reach, CHANCE], "accuracy_high": [*reach, CHANCE]}),
        ]
    )
    axis = accuracy_axis(ends, None, room=0.05)
    scale = alt.Scale(domain=order)
    base = alt.Chart(rows).encode(y=alt.Y("pairs:N", sort=order, scale=scale, title=None, axis=NAMES))
    tooltips = [
        alt.Tooltip("pairs:N", title="trained on"),
        *accuracy_tooltips(),
        alt.Tooltip("tfidf:Q", title="TF-IDF", format=".3f"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]
    layers = [
        marker(CHANCE, axis),
        base.mark_tick(color=BASELINE, thickness=3, height=16).encode(x=axis("tfidf")),
        base.mark_rule(strokeWidth=RULE_PX, color=TASTE).encode(x=axis("accuracy_low"), x2="accuracy_high:Q"),
        base.mark_point(filled=True, size=POINT_AREA_PX, color=TASTE, opacity=1, cursor="pointer")
        .encode(x=axis("accuracy"), tooltip=tooltips)
        .add_params(selects("pairs")),
        base.mark_text(dy=-16, color=TASTE, fontSize=13, fontWeight=600).encode(x=axis("accuracy"), text="label:N"),
    ]
    if ceiling is not None:
        place = {"value": [ceiling.accuracy], "low": [ceiling.low], "high": [ceiling.high], "label": [ceiling.label]}
        line = alt.Chart(pl.DataFrame(place))
        layers += [
            line.mark_rect(color=INK, opacity=BAND_OPACITY).encode(x=axis("low"), x2="high:Q"),
            line.mark_rule(color=INK, strokeWidth=1.5).encode(x=axis("value")),
            line.mark_text(align="center", color=INK, fontSize=12, baseline="bottom").encode(
                x=axis("value"), y=alt.value(-3), text="label:N"
            ),
        ]
    return layered(*layers).properties(height=AXIS_PX + ROW_PX * len(order))
