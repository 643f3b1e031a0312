"""How long the cells of an experiment still take, learned from what those that ran have taken for each part.

A part takes time in proportion to its amount, at a rate of the cell's kind; baselines and the rest also take a fixed
time. Running cells count with the share that they report. Cells wait for a free place, so the time left is that of the
schedule, not of the sum.
"""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from lurker.progress import reported_share
from rm.experiments.cell_work import (
    AFFINE,
    BASELINES,
    FROZEN,
    READING,
    REST,
    TESTING,
    TRAINING,
    VALIDATING,
    CellWork,
)

ASK_AGAIN_S = 1.0
"""How long an answer is kept: a bar asks several times a second."""
IN_ORDER = (FROZEN, TRAINING, TESTING, BASELINES)
"""Parts that bars report, in the order of a cell; validation and tests on the way are within training's bar."""
BACKWARD = 3.0
"""Cost of a pair in a training step over that of a pair that is only read: gradients take twice a forward pass."""
MIN_SHARE_LEFT = 0.05
"""A running cell that has exceeded its predicted time is taken to need this share of it."""


@dataclass(frozen=True, slots=True)
class CellTime:
    """How long a cell took."""

    seconds: float
    """in all"""
    parts: dict[str, float] = field(default_factory=dict)
    """description of a bar -> seconds within it alone"""

    def by_part(self) -> dict[str, float]:
        """Seconds of every part; those of a frozen model's passes are one, and REST is what no bar covers."""
        found: dict[str, float] = {REST: max(self.seconds - sum(self.parts.values()), 0.0)}
        for name, seconds in self.parts.items():
            part = FROZEN if name in READING else name
            found[part] = found.get(part, 0.0) + seconds
        return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """Seconds that an amount of a part took."""

    kind: str
    part: str
    amount: float
    seconds: float


class CellTimes:
    """The clock of an experiment's cells; an `Estimate` for `lurker.progress.progress`."""

    def __init__(self, works: Sequence[CellWork], reports: Sequence[Path]) -> None:
        """Start the clock.

        Args:
            works: of each cell, in the order of running.
            reports: file of each cell that exists while it runs, with its progress.
        """
        self.works, self.reports = works, reports
        self.started: dict[int, float] = {}
        self.seconds: dict[int, float] = {}
        self.seen: list[_Seen] = []
        self.most_at_once = 1
        self.told: tuple[float, float, float | None] = (-ASK_AGAIN_S, 0.0, None)

    def finish(self, index: int, took: CellTime | None) -> None:
        """Record that a cell has finished.

        Args:
            took: how long each part took; None for a cell that failed, from which nothing is learned.
        """
        began = self.started.pop(index, time.monotonic())
        self.seconds[index] = time.monotonic() - began if took is None else took.seconds
        if took is not None:
            self.seen += _seen(self.works[index], took.by_part())
        self.told = (-ASK_AGAIN_S, 0.0, None)

    def share(self) -> float:
        """Share of the predicted time of all cells that is done, from 0 to 1."""
        return self._told()[0]

    def left_s(self) -> float | None:
        """Predicted seconds until the last cell finishes; None until one has."""
        return self._told()[1]

    def _told(self) -> tuple[float, float | None]:
        """The share that is done and the seconds left."""
        now = time.monotonic()
        if now - self.told[0] >= ASK_AGAIN_S:
            running = self._running(now)
            left = self._left(running) if self.seen else None
            done = sum(self.seconds.values()) + sum(running.values())
            share = 0.0 if left is None else done / max(done + sum(left), 1e-9)
            self.told = now, share, None if left is None else self._until_the_last(running, left)
        return self.told[1:]

    def _until_the_last(self, running: dict[int, float], left: Sequence[float]) -> float:
        """Seconds until all cells have run, each from when a place is free."""
        free_at = [0.0] * (self.most_at_once - len(running)) + [left[index] for index in running]
        heapq.heapify(free_at)
        for index in range(len(self.works)):
            if index not in running and index not in self.seconds:
                heapq.heappush(free_at, heapq.heappop(free_at) + left[index])
        return max(free_at)

    def _running(self, now: float) -> dict[int, float]:
        """Seconds since each running cell was first seen."""
        for index, report in enumerate(self.reports):
            if index not in self.seconds and index not in self.started and report.exists():
                self.started[index] = now
        self.most_at_once = max(self.most_at_once, len(self.started))
        return {index: now - began for index, began in self.started.items()}

    def _left(self, running: dict[int, float]) -> list[float]:
        """Seconds that each cell still needs; what running cells say counts for kinds of which none has ended."""
        ended = {one.kind for one in self.seen}
        asked = (self._reported(index) for index in running if self.works[index].kind not in ended)
        seen = [*self.seen, *(one for one in asked if one)]
        rates = _Rates(self.works, seen)
        left = []
        for index, work in enumerate(self.works):
            whole = rates.seconds(work)
            after = self._after_bar(index, rates) if index in running else None
            if after is None:
                after = whole - running.get(index, 0.0)
            left.append(0.0 if index in self.seconds else max(after, MIN_SHARE_LEFT * whole))
        return left

    def _after_bar(self, index: int, rates: "_Rates") -> float | None:
        """Seconds that a running cell still needs: what its bar says, and the parts that follow; None without a bar.

        The bar knows what no plan does: that other cells have read some of the texts, or that steps have become faster.
        """
        if (told := reported_share(self.reports[index])) is None:
            return None
        name, share, seconds = told
        part, amounts = FROZEN if name in READING else name, self.works[index].amounts
        if part not in IN_ORDER:
            return None
        following = {one: amounts[one] for one in IN_ORDER[IN_ORDER.index(part) + 1 :] if one in amounts}
        kind, size = self.works[index].kind, self.works[index].size
        return seconds * (1 - share) / share + rates.seconds(CellWork(kind, size, following))

    def _reported(self, index: int) -> _Seen | None:
        """What a running cell says of the part it is in."""
        if (told := reported_share(self.reports[index])) is None:
            return None
        name, share, seconds = told
        part, work = FROZEN if name in READING else name, self.works[index]
        amount = share * work.amounts.get(part, 0.0)
        if part == TRAINING:  # its bar also covers validation
            steps, validation = BACKWARD * work.amounts[TRAINING], work.amounts[VALIDATING]
            seconds *= steps / max(steps + validation, 1e-9)
        return _Seen(work.kind, part, amount, seconds) if amount else None


