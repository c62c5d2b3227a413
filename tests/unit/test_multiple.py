"""Completed tables for multiple imputation: the parameters vary as they are uncertain, and what was observed stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.errors import InputError
from emtools.imputing.multiple import MOST_STEPS, chain_length, draw, prior_of
from emtools.imputing.result import Fitted
from emtools.kernels.posterior import draw_inverse_wishart, draw_normal_posterior
from emtools.kernels.readings import Readings
from emtools.models.censored_normal import CensoredNormal
from emtools.models.covariance_prior import CovariancePrior
from emtools.models.factor_analysis import FactorAnalysis
from emtools.models.incomplete_mixture import IncompleteMixture
from emtools.models.normal import MultivariateNormal
from emtools.models.student_t import StudentT


def fitted_by(model, readings, kind="normal", **told):
    return Fitted(kind, model, fit(model, model.source(readings), **told), 0.0, ())


def gappy(n=150, d=3, share=0.25, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 1)) + 0.7 * rng.normal(size=(n, d)) + np.arange(d)
    values[rng.random((n, d)) < share] = np.nan
    return Readings(values)


@pytest.fixture(scope="module")
def known():
    return gappy()


@pytest.fixture(scope="module")
def normal(known):
    return fitted_by(MultivariateNormal(3), known)


METHODS = ["bootstrap", "posterior", "parameters fixed"]


@pytest.mark.parametrize("method", METHODS)
def test_tables_are_whole_keep_what_was_observed_and_differ(normal, known, method):
    tables = draw(normal, known, 3, 5, method=method).tables
    assert len(tables) == 3
    for table in tables:
        np.testing.assert_array_equal(table[known.observed], known.values[known.observed])
        assert np.isfinite(table).all()
    assert (tables[0] != tables[1])[~known.observed].all()


@pytest.mark.parametrize("method", METHODS)
def test_a_draw_depends_on_its_number_and_the_seed_alone(normal, known, method):
    five = draw(normal, known, 5, 7, method=method).tables
    two = draw(normal, known, 2, 7, method=method, threads=3).tables
    in_threads = draw(normal, known, 5, 7, method=method, threads=2).tables
    for one, other in zip([*five, *five], [*in_threads, *two], strict=False):
        assert one.tobytes() == other.tobytes()
    assert (draw(normal, known, 1, 8, method=method).tables[0] != five[0]).any()


@pytest.mark.parametrize("method", ["bootstrap", "posterior"])
def test_parameters_vary_by_their_standard_errors(normal, known, method):
    drawn = draw(normal, known, 120, 1, method=method)
    means = np.array([params.mean for params in drawn.params])
    covariances = np.array([params.covariance for params in drawn.params])
    errors = normal.fit.certificate.standard_errors
    # The relative error of a standard deviation of 120 draws is 6.5 %, and more of a variance, which is skew.
    np.testing.assert_allclose(means.std(axis=0, ddof=1), errors["mean"], rtol=0.25)
    np.testing.assert_allclose(covariances.std(axis=0, ddof=1), errors["covariance"], rtol=0.3)
    np.testing.assert_allclose(means.mean(axis=0), normal.params.mean, rtol=0, atol=0.25 * errors["mean"].max())
    fixed = draw(normal, known, 2, 1, method="parameters fixed")
    assert all(params is normal.params for params in fixed.params)


def test_chains_reach_the_posterior_of_a_monotone_pattern():
    # Under |Σ|^-1 the slope on a whole column has, given n complete rows, the t distribution of least squares, of n - 2
    # degrees of freedom; under Jeffreys' prior it would be one of n - 1 and a smaller scale.
    rng = np.random.default_rng(4)
    values = rng.normal(size=(30, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
    values[16:, 1] = np.nan
    known = Readings(values)
    drawn = draw(fitted_by(MultivariateNormal(2), known), known, 400, 3, method="posterior")
    slopes = np.array([params.covariance[0, 1] / params.covariance[0, 0] for params in drawn.params])
    least = stats.linregress(values[:16, 0], values[:16, 1])
    x = values[:16, 0] - values[:16, 0].mean()
    residual = values[:16, 1] - least.intercept - least.slope * values[:16, 0]
    scale = np.sqrt((residual**2).sum() / 14.0 / (x**2).sum())
    scaled = (slopes - least.slope) / scale
    assert stats.kstest(scaled, stats.t(14.0).cdf).pvalue > 0.01
    assert stats.kstest(scaled, stats.t(14.0, scale=1.5).cdf).pvalue < 0.01  # and would have seen an error too large
    assert drawn.steps >= 10
    assert f"{drawn.steps} steps" in drawn.notices[0]


def test_complete_rows_give_the_noise_of_least_squares():
    """``s / σ²`` of one column about all others is χ² with n - d degrees of freedom; Jeffreys' prior would have n - 1."""
    n, d = 24, 8
    known = gappy(n, d, 0.0, 5)
    fitted = fitted_by(MultivariateNormal(d), known)
    drawn = draw(fitted, known, 600, 7, method="posterior")
    away = known.values - known.values.mean(axis=0)
    left = 1.0 / np.linalg.inv(away.T @ away)[0, 0]
    ratio = left * np.array([np.linalg.inv(params.covariance)[0, 0] for params in drawn.params])
    assert stats.kstest(ratio, stats.chi2(n - d).cdf).pvalue > 0.01
    assert stats.kstest(ratio, stats.chi2(n - 1).cdf).pvalue < 1e-6


