"""Charts of characters for a terminal: braille dots, eight to a cell, and marks on top."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 60, 10
"""Cells of a chart."""
BLANK = 0x2800
"""The braille character without dots."""
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Of the dot in each of the 4 rows and 2 columns of a cell."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one line."""

    points: Sequence[tuple[float, float]]
    mark: str = ""
    """character at each point; braille dots when empty"""


def text_chart(title: str, *series: Series, width: int = WIDTH, height: int = HEIGHT) -> str:
    """A title, the points within their own range, and the ends of both axes.

    Args:
        title: first line.
        series: later ones lie on top; at least one point in all.
        width, height: of the drawing, in characters.
    """
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    (left, right), (bottom, top) = (min(xs), max(xs)), (min(ys), max(ys))
    dots = [[0] * width for _ in range(height)]
    marks: dict[tuple[int, int], str] = {}
    for one in series:
        for x, y in one.points:
            column = round((2 * width - 1) * _share(x, left, right))
            row = round((4 * height - 1) * (1 - _share(y, bottom, top)))
            if one.mark:
                marks[row // 4, column // 2] = one.mark
            else:
                dots[row // 4][column // 2] |= BITS[row % 4][column % 2]
    labels = {0: f"{top:.3f}", height - 1: f"{bottom:.3f}"}
    gutter = max(len(label) for label in labels.values())
    lines = [
        f"{labels.get(row, ''):>{gutter}} │"
        + "".join(marks.get((row, column), chr(BLANK + dots[row][column])) for column in range(width))
        for row in range(height)
    ]
    ends = f"{left:,.0f}", f"{right:,.0f}"
    axis = ends[0] + ends[1].rjust(width - len(ends[0]))
    return "\n".join([title, *lines, " " * gutter + " └" + "─" * width, " " * (gutter + 2) + axis])


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, from 0 to 1; the middle if they are equal."""
    return (value - low) / (high - low) if high > low else 0.5
