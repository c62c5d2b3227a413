"""Multinomial logistic regression against scikit-learn's."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from emtools.kernels.logits import fit_logits, log_chances


def test_the_same_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 90)
    values = rng.normal(size=(90, 3)) * [3.0, 1.0, 0.2] + rng.normal(size=(4, 3))[codes]
    theirs = LogisticRegression(C=1 / 0.7, tol=1e-10, max_iter=5000).fit(values, codes)
    ours = fit_logits(values, codes, 4, 0.7)
    np.testing.assert_allclose(ours[:-1].T, theirs.coef_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(log_chances(ours, values), theirs.predict_log_proba(values), rtol=0, atol=1e-5)


def test_a_type_without_a_row_has_no_chance() -> None:
    values = np.random.default_rng(1).normal(size=(30, 2))
    chances = np.exp(log_chances(fit_logits(values, (values[:, 0] > 0).astype(np.intp), 3), values))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-12)
    assert chances[:, 2].max() < 1e-4
