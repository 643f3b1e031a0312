"""`lurker ingest refresh`: fetch recent items again, to record settled scores and deletions.

Items are requested in batches of 100 ids, youngest first. Each batch is staged before the next is requested; at the end
one merge adds an observation per item and updates posts and comments. The text of an item deleted meanwhile stays until
`--purge` erases it: marking and erasing are separate decisions.

Source: https://www.reddit.com/dev/api#GET_api_info.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ingest.tables.looks import TEXTS, text_time
from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.sorted_runs import read_run
from ingest.tables.staging import drop_staged, merge_staged, stage_lines, stage_rows, staged_runs
from lurker.errors import LurkerError
from lurker.files import read_json, write_parquet
from lurker.maturity import RIPE_AFTER_S, is_unripe
from lurker.progress import progress
from lurker.schema import COMMENTS, POSTS, Table, with_newer_columns
from lurker.subreddits import plain_name
from lurker.workspace import Workspace

if TYPE_CHECKING:  # PRAW is imported only if there are items to fetch
    from ingest.live_reddit.api import RedditApi

SOURCE, SIMULATOR = "reddit", "simulator"
BATCH_IDS = 100
PREFIXES = {POSTS.name: "t3_", COMMENTS.name: "t1_"}

GONE_SCHEMA = {"kind": pl.String, "subreddit": pl.String, "score": pl.Int64}
"""Items found deleted or removed for the first time, with their last score before."""
_STATES = pl.DataFrame(
    schema={
        "kind": pl.String,
        "item_id": pl.String,
        "subreddit": pl.String,
        "score": pl.Int64,
        "is_deleted": pl.Boolean,
    }
)
"""The state of items at some time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshConfig:
    """Which items are fetched again."""

    ripe_after_s: int = RIPE_AFTER_S
    """An item observed this many seconds after it was written is ripe (its score is settled) and not fetched again."""
    subreddits: tuple[str, ...] = ()
    """Names without r/, in any case; empty means all."""
    max_items: int | None = None
    """Largest number of items per run, youngest first; None means all."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a negative number."""
        for name in ("ripe_after_s", "max_items"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(kw_only=True, slots=True)
class RefreshReport:
    """What the new observations showed."""

    n_unripe: int = 0
    """Items that were not ripe."""
    n_looked: int = 0
    """Items that Reddit returned."""
    n_absent: int = 0
    """Items that Reddit did not return; their rows stay unchanged."""
    n_changed: int = 0
    """Items whose score changed."""
    n_gone: int = 0
    """Items deleted or removed since their last observation."""
    n_ripe_now: int = 0
    """Items that are ripe now."""
    n_calls: int = 0
    gone: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=GONE_SCHEMA))
    """The items of n_gone: kind, subreddit, score."""
    before: pl.DataFrame = field(default_factory=lambda: _STATES)
    """The state of the fetched items before this run: kind, item_id, subreddit, score, is_deleted."""


def refresh_items(workspace: Workspace, connect: Callable[[], "RedditApi"], config: RefreshConfig) -> RefreshReport:
    """Fetch items that are not ripe again, and update posts, comments and observations.

    Args:
        connect: makes the client; called only if there are items to fetch.

    Raises:
        LurkerError: Reddit keeps failing (batches so far are kept), a subreddit has no rows, or another process is
            writing to the workspace.
    """
    report = RefreshReport()
    with workspace.lock("ingest refresh"):
        unripe = unripe_items(workspace, config)
        report.n_unripe = unripe.height
        folder = workspace.root / "staging" / "refresh"
        selected = unripe["fullname"].head(unripe.height if config.max_items is None else config.max_items)
        if not selected.is_empty():
            _fetch(workspace, connect(), selected.to_list(), folder, report)
        if folder.exists():
            _merge_fetched(workspace, folder, config, report)
        drop_staged(folder)
    return report


