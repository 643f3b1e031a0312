"""What an accuracy must beat: longer wins, earlier wins, both, and TF-IDF, fitted on the model's own training pairs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from lurker.pairwise import EMBEDDING_PENALTIES, PENALTIES, TextReward, fit_logistic, fit_tfidf, fit_vectors
from lurker.progress import ignore
from rm.evaluation.metrics import Margins

BASELINES = ("length", "time", "both", "tfidf", "embeddings")
"""Their names."""
N_FITS = len(PENALTIES) + len(EMBEDDING_PENALTIES)
"""Fits of all baselines together, a penalty each."""

Predictor = Callable[[pl.DataFrame], Margins]
"""PAIRS in, margins [n_pairs] out: over 0 where it names the chosen response."""


def fit_baselines(
    training: pl.DataFrame,
    validation: pl.DataFrame,
    embed: Callable[[Sequence[str]], Any] | None = None,
    advance: Callable[[float], None] = ignore,
    *,
    is_adjusted: bool = False,
) -> dict[str, Predictor]:
    """The baselines by name, those that learn fitted on the given PAIRS.

    `length` and `time` rank only; `both`, `tfidf` and `embeddings` are in log-odds. TF-IDF is absent when no word comes
    twice in the training texts. embed: texts [n] to vectors [n, width] of a model that no vote has touched. advance:
    told of each fit, of N_FITS. is_adjusted: those that read texts learn as an *adjusted* model does, with what
    confounders explain taken off: on naive pairs they would learn the shortcuts and be no rival.
    """
    predictors = {"length": length, "time": time, "both": fit_both(training)}
    given: dict[str, Any] = {"is_adjusted": is_adjusted, "advance": advance}
    rewards = {
        "tfidf": fit_tfidf(training, validation, **given),
        "embeddings": embed and fit_vectors(training, validation, embed, EMBEDDING_PENALTIES, **given),
    }
    predictors |= {name: partial(_difference, reward) for name, reward in rewards.items() if reward is not None}
    return predictors


def _difference(reward: TextReward, pairs: pl.DataFrame) -> Margins:
    chosen, rejected = (reward(pairs[side].to_list()) for side in ("chosen", "rejected"))
    return np.asarray(chosen - rejected)


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
    (coefficients,) = fit_logistic(differences(training) / scale, training["weight"].to_numpy(), (1.0,))
    return lambda pairs: np.asarray(differences(pairs) / scale @ coefficients)
