"""A grid on a real Ray cluster of several nodes on this machine, one of which is killed half-way."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rm
from lurker.errors import CallError
from lurker.pair_sets import read_pair_set
from lurker.workspace import Workspace
from tests.rm.conftest import planted_workspace

QUICK = {"epochs": 12, "min_steps": 8, "max_tokens": 64, "vocabulary_size": 400, "patience": 50}
SIZES = [120, 180, 240]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head node without cores, so that cells run on the other nodes only."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def grid(workspace: Workspace, **options: Any) -> Any:
    planted = read_pair_set(workspace, "planted")
    return rm.scaling(planted, ["scratch-10k"], SIZES, seeds=2, name="grid", **options, **QUICK)


@pytest.mark.slow
def test_a_grid_whose_node_dies_ends_with_the_table_of_a_local_run(cluster: Any, tmp_path: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, num_gpus=0) for _ in range(2)]
    here, there = (planted_workspace(tmp_path / name) for name in ("here", "there"))
    local = grid(here, n_workers=2)
    killed: list[int] = []

    def kill() -> None:
        """Kill a node once a cell is finished and two are running."""
        while True:
            n_started = len([*there.root.glob("runs/*/config.json")])
            n_finished = len([*there.root.glob("runs/*/result.json")])
            if n_finished >= 1 and n_started >= n_finished + 2:
                cluster.remove_node(nodes[0], allow_graceful=False)
                killed.append(n_finished)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    remote = grid(there, engine="ray")
    killer.join(timeout=1)
    assert killed and killed[0] < remote.frame["run_id"].n_unique(), "the node died while cells were waiting"
    assert not remote.failures
    assert remote.frame.drop("train_time_s").equals(local.frame.drop("train_time_s"))
    assert remote.fit.sentence == local.fit.sentence


def test_without_ray_the_extra_is_named_before_any_work(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CallError, match=r"--engine ray needs Ray\..*\[ray\]"):
        grid(workspace, engine="ray")
    assert not (workspace.root / "experiments").exists()
