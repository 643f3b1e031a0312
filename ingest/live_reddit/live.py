"""Live Reddit -> the workspace: listings, then threads, each staged when complete, all merged at the end.

Progress is saved per thread under `staging/<fingerprint>/`: a run that was stopped, by its user or by an error, resumes
with the next thread of the same listing.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.live_reddit.api import RedditApi, is_subreddit
from ingest.live_reddit.call import UnreadableError
from ingest.live_reddit.listings import ListingName, TimeSpan, read_listing
from ingest.live_reddit.threads import REREAD_SHORTFALL, Thread, read_thread
from ingest.tables.normalize import FILTER_REASONS, RowContext, RowFilters
from ingest.tables.staging import STAGING_VERSION, drop_staged, merge_staged, stage_lines, staged_summary
from lurker.authors import KNOWN_BOTS
from lurker.config import fingerprint
from lurker.errors import LurkerError
from lurker.files import read_json, write_json
from lurker.progress import progress, say
from lurker.subreddits import plain_name
from lurker.workspace import Workspace

SOURCE = "reddit"
_LISTING_FILE = "_listing.json"
_SUBREDDIT = re.compile(r"[A-Za-z0-9_]{2,50}(\+[A-Za-z0-9_]{2,50})*|u_[A-Za-z0-9_-]{2,50}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveConfig:
    """Which posts and comments are read from each subreddit."""

    listing: ListingName = "new"
    """Listing that selects the posts."""
    time: TimeSpan = "all"
    """Span of the listing `top`."""
    limit: int = 100
    """Largest number of posts per subreddit; Reddit lists about 1,000."""
    is_top_level_only: bool = False
    """Skip replies to comments: fewer calls, and pairs do not need them."""
    keep_nsfw: bool = False
    """Keep posts marked over 18, with their comments."""
    keep_bots: bool = False
    """Keep rows by well-known bots, including AutoModerator."""
    keep_mentions: bool = False
    """Leave u/name in texts as written."""
    resume_within_s: float = 6 * 3600
    """Seconds for which a stopped run resumes its listing; later, its rows are merged and the listing is read again."""
    max_failures_in_a_row: int = 5
    """Subreddits or threads that may fail in a row before the server is considered down."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a value out of range."""
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")
        if self.max_failures_in_a_row < 1:
            raise ValueError(f"max_failures_in_a_row must be at least 1, got {self.max_failures_in_a_row}")
        if self.resume_within_s < 0:
            raise ValueError(f"resume_within_s must be at least 0, got {self.resume_within_s}")


@dataclass(kw_only=True, slots=True)
class SubredditReport:
    """What became of one subreddit."""

    subreddit: str
    refused: str | None = None
    """Why nothing of it could be read."""
    n_listed: int = 0
    n_nsfw: int = 0
    n_resumed: int = 0
    """Threads read by an earlier, stopped run."""
    n_posts: int = 0
    n_comments: int = 0
    n_missing: int = 0
    """Comments that threads refer to and that Reddit never returned."""
    n_short: int = 0
    """Comments counted by the posts beyond those stored or dropped by a filter."""
    n_filtered: int = 0
    """Rows dropped by the filters on bots, over 18 and profiles."""
    not_stored: dict[str, int] = field(default_factory=dict)
    """Rows that Reddit returned and that could not be stored, by reason."""
    n_duplicates: int = 0
    n_orphans: int = 0
    """Comments whose parent is missing."""
    n_foreign: int = 0
    """Comments of another post."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Threads that Reddit does not show: post id -> reason."""
    failed: dict[str, str] = field(default_factory=dict)
    """Threads that another run may read: post id -> reason."""
    incomplete: dict[str, str] = field(default_factory=dict)
    """Threads with missing parts: post id -> reason."""
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _FailureCounter:
    """Counts failures in a row, over subreddits and threads."""

    limit: int
    n_failures: int = 0

    def failed(self, reason: str) -> None:
        self.n_failures += 1
        if self.n_failures >= self.limit:
            raise LurkerError(
                f"Reddit failed {self.n_failures} times in a row, the last time with: {reason}.",
                "Run the same command again later to resume; everything read so far is kept.",
            )

    def succeeded(self) -> None:
        self.n_failures = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """What every step of one run needs."""

    workspace: Workspace
    config: LiveConfig
    api: RedditApi
    failures: _FailureCounter


def check_subreddit(name: str) -> str:
    """The name without r/.

    Raises:
        ValueError: Reddit allows no such name.
    """
    plain = plain_name(name)
    if not _SUBREDDIT.fullmatch(plain):
        raise ValueError(f"{name!r} is not a valid subreddit name")
    return plain


def ingest_reddit(
    workspace: Workspace, subreddits: Sequence[str], config: LiveConfig, api: RedditApi
) -> list[SubredditReport]:
    """Read listings and their threads into posts, comments and observations.

    Returns:
        A report per subreddit. Threads and subreddits that cannot be read are listed there; the others are read.

    Raises:
        LurkerError: Reddit refuses the credentials, the server is down, or another process is writing to the
            workspace; everything read so far is kept for the next run.
    """
    run = _Run(workspace, config, api, _FailureCounter(config.max_failures_in_a_row))
    reports: list[SubredditReport] = []
    folders: dict[Path, SubredditReport] = {}
    with workspace.lock("ingest reddit"):
        for name in {name.lower(): name for name in subreddits}.values():
            report = SubredditReport(subreddit=name)
            reports.append(report)
            folder = workspace.root / "staging" / _fingerprint(name, config, api)
            try:
                posts = _posts_to_read(run, folder, report)
            except UnreadableError as error:
                report.refused = error.reason
                say(f"r/{name} cannot be read: {error.reason}.")
                if error.is_transient:
                    run.failures.failed(error.reason)
                continue
            _read_threads(run, folder, posts, report)
            folders[folder] = report
        if any(report.n_posts + report.n_comments for report in reports):
            merge_staged(workspace, list(folders))
        drop_staged(*(folder for folder, report in folders.items() if not report.failed))
    return reports


