"""`lurker ingest refresh`: looks again at what was seen too soon, so that scores ripen and deletions are known.

Items are asked for in batches of 100 ids, youngest first. Each batch is staged before the next is asked for; at the
end one merge adds a row to observations for every look and brings posts and comments up to it. The text of an item that
is gone by now stays until `--purge` erases it: a mark and an erasure are two decisions.
Source: https://www.reddit.com/dev/api#GET_api_info.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ingest.revisit.purge import TEXTS
from ingest.tables.normalize import RowFilters
from ingest.tables.sorted_runs import read_run
from ingest.tables.staging import drop_staged, merge_staged, stage_lines, staged_runs, write_staged
from lurker.errors import LurkerError
from lurker.maturity import RIPE_AFTER_S, is_unripe
from lurker.progress import progress
from lurker.schema import COMMENTS, POSTS, Table
from lurker.workspace import Workspace, read_json, write_parquet

if TYPE_CHECKING:  # PRAW loads when there is something to look at
    from ingest.live_reddit.api import RedditApi

SOURCE, SIMULATOR = "reddit", "simulator"
BATCH_IDS = 100
PREFIXES = {POSTS.name: "t3_", COMMENTS.name: "t1_"}

GONE_SCHEMA = {"kind": pl.String, "subreddit": pl.String, "score": pl.Int64}
"""Items that are newly gone, with the score they had before."""
_STATES = pl.DataFrame(
    schema={
        "kind": pl.String,
        "item_id": pl.String,
        "subreddit": pl.String,
        "score": pl.Int64,
        "is_deleted": pl.Boolean,
    }
)
"""What an item is at some time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshConfig:
    """Which items are looked at again."""

    ripe_after_s: int = RIPE_AFTER_S
    """Seconds from writing to a look after which an item is ripe and left alone."""
    subreddits: tuple[str, ...] = ()
    """Names without r/, in any case; none means all."""
    max_items: int | None = None
    """Most items of one run, the youngest; all when None."""

    def __post_init__(self) -> None:
        """Errors: ValueError for a negative number."""
        for name in ("ripe_after_s", "max_items"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(kw_only=True, slots=True)
class RefreshReport:
    """What a second look showed."""

    n_unripe: int = 0
    """Items that were not ripe."""
    n_looked: int = 0
    """Items that Reddit answered for."""
    n_absent: int = 0
    """Items that Reddit did not answer for; they stay as they were."""
    n_changed: int = 0
    """Items whose score is another now."""
    n_gone: int = 0
    """Items that were deleted or removed since the last look."""
    n_ripe_now: int = 0
    """Items whose newest look is late enough now."""
    n_calls: int = 0
    gone: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=GONE_SCHEMA))
    before: pl.DataFrame = field(default_factory=lambda: _STATES)
    """What the items that were looked at were before: kind, item_id, subreddit, score, is_deleted."""


def refresh(workspace: Workspace, connect: Callable[[], "RedditApi"], config: RefreshConfig) -> RefreshReport:
    """Look again at items that are not ripe; update posts, comments and observations.

    connect: makes the client, called only when there is something to look at.
    Errors: LurkerError when Reddit fails for good (the batches so far are kept), when a subreddit has no rows, or when
    another process writes to the workspace.
    """
    report = RefreshReport()
    with workspace.lock("ingest refresh"):
        unripe = unripe_items(workspace, config)
        report.n_unripe = unripe.height
        folder = workspace.root / "staging" / "refresh"
        chosen = unripe["fullname"].head(unripe.height if config.max_items is None else config.max_items)
        if not chosen.is_empty():
            _look(workspace, connect(), chosen.to_list(), folder, report)
        if folder.exists():
            _merge_looks(workspace, folder, config, report)
        drop_staged(folder)
    return report


def unripe_items(workspace: Workspace, config: RefreshConfig) -> pl.DataFrame:
    """Items that are not ripe, youngest first, ties by id: fullname, created_utc. Simulated ones are nobody's to ask.

    Errors: LurkerError when a subreddit that was named has neither posts nor comments.
    """
    frames = [
        scan.filter(is_unripe(config.ripe_after_s), pl.col("source") != SIMULATOR).select(
            fullname=pl.lit(PREFIXES[table.name]) + pl.col(table.key[0]), created_utc="created_utc"
        )
        for table, scan in _scans(workspace, config.subreddits)
    ]
    return pl.concat(frames).collect().sort("created_utc", "fullname", descending=[True, False])


def _scans(workspace: Workspace, subreddits: Sequence[str]) -> Iterator[tuple[Table, pl.LazyFrame]]:
    """Posts and comments of the subreddits, all when none is named; a table that has none of them is empty."""
    wanted = {name.lower().removeprefix("r/") for name in subreddits}
    known = {table.name: workspace.subreddits(table) for table in (POSTS, COMMENTS)}
    if unknown := wanted - {name.lower() for names in known.values() for name in names}:
        workspace.files(COMMENTS, sorted(unknown))  # says what there is
    for table in (POSTS, COMMENTS):
        names = [name for name in known[table.name] if not wanted or name.lower() in wanted]
        yield table, workspace.scan(table, names) if names else table.empty().lazy()


