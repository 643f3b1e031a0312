"""Accuracy against data size and against model size."""

import altair as alt
import polars as pl

from lurker.charts.look import (
    BASELINE,
    POINT_AREA_PX,
    TEXT,
    accuracy_tooltips,
    largest,
    layered,
    shapes,
    share_axis,
    size_colours,
    smallest,
    spread,
)
from lurker.decimals import decimal

DASHES = {"length": [2, 2], "time": [6, 3], "both": [9, 3, 2, 3], "tfidf": [1, 3], "truth": [1, 0]}
NAMES = {
    "length": "length alone",
    "time": "time alone",
    "both": "time + length",
    "tfidf": "TF-IDF",
    "truth": "the truth",
}
SHORTCUTS = ("length", "time", "both")
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
LABEL_ROOM = 0.4
"""Room for those labels right of the largest data size, as a share of the log range of sizes."""


def accuracy_by_data(
    curve: pl.DataFrame,
    ceiling: float | None = None,
    fit: pl.DataFrame | None = None,
    x: str = "n_train_pairs",
    shortcuts: bool = True,
) -> alt.LayerChart:
    """Accuracy against the data (log): a line per model with its 95 % band, names at the line ends, baselines dashed.

    Args:
        curve: as returned by `lurker.seeds.mean_over_seeds`.
        ceiling: accuracy of the simulator's truth on the same test pairs.
        fit: predictor, the column x and accuracy of a fitted curve, drawn dashed in the colour of its model.
        x: column of the horizontal axis, of AMOUNTS; baselines have no tokens and time, and are drawn flat there.
        shortcuts: whether baselines that read no text are drawn.
    """
    models = curve.filter(~pl.col("is_baseline")).sort("n_parameters", "predictor", "n_train_pairs")
    sizes = sorted((curve if x == "n_train_pairs" else models)[x].drop_nulls().unique())
    is_drawn = pl.col("is_baseline") & (pl.lit(shortcuts) | ~pl.col("predictor").is_in(SHORTCUTS))
    flat = _reference_lines(curve.filter(is_drawn), ceiling, sizes, x)
    drawn = pl.concat([models, curve.filter(is_drawn)])
    domain = _accuracy_domain(drawn, ceiling, with_chance=shortcuts)
    axis = _log_axis(x, f"{AMOUNTS[x]} (log scale)", sizes, "~s", room=LABEL_ROOM)
    title = "Accuracy against data" if x == "n_train_pairs" else f"Accuracy against {AMOUNTS[x]}"
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=list(DASHES), range=list(DASHES.values())), legend=None)
    reference = alt.Chart(flat).mark_line(color=BASELINE, strokeWidth=1.8)
    ends = _line_ends(flat, models, x, LABEL_GAP * (domain[1] - domain[0]))
    return layered(
        reference.encode(x=axis, y=_accuracy_axis("accuracy", domain), strokeDash=dash),
        *_model_lines(models, "predictor", axis, domain),
        *_fitted_lines(models, fit, axis, domain),
        *_end_labels(ends, models["predictor"].unique(maintain_order=True).to_list(), axis, domain),
    ).properties(height=HEIGHT_PX, title=title)


def accuracy_by_parameters(curve: pl.DataFrame) -> alt.LayerChart:
    """Accuracy against model size (log): one line per data size with its 95 % band and its name at the end.

    Args:
        curve: as returned by `lurker.seeds.mean_over_seeds`; baselines have no size and are left out.
    """
    models = (
        curve.filter(~pl.col("is_baseline") & pl.col("n_parameters").is_not_null())
        .sort("n_train_pairs", "n_parameters")
        .with_columns(data=pl.col("n_train_pairs").map_elements(lambda n: f"{n:,} pairs", return_dtype=pl.String))
    )
    sizes = sorted(models["n_parameters"].unique())
    x = _log_axis("n_parameters", "parameters without embeddings (log scale)", sizes, ".2~s", room=LABEL_ROOM / 2)
    domain = _accuracy_domain(models, None, with_chance=False)
    lines = models.select("n_parameters", "accuracy", line="data")
    ends = _line_ends(lines.clear(), lines, "n_parameters", LABEL_GAP * (domain[1] - domain[0]))
    names = models["data"].unique(maintain_order=True).to_list()
    drawn = layered(*_model_lines(models, "data", x, domain), *_end_labels(ends, names, x, domain))
    return drawn.properties(height=HEIGHT_PX, title="Accuracy against model size")


