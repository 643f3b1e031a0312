"""The policies of a workspace, one row each, and their deletion."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from lurker.deletion import Deletion, Kind, delete_named, folder_bytes
from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.listings import Listing
from lurker.workspace import Workspace
from rm.policy.policy_folder import CONFIG, POLICIES, RESULT, policy_folder, policy_lock

Row = dict[str, Any]


def list_policies(workspace: Workspace) -> Listing:
    """The policies by id: kind, what they started from and learned from, validation loss, size and date."""
    rows = [_row(workspace, name) for name in workspace.names(POLICIES, CONFIG)]
    hint = "None yet. Train one: `lurker policy train-writer naive --model scratch-1m`."
    return Listing(f"Policies in {workspace.root}", rows, _shown, hint)


def _row(workspace: Workspace, policy_id: str) -> Row:
    folder = policy_folder(workspace, policy_id)
    row: Row = {"policy": policy_id, "kind": None, "model": None, "pairs": None, "state": "broken", "problem": None}
    row |= {"validation_loss": None, "bytes": folder_bytes(folder)}
    row["finished"] = None
    try:
        config = read_object(folder / CONFIG)
        row |= {name: config.get(name) for name in ("kind", "model", "pairs")} | {"state": "unfinished"}
        if (folder / RESULT).exists():
            result = read_object(folder / RESULT)
            loss = result.get("best_validation_log_loss", result.get("best_validation_loss"))
            day = datetime.fromtimestamp((folder / RESULT).stat().st_mtime, UTC).date().isoformat()
            row |= {"state": "finished", "validation_loss": loss, "finished": day}
    except LurkerError as error:
        row["problem"] = str(error)
    return row


def _shown(row: Row) -> Row:
    loss = row["validation_loss"]
    return {
        "policy": row["policy"],
        "kind": row["kind"],
        "model": row["model"],
        "pairs": row["pairs"],
        "state": row["state"],
        "validation loss": None if loss is None else round(loss, 4),
        "MB": f"{row['bytes'] / 1e6:,.1f}",
        "finished": row["finished"],
    }


def delete_policies(
    workspace: Workspace, policies: Sequence[str] | str, *, force: bool = False, is_dry: bool = False
) -> Deletion:
    """Delete the folders of policies, all that are named or none, finished or not.

    Args:
        workspace: where they are.
        policies: ids.
        force: also policies that others were trained from.
        is_dry: only say what would be deleted.

    Raises:
        CallError: there is no such policy, or another one was trained from it and `force` is not set.
        LurkerError: a policy is being written, or a folder cannot be moved.
    """
    existing = workspace.names(POLICIES, CONFIG)
    users: dict[str, list[str]] = {}
    for other in existing:
        for parent in _parents(workspace, other) - {other}:
            users.setdefault(parent, []).append(f"policy {other}")
    kind = Kind(
        "policy",
        "policies",
        "lurker policy list",
        partial(policy_folder, workspace),
        partial(_unwritten_policies, workspace),
    )
    return delete_named(workspace, kind, policies, users, existing=existing, force=force, is_dry=is_dry)


@contextmanager
def _unwritten_policies(workspace: Workspace, policies: Sequence[str]) -> Iterator[None]:
    """Hold the folders of policies, none of which another process may be writing."""
    with ExitStack() as locks:
        for policy in policies:
            locks.enter_context(policy_lock(workspace, policy))
        yield


def _parents(workspace: Workspace, policy_id: str) -> set[str]:
    """Ids of the policies that a policy was trained from; empty if its config is damaged."""
    try:
        parents = read_object(policy_folder(workspace, policy_id) / CONFIG).get("parents") or []
    except LurkerError:
        return set()
    return {str(one["policy"]) for one in parents if isinstance(one, dict) and "policy" in one}
