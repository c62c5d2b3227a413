"""Cells that are mixtures of normals against root finding and integrals."""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from emtools.kernels.cell_mixtures import CellMixtures
from emtools.kernels.readings import Readings
from emtools.models.incomplete_mixture import IncompleteMixture
from emtools.models.mixture import MixtureParams


def some():
    rng = np.random.default_rng(0)
    cells = np.array([[True, False, True], [False, True, True]])
    shares = rng.dirichlet(np.ones(3), size=4).T
    return CellMixtures(cells, shares, 3.0 * rng.normal(size=(3, 4)), rng.uniform(0.1, 2.0, size=(3, 4)))


def test_quantiles_are_roots_of_the_distribution_function():
    given = some()
    for p in (0.025, 0.5, 0.975):
        for k, found in enumerate(given.quantile(p)):
            root = brentq(
                lambda x, k=k, p=p: given.shares[:, k] @ norm.cdf(x, given.means[:, k], given.sds[:, k]) - p,
                -50,
                50,
                xtol=1e-13,
            )
            np.testing.assert_allclose(found, root, rtol=1e-10, atol=1e-10)


def test_moments_and_expectations_are_integrals():
    given = some()
    of_column = np.nonzero(given.cells)[1]
    for j in range(3):
        found = given.expected(np.exp, j)
        for value, k in zip(found, np.flatnonzero(of_column == j), strict=True):

            def density(x, k=k):
                return given.shares[:, k] @ norm.pdf(x, given.means[:, k], given.sds[:, k])

            def integral(f, density=density):
                return quad(lambda x: f(x) * density(x), -40, 40, limit=500, epsabs=1e-12)[0]

            mean = integral(lambda x: x)
            np.testing.assert_allclose(value, integral(np.exp), rtol=1e-8)
            np.testing.assert_allclose(given.mean[k], mean, rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(given.sd[k] ** 2, integral(lambda x, m=mean: (x - m) ** 2), rtol=1e-7)


def test_gaps_of_a_mixture_have_its_conditional_moments():
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(3, 4, 4))
    params = MixtureParams(np.array([0.5, 0.3, 0.2]), rng.normal(size=(3, 4)), factors @ factors.transpose(0, 2, 1))
    table = rng.normal(size=(30, 4))
    table[rng.random(table.shape) < 0.4] = np.nan
    table[7] = np.nan
    model, known = IncompleteMixture(3, 4), Readings(table)
    filled, sd = model.conditional(params, known)
    given = model.cell_mixtures(params, known)
    np.testing.assert_array_equal(given.cells, np.isnan(table))
    np.testing.assert_allclose(given.shares.sum(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(given.mean, filled[given.cells], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(given.sd, sd[given.cells], rtol=1e-10)
