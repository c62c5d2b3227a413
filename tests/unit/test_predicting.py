"""Kinds of model told apart by their errors in hidden cells."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.imputing.choose import Comparison
from emtools.imputing.complete import impute
from emtools.imputing.fitting import fit_table
from emtools.imputing.predicting import best_filler, best_prediction, squared_errors
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Identity
from emtools.models.incomplete_mixture import IncompleteMixture, incomplete_prior
from emtools.models.normal import MultivariateNormal


def normal(table):
    return MultivariateNormal(table.values.shape[1])


def mixture(table):
    return IncompleteMixture(2, table.values.shape[1], prior=incomplete_prior(table.values, 2))


CANDIDATES = {"normal": normal, "mixture": mixture}


def bent(n=300, noise=0.1):
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, size=n)
    return np.column_stack([x, np.abs(x) + noise * rng.normal(size=n)]) * [1.0, 100.0]


def straight():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3)) + 2.0 * rng.normal(size=(200, 1))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows


def test_what_is_bent_is_told_from_what_is_straight():
    found = best_prediction(Comparison(Readings(bent())), CANDIDATES)
    assert found.chosen == "mixture"
    assert found.errors["mixture"] < 0.8 * found.errors["normal"]
    found = best_prediction(Comparison(Readings(straight())), CANDIDATES)
    assert found.chosen == "normal"
    assert found.errors["mixture"] == pytest.approx(found.errors["normal"], rel=0.1)


def test_the_first_keeps_what_is_no_better():
    comparison = Comparison(Readings(straight()))
    assert best_prediction(comparison, {"mixture": mixture, "normal": normal}).chosen == "mixture"
    assert best_prediction(comparison, {"a": normal, "b": normal}).chosen == "a"


def test_errors_are_in_standard_deviations():
    table = bent()
    moved = table * [7.0, 0.01] + [100.0, -3.0]
    first, second = (squared_errors(Comparison(Readings(t)), normal) for t in (table, moved))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-8)
    assert first.mean() == pytest.approx(1.0, rel=0.25)


def test_a_candidate_that_cannot_be_fitted_is_never_chosen():
    """Fewer rows than columns: the likelihood has no top without a prior."""
    few = Readings(np.random.default_rng(4).normal(size=(7, 10)))
    comparison = Comparison(few)
    assert np.isinf(squared_errors(comparison, normal)).all()
    found = best_prediction(comparison, CANDIDATES)
    assert found.chosen == "mixture"
    assert np.isfinite(found.errors["mixture"])


def test_weights_of_rows_decide_too():
    """Rows without weight do not call for a mixture, though alone they would."""
    table = np.vstack([straight()[:, :2], bent()])
    table[::7, 1] = np.nan
    alone = np.r_[np.ones(200), np.zeros(300)]
    whole = best_filler(fit_table(Readings(table)), Readings(table))
    assert whole is not None
    assert whole.kind == "mixture"
    fitted = fit_table(Readings(table), weights=alone)
    assert best_filler(fitted, Readings(table), weights=alone) is None
    told = {"markers": ("a", "b"), "scales": (Identity(),) * 2, "filling": "best"}
    assert impute(Readings(table), **told).better is not None
    assert impute(Readings(table), weights=alone, **told).better is None
