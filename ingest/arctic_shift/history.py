"""`lurker ingest archive`: a subreddit's posts and comments from Arctic Shift into the workspace, a page at a time.

Posts first, then comments, then the posts that comments name and the span left out. Each page is staged before the
next is asked for, so a run that was stopped goes on at the page where it stood; one merge puts all into the tables.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import polars as pl

from ingest.arctic_shift.api import ArchiveClient, Row
from ingest.arctic_shift.pages import DAY_S, REDDIT_BEGAN_UTC, Kind, Place, pages
from ingest.tables.normalize import RowFilters
from ingest.tables.sorted_runs import read_run
from ingest.tables.staging import STAGING_VERSION, drop_staged, merge_staged, stage_lines, staged_runs
from lurker.config import fingerprint
from lurker.errors import LurkerError
from lurker.maturity import RIPE_AFTER_S, is_unripe
from lurker.progress import progress
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace, read_json

KINDS: tuple[Kind, ...] = ("posts", "comments")
SOURCE = "archive"
BY_ID = "by-id"
"""Names the staged batches of posts that were fetched by id."""
IDS_A_CALL = 100


@dataclass(kw_only=True, slots=True)
class ArchiveReport:
    """What became of the rows of one subreddit."""

    subreddit: str
    n_rows: int = 0
    n_posts: int = 0
    n_comments: int = 0
    n_unripe: int = 0
    """Rows kept that the archive saw less than 36 h after they were written: their scores are 0 or 1."""
    dropped: dict[str, int] = field(default_factory=dict)
    n_posts_by_id: int = 0
    """Posts from outside the span, fetched because comments stand under them."""
    n_posts_unknown: int = 0
    """Posts that comments name and the archive does not have."""
    crowded_utc: list[int] = field(default_factory=list)
    """Seconds with more rows than the archive gives at once: some of theirs may be missing."""
    n_calls: int = 0


def ingest_archive(
    workspace: Workspace, client: ArchiveClient, subreddit: str, filters: RowFilters, now_utc: int
) -> ArchiveReport:
    """Read what the archive has of a subreddit within the filters' dates into the tables.

    now_utc: the present; the end of the span where the filters have none.
    Errors: LurkerError when the archive refuses or stays faulty (what was staged is kept), when it has nothing of the
    subreddit, or when another process writes to the workspace.
    """
    filters = replace(filters, subreddits=(subreddit,))
    mark = fingerprint(STAGING_VERSION, SOURCE, client.config.url, subreddit.lower(), filters)
    folder = workspace.root / "staging" / f"archive-{mark}"
    with workspace.lock("ingest archive"):
        folder.mkdir(parents=True, exist_ok=True)
        report = ArchiveReport(subreddit=subreddit)
        for kind in KINDS:
            _stage_kind(client, kind, subreddit, folder, filters, workspace.salt(), now_utc)
        _stage_missing_posts(workspace, client, subreddit, folder, filters)
        _count(folder, report)
        report.n_calls = client.n_calls
        _require_rows(report, filters, folder)
        merge_staged(workspace, [folder])
        drop_staged(folder)
    return report


def _stage_kind(
    client: ArchiveClient,
    kind: Kind,
    subreddit: str,
    folder: Path,
    filters: RowFilters,
    salt: bytes,
    now_utc: int,
) -> None:
    """Stage the pages of one kind that are not staged yet."""
    began_utc = REDDIT_BEGAN_UTC if filters.since_utc is None else filters.since_utc
    ends_utc = now_utc if filters.until_utc is None else filters.until_utc
    staged = sorted(folder.glob(f"{kind}-*.json"))
    place = _place(staged[-1]) if staged else Place(cursor_utc=began_utc)
    with progress(f"Archived {kind} of r/{subreddit}", (ends_utc - began_utc) / DAY_S, "days") as advance:
        advance((place.cursor_utc - began_utc) / DAY_S)
        for number, page in enumerate(pages(client, kind, subreddit, place, ends_utc), start=len(staged)):
            name = f"{kind}-{number:07d}"
            notes = {
                "place": asdict(page.place),
                "crowded_utc": [] if page.crowded_utc is None else [page.crowded_utc],
                "post_ids": [row["id"] for row in page.rows] if kind == "posts" else [],
            }
            stage_lines(_lines(page.rows), folder, name, filters, SOURCE, salt, notes=notes)
            advance((page.place.cursor_utc - place.cursor_utc) / DAY_S)
            place = page.place


def _place(summary: Path) -> Place:
    written = read_json(summary)["place"]
    return Place(**{**written, "known": tuple(written["known"])})


def _stage_missing_posts(
    workspace: Workspace, client: ArchiveClient, subreddit: str, folder: Path, filters: RowFilters
) -> None:
    """Fetch by id the posts that staged comments stand under and nothing else brought."""
    runs = staged_runs(folder, COMMENTS)
    if not runs:
        return
    asked = {name for path in folder.glob("*.json") for name in read_json(path)["post_ids"]}
    known = {file["name"] for file in workspace.manifest(POSTS, subreddit).get("files", [])}
    if known:
        paths = [workspace.partition(POSTS, subreddit) / name for name in known]
        asked |= set(pl.scan_parquet(paths).select("post_id").collect()["post_id"])
    named = {post_id for run in runs for post_id in read_run(run)["post_id"].unique()}
    missing = sorted(named - asked)
    whenever = replace(filters, since_utc=None, until_utc=None)
    first = len(list(folder.glob(f"{BY_ID}-*.json")))
    with progress(f"Posts under those comments in r/{subreddit}", len(missing), "posts") as advance:
        for number, start in enumerate(range(0, len(missing), IDS_A_CALL), start=first):
            ids = missing[start : start + IDS_A_CALL]
            rows = client.get("posts/ids", {"ids": ",".join(ids)}, doubt=partial(_were_not_asked_for, ids))
            notes = {"crowded_utc": [], "post_ids": ids}
            name = f"{BY_ID}-{number:07d}"
            stage_lines(_lines(rows), folder, name, whenever, SOURCE, workspace.salt(), notes=notes)
            advance(len(ids))


def _were_not_asked_for(ids: Sequence[str], rows: Sequence[Row]) -> str | None:
    return None if {row.get("id") for row in rows} <= set(ids) else "rows that were not asked for"


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
    """Errors: LurkerError when nothing was kept, after the staged pages are thrown away."""
    if report.n_posts + report.n_comments:
        return
    drop_staged(folder)
    if report.n_rows:
        why = ", ".join(f"{n:,} {reason}" for reason, n in sorted(report.dropped.items()))
        raise LurkerError(
            f"No row of r/{report.subreddit} was kept: {report.n_rows:,} read, of which {why}.",
            "Loosen the filters: see `lurker ingest archive --help`.",
        )
    has_dates = filters.since_utc is not None or filters.until_utc is not None
    raise LurkerError(
        f"The archive has nothing of r/{report.subreddit}{' in that span' if has_dates else ''}.",
        "Check its name; private and quarantined subreddits are not archived.",
    )
