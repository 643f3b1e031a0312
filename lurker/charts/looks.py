"""How well label_confidence predicts the votes that came later."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from lurker.charts.look import TEXT, colours, layered, smallest

LABEL_MODELS = {"votes": "scores and flags", "score": "scores alone"}
"""Label model -> what it reads, as shown."""


def reliability(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Reliability diagram: agreement seen against agreement predicted; on the diagonal, confidence is calibrated.

    Args:
        rows: label_model, predicted, agreement, low, high, n_pairs; one per bin.
    """
    frame = pl.DataFrame(list(rows)).with_columns(reads=pl.col("label_model").replace(LABEL_MODELS))
    low = min(smallest(frame["low"]), smallest(frame["predicted"]), 0.5) - 0.01
    scale = alt.Scale(domain=[low, 1.0], nice=False, zero=False)
    diagonal = alt.Chart(pl.DataFrame({"predicted": [low, 1.0], "agreement": [low, 1.0]}))
    line = diagonal.mark_line(color=TEXT, strokeDash=[5, 3], strokeWidth=1.5)
    base = alt.Chart(frame).encode(
        x=alt.X("predicted:Q", title="agreement that label_confidence predicts", scale=scale),
        color=alt.Color("reads:N", title="label model reads", scale=colours(list(LABEL_MODELS.values()))),
    )
    tooltips = [
        alt.Tooltip("reads:N", title="reads"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("predicted", "agreement", "low", "high")),
        alt.Tooltip("n_pairs:Q", title="pairs", format=","),
    ]
    return layered(
        line.encode(x=alt.X("predicted:Q", scale=scale), y=alt.Y("agreement:Q", scale=scale)),
        base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            y=alt.Y("agreement:Q", title="agreement with the votes that came later", scale=scale), tooltip=tooltips
        ),
    )
