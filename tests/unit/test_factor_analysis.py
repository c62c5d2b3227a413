"""Factor analysis: closed forms, scikit-learn, the saturated normal, gaps by scipy, rotation, Heywood, expansion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as law
from sklearn.datasets import load_wine
from sklearn.decomposition import FactorAnalysis as Peer

from emtools.engine.certificate import certify
from emtools.engine.chunks import total_stats
from emtools.engine.starts import fit
from emtools.errors import FitError, InputError
from emtools.kernels.factors import factor_moments
from emtools.kernels.missing import expected_moments
from emtools.kernels.readings import Readings
from emtools.models.factor_analysis import FactorAnalysis, FactorParams, FactorPrior
from emtools.models.factor_rows import FactorSource
from emtools.models.normal import MultivariateNormal, NormalParams, PatternSource

WINE = load_wine().data
WINE = (WINE - WINE.mean(axis=0)) / WINE.std(axis=0)


def table_with(correlation, n=100, seed=0):
    """Rows whose sample correlations are exactly these."""
    rows = np.random.default_rng(seed).normal(size=(n, len(correlation)))
    rows -= rows.mean(axis=0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T, bias=True))).T
    return white @ np.linalg.cholesky(np.array(correlation)).T


def gappy(n=60, seed=3):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 5)) + rng.normal(size=(n, 5)) + 20.0
    values[rng.random(values.shape) < 0.2] = np.nan
    values[0] = np.nan
    return values


def some_params(seed=4):
    rng = np.random.default_rng(seed)
    return FactorParams(20.0 + rng.normal(size=5), rng.normal(size=(5, 2)), rng.uniform(0.5, 2.0, size=5))


@pytest.mark.parametrize("n_factors", [1, 2, 4])
def test_isotropic_noise_reaches_the_closed_form(n_factors):
    """Tipping & Bishop (1999), eqs 7 and 8: the noise is the mean of the eigenvalues left over."""
    d = WINE.shape[1]
    values, vectors = np.linalg.eigh(np.cov(WINE.T, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = values[n_factors:].mean()
    logs = np.log(values[:n_factors]).sum() + (d - n_factors) * np.log(noise)
    loglik = -0.5 * len(WINE) * (d * np.log(2 * np.pi) + logs + d)
    result = fit(
        FactorAnalysis(d, n_factors, "isotropic"), FactorSource(WINE), tol=1e-11, max_passes=20_000, certificate=False
    )
    assert result.loglik == pytest.approx(loglik, rel=1e-11)
    np.testing.assert_allclose(result.params.noise, noise, rtol=1e-5)
    loadings = vectors[:, :n_factors] * np.sqrt(values[:n_factors] - noise)
    loadings *= np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(n_factors)])
    np.testing.assert_allclose(result.model.natural(result.params)["loadings"], loadings, rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_factors", [1, 3])
def test_complete_data_agree_with_scikit_learn(n_factors):
    peer = Peer(n_factors, tol=1e-13, max_iter=200_000, svd_method="lapack").fit(WINE)
    result = fit(
        FactorAnalysis(WINE.shape[1], n_factors), FactorSource(WINE), tol=1e-10, max_passes=20_000, certificate=False
    )
    assert result.loglik == pytest.approx(peer.score(WINE) * len(WINE), rel=1e-10)
    np.testing.assert_allclose(result.model.covariance(result.params), peer.get_covariance(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("model", "columns"), [(FactorAnalysis(3, 1), 3), (FactorAnalysis(4, 3, "isotropic"), 4)])
def test_enough_factors_are_the_normal_distribution(model, columns):
    """As many free parameters as the normal has: the same maximum, gaps included."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=(80, 1)) * np.array([1.0, 0.8, 1.2, 0.9]) + rng.normal(size=(80, 4))
    values[rng.random(values.shape) < 0.15] = np.nan
    source = FactorSource(values[:, :columns])
    table = PatternSource(values[:, :columns])
    assert model.n_free_parameters == MultivariateNormal(columns).n_free_parameters
    normal = fit(MultivariateNormal(columns), table, tol=1e-11, max_passes=20_000, certificate=False)
    result = fit(model, source, tol=1e-11, max_passes=20_000, certificate=False)
    assert result.loglik == pytest.approx(normal.loglik, rel=1e-9)
    np.testing.assert_allclose(model.covariance(result.params), normal.params.covariance, rtol=0, atol=1e-4)


def test_gaps_are_integrated_out():
    values, params = gappy(), some_params()
    model = FactorAnalysis(5, 2)
    covariance = model.covariance(params)
    expected = 0.0
    for row in values[1:]:
        o = ~np.isnan(row)
        expected += law.multivariate_normal(params.mean[o], covariance[np.ix_(o, o)]).logpdf(row[o])
    assert total_stats(model, FactorSource(values), params).loglik == pytest.approx(expected, rel=1e-12)


