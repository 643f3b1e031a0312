"""How long the cells of an experiment still take, learned from those that have finished.

A cell takes a fixed time, for its baselines and evaluation, and time in proportion to its nominal work. Both are fitted
to the finished cells; what a running cell has done counts.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

FIXED = 0.1
"""Share of a cell's time that is taken to be fixed while all finished cells cost the same."""
MIN_SHARE_LEFT = 0.05
"""A running cell that has exceeded its predicted time is taken to need this share of it."""


class CellTimes:
    """The clock of an experiment's cells; an `Estimate` for `lurker.progress.progress`."""

    def __init__(self, costs: Sequence[float], reports: Sequence[Path]) -> None:
        """Start the clock.

        Args:
            costs: nominal work of each cell, in any unit.
            reports: file of each cell that exists while it runs.
        """
        self.costs, self.reports = np.asarray(costs, dtype=float), reports
        self.started: dict[int, float] = {}
        self.seconds: dict[int, float] = {}

    def finish(self, index: int, seconds: float | None) -> None:
        """Record that a cell has finished.

        Args:
            seconds: how long it took; since it was first seen running when None.
        """
        began = self.started.pop(index, time.monotonic())
        self.seconds[index] = time.monotonic() - began if seconds is None else seconds

    def share(self) -> float:
        """Share of the predicted time of all cells that is done, from 0 to 1."""
        running = self._running()
        if not self.seconds:
            return 0.0
        done = sum(self.seconds.values()) + sum(running.values())
        return done / max(done + float(self._left().sum()), 1e-9)

    def left_s(self) -> float | None:
        """Predicted seconds until the last cell finishes; None until one has finished."""
        running = self._running()
        if not self.seconds:
            return None
        at_once = max(1, len(running))
        return float(self._left().sum()) / at_once

    def _running(self) -> dict[int, float]:
        """Seconds since each running cell was first seen."""
        now = time.monotonic()
        for index, report in enumerate(self.reports):
            if index not in self.seconds and index not in self.started and report.exists():
                self.started[index] = now
        return {index: now - began for index, began in self.started.items()}

    def _predicted(self) -> NDArray[np.float64]:
        """Seconds of each cell; the median of a cost counts, as the first cell computes what the others read."""
        known = np.array(list(self.seconds), dtype=int)
        if not known.size:
            return np.zeros(self.costs.size)
        taken = np.array(list(self.seconds.values()))
        costs = np.unique(self.costs[known])
        seconds = np.array([np.median(taken[self.costs[known] == cost]) for cost in costs])
        if costs.size == 1:
            return np.asarray(seconds[0] * (FIXED + (1 - FIXED) * self.costs / max(costs[0], 1e-9)))
        fixed, rate = nnls(np.stack([np.ones(costs.size), costs], axis=1), seconds)[0]
        return np.asarray(fixed + rate * self.costs)

    def _left(self) -> NDArray[np.float64]:
        """Seconds that each cell still needs, on its own."""
        left = self._predicted()
        for index, elapsed in self._running().items():
            left[index] = max(left[index] - elapsed, MIN_SHARE_LEFT * left[index])
        left[list(self.seconds)] = 0.0
        return left
