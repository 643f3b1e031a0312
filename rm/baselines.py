"""What an accuracy must beat: longer wins, earlier wins, both, and TF-IDF, fitted on the model's own training pairs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rm.evaluate import Margins

PENALTIES = (0.03, 0.3, 3.0)
"""Inverse strengths of the L2 penalty that TF-IDF chooses from on validation."""


Predictor = Callable[[pl.DataFrame], Margins]
"""PAIRS in, margins [n_pairs] out: over 0 where it names the chosen response."""


def fit_baselines(training: pl.DataFrame, validation: pl.DataFrame) -> dict[str, Predictor]:
    """The baselines by name, those that learn fitted on the given PAIRS.

    `length` and `time` rank only; `both` and `tfidf` are in log-odds. TF-IDF is absent when no word comes twice in
    the training texts.
    """
    predictors = {"length": length, "time": time, "both": _fit_both(training)}
    words = _fit_tfidf(training, validation)
    return predictors if words is None else {**predictors, "tfidf": words}


def length(pairs: pl.DataFrame) -> Margins:
    """The longer response wins: the difference of log lengths."""
    return np.asarray(np.log1p(pairs["chosen_chars"].to_numpy()) - np.log1p(pairs["rejected_chars"].to_numpy()))


def time(pairs: pl.DataFrame) -> Margins:
    """The earlier response wins: the difference of log delays."""
    return np.asarray(np.log1p(pairs["rejected_delay_s"].to_numpy()) - np.log1p(pairs["chosen_delay_s"].to_numpy()))


def _fit_both(training: pl.DataFrame) -> Predictor:
    """A logistic regression on the differences of log length and log delay."""

    def differences(pairs: pl.DataFrame) -> Margins:
        return np.column_stack([length(pairs), time(pairs)])

    scale = differences(training).std(axis=0) + 1e-9  # a constant column stays 0
    coefficients = _fit_logistic(differences(training) / scale, training["weight"].to_numpy(), penalty=1.0)
    return lambda pairs: np.asarray(differences(pairs) / scale @ coefficients)


def _fit_tfidf(training: pl.DataFrame, validation: pl.DataFrame) -> Predictor | None:
    """A logistic regression on the difference of the two responses' TF-IDF vectors (words and pairs of words)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), dtype=np.float64)
    try:
        vectoriser.fit(sorted({*training["chosen"], *training["rejected"]}))
    except ValueError:  # how scikit-learn says that the texts hold no word, or none twice
        return None

    def differences(pairs: pl.DataFrame) -> Any:
        return vectoriser.transform(pairs["chosen"]) - vectoriser.transform(pairs["rejected"])

    known, weight = differences(training), training["weight"].to_numpy()
    fits = [_fit_logistic(known, weight, penalty) for penalty in PENALTIES]
    held_out = differences(validation)
    losses = [float(np.logaddexp(0.0, -(held_out @ fit)).mean()) for fit in fits]
    best = fits[int(np.argmin(losses))]
    return lambda pairs: np.asarray(differences(pairs) @ best)


def _fit_logistic(differences: Any, weight: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Coefficients of a logistic regression without intercept on [n_pairs, n_features] chosen minus rejected.

    Without an intercept a pair turned round says the same, so every second one is, to give both classes.
    """
    from scipy.sparse import diags
    from sklearn.linear_model import LogisticRegression

    sign = np.where(np.arange(differences.shape[0]) % 2, -1.0, 1.0)
    turned = diags(sign) @ differences
    fitted = LogisticRegression(fit_intercept=False, C=penalty, max_iter=1000).fit(
        turned, sign > 0, sample_weight=weight
    )
    return np.asarray(fitted.coef_[0], dtype=np.float64)
