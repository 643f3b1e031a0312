"""Ridge-penalised logistic regressions of all folds at once: one pass over the rows serves every fold."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLICE_ROWS = 2_000
"""Rows processed at a time; few enough that they stay in the processor's cache."""
MAX_ITERATIONS = 200
TOLERANCE = 1e-4
"""A fold has converged when no coefficient's gradient exceeds this share of its learned rows."""
MIN_VARIANCE = 0.15
"""Lower bound of the outcome variance that scales a step; outcomes have at most .25, so steps never overshoot."""
Floats32 = NDArray[np.float32]
Floats = NDArray[np.float64]


def slices(n: int) -> list[slice]:
    """Slices that cover n rows, SLICE_ROWS each."""
    return [slice(start, start + SLICE_ROWS) for start in range(0, n, SLICE_ROWS)]


def fit_all_folds(
    X: Floats32, labels: NDArray[np.bool_], folds: NDArray[np.int64], n_folds: int, penalty: float
) -> Floats:
    """For each fold, a logistic regression of the rows in the other folds; rows of fold n_folds are never learned from.

    Newton's method with the Hessian of the start: the folds share its Gram matrix, and each iteration reads X once. A
    fold's coefficients depend on the rows that it learns from only: a converged fold stands still while others go on.

    Args:
        X: standardised terms, shape [n, k].
        labels, folds: shape [n] each.
        penalty: of the squared coefficients, halved; the intercept is free.

    Returns:
        Coefficients, the intercept last, shape [k + 1, n_folds].

    Source: Böhning & Lindsay 1988, Ann. Inst. Statist. Math. 40(4), 641-663 (bounded Hessian).
    """
    from scipy.linalg import cho_factor, cho_solve

    learned = (folds[:, None] != np.arange(n_folds)) & (folds != n_folds)[:, None]
    sizes = learned.sum(axis=0)
    means = (learned & labels[:, None]).sum(axis=0) / np.maximum(sizes, 1)
    ridge = np.append(np.full(X.shape[1], penalty), 1e-6)
    grams = _gram_by_fold(X, folds, n_folds)
    variances = np.maximum(means * (1 - means), MIN_VARIANCE)
    hessians = [v * (grams.sum(axis=0) - gram) + np.diag(ridge) for v, gram in zip(variances, grams, strict=True)]
    factors = [cho_factor(hessian) for hessian in hessians]
    coefficients = np.zeros((X.shape[1] + 1, n_folds))
    odds = np.clip(means, 1e-3, 1 - 1e-3)
    coefficients[-1] = np.log(odds / (1 - odds))
    for _ in range(MAX_ITERATIONS):
        gradient = ridge[:, None] * coefficients + _residual_sums(X, labels, learned, coefficients)
        is_moving = np.abs(gradient).max(axis=0) > TOLERANCE * np.maximum(sizes, 1)
        if not is_moving.any():
            break
        steps = [cho_solve(factor, gradient[:, fold]) for fold, factor in enumerate(factors)]
        coefficients -= np.stack(steps, axis=1) * is_moving
    return coefficients


def log_odds(X: Floats32, coefficients: Floats) -> Floats:
    """Log-odds of every row by every fold's regression. Shape [n, n_folds]."""
    weights = coefficients.astype(np.float32)
    found = np.empty((len(X), weights.shape[1]))
    for part in slices(len(X)):
        for fold, column in enumerate(weights.T):  # twice as fast as a product with a matrix of few columns
            found[part, fold] = X[part] @ column[:-1] + column[-1]
    return found


def _gram_by_fold(X: Floats32, folds: NDArray[np.int64], n_folds: int) -> Floats:
    """The Gram matrix of each fold's rows with an intercept, shape [n_folds, k + 1, k + 1]."""
    k = X.shape[1]
    grams = np.zeros((n_folds, k + 1, k + 1))
    for part in slices(len(X)):
        for fold in range(n_folds):
            rows = X[part][folds[part] == fold]
            grams[fold, :k, :k] += rows.T @ rows
            grams[fold, k, :k] += rows.sum(axis=0)
            grams[fold, k, k] += len(rows)
    grams[:, :k, k] = grams[:, k, :k]
    return grams


