"""Charts of an arena: ratings of sources, judges by group of raters, raters on gold, and votes over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from lurker.charts.look import (
    BASELINE,
    INK,
    LEAK,
    POINT_AREA_PX,
    RULE_PX,
    SHAPES,
    TASTE,
    HorizontalAxis,
    accuracy_axis,
    largest,
    layered,
    marker,
    share_axis,
    smallest,
)

ROW_PX, AXIS_PX, LEGEND_PX = 46, 44, 30
AS_VOTED, AT_EQUAL_LENGTH = "as voted", "at equal length"
GROUP_NAMES = {"in_group": "raters trained on", "held_out": "held-out raters"}
NOT_DOUBTED, DOUBTED = "nothing suspicious", "suspicious"
NAMES = alt.Axis(labelLimit=260, labelFontSize=13, grid=False)


def source_ratings(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Strength of each source with its interval, as voted and at equal length; sources of one tier are not told apart.

    Args:
        rows: of the report's ratings, the best first.
    """
    parts = [
        {
            "source": f"{row['source']} · tier {row['tier']}",
            "kind": kind,
            "strength": row[column],
            "low": row[low],
            "high": row[high],
            "votes": row["votes"],
        }
        for row in rows
        for kind, column, low, high in (
            (AS_VOTED, "strength", "low", "high"),
            (AT_EQUAL_LENGTH, "at_equal_length", "at_equal_length_low", "at_equal_length_high"),
        )
    ]
    frame = pl.DataFrame(parts)
    room = 0.05 * (largest(frame["high"]) - smallest(frame["low"]))
    ends = [min(0.0, smallest(frame["low"])) - room, max(0.0, largest(frame["high"])) + room]
    scale = alt.Scale(domain=ends, nice=False, zero=False)
    title = "strength, log-odds against the mean of the sources"

    def axis(column: str) -> alt.X:
        return alt.X(f"{column}:Q", title=title, scale=scale, axis=share_axis(tickCount=7))

    order = list(dict.fromkeys(part["source"] for part in parts))
    tooltips: list[str | alt.Tooltip] = [
        *("source:N", "kind:N"),
        *(alt.Tooltip(f"{name}:Q", format="+.3f") for name in ("strength", "low", "high")),
        alt.Tooltip("votes:Q", format=","),
    ]
    return layered(
        marker(0.0, axis),
        *_dots(
            frame, "source", order, "kind", {AS_VOTED: TASTE, AT_EQUAL_LENGTH: BASELINE}, axis, "strength", tooltips
        ),
    ).properties(height=AXIS_PX + ROW_PX * len(order))