def _seen(work: CellWork, seconds: dict[str, float]) -> list[_Seen]:
    return [_Seen(work.kind, part, work.amounts.get(part, 0.0), took) for part, took in seconds.items()]


class _Rates:
    """Seconds of amounts, from those that were seen."""

    def __init__(self, works: Sequence[CellWork], seen: Sequence[_Seen]) -> None:
        self.seen = seen
        self.sizes = {work.kind: work.size for work in works}
        self.known: dict[tuple[str, str], float] = {}

    def seconds(self, work: CellWork) -> float:
        """Predicted seconds of a cell."""
        parts = (
            self._affine(work.kind, part, amount) if part in AFFINE else amount * self._rate(work.kind, part)
            for part, amount in work.amounts.items()
            if amount
        )
        return sum(parts)

    def _rate(self, kind: str, part: str) -> float:
        """Seconds for an amount of 1; of a kind that has not run, those of the kind closest in size, scaled."""
        if (kind, part) not in self.known:
            self.known[kind, part] = self._measured_rate(kind, part)
        return self.known[kind, part]

    def _measured_rate(self, kind: str, part: str) -> float:
        known = [one for one in self.seen if one.part == part and one.amount]
        if not known:
            return 0.0
        closest = min({one.kind for one in known}, key=lambda other: (abs(self._log_ratio(kind, other)), other))
        own = [one for one in known if one.kind == closest]
        scale = float(np.exp(self._log_ratio(kind, closest)))
        return sum(one.seconds for one in own) / sum(one.amount for one in own) * scale

    def _log_ratio(self, kind: str, other: str) -> float:
        return 0.0 if kind == other else float(np.log(self.sizes[kind] / self.sizes[other]))

    def _affine(self, kind: str, part: str, amount: float) -> float:
        """Seconds of a part with a fixed time, from cells of the kind if there are any.

        From one amount alone the two cannot be told apart: then the time is taken to grow with the root.
        """
        known = [one for one in self.seen if one.part == part and one.amount]
        own = [one for one in known if one.kind == kind] if part == REST else known
        if not (known := own or known):
            return 0.0
        amounts = np.unique([one.amount for one in known])
        means = [np.mean([one.seconds for one in known if one.amount == value]) for value in amounts]
        if amounts.size == 1:
            return float(means[0] * (amount / amounts[0]) ** 0.5)
        scaled = amounts / amounts.max()
        fixed, slope = nnls(np.stack([np.ones(amounts.size), scaled], axis=1), np.array(means))[0]
        return float(fixed + slope * amount / amounts.max())
