"""Odds of being missing against scikit-learn and against the mechanism that made the gaps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from emtools.kernels.odds import logistic, missing_odds


def rows(n=400, d=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    return (x - x.mean(axis=0)) / x.std(axis=0), rng


def test_logistic_regression_equals_that_of_scikit_learn():
    x, rng = rows()
    y = (rng.random(400) < expit(x @ [1.5, -1.0, 0.0] - 1.0)).astype(float)
    weights = rng.uniform(0.5, 2.0, size=400)
    found = logistic(x, y, weights, ridge=0.5)
    peer = LogisticRegression(C=2.0, tol=1e-12, max_iter=1000, solver="newton-cholesky").fit(x, y, weights)
    np.testing.assert_allclose(found, [*peer.intercept_, *peer.coef_[0]], rtol=1e-6, atol=1e-8)


def test_weights_are_repeats_and_separated_groups_have_an_end():
    x, _ = rows(60, 2)
    y = (x[:, 0] > 0.0).astype(float)  # separated: without a ridge there is no maximum
    counts = np.arange(60) % 3 + 1
    once = logistic(x, y, counts.astype(float))
    np.testing.assert_allclose(
        once, logistic(np.repeat(x, counts, axis=0), np.repeat(y, counts), np.ones(counts.sum()))
    )
    assert np.isfinite(once).all()


def test_odds_are_those_of_the_mechanism():
    """Weighed by them the observed cells have the mean of the missing ones, which they lack otherwise."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20_000, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
    missing = rng.random(20_000) < expit(1.5 * x[:, 0] - 0.5)
    observed = np.column_stack([np.ones(20_000, dtype=bool), ~missing])
    odds = missing_odds(x, observed, np.ones(20_000))
    assert (odds[:, 0] == 0.0).all()
    np.testing.assert_allclose(np.log(odds[:, 1]), 1.5 * x[:, 0] - 0.5, atol=0.15)
    seen, weights = x[~missing, 1], odds[~missing, 1]
    gone = x[missing, 1].mean()
    assert weights @ seen / weights.sum() == pytest.approx(gone, abs=0.05)
    assert abs(seen.mean() - gone) > 0.5  # negative control
