"""`lurker ingest ...`: the commands that bring Reddit into the workspace."""

import random
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from ingest.options import (
    ARCHIVE_URL,
    AS_JSON,
    KEEP_BOTS,
    KEEP_MENTIONS,
    KEEP_NSFW,
    REDDIT_URL,
    age_s,
    day,
    names_in,
    subreddit_name,
)
from lurker.config import override
from lurker.errors import CallError, LurkerError
from lurker.report import print_json, print_table
from lurker.workspace import Workspace, open_workspace

if TYPE_CHECKING:  # Polars and DuckDB load when a command runs, so that --help is fast
    from ingest.dump_files.read import FileReport

NEXT = "lurker pairs build matched --recipe matched"

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def ingest() -> None:
    """Reddit's dumps, live Reddit or a simulated one into posts, comments and observations."""


@app.command()
def dump(
    ctx: typer.Context,
    files: list[Path] = typer.Argument(..., metavar="FILE...", help="Dumps: .zst, .gz, .bz2, .xz or plain NDJSON."),
    subreddits: list[str] = typer.Option([], "--subreddit", metavar="S", help="Keep this one only; may be repeated."),
    subreddits_from: Path | None = typer.Option(
        None, "--subreddits-from", metavar="FILE", help="Keep those this file names too, one a line; # for remarks."
    ),
    since: str = typer.Option("", metavar="D", help="Keep what was written on or after this day (2020-01-31, UTC)."),
    until: str = typer.Option("", metavar="D", help="Keep what was written before this day (UTC)."),
    min_score: int | None = typer.Option(None, help="Keep rows of at least this score."),
    keep_nsfw: bool = KEEP_NSFW,
    keep_bots: bool = KEEP_BOTS,
    keep_mentions: bool = KEEP_MENTIONS,
    engine: Literal["local", "ray"] = typer.Option(
        "local", help="ray: a task a file on the cluster RAY_ADDRESS names, whose machines share these paths."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Read dump files of submissions and comments, told apart by content; the same file twice changes nothing.

    A comment that says that its post is over 18 is dropped too. Most do not say: they stay, and make no pair for want
    of a post. Users' profiles (u_NAME) bear their author's name: they are kept only where you name them.
    """
    from ingest.dump_files.blocks import check_dump
    from ingest.dump_files.read import ingest_dumps
    from ingest.tables.normalize import RowFilters
    from lurker.authors import KNOWN_BOTS

    try:
        filters = RowFilters(
            subreddits=tuple(map(subreddit_name, [*subreddits, *names_in(subreddits_from)])),
            since_utc=day(since, "--since"),
            until_utc=day(until, "--until"),
            min_score=min_score,
            keep_nsfw=keep_nsfw,
            bots=() if keep_bots else KNOWN_BOTS,
            keep_mentions=keep_mentions,
        )
    except ValueError as error:
        raise CallError(f"{error}.", "Correct the filter: see `lurker ingest dump --help`.") from error
    for path in files:
        check_dump(path)  # before a workspace is made
    workspace = open_workspace(ctx.obj, create=True)
    report(workspace, ingest_dumps(workspace, files, filters, engine=engine), as_json=as_json)


@app.command()
def reddit(
    ctx: typer.Context,
    subreddits: list[str] = typer.Argument(..., metavar="SUBREDDIT...", help="Names, with or without r/."),
    listing: Literal["new", "top", "hot", "rising"] = typer.Option("new", help="The listing that names the posts."),
    time: Literal["all", "year", "month", "week", "day", "hour"] = typer.Option("all", help="Span of the listing top."),
    limit: int = typer.Option(100, min=1, help="Most posts of each subreddit; Reddit lists about 1,000."),
    top_level_only: bool = typer.Option(False, "--top-level-only", help="Leave replies to comments out: fewer calls."),
    reddit_url: str = REDDIT_URL,
    keep_nsfw: bool = KEEP_NSFW,
    keep_bots: bool = KEEP_BOTS,
    keep_mentions: bool = KEEP_MENTIONS,
    as_json: bool = AS_JSON,
) -> None:
    """Read live posts with all their comments through PRAW; a stopped run goes on with the same command.

    Credentials come from praw.ini, or from praw_client_id and praw_client_secret in the environment.
    """
    from ingest.http.rate_limit import Clock
    from ingest.live_reddit.api import RedditApi
    from ingest.live_reddit.call import ApiConfig
    from ingest.live_reddit.live import LiveConfig, check_subreddit, ingest_reddit
    from ingest.live_reddit.report import report_live

    try:
        names = [check_subreddit(name) for name in subreddits]
        config = LiveConfig(
            listing=listing,
            time=time,
            limit=limit,
            is_top_level_only=top_level_only,
            keep_nsfw=keep_nsfw,
            keep_bots=keep_bots,
            keep_mentions=keep_mentions,
        )
        api = RedditApi(ApiConfig(url=reddit_url or None), Clock(), random.Random())
    except ValueError as error:
        raise CallError(f"{error}.", "See `lurker ingest reddit --help`.") from error
    workspace = open_workspace(ctx.obj, create=True)
    report_live(workspace, ingest_reddit(workspace, names, config, api), api, NEXT, as_json=as_json)


@app.command()
def archive(
    ctx: typer.Context,
    subreddit: str = typer.Argument(..., metavar="SUBREDDIT", help="Its name, with or without r/."),
    since: str = typer.Option("", metavar="D", help="Take what was written on or after this day (2020-01-31, UTC)."),
    until: str = typer.Option("", metavar="D", help="Take what was written before this day (UTC)."),
    archive_url: str = ARCHIVE_URL,
    keep_nsfw: bool = KEEP_NSFW,
    keep_bots: bool = KEEP_BOTS,
    keep_mentions: bool = KEEP_MENTIONS,
    as_json: bool = AS_JSON,
) -> None:
    """Read a subreddit's history from Arctic Shift; a stopped run goes on with the same command.

    Its scores are 0 or 1 until it looks again, about 36 h after an item was written.
    """
    from ingest.arctic_shift.api import PUBLIC_URL, ArchiveClient, ArchiveConfig
    from ingest.arctic_shift.history import ingest_archive
    from ingest.http.rate_limit import Clock, shared_budget
    from ingest.live_reddit.live import check_subreddit
    from ingest.revisit.report import report_archive
    from ingest.tables.normalize import RowFilters
    from lurker.authors import KNOWN_BOTS

    try:
        name = check_subreddit(subreddit)
        filters = RowFilters(
            since_utc=day(since, "--since"),
            until_utc=day(until, "--until"),
            keep_nsfw=keep_nsfw,
            bots=() if keep_bots else KNOWN_BOTS,
            keep_mentions=keep_mentions,
        )
        config = ArchiveConfig(url=archive_url or PUBLIC_URL)
    except ValueError as error:
        raise CallError(f"{error}.", "See `lurker ingest archive --help`.") from error
    clock = Clock()
    client = ArchiveClient(config, shared_budget(config.url, config.limits, clock, random.Random()))
    workspace = open_workspace(ctx.obj, create=True)
    found = ingest_archive(workspace, client, name, filters, int(clock.now()))
    report_archive(workspace, found, NEXT, as_json=as_json)


@app.command()
def ids(
    ctx: typer.Context,
    file: Path = typer.Argument(..., metavar="FILE", help="A t3_ID (post) or t1_ID (comment) a line."),
    source: Literal["reddit", "archive"] = typer.Option(
        ..., "--from", help="reddit: live, with credentials; archive: Arctic Shift."
    ),
    reddit_url: str = REDDIT_URL,
    archive_url: str = ARCHIVE_URL,
    as_json: bool = AS_JSON,
) -> None:
    """Read posts and comments by their ids; a stopped run goes on with the same command."""
    from ingest.arctic_shift.api import PUBLIC_URL, ArchiveClient, ArchiveConfig
    from ingest.http.rate_limit import Clock, shared_budget
    from ingest.revisit.by_ids import ask_archive, ask_reddit, ingest_ids, read_fullnames

    fullnames = read_fullnames(file)
    clock, rng = Clock(), random.Random()
    try:
        if source == "reddit":
            from ingest.live_reddit.api import RedditApi
            from ingest.live_reddit.call import ApiConfig

            ask = ask_reddit(RedditApi(ApiConfig(url=reddit_url or None), clock, rng))
        else:
            config = ArchiveConfig(url=archive_url or PUBLIC_URL)
            ask = ask_archive(ArchiveClient(config, shared_budget(config.url, config.limits, clock, rng)))
    except ValueError as error:
        raise CallError(f"{error}.", "See `lurker ingest ids --help`.") from error
    workspace = open_workspace(ctx.obj, create=True)
    found = ingest_ids(workspace, fullnames, ask, source)
    if as_json:
        print_json({"workspace": str(workspace.root), **asdict(found)})
        return
    counts = {"asked": found.n_asked, "posts": found.n_posts, "comments": found.n_comments}
    print_table(f"From {source}", [counts | {"not known there": len(found.absent)}])


@app.command()
def refresh(
    ctx: typer.Context,
    older_than: str = typer.Option(
        "36h", metavar="AGE", help="What was seen this long after it was written is ripe and left alone: 90m, 36h, 30d."
    ),
    subreddits: list[str] = typer.Option([], "--subreddit", metavar="S", help="Look at this one only; repeatable."),
    limit: int | None = typer.Option(None, min=0, help="Most items of this run, the youngest; 0 looks at none."),
    purge_too: bool = typer.Option(False, "--purge", help="Erase the texts of what is deleted or removed, everywhere."),
    reddit_url: str = REDDIT_URL,
    as_json: bool = AS_JSON,
) -> None:
    """Look again at what was seen too soon: scores ripen, people delete. Needs credentials, as `ingest reddit` does.

    Without --purge what is gone is marked and keeps its text; `--purge --limit 0` erases what is marked already.
    """
    from ingest.http.rate_limit import Clock
    from ingest.live_reddit.api import RedditApi
    from ingest.live_reddit.call import ApiConfig
    from ingest.revisit.purge import purge
    from ingest.revisit.refresh import RefreshConfig, refresh
    from ingest.revisit.report import report_refresh
    from ingest.revisit.survivorship import present, survivorship

    try:
        config = RefreshConfig(
            ripe_after_s=age_s(older_than, "--older-than"),
            subreddits=tuple(map(subreddit_name, subreddits)),
            max_items=limit,
        )
        api = ApiConfig(url=reddit_url or None)
    except ValueError as error:
        raise CallError(f"{error}.", "See `lurker ingest refresh --help`.") from error
    workspace = open_workspace(ctx.obj)
    looked = refresh(workspace, lambda: RedditApi(api, Clock(), random.Random()), config)
    erased = purge(workspace) if purge_too else None
    before = present(workspace, config.subreddits, looked.before)
    report_refresh(workspace, looked, erased, survivorship(before, looked.gone), as_json=as_json)


@app.command()
def simulate(
    ctx: typer.Context,
    seed: int = typer.Option(0, help="Seed: the same gives the same Reddit."),
    posts: int = typer.Option(3_000, help="Posts over all communities; about 14 comments each."),
    assignments: list[str] = typer.Option(
        [], "--set", metavar="FIELD=VALUE", help="Set a knob of the simulator; an unknown one lists them all."
    ),
    ingest_too: bool = typer.Option(True, " /--no-ingest", help="Write the dump files and the truth only."),
    as_json: bool = AS_JSON,
) -> None:
    """Write the dumps of a Reddit with known truth, and ingest them through the same door as real ones."""
    from ingest.dump_files.read import ingest_dumps
    from ingest.simulator.config import SimulationConfig
    from ingest.simulator.dump import write_simulation
    from ingest.tables.normalize import RowFilters

    config = override(SimulationConfig(), [f"seed={seed}", f"n_posts={posts}", *assignments])
    workspace = open_workspace(ctx.obj, create=True)
    files = write_simulation(workspace, config)
    if ingest_too:
        report(workspace, ingest_dumps(workspace, files, RowFilters(), source="simulator"), as_json=as_json)
        return
    names = " ".join(str(path) for path in files)
    command = f"lurker --workspace {workspace.root} ingest dump {names}"
    if as_json:
        print_json({"workspace": str(workspace.root), "written": [str(path) for path in files], "next": command})
    else:
        typer.echo(f"Wrote {names} and the truth.\nnext: {command}")


def report(workspace: Workspace, reports: "list[FileReport]", *, as_json: bool) -> None:
    """Print what became of each file's rows, and the next command.

    Errors: LurkerError, after printing, when a file was cut short.
    """
    if as_json:
        files = [{**asdict(one), "n_kept": one.n_kept} for one in reports]
        print_json({"workspace": str(workspace.root), "files": files, "next": NEXT})
    else:
        print_table("Rows", [_row(one) for one in reports])
        dropped = [
            {"file": Path(one.file).name, "dropped because": reason, "rows": n}
            for one in reports
            for reason, n in sorted(one.dropped.items(), key=lambda item: -item[1])
        ]
        print_table("Dropped", dropped)
        for one in reports:
            if one.malformed_file:
                typer.echo(f"The malformed lines of {one.file} are kept in {one.malformed_file}")
        typer.echo(f"next: {NEXT}")
    if cut := [one for one in reports if one.is_cut_short]:
        kept = ", ".join(f"{one.file} (its {one.n_rows:,} whole rows were read)" for one in cut)
        raise LurkerError(f"Cut short: {kept}.", "Download it again and ingest it: rows that are here are not doubled.")


def _row(one: "FileReport") -> dict[str, object]:
    return {
        "file": Path(one.file).name,
        "read": one.n_rows,
        "posts": one.n_posts,
        "comments": one.n_comments,
        "dropped": sum(one.dropped.values()),
        "malformed": one.n_malformed,
        "state": "cut short" if one.is_cut_short else "ingested before" if one.was_ingested_before else "ingested",
    }
