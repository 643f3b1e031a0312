"""Pairwise logistic regression on texts: the text baseline of audits and the one every reward model must beat."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.progress import ignore

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse L2 penalties for TF-IDF, selected on validation. With steps of 10, one step could change accuracy by more
than two recipes differ."""
EMBEDDING_PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Inverse L2 penalties for embeddings of mean square 1, selected on validation."""
NUISANCE_SCALE = 3.0
"""Factor on the nuisance input, so that the penalty hardly shrinks its coefficient."""

Rewards = NDArray[np.float64]
TextReward = Callable[[Sequence[str]], Rewards]
"""Texts -> rewards [n] in log-odds: the difference of two is the log-odds that the first is preferred."""


def fit_tfidf(
    training: pl.DataFrame,
    validation: pl.DataFrame,
    *,
    is_adjusted: bool = False,
    advance: Callable[[float], None] = ignore,
) -> TextReward | None:
    """Logistic regression on the difference of the two responses' TF-IDF vectors (unigrams and bigrams).

    Args:
        training: PAIRS.
        validation: PAIRS that select the penalty (see `fit_chosen`).
        is_adjusted: add the pair's confounder_log_odds as one more input while fitting and drop its coefficient
            afterwards, so that words do not act as proxies of confounders.
        advance: called with 1 after each fit.

    Returns:
        The reward, or None if no word occurs twice in the training texts.

    Source:
        The nuisance head of Chen et al. 2024 (ODIN), section 4, with a known feature instead of a learned one.
    """
    vectors = tfidf_vectors(training)
    if vectors is None:
        return None
    return fit_vectors(training, validation, vectors, PENALTIES, is_adjusted=is_adjusted, advance=advance)


def tfidf_vectors(pairs: pl.DataFrame) -> Callable[[Sequence[str]], Any] | None:
    """TF-IDF of unigrams and bigrams, texts -> sparse [n, width]; None if no word occurs twice in the pairs' texts.

    Args:
        pairs: PAIRS whose texts give the vocabulary and the frequencies.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), dtype=np.float64)
    try:
        vectoriser.fit(_texts(pairs))
    except ValueError:  # how scikit-learn reports that no word occurs twice
        return None
    transform: Callable[[Sequence[str]], Any] = vectoriser.transform
    return transform


def fit_vectors(
    training: pl.DataFrame,
    validation: pl.DataFrame,
    vectors: Callable[[Sequence[str]], Any],
    penalties: Sequence[float],
    *,
    is_adjusted: bool = False,
    advance: Callable[[float], None] = ignore,
) -> TextReward:
    """Logistic regression on the difference of the two responses' vectors.

    Args:
        vectors: texts -> [n, width].
        penalties: inverse L2 penalties, selected on validation.
        training, validation, is_adjusted, advance: as for `fit_tfidf`.
    """

    def differences(pairs: pl.DataFrame) -> Any:
        texts = _texts(pairs)  # a text is in several pairs; each is converted once
        text_vectors = vectors(texts)
        indices = pl.DataFrame({"text": texts, "index": np.arange(len(texts))})
        chosen, rejected = (
            pairs.select(text=side).join(indices, on="text", how="left", maintain_order="left")["index"].to_numpy()
            for side in ("chosen", "rejected")
        )
        return text_vectors[chosen] - text_vectors[rejected]

    coefficients = fit_differences(
        differences(training), differences(validation), training, validation, penalties, is_adjusted, advance
    )
    return lambda texts: np.asarray(vectors(texts) @ coefficients)


def fit_differences(
    known: Any,
    held_out: Any,
    training: pl.DataFrame,
    validation: pl.DataFrame,
    penalties: Sequence[float],
    is_adjusted: bool = False,
    advance: Callable[[float], None] = ignore,
) -> Rewards:
    """The coefficients of `fit_vectors`, [width], from differences of vectors.

    Args:
        known, held_out: chosen minus rejected of the training and the validation pairs, [n_pairs, width].
        training, validation, penalties, is_adjusted, advance: as for `fit_vectors`.
    """
    width = known.shape[1]
    if is_adjusted:
        known, held_out = _with_nuisance(known, training), _with_nuisance(held_out, validation)
    return fit_chosen(known, held_out, training["weight"].to_numpy(), penalties, advance)[:width]


def fit_logistic(
    differences: Any,
    weight: NDArray[np.float64],
    penalties: Sequence[float],
    advance: Callable[[float], None] = ignore,
) -> list[Rewards]:
    """Logistic regressions without intercept, one per penalty.

    Without an intercept a flipped pair is equivalent, so every second pair is flipped to have both classes.

    Args:
        differences: chosen minus rejected, [n_pairs, n_features].
        weight: [n_pairs].
        penalties: inverse L2 penalties, the strongest first; each fit starts from the previous one.
        advance: called with 1 after each fit.

    Returns:
        Coefficients [n_features] per penalty.
    """
    from scipy.sparse import diags
    from sklearn.linear_model import LogisticRegression

    if differences.shape[0] == 1:  # a single pair is used both ways
        differences, weight = differences[[0, 0]], weight[[0, 0]] / 2
    sign = np.where(np.arange(differences.shape[0]) % 2, -1.0, 1.0)
    flipped = diags(sign) @ differences
    model = LogisticRegression(fit_intercept=False, max_iter=1000, warm_start=True)
    fits = []
    for penalty in penalties:
        model.set_params(C=penalty).fit(flipped, sign > 0, sample_weight=weight)
        fits.append(np.array(model.coef_[0], dtype=np.float64))
        advance(1)
    return fits


def fit_chosen(
    differences: Any,
    held_out: Any,
    weight: NDArray[np.float64],
    penalties: Sequence[float],
    advance: Callable[[float], None] = ignore,
) -> Rewards:
    """Logistic regression with the penalty selected on held-out differences.

    It is the one with the lowest held-out log loss at the best scale of its margins: a penalty shrinks margins, which
    does not change the ranking.

    Args:
        held_out: [n_held_out, n_features].
        differences, weight, penalties, advance: as for `fit_logistic`.

    Returns:
        Coefficients [n_features], scaled to log-odds on the held-out pairs.
    """
    fits = fit_logistic(differences, weight, penalties, advance)
    margins = [np.asarray(held_out @ fit) for fit in fits]
    scales = [best_scale(margin) for margin in margins]
    losses = [float(np.logaddexp(0.0, -scale * margin).mean()) for scale, margin in zip(scales, margins, strict=True)]
    best = int(np.argmin(losses))
    return np.asarray((scales[best] or 1.0) * fits[best])  # a scale of 0 would lose the ranking


def best_scale(margins: Rewards) -> float:
    """The factor, at least 0, at which these margins of chosen over rejected have the lowest log loss."""
    if not margins.any():
        return 0.0
    size = float(np.abs(margins).max())
    (scale,) = fit_logistic(margins[:, None] / size, np.ones(margins.size), (1e3,))
    return max(0.0, float(scale[0]) / size)


def _texts(pairs: pl.DataFrame) -> list[str]:
    return sorted({*pairs["chosen"], *pairs["rejected"]})


def _with_nuisance(differences: Any, pairs: pl.DataFrame) -> Any:
    from scipy.sparse import csr_matrix, hstack

    nuisance = NUISANCE_SCALE * pairs["confounder_log_odds"].to_numpy()[:, None]
    if isinstance(differences, np.ndarray):
        return np.column_stack([differences, nuisance])
    return hstack([differences, csr_matrix(nuisance)]).tocsr()
