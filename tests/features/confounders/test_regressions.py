"""Regressions of all folds at once equal scikit-learn's fold by fold; the map of products finds products."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from features.confounders import regressions
from features.confounders.regressions import ProductMap, fit_all_folds, log_odds


@pytest.mark.parametrize("base_rate", [0.5, 0.03])
def test_each_fold_is_the_regression_of_the_other_folds(base_rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regressions, "TOLERANCE", 1e-7)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 12)).astype(np.float32)  # more than one slice
    X[:, 5] = X[:, 4] + 0.05 * rng.normal(size=len(X))  # nearly collinear
    X[:, 11] = 0
    log_odds_true = X[:, 0] - 2 * X[:, 4] + np.log(base_rate / (1 - base_rate))
    labels = rng.random(len(X)) < 1 / (1 + np.exp(-log_odds_true))
    folds = rng.integers(0, 4, len(X))  # fold 3 is held out
    coefficients = fit_all_folds(X, labels, folds, 3, penalty=20.0)
    for fold in range(3):
        learned = (folds != fold) & (folds != 3)
        expected = LogisticRegression(C=1 / 20, tol=1e-10, max_iter=1_000).fit(
            X[learned].astype(float), labels[learned]
        )
        np.testing.assert_allclose(coefficients[:-1, fold], expected.coef_[0], atol=2e-4)
        np.testing.assert_allclose(coefficients[-1, fold], expected.intercept_[0], atol=2e-4)


def test_a_fold_with_one_label_is_predicted_to_have_it() -> None:
    X = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    folds = np.arange(200) % 2
    coefficients = fit_all_folds(X, folds == 0, folds, 2, penalty=1.0)
    assert np.isfinite(coefficients).all()
    assert (log_odds(X, coefficients)[:, 0] < -3).all() and (log_odds(X, coefficients)[:, 1] > 3).all()


def test_products_predict_what_sums_cannot() -> None:
    """The label is the sign of a product of two of thirty terms, one of which is constant."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6_000, 30)).astype(np.float32)
    X[:, 29] = 0
    labels = X[:, 3] * X[:, 7] + 0.3 * rng.normal(size=len(X)) > 0
    folds = np.where(np.arange(6_000) < 5_000, 0, 1)  # fold 1 is predicted from fold 0
    product_map, products = ProductMap.fit(X, folds == 0, 500)
    np.testing.assert_allclose(product_map.transform(X), products, rtol=1e-5)
    found = log_odds(products, fit_all_folds(products, labels, folds, 2, 10.0))[:, 1]
    test = folds == 1
    from_sums = LogisticRegression().fit(X[~test], labels[~test]).score(X[test], labels[test])
    right = ((found > 0) == labels)[test].mean()
    assert right > 0.8 and abs(from_sums - 0.5) < 0.06, (right, from_sums)
