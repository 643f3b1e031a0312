"""`lurker experiment report` and `policy report`: results as one HTML file, and as files for a paper."""

import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lurker import __version__
from lurker.arguments import as_list, as_path
from lurker.charts.figure import FORMATS, PAGE_IN, WIDTHS_IN, paper_spec, render, require_vl_convert
from lurker.errors import CallError, LurkerError
from lurker.files import atomic_path, read_object, require_file_name, write_json
from lurker.machine import processor
from lurker.progress import progress
from lurker.report import Displayed, ResultTable
from lurker.table_formats import to_csv, to_latex, to_markdown
from lurker.workspace import AnyWorkspace, as_workspace
from rm.experiments.report.page import page, slug
from rm.experiments.report.policy_section import read_policy_section
from rm.experiments.report.section import Section, read_section
from rm.experiments.results import ExperimentResult
from rm.policy.api import Policy
from rm.policy.policy_folder import POLICY_PREFIX
from rm.training.run_folder import short_name

PAGE = "report.html"
MANIFEST = "manifest.json"
"""Written last into a report's folder: a folder that has it is a report, and may be replaced by one."""
REPORTS = "reports"
"""Folder of a workspace for reports."""
Pictures = dict[tuple[str, str], bytes]
"""SVG of each figure at the page's width, by experiment and stem."""


@dataclass(frozen=True, slots=True, repr=False)
class Report(Displayed):
    """A written report."""

    out: Path
    """the HTML file, or the folder with it and its parts"""
    sections: Sequence[Section]
    files: Sequence[str]
    """relative to the folder; the HTML file alone without one"""

    @property
    def page(self) -> Path:
        """The HTML file."""
        return self.out / PAGE if self.out.is_dir() else self.out

    @property
    def problems(self) -> list[str]:
        """Why experiments could not be read, a sentence each."""
        return [section.problem for section in self.sections if section.problem]

    def table(self) -> ResultTable:
        """One row per experiment: what it found, and what is missing."""
        rows = [
            {
                "name": one.name,
                "kind": one.kind or "–",
                "figures": len(one.figures),
                "tables": len(one.tables),
                "finding": " ".join(filter(None, (one.problem, one.partial, one.sentence))) or "–",
            }
            for one in self.sections
        ]
        n = len(self.files)
        return ResultTable(f"Report {self.page}", rows, f"{n:,} {'file' if n == 1 else 'files'} in {self.page.parent}")

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        experiments = [
            {
                "name": one.name,
                "kind": one.kind or None,
                "sentence": one.sentence or None,
                "partial": one.partial or None,
                "problem": one.problem or None,
                "figures": [figure.stem(one.name) for figure in one.figures],
            }
            for one in self.sections
        ]
        return {"page": str(self.page), "files": list(self.files), "experiments": experiments}


def report(
    workspace: AnyWorkspace,
    experiments: Sequence[ExperimentResult | Policy | str] | ExperimentResult | Policy | str,
    out: str | Path | None = None,
) -> Report:
    """Write finished experiments and policies as one HTML file that loads nothing, and as files for a paper.

    The folder has report.html, figures/ (PDF, SVG and PNG, 3.3 and 6.8 inches wide) and tables/ (CSV, LaTeX and
    Markdown). No text of a response and no author's name is in it. An experiment that cannot be read has its reason in
    the page; the others are complete.

    Args:
        workspace: where the experiments are.
        experiments: names or results of experiments; policies, or "policy:ID".
        out: a folder, or a file that ends in .html for the page alone; `reports/NAME` in the workspace by default. A
            report that is there is replaced.

    Raises:
        CallError: there is no experiment of a name, or something other than a report stands at `out`.
        LurkerError: no experiment could be read, or the report cannot be written.
    """
    opened = as_workspace(workspace)
    names = list(dict.fromkeys(map(_name, as_list(experiments, "experiments"))))
    if not names:
        raise CallError("A report needs an experiment, got none.", "Name one: `lurker experiment report NAME`.")
    plain = [name.removeprefix(POLICY_PREFIX) for name in names]
    target = opened.folder(REPORTS, short_name("-".join(plain))) if out is None else as_path(out, "out")
    _require_replaceable(target)
    require_vl_convert()
    sections = [
        read_policy_section(opened, bare) if name.startswith(POLICY_PREFIX) else read_section(opened, name)
        for name, bare in zip(names, plain, strict=True)
    ]
    if all(section.problem for section in sections):
        raise LurkerError("No experiment could be read.", "\n".join(section.problem for section in sections))
    files = _write_page(target, sections) if _is_page(target) else _write_folder(target, sections)
    return Report(target, sections, files)


def _name(item: ExperimentResult | Policy | str) -> str:
    if isinstance(item, Policy):
        return f"{POLICY_PREFIX}{item.policy_id}"
    return item if isinstance(item, str) else item.experiment.name


