"""Accuracy against data size and against model size."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from lurker import fits
from lurker.charts.ceiling import Ceiling
from lurker.charts.look import (
    BASELINE,
    POINT_AREA_PX,
    TEXT,
    accuracy_tooltips,
    label_size,
    largest,
    layered,
    room_right,
    selects,
    shapes,
    share_axis,
    size_colours,
    smallest,
    spread,
)
from lurker.decimals import decimal
from lurker.fits import Interval

LIMIT = "limit of the fit"
DASHES = {"length": [2, 2], "time": [6, 3], "both": [9, 3, 2, 3], "tfidf": [1, 3], LIMIT: [2, 4]}
SOLID = [1, 0]
NAMES = {"length": "length alone", "time": "time alone", "both": "time + length", "tfidf": "TF-IDF"}
SHORTCUTS = ("length", "time", "both")
AMOUNTS = {
    "n_train_pairs": "training pairs",
    "n_tokens": "tokens read in training",
    "train_time_s": "seconds of training",
}
"""Columns that measure the data of a run, in words."""
MAX_TICKS = 8
HEIGHT_PX = 460
BESIDE_PX = -9
"""Where a prediction stands, beside the point that came."""
LABEL_GAP = 0.05
"""Smallest distance between two labels at the line ends, as a share of the axis."""
LABEL_PX = 13
"""Size of those labels."""
MOST_ABOVE = 0.1
"""How far above all points the limit of a fit may lie and still be drawn: the points would shrink to a line."""
BAND_OPACITY = 0.1
"""Of the bands around a ceiling and a limit."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A curve that was fitted to the runs of an experiment."""

    curve: pl.DataFrame
    """predictor, the column of the axis, n_parameters, accuracy"""
    limit: Interval | None = None
    """accuracy with ever more data and parameters"""
    predicted: Interval | None = None
    """accuracy of the largest model at the largest data size, as the others predict it"""

    @classmethod
    def of(cls, curve: pl.DataFrame, figures: Iterable[Mapping[str, Any]]) -> "Fitted":
        """The curve with what the figures of its fit say."""
        return cls(curve, fits.accuracy_of(figures, fits.LIMIT), fits.accuracy_of(figures, fits.HELD_OUT))

    @property
    def note(self) -> str:
        """How to read what it adds to the chart."""
        parts = ["Dashed in the colour of a model: its fitted curve"]
        if self.predicted is not None:
            parts.append("open diamond beside the largest size: what the smaller ones predict of it")
        return f"{'; '.join([*parts, 'grey bands: 95 % intervals'])}."


def accuracy_by_data(
    curve: pl.DataFrame,
    ceiling: Ceiling | None = None,
    fit: Fitted | None = None,
    x: str = "n_train_pairs",
    shortcuts: bool = True,
) -> alt.LayerChart:
    """Accuracy against the data (log): a line per model with its 95 % band, names at the line ends, baselines dashed.

    Args:
        curve: as returned by `lurker.seeds.mean_over_seeds`.
        ceiling: what no model can exceed on the same test pairs, a line and the band of its interval.
        fit: drawn dashed in the colour of each model, with its limit, and what it predicts of the largest size as an
            open diamond.
        x: column of the horizontal axis, of AMOUNTS; baselines have no tokens and time, and are drawn flat there.
        shortcuts: whether baselines that read no text are drawn.
    """
    models = curve.filter(~pl.col("is_baseline")).sort("n_parameters", "predictor", "n_train_pairs")
    sizes = sorted((curve if x == "n_train_pairs" else models)[x].drop_nulls().unique())
    is_drawn = pl.col("is_baseline") & (pl.lit(shortcuts) | ~pl.col("predictor").is_in(SHORTCUTS))
    drawn = pl.concat([models, curve.filter(is_drawn)])
    levels = [] if ceiling is None else [ceiling]
    limit = None if fit is None else fit.limit
    if limit is not None and limit[0] <= largest(drawn["accuracy_high"]) + MOST_ABOVE:
        levels.append(Ceiling(LIMIT, *limit))
    flat = _reference_lines(curve.filter(is_drawn), levels, sizes, x)
    domain = _accuracy_domain(drawn, levels, with_chance=shortcuts)
    title = "Accuracy against data" if x == "n_train_pairs" else f"Accuracy against {AMOUNTS[x]}"
    dashes = DASHES | {level.name: SOLID for level in levels if level.name not in DASHES}
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=list(dashes), range=list(dashes.values())), legend=None)
    reference = alt.Chart(flat).mark_line(color=BASELINE, strokeWidth=1.8)
    ends = _line_ends(flat, models, x, LABEL_GAP * (domain[1] - domain[0]))
    axis = _log_axis(x, f"{AMOUNTS[x]} (log scale)", sizes, "~s", ends["label"].to_list())
    chart = layered(
        *_bands(levels, sizes, axis, x, domain),
        reference.encode(x=axis, y=_accuracy_axis("accuracy", domain), strokeDash=dash),
        *_model_lines(models, "predictor", axis, domain),
        *_fitted_lines(models, fit, axis, x, domain),
        *_end_labels(ends, models["predictor"].unique(maintain_order=True).to_list(), axis, domain),
    )
    return chart.add_params(label_size(LABEL_PX)).properties(height=HEIGHT_PX, title=title)


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
    domain = _accuracy_domain(models, (), with_chance=False)
    lines = models.select("n_parameters", "accuracy", line="data")
    ends = _line_ends(lines.clear(), lines, "n_parameters", LABEL_GAP * (domain[1] - domain[0]))
    names = models["data"].unique(maintain_order=True).to_list()
    x = _log_axis("n_parameters", "parameters without embeddings (log scale)", sizes, ".2~s", ends["label"].to_list())
    drawn = layered(*_model_lines(models, "data", x, domain), *_end_labels(ends, names, x, domain))
    return drawn.add_params(label_size(LABEL_PX)).properties(height=HEIGHT_PX, title="Accuracy against model size")


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
    points = base.mark_point(filled=True, size=POINT_AREA_PX, opacity=1, cursor="pointer")
    drawn = points.encode(y=y, shape=shape, tooltip=tooltips)
    return [*layers, drawn.add_params(near, selects("predictor", "n_train_pairs"))]


