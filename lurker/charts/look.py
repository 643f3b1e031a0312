"""Colours, shapes and small pieces that the charts share.

Colours are those of Okabe & Ito (2008, "Color universal design"): people with any colour vision tell them apart, and
they are readable on a light and a dark page. Shapes repeat what colours say; text is a mid grey for both pages.
"""

from collections.abc import Callable, Sequence
from typing import cast

import altair as alt
import polars as pl

BLUE, GREEN, PINK, SKY = "#0072B2", "#009E73", "#CC79A7", "#56B4E9"
VERMILION, AMBER, GREY = "#D55E00", "#E69F00", "#848B95"
SERIES = (BLUE, AMBER, GREEN, PINK, SKY, VERMILION)
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")

HorizontalAxis = Callable[[str], alt.X]
"""the same axis for any column: layers that share it stay on one scale"""


def colours(names: Sequence[str]) -> alt.Scale:
    """A colour a name, in order; from the seventh on they repeat."""
    return alt.Scale(domain=list(names), range=[SERIES[index % len(SERIES)] for index in range(len(names))])


def shapes(names: Sequence[str]) -> alt.Scale:
    """A shape a name, in order; from the seventh on they repeat."""
    return alt.Scale(domain=list(names), range=[SHAPES[index % len(SHAPES)] for index in range(len(names))])


def accuracy_tooltips() -> list[alt.Tooltip]:
    """The accuracy and the ends of its interval."""
    return [
        alt.Tooltip("accuracy:Q", format=".3f"),
        alt.Tooltip("accuracy_low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("accuracy_high:Q", title="to", format=".3f"),
    ]


def accuracy_axis(frame: pl.DataFrame, title: str, *, room: float) -> HorizontalAxis:
    """A horizontal axis that holds every interval of the frame and the coin; `room` is left for labels."""
    low = min(0.47, smallest(frame["accuracy_low"]) - 0.01)
    high = min(1.02, max(0.55, largest(frame["accuracy_high"]) + room))
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    return lambda column: alt.X(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(format=".2f", tickCount=8))


def marker(value: float, axis: HorizontalAxis) -> alt.Chart:
    """A dashed vertical line at a value of an axis, such as the coin's 0.5."""
    rule = alt.Chart(pl.DataFrame({"value": [value]})).mark_rule(color=GREY, strokeDash=[5, 3], strokeWidth=1.5)
    return cast(alt.Chart, rule.encode(x=axis("value")))


def layered(*layers: alt.Chart) -> alt.LayerChart:
    """Charts drawn over each other, the first at the bottom."""
    return cast(alt.LayerChart, alt.layer(*layers))


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Positions for labels: near their values, at least `gap` apart, in the order of the values given."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    blocks: list[tuple[float, int]] = []  # centre and size of labels that touch each other
    for index in order:
        centre, size = values[index], 1
        while blocks and centre - blocks[-1][0] < gap * (size + blocks[-1][1]) / 2:
            other_centre, other_size = blocks.pop()
            centre = (centre * size + other_centre * other_size) / (size + other_size)
            size += other_size
        blocks.append((centre, size))
    placed = [centre + gap * (place - (size - 1) / 2) for centre, size in blocks for place in range(size)]
    positions = dict(zip(order, placed, strict=True))
    return [positions[index] for index in range(len(values))]


def smallest(values: pl.Series) -> float:
    """The least of numbers of which there is at least one."""
    return float(cast(float, values.min()))


def largest(values: pl.Series) -> float:
    """The greatest of numbers of which there is at least one."""
    return float(cast(float, values.max()))
