"""Baselines an accuracy must beat: length, time, both, TF-IDF and frozen embeddings, fitted on the same pairs."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.errors import CallError
from lurker.pairwise import EMBEDDING_PENALTIES, PENALTIES, TextReward, fit_differences, fit_logistic, fit_tfidf
from lurker.progress import advance
from rm.evaluation.metrics import Margins

BASELINES = ("length", "time", "both", "tfidf", "embeddings")
"""Names of the baselines."""
CHEAP = BASELINES[:4]
"""Those that need no pass of a model."""
Which = Literal["none", "cheap", "all"]
"""How many baselines are fitted: none; all but embeddings; or all of them."""
N_FITS = {"tfidf": len(PENALTIES), "embeddings": len(EMBEDDING_PENALTIES)}
"""Fits of the slow baselines, one per penalty."""

Predictor = Callable[[pl.DataFrame], Margins]
"""PAIRS -> margins [n_pairs], positive where the chosen response is predicted to win."""
Differences = Callable[[pl.DataFrame], NDArray[np.float64]]
"""PAIRS -> vectors of chosen minus rejected [n_pairs, width], of a model that no vote has touched."""


def require_which(baselines: str) -> None:
    """Raises CallError for baselines that are none of "none", "cheap" and "all"."""
    if baselines not in get_args(Which):
        raise CallError(f"Baselines are one of {', '.join(get_args(Which))}, got {baselines!r}.")


def fit_baseline(
    name: str,
    training: pl.DataFrame,
    validation: pl.DataFrame,
    differences: Differences | None = None,
    *,
    is_adjusted: bool = False,
) -> Predictor | None:
    """Fit one baseline on a model's own training pairs; None when it cannot exist.

    `length` and `time` only rank; the margins of `both`, `tfidf` and `embeddings` are log-odds. Each fit of N_FITS
    advances the open progress bar by one. `tfidf` cannot exist when no word occurs twice in the training texts,
    `embeddings` without a pretrained model.

    Args:
        name: one of BASELINES.
        training: PAIRS that it is fitted on.
        validation: PAIRS that choose the penalty.
        differences: frozen embeddings.
        is_adjusted: fit the text baselines as an *adjusted* model is trained, net of what confounders explain. On
            naive pairs they would otherwise learn the shortcuts and be no fair comparison.
    """
    if name == "tfidf":
        reward = fit_tfidf(training, validation, is_adjusted=is_adjusted, advance=advance)
        return reward and partial(_text_margins, reward)
    if name == "embeddings":
        return differences and _fit_embeddings(training, validation, differences, is_adjusted)
    return fit_length_and_time(training) if name == "both" else {"length": length_margins, "time": time_margins}[name]


def _fit_embeddings(
    training: pl.DataFrame, validation: pl.DataFrame, differences: Differences, is_adjusted: bool
) -> Predictor:
    known, held_out = differences(training), differences(validation)
    coefficients = fit_differences(known, held_out, training, validation, EMBEDDING_PENALTIES, is_adjusted, advance)
    return lambda pairs: np.asarray(differences(pairs) @ coefficients)


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
