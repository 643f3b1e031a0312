"""How sure is a label: both scores are noisy counts of how much a response is liked.

Model: score ~ Poisson(exposure · rate of liking), rate ~ Gamma(shape, rate) of the subreddit. Exposure, how many
readers a response had, is taken as equal, or as what delay, the post's score and the thread's size foretell of scores.
Reddit blurs the scores it shows (vote fuzzing): that counts as votes that tell less.

With equal exposure the confidence is a function of the two scores alone, so a filter on it cannot select by time; with
fitted exposure a later winner is the surer one, and a filter (not a weight or a soft label) makes time tell the winner.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from features.recipes import Recipe
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
        # Whole numbers add up to the same sum in any order of rows; floats would not.
        total, total_of_squares = int(counts.sum()), int((counts**2).sum())
        mean = max(total / counts.size, 1e-9)
        spread = total_of_squares / counts.size - (total / counts.size) ** 2 - mean - vote_fuzz**2
    else:
        e = np.asarray(exposures, dtype=np.float64)
        mean = max(float(counts.sum() / e.sum()), 1e-9)
        spread = float((((counts - mean * e) ** 2).sum() - mean * e.sum() - e.size * vote_fuzz**2) / (e**2).sum())
    excess = max(spread, MIN_OVERDISPERSION * mean)
    return GammaPrior(shape=mean**2 / excess, rate=mean / excess)


def fit_exposure(responses: pl.DataFrame) -> NDArray[np.float64]:
    """Readers of each response relative to the mean, as far as delay, post score and thread size foretell scores. [n].

    A Poisson regression of the score on log delay, its square, log post score and log responses in the thread, so what
    the text does to a score is none of it; nor are readers that these do not foretell. responses: score, log_delay,
    post_score, post_id.
    Source: Poisson pseudo-likelihood with a log link, Gourieroux, Monfort & Trognon 1984, Econometrica 52(3).
    """
    from sklearn.linear_model import PoissonRegressor
    from threadpoolctl import threadpool_limits

    log_delay = pl.col("log_delay")
    known = [log_delay, log_delay**2, pl.col("post_score").fill_null(0).clip(0).cast(pl.Float64).log1p()]
    X = responses.select(
        *(one.alias(str(n)) for n, one in enumerate(known)), size=pl.len().over("post_id").log()
    ).to_numpy()
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    counts = np.maximum(responses["score"].to_numpy(), 0)
    if counts.sum() == 0:
        return np.ones(counts.size)
    with threadpool_limits(1):
        fitted = PoissonRegressor(alpha=1e-6, max_iter=500).fit(X, counts).predict(X)
    return np.asarray(fitted / fitted.mean(), dtype=np.float64)


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


def add_label_confidence(pairs: pl.DataFrame, responses: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The pairs with label_confidence, each from the prior of its subreddit's responses.

    pairs: subreddit, chosen_id, rejected_id and their scores. responses: subreddit, score; with fitted exposure also
    comment_id, post_id, log_delay, post_score.
    """
    confidence = np.full(pairs.height, 0.5)
    subreddits = pairs["subreddit"].cast(pl.String).to_numpy()
    for (name,), unsorted in responses.group_by("subreddit"):
        group = unsorted.sort("comment_id") if recipe.exposure == "fitted" else unsorted
        rows = np.flatnonzero(subreddits == str(name))
        mine = pairs[rows]
        exposures, of_pairs = None, None
        if recipe.exposure == "fitted":
            exposures = fit_exposure(group)
            chosen, rejected = (group["comment_id"].search_sorted(mine[f"{s}_id"]) for s in ("chosen", "rejected"))
            of_pairs = exposures[chosen.to_numpy()], exposures[rejected.to_numpy()]
        prior = fit_prior(group["score"], exposures, recipe.vote_fuzz)
        confidence[rows] = label_confidence(
            mine["chosen_score"], mine["rejected_score"], prior, of_pairs, recipe.vote_fuzz
        )
    return pairs.with_columns(label_confidence=pl.Series(confidence, dtype=pl.Float64))


def ceiling(pairs: pl.DataFrame) -> dict[str, Any]:
    """The weighted mean of label_confidence, over all pairs and by split, and what it is. pairs: of the table."""
    mean = (pl.col("label_confidence") * pl.col("weight")).sum() / pl.col("weight").sum()
    by_split = dict(pairs.group_by("split").agg(mean).sort("split").iter_rows())
    return {"accuracy": pairs.select(mean).item(), "by_split": by_split, "is": CEILING}


def check_second_window(pairs: pl.DataFrame, looks: pl.DataFrame) -> dict[str, Any] | None:
    """How often the votes that came after the first look prefer the response that led at it, with its interval.

    pairs: post_id, chosen_id, rejected_id, weight. looks: of the table observations. Of the pairs whose two responses
    were both seen at least twice and differed at their first looks; None without any. agreement: a draw of the later
    votes counts half. accuracy_if_alike: (1 + √(2·agreement − 1)) / 2, the accuracy of either window's labels were both
    equally noisy and their noise independent; an upper bound on the mean where pairs differ in noise (Jensen).
    """
    seen = looks.filter(pl.col("kind") == "comment").sort("item_id", "observed_utc")
    spans = seen.group_by("item_id").agg(
        n=pl.len(), first=pl.col("score").first(), later=pl.col("score").last() - pl.col("score").first()
    )
    spans = spans.filter(pl.col("n") > 1)
    both = pairs.select("post_id", "chosen_id", "rejected_id", "weight")
    for side in ("chosen", "rejected"):
        named = {"item_id": f"{side}_id", "first": f"{side}_first", "later": f"{side}_later"}
        both = both.join(spans.drop("n").rename(named), on=f"{side}_id", how="inner", maintain_order="left")
    lead = pl.col("chosen_first") - pl.col("rejected_first")
    both = both.filter(lead != 0)
    if both.is_empty():
        return None
    gain = (pl.col("chosen_later") - pl.col("rejected_later")).sign() * lead.sign()
    agrees = (both.select(gain).to_series().to_numpy() + 1) / 2
    found = accuracy_interval(agrees, both["post_id"], both["weight"])
    alike = (1 + np.sqrt(2 * found.value - 1)) / 2 if found.value >= 0.5 else None
    return {
        "n_pairs": found.n,
        "n_posts": found.n_clusters,
        "agreement": found.value,
        "agreement_low": found.low,
        "agreement_high": found.high,
        "draws": float((agrees == 0.5).mean()),
        "accuracy_if_alike": alike,
    }


def _counts(scores: ArrayLike) -> NDArray[np.float64]:
    return np.maximum(np.asarray(scores, dtype=np.float64), 0.0)
