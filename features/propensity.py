"""How likely is it that the earlier of two responses wins, given confounders only: cross-fitted by post.

Boosted trees on all confounders of the audit, then a logistic regression on their log-odds, the same confounders and
what they say of one another: trees alone were seen to leave sums of collinear confounders (delay against rank) that a
linear probe finds. Both are fitted on other posts, and never on a test post.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.confounds import confounder_matrix, normal_scores
from features.context import POST_CONTEXT
from features.hashing import hash_ids

MAX_TERM = 4.0
"""Terms of the logistic regression are held within this many standard deviations: no pair decides alone."""
Part = tuple[NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PropensityConfig:
    """How the outcome is modelled."""

    n_folds: int = 5
    """Parts the posts are cut into, parts."""
    n_boosting_rounds: int = 200
    """Most trees, trees."""
    min_pairs_per_tree: int = 400
    """Pairs to learn from for every tree: where there are few, many trees would learn their noise, pairs."""
    learning_rate: float = 0.07
    """Shrinkage of each tree."""
    min_pairs_per_leaf: int = 80
    """Smallest leaf, pairs."""
    penalty: float = 30.0
    """Ridge penalty of the logistic regression on standardised terms."""
    clip: float = 0.02
    """Probabilities are held within [clip, 1 - clip]."""

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise ValueError(f"n_folds must be at least 2, got {self.n_folds}")


def is_earlier_chosen(pairs: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether the earlier response won, ties in time by id. [n]."""
    delay = pl.col("chosen_delay_s") - pl.col("rejected_delay_s")
    tie = (delay == 0) & (pl.col("chosen_id") < pl.col("rejected_id"))
    return pairs.select((delay < 0) | tie).to_series().to_numpy()


def earlier_wins_probability(
    pairs: pl.DataFrame, config: PropensityConfig, salt: str = "propensity-fold"
) -> NDArray[np.float64]:
    """P(the earlier one wins | confounders). [n]. pairs: as of `add_confounders`, sorted by pair_id. salt of the folds.

    The log-odds the logistic regression learns from are out of fold, as in stacking: the trees behind those of other
    posts saw this post's labels, which moves its own probability by less than a thousandth.
    """
    labels = is_earlier_chosen(pairs)
    X = confounder_matrix(pairs, "joint", labels)
    parts = _parts(pairs, config, salt)
    p = _out_of_fold(lambda n_learned: _boosting(n_learned, config), X, labels, parts)
    safe = np.clip(p, config.clip, 1 - config.clip)
    Z = np.column_stack([np.log(safe / (1 - safe)), _terms(pairs, X, labels)])
    p = _out_of_fold(lambda _: _logistic(config), Z, labels, parts)
    return np.clip(p, config.clip, 1 - config.clip)


def chosen_log_odds(pairs: pl.DataFrame, config: PropensityConfig) -> NDArray[np.float64]:
    """Log-odds that CHOSEN wins, given confounders only, out of fold. [n]. pairs: as above."""
    p = earlier_wins_probability(pairs, config)
    return np.where(is_earlier_chosen(pairs), 1.0, -1.0) * np.log(p / (1 - p))


def _parts(pairs: pl.DataFrame, config: PropensityConfig, salt: str) -> list[Part]:
    """(learned from, applied to): folds of the posts that are no test posts, then those for the test posts."""
    folds = hash_ids(pairs["post_id"], salt) % config.n_folds
    is_test = (pairs["split"] == "test").to_numpy()
    of_folds = [((folds != fold) & ~is_test, (folds == fold) & ~is_test) for fold in range(config.n_folds)]
    return [part for part in (*of_folds, (~is_test, is_test)) if part[1].any()]


def _out_of_fold(
    make: Callable[[int], Any],
    X: NDArray[np.float64],
    labels: NDArray[np.bool_],
    parts: list[Part],
) -> NDArray[np.float64]:
    """P(label) of every row from the model of its part; one half where there is nothing to learn from. [n].

    make: the model for so many rows to learn from.
    """

    def predict(part: Part) -> NDArray[np.float64]:
        learn, apply = part
        if np.unique(labels[learn]).size < 2:
            return np.full(int(apply.sum()), 0.5)
        # One thread a model: sums in one order, so that no byte of the pairs hangs on the machine.
        with threadpool_limits(1):
            model = make(int(learn.sum())).fit(X[learn], labels[learn])
            return np.asarray(model.predict_proba(X[apply])[:, 1], dtype=np.float64)

    p = np.full(labels.size, 0.5)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (_, apply), found in zip(parts, pool.map(predict, parts), strict=True):
            p[apply] = found
    return p


def _boosting(n_learned: int, config: PropensityConfig) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=max(1, min(config.n_boosting_rounds, n_learned // config.min_pairs_per_tree)),
        learning_rate=config.learning_rate,
        max_leaf_nodes=15,
        min_samples_leaf=config.min_pairs_per_leaf,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=0,
    )


def _logistic(config: PropensityConfig) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1 / config.penalty, max_iter=300)


def _terms(pairs: pl.DataFrame, X: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """All confounders, the subreddits, and time, order and length times the levels they may turn round at. [n, k]."""
    shown = np.where(labels, 1.0, -1.0)
    core, levels = [], [normal_scores(*[pairs[name].to_numpy().astype(np.float64)] * 2)[0] for name in POST_CONTEXT]
    for name in ("log_delay", "log_rank", "log_chars"):
        chosen, rejected = (pairs[f"{side}_{name}"].to_numpy().astype(np.float64) for side in ("chosen", "rejected"))
        scores = normal_scores(chosen, rejected)
        core += [shown * (scores[0] - scores[1]), shown * np.sign(chosen - rejected)]
        levels.append((scores[0] + scores[1]) / 2)
    subreddits = [(pairs["subreddit"] == name).to_numpy() for name in sorted(pairs["subreddit"].unique())]
    Z = np.column_stack([X, *levels, *subreddits, *(one * level for one in core for level in levels)])
    spread = Z.std(axis=0)
    standardised = (Z - Z.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return np.asarray(np.clip(standardised, -MAX_TERM, MAX_TERM), dtype=np.float64)
