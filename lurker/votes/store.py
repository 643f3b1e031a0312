"""The votes of all arenas: one SQLite file, `votes/votes.sqlite`, in WAL mode with synchronous=FULL.

SQLite and not a log per process, because many writers (threads of a server, several servers, commands) append at once
and each vote must count once, which a primary key guards in the same transaction. WAL, so that readers never block a
vote. FULL, because WAL's default syncs at checkpoints only: a vote is on the disk before `append_vote` returns, so
before the next pair shows, and `kill -9` or a power cut after that loses nothing.

Rows are only ever added: an undo and a revocation are rows of their own. Two functions erase: `forget_rater`, when a
rater asks for it, and `erase_remarks`, in a purge. SQL takes values as parameters only.
"""

import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import polars as pl

from lurker.errors import LurkerError
from lurker.locks import locked
from lurker.schema import RATERS, REMARKS, VOTES, Table, check
from lurker.workspace import Workspace

FILE = "votes.sqlite"
BUSY_S = 30.0
MAX_REMARK_CHARS, MAX_REMARKS = 2_000, 50
"""Length of a remark, and how many one rater of an arena may send: the page is open to strangers."""
"""How long a writer waits for the others."""
Choice = Literal["a", "b", "level", "both_bad", "skip"]
CHOICES: tuple[Choice, ...] = ("a", "b", "level", "both_bad", "skip")
Event = Literal["consented", "instructed", "qualified", "failed", "revoked"]
EVENTS: tuple[Event, ...] = ("consented", "instructed", "qualified", "failed", "revoked")

_TABLES = """
CREATE TABLE IF NOT EXISTS votes (
    vote_id TEXT PRIMARY KEY, arena TEXT NOT NULL, rater TEXT NOT NULL, item_id TEXT NOT NULL, a_id TEXT NOT NULL,
    b_id TEXT NOT NULL, choice TEXT NOT NULL CHECK (choice IN ('a', 'b', 'level', 'both_bad', 'skip')),
    phase TEXT NOT NULL, occasion INTEGER NOT NULL, mode TEXT NOT NULL, design TEXT NOT NULL, propensity REAL NOT NULL,
    n_eligible INTEGER NOT NULL, dwell_ms INTEGER NOT NULL, address TEXT, shown_utc INTEGER NOT NULL,
    voted_utc INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS votes_by_rater ON votes (arena, rater);
CREATE INDEX IF NOT EXISTS votes_by_address ON votes (arena, address, voted_utc);
CREATE TABLE IF NOT EXISTS undos (vote_id TEXT PRIMARY KEY, undone_utc INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS raters (
    rater TEXT PRIMARY KEY, arena TEXT NOT NULL, name TEXT NOT NULL, is_held_out INTEGER NOT NULL, address TEXT,
    joined_utc INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS rater_events (
    rater TEXT NOT NULL, event TEXT NOT NULL, at_utc INTEGER NOT NULL, PRIMARY KEY (rater, event)
) STRICT;
CREATE TABLE IF NOT EXISTS remarks (
    remark_id TEXT PRIMARY KEY, arena TEXT NOT NULL, rater TEXT NOT NULL, item_id TEXT NOT NULL, text TEXT NOT NULL,
    written_utc INTEGER NOT NULL
) STRICT;
"""
MOST_IDLE = 8
"""Open connections of a process that wait for the next vote. At least one stays open: whoever closes the last one
copies the whole log into the file, which would take a vote several syncs instead of one."""
_Key = tuple[Path, int, int]
"""A store, the number of its file, as another may come to its place, and the process, as a fork must open its own."""
_idle: defaultdict[_Key, list[sqlite3.Connection]] = defaultdict(list)
_turns: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
"""Threads of a process take turns to write, as SQLite's own waiting sleeps for up to a tenth of a second at a time."""
_VOTES = "SELECT votes.*, undone_utc FROM votes LEFT JOIN undos USING (vote_id)"
_RATERS = "SELECT raters.*, {} FROM raters".format(
    ", ".join(
        f"(SELECT at_utc FROM rater_events AS e WHERE e.rater = raters.rater AND event = '{event}') AS {event}_utc"
        for event in EVENTS
    )
)


@dataclass(frozen=True, slots=True)
class Vote:
    """One row of VOTES."""

    vote_id: str
    arena: str
    rater: str
    item_id: str
    a_id: str
    b_id: str
    choice: Choice
    phase: str
    occasion: int
    mode: str
    design: str
    propensity: float
    n_eligible: int
    dwell_ms: int
    address: str | None
    shown_utc: int
    voted_utc: int
    undone_utc: int | None = None

    @property
    def is_standing(self) -> bool:
        """Whether the rater did not take it back."""
        return self.undone_utc is None


