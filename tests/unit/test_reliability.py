"""Whether probabilities come true, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from emtools.kernels.reliability import brier_score, error_auroc, reliability


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probability = np.round(rng.random((20, 30)), 2)
    event = rng.random((20, 30)) < probability**2
    assert brier_score(probability, event) == pytest.approx(
        brier_score_loss(event.ravel(), probability.ravel()), rel=1e-12
    )
    unsure = np.minimum(probability, 1.0 - probability)
    wrong = event != (probability > 0.5)
    assert error_auroc(unsure, wrong) == pytest.approx(roc_auc_score(wrong.ravel(), unsure.ravel()), rel=1e-12)
    assert np.isnan(error_auroc(unsure, np.zeros_like(wrong)))


def test_bins_by_hand() -> None:
    found = reliability(np.array([0.0, 0.04, 0.96, 1.0, 1.0]), np.array([False, True, True, True, False]))
    np.testing.assert_allclose(found.told, [0.02, (0.96 + 2.0) / 3.0], rtol=1e-12)
    np.testing.assert_allclose(found.seen, [0.5, 2.0 / 3.0], rtol=1e-12)
    assert found.counts.tolist() == [2, 3]
