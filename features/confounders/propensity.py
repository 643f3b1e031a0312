"""How likely is it that the earlier of two responses wins, given confounders only: cross-fitted by post.

The mean of the log-odds of three models of all confounders of the audit: boosted trees, a logistic regression on what
they say of one another by name, and one on products of any two. Each alone leaves what another finds: trees were seen
to leave sums of collinear confounders (delay against rank) that a linear probe reads, and both of them products that a
quadratic or neural one reads. Their mean foretells better than a regression on top of the trees did, and has no second
fit through which a post's own labels could come back. All are fitted on other posts, and on training posts alone.
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

from features.confounders.design import (
    SLICE_PAIRS,
    Examples,
    is_earlier_chosen,
    pair_parts,
    pair_terms,
    plain_terms,
    slices,
    standardised,
)
from features.confounders.measures import Scale, confounder_matrix
from features.hashing import hash_ids

MANY_PAIRS = 100_000
"""From so many pairs on the models are fitted one after the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PropensityConfig:
    """How the outcome is modelled."""

    max_learned_pairs: int = 200_000
    """Pairs that are learned from, at most and about: those of the posts that come first by a hash. A pair takes about
    five kilobytes while it is learned from, pairs."""
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
    n_products: int = 500
    """Pairs whose products with all others stand for all products of two terms (Nyström), pairs."""
    product_penalty: float = 1_000.0
    """Ridge penalty of the logistic regression on products, standardised."""
    clip: float = 0.02
    """Probabilities are held within [clip, 1 - clip]."""

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise ValueError(f"n_folds must be at least 2, got {self.n_folds}")


