"""What `lurker ingest archive` and `lurker ingest refresh` print."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ingest.arctic_shift.history import ArchiveReport
from ingest.revisit.purge import PurgeReport
from ingest.revisit.refresh import RefreshReport
from ingest.revisit.survivorship import BAND_NAMES
from lurker.progress import say
from lurker.report import print_json, print_table
from lurker.workspace import Workspace

REFRESH = "lurker ingest refresh"


def report_archive(workspace: Workspace, report: ArchiveReport, next_command: str, *, as_json: bool) -> None:
    """Print what came of an archive's rows, and what their scores are worth."""
    row = {
        "subreddit": report.subreddit,
        "read": report.n_rows,
        "posts": report.n_posts,
        "comments": report.n_comments,
        "dropped": sum(report.dropped.values()),
        "unripe": report.n_unripe,
        "calls": report.n_calls,
    }
    if as_json:
        print_json({"workspace": str(workspace.root), **asdict(report), "next": next_command})
    else:
        print_table("Rows", [row])
        dropped = [{"dropped because": reason, "rows": n} for reason, n in sorted(report.dropped.items())]
        print_table("Dropped", dropped)
    if report.n_unripe:
        say(
            f"{report.n_unripe:,} rows were seen less than 36 h after they were written: their scores are 0 or 1, not "
            f"votes. Run the same command two days later, or `{REFRESH}`."
        )
    if report.n_posts_unknown:
        say(f"{report.n_posts_unknown:,} posts that comments stand under are not in the archive.")
    for second in report.crowded_utc:
        say(f"More rows than the archive gives at once were written at {second} (UTC seconds): some may be missing.")
    if not as_json:
        say(f"next: {next_command}")


def report_refresh(
    workspace: Workspace,
    looked: RefreshReport,
    erased: PurgeReport | None,
    survivors: Sequence[dict[str, Any]],
    *,
    as_json: bool,
) -> None:
    """Print what the second look showed, what was erased, and how many items of each band are left."""
    counts = {
        "n_unripe": looked.n_unripe,
        "n_looked": looked.n_looked,
        "n_absent": looked.n_absent,
        "n_changed": looked.n_changed,
        "n_gone": looked.n_gone,
        "n_ripe_now": looked.n_ripe_now,
        "n_calls": looked.n_calls,
    }
    if as_json:
        purged = None if erased is None else asdict(erased)
        print_json({"workspace": str(workspace.root), **counts, "purged": purged, "survivorship": list(survivors)})
        return
    print_table("Second look", [{name.removeprefix("n_").replace("_", " "): n for name, n in counts.items()}])
    if erased is not None:
        n_pairs = sum(erased.pairs.values())
        row = {"posts": erased.n_posts, "comments": erased.n_comments, "pairs": n_pairs}
        row |= {"staged rows": erased.n_staged, "malformed lines": erased.n_malformed}
        print_table("Texts erased", [row])
        if n_pairs:
            files = ", ".join(sorted(erased.pairs))
            say(f"Pairs without a text keep their row in {files}: build the sets anew before you train on them.")
        if erased.n_predictions:
            say(f"{erased.n_predictions:,} predictions on pairs without a text stay: they hold ids and margins only.")
        if erased.runs:
            say(f"Models that learned from such texts stay: runs {', '.join(erased.runs)}. Train them anew.")
        if erased.exports:
            say(
                f"Copies outside this workspace still hold them: {', '.join(erased.exports)}. Delete them, export anew."
            )
    print_table("Survivorship: share of items that are not deleted or removed, by score", _by_subreddit(survivors))
    if looked.n_absent:
        say(f"Reddit did not answer for {looked.n_absent:,} items: they stay as they were.")


def _by_subreddit(survivors: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """A row for each kind and subreddit, a column for each score band."""
    bands = [name for name in BAND_NAMES if any(row["score_band"] == name for row in survivors)]
    rows = []
    for kind, subreddit in dict.fromkeys((row["kind"], row["subreddit"]) for row in survivors):
        here = {row["score_band"]: row for row in survivors if (row["kind"], row["subreddit"]) == (kind, subreddit)}
        counts = {name: sum(row[name] for row in here.values()) for name in ("n_items", "before", "after")}
        shares = {band: f"{here[band]['share_left']:.1%}" if band in here else None for band in bands}
        names = {"kind": kind, "subreddit": subreddit}
        rows.append(names | {name.replace("_", " "): n for name, n in counts.items()} | shares)
    return rows
