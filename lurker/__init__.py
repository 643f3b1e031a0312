"""Lurker: internet votes -> preference pairs without shortcuts, and reward models that are judged honestly.

import lurker
workspace = lurker.open("workspace")
"""

import sys
from typing import TYPE_CHECKING

if sys.platform == "win32":
    raise ImportError("Lurker runs on Linux and macOS: its locks need fcntl. On Windows, use WSL 2.")

if TYPE_CHECKING:
    from pathlib import Path

    from lurker.workspace import Workspace

__all__ = ["open"]
__version__ = "0.2.0"


def open(path: "str | Path", *, create: bool = True) -> "Workspace":
    """Open a workspace: a folder of tables, pair sets, runs and experiments.

    Args:
        path: the folder; `~` is the home folder.
        create: make the workspace if there is nothing at `path` yet.

    Returns:
        The workspace; it shows what it contains.

    Raises:
        CallError: the path is a file, another folder, not usable or, without `create`, missing.
        LurkerError: the workspace was written by another version of the tables.
    """
    from lurker.arguments import as_path
    from lurker.workspace import open_workspace

    return open_workspace(as_path(path, "lurker.open"), create=create)


def __dir__() -> list[str]:
    return sorted(__all__)
