"""Policies are deleted all or none, and not from under those that were trained from them."""

from pathlib import Path

import pytest

from lurker.errors import CallError, LurkerError
from lurker.files import write_json
from lurker.workspace import Workspace, open_workspace
from rm.policy.listing import delete_policies, list_policies
from rm.policy.policy_folder import policy_lock
from rm.policy.show import show_policy


@pytest.fixture
def policies(tmp_path: Path) -> Workspace:
    """A writer, and an agent that was trained from it."""
    workspace = open_workspace(tmp_path / "w", create=True)
    write_json({"kind": "writer", "pairs": "p"}, workspace.folder("policies", "writer") / "config.json")
    agent = {"kind": "agent", "judge": "a", "parents": [{"policy": "writer"}]}
    write_json(agent, workspace.folder("policies", "agent") / "config.json")
    return workspace


def left(workspace: Workspace) -> list[str]:
    return [row["policy"] for row in list_policies(workspace)]


def test_a_writer_that_an_agent_was_trained_from_is_refused_unless_both_go(policies: Workspace) -> None:
    with pytest.raises(CallError, match="writer is used by policy agent"):
        delete_policies(policies, "writer")
    assert delete_policies(policies, ["writer", "agent"], is_dry=True).report()["policies"][0]["users"] == []
    assert left(policies) == ["agent", "writer"]
    delete_policies(policies, ["writer", "agent"])
    assert left(policies) == []


def test_a_policy_that_is_written_stays(policies: Workspace) -> None:
    with policy_lock(policies, "agent"), pytest.raises(LurkerError, match="agent"):
        delete_policies(policies, ["agent"])
    assert left(policies) == ["agent", "writer"]


def test_floats_of_a_result_are_rounded(policies: Workspace) -> None:
    write_json({"kl": 0.2668115086853504, "steps": 1_200}, policies.folder("policies", "agent") / "result.json")
    shown = {row["field"]: row["value"] for row in show_policy(policies, "agent").tables()[0].rows}
    assert shown == {"kl": "0.267", "steps": "1200"}
