"""Where tables live: a folder with a marker, Parquet by subreddit under manifests, and DuckDB views over it.

A partition (`comments/college/`) is whatever its `manifest.json` names: new files are written beside the old ones and
the manifest is replaced last by one rename, so a reader sees the state before or after a write and never half of one.
"""

import fcntl
import json
import os
import re
import secrets
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import duckdb
import polars as pl

from lurker.errors import CallError, LurkerError
from lurker.schema import SCHEMA_VERSION, WORKSPACE_TABLES, Table

MARKER = "lurker.json"
PATTERN_CHARACTERS = "*?["
"""Characters by which readers of Parquet take a path for a pattern of many."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
CACHE = "cache"
"""Folder of a workspace for what can be computed again: it may be removed at any time."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """An opened workspace; `open_workspace` makes one."""

    root: Path

    def folder(self, kind: str, name: str) -> Path:
        """`kind` is pairs, runs or experiments; the name of one of them is checked.

        Errors: CallError when the name could leave the folder or is no plain file name.
        """
        if not _NAME.fullmatch(name):
            raise CallError(f"{name!r} is no name for {kind}.", "Use letters, digits, dot, dash and underscore.")
        return self.root / kind / name

    def names(self, kind: str, marker: str) -> list[str]:
        """Names of the finished folders of a kind: those whose last-written file `marker` exists."""
        return sorted(path.parent.name for path in (self.root / kind).glob(f"*/{marker}"))

    # --- tables by subreddit -------------------------------------------------------------------------------------

    def manifest(self, table: Table, subreddit: str) -> dict[str, Any]:
        """The partition's manifest: files, rows, display name and what its writer noted; empty when absent."""
        path = self.partition(table, subreddit) / "manifest.json"
        return read_json(path) if path.exists() else {}

    def partition(self, table: Table, subreddit: str) -> Path:
        """The folder of one subreddit; Reddit's names do not distinguish case, so neither do folders."""
        return self.root / table.name / subreddit.lower()

    def subreddits(self, table: Table) -> list[str]:
        """Display names of the subreddits that hold rows of the table."""
        paths = sorted((self.root / table.name).glob("*/manifest.json"))
        return [manifest["subreddit"] for path in paths if (manifest := read_json(path))["n_rows"]]

    def files(self, table: Table, subreddits: Sequence[str] | None = None) -> list[Path]:
        """The Parquet files of the table, those of the given subreddits only.

        Errors: LurkerError when a subreddit that was asked for has no rows.
        """
        known = {name.lower(): name for name in self.subreddits(table)}
        wanted = known if subreddits is None else [name.lower().removeprefix("r/") for name in subreddits]
        if unknown := [name for name in wanted if name not in known]:
            have = ", ".join(known.values()) or "none"
            raise LurkerError(
                f"No {table.name} of r/{', r/'.join(unknown)} in {self.root} (it has: {have}).",
                "Ingest them first: `lurker ingest dump FILE...`.",
            )
        return [
            self.partition(table, name) / file["name"]
            for name in sorted(wanted)
            for file in self.manifest(table, name)["files"]
        ]

    def scan(self, table: Table, subreddits: Sequence[str] | None = None) -> pl.LazyFrame:
        """The table, lazily; without rows when nothing was ingested."""
        files = self.files(table, subreddits)
        return pl.scan_parquet(files) if files else table.empty().lazy()

    def replace_partition(
        self, table: Table, subreddit: str, frames: Iterator[pl.DataFrame] | Sequence[pl.DataFrame], **notes: Any
    ) -> None:
        """Write the frames as the partition's new files, commit them with the manifest, then drop the old files."""
        folder = self.partition(table, subreddit)
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for frame in frames:
            name = f"part-{uuid.uuid4().hex[:12]}.parquet"
            write_parquet(frame, folder / name)
            files.append({"name": name, "n_rows": frame.height})
        self.commit_partition(table, subreddit, files, **notes)

    def commit_partition(self, table: Table, subreddit: str, files: list[dict[str, Any]], **notes: Any) -> None:
        """Make already written files (name, n_rows) the partition's content, then drop the files no longer named."""
        folder = self.partition(table, subreddit)
        n_rows = sum(file["n_rows"] for file in files)
        content = {"schema_version": SCHEMA_VERSION, "subreddit": subreddit, "n_rows": n_rows, "files": files, **notes}
        write_json(content, folder / "manifest.json")
        kept = {file["name"] for file in files}
        for path in folder.glob("*.parquet*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def connect(self, memory_limit: str | None = None) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB with a view for each table by subreddit (without rows when nothing was ingested)."""
        connection = duckdb.connect(config={"memory_limit": memory_limit} if memory_limit else {})
        connection.execute("SET TimeZone = 'UTC'")
        for table in WORKSPACE_TABLES:
            if files := self.files(table):
                names = ", ".join(sql_string(str(path)) for path in files)
                connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM read_parquet([{names}])")
            else:
                empty = table.empty()
                connection.register(f"_{table.name}", empty.to_arrow())
                connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM _{table.name}")
        return connection

    # --- secrets and locks ---------------------------------------------------------------------------------------

    def salt(self) -> bytes:
        """The secret that author hashes are salted with; made at first use, readable by its owner only."""
        path = self.root / "salt"
        if not path.exists():
            temporary = path.with_name(f".salt-{uuid.uuid4().hex}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(16))
            try:
                os.link(temporary, path)  # fails where another process was first: then its salt counts
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        return path.read_bytes()

    @contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Hold the workspace for one writer of posts, comments and observations; what a killed one left is swept up.

        Errors: LurkerError that names the process which holds it.
        """
        with (self.root / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _holder(file)
                raise LurkerError(
                    f"{self.root} is being written by {holder}.", "Wait for it, then run again."
                ) from error
            file.seek(0)
            file.truncate()
            file.write(f"`lurker {purpose}` (process {os.getpid()})")
            file.flush()
            for name in (*(table.name for table in WORKSPACE_TABLES), "ingested", "malformed"):
                for left_over in (self.root / name).rglob(".*.tmp"):
                    left_over.unlink(missing_ok=True)
            try:
                yield
            finally:
                file.truncate(0)


def _holder(lock: IO[str]) -> str:
    """Who holds the lock, as it wrote there: a moment after it took it."""
    for _ in range(50):
        lock.seek(0)
        if holder := lock.read().strip():
            return holder
        time.sleep(0.01)
    return "another process"


def open_workspace(root: Path, *, create: bool = False) -> Workspace:
    """Open the workspace at `root`; with `create`, make it where there is nothing yet.

    Errors: CallError when the path is a file, a folder of something else, not there, or reads as a pattern; LurkerError
    when the workspace was written by another version of the tables.
    """
    if found := [character for character in PATTERN_CHARACTERS if character in str(root.absolute())]:
        raise CallError(f"{root.absolute()} holds {found[0]!r}, which reads as a pattern.", "Name another --workspace.")
    marker = root / MARKER
    if marker.exists():
        version = read_json(marker).get("schema_version")
        if version != SCHEMA_VERSION:
            raise LurkerError(
                f"{root} holds tables of version {version}, this Lurker reads version {SCHEMA_VERSION}.",
                "Ingest again into a new workspace: `lurker --workspace NEW ingest dump FILE...`.",
            )
        return Workspace(root)
    if root.exists() and not root.is_dir():
        raise CallError(f"{root} is a file, not a workspace.", "Name a folder with --workspace.")
    if root.exists() and not all(path.match(f".{MARKER}.*.tmp") for path in root.iterdir()):
        if marker.exists():
            return open_workspace(root)  # another process made it just now
        raise CallError(f"{root} is a folder of something else: it has no {MARKER}.", "Name another with --workspace.")
    if not create:
        raise CallError(f"There is no workspace at {root}.", "Make one: `lurker ingest dump FILE...` or `lurker demo`.")
    root.mkdir(parents=True, exist_ok=True)
    write_json({"schema_version": SCHEMA_VERSION}, marker)
    return Workspace(root)


# --- atomic writes ---------------------------------------------------------------------------------------------------


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it is flushed to disk and renamed to `path`, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise LurkerError(
            f"Cannot write {path}: {error.strerror or error}.", "Free some space or name another."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_parquet(frame: pl.DataFrame, path: Path, compression: Literal["zstd", "lz4"] = "zstd") -> None:
    """Write a frame as Parquet, whole or not at all; "lz4" is quicker and larger, for what is soon read once."""
    with atomic_path(path) as temporary:
        level = 3 if compression == "zstd" else None
        frame.write_parquet(temporary, compression=compression, compression_level=level, row_group_size=128_000)


def write_json(value: Any, path: Path) -> None:
    """Write JSON, whole or not at all; a number that is not finite is an error, not a hole in the file."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON.

    Errors: LurkerError when the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LurkerError(f"Cannot read {path}: {error}.") from error


def sql_string(text: str) -> str:
    """A DuckDB string literal."""
    return "'" + text.replace("'", "''") + "'"
