"""The report of `lurker ingest archive`: what became of the archive's rows, and what their scores are worth."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingest.options import NEXT_COMMAND
from ingest.report import IngestReport, dropped_table
from lurker.report import ResultTable


@dataclass(kw_only=True, slots=True, repr=False)
class ArchiveReport(IngestReport):
    """What became of the rows of one subreddit."""

    workspace: Path
    subreddit: str
    n_rows: int = 0
    n_posts: int = 0
    n_comments: int = 0
    n_unripe: int = 0
    """Kept rows that the archive saw less than 36 h after they were written: their scores are 0 or 1."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows by the reason for which they were dropped."""
    n_posts_by_id: int = 0
    """Posts from outside the span, fetched because comments within it belong to them."""
    n_posts_unknown: int = 0
    """Posts that comments refer to and that the archive does not have."""
    crowded_utc: list[int] = field(default_factory=list)
    """Seconds with more rows than the archive returns at once: some may be missing."""
    n_calls: int = 0

    @property
    def next_command(self) -> str:
        """The command to run next."""
        return NEXT_COMMAND

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return {**asdict(self), "workspace": str(self.workspace), "next": self.next_command}

    def tables(self) -> list[ResultTable]:
        """Rows of the subreddit, and rows dropped per reason."""
        row = {
            "subreddit": self.subreddit,
            "read": self.n_rows,
            "posts": self.n_posts,
            "comments": self.n_comments,
            "dropped": sum(self.dropped.values()),
            "unripe": self.n_unripe,
            "calls": self.n_calls,
        }
        return [ResultTable("Rows", [row]), dropped_table(self.dropped)]

    def remarks(self) -> list[str]:
        """Unsettled scores, unknown posts and seconds that may be incomplete."""
        remarks = []
        if self.n_unripe:
            remarks.append(
                f"{self.n_unripe:,} rows were seen less than 36 h after they were written: their scores are 0 or 1, "
                "not votes. Run the same command two days later, or `lurker ingest refresh`."
            )
        if self.n_posts_unknown:
            remarks.append(f"{self.n_posts_unknown:,} posts of these comments are not in the archive.")
        remarks += [
            f"More rows than the archive returns at once were written at {second} (UTC seconds): some may be missing."
            for second in self.crowded_utc
        ]
        return remarks
