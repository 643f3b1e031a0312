"""`lurker status`: what the workspace holds."""

from typing import Any

import typer

from lurker.report import print_json, print_table
from lurker.schema import WORKSPACE_TABLES
from lurker.workspace import Workspace, open_workspace, read_json

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def status(
    ctx: typer.Context, as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout.")
) -> None:
    """What the workspace holds: rows, bytes and dates by table, pair sets, runs and experiments."""
    workspace = open_workspace(ctx.obj)
    found = describe(workspace)
    if as_json:
        print_json(found)
        return
    print_table(f"Tables in {workspace.root}", found["tables"])
    print_table("Pair sets", found["pairs"])
    print_table("Also here", [{"runs": len(found["runs"]), "experiments": ", ".join(found["experiments"]) or "–"}])


def describe(workspace: Workspace) -> dict[str, Any]:
    """Rows, files, bytes and dates of each table; pair sets with their recipe; ids of finished runs and experiments."""
    tables = []
    connection = workspace.connect()
    for table in WORKSPACE_TABLES:
        files = workspace.files(table)
        moment = next((name for name in ("created_utc", "observed_utc") if name in table.columns), None)
        row: dict[str, Any] = {
            "table": table.name,
            "rows": sum(workspace.manifest(table, name)["n_rows"] for name in workspace.subreddits(table)),
            "subreddits": len(workspace.subreddits(table)),
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "first": None,
            "last": None,
        }
        if files and moment:
            dates = (
                f"strftime(to_timestamp(min({moment})), '%Y-%m-%d'), strftime(to_timestamp(max({moment})), '%Y-%m-%d')"
            )
            row["first"], row["last"] = connection.execute(f"SELECT {dates} FROM {table.name}").fetchall()[0]
        tables.append(row)
    pairs = []
    for name in workspace.names("pairs", "manifest.json"):
        manifest = read_json(workspace.folder("pairs", name) / "manifest.json")
        pairs.append({"name": name, "recipe": manifest["recipe"]["name"], "pairs": manifest["n_pairs"]})
    return {
        "workspace": str(workspace.root),
        "subreddits": workspace.subreddits(WORKSPACE_TABLES[1]),
        "tables": tables,
        "pairs": pairs,
        "runs": workspace.names("runs", "result.json"),
        "experiments": workspace.names("experiments", "manifest.json"),
    }
