"""Delete named folders of a workspace: all that are named or none, and none that something else is built on."""

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lurker.arguments import as_list
from lurker.errors import CallError, LurkerError, nearest
from lurker.report import ResultTable
from lurker.workspace import CACHE, Workspace


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of folder that can be deleted by name."""

    word: str
    """such as "run\""""
    plural: str
    listing: str
    """command that lists them"""
    folder: Callable[[str], Path]
    """name -> folder"""
    lock: Callable[[Sequence[str]], AbstractContextManager[Any]]
    """names -> their folders held, none of which another process may be writing"""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Folders of one kind that were deleted, or would be."""

    rows: tuple[dict[str, Any], ...]
    """name under the word of its kind, bytes, and users: what is built on it"""
    is_dry: bool
    """whether nothing was deleted"""
    kind: Kind

    def table(self) -> ResultTable:
        """One row per folder."""
        word = self.kind.word
        shown = [
            {word: row[word], "MB": row["bytes"] / 1e6, "used by": ", ".join(row["users"]) or "–"} for row in self.rows
        ]
        return ResultTable("Would be deleted" if self.is_dry else "Deleted", shown)

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        return {"is_dry_run": self.is_dry, self.kind.plural.replace(" ", "_"): list(self.rows)}


def delete_named(
    workspace: Workspace,
    kind: Kind,
    names: Sequence[str] | str,
    users: Mapping[str, Sequence[str]],
    *,
    existing: Sequence[str],
    force: bool,
    is_dry: bool,
) -> Deletion:
    """Delete folders, unless something that stays is built on one.

    All folders leave their place by renames before the first byte is deleted; if one cannot, the others come back.

    Args:
        workspace: where they are.
        kind: of the folders.
        names: of the folders.
        users: name -> what is built on it, such as "run a".
        existing: names to suggest.
        force: also folders that something is built on.
        is_dry: only say what would be deleted.

    Raises:
        CallError: there is no such folder, or something is built on one and `force` is not set.
        LurkerError: a folder is being written, or cannot be moved.
    """
    wanted = list(dict.fromkeys(as_list(names, kind.plural)))
    for name in wanted:
        if not kind.folder(name).is_dir():
            known = nearest(name, list(existing))
            what = (
                f"There is no {kind.word} {name!r} in {workspace.root} ({kind.plural}: {known}). Nothing was deleted."
            )
            raise CallError(what, f"See `{kind.listing}`.")
    going = {f"{kind.word} {name}" for name in wanted}
    rows = []
    for name in wanted:
        others = [user for user in users.get(name, ()) if user not in going]
        rows.append({kind.word: name, "bytes": folder_bytes(kind.folder(name)), "users": others})
    if not force and not is_dry and (used := [row for row in rows if row["users"]]):
        what = "; ".join(f"{row[kind.word]} is used by {', '.join(row['users'])}" for row in used)
        raise CallError(f"{what}. Nothing was deleted.", "Delete those first, or add `--force`.")
    if not is_dry:
        with kind.lock(wanted):
            remove_folders([kind.folder(name) for name in wanted], workspace.root / CACHE)
    return Deletion(tuple(rows), is_dry, kind)


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def remove_folders(folders: Sequence[Path], cache: Path) -> None:
    """Move folders into one folder of the cache, all or none, then delete that; a kill leaves no half folder behind.

    Raises:
        LurkerError: a folder cannot be moved.
    """
    trash = cache / f"deleted-{uuid.uuid4().hex[:8]}"
    moved: list[tuple[Path, Path]] = []
    try:
        trash.mkdir(parents=True)
        for number, folder in enumerate(folders):
            place = trash / f"{number}-{folder.name}"
            folder.replace(place)
            moved.append((folder, place))
    except OSError as error:
        for before, place in moved:
            place.replace(before)
        raise LurkerError(f"Cannot move {folder}: {error.strerror or error}.", "Nothing was deleted.") from error
    shutil.rmtree(trash, ignore_errors=True)
