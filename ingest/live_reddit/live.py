"""Live Reddit -> the workspace: listings, then threads, each staged when it is whole, merged once at the end.

Progress is kept a thread at a time under `staging/<fingerprint>/`: a run that was stopped, by a person or by a final
error, goes on with the next thread of the same listing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.live_reddit.api import RedditApi
from ingest.live_reddit.call import UnreadableError
from ingest.live_reddit.listings import ListingName, TimeSpan, walk_listing
from ingest.live_reddit.threads import Thread, read_thread
from ingest.tables.normalize import RowFilters
from ingest.tables.staging import STAGING_VERSION, drop_staged, merge_staged, stage_lines, staged_summary
from lurker.authors import KNOWN_BOTS
from lurker.config import fingerprint
from lurker.errors import LurkerError
from lurker.progress import progress, say
from lurker.workspace import Workspace, read_json, write_json

SOURCE = "reddit"
_LISTING_FILE = "_listing.json"
_SUBREDDIT = re.compile(r"[A-Za-z0-9_]{2,50}(\+[A-Za-z0-9_]{2,50})*|u_[A-Za-z0-9_-]{2,50}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveConfig:
    """What is read of each subreddit."""

    listing: ListingName = "new"
    """Which listing names the posts."""
    time: TimeSpan = "all"
    """The span of the listing `top`."""
    limit: int = 100
    """Most posts of each subreddit; Reddit lists about 1,000."""
    is_top_level_only: bool = False
    """Leave replies to comments out: fewer calls, and all that pairs need."""
    keep_nsfw: bool = False
    """Keep posts marked over 18, with their comments."""
    keep_bots: bool = False
    """Keep what well-known bots wrote, AutoModerator's too."""
    keep_mentions: bool = False
    """Leave u/name in texts as it was written."""
    resume_within_s: float = 6 * 3600
    """A stopped run goes on with its listing for so long, seconds; later, what it read is merged and it starts anew."""
    max_failures_in_a_row: int = 5
    """Subreddits or threads that fail one after another before the server is taken for down."""

    def __post_init__(self) -> None:
        """Errors: ValueError for a value that cannot be."""
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")
        if self.max_failures_in_a_row < 1:
            raise ValueError(f"max_failures_in_a_row must be at least 1, got {self.max_failures_in_a_row}")
        if self.resume_within_s < 0:
            raise ValueError(f"resume_within_s must be at least 0, got {self.resume_within_s}")


