"""The report of `lurker ingest dump`: what became of the rows of each file."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingest.options import NEXT_COMMAND
from ingest.report import IngestReport
from lurker.errors import LurkerError
from lurker.report import ResultTable


@dataclass(kw_only=True, slots=True)
class FileReport:
    """What became of the rows of one file."""

    file: str
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
    was_ingested_before: bool = False

    @property
    def n_kept(self) -> int:
        """Rows merged into the tables."""
        return self.n_posts + self.n_comments

    @property
    def state(self) -> str:
        """ingested, ingested before, or cut short."""
        return "cut short" if self.is_cut_short else "ingested before" if self.was_ingested_before else "ingested"


@dataclass(frozen=True, slots=True, repr=False)
class DumpReport(IngestReport):
    """What became of the rows of each dump file."""

    workspace: Path
    files: list[FileReport]

    @property
    def next_command(self) -> str:
        """The command to run next."""
        return NEXT_COMMAND

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        files = [{**asdict(file), "n_kept": file.n_kept} for file in self.files]
        return {"workspace": str(self.workspace), "files": files, "next": self.next_command}

    def tables(self) -> list[ResultTable]:
        """Rows per file, and rows dropped per file and reason."""
        rows = [
            {
                "file": Path(file.file).name,
                "read": file.n_rows,
                "posts": file.n_posts,
                "comments": file.n_comments,
                "dropped": sum(file.dropped.values()),
                "malformed": file.n_malformed,
                "state": file.state,
            }
            for file in self.files
        ]
        dropped = [
            {"file": Path(file.file).name, "dropped because": reason, "rows": n}
            for file in self.files
            for reason, n in sorted(file.dropped.items(), key=lambda item: -item[1])
        ]
        return [ResultTable("Rows", rows), ResultTable("Dropped", dropped)]

    def remarks(self) -> list[str]:
        """Where malformed lines are kept."""
        return [
            f"The malformed lines of {file.file} are in {file.malformed_file}."
            for file in self.files
            if file.malformed_file
        ]

    def require_complete(self) -> None:
        """Raises: LurkerError when a file is cut short."""
        if cut := [file for file in self.files if file.is_cut_short]:
            names = ", ".join(f"{file.file} ({file.n_rows:,} complete rows were read)" for file in cut)
            raise LurkerError(
                f"Cut short: {names}.", "Download it again and ingest it: rows already in the tables are not doubled."
            )
