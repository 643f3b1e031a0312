"""Pairwise logistic regression: of two responses the one with the higher reward wins, the simplest text model first.

The text-only baseline of audits and the model that every reward model must beat are the same code.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.progress import ignore

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse strengths of the L2 penalty that TF-IDF chooses from on validation: with steps of 10 the step alone can be
more than what two recipes differ by."""
EMBEDDING_PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Inverse L2 penalties that embeddings (mean square 1) choose from on validation."""
NUISANCE_SCALE = 3.0
"""The nuisance input is multiplied by this, so that the penalty hardly holds its coefficient."""

Rewards = NDArray[np.float64]
TextReward = Callable[[Sequence[str]], Rewards]
"""Texts in, a reward for each out, in log-odds: the difference of two is the log-odds that the first is preferred."""


def fit_tfidf(
    training: pl.DataFrame,
    validation: pl.DataFrame,
    *,
    is_adjusted: bool = False,
    advance: Callable[[float], None] = ignore,
) -> TextReward | None:
    """A logistic regression on the difference of the two responses' TF-IDF vectors (words and pairs of words).

    training, validation: PAIRS, of which validation chooses the penalty (see `fit_chosen`). is_adjusted: the pair's
    confounder_log_odds are one more input, whose coefficient is fitted with the words' and then dropped, so that words
    do not speak for what the confounders explain. None when no word comes twice in the training texts.
    Source: the nuisance head of Chen et al. 2024 (ODIN), section 4, with a known feature in its place.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), dtype=np.float64)
    try:
        vectoriser.fit(_texts(training))
    except ValueError:  # how scikit-learn says that the texts hold no word, or none twice
        return None

    return fit_vectors(training, validation, vectoriser.transform, PENALTIES, is_adjusted=is_adjusted, advance=advance)


def fit_vectors(
    training: pl.DataFrame,
    validation: pl.DataFrame,
    vectors: Callable[[Sequence[str]], Any],
    penalties: Sequence[float],
    *,
    is_adjusted: bool = False,
    advance: Callable[[float], None] = ignore,
) -> TextReward:
    """A logistic regression on the difference of the two responses' vectors.

    vectors: of texts, [n, width]. penalties: inverse strengths of the L2 penalty, of which validation chooses. The
    rest as `fit_tfidf` has it.
    """

    def differences(pairs: pl.DataFrame) -> Any:
        texts = _texts(pairs)  # a text is in several pairs: each is read once
        of_text = vectors(texts)
        places = pl.DataFrame({"text": texts, "place": np.arange(len(texts))})
        chosen, rejected = (
            pairs.select(text=side).join(places, on="text", how="left", maintain_order="left")["place"].to_numpy()
            for side in ("chosen", "rejected")
        )
        return of_text[chosen] - of_text[rejected]

    known, held_out = differences(training), differences(validation)
    width = known.shape[1]
    if is_adjusted:
        known, held_out = _with_nuisance(known, training), _with_nuisance(held_out, validation)
    coefficients = fit_chosen(known, held_out, training["weight"].to_numpy(), penalties, advance)[:width]
    return lambda texts: np.asarray(vectors(texts) @ coefficients)


def fit_logistic(
    differences: Any,
    weight: NDArray[np.float64],
    penalties: Sequence[float],
    advance: Callable[[float], None] = ignore,
) -> list[Rewards]:
    """Coefficients of logistic regressions without intercept on [n_pairs, n_features] chosen minus rejected.

    penalties: inverse strengths of the L2 penalty, from the strongest on: each fit starts where the one before ended.
    Without an intercept a pair turned round says the same, so every second one is, to give both classes.
    """
    from scipy.sparse import diags
    from sklearn.linear_model import LogisticRegression

    if differences.shape[0] == 1:  # a single pair is taken both ways
        differences, weight = differences[[0, 0]], weight[[0, 0]] / 2
    sign = np.where(np.arange(differences.shape[0]) % 2, -1.0, 1.0)
    turned = diags(sign) @ differences
    model = LogisticRegression(fit_intercept=False, max_iter=1000, warm_start=True)
    fits = []
    for penalty in penalties:
        model.set_params(C=penalty).fit(turned, sign > 0, sample_weight=weight)
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
    """Coefficients [n_features] of the penalty that held-out differences choose, in log-odds as they have them.

    The penalty is the one with the lowest log loss once its margins are scaled as suits them best there: a penalty
    shrinks them, and ranking does not care. The rest as `fit_logistic` has it.
    """
    fits = fit_logistic(differences, weight, penalties, advance)
    margins = [np.asarray(held_out @ fit) for fit in fits]
    scales = [best_scale(margin) for margin in margins]
    losses = [float(np.logaddexp(0.0, -scale * margin).mean()) for scale, margin in zip(scales, margins, strict=True)]
    best = int(np.argmin(losses))
    return np.asarray((scales[best] or 1.0) * fits[best])  # what is denied there keeps its order


def best_scale(margins: Rewards) -> float:
    """The factor, at least 0, that gives these margins of chosen over rejected the lowest log loss."""
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
