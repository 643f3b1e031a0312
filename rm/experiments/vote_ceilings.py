"""The vote ceiling: how often labels of scores are wrong, from votes alone.

A label says which of two responses has the higher score. Two ceilings differ:

- the vote ceiling: the accuracy, against the labels, of an oracle that knows the net rate at which each response
  collects votes, its luck with readers included;
- the text ceiling: the accuracy of an oracle that knows how much each text is liked, and nothing of its luck.

All functions are pure. Their arrays hold one value per pair, oriented from chosen to rejected; intervals are 95 %,
clustered by post. `docs/ceiling.md` reports how far each estimator is from the truth in simulated worlds.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lurker.stats import Estimate, accuracy_interval

Floats = NDArray[np.float64]
Kind = Literal["vote", "text"]

MIN_POSTS = 30
"""Fewer clusters give no interval worth printing."""
FIRST_SHARE = (0.3, 0.6)
"""Share of the votes that the first look holds, for which two windows count as alike. In simulated votes the upper end
of two looks falls below the vote ceiling outside of it."""
MAX_SHARE = 0.55
"""Share of the votes up to which pairs seen early are taken."""
MIN_FUZZ = 0.3
"""Standard deviation of vote fuzz, in square roots of 1 + |score|, from which two looks are refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """What one estimator says about a ceiling: a value, a bracket, one end of it, or why it cannot tell."""

    estimator: str
    ceiling: Kind
    n_pairs: int
    n_posts: int
    assumption: str
    """what must hold, and what happens otherwise"""
    value: float | None = None
    """absent for a bracket"""
    low: float | None = None
    """lower end of the 95 % interval; of a bracket, of its lower end's interval"""
    high: float | None = None
    """upper end of the 95 % interval; of a bracket, of its upper end's interval"""
    reason: str | None = None
    """why a value or an end is absent"""


def nothing_yet(estimator: str, ceiling: Kind, posts: NDArray[np.generic], assumption: str) -> Ceiling:
    """What is known before anything is estimated: how many pairs and posts there are.

    Args:
        posts: post of each pair, [n].
    """
    n_posts = np.unique(posts).size
    return Ceiling(estimator=estimator, ceiling=ceiling, n_pairs=posts.size, n_posts=n_posts, assumption=assumption)


def too_few(empty: Ceiling, what: str) -> str | None:
    """Why there are too few posts for an interval, if so."""
    if empty.n_posts >= MIN_POSTS:
        return None
    return f"{empty.n_pairs:,} {what} of {empty.n_posts:,} posts, {MIN_POSTS} posts are needed"


def floats(values: ArrayLike) -> Floats:
    """The values as an array of floats."""
    return np.asarray(values, dtype=np.float64)


TWO_LOOKS = (
    "Readers before and after the first look vote alike and independently, and scores are shown without noise. "
    "Herding makes both ends too high."
)


