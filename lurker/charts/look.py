"""Colours by role, shapes and small parts that the charts share.

A chart is drawn in the colours of the light page; `on_page` turns its specification to the light or the dark one. Every
colour is dark (or light) enough to be text on its page, and any two of SERIES are told apart under deuteranopia and
protanopia. A known name has one colour and shape in every chart, whatever else is drawn.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import altair as alt
import polars as pl

PAPER, INK, TEXT, GRID = "#FFFFFF", "#18222D", "#55606C", "#DDE2E7"
LEAK, TASTE, BASELINE = "#C4480F", "#0B6BB0", "#6B7480"
"""What shortcuts know; what a model of the text learns; what needs no training of a model."""
GREEN, VIOLET, BROWN = "#008060", "#3A1A66", "#5C3A00"
SERIES = (TASTE, LEAK, GREEN, VIOLET, BROWN)
SIZES = ("#2D74AE", "#0B5A96", "#064472", "#052F50")
"""Model sizes, the smallest first."""
DARK = {
    PAPER: "#10151B",
    INK: "#E6EAEF",
    TEXT: "#A7B0BB",
    GRID: "#39434E",
    LEAK: "#F2915A",
    TASTE: "#62B6F2",
    BASELINE: "#9AA4B1",
    GREEN: "#D8F5E4",
    VIOLET: "#8B7BF0",
    BROWN: "#F2E36B",
    **dict(zip(SIZES, ("#4F9BD3", "#8CC6F0", "#B5DCF7", "#DCEFFC"), strict=True)),
}
"""Colour of the light page -> colour of the dark page."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
KNOWN = ("balanced", "naive", "matched", "weighted", "hard-test", "external", "paired")
"""Names whose place among colours and shapes is fixed."""
BASELINES = ("tfidf", "TF-IDF", "length", "time", "both", "length alone", "time alone", "TF-IDF alone")

OPEN = "open"
"""Name of the selection by which a click opens what a mark stands for."""
POINT_AREA_PX, RULE_PX = 90, 3
LABEL_SIZE = "labelSize"
"""Name of the parameter of a chart that is the size of its labels, which are smaller in print."""
CHARACTER_WIDTH, LABEL_GAP_PX = 0.54, 12
"""Mean width of a character as a share of the text's size, in bold; gap between a mark and its label."""
FONT = "Source Sans, Source Sans Pro, sans-serif"

HorizontalAxis = Callable[[str], alt.X]
"""Column -> axis; layers that share it have one scale."""


def colours(names: Sequence[str]) -> alt.Scale:
    """One colour per name; known names keep theirs, baselines are grey, others take what is left, then repeat."""
    return alt.Scale(domain=list(names), range=_assigned(names, SERIES, BASELINE))


def shapes(names: Sequence[str]) -> alt.Scale:
    """One shape per name, as `colours`."""
    return alt.Scale(domain=list(names), range=_assigned(names, SHAPES, SHAPES[-1]))


def size_colours(names: Sequence[str]) -> alt.Scale:
    """A darker blue per name, the smallest model first; neighbours share one when there are more than SIZES."""
    last = max(1, len(names) - 1)
    picked = [SIZES[round(place * (len(SIZES) - 1) / last)] for place in range(len(names))]
    return alt.Scale(domain=list(names), range=picked if len(names) > 1 else [TASTE])


def _assigned(names: Sequence[str], values: Sequence[str], of_baselines: str) -> list[str]:
    places = {name: KNOWN.index(name) % len(values) for name in names if name in KNOWN}
    free = [place for place in range(len(values)) if place not in places.values()] or list(range(len(values)))
    others = [name for name in names if name not in KNOWN and name not in BASELINES]
    places |= {name: free[rank % len(free)] for rank, name in enumerate(others)}
    return [of_baselines if name in BASELINES else values[places[name]] for name in names]


def on_page(spec: dict[str, Any], *, is_dark: bool) -> dict[str, Any]:
    """A chart's specification in the colours, fonts and sizes of a page; its own title is left to the page."""
    kept = {name: value for name, value in spec.items() if name not in ("config", "title", "datasets")}
    ink, text, grid = (DARK[colour] if is_dark else colour for colour in (INK, TEXT, GRID))
    label = {"labelColor": text, "titleColor": text, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 400}
    config = {
        "font": FONT,
        "background": "transparent",
        "view": {"stroke": None},
        "mark": {"tooltip": None},
        "axis": label | {"gridColor": grid, "gridOpacity": 0.45, "domain": False, "tickSize": 0, "labelPadding": 6},
        "legend": label | {"labelLimit": 260, "symbolOpacity": 1, "orient": "top"},
        "title": {"color": ink, "fontSize": 14, "anchor": "start"},
    }
    return cast(dict[str, Any], _recoloured(kept, is_dark)) | {"datasets": spec.get("datasets", {}), "config": config}


