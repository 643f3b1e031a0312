"""`lurker ingest ids`: posts and comments by their ids, from live Reddit or from Arctic Shift, into the workspace.

For data sets that are shared as ids. Ids are asked for in batches of 100, each staged before the next is asked for, so
a run that was stopped goes on where it stood; one merge puts all into the tables.
Source: https://www.reddit.com/dev/api#GET_api_info; `/api/posts/ids` and `/api/comments/ids` of Arctic Shift,
https://github.com/ArthurHeitmann/arctic_shift/blob/master/api/README.md.
"""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.arctic_shift.api import ArchiveClient, Row
from ingest.tables.normalize import RowFilters
from ingest.tables.staging import STAGING_VERSION, merge_staged, stage_lines
from lurker.config import fingerprint
from lurker.errors import CallError, LurkerError
from lurker.progress import progress
from lurker.workspace import Workspace, read_json

if TYPE_CHECKING:  # PRAW loads when Reddit is asked
    from ingest.live_reddit.api import RedditApi

BATCH_IDS = 100
_FULLNAME = re.compile(r"(t3|t1)_[0-9a-z]{1,13}")
_KINDS = {"t3": "posts", "t1": "comments"}
Ask = Callable[[Sequence[str]], bytes]
"""Fullnames, at most BATCH_IDS, -> what is known of them as lines of a dump."""


@dataclass(kw_only=True, slots=True)
class IdsReport:
    """What became of the ids."""

    source: str
    n_asked: int
    n_posts: int = 0
    n_comments: int = 0
    absent: list[str] = field(default_factory=list)
    """Fullnames that the source does not know."""


def read_fullnames(path: Path) -> list[str]:
    """The fullnames (t3_ for posts, t1_ for comments) of a file, one a line, each once.

    Errors: CallError when it cannot be read, names nothing, or holds a line that is none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise CallError(f"Cannot read the ids in {path}: {error}.", "Give a text file, an id a line.") from error
    if wrong := next((line for line in lines if not _FULLNAME.fullmatch(line)), None):
        raise CallError(
            f"{wrong[:40]!r} in {path} is no id.", "Write t3_ID for a post, t1_ID for a comment, one a line."
        )
    if not lines:
        raise CallError(f"{path} names no id.", "Write t3_ID for a post, t1_ID for a comment, one a line.")
    return list(dict.fromkeys(lines))


def ingest_ids(workspace: Workspace, fullnames: Sequence[str], ask: Ask, source: str) -> IdsReport:
    """Ask for the items and merge what comes into posts, comments and observations.

    source: reddit | archive, goes into the rows. Nothing is filtered: what is named is wanted.
    Errors: LurkerError when the source fails for good (the batches so far are kept) or another process writes.
    """
    folder = workspace.root / "staging" / f"ids-{fingerprint(STAGING_VERSION, source, sorted(fullnames))}"
    everything = RowFilters(keep_nsfw=True, keep_profiles=True, bots=())
    report = IdsReport(source=source, n_asked=len(fullnames))
    with workspace.lock("ingest ids"):
        folder.mkdir(parents=True, exist_ok=True)
        with progress(f"Asking {source}", len(fullnames), "items") as advance:
            for start in range(0, len(fullnames), BATCH_IDS):
                batch, name = fullnames[start : start + BATCH_IDS], f"{start // BATCH_IDS:07d}"
                summary = folder / f"{name}.json"
                if not summary.exists():
                    lines = ask(batch)
                    here = {_fullname(row) for row in map(json.loads, lines.splitlines())}
                    notes = {"absent": [item for item in batch if item not in here]}
                    stage_lines(lines, folder, name, everything, source, workspace.salt(), notes=notes)
                found = read_json(summary)
                report.n_posts += found["n_posts"]
                report.n_comments += found["n_comments"]
                report.absent += found["absent"]
                advance(len(batch))
        if report.n_posts + report.n_comments:
            merge_staged(workspace, [folder])
        shutil.rmtree(folder)
    return report


def ask_reddit(api: "RedditApi") -> Ask:
    """Asks live Reddit.

    Errors (of the result): UnreadableError as a LurkerError when Reddit fails for good.
    """
    from ingest.live_reddit.api import dump_line
    from ingest.live_reddit.call import UnreadableError

    def ask(fullnames: Sequence[str]) -> bytes:
        try:
            found = api.info(fullnames)
        except UnreadableError as error:
            if error.is_suspect:  # Reddit knows none of them
                return b""
            raise LurkerError(
                f"Reddit did not tell of {len(fullnames):,} items: {error.reason}.",
                "Run the same command again: it goes on from here.",
            ) from error
        return b"".join(dump_line(row, api.now_utc()) for row in found.values())

    return ask


def ask_archive(client: ArchiveClient) -> Ask:
    """Asks Arctic Shift."""

    def ask(fullnames: Sequence[str]) -> bytes:
        rows: list[Row] = []
        for prefix, kind in _KINDS.items():
            ids = [name[3:] for name in fullnames if name.startswith(prefix)]

            def doubt(answer: list[Row], ids: list[str] = ids) -> str | None:
                return None if {row.get("id") for row in answer} <= set(ids) else "rows that were not asked for"

            if ids:
                rows += client.get(f"{kind}/ids", {"ids": ",".join(ids)}, doubt=doubt)
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    return ask


def _fullname(row: Row) -> str:
    """`t1_` and the id of a comment, `t3_` and that of a post: only comments stand under a post."""
    return f"{'t1' if 'link_id' in row else 't3'}_{row['id']}"