@dataclass(frozen=True, slots=True)
class Rater:
    """One row of RATERS."""

    rater: str
    arena: str
    name: str
    is_held_out: bool
    address: str | None
    joined_utc: int
    consented_utc: int | None = None
    instructed_utc: int | None = None
    qualified_utc: int | None = None
    failed_utc: int | None = None
    revoked_utc: int | None = None


def append_vote(workspace: Workspace, vote: Vote) -> bool:
    """Write a vote to the disk; False if it was there already, whatever its choice: the first counts."""
    values = astuple(vote)[:-1]
    marks = ", ".join("?" * len(values))
    return _write(workspace, f"INSERT OR IGNORE INTO votes VALUES ({marks})", values)


def undo_vote(workspace: Workspace, vote_id: str) -> bool:
    """Mark a vote as taken back; False if it was already, or if there is no such vote."""
    sql = "INSERT OR IGNORE INTO undos SELECT vote_id, ? FROM votes WHERE vote_id = ?"
    return _write(workspace, sql, (_now(), vote_id))


def add_rater(workspace: Workspace, rater: Rater) -> bool:
    """Write a rater; False if the token is known already."""
    values = (*astuple(rater)[:3], int(rater.is_held_out), rater.address, rater.joined_utc)
    return _write(workspace, "INSERT OR IGNORE INTO raters VALUES (?, ?, ?, ?, ?, ?)", values)


def mark_rater(workspace: Workspace, rater: str, event: Event) -> None:
    """Write down what a rater reached; the first time counts."""
    _write(workspace, "INSERT OR IGNORE INTO rater_events VALUES (?, ?, ?)", (rater, event, _now()))


def append_remark(workspace: Workspace, remark_id: str, arena: str, rater: str, item_id: str, text: str) -> bool:
    """Write down what a rater tells the researcher about an item; False if the rater has sent MAX_REMARKS already."""
    values = (remark_id, arena, rater, item_id, text[:MAX_REMARK_CHARS], _now(), arena, rater, MAX_REMARKS)
    is_allowed = "(SELECT count(*) FROM remarks WHERE arena = ? AND rater = ?) < ?"
    return _write(workspace, f"INSERT OR IGNORE INTO remarks SELECT ?, ?, ?, ?, ?, ? WHERE {is_allowed}", values)


def votes_of(workspace: Workspace, arena: str, rater: str) -> list[Vote]:
    """A rater's votes in the order in which they were written, undone ones among them."""
    sql = f"{_VOTES} WHERE arena = ? AND rater = ? ORDER BY votes.rowid"
    return [Vote(*row) for row in _read(workspace, sql, (arena, rater))]


def find_rater(workspace: Workspace, arena: str, rater: str) -> Rater | None:
    """The rater of this token's hash in an arena."""
    rows = _read(workspace, f"{_RATERS} WHERE arena = ? AND rater = ?", (arena, rater))
    for row in rows:
        values = dict(zip(RATERS.columns, row, strict=True))
        return Rater(**(values | {"is_held_out": bool(values["is_held_out"])}))
    return None


def count_raters(workspace: Workspace, arena: str) -> int:
    """How many raters an arena has had, without those who were forgotten."""
    return sum(row[0] for row in _read(workspace, "SELECT count(*) FROM raters WHERE arena = ?", (arena,)))


def votes_from_address(workspace: Workspace, arena: str, address: str, since_utc: int) -> int:
    """How many votes were cast from an address since a time."""
    sql = "SELECT count(*) FROM votes WHERE arena = ? AND address = ? AND voted_utc >= ?"
    return sum(row[0] for row in _read(workspace, sql, (arena, address, since_utc)))


def raters_from_address(workspace: Workspace, arena: str, address: str, since_utc: int) -> int:
    """How many raters joined an open arena from an address since a time."""
    sql = "SELECT count(*) FROM raters WHERE arena = ? AND address = ? AND joined_utc >= ?"
    return sum(row[0] for row in _read(workspace, sql, (arena, address, since_utc)))


def forget_rater(workspace: Workspace, rater: str) -> dict[str, int]:
    """Erase all that a rater left: votes, remarks, and the rater; returns the rows erased by table."""
    where = {table: f"DELETE FROM {table} WHERE rater = ?" for table in ("votes", "remarks", "rater_events", "raters")}
    undos = "DELETE FROM undos WHERE vote_id IN (SELECT vote_id FROM votes WHERE rater = ?)"
    return _erase(workspace, {"undos": undos, **where}, (rater,))