@dataclass(kw_only=True, slots=True)
class SubredditReport:
    """What became of one subreddit.

    refused: why nothing of it could be read. skipped: threads that Reddit does not show; failed: threads that may be
    read another time; incomplete: threads that lack something: the reason by post id. n_missing: comments that
    threads name and that never came. n_short: comments that posts count beyond those that were found.
    """

    subreddit: str
    refused: str | None = None
    n_listed: int = 0
    n_nsfw: int = 0
    n_resumed: int = 0
    n_posts: int = 0
    n_comments: int = 0
    n_missing: int = 0
    n_short: int = 0
    n_duplicates: int = 0
    n_orphans: int = 0
    n_foreign: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Patience:
    """Counts failures in a row, over subreddits and threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.n_failures = 0

    def failed(self, reason: str) -> None:
        self.n_failures += 1
        if self.n_failures >= self.most:
            raise LurkerError(
                f"Reddit failed {self.n_failures} times in a row, the last time with: {reason}.",
                "Run the same command again later: what was read is kept, and it goes on from there.",
            )

    def succeeded(self) -> None:
        self.n_failures = 0


def check_subreddit(name: str) -> str:
    """The name without r/.

    Errors: ValueError when Reddit can have no such name.
    """
    plain = name.strip().strip("/").removeprefix("r/")
    if not _SUBREDDIT.fullmatch(plain):
        raise ValueError(f"{name!r} is no name of a subreddit")
    return plain


def ingest_reddit(
    workspace: Workspace, subreddits: Sequence[str], config: LiveConfig, api: RedditApi
) -> list[SubredditReport]:
    """Read listings and their threads into posts, comments and observations; a report for each subreddit.

    What cannot be read is named in the reports and the rest goes on.
    Errors: LurkerError when the credentials are refused, the server is down, or another process writes to the
    workspace; what was read until then is kept for the next run.
    """
    patience = _Patience(config.max_failures_in_a_row)
    reports: list[SubredditReport] = []
    folders: dict[Path, SubredditReport] = {}
    with workspace.lock("ingest reddit"):
        for name in {name.lower(): name for name in subreddits}.values():
            report = SubredditReport(subreddit=name)
            reports.append(report)
            folder = workspace.root / "staging" / _fingerprint(name, config, api)
            try:
                posts = _open_listing(workspace, folder, config, api, report)
            except UnreadableError as error:
                report.refused = error.reason
                say(f"r/{name} cannot be read: {error.reason}.")
                if error.may_heal:
                    patience.failed(error.reason)
                continue
            _read_threads(workspace, folder, posts, config, api, report, patience)
            folders[folder] = report
        if any(report.n_posts + report.n_comments for report in reports):
            merge_staged(workspace, list(folders))
        drop_staged(*(folder for folder, report in folders.items() if not report.failed))
    return reports


def _fingerprint(subreddit: str, config: LiveConfig, api: RedditApi) -> str:
    return fingerprint(STAGING_VERSION, SOURCE, subreddit.lower(), config, api.config.url)


def _open_listing(
    workspace: Workspace, folder: Path, config: LiveConfig, api: RedditApi, report: SubredditReport
) -> list[str]:
    """Ids of the posts to read: those of the run that was stopped, else of the listing as it is now."""
    record = folder / _LISTING_FILE
    if record.exists():
        listing = read_json(record)
        if 0 <= api.now_utc() - listing["walked_utc"] <= config.resume_within_s:
            report.n_listed, report.n_nsfw, report.notes = listing["n_listed"], listing["n_nsfw"], listing["notes"]
            return list(listing["posts"])
        merge_staged(workspace, [folder])
        drop_staged(folder)
    found = walk_listing(api, report.subreddit, config.listing, config.time, config.limit)
    posts = [name for name, post in found.posts.items() if config.keep_nsfw or post.get("over_18") is not True]
    report.n_listed, report.n_nsfw, report.notes = len(found.posts), len(found.posts) - len(posts), found.notes
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"n_listed": report.n_listed, "n_nsfw": report.n_nsfw, "notes": report.notes}
    write_json({"walked_utc": api.now_utc(), **counts, "posts": posts}, record)
    return posts


def _read_threads(
    workspace: Workspace,
    folder: Path,
    posts: Sequence[str],
    config: LiveConfig,
    api: RedditApi,
    report: SubredditReport,
    patience: _Patience,
) -> None:
    """Stage every thread that is not staged yet; those that fail get a second chance after the others."""
    for left_over in folder.glob(".*.tmp"):
        left_over.unlink()
    filters = RowFilters(
        keep_nsfw=config.keep_nsfw,
        keep_profiles=report.subreddit.lower().startswith("u_"),
        bots=() if config.keep_bots else KNOWN_BOTS,
        keep_mentions=config.keep_mentions,
    )
    salt = workspace.salt()
    with progress(f"Reading r/{report.subreddit}", len(posts), unit="threads") as advance:
        for is_last_try, names in ((False, posts), (True, report.failed)):
            for name in list(names):
                summary = staged_summary(folder, name)
                report.n_resumed += summary is not None
                if summary is None:
                    try:
                        thread = read_thread(
                            api, name, is_top_level_only=config.is_top_level_only, is_partial_welcome=is_last_try
                        )
                    except UnreadableError as error:
                        (report.failed if error.may_heal else report.skipped)[name] = error.reason
                        if error.may_heal and not is_last_try:
                            patience.failed(error.reason)
                        continue
                    patience.succeeded()
                    summary = stage_lines(
                        thread.lines(), folder, name, filters, SOURCE, salt, notes=completeness(thread)
                    )
                report.failed.pop(name, None)
                _add(report, name, summary)
                advance(1)


def completeness(thread: Thread) -> dict[str, Any]:
    """What is known to be missing or odd in a thread, in figures."""
    return {
        "n_missing": len(thread.missing),
        "n_short": thread.n_short,
        "n_duplicates": thread.n_duplicates,
        "n_orphans": thread.n_orphans,
        "n_foreign": thread.n_foreign,
        "n_expected": thread.n_expected,
        "faults": thread.faults,
    }


def _add(report: SubredditReport, name: str, summary: dict[str, Any]) -> None:
    counts = ("n_posts", "n_comments", "n_missing", "n_short", "n_duplicates", "n_orphans", "n_foreign")
    for count in counts:
        setattr(report, count, getattr(report, count) + summary[count])
    if summary["n_missing"] or summary["n_short"] or summary["faults"]:
        parts = [f"{summary['n_missing']:,} named comments never came"] * (summary["n_missing"] > 0)
        if summary["n_short"]:
            parts.append(f"{summary['n_comments']:,} of {summary['n_expected']:,} comments that the post counts")
        report.incomplete[name] = "; ".join([*parts, *summary["faults"]])
