"""What `lurker ingest reddit` says at its end: rows, and by name whatever could not be read or is not whole."""

from collections.abc import Sequence
from dataclasses import asdict

import typer

from ingest.live_reddit.api import RedditApi
from ingest.live_reddit.live import SubredditReport
from lurker.errors import LurkerError
from lurker.report import print_json, print_table
from lurker.workspace import Workspace


def report_live(
    workspace: Workspace, reports: Sequence[SubredditReport], api: RedditApi, next_command: str, *, as_json: bool
) -> None:
    """Print what became of each subreddit, and the next command.

    Errors: LurkerError, after printing, when a subreddit or a thread failed, with what was kept.
    """
    waited_s = round(api.budget.waited_s, 1)
    if as_json:
        calls = {"n_calls": api.n_calls, "n_faults": api.n_faults, "waited_s": waited_s}
        subreddits = [asdict(one) for one in reports]
        print_json({"workspace": str(workspace.root), "subreddits": subreddits, **calls, "next": next_command})
    else:
        print_table("Rows", [_row(one) for one in reports])
        print_table("Not read", _not_read(reports))
        print_table("Incomplete", _incomplete(reports))
        for one in reports:
            for note in one.notes:
                typer.echo(f"r/{one.subreddit}: {note}")
        typer.echo(
            f"{api.n_calls:,} calls, {api.n_faults:,} of them in vain, {waited_s:,} s waited for Reddit's limits"
        )
        typer.echo(f"next: {next_command}")
    _require_all(reports)


def _row(one: SubredditReport) -> dict[str, object]:
    return {
        "subreddit": one.subreddit,
        "listed": one.n_listed,
        "nsfw": one.n_nsfw,
        "read before": one.n_resumed,
        "posts": one.n_posts,
        "comments": one.n_comments,
        "never came": one.n_missing,
        "short of count": one.n_short,
        "duplicates": one.n_duplicates,
        "orphans": one.n_orphans,
        "foreign": one.n_foreign,
    }


def _not_read(reports: Sequence[SubredditReport]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for one in reports:
        if one.refused:
            rows.append({"subreddit": one.subreddit, "thread": "all", "because": one.refused})
        for name, reason in {**one.skipped, **one.failed}.items():
            rows.append({"subreddit": one.subreddit, "thread": name, "because": reason})
    return rows


def _incomplete(reports: Sequence[SubredditReport]) -> list[dict[str, object]]:
    return [
        {"subreddit": one.subreddit, "thread": name, "lacks": reason}
        for one in reports
        for name, reason in one.incomplete.items()
    ]


def _require_all(reports: Sequence[SubredditReport]) -> None:
    kept = f"{sum(one.n_posts for one in reports):,} posts and {sum(one.n_comments for one in reports):,} comments"
    if refused := [f"r/{one.subreddit} ({one.refused})" for one in reports if one.refused]:
        raise LurkerError(
            f"Not read: {', '.join(refused)}. Kept: {kept} of the others.", "Check the names, or leave them out."
        )
    if n_failed := sum(len(one.failed) for one in reports):
        raise LurkerError(
            f"{n_failed:,} threads could not be read. Kept: {kept}.",
            "Run the same command again: it reads only these.",
        )
