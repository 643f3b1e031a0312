"""Reliability diagrams: how often something comes true against how sure one was; on the diagonal, one is calibrated."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from lurker.charts.look import POINT_AREA_PX, RULE_PX, TASTE, TEXT, colours, layered, share_axis, smallest

LABEL_MODELS = {"votes": "scores and flags", "score": "scores alone"}
"""Label model -> what it reads, as shown."""
HEIGHT_PX = 300


def reliability(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """How well label_confidence predicts the votes that came later.

    Args:
        rows: label_model, predicted, agreement, low, high, n_pairs; one per bin.
    """
    frame = pl.DataFrame(list(rows)).with_columns(reads=pl.col("label_model").replace(LABEL_MODELS))
    colour = alt.Color("reads:N", title="label model reads", scale=colours(list(LABEL_MODELS.values())))
    titles = ("agreement that label_confidence predicts", "agreement with the votes that came later")
    named = frame.rename({"agreement": "value"})
    return _diagram(named, titles, colour, [alt.Tooltip("reads:N", title="reads")])


def calibration_curve(bins: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """How often a model is right at each confidence.

    Args:
        bins: confidence (0.5–1), accuracy, accuracy_low, accuracy_high, n_pairs; as a diagnosis has them.
    """
    ends = {"confidence": "predicted", "accuracy": "value", "accuracy_low": "low", "accuracy_high": "high"}
    frame = pl.DataFrame(list(bins)).rename(ends)
    return _diagram(frame, ("confidence of the model", "accuracy"), alt.value(TASTE), [])


def _diagram(frame: pl.DataFrame, titles: tuple[str, str], colour: Any, first: list[alt.Tooltip]) -> alt.LayerChart:
    """Points with intervals over the diagonal, on one scale for both axes.

    Args:
        frame: predicted, value, low, high, n_pairs.
        titles: of the two axes.
        colour: of the points.
        first: tooltips before the figures.
    """
    low = min(smallest(frame["low"]), smallest(frame["predicted"]), 0.5) - 0.01
    scale = alt.Scale(domain=[low, 1.0], nice=False, zero=False)
    diagonal = alt.Chart(pl.DataFrame({"predicted": [low, 1.0], "value": [low, 1.0]}))
    line = diagonal.mark_line(color=TEXT, strokeDash=[5, 3], strokeWidth=1.5)
    x = alt.X("predicted:Q", title=titles[0], scale=scale, axis=share_axis(tickCount=6))

    def y(column: str) -> alt.Y:
        return alt.Y(f"{column}:Q", title=titles[1], scale=scale, axis=share_axis(tickCount=6))

    base = alt.Chart(frame).encode(x=x, color=colour)
    tooltips = [
        *first,
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("predicted", "value", "low", "high")),
        alt.Tooltip("n_pairs:Q", title="pairs", format=","),
    ]
    return layered(
        line.encode(x=x, y=y("value")),
        base.mark_rule(strokeWidth=RULE_PX).encode(y=y("low"), y2="high:Q"),
        base.mark_point(filled=True, size=POINT_AREA_PX, opacity=1).encode(y=y("value"), tooltip=tooltips),
    ).properties(height=HEIGHT_PX)
