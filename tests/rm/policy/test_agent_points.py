"""An agent's folder keeps its points by step, through a kill, and their fits recover a planted peak."""

import numpy as np
import pytest

from lurker.files import read_json
from rm.policy.agent_points import record_points, run_points, write_fits


def test_fits_of_points_recover_the_planted_peak(tmp_path):
    """d(1.2 − 0.9 log d) peaks at 1.396; two responses to each of 40 prompts."""
    rng = np.random.default_rng(0)
    prompts = [f"p{number}" for number in range(40) for _ in range(2)]
    for step, kl in enumerate(np.linspace(0, 16, 12)):
        d = np.sqrt(max(kl, 1e-12))
        truth = d * (1.2 - 0.9 * np.log(d)) + 0.3 * rng.standard_normal(80)
        record_points(tmp_path, prompts, kl * rng.lognormal(0, 0.1, 80), {"truth": truth, "proxy": d + 0 * truth}, step)
    points = run_points(tmp_path, "truth")
    assert points.kl.shape == points.values.shape == (40, 12)
    assert run_points(tmp_path, "held-out") is None
    proxy, truth = write_fits(tmp_path, ["proxy", "truth", "held-out"])
    assert proxy.verdict == "no peak within the range"
    assert truth.peak_distance[0] == pytest.approx(np.exp(1.2 / 0.9 - 1), abs=0.15)
    stored = read_json(tmp_path / "over_optimisation.json")["over_optimisation"]
    assert [fit["measure"] for fit in stored] == ["proxy", "truth"]


def test_two_steps_have_no_fit(tmp_path):
    for step in (0, 1):
        record_points(tmp_path, ["a", "b"], np.full(2, step), {"truth": np.ones(2)}, step)
    assert write_fits(tmp_path, ["truth"]) == []


def test_what_a_killed_training_left_is_replaced(tmp_path):
    for step, value in ((0, 0.0), (1, 9.0), (2, 9.0), (1, 1.0)):
        record_points(tmp_path, ["a", "b"], np.full(2, step), {"truth": np.full(2, value)}, step)
    assert run_points(tmp_path, "truth").values.tolist() == [[0, 1], [0, 1]]
