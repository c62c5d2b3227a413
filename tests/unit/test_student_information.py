"""Observed information of a t with gaps against 40-digit differences of its log-likelihood."""

from __future__ import annotations

from functools import partial

import mpmath as mp
import numpy as np
import pytest

from emtools.engine.certificate import certify
from emtools.engine.chunks import total_stats
from emtools.engine.result import LEFT
from emtools.engine.starts import fit
from emtools.imputing import standard_errors
from emtools.imputing.fitting import fit_table
from emtools.imputing.standard_errors import fit_with_errors, score_of_t
from emtools.kernels import student_information as kernel
from emtools.kernels.readings import Readings
from emtools.kernels.student_information import ScaleSums, location_information, slopes_of, student_information
from emtools.models.student_t import StudentT, StudentTParams

N, D = 12, 3
BELOW = np.tril_indices(D)
ANY = ScaleSums(1.0, 1.0, 0.0)  # of the complete information, which these tests do not look at
LOCATION = np.array([4.5, 0.2, -2.5])
ROOT = np.array([[1.0, 0.0, 0.0], [0.3, 1.2, 0.0], [-0.4, 0.1, 0.9]])
SCATTER = ROOT @ ROOT.T
WEIGHTS = np.linspace(0.5, 2.0, N)
WEIGHTS[5] = 0.0


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) + [5.0, 0.0, -3.0]
    values[:4, 0] = values[2:7, 1] = values[10, :2] = np.nan
    return values


