"""Factors, solutions and inverses as scipy's own, without the lock of Python."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from emtools.kernels import lapack
from emtools.kernels.missing import factorise, solve_lower

LOCK = 4  # flag of a function of ctypes that keeps Python's lock


def positive(d, seed=0):
    root = np.random.default_rng(seed).normal(size=(d, 2 * d + 1))
    return root @ root.T


@pytest.mark.parametrize("d", [1, 2, 33, 63, 64, 100])
def test_each_routine_does_what_scipy_does(d):
    matrix, right = positive(d), np.random.default_rng(1).normal(size=(d, 3))
    factor = linalg.cholesky(matrix, lower=True)
    turned = lapack.lower_columns(matrix)
    np.testing.assert_array_equal(turned, np.tril(matrix).T)
    assert lapack.factorise_columns(turned)
    np.testing.assert_allclose(turned.T, factor, rtol=1e-12, atol=1e-12)
    for transposed in (False, True):
        wanted = linalg.solve_triangular(factor, right, lower=True, trans=int(transposed))
        for held, by_row in ((turned, False), (np.ascontiguousarray(turned.T), True)):
            got = right.T.copy()
            assert lapack.solve_columns(held, got, transposed, by_row)
            np.testing.assert_allclose(got.T, wanted, rtol=1e-10, atol=1e-12)
    inverse = turned.copy()
    assert lapack.invert_factor(inverse)
    np.testing.assert_allclose(inverse.T @ factor, np.eye(d), atol=1e-11)
    assert lapack.invert_from_factor(turned)
    np.testing.assert_allclose(np.tril(turned.T), np.tril(np.linalg.inv(matrix)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("d", [2, 70])
def test_what_cannot_be_factorised_or_solved_is_told(d):
    assert factorise(1.0 + np.eye(d)) is not None
    assert factorise(2.0 - np.eye(d)) is None
    assert not lapack.solve_columns(np.zeros((d, d)), np.ones((1, d)))
    assert not lapack.invert_factor(np.diag(np.arange(float(d))))


@pytest.mark.parametrize("d", [6, lapack.SMALL])
def test_any_layout_and_no_column_will_do(d):
    matrix = positive(d)
    for form in (matrix, matrix.T, positive(2 * d)[::2, ::2], matrix.astype(np.float32)):
        factor = factorise(form)
        np.testing.assert_allclose(factor @ factor.T, form, rtol=1e-5, atol=1e-5 * d)
    factor, right = factorise(matrix), np.arange(float(d))
    np.testing.assert_allclose(factor @ solve_lower(factor, right), right, atol=1e-10)
    np.testing.assert_allclose(factor.T @ solve_lower(factor, right, transposed=True), right, atol=1e-10)
    assert solve_lower(factor, np.zeros((d, 0))).shape == (d, 0)


def test_other_threads_run_meanwhile():
    for function in (lapack.dpotrf, lapack.dpotri, lapack.dtrtri, lapack.dtrtrs):
        assert not type(function)._flags_ & LOCK
