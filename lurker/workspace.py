"""Workspaces: a folder with a marker, tables as Parquet by subreddit under manifests, and DuckDB views over them.

A partition (`comments/college/`) consists of the files that its `manifest.json` names. A write adds new files and then
replaces the manifest by one atomic rename, so a reader sees the state before or after a write, never half of it.
"""

import fcntl
import os
import re
import secrets
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import polars as pl

from lurker.arguments import as_path
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, read_object, sql_string, write_json, write_parquet
from lurker.report import Displayed, ResultTable
from lurker.schema import READABLE_VERSIONS, SCHEMA_VERSION, WORKSPACE_TABLES, Table
from lurker.subreddits import plain_name

if TYPE_CHECKING:
    import duckdb

    from lurker.listings import Listing

MARKER = "lurker.json"
PATTERN_CHARACTERS = "*?["
"""Characters that make Parquet readers treat a path as a glob pattern."""
_SQL_TYPES = {"String": "VARCHAR", "Int64": "BIGINT", "Boolean": "BOOLEAN", "Float64": "DOUBLE"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
CACHE = "cache"
"""Folder of a workspace for what can be recomputed: it may be removed at any time."""


@dataclass(frozen=True, slots=True)
class Workspace(Displayed):
    """An open workspace, as returned by `lurker.open`; printing it shows what it contains."""

    root: Path

    def folder(self, kind: str, name: str) -> Path:
        """The folder of one pair set, run or experiment, whether or not it exists.

        Args:
            kind: pairs | runs | experiments.

        Raises:
            CallError: the name is not a plain file name.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise CallError(
                f"{name!r} is not a valid name for {kind}.", "Use letters, digits, dots, dashes and underscores."
            )
        return self.root / kind / name

    def names(self, kind: str, marker: str) -> list[str]:
        """Names of the finished folders of a kind, sorted: those in which `marker`, the file written last, exists."""
        return sorted(path.parent.name for path in (self.root / kind).glob(f"*/{marker}"))

    def table(self) -> ResultTable:
        """What the workspace contains, one row per kind."""
        from lurker.contents import overview

        return overview(self)

    def pairs(self) -> "Listing":
        """The pair sets: recipe, size, audit, and the runs trained on each, as `lurker pairs list` prints them."""
        from lurker.listings import list_pair_sets

        return list_pair_sets(self)

    def runs(self) -> "Listing":
        """The runs: model, pair set and accuracy of each, as `lurker rm list` prints them."""
        from lurker.listings import list_runs

        return list_runs(self)

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    def __str__(self) -> str:
        return str(self.table())

    # --- tables by subreddit -------------------------------------------------------------------------------------

    def manifest(self, table: Table, subreddit: str) -> dict[str, Any]:
        """The partition's manifest: files, rows, display name and its writer's notes; empty if there is none."""
        path = self.partition(table, subreddit) / "manifest.json"
        return read_json(path) if path.exists() else {}

    def partition(self, table: Table, subreddit: str) -> Path:
        """The folder of one subreddit, in lower case, as Reddit's names are case-insensitive."""
        return self.root / table.name / subreddit.lower()

    def subreddits(self, table: Table) -> list[str]:
        """Display names of the subreddits with rows in the table."""
        paths = sorted((self.root / table.name).glob("*/manifest.json"))
        return [manifest["subreddit"] for path in paths if (manifest := read_json(path))["n_rows"]]

    def files(self, table: Table, subreddits: Sequence[str] | None = None) -> list[Path]:
        """The Parquet files of the table.

        Args:
            subreddits: only these, in any case and with or without `r/`; None for all.

        Raises:
            LurkerError: one of the subreddits has no rows.
        """
        return [
            self.partition(table, name) / file["name"]
            for name, manifest in self._manifests(table, subreddits).items()
            for file in manifest["files"]
        ]

    def _manifests(self, table: Table, subreddits: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """The manifests by name in lower case; arguments and errors as of `files`."""
        wanted = self.subreddits(table) if subreddits is None else subreddits
        manifests = {name: self.manifest(table, name) for name in sorted({plain_name(one).lower() for one in wanted})}
        if unknown := [name for name, manifest in manifests.items() if not manifest.get("n_rows")]:
            have = ", ".join(self.subreddits(table)) or "none"
            raise LurkerError(
                f"No {table.name} of r/{', r/'.join(unknown)} in {self.root} (it has: {have}).",
                "Ingest them first: `lurker ingest dump FILE...`.",
            )
        return manifests

    def scan(self, table: Table, subreddits: Sequence[str] | None = None) -> pl.LazyFrame:
        """The table as a lazy frame, empty if nothing was ingested; columns newer than a file are null."""
        files = self.files(table, subreddits)
        return pl.scan_parquet(files, schema=table.schema, missing_columns="insert") if files else table.empty().lazy()

    def sql(self, table: Table, subreddits: Sequence[str] | None = None) -> str:
        """The table for DuckDB's FROM, empty if nothing was ingested; columns newer than a file are null.

        Args:
            subreddits: as of `files`.
        """
        manifests = self._manifests(table, subreddits)
        paths = [self.partition(table, name) / file["name"] for name in manifests for file in manifests[name]["files"]]
        files = f"read_parquet([{', '.join(sql_string(str(path)) for path in paths)}], union_by_name = true)"
        if paths and all(manifest.get("schema_version") == SCHEMA_VERSION for manifest in manifests.values()):
            return files.replace(", union_by_name = true)", ")")
        nulls = ", ".join(f"NULL::{_SQL_TYPES[str(column.dtype)]} AS {name}" for name, column in table.columns.items())
        older = f" UNION ALL BY NAME SELECT * FROM {files}" if paths else ""
        return f"(SELECT {nulls} WHERE false{older})"

    def replace_partition(
        self, table: Table, subreddit: str, frames: Iterator[pl.DataFrame] | Sequence[pl.DataFrame], **notes: Any
    ) -> None:
        """Write the frames as the partition's new files, commit them with the manifest, then delete the old files."""
        folder = self.partition(table, subreddit)
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for frame in frames:
            name = f"part-{uuid.uuid4().hex[:12]}.parquet"
            write_parquet(frame, folder / name)
            files.append({"name": name, "n_rows": frame.height})
        self.commit_partition(table, subreddit, files, **notes)

    def commit_partition(self, table: Table, subreddit: str, files: list[dict[str, Any]], **notes: Any) -> None:
        """Make files already written (name, n_rows) the partition's content, then delete those no longer named."""
        folder = self.partition(table, subreddit)
        n_rows = sum(file["n_rows"] for file in files)
        content = {"schema_version": SCHEMA_VERSION, "subreddit": subreddit, "n_rows": n_rows, "files": files, **notes}
        write_json(content, folder / "manifest.json")
        kept = {file["name"] for file in files}
        for path in folder.glob("*.parquet*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def connect(self, memory_limit: str | None = None) -> "duckdb.DuckDBPyConnection":
        """An in-memory DuckDB with one view per table, empty if nothing was ingested.

        Args:
            memory_limit: of DuckDB, such as "8GB"; None for its default.
        """
        import duckdb  # here, because it is slow to import and few commands connect

        connection = duckdb.connect(config={"memory_limit": memory_limit} if memory_limit else {})
        connection.execute("SET TimeZone = 'UTC'")
        for table in WORKSPACE_TABLES:
            connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM {self.sql(table)}")
        return connection

    # --- secrets and locks ---------------------------------------------------------------------------------------

    def salt(self) -> bytes:
        """The secret salt of author hashes; created at first use, readable by its owner only."""
        path = self.root / "salt"
        if not path.exists():
            temporary = path.with_name(f".salt-{uuid.uuid4().hex}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(16))
            try:
                os.link(temporary, path)  # fails if another process was first; then its salt is used
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        return path.read_bytes()

    @contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Lock the workspace for one writer of posts, comments and observations; remove what a killed writer left.

        Args:
            purpose: the command that takes the lock, for the error of others.

        Raises:
            LurkerError: another process has the lock; the message names it.
        """
        with (self.root / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _holder(file)
                raise LurkerError(
                    f"{self.root} is being written by {holder}.", "Wait until it has finished, then run again."
                ) from error
            file.seek(0)
            file.truncate()
            file.write(f"`lurker {purpose}` (process {os.getpid()})")
            file.flush()
            if read_object(self.root / MARKER).get("schema_version") != SCHEMA_VERSION:
                write_json({"schema_version": SCHEMA_VERSION}, self.root / MARKER)  # older Lurkers cannot read on
            for name in (*(table.name for table in WORKSPACE_TABLES), "ingested", "malformed"):
                for left_over in (self.root / name).rglob(".*.tmp"):
                    left_over.unlink(missing_ok=True)
            try:
                yield
            finally:
                file.truncate(0)


AnyWorkspace = Workspace | Path | str
"""An open workspace, or where one is."""


def _holder(lock: IO[str]) -> str:
    """The command that has the lock, which it writes into the file shortly after taking it."""
    for _ in range(50):
        lock.seek(0)
        if holder := lock.read().strip():
            return holder
        time.sleep(0.01)
    return "another process"


def open_workspace(root: Path, *, create: bool = False) -> Workspace:
    """Open the workspace at `root`.

    Args:
        create: make the workspace if there is nothing at `root` yet.

    Raises:
        CallError: the path is a file, another folder, missing, not usable, or contains a glob character.
        LurkerError: the workspace was written by another version of the tables.
    """
    try:
        return _open(root, create=create)
    except OSError as error:  # a loop of links, a parent that is a file, no permission
        raise CallError(
            f"{root} cannot be a workspace: {error.strerror or error}.", "Choose another folder with --workspace."
        ) from error


def as_workspace(workspace: AnyWorkspace, *, create: bool = False) -> Workspace:
    """The workspace: an open one, or the one at a path.

    Raises:
        CallError: it is neither; see `open_workspace`.
    """
    if isinstance(workspace, Workspace):
        return workspace
    return open_workspace(as_path(workspace, "The workspace"), create=create)


def _open(root: Path, *, create: bool) -> Workspace:
    if characters := [character for character in PATTERN_CHARACTERS if character in str(root.absolute())]:
        raise CallError(
            f"{root.absolute()} contains {characters[0]!r}, which Parquet readers treat as a pattern.",
            "Choose another path with --workspace.",
        )
    marker = root / MARKER
    if root.is_symlink() and not root.exists():
        raise CallError(f"{root} is a link that leads nowhere.", "Choose another folder with --workspace.")
    if marker.exists():
        version = read_object(marker).get("schema_version")
        if version not in READABLE_VERSIONS:
            raise LurkerError(
                f"{root} contains tables of version {version}; this Lurker reads versions "
                f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}.",
                "Ingest again into a new workspace: `lurker --workspace NEW ingest dump FILE...`.",
            )
        return Workspace(root)
    if root.exists() and not root.is_dir():
        raise CallError(f"{root} is a file, not a workspace.", "Choose a folder with --workspace.")
    if root.exists() and not all(path.match(f".{MARKER}.*.tmp") for path in root.iterdir()):
        if marker.exists():
            return _open(root, create=False)  # another process has just made it
        raise CallError(f"{root} is not a workspace: it has no {MARKER}.", "Choose another folder with --workspace.")
    if not create:
        raise CallError(
            f"There is no workspace at {root}.", "Create it: `lurker ingest dump FILE...` or `lurker demo`."
        )
    root.mkdir(parents=True, exist_ok=True)
    write_json({"schema_version": SCHEMA_VERSION}, marker)
    return Workspace(root)
