"""Observed information of a normal with gaps against differences of its log-likelihood."""

from __future__ import annotations

import numpy as np
import pytest

from emtools.engine.certificate import certify
from emtools.engine.chunks import total_stats
from emtools.engine.result import LEFT
from emtools.engine.starts import fit
from emtools.imputing.standard_errors import fit_with_errors, score_of
from emtools.kernels import normal_information
from emtools.kernels.normal_information import mean_information, observed_information
from emtools.kernels.readings import Readings
from emtools.models.factor_analysis import FactorAnalysis
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


@pytest.mark.parametrize(("degrees", "weighted"), [(None, False), (3.0, False), (None, True)])
def test_closed_certificate_equals_that_by_differences(degrees, weighted):
    """Every field; the engine's estimate for many parameters is the negative control."""
    rows = table_of_many_columns()
    weights = np.random.default_rng(0).uniform(0.2, 3.0, len(rows)) if weighted else None
    prior = None if degrees is None else CovariancePrior(degrees, 20.0 * np.diag(np.nanvar(rows, axis=0)))
    model = MultivariateNormal(6, prior)
    source = model.source(readings(rows), weights)
    found = fit_with_errors(model, readings(rows), weights, tol=1e-10, parameter_tol=1e-9)
    ours, exact = found.certificate, certify(model, source, found.params)
    assert (ours.kind, ours.method, ours.passes) == ("maximum", "observed information", 0)
    assert (exact.kind, exact.method) == ("maximum", "observed information")
    for name in ("mean", "covariance"):
        for field in ("standard_errors", "complete_errors", "missing", "lower", "upper"):
            np.testing.assert_allclose(getattr(ours, field)[name], getattr(exact, field)[name], rtol=1e-7, atol=1e-8)
        assert (ours.scale[name] == exact.scale[name]).all()
    np.testing.assert_allclose(ours.spectrum, exact.spectrum, rtol=1e-7)
    np.testing.assert_allclose(ours.along, exact.along, rtol=1e-5, atol=1e-6 * np.abs(exact.along).max())
    assert [(m.name, m.index) for m in ours.direction] == [(m.name, m.index) for m in exact.direction]
    np.testing.assert_allclose([m.share for m in ours.direction], [m.share for m in exact.direction], rtol=1e-6)
    assert ours.gap == pytest.approx(exact.gap, rel=0.2, abs=1e-14)
    assert ours.worst_error == pytest.approx(exact.worst_error, rel=0.2, abs=1e-7)
    assert found.verdict == f"{LEFT.sub('', found.summary, count=1)} {ours.sentence}"
    off = certify(model, source, found.params, limit=10).standard_errors["mean"] / exact.standard_errors["mean"] - 1.0
    assert np.abs(off).max() > 1e-3


def test_a_climb_cut_short_says_so():
    rows = table_of_many_columns()
    short = fit_with_errors(MultivariateNormal(6), readings(rows), max_passes=2)
    assert not short.converged
    assert short.certificate.kind == "climbing"


def test_what_no_row_tells_is_found_by_the_engine():
    """Two columns never seen together, the others complete: their partial correlation is anything."""
    rows = np.random.default_rng(4).normal(size=(60, 3))
    rows[:30, 0] = rows[30:, 1] = np.nan
    found = fit_with_errors(MultivariateNormal(3), readings(rows))
    assert found.certificate.kind == "flat"
    assert found.certificate.flat


def test_other_certificates_stay():
    rows = table_of_many_columns()[:, :4]
    assert fit_with_errors(MultivariateNormal(4), readings(rows), certificate=False).certificate is None
    other = fit_with_errors(FactorAnalysis(4, 1), readings(rows)).certificate
    assert other.passes > 0


def test_more_than_53_columns_have_errors_of_their_means():
    """As the block of the means of the whole information; the rest is said to be missing."""
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(300, 60)) + rng.normal(size=(300, 1))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    found = fit_with_errors(MultivariateNormal(60), readings(rows))
    seen = found.certificate
    assert (seen.kind, seen.method, seen.passes) == ("maximum", "krylov estimate", 0)
    assert np.isnan(seen.standard_errors["covariance"]).all()
    inverse = np.zeros((60, 60))
    for row in rows:
        o = np.flatnonzero(~np.isnan(row))
        inverse[np.ix_(o, o)] += np.linalg.inv(found.params.covariance[np.ix_(o, o)])
    np.testing.assert_allclose(seen.standard_errors["mean"], np.sqrt(np.diag(np.linalg.inv(inverse))), rtol=1e-9)
    assert seen.missing["mean"].min() > 0.0
    assert seen.missing["mean"].max() < 0.3


def test_errors_of_means_alone_are_near_those_beside_covariances():
    rows = table_of_many_columns()
    model = MultivariateNormal(6)
    top = fit_with_errors(model, readings(rows))
    block = mean_information(rows, np.ones(len(rows)), top.params.covariance)[0]
    np.testing.assert_allclose(
        np.sqrt(np.diag(np.linalg.inv(block))), top.certificate.standard_errors["mean"], rtol=0.01
    )


def test_a_part_of_very_many_patterns(monkeypatch):
    """Errors within a few per cent, the gap from all rows, and a certificate that says that it estimates."""
    monkeypatch.setattr(normal_information, "WORK", 200 * 8.0**3)
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(2000, 8)) @ (np.eye(8) + 0.3)
    rows[rng.random(rows.shape) < 0.3] = np.nan
    model, source = MultivariateNormal(8), MultivariateNormal(8).source(readings(rows))
    found = fit_with_errors(model, readings(rows), tol=1e-10)
    exact = certify(model, source, found.params)
    ours = found.certificate
    assert ours.method == "krylov estimate"
    assert ours.gap < 1e-9
    np.testing.assert_allclose(ours.standard_errors["mean"], exact.standard_errors["mean"], rtol=0.05)
    np.testing.assert_allclose(ours.standard_errors["covariance"], exact.standard_errors["covariance"], rtol=0.1)


def test_score_from_expected_moments(rows):
    prior = CovariancePrior(2.0, np.diag([1.0, 2.0, 3.0]))
    model = MultivariateNormal(D, prior)
    at = NormalParams(np.array([4.5, 0.2, -299.5]), np.diag([1.0, 2.0, 1.5]) + 0.2)
    stats = total_stats(model, model.source(readings(rows)), at)
    whole = observed_information(rows, np.ones(N), at.mean, at.covariance, pseudo_rows=6.0, scale=prior.scale)
    np.testing.assert_allclose(score_of(stats, at, whole.sd, 6.0, prior.scale), whole.score, rtol=1e-9, atol=1e-9)


def test_nothing_where_there_is_no_information():
    wide = np.eye(60)
    assert observed_information(wide, np.ones(60), np.zeros(60), np.eye(60)) is None
    assert observed_information(np.eye(2), np.ones(2), np.zeros(2), np.ones((2, 2))) is None
    assert observed_information(np.eye(2), np.ones(2), np.zeros(2), np.zeros((2, 2))) is None
    saddle = observed_information(np.full((3, 1), 5.0), np.ones(3), np.zeros(1), np.full((1, 1), 100.0))
    assert saddle.errors() is None
