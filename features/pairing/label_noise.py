"""How sure is a label: both scores are noisy counts of how much a response is liked.

Model: score ~ Poisson(exposure · rate of liking), rate ~ Gamma(shape, rate) of the subreddit. Exposure, how many
readers a response had, is taken as equal, or as what delay, the post's score and the thread's size foretell of scores.
Reddit blurs the scores it shows (vote fuzzing): that counts as votes that tell less.

With equal exposure the confidence is a function of the two scores alone, so a filter on it cannot select by time; with
fitted exposure a later winner is the surer one, and a filter (not a weight or a soft label) makes time tell the winner.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from features.recipes.recipe import Recipe
from lurker.stats import accuracy_interval

MIN_OVERDISPERSION = 1e-3
"""Excess of variance over mean, as a share of the mean, below which the scores could as well be pure counting noise."""

CEILING = (
    "mean label_confidence: an upper bound on the accuracy of any model on these labels, not an estimate; readers that "
    "a response had and the model of votes does not know of put it above the truth"
)


@dataclass(frozen=True, slots=True)
class GammaPrior:
    """How rates of liking spread over the responses of a community: Gamma(shape, rate), votes per response."""

    shape: float
    rate: float


class VoteSums(NamedTuple):
    """Of votes, negative ones as 0. Whole numbers add up to the same sum in any order of rows; floats would not."""

    n: int
    total: int
    squares: int

    @classmethod
    def of(cls, scores: pl.Series) -> "VoteSums":
        """Of these scores."""
        counts = scores.cast(pl.Int64).clip(0)
        return cls(counts.len(), int(counts.sum()), int((counts**2).sum()))

    def plus(self, other: "VoteSums") -> "VoteSums":
        """Of both."""
        return VoteSums(self.n + other.n, self.total + other.total, self.squares + other.squares)


def fit_prior(scores: ArrayLike, exposures: ArrayLike | None = None, vote_fuzz: float = 0.0) -> GammaPrior:
    """Prior by moments: a score s at exposure e has mean m·e and variance m·e + (m·e)²/shape + vote_fuzz².

    scores: [n] votes; negative ones count as 0. exposures: [n] readers relative to the mean, all 1 when None.
    vote_fuzz: standard deviation of the blur, votes. Where the variance does not exceed what counting and blur
    explain, the excess is held at MIN_OVERDISPERSION · m: the scores then say next to nothing of which is liked more.
    Source: method of moments for the negative binomial, e.g. Anscombe 1950, Biometrika 37.
    Errors: ValueError without scores.
    """
    counts = np.maximum(np.asarray(scores, dtype=np.int64), 0)
    if counts.size == 0:
        raise ValueError("no scores to fit")
    if exposures is None:
        return prior_of_sums(VoteSums(counts.size, int(counts.sum()), int((counts**2).sum())), vote_fuzz)
    e = np.asarray(exposures, dtype=np.float64)
    mean = max(float(counts.sum() / e.sum()), 1e-9)
    spread = float((((counts - mean * e) ** 2).sum() - mean * e.sum() - e.size * vote_fuzz**2) / (e**2).sum())
    return _prior_of_moments(mean, spread)


def prior_of_sums(sums: VoteSums, vote_fuzz: float = 0.0) -> GammaPrior:
    """The prior of equal exposure from sums alone."""
    raw_mean = sums.total / sums.n
    mean = max(raw_mean, 1e-9)
    return _prior_of_moments(mean, sums.squares / sums.n - raw_mean**2 - mean - vote_fuzz**2)


def _prior_of_moments(mean: float, spread: float) -> GammaPrior:
    excess = max(spread, MIN_OVERDISPERSION * mean)
    return GammaPrior(shape=mean**2 / excess, rate=mean / excess)


@dataclass(frozen=True, slots=True)
class Exposure:
    """How many readers a response has relative to the mean, as far as delay, post score and thread size foretell."""

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    model: Any
    """Poisson regression; None where no response has a vote."""
    mean: float
    """Of what it foretells."""

    def of(self, responses: pl.DataFrame) -> NDArray[np.float64]:
        """Of each response. [n]. responses: of whole posts; log_delay, post_score, post_id."""
        if self.model is None:
            return np.ones(responses.height)
        X = (_readership(responses) - self.centre) / self.spread
        return np.asarray(self.model.predict(X) / self.mean, dtype=np.float64)


def fit_exposure(responses: pl.DataFrame) -> Exposure:
    """A Poisson regression of the score on log delay, its square, log post score and log responses in the thread.

    So what the text does to a score is none of it; nor are readers that these do not foretell. responses: whole posts;
    score, log_delay, post_score, post_id.
    Source: Poisson pseudo-likelihood with a log link, Gourieroux, Monfort & Trognon 1984, Econometrica 52(3).
    """
    from sklearn.linear_model import PoissonRegressor
    from threadpoolctl import threadpool_limits

    X = _readership(responses)
    spread = X.std(axis=0)
    centre, spread = X.mean(axis=0), np.where(spread > 0, spread, 1)
    counts = np.maximum(responses["score"].to_numpy(), 0)
    if counts.sum() == 0:
        return Exposure(centre, spread, None, 1.0)
    X = (X - centre) / spread
    with threadpool_limits(1):
        model = PoissonRegressor(alpha=1e-6, max_iter=500).fit(X, counts)
        return Exposure(centre, spread, model, float(model.predict(X).mean()))


def _readership(responses: pl.DataFrame) -> NDArray[np.float64]:
    log_delay = pl.col("log_delay")
    known = [log_delay, log_delay**2, pl.col("post_score").fill_null(0).clip(0).cast(pl.Float64).log1p()]
    columns = (one.alias(str(n)) for n, one in enumerate(known))
    return responses.select(*columns, size=pl.len().over("post_id").log()).to_numpy()


def label_confidence(
    chosen_scores: ArrayLike,
    rejected_scores: ArrayLike,
    prior: GammaPrior,
    exposures: tuple[ArrayLike, ArrayLike] | None = None,
    vote_fuzz: float = 0.0,
) -> NDArray[np.float64]:
    """P(chosen is truly liked more | both scores), clipped to [0.5, 1]. Both scores: [n] votes.

    The posteriors are Gamma(a + score, b + exposure) and P(rate₁ > rate₂) = I_x(a + score₂, a + score₁) with
    x = (b + e₂) / (2b + e₁ + e₂), the regularised incomplete beta; x is 1/2 for equal exposures (None). A blur of
    variance vote_fuzz² makes a score tell as much as k of its votes by k of its readers, k = m / (m + vote_fuzz²), m
    the larger of the score and what is expected: a Poisson count of mean m·k has the relative variance of the blurred.
    A score must be a count of likes, and readers that are not accounted for make it too sure: its mean over pairs is
    an upper bound on the accuracy of any model, not an estimate of what a model can reach.
    Source: Cook 2003, "Exact calculation of beta inequalities" (ratio of gammas is beta); Gelman et al., BDA3 §2.6.
    """
    from scipy.special import betainc

    shapes, rates = [], []
    for scores, exposure in zip((chosen_scores, rejected_scores), exposures or (1.0, 1.0), strict=True):
        counts, readers = _counts(scores), np.asarray(exposure, dtype=np.float64)
        expected = np.maximum(counts, readers * prior.shape / prior.rate)
        told = expected / (expected + vote_fuzz**2)
        shapes.append(prior.shape + told * counts)
        rates.append(prior.rate + told * readers)
    p_chosen = betainc(shapes[1], shapes[0], rates[1] / (rates[0] + rates[1]))
    return np.clip(np.asarray(p_chosen, dtype=np.float64), 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Votes:
    """What scores tell in one community."""

    prior: GammaPrior
    exposure: Exposure | None = None
    """None where it is taken as equal."""


def fit_votes(sums: VoteSums, sample: pl.DataFrame, recipe: Recipe) -> Votes:
    """Of all responses of a community by their sums; with fitted exposure of a sample of whole posts."""
    if recipe.exposure == "equal":
        return Votes(prior_of_sums(sums, recipe.vote_fuzz))
    exposure = fit_exposure(sample)
    return Votes(fit_prior(sample["score"], exposure.of(sample), recipe.vote_fuzz), exposure)


def add_label_confidence(
    pairs: pl.DataFrame, block: pl.DataFrame, votes: dict[str, Votes], recipe: Recipe
) -> pl.DataFrame:
    """The pairs with label_confidence, each by what votes tell in its subreddit.

    pairs: subreddit, chosen_id, rejected_id and their scores. block: their responses, of whole posts; with fitted
    exposure comment_id, post_id, log_delay, post_score.
    """
    confidence = np.full(pairs.height, 0.5)
    subreddits = pairs["subreddit"].cast(pl.String).to_numpy()
    for name in sorted(set(subreddits)):
        rows = np.flatnonzero(subreddits == name)
        mine, known = pairs[rows], votes[name]
        of_pairs = None
        if known.exposure is not None:
            readers = dict(zip(block["comment_id"], known.exposure.of(block), strict=True))
            chosen, rejected = ([readers[one] for one in mine[f"{side}_id"]] for side in ("chosen", "rejected"))
            of_pairs = np.array(chosen), np.array(rejected)
        confidence[rows] = label_confidence(
            mine["chosen_score"], mine["rejected_score"], known.prior, of_pairs, recipe.vote_fuzz
        )
    return pairs.with_columns(label_confidence=pl.Series(confidence, dtype=pl.Float64))


def ceiling(sums: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """The weighted mean of label_confidence, over all pairs and by split, and what it is.

    sums: of the pairs of each split, weight · label_confidence and weight.
    """
    total, weight = (sum(one) for one in zip(*sums.values(), strict=True)) if sums else (0.0, 0.0)
    by_split = {split: float(confident / w) for split, (confident, w) in sorted(sums.items())}
    return {"accuracy": float(total / weight) if weight else None, "by_split": by_split, "is": CEILING}


def second_window(pairs: pl.DataFrame) -> pl.DataFrame:
    """Whether the votes that came after the first look prefer the response that led at it: post_id, agrees, weight.

    pairs: post_id, weight, {chosen,rejected}_first_score and _later_votes, null where a response was not seen twice. Of
    pairs whose two responses were and differed at their first looks. agrees: 1, 0, or one half for a draw.
    """
    lead = pl.col("chosen_first_score") - pl.col("rejected_first_score")
    gain = (pl.col("chosen_later_votes") - pl.col("rejected_later_votes")).sign() * lead.sign()
    seen = pairs.filter(lead != 0, gain.is_not_null())
    return seen.select("post_id", agrees=(gain.cast(pl.Float64) + 1) / 2, weight="weight")


def check_second_window(seen: pl.DataFrame) -> dict[str, Any] | None:
    """How often the later votes agree with the first look, with its interval; None without any.

    seen: as of `second_window`. agreement: a draw of the later votes counts half. accuracy_if_alike:
    (1 + √(2·agreement − 1)) / 2, the accuracy of either window's labels were both equally noisy and their noise
    independent; an upper bound on the mean where pairs differ in noise (Jensen).
    """
    if seen.is_empty():
        return None
    found = accuracy_interval(seen["agrees"], seen["post_id"], seen["weight"])
    alike = (1 + np.sqrt(2 * found.value - 1)) / 2 if found.value >= 0.5 else None
    return {
        "n_pairs": found.n,
        "n_posts": found.n_clusters,
        "agreement": found.value,
        "agreement_low": found.low,
        "agreement_high": found.high,
        "draws": float((seen["agrees"].to_numpy() == 0.5).mean()),
        "accuracy_if_alike": alike,
    }


def _counts(scores: ArrayLike) -> NDArray[np.float64]:
    return np.maximum(np.asarray(scores, dtype=np.float64), 0.0)
