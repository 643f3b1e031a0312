"""How likely is it that the earlier of two responses wins, given confounders only: cross-fitted by post, calibrated.

A pair's probability comes from models that saw neither its post nor, for any pair, a test post: boosted trees on all
confounders of the audit, then a logistic calibration within the pair's own split, so that what is peculiar to the few
posts of a small split is taken out too.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.confounds import confounder_matrix
from features.hashing import hash_ids

CALIBRATED_ON = ("log_delay", "log_rank", "log_chars")
"""Confounders whose differences the calibration within a split sees beside the log-odds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PropensityConfig:
    """How the outcome is modelled."""

    n_folds: int = 5
    """Parts the posts are cut into, parts."""
    max_train_pairs: int = 50_000
    """Most pairs a model is trained on, chosen by hash, pairs."""
    n_boosting_rounds: int = 120
    """Trees, trees."""
    learning_rate: float = 0.07
    """Shrinkage of each tree."""
    min_pairs_per_leaf: int = 80
    """Smallest leaf, pairs."""
    min_split_pairs: int = 200
    """Smaller splits are not calibrated on their own, pairs."""
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


def earlier_wins_probability(pairs: pl.DataFrame, config: PropensityConfig) -> NDArray[np.float64]:
    """P(the earlier one wins | confounders). [n]. pairs: as of `add_confounders`, sorted by pair_id."""
    earlier_won = is_earlier_chosen(pairs)
    X = confounder_matrix(pairs, "joint", earlier_won)
    is_test = (pairs["split"] == "test").to_numpy()
    folds = hash_ids(pairs["post_id"], "propensity-fold") % config.n_folds
    order = np.argsort(hash_ids(pairs["pair_id"], "propensity-sample"), kind="stable")
    p = np.full(pairs.height, 0.5)
    # One thread: sums in one order, so that no byte of the pairs hangs on the machine.
    with threadpool_limits(1):
        for fold in range(config.n_folds):
            learn, apply = (folds != fold) & ~is_test, (folds == fold) & ~is_test
            p[apply] = _boosted(X, earlier_won, order[learn[order]][: config.max_train_pairs], apply, config)
        learn = ~is_test if not is_test.all() else is_test
        p[is_test] = _boosted(X, earlier_won, order[learn[order]][: config.max_train_pairs], is_test, config)
        p = _calibrated(pairs, p, earlier_won, folds, config)
    return np.clip(p, config.clip, 1 - config.clip)


def chosen_log_odds(pairs: pl.DataFrame, config: PropensityConfig) -> NDArray[np.float64]:
    """Log-odds that CHOSEN wins, given confounders only, out of fold. [n]. pairs: as above."""
    p = earlier_wins_probability(pairs, config)
    return np.where(is_earlier_chosen(pairs), 1.0, -1.0) * np.log(p / (1 - p))


def _boosted(
    X: NDArray[np.float64],
    labels: NDArray[np.bool_],
    learn: NDArray[np.int64],
    apply: NDArray[np.bool_],
    config: PropensityConfig,
) -> NDArray[np.float64]:
    """P(label) of the rows `apply`; one half where nothing is there to learn from."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    if not apply.any() or np.unique(labels[learn]).size < 2:
        return np.full(int(apply.sum()), 0.5)
    model = HistGradientBoostingClassifier(
        max_iter=config.n_boosting_rounds,
        learning_rate=config.learning_rate,
        max_leaf_nodes=15,
        min_samples_leaf=config.min_pairs_per_leaf,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=0,
    )
    model.fit(X[learn], labels[learn])
    return np.asarray(model.predict_proba(X[apply])[:, 1], dtype=np.float64)


def _calibrated(
    pairs: pl.DataFrame,
    p: NDArray[np.float64],
    labels: NDArray[np.bool_],
    folds: NDArray[np.int64],
    config: PropensityConfig,
) -> NDArray[np.float64]:
    """Probabilities put right within each split by logistic regressions that saw the split's other folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    shown = np.where(labels, 1.0, -1.0)
    safe = np.clip(p, config.clip, 1 - config.clip)
    differences = [shown * (pairs[f"chosen_{c}"] - pairs[f"rejected_{c}"]).to_numpy() for c in CALIBRATED_ON]
    Z = StandardScaler().fit_transform(np.column_stack([np.log(safe / (1 - safe)), *differences]))
    calibrated = p.copy()
    for split in sorted(pairs["split"].unique()):
        mine = (pairs["split"] == split).to_numpy()
        if mine.sum() < config.min_split_pairs:
            continue
        for fold in range(config.n_folds):
            learn, apply = mine & (folds != fold), mine & (folds == fold)
            if apply.any() and np.unique(labels[learn]).size == 2:
                calibrated[apply] = LogisticRegression().fit(Z[learn], labels[learn]).predict_proba(Z[apply])[:, 1]
    return calibrated
