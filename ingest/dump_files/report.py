"""The reports of `lurker ingest dump` and `lurker ingest simulate`: what became of the rows of each file."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingest.dump_files.find import LISTED, Skipped
from ingest.options import NEXT_COMMAND
from ingest.report import IngestReport
from ingest.tables.normalize import FILTER_REASONS, RowFilters
from ingest.tables.staging import drop_staged
from lurker.errors import LurkerError
from lurker.progress import say
from lurker.report import ResultTable


@dataclass(kw_only=True, slots=True)
class FileReport:
    """What became of the rows of one file, or of many small ones."""

    file: str
    n_files: int = 1
    n_rows: int = 0
    n_posts: int = 0
    n_comments: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows by the reason for which they were dropped."""
    n_malformed: int = 0
    malformed_file: str | None = None
    """File that keeps the malformed lines."""
    subreddits: dict[str, int] = field(default_factory=dict)
    """Kept rows by subreddit, in lower case."""
    is_cut_short: bool = False
    damage: dict[str, str] = field(default_factory=dict)
    """How the file, or one of the small ones, is cut short or damaged."""
    malformed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For each file with malformed lines: n_rows, n_malformed, and line and problem of the first."""
    was_ingested_before: bool = False

    @property
    def n_kept(self) -> int:
        """Rows merged into the tables."""
        return self.n_posts + self.n_comments

    @property
    def state(self) -> str:
        """ingested, ingested before, or cut short."""
        if self.is_cut_short:
            return "cut short" if self.n_files == 1 else f"{len(self.damage):,} cut short"
        return "ingested before" if self.was_ingested_before else "ingested"


@dataclass(frozen=True, slots=True, repr=False)
class DumpReport(IngestReport):
    """What became of the rows of each dump file."""

    workspace: Path
    files: list[FileReport]
    skipped: list[Skipped] = field(default_factory=list)
    """Files that are no dumps."""
    max_malformed_share: float = 0.5
    """Largest share of malformed lines with which a file counts as read."""

    @property
    def next_command(self) -> str:
        """The command to run next."""
        return NEXT_COMMAND

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        files = [{**asdict(file), "n_kept": file.n_kept} for file in self.files]
        skipped = [{"file": one.file, "reason": one.reason} for one in self.skipped]
        return {"workspace": str(self.workspace), "files": files, "skipped": skipped, "next": self.next_command}

    def tables(self) -> list[ResultTable]:
        """Rows per file, the most troubled first if there are many, and rows dropped per reason."""
        files = self.files
        if len(files) > LISTED:
            files = sorted(files, key=lambda file: (not file.is_cut_short, -file.n_malformed))
        rows = [_table_row(Path(file.file).name, [file], file.state) for file in files[:LISTED]]
        if rest := files[LISTED:]:
            rows.append(_table_row(f"{sum(file.n_files for file in rest):,} more files", rest, "read"))
        if len(files) > 1:
            rows.append(_table_row("total", files, ""))
        if len(files) > LISTED:
            total = sum((Counter(file.dropped) for file in files), Counter[str]())
            dropped = [{"dropped because": reason, "rows": n} for reason, n in total.most_common()]
        else:
            dropped = [
                {"file": Path(file.file).name, "dropped because": reason, "rows": n}
                for file in files
                for reason, n in sorted(file.dropped.items(), key=lambda item: -item[1])
            ]
        return [ResultTable("Rows", rows), ResultTable("Dropped", dropped)]

    def remarks(self) -> list[str]:
        """Where malformed lines are described."""
        kept = [file for file in self.files if file.malformed_file]
        if len(kept) > LISTED:
            folder = Path(str(kept[0].malformed_file)).parent
            return [f"The malformed lines of {len(kept):,} files are described in {folder}."]
        return [f"The malformed lines of {file.file} are described in {file.malformed_file}." for file in kept]

    def require_complete(self) -> None:
        """Raises: LurkerError when a file is cut short, mostly malformed, or named and no dump."""
        problems = []
        if cut := [(name, how, file) for file in self.files for name, how in file.damage.items()]:
            problems.append(
                "Cut short: "
                + _listed([f"{name}: {how} ({_complete(file)})" for name, how, file in cut])
                + " Download it again and ingest it: rows already in the tables are not doubled."
            )
        if bad := [(name, seen) for file in self.files for name, seen in file.malformed.items() if self._is_bad(seen)]:
            lines = [
                f"{seen['n_malformed']:,} of {seen['n_rows']:,} lines of {name} are malformed, "
                f"the first is line {seen['line']:,}: {seen['problem']}"
                for name, seen in bad
            ]
            problems.append(
                f"{_listed(lines)} Mend the file and ingest it again; its other rows are in the tables."
                " `--max-malformed-share 1` accepts any share."
            )
        if unread := [one for one in self.skipped if one.is_named and not one.is_empty]:
            problems.append(f"Not read: {_listed([one.reason.rstrip('.') for one in unread])}")
        if problems:
            raise LurkerError(problems[0], " ".join(problems[1:]))

    def _is_bad(self, seen: dict[str, Any]) -> bool:
        return bool(seen["n_malformed"] > self.max_malformed_share * seen["n_rows"])


def _complete(file: FileReport) -> str:
    return f"{file.n_rows:,} complete rows were read" if file.n_files == 1 else "its complete rows were read"


def _listed(texts: list[str]) -> str:
    more = f"; and {len(texts) - LISTED:,} more" if len(texts) > LISTED else ""
    return "; ".join(texts[:LISTED]) + more + "."


def _table_row(name: str, files: Sequence[FileReport], state: str) -> dict[str, Any]:
    return {
        "file": name,
        "read": sum(file.n_rows for file in files),
        "posts": sum(file.n_posts for file in files),
        "comments": sum(file.n_comments for file in files),
        "dropped": sum(sum(file.dropped.values()) for file in files),
        "malformed": sum(file.n_malformed for file in files),
        "state": state,
    }


@dataclass(frozen=True, slots=True, repr=False)
class SimulationReport(IngestReport):
    """The dump files of a simulated Reddit, and what became of their rows if they were ingested."""

    workspace: Path
    files: list[Path]
    ingested: DumpReport | None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        if self.ingested is not None:
            return self.ingested.to_dict()
        written = [str(path) for path in self.files]
        return {"workspace": str(self.workspace), "written": written, "next": self.next_command}

    def tables(self) -> list[ResultTable]:
        """The tables of the ingest, or the files written."""
        if self.ingested is not None:
            return self.ingested.tables()
        return [ResultTable("Written, with the truth", [{"file": str(path)} for path in self.files])]

    def remarks(self) -> list[str]:
        """The remarks of the ingest."""
        return [] if self.ingested is None else self.ingested.remarks()

    @property
    def next_command(self) -> str:
        """The command to run next."""
        if self.ingested is not None:
            return self.ingested.next_command
        return f"lurker --workspace {self.workspace} ingest dump {' '.join(map(str, self.files))}"


def require_rows(reports: Sequence[FileReport], filters: RowFilters, folders: Sequence[Path]) -> None:
    """Raises: LurkerError when no row was kept, after the staged rows are deleted."""
    kept = {name for report in reports for name in report.subreddits}
    if kept:
        for name in filters.subreddits:
            if name.lower() not in kept:
                say(f"No row of r/{name} was kept.")
        return
    drop_staged(*folders)
    n_rows = sum(report.n_rows for report in reports)
    dropped = sum((Counter(report.dropped) for report in reports), Counter[str]())
    n_malformed = sum(report.n_malformed for report in reports)
    reasons = [f"{n:,} {reason}" for reason, n in dropped.most_common()]
    reasons += [f"{n_malformed:,} malformed"] * (n_malformed > 0)
    names = [Path(report.file).name for report in reports]
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    raise LurkerError(
        f"No row of {', '.join(names[:LISTED])}{more} was kept. "
        f"Rows read: {n_rows:,}; dropped: {', '.join(reasons) or 'none'}.",
        _advice(reports, FILTER_REASONS & dropped.keys()),
    )


def _advice(reports: Sequence[FileReport], by_filters: Set[str]) -> str:
    """What helps when no row was kept: it depends on what took the rows."""
    if by_filters:
        return "Loosen the filters: see `lurker ingest dump --help`."
    if bad := [(name, seen) for report in reports for name, seen in report.malformed.items()]:
        name, seen = bad[0]
        return f"Line {seen['line']:,} of {name} is no JSON object: {seen['problem']}. Mend the file, or leave it out."
    if damage := [(name, how) for report in reports for name, how in report.damage.items()]:
        return f"{damage[0][0]}: {damage[0][1]}. Download it again."
    return (
        "No filter took them. Posts need id, title, subreddit and created_utc (seconds since 1970), comments need id, "
        "body, link_id, subreddit and created_utc."
    )
