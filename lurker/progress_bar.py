"""A bar in a terminal, with lines below it about the work in progress."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text


class _Left(ProgressColumn):
    """The seconds that an estimate leaves."""

    def __init__(self, estimate: Any) -> None:
        super().__init__()
        self.estimate = estimate

    def render(self, task: Task) -> Text:
        left_s = None if task.finished else self.estimate.left_s()
        return Text("-:--:--" if left_s is None else str(timedelta(seconds=round(left_s))), style="progress.remaining")


class _Noted(Progress):
    """A bar with lines below it, which are updated with the bar."""

    notes: Callable[[], list[str]] = list

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(f"  {note}", overflow="ellipsis", no_wrap=True) for note in self.notes())


@contextmanager
def bar(
    console: Console,
    description: str,
    total: float,
    unit: str,
    notes: Callable[[], list[str]],
    begun: float = 0.0,
    estimate: Any = None,
) -> Iterator[Callable[[float], None]]:
    """Show a bar; yields `advance(amount)`.

    Args:
        unit: as for `lurker.progress.progress`.
        notes: called repeatedly; lines to show below the bar.
        begun: amount that an earlier start has done.
        estimate: a `lurker.progress.Estimate`, which the bar follows in place of the amounts.
    """
    sizes: dict[str, tuple[ProgressColumn, ...]] = {"bytes": (DownloadColumn(),), "%": (TaskProgressColumn(),)}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        *sizes.get(unit, (MofNCompleteColumn(), TextColumn(unit))),
        TimeElapsedColumn(),
        TextColumn("left"),
        Remaining() if estimate is None else _Left(estimate),
    )
    shown = _Noted(*columns, console=console)
    shown.notes = notes
    with shown:
        task = shown.add_task(description, total=total)
        shown.update(task, completed=begun)
        if estimate is not None:

            def follow() -> list[str]:
                shown.update(task, completed=total * estimate.share())
                return notes()

            shown.notes = follow
            yield lambda _amount: None
            shown.update(task, completed=total)
            return
        yield lambda amount: shown.update(task, advance=amount)
