import numpy as np
import pytest
from numpy.typing import NDArray

from rm.experiments.text_ceilings import bracket, calibrated_confidence, calibrated_margins, triad
from rm.experiments.vote_ceilings import posterior

N = 20_000
POSTS = np.arange(N) // 4


def flipped(rng: np.random.Generator, signs: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    return np.where(rng.random(signs.size) < share, -signs, signs)


def test_the_triad_recovers_the_truth_from_independent_models_and_reads_too_low_otherwise() -> None:
    rng = np.random.default_rng(1)
    truth = flipped(rng, np.ones(N), 0.15)  # relative to the label: an oracle of the text agrees with .85
    first, second = ((flipped(rng, truth, share) + 1) / 2 for share in (0.2, 0.3))
    found = triad(first, second, POSTS)
    assert found.low is not None and found.high is not None
    assert found.low < 0.85 < found.high
    assert found.value == pytest.approx(0.85, abs=0.02)
    shared = flipped(rng, truth, 0.2)
    first, second = ((flipped(rng, shared, share) + 1) / 2 for share in (0.1, 0.15))
    alike = triad(first, second, POSTS)
    assert alike.high is not None and alike.high < 0.8


def test_the_triad_of_a_model_with_itself_is_its_accuracy() -> None:
    correct = np.tile([1.0, 1.0, 1.0, 0.0], N // 4)
    assert triad(correct, correct, POSTS).value == pytest.approx(0.75)


def test_the_triads_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(100):
        truth = flipped(rng, np.ones(1_500), 0.15)
        models = [(flipped(rng, truth, share) + 1) / 2 for share in (0.2, 0.3)]
        found = triad(*models, np.arange(1_500) // 3)
        hits += found.low is not None and found.high is not None and found.low <= 0.85 <= found.high
    assert hits >= 90


def test_the_triad_refuses_models_at_chance() -> None:
    rng = np.random.default_rng(3)
    found = triad(rng.integers(0, 2, N), rng.integers(0, 2, N), POSTS)
    assert found.value is None and "beyond chance" in str(found.reason)
    assert "posts are needed" in str(triad([1.0], [1.0], ["p"]).reason)


def test_the_bracket_reaches_from_the_best_model_to_the_posterior() -> None:
    confidence = np.full(N, 0.9)
    right, wrong = np.tile([1.0, 1.0, 1.0, 0.0], N // 4), np.tile([1.0, 0.0], N // 2)
    one, two = bracket({"good": right}, confidence, POSTS), bracket({"good": right, "bad": wrong}, confidence, POSTS)
    assert one.high == posterior(confidence, POSTS).high
    assert bracket({"good": right}, confidence, POSTS, 0.97).high == 0.97
    assert bracket({"good": right}, confidence, POSTS, 0.8).high == one.high
    assert one.low is not None and two.low is not None
    assert 0.73 < two.low < one.low < 0.75  # the best of two is chosen, which costs width
    assert bracket({"worse than a coin": 1 - right}, confidence, POSTS).low == 0.5
    nothing = bracket({}, confidence, POSTS)
    assert nothing.low is None and nothing.high is not None and "no model" in str(nothing.reason)
    assert "posts are needed" in str(bracket({}, [0.9], ["p"]).reason)


def test_calibrated_margins_recover_what_the_model_can_reach_whatever_their_scale() -> None:
    rng = np.random.default_rng(4)
    size = np.abs(rng.normal(0, 1.5, 2 * N))
    is_right = rng.random(2 * N) < 1 / (1 + np.exp(-size))
    margins = np.where(is_right, size, -size)
    truth = (1 / (1 + np.exp(-size[:N]))).mean()
    found = calibrated_margins(margins[:N], POSTS, margins[N:], POSTS, rng=np.random.default_rng(0))
    assert found.low is not None and found.high is not None and found.low < truth < found.high
    assert found.value == pytest.approx(truth, abs=0.01)
    sure = calibrated_margins(5 * margins[:N], POSTS, 5 * margins[N:], POSTS, rng=np.random.default_rng(0))
    assert sure.value == pytest.approx(found.value)
    few = calibrated_margins(margins[:N], POSTS, margins[N : N + 8], POSTS[:8], rng=rng)
    assert "validation posts" in str(few.reason)


def test_calibrated_confidence_counts_how_often_later_votes_agree() -> None:
    confidence = np.tile([0.6, 0.9], 100)
    later = np.tile([1, 1, -1, 1, 0, 1, 1, 1, 1, -1], 20)  # at .6: 1, -1, 0, 1, 1; at .9: 1, 1, 1, 1, -1
    posts = np.arange(200) // 2
    found = calibrated_confidence(confidence, posts, confidence, later, posts, rng=np.random.default_rng(0))
    assert found.value == pytest.approx((0.7 + 0.8) / 2)
