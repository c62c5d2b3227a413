"""Observed information of a normal with gaps against differences of its log-likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emtools.engine.certificate import certify
from emtools.engine.starts import fit
from emtools.imputing.standard_errors import with_observed_errors
from emtools.kernels.normal_information import observed_information
from emtools.kernels.readings import Readings
from emtools.models.mixture import CovariancePrior
from emtools.models.normal import MultivariateNormal, NormalParams

N, D = 12, 3
BELOW = np.tril_indices(D)


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) + [5.0, 0.0, -300.0]
    values[:4, 0] = values[2:7, 1] = values[10, :2] = np.nan
    return values


def loglik(vector, rows, weights, pseudo_rows=0.0, scale=None):
    """Row by row, from means and lower triangle."""
    covariance = np.empty((D, D))
    covariance[BELOW] = covariance.T[BELOW] = vector[D:]
    total = 0.0
    for row, weight in zip(rows, weights, strict=True):
        o = np.flatnonzero(~np.isnan(row))
        block, away = covariance[np.ix_(o, o)], row[o] - vector[:D][o]
        value = o.size * np.log(2 * np.pi) + np.linalg.slogdet(block)[1] + away @ np.linalg.solve(block, away)
        total -= 0.5 * weight * value
    if scale is None:
        return total
    return total - 0.5 * (pseudo_rows * np.linalg.slogdet(covariance)[1] + np.trace(scale @ np.linalg.inv(covariance)))


def differences(function, at, step=1e-3):
    """Gradient and Hessian by central differences of fourth order."""
    moves = np.eye(at.size) * step
    slope = [
        (8 * (function(at + m) - function(at - m)) - function(at + 2 * m) + function(at - 2 * m)) / (12 * step)
        for m in moves
    ]

    def mixed(a, b, k):
        return (
            function(at + k * (a + b))
            - function(at + k * (a - b))
            - function(at - k * (a - b))
            + function(at - k * (a + b))
        )

    bend = [[(16 * mixed(a, b, 1) - mixed(a, b, 2)) / (48 * step**2) for b in moves] for a in moves]
    return np.array(slope), np.array(bend)


@pytest.mark.parametrize("prior", [False, True])
def test_score_and_information_equal_differences(rows, prior):
    """Away from the maximum, with weights."""
    weights = np.linspace(0.5, 2.0, N)
    weights[5] = 0.0
    mean = np.array([4.5, 0.2, -299.5])
    root = np.array([[1.0, 0.0, 0.0], [0.3, 1.2, 0.0], [-0.4, 0.1, 0.9]])
    covariance = root @ root.T
    more = {"pseudo_rows": 4.5, "scale": np.diag([1.0, 2.0, 3.0])} if prior else {}
    found = observed_information(rows, weights, mean, covariance, **more)
    units = np.concatenate([found.sd, np.outer(found.sd, found.sd)[BELOW]])
    at = np.concatenate([mean, covariance[BELOW]])
    slope, bend = differences(lambda v: loglik(v, rows, weights, **more), at)
    np.testing.assert_allclose(found.score / units, slope, rtol=1e-8, atol=1e-7)
    np.testing.assert_allclose(-found.observed / np.outer(units, units), bend, rtol=1e-5, atol=2e-5)
    assert found.share == 1.0


def test_complete_rows_give_the_textbook_errors():
    """``Σ_ii / n`` and ``(Σ_ii Σ_jj + Σ_ij²) / n`` at the maximum; nothing is missing."""
    rows = np.random.default_rng(1).normal(size=(50, 4)) * [1.0, 10.0, 0.1, 3.0]
    covariance = np.cov(rows.T, ddof=0)
    found = observed_information(rows, np.ones(50), rows.mean(axis=0), covariance)
    means, covariances = found.errors()
    variance = np.diag(covariance)
    np.testing.assert_allclose(means, np.sqrt(variance / 50), rtol=1e-12)
    np.testing.assert_allclose(covariances, np.sqrt((np.outer(variance, variance) + covariance**2) / 50), rtol=1e-10)
    np.testing.assert_allclose(found.complete_errors()[0], means, rtol=1e-12)
    assert found.missing(3) == pytest.approx(np.zeros(3), abs=1e-12)
    assert found.gap()[0] == pytest.approx(0.0, abs=1e-20)


def test_gap_and_largest_fraction_at_a_maximum(rows):
    """The gap tells what the climb still gains; the top fraction of missing information is the rate of EM."""
    model = MultivariateNormal(D)
    top = fit(model, model.source(readings(rows)), parameter_tol=1e-9, tol=1e-10)
    found = observed_information(rows, np.ones(N), top.params.mean, top.params.covariance)
    assert found.gap()[0] < 1e-12
    assert found.missing(1)[0] == pytest.approx(top.certificate.rate, rel=1e-6)
    near = NormalParams(top.params.mean + 1e-3 * np.sqrt(np.diag(top.params.covariance)), top.params.covariance)
    left = top.loglik - model.e_step(near, model.source(readings(rows)).chunk(0)).loglik
    beside = observed_information(rows, np.ones(N), near.mean, near.covariance)
    assert beside.gap()[0] == pytest.approx(left, rel=1e-2)


def readings(rows):
    return Readings(rows)


def test_two_is_the_row_twice(rows):
    mean, covariance = np.array([5.0, 0.0, -300.0]), np.diag([2.0, 1.0, 3.0])
    weights = np.ones(N)
    weights[[1, 6]] = 2.0
    once = observed_information(rows, weights, mean, covariance)
    twice = observed_information(np.vstack([rows, rows[[1, 6]]]), np.ones(N + 2), mean, covariance)
    np.testing.assert_allclose(once.observed, twice.observed, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(once.score, twice.score, rtol=1e-12, atol=1e-12)


def test_fewer_patterns_give_the_errors_of_means_nearly():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(2000, 8)) @ (np.eye(8) + 0.3)
    rows[rng.random(rows.shape) < 0.3] = np.nan
    model = MultivariateNormal(8)
    top = fit(model, model.source(readings(rows)), certificate=False).params
    full = observed_information(rows, np.ones(2000), top.mean, top.covariance)
    part = observed_information(rows, np.ones(2000), top.mean, top.covariance, terms=5e3)
    assert full.share == 1.0
    assert part.share < 0.5
    np.testing.assert_allclose(part.errors()[0], full.errors()[0], rtol=1e-3)
    np.testing.assert_allclose(part.errors()[1], full.errors()[1], rtol=0.1)


def table_of_many_columns():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(120, 6)) * np.linspace(0.1, 50.0, 6) + rng.normal(size=(120, 1))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows


@pytest.mark.parametrize("degrees", [None, 3.0])
def test_estimated_certificate_gives_way_to_the_exact_one(degrees):
    """As the engine computes it by differences in 4p passes where parameters are few; its estimate is the negative control."""
    rows = table_of_many_columns()
    prior = None if degrees is None else CovariancePrior(degrees, 20.0 * np.diag(np.nanvar(rows, axis=0)))
    model = MultivariateNormal(6, prior)
    source = model.source(readings(rows))
    found = fit(model, source, tol=1e-10, parameter_tol=1e-9)
    exact = found.certificate
    guess = replace(found, certificate=certify(model, source, found.params, limit=10))
    ours = with_observed_errors(guess, readings(rows)).certificate
    assert (ours.kind, ours.method) == ("maximum", "observed information")
    for name in ("mean", "covariance"):
        for field in ("standard_errors", "complete_errors", "missing", "lower", "upper"):
            np.testing.assert_allclose(getattr(ours, field)[name], getattr(exact, field)[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.spectrum, exact.spectrum, rtol=1e-4)
    assert ours.worst_error < 1e-5
    off = guess.certificate.standard_errors["mean"] / exact.standard_errors["mean"] - 1.0
    assert np.abs(off).max() > 1e-3


def test_other_certificates_stay():
    rows = table_of_many_columns()[:, :4]
    model = MultivariateNormal(4)
    small = fit(model, model.source(readings(rows)))
    assert with_observed_errors(small, readings(rows)) is small
    without = fit(model, model.source(readings(rows)), certificate=False)
    assert with_observed_errors(without, readings(rows)) is without


def test_nothing_where_there_is_no_information():
    wide = np.eye(60)
    assert observed_information(wide, np.ones(60), np.zeros(60), np.eye(60)) is None
    assert observed_information(np.eye(2), np.ones(2), np.zeros(2), np.ones((2, 2))) is None
    assert observed_information(np.eye(2), np.ones(2), np.zeros(2), np.zeros((2, 2))) is None
    saddle = observed_information(np.full((3, 1), 5.0), np.ones(3), np.zeros(1), np.full((1, 1), 100.0))
    assert saddle.errors() is None
