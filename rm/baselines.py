"""What an accuracy must beat: longer wins, earlier wins, both, and TF-IDF, fitted on the model's own training pairs."""

from collections.abc import Callable

import numpy as np
import polars as pl

from lurker.pairwise import fit_logistic, fit_tfidf
from rm.evaluate import Margins

Predictor = Callable[[pl.DataFrame], Margins]
"""PAIRS in, margins [n_pairs] out: over 0 where it names the chosen response."""


def fit_baselines(training: pl.DataFrame, validation: pl.DataFrame) -> dict[str, Predictor]:
    """The baselines by name, those that learn fitted on the given PAIRS.

    `length` and `time` rank only; `both` and `tfidf` are in log-odds. TF-IDF is absent when no word comes twice in
    the training texts.
    """
    predictors = {"length": length, "time": time, "both": fit_both(training)}
    reward = fit_tfidf(training, validation)
    if reward is None:
        return predictors
    return {**predictors, "tfidf": lambda pairs: reward(pairs["chosen"]) - reward(pairs["rejected"])}


def length(pairs: pl.DataFrame) -> Margins:
    """The longer response wins: the difference of log lengths."""
    return np.asarray(np.log1p(pairs["chosen_chars"].to_numpy()) - np.log1p(pairs["rejected_chars"].to_numpy()))


def time(pairs: pl.DataFrame) -> Margins:
    """The earlier response wins: the difference of log delays."""
    return np.asarray(np.log1p(pairs["rejected_delay_s"].to_numpy()) - np.log1p(pairs["chosen_delay_s"].to_numpy()))


def fit_both(training: pl.DataFrame) -> Predictor:
    """A logistic regression on the differences of log length and log delay."""

    def differences(pairs: pl.DataFrame) -> Margins:
        return np.column_stack([length(pairs), time(pairs)])

    scale = differences(training).std(axis=0) + 1e-9  # a constant column stays 0
    coefficients = fit_logistic(differences(training) / scale, training["weight"].to_numpy(), penalty=1.0)
    return lambda pairs: np.asarray(differences(pairs) / scale @ coefficients)
