"""What the figures of a fitted scaling curve say about accuracy: `fit.json` holds them as losses, 1 − accuracy."""

from collections.abc import Iterable, Mapping
from typing import Any

ERROR = "1 - accuracy"
"""The measure of those figures."""
LIMIT = "E"
"""The loss that the curve approaches with ever more data and parameters."""
HELD_OUT = "largest data size, predicted from the others"

Interval = tuple[float, float, float]
"""A value, and the ends of its 95 % interval."""


def accuracy_of(figures: Iterable[Mapping[str, Any]], name: str) -> Interval | None:
    """A figure as accuracy with its interval; None if the fit cannot tell it.

    Args:
        figures: rows with measure, figure, value, low and high.
        name: LIMIT or HELD_OUT.
    """
    for row in figures:
        ends = (row["value"], row["high"], row["low"])
        if row["measure"] == ERROR and row["figure"] == name and None not in ends:
            value, low, high = (1 - float(end) for end in ends)
            return value, low, high
    return None