def test_moments_are_those_of_a_normal_with_the_factors_as_empty_columns():
    values, params = gappy(), some_params()
    source = PatternSource(values)
    patterns = source.chunk(0).patterns
    mean = params.mean - source.origin
    rows = FactorSource(values).chunk(0)
    one = factor_moments(rows.rows, rows.seen, rows.share, mean, params.loadings, params.noise)
    joint = np.block(
        [[params.loadings @ params.loadings.T + np.diag(params.noise), params.loadings], [params.loadings.T, np.eye(2)]]
    )
    wide = [type(p)(p.observed, np.append(p.missing, [5, 6]), p.n_rows, p.weight, p.mean, p.root) for p in patterns]
    loglik, entropy, first, second = expected_moments(wide, np.append(mean, [0.0, 0.0]), joint, False)
    assert one.loglik == pytest.approx(loglik, rel=1e-12)
    assert one.entropy == pytest.approx(entropy, rel=1e-12)
    np.testing.assert_allclose(np.append(one.x, one.z), first, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(one.xx, np.diagonal(second)[:5], rtol=1e-11)
    np.testing.assert_allclose(one.xz, second[:5, 5:], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(one.zz, second[5:, 5:], rtol=1e-11)


def test_nothing_reported_depends_on_the_rotation():
    model, params, source = FactorAnalysis(5, 2), some_params(), FactorSource(gappy())
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [1.0, -1.0]
    turned = FactorParams(params.mean, params.loadings @ turn, params.noise)
    one, two = (total_stats(model, source, p) for p in (params, turned))
    assert two.loglik == pytest.approx(one.loglik, rel=1e-13)
    assert model.expected_loglik(one, turned) == pytest.approx(model.expected_loglik(one, params), rel=1e-12)
    np.testing.assert_allclose(model.pack(turned), model.pack(params), rtol=1e-10, atol=1e-10)
    for name, value in model.natural(params).items():
        np.testing.assert_allclose(model.natural(turned)[name], value, rtol=1e-10, atol=1e-10)
    axes = model.principal_axes(params)
    white = axes / np.sqrt(params.noise)[:, None]
    assert abs(white[:, 0] @ white[:, 1]) < 1e-12
    assert (white[:, 0] ** 2).sum() > (white[:, 1] ** 2).sum()
    units = 2.0 ** np.array([0, 40, -30, 7, 0])
    rescaled = FactorParams(params.mean * units, params.loadings * units[:, None], params.noise * units**2)
    np.testing.assert_allclose(model.principal_axes(rescaled), axes * units[:, None], rtol=1e-12)
    np.testing.assert_allclose(axes @ axes.T, params.loadings @ params.loadings.T, rtol=1e-11, atol=1e-11)


def test_a_heywood_case_is_said_and_a_bound_holds_it():
    values = table_with([[1, 0.8, 0.8], [0.8, 1, 0.5], [0.8, 0.5, 1]])
    with pytest.raises(FitError, match=r"uniqueness of column 1 goes to zero \(Heywood case\)"):
        fit(FactorAnalysis(3, 1), FactorSource(values), max_passes=5000)
    model = FactorAnalysis(3, 1, least_noise=0.005)
    result = fit(model, FactorSource(values), tol=1e-9, max_passes=5000)
    assert result.params.noise[0] == 0.005
    certificate = certify(model, FactorSource(values), result.params)
    assert certificate.n_held == 1
    assert np.isnan(certificate.standard_errors["uniqueness"][0])
    assert np.isfinite(certificate.standard_errors["uniqueness"][1:]).all()


def test_factors_without_noise_have_no_maximum():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 4))
    with pytest.raises(FitError, match="2 factors leave no noise"):
        fit(FactorAnalysis(4, 2, "isotropic"), FactorSource(values), max_passes=5000)


def test_expansion_climbs_the_same_likelihood_in_fewer_passes():
    source = FactorSource(np.where(np.random.default_rng(1).random(WINE.shape) < 0.1, np.nan, WINE))
    d = WINE.shape[1]
    passes = {}
    for expand in (False, True):
        model = FactorAnalysis(d, 3, expand=expand)
        params = model.initial_params(source, np.random.default_rng(2), "random")
        values = []
        for _ in range(80):
            stats = total_stats(model, source, params)
            values.append(stats.loglik)
            params = model.m_step(stats, params)
        assert (np.diff(values) > -1e-9).all()
        passes[expand] = values
    assert int(np.argmax(np.array(passes[True]) >= passes[False][-1])) < 40
    assert passes[True][-1] - passes[False][-1] < 5.0


def test_scores_are_conditional_means():
    values, params = gappy(), some_params()
    model = FactorAnalysis(5, 2)
    scores, sd = model.scores(params, values)
    np.testing.assert_array_equal((scores[0], sd[0]), ([0.0, 0.0], [1.0, 1.0]))
    row, axes = values[1], model.principal_axes(params)
    o = ~np.isnan(row)
    gain = axes[o].T @ np.linalg.inv(model.covariance(params)[np.ix_(o, o)])
    np.testing.assert_allclose(scores[1], gain @ (row[o] - params.mean[o]), rtol=1e-10)
    np.testing.assert_allclose(sd[1], np.sqrt(np.diagonal(np.eye(2) - gain @ axes[o])), rtol=1e-10)