def test_few_rows_leave_a_proper_posterior():
    fitted = fitted_by(MultivariateNormal(6), gappy(40, 6, 0.0))
    assert [prior_of(fitted, n)[0] for n in (7, 9, 10, 12, 14, 40)] == [0.0, 0.0, -1.0, -3.0, -5.0, -5.0]


def test_steps_follow_the_fraction_of_missing_information(normal, known):
    def steps(rate):
        certificate = replace(normal.fit.certificate, rate=rate)
        return chain_length(replace(normal, fit=replace(normal.fit, certificate=certificate)), known, 1)

    assert steps(0.0)[0] == 10
    assert steps(0.9)[0] == 44  # 0.9 ** 44 is 0.0097
    most, told = steps(0.9999)
    assert most == MOST_STEPS
    assert "may be left" in told[0]
    without = replace(normal, fit=replace(normal.fit, certificate=None))
    assert chain_length(without, known, 1) == chain_length(normal, known, 1)


def test_a_climb_without_a_look_ends_by_its_trace(normal, known):
    source = normal.model.source(known, np.random.default_rng(0).multinomial(150, np.full(150, 1 / 150)).astype(float))
    top = climb(normal.model, source, normal.params, tol=1e-9)
    quick = climb(normal.model, source, normal.params, tol=1e-4, look=False)
    assert {row.kind for row in quick.trace} == {"step"}
    assert quick.status is Status.CONVERGED
    assert top.objective - 2e-4 < quick.objective < top.objective


def test_a_ridge_of_little_weight_leaves_posterior_draws_as_they_are_without_one():
    known = gappy(60, 8)

    def spread(prior):
        drawn = draw(fitted_by(MultivariateNormal(8, prior), known), known, 20, 1, method="posterior")
        return np.array([np.diagonal(params.covariance) for params in drawn.params])

    without = spread(None)
    weak = spread(CovariancePrior(1e-6 - 9.0, 1e-6 * np.eye(8)))  # a millionth of a row; degrees of a flat prior are -9
    np.testing.assert_allclose(weak, without, rtol=1e-4)


def test_the_prior_in_force_shrinks_the_posterior():
    known = gappy(12, 3, 0.1, 2)
    strong = CovariancePrior(200.0, 200.0 * np.eye(3))
    loose, tight = (
        draw(fitted_by(MultivariateNormal(3, prior), known), known, 40, 1, method="posterior")
        for prior in (None, strong)
    )
    spread = [np.std([p.covariance[0, 0] for p in drawn.params]) for drawn in (loose, tight)]
    assert spread[1] < 0.5 * spread[0]
    np.testing.assert_allclose(np.mean([p.covariance for p in tight.params], axis=0), np.eye(3), rtol=0, atol=0.15)


def test_resamples_without_a_maximum_are_weighted_smoothly_and_told():
    known = gappy(9, 6, 0.0, 3)
    values = known.values.copy()
    values[0, 0] = np.nan
    known = Readings(values)
    drawn = draw(fitted_by(MultivariateNormal(6), known, max_passes=5000), known, 6, 1)
    assert len(drawn.tables) == 6
    assert "resamples of the rows had no maximum" in drawn.notices[0]
    assert "fewer markers or a prior" in drawn.notices[0]
    assert len({float(params.mean[0]) for params in drawn.params}) == 6


def test_a_column_lost_by_a_resample_is_no_failure():
    values = gappy(20, 2, 0.0, 5).values.copy()
    values[4:, 1] = np.nan  # four values of one column: a resample often holds too few of them
    known = Readings(values)
    drawn = draw(fitted_by(MultivariateNormal(2), known), known, 10, 2)
    assert all(np.isfinite(table).all() for table in drawn.tables)
    assert any("no maximum" in notice for notice in drawn.notices)


def test_few_rows_do_not_make_draws_too_narrow(monkeypatch):
    def ratio():
        drawn, expected = [], []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            values = rng.normal(size=(30, 1)) + rng.normal(size=(30, 6))
            values[:4, 0] = np.nan
            known = Readings(values)
            tables = np.array(draw(fitted_by(MultivariateNormal(6), known, certificate=False), known, 40, seed).tables)
            drawn.append(tables[:, :4, 0].var(axis=0, ddof=1))
            # What least squares on the 26 whole rows says of the prediction of a new one.
            design = np.column_stack([np.ones(30), values[:, 1:]])
            _, squares, *_ = np.linalg.lstsq(design[4:], values[4:, 0], rcond=None)
            far = np.einsum("ij,jk,ik->i", design[:4], np.linalg.inv(design[4:].T @ design[4:]), design[:4])
            expected.append(squares[0] / 20 * (1.0 + far))
        return np.mean(drawn) / np.mean(expected)

    assert 0.9 < ratio() < 1.2
    monkeypatch.setattr("emtools.imputing.multiple.MOST_GROWTH", 1.0)
    assert ratio() < 0.88