def _fingerprint(subreddit: str, config: LiveConfig, api: RedditApi) -> str:
    return fingerprint(STAGING_VERSION, SOURCE, subreddit.lower(), config, api.config.url)


def _posts_to_read(run: _Run, folder: Path, report: SubredditReport) -> list[str]:
    """Ids of the posts to read: those of the stopped run, if it is recent, else those of the current listing."""
    api, config = run.api, run.config
    record = folder / _LISTING_FILE
    if record.exists():
        listing = read_json(record)
        if 0 <= api.now_utc() - listing["walked_utc"] <= config.resume_within_s:
            report.n_listed, report.n_nsfw, report.notes = listing["n_listed"], listing["n_nsfw"], listing["notes"]
            return list(listing["posts"])
        merge_staged(run.workspace, [folder])
        drop_staged(folder)
    current = read_listing(api, report.subreddit, config.listing, config.time, config.limit)
    posts = [name for name, post in current.posts.items() if config.keep_nsfw or post.get("over_18") is not True]
    report.n_listed, report.n_nsfw, report.notes = len(current.posts), len(current.posts) - len(posts), current.notes
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"n_listed": report.n_listed, "n_nsfw": report.n_nsfw, "notes": report.notes}
    write_json({"walked_utc": api.now_utc(), **counts, "posts": posts}, record)
    return posts


def _read_threads(run: _Run, folder: Path, posts: Sequence[str], report: SubredditReport) -> None:
    """Stage every thread that is not staged yet; failed ones are tried once more after the others."""
    for left_over in folder.glob(".*.tmp"):
        left_over.unlink()
    config = run.config
    filters = RowFilters(
        keep_nsfw=config.keep_nsfw,
        keep_profiles=report.subreddit.lower().startswith("u_"),
        bots=() if config.keep_bots else KNOWN_BOTS,
        keep_mentions=config.keep_mentions,
    )
    context = RowContext(filters, SOURCE, run.workspace.salt())
    with progress(f"Reading r/{report.subreddit}", len(posts), unit="threads") as advance:
        for is_last_try, names in ((False, posts), (True, report.failed)):
            for name in list(names):
                summary = staged_summary(folder, name)
                if summary is None or _should_be_read_again(summary):
                    try:
                        thread = read_thread(
                            run.api,
                            name,
                            is_top_level_only=config.is_top_level_only,
                            accept_partial=is_last_try,
                            subreddit=report.subreddit if is_subreddit(report.subreddit) else None,
                        )
                    except UnreadableError as error:
                        (report.failed if error.is_transient else report.skipped)[name] = error.reason
                        if error.is_transient and not is_last_try:
                            run.failures.failed(error.reason)
                        if summary is not None and (is_last_try or not error.is_transient):
                            _add_summary(report, name, summary)  # what an earlier run read of it
                        continue
                    run.failures.succeeded()
                    summary = stage_lines(thread.lines(), folder, name, context, notes=completeness(thread))
                else:
                    report.n_resumed += 1
                report.failed.pop(name, None)
                _add_summary(report, name, summary)
                advance(1)


def completeness(thread: Thread) -> dict[str, Any]:
    """Counts of what is missing or irregular in a thread."""
    return {
        "n_missing": len(thread.missing),
        "n_short": thread.n_short,
        "n_returned": 1 + len(thread.comments),
        "n_duplicates": thread.n_duplicates,
        "n_orphans": thread.n_orphans,
        "n_foreign": thread.n_foreign,
        "n_expected": thread.n_expected,
        "faults": thread.faults,
    }


def _should_be_read_again(summary: dict[str, Any]) -> bool:
    """Whether another run may get more of a staged thread; a small shortfall is normal."""
    is_short = summary["n_short"] > REREAD_SHORTFALL * (summary["n_expected"] or 0)
    return bool(summary["n_missing"] or summary["faults"] or is_short or _not_stored(summary))


def _not_stored(summary: dict[str, Any]) -> dict[str, int]:
    """Rows that were returned and neither stored nor dropped by a filter, by reason."""
    reasons = {reason: n for reason, n in summary["dropped"].items() if reason not in FILTER_REASONS}
    n_stored = summary["n_posts"] + summary["n_comments"] + sum(summary["dropped"].values())
    n_unread = summary["n_returned"] - n_stored
    return reasons | ({"unreadable": n_unread} if n_unread > 0 else {})


def _add_summary(report: SubredditReport, name: str, summary: dict[str, Any]) -> None:
    counts = ("n_posts", "n_comments", "n_missing", "n_duplicates", "n_orphans", "n_foreign")
    for count in counts:
        setattr(report, count, getattr(report, count) + summary[count])
    not_stored = _not_stored(summary)
    n_short = min(summary["n_short"] + sum(not_stored.values()), summary["n_expected"] or 0)
    report.n_short += n_short
    report.n_filtered += sum(n for reason, n in summary["dropped"].items() if reason in FILTER_REASONS)
    report.not_stored = dict(Counter(report.not_stored) + Counter(not_stored))
    if summary["n_missing"] or n_short or summary["faults"] or not_stored:
        parts = [f"{summary['n_missing']:,} known comments were not returned"] * (summary["n_missing"] > 0)
        if n_short:
            parts.append(f"{summary['n_comments']:,} of the {summary['n_expected']:,} comments that the post counts")
        parts += [f"{n:,} returned rows were not stored: {reason}" for reason, n in not_stored.items()]
        report.incomplete[name] = "; ".join([*parts, *summary["faults"]])
