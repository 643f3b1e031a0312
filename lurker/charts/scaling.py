"""Accuracy against data size and against model size."""

import altair as alt
import polars as pl

from lurker.charts.look import GREY, accuracy_tooltips, colours, largest, layered, shapes, smallest, spread

DASHES = {"length": [2, 2], "time": [6, 3], "both": [9, 3, 2, 3], "tfidf": [1, 3], "truth": [1, 0]}
NAMES = {
    "length": "length alone",
    "time": "time alone",
    "both": "time + length",
    "tfidf": "TF-IDF",
    "truth": "the truth",
}
AMOUNTS = {
    "n_train_pairs": "training pairs",
    "n_tokens": "tokens read in training",
    "train_time_s": "seconds of training",
}
"""Columns that measure the data of a run, in words."""
MAX_TICKS = 5
HEIGHT_PX = 460
LABEL_GAP = 0.05
"""Smallest distance between two labels at the line ends, as a share of the axis."""
LABEL_ROOM = 0.56
"""Room for those labels right of the largest data size, as a share of the log range of sizes."""


def accuracy_by_data(
    curve: pl.DataFrame, ceiling: float | None = None, fit: pl.DataFrame | None = None, x: str = "n_train_pairs"
) -> alt.LayerChart:
    """Accuracy against the data (log): one line per model with its 95 % band, baselines dashed and labelled.

    Args:
        curve: as returned by `lurker.seeds.mean_over_seeds`.
        ceiling: accuracy of the simulator's truth on the same test pairs.
        fit: predictor, the column x and accuracy of a fitted curve, drawn dashed in the colour of its model.
        x: column of the horizontal axis, of AMOUNTS; baselines have no tokens and time, and are drawn flat there.
    """
    models = curve.filter(~pl.col("is_baseline")).sort("n_parameters", "predictor", "n_train_pairs")
    sizes = sorted((curve if x == "n_train_pairs" else models)[x].drop_nulls().unique())
    domain = _accuracy_domain(curve, ceiling)
    flat = _reference_lines(curve.filter("is_baseline"), ceiling, sizes, x)
    axis = _log_axis(x, f"{AMOUNTS[x]} (log scale)", sizes, "~s", room=LABEL_ROOM)
    title = "Accuracy against data" if x == "n_train_pairs" else f"Accuracy against {AMOUNTS[x]}"
    ends = _line_ends(flat, LABEL_GAP * (domain[1] - domain[0]))
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=list(DASHES), range=list(DASHES.values())), legend=None)
    reference = alt.Chart(flat).mark_line(color=GREY, strokeWidth=1.8)
    labels = alt.Chart(ends).mark_text(align="left", dx=10, color=GREY, fontSize=12)
    return layered(
        reference.encode(
            x=axis,
            y=_accuracy_axis("accuracy", domain),
            strokeDash=dash,
            tooltip=["line:N", alt.Tooltip("accuracy:Q", format=".3f")],
        ),
        *_model_lines(models, "predictor", "model", axis, domain),
        *_fitted_lines(models, fit, axis, domain),
        labels.encode(x=axis, y=_accuracy_axis("accuracy", domain), text="label:N"),
    ).properties(height=HEIGHT_PX, title=title)


def accuracy_by_parameters(curve: pl.DataFrame) -> alt.LayerChart:
    """Accuracy against model size (log): one line per data size with its 95 % band.

    Args:
        curve: as returned by `lurker.seeds.mean_over_seeds`; baselines have no size and are left out.
    """
    models = (
        curve.filter(~pl.col("is_baseline") & pl.col("n_parameters").is_not_null())
        .sort("n_train_pairs", "n_parameters")
        .with_columns(data=pl.col("n_train_pairs").map_elements(lambda n: f"{n:,}", return_dtype=pl.String))
    )
    sizes = sorted(models["n_parameters"].unique())
    x = _log_axis("n_parameters", "parameters without embeddings (log scale)", sizes, ".2~s", room=0.06)
    domain = _accuracy_domain(models, None)
    lines = _model_lines(models, "data", "training pairs", x, domain)
    return layered(*lines).properties(height=HEIGHT_PX, title="Accuracy against model size")


