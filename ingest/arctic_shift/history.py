"""`lurker ingest archive`: a subreddit's posts and comments from Arctic Shift into the workspace, page by page.

Posts come first, then comments, then posts from outside the span that comments belong to. Each page is staged before
the next is requested, so a stopped run resumes at its page; one merge brings all of them into the tables.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import polars as pl

from ingest.arctic_shift.api import ArchiveClient, Row, unrequested_rows
from ingest.arctic_shift.pages import DAY_S, REDDIT_BEGAN_UTC, Kind, Position, pages
from ingest.arctic_shift.report import ArchiveReport
from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.sorted_runs import read_run
from ingest.tables.staging import STAGING_VERSION, drop_staged, merge_staged, stage_lines, staged_runs
from lurker.config import fingerprint
from lurker.errors import LurkerError
from lurker.files import read_json
from lurker.maturity import RIPE_AFTER_S, is_unripe
from lurker.progress import progress
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace

KINDS: tuple[Kind, ...] = ("posts", "comments")
SOURCE = "archive"
BY_ID = "by-id"
"""Prefix of the staged batches of posts fetched by id."""
IDS_PER_CALL = 100


def ingest_archive(
    workspace: Workspace, client: ArchiveClient, subreddit: str, filters: RowFilters, now_utc: int
) -> ArchiveReport:
    """Read a subreddit's archived rows within the filters' dates into the tables.

    Args:
        now_utc: end of the span if the filters have none, seconds since 1970.

    Raises:
        LurkerError: the archive refuses or keeps failing (staged pages are kept), it has nothing of the subreddit, or
            another process is writing to the workspace.
    """
    filters = replace(filters, subreddits=(subreddit,))
    mark = fingerprint(STAGING_VERSION, SOURCE, client.config.url, subreddit.lower(), filters)
    folder = workspace.root / "staging" / f"archive-{mark}"
    with workspace.lock("ingest archive"):
        context = RowContext(filters, SOURCE, workspace.salt())
        folder.mkdir(parents=True, exist_ok=True)
        report = ArchiveReport(workspace=workspace.root, subreddit=subreddit)
        for kind in KINDS:
            _stage_kind(client, kind, subreddit, folder, context, now_utc)
        _stage_missing_posts(workspace, client, subreddit, folder, context)
        _count(folder, report)
        report.n_calls = client.n_calls
        _require_rows(report, filters, folder)
        merge_staged(workspace, [folder])
        drop_staged(folder)
    return report


def _stage_kind(
    client: ArchiveClient, kind: Kind, subreddit: str, folder: Path, context: RowContext, now_utc: int
) -> None:
    """Stage the pages of one kind that are not staged yet."""
    since_utc, until_utc = context.filters.since_utc, context.filters.until_utc
    start_utc = REDDIT_BEGAN_UTC if since_utc is None else since_utc
    end_utc = now_utc if until_utc is None else until_utc
    staged = sorted(folder.glob(f"{kind}-*.json"))
    position = _staged_position(staged[-1]) if staged else Position(cursor_utc=start_utc)
    with progress(f"Archived {kind} of r/{subreddit}", (end_utc - start_utc) / DAY_S, "days") as advance:
        advance((position.cursor_utc - start_utc) / DAY_S)
        for number, page in enumerate(pages(client, kind, subreddit, position, end_utc), start=len(staged)):
            notes = {
                "place": asdict(page.position),
                "crowded_utc": [] if page.crowded_utc is None else [page.crowded_utc],
                "post_ids": [row["id"] for row in page.rows] if kind == "posts" else [],
            }
            stage_lines(_lines(page.rows), folder, f"{kind}-{number:07d}", context, notes=notes)
            advance((page.position.cursor_utc - position.cursor_utc) / DAY_S)
            position = page.position


def _staged_position(summary: Path) -> Position:
    fields = read_json(summary)["place"]
    return Position(**{**fields, "known": tuple(fields["known"])})


def _stage_missing_posts(
    workspace: Workspace, client: ArchiveClient, subreddit: str, folder: Path, context: RowContext
) -> None:
    """Fetch by id the posts of staged comments that are neither staged nor in the workspace."""
    runs = staged_runs(folder, COMMENTS)
    if not runs:
        return
    known = {post_id for path in folder.glob("*.json") for post_id in read_json(path)["post_ids"]}
    files = {file["name"] for file in workspace.manifest(POSTS, subreddit).get("files", [])}
    if files:
        paths = [workspace.partition(POSTS, subreddit) / name for name in files]
        known |= set(pl.scan_parquet(paths).select("post_id").collect()["post_id"])
    needed = {post_id for run in runs for post_id in read_run(run, ["post_id"])["post_id"].unique()}
    missing = sorted(needed - known)
    any_time = replace(context, filters=replace(context.filters, since_utc=None, until_utc=None))
    first = len(list(folder.glob(f"{BY_ID}-*.json")))
    with progress(f"Posts of those comments in r/{subreddit}", len(missing), "posts") as advance:
        for number, start in enumerate(range(0, len(missing), IDS_PER_CALL), start=first):
            ids = missing[start : start + IDS_PER_CALL]
            rows = client.get("posts/ids", {"ids": ",".join(ids)}, check=partial(unrequested_rows, ids))
            notes = {"crowded_utc": [], "post_ids": ids}
            stage_lines(_lines(rows), folder, f"{BY_ID}-{number:07d}", any_time, notes=notes)
            advance(len(ids))


def _lines(rows: Sequence[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _count(folder: Path, report: ArchiveReport) -> None:
    dropped: Counter[str] = Counter()
    for path in sorted(folder.glob("*.json")):
        summary = read_json(path)
        report.n_rows += summary["n_rows"]
        report.n_posts += summary["n_posts"]
        report.n_comments += summary["n_comments"]
        report.crowded_utc += summary["crowded_utc"]
        dropped.update(summary["dropped"])
        if path.name.startswith(BY_ID):
            report.n_posts_by_id += summary["n_posts"]
            report.n_posts_unknown += len(summary["post_ids"]) - summary["n_rows"]
    report.dropped = dict(dropped)
    for run in [*staged_runs(folder, POSTS), *staged_runs(folder, COMMENTS)]:
        report.n_unripe += read_run(run).select(is_unripe(RIPE_AFTER_S).sum()).item()


def _require_rows(report: ArchiveReport, filters: RowFilters, folder: Path) -> None:
    """Raises: LurkerError when no row was kept, after the staged pages are deleted."""
    if report.n_posts + report.n_comments:
        return
    drop_staged(folder)
    if report.n_rows:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(report.dropped.items()))
        raise LurkerError(
            f"No row of r/{report.subreddit} was kept. Rows read: {report.n_rows:,}; dropped: {reasons}.",
            "Loosen the filters: see `lurker ingest archive --help`.",
        )
    has_dates = filters.since_utc is not None or filters.until_utc is not None
    raise LurkerError(
        f"The archive has nothing of r/{report.subreddit}{' in that span' if has_dates else ''}.",
        "Check the name; private and quarantined subreddits are not archived.",
    )
