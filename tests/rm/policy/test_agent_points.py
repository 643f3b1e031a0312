"""An agent's folder keeps alarms and points by step, through a kill, and its fits recover a planted peak."""

import numpy as np
import polars as pl
import pytest

from lurker.files import read_json
from rm.policy.agent_drift import alarms_in_words, record_drift, record_points, run_points, write_fits
from rm.policy.alarms import Known

SAID = "the to and of a in that it is was for you on with as at be this have from or had by not but what all were"
WORDS = SAID.split()


def responses(seed, n_words=12):
    rng = np.random.default_rng(seed)
    rows = [
        {"prompt_id": f"p{number}", "prompt": "what of it", "response": " ".join(rng.choice(WORDS, n_words))}
        for number in range(60)
    ]
    return pl.DataFrame(rows)


def test_alarms_are_kept_by_step_and_said_in_words(tmp_path):
    for step in (0, 4, 8):
        record_drift(tmp_path, responses(step, 12 if step < 4 else 30), responses(99), step, Known())
    assert any("Since step 4" in said and "30.0 words" in said for said in alarms_in_words(tmp_path))
    record_drift(tmp_path, responses(4), responses(99), 4, Known())  # resumed from step 0: what came later is gone
    rows = pl.read_parquet(tmp_path / "drift.parquet")
    assert sorted(rows["step"].unique()) == [0, 4]
    assert alarms_in_words(tmp_path) == []


def test_few_prompts_ring_nothing(tmp_path):
    record_drift(tmp_path, responses(0).head(5), responses(1), 0, Known())
    assert not (tmp_path / "drift.parquet").exists()
    assert alarms_in_words(tmp_path) == []


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
