"""The findings recover planted peaks and falls, and find none where there is none; the plan is what it says."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from policy_experiment import AGENT, WEIGHTS, agent_id, agents, finished, stages
from policy_findings import Cell, at_distance, cell_row, fits, interval, ratio_interval, verdicts

from lurker.files import write_json, write_parquet
from lurker.schema import CURVE, DRIFT
from rm.policy.agent_points import record_points

STEPS = (0, 2, 5, 10, 20, 30, 40, 50, 60)
N_PROMPTS = 60


def plant(workspace: Path, judge: str, weight: float, seed: int, slope: float, bend: float, noise: float = 0.5) -> None:
    """An agent whose truth follows d(slope − bend·log d) for d = √KL from 0 to 4, each prompt with noise of its own."""
    rng = np.random.default_rng([seed, round(100 * weight), len(judge)])
    folder = workspace / "policies" / agent_id(judge, weight, seed)
    folder.mkdir(parents=True)
    prompts = [f"p{number:02}" for number in range(N_PROMPTS)]
    rows = []
    for step in STEPS:
        d = 4 * step / STEPS[-1]
        truth = (d * (slope - bend * np.log(d)) if d else 0.0) + noise * rng.standard_normal(N_PROMPTS)
        values = {"truth": truth, "held-out": truth, "proxy": np.full(N_PROMPTS, d)}
        record_points(folder, prompts, np.full(N_PROMPTS, d**2), values, step)
        for name in ("win rate", "win rate at equal length", "length"):
            rows.append({"step": step, "kl": d**2, "measure": name, "value": 0.5, "low": 0.4, "high": 0.6})
    filled = [row | {"kl_low": row["kl"], "kl_high": row["kl"], "n_prompts": N_PROMPTS} for row in rows]
    write_parquet(pl.DataFrame(filled, schema=CURVE.schema), folder / "curve.parquet")
    write_json({"best_step": 20}, folder / "result.json")
    alarm = {"low": 0.0, "high": 1.0, "reference": 0.0, "threshold": 1.0, "sentence": "."}
    rings = {"length": [2, *(step for step in STEPS if step >= 30)], "repetition": [2]}
    rung = [
        alarm | {"step": step, "alarm": name, "value": 2.0, "is_ringing": step in rings[name]}
        for step in STEPS
        for name in rings
    ]
    write_parquet(pl.DataFrame(rung, schema=DRIFT.schema), folder / "drift.parquet")


def test_a_planted_peak_and_its_fall_are_found(tmp_path: Path) -> None:
    """d(1 − 0.9 log d) peaks at 1.12; the step nearest is 20, at 4/3 with 0.99; at 4 it is −0.99."""
    for seed in range(3):
        plant(tmp_path, "naive-a", 0.0, seed, 1.0, 0.9)
    found = Cell(tmp_path, "naive-a", 0.0, range(3))
    _, low, high = interval(found.at_peak() - found.at_end())
    assert low < 1.98 < high and low > 1.5
    row = cell_row(found)
    assert row["peak at step"] == 20 and row["√KL at the end"] == "4.00"
    share, least, _ = ratio_interval(found.at_kept(), found.at_peak())
    assert share == pytest.approx(1, abs=0.1) and least > 0.8
    said = fits({("naive-a", 0.0): found})
    assert any("Truth is highest at √KL 1.1" in line for line in said)
    assert found.alarms() == "length 30/30/30"
    halfway = at_distance(found, 2.0).mean()
    assert halfway == pytest.approx(2 * (1 - 0.9 * np.log(2)), abs=0.15)


def test_noise_alone_has_no_peak(tmp_path: Path) -> None:
    """The highest of nine noisy steps looks like a peak; chosen on other prompts it does not."""
    falls, naive = [], []
    for number in range(30):
        plant(tmp_path, "naive-a", 0.0, number, 0.0, 0.0, noise=1.0)
        found = Cell(tmp_path, "naive-a", 0.0, [number])
        falls.append((found.at_peak() - found.at_end()).mean())
        naive.append(found.mean("truth").max() - found.at_end().mean())
    assert abs(np.mean(falls)) < 0.08 < np.mean(naive)


def test_two_judges_are_compared_on_the_same_prompts(tmp_path: Path) -> None:
    for seed in range(3):
        plant(tmp_path, "naive-a", 0.02, seed, 1.0, 0.9)
        plant(tmp_path, "balanced-a", 0.02, seed, 1.5, 0.9)
    cells = {(judge, 0.02): Cell(tmp_path, judge, 0.02, range(3)) for judge in ("naive-a", "balanced-a")}
    lines = verdicts(cells)
    assert lines[0].startswith("(balanced-a, β 0.02) − (naive-a, β 0.02), 3 seeds: peak +0.")
    assert sum("at √KL" in line for line in lines) == 4
    assert finished(tmp_path, agents(3)) == [(j, 0.02, s) for s in range(3) for j in ("naive-a", "balanced-a")]


def test_intervals_hold_seeds_that_differ() -> None:
    effect = np.repeat([[0.0], [1.0], [2.0]], 50, axis=1)
    value, low, high = interval(effect)
    assert value == 1 and low < -1 and high > 3  # three seeds say little, however many the prompts


def test_the_plan_names_every_agent_once(tmp_path: Path) -> None:
    commands = stages(tmp_path, 3, 60)
    assert [len(stage) for stage in commands] == [1, 1, 1, 4, 30]
    assert len(set(commands[-1])) == 30 and all("--resume" in one for one in commands[-1])
    assert sum(f"kl_weight={weight:g} " in commands[-1][0] for weight in WEIGHTS) == 1
    assert "patience=1000" in AGENT
    (tmp_path / "truth").mkdir()
    assert stages(tmp_path, 1, 60)[0] == []
