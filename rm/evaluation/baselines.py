"""Baselines an accuracy must beat: length, time, both, TF-IDF and frozen embeddings, fitted on the same pairs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from lurker.pairwise import EMBEDDING_PENALTIES, PENALTIES, TextReward, fit_logistic, fit_tfidf, fit_vectors
from lurker.progress import advance
from rm.evaluation.metrics import Margins

BASELINES = ("length", "time", "both", "tfidf", "embeddings")
"""Names of the baselines."""
N_FITS = len(PENALTIES) + len(EMBEDDING_PENALTIES)
"""Fits of all baselines together, one per penalty."""

Predictor = Callable[[pl.DataFrame], Margins]
"""PAIRS -> margins [n_pairs], positive where the chosen response is predicted to win."""


def fit_baselines(
    training: pl.DataFrame,
    validation: pl.DataFrame,
    embed: Callable[[Sequence[str]], Any] | None = None,
    *,
    is_adjusted: bool = False,
) -> dict[str, Predictor]:
    """Fit the baselines on a model's own training pairs.

    `length` and `time` only rank; the margins of `both`, `tfidf` and `embeddings` are log-odds. Each fit advances the
    open progress bar by one, N_FITS in all.

    Args:
        training: PAIRS that the baselines are fitted on.
        validation: PAIRS that choose the penalties.
        embed: texts [n] -> vectors [n, width] of a model that no vote has touched; no `embeddings` without it.
        is_adjusted: fit the text baselines as an *adjusted* model is trained, net of what confounders explain. On
            naive pairs they would otherwise learn the shortcuts and be no fair comparison.

    Returns:
        Predictors by name; `tfidf` is absent when no word occurs twice in the training texts.
    """
    predictors = {"length": length_margins, "time": time_margins, "both": fit_length_and_time(training)}
    options: dict[str, Any] = {"is_adjusted": is_adjusted, "advance": advance}
    rewards = {
        "tfidf": fit_tfidf(training, validation, **options),
        "embeddings": embed and fit_vectors(training, validation, embed, EMBEDDING_PENALTIES, **options),
    }
    predictors |= {name: partial(_text_margins, reward) for name, reward in rewards.items() if reward is not None}
    return predictors


def length_margins(pairs: pl.DataFrame) -> Margins:
    """The longer response wins: difference of log lengths, [n_pairs]."""
    return np.asarray(np.log1p(pairs["chosen_chars"].to_numpy()) - np.log1p(pairs["rejected_chars"].to_numpy()))


def time_margins(pairs: pl.DataFrame) -> Margins:
    """The earlier response wins: difference of log delays, [n_pairs]."""
    return np.asarray(np.log1p(pairs["rejected_delay_s"].to_numpy()) - np.log1p(pairs["chosen_delay_s"].to_numpy()))


def fit_length_and_time(training: pl.DataFrame) -> Predictor:
    """A logistic regression on the differences of log length and log delay."""

    def differences(pairs: pl.DataFrame) -> Margins:
        return np.column_stack([length_margins(pairs), time_margins(pairs)])

    scale = differences(training).std(axis=0) + 1e-9  # a constant column stays 0
    (coefficients,) = fit_logistic(differences(training) / scale, training["weight"].to_numpy(), (1.0,))
    return lambda pairs: np.asarray(differences(pairs) / scale @ coefficients)


def _text_margins(reward: TextReward, pairs: pl.DataFrame) -> Margins:
    chosen, rejected = (reward(pairs[side].to_list()) for side in ("chosen", "rejected"))
    return np.asarray(chosen - rejected)
