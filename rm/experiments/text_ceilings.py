"""The text ceiling: what an oracle of the texts alone could reach, from models and the vote ceiling.

One score per response does not tell how much of its rate is luck, so no estimator here finds the text ceiling without
an assumption about models; the bracket has the weakest one. Arrays and intervals are as in
`rm.experiments.vote_ceilings`.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lurker.stats import accuracy_interval, mean_interval
from rm.experiments.vote_ceilings import MIN_POSTS, Ceiling, Floats, floats, nothing_yet, posterior, too_few

N_RESAMPLES = 100
"""Resamples of the validation posts, for the uncertainty of a calibration."""

BRACKET = (
    "The models read texts alone, so the best one is below the text ceiling; the posterior, or two looks where there "
    "are any, is above it. A model that gains from length or time can exceed the text ceiling."
)


def bracket(
    correct: Mapping[str, ArrayLike], confidence: ArrayLike, posts: ArrayLike, vote_ceiling: float | None = None
) -> Ceiling:
    """The text ceiling between the accuracy of the best model and the vote ceiling.

    Args:
        correct: is_correct of each model of texts, 0, 0.5 or 1, [n] each.
        confidence: label_confidence, [n].
        posts: [n].
        vote_ceiling: upper end of two looks; the higher of it and the posterior's upper end counts, as the posterior
            alone is too low where votes are few.

    Returns:
        low is the lower end of the best model's interval, at a level that allows for having chosen it among all; at
        least 0.5, which a coin reaches.
    """
    post = np.asarray(posts)
    empty = nothing_yet("bracket", "text", post, BRACKET)
    if problem := too_few(empty, "pairs"):
        return replace(empty, reason=problem)
    ends = (posterior(confidence, post).high, vote_ceiling)
    high = max(one for one in ends if one is not None)
    if not correct:
        return replace(empty, high=high, reason="no lower end: no model was evaluated on these pairs")
    level = 1 - 0.05 / len(correct)
    estimates = [accuracy_interval(values, post, level=level) for values in correct.values()]
    return replace(empty, low=max(0.5, *(one.low for one in estimates)), high=high)


TRIAD = (
    "Two models err independently of each other, and pairs are alike in how hard they are. Too low when they share "
    "errors."
)


def triad(first: ArrayLike, second: ArrayLike, posts: ArrayLike) -> Ceiling:
    """The text ceiling from two models and the label, (1 + √(r1L · r2L / r12)) / 2 with r = 2 · agreement − 1.

    The interval is that of the linearised estimator, so it is too narrow where a model hardly beats chance, which is
    refused.

    Args:
        first, second: is_correct of two differently built models, 0, 0.5 or 1, [n].
        posts: [n].

    Source:
        Three classifiers with independent errors, in Platanios, Blum & Mitchell 2014, "Estimating accuracy from
        unlabeled data", UAI.
    """
    post = np.asarray(posts)
    empty = nothing_yet("triad", "text", post, TRIAD)
    if problem := too_few(empty, "pairs"):
        return replace(empty, reason=problem)
    signs = 2 * floats(first) - 1, 2 * floats(second) - 1
    parts = np.stack([*signs, signs[0] * signs[1]])
    means = [mean_interval(part, post) for part in parts]
    if min(one.low for one in means) <= 0:
        return replace(empty, reason="a model is not beyond chance, or the two do not agree beyond chance")
    r = np.array([one.value for one in means])
    root = np.sqrt(r[0] * r[1] / r[2])
    influence = root * (parts[0] / r[0] + parts[1] / r[1] - parts[2] / r[2] - 1) / 2
    spread = mean_interval(influence, post)
    half = (spread.high - spread.low) / 2
    value, low, high = (1 + np.array([root, root - half, root + half])) / 2
    if value > 1:
        return replace(empty, reason=f"it reads {value:.3f}, above 1: the models' errors are not what it assumes")
    return replace(empty, value=float(value), low=float(low), high=float(min(high, 1.0)))


CALIBRATED = (
    "Tells what this model's score can reach, not what another text model could: at most the text ceiling, and too low "
    "by what the model does not read."
)
CALIBRATED_CONFIDENCE = (
    "The later votes judge the label as the truth would. They are part of the label, which makes it too high, and as "
    "noisy as it, which makes it too low."
)


def calibrated_margins(
    margins: ArrayLike,
    posts: ArrayLike,
    held_out_margins: ArrayLike,
    held_out_posts: ArrayLike,
    *,
    rng: np.random.Generator,
) -> Ceiling:
    """The Bayes accuracy of a model's margins: the mean of max(p, 1 − p), p being isotonic on held-out pairs.

    Args:
        margins: of the tested pairs, chosen minus rejected, [n].
        posts: [n].
        held_out_margins, held_out_posts: of validation pairs, which calibrate, [m].
        rng: resamples the held-out posts.

    Source: Ushio et al. 2025, arXiv 2505.20761: soft labels must be calibrated, by isotonic regression, before their
        mean minimum is a Bayes error.
    """
    post, held_out = np.asarray(posts), floats(held_out_margins)
    empty = nothing_yet("calibrated margins", "text", post, CALIBRATED)
    is_right = (np.sign(held_out) + 1) / 2
    soft = np.abs(floats(margins)), np.abs(held_out)
    return _calibrated(empty, *soft, is_right, post, np.asarray(held_out_posts), rng)


def calibrated_confidence(
    confidence: ArrayLike,
    posts: ArrayLike,
    held_out_confidence: ArrayLike,
    held_out_later: ArrayLike,
    held_out_posts: ArrayLike,
    *,
    rng: np.random.Generator,
) -> Ceiling:
    """The Bayes accuracy of label_confidence after an isotonic calibration against the votes after the first look.

    Args:
        confidence: label_confidence of the tested pairs, [n].
        posts: [n].
        held_out_confidence, held_out_posts: of validation pairs seen twice, which calibrate, [m].
        held_out_later: votes after the first look, chosen minus rejected, [m].
        rng: resamples the held-out posts.

    Source: as for `calibrated_margins`.
    """
    post, is_right = np.asarray(posts), (np.sign(floats(held_out_later)) + 1) / 2
    empty = nothing_yet("calibrated confidence", "vote", post, CALIBRATED_CONFIDENCE)
    soft = floats(confidence), floats(held_out_confidence)
    return _calibrated(empty, *soft, is_right, post, np.asarray(held_out_posts), rng)


def _calibrated(
    empty: Ceiling,
    test: Floats,
    held_out: Floats,
    is_right: Floats,
    posts: NDArray[np.generic],
    held_out_posts: NDArray[np.generic],
    rng: np.random.Generator,
) -> Ceiling:
    """The mean calibrated probability; its interval adds the variance of the calibration over resampled posts.

    Args:
        test, held_out: soft labels, higher is surer, [n] and [m].
        is_right: whether the hard label of a held-out pair agrees, 0, 0.5 or 1, [m].
    """
    clusters = np.unique(held_out_posts, return_inverse=True)[1]
    n_held_out = int(clusters.max()) + 1 if clusters.size else 0
    if problem := too_few(empty, "pairs"):
        return replace(empty, reason=problem)
    if n_held_out < MIN_POSTS:
        return replace(empty, reason=f"{n_held_out} validation posts to calibrate on, {MIN_POSTS} are needed")
    estimate = accuracy_interval(_isotonic(test, held_out, is_right), posts)
    draws = []
    for _ in range(N_RESAMPLES):
        counts = np.bincount(rng.integers(n_held_out, size=n_held_out), minlength=n_held_out)
        draws.append(_isotonic(test, held_out, is_right, counts[clusters]).mean())
    spread = 2 * float(np.std(draws))
    low = estimate.value - np.hypot(estimate.value - estimate.low, spread)
    high = estimate.value + np.hypot(estimate.high - estimate.value, spread)
    return replace(empty, value=estimate.value, low=max(float(low), 0.5), high=min(float(high), 1.0))


def _isotonic(test: Floats, held_out: Floats, is_right: Floats, weights: NDArray[np.int64] | None = None) -> Floats:
    """P(right), at least 0.5 and rising with the soft label, of the tested pairs, [n]."""
    from sklearn.isotonic import IsotonicRegression  # a second to import

    model = IsotonicRegression(y_min=0.5, y_max=1.0, out_of_bounds="clip")
    used = slice(None) if weights is None else weights > 0
    fitted = model.fit(held_out[used], is_right[used], sample_weight=None if weights is None else weights[used])
    return np.asarray(fitted.predict(test), dtype=np.float64)