def two_looks(
    first: ArrayLike,
    later: ArrayLike,
    posts: ArrayLike,
    *,
    first_share: float,
    min_gap: int | None = 1,
    fuzz: float = 0.0,
) -> Ceiling:
    """The vote ceiling between how often two windows of votes agree, and the accuracy that this agreement implies.

    With g the agreement of the votes before the first look with those after it, g ≤ vote ceiling ≤ (1 + √(2g − 1)) / 2:
    one window is a worse oracle than the true rates, and if windows are alike, 2g − 1 is the mean of (2a − 1)² over
    pairs, a being the accuracy of either window's label (Jensen).

    Pairs are chosen by their final score, which the later votes are part of: pairs in which they contradict the first
    look fall out more often. The lower end therefore counts only pairs that would have been chosen too if the later
    votes had been the opposite; pairs without a leader in a window count half. The upper end counts all pairs with a
    leader in both windows: a draw is no label, and few votes make many. Both choices make the bracket wider.

    Args:
        first: score of chosen minus that of rejected at the first look, [n].
        later: votes after it, chosen minus rejected, [n].
        posts: [n].
        first_share: share of the votes that the first look holds, 0–1.
        min_gap: smallest difference of final scores that a pair was chosen for; 0 if it was chosen by something else
            that depends on them, which leaves only the upper end; None if pairs and labels are of the first look, which
            later votes have no part in.
        fuzz: standard deviation of the noise that is added to shown scores, in square roots of 1 + |score|.

    Source:
        The attenuation of an agreement by noise, Spearman 1904, "The proof and measurement of association between two
        things"; labels of two raters as in Dawid & Skene 1979.
    """
    before, after, post = floats(first), floats(later), np.asarray(posts)
    empty = nothing_yet("two looks", "vote", post, TWO_LOOKS)
    if problem := too_few(empty, "pairs seen twice") or _fuzzed(fuzz):
        return replace(empty, reason=problem)
    reasons, low, high = [], None, None
    gap = min_gap or 0
    is_fair = (np.abs(before + after) >= gap) & (np.abs(before - after) >= gap)
    if min_gap == 0:
        reasons.append("no lower end: these pairs were chosen by a rule on both scores, which agrees with itself")
    elif np.unique(post[is_fair]).size < MIN_POSTS:
        reasons.append("no lower end: too few pairs would have been chosen whatever the later votes")
    else:
        low = _agreement(before[is_fair], after[is_fair], post[is_fair]).low
    if not FIRST_SHARE[0] <= first_share <= FIRST_SHARE[1]:
        reasons.append(f"no upper end: the first look holds {first_share:.0%} of the votes, so the windows differ")
    elif (led := (before != 0) & (after != 0)).any():
        high = accuracy_if_alike(_agreement(before[led], after[led], post[led]).high)
    return replace(empty, low=low, high=high, reason="; ".join(reasons) or None)


def accuracy_if_alike(agreement: float) -> float:
    """The accuracy of either of two labels that agree this often, if both are equally noisy; 0.5 below chance."""
    return float((1 + np.sqrt(max(2 * agreement - 1, 0.0))) / 2)


RELIABILITY = (
    "As for two looks, and signal and noise of a pair's score difference are normal. Pairs chosen by their final score "
    "make it a little too high."
)


def reliability(
    first: ArrayLike, later: ArrayLike, posts: ArrayLike, *, first_share: float, fuzz: float = 0.0
) -> Ceiling:
    """The vote ceiling from the reliability of two windows of votes, extended to both together (Spearman–Brown).

    The windows' score differences correlate by ρ = sin(π (g − 1/2)), g being how often their signs agree. With shares f
    and 1 − f of the votes and x the ratio of signal to noise of all votes, ρ² = f (1 − f) x² / ((f x + 1)((1 − f) x +
    1)); the reliability of the final score is x / (1 + x), and the sign of the true rate agrees with its label with
    probability 1/2 + asin(√(x / (1 + x))) / π.

    Args:
        first, later, posts, first_share, fuzz: as for `two_looks`.

    Source:
        Spearman 1910 and Brown 1910 for tests of two lengths; raters in place of tests: Wong & Paritosh 2022, "k-Rater
        Reliability", arXiv 2203.12913; Sheppard 1899 for the signs of two correlated normal values.
    """
    before, after, post = floats(first), floats(later), np.asarray(posts)
    empty = nothing_yet("two-look reliability", "vote", post, RELIABILITY)
    if problem := too_few(empty, "pairs seen twice") or _fuzzed(fuzz):
        return replace(empty, reason=problem)
    leads = before != 0
    if not leads.any() or not 0 < first_share < 1:
        return replace(empty, reason=f"the first look holds {first_share:.0%} of the votes: one window is empty")
    agreement = _agreement(before[leads], after[leads], post[leads])
    value, low, high = (_oracle_accuracy(g, first_share) for g in (agreement.value, agreement.low, agreement.high))
    return replace(empty, value=value, low=low, high=high)


