"""The HTML file of a report: one page that loads nothing, every text escaped."""

import base64
import html
import re
from collections.abc import Mapping, Sequence

from lurker.charts.figure import Figure, inline_svg
from lurker.report import ResultTable, cell
from lurker.table_formats import to_csv
from rm.experiments.report.section import Section

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the page may load: nothing but what it holds."""
MANY_ROWS = 12
"""From so many rows a table is folded."""
_INTERVAL = re.compile(r"[−+-]?[\d.,]+ \[.*\]|[−+-]?[\d.,]+ s\.e\..*")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

STYLE = """
:root { --ink: #18222d; --muted: #55606c; --line: #dfe4e9; --panel: #f5f7f9; --taste: #0b6bb0; --leak: #c4480f; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 "Source Sans 3", "Source Sans Pro", "Segoe UI",
  "Liberation Sans", Arial, sans-serif; font-variant-numeric: tabular-nums; }
main, header, footer { max-width: 860px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 48px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 22px; margin: 56px 0 4px; padding-top: 24px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 32px 0 8px; }
p { margin: 0 0 10px; }
a { color: var(--taste); }
.muted, caption small, .note { color: var(--muted); }
.kind { color: var(--muted); font-weight: 400; }
.claim { font-size: 18px; line-height: 1.45; margin: 12px 0 20px; padding: 12px 16px; background: var(--panel);
  border-left: 4px solid var(--taste); white-space: pre-line; }
