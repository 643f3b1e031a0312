"""Label confidence from a score and Reddit's controversial flag: how many votes were cast, not only their balance.

Reddit flags a comment as controversial when it has at least 7 votes of which 40-60 % are up, so a flag means at least
5 · |score| votes, and no flag beside a small score means few or one-sided votes. The model: a response gets
Poisson(votes · share) upvotes and Poisson(votes · (1 - share)) downvotes; how (votes, share) are distributed over the
responses of a subreddit is fitted without a formula, as weights on a grid, from the counts of (score, flag).

Confidence is the probability that a fresh, equally long window of votes would have a higher expected net of votes for
the chosen response. Readers differ between windows by chance (`exposure_luck`), and the votes after a flag are less
favourable than those before it (`controversial_drift`).

Source: `Builder._is_controversial` in r2/r2/models/builder.py of reddit-archive/reddit (the flag); Laird 1978,
"Nonparametric maximum likelihood estimation of a mixing distribution", JASA 73 (the fit).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr, xlogy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_VOTES_OF_FLAG = 7
"""Fewest votes of a controversial comment, its author's own included."""
SHARES_OF_FLAG = (0.4, 0.6)
"""Share of upvotes of a controversial comment, lowest and highest."""
LOWEST_SCORE, HIGHEST_SCORE = -40, 120
"""Scores that are told apart by the vote model; beyond them a score is taken as its own expectation."""
N_STEPS = 100
"""EM steps. More would fit the counts of single scores, not the distribution behind them."""
NOT_FLAGGED, FLAGGED, UNKNOWN = 0, 1, 2
"""Values of a flag."""

_VOTES = np.geomspace(0.03, 600.0, 110)
_SHARES = np.array([0.02, 0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99])
_LOG_STEP = 0.08
_LOG_RATES = np.arange(np.log(0.01), np.log(1e5), _LOG_STEP)
"""Logs of the sizes of net rates; bins are [negative, largest first; positive, smallest first]."""


class Look(NamedTuple):
    """What was seen of some responses at one look."""

    scores: Ints
    """Votes, shape [n]."""
    flags: Ints
    """NOT_FLAGGED, FLAGGED or UNKNOWN, shape [n]."""
    exposures: Floats | None = None
    """Readers relative to the mean, shape [n]; all 1 when None."""


@dataclass(frozen=True, slots=True)
class VotesCast:
    """How votes are cast in one community."""

    weights: Floats
    """Share of the responses per grid point, shape [n_votes, n_shares]."""
    vote_fuzz: float = 0.0
    """Standard deviation of the noise on displayed scores, votes."""
    exposure_luck: float = 0.0
    """Standard deviation of the log of readers between windows."""
    controversial_drift: float = 0.0
    """Fall of the log-odds of an upvote after a flag."""


def look(scores: ArrayLike, flags: Iterable[bool | None], exposures: ArrayLike | None = None) -> Look:
    """A look from scores and flags, where a flag of None is unknown."""
    coded = [UNKNOWN if flag is None else int(flag) for flag in flags]
    readers = None if exposures is None else np.asarray(exposures, dtype=np.float64)
    return Look(np.asarray(scores, dtype=np.int64), np.array(coded, dtype=np.int64), readers)


def count_looks(seen: Look) -> Ints:
    """Number of responses by (score, flag, exposure step), shape [n_scores, 3, n_steps]; counts of parts add up."""
    counts = np.zeros((HIGHEST_SCORE - LOWEST_SCORE + 1, 3, _N_STEPS_OF_EXPOSURE), dtype=np.int64)
    np.add.at(counts, (_score_index(seen.scores), seen.flags, _exposure_step(seen)), 1)
    return counts


def fit_votes_cast(
    counts: Ints, *, vote_fuzz: float = 0.0, exposure_luck: float = 0.0, controversial_drift: float = 0.0
) -> VotesCast:
    """Fit the distribution of (votes, share) by EM from equal weights.

    Args:
        counts: as returned by `count_looks`.
        vote_fuzz: standard deviation of the noise on displayed scores, votes.
        exposure_luck, controversial_drift: as in `VotesCast`; known from second looks, not from these counts.

    Raises:
        ValueError: there are no counts.
    """
    if not counts.sum():
        raise ValueError("no scores to fit")
    seen = [step for step in range(counts.shape[2]) if counts[:, :, step].any()]
    likelihoods = [_likelihood_at(step, vote_fuzz).reshape(-1, _VOTES.size * _SHARES.size) for step in seen]
    rows = [np.flatnonzero(counts[:, :, step].ravel()) for step in seen]
    parts = [
        (likelihood[row], counts[:, :, step].ravel()[row].astype(np.float64))
        for step, likelihood, row in zip(seen, likelihoods, rows, strict=True)
    ]
    weights = np.full(_VOTES.size * _SHARES.size, 1.0 / (_VOTES.size * _SHARES.size))
    for _ in range(N_STEPS):
        expected = np.zeros_like(weights)
        for likelihood, n in parts:
            expected += (n / np.maximum(likelihood @ weights, 1e-300)) @ likelihood
        weights = weights * expected
        weights /= weights.sum()
    shaped = weights.reshape(_VOTES.size, _SHARES.size)
    return VotesCast(shaped, vote_fuzz, exposure_luck, controversial_drift)