def _colour(column: str, names: list[str]) -> alt.Color:
    return alt.Color(f"{column}:N", sort=names, scale=size_colours(names), legend=None)


def _fitted_lines(
    models: pl.DataFrame, fit: Fitted | None, axis: alt.X, x: str, domain: tuple[float, float]
) -> list[alt.Chart]:
    """The fitted curve of each model that is drawn, and what it predicts of the largest size; none without a fit."""
    names = models["predictor"].unique(maintain_order=True).to_list()
    if fit is None or (drawn := fit.curve.filter(pl.col("predictor").is_in(names))).is_empty():
        return []
    colour, y = _colour("predictor", names), _accuracy_axis("accuracy", domain)
    line = alt.Chart(drawn).mark_line(strokeWidth=1.4, strokeDash=[5, 4], clip=True)
    layers = [line.encode(x=axis, y=y, color=colour)]
    if fit.predicted is None:
        return layers
    largest_model = drawn.sort("n_parameters")["predictor"][-1]
    came = models.filter(pl.col("predictor") == largest_model).sort(x).tail(1)
    value, low, high = fit.predicted
    predicted = came.select(x, "predictor", came="accuracy").with_columns(accuracy=value, low=low, high=high)
    tooltips = [
        alt.Tooltip("predictor:N", title="predicted from the smaller sizes"),
        alt.Tooltip("accuracy:Q", format=".3f"),
        alt.Tooltip("low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
        alt.Tooltip("came:Q", title="what came", format=".3f"),
    ]
    base = alt.Chart(predicted).encode(x=axis, color=colour)
    ends = base.mark_rule(strokeWidth=1.5, strokeDash=[2, 2], xOffset=BESIDE_PX, clip=True)
    point = base.mark_point(shape="diamond", size=130, strokeWidth=2, xOffset=BESIDE_PX, opacity=1, clip=True)
    layers.append(ends.encode(y=_accuracy_axis("low", domain), y2="high:Q"))
    return [*layers, point.encode(y=y, tooltip=tooltips)]


def _bands(
    levels: Sequence[Ceiling], sizes: Sequence[float], axis: alt.X, x: str, domain: tuple[float, float]
) -> list[alt.Chart]:
    """The intervals of ceilings and limits, over the full range of sizes."""
    if not levels:
        return []
    ends = {"low": [max(domain[0], one.low) for one in levels], "high": [min(domain[1], one.high) for one in levels]}
    frame = pl.DataFrame({x: [sizes[0]] * len(levels), "last": [sizes[-1]] * len(levels), **ends})
    band = alt.Chart(frame).mark_rect(color=BASELINE, opacity=BAND_OPACITY, clip=True)
    return [band.encode(x=axis, x2="last:Q", y=_accuracy_axis("low", domain), y2="high:Q")]


def _end_labels(ends: pl.DataFrame, names: list[str], x: alt.X, domain: tuple[float, float]) -> list[alt.Chart]:
    """Names and figures right of the lines: of models in their colour, of all else in grey."""
    y = _accuracy_axis("accuracy", domain)
    base = alt.Chart(ends.with_columns(is_model=pl.col("line").is_in(names))).encode(x=x, y=y, text="label:N")
    models = base.transform_filter("datum.is_model").mark_text(align="left", dx=10, fontSize=LABEL_PX, fontWeight=600)
    others = base.transform_filter("!datum.is_model").mark_text(align="left", dx=10, fontSize=LABEL_PX, color=TEXT)
    scale = size_colours(names)
    return [models.encode(color=alt.Color("line:N", sort=names, scale=scale, legend=None)), others]


def _reference_lines(
    baselines: pl.DataFrame, levels: Sequence[Ceiling], sizes: Sequence[float], x: str
) -> pl.DataFrame:
    """Columns line, x, accuracy: the baselines, and ceilings and limits over the full range."""
    lines = baselines.sort("predictor", "n_train_pairs").select(x, "accuracy", line="predictor")
    flat = [(level.name, level.accuracy) for level in levels]
    if x != "n_train_pairs":  # each baseline at its largest size
        ends = lines.group_by("line", maintain_order=True).last()
        flat += ends.select("line", "accuracy").rows()
        lines = lines.clear()
    rows = [{x: size, "accuracy": value, "line": line} for line, value in flat for size in (sizes[0], sizes[-1])]
    return pl.concat([lines, pl.DataFrame(rows, schema=lines.schema)])


def _line_ends(flat: pl.DataFrame, models: pl.DataFrame, x: str, gap: float) -> pl.DataFrame:
    """The last point of each line with its label, moved apart where labels would overlap.

    Args:
        flat: columns line, x, accuracy: what is not a model.
        models: the same with the names in `predictor` or `line`.
    """
    named = models if "line" in models.columns else models.rename({"predictor": "line"})
    columns = (x, "accuracy", "line")
    lines = pl.concat([named.select(columns).cast(flat.select(columns).schema), flat.select(columns)])
    ends = lines.drop_nulls().sort(x, maintain_order=True).group_by("line", maintain_order=True).last()
    names = [f"{NAMES.get(row['line'], row['line'])} {decimal(row['accuracy'])}" for row in ends.iter_rows(named=True)]
    positions = pl.Series("accuracy", spread(ends["accuracy"].to_list(), gap), dtype=pl.Float64)
    return ends.with_columns(positions, label=pl.Series(names, dtype=pl.String))


def _log_axis(column: str, title: str, sizes: list[float], number_format: str, labels: list[str]) -> alt.X:
    """A log axis of the sizes with room for labels right of the largest."""
    first, last = (sizes[0], max(sizes[-1], 2 * sizes[0])) if sizes else (1.0, 10.0)
    start = first * (first / last) ** 0.04
    domain = [start, room_right(start, last, labels)]
    # Sizes are chosen, so they are the ticks; tokens and times are measured.
    ticks = sizes if all(isinstance(size, int) for size in sizes) else _round_values(start, last)
    return alt.X(
        f"{column}:Q",
        title=title,
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=alt.Axis(
            values=ticks,
            format=number_format,
            labelOverlap=True,
            grid=False,
            titleAnchor="start",
        ),
    )


def _round_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within a range; of a wide one, the powers."""
    powers = [10.0**power for power in range(math.floor(math.log10(max(low, 1e-3))), math.ceil(math.log10(high)) + 1)]
    fine, coarse = ([times * power for power in powers for times in steps] for steps in ((1, 2, 5), (1,)))
    within = [[value for value in values if low <= value <= high] for values in (fine, coarse)]
    return within[0] if len(within[0]) <= MAX_TICKS else within[1]


def _accuracy_domain(curve: pl.DataFrame, levels: Sequence[Ceiling], *, with_chance: bool) -> tuple[float, float]:
    low = min(0.49 if with_chance else 1.0, smallest(curve["accuracy_low"])) - 0.01
    high = max(0.55, largest(curve["accuracy_high"]), *(level.accuracy for level in levels)) + 0.015
    return max(0.0, low), min(1.0, high)


def _accuracy_axis(column: str, domain: tuple[float, float]) -> alt.Y:
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    return alt.Y(f"{column}:Q", title=None, scale=scale, axis=share_axis(tickCount=7))
