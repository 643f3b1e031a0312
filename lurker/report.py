"""What a command prints on stdout: one JSON object for scripts, or a table for a person."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, default=str) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of equal keys as a table on stdout; numbers stand right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold")
    if not rows:
        return
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row.values()))
    # A pipe has no width of its own: wide enough that no figure is folded.
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    console.print(table)


def cell(value: Any) -> str:
    """A value as it stands in a table: fractions with three digits, whole numbers with thousands set off."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