@dataclass(frozen=True, slots=True)
class Propensity:
    """P(the earlier one wins | confounders), each pair's from models that saw other posts than its own."""

    config: PropensityConfig
    salt: str
    """Of the folds."""
    scale: Scale
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    """Of the terms of the regressions. [k]."""
    boosting: dict[int, Any]
    """The model of each fold; the number after the last fold is that of the posts that are held out."""
    logistic: dict[int, Any]
    products: dict[int, Any]
    trees_share: float
    """Of the log-odds: a third; less where the pairs are few, for few trees stay near the share of all pairs."""

    def of(self, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Of every pair. [n]. pairs: as of `add_confounders`."""
        found = [self._of_slice(part) for part in pairs.iter_slices(SLICE_PAIRS)]
        return np.concatenate(found) if found else np.empty(0)

    def _of_slice(self, pairs: pl.DataFrame) -> NDArray[np.float64]:
        config, labels, folds = self.config, is_earlier_chosen(pairs), _folds(pairs, self.config, self.salt)
        X = confounder_matrix(pairs, "joint", labels, self.scale)
        of_trees = _log_odds(_predict(self.boosting, X, folds), config)
        terms = standardised(pair_terms(X, pair_parts(pairs, labels, self.scale)), self.centre, self.spread)
        of_terms = _log_odds(_predict(self.logistic, terms, folds), config)
        of_products = _log_odds(_predict(self.products, plain_terms(X, self.centre, self.spread), folds), config)
        mean = self.trees_share * of_trees + (1 - self.trees_share) / 2 * (of_terms + of_products)
        return np.asarray(1 / (1 + np.exp(-mean)), dtype=np.float64)


def fit_propensity(examples: Examples, config: PropensityConfig, salt: str = "propensity-fold") -> Propensity:
    """Learn how likely the earlier one wins. salt: of the folds."""
    scale, centre, spread, labels = examples.scale, examples.centre, examples.spread, examples.labels
    folds = _folds(examples.posts, config, salt)
    boosting, logistic = _fit_trees_and_terms(examples, folds, config)
    plain = plain_terms(examples.X, centre, spread)
    del examples  # products take the most memory
    products = _fit(lambda n: _products(n, config).fit, lambda of: plain[of], labels, folds, config)
    trees_share = _n_trees(int((folds != config.n_folds).sum()), config) / config.n_boosting_rounds / 3
    return Propensity(config, salt, scale, centre, spread, boosting, logistic, products, trees_share)


def _fit_trees_and_terms(
    examples: Examples, folds: NDArray[np.int64], config: PropensityConfig
) -> tuple[dict[int, Any], dict[int, Any]]:
    def terms(of: NDArray[np.bool_]) -> NDArray[np.float64]:
        return standardised(pair_terms(examples.X[of], examples.parts[of]), examples.centre, examples.spread)

    boosting = _fit(lambda n: _boosting(n, config).fit, lambda of: examples.X[of], examples.labels, folds, config)
    return boosting, _fit(lambda _: _logistic(config).fit, terms, examples.labels, folds, config)


def chosen_log_odds(pairs: pl.DataFrame, propensity: Propensity) -> NDArray[np.float64]:
    """Log-odds that CHOSEN wins, given confounders only, out of fold. [n]. pairs: as above."""
    p = propensity.of(pairs)
    return np.where(is_earlier_chosen(pairs), 1.0, -1.0) * np.log(p / (1 - p))


def _folds(pairs: pl.DataFrame, config: PropensityConfig, salt: str) -> NDArray[np.int64]:
    """The fold of each pair's post; n_folds for posts that are held out, which nothing is learned from. [n]."""
    posts = pairs["post_id"].unique().sort()
    folds = hash_ids(posts, salt)[posts.search_sorted(pairs["post_id"]).to_numpy()] % config.n_folds
    return np.where((pairs["split"] != "train").to_numpy(), config.n_folds, folds)


def _fit(
    make: Callable[[int], Callable[[NDArray[Any], NDArray[np.bool_]], Any]],
    rows: Callable[[NDArray[np.bool_]], NDArray[Any]],
    labels: NDArray[np.bool_],
    folds: NDArray[np.int64],
    config: PropensityConfig,
) -> dict[int, Any]:
    """The model of each fold, learned from the others; none where there is nothing to learn from.

    make: how a model is fitted to so many rows. rows: what it sees of the pairs of a mask.
    """

    def fit(fold: int) -> Any:
        learn = (folds != fold) & (folds != config.n_folds)
        if np.unique(labels[learn]).size < 2:
            return None
        # One thread a model: sums in one order, so that no byte of the pairs hangs on the number of cores.
        with threadpool_limits(1):
            return make(int(learn.sum()))(rows(learn), labels[learn])

    numbers = np.unique(folds).tolist()
    # Every model learns from rows of its own: of many only one at a time.
    with ThreadPoolExecutor(os.cpu_count() if len(labels) < MANY_PAIRS else 1) as pool:
        found = dict(zip(numbers, pool.map(fit, numbers), strict=True))
    return {fold: model for fold, model in found.items() if model is not None}


def _predict(models: dict[int, Any], X: NDArray[Any], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(label) of every row from the model of its fold; one half where there is none. [n]."""
    p = np.full(len(X), 0.5)
    with threadpool_limits(1):
        for fold, model in models.items():
            if (apply := folds == fold).any():
                p[apply] = model.predict_proba(X[apply])[:, 1]
    return p


def _log_odds(p: NDArray[np.float64], config: PropensityConfig) -> NDArray[np.float64]:
    safe = np.clip(p, config.clip, 1 - config.clip)
    return np.asarray(np.log(safe / (1 - safe)), dtype=np.float64)


def _n_trees(n_learned: int, config: PropensityConfig) -> int:
    return max(1, min(config.n_boosting_rounds, n_learned // config.min_pairs_per_tree))


def _boosting(n_learned: int, config: PropensityConfig) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=_n_trees(n_learned, config),
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


def _products(n_learned: int, config: PropensityConfig) -> "ProductRegression":
    return ProductRegression.of(min(config.n_products, n_learned), config.product_penalty)


@dataclass(frozen=True, slots=True)
class ProductRegression:
    """A logistic regression on all products of two terms, without a column for each.

    A few hundred pairs stand for all: what is seen of a pair are its products with each of these, which span the
    quadratic functions as far as they matter. It is a pipeline of scikit-learn's, but for this: pairs are mapped slice
    by slice in single precision, for all at once would take the most memory of a build.
    Source: Williams & Seeger 2001, NIPS 13, 682-688.
    """

    kernel: Any
    scaler: Any
    regression: Any

    @classmethod
    def of(cls, n_products: int, penalty: float) -> "ProductRegression":
        """Not fitted yet. n_products: pairs that stand for all."""
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        kernel = Nystroem(kernel="poly", degree=2, coef0=1, n_components=n_products, random_state=0)
        return cls(kernel, StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=300))

    def fit(self, X: NDArray[np.float32], labels: NDArray[np.bool_]) -> "ProductRegression":
        """Learn from terms [n, k] and labels [n]."""
        self.kernel.fit(X)
        mapped = np.empty((len(X), self.kernel.n_components), dtype=np.float32)
        for part in slices(len(X)):
            mapped[part] = self.kernel.transform(X[part])
            self.scaler.partial_fit(mapped[part])
        for part in slices(len(X)):
            mapped[part] = self.scaler.transform(mapped[part])
        self.regression.fit(mapped, labels)
        return self

    def predict_proba(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """P of both labels. [n, 2]."""
        mapped = self.scaler.transform(self.kernel.transform(X))
        return np.asarray(self.regression.predict_proba(mapped), dtype=np.float64)
