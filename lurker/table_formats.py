"""Result tables for papers and spreadsheets: LaTeX, Markdown and CSV, with every value escaped."""

import csv
import re
from io import StringIO

from lurker.report import ResultTable, cell

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "−": "$-$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "…": r"\ldots{}",
    "±": r"$\pm$",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")


def to_latex(table: ResultTable, label: str) -> str:
    """A table environment for LaTeX with the package booktabs; the title is its caption, the note stands below.

    Args:
        label: what `\\ref` names.
    """
    names = _columns(table)
    alignment = "".join("r" if _is_number(table, name) else "l" for name in names)
    head = " & ".join(latex(name) for name in names)
    body = [" & ".join(latex(cell(row[name])) for name in names) for row in table.rows]
    lines = [r"\begin{table}", r"\centering", r"\small", rf"\caption{{{latex(table.title)}}}", rf"\label{{{label}}}"]
    if names:
        rows = [rf"{row} \\" for row in body]
        lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", rf"{head} \\", r"\midrule", *rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
    if table.note:
        lines.append(rf"\par\smallskip {latex(' '.join(table.note.split()))}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_markdown(table: ResultTable) -> str:
    """A table of Markdown with its title above and its note below."""
    names = _columns(table)
    lines = [f"**{markdown(table.title)}**", ""]
    if names:
        rule = ["---:" if _is_number(table, name) else "---" for name in names]
        rows = [[markdown(cell(row[name])) for name in names] for row in table.rows]
        lines += [f"| {' | '.join(one)} |" for one in ([markdown(name) for name in names], rule, *rows)]
    if table.note:
        lines += ["", *(markdown(line) for line in table.note.splitlines())]
    return "\n".join(lines) + "\n"


def to_csv(table: ResultTable) -> str:
    """The rows as CSV, numbers in full; text that a spreadsheet would compute as a formula gets an apostrophe."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = _columns(table)
    writer.writerow(_inert(name) for name in names)
    writer.writerows([_inert(row[name]) for name in names] for row in table.rows)
    return text.getvalue()


def latex(text: str) -> str:
    """Text that LaTeX prints as it is; characters that pdfTeX lacks become commands."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def markdown(text: str) -> str:
    """Text that Markdown prints as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _columns(table: ResultTable) -> list[str]:
    return list(table.rows[0]) if table.rows else []


def _is_number(table: ResultTable, name: str) -> bool:
    return any(isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in table.rows)


def _inert(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") and not re.match(r"[+-]?[\d.]", value):
        return f"'{value}"
    return "" if value is None else value
