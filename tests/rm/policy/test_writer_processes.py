"""A writer trained by two processes, with copies of the model or with shards of it, has the losses of one."""

import os
import socket
import subprocess
import sys

import orjson
import pytest

from lurker.workspace import Workspace
from tests.rm.policy.conftest import QUICK


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def start(workspace: Workspace, policy_id: str, n_processes: int, *arguments: str) -> list[subprocess.Popen[bytes]]:
    port = free_port()
    call = [sys.executable, "-m", "lurker", "--workspace", str(workspace.root), "policy", "train-writer", "planted"]
    call += ["--model", "scratch-10k", "--id", policy_id, *QUICK, *arguments]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in range(n_processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_processes)} if n_processes > 1 else {}
        environment = {**os.environ, **shared, **own}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(call, env=environment, **pipes))  # type: ignore[call-overload]
    return processes


def finish(processes: list[subprocess.Popen[bytes]]) -> list[bytes]:
    outputs = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return [out for out, _ in outputs]


def losses(workspace: Workspace, policy_id: str) -> list[float]:
    lines = (workspace.folder("policies", policy_id) / "metrics.jsonl").read_bytes().splitlines()
    return [value for line in lines for name, value in sorted(orjson.loads(line).items()) if name != "learning_rate"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--set", "learns_prompt=true"), ("--set", "is_sharded=true")])
def test_two_processes_have_the_losses_of_one(workspace: Workspace, arguments: tuple[str, ...]) -> None:
    finish(start(workspace, "one", 1, *arguments))
    first, second = finish(start(workspace, "two", 2, *arguments))
    assert b"Held-out" in first and not second.strip()
    assert losses(workspace, "two") == pytest.approx(losses(workspace, "one"), rel=1e-4, abs=2e-5)
    results = [
        orjson.loads((workspace.folder("policies", name) / "result.json").read_bytes()) for name in ("one", "two")
    ]
    held_out = [[row["nats"] for row in result["held_out"]] for result in results]
    assert held_out[0] == pytest.approx(held_out[1], abs=1e-3)
