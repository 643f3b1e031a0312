import numpy as np
import pytest

from features.pairing.later_votes import NET_VOTES, later_vote_distributions, probability_of_more
from features.pairing.votes_cast import VotesCast, fit_votes_cast, look, posterior, votes_and_shares


@pytest.fixture(scope="module")
def model() -> VotesCast:
    counts = np.zeros((161, 3, 61), dtype=np.int64)
    counts[41:80, 0, 30], counts[42:50, 1, 30] = 100, 10
    return fit_votes_cast(counts)


def test_later_votes_have_the_mean_that_the_posterior_expects(model: VotesCast) -> None:
    votes, shares = votes_and_shares()
    expected = 0.5 * float(posterior(12, 0, model) @ (votes * (2 * shares - 1)))
    known = later_vote_distributions(look([12], [False]), np.array([0.5]), model)
    assert known.distributions.sum() == pytest.approx(1)
    assert float(known.distributions[0] @ NET_VOTES) == pytest.approx(expected, rel=0.1)


def test_probabilities_are_antisymmetric_reproducible_and_grow_with_the_window(model: VotesCast) -> None:
    leader, other, window = look([9], [False]), look([3], [False]), np.array([0.2])

    def chance(length: np.ndarray) -> float:
        sides = (later_vote_distributions(one, length, model) for one in (leader, other))
        return float(probability_of_more(*sides)[0])

    reverse = (later_vote_distributions(one, window, model) for one in (other, leader))
    assert float(probability_of_more(*reverse)[0]) == pytest.approx(1 - chance(window))
    assert chance(window) == chance(window)
    assert 0.5 < chance(window) < chance(10 * window)


def test_counts_checked_by_hand() -> None:
    from features.pairing.votes_cast import Rates

    two_or_none, one = np.zeros((1, len(NET_VOTES))), np.zeros((1, len(NET_VOTES)))
    two_or_none[0, 60], two_or_none[0, 62], one[0, 61] = 0.25, 0.75, 1.0
    state = np.array([0])
    assert probability_of_more(Rates(two_or_none, state), Rates(one, state)) == pytest.approx([0.75])
    assert probability_of_more(Rates(one, state), Rates(one, state)) == pytest.approx([0.5])


def test_scores_beyond_any_grid_have_distributions_too(model: VotesCast) -> None:
    seen = look([-668_000, 2**40], [False, None])
    known = later_vote_distributions(seen, np.array([0.2, 0.2]), model)
    assert known.distributions.sum(axis=1) == pytest.approx([1, 1])
