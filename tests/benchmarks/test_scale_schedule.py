"""The simulated schedule does every task once, keeps to what the machines have, and is the one that is documented."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scale_schedule import Rates, World, community_shares, plan, tables
from schedule_simulation import Cluster, Task, simulate

from lurker.report import ResultTable
from lurker.table_formats import to_markdown

CALM = Cluster(n_nodes=1, cores=2, slow_share=0.0, spread=0.0, mean_hours_to_death=1e12)


def tasks(*core_s: float, stage: str = "work", **fields: float) -> list[Task]:
    return [Task(stage, seconds, 1, **fields) for seconds in core_s]


def test_a_schedule_by_hand() -> None:
    outcome = simulate([tasks(3, 2, 2, stage="first"), tasks(1, stage="second")], CALM, seed=0)
    assert outcome.ends_s == {"first": 4, "second": 5}  # 3 on one core, 2 then 2 on the other
    assert outcome.used_core_s == 8
    assert [stage for stage, _ in outcome.finished] == ["first", "first", "first", "second"]
    stored = simulate([tasks(3, gigabytes=80.0), tasks(1)], replace(CALM, storage_gb_s=4.0, node_gb_s=1e3), seed=0)
    assert stored.total_s == 21  # 80 GB at 4 GB/s, then a second
    with pytest.raises(ValueError, match="a task needs 3 cores, and a machine has 2"):
        simulate([[Task("work", 1, 3)]], CALM, seed=0)


@pytest.mark.parametrize("saved_every_s", [0.0, 10.0])
def test_every_task_is_done_once_whatever_dies(saved_every_s: float) -> None:
    rng = np.random.default_rng(0)
    work = tasks(*rng.exponential(300.0, 400).tolist(), saved_every_s=saved_every_s)
    later = [Task("later", 200.0, 3) for _ in range(50)]
    cluster = replace(CALM, n_nodes=7, cores=5, mean_hours_to_death=0.5, repair_s=200.0)
    outcome = simulate([work, later], cluster, seed=1)
    assert outcome.n_deaths > 10 and outcome.n_again > 10 and outcome.lost_core_s > 0
    assert sorted(outcome.finished) == sorted([*(("work", n) for n in range(400)), *(("later", n) for n in range(50))])
    total_core_s = sum(task.core_s for task in (*work, *later))
    assert outcome.used_core_s == pytest.approx(total_core_s)
    assert outcome.total_s > (total_core_s + outcome.lost_core_s) / (7 * 5)
    assert simulate([work, later], cluster, seed=1) == outcome
    if saved_every_s:
        assert outcome.lost_core_s < 10.0 * outcome.n_again + 3 * 200.0 * outcome.n_again


def test_largest_first_is_never_worse_than_graham_allows() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        core_s = rng.exponential(10.0, 60).tolist()
        outcome = simulate([tasks(*core_s)], replace(CALM, n_nodes=3), seed=0)
        lowest = max(sum(core_s) / 6, *core_s)
        assert lowest <= outcome.total_s + 1e-9 <= 4 / 3 * lowest + max(core_s) / 3


def test_slow_machines_and_luck_cost_time() -> None:
    work = [tasks(*[100.0] * 50)]
    calm = simulate(work, replace(CALM, n_nodes=5), seed=0).total_s
    assert simulate(work, replace(CALM, n_nodes=5, slow_share=1.0), seed=0).total_s == 2 * calm
    assert simulate(work, replace(CALM, n_nodes=5, spread=0.5), seed=0).total_s > calm


def test_the_plan_covers_everything_once() -> None:
    for piece in (1.0, 0.001):
        world = World(largest_piece=piece)
        shares = community_shares(world)
        assert sum(shares) == pytest.approx(1) and max(shares) <= piece + 1e-12
        data, train = plan(world, Rates(), Cluster(n_nodes=1))
        json_mb = 1e6 * world.compressed_tb * world.json_per_compressed
        assert sum(task.core_s for task in data[0]) * Rates().read_mb_s == pytest.approx(json_mb)
        assert len(train) == world.cells_per_size * len(world.cell_pairs)


def test_the_documented_tables_are_those_printed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    for title, rows in tables().items():
        assert to_markdown(ResultTable(title, rows)) in page, "run benchmarks/scale_schedule.py --markdown"