def _model_lines(
    models: pl.DataFrame, column: str, title: str, x: alt.X, domain: tuple[float, float]
) -> list[alt.Chart]:
    """Band, line and points per value of `column`, in the frame's order."""
    names = models[column].unique(maintain_order=True).to_list()
    colour = _colour(column, names, title)
    shape = alt.Shape(f"{column}:N", sort=names, scale=shapes(names), legend=_legend(title))
    tooltips = [
        alt.Tooltip("predictor:N", title="model"),
        alt.Tooltip("n_train_pairs:Q", title="training pairs", format=","),
        alt.Tooltip("n_parameters:Q", title="parameters", format=","),
        *accuracy_tooltips(),
        alt.Tooltip("n_seeds:Q", title="seeds"),
        alt.Tooltip("lowest_seed:Q", title="lowest seed", format=".3f"),
        alt.Tooltip("highest_seed:Q", title="highest seed", format=".3f"),
        alt.Tooltip("n_test_pairs:Q", title="test pairs", format=","),
    ]
    base = alt.Chart(models).encode(x=x, color=colour)
    y = _accuracy_axis("accuracy", domain)
    return [
        base.mark_area(opacity=0.13).encode(y=_accuracy_axis("accuracy_low", domain), y2="accuracy_high:Q"),
        base.mark_line(strokeWidth=2.5).encode(y=y),
        base.mark_point(filled=True, size=80, opacity=1).encode(y=y, shape=shape, tooltip=tooltips),
    ]


def _colour(column: str, names: list[str], title: str) -> alt.Color:
    return alt.Color(f"{column}:N", sort=names, scale=colours(names), legend=_legend(title))


def _legend(title: str) -> alt.Legend:
    return alt.Legend(orient="top", title=title, columns=2, symbolOpacity=1)


def _fitted_lines(
    models: pl.DataFrame, fit: pl.DataFrame | None, x: alt.X, domain: tuple[float, float]
) -> list[alt.Chart]:
    """The fitted curve of each model that is drawn; none without a fit."""
    names = models["predictor"].unique(maintain_order=True).to_list()
    drawn = None if fit is None else fit.filter(pl.col("predictor").is_in(names))
    if drawn is None or drawn.is_empty():
        return []
    tooltip = ["predictor:N", alt.Tooltip("accuracy:Q", title="fitted accuracy", format=".3f")]
    line = alt.Chart(drawn).mark_line(strokeWidth=1.4, strokeDash=[5, 4], clip=True)
    return [
        line.encode(
            x=x, y=_accuracy_axis("accuracy", domain), color=_colour("predictor", names, "model"), tooltip=tooltip
        )
    ]


def _reference_lines(baselines: pl.DataFrame, ceiling: float | None, sizes: list[float], x: str) -> pl.DataFrame:
    """Columns line, x, accuracy: the baselines, and the truth over the full range."""
    lines = baselines.sort("predictor", "n_train_pairs").select(x, "accuracy", line="predictor")
    flat = [] if ceiling is None else [("truth", ceiling)]
    if x != "n_train_pairs":  # each baseline at its largest size
        ends = lines.group_by("line", maintain_order=True).last()
        flat += ends.select("line", "accuracy").rows()
        lines = lines.clear()
    rows = [{x: size, "accuracy": value, "line": line} for line, value in flat for size in (sizes[0], sizes[-1])]
    return pl.concat([lines, pl.DataFrame(rows, schema=lines.schema)])


def _line_ends(lines: pl.DataFrame, gap: float) -> pl.DataFrame:
    """The last point of each line with its label, moved apart where labels would overlap."""
    ends = lines.group_by("line", maintain_order=True).last()
    names = [f"{NAMES.get(row['line'], row['line'])} {row['accuracy']:.3f}" for row in ends.iter_rows(named=True)]
    positions = pl.Series("accuracy", spread(ends["accuracy"].to_list(), gap), dtype=pl.Float64)
    return ends.with_columns(positions, label=pl.Series(names, dtype=pl.String))


def _log_axis(column: str, title: str, sizes: list[float], number_format: str, room: float) -> alt.X:
    ratio = max(2.0, sizes[-1] / max(sizes[0], 1e-3)) if sizes else 2.0
    domain = [sizes[0] * ratio**-0.04, sizes[-1] * ratio**room] if sizes else [1, 10]
    # Sizes are chosen, so they are the ticks; tokens and times are measured.
    ticks = {"values": sizes} if all(isinstance(size, int) for size in sizes) else {"tickCount": MAX_TICKS}
    return alt.X(
        f"{column}:Q",
        title=title,
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=alt.Axis(
            **ticks,
            format=number_format,
            labelOverlap=True,
            grid=False,
            titleAnchor="start",
        ),
    )


def _accuracy_domain(curve: pl.DataFrame, ceiling: float | None) -> tuple[float, float]:
    low = min(0.49, smallest(curve["accuracy_low"])) - 0.01
    high = max(0.55, largest(curve["accuracy_high"]), ceiling or 0.0) + 0.015
    return max(0.0, low), min(1.0, high)


def _accuracy_axis(column: str, domain: tuple[float, float]) -> alt.Y:
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    return alt.Y(f"{column}:Q", title="accuracy on the test pairs", scale=scale, axis=alt.Axis(format=".2f"))