def _model_lines(models: pl.DataFrame, column: str, x: alt.X, domain: tuple[float, float]) -> list[alt.Chart]:
    """Band, seeds, line and points per value of `column`, in the frame's order; the band is stronger on hover."""
    names = models[column].unique(maintain_order=True).to_list()
    colour = _colour(column, names)
    shape = alt.Shape(f"{column}:N", sort=names, scale=shapes(names), legend=None)
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
    near = alt.selection_point(
        name="near", fields=[column], on="pointerover", clear="pointerout", nearest=True, empty=False
    )
    band = alt.condition(near, alt.value(0.25), alt.value(0.07))
    layers = [base.mark_area().encode(y=_accuracy_axis("accuracy_low", domain), y2="accuracy_high:Q", opacity=band)]
    if largest(models["n_seeds"]) > 1:
        seeds = base.mark_point(filled=True, size=22, opacity=0.45)
        layers += [seeds.encode(y=_accuracy_axis(end, domain)) for end in ("lowest_seed", "highest_seed")]
    layers.append(base.mark_line(strokeWidth=2.5).encode(y=y))
    points = base.mark_point(filled=True, size=POINT_AREA_PX, opacity=1).encode(y=y, shape=shape, tooltip=tooltips)
    return [*layers, points.add_params(near)]


def _colour(column: str, names: list[str]) -> alt.Color:
    return alt.Color(f"{column}:N", sort=names, scale=size_colours(names), legend=None)


def _fitted_lines(
    models: pl.DataFrame, fit: pl.DataFrame | None, x: alt.X, domain: tuple[float, float]
) -> list[alt.Chart]:
    """The fitted curve of each model that is drawn; none without a fit."""
    names = models["predictor"].unique(maintain_order=True).to_list()
    drawn = None if fit is None else fit.filter(pl.col("predictor").is_in(names))
    if drawn is None or drawn.is_empty():
        return []
    line = alt.Chart(drawn).mark_line(strokeWidth=1.4, strokeDash=[5, 4], clip=True)
    return [line.encode(x=x, y=_accuracy_axis("accuracy", domain), color=_colour("predictor", names))]


def _end_labels(ends: pl.DataFrame, names: list[str], x: alt.X, domain: tuple[float, float]) -> list[alt.Chart]:
    """Names and figures right of the lines: of models in their colour, of all else in grey."""
    y = _accuracy_axis("accuracy", domain)
    base = alt.Chart(ends.with_columns(is_model=pl.col("line").is_in(names))).encode(x=x, y=y, text="label:N")
    models = base.transform_filter("datum.is_model").mark_text(align="left", dx=10, fontSize=13, fontWeight=600)
    others = base.transform_filter("!datum.is_model").mark_text(align="left", dx=10, fontSize=13, color=TEXT)
    scale = size_colours(names)
    return [models.encode(color=alt.Color("line:N", sort=names, scale=scale, legend=None)), others]


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


def _line_ends(flat: pl.DataFrame, models: pl.DataFrame, x: str, gap: float) -> pl.DataFrame:
    """The last point of each line with its label, moved apart where labels would overlap.

    Args:
        flat: columns line, x, accuracy: the baselines and the truth.
        models: the same with the names in `predictor` or `line`.
    """
    named = models if "line" in models.columns else models.rename({"predictor": "line"})
    columns = (x, "accuracy", "line")
    lines = pl.concat([named.select(columns).cast(flat.select(columns).schema), flat.select(columns)])
    ends = lines.drop_nulls().sort(x, maintain_order=True).group_by("line", maintain_order=True).last()
    names = [f"{NAMES.get(row['line'], row['line'])} {decimal(row['accuracy'])}" for row in ends.iter_rows(named=True)]
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


def _accuracy_domain(curve: pl.DataFrame, ceiling: float | None, *, with_chance: bool) -> tuple[float, float]:
    low = min(0.49 if with_chance else 1.0, smallest(curve["accuracy_low"])) - 0.01
    high = max(0.55, largest(curve["accuracy_high"]), ceiling or 0.0) + 0.015
    return max(0.0, low), min(1.0, high)


def _accuracy_axis(column: str, domain: tuple[float, float]) -> alt.Y:
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    return alt.Y(f"{column}:Q", title=None, scale=scale, axis=share_axis(tickCount=7))