.warning { margin: 12px 0; padding: 10px 16px; background: #fdf3ee; border-left: 4px solid var(--leak); }
nav ul { list-style: none; margin: 16px 0 0; padding: 0; }
nav li { padding: 8px 0; border-top: 1px solid var(--line); }
figure { margin: 28px 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { color: var(--muted); font-size: 14px; margin-top: 6px; }
.table { overflow-x: auto; margin: 20px 0; }
table { border-collapse: collapse; font-size: 14px; width: 100%; }
caption { text-align: left; font-weight: 600; padding-bottom: 6px; font-size: 15px; }
th { text-align: left; font-weight: 600; color: var(--muted); border-bottom: 1px solid var(--ink);
  vertical-align: bottom; }
th, td { padding: 5px 14px 5px 0; }
td { border-bottom: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; white-space: nowrap; }
.interval { white-space: nowrap; }
.note { font-size: 14px; white-space: pre-line; margin-top: 6px; }
details { margin: 16px 0; }
summary { cursor: pointer; font-weight: 600; }
ul.limits { padding-left: 20px; }
ul.limits li { margin-bottom: 6px; }
pre { background: var(--panel); padding: 12px 16px; overflow-x: auto; font-size: 13px; line-height: 1.5;
  white-space: pre-wrap; overflow-wrap: anywhere; }
footer { color: var(--muted); font-size: 14px; margin-top: 56px; padding-bottom: 48px; }
@media print { h2 { break-before: page; } figure, tr { break-inside: avoid; } }
"""


def page(title: str, sections: Sequence[Section], pictures: Mapping[tuple[str, str], bytes], made: str) -> str:
    """The complete page.

    Args:
        title: of the report.
        sections: one per experiment.
        pictures: SVG of each figure, by experiment and the figure's stem.
        made: when, with which version and where the page was made, in words.
    """
    contents = "".join(_content(section) for section in sections) if len(sections) > 1 else ""
    nav = f"<nav><ul>{contents}</ul></nav>" if contents else ""
    body = "".join(_section(section, pictures) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>"
        f'<header><h1>{_text(title)}</h1><p class="muted">{_text(made)}</p>{nav}</header>'
        f"<main>{body}</main><footer>{_text(made)} This page loads nothing from the network.</footer></body></html>\n"
    )


def _content(section: Section) -> str:
    said = section.problem or " ".join(filter(None, (section.partial, section.sentence)))
    link = f'<a href="#{_text(section.name)}">{_text(section.name)}</a>'
    return f'<li>{link} <span class="kind">{_text(section.kind)}</span><br>{_with_code(said)}</li>'


def _section(section: Section, pictures: Mapping[tuple[str, str], bytes]) -> str:
    name = _text(section.name)
    parts = [f'<section id="{name}"><h2>{name} <span class="kind">{_text(section.kind)}</span></h2>']
    parts += [f'<p class="warning">{_with_code(one)}</p>' for one in (section.problem, section.partial) if one]
    if section.sentence:
        parts.append(f'<p class="claim">{_with_code(section.sentence)}</p>')
    for number, figure in enumerate(section.figures):
        stem = figure.stem(section.name)
        parts.append(_figure(figure, pictures[section.name, stem], f"{section.name}-{number}"))
    parts += [_table(table, section.name, is_folded=len(table) >= MANY_ROWS) for table in section.tables]
    if section.method:
        parts.append("<h3>Method</h3>" + "".join(f"<p>{_text(one)}</p>" for one in section.method))
    if section.limits:
        items = "".join(f"<li>{_text(one)}</li>" for one in section.limits)
        parts.append(f'<h3>Limits</h3><ul class="limits">{items}</ul>')
    if section.command:
        parts.append(f"<h3>Commands</h3><pre>{_text(section.command)}</pre>")
    if section.background:
        parts.append("<h3>Data, runs and machines</h3>")
        parts += [_table(table, section.name, is_folded=len(table) >= MANY_ROWS) for table in section.background]
    return "".join([*parts, "</section>"])


def _figure(figure: Figure, svg: bytes, prefix: str) -> str:
    described = f'role="img" aria-label="{_text(f"{figure.title}. {figure.subtitle}. {figure.note}")}"'
    drawn = inline_svg(svg, prefix).replace("<svg ", f"<svg {described} ", 1)
    return f"<figure>{drawn}<figcaption>{_text(figure.note)}</figcaption></figure>"


def _table(table: ResultTable, experiment: str, *, is_folded: bool) -> str:
    """The table with its note and its rows as a CSV to save; a folded one shows its title only."""
    note = f'<p class="note">{_with_code(table.note)}</p>' if table.note else ""
    title = _text(table.title.strip())
    if not table.rows:
        return f"<h3>{title}</h3>{note}"
    names = list(table.rows[0])
    is_number = {name: any(isinstance(row[name], int | float) for row in table.rows) for name in names}
    head = "".join(f"<th{_class(is_number[name], '')}>{_text(name)}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(f"<td{_class(is_number[name], cell(row[name]))}>{_text(cell(row[name]))}</td>" for name in names)
        + "</tr>"
        for row in table.rows
    )
    file = f"{experiment}-{slug(table.title)}.csv"
    encoded = base64.b64encode(to_csv(table).encode("utf-8", "replace")).decode()
    link = f'<a download="{_text(file)}" href="data:text/csv;base64,{encoded}">CSV</a>'
    caption = "" if is_folded else f"<caption>{title}</caption>"
    drawn = f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    whole = f'{drawn}{note}<p class="note">{link}</p>'
    return f"<details><summary>{title} ({len(table.rows):,} rows)</summary>{whole}</details>" if is_folded else whole


def slug(title: str) -> str:
    """A title as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].strip("-") or "table"


def _class(is_number: bool, shown: str) -> str:
    if is_number:
        return ' class="number"'
    return ' class="interval"' if _INTERVAL.fullmatch(shown) else ""


def _text(text: str) -> str:
    """Text for HTML; control characters, which could hide or reorder words, and lone surrogates are shown by number."""
    return html.escape(_UNPRINTABLE.sub(lambda found: f"[U+{ord(found[0]):04X}]", text))


def _with_code(text: str) -> str:
    """The same, with what stands between backticks as code."""
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(_text(text).split("`")))
