"""The probability that the earlier of two responses wins, given confounders only: cross-fitted by post.

The mean of the log-odds of three models of all confounders of the audit: boosted trees, a logistic regression on named
terms and interactions, and one on products of any two confounders. Each alone leaves signal that another finds: trees
missed sums of collinear confounders (delay against rank) that a linear probe reads, and both missed products that a
quadratic or neural probe reads. Their mean predicted better than a regression stacked on the trees, and it has no
second fit through which a post's own labels could leak. All are fitted on other posts, and on training posts only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.confounders.design import (
    SLICE_PAIRS,
    Design,
    is_earlier_chosen,
    pair_parts,
    pair_terms,
    plain_terms,
    slices,
    standardised,
)
from features.confounders.measures import Scale, confounder_matrix
from features.hashing import hash_ids
from lurker.threads import single_thread_pool

MANY_PAIRS = 100_000
"""From this many pairs on, models are fitted one after the other to save memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PropensityConfig:
    """How the outcome is modelled."""

    max_learned_pairs: int = 200_000
    """About how many pairs to learn from at most, those of the first posts by a hash; each takes about 5 kB, pairs."""
    n_folds: int = 5
    """Folds of posts for cross-fitting, folds."""
    n_boosting_rounds: int = 200
    """Maximum number of trees, trees."""
    min_pairs_per_tree: int = 400
    """Training pairs per tree: with few pairs, many trees would fit noise, pairs."""
    learning_rate: float = 0.07
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
    centre: NDArray[np.float64]
    """Mean of each term of the regressions. Shape [k]."""
    spread: NDArray[np.float64]
    """Standard deviation of each term. Shape [k]."""
    boosting: dict[int, Any]
    """The model of each fold; fold n_folds is that of held-out posts."""
    logistic: dict[int, Any]
    products: dict[int, Any]
    trees_share: float
    """Weight of the trees' log-odds: a third, or less with few pairs, because few trees stay close to the base rate."""

    def predict(self, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Predicted probability per pair, shape [n].

        Args:
            pairs: with the columns of `add_confounders`.
        """
        probabilities = [self._predict_slice(part) for part in pairs.iter_slices(SLICE_PAIRS)]
        return np.concatenate(probabilities) if probabilities else np.empty(0)

    def _predict_slice(self, pairs: pl.DataFrame) -> NDArray[np.float64]:
        config, labels, folds = self.config, is_earlier_chosen(pairs), _folds(pairs, self.config, self.salt)
        X = confounder_matrix(pairs, "joint", labels, self.scale)
        from_trees = _log_odds(_predict(self.boosting, X, folds), config)
        terms = standardised(pair_terms(X, pair_parts(pairs, labels, self.scale)), self.centre, self.spread)
        from_terms = _log_odds(_predict(self.logistic, terms, folds), config)
        plain = plain_terms(X, self.centre, self.spread)
        from_products = _log_odds(_predict(self.products, plain, folds), config)
        mean = self.trees_share * from_trees + (1 - self.trees_share) / 2 * (from_terms + from_products)
        return np.asarray(1 / (1 + np.exp(-mean)), dtype=np.float64)


def fit_propensity(design: Design, config: PropensityConfig, salt: str = "propensity-fold") -> Propensity:
    """Fit the models of all folds.

    Args:
        salt: salt of the hash that assigns posts to folds.
    """
    scale, centre, spread, labels = design.scale, design.centre, design.spread, design.labels
    folds = _folds(design.posts, config, salt)
    boosting, logistic = _fit_trees_and_terms(design, folds, config)
    plain = plain_terms(design.X, centre, spread)
    del design  # products take the most memory
    products = _fit(lambda n: _products(n, config).fit, lambda mask: plain[mask], labels, folds, config)
    trees_share = _n_trees(int((folds != config.n_folds).sum()), config) / config.n_boosting_rounds / 3
    return Propensity(config, salt, scale, centre, spread, boosting, logistic, products, trees_share)


def _fit_trees_and_terms(
    design: Design, folds: NDArray[np.int64], config: PropensityConfig
) -> tuple[dict[int, Any], dict[int, Any]]:
    def terms(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        return standardised(pair_terms(design.X[mask], design.parts[mask]), design.centre, design.spread)

    boosting = _fit(lambda n: _boosting(n, config).fit, lambda mask: design.X[mask], design.labels, folds, config)
    return boosting, _fit(lambda _: _logistic(config).fit, terms, design.labels, folds, config)


def chosen_log_odds(pairs: pl.DataFrame, propensity: Propensity) -> NDArray[np.float64]:
    """Out-of-fold log-odds that the CHOSEN response wins, given confounders only. Shape [n]."""
    p = propensity.predict(pairs)
    return np.where(is_earlier_chosen(pairs), 1.0, -1.0) * np.log(p / (1 - p))


def _folds(pairs: pl.DataFrame, config: PropensityConfig, salt: str) -> NDArray[np.int64]:
    """The fold of each pair's post; n_folds for held-out posts, which no model learns from. Shape [n]."""
    posts = pairs["post_id"].unique().sort()
    folds = hash_ids(posts, salt)[posts.search_sorted(pairs["post_id"]).to_numpy()] % config.n_folds
    return np.where((pairs["split"] != "train").to_numpy(), config.n_folds, folds)


def _fit(
    make_fit: Callable[[int], Callable[[NDArray[Any], NDArray[np.bool_]], Any]],
    rows: Callable[[NDArray[np.bool_]], NDArray[Any]],
    labels: NDArray[np.bool_],
    folds: NDArray[np.int64],
    config: PropensityConfig,
) -> dict[int, Any]:
    """The model of each fold, fitted to the other folds; no model for a fold with only one label to learn from.

    Args:
        make_fit: takes the number of rows and returns the `fit` of a new model.
        rows: the model's input for the pairs of a mask.
    """

    def fit(fold: int) -> Any:
        learned = (folds != fold) & (folds != config.n_folds)
        if np.unique(labels[learned]).size < 2:
            return None
        return make_fit(int(learned.sum()))(rows(learned), labels[learned])

    numbers = np.unique(folds).tolist()
    # Every model copies its rows, so large fits run one at a time.
    with single_thread_pool(None if len(labels) < MANY_PAIRS else 1) as pool:
        models = dict(zip(numbers, pool.map(fit, numbers), strict=True))
    return {fold: model for fold, model in models.items() if model is not None}


def _predict(models: dict[int, Any], X: NDArray[Any], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(label) of every row from the model of its fold; one half where the fold has no model. Shape [n]."""
    p = np.full(len(X), 0.5)
    with threadpool_limits(1):
        for fold, model in models.items():
            if (mask := folds == fold).any():
                p[mask] = model.predict_proba(X[mask])[:, 1]
    return p


def _log_odds(p: NDArray[np.float64], config: PropensityConfig) -> NDArray[np.float64]:
    clipped = np.clip(p, config.clip, 1 - config.clip)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


def _n_trees(n_pairs: int, config: PropensityConfig) -> int:
    return max(1, min(config.n_boosting_rounds, n_pairs // config.min_pairs_per_tree))


def _boosting(n_pairs: int, config: PropensityConfig) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=_n_trees(n_pairs, config),
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


def _products(n_pairs: int, config: PropensityConfig) -> "ProductRegression":
    return ProductRegression.create(min(config.n_products, n_pairs), config.product_penalty)


@dataclass(frozen=True, slots=True)
class ProductRegression:
    """A logistic regression on all products of two terms, without one column per product.

    A Nyström approximation: the features of a pair are its kernel products with a few hundred landmark pairs, which
    span the relevant quadratic functions. Like a scikit-learn pipeline, except that pairs are mapped slice by slice in
    single precision: mapping all at once would take the most memory of a build.

    Source: Williams & Seeger 2001, NIPS 13, 682-688.
    """

    kernel: Any
    scaler: Any
    regression: Any

    @classmethod
    def create(cls, n_landmarks: int, penalty: float) -> "ProductRegression":
        """An unfitted model with that many landmark pairs."""
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        kernel = Nystroem(kernel="poly", degree=2, coef0=1, n_components=n_landmarks, random_state=0)
        return cls(kernel, StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=300))

    def fit(self, X: NDArray[np.float32], labels: NDArray[np.bool_]) -> "ProductRegression":
        """Fit to terms, shape [n, k], and labels, shape [n]."""
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
        """P of both labels, shape [n, 2]."""
        mapped = self.scaler.transform(self.kernel.transform(X))
        return np.asarray(self.regression.predict_proba(mapped), dtype=np.float64)
