"""What every stage of a build needs: the workspace, how to compute, and a temporary folder for its blocks."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from features.databases import reuse_databases
from lurker.engine import Engine
from lurker.errors import CallError, LurkerError
from lurker.workspace import Workspace

_TEMPORARY_NAME = re.compile(r"lurker-(?:blocks|spill)-(\d+)-")
"""Start of a temporary folder's name, with the id of the process that made it."""
DEFAULT_MEMORY = 2_000_000_000
"""Bytes for DuckDB unless told otherwise: what it may use it uses, and a build should fit beside other work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How pairs are computed; the result is the same to the byte whatever these are."""

    engine: Engine = "local"
    """local: threads of this process; ray: every block of posts is a task of a cluster."""
    memory_limit: str | None = None
    """Memory of DuckDB, such as 500MB or 8GB; the rest is spilled to disk. None: 2 GB, or half of a small machine's."""
    temp_folder: Path | None = None
    """Parent of the temporary folders; None: the system's."""

    def __post_init__(self) -> None:
        if self.memory_limit is not None:
            try:
                duckdb.connect(config={"memory_limit": self.memory_limit}).close()
            except duckdb.Error as error:
                raise CallError(
                    f"memory_limit takes a size such as 500MB or 8GB, got {self.memory_limit!r}."
                ) from error

    @property
    def database_memory(self) -> str:
        """The memory limit as DuckDB reads it."""
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return self.memory_limit or f"{min(DEFAULT_MEMORY, machine // 2) // 1_000_000}MB"

    @property
    def temp_parent(self) -> Path:
        """The folder in which temporary folders are made."""
        return self.temp_folder or Path(tempfile.gettempdir())


@dataclass(frozen=True, slots=True)
class BuildContext:
    """Passed through every stage of a build."""

    workspace: Workspace
    folder: Path
    """Where the stage writes its blocks; deleted when the build ends."""
    options: BuildOptions = field(default_factory=BuildOptions)

    def subfolder(self, name: str) -> "BuildContext":
        """The same context with a folder of its own inside this one."""
        return replace(self, folder=self.folder / name)


@contextmanager
def open_context(workspace: Workspace, options: BuildOptions | None = None) -> Iterator[BuildContext]:
    """A context whose folder is deleted at the end, and whose stages use each other's databases.

    Raises:
        LurkerError: the temporary folder cannot be written.
    """
    options = options or BuildOptions()
    with temporary_folder(options) as folder, reuse_databases():
        yield BuildContext(workspace, folder, options)


@contextmanager
def temporary_folder(options: BuildOptions) -> Iterator[Path]:
    """A folder for blocks, deleted at the end.

    Raises:
        LurkerError: the folder cannot be written.
    """
    _remove_abandoned_folders(options.temp_parent)
    folder = Path(tempfile.mkdtemp(prefix=f"lurker-blocks-{os.getpid()}-", dir=options.temp_parent))
    try:
        yield folder
    except OSError as error:
        raise LurkerError(
            f"Cannot write {folder}: {error.strerror or error}.", "Free some space, or name a larger disk in TMPDIR."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned_folders(parent: Path) -> None:
    """Remove the folders of builds that were killed: they may hold texts."""
    for folder in parent.glob("lurker-*"):
        if (match := _TEMPORARY_NAME.match(folder.name)) and not _is_alive(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True
