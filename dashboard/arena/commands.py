"""`lurker arena`: serve an arena, invite raters and see who they are."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import typer

from dashboard.server import require_free_port
from lurker.errors import CallError
from lurker.help import CommandGroup
from lurker.next_commands import as_typed, tell
from lurker.report import ResultTable, print_json, show
from lurker.votes.arenas import ArenaConfig
from lurker.workspace import open_workspace

app = typer.Typer(
    cls=CommandGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Collect blind human votes, and learn from them.",
)
ARENA = typer.Argument(metavar="ARENA", help="Name of the arena.")
FORGOTTEN = (
    "Figures made with them are gone too: `lurker arena results` makes new ones. Pair sets built from the votes, "
    "models trained on these and exported files stay: build, train and export them again."
)
JSON_OPTION = typer.Option(False, "--json", help="Print one JSON object on stdout.")


@app.command()
def serve(
    ctx: typer.Context,
    name: str = ARENA,
    pairs: str | None = typer.Option(None, "--pairs", help="New arena: ask about pairs of this set."),
    split: Literal["train", "validation", "test"] | None = typer.Option(None, help="Only pairs of this split."),
    responses: Path | None = typer.Option(
        None,
        "--responses",
        metavar="FILE",
        help="New arena: JSONL or Parquet of prompt, response, source; prompt_id and reward if known.",
    ),
    raters: Literal["invited", "open"] | None = typer.Option(
        None, help="New arena: who may vote, those with a link (the default) or everybody."
    ),
    runs: list[str] | None = typer.Option(
        None, "--run", help="With --set design=active: the run to learn about, or two to tell apart; repeatable."
    ),
    instructions: Path | None = typer.Option(None, metavar="FILE", help="Markdown that raters read first."),
    consent: Path | None = typer.Option(None, metavar="FILE", help="Markdown that raters must agree to."),
    onboarding: Path | None = typer.Option(
        None, metavar="FILE", help="JSONL or Parquet of role (example, qualify, gold), prompt, better, worse, reason."
    ),
    assignments: list[str] | None = typer.Option(None, "--set", help="field=value of the arena; repeatable."),
    host: str = typer.Option("127.0.0.1", help="Address to listen on; others can reach any but the default."),
    port: int = typer.Option(8502, min=1, max=65_535, help="Port to listen on."),
    behind_proxy: bool = typer.Option(
        False, "--behind-proxy", help="Read the raters' addresses from X-Forwarded-For, which the proxy must set."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Make the arena and do not serve it."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Serve an arena as a page of its own; the first call makes it from --pairs or --responses."""
    from dashboard.arena import server
    from dashboard.arena.make import Source, make_arena
    from lurker.config import override
    from lurker.votes.arenas import arena_names, open_arena
    from lurker.votes.store import read_raters

    workspace = open_workspace(ctx.obj)
    source = Source(
        pairs=pairs,
        split=split,
        runs=tuple(runs or ()),
        responses=responses,
        instructions=instructions,
        consent=consent,
        onboarding=onboarding,
    )
    changes = [*(assignments or []), *([f"raters={raters}"] if raters else [])]
    if name in arena_names(workspace):
        if source != Source() or changes:
            raise CallError(
                f"The arena {name!r} was made before, and what it asks stays as it is.",
                f"Serve it: `lurker arena serve {name}`; or choose another name.",
            )
        arena = open_arena(workspace, name)
    else:
        arena = make_arena(workspace, name, source, override(ArenaConfig(), changes))
    counts = dict(arena.items()["role"].value_counts().iter_rows())
    if as_json:
        print_json({"arena": name, "items": counts, "design": arena.design, "origin": arena.origin})
    else:
        show(ResultTable(f"Arena {name}", [{"items": role, "number": n} for role, n in sorted(counts.items())]))
    if arena.config.raters == "invited" and read_raters(workspace, name).is_empty():
        typer.echo(as_typed(f"Nobody is invited yet: `lurker arena invite {name} --number 5`."), err=True)
    if not dry_run:
        require_free_port(host, port, "Choose another with --port or --host.")
        server.serve(arena, host, port, is_behind_proxy=behind_proxy)


