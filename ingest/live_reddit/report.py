"""The report of `lurker ingest reddit`: rows per subreddit, and every thread that was not read or is incomplete."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingest.live_reddit.api import RedditApi
from ingest.live_reddit.live import SubredditReport
from ingest.options import NEXT_COMMAND
from ingest.report import IngestReport
from lurker.errors import LurkerError
from lurker.report import ResultTable
from lurker.workspace import Workspace


@dataclass(frozen=True, slots=True, repr=False)
class LiveReport(IngestReport):
    """What became of each subreddit, and the calls that it took."""

    workspace: Path
    subreddits: list[SubredditReport]
    n_calls: int
    n_faults: int
    """Calls that failed and were repeated or given up."""
    waited_s: float
    """Time spent waiting for Reddit's rate limit, seconds."""

    @property
    def next_command(self) -> str:
        """The command to run next."""
        return NEXT_COMMAND

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return {**asdict(self), "workspace": str(self.workspace), "next": self.next_command}

    def tables(self) -> list[ResultTable]:
        """Rows per subreddit, threads not read, and incomplete threads."""
        return [
            ResultTable("Rows", [_row(report) for report in self.subreddits]),
            ResultTable("Not read", self._not_read()),
            ResultTable("Incomplete", self._incomplete()),
        ]

    def remarks(self) -> list[str]:
        """Notes on listings, and the number of calls."""
        notes = [f"r/{report.subreddit}: {note}." for report in self.subreddits for note in report.notes]
        calls = f"{self.n_calls:,} calls, {self.n_faults:,} failed; {self.waited_s:,} s waited for Reddit's rate limit."
        return [*notes, calls]

    def require_complete(self) -> None:
        """Raises: LurkerError when a subreddit or a thread could not be read."""
        n_posts = sum(report.n_posts for report in self.subreddits)
        n_comments = sum(report.n_comments for report in self.subreddits)
        kept = f"{n_posts:,} posts and {n_comments:,} comments"
        if refused := [f"r/{report.subreddit} ({report.refused})" for report in self.subreddits if report.refused]:
            raise LurkerError(
                f"Not read: {', '.join(refused)}. Kept from the others: {kept}.", "Check the names, or leave them out."
            )
        if n_failed := sum(len(report.failed) for report in self.subreddits):
            raise LurkerError(
                f"{n_failed:,} threads could not be read. Kept: {kept}.",
                "Run the same command again: it reads only the missing and the incomplete threads.",
            )
        if n_lost := sum(sum(report.not_stored.values()) for report in self.subreddits):
            raise LurkerError(
                f"{n_lost:,} rows that Reddit returned could not be stored. Kept: {kept}.",
                "The table of incomplete threads names each reason; run the same command again to read them again.",
            )

    def _not_read(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for report in self.subreddits:
            if report.refused:
                rows.append({"subreddit": report.subreddit, "thread": "all", "because": report.refused})
            for name, reason in {**report.skipped, **report.failed}.items():
                rows.append({"subreddit": report.subreddit, "thread": name, "because": reason})
        return rows

    def _incomplete(self) -> list[dict[str, object]]:
        return [
            {"subreddit": report.subreddit, "thread": name, "lacks": reason}
            for report in self.subreddits
            for name, reason in report.incomplete.items()
        ]


def live_report(workspace: Workspace, subreddits: Sequence[SubredditReport], api: RedditApi) -> LiveReport:
    """The report of a run with `api`."""
    return LiveReport(workspace.root, list(subreddits), api.n_calls, api.n_faults, round(api.budget.waited_s, 1))


def _row(report: SubredditReport) -> dict[str, object]:
    return {
        "subreddit": report.subreddit,
        "listed": report.n_listed,
        "nsfw": report.n_nsfw,
        "read before": report.n_resumed,
        "posts": report.n_posts,
        "comments": report.n_comments,
        "never came": report.n_missing,
        "short of count": report.n_short,
        "not stored": sum(report.not_stored.values()),
        "filtered": report.n_filtered,
        "duplicates": report.n_duplicates,
        "orphans": report.n_orphans,
        "foreign": report.n_foreign,
    }