def test_rows_of_no_weight_are_never_resampled(known):
    far = known.values.copy()
    far[:5] = 1e3
    weights = np.ones(len(far))
    weights[:5] = 0.0
    model = MultivariateNormal(3)
    fitted = Fitted("normal", model, fit(model, model.source(Readings(far), weights)), 0.0, ())
    drawn = draw(fitted, Readings(far), 5, 1, weights=weights)
    assert max(np.abs(params.mean).max() for params in drawn.params) < 5.0


def test_twice_the_weight_is_half_the_variance():
    known = gappy(60, 2, 0.1, 8)
    model = MultivariateNormal(2)
    spread = []
    for weight in (1.0, 4.0):
        weights = np.full(60, weight)
        fitted = Fitted("normal", model, fit(model, model.source(known, weights)), 0.0, ())
        drawn = draw(fitted, known, 60, 1, weights=weights)
        spread.append(np.std([params.mean for params in drawn.params], axis=0))
    np.testing.assert_allclose(spread[0] / spread[1], 2.0, rtol=0.4)


@pytest.mark.parametrize("method", ["bootstrap", "posterior"])
def test_bounded_cells_stay_within_their_bounds(method):
    values = gappy(80, 3, 0.1, 6).values.copy()
    low = values[:, 0] < -0.5
    values[low, 0] = np.nan
    upper = np.full(values.shape, np.inf)
    upper[low, 0] = -0.5
    known = Readings(values, upper=upper)
    fitted = fitted_by(CensoredNormal(3), known)
    drawn = draw(fitted, known, 3, 1, method=method)
    for table in drawn.tables:
        assert (table[low, 0] <= -0.5).all()
        assert np.isfinite(table).all()
    assert drawn.params[0].mean[0] != drawn.params[1].mean[0]


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("t", lambda: StudentT(3, 5.0)),
        ("factors", lambda: FactorAnalysis(3, 1)),
        ("mixture", lambda: IncompleteMixture(2, 3)),
    ],
)
def test_every_model_of_tables_can_be_resampled(known, kind, make):
    model = make()
    fitted = fitted_by(model, known, kind, certificate=False)
    drawn = draw(fitted, known, 3, 1, threads=2)
    assert all(np.isfinite(table).all() for table in drawn.tables)
    assert len({float(model.moments(params)[0][0]) for params in drawn.params}) == 3
    with pytest.raises(InputError, match=f"posterior draws of a {kind} model; a normal one; draw by bootstrap"):
        draw(fitted, known, 3, 1, method="posterior")


def test_unusable_arguments_are_named(normal, known):
    with pytest.raises(InputError, match="0 tables; at least 1"):
        draw(normal, known, 0)
    with pytest.raises(InputError, match="method 'jackknife'; one of bootstrap, posterior"):
        draw(normal, known, 2, method="jackknife")
    with pytest.raises(InputError, match="weighted rows"):
        draw(normal, known, 2, method="posterior", weights=np.arange(150.0))
    wide = Readings(np.random.default_rng(0).normal(size=(4, 6)))
    few = fitted_by(MultivariateNormal(6, CovariancePrior(-6.9, 0.1 * np.eye(6))), wide, certificate=False)
    with pytest.raises(InputError, match="4 rows for 6 columns leave the posterior improper"):
        draw(few, wide, 2, method="posterior")


def test_inverse_wishart_draws_have_their_distribution():
    rng = np.random.default_rng(1)
    scale = np.array([[2.0, 0.5], [0.5, 1.0]])
    drawn = np.array([draw_inverse_wishart(7.0, scale, rng) for _ in range(1500)])
    # A diagonal entry is scale / chi-square of degrees - d + 1, and so is 1 / the entry of the inverse of the last, of 7.
    assert stats.kstest(scale[0, 0] / drawn[:, 0, 0], stats.chi2(6.0).cdf).pvalue > 0.01
    ratio = np.linalg.det(scale) / scale[0, 0] / (np.linalg.det(drawn) / drawn[:, 0, 0])
    assert stats.kstest(ratio, stats.chi2(7.0).cdf).pvalue > 0.01
    rows = rng.normal(size=(8, 2))
    means = np.array([draw_normal_posterior(rows, 0.0, None, rng)[0] for _ in range(1500)])
    scaled = (means[:, 0] - rows[:, 0].mean()) / np.sqrt(rows[:, 0].var() / 6.0)
    assert stats.kstest(scaled, stats.t(6.0).cdf).pvalue > 0.01
