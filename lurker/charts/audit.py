"""Accuracy of the probes, balance of the confounders, and what each rule dropped."""

import altair as alt
import polars as pl

from lurker.charts.look import (
    BASELINE,
    INK,
    LEAK,
    RULE_PX,
    TASTE,
    TEXT,
    accuracy_axis,
    accuracy_tooltips,
    colours,
    label_size,
    largest,
    layered,
    marker,
    room_right,
    shapes,
    share_axis,
)
from lurker.confounders import CONFOUNDER_NAMES
from lurker.decimals import percent

NEGLIGIBLE_SMD = 0.1
"""|standardised mean difference| below which a covariate is usually called balanced.

Source: Austin 2009, "Balance diagnostics for comparing the distribution of baseline covariates"."""


LABEL_PX, BAR_PX, LEDGER_ROW_PX = 12, 10, 36
"""Size of the ledger's texts, height of its bars, and of a row with a text above its bar."""


def probe_intervals(probes: pl.DataFrame) -> alt.LayerChart:
    """Accuracy of each probe with its 95 % interval, pair sets side by side.

    Args:
        probes: columns pairs, confounders, probe, accuracy, accuracy_low, accuracy_high, n_pairs, n_posts; of one split
            and subreddit, of one or more pair sets.
    """
    names = probes["pairs"].unique(maintain_order=True).to_list()
    kinds = sorted(probes["probe"].unique())
    seen = [label for name, label in CONFOUNDER_NAMES.items() if name in probes["confounders"].to_list()]
    shown = probes.with_columns(
        sees=pl.col("confounders").replace(CONFOUNDER_NAMES), row=pl.format("{} · {}", "pairs", "probe")
    )
    rows = [f"{name} · {kind}" for name in names for kind in kinds]
    axis = accuracy_axis(shown, "accuracy at predicting the winner (0.5 is chance)", room=0.02)
    legend = alt.Legend() if len(names) > 1 else None
    base = alt.Chart(shown).encode(
        y=alt.Y("sees:N", sort=seen, title="the probe sees", axis=alt.Axis(labelFontSize=13, labelLimit=200)),
        yOffset=alt.YOffset("row:N", sort=rows, scale=alt.Scale(paddingOuter=1)),
        color=alt.Color("pairs:N", title="pair set", scale=colours(names), legend=legend),
    )
    tooltips = [
        alt.Tooltip("pairs:N", title="pair set"),
        alt.Tooltip("sees:N"),
        alt.Tooltip("probe:N"),
        *accuracy_tooltips(),
        alt.Tooltip("n_pairs:Q", title="pairs", format=","),
        alt.Tooltip("n_posts:Q", title="posts", format=","),
    ]
    shape = alt.Shape(
        "probe:N", title="probe", scale=shapes(kinds), legend=alt.Legend(symbolFillColor=TEXT, symbolStrokeColor=TEXT)
    )
    return layered(
        marker(0.5, axis),
        base.mark_rule(strokeWidth=RULE_PX).encode(x=axis("accuracy_low"), x2="accuracy_high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=axis("accuracy"), shape=shape, tooltip=tooltips),
    ).properties(height=60 + len(seen) * max(56, 15 * len(rows)), title="What shortcuts alone predict")


def love_plot(differences: pl.DataFrame) -> alt.LayerChart:
    """|Standardised mean difference| between chosen and rejected by confounder: nearer to 0 is better balanced.

    Args:
        differences: columns pairs, confounder, smd, of one or more pair sets.

    Source:
        Love plots as in Ahmed et al. 2006; the dashed line is NEGLIGIBLE_SMD.
    """
    names = differences["pairs"].unique(maintain_order=True).to_list()
    shown = differences.with_columns(
        size=pl.col("smd").abs(), confounder=pl.col("confounder").str.replace_all("_", " ")
    )
    ranked = shown.group_by("confounder").agg(pl.col("size").max()).sort("size", "confounder", descending=[True, False])
    confounders = ranked["confounder"].to_list()
    top = max(2 * NEGLIGIBLE_SMD, 1.05 * largest(shown["size"]))

    def axis(column: str) -> alt.X:
        title = "|standardised mean difference| of chosen and rejected"
        scale = alt.Scale(domain=[-0.02 * top, top], nice=False)
        return alt.X(f"{column}:Q", title=title, scale=scale, axis=share_axis(tickCount=8))

    points = alt.Chart(shown).mark_point(filled=True, size=110, opacity=0.95)
    return layered(
        marker(NEGLIGIBLE_SMD, axis),
        points.encode(
            x=axis("size"),
            y=alt.Y("confounder:N", sort=confounders, title=None, axis=alt.Axis(labelLimit=220, grid=True)),
            color=alt.Color("pairs:N", title="pair set", scale=colours(names)),
            shape=alt.Shape("pairs:N", title="pair set", scale=shapes(names)),
            tooltip=["pairs:N", "confounder:N", alt.Tooltip("smd:Q", title="difference (sd)", format="+.3f")],
        ),
    ).properties(height=70 + 32 * len(confounders), title="Balance of the confounders")


def ledger_bars(ledger: pl.DataFrame) -> alt.LayerChart:
    """Input, what each rule dropped, and what was kept, of every stage, on one log scale.

    Args:
        ledger: columns stage, step, n.
    """
    kinds = ["input", "dropped", "kept"]
    totals = ledger.group_by("stage", maintain_order=True).agg(total=pl.col("n").first())
    steps = ledger.join(totals, on="stage", maintain_order="left").filter(
        (pl.col("n") > 0) | (pl.col("step") == "kept")
    )
    labels = [
        f"{n:,}" if step == "input" else f"{'' if step == 'kept' else '−'}{n:,}  ({percent(n / max(1, total), 1)})"
        for step, n, total in steps.select("step", "n", "total").iter_rows()
    ]
    is_drop = ~pl.col("step").is_in(["input", "kept"])
    steps = steps.with_row_index("place").with_columns(
        row=pl.format("{}: {}", "stage", pl.col("step").str.replace_all("_", " ")),
        kind=pl.when(is_drop).then(pl.lit("dropped")).otherwise("step"),
        label=pl.Series(labels, dtype=pl.String),
        least=pl.lit(1),
        shown=pl.max_horizontal("n", pl.lit(1)),
    )
    top = room_right(1, max(10.0, largest(steps["n"])), labels)
    scale = alt.Scale(type="log", domain=[1, top], nice=False)
    axis = alt.Axis(format="~s", grid=True, tickCount=6, labelOverlap=True)
    # A rule may drop rows twice, so a row has its place, not its name. The name stands above the bar: beside it, there
    # would be no room for bars on a phone.
    base = alt.Chart(steps).encode(y=alt.Y("place:O", axis=None))
    kind = alt.Scale(domain=kinds, range=[BASELINE, LEAK, TASTE])
    bars = base.mark_bar(cornerRadius=2, height=BAR_PX, yOffset=BAR_PX).encode(
        x=alt.X("least:Q", title="rows (log scale)", scale=scale, axis=axis),
        x2="shown:Q",
        color=alt.Color("kind:N", title=None, scale=kind, legend=alt.Legend(orient="top")),
        tooltip=["stage:N", alt.Tooltip("step:N", title="rule"), alt.Tooltip("n:Q", title="rows", format=",")],
    )
    counts = base.mark_text(align="left", dx=6, color=INK, fontSize=LABEL_PX, yOffset=BAR_PX).encode(
        x=alt.X("shown:Q", scale=scale), text="label:N"
    )
    names = base.mark_text(align="left", color=TEXT, fontSize=LABEL_PX, yOffset=-BAR_PX / 2, limit=alt.expr("width"))
    named = names.encode(x=alt.value(0), text="row:N")
    drawn = layered(bars, counts, named).add_params(label_size(LABEL_PX))
    return drawn.properties(height=LEDGER_ROW_PX * steps.height, title="The ledger")