def unripe_items(workspace: Workspace, config: RefreshConfig) -> pl.DataFrame:
    """Items that are not ripe, youngest first, ties by id: fullname, created_utc. Simulated items are left out.

    Raises:
        LurkerError: a subreddit of the config has neither posts nor comments.
    """
    frames = [
        scan.filter(is_unripe(config.ripe_after_s), pl.col("source") != SIMULATOR).select(
            fullname=pl.lit(PREFIXES[table.name]) + pl.col(table.key[0]), created_utc="created_utc"
        )
        for table, scan in _scans(workspace, config.subreddits)
    ]
    return pl.concat(frames).collect().sort("created_utc", "fullname", descending=[True, False])


def _scans(workspace: Workspace, subreddits: Sequence[str]) -> Iterator[tuple[Table, pl.LazyFrame]]:
    """Posts and comments of the subreddits, or of all if there are none; a table without them is empty."""
    wanted = {plain_name(name).lower() for name in subreddits}
    known = {table.name: workspace.subreddits(table) for table in (POSTS, COMMENTS)}
    if unknown := wanted - {name.lower() for names in known.values() for name in names}:
        workspace.files(COMMENTS, sorted(unknown))  # raises, with the subreddits that exist
    for table in (POSTS, COMMENTS):
        names = [name for name in known[table.name] if not wanted or name.lower() in wanted]
        yield table, workspace.scan(table, names) if names else table.empty().lazy()


def _fetch(workspace: Workspace, api: "RedditApi", fullnames: list[str], folder: Path, report: RefreshReport) -> None:
    """Fetch and stage the items that are in no staged batch, batch by batch."""
    from ingest.live_reddit.api import dump_line
    from ingest.live_reddit.call import UnreadableError

    folder.mkdir(parents=True, exist_ok=True)
    staged = sorted(folder.glob("*.json"))
    requested = {name for path in staged for name in read_json(path)["asked"]}
    remaining = [name for name in fullnames if name not in requested]
    context = RowContext(RowFilters(keep_nsfw=True, keep_profiles=True, bots=()), SOURCE, workspace.salt())
    with progress("Fetching again", len(fullnames), "items") as advance:
        advance(len(fullnames) - len(remaining))
        for number, start in enumerate(range(0, len(remaining), BATCH_IDS), start=len(staged)):
            batch = remaining[start : start + BATCH_IDS]
            items: dict[str, dict[str, Any]] = {}
            try:
                items = api.info(batch)
            except UnreadableError as error:
                if not error.is_suspect:  # otherwise Reddit knows none of them, for example from a banned subreddit
                    raise LurkerError(
                        f"Reddit failed with {len(remaining) - start:,} of {len(fullnames):,} items left: "
                        f"{error.reason}.",
                        "Run the same command again to resume.",
                    ) from error
            lines = b"".join(dump_line(row, api.now_utc()) for row in items.values())
            stage_lines(lines, folder, f"{number:07d}", context, notes={"asked": batch})
            advance(len(batch))
    report.n_calls = api.n_calls


def _merge_fetched(workspace: Workspace, folder: Path, config: RefreshConfig, report: RefreshReport) -> None:
    """Update the tables with the staged rows, and count what changed."""
    updated = folder / "updated"
    shutil.rmtree(updated, ignore_errors=True)
    runs = {table.name: staged_runs(folder, table) for table in (POSTS, COMMENTS)}
    fetched = [
        (
            table,
            pl.concat([with_newer_columns(read_run(run), table) for run in runs[table.name]]).unique(
                table.key[0], keep="last"
            ),
        )
        for table in (POSTS, COMMENTS)
        if runs[table.name]
    ]
    report.before = _states_before(workspace, folder, fetched)
    after = [_STATES.clear()]
    for table, newest in fetched:
        for name in workspace.subreddits(table):
            old = _rows_of(workspace, table, name, newest)
            if old.is_empty():
                continue
            new = updated_rows(old, newest, table)
            rows = {POSTS.name: POSTS.empty(), COMMENTS.name: COMMENTS.empty(), table.name: new}
            stage_rows(updated, f"{table.name}-{name.lower()}", rows[POSTS.name], rows[COMMENTS.name])
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


