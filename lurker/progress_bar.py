"""A bar in a terminal, with lines below it about the work in progress."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text


class _Noted(Progress):
    """A bar with lines below it, which are updated with the bar."""

    notes: Callable[[], list[str]] = list

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(f"  {note}", overflow="ellipsis", no_wrap=True) for note in self.notes())


@contextmanager
def bar(
    console: Console, description: str, total: float, unit: str, notes: Callable[[], list[str]]
) -> Iterator[Callable[[float], None]]:
    """Show a bar; yields `advance(amount)`.

    Args:
        unit: as for `lurker.progress.progress`.
        notes: called repeatedly; lines to show below the bar.
    """
    sizes: dict[str, tuple[ProgressColumn, ...]] = {"bytes": (DownloadColumn(),), "%": (TaskProgressColumn(),)}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        *sizes.get(unit, (MofNCompleteColumn(), TextColumn(unit))),
        TimeElapsedColumn(),
        TextColumn("left"),
        Remaining(),
    )
    shown = _Noted(*columns, console=console)
    shown.notes = notes
    with shown:
        task = shown.add_task(description, total=total)
        yield lambda amount: shown.update(task, advance=amount)
