"""`lurker ingest ids`: posts and comments by their ids, from live Reddit or from Arctic Shift, into the workspace.

This restores data sets that are shared as ids. Ids are requested in batches of 100, each staged before the next is
requested, so a stopped run resumes at its batch; one merge brings all of them into the tables.

Source: https://www.reddit.com/dev/api#GET_api_info; `/api/posts/ids` and `/api/comments/ids` of Arctic Shift,
https://github.com/ArthurHeitmann/arctic_shift/blob/master/api/README.md.
"""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.arctic_shift.api import ArchiveClient, Row, unrequested_rows
from ingest.report import IngestReport
from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.staging import STAGING_VERSION, merge_staged, stage_lines
from lurker.config import fingerprint
from lurker.errors import CallError, LurkerError
from lurker.files import read_json
from lurker.progress import progress
from lurker.report import ResultTable
from lurker.workspace import Workspace

if TYPE_CHECKING:  # PRAW is imported only to call Reddit
    from ingest.live_reddit.api import RedditApi

BATCH_IDS = 100
_FULLNAME = re.compile(r"(t3|t1)_[0-9a-z]{1,13}")
_KINDS = {"t3": "posts", "t1": "comments"}
Fetch = Callable[[Sequence[str]], bytes]
"""Fullnames, at most BATCH_IDS -> the items that the source knows, as lines of a dump."""
_HOW_TO_WRITE = "Write t3_ID for a post and t1_ID for a comment, one per line."


@dataclass(kw_only=True, slots=True, repr=False)
class IdsReport(IngestReport):
    """How many items the source returned."""

    workspace: Path
    source: str
    n_asked: int
    n_posts: int = 0
    n_comments: int = 0
    n_not_stored: int = 0
    """Items that the source returned and that could not be stored: without a time, say."""
    absent: list[str] = field(default_factory=list)
    """Fullnames that the source does not know."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return {**asdict(self), "workspace": str(self.workspace)}

    def tables(self) -> list[ResultTable]:
        """The counts, in one row."""
        counts = {"asked": self.n_asked, "posts": self.n_posts, "comments": self.n_comments}
        counts |= {"not known there": len(self.absent), "not stored": self.n_not_stored}
        return [ResultTable(f"From {self.source}", [counts])]


def read_fullnames(path: Path) -> list[str]:
    """The fullnames (t3_ for posts, t1_ for comments) in a file, one per line, without duplicates.

    Raises:
        CallError: the file cannot be read, is empty, or has a line that is not a fullname.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise CallError(f"Cannot read the ids in {path}: {error}.", "Give a text file with one id per line.") from error
    return checked_fullnames(lines, str(path))


def checked_fullnames(names: Sequence[str], origin: str) -> list[str]:
    """The fullnames without duplicates; raises CallError, which mentions `origin`, for an invalid one or for none."""
    if wrong := next((name for name in names if not _FULLNAME.fullmatch(name)), None):
        raise CallError(f"{wrong[:40]!r} in {origin} is not a valid id.", _HOW_TO_WRITE)
    if not names:
        raise CallError(f"There are no ids in {origin}.", _HOW_TO_WRITE)
    return list(dict.fromkeys(names))


def ingest_ids(workspace: Workspace, fullnames: Sequence[str], fetch: Fetch, source: str) -> IdsReport:
    """Fetch items and merge them into posts, comments and observations, unfiltered.

    Args:
        source: reddit or archive; written to the rows' column `source`.

    Raises:
        LurkerError: the source keeps failing (batches so far are kept), or another process is writing to the workspace.
    """
    folder = workspace.root / "staging" / f"ids-{fingerprint(STAGING_VERSION, source, sorted(fullnames))}"
    unfiltered = RowFilters(keep_nsfw=True, keep_profiles=True, bots=())
    report = IdsReport(workspace=workspace.root, source=source, n_asked=len(fullnames))
    with workspace.lock("ingest ids"):
        context = RowContext(unfiltered, source, workspace.salt())
        folder.mkdir(parents=True, exist_ok=True)
        with progress(f"Fetching from {source}", len(fullnames), "items") as advance:
            for start in range(0, len(fullnames), BATCH_IDS):
                batch, name = fullnames[start : start + BATCH_IDS], f"{start // BATCH_IDS:07d}"
                path = folder / f"{name}.json"
                if not path.exists():
                    lines = fetch(batch)
                    returned = {_fullname(row) for row in map(json.loads, lines.splitlines())}
                    notes = {"absent": [item for item in batch if item not in returned]}
                    stage_lines(lines, folder, name, context, notes=notes)
                summary = read_json(path)
                report.n_posts += summary["n_posts"]
                report.n_comments += summary["n_comments"]
                report.absent += summary["absent"]
                n_returned = len(batch) - len(summary["absent"])
                report.n_not_stored += max(0, n_returned - summary["n_posts"] - summary["n_comments"])
                advance(len(batch))
        if report.n_posts + report.n_comments:
            merge_staged(workspace, [folder])
        shutil.rmtree(folder)
    return report


def fetch_from_reddit(api: "RedditApi") -> Fetch:
    """A function that fetches items from live Reddit; it raises LurkerError when Reddit keeps failing."""
    from ingest.live_reddit.api import dump_line
    from ingest.live_reddit.call import UnreadableError

    def fetch(fullnames: Sequence[str]) -> bytes:
        try:
            items = api.info(fullnames)
        except UnreadableError as error:
            if error.is_suspect:  # Reddit knows none of them
                return b""
            raise LurkerError(
                f"Reddit returned nothing for {len(fullnames):,} items: {error.reason}.",
                "Run the same command again to resume.",
            ) from error
        return b"".join(dump_line(row, api.now_utc()) for row in items.values())

    return fetch


def fetch_from_archive(client: ArchiveClient) -> Fetch:
    """A function that fetches items from Arctic Shift."""

    def fetch(fullnames: Sequence[str]) -> bytes:
        rows: list[Row] = []
        for prefix, kind in _KINDS.items():
            if ids := [name[3:] for name in fullnames if name.startswith(prefix)]:
                rows += client.get(f"{kind}/ids", {"ids": ",".join(ids)}, check=partial(unrequested_rows, ids))
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    return fetch


def _fullname(row: Row) -> str:
    """The fullname of a row: t1_ID of a comment, which has a link_id, or t3_ID of a post."""
    return f"{'t1' if 'link_id' in row else 't3'}_{row['id']}"
