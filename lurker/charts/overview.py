"""How much shortcuts, TF-IDF and reward models know of each pair set."""

import altair as alt
import polars as pl

from lurker.charts.look import (
    AMBER,
    BLUE,
    GREY,
    PINK,
    SHAPES,
    SKY,
    VERMILION,
    accuracy_axis,
    accuracy_tooltips,
    layered,
    marker,
)

REACH = {
    "time alone": VERMILION,
    "length alone": AMBER,
    "all confounders": PINK,
    "TF-IDF": SKY,
    "reward model": BLUE,
    "the truth": GREY,
}


def reach(rows: pl.DataFrame) -> alt.LayerChart:
    """Accuracy of the shortcuts, TF-IDF, the reward model and the truth per pair set, with 95 % intervals.

    Args:
        rows: columns pairs, what (one of REACH), accuracy, accuracy_low, accuracy_high, measured_on.
    """
    names = rows["pairs"].unique(maintain_order=True).to_list()
    kinds = [what for what in REACH if what in rows["what"].to_list()]
    symbols = dict(zip(REACH, SHAPES, strict=True))
    legend = alt.Legend(orient="top", title=None, columns=6, symbolOpacity=1, labelFontSize=13)
    axis = accuracy_axis(rows, "accuracy (0.5 is chance)", room=0.05)
    base = alt.Chart(rows).encode(
        y=alt.Y("pairs:N", sort=names, title=None, axis=alt.Axis(labelFontSize=14, labelLimit=220)),
        yOffset=alt.YOffset("what:N", sort=kinds, scale=alt.Scale(domain=kinds, paddingOuter=1)),
    )
    colour = alt.Color("what:N", scale=alt.Scale(domain=kinds, range=[REACH[what] for what in kinds]), legend=legend)
    shape = alt.Shape("what:N", scale=alt.Scale(domain=kinds, range=[symbols[what] for what in kinds]), legend=legend)
    tooltips = [
        alt.Tooltip("pairs:N", title="pair set"),
        alt.Tooltip("what:N"),
        *accuracy_tooltips(),
        alt.Tooltip("measured_on:N", title="measured on"),
    ]
    label = alt.Text("accuracy:Q", format=".3f")
    return layered(
        marker(0.5, axis),
        base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=axis("accuracy_low"), x2="accuracy_high:Q", color=colour),
        base.mark_point(filled=True, size=120, opacity=1).encode(
            x=axis("accuracy"), color=colour, shape=shape, tooltip=tooltips
        ),
        base.mark_text(align="left", dx=9, fontSize=12, color=GREY).encode(x=axis("accuracy_high"), text=label),
    ).properties(height=80 + 160 * len(names))
