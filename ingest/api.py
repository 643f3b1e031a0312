"""The public functions of this package: every source of posts, comments and observations as one function.

The commands of `lurker ingest` call these functions. `workspace` is an open workspace, or the path of one, which is
created if it is missing (except by `refresh`). Arguments are checked, and credentials are looked up, before that.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ingest.dump_files.find import find_dumps
from ingest.dump_files.read import ingest_dumps
from ingest.dump_files.report import DumpReport, SimulationReport
from ingest.options import parse_age, parse_day
from ingest.tables.normalize import RowFilters
from lurker.arguments import as_names, as_path, require_text
from lurker.authors import KNOWN_BOTS
from lurker.config import typed_values
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.subreddits import plain_name
from lurker.workspace import AnyWorkspace, as_workspace

if TYPE_CHECKING:  # what only one function needs is imported there: PRAW, requests, SciPy
    from ingest.arctic_shift.report import ArchiveReport
    from ingest.live_reddit.listings import ListingName, TimeSpan
    from ingest.live_reddit.report import LiveReport
    from ingest.revisit.by_ids import IdsReport
    from ingest.revisit.report import RefreshSummary


def dumps(
    workspace: AnyWorkspace,
    *files: Path | str,
    subreddits: Iterable[str] | str = (),
    since: date | str | None = None,
    until: date | str | None = None,
    min_score: int | None = None,
    keep_nsfw: bool = False,
    keep_bots: bool = False,
    keep_mentions: bool = False,
    max_malformed_share: float = 0.5,
    engine: Engine = "local",
) -> DumpReport:
    """Read dump files of submissions and comments, in any order; reading a file twice changes nothing.

    Args:
        workspace: where the rows go.
        files: dumps, folders of them, patterns such as "RC_*.zst", or "-" for standard input. JSON (a row per line,
            arrays, listings, threads) or CSV, plain, in tar, or compressed with zstd, gzip, bzip2 or xz; recognised by
            content.
        subreddits: names with or without r/; empty keeps all but user profiles.
        since: first day to keep (UTC), such as "2020-01-31".
        until: first day to drop (UTC).
        min_score: lowest score to keep.
        keep_nsfw: keep rows marked over 18.
        keep_bots: keep rows by well-known bots, including AutoModerator.
        keep_mentions: leave user names in texts.
        max_malformed_share: share of malformed lines (0–1) above which `require_complete()` raises.
        engine: "ray" makes each file a task of a cluster whose machines share these paths.

    Returns:
        Rows read, kept and dropped per file. `require_complete()` raises if a file was cut short, is mostly
        malformed, or was named and is no dump.

    Raises:
        CallError: an argument is invalid.
        LurkerError: no file is a dump, or no row passes the filters.
    """
    names = [as_path(file, "A dump") for file in files]
    if not 0 <= max_malformed_share <= 1:
        raise CallError(f"max_malformed_share is a share from 0 to 1, got {max_malformed_share}.")
    if not names:
        raise CallError("No dump files were given.", "Name at least one: `ingest.dumps(workspace, FILE)`.")
    filters = _filters(
        subreddits=tuple(map(plain_name, as_names(subreddits, "subreddits"))),
        since_utc=_seconds(parse_day(since, "since")),
        until_utc=_seconds(parse_day(until, "until")),
        min_score=min_score,
        keep_nsfw=keep_nsfw,
        bots=() if keep_bots else KNOWN_BOTS,
        keep_mentions=keep_mentions,
    )
    paths, skipped = find_dumps(names)
    report = ingest_dumps(as_workspace(workspace, create=True), paths, filters, engine=engine)
    return replace(report, skipped=skipped, max_malformed_share=max_malformed_share)


def reddit(
    workspace: AnyWorkspace,
    *subreddits: str,
    listing: "ListingName" = "new",
    time: "TimeSpan" = "all",
    limit: int = 100,
    top_level_only: bool = False,
    keep_nsfw: bool = False,
    keep_bots: bool = False,
    keep_mentions: bool = False,
    reddit_url: str | None = None,
) -> "LiveReport":
    """Read live posts with all their comments through PRAW; after an interruption, the same call resumes.

    Credentials come from praw.ini, or from praw_client_id and praw_client_secret in the environment.

    Args:
        workspace: where the rows go.
        subreddits: names with or without r/.
        listing: listing that selects the posts: new, top, hot or rising.
        time: span of the listing top: all, year, month, week, day or hour.
        limit: largest number of posts per subreddit; Reddit lists about 1,000.
        top_level_only: skip replies to comments: fewer calls, and pairs do not need them.
        keep_nsfw: keep posts marked over 18, with their comments.
        keep_bots: keep rows by well-known bots, including AutoModerator.
        keep_mentions: leave user names in texts.
        reddit_url: server to use instead of Reddit.

    Returns:
        Rows per subreddit, and what was not read. `require_complete()` raises if anything failed.

    Raises:
        CallError: an argument is invalid, or credentials are missing.
        LurkerError: Reddit refuses the credentials or is down; everything read so far is kept.
    """
    from ingest.live_reddit.api import open_reddit
    from ingest.live_reddit.live import LiveConfig, check_subreddit, ingest_reddit
    from ingest.live_reddit.report import live_report

    if not subreddits:
        raise CallError("No subreddits were given.", "Name at least one: `ingest.reddit(workspace, NAME)`.")
    try:
        names = [check_subreddit(name) for name in as_names(subreddits, "subreddits")]
        values = {"listing": listing, "time": time, "limit": limit, "is_top_level_only": top_level_only}
        values |= {"keep_nsfw": keep_nsfw, "keep_bots": keep_bots, "keep_mentions": keep_mentions}
        config = LiveConfig(**typed_values(LiveConfig, values))
    except ValueError as error:
        raise CallError(f"{error}.", "See `lurker ingest reddit --help`.") from error
    api, opened = open_reddit(reddit_url), as_workspace(workspace, create=True)
    return live_report(opened, ingest_reddit(opened, names, config, api), api)


def archive(
    workspace: AnyWorkspace,
    subreddit: str,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    keep_nsfw: bool = False,
    keep_bots: bool = False,
    keep_mentions: bool = False,
    archive_url: str | None = None,
) -> "ArchiveReport":
    """Read a subreddit's history from Arctic Shift; after an interruption, the same call resumes.

    The archive's scores are 0 or 1 until it retrieves an item again, about 36 h after it was written.

    Args:
        workspace: where the rows go.
        subreddit: name with or without r/.
        since: first day to read (UTC), such as "2020-01-31".
        until: first day not to read (UTC).
        keep_nsfw: keep rows marked over 18.
        keep_bots: keep rows by well-known bots, including AutoModerator.
        keep_mentions: leave user names in texts.
        archive_url: server to use instead of Arctic Shift.

    Raises:
        CallError: an argument is invalid.
        LurkerError: the archive keeps failing (pages read so far are kept), or has nothing of the subreddit.
    """
    from ingest.arctic_shift.api import open_archive
    from ingest.arctic_shift.history import ingest_archive
    from ingest.live_reddit.live import check_subreddit

    try:
        name = check_subreddit(require_text(subreddit, "subreddit"))
    except ValueError as error:
        raise CallError(f"{error}.", "See `lurker ingest archive --help`.") from error
    filters = _filters(
        since_utc=_seconds(parse_day(since, "since")),
        until_utc=_seconds(parse_day(until, "until")),
        keep_nsfw=keep_nsfw,
        bots=() if keep_bots else KNOWN_BOTS,
        keep_mentions=keep_mentions,
    )
    client = open_archive(archive_url)
    return ingest_archive(as_workspace(workspace, create=True), client, name, filters, int(client.budget.clock.now()))


def ids(
    workspace: AnyWorkspace,
    fullnames: Path | str | Iterable[str],
    *,
    source: Literal["reddit", "archive"],
    reddit_url: str | None = None,
    archive_url: str | None = None,
) -> "IdsReport":
    """Read posts and comments by their ids, unfiltered; after an interruption, the same call resumes.

    Args:
        workspace: where the rows go.
        fullnames: t3_ID for a post, t1_ID for a comment; or the path of a file with one per line.
        source: reddit (live, with credentials) or archive (Arctic Shift).
        reddit_url: server to use instead of Reddit.
        archive_url: server to use instead of Arctic Shift.

    Raises:
        CallError: an id is invalid, or credentials are missing.
        LurkerError: the source keeps failing; batches read so far are kept.
    """
    from ingest.revisit.by_ids import (
        checked_fullnames,
        fetch_from_archive,
        fetch_from_reddit,
        ingest_ids,
        read_fullnames,
    )

    if isinstance(fullnames, Path | str):
        names = read_fullnames(as_path(fullnames, "fullnames"))
    else:
        names = checked_fullnames(as_names(fullnames, "fullnames"), "the given ids")
    if source == "reddit":
        from ingest.live_reddit.api import open_reddit

        fetch = fetch_from_reddit(open_reddit(reddit_url))
    elif source == "archive":
        from ingest.arctic_shift.api import open_archive

        fetch = fetch_from_archive(open_archive(archive_url))
    else:
        raise CallError(f"source must be reddit or archive, got {source!r}.")
    return ingest_ids(as_workspace(workspace, create=True), names, fetch, source)


def refresh(
    workspace: AnyWorkspace,
    *,
    older_than: timedelta | str = "36h",
    subreddits: Iterable[str] | str = (),
    limit: int | None = None,
    purge: bool = False,
    reddit_url: str | None = None,
) -> "RefreshSummary":
    """Fetch recently written items again from live Reddit, to record settled scores and deletions.

    Args:
        workspace: the workspace to refresh; it must exist.
        older_than: an item observed this long after it was written is settled and not fetched again: "90m", "36h".
        subreddits: names with or without r/; empty means all.
        limit: largest number of items, youngest first; 0 fetches none.
        purge: also erase the texts of deleted and removed items everywhere in the workspace.
        reddit_url: server to use instead of Reddit.

    Raises:
        CallError: an argument is invalid, or credentials are missing.
        LurkerError: Reddit keeps failing; batches read so far are kept.
    """
    from ingest.live_reddit.api import open_reddit
    from ingest.revisit.purge import purge_texts
    from ingest.revisit.refresh import RefreshConfig, refresh_items
    from ingest.revisit.report import RefreshSummary
    from ingest.revisit.survivorship import count_present, survivorship

    try:
        values = {
            "ripe_after_s": int(parse_age(older_than, "older_than").total_seconds()),
            "subreddits": [plain_name(name) for name in as_names(subreddits, "subreddits")],
            "max_items": limit,
        }
        config = RefreshConfig(**typed_values(RefreshConfig, values))
    except ValueError as error:
        raise CallError(f"{error}.", "See `lurker ingest refresh --help`.") from error
    opened = as_workspace(workspace)
    found = refresh_items(opened, lambda: open_reddit(reddit_url), config)
    purged = purge_texts(opened) if purge else None
    before = count_present(opened, config.subreddits, found.before)
    return RefreshSummary(opened.root, found, purged, survivorship(before, found.gone))


def simulate(
    workspace: AnyWorkspace, *, seed: int = 0, n_posts: int = 3_000, ingest: bool = True, **parameters: float | str
) -> SimulationReport:
    """Write the dump files of a simulated Reddit with a known truth, and ingest them like real ones.

    Args:
        workspace: where the files, their truth and the rows go.
        seed: random seed; the same seed gives the same Reddit.
        n_posts: posts over all communities, each with about 14 comments.
        ingest: False only writes the dump files and the truth.
        parameters: further fields of `ingest.simulator.config.SimulationConfig`, such as herding_effect=0.5.

    Raises:
        CallError: a parameter is unknown or out of range.
        LurkerError: the workspace holds another simulation.
    """
    from ingest.simulator.config import SimulationConfig
    from ingest.simulator.dump import write_simulation

    known = [field.name for field in fields(SimulationConfig)]
    if unknown := [name for name in parameters if name not in known]:
        raise CallError(f"Unknown parameter {unknown[0]!r}.", f"Parameters: {', '.join(sorted(known))}.")
    try:
        values = {"seed": seed, "n_posts": n_posts, **parameters}
        config = SimulationConfig(**typed_values(SimulationConfig, values))
    except ValueError as error:
        raise CallError(f"{error}.", "See `lurker ingest simulate --help`.") from error
    opened = as_workspace(workspace, create=True)
    files = write_simulation(opened, config)
    ingested = ingest_dumps(opened, files, RowFilters(), source="simulator") if ingest else None
    return SimulationReport(opened.root, files, ingested)


def _seconds(moment: datetime | None) -> int | None:
    """Seconds since 1970."""
    return None if moment is None else int(moment.timestamp())


def _filters(**values: Any) -> RowFilters:
    try:
        return RowFilters(**typed_values(RowFilters, values))
    except ValueError as error:
        raise CallError(f"{error}.", "Check the days: the first one must be before the last.") from error
