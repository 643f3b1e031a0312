"""`lurker status`: what the workspace contains, how mature its scores are, and what to do next."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from lurker.errors import LurkerError
from lurker.last_status import FILE, read_last, state
from lurker.next_commands import tell
from lurker.report import print_json, print_table

REFRESH = "lurker ingest refresh"

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def status(
    ctx: typer.Context, as_json: bool = typer.Option(False, "--json", help="Print one JSON object on stdout.")
) -> None:
    """Show what the workspace contains: rows, bytes and dates by table, subreddits and their maturity, runs, arenas."""
    content = _contents(ctx.obj)
    if as_json:
        print_json(content)
        return
    print_table(f"Tables in {ctx.obj}", content["tables"])
    print_table("Subreddits", content["by_subreddit"])
    print_table("Pair sets", [_shown(row) for row in content["pairs"]])
    named = {kind: ", ".join(content[kind]) or "–" for kind in ("policies", "experiments", "arenas")}
    print_table("Also here", [{"runs": len(content["runs"]), **named}])
    maturity = content["maturity"]
    if maturity["n_unripe"]:
        unripe = (
            f"{maturity['n_unripe']:,} of {maturity['n_items']:,} scores were last seen less than "
            f"{maturity['ripe_after_s'] // 3600} h after they were written, or at an unknown time: they may have "
            f"changed since. `{REFRESH}` fetches them again in {maturity['n_refresh_calls']:,} calls; recipes drop "
            f"them with `--set min_maturity_s={maturity['ripe_after_s']}`."
        )
        tell(unripe)
    for row in content["pairs"]:
        if row["problem"]:
            tell(row["problem"])
    if content["stopped_ingests"]:
        typer.echo(f"{content['stopped_ingests']} interrupted ingests: run the same commands to resume.")
    tell(f"next: {content['next']}")


def _contents(root: Path) -> dict[str, Any]:
    """What the workspace contains: as the last call found it, or else read again and kept for the next one."""
    now = state(root)
    if (last := read_last(root, now)) is not None:
        return last
    from lurker.contents import describe  # here, because it loads polars
    from lurker.files import write_json
    from lurker.workspace import open_workspace

    content = describe(open_workspace(root))
    if now is not None:
        with suppress(LurkerError, OSError):  # a workspace that cannot be written can be read
            write_json({"state": now, "found": content}, root / FILE)
    return content


def _shown(pair_set: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in pair_set.items() if name != "problem"}
    return shown | ({"recipe": "broken"} if pair_set["problem"] else {})
