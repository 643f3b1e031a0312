"""A map of communities: how alike their models rank the same responses."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import polars as pl

from lurker.charts.look import GRID, INK, TASTE, TEXT, layered
from lurker.charts.transfer import DARK_INK, LIGHT_INK

SIDE_PX = 380
MARGIN = 0.35
"""Room around the points for their names, as a share of the map's width."""


def community_map(found: Mapping[str, Any]) -> alt.HConcatChart:
    """Both charts side by side.

    Args:
        found: as in findings.json: correlations, positions and shown.
    """
    both = (community_correlations(found), community_plane(found))
    return alt.hconcat(*(one.properties(width=SIDE_PX, height=SIDE_PX) for one in both), spacing=50)


def community_correlations(found: Mapping[str, Any], *, is_narrow: bool = False) -> alt.LayerChart:
    """Rank correlations between models as a heatmap, alike communities next to each other.

    Args:
        found: as in findings.json: correlations (source, other, correlation, low, high) and positions (community, ...).
        is_narrow: turn the communities' names upright.
    """
    cells = pl.DataFrame(found["correlations"]).with_columns(
        figure=pl.col("correlation").map_elements("{:.2f}".format, return_dtype=pl.String),
        is_self=pl.col("source") == pl.col("other"),
    )
    order = [one["community"] for one in found["positions"]]
    others = cells.filter(~pl.col("is_self"))["correlation"].to_list()
    low, high = min(others), max(others)
    if high - low < 0.02:
        low, high = low - 0.01, high + 0.01
    angle = -90 if is_narrow else -30
    base = alt.Chart(cells).encode(
        x=alt.X("other:N", title=None, sort=order, axis=alt.Axis(orient="top", labelAngle=angle, labelLimit=140)),
        y=alt.Y("source:N", title=None, sort=order, axis=alt.Axis(labelLimit=160)),
    )
    scale = alt.Scale(domain=[low, high], scheme="cividis", clamp=True)
    tooltips = [
        *("source:N", "other:N"),
        alt.Tooltip("correlation:Q", format=".3f"),
        alt.Tooltip("low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
    ]
    is_dark = f"datum.correlation < {low + 0.55 * (high - low)}"
    ink = alt.when("datum.is_self").then(alt.value(TEXT)).when(is_dark).then(alt.value(LIGHT_INK))
    colour = alt.Color("correlation:Q", scale=scale, title="rank correlation", legend=None)
    of_cell = alt.when("datum.is_self").then(alt.value(GRID)).otherwise(colour)  # a model and itself say nothing
    return layered(
        base.mark_rect(cornerRadius=4).encode(color=of_cell, tooltip=tooltips),
        base.mark_text(fontSize=13, fontWeight=600).encode(text="figure:N", color=ink.otherwise(alt.value(DARK_INK))),
    ).properties(title="Rank correlation of the models")


def community_plane(found: Mapping[str, Any]) -> alt.LayerChart:
    """The rank correlations as distances in a plane.

    Args:
        found: as in findings.json: positions (community, x, y), and shown, the share of the squared distances that the
            plane shows.
    """
    points = pl.DataFrame(found["positions"])
    reach = max(0.01, *(abs(one[axis]) for one in found["positions"] for axis in ("x", "y"))) * (1 + MARGIN)
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    axis = alt.Axis(labels=False, ticks=False, grid=True)
    base = alt.Chart(points).encode(
        x=alt.X("x:Q", scale=scale, axis=axis, title=None), y=alt.Y("y:Q", scale=scale, axis=axis, title=None)
    )
    title = f"Near: models that rank alike ({100 * found['shown']:.0f} % of squared distances shown)"
    return layered(
        base.mark_circle(size=90, color=TASTE, opacity=1).encode(tooltip=["community:N"]),
        base.mark_text(dy=-13, fontSize=12, color=INK).encode(text="community:N"),
    ).properties(title=title)