def _oracle_accuracy(agreement: float, share: float) -> float:
    """Accuracy of the true rate on the final label, from the agreement of two windows; see `reliability`."""
    correlation = np.sin(np.pi * (min(agreement, 1.0) - 0.5))
    if correlation <= 0:
        return 0.5
    if correlation >= 1:
        return 1.0
    both = share * (1 - share)
    squared = correlation**2
    a, b, c = (1 - squared) * both, -squared, -squared  # a·x² + b·x + c = 0
    ratio = (-b + np.sqrt(b**2 - 4 * a * c)) / (2 * a)
    return float(0.5 + np.arcsin(np.sqrt(ratio / (1 + ratio))) / np.pi)


def fuzz_spread(earlier: ArrayLike, later: ArrayLike) -> float:
    """The noise in shown scores, in square roots of 1 + |score|, from two looks at settled scores.

    Noise lowers a settled score as often as it raises it, and votes that still come mostly raise it. So only falls are
    counted: half of the variance 2·σ² of the difference of two noises.

    Args:
        earlier, later: scores of one response at two looks, both long after it was written, [n].
    """
    before, after = floats(earlier), floats(later)
    if not before.size:
        return 0.0
    return float(np.sqrt(np.mean(np.minimum(after - before, 0.0) ** 2 / (1 + np.abs(before)))))


def early_enough(ages: ArrayLike, first_votes: ArrayLike, all_votes: ArrayLike) -> tuple[NDArray[np.bool_], float]:
    """Which pairs were first seen so early that about half of their votes came later.

    They are chosen by the age at their first look, never by their votes: a choice by votes would decide which window
    wins.

    Args:
        ages: of the older response at its first look, [n].
        first_votes, all_votes: of both responses, at the first and at the last look, [n].

    Returns:
        The pairs, [n], and the share of their votes that the first look holds, 0–1. All pairs if no age fits.
    """
    age, first, total = floats(ages), floats(first_votes), floats(all_votes)
    if not age.size:
        return np.zeros(0, dtype=np.bool_), 0.0
    order = np.argsort(age, kind="stable")
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.cumsum(first[order]) / np.cumsum(total[order])
    fitting = np.flatnonzero(shares <= MAX_SHARE)
    limit = age[order[fitting[-1]]] if fitting.size else np.inf
    kept = age <= limit
    share = float(first[kept].sum() / total[kept].sum()) if total[kept].sum() else 0.0
    return kept, min(share, 1.0)


POSTERIOR = (
    "The vote model behind label_confidence holds: scores are counts around gamma-distributed rates. Fuzz that it was "
    "not told of makes it too high; few votes per response, too low."
)
POSTERIOR_OF_VOTES = (
    "The vote model behind label_confidence holds: votes and upvote shares as fitted to scores and flags, and readers "
    "that differ between windows with exposure_luck={luck:g}, which count as noise: luck makes it lower than the vote "
    "ceiling. Herding, and fuzz that it was not told of, make it too high."
)


def posterior(confidence: ArrayLike, posts: ArrayLike) -> Ceiling:
    """The vote ceiling as the mean probability, given both scores, that chosen is truly ahead.

    Args:
        confidence: label_confidence, 0.5–1, [n].
        posts: [n].

    Source: the Bayes error from known posteriors, Ishida et al. 2023, arXiv 2202.00395.
    """
    post = np.asarray(posts)
    empty = nothing_yet("posterior", "vote", post, POSTERIOR)
    if problem := too_few(empty, "pairs"):
        return replace(empty, reason=problem)
    estimate = accuracy_interval(floats(confidence), post)
    return replace(empty, value=estimate.value, low=estimate.low, high=estimate.high)


def _agreement(before: Floats, after: Floats, posts: NDArray[np.generic]) -> Estimate:
    """How often two windows prefer the same response; a draw in one of them counts half."""
    return accuracy_interval((np.sign(before * after) + 1) / 2, posts)


def _fuzzed(fuzz: float) -> str | None:
    if fuzz < MIN_FUZZ:
        return None
    return f"shown scores are noisy ({fuzz:.2f} · √(1 + score)), and the noise of the first look is in both windows"
