"""Win rates at equal length recover what length hides."""

import numpy as np
import pytest
from scipy.special import expit

from lurker.errors import CallError
from rm.policy.length_control import win_rates


def outcomes(log_odds, slope, *, n_prompts=400, per_prompt=4, mean=10.0, spread=20.0, prompt_spread=0.0, seed=0):
    """Wins of a policy whose responses are longer; the judge likes length, and prompts differ."""
    rng = np.random.default_rng(seed)
    prompts = np.repeat(np.arange(n_prompts), per_prompt)
    difference = rng.normal(mean, spread, len(prompts))
    of_prompt = prompt_spread * rng.standard_normal(n_prompts)[prompts]
    chance = expit(log_odds + slope * np.tanh(difference / difference.std()) + of_prompt)
    return (rng.random(len(prompts)) < chance).astype(float), difference, prompts


@pytest.mark.parametrize("log_odds", [-0.8, 0.0, 0.5])
def test_the_rate_at_equal_length_is_recovered_where_the_raw_one_is_not(log_odds):
    found = win_rates(*outcomes(log_odds, 2.0))
    truth = expit(log_odds)
    assert found.at_equal_length.value == pytest.approx(truth, abs=0.05)
    assert found.at_equal_length.low < truth < found.at_equal_length.high
    assert found.raw.low > truth
    assert found.length_slope == pytest.approx(2.0, abs=0.4)
    assert not found.is_extrapolated


def test_a_judge_that_ignores_length_leaves_the_rate():
    found = win_rates(*outcomes(0.5, 0.0))
    assert found.at_equal_length.value == pytest.approx(found.raw.value, abs=0.03)


def test_intervals_cover_in_about_95_of_100_worlds():
    """Pairs of one prompt agree, so that an interval of independent pairs would cover too rarely."""
    covered = 0
    for seed in range(200):
        wins, difference, _ = outcomes(0.3, 1.5, n_prompts=40, per_prompt=1, seed=seed)
        repeated = [np.repeat(one, 5) for one in (wins, difference, np.arange(40))]
        found = win_rates(*repeated).at_equal_length
        covered += found.low <= expit(0.3) <= found.high
    assert 181 <= covered <= 200


def test_a_policy_that_always_wins_has_an_estimate():
    rng = np.random.default_rng(0)
    found = win_rates(np.ones(60), rng.normal(0, 5, 60), np.arange(60))
    assert 0.9 < found.at_equal_length.value < 1
    assert found.at_equal_length.low < found.at_equal_length.value
    assert found.report()["win_rate"] == 1


def test_equal_lengths_need_no_correction_and_unseen_ones_are_said():
    wins = np.array([1.0, 0.0, 1.0, 0.5])
    assert win_rates(wins, np.zeros(4), [0, 1, 2, 3]).at_equal_length.value == pytest.approx(0.625)
    assert win_rates(wins, np.full(4, 7), [0, 1, 2, 3]).is_extrapolated
    rng = np.random.default_rng(0)
    assert win_rates(rng.random(100), rng.uniform(20, 30, 100), np.arange(100)).is_extrapolated


def test_what_is_no_outcome_is_refused():
    with pytest.raises(CallError, match="two prompts or more"):
        win_rates([1.0, 0.0], [1, 2], ["a", "a"])
    with pytest.raises(CallError, match="from 0 to 1, got -1"):
        win_rates([-1.0, 0.0], [1, 2], ["a", "b"])
