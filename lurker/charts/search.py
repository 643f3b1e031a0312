"""Candidates of a search: how much each one loses to the one that was kept."""

import altair as alt
import polars as pl

from lurker.charts.look import GREEN, RULE_PX, TASTE, largest, layered, marker, smallest

KEPT = {True: "kept", False: "not kept"}
ROW_PX = 30


def search_excess(candidates: pl.DataFrame) -> alt.LayerChart:
    """Log loss of each candidate above that of the one kept in its stage, with 95 % intervals.

    Args:
        candidates: a SEARCH table.
    """
    shown = candidates.with_columns(
        row=pl.format("{}. {}", "stage", "candidate"), state=pl.col("is_kept").replace_strict(KEPT)
    )
    rows = shown["row"].to_list()
    low, high = min(0.0, smallest(shown["excess_low"])), max(0.001, largest(shown["excess_high"]))
    room = 0.05 * (high - low)
    scale = alt.Scale(domain=[low - room, high + room], nice=False, zero=False)

    def axis(column: str) -> alt.X:
        title = "log loss above the kept candidate (nats)"
        return alt.X(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6))

    states = list(KEPT.values())
    colour = alt.Scale(domain=states, range=[TASTE, GREEN])
    shape = alt.Shape("state:N", title=None, scale=alt.Scale(domain=states, range=["circle", "square"]))
    base = alt.Chart(shown).encode(
        y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelFontSize=13, labelLimit=220)),
        color=alt.Color("state:N", title=None, scale=colour, legend=alt.Legend(orient="top")),
        tooltip=[
            alt.Tooltip("candidate:N"),
            alt.Tooltip("log_loss:Q", title="log loss", format=".4f"),
            alt.Tooltip("excess:Q", title="above the kept", format="+.4f"),
            alt.Tooltip("excess_low:Q", title="95 % from", format="+.4f"),
            alt.Tooltip("excess_high:Q", title="to", format="+.4f"),
            alt.Tooltip("accuracy:Q", format=".3f"),
        ],
    )
    return layered(
        marker(0.0, axis),
        base.mark_rule(strokeWidth=RULE_PX).encode(x=axis("excess_low"), x2="excess_high:Q"),
        base.mark_point(filled=True, size=85, opacity=1).encode(x=axis("excess"), shape=shape),
    ).properties(height=50 + ROW_PX * len(rows), title="Candidates against the one kept")