def judges_by_group(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """How often each judge prefers what raters voted for, those that are trained on and held-out ones.

    Args:
        rows: of the report's rater_groups.
    """
    parts = [
        {
            "judge": row["judge"],
            "raters": words,
            "accuracy": row[group],
            "accuracy_low": row[f"{group}_low"],
            "accuracy_high": row[f"{group}_high"],
            "votes": row[f"{group}_n"],
            "n_raters": row[f"{group}_raters"],
        }
        for row in rows
        for group, words in GROUP_NAMES.items()
    ]
    frame = pl.DataFrame(parts).rename({"accuracy_low": "low", "accuracy_high": "high"})
    ends = frame.select(accuracy_low="low", accuracy_high="high")
    axis = accuracy_axis(ends, "share of votes that the judge agrees with", room=0.02)
    order = list(dict.fromkeys(part["judge"] for part in parts))
    tooltips: list[str | alt.Tooltip] = [
        *("judge:N", "raters:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("accuracy", "low", "high")),
        alt.Tooltip("votes:Q", format=","),
        alt.Tooltip("n_raters:Q", title="number of raters"),
    ]
    colours = dict(zip(GROUP_NAMES.values(), (TASTE, LEAK), strict=True))
    return layered(
        marker(0.5, axis), *_dots(frame, "judge", order, "raters", colours, axis, "accuracy", tooltips)
    ).properties(height=AXIS_PX + ROW_PX * len(order))


def raters_on_gold(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Accuracy of each rater on gold items with its interval, the best first; suspicious raters stand out.

    Args:
        rows: of the report's raters, those with gold.
    """
    frame = pl.DataFrame(
        [
            {
                "rater": str(row["rater"])[:8],
                "accuracy": row["gold"],
                "low": row["gold_low"],
                "high": row["gold_high"],
                "gold votes": row["gold_n"],
                "state": DOUBTED if row["suspicious"] else NOT_DOUBTED,
                "why": ", ".join(row["suspicious"]) or "–",
            }
            for row in rows
        ]
    ).sort("accuracy", "rater", descending=[True, False])
    axis = accuracy_axis(frame.select(accuracy_low="low", accuracy_high="high"), "accuracy on gold items", room=0.02)
    tooltips: list[str | alt.Tooltip] = [
        *("rater:N", "why:N", alt.Tooltip("gold votes:Q", format=",")),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("accuracy", "low", "high")),
    ]
    colours = {NOT_DOUBTED: TASTE, DOUBTED: LEAK}
    return layered(
        marker(0.5, axis),
        *_dots(frame, "rater", frame["rater"].to_list(), "state", colours, axis, "accuracy", tooltips),
    ).properties(height=AXIS_PX + LEGEND_PX + ROW_PX // 2 * frame.height)


def _dots(
    frame: pl.DataFrame,
    name: str,
    order: Sequence[str],
    series: str,
    colours: Mapping[str, str],
    axis: HorizontalAxis,
    value: str,
    tooltips: Sequence[str | alt.Tooltip],
) -> list[alt.Chart]:
    """Dots with intervals, one row per name and one line in it per series.

    Args:
        frame: columns `name`, `series` and `value`, low, high.
        order: the names from the top.
        colours: of the series, in the order of their lines.
        axis: of the values.
    """
    listed = list(colours)
    present = [one for one in listed if one in set(frame[series])]
    scale = alt.Scale(domain=present, range=[colours[one] for one in present])
    shapes = alt.Scale(domain=present, range=[SHAPES[listed.index(one)] for one in present])
    base = alt.Chart(frame).encode(
        y=alt.Y(f"{name}:N", sort=list(order), title=None, axis=NAMES),
        color=alt.Color(f"{series}:N", scale=scale, title=None, sort=present),
    )
    if frame.height > len(order):
        base = base.encode(yOffset=alt.YOffset(f"{series}:N", sort=present))
    points = base.mark_point(filled=True, size=POINT_AREA_PX, opacity=1)
    return [
        base.mark_rule(strokeWidth=RULE_PX).encode(x=axis("low"), x2="high:Q"),
        points.encode(
            x=axis(value),
            shape=alt.Shape(f"{series}:N", scale=shapes, title=None, sort=present),
            tooltip=list(tooltips),
        ),
    ]


def votes_over_time(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Votes written in each hour, in UTC.

    Args:
        rows: of the report's timeline: start_utc (seconds), votes, raters.
    """
    hours = pl.DataFrame(list(rows)).with_columns(
        hour=pl.from_epoch("start_utc"), end=pl.from_epoch(pl.col("start_utc") + 3_600)
    )
    base = alt.Chart(hours).encode(
        x=alt.X(
            "hour:T",
            title="hour (UTC)",
            scale=alt.Scale(type="utc"),
            axis=alt.Axis(grid=False, format="%d %b %H:%M", labelOverlap=True),
        ),
        x2="end:T",
        y=alt.Y("votes:Q", title="votes", axis=alt.Axis(tickMinStep=1)),
        tooltip=[
            alt.Tooltip("hour:T", format="%d %b %Y %H:%M"),
            alt.Tooltip("votes:Q", format=","),
            alt.Tooltip("raters:Q", format=","),
        ],
    )
    return layered(base.mark_rect(color=TASTE, stroke=INK, strokeWidth=0.3)).properties(height=200)