def loglik(vector, rows, weights):
    """Row by row in mpmath, from location, lower triangle and degrees of freedom."""
    df, total = vector[-1], mp.mpf(0)
    for row, weight in zip(rows, weights, strict=True):
        o = [j for j in range(D) if not np.isnan(row[j])]
        block = mp.matrix(len(o), len(o))
        for r, i in enumerate(o):
            for c, j in enumerate(o):
                low = max(i, j)
                block[r, c] = vector[D + low * (low + 1) // 2 + min(i, j)]
        away = mp.matrix([mp.mpf(float(row[j])) - vector[j] for j in o])
        squared, p = (away.T * mp.lu_solve(block, away))[0], mp.mpf(len(o))
        value = mp.loggamma((df + p) / 2) - mp.loggamma(df / 2) - p / 2 * mp.log(df * mp.pi)
        value -= mp.log(mp.det(block)) / 2 + (df + p) / 2 * mp.log(1 + squared / df)
        total += mp.mpf(float(weight)) * value
    return total


def differences(function, at):
    """Gradient and Hessian by central differences with steps of 1e-10."""
    step, q = mp.mpf(10) ** -10, len(at)

    def moved(*places):
        there = list(at)
        for i, sign in places:
            there[i] += sign * step
        return function(there)

    slope = [float((moved((i, 1)) - moved((i, -1))) / (2 * step)) for i in range(q)]
    bend = np.empty((q, q))
    for i in range(q):
        for j in range(i + 1):
            value = moved((i, 1), (j, 1)) - moved((i, 1), (j, -1)) - moved((i, -1), (j, 1)) + moved((i, -1), (j, -1))
            bend[i, j] = bend[j, i] = float(value / (4 * step**2))
    return np.array(slope), bend


@pytest.mark.parametrize("df", [0.7, 4.3, 900.0])
def test_score_and_information_equal_differences(rows, df):
    """Away from the maximum, with weights; every block, also without degrees of freedom."""
    with mp.workdps(40):
        at = [mp.mpf(float(v)) for v in (*LOCATION, *SCATTER[BELOW], df)]
        slope, bend = differences(partial(loglik, rows=rows, weights=WEIGHTS), at)
    found = student_information(rows, WEIGHTS, LOCATION, SCATTER, df, ANY)
    units = np.concatenate([found.sd, np.outer(found.sd, found.sd)[BELOW], [df]])
    np.testing.assert_allclose(found.score / units, slope, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(-found.observed / np.outer(units, units), bend, rtol=1e-8, atol=1e-12)
    assert found.exact
    known = student_information(rows, WEIGHTS, LOCATION, SCATTER, df, ANY, estimated=False)
    np.testing.assert_array_equal(known.observed, found.observed[:-1, :-1])
    np.testing.assert_array_equal(known.score, found.score[:-1])


def test_two_is_the_row_twice(rows):
    once = student_information(rows, np.where(np.arange(N) == 6, 2.0, 1.0), LOCATION, SCATTER, 3.0, ANY)
    twice = student_information(np.vstack([rows, rows[[6]]]), np.ones(N + 1), LOCATION, SCATTER, 3.0, ANY)
    np.testing.assert_allclose(once.observed, twice.observed, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(once.score, twice.score, rtol=1e-12, atol=1e-12)


def test_expected_information_is_the_mean_of_the_observed():
    """Of 20 tables of drawn rows with gaps, in their standard errors: that of the scatter, and the location's alone."""
    rng = np.random.default_rng(0)
    n, df = 10_000, 5.0
    found = []
    for _ in range(20):
        values = LOCATION + rng.normal(size=(n, D)) @ ROOT.T / np.sqrt(rng.gamma(df / 2, 2 / df, size=n))[:, None]
        values[: n // 3, 0] = values[n // 4 : n // 2, 1:] = np.nan
        observed = student_information(values, np.ones(n), LOCATION, SCATTER, df, ANY)
        found.append(observed.observed[:-1, :-1])
    expected = student_information(values, np.ones(n), LOCATION, SCATTER, df, ANY, products=1e4)
    assert observed.exact
    assert not expected.exact
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(19)
    below = np.s_[D:, D:]
    off = np.abs(expected.observed[:-1, :-1] - mean)[below] / error[below]
    assert off.max() < 4.0
    assert (error[below] / np.sqrt(np.outer(np.diag(mean)[D:], np.diag(mean)[D:]))).max() < 0.01
    alone, _, _ = location_information(values, np.ones(n), SCATTER, df, float(n))
    assert (np.abs(alone * np.outer(observed.sd, observed.sd) - mean[:D, :D]) / error[:D, :D]).max() < 4.0


def test_a_normal_is_the_limit():
    """At 1e4 degrees of freedom everything but the last is nearly that of a normal."""
    of = slopes_of(np.array([2.0, 7.0]), 1e9, np.array([3.0, 3.0]))
    np.testing.assert_allclose(of.pull, 1.0, rtol=1e-8)
    np.testing.assert_allclose(of.bend, 0.0, rtol=0.0, atol=1e-8)


def long_table():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(150, 4)) * np.array([0.1, 1.0, 50.0, 7.0]) + rng.normal(size=(150, 1))
    rows /= np.sqrt(rng.gamma(2.0, 0.5, size=150))[:, None]
    rows[rng.random(rows.shape) < 0.15] = np.nan
    return rows


@pytest.mark.parametrize(
    ("df", "expanded", "weighted"), [(None, True, False), (3.0, True, True), (3.0, False, False), (None, False, True)]
)
def test_closed_certificate_equals_that_by_differences(df, expanded, weighted):
    """Every field; the engine's estimate for many parameters is the negative control."""
    rows = long_table()
    weights = np.random.default_rng(0).uniform(0.2, 3.0, len(rows)) if weighted else None
    model = StudentT(4, df=df, expanded=expanded)
    found = fit_with_errors(model, Readings(rows), weights, tol=1e-10, parameter_tol=1e-9, max_passes=2000)
    ours, exact = found.certificate, certify(model, model.source(Readings(rows), weights), found.params)
    assert (ours.kind, ours.method, ours.passes) == ("maximum", "observed information", 0)
    assert (exact.kind, exact.method) == ("maximum", "observed information")
    assert set(ours.standard_errors) == set(exact.standard_errors)
    for name in exact.standard_errors:
        for field in ("standard_errors", "complete_errors", "missing", "lower", "upper"):
            np.testing.assert_allclose(getattr(ours, field)[name], getattr(exact, field)[name], rtol=2e-6, atol=1e-7)
        assert (ours.scale[name] == exact.scale[name]).all()
    np.testing.assert_allclose(ours.spectrum, exact.spectrum, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ours.along, exact.along, rtol=1e-4, atol=1e-4 * np.abs(exact.along).max())
    assert [(m.name, m.index) for m in ours.direction] == [(m.name, m.index) for m in exact.direction]
    assert ours.gap == pytest.approx(exact.gap, rel=0.2, abs=1e-12)
    assert found.verdict == f"{LEFT.sub('', found.summary, count=1)} {ours.sentence}"
    off = certify(model, model.source(Readings(rows), weights), found.params, limit=5).standard_errors["location"]
    assert np.abs(off / exact.standard_errors["location"] - 1.0).max() > 1e-4


def test_degrees_of_freedom_at_their_bound_are_held_and_told():
    rows = np.random.default_rng(1).uniform(size=(80, 3))
    rows[:20, 0] = np.nan
    found = fit_table(Readings(rows), kind="t")
    seen = found.fit.certificate
    assert found.fit.params.df == pytest.approx(1e4, rel=1e-9)
    assert (seen.kind, seen.n_held, [entry.name for entry in seen.held]) == ("boundary", 1, ["df"])
    assert np.isnan(seen.standard_errors["df"]).all()
    assert np.isfinite(seen.standard_errors["location"]).all()
    assert np.isfinite(seen.along).all()
    assert "10,000" in found.notices[0]
    assert "normal" in found.notices[0]


def test_no_notice_where_degrees_of_freedom_are_found():
    assert fit_table(Readings(long_table()), kind="t").notices == ()


def test_a_part_of_very_many_patterns(monkeypatch):
    """Errors within a tenth, the gap from all rows, and a certificate that says that it estimates."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(2000, 8)) @ (np.eye(8) + 0.3) / np.sqrt(rng.gamma(2.0, 0.5, size=2000))[:, None]
    rows[rng.random(rows.shape) < 0.3] = np.nan
    found = fit_with_errors(StudentT(8), Readings(rows), tol=1e-10)
    exact = found.certificate
    monkeypatch.setattr(kernel, "WORK", 100 * 8.0**3)
    ours = standard_errors.closed_certificate(found, Readings(rows))
    assert (exact.method, ours.method) == ("observed information", "krylov estimate")
    assert ours.gap < 1e-9
    for name, near in (("location", 0.05), ("scatter", 0.1), ("df", 0.1)):
        np.testing.assert_allclose(ours.standard_errors[name], exact.standard_errors[name], rtol=near)


@pytest.mark.parametrize("df", [None, 4.0])
def test_score_from_expected_moments(rows, df):
    model = StudentT(D, df=df)
    at = StudentTParams(LOCATION, SCATTER, 4.0)
    stats = total_stats(model, model.source(Readings(rows), WEIGHTS), at)
    whole = student_information(rows, WEIGHTS, LOCATION, SCATTER, 4.0, ANY)
    np.testing.assert_allclose(score_of_t(stats, at, whole.sd), whole.score, rtol=1e-9, atol=1e-9)


def test_more_than_53_columns_have_errors_of_their_location():
    """Near those of the whole information of a tenth of the columns."""
    rng = np.random.default_rng(6)
    rows = (rng.normal(size=(400, 60)) + rng.normal(size=(400, 1))) / np.sqrt(rng.gamma(3.0, 1 / 3, size=400))[:, None]
    rows[rng.random(rows.shape) < 0.1] = np.nan
    found = fit_with_errors(StudentT(60), Readings(rows))
    seen = found.certificate
    assert (seen.kind, seen.method, seen.passes) == ("maximum", "krylov estimate", 0)
    assert np.isnan(seen.standard_errors["scatter"]).all()
    own = np.zeros((60, 60))
    for row in rows:
        o = np.flatnonzero(~np.isnan(row))
        inverse = np.linalg.inv(found.params.scatter[np.ix_(o, o)])
        y = inverse @ (row[o] - found.params.location[o])
        away, p = found.params.df + y @ (row[o] - found.params.location[o]), len(o)
        own[np.ix_(o, o)] += (found.params.df + p) * (inverse / away - 2.0 * np.outer(y, y) / away**2)
    np.testing.assert_allclose(seen.standard_errors["location"], np.sqrt(np.diag(np.linalg.inv(own))), rtol=0.05)


def test_nothing_where_there_is_no_information():
    assert student_information(np.eye(60), np.ones(60), np.zeros(60), np.eye(60), 3.0, ANY) is None
    assert student_information(np.eye(2), np.ones(2), np.zeros(2), np.ones((2, 2)), 3.0, ANY) is None
    short = fit(StudentT(4), StudentT(4).source(Readings(long_table())), max_passes=2, certificate=False)
    assert standard_errors.closed_certificate(short, Readings(long_table())).kind == "climbing"
