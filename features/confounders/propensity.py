"""The probability that the earlier of two responses wins, given confounders only: cross-fitted by post.

The mean of the log-odds of three models of all confounders of the audit: boosted trees, a logistic regression on named
terms and interactions, and one on products of any two confounders. Each alone leaves signal that another finds: trees
missed sums of collinear confounders (delay against rank) that a linear probe reads, and both missed products that a
quadratic or neural probe reads. Their mean predicted better than a regression stacked on the trees, and it has no
second fit through which a post's own labels could leak. All are fitted on other posts, and on training posts only; a
held-out post is predicted by the mean of all folds, none of which has seen it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.confounders.design import (
    Design,
    all_terms,
    is_earlier_chosen,
    pair_parts,
    plain_terms,
)
from features.confounders.measures import Scale, columns_for_trees, confounder_matrix
from features.confounders.regressions import ProductMap, fit_all_folds, log_odds
from features.hashing import hash_ids
from lurker.threads import single_thread_pool

Floats = NDArray[np.float64]
PREDICTED_ROWS = 20_000
"""Pairs predicted at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PropensityConfig:
    """How the outcome is modelled."""

    max_learned_pairs: int = 200_000
    """About how many pairs to learn from at most, those of the first posts by a hash; each takes about 5 kB, pairs."""
    n_folds: int = 3
    """Folds of posts for cross-fitting, folds."""
    n_boosting_rounds: int = 60
    """Maximum number of trees, trees."""
    min_pairs_per_tree: int = 1_300
    """Training pairs per tree: with few pairs, many trees would fit noise, pairs."""
    learning_rate: float = 0.2
    """Shrinkage of each tree."""
    min_pairs_per_leaf: int = 80
    """Smallest leaf, pairs."""
    penalty: float = 30.0
    """Ridge penalty of the logistic regression on standardised terms."""
    n_products: int = 500
    """Landmark pairs of the Nyström approximation of all products of two confounders, pairs."""
    product_penalty: float = 1_000.0
    """Ridge penalty of the logistic regression on products, standardised."""
    clip: float = 0.02
    """Probabilities are clipped to [clip, 1 - clip]."""

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise ValueError(f"n_folds must be at least 2, got {self.n_folds}")


@dataclass(frozen=True, slots=True)
class Propensity:
    """P(earlier response wins | confounders), each pair's from models that did not see its post."""

    config: PropensityConfig
    salt: str
    """Salt of the folds."""
    scale: Scale
    centre: Floats
    """Mean of each term of the regressions. Shape [k]."""
    spread: Floats
    """Standard deviation of each term. Shape [k]."""
    trees: list[Any]
    """The boosted trees of each fold; None for a fold that has only one label to learn from."""
    on_terms: Floats
    """Coefficients on the terms, shape [k + 1, n_folds]."""
    product_map: ProductMap
    on_products: Floats
    """Coefficients on the features of product_map, shape [n_landmarks + 1, n_folds]."""
    trees_share: float
    """Weight of the trees' log-odds: a third, or less with few pairs, because few trees stay close to the base rate."""

    def predict(self, pairs: pl.DataFrame) -> Floats:
        """Predicted probability per pair, shape [n].

        Args:
            pairs: with the columns of `add_confounders`.
        """
        with threadpool_limits(1):  # of a task on another machine; here the build holds a limit already
            probabilities = [self._predict_slice(part) for part in pairs.iter_slices(PREDICTED_ROWS)]
        return np.concatenate(probabilities) if probabilities else np.empty(0)

    def _predict_slice(self, pairs: pl.DataFrame) -> Floats:
        labels, folds = is_earlier_chosen(pairs), _folds(pairs, self.config, self.salt)
        X = confounder_matrix(pairs, "joint", labels, self.scale)
        terms = all_terms(X, pair_parts(pairs, labels, self.scale), self.centre, self.spread)
        products = self.product_map.transform(plain_terms(X, self.centre, self.spread))
        from_trees = self._own_fold(self._trees_log_odds(X, folds), folds)
        from_terms = self._own_fold(log_odds(terms, self.on_terms), folds)
        from_products = self._own_fold(log_odds(products, self.on_products), folds)
        mean = self.trees_share * from_trees + (1 - self.trees_share) / 2 * (from_terms + from_products)
        return np.asarray(1 / (1 + np.exp(-mean)), dtype=np.float64)

    def _trees_log_odds(self, X: Floats, folds: NDArray[np.int64]) -> Floats:
        """Log-odds by the trees of each fold, where they are used; 0 elsewhere. Shape [n, n_folds]."""
        found, used = np.zeros((len(X), self.config.n_folds)), X[:, columns_for_trees("joint")]
        for fold, model in enumerate(self.trees):
            mask = (folds == fold) | (folds == self.config.n_folds)
            if model is not None and mask.any():
                found[mask, fold] = model.decision_function(used[mask])
        return found

    def _own_fold(self, by_fold: Floats, folds: NDArray[np.int64]) -> Floats:
        """The clipped log-odds of each pair's own fold, or the mean over folds for held-out posts. Shape [n].

        Args:
            by_fold: shape [n, n_folds].
        """
        bound = np.log((1 - self.config.clip) / self.config.clip)
        clipped = np.clip(by_fold, -bound, bound)
        own = clipped[np.arange(len(folds)), np.minimum(folds, self.config.n_folds - 1)]
        return np.where(folds == self.config.n_folds, clipped.mean(axis=1), own)


