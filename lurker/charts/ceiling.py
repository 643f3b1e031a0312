"""The ceilings of a pair set: every estimator with its interval, brackets, and the best model."""

from dataclasses import dataclass

import altair as alt
import polars as pl

from lurker.charts.look import GREEN, LEAK, TASTE, TEXT, HorizontalAxis, accuracy_axis, layered, marker
from lurker.decimals import decimal

KINDS = {"vote": "vote ceiling", "text": "text ceiling"}
ROW_PX = 34


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What no predictor can exceed on a test, with its 95 % interval."""

    name: str
    """how it is known, as read in a sentence: the truth, text ceiling (pooled)"""
    accuracy: float
    low: float
    high: float

    @property
    def label(self) -> str:
        """Its name and accuracy."""
        return f"{self.name} {decimal(self.accuracy)}"


def ceiling_intervals(ceilings: pl.DataFrame, best_model: float | None = None) -> alt.LayerChart:
    """Estimators of both ceilings, one row each: brackets as broad bars, values as points with 95 % intervals.

    What an estimator cannot tell is left out; a bracket with one end reaches the edge of the chart.

    Args:
        ceilings: a CEILING table.
        best_model: accuracy of the best model on the same pairs, drawn as a line.
    """
    known = ceilings.filter(pl.any_horizontal(pl.col("value", "low", "high").is_not_null()))
    ends = known.with_columns(accuracy_low=pl.col("low").fill_null(0.5), accuracy_high=pl.col("high").fill_null(1.0))
    shown = ends.with_columns(row=pl.format("{} · {}", "ceiling", "estimator"), kind=pl.col("ceiling").replace(KINDS))
    rows = shown["row"].to_list()
    axis = accuracy_axis(shown, "accuracy (0.5 is chance)", room=0.02)
    scale = alt.Scale(domain=list(KINDS.values()), range=[TASTE, GREEN])
    tooltips = [
        alt.Tooltip("estimator:N"),
        alt.Tooltip("kind:N", title="ceiling"),
        alt.Tooltip("value:Q", format=".3f"),
        alt.Tooltip("low:Q", title="from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
        alt.Tooltip("n_pairs:Q", title="pairs", format=","),
        alt.Tooltip("n_posts:Q", title="posts", format=","),
        alt.Tooltip("assumption:N"),
    ]
    base = alt.Chart(shown).encode(
        y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelFontSize=13, labelLimit=220)),
        color=alt.Color("kind:N", title="accuracy of", scale=scale, legend=alt.Legend(orient="top")),
        tooltip=tooltips,
    )
    is_bracket = "!isValid(datum.value)"
    layers = [
        marker(0.5, axis),
        base.transform_filter(is_bracket)
        .mark_bar(height=12, opacity=0.45)
        .encode(x=axis("accuracy_low"), x2="accuracy_high:Q"),
        base.transform_filter(f"!({is_bracket})")
        .mark_rule(strokeWidth=2.5)
        .encode(x=axis("accuracy_low"), x2="accuracy_high:Q"),
        base.transform_filter(f"!({is_bracket})").mark_point(filled=True, size=85, opacity=1).encode(x=axis("value")),
    ]
    if best_model is not None:
        layers += _best_model(best_model, axis)
    return layered(*layers).properties(height=70 + ROW_PX * len(rows), title="What no predictor can exceed")


def _best_model(accuracy: float, axis: HorizontalAxis) -> list[alt.Chart]:
    """A line at the accuracy of the best model, with its label."""
    line = alt.Chart(pl.DataFrame({"accuracy": [accuracy], "label": [f"best model {decimal(accuracy)}"]}))
    label = alt.Text("label:N")
    return [
        line.mark_rule(color=LEAK, strokeWidth=1.5).encode(x=axis("accuracy")),
        line.mark_text(color=TEXT, align="left", dx=5, baseline="top", y=2).encode(x=axis("accuracy"), text=label),
    ]