@app.command()
def invite(
    ctx: typer.Context,
    arena: str = ARENA,
    number: int = typer.Option(1, min=1, max=10_000, help="Links to make."),
    name: str = typer.Option("", help="What you call the rater; with several, a number is added."),
    url: str = typer.Option("http://127.0.0.1:8502", help="Address at which raters reach the page."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Make invitation links, each for one rater; they are shown once, as only their hashes are stored."""
    from lurker.votes.arenas import invite as let_in
    from lurker.votes.arenas import open_arena, rater_of

    place = open_arena(open_workspace(ctx.obj), arena)
    rows = []
    for index in range(number):
        label = f"{name}-{index + 1}" if name and number > 1 else name
        token = let_in(place, label)
        rows.append({"rater": rater_of(token), "name": label, "link": f"{url.rstrip('/')}/?rater={token}"})
    if as_json:
        print_json({"arena": arena, "invitations": rows})
        return
    for row in rows:
        typer.echo("\t".join(row.values()))
    typer.echo("Whoever has a link votes as that rater. Write them down now: they are not shown again.", err=True)


@app.command()
def raters(
    ctx: typer.Context,
    arena: str = ARENA,
    revoke: str | None = typer.Option(None, metavar="RATER", help="Withdraw the invitation of this rater."),
    forget: str | None = typer.Option(
        None, metavar="RATER", help="Erase this rater with all votes and remarks, as the rater asked."
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """List the raters of an arena, how far each came and what they told you; withdraw an invitation; erase a rater."""
    from lurker.votes.arenas import forget as erase
    from lurker.votes.arenas import open_arena
    from lurker.votes.store import mark_rater, read_raters, read_remarks, read_votes

    place = open_arena(open_workspace(ctx.obj), arena)
    known = read_raters(place.workspace, arena)
    erased: dict[str, int] | None = None
    if revoke is not None:
        mark_rater(place.workspace, _rater(known["rater"], revoke, arena), "revoked")
    if forget is not None:
        erased = erase(place, _rater(known["rater"], forget, arena))
        typer.echo(f"Erased {erased['votes']:,} votes and {erased['remarks']:,} remarks. {FORGOTTEN}", err=True)
    known = read_raters(place.workspace, arena)
    votes, remarks = read_votes(place.workspace, arena), read_remarks(place.workspace, arena)
    n_votes = dict(votes["rater"].value_counts().iter_rows())
    rows: list[dict[str, Any]] = [
        {
            "rater": row["rater"],
            "name": row["name"],
            "votes": n_votes.get(row["rater"], 0),
            "stage": next(
                (
                    stage
                    for stage in ("revoked", "failed", "qualified", "instructed", "consented")
                    if row[f"{stage}_utc"] is not None
                ),
                "invited",
            ),
            "held out": row["is_held_out"],
        }
        for row in known.to_dicts()
    ]
    told = remarks.select("rater", "item_id", "text").to_dicts()
    if as_json:
        print_json({"arena": arena, "raters": rows, "remarks": told, **({"erased": erased} if erased else {})})
        return
    show(ResultTable(f"Raters of {arena}", rows, "" if rows else f"Nobody yet: `lurker arena invite {arena}`."))
    if told:
        show(ResultTable("What they told you", told))


def _rater(known: Iterable[str], beginning: str, arena: str) -> str:
    """The one rater whose id begins so."""
    matches = [one for one in known if one.startswith(beginning)]
    if len(matches) != 1 or not beginning:
        raise CallError(f"{len(matches)} raters begin with {beginning!r}.", f"`lurker arena raters {arena}`.")
    return matches[0]


@app.command()
def simulate(
    ctx: typer.Context,
    arena: str = ARENA,
    n_raters: int = typer.Option(20, "--raters", min=1, help="Simulated raters."),
    n_votes: int = typer.Option(100, "--votes", min=1, help="Votes of each, at most."),
    careful_share: float = typer.Option(
        0.7, min=0, max=1, help="Share of careful raters; the others are careless, side-biased and contrarian in turn."
    ),
    seed: int = typer.Option(0, min=0, help="Draws the raters and their votes."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Let raters of known reliability vote on a simulated Reddit, to try everything that follows."""
    from dashboard.arena.simulate import simulate_raters
    from lurker.votes.arenas import open_arena

    place = open_arena(open_workspace(ctx.obj), arena)
    n_written = simulate_raters(place, n_raters, n_votes, careful_share=careful_share, seed=seed)
    if as_json:
        print_json({"arena": arena, "raters": n_raters, "votes": n_written})
        return
    tell(f"{n_written:,} votes by {n_raters:,} simulated raters. Next: `lurker arena results {arena}`.")


@app.command()
def export(
    ctx: typer.Context,
    arena: str = ARENA,
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder to write."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Write votes, raters, remarks and items as Parquet, everything that was written: undone and skipped votes too."""
    from lurker.files import write_parquet
    from lurker.votes.arenas import open_arena
    from lurker.votes.store import read_raters, read_remarks, read_votes

    place = open_arena(open_workspace(ctx.obj), arena)
    tables = {
        "votes": read_votes(place.workspace, arena),
        "raters": read_raters(place.workspace, arena),
        "remarks": read_remarks(place.workspace, arena),
        "items": place.items(),
    }
    for table, frame in tables.items():
        write_parquet(frame, out / f"{table}.parquet")
    rows = {table: frame.height for table, frame in tables.items()}
    if as_json:
        print_json({"arena": arena, "out": str(out), "rows": rows})
    else:
        show(ResultTable(f"{arena} in {out}", [rows]))
