"""Delete pair sets, and know what is built on each: runs, policies, and for the hard test the sets that have it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from lurker.deletion import Deletion, Kind, delete_named
from lurker.listings import trained_on
from lurker.pair_sets import HARD_TEST, pair_set_names
from lurker.workspace import Workspace


def delete_pair_sets(
    workspace: Workspace, names: Sequence[str] | str, *, force: bool = False, is_dry: bool = False
) -> Deletion:
    """Delete the folders of pair sets, all that are named or none.

    Args:
        workspace: where they are.
        names: of the sets.
        force: also sets that runs or policies were trained on, and a hard test that other sets were built with.
        is_dry: only say what would be deleted.

    Raises:
        CallError: there is no such set, or something is built on one and `force` is not set.
        LurkerError: pairs are being built, or a folder cannot be moved.
    """

    def lock(_: Sequence[str]) -> AbstractContextManager[Any]:
        return workspace.lock("pairs build")

    kind = Kind("pair set", "pair sets", "lurker pairs list", partial(workspace.folder, "pairs"), lock)
    existing = pair_set_names(workspace)
    return delete_named(
        workspace, kind, names, pair_set_users(workspace), existing=existing, force=force, is_dry=is_dry
    )


def pair_set_users(workspace: Workspace) -> dict[str, list[str]]:
    """Pair set -> what is built on it, in words."""
    users: dict[str, list[str]] = {}
    for word, folder in (("run", "runs"), ("policy", "policies")):
        for name, trained in trained_on(workspace, folder).items():
            users.setdefault(name, []).extend(f"{word} {one}" for one in trained)
    if others := [f"pair set {name}" for name in pair_set_names(workspace) if name != HARD_TEST]:
        users.setdefault(HARD_TEST, []).extend(others)
    return users
