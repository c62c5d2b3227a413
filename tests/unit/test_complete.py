"""Ends of the intervals of filled cells against integrals of the conditional density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from emtools.imputing.complete import ends, impute, not_normal
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Identity
from emtools.models.student_t import StudentT, StudentTParams


@pytest.mark.parametrize("row", [[0.4, np.nan, -2.0], [np.nan, 3.0, np.nan]])
def test_ends_under_a_t_leave_a_fortieth_of_the_density_on_each_side(row):
    scatter = np.array([[1.0, 0.5, 0.2], [0.5, 2.0, -0.3], [0.2, -0.3, 0.7]])
    model, params = StudentT(3), StudentTParams(np.array([0.5, 0.0, -1.0]), scatter, 2.5)
    known = Readings(np.array([row]))
    whole, spread = model.conditional(params, known)
    low, high = ends(model, params, known, whole, spread, not_normal(model, params, known, spread, seed=0))
    j = int(np.flatnonzero(np.isnan(row))[0])

    def density(value):
        filled = np.array([row])
        filled[0, j] = value
        return float(np.exp(model.log_density(params, Readings(filled)) - model.log_density(params, known))[0])

    np.testing.assert_allclose(quad(density, -np.inf, low[0, j])[0], 0.025, rtol=1e-5)
    np.testing.assert_allclose(quad(density, high[0, j], np.inf)[0], 0.025, rtol=1e-5)


def test_ends_under_a_t_without_a_variance_come_from_draws():
    model, params = StudentT(1), StudentTParams(np.zeros(1), np.eye(1), 1.5)
    known = Readings(np.full((2, 1), np.nan))
    whole, spread = model.conditional(params, known)
    low, high = ends(model, params, known, whole, spread, not_normal(model, params, known, spread, seed=0))
    assert np.isfinite(low).all()
    assert (low < 0.0).all()
    assert (high > 0.0).all()


def test_rows_without_weight_are_in_no_draw():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 2)) + rng.normal(size=(80, 1))
    rows[:40] += 1000.0
    rows[75:, 0] = np.nan
    weights = np.repeat([0.0, 1.0], 40)
    told = {"markers": ("a", "b"), "scales": (Identity(),) * 2, "weights": weights, "filling": "model"}
    done = impute(Readings(rows), draws=3, **told)
    assert max(abs(table[75:, 0]).max() for table in done.draws) < 10.0