def confidence_from_votes(chosen: Look, rejected: Look, model: VotesCast) -> Floats:
    """P(a fresh window would expect more net votes for chosen than for rejected | both looks), shape [n], 0-1."""
    return confidence_from_states(_rates(chosen, model), _rates(rejected, model), model.exposure_luck)


class Rates(NamedTuple):
    """Distributions of a rate or a count of votes, one per distinct state of a response."""

    distributions: Floats
    """Probability per bin of the rate, shape [n_states, n_bins]."""
    state: Ints
    """The state of each response, shape [n]."""

    def split(self, n: int) -> tuple["Rates", "Rates"]:
        """The first n responses, and the others."""
        return Rates(self.distributions, self.state[:n]), Rates(self.distributions, self.state[n:])


def confidence_from_states(chosen: Rates, rejected: Rates, exposure_luck: float) -> Floats:
    """P(rate of chosen > rate of rejected), shape [n], where chance multiplies each rate by its readers."""
    above = chosen.distributions @ _is_above(exposure_luck)
    pairs, inverse = np.unique(np.stack([chosen.state, rejected.state], axis=1), axis=0, return_inverse=True)
    values = np.einsum("nb,nb->n", above[pairs[:, 0]], rejected.distributions[pairs[:, 1]])
    return np.asarray(values[inverse.ravel()])


def _rates(seen: Look, model: VotesCast) -> Rates:
    """The posterior of the net rate after each look, of scores within the grid, or around the score beyond it."""
    steps = _exposure_step(seen)
    keys, state = np.unique(np.stack([seen.scores, seen.flags, steps], axis=1), axis=0, return_inverse=True)
    return Rates(
        np.stack([_distribution(score, flag, step, model) for score, flag, step in keys.tolist()]), state.ravel()
    )


def _distribution(score: int, flag: int, step: int, model: VotesCast) -> Floats:
    """Distribution of the net rate of one state over the bins, shape [n_bins]."""
    drift = model.controversial_drift if flag == FLAGGED else 0.0
    if not LOWEST_SCORE < score < HIGHEST_SCORE:
        return _around(score / _exposure_of(step))
    known = posterior(score, flag, model, step)
    index, share_of_upper = (array.ravel() for array in _rate_bins(drift))
    lower = np.bincount(index, known * (1 - share_of_upper), _N_BINS)
    return np.asarray(lower + np.bincount(index + 1, known * share_of_upper, _N_BINS))


def posterior(score: int, flag: int, model: VotesCast, step: int | None = None) -> Floats:
    """P(votes, share | score, flag) on the grid, shape [n_votes · n_shares]; a score beyond the grid counts as its end.

    Args:
        step: of the response's exposure; that of the mean exposure when None.
    """
    row = min(max(score, LOWEST_SCORE), HIGHEST_SCORE) - LOWEST_SCORE
    likelihood = _likelihood_at(_MIDDLE_STEP if step is None else step, model.vote_fuzz)[row, flag]
    known = (likelihood * model.weights).ravel()
    known = known if known.sum() > 0 else likelihood.ravel() + 1e-12  # a state that no response of the fit was in
    return np.asarray(known / known.sum())


def votes_and_shares() -> tuple[Floats, Floats]:
    """Expected votes and share of upvotes at each point of the grid, shape [n_votes · n_shares] each."""
    votes, shares = np.meshgrid(_VOTES, _SHARES, indexing="ij")
    return votes.ravel(), shares.ravel()


def after_flag(share: Floats, drift: float) -> Floats:
    """The share of upvotes after its log-odds fell by `drift`."""
    return np.asarray(share / (share + np.exp(drift) * (1 - share)))


def _around(rate: float) -> Floats:
    """A Poisson rate known from its own count: normal in the log, with standard deviation 1 / √rate."""
    size = min(max(abs(rate), 1.0), float(np.exp(_LOG_RATES[-1])))  # larger ones count as the largest of the grid
    density = np.exp(-0.5 * (_LOG_RATES - np.log(size)) ** 2 * size)
    half, none = density / density.sum(), np.zeros_like(density)
    return np.concatenate([none, half] if rate > 0 else [half[::-1], none])


@cache
def _rate_bins(drift: float) -> tuple[Ints, Floats]:
    """The bin below the net rate of each grid point, and how far it lies towards the next, [n_votes, n_shares] each."""
    rate = _VOTES[:, None] * (2 * after_flag(_SHARES, drift) - 1)[None, :]
    place = np.clip((np.log(np.maximum(np.abs(rate), 1e-9)) - _LOG_RATES[0]) / _LOG_STEP, 0, _LOG_RATES.size - 1)
    signed = np.where(rate > 0, _LOG_RATES.size + place, _LOG_RATES.size - 1 - place)
    signed = np.where(np.abs(rate) < np.exp(_LOG_RATES[0]), _LOG_RATES.size - 0.5, signed)  # zero: between the halves
    index = np.minimum(signed.astype(np.int64), _N_BINS - 2)
    return index, signed - index


