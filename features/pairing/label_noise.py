"""Label confidence: both scores are noisy counts of how much a response is liked.

Model, unless the recipe reads votes cast (`features.pairing.votes_cast`): score ~ Poisson(exposure · rate of liking),
rate ~ Gamma(shape, rate) of the subreddit. Exposure, the number of readers a response had, is taken as equal, or as
what delay, the post's score and the thread's size predict of scores. Reddit adds noise to the scores it shows (vote
fuzzing): votes then count for less.

With equal exposure the confidence is a function of the two scores alone, so a filter on it cannot select by time. With
fitted exposure a later winner is more certain, and a filter (unlike a weight or a soft label) makes time predict the
winner.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from features.pairing.votes_cast import Ints, VotesCast, confidence_from_votes, count_looks, fit_votes_cast, look
from features.recipes.recipe import Recipe
from lurker.threads import single_threaded

MIN_OVERDISPERSION = 1e-3
"""Excess of variance over mean, as a share of the mean, below which scores look like pure counting noise."""

HIGHEST_COUNT = 1_000_000
"""Scores above it, which no comment has, count as it: the squares of damaged ones would not fit into 64 bits, votes."""

OLD_LOOK_S = 7 * 86_400
"""Age after which hardly any votes come, seconds."""

CEILING = (
    "mean label_confidence: an upper bound on the accuracy of any model on these labels, not an estimate; "
    "differences in readership that the vote model does not account for put it above the truth"
)


@dataclass(frozen=True, slots=True)
class GammaPrior:
    """Distribution of the rates of liking over the responses of a community: Gamma(shape, rate), votes per response."""

    shape: float
    rate: float


class VoteSums(NamedTuple):
    """Sums over votes, negative ones counted as 0. Integers, because their sum does not depend on the order of rows."""

    n: int
    total: int
    squares: int

    @classmethod
    def from_scores(cls, scores: pl.Series) -> "VoteSums":
        """The sums of these scores."""
        counts = scores.cast(pl.Int64).clip(0, HIGHEST_COUNT)
        return cls(counts.len(), int(counts.sum()), int((counts**2).sum()))

    def plus(self, other: "VoteSums") -> "VoteSums":
        """The sums of both together."""
        return VoteSums(self.n + other.n, self.total + other.total, self.squares + other.squares)


def fit_prior(scores: ArrayLike, exposures: ArrayLike | None = None, vote_fuzz: float = 0.0) -> GammaPrior:
    """Fit the prior by moments: a score at exposure e has mean m·e and variance m·e + (m·e)²/shape + vote_fuzz².

    If the variance does not exceed what counting and vote fuzzing explain, the excess is set to MIN_OVERDISPERSION · m:
    the scores then say next to nothing about which response is liked more.

    Args:
        scores: votes, shape [n]; negative ones count as 0.
        exposures: readers relative to the mean, shape [n]; all 1 when None.
        vote_fuzz: standard deviation of the noise, votes.

    Raises:
        ValueError: there are no scores.

    Source: method of moments for the negative binomial, such as Anscombe 1950, Biometrika 37.
    """
    counts = np.clip(np.asarray(scores, dtype=np.int64), 0, HIGHEST_COUNT)
    if counts.size == 0:
        raise ValueError("no scores to fit")
    if exposures is None:
        return prior_from_sums(VoteSums(counts.size, int(counts.sum()), int((counts**2).sum())), vote_fuzz)
    e = np.asarray(exposures, dtype=np.float64)
    mean = max(float(counts.sum() / e.sum()), 1e-9)
    spread = float((((counts - mean * e) ** 2).sum() - mean * e.sum() - e.size * vote_fuzz**2) / (e**2).sum())
    return _prior_from_moments(mean, spread)


def prior_from_sums(sums: VoteSums, vote_fuzz: float = 0.0) -> GammaPrior:
    """The prior under equal exposure, from sums alone."""
    raw_mean = sums.total / sums.n
    mean = max(raw_mean, 1e-9)
    return _prior_from_moments(mean, sums.squares / sums.n - raw_mean**2 - mean - vote_fuzz**2)


def _prior_from_moments(mean: float, spread: float) -> GammaPrior:
    excess = max(spread, MIN_OVERDISPERSION * mean)
    return GammaPrior(shape=mean**2 / excess, rate=mean / excess)


@dataclass(frozen=True, slots=True)
class Exposure:
    """Number of readers of a response relative to the mean, as predicted by delay, post score and thread size."""

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    model: Any
    """Poisson regression; None if no response has a vote."""
    mean: float
    """Mean prediction."""
    reads_look: bool = False
    """Whether it reads how old a response was when it was looked at."""

    def predict(self, responses: pl.DataFrame) -> NDArray[np.float64]:
        """Relative exposure per response, shape [n].

        Args:
            responses: complete posts, with log_delay, post_score, post_id; and look_age_s if it reads that.
        """
        if self.model is None:
            return np.ones(responses.height)
        X = (_exposure_features(responses, self.reads_look) - self.centre) / self.spread
        return np.asarray(self.model.predict(X) / self.mean, dtype=np.float64)


def fit_exposure(responses: pl.DataFrame, reads_look: bool = False) -> Exposure:
    """Fit a Poisson regression of the score on log delay, its square, log post score and log thread size.

    The effect of the text on the score is not part of it, and neither are readers that these features do not predict.

    Args:
        responses: complete posts, with score, log_delay, post_score, post_id; and look_age_s if that is read.
        reads_look: also read the log age at the look: a response that was seen young has had fewer readers.

    Source: Poisson pseudo-likelihood with a log link, Gourieroux, Monfort & Trognon 1984, Econometrica 52(3).
    """
    from sklearn.linear_model import PoissonRegressor

    X = _exposure_features(responses, reads_look)
    spread = X.std(axis=0)
    centre, spread = X.mean(axis=0), np.where(spread > 0, spread, 1)
    counts = np.clip(responses["score"].to_numpy(), 0, HIGHEST_COUNT)
    if counts.sum() == 0:
        return Exposure(centre, spread, None, 1.0, reads_look)
    X = (X - centre) / spread
    with single_threaded():
        model = PoissonRegressor(alpha=1e-6, max_iter=500).fit(X, counts)
        return Exposure(centre, spread, model, float(model.predict(X).mean()), reads_look)


def _exposure_features(responses: pl.DataFrame, reads_look: bool) -> NDArray[np.float64]:
    log_delay = pl.col("log_delay")
    features = [log_delay, log_delay**2, pl.col("post_score").fill_null(0).clip(0).cast(pl.Float64).log1p()]
    if reads_look:  # an unknown age is taken as old enough for all votes
        features.append(pl.col("look_age_s").fill_null(OLD_LOOK_S).clip(60, OLD_LOOK_S).cast(pl.Float64).log())
    columns = (feature.alias(str(n)) for n, feature in enumerate(features))
    return responses.select(*columns, size=pl.len().over("post_id").log()).to_numpy()


def label_confidence(
    chosen_scores: ArrayLike,
    rejected_scores: ArrayLike,
    prior: GammaPrior,
    exposures: tuple[ArrayLike, ArrayLike] | None = None,
    vote_fuzz: float = 0.0,
) -> NDArray[np.float64]:
    """P(chosen is truly liked more | both scores), clipped to [0.5, 1].

    The posteriors are Gamma(a + score, b + exposure), and P(rate₁ > rate₂) = I_x(a + score₂, a + score₁) with
    x = (b + e₂) / (2b + e₁ + e₂), the regularised incomplete beta function; x is 1/2 for equal exposures. Noise of
    variance vote_fuzz² scales votes and readers by k = m / (m + vote_fuzz²), with m the larger of the score and its
    expectation: a Poisson count of mean m·k has the relative variance of the noisy score.

    The model assumes that a score counts likes, and readers it does not account for make it overconfident. So the mean
    over pairs is an upper bound on the accuracy of any model, not an estimate of what a model can reach.

    Args:
        chosen_scores, rejected_scores: votes, shape [n].
        exposures: of chosen and of rejected, shape [n] each; equal when None.
        vote_fuzz: standard deviation of the noise, votes.

    Returns:
        Shape [n].

    Source: Cook 2003, "Exact calculation of beta inequalities" (ratio of gammas is beta); Gelman et al., BDA3 §2.6.
    """
    from scipy.special import betainc

    shapes, rates = [], []
    for scores, exposure in zip((chosen_scores, rejected_scores), exposures or (1.0, 1.0), strict=True):
        counts, readers = _counts(scores), np.asarray(exposure, dtype=np.float64)
        expected = np.maximum(counts, readers * prior.shape / prior.rate)
        k = expected / (expected + vote_fuzz**2)
        shapes.append(prior.shape + k * counts)
        rates.append(prior.rate + k * readers)
    p_chosen = betainc(shapes[1], shapes[0], rates[1] / (rates[0] + rates[1]))
    return np.clip(np.asarray(p_chosen, dtype=np.float64), 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class VoteModel:
    """How scores arise in one community."""

    prior: GammaPrior
    exposure: Exposure | None = None
    """None if taken as equal."""
    votes_cast: VotesCast | None = None
    """None if confidence rests on the scores alone."""


def fit_vote_model(sums: VoteSums, counts: Ints | None, sample: pl.DataFrame, recipe: Recipe) -> VoteModel:
    """Fit the vote model of a community.

    Args:
        sums: of all its responses.
        counts: of all their looks, at equal exposure; None if the recipe's label model reads scores alone.
        sample: complete posts that fitted exposure is learned from; not used with equal exposure.
    """
    if recipe.exposure == "equal":
        return VoteModel(prior_from_sums(sums, recipe.vote_fuzz), None, _fit_votes_cast(counts, recipe))
    exposure = fit_exposure(sample, reads_look=counts is not None)
    readers = exposure.predict(sample)
    if counts is not None:
        counts = count_looks(look(sample["score"], sample["is_controversial"], readers))
    prior = fit_prior(sample["score"], readers, recipe.vote_fuzz)
    return VoteModel(prior, exposure, _fit_votes_cast(counts, recipe))


def _fit_votes_cast(counts: Ints | None, recipe: Recipe) -> VotesCast | None:
    if counts is None:
        return None
    return fit_votes_cast(
        counts,
        vote_fuzz=recipe.vote_fuzz,
        exposure_luck=recipe.exposure_luck,
        controversial_drift=recipe.controversial_drift,
    )


def add_label_confidence(
    pairs: pl.DataFrame, block: pl.DataFrame, vote_models: dict[str, VoteModel], recipe: Recipe
) -> pl.DataFrame:
    """Add label_confidence, each by the vote model of its subreddit.

    Args:
        pairs: subreddit, chosen_id, rejected_id and their scores.
        block: their responses, of complete posts; fitted exposure needs comment_id, post_id, log_delay, post_score,
            and votes cast need comment_id, is_controversial.
        vote_models: one per subreddit.
    """
    confidence = np.full(pairs.height, 0.5)
    subreddits = pairs["subreddit"].cast(pl.String).to_numpy()
    for name in sorted(set(subreddits)):
        rows = np.flatnonzero(subreddits == name)
        part, model = pairs[rows], vote_models[name]
        exposures = None
        if model.exposure is not None:
            exposures = _of_both_sides(part, block, pl.Series(model.exposure.predict(block)))
        if model.votes_cast is None:
            confidence[rows] = label_confidence(
                part["chosen_score"], part["rejected_score"], model.prior, exposures, recipe.vote_fuzz
            )
        else:
            flags = _of_both_sides(part, block, block["is_controversial"])
            readers = exposures or (None, None)
            chosen = look(part["chosen_score"], flags[0], readers[0])
            rejected = look(part["rejected_score"], flags[1], readers[1])
            confidence[rows] = confidence_from_votes(chosen, rejected, model.votes_cast)
    return pairs.with_columns(label_confidence=pl.Series(confidence, dtype=pl.Float64))


def _of_both_sides(pairs: pl.DataFrame, block: pl.DataFrame, values: pl.Series) -> tuple[NDArray[Any], NDArray[Any]]:
    """The block's values for the chosen and the rejected responses of the pairs, shape [n] each."""
    of_response = dict(zip(block["comment_id"], values, strict=True))
    chosen, rejected = (
        np.array([of_response[item] for item in pairs[f"{side}_id"]]) for side in ("chosen", "rejected")
    )
    return chosen, rejected


def ceiling(sums: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """The weighted mean of label_confidence, over all pairs and by split, and what it means.

    Args:
        sums: split -> sum of weight · label_confidence, and sum of weight, over its pairs.
    """
    total, weight = (sum(one) for one in zip(*sums.values(), strict=True)) if sums else (0.0, 0.0)
    by_split = {split: float(confident / w) for split, (confident, w) in sorted(sums.items())}
    return {"accuracy": float(total / weight) if weight else None, "by_split": by_split, "is": CEILING}


def _counts(scores: ArrayLike) -> NDArray[np.float64]:
    return np.maximum(np.asarray(scores, dtype=np.float64), 0.0)
