"""The folder of a policy: `policies/ID` in the workspace, with config.json first and result.json last."""

from contextlib import AbstractContextManager
from pathlib import Path

from lurker.errors import CallError, LurkerError, nearest
from lurker.locks import locked
from lurker.workspace import Workspace

POLICIES = "policies"
"""Folder of a workspace that holds one folder per policy."""
CONFIG = "config.json"
"""All that determines a policy, written when its training starts."""
RESULT = "result.json"
"""What it reached, written last: a folder that holds it is finished."""
MODEL_FOLDER = "model"
"""Weights and tokenizer, as transformers loads them."""
WORDS = ("Policy", "another id with `--id ID`")
"""How errors name a policy, and how another one is named."""
POLICY_PREFIX = "policy:"
"""A SPEC that starts with it names a policy in the same workspace."""


def policy_folder(workspace: Workspace, policy_id: str) -> Path:
    """The folder of a policy, whether or not it exists."""
    return workspace.folder(POLICIES, policy_id)


def finished_policy(workspace: Workspace, policy_id: str) -> Path:
    """The folder of a finished policy.

    Raises:
        CallError: there is none of this id; the message lists those that exist.
    """
    folder = policy_folder(workspace, policy_id.removeprefix(POLICY_PREFIX).strip())
    if not (folder / RESULT).exists():
        existing = nearest(folder.name, workspace.names(POLICIES, RESULT))
        raise CallError(
            f"There is no finished policy {folder.name!r} in {workspace.root} (finished policies: {existing}).",
            "See `lurker policy list`, or train one: `lurker policy train-writer PAIRS --model scratch-1m`.",
        )
    return folder


def model_of_policy(workspace: Workspace, spec: str) -> str:
    """The SPEC of a language model that is named by its policy (`policy:ID`, or its id alone); any other as it is.

    Raises:
        CallError: there is no finished policy of the id after `policy:`.
    """
    if not isinstance(spec, str):
        return spec  # what is no text is refused where the model is built
    if spec.startswith(POLICY_PREFIX):
        return str(finished_policy(workspace, spec) / MODEL_FOLDER)
    if not Path(spec).is_dir() and spec in workspace.names(POLICIES, RESULT):
        return str(policy_folder(workspace, spec) / MODEL_FOLDER)
    return spec


def policy_lock(workspace: Workspace, policy_id: str, *, waits: bool = False) -> AbstractContextManager[None]:
    """Hold a policy's folder for one writer.

    Args:
        workspace: where the policy is.
        policy_id: the policy.
        waits: wait for another writer; otherwise refuse.

    Raises:
        CallError: a file stands where the folder should be.
        LurkerError: another process writes the policy.
    """
    folder = policy_folder(workspace, policy_id)
    if folder.exists() and not folder.is_dir():
        raise CallError(f"{folder} is a file, not the folder of a policy.", "Remove it, or choose another id.")
    busy = LurkerError(
        f"Policy {policy_id} is being written by another process.", "Wait until it has finished, then repeat."
    )
    return locked(workspace.root / ".locks" / f"policy-{policy_id}", waits=waits, busy=busy)
