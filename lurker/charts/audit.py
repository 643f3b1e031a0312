"""Accuracy of the probes, balance of the confounders, and what each rule dropped."""

import altair as alt
import polars as pl

from lurker.charts.look import (
    BLUE,
    GREY,
    VERMILION,
    accuracy_axis,
    accuracy_tooltips,
    colours,
    largest,
    layered,
    marker,
    shapes,
)
from lurker.confounders import CONFOUNDER_NAMES

NEGLIGIBLE_SMD = 0.1
"""|standardised mean difference| below which a covariate is usually called balanced.

Source: Austin 2009, "Balance diagnostics for comparing the distribution of baseline covariates"."""


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
    base = alt.Chart(shown).encode(
        y=alt.Y("sees:N", sort=seen, title="the probe sees", axis=alt.Axis(labelFontSize=13, labelLimit=200)),
        yOffset=alt.YOffset("row:N", sort=rows, scale=alt.Scale(paddingOuter=1)),
        color=alt.Color("pairs:N", title="pair set", scale=colours(names)),
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
        "probe:N", title="probe", scale=shapes(kinds), legend=alt.Legend(symbolFillColor=GREY, symbolStrokeColor=GREY)
    )
    return layered(
        marker(0.5, axis),
        base.mark_rule(strokeWidth=2.5).encode(x=axis("accuracy_low"), x2="accuracy_high:Q"),
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
        return alt.X(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(format=".2f", tickCount=8))

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


def ledger_waterfall(ledger: pl.DataFrame, stage: str) -> alt.LayerChart:
    """Input, what each rule dropped, and what was kept, for one stage of the ledger.

    Args:
        ledger: columns stage, step, n, start, end.
        stage: one of its stages.
    """
    steps = ledger.filter(pl.col("stage") == stage)
    total = max(1, int(steps["n"][0]))
    kinds = ["input", "dropped", "kept"]
    is_drop = ~pl.col("step").is_in(["input", "kept"])
    labels = [
        {"input": f"{n:,}", "kept": f"{n:,} ({n / total:.1%})"}.get(step, f"−{n:,} ({n / total:.1%})")
        for step, n in steps.select("step", "n").iter_rows()
    ]
    steps = steps.with_columns(
        kind=pl.when(is_drop).then(pl.lit("dropped")).otherwise(pl.col("step")),
        label=pl.Series(labels, dtype=pl.String),
        step=pl.col("step").str.replace_all("_", " "),
    )
    scale = alt.Scale(domain=[0, total * 1.75], nice=False)
    base = alt.Chart(steps).encode(
        y=alt.Y("step:N", sort=steps["step"].to_list(), title=None, axis=alt.Axis(labelLimit=240))
    )
    colour = alt.Color("kind:N", legend=None, scale=alt.Scale(domain=kinds, range=[GREY, VERMILION, BLUE]))
    bars = base.mark_bar(cornerRadius=2, height={"band": 0.66}).encode(
        x=alt.X("start:Q", title=stage, scale=scale, axis=alt.Axis(format="~s", tickCount=5)),
        x2="end:Q",
        color=colour,
        tooltip=[alt.Tooltip("step:N", title="rule"), alt.Tooltip("n:Q", title=stage, format=",")],
    )
    text = base.mark_text(align="left", dx=6, color=GREY, fontSize=12)
    labelled = text.encode(x=alt.X("end:Q", scale=scale), text="label:N")
    return layered(bars, labelled).properties(height=60 + 32 * steps.height, title=f"The ledger of {stage}")
