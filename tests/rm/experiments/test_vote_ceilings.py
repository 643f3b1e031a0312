from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from lurker.stats import accuracy_interval
from rm.experiments.vote_ceilings import (
    MIN_POSTS,
    accuracy_if_alike,
    early_enough,
    fuzz_spread,
    posterior,
    reliability,
    two_looks,
)

Floats = NDArray[np.float64]


class Votes(NamedTuple):
    """Pairs of simulated responses, oriented from chosen to rejected, and the truth about them."""

    first: Floats
    later: Floats
    posts: NDArray[np.int64]
    vote_ceiling: float


def draw_votes(
    *, likes: float = 8.0, quality: float = 0.9, luck: float = 1.0, share: float = 0.5, min_gap: int = 1, seed: int = 0
) -> Votes:
    """Poisson votes at rates of quality and luck, seen when `share` of them were cast; four pairs a post."""
    rng = np.random.default_rng(seed)
    n = 24_000
    rates = likes * np.exp(quality * rng.normal(size=(2, n)) + luck * rng.normal(size=(2, n)))
    first, later = rng.poisson(share * rates), rng.poisson((1 - share) * rates)
    gap = (first + later)[0] - (first + later)[1]
    kept = np.abs(gap) >= min_gap
    sign = np.sign(gap)[kept]
    rate_gap = sign * (rates[0] - rates[1])[kept]
    truth = float(((np.sign(rate_gap) + 1) / 2).mean())
    windows = [sign * (window[0] - window[1])[kept] for window in (first, later)]
    return Votes(*windows, np.flatnonzero(kept) // 4, truth)


def test_the_accuracy_that_an_agreement_implies() -> None:
    assert accuracy_if_alike(0.5) == accuracy_if_alike(0.4) == 0.5
    assert accuracy_if_alike(0.75) == pytest.approx((1 + 0.5**0.5) / 2)
    assert accuracy_if_alike(1.0) == 1.0


def test_two_looks_count_as_by_hand() -> None:
    posts = np.repeat(np.arange(40), 5)
    first, later = np.tile([2, 2, 3, 1, 0], 40), np.tile([3, 4, 0, -1, 2], 40)
    # Fair are 2+3, 2+4, 3+0 (a draw later) and 0+2 (a draw at first); 1-1 would not be in a set of differing scores,
    # nor is it here: its final scores are equal.
    fair = accuracy_interval(np.tile([1, 1, 0.5, 0.5], 40), np.repeat(np.arange(40), 4))
    led = accuracy_interval(np.tile([1, 1, 0], 40), np.repeat(np.arange(40), 3))  # 2 and 3, 2 and 4, 1 and -1
    found = two_looks(first, later, posts, first_share=0.5)
    assert found.low == pytest.approx(fair.low)
    assert found.high == pytest.approx(accuracy_if_alike(led.high))
    assert (found.n_pairs, found.n_posts, found.value, found.reason) == (200, 40, None, None)


@pytest.mark.parametrize("likes", [1.5, 8.0, 40.0])
@pytest.mark.parametrize("quality", [0.05, 0.9])
@pytest.mark.parametrize("min_gap", [1, 5])
def test_two_looks_contain_the_vote_ceiling(likes: float, quality: float, min_gap: int) -> None:
    votes = draw_votes(likes=likes, quality=quality, luck=quality, min_gap=min_gap)
    found = two_looks(votes.first, votes.later, votes.posts, first_share=0.5, min_gap=min_gap)
    assert found.high is not None and votes.vote_ceiling <= found.high
    assert found.low is None or found.low <= votes.vote_ceiling


def test_the_agreement_of_chosen_pairs_alone_is_no_lower_end() -> None:
    votes = draw_votes(likes=2.0, quality=0.0, luck=0.05, min_gap=3)
    plain = accuracy_interval((np.sign(votes.first * votes.later) + 1) / 2, votes.posts)
    assert plain.low > votes.vote_ceiling + 0.1  # the choice by the final score makes the windows agree
    found = two_looks(votes.first, votes.later, votes.posts, first_share=0.5, min_gap=3)
    assert found.low is not None and found.low < votes.vote_ceiling


def test_reliability_recovers_the_vote_ceiling_for_any_share_of_votes_at_the_first_look() -> None:
    for share in (0.3, 0.5, 0.7):
        votes = draw_votes(likes=40.0, quality=0.3, luck=0.3, share=share)
        found = reliability(votes.first, votes.later, votes.posts, first_share=share)
        assert found.value == pytest.approx(votes.vote_ceiling, abs=0.02)
        assert found.low is not None and found.high is not None and found.low < found.value < found.high


def test_what_two_looks_cannot_tell_is_said() -> None:
    votes = draw_votes()
    arrays = votes.first, votes.later, votes.posts
    for found in (two_looks(*arrays, first_share=0.5, fuzz=2.0), reliability(*arrays, first_share=0.5, fuzz=2.0)):
        assert found.reason is not None and "noisy" in found.reason
        assert found.value is found.low is found.high is None
    few = [array[:20] for array in arrays]
    assert "posts are needed" in str(two_looks(*few, first_share=0.5).reason)
    early = two_looks(*arrays, first_share=0.05)
    assert early.high is None and early.low is not None and "no upper end" in str(early.reason)
    by_rule = two_looks(*arrays, first_share=0.5, min_gap=0)
    assert by_rule.low is None and by_rule.high is not None and "no lower end" in str(by_rule.reason)
    assert "empty" in str(reliability(*arrays, first_share=1.0).reason)


def test_windows_that_contradict_each_other_leave_chance() -> None:
    posts = np.arange(2 * MIN_POSTS)
    first, later = np.full(posts.size, 1), np.full(posts.size, -3)
    found = reliability(first, later, posts, first_share=0.5)
    assert found.value == 0.5
    assert reliability(first, -later, posts, first_share=0.5).value == 1.0


def test_fuzz_is_measured_from_falls_of_settled_scores() -> None:
    earlier = np.full(8, 10)
    assert fuzz_spread(earlier, earlier + np.array([0, 0, 1, 2, 5, 0, 0, 0])) == 0  # votes that still come
    assert fuzz_spread(earlier, earlier + np.tile([1, -1], 4)) == pytest.approx((0.5 / 11) ** 0.5)
    assert fuzz_spread([], []) == 0
    rng = np.random.default_rng(0)
    looks = np.rint(35 + rng.normal(0, 0.3 * 6, (2, 50_000)))
    assert fuzz_spread(*looks) == pytest.approx(0.3, rel=0.05)


def test_pairs_seen_early_are_chosen_by_age() -> None:
    ages, first, total = [3, 1, 2, 4], [9, 1, 5, 10], [10, 4, 10, 10]
    # By age: 1/4, 6/14, 15/24 = .625, 25/34. The second is the last at .55 or below.
    kept, share = early_enough(ages, first, total)
    assert kept.tolist() == [False, True, True, False] and share == pytest.approx(6 / 14)
    kept, share = early_enough(ages, total, total)
    assert kept.all() and share == 1
    assert early_enough([], [], [])[1] == 0


def test_the_posterior_is_the_mean_confidence() -> None:
    posts = np.repeat(np.arange(40), 2)
    found = posterior(np.tile([0.6, 0.9], 40), posts)
    assert found.value == pytest.approx(0.75)
    assert found.low is not None and found.high is not None and found.low < 0.75 < found.high
    assert "posts are needed" in str(posterior([0.6], ["p"]).reason)
