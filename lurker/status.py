"""`lurker status`: what the workspace holds, how ripe its scores are, and what to do next."""

from typing import Any

import typer

from lurker.maturity import RIPE_AFTER_S, unripe_sql
from lurker.pair_sets import pair_set_names
from lurker.report import print_json, print_table
from lurker.schema import COMMENTS, POSTS, WORKSPACE_TABLES, Table
from lurker.workspace import Workspace, open_workspace, read_json

FIRST = "lurker ingest dump FILE..."
REFRESH = "lurker ingest refresh"
BUILD = "lurker pairs build matched --recipe matched"
IDS_A_CALL = 100
"""Items that a refresh asks for at once."""

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def status(
    ctx: typer.Context, as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout.")
) -> None:
    """What the workspace holds: rows, bytes and dates by table, subreddits and how ripe their scores are, runs."""
    workspace = open_workspace(ctx.obj)
    found = describe(workspace)
    if as_json:
        print_json(found)
        return
    print_table(f"Tables in {workspace.root}", found["tables"])
    print_table("Subreddits", found["by_subreddit"])
    print_table("Pair sets", found["pairs"])
    print_table("Also here", [{"runs": len(found["runs"]), "experiments": ", ".join(found["experiments"]) or "–"}])
    maturity = found["maturity"]
    if maturity["n_unripe"]:
        typer.echo(
            f"{maturity['n_unripe']:,} of {maturity['n_items']:,} scores were last seen less than "
            f"{maturity['ripe_after_s'] // 3600} h after they were written, or at no known time: they may still have "
            f"been moving. `{REFRESH}` looks again, in {maturity['n_refresh_calls']:,} calls; recipes leave them out "
            f"with `--set min_maturity_s={maturity['ripe_after_s']}`."
        )
    if found["stopped_ingests"]:
        typer.echo(f"{found['stopped_ingests']} ingests were stopped: the same commands go on from there.")
    typer.echo(f"next: {found['next']}")


def describe(workspace: Workspace) -> dict[str, Any]:
    """Rows, files, bytes and dates of each table; maturity by subreddit; pair sets, runs, experiments; what to do next.

    maturity: items whose newest look came less than `ripe_after_s` seconds after they were written.
    """
    by_subreddit = _by_subreddit(workspace)
    pairs = [_pair_set(workspace, name) for name in pair_set_names(workspace)]
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
            "n_refresh_calls": -(-n_unripe // IDS_A_CALL),
        },
        "stopped_ingests": sum(1 for path in (workspace.root / "staging").glob("[!.]*") if path.is_dir()),
        "pairs": pairs,
        "runs": workspace.names("runs", "result.json"),
        "experiments": workspace.names("experiments", "manifest.json"),
        "next": FIRST if not by_subreddit else BUILD if not pairs else "lurker dashboard",
    }


def _table(workspace: Workspace, table: Table) -> dict[str, Any]:
    """Rows, files, bytes, first and last day of one table."""
    files = workspace.files(table)
    moment = next((name for name in ("created_utc", "observed_utc") if name in table.columns), None)
    first, last = None, None
    if files and moment:
        query = f"SELECT {_day(f'min({moment})')}, {_day(f'max({moment})')} FROM {table.name}"
        first, last = workspace.connect().execute(query).fetchall()[0]
    return {
        "table": table.name,
        "rows": sum(workspace.manifest(table, name)["n_rows"] for name in workspace.subreddits(table)),
        "subreddits": len(workspace.subreddits(table)),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "first": first,
        "last": last,
    }


def _by_subreddit(workspace: Workspace) -> list[dict[str, Any]]:
    """A row a subreddit: posts, comments, first and last day, what is deleted, what is unripe, the newest look."""
    columns = "lower(subreddit) AS key, subreddit, created_utc, retrieved_utc, is_deleted"
    query = f"""
        SELECT min(subreddit) AS subreddit,
            count(*) FILTER (is_post) AS posts,
            count(*) FILTER (NOT is_post) AS comments,
            {_day("min(created_utc)")} AS first,
            {_day("max(created_utc)")} AS last,
            count(*) FILTER (is_deleted) AS deleted,
            count(*) FILTER ({unripe_sql(RIPE_AFTER_S)}) AS unripe,
            {_day("max(retrieved_utc)")} AS last_look
        FROM (
            SELECT {columns}, true AS is_post FROM {POSTS.name}
            UNION ALL SELECT {columns}, false FROM {COMMENTS.name}
        )
        GROUP BY key ORDER BY key
    """
    return list(workspace.connect().sql(query).pl().iter_rows(named=True))


def _pair_set(workspace: Workspace, name: str) -> dict[str, Any]:
    """One pair set: its recipe, its pairs, and how many of them lost a text to a purge."""
    manifest = read_json(workspace.folder("pairs", name) / "manifest.json")
    counts = {"pairs": manifest["n_pairs"], "purged": manifest.get("n_purged", 0)}
    return {"name": name, "recipe": manifest["recipe"]["name"], **counts}


def _day(seconds: str) -> str:
    return f"strftime(to_timestamp({seconds}), '%Y-%m-%d')"
