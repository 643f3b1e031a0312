"""What agents need on larger machines, checked on this one: adapters, bfloat16, and several processes."""

import os
import subprocess
import sys

import orjson
import pytest
import torch

from lurker.workspace import Workspace
from rm.policy.agent_api import train_agent
from rm.policy.causal import load_policy
from tests.rm.policy.test_writer_processes import finish, free_port

SMALL = {
    "steps": 4,
    "evaluate_every": 2,
    "prompts_per_step": 4,
    "group_size": 4,
    "evaluation_prompts": 6,
    "evaluation_samples": 2,
    "max_new_tokens": 16,
    "max_prompt_tokens": 16,
    "kl_weight": 0.0,
}


def agent(workspace: Workspace, name: str, **fields: object) -> list[dict[str, float]]:
    train_agent(workspace, "policy:first", "length", pairs="planted", policy_id=name, **(SMALL | fields))
    return metrics(workspace, name)


def metrics(workspace: Workspace, name: str) -> list[dict[str, float]]:
    lines = (workspace.folder("policies", name) / "metrics.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


def test_adapters_of_an_agent_end_in_its_weights_and_leave_the_rest(writer_workspace: Workspace) -> None:
    agent(writer_workspace, "adapted", trained="lora", lora_rank=2, learning_rate=0.02)
    folder = writer_workspace.folder("policies", "adapted") / "model"
    assert not list(folder.glob("adapter*"))
    weights, start = (
        load_policy(writer_workspace, f"policy:{name}").model.state_dict() for name in ("adapted", "first")
    )
    changed = {name.split(".")[-2] for name in start if not torch.equal(start[name], weights[name])}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_bfloat16_draws_and_learns_as_float32_does(writer_workspace: Workspace) -> None:
    """The same responses are drawn until rounding tips one token, and the divergence starts at zero in both."""
    exact, rounded = (agent(writer_workspace, precision, precision=precision) for precision in ("float32", "bfloat16"))
    first = [next(row for row in rows if row["step"] == 1) for rows in (exact, rounded)]
    assert first[0]["kl"] == pytest.approx(0, abs=1e-4) and first[1]["kl"] == pytest.approx(0, abs=1e-3)
    assert first[1]["n_tokens"] == pytest.approx(first[0]["n_tokens"], rel=0.2)
    assert all(torch.isfinite(torch.tensor(row["train_loss"])) for row in rounded if "train_loss" in row)
    weights = load_policy(writer_workspace, "policy:bfloat16").model.state_dict()
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo-pairwise", "online-dpo"])
def test_two_processes_train_the_agent_of_one(writer_workspace: Workspace, method: str) -> None:
    """Groups are never split over processes, so each reward is that of one process."""
    call = [sys.executable, "-m", "lurker", "--workspace", str(writer_workspace.root), "policy", "train-agent"]
    call += ["policy:first", "--judge", "length", "--pairs", "planted", "--method", method]
    call += [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    for name, count in (("one", 1), ("two", 2)):
        shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)} for rank in range(count)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started = [
            subprocess.Popen([*call, "--id", name], env={**shared, **(own if count > 1 else {})}, **pipes)  # type: ignore[call-overload]
            for own in ranks
        ]
        finish(started)
    first, second = (metrics(writer_workspace, name) for name in ("one", "two"))
    assert [row["step"] for row in first] == [row["step"] for row in second]
    for one, two in zip(first, second, strict=True):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-4)
