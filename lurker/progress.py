"""Progress on stderr: bars with a remaining time for a person, a line now and then for a log file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

console = Console(stderr=True, soft_wrap=True)
LOG_EVERY_S = 15.0


def say(message: str) -> None:
    """Tell the user one line, on stderr."""
    console.print(message, highlight=False)


def ignore(_: float) -> None:
    """An `advance` that nobody watches."""


@contextmanager
def progress(
    description: str, total: float, unit: str = "items", *, is_quiet: bool = False
) -> Iterator[Callable[[float], None]]:
    """A bar for work of a known size; yields `advance(amount)`.

    unit: what is counted; "bytes" is shown in kB, MB and GB. is_quiet: nothing is shown.
    """
    if is_quiet:
        yield ignore
        return
    if not console.is_terminal:
        with _log_lines(description, total, unit) as advance:
            yield advance
        return
    counter = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    suffix = "" if unit == "bytes" else unit
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        counter,
        TextColumn(suffix),
        TimeElapsedColumn(),
        TextColumn("left"),
        Remaining(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total)
        yield lambda amount: bar.update(task, advance=amount)


@contextmanager
def _log_lines(description: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    started = last = time.monotonic()
    done = 0.0

    def advance(amount: float) -> None:
        nonlocal done, last
        done += amount
        now = time.monotonic()
        if now - last >= LOG_EVERY_S and 0 < done < total:
            last = now
            left_s = (now - started) * (total - done) / done
            sys.stderr.write(f"{description}: {done / total:.0%} of {total:,.0f} {unit}, {left_s:,.0f} s left\n")

    yield advance