def fit_propensity(design: Design, config: PropensityConfig, salt: str = "propensity-fold") -> Propensity:
    """Fit the models of all folds.

    Args:
        salt: salt of the hash that assigns posts to folds.
    """
    folds = _folds(design.posts, config, salt)
    n_learned = int((folds != config.n_folds).sum())
    with single_thread_pool() as pool:  # the longest first
        products = pool.submit(_fit_products, design, folds, config)
        trees = [pool.submit(_fit_trees, design, folds, fold, config) for fold in range(config.n_folds)]
        on_terms = pool.submit(_fit_terms, design, folds, config).result()
        product_map, on_products = products.result()
        fitted = [one.result() for one in trees]
    trees_share = _n_trees(n_learned, config) / config.n_boosting_rounds / 3
    scaling = (design.scale, design.centre, design.spread)
    return Propensity(config, salt, *scaling, fitted, on_terms, product_map, on_products, trees_share)


def _fit_products(design: Design, folds: NDArray[np.int64], config: PropensityConfig) -> tuple[ProductMap, Floats]:
    plain = plain_terms(design.X, design.centre, design.spread)
    product_map, products = ProductMap.fit(plain, folds != config.n_folds, config.n_products)
    return product_map, fit_all_folds(products, design.labels, folds, config.n_folds, config.product_penalty)


def _fit_terms(design: Design, folds: NDArray[np.int64], config: PropensityConfig) -> Floats:
    terms = all_terms(design.X, design.parts, design.centre, design.spread)
    return fit_all_folds(terms, design.labels, folds, config.n_folds, config.penalty)


def _fit_trees(design: Design, folds: NDArray[np.int64], fold: int, config: PropensityConfig) -> Any:
    """Boosted trees fitted to the other folds; None if they have only one label."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    learned = np.flatnonzero((folds != fold) & (folds != config.n_folds))
    labels = design.labels[learned]
    if np.unique(labels).size < 2:
        return None
    model = HistGradientBoostingClassifier(
        max_iter=_n_trees(len(learned), config),
        learning_rate=config.learning_rate,
        max_leaf_nodes=15,
        min_samples_leaf=config.min_pairs_per_leaf,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=0,
    )
    return model.fit(design.X[learned][:, columns_for_trees("joint")], labels)


def _n_trees(n_pairs: int, config: PropensityConfig) -> int:
    return max(1, min(config.n_boosting_rounds, n_pairs // config.min_pairs_per_tree))


def chosen_log_odds(pairs: pl.DataFrame, propensity: Propensity) -> NDArray[np.float64]:
    """Out-of-fold log-odds that the CHOSEN response wins, given confounders only. Shape [n]."""
    p = propensity.predict(pairs)
    return np.where(is_earlier_chosen(pairs), 1.0, -1.0) * np.log(p / (1 - p))


def _folds(pairs: pl.DataFrame, config: PropensityConfig, salt: str) -> NDArray[np.int64]:
    """The fold of each pair's post; n_folds for held-out posts, which no model learns from. Shape [n]."""
    posts = pairs["post_id"].unique().sort()
    folds = hash_ids(posts, salt)[posts.search_sorted(pairs["post_id"]).to_numpy()] % config.n_folds
    return np.where((pairs["split"] != "train").to_numpy(), config.n_folds, folds)
