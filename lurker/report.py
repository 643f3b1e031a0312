"""Results for scripts and people: one JSON object, or tables in a terminal or notebook."""

import html
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from lurker.decimals import MINUS
from lurker.next_commands import as_typed

PIPE_COLUMNS = 160
"""Width of a table if stdout is not a terminal: wide enough that no figure wraps."""
WIDE = 60
"""Columns from which on a row that fits no table is a line of its first value and one of the others."""
HYPHEN_AS_MINUS = re.compile(r"(?<![\w.,-])-(?=\.?\d)")
"""A hyphen that a number begins with."""


@dataclass(frozen=True, slots=True, repr=False)
class ResultTable:
    """Rows with the same keys under a title; shows itself as text in a terminal and as HTML in a notebook."""

    title: str
    rows: Sequence[Mapping[str, Any]]
    note: str = ""
    """A sentence below the table."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        text = StringIO()
        self.print_on(Console(file=text, width=PIPE_COLUMNS, highlight=False, markup=False))
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table as HTML, every value escaped."""
        names = list(self.rows[0]) if self.rows else []
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell(value))}</td>" for value in row.values()) + "</tr>"
            for row in self.rows
        )
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"

    def print_on(self, console: Console) -> None:
        """Print title, rows and note; numbers are right-aligned."""
        is_one_line = not console.is_terminal  # a log or a script searches for whole sentences
        console.print(self.title, style="bold", soft_wrap=is_one_line)
        if self.rows:
            tables = (self._rich_table(), self._rich_table(box=None, padding=(0, 2, 0, 0)))
            unlimited = console.options.update(width=10_000)
            sizes = [Measurement.get(console, unlimited, one) for one in tables]
            whole = [one for one, size in zip(tables, sizes, strict=True) if size.maximum <= console.width]
            folded = [one for one, size in zip(tables, sizes, strict=True) if size.minimum <= console.width]
            console.print(next(iter([*whole, *folded]), _records(self.rows, console.width)))
        if self.note:
            console.print(as_typed(self.note), soft_wrap=is_one_line)

    def _rich_table(self, **look: Any) -> Table:
        table = Table(**look)
        for name in self.rows[0]:
            is_number = any(isinstance(row[name], int | float) for row in self.rows)
            table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
        for row in self.rows:
            table.add_row(*(cell(value) for value in row.values()))
        return table


def _records(rows: Sequence[Mapping[str, Any]], columns: int) -> str:
    """The rows one below the other, for a terminal too narrow for a table: in lines, or one line per value."""
    if columns >= WIDE:
        return "\n".join(f"{cell(next(iter(row.values())))}\n{_other_values(row, columns)}" for row in rows)
    width = max(len(name) for name in rows[0])
    return "\n\n".join("\n".join(f"  {name:<{width}}  {cell(value)}" for name, value in row.items()) for row in rows)


def _other_values(row: Mapping[str, Any], columns: int) -> str:
    """All values of a row but the first, each after its name, indented; short values are not broken."""
    glue = "\N{NO-BREAK SPACE}"
    parts = [f"{name} {cell(value)}" for name, value in list(row.items())[1:]]
    parts = [part.replace(" ", glue) if len(part) < columns // 2 else part for part in parts]
    lines = textwrap.fill(" · ".join(parts), columns - 4, break_on_hyphens=False)
    return textwrap.indent(lines, "    ").replace(glue, " ")


class Displayed:
    """Base of results that are displayed as tables."""

    __slots__ = ()

    def table(self) -> ResultTable:
        """The result as one table."""
        raise NotImplementedError

    def tables(self) -> Sequence[ResultTable]:
        """The tables to display: `table()` alone unless the result has more."""
        return [self.table()]

    def __repr__(self) -> str:
        return "\n\n".join(str(table) for table in self.tables())

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables())


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, default=str) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys as a table on stdout; nothing if there are none."""
    if rows:
        show(ResultTable(title, rows))


def show(table: ResultTable) -> None:
    """Print a table on stdout."""
    table.print_on(Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False, markup=False))


def cell(value: Any) -> str:
    """A value as shown in a table: three digits of a fraction, thousands separators, a true minus."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return true_minus(text)


def true_minus(text: str) -> str:
    """A text whose negative numbers begin with a minus, not with a hyphen."""
    return HYPHEN_AS_MINUS.sub(MINUS, text)
