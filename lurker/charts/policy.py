"""What a policy gains, and when it stops gaining, against its distance from the writer, √KL."""

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from lurker.charts.look import BASELINE, BROWN, GREEN, LEAK, TASTE, TEXT, VIOLET, layered, share_axis

HEIGHT_PX = 300
MEASURES = {
    "proxy": LEAK,
    "held-out": TASTE,
    "truth": GREEN,
    "win rate": VIOLET,
    "win rate at equal length": BROWN,
    "length": BASELINE,
}
"""Measure -> colour."""
WIN_RATES = ("win rate", "win rate at equal length")


def policy_curves(
    rows: pl.DataFrame, y_title: str, zero: float = 0.0, peaks: Mapping[str, Sequence[float]] | None = None
) -> alt.LayerChart:
    """Measures by √KL, each a line with its 95 % intervals, points where it was measured, and its peak.

    Args:
        rows: kl (nats), measure, value, low, high, and label, which the tooltip shows (a step, or an n). With a column
            step, lines join the points by it, for a policy can come nearer to its writer again.
        y_title: of the vertical axis.
        zero: value of the writer, drawn as a dashed line.
        peaks: measure -> √KL at its peak and the ends of its interval.
    """
    order = "step" if "step" in rows.columns else "distance"
    frame = rows.with_columns(distance=pl.col("kl").clip(0).sqrt()).sort("measure", order)
    shown = [name for name in MEASURES if name in frame["measure"].unique().to_list()]
    colour = alt.Color(
        "measure:N",
        scale=alt.Scale(domain=shown, range=[MEASURES[name] for name in shown]),
        legend=alt.Legend(orient="top", title=None),
    )
    x = alt.X("distance:Q", title="distance from the writer, √KL", axis=alt.Axis(grid=False, tickCount=6))
    axis = share_axis() if zero == 0.5 else alt.Axis()
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=False), axis=axis)
    base = alt.Chart(frame)
    level = alt.Chart(pl.DataFrame({"value": [zero]})).mark_rule(color=TEXT, strokeDash=[5, 3], strokeWidth=1.2)
    spread = base.mark_rule(opacity=0.7, strokeWidth=2) if order == "step" else base.mark_area(opacity=0.16)
    band = spread.encode(x=x, y=alt.Y("low:Q", title=y_title), y2="high:Q", color=colour)
    line = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=55, filled=True)).encode(
        x=x, y=y, color=colour, order=f"{order}:Q"
    )
    points = base.mark_circle(size=220, opacity=0).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("measure:N"),
            alt.Tooltip("label:N", title="at"),
            alt.Tooltip("kl:Q", title="KL, nats", format=".2f"),
            alt.Tooltip("value:Q", format=".3f"),
            alt.Tooltip("low:Q", title="95 % from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
        ],
    )
    marks = [level.encode(y="value:Q"), band, line, points, *_peaks(peaks or {}, shown, colour)]
    return layered(*marks).properties(height=HEIGHT_PX)


def _peaks(peaks: Mapping[str, Sequence[float]], shown: Sequence[str], colour: alt.Color) -> list[alt.Chart]:
    """A vertical line at each peak, and the interval along the bottom."""
    found = [
        {"measure": name, "distance": at[0], "low": at[1], "high": at[2]} for name, at in peaks.items() if name in shown
    ]
    if not found:
        return []
    base = alt.Chart(pl.DataFrame(found))
    rule = base.mark_rule(strokeWidth=1.5, strokeDash=[2, 3]).encode(x="distance:Q", color=colour)
    span = base.mark_rule(strokeWidth=5, opacity=0.55).encode(
        x="low:Q", x2="high:Q", y=alt.value(HEIGHT_PX), color=colour
    )
    return [rule, span]
