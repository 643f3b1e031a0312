"""A real Ray cluster of several nodes on this machine, with pretended GPUs."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lurker.engine import Resources, gpus_available, run_tasks, running
from lurker.engine.ray import cluster_machines
from lurker.errors import CallError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head node without GPUs, on which no task of one GPU fits."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def hold_gpu(log: Path, name: str, seconds: float) -> dict[str, Any]:
    """Write that the task started, and with what; wait; what it ran with and when."""
    started = time.time()
    node = ray.get_runtime_context().get_node_id()
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    (log / f"{name}-{os.getpid()}").write_text(node)
    time.sleep(seconds)
    return {"node": node, "gpus": gpus, "times": (started, time.time())}


def test_gpus_are_reserved_on_every_node(cluster: Any, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=2, num_gpus=2)
    with running("ray"):
        assert sorted(len(machine.gpus) for machine in cluster_machines()) == [0, 2, 2]
        assert gpus_available("ray") == 2
        with pytest.raises(CallError, match="A task needs 1 CPUs, 3 GPUs, and no node"):
            list(run_tasks(hold_gpu, [{}], engine="ray", resources=Resources(gpus=3)))
        tasks = [{"log": tmp_path, "name": str(number), "seconds": 0.5} for number in range(8)]
        outcomes = list(run_tasks(hold_gpu, tasks, engine="ray", resources=Resources(gpus=1)))
    results = [outcome.result() for _, outcome in outcomes]
    assert {result["gpus"] for result in results} == {"0", "1"}
    for number, one in enumerate(results):
        for other in results[:number]:
            is_same = (one["node"], one["gpus"]) == (other["node"], other["gpus"])
            assert not (is_same and one["times"][0] < other["times"][1] and other["times"][0] < one["times"][1])


def test_tasks_of_a_node_that_dies_run_again_elsewhere(cluster: Any, tmp_path: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, num_gpus=1) for _ in range(2)]
    tasks = [{"log": tmp_path, "name": str(number), "seconds": 4.0 if number < 2 else 0.1} for number in range(4)]
    with running("ray"):
        outcomes = run_tasks(hold_gpu, tasks, engine="ray", resources=Resources(gpus=1))
        results: dict[int, Any] = {}
        _kill_when_both_run(cluster, nodes[0], tmp_path)
        results.update((index, outcome.result()) for index, outcome in outcomes)
    assert sorted(results) == [0, 1, 2, 3]
    n_starts = [len([*tmp_path.glob(f"{number}-*")]) for number in range(2)]
    assert sorted(n_starts) == [1, 2]  # the one on the dead node was started twice
    assert len({result["node"] for result in results.values()}) == 1


def _kill_when_both_run(cluster: Any, node: Any, log: Path) -> None:
    """Kill the node from a thread once both long tasks have started; the caller then waits for the outcomes."""
    import threading

    def kill() -> None:
        while len({file.name[0] for file in log.iterdir()} & {"0", "1"}) < 2:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    threading.Thread(target=kill, daemon=True).start()