def _residual_sums(X: Floats32, labels: NDArray[np.bool_], learned: NDArray[np.bool_], coefficients: Floats) -> Floats:
    """The gradient of each fold's negative log-likelihood, shape [k + 1, n_folds]."""
    total = np.zeros_like(coefficients)
    for part in slices(len(X)):
        p = 1 / (1 + np.exp(-log_odds(X[part], coefficients)))
        residuals = np.asfortranarray((p - labels[part, None]) * learned[part], dtype=np.float32)
        for fold, column in enumerate(residuals.T):
            total[:-1, fold] += column @ X[part]
        total[-1] += residuals.sum(axis=0, dtype=np.float64)
    return total


@dataclass(frozen=True, slots=True)
class ProductMap:
    """Features that span the products of any two terms, without one column per product.

    A Nyström approximation: the features of a row are its kernel products with a few hundred landmark rows,
    standardised. Labels play no part, so all folds share one map.

    Source: Williams & Seeger 2001, NIPS 13, 682-688.
    """

    landmarks: Floats32
    """Transposed and divided by their number of terms, so that the kernel is (x @ landmarks + 1)². Shape [k, m]."""
    whitening: Floats32
    """Makes the kernel products with the landmarks orthonormal there. Shape [m, m]."""
    centre: Floats32
    spread: Floats32

    @classmethod
    def fit(cls, X: Floats32, is_landmark: NDArray[np.bool_], n_landmarks: int) -> tuple["ProductMap", Floats32]:
        """The map, and the features of all rows.

        Args:
            X: shape [n, k].
            is_landmark: rows that may be landmarks and give the scales, shape [n].
        """
        from sklearn.kernel_approximation import Nystroem

        known = X[is_landmark]
        n_landmarks = min(n_landmarks, len(known))
        kernel = Nystroem(kernel="poly", degree=2, coef0=1, n_components=n_landmarks, random_state=0).fit(known)
        landmarks = np.ascontiguousarray(kernel.components_.T / X.shape[1], dtype=np.float32)
        zeros, ones = np.zeros(n_landmarks, dtype=np.float32), np.ones(n_landmarks, dtype=np.float32)
        plain = cls(landmarks, np.ascontiguousarray(kernel.normalization_.T), zeros, ones)
        mapped = plain.transform(X)
        centre, spread = _centre_and_spread(mapped, is_landmark)
        product_map = cls(landmarks, plain.whitening, centre.astype(np.float32), spread.astype(np.float32))
        return product_map, product_map._standardise(mapped)

    def transform(self, X: Floats32) -> Floats32:
        """The features of each row, in single precision. Shape [n, n_landmarks]."""
        mapped = np.empty((len(X), self.centre.size), dtype=np.float32)
        for part in slices(len(X)):
            products = X[part] @ self.landmarks
            products += 1
            products *= products
            np.matmul(products, self.whitening, out=mapped[part])
        return self._standardise(mapped)

    def _standardise(self, mapped: Floats32) -> Floats32:
        for part in slices(len(mapped)):
            mapped[part] -= self.centre
            mapped[part] /= self.spread
        return mapped


def _centre_and_spread(X: Floats32, used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column over the rows used, 1 for a constant column. Shape [k] each."""
    n_used = max(int(used.sum()), 1)
    centre = _sum(X[part][used[part]] for part in slices(len(X))) / n_used
    squares = _sum((X[part][used[part]] - centre.astype(np.float32)) ** 2 for part in slices(len(X))) / n_used
    return centre, np.where(squares > 0, np.sqrt(squares), 1)


def _sum(parts: Iterable[Floats32]) -> Floats:
    """Column sums, in double precision. Shape [k]."""
    return np.asarray(np.sum([rows.sum(axis=0, dtype=np.float64) for rows in parts], axis=0))
