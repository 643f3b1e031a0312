import numpy as np
import pytest

from features.noise import GammaPrior, fit_prior, label_confidence


def test_equal_scores_are_a_coin_and_a_large_gap_is_sure() -> None:
    prior = GammaPrior(shape=1.0, rate=0.1)
    assert label_confidence([3, 50], [3, 1], prior) == pytest.approx([0.5, 1.0], abs=1e-6)


def test_a_checkable_case() -> None:
    # Gamma(1, b): one vote against none are Gamma(2) and Gamma(1), so P = P(Beta(2, 1) > 1/2) = 1 - 1/4.
    assert label_confidence([1], [0], GammaPrior(shape=1.0, rate=7.0)) == pytest.approx([0.75])


def test_negative_scores_count_as_none() -> None:
    assert label_confidence([0], [-8], GammaPrior(shape=1.0, rate=1.0)) == pytest.approx([0.5])


def test_the_prior_is_recovered_from_scores_it_made() -> None:
    rng = np.random.default_rng(1)
    scores = rng.poisson(rng.gamma(2.0, 1 / 0.25, 200_000))
    prior = fit_prior(scores)
    assert prior.shape == pytest.approx(2.0, rel=0.05)
    assert prior.rate == pytest.approx(0.25, rel=0.05)


def test_the_confidence_is_calibrated_where_its_assumptions_hold() -> None:
    rng = np.random.default_rng(2)
    rates = rng.gamma(1.5, 4.0, (40_000, 2))
    scores = rng.poisson(rates)
    differ = scores[:, 0] != scores[:, 1]
    scores, rates = scores[differ], rates[differ]
    chosen = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    prior = fit_prior(scores.ravel())
    confidence = label_confidence(scores[rows, chosen], scores[rows, 1 - chosen], prior)
    is_right = rates[rows, chosen] > rates[rows, 1 - chosen]
    assert confidence.mean() == pytest.approx(is_right.mean(), abs=0.01)
    unsure = confidence < 0.7
    assert confidence[unsure].mean() == pytest.approx(is_right[unsure].mean(), abs=0.02)


def test_scores_without_spread_say_next_to_nothing() -> None:
    prior = fit_prior([4, 4, 4, 5, 4])
    assert label_confidence([5], [4], prior)[0] < 0.52


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        fit_prior([])
