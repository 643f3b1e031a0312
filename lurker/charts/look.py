"""Colours, shapes and small parts that the charts share.

The colours of Okabe & Ito (2008, "Color universal design") are distinct for any colour vision and readable on light and
dark pages. Shapes repeat the meaning of colours; text is a mid grey that suits both pages.
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
"""Column -> axis; layers that share it have one scale."""


def colours(names: Sequence[str]) -> alt.Scale:
    """One colour per name, in order; they repeat after six."""
    return alt.Scale(domain=list(names), range=[SERIES[index % len(SERIES)] for index in range(len(names))])


def shapes(names: Sequence[str]) -> alt.Scale:
    """One shape per name, in order; they repeat after six."""
    return alt.Scale(domain=list(names), range=[SHAPES[index % len(SHAPES)] for index in range(len(names))])


def accuracy_tooltips() -> list[alt.Tooltip]:
    """Accuracy and its interval."""
    return [
        alt.Tooltip("accuracy:Q", format=".3f"),
        alt.Tooltip("accuracy_low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("accuracy_high:Q", title="to", format=".3f"),
    ]


def accuracy_axis(frame: pl.DataFrame, title: str, *, room: float) -> HorizontalAxis:
    """A horizontal axis that contains chance (0.5) and every interval of the frame.

    Args:
        frame: columns accuracy_low, accuracy_high.
        room: extra accuracy on the right, for labels.
    """
    low = min(0.47, smallest(frame["accuracy_low"]) - 0.01)
    high = min(1.02, max(0.55, largest(frame["accuracy_high"]) + room))
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    return lambda column: alt.X(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(format=".2f", tickCount=8))


def marker(value: float, axis: HorizontalAxis) -> alt.Chart:
    """A dashed vertical line, such as at chance."""
    rule = alt.Chart(pl.DataFrame({"value": [value]})).mark_rule(color=GREY, strokeDash=[5, 3], strokeWidth=1.5)
    return cast(alt.Chart, rule.encode(x=axis("value")))


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


def smallest(values: pl.Series) -> float:
    """The smallest of at least one number."""
    return float(cast(float, values.min()))


def largest(values: pl.Series) -> float:
    """The largest of at least one number."""
    return float(cast(float, values.max()))