def _look(workspace: Workspace, api: "RedditApi", fullnames: list[str], folder: Path, report: RefreshReport) -> None:
    """Ask for what no staged batch has asked for, a batch at a time."""
    from ingest.live_reddit.api import dump_line
    from ingest.live_reddit.call import UnreadableError

    folder.mkdir(parents=True, exist_ok=True)
    staged = sorted(folder.glob("*.json"))
    asked = {name for path in staged for name in read_json(path)["asked"]}
    left = [name for name in fullnames if name not in asked]
    everything = RowFilters(keep_nsfw=True, keep_profiles=True, bots=())
    with progress("Looking again", len(fullnames), "items") as advance:
        advance(len(fullnames) - len(left))
        for number, start in enumerate(range(0, len(left), BATCH_IDS), start=len(staged)):
            batch = left[start : start + BATCH_IDS]
            found: dict[str, dict[str, Any]] = {}
            try:
                found = api.info(batch)
            except UnreadableError as error:
                if not error.is_suspect:  # else Reddit knows none of them, as of a subreddit that was banned
                    raise LurkerError(
                        f"Reddit did not tell what became of {len(left) - start:,} of {len(fullnames):,} items: "
                        f"{error.reason}.",
                        "Run the same command again: it goes on from here.",
                    ) from error
            lines = b"".join(dump_line(row, api.now_utc()) for row in found.values())
            stage_lines(lines, folder, f"{number:07d}", everything, SOURCE, workspace.salt(), notes={"asked": batch})
            advance(len(batch))
    report.n_calls = api.n_calls


def _merge_looks(workspace: Workspace, folder: Path, config: RefreshConfig, report: RefreshReport) -> None:
    """Turn the staged looks into newer rows of the tables, and count what they show."""
    updated = folder / "updated"
    shutil.rmtree(updated, ignore_errors=True)
    runs = {table.name: staged_runs(folder, table) for table in (POSTS, COMMENTS)}
    looks = [
        (table, pl.concat([read_run(run) for run in runs[table.name]]).unique(table.key[0], keep="last"))
        for table in (POSTS, COMMENTS)
        if runs[table.name]
    ]
    report.before = _before(workspace, folder, looks)
    after = [_STATES.clear()]
    for table, seen in looks:
        for name in workspace.subreddits(table):
            old = _known(workspace, table, name, seen)
            if old.is_empty():
                continue
            new = with_looks(old, seen, table)
            rows = {POSTS.name: POSTS.empty(), COMMENTS.name: COMMENTS.empty(), table.name: new}
            write_staged(updated, f"{table.name}-{name.lower()}", rows[POSTS.name], rows[COMMENTS.name])
            after.append(_states(new, table))
            report.n_looked += new.height
            report.n_ripe_now += new.filter(~is_unripe(config.ripe_after_s)).height
    joined = report.before.join(pl.concat(after), on=["kind", "item_id"], suffix="_now")
    report.n_changed = joined.filter(pl.col("score").ne_missing(pl.col("score_now"))).height
    report.gone = joined.filter(pl.col("is_deleted_now") & ~pl.col("is_deleted")).select(*GONE_SCHEMA)
    report.n_gone = report.gone.height
    report.n_absent = sum(len(read_json(path)["asked"]) for path in folder.glob("*.json")) - report.n_looked
    if updated.exists():
        merge_staged(workspace, [updated])


def _before(workspace: Workspace, folder: Path, looks: Sequence[tuple[Table, pl.DataFrame]]) -> pl.DataFrame:
    """What the items looked at were before any look of this run was merged: as `_STATES`.

    Kept beside the looks before the merge begins: a merge that is done again after a kill counts the same.
    """
    path = folder / "before.parquet"
    kept = pl.read_parquet(path) if path.exists() else _STATES
    now = [
        _states(_known(workspace, table, name, seen), table)
        for table, seen in looks
        for name in workspace.subreddits(table)
    ]
    before = pl.concat([kept, pl.concat([_STATES, *now]).join(kept, on=["kind", "item_id"], how="anti")])
    write_parquet(before, path)
    return before


def _known(workspace: Workspace, table: Table, subreddit: str, looks: pl.DataFrame) -> pl.DataFrame:
    """The rows of a subreddit that were looked at."""
    key = table.key[0]
    return workspace.scan(table, [subreddit]).join(looks.lazy().select(key), on=key, how="semi").collect()


def _states(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    return rows.select(pl.lit(table.name).alias("kind"), pl.col(table.key[0]).alias("item_id"), *_STATES.columns[2:])


def with_looks(old: pl.DataFrame, looks: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows of posts or comments as of a newer look at them; pure.

    old, looks: rows of the table, looks with at least the ids of old. The text is the one seen first, unless its author
    has edited it since; what is gone keeps its text and is marked. Who wrote it, and who is OP, stays as it was known.
    """
    key = table.key[0]
    joined = old.join(looks, on=key, suffix="_look")
    is_new_text = pl.col("is_edited_look") & ~pl.col("is_deleted_look")
    columns = {name: pl.col(f"{name}_look") for name in ("retrieved_utc", "source")}
    columns |= {name: pl.col(name) | pl.col(f"{name}_look") for name in ("is_edited", "is_deleted")}
    if table is POSTS:
        columns |= {name: pl.coalesce(f"{name}_look", name) for name in ("score", "upvote_ratio", "n_comments")}
    else:
        columns |= {"score": pl.coalesce("score_look", "score")}
        columns |= {f"is_{name}": pl.col(f"is_{name}_look") for name in ("score_hidden", "stickied", "distinguished")}
    columns |= {name: pl.when(is_new_text).then(f"{name}_look").otherwise(name) for name in TEXTS[table.name]}
    return joined.with_columns(**columns).select(*table.columns)