def erase_remarks(workspace: Workspace, arena: str, item_ids: Sequence[str]) -> int:
    """Erase the texts of the remarks on some items, as they may quote what a purge erased; returns how many."""
    erased = 0
    for item_id in item_ids:
        sql = "UPDATE remarks SET text = '' WHERE arena = ? AND item_id = ? AND text <> ''"
        erased += _erase(workspace, {"remarks": sql}, (arena, item_id))["remarks"]
    return erased


def read_votes(workspace: Workspace, arena: str) -> pl.DataFrame:
    """All votes of an arena as VOTES, in the order in which they were written."""
    return _frame(VOTES, _read(workspace, f"{_VOTES} WHERE arena = ? ORDER BY votes.rowid", (arena,)))


def read_raters(workspace: Workspace, arena: str) -> pl.DataFrame:
    """All raters of an arena as RATERS, in the order in which they joined."""
    return _frame(RATERS, _read(workspace, f"{_RATERS} WHERE arena = ? ORDER BY raters.rowid", (arena,)))


def read_remarks(workspace: Workspace, arena: str) -> pl.DataFrame:
    """All remarks of an arena as REMARKS, the first written first."""
    return _frame(REMARKS, _read(workspace, "SELECT * FROM remarks WHERE arena = ? ORDER BY rowid", (arena,)))


def _frame(table: Table, rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    columns = {name: [row[index] for row in rows] for index, name in enumerate(table.columns)}
    if "is_held_out" in columns:
        columns["is_held_out"] = [bool(value) for value in columns["is_held_out"]]
    return check(pl.DataFrame(columns, schema=table.schema), table)


def _write(workspace: Workspace, sql: str, values: Sequence[Any]) -> bool:
    """Run one INSERT in a transaction of its own; whether it added a row."""
    with _turns[workspace.root], _connected(workspace) as connection:
        connection.execute("BEGIN IMMEDIATE")
        cursor = connection.execute(sql, values)
        connection.execute("COMMIT")  # returns when the row is on the disk
        return cursor.rowcount == 1


def _erase(workspace: Workspace, statements: dict[str, str], values: Sequence[Any]) -> dict[str, int]:
    """Run statements that erase in one transaction, and empty the log, which still holds the old pages.

    Returns:
        Rows changed, by the name of the statement.
    """
    if not (workspace.root / "votes" / FILE).exists():
        return dict.fromkeys(statements, 0)
    with _turns[workspace.root], _connected(workspace) as connection:
        connection.execute("BEGIN IMMEDIATE")
        erased = {name: connection.execute(sql, values).rowcount for name, sql in statements.items()}
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return erased


def _read(workspace: Workspace, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    if not (workspace.root / "votes" / FILE).exists():
        return []  # a reader makes no file
    with _connected(workspace) as connection:
        return connection.execute(sql, values).fetchall()


@contextmanager
def _connected(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    """A connection to the store, which is made at first use; it is kept for the next call unless this one fails.

    Raises:
        LurkerError: the file is damaged, cannot be written, or is locked for longer than any vote takes.
    """
    path = workspace.root / "votes" / FILE
    try:
        connection = _idle[path, path.stat().st_ino, os.getpid()].pop()
    except (OSError, IndexError):
        connection = _open(path)
    try:
        yield connection
        kept = _idle[path, path.stat().st_ino, os.getpid()]
        if len(kept) < MOST_IDLE:
            kept.append(connection)
        else:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        connection.close()
        raise _failed(str(path), error) from error
    except BaseException:
        connection.close()
        raise


def _open(path: Path) -> sqlite3.Connection:
    """A new connection, which any thread may use in turn."""
    try:
        path.parent.mkdir(exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise _failed(str(path), error) from error
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'remarks'").fetchone():
            with locked(path.with_suffix(".lock"), waits=True):  # changing the mode does not wait for other writers
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_TABLES)
    except sqlite3.Error as error:
        connection.close()
        raise _failed(str(path), error) from error
    return connection


def _failed(path: str, error: Exception) -> LurkerError:
    return LurkerError(f"Cannot use {path}: {error}.", "Votes written before are kept; check the disk, then try again.")


def _now() -> int:
    return int(time.time())


assert tuple(field.name for field in fields(Vote)) == tuple(VOTES.columns), "rows of SQLite are read by position"
assert tuple(field.name for field in fields(Rater)) == tuple(RATERS.columns), "rows of SQLite are read by position"
