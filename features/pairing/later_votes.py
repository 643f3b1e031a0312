"""What a vote model expects of the votes after a look: distributions of the net of later votes."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from features.pairing.votes_cast import (
    FLAGGED,
    Floats,
    Ints,
    Look,
    Rates,
    VotesCast,
    after_flag,
    posterior,
    votes_and_shares,
)

N_POINTS = 600
"""Points per state that the distribution of later votes is computed from."""
NET_VOTES = np.arange(-60, 301)
"""Net of later votes that are told apart; more extreme ones count as the ends."""


def later_vote_distributions(seen: Look, windows: Floats, model: VotesCast) -> Rates:
    """The distribution of later net votes of each response.

    Args:
        windows: votes after the look per vote before it, shape [n].

    Returns:
        Distributions over NET_VOTES, one per distinct score, flag and window, and each response's.
    """
    keys, state = np.unique(np.stack([seen.scores, seen.flags, windows], axis=1), axis=0, return_inverse=True)
    rows = [_later_votes(int(score), int(flag), window, model) for score, flag, window in keys.tolist()]
    return Rates(np.stack(rows), state.ravel())


def probability_of_more(first: Rates, second: Rates) -> Floats:
    """P(first > second) + P(first = second) / 2 for independent counts, shape [n]."""
    below = np.cumsum(second.distributions, axis=1) - second.distributions / 2
    pairs, inverse = np.unique(np.stack([first.state, second.state], axis=1), axis=0, return_inverse=True)
    values = np.einsum("nv,nv->n", first.distributions[pairs[:, 0]], below[pairs[:, 1]])
    return np.asarray(values[inverse.ravel()])


def _later_votes(score: int, flag: int, window: float, model: VotesCast) -> Floats:
    """The distribution of one state, from equally likely points of (votes, share, luck) and one draw of votes at each.

    The draws come from a generator seeded by score and window, so that two models, and a look with and without its
    flag, differ by what they expect and not by chance.
    """
    rng = np.random.default_rng([max(score - int(NET_VOTES[0]) + 100_000, 0), int(window * 1e6)])
    votes, shares = votes_and_shares()
    cdf = np.cumsum(posterior(score, flag, model))
    points = np.minimum(np.searchsorted(cdf, (np.arange(N_POINTS) + 0.5) / N_POINTS * cdf[-1]), len(cdf) - 1)
    share = after_flag(shares[points], model.controversial_drift if flag == FLAGGED else 0.0)
    luck = model.exposure_luck * ndtri((rng.permutation(N_POINTS) + 0.5) / N_POINTS)
    expected = window * votes[points] * np.exp(luck - model.exposure_luck**2 / 2)
    net: Ints = rng.poisson(expected * share) - rng.poisson(expected * (1 - share))
    clipped: NDArray[np.int64] = np.clip(net, NET_VOTES[0], NET_VOTES[-1]) - NET_VOTES[0]
    return np.bincount(clipped, minlength=len(NET_VOTES)) / N_POINTS
