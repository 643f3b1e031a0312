"""Progress on stderr: bars with the remaining time in a terminal, occasional lines in a log file.

A process that works for another one, such as a cell of an experiment, writes its progress to a file, which the other
process shows.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.console import Console

from lurker.next_commands import as_typed

console = Console(stderr=True, soft_wrap=True)
LOG_EVERY_S = 10.0
REPORT_EVERY_S = 1.0
STARTING = "starting"
"""What a progress file says before its first bar."""
MIN_SHARE = 0.05
"""From this share on, the time left is shown: earlier it would jump."""
Notes = Callable[[], list[str]]
"""Called repeatedly; lines about the work in progress."""


class Estimate(Protocol):
    """What knows how far some work is."""

    def share(self) -> float:
        """Share that is done, from 0 to 1."""

    def left_s(self) -> float | None:
        """Seconds left; None while they cannot be told."""


_report: ContextVar[Path | None] = ContextVar("report", default=None)
"""File to write progress to instead of showing it."""
_parts: ContextVar["Parts | None"] = ContextVar("parts", default=None)
"""Where the seconds of each bar are counted, if anyone wants them."""
_is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)
"""Whether messages and bars are hidden."""


def say(message: str) -> None:
    """Print one line for the user on stderr."""
    if _report.get() is None and not _is_quiet.get():
        console.print(as_typed(message), highlight=False)


def ignore(_: float) -> None:
    """An `advance` that moves no bar."""


_advance: ContextVar[Callable[[float], None]] = ContextVar("advance", default=ignore)
"""Moves the innermost bar."""


def advance(amount: float) -> None:
    """Move the innermost open bar by an amount in its unit; without a bar, do nothing.

    Call it in the thread that opened the bar. Work in another unit opens its own bar or runs `quiet`.
    """
    _advance.get()(amount)


@contextmanager
def quiet(is_quiet: bool = True) -> Iterator[None]:
    """Within, hide messages and bars; `advance` moves no bar opened outside."""
    if not is_quiet:
        yield
        return
    tokens = _is_quiet.set(True), _advance.set(ignore)
    try:
        yield
    finally:
        _is_quiet.reset(tokens[0])
        _advance.reset(tokens[1])


@contextmanager
def progress(
    description: str,
    total: float,
    unit: str = "items",
    *,
    begun: float = 0.0,
    is_quiet: bool = False,
    notes: Notes | None = None,
    estimate: Estimate | None = None,
) -> Iterator[Callable[[float], None]]:
    """Show a bar for work of a known size; yields `advance(amount)`.

    Args:
        description: what is being done.
        total: size of the work, in the unit.
        unit: what is counted; "bytes" are shown as kB, MB and GB, and "%" of a total of 100 as a share.
        begun: amount that an earlier start has done; it counts as done, and its time is not known.
        is_quiet: show nothing.
        notes: lines to show below the bar.
        estimate: what knows the share and the time left better than the amounts advanced.
    """
    if is_quiet or _is_quiet.get():
        with _watched(ignore) as move:
            yield move
    elif file := _report.get():
        work = _Work(description, total, unit, begun)
        if (parts := _parts.get()) is not None:
            parts.begun.setdefault(description, begun / total if total else 0.0)
        with timed(description), _watched(_when_moved(work, _reporter(file))) as move:
            yield move
    elif not console.is_terminal:
        work = _Work(description, total, unit, begun, estimate)
        with _logged(lambda: [work.line(), *(notes() if notes else [])]), _watched(work.advance) as move:
            yield move
    else:
        from lurker.progress_bar import bar  # here, because a log needs none and it is slow to import

        with bar(console, description, total, unit, notes or list, begun, estimate) as shown, _watched(shown) as move:
            yield move


@contextmanager
def _watched(move: Callable[[float], None]) -> Iterator[Callable[[float], None]]:
    """Within, `advance` moves this bar."""
    token = _advance.set(move)
    try:
        yield move
    finally:
        _advance.reset(token)


@dataclass(slots=True)
class Parts:
    """What the bars of some work have told, by their descriptions."""

    seconds: dict[str, float] = field(default_factory=dict)
    """within each bar, without those of bars inside it; filled as bars close"""
    begun: dict[str, float] = field(default_factory=dict)
    """share that an earlier start had done when the bar first opened"""
    inner: list[float] = field(default_factory=list)
    """seconds of the bars within each open one"""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Count the seconds of a part of some work under its own name, and no longer under what surrounds it.

    Nothing is counted outside `reported_in`.
    """
    parts = _parts.get()
    if parts is None:
        yield
        return
    started = time.monotonic()
    parts.inner.append(0.0)
    try:
        yield
    finally:
        took = time.monotonic() - started
        parts.seconds[what] = parts.seconds.get(what, 0.0) + took - parts.inner.pop()
        if parts.inner:
            parts.inner[-1] += took


