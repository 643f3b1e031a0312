"""A teacher report recovers what made the judges differ, and what foretold it."""

import numpy as np
import pytest
from scipy.special import expit

from rm.policy.teacher import Teacher, Teachers, calibration_slope, foretold, under_writer


def pools(rewards, lengths):
    return [
        {"responses": ["x"] * len(row), "measures": {"proxy": row, "length": length}}
        for row, length in zip(rewards, lengths, strict=True)
    ]


def test_spread_and_length_within_prompts_are_recovered():
    """Rewards differ by 0.7 within prompts and by 5 between them; their correlation with length is 0.6."""
    rng = np.random.default_rng(0)
    length = rng.standard_normal((300, 32))
    reward = 0.7 * (0.6 * length + 0.8 * rng.standard_normal(length.shape)) + 5 * rng.standard_normal((300, 1))
    found = under_writer(pools(reward, 20 + 4 * length))
    assert found["reward_sd"] == pytest.approx(0.7, abs=0.02)
    assert found["reward_sd_low"] < 0.7 < found["reward_sd_high"]
    assert found["length_correlation"] == pytest.approx(0.6, abs=0.02)
    assert found["length_correlation_low"] < 0.6 < found["length_correlation_high"] + 0.01
    assert found["tail"] == pytest.approx(1, abs=0.06)


def test_a_heavy_tail_is_seen_and_a_constant_reward_is_not_an_error():
    rng = np.random.default_rng(1)
    heavy = rng.standard_t(2.5, (300, 32))
    assert under_writer(pools(heavy, rng.random(heavy.shape)))["tail"] > 1.3
    assert under_writer(pools(np.ones((5, 4)), rng.random((5, 4))))["reward_sd"] == 0


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_the_slope_of_calibration_is_recovered(slope):
    """A judge claims log-odds x, and is right with probability σ(slope · x)."""
    rng = np.random.default_rng(2)
    claimed = rng.exponential(1.5, 40_000)
    is_right = rng.random(claimed.size) < expit(slope * claimed)
    assert calibration_slope(np.where(is_right, claimed, -claimed)) == pytest.approx(slope, abs=0.06)


def teacher(judge, gain, **numbers):
    values = {"accuracy": 0.6, "calibration_slope": 1.0, "calibration_error": 0.02, "tail": 1.0, "reward_sd": 1.0}
    values |= {"reward_sd_low": 0.9, "reward_sd_high": 1.1, "length_correlation": 0.0, "gain": gain}
    values |= {
        "length_correlation_low": 0,
        "length_correlation_high": 0,
        "gain_low": gain - 0.1,
        "gain_high": gain + 0.1,
    }
    return Teacher(judge=judge, **(values | numbers))


def test_what_foretold_the_gain_is_named():
    rows = [
        teacher("run:a", 0.9, reward_sd=2.0, accuracy=0.60, length_correlation=-0.1),
        teacher("run:b", 0.5, reward_sd=1.0, accuracy=0.70, length_correlation=0.4),
        teacher("run:c", 0.2, reward_sd=0.5, accuracy=0.72, length_correlation=-0.8),
    ]
    found = foretold(rows)
    assert found["reward_sd"] == pytest.approx(1)
    assert found["accuracy"] == pytest.approx(-1)
    assert found["length_correlation"] == pytest.approx(1)
    assert "tail" not in found
    report = Teachers(rows, "truth", 16, found)
    assert "run:a teaches best" in report.sentence
    assert "reward sd +1.00" in report.sentence
    assert [row["judge"] for row in report.table().rows] == ["run:a", "run:b", "run:c"]


def test_two_judges_foretell_nothing():
    rows = [teacher("run:a", 0.9), teacher("run:b", 0.85)]
    assert foretold(rows) == {}
    assert "takes three judges or more" in Teachers(rows, "truth", 4, {}).sentence
    assert "overlaps" in Teachers(rows, "truth", 4, {}).sentence
