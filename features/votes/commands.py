"""`lurker arena results`: what the votes of an arena say."""

import typer

from lurker.help import CommandGroup
from lurker.report import print_json, show
from lurker.workspace import open_workspace

app = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)


@app.command()
def results(
    ctx: typer.Context,
    arena: str = typer.Argument(metavar="ARENA", help="Name of the arena."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object on stdout."),
) -> None:
    """Judge the raters, compare them with Reddit, runs, TF-IDF and length, and rate the sources."""
    from features.votes.results import arena_results
    from lurker.votes.arenas import open_arena

    found = arena_results(open_arena(open_workspace(ctx.obj), arena))
    if as_json:
        print_json(found.report)
        return
    for table in found.tables():
        show(table)


@app.callback()
def group() -> None:
    """Collect blind human votes, and learn from them."""