def _is_page(target: Path) -> bool:
    return target.suffix.lower() in (".html", ".htm")


def _require_replaceable(target: Path) -> None:
    """Check, before any work, that the report can be written where it is wanted.

    Raises:
        CallError: it would replace what is no report.
    """
    require_file_name(target)
    if _is_page(target):
        if target.is_dir():
            raise CallError(f"{target} is a folder.", "Choose another file with `--out FILE.html`.")
    elif target.exists() and not (target.is_dir() and (not any(target.iterdir()) or _is_report(target))):
        raise CallError(f"{target} exists and is no report.", "Choose another folder with `--out`.")


def _is_report(folder: Path) -> bool:
    return (folder / MANIFEST).exists() and read_object(folder / MANIFEST).get("kind") == "report"


def _write_page(target: Path, sections: Sequence[Section]) -> list[str]:
    """The page alone."""
    n_figures = sum(len(section.figures) for section in sections)
    with progress("Drawing figures", n_figures, "figures") as advance, atomic_path(target) as temporary:
        pictures: Pictures = {}
        for section in sections:
            for figure in section.figures:
                pictures[section.name, figure.stem(section.name)] = render(paper_spec(figure, PAGE_IN), ["svg"])["svg"]
                advance(1)
        temporary.write_text(_page(sections, pictures), "utf-8", "replace")
    return [target.name]


def _write_folder(target: Path, sections: Sequence[Section]) -> list[str]:
    """The page and its parts, under a temporary name until all are there."""
    temporary = target.with_name(f".{target.name[:80]}-{uuid.uuid4().hex[:8]}.tmp")
    replaced = temporary.with_suffix(".old")
    try:
        temporary.mkdir(parents=True)
        n_drawings = sum(len(section.figures) for section in sections) * len(WIDTHS_IN)
        with progress("Drawing figures", n_drawings, "drawings") as advance:
            pictures = _write_figures(temporary, sections, advance)
        _write_tables(temporary, sections)
        (temporary / PAGE).write_text(_page(sections, pictures), "utf-8", "replace")
        files = sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file())
        names = [section.name for section in sections]
        write_json({"kind": "report", "experiments": names, "files": files}, temporary / MANIFEST)
        if target.exists():
            target.rename(replaced)
        temporary.rename(target)
        return files
    except OSError as error:
        raise LurkerError(f"Cannot write {target}: {error.strerror or error}.", "Choose another `--out`.") from error
    finally:
        if replaced.exists() and not target.exists():  # stopped between the two renames
            replaced.rename(target)
        for folder in (temporary, replaced):
            shutil.rmtree(folder, ignore_errors=True)


def _write_figures(folder: Path, sections: Sequence[Section], advance: Callable[[float], None]) -> Pictures:
    """Every figure in every width and format; the SVG for the page."""
    pictures: Pictures = {}
    (folder / "figures").mkdir()
    for section in sections:
        for figure in section.figures:
            stem = figure.stem(section.name)
            for width_in in WIDTHS_IN:
                spec = paper_spec(figure, width_in)
                drawn = render(spec, FORMATS)
                for ending, picture in drawn.items():
                    (folder / "figures" / f"{stem}-{width_in}in.{ending}").write_bytes(picture)
                if width_in == PAGE_IN:
                    pictures[section.name, stem] = drawn["svg"]
                advance(1)
    return pictures


def _write_tables(folder: Path, sections: Sequence[Section]) -> None:
    """Every table with rows as CSV, LaTeX and Markdown, and the rows behind the figures as CSV."""
    target = folder / "tables"
    target.mkdir()
    for section in sections:
        tables = [table for table in (*section.tables, *section.background) if table.rows]
        for number, table in enumerate(tables, 1):
            stem = f"{section.name}-{number}-{slug(table.title)}"
            texts = {"csv": to_csv(table), "tex": to_latex(table, f"tab:{stem}"), "md": to_markdown(table)}
            for ending, text in texts.items():
                (target / f"{stem}.{ending}").write_text(text, "utf-8", "replace")
        if section.data is not None:
            rows = to_csv(ResultTable(section.name, section.data.to_dicts()))
            (target / f"{section.name}-data.csv").write_text(rows, "utf-8", "replace")


def _page(sections: Sequence[Section], pictures: Pictures) -> str:
    names = ", ".join(section.name for section in sections)
    kinds = {section.of for section in sections}
    many = {"experiment": "experiments", "policy": "policies"}[kinds.pop()] if len(kinds) == 1 else "results"
    title = f"{sections[0].of.capitalize()} {names}" if len(sections) == 1 else f"{len(sections)} {many}"
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return page(title, sections, pictures, f"Written by Lurker {__version__} on {now} ({processor()}).")