@cache
def _is_above(exposure_luck: float) -> Floats:
    """P(a rate in bin i exceeds one in bin j) when chance multiplies both, shape [n_bins, n_bins]."""
    difference = _LOG_RATES[:, None] - _LOG_RATES[None, :]
    scale = np.sqrt(2) * exposure_luck
    larger = ndtr(difference / scale) if scale > 0 else np.where(difference == 0, 0.5, difference > 0)
    n = _LOG_RATES.size
    above = np.empty((2 * n, 2 * n))
    above[n:, n:], above[:n, :n] = larger, larger  # the negative half runs from the largest to the smallest size
    above[n:, :n], above[:n, n:] = 1.0, 0.0
    return above


@cache
def _likelihood_at(step: int, vote_fuzz: float) -> Floats:
    """P(score, flag | votes, share) at an exposure step, shape [n_scores, 3, n_votes, n_shares]."""
    likelihood = _fuzzed(_likelihood(), vote_fuzz)
    shifted = np.clip(np.arange(_VOTES.size) + step - _MIDDLE_STEP, 0, _VOTES.size - 1)
    both = likelihood[:, :, shifted, :]
    return np.concatenate([both, both.sum(axis=1, keepdims=True)], axis=1)


@cache
def _likelihood() -> Floats:
    """P(score, flag | votes, share) at exposure 1 and without fuzz, shape [n_scores, 2, n_votes, n_shares]."""
    n_scores = HIGHEST_SCORE - LOWEST_SCORE + 1
    likelihood = np.zeros((n_scores, 2, _VOTES.size, _SHARES.size))
    for i, votes in enumerate(_VOTES):
        for j, share in enumerate(_SHARES):
            (ups, p_ups), (downs, p_downs) = _poisson(votes * share), _poisson(votes * (1 - share))
            score = np.clip(1 + ups[:, None] - downs[None, :], LOWEST_SCORE, HIGHEST_SCORE) - LOWEST_SCORE
            flag = is_controversial(1 + ups[:, None], downs[None, :]).astype(np.int64)
            joint = np.outer(p_ups, p_downs)
            likelihood[:, :, i, j] = np.bincount((score * 2 + flag).ravel(), joint.ravel(), n_scores * 2).reshape(
                n_scores, 2
            )
    return likelihood


def is_controversial(ups: ArrayLike, downs: ArrayLike) -> NDArray[np.bool_]:
    """Reddit's flag from upvotes (the author's own included) and downvotes."""
    up, votes = np.asarray(ups), np.asarray(ups) + np.asarray(downs)
    share = up / np.maximum(votes, 1)
    low, high = SHARES_OF_FLAG
    return np.asarray((votes >= MIN_VOTES_OF_FLAG) & (share >= low) & (share <= high))


def _poisson(mean: float) -> tuple[Ints, Floats]:
    """The counts that a Poisson variable nearly always takes, and their probabilities."""
    reach = 7 * np.sqrt(mean) + 7
    counts = np.arange(int(max(0, mean - reach)), int(mean + reach) + 1)
    probabilities = np.exp(xlogy(counts, mean) - mean - gammaln(counts + 1))
    return counts, probabilities / probabilities.sum()


def _fuzzed(likelihood: Floats, vote_fuzz: float) -> Floats:
    """The likelihood of displayed scores, with rounded normal noise; the flag is computed before the noise."""
    if not vote_fuzz:
        return likelihood
    reach = int(np.ceil(4 * vote_fuzz))
    edges = np.arange(-reach - 0.5, reach + 1) / vote_fuzz
    kernel = np.diff(ndtr(edges))
    kernel /= kernel.sum()
    padded = np.pad(likelihood, [(reach, reach), (0, 0), (0, 0), (0, 0)], mode="edge")
    return np.asarray(sum(k * padded[n : n + likelihood.shape[0]] for n, k in enumerate(kernel[::-1])))


_N_BINS = 2 * _LOG_RATES.size
_RATIO = np.log(_VOTES[1] / _VOTES[0])
_STRIDE = 3
"""Grid steps of votes per step of exposure: exposures are told apart by a factor of 1.3."""
_MIDDLE_STEP = 30
_N_STEPS_OF_EXPOSURE = 2 * _MIDDLE_STEP + 1


def _exposure_step(seen: Look) -> Ints:
    """The grid steps by which each response's exposure shifts its votes, plus _MIDDLE_STEP, shape [n]."""
    if seen.exposures is None:
        return np.full(seen.scores.shape, _MIDDLE_STEP, dtype=np.int64)
    steps = _STRIDE * np.rint(np.log(np.maximum(seen.exposures, 1e-9)) / (_STRIDE * _RATIO))
    return np.asarray(_MIDDLE_STEP + np.clip(steps, -_MIDDLE_STEP, _MIDDLE_STEP), dtype=np.int64)


def _exposure_of(step: int) -> float:
    return float(np.exp((step - _MIDDLE_STEP) * _RATIO))


def _score_index(scores: Ints) -> Ints:
    return np.clip(scores, LOWEST_SCORE, HIGHEST_SCORE) - LOWEST_SCORE
