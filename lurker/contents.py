"""What a workspace contains, how mature its scores are, and what to do next: for `lurker status` and `Workspace`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from lurker.maturity import RIPE_AFTER_S, is_unripe
from lurker.pair_sets import pair_set_names
from lurker.report import ResultTable
from lurker.schema import COMMENTS, POSTS, WORKSPACE_TABLES, Table
from lurker.workspace import Workspace

INGEST = "lurker ingest dump FILE..."
BUILD = "lurker pairs build balanced --recipe balanced"
ITEMS_PER_CALL = 100
"""Items that one call of a refresh asks for."""
MOST_NAMES = 6
"""Names that one row of the overview lists."""


def describe(workspace: Workspace) -> dict[str, Any]:
    """Everything `lurker status --json` prints.

    Returns:
        Rows, files, bytes and dates by table; counts and maturity by subreddit; pair sets, runs, policies, experiments,
        arenas; the next command. `maturity` counts the items last seen less than `ripe_after_s` seconds after they were
        written.
    """
    by_subreddit = _by_subreddit(workspace)
    pairs = [_pair_set(row) for row in workspace.pairs()]
    n_unripe = sum(row["unripe"] for row in by_subreddit)
    return {
        "workspace": str(workspace.root),
        "subreddits": workspace.subreddits(COMMENTS),
        "tables": [_table(workspace, table) for table in WORKSPACE_TABLES],
        "by_subreddit": by_subreddit,
        "maturity": {
            "ripe_after_s": RIPE_AFTER_S,
            "n_items": sum(row["posts"] + row["comments"] for row in by_subreddit),
            "n_unripe": n_unripe,
            "n_refresh_calls": -(-n_unripe // ITEMS_PER_CALL),
        },
        "stopped_ingests": sum(1 for path in (workspace.root / "staging").glob("[!.]*") if path.is_dir()),
        "pairs": pairs,
        **_made(workspace),
        "next": _next_command(bool(by_subreddit), bool(pairs)),
    }


def overview(workspace: Workspace) -> ResultTable:
    """One row per kind of content: how much there is, and which. Reads manifests only, so it is quick."""
    rows = [_overview_row(table.name, *_rows_and_subreddits(workspace, table)) for table in WORKSPACE_TABLES]
    pairs = pair_set_names(workspace)
    rows.append(_overview_row("pair sets", len(pairs), pairs))
    rows += [_overview_row(kind, len(names), names) for kind, names in _made(workspace).items()]
    is_ingested = any(row["count"] for row in rows if row["content"] in (POSTS.name, COMMENTS.name))
    return ResultTable(f"Workspace {workspace.root}", rows, f"next: {_next_command(is_ingested, bool(pairs))}")


def _overview_row(content: str, count: int, names: Sequence[str]) -> dict[str, Any]:
    shown = [*names[:MOST_NAMES], *([f"{len(names) - MOST_NAMES:,} more"] if len(names) > MOST_NAMES else [])]
    return {"content": content, "count": count, "names": ", ".join(shown) or "–"}


def _rows_and_subreddits(workspace: Workspace, table: Table) -> tuple[int, list[str]]:
    names = workspace.subreddits(table)
    return sum(workspace.manifest(table, name)["n_rows"] for name in names), names


def _made(workspace: Workspace) -> dict[str, list[str]]:
    """Finished runs, policies and experiments, and arenas, by name."""
    return {
        "runs": workspace.names("runs", "result.json"),
        "policies": workspace.names("policies", "result.json"),
        "experiments": workspace.names("experiments", "manifest.json"),
        "arenas": workspace.names("votes", "arena.json"),
    }


def _next_command(is_ingested: bool, has_pairs: bool) -> str:
    if not is_ingested:
        return INGEST
    return "lurker dashboard" if has_pairs else BUILD


def _table(workspace: Workspace, table: Table) -> dict[str, Any]:
    """Rows, files, bytes, first and last day of one table."""
    files = workspace.files(table)
    time_column = next((name for name in ("created_utc", "observed_utc") if name in table.columns), None)
    first, last = None, None
    if files and time_column:
        span = pl.scan_parquet(files).select(first=pl.col(time_column).min(), last=pl.col(time_column).max())
        first, last = span.collect(engine="streaming").row(0)
    n_rows, subreddits = _rows_and_subreddits(workspace, table)
    return {
        "table": table.name,
        "rows": n_rows,
        "subreddits": len(subreddits),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "first": _day(first),
        "last": _day(last),
    }


def _by_subreddit(workspace: Workspace) -> list[dict[str, Any]]:
    """One row per subreddit: posts, comments, first and last day, deleted and unripe items, day of the last look."""
    items = pl.concat(
        workspace.scan(table).select(
            *("subreddit", "created_utc", "retrieved_utc", "is_deleted"), is_post=pl.lit(table is POSTS)
        )
        for table in (POSTS, COMMENTS)
    )
    counts = (
        items.group_by(key=pl.col("subreddit").str.to_lowercase())
        .agg(
            subreddit=pl.col("subreddit").min(),
            posts=pl.col("is_post").sum(),
            comments=(~pl.col("is_post")).sum(),
            first=pl.col("created_utc").min(),
            last=pl.col("created_utc").max(),
            deleted=pl.col("is_deleted").sum(),
            unripe=is_unripe(RIPE_AFTER_S).sum(),
            last_look=pl.col("retrieved_utc").max(),
        )
        .sort("key")
        .drop("key")
        .collect(engine="streaming")
    )
    days = ("first", "last", "last_look")
    return [row | {name: _day(row[name]) for name in days} for row in counts.iter_rows(named=True)]


def _pair_set(row: dict[str, Any]) -> dict[str, Any]:
    """One pair set: its recipe, its pairs, how many of them lost a text to a purge, and why it cannot be read."""
    return {name: row[name] for name in ("name", "recipe", "pairs", "purged", "problem")}


def _day(seconds: int | None) -> str | None:
    """The day (UTC) of a time in seconds since 1970."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()
