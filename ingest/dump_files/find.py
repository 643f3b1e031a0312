"""What a user names on the command line -> the dump files to read, and what was skipped.

A name is a file, a folder (searched to any depth), a pattern such as `RC_*.zst`, or `-` for standard input.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.dump_files.blocks import STDIN, check_dump, shown
from ingest.dump_files.formats import NotADumpError
from lurker.errors import LurkerError
from lurker.progress import advance, progress, say
from lurker.workspace import MARKER

LISTED = 30
"""Files that a message or a table names one by one; of more it gives the number."""
_QUIET_FILES = 500
"""Files that are checked in a moment."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is no dump."""

    file: str
    reason: str
    is_named: bool
    """Whether the user named the file itself, and not its folder or a pattern."""
    is_empty: bool


def find_dumps(names: Sequence[Path]) -> tuple[list[Path], list[Skipped]]:
    """The dump files among what was named, each once, and the files that are skipped.

    Raises:
        LurkerError: a name stands for no file, or no file is a dump.
    """
    found = dict[Path, bool]()
    for name in names:
        for path, is_named in _expanded(name):
            found[path] = found.get(path, False) or is_named
    dumps, skipped = [], []
    errors: list[LurkerError] = []
    with progress("Looking at the files", len(found), unit="files", is_quiet=len(found) < _QUIET_FILES):
        for path, is_named in found.items():
            try:
                check_dump(path)
                dumps.append(path)
            except NotADumpError as error:
                if is_named and not path.exists():
                    raise
                errors.append(error)
                skipped.append(Skipped(shown(path), error.message, is_named, "is empty" in error.message))
            advance(1)
    if not dumps and len(errors) == 1:
        raise errors[0]
    if not dumps:
        raise LurkerError(f"None of {len(found):,} files is a dump: {_listed(skipped)}", errors[0].next_step)
    if skipped:
        say(f"Skipped, since they are no dumps: {_listed(skipped)}")
    return dumps, skipped


def _listed(skipped: Sequence[Skipped]) -> str:
    more = f" And {len(skipped) - LISTED:,} more." if len(skipped) > LISTED else ""
    return " ".join(one.reason for one in skipped[:LISTED]) + more


def _expanded(name: Path) -> Iterator[tuple[Path, bool]]:
    """The files that a name stands for, in order, and whether each was named itself."""
    if name == STDIN:
        yield name, True
    elif name.is_dir():
        files = sorted(_files_in(name))
        if not files:
            raise LurkerError(f"{shown(name)} is a folder without files.", "Name the folder that holds the dumps.")
        yield from ((path, False) for path in files)
    elif not name.exists() and re.search(r"[*?\[]", str(name)):
        anchor, pattern = (
            (Path(name.anchor), str(name.relative_to(name.anchor))) if name.anchor else (Path(), str(name))
        )
        files = sorted(path for path in anchor.glob(pattern) if path.is_file())
        if not files:
            raise LurkerError(f"No file matches {shown(name)}.", "Check the pattern: `**` stands for folders.")
        yield from ((path, False) for path in files)
    else:
        yield name, True


def _files_in(folder: Path) -> Iterator[Path]:
    """All files in a folder at any depth, but hidden ones and those of workspaces."""
    for parent, folders, names in os.walk(folder):
        if MARKER in names:
            folders.clear()
            continue
        folders[:] = [one for one in folders if not one.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))
