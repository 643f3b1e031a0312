"""How long the cells of an experiment still take, learned from what those that ran have taken for each part.

A part takes time in proportion to its amount, at a rate of the cell's kind; baselines and the rest also take a fixed
time. Running cells count with the share that they report. Cells wait for a free place, so the time left is that of the
schedule, not of the sum.
"""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from lurker.progress import reported_share
from rm.experiments.cell_work import (
    AFFINE,
    BASELINES,
    EMBEDDINGS,
    FROZEN,
    POINTS,
    READING,
    REST,
    TESTING,
    TRAINING,
    VALIDATING,
    CellWork,
)

ASK_AGAIN_S = 1.0
"""How long an answer is kept: a bar asks several times a second."""
IN_ORDER = (FROZEN, TRAINING, TESTING, EMBEDDINGS, BASELINES)
"""Parts that bars report, in the order of a cell; validation and tests on the way are within training's bar."""
GUESSES = {BASELINES: (0.5, 5e-4), REST: (1.0, 3e-4)}
"""Fixed seconds and seconds a pair of what no bar foretells, until one cell has shown it."""
BACKWARD = 3.0
"""Cost of a pair in a training step over that of a pair that is only read: gradients take twice a forward pass."""
BAR_TRUST = 2.0
"""How fast a bar outweighs the plan of a kind that has run: at half of the bar it is all that counts."""
MIN_SHARE_LEFT = 0.05
"""A running cell that has exceeded its predicted time is taken to need this share of it."""


@dataclass(frozen=True, slots=True)
class CellTime:
    """How long a cell took."""

    seconds: float
    """in all"""
    parts: dict[str, float] = field(default_factory=dict)
    """description of a bar -> seconds within it alone"""
    share_trained: float = 1.0
    """of its planned steps, until training stopped early"""
    share_before: float = 0.0
    """of its planned steps, trained by an earlier start; not in the seconds"""

    def by_part(self) -> dict[str, float]:
        """Seconds of every part; those of a frozen model's passes are one, and REST is what no bar covers."""
        found: dict[str, float] = {REST: max(self.seconds - sum(self.parts.values()), 0.0)}
        for name, seconds in self.parts.items():
            found[_part(name)] = found.get(_part(name), 0.0) + seconds
        return found


def _part(bar: str) -> str:
    """The part that a bar shows."""
    return FROZEN if bar in READING else bar


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
        self.shares_trained: dict[str, list[float]] = {}
        """kind -> of its cells that have ended, the share of the planned steps after which training stopped"""
        self.reported: dict[int, dict[str, _Seen]] = {}
        """of running cells: what their bars said last of each part"""
        self.most_at_once = 1
        self.told: tuple[float, float, float | None] = (-ASK_AGAIN_S, 0.0, None)

    def finish(self, index: int, took: CellTime | None) -> None:
        """Record that a cell has finished.

        Args:
            took: how long each part took; None for a cell that failed, from which nothing is learned.
        """
        began = self.started.pop(index, time.monotonic())
        self.reported.pop(index, None)
        self.seconds[index] = time.monotonic() - began if took is None else took.seconds
        if took is not None:
            self.seen += _seen(self.works[index], took)
            self.shares_trained.setdefault(self.works[index].kind, []).append(took.share_trained)
        self.told = (-ASK_AGAIN_S, 0.0, None)

    def share(self) -> float:
        """Share of the predicted time of all cells that is done, from 0 to 1."""
        return self._told()[0]

    def left_s(self) -> float | None:
        """Predicted seconds until the last cell finishes; None until cells have shown all that bars show."""
        return self._told()[1]

    def _told(self) -> tuple[float, float | None]:
        """The share that is done and the seconds left."""
        now = time.monotonic()
        if now - self.told[0] >= ASK_AGAIN_S:
            running = self._running(now)
            left = self._left(running)
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

    def _left(self, running: dict[int, float]) -> list[float] | None:
        """Seconds that each cell still needs; what running cells say counts for kinds of which none has ended."""
        ended = {one.kind for one in self.seen}
        known = _Rates(self.works, self.seen, self.shares_trained)
        for index in running:
            if self.works[index].kind not in ended:
                self._hear(index, known)
        told = [one for parts in self.reported.values() for one in parts.values() if one.kind not in ended]
        if not ended and not self._is_enough(told):
            return None
        rates = _Rates(self.works, [*self.seen, *told], self.shares_trained)
        left = []
        for index, work in enumerate(self.works):
            whole = rates.seconds(work)
            after = self._after_bar(index, rates, work.kind in ended) if index in running else None
            if after is None:
                after = whole - running.get(index, 0.0)
            left.append(0.0 if index in self.seconds else max(after, MIN_SHARE_LEFT * whole))
        return left

    def _after_bar(self, index: int, rates: "_Rates", is_planned: bool) -> float | None:
        """Seconds that a running cell still needs: what its bar says, and the parts that follow; None without a bar.

        The bar knows what no plan does: that other cells have read some of the texts, or that steps have become faster.
        It says little at its start, where a plan from cells of the kind counts for more.

        Args:
            index: of the cell.
            rates: of all parts.
            is_planned: whether a cell of the kind has ended.
        """
        if (told := reported_share(self.reports[index])) is None or _part(told[0]) not in IN_ORDER:
            return None
        part, share, seconds = _part(told[0]), told[1], told[2]
        work = self.works[index]
        done = share
        if part == TRAINING:
            done = rates.training_units(work, share) / rates.training_units(work, rates.stops_at(work.kind, share))
        whole = seconds / done
        if is_planned:
            within = (TRAINING, VALIDATING, POINTS) if part == TRAINING else (part,)
            trust = min(1.0, BAR_TRUST * share)
            planned = rates.seconds(replace(_only(work, within), begun=0.0))
            whole = trust * whole + (1 - trust) * planned
        following = rates.seconds(_only(work, IN_ORDER[IN_ORDER.index(part) + 1 :]))
        return max(whole - seconds, 0.0) + following

    def _hear(self, index: int, rates: "_Rates") -> None:
        """Keep what a running cell says of the part it is in; parts before it that said nothing took no time."""
        if (told := reported_share(self.reports[index])) is None or _part(told[0]) not in IN_ORDER:
            return
        part, share, seconds = _part(told[0]), told[1], told[2]
        work, heard = self.works[index], self.reported.setdefault(index, {})
        for before in IN_ORDER[: IN_ORDER.index(part)]:
            heard.setdefault(before, _Seen(work.kind, before, work.amounts.get(before, 0.0), 0.0))
        if part == TRAINING:  # its bar also covers validation and tests on the way
            of_all = rates.training_units(work, share)
            seconds *= share * work.amounts[TRAINING] / of_all
        heard[part] = _Seen(work.kind, part, share * work.amounts.get(part, 0.0), seconds)

    def _is_enough(self, told: Sequence[_Seen]) -> bool:
        """Whether running cells have shown every part that bars show and some cell has, before any cell has ended."""
        shown = {one.part for one in told if one.amount}
        parts = {part for work in self.works for part, amount in work.amounts.items() if amount}
        return bool(told) and parts & set(IN_ORDER) - {EMBEDDINGS, BASELINES} <= shown