@contextmanager
def reported_in(file: Path) -> Iterator[Parts]:
    """Within, write progress to the file instead of showing it; if its folder is there, the file is until the end."""
    parts = Parts()
    tokens = _report.set(file), _parts.set(parts)
    _reporter(file)(STARTING)
    try:
        yield parts
    finally:
        _report.reset(tokens[0])
        _parts.reset(tokens[1])
        with suppress(OSError):  # it must not hide what the work itself raised
            file.unlink(missing_ok=True)


def reports(files: Iterable[tuple[str, Path]]) -> list[str]:
    """One line per existing progress file: name and progress.

    Args:
        files: name and file of each worker; workers without a file yet are skipped.
    """
    lines = []
    for name, file in files:
        with suppress(OSError):
            lines.append(f"{name}: {file.read_text(encoding='utf-8')}")
    return lines


def reported_share(file: Path) -> tuple[str, float, float] | None:
    """What a progress file says: the bar's description, the share that is done, and the seconds that it takes.

    Of work that an earlier start has begun, the seconds are those at the rate of this start. None where there is no
    file, or it does not tell the time yet.
    """
    with suppress(OSError):
        if told := re.fullmatch(r"(.+): (\d+)%.*, ([\d,]+) s left", file.read_text(encoding="utf-8")):
            share, left_s = int(told[2]) / 100, float(told[3].replace(",", ""))
            return (told[1], share, left_s * share / (1 - share)) if 0 < share < 1 else None
    return None


def _reporter(file: Path) -> Callable[[str], None]:
    def write(line: str) -> None:
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        with suppress(OSError):  # a full disk must not stop the work because of its bar
            temporary.write_text(line, encoding="utf-8")
            temporary.replace(file)

    return write


class _Work:
    """How much of some work is done, as a line of text."""

    def __init__(
        self, description: str, total: float, unit: str, begun: float = 0.0, estimate: Estimate | None = None
    ) -> None:
        self.description, self.total, self.unit, self.estimate = description, total, unit, estimate
        self.begun, self.done, self.started = begun, begun, time.monotonic()

    def advance(self, amount: float) -> None:
        self.done += amount

    def line(self) -> str:
        """The share that is done, and the time left once enough is done to tell."""
        elapsed_s, share = time.monotonic() - self.started, self.done / self.total if self.total else 0.0
        size = "" if self.unit == "%" else f" of {self.total:,.0f} {self.unit}"
        if self.estimate is not None:
            left_s = self.estimate.left_s()
            known = f"{elapsed_s:,.0f} s so far" if left_s is None else f"{left_s:,.0f} s left"
            return f"{self.description}: {self.estimate.share():.0%}, {known}"
        own, rest = self.done - self.begun, self.total - self.done
        is_told = own > 0 and own >= MIN_SHARE * (self.total - self.begun)
        time_text = f"{elapsed_s * rest / own:,.0f} s left" if is_told else f"{elapsed_s:,.0f} s so far"
        return f"{self.description}: {share:.0%}{size}, {time_text}"


def _when_moved(work: _Work, show: Callable[[str], None]) -> Callable[[float], None]:
    """An `advance` that shows the work at most once every REPORT_EVERY_S seconds."""
    last = time.monotonic()

    def advance(amount: float) -> None:
        nonlocal last
        work.advance(amount)
        now = time.monotonic()
        if now - last >= REPORT_EVERY_S and 0 < work.done < work.total:
            last = now
            show(work.line())

    return advance


@contextmanager
def _logged(lines: Notes) -> Iterator[None]:
    """Within, log the lines every LOG_EVERY_S seconds, whether or not anything moves."""
    is_over = threading.Event()

    def log() -> None:
        while not is_over.wait(LOG_EVERY_S):
            for line in lines():
                sys.stderr.write(line + "\n")

    thread = threading.Thread(target=log, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
