"""Gaussian and log-space kernels against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from emtools.kernels import gaussian
from emtools.kernels.logspace import entropy_rows, logsumexp_rows, normalise_rows


def spd(rng, d):
    root = rng.normal(size=(d, d))
    return root @ root.T + 0.1 * np.eye(d)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda d: st.lists(st.floats(-3, 3), min_size=d * (d + 1) // 2, max_size=d * (d + 1) // 2)
    )
)
def test_every_vector_is_the_log_cholesky_of_one_matrix(numbers):
    vector = np.array(numbers)
    matrix = gaussian.unpack_cholesky(vector)
    np.testing.assert_array_equal(matrix, matrix.T)
    d = len(matrix)
    diagonal = vector[np.cumsum(np.arange(1, d + 1)) - 1]
    factor = np.zeros((d, d))
    factor[np.tril_indices(d)] = vector
    np.fill_diagonal(factor, np.exp(diagonal))
    np.testing.assert_allclose(matrix, factor @ factor.T, rtol=1e-12, atol=1e-12)


def test_pack_and_unpack_are_inverse():
    rng = np.random.default_rng(0)
    for d in (1, 2, 6):
        matrix = spd(rng, d)
        np.testing.assert_allclose(gaussian.unpack_cholesky(gaussian.pack_cholesky(matrix)), matrix, rtol=1e-12)


def test_a_matrix_that_is_not_positive_definite_is_nan_and_alone():
    good, bad = np.eye(2), np.array([[1.0, 2.0], [2.0, 1.0]])
    factors = gaussian.cholesky_factors(np.stack([good, bad]))
    np.testing.assert_array_equal(factors[0], good)
    assert np.isnan(factors[1]).all()
    assert np.isnan(gaussian.pack_cholesky(bad)).all()
    assert np.isnan(gaussian.log_density_full(np.zeros((1, 2)), np.zeros((2, 2)), factors)[0]).tolist() == [False, True]
    assert np.isnan(gaussian.log_density_diagonal(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))).all()


def test_log_densities_are_those_of_scipy():
    rng = np.random.default_rng(1)
    values, means = rng.normal(size=(20, 3)), rng.normal(size=(2, 3))
    matrices = np.stack([spd(rng, 3), spd(rng, 3)])
    factors = gaussian.cholesky_factors(matrices)

    def scipy_columns(covariances):
        return np.column_stack(
            [stats.multivariate_normal(m, c).logpdf(values) for m, c in zip(means, covariances, strict=True)]
        )

    full = gaussian.log_density_full(values, means, factors)
    np.testing.assert_allclose(full, scipy_columns(matrices), rtol=1e-10)
    tied = gaussian.log_density_tied(values, means, factors[0])
    np.testing.assert_allclose(tied, scipy_columns([matrices[0]] * 2), rtol=1e-10)
    variances = rng.uniform(0.5, 2.0, size=(2, 3))
    diagonal = gaussian.log_density_diagonal(values, means, variances)
    np.testing.assert_allclose(diagonal, scipy_columns([np.diag(v) for v in variances]), rtol=1e-10)


def test_inverse_wishart_is_that_of_scipy_up_to_a_constant():
    rng = np.random.default_rng(2)
    scale, one, two = (spd(rng, 3) for _ in range(3))
    ours = [gaussian.log_inverse_wishart(gaussian.cholesky_factors(m), 7.0, scale) for m in (one, two)]
    theirs = [stats.invwishart(7.0, scale).logpdf(m) for m in (one, two)]
    assert ours[0] - ours[1] == pytest.approx(theirs[0] - theirs[1], rel=1e-10)
    for variance in (0.3, 2.0):
        scalar = gaussian.log_inverse_wishart(np.array([[math.sqrt(variance)]]), 5.0, np.array([[1.5]]))
        assert gaussian.log_inverse_gamma(np.array([variance]), 5.0, np.array(1.5)) == pytest.approx(scalar, rel=1e-12)


def test_expected_log_density_is_the_sum_over_rows():
    rng = np.random.default_rng(3)
    values, weights, mean = rng.normal(size=(15, 3)), rng.uniform(size=15), rng.normal(size=3)
    factor = gaussian.cholesky_factors(spd(rng, 3))
    deviations = values - mean
    scatter = (deviations * weights[:, None]).T @ deviations
    by_rows = weights @ gaussian.log_density_full(values, mean[None], factor[None])[:, 0]
    assert gaussian.expected_log_density(weights.sum(), scatter, factor) == pytest.approx(by_rows, rel=1e-12)


def test_sums_in_log_space():
    rng = np.random.default_rng(4)
    log_values = rng.normal(size=(6, 4)) * 300.0
    log_values[0, 1:] = -np.inf
    np.testing.assert_allclose(logsumexp_rows(log_values), special.logsumexp(log_values, axis=1), rtol=1e-14)
    log_shares, log_sums = normalise_rows(log_values - 1e4)
    np.testing.assert_allclose(np.exp(log_shares).sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(log_sums, special.logsumexp(log_values, axis=1) - 1e4, rtol=1e-14)
    assert logsumexp_rows(np.full((1, 3), -np.inf))[0] == -np.inf


def test_entropy_of_shares():
    shares = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    with np.errstate(divide="ignore"):
        got = entropy_rows(shares, np.log(shares))
    np.testing.assert_allclose(got, [0.0, math.log(2), math.log(3)], rtol=1e-14, atol=0.0)