def _only(work: CellWork, parts: Sequence[str]) -> CellWork:
    """Some parts of a cell's work."""
    return replace(work, amounts={part: work.amounts[part] for part in parts if part in work.amounts})


def _seen(work: CellWork, took: CellTime) -> list[_Seen]:
    amounts = work.between(took.share_before, took.share_trained)
    return [_Seen(work.kind, part, amounts.get(part, 0.0), seconds) for part, seconds in took.by_part().items()]


class _Rates:
    """Seconds of amounts, from those that were seen."""

    def __init__(
        self, works: Sequence[CellWork], seen: Sequence[_Seen], shares_trained: dict[str, list[float]]
    ) -> None:
        self.seen, self.shares_trained = seen, shares_trained
        self.sizes = {work.kind: work.size for work in works}
        self.known: dict[tuple[str, str], float] = {}

    def seconds(self, work: CellWork) -> float:
        """Predicted seconds of a cell."""
        amounts = work.between(work.begun, self.stops_at(work.kind, work.begun))
        parts = (
            self._affine(work.kind, part, amount) if part in AFFINE else amount * self._rate(work.kind, part)
            for part, amount in amounts.items()
            if amount
        )
        return sum(parts)

    def stops_at(self, kind: str, share: float = 0.0) -> float:
        """The share of its planned steps after which training ends, if it has not ended at some share before."""
        own = self.shares_trained.get(kind) or [one for shares in self.shares_trained.values() for one in shares]
        later = [one for one in own if one > share]
        return float(np.mean(later)) if later else 1.0

    def training_units(self, work: CellWork, share: float) -> float:
        """What training's bar has covered at a share of its steps, in training pairs; tests on the way come early."""
        pairs = share * work.amounts[TRAINING]
        n_points = sum(point <= pairs for point in work.points)
        step, point = self._rate(work.kind, TRAINING), self._rate(work.kind, POINTS)
        points = n_points * point / step if step else 0.0
        return pairs + share * work.amounts[VALIDATING] / BACKWARD + points

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
        """Seconds of a part with a fixed time: a line through all kinds, times how the kind's own cells lie to it."""
        known = [one for one in self.seen if one.part == part and one.amount]
        if not known:
            fixed, slope = GUESSES[part]
            return fixed + slope * amount
        own = [one for one in known if one.kind == kind] if part == REST else []
        if len({one.amount for one in own}) > 1:
            known, own = own, []
        line = _line(known)
        if not own:
            return line(amount)
        return line(amount) * sum(one.seconds for one in own) / max(sum(line(one.amount) for one in own), 1e-9)


def _line(seen: Sequence[_Seen]) -> Callable[[float], float]:
    """Seconds by amount: a fixed time and a slope, neither below 0.

    From one amount alone the two cannot be told apart: then the time is taken to grow with the root.
    """
    amounts = np.unique([one.amount for one in seen])
    means = [float(np.mean([one.seconds for one in seen if one.amount == value])) for value in amounts]
    if amounts.size == 1:
        return lambda amount: means[0] * (amount / float(amounts[0])) ** 0.5
    fixed, slope = nnls(np.stack([np.ones(amounts.size), amounts / amounts.max()], axis=1), np.array(means))[0]
    return lambda amount: float(fixed + slope * amount / amounts.max())