def _states_before(workspace: Workspace, folder: Path, fetched: Sequence[tuple[Table, pl.DataFrame]]) -> pl.DataFrame:
    """The fetched items' states before this run changed any row: as `_STATES`.

    Saved with the staged batches before the merge begins: a merge repeated after a kill reports the same counts.
    """
    path = folder / "before.parquet"
    saved = pl.read_parquet(path) if path.exists() else _STATES
    now = [
        _states(_rows_of(workspace, table, name, newest), table)
        for table, newest in fetched
        for name in workspace.subreddits(table)
    ]
    before = pl.concat([saved, pl.concat([_STATES, *now]).join(saved, on=["kind", "item_id"], how="anti")])
    write_parquet(before, path)
    return before


def _rows_of(workspace: Workspace, table: Table, subreddit: str, fetched: pl.DataFrame) -> pl.DataFrame:
    """The subreddit's rows whose items were fetched."""
    key = table.key[0]
    return workspace.scan(table, [subreddit]).join(fetched.lazy().select(key), on=key, how="semi").collect()


def _states(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    return rows.select(pl.lit(table.name).alias("kind"), pl.col(table.key[0]).alias("item_id"), *_STATES.columns[2:])


def updated_rows(old: pl.DataFrame, newest: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows of posts or comments, updated from a newer retrieval; pure.

    The first text is kept unless its author edited it since. A deleted item keeps its text and is marked. `author_hash`
    and `is_by_op` do not change.

    Args:
        old: rows of the table.
        newest: rows of the table for at least the same items.
    """
    key = table.key[0]
    joined = old.join(newest, on=key, suffix="_new")
    is_new_text = pl.col("is_edited_new") & ~pl.col("is_deleted_new")
    columns = {name: pl.col(f"{name}_new") for name in ("retrieved_utc", "source")}
    columns |= {name: pl.col(name) | pl.col(f"{name}_new") for name in ("is_edited", "is_deleted")}
    if table is POSTS:
        kept_if_unknown = ("score", "upvote_ratio", "n_comments", "is_contest", "is_score_hidden")
        columns |= {name: pl.coalesce(f"{name}_new", name) for name in kept_if_unknown}
        columns |= {"suggested_sort": pl.col("suggested_sort_new")}
        is_counted = pl.col("score_new").is_not_null()
    else:
        is_visible = ~pl.col("is_score_hidden_new")  # a hidden score is shown as 1
        is_counted = (is_visible | pl.col("is_score_hidden")) & pl.col("score_new").is_not_null()
        columns |= {"score": pl.when(is_counted).then("score_new").otherwise("score")}
        columns |= {"is_controversial": pl.coalesce("is_controversial_new", "is_controversial")}
        columns |= {"is_score_hidden": pl.col("is_score_hidden") & pl.col("is_score_hidden_new")}
        columns |= {"was_score_hidden": pl.col("was_score_hidden") | pl.col("was_score_hidden_new")}
        columns |= {f"is_{name}": pl.col(f"is_{name}_new") for name in ("stickied", "distinguished")}
    columns |= {name: pl.when(is_counted).then(f"{name}_new").otherwise(name) for name in ("ups", "downs")}
    columns |= {name: pl.when(is_new_text).then(f"{name}_new").otherwise(name) for name in TEXTS[table.name]}
    text_utc = pl.when(is_new_text).then(text_time("_new")).otherwise(text_time())
    columns |= {"first_retrieved_utc": pl.when(text_utc < pl.col("retrieved_utc_new")).then(text_utc)}
    return joined.with_columns(**columns).select(*table.columns)