def _recoloured(part: Any, is_dark: bool) -> Any:
    if isinstance(part, dict):
        return {name: _recoloured(value, is_dark) for name, value in part.items()}
    if isinstance(part, list):
        return [_recoloured(one, is_dark) for one in part]
    return DARK.get(part, part) if is_dark and isinstance(part, str) else part


def share_axis(**options: Any) -> alt.Axis:
    """An axis of accuracies or differences: 0.65, 0.70."""
    return alt.Axis(format=".2f", **options)


def accuracy_tooltips() -> list[alt.Tooltip]:
    """Accuracy and its interval."""
    return [
        alt.Tooltip("accuracy:Q", format=".3f"),
        alt.Tooltip("accuracy_low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("accuracy_high:Q", title="to", format=".3f"),
    ]


def accuracy_axis(frame: pl.DataFrame, title: str | None, *, room: float) -> HorizontalAxis:
    """A horizontal axis that contains chance (0.5) and every interval of the frame.

    Args:
        frame: columns accuracy_low, accuracy_high.
        room: extra accuracy on the right, for labels.
    """
    low = min(0.47, smallest(frame["accuracy_low"]) - 0.01)
    high = min(1.02, max(0.55, largest(frame["accuracy_high"]) + room))
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    return lambda column: alt.X(f"{column}:Q", title=title, scale=scale, axis=share_axis(tickCount=8))


def marker(value: float, axis: HorizontalAxis) -> alt.Chart:
    """A dashed vertical line, such as at chance."""
    rule = alt.Chart(pl.DataFrame({"value": [value]})).mark_rule(color=TEXT, strokeDash=[5, 3], strokeWidth=1.5)
    return cast(alt.Chart, rule.encode(x=axis("value")))


def selects(*columns: str) -> alt.Parameter:
    """A click on a mark selects it, under the name OPEN with these columns, for the page to lead on to it."""
    return alt.selection_point(name=OPEN, fields=list(columns), on="click", clear=False, empty=False)


def layered(*layers: alt.Chart) -> alt.LayerChart:
    """Charts drawn on top of each other, the first at the bottom."""
    return cast(alt.LayerChart, alt.layer(*layers))


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Positions of labels in the order of `values`: near their values and at least `gap` apart."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    blocks: list[tuple[float, int]] = []  # centre and size of labels that touch each other
    for index in order:
        centre, size = values[index], 1
        while blocks and centre - blocks[-1][0] < gap * (size + blocks[-1][1]) / 2:
            other_centre, other_size = blocks.pop()
            centre = (centre * size + other_centre * other_size) / (size + other_size)
            size += other_size
        blocks.append((centre, size))
    placed = [centre + gap * (rank - (size - 1) / 2) for centre, size in blocks for rank in range(size)]
    positions = dict(zip(order, placed, strict=True))
    return [positions[index] for index in range(len(values))]


def label_size(px: float) -> alt.Parameter:
    """The size of a chart's labels, for `room_right`."""
    return alt.param(name=LABEL_SIZE, value=px)


def room_right(first: float, last: float, labels: Sequence[str]) -> alt.ExprRef:
    """The end of a log scale from `first` that leaves room for labels right of `last`, however wide the chart is.

    Labels take at most half of a chart, which has the parameter `label_size`.
    """
    longest = max((len(label) for label in labels), default=0)
    label = f"({LABEL_GAP_PX} + {CHARACTER_WIDTH * longest:.2f} * {LABEL_SIZE})"
    width = f"max(width, 2 * {label})"
    return alt.expr(f"{first!r} * pow({last / first!r}, {width} / ({width} - {label}))")


def smallest(values: pl.Series) -> float:
    """The smallest of at least one number."""
    return float(cast(float, values.min()))


def largest(values: pl.Series) -> float:
    """The largest of at least one number."""
    return float(cast(float, values.max()))
