"""`lurker ingest ...`: the commands that bring Reddit into the workspace, each a call of `ingest.api`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import typer

from ingest.options import (
    ARCHIVE_URL,
    AS_JSON,
    KEEP_BOTS,
    KEEP_MENTIONS,
    KEEP_NSFW,
    REDDIT_URL,
    parse_age,
    parse_day,
    read_names,
)
from lurker.help import CommandGroup

app = typer.Typer(cls=CommandGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def ingest() -> None:
    """Read posts and comments from dumps, live Reddit, an archive or a simulation."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's idle threads, one per core, wait in a loop at first


@app.command()
def dump(
    ctx: typer.Context,
    files: list[Path] = typer.Argument(
        ..., metavar="FILE...", help="Dumps, folders of them, patterns, or - for standard input."
    ),
    subreddits: list[str] = typer.Option([], "--subreddit", metavar="S", help="Keep only this one; repeatable."),
    subreddits_from: Path | None = typer.Option(
        None, "--subreddits-from", metavar="FILE", help="Keep also those in this file: one per line, # for comments."
    ),
    since: str = typer.Option("", metavar="D", help="Keep rows written on or after this day (2020-01-31, UTC)."),
    until: str = typer.Option("", metavar="D", help="Keep rows written before this day (UTC)."),
    min_score: int | None = typer.Option(None, help="Keep rows with at least this score."),
    keep_nsfw: bool = KEEP_NSFW,
    keep_bots: bool = KEEP_BOTS,
    keep_mentions: bool = KEEP_MENTIONS,
    max_malformed_share: float = typer.Option(
        0.5, min=0, max=1, help="Share of malformed lines of a file above which the exit code is 1."
    ),
    engine: Literal["local", "ray"] = typer.Option(
        "local", help="ray: one task per file on the cluster at RAY_ADDRESS, whose machines share these paths."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Read dump files of submissions and comments, recognised by content; reading a file twice changes nothing.

    Comments marked over 18 are dropped too; those without a mark stay, but form no pair without their post. User
    profiles (u_NAME) are dropped unless you name them, because their names are their authors'.
    """
    from ingest import api

    report = api.dumps(
        ctx.obj,
        *files,
        subreddits=[*subreddits, *read_names(subreddits_from)],
        since=parse_day(since, "--since"),
        until=parse_day(until, "--until"),
        min_score=min_score,
        keep_nsfw=keep_nsfw,
        keep_bots=keep_bots,
        keep_mentions=keep_mentions,
        max_malformed_share=max_malformed_share,
        engine=engine,
    )
    report.print(as_json=as_json)
    report.require_complete()


@app.command()
def reddit(
    ctx: typer.Context,
    subreddits: list[str] = typer.Argument(..., metavar="SUBREDDIT...", help="Names, with or without r/."),
    listing: Literal["new", "top", "hot", "rising"] = typer.Option("new", help="Listing that selects the posts."),
    time: Literal["all", "year", "month", "week", "day", "hour"] = typer.Option("all", help="Span of the listing top."),
    limit: int = typer.Option(100, min=1, help="Largest number of posts per subreddit; Reddit lists about 1,000."),
    top_level_only: bool = typer.Option(False, "--top-level-only", help="Skip replies to comments: fewer calls."),
    reddit_url: str = REDDIT_URL,
    keep_nsfw: bool = KEEP_NSFW,
    keep_bots: bool = KEEP_BOTS,
    keep_mentions: bool = KEEP_MENTIONS,
    as_json: bool = AS_JSON,
) -> None:
    """Read live posts with all their comments through PRAW; a stopped run resumes with the same command.

    Credentials come from praw.ini, or from praw_client_id and praw_client_secret in the environment.
    """
    from ingest import api

    report = api.reddit(
        ctx.obj,
        *subreddits,
        listing=listing,
        time=time,
        limit=limit,
        top_level_only=top_level_only,
        keep_nsfw=keep_nsfw,
        keep_bots=keep_bots,
        keep_mentions=keep_mentions,
        reddit_url=reddit_url,
    )
    report.print(as_json=as_json)
    report.require_complete()


@app.command()
def archive(
    ctx: typer.Context,
    subreddit: str = typer.Argument(..., metavar="SUBREDDIT", help="Its name, with or without r/."),
    since: str = typer.Option("", metavar="D", help="Read rows written on or after this day (2020-01-31, UTC)."),
    until: str = typer.Option("", metavar="D", help="Read rows written before this day (UTC)."),
    archive_url: str = ARCHIVE_URL,
    keep_nsfw: bool = KEEP_NSFW,
    keep_bots: bool = KEEP_BOTS,
    keep_mentions: bool = KEEP_MENTIONS,
    as_json: bool = AS_JSON,
) -> None:
    """Read a subreddit's history from Arctic Shift; a stopped run resumes with the same command.

    Its scores are 0 or 1 until the archive retrieves an item again, about 36 h after it was written.
    """
    from ingest import api

    report = api.archive(
        ctx.obj,
        subreddit,
        since=parse_day(since, "--since"),
        until=parse_day(until, "--until"),
        keep_nsfw=keep_nsfw,
        keep_bots=keep_bots,
        keep_mentions=keep_mentions,
        archive_url=archive_url,
    )
    report.print(as_json=as_json)


@app.command()
def ids(
    ctx: typer.Context,
    file: Path = typer.Argument(..., metavar="FILE", help="One t3_ID (post) or t1_ID (comment) per line."),
    source: Literal["reddit", "archive"] = typer.Option(
        ..., "--from", help="reddit: live, with credentials; archive: Arctic Shift."
    ),
    reddit_url: str = REDDIT_URL,
    archive_url: str = ARCHIVE_URL,
    as_json: bool = AS_JSON,
) -> None:
    """Read posts and comments by their ids; a stopped run resumes with the same command."""
    from ingest import api

    report = api.ids(ctx.obj, file, source=source, reddit_url=reddit_url, archive_url=archive_url)
    report.print(as_json=as_json)


@app.command()
def refresh(
    ctx: typer.Context,
    older_than: str = typer.Option(
        "36h", metavar="AGE", help="Skip items observed this long after they were written: 90m, 36h, 30d."
    ),
    subreddits: list[str] = typer.Option([], "--subreddit", metavar="S", help="Only this one; repeatable."),
    limit: int | None = typer.Option(None, min=0, help="Largest number of items, youngest first; 0 fetches none."),
    purge_too: bool = typer.Option(False, "--purge", help="Erase the texts of deleted and removed items everywhere."),
    reddit_url: str = REDDIT_URL,
    as_json: bool = AS_JSON,
) -> None:
    """Fetch recent items again, for settled scores and deletions. Needs credentials, as `ingest reddit` does.

    Without --purge, deleted items are marked and keep their text; `--purge --limit 0` erases those already marked.
    """
    from ingest import api

    report = api.refresh(
        ctx.obj,
        older_than=parse_age(older_than, "--older-than"),
        subreddits=subreddits,
        limit=limit,
        purge=purge_too,
        reddit_url=reddit_url,
    )
    report.print(as_json=as_json)


@app.command()
def simulate(
    ctx: typer.Context,
    seed: int = typer.Option(0, help="Random seed; the same seed gives the same Reddit."),
    posts: int = typer.Option(3_000, help="Posts over all communities, each with about 14 comments."),
    assignments: list[str] = typer.Option(
        [], "--set", metavar="FIELD=VALUE", help="Set a parameter of the simulator; an unknown one lists them all."
    ),
    ingest_too: bool = typer.Option(
        True, " /--no-ingest", show_default=False, help="Only write the dump files and the truth."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Write the dumps of a simulated Reddit with a known truth, and ingest them like real ones."""
    from ingest import api
    from ingest.simulator.config import SimulationConfig
    from lurker.config import override

    config = override(SimulationConfig(), [f"seed={seed}", f"n_posts={posts}", *assignments])
    api.simulate(ctx.obj, ingest=ingest_too, **asdict(config)).print(as_json=as_json)