def test_two_origins_add():
    values = gappy()
    model, params = FactorAnalysis(5, 2), some_params()
    parts = [model.e_step(params, FactorSource(rows).chunk(0)) for rows in (values[:30], values[30:])]
    assert (parts[0].origin != parts[1].origin).any()
    summed = parts[0] + parts[1]
    whole = total_stats(model, FactorSource(values), params).about(parts[0].origin)
    for name in ("n", "loglik", "entropy", "x", "z", "xx", "xz", "zz"):
        np.testing.assert_allclose(getattr(summed, name), getattr(whole, name), rtol=1e-10, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FactorAnalysis(1, 1), "1 columns"),
        (lambda: FactorAnalysis(3, 0), "factors"),
        (lambda: FactorAnalysis(3, 3), "factors"),
        (lambda: FactorAnalysis(3, 1, "round"), "noise"),
        (lambda: FactorAnalysis(3, 1, least_noise=-1.0), "least_noise"),
        (lambda: FactorAnalysis(3, 1, prior=FactorPrior(np.ones(2))), "factor prior"),
        (lambda: FactorAnalysis(3, 1, expand=True, prior=FactorPrior(np.ones(3))), "no expansion"),
        (lambda: fit(FactorAnalysis(3, 1), FactorSource(np.ones((5, 2)))), "2 columns"),
        (lambda: fit(FactorAnalysis(2, 1), FactorSource(np.array([[1.0, 2.0], [1.0, 3.0]]))), "column 1 is constant"),
        (lambda: FactorAnalysis(2, 1).scores(some_params(), np.ones((2, 3))), "2 columns"),
    ],
)
def test_hostile_input_gets_one_clear_line(make, told):
    with pytest.raises(InputError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_gaps_are_filled_drawn_and_weighed_as_by_the_normal_of_its_covariance():
    values, params = gappy(), some_params()
    model, normal = FactorAnalysis(5, 2), MultivariateNormal(5)
    same = NormalParams(*model.moments(params))
    readings = Readings(values)
    for ours, theirs in zip(model.conditional(params, readings), normal.conditional(same, readings), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    np.testing.assert_allclose(
        model.log_density(params, readings), normal.log_density(same, readings), rtol=1e-10, atol=1e-12
    )
    rng = np.random.default_rng(8)
    row = Readings(np.repeat(values[1:2], 20_000, axis=0))
    drawn = model.draw(params, row, rng)
    gaps = np.isnan(values[1])
    covariance = normal.conditional_covariance(same, ~gaps)[np.ix_(gaps, gaps)]
    np.testing.assert_array_equal(drawn[:, ~gaps], row.values[:, ~gaps])
    np.testing.assert_allclose(drawn[:, gaps].mean(axis=0), model.conditional(params, row)[0][0, gaps], atol=0.05)
    np.testing.assert_allclose(np.atleast_2d(np.cov(drawn[:, gaps].T)), covariance, rtol=0.05, atol=0.05)


def test_rows_as_they_are_and_their_scatter_say_the_same():
    """A pattern with many rows is kept as a mean and a root; with an eighth of them it is not."""
    values = np.tile(gappy(20), (8, 1))
    values[20:] += np.random.default_rng(2).normal(size=(140, 5))
    model, params = FactorAnalysis(5, 2), some_params()
    whole = FactorSource(values)
    parts = [FactorSource(values[i : i + 4]) for i in range(0, 160, 4)]
    assert len(whole.rows) < 100
    summed = [model.e_step(params, part.chunk(0)) for part in parts]
    total = sum(summed[1:], start=summed[0])
    one = total_stats(model, whole, params).about(total.origin)
    for name in ("n", "loglik", "entropy", "x", "z", "xx", "xz", "zz"):
        np.testing.assert_allclose(getattr(one, name), getattr(total, name), rtol=1e-9, atol=1e-8, err_msg=name)


def test_a_prior_keeps_a_heywood_case_off_and_small_loadings_small():
    values = table_with([[1, 0.8, 0.8], [0.8, 1, 0.5], [0.8, 0.5, 1]])
    priors = [FactorPrior(np.full(3, 0.5), 2.0, ridge) for ridge in (0.0, 50.0)]
    ends = [fit(FactorAnalysis(3, 1, prior=p), FactorSource(values), certificate=False, tol=1e-9) for p in priors]
    assert all(end.converged for end in ends)
    assert ends[0].params.noise[0] > 0.005
    assert (ends[1].params.loadings ** 2).sum() < 0.9 * (ends[0].params.loadings ** 2).sum()


def test_more_columns_than_rows_never_need_their_covariance():
    rng = np.random.default_rng(11)
    values = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3000)) + rng.normal(size=(40, 3000))
    values[rng.random(values.shape) < 0.2] = np.nan
    model = FactorAnalysis(3000, 3, prior=FactorPrior(np.ones(3000)))
    result = fit(model, FactorSource(values), certificate=False, tol=1.0, max_passes=60)
    assert "covariance" not in model.natural(result.params)
    assert np.isfinite(model.conditional(result.params, Readings(values))[0]).all()
