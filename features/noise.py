"""How sure is a label: both scores are noisy counts of how much a response is liked."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

MIN_OVERDISPERSION = 1e-3
"""Excess of variance over mean, as a share of the mean, below which the scores could as well be pure counting noise."""


@dataclass(frozen=True, slots=True)
class GammaPrior:
    """How rates of liking spread over the responses of a community: Gamma(shape, rate), votes per response."""

    shape: float
    rate: float


def fit_prior(scores: ArrayLike) -> GammaPrior:
    """Prior by moments: counts have mean m = shape/rate and variance m + m²/shape, so shape = m²/(variance − m).

    scores: [n] votes; negative ones count as 0. Where the variance does not exceed the mean, the excess is held at
    MIN_OVERDISPERSION · m: the scores then say next to nothing about which response is liked more.
    Source: method of moments for the negative binomial, e.g. Anscombe 1950, Biometrika 37.
    Errors: ValueError without scores.
    """
    counts = np.maximum(np.asarray(scores, dtype=np.int64), 0)
    if counts.size == 0:
        raise ValueError("no scores to fit")
    # Whole numbers add up to the same sum in any order of rows; floats would not.
    total, total_of_squares = int(counts.sum()), int((counts**2).sum())
    mean = max(total / counts.size, 1e-9)
    variance = total_of_squares / counts.size - (total / counts.size) ** 2
    excess = max(variance - mean, MIN_OVERDISPERSION * mean)
    return GammaPrior(shape=mean**2 / excess, rate=mean / excess)


def label_confidence(chosen_scores: ArrayLike, rejected_scores: ArrayLike, prior: GammaPrior) -> NDArray[np.float64]:
    """P(chosen is truly liked more | both scores), clipped to [0.5, 1]. Both scores: [n] votes.

    Model: score ~ Poisson(rate of liking), rate ~ Gamma(a, b); then the posteriors are Gamma(a + score, b + 1) and,
    with the same b + 1 for both, P(rate₁ > rate₂) = I_{1/2}(a + score₂, a + score₁), the regularised incomplete beta.
    It assumes that as many readers saw the one as the other (equal exposure) and that a score is a count of likes:
    both make it too sure where an earlier response had more readers. Its mean over pairs is therefore an upper bound
    on the accuracy of any model, not an estimate of what a model can reach.
    Source: Cook 2003, "Exact calculation of beta inequalities" (ratio of gammas is beta); Gelman et al., BDA3 §2.6.
    """
    from scipy.special import betainc

    shape_chosen = prior.shape + _counts(chosen_scores)
    shape_rejected = prior.shape + _counts(rejected_scores)
    p_chosen = np.asarray(betainc(shape_rejected, shape_chosen, 0.5), dtype=np.float64)
    return np.clip(p_chosen, 0.5, 1.0)


def add_label_confidence(pairs: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """The pairs with label_confidence, each from the prior of its subreddit's responses.

    pairs: subreddit, chosen_score, rejected_score. responses: subreddit, score.
    """
    priors = {name: fit_prior(group["score"]) for (name,), group in responses.group_by("subreddit")}
    confidence = np.full(pairs.height, 0.5)
    subreddits = pairs["subreddit"].to_numpy()
    for name, prior in priors.items():
        rows = np.flatnonzero(subreddits == name)
        chosen, rejected = pairs["chosen_score"].gather(rows), pairs["rejected_score"].gather(rows)
        confidence[rows] = label_confidence(chosen, rejected, prior)
    return pairs.with_columns(label_confidence=pl.Series(confidence, dtype=pl.Float64))


def _counts(scores: ArrayLike) -> NDArray[np.float64]:
    return np.maximum(np.asarray(scores, dtype=np.float64), 0.0)
