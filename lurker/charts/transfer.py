"""Source × target: accuracy in communities that a model was not trained on."""

from collections.abc import Callable

import altair as alt
import polars as pl

from lurker.charts.look import accuracy_tooltips, largest, layered, selects, smallest
from lurker.decimals import decimal, signed

CELL_HEIGHT_PX = 78
MOST_LEVEL = 5
"""Communities whose names fit above their columns without being turned."""
ITSELF = "the target itself"
DARK_INK, LIGHT_INK = "#15202B", "#FEFEFE"
"""On a cell, whose colours are the same on the light and the dark page: none of those that `on_page` changes."""


def transfer_matrix(cells: pl.DataFrame, differences: pl.DataFrame | None = None) -> pl.DataFrame:
    """Average a TRANSFER table over seeds: one row per predictor, source and target.

    `difference` is the accuracy minus that of the same predictor trained on the target; null if that was not run. Its
    interval and that of the accuracy are those of TRANSFER_DIFFERENCES, where it is given.
    """
    keys = ["predictor", "is_baseline", "source", "target", "pairs", "test_pairs"]
    means = cells.group_by(keys).agg(
        n_train_pairs=pl.col("n_train_pairs").max(),
        n_seeds=pl.len().cast(pl.Int64),
        n_test_pairs=pl.col("n_test_pairs").max(),
        accuracy=pl.col("accuracy").mean(),
        accuracy_low=pl.col("accuracy_low").mean(),
        accuracy_high=pl.col("accuracy_high").mean(),
    )
    home_keys = ["predictor", "target", "pairs", "test_pairs"]
    home = means.filter(pl.col("source") == pl.col("target")).select(*home_keys, home="accuracy")
    matrix = means.join(home, on=home_keys, how="left").with_columns(difference=pl.col("accuracy") - pl.col("home"))
    matrix = matrix.drop("home").sort("is_baseline", "predictor", "source", "target", "pairs", "test_pairs")
    if differences is None:
        return matrix.with_columns(difference_low=pl.lit(None, pl.Float64), difference_high=pl.lit(None, pl.Float64))
    intervals = differences.select(
        *("predictor", "source", "target", "accuracy_low", "accuracy_high", "difference_low", "difference_high")
    )
    keys = ["predictor", "source", "target"]
    return matrix.drop("accuracy_low", "accuracy_high").join(intervals, on=keys, how="left", maintain_order="left")


def transfer_heatmap(matrix: pl.DataFrame, *, difference: bool = False, is_narrow: bool = False) -> alt.LayerChart:
    """Heatmap of source × target with the figure written in each cell.

    Args:
        matrix: as returned by `transfer_matrix`, of one predictor.
        difference: show the difference from in-domain training instead of accuracy and interval.
        is_narrow: leave out intervals, and turn the communities' names.
    """
    if set(matrix["source"]) - set(matrix["target"]):  # pooled or leave-one-out: in-domain is one row of its own
        own = pl.when(pl.col("source") == pl.col("target")).then(pl.lit(ITSELF)).otherwise("source")
        matrix = matrix.with_columns(source=own)
    name, render = ("difference", signed) if difference else ("accuracy", decimal)
    cells = matrix.with_columns(
        figure=_text(name, render),
        interval=pl.format("[{}, {}]", _text(f"{name}_low", render), _text(f"{name}_high", render)),
    )
    has_interval = cells["interval"].null_count() < cells.height
    cells = cells.with_columns(pl.col("interval").fill_null(""))
    order = communities(cells)
    angle = -90 if is_narrow else -35 if cells["target"].n_unique() > MOST_LEVEL else 0
    column, scale, is_dark = _difference_scale(cells) if difference else _accuracy_scale(cells)
    ink = alt.condition(is_dark, alt.value(LIGHT_INK), alt.value(DARK_INK))
    band = alt.Scale(paddingInner=0.03, paddingOuter=0)
    base = alt.Chart(cells).encode(
        x=alt.X(
            "target:N",
            title="tested on",
            sort=order,
            scale=band,
            axis=alt.Axis(orient="top", labelAngle=angle, labelLimit=140, labelFontSize=13),
        ),
        y=alt.Y(
            "source:N", title="trained on", sort=order, scale=band, axis=alt.Axis(labelLimit=180, labelFontSize=13)
        ),
    )
    tooltips = [
        alt.Tooltip("source:N", title="trained on"),
        alt.Tooltip("target:N", title="tested on"),
        *accuracy_tooltips(),
        alt.Tooltip("difference:Q", title="from in-domain", format="+.3f"),
        alt.Tooltip("difference_low:Q", title="95 % from", format="+.3f"),
        alt.Tooltip("difference_high:Q", title="to", format="+.3f"),
        alt.Tooltip("n_train_pairs:Q", title="training pairs", format=","),
        alt.Tooltip("n_test_pairs:Q", title="test pairs", format=","),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]
    colour = alt.Color(f"{column}:Q", title=column, scale=scale, legend=None)
    with_interval = has_interval and not is_narrow
    layers = [
        base.mark_rect(cornerRadius=4, cursor="pointer")
        .encode(color=colour, tooltip=tooltips)
        .add_params(selects("target")),
        base.mark_text(fontSize=11 if is_narrow else 17, fontWeight=600, dy=-8 if with_interval else 0).encode(
            text="figure:N", color=ink
        ),
    ]
    if with_interval:
        layers.append(base.mark_text(fontSize=11, dy=12).encode(text="interval:N", color=ink))
    title = "Accuracy gained or lost by training elsewhere" if difference else "Accuracy by community"
    return layered(*layers).properties(height=100 + CELL_HEIGHT_PX * cells["source"].n_unique(), title=title)


def communities(matrix: pl.DataFrame) -> list[str]:
    """Communities in axis order: those that are both source and target first, so that they form the diagonal."""
    sources, targets = set(matrix["source"]), set(matrix["target"])
    return [*sorted(sources & targets), *sorted(sources ^ targets)]


def _accuracy_scale(cells: pl.DataFrame) -> tuple[str, alt.Scale, str]:
    low, high = smallest(cells["accuracy"]), largest(cells["accuracy"])
    if high - low < 0.02:
        low, high = low - 0.01, high + 0.01
    # Cividis looks the same with and without colour vision deficiency (Nuñez et al. 2018).
    return "accuracy", alt.Scale(domain=[low, high], scheme="cividis"), f"datum.accuracy < {low + 0.55 * (high - low)}"


def _difference_scale(cells: pl.DataFrame) -> tuple[str, alt.Scale, str]:
    reach = max(0.01, largest(cells["difference"].abs()))
    scale = alt.Scale(domain=[-reach, 0, reach], range=["#B35806", "#F7F7F7", "#2166AC"], interpolate="lab")
    return "difference", scale, f"abs(datum.difference) > {0.6 * reach}"


def _text(column: str, render: Callable[[float], str]) -> pl.Expr:
    return pl.col(column).map_elements(render, return_dtype=pl.String)
