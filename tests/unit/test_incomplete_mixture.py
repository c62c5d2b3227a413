"""The mixture of normals with gaps against scipy row by row, a naive rewrite, and the models that it contains."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.errors import InputError
from emtools.kernels import precision
from emtools.kernels.readings import Readings
from emtools.models.covariance_prior import CovariancePrior
from emtools.models.incomplete_mixture import IncompleteMixture, incomplete_prior
from emtools.models.incomplete_rows import IncompleteSource
from emtools.models.mixture import GaussianMixture
from emtools.models.mixture_values import MixtureParams
from emtools.models.normal import MultivariateNormal, PatternSource

FAMILIES = ("full", "tied")


def two_groups(n=150, share=0.3, seed=0):
    """Rows of two groups of three columns with gaps, the true rows, and integer weights; one row has no value."""
    rng = np.random.default_rng(seed)
    whole = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.6, 0.2], [0.0, 0.8, -0.3], [0.0, 0.0, 0.7]])
    whole[n // 2 :] = whole[n // 2 :] * [1.0, 1.5, 0.6] + [4.0, 0.0, 3.0]
    table = whole.copy()
    table[rng.random(table.shape) < share] = np.nan
    table[7] = np.nan
    return table, whole, rng.integers(0, 4, size=n).astype(float)


def some_params(family):
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(2, 3, 3))
    covariances = mixing @ np.swapaxes(mixing, 1, 2) + 0.3 * np.eye(3)
    means = np.array([[0.2, 0.1, -0.3], [3.5, 0.3, 2.0]])
    return MixtureParams(np.array([0.3, 0.7]), means, covariances if family == "full" else covariances[0])


def matrices(params):
    return params.covariances if params.covariances.ndim == 3 else np.repeat(params.covariances[None], 2, axis=0)


def log_joint(row, params):
    o = ~np.isnan(row)
    density = [
        multivariate_normal(mean[o], matrix[np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0.0
        for mean, matrix in zip(params.means, matrices(params), strict=True)
    ]
    return np.log(params.weights) + density


@pytest.mark.parametrize("family", FAMILIES)
def test_log_likelihood_is_that_of_scipy(family):
    table, _, weights = two_groups()
    params, model = some_params(family), IncompleteMixture(2, 3, family)
    joint = np.array([log_joint(row, params) for row in table])
    densities = np.where(np.arange(len(table)) == 7, 0.0, logsumexp(joint, axis=1))
    np.testing.assert_allclose(model.log_density(params, Readings(table)), densities, rtol=1e-12, atol=1e-12)
    stats = total_stats(model, IncompleteSource(table, weights, chunk_rows=31), params)
    assert stats.loglik == pytest.approx(float(weights @ densities), rel=1e-12)
    shares = np.exp(joint - logsumexp(joint, axis=1)[:, None])
    np.testing.assert_allclose(model.responsibilities(params, Readings(table)), shares, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("family", FAMILIES)
def test_moments_equal_a_naive_rewrite(family):
    table, _, weights = two_groups()
    params = some_params(family)
    counts, first, second, entropy = np.zeros(2), np.zeros((2, 3)), np.zeros((2, 3, 3)), 0.0
    for row, weight in zip(table, weights, strict=True):
        o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        if not o.size or not weight:
            continue
        joint = log_joint(row, params)
        for k, share in enumerate(np.exp(joint - logsumexp(joint))):
            matrix, away = matrices(params)[k], row - params.means[k]
            slopes = matrix[np.ix_(m, o)] @ np.linalg.inv(matrix[np.ix_(o, o)])
            away[m] = slopes @ away[o]
            left = matrix[np.ix_(m, m)] - slopes @ matrix[np.ix_(o, m)]
            counts[k] += weight * share
            first[k] += weight * share * away
            second[k] += weight * share * np.outer(away, away)
            second[k][np.ix_(m, m)] += weight * share * left
            entropy -= weight * share * math.log(share)
            entropy += 0.5 * weight * share * np.linalg.slogdet(2.0 * math.pi * math.e * left)[1] if m.size else 0.0
    stats = total_stats(IncompleteMixture(2, 3, family), IncompleteSource(table, weights), params)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-11)
    np.testing.assert_allclose(stats.first, first, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(stats.second, second.sum(axis=0) if family == "tied" else second, rtol=1e-10, atol=1e-10)
    assert stats.entropy == pytest.approx(entropy, rel=1e-11)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_gaps_it_is_the_gaussian_mixture(family):
    whole, params = two_groups()[1], some_params(family)
    ours = total_stats(IncompleteMixture(2, 3, family), IncompleteSource(whole), params)
    theirs = total_stats(GaussianMixture(2, 3, family), ArraySource(whole), params)
    for name in ("n", "loglik", "entropy", "counts", "first", "second"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-11, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("prior", [None, CovariancePrior(-1.5, np.diag([3.0, 1.0, 2.0]))])
def test_one_component_is_the_multivariate_normal(prior):
    table, _, weights = two_groups()
    model, normal = IncompleteMixture(1, 3, prior=prior), MultivariateNormal(3, prior=prior)
    source = model.source(Readings(table), weights)
    start = model.initial_params(source, np.random.default_rng(0), "kmeans++")
    ours = total_stats(model, source, start)
    same = normal.unpack(model.pack(start))
    theirs = total_stats(normal, PatternSource(table, weights), same)
    assert ours.loglik == pytest.approx(theirs.loglik, rel=1e-13)
    assert ours.entropy == pytest.approx(theirs.entropy, rel=1e-12)
    assert model.log_prior(start) == pytest.approx(normal.log_prior(same), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(
        model.pack(model.m_step(ours, start)), normal.pack(normal.m_step(theirs, same)), rtol=1e-11
    )
    options = {"tol": 1e-12, "parameter_tol": 1e-12, "max_passes": 3000, "certificate": False}
    one, two = fit(model, source, **options), fit(normal, PatternSource(table, weights), **options)
    assert one.objective == pytest.approx(two.objective, rel=1e-12)
    np.testing.assert_allclose(one.params.means[0], two.params.mean, rtol=1e-8)
    np.testing.assert_allclose(one.params.covariances[0], two.params.covariance, rtol=1e-8, atol=1e-8)
    found, expected = model.conditional(one.params, Readings(table)), normal.conditional(two.params, Readings(table))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_observed_block_gives_the_same_as_the_inverse(family, monkeypatch):
    table, _, weights = two_groups()
    model, source, params = IncompleteMixture(2, 3, family), IncompleteSource(table, weights), some_params(family)
    quick = total_stats(model, source, params)
    monkeypatch.setattr(precision, "INFLATED", 0.0)
    slow = total_stats(model, source, params)
    for name in ("loglik", "entropy", "counts", "first", "second"):
        np.testing.assert_allclose(getattr(quick, name), getattr(slow, name), rtol=1e-11, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_conditional_distribution_by_simulation(family):
    table, _, _ = two_groups(60)
    model, params, gaps = IncompleteMixture(2, 3, family), some_params(family), np.isnan(table)
    filled, sd = model.conditional(params, Readings(table))
    np.testing.assert_array_equal(filled[~gaps], table[~gaps])
    assert np.isnan(sd[~gaps]).all()
    many = Readings(np.tile(table, (4000, 1)))
    draws = model.draw(params, many, np.random.default_rng(1)).reshape(4000, 60, 3)
    np.testing.assert_array_equal(draws[:, ~gaps], np.broadcast_to(table[~gaps], (4000, (~gaps).sum())))
    assert np.abs((draws.mean(axis=0) - filled)[gaps] / (sd[gaps] / math.sqrt(4000))).max() < 4.5
    np.testing.assert_allclose(draws.std(axis=0)[gaps], sd[gaps], rtol=0.08)
    mean, covariance = model.moments(params)
    np.testing.assert_allclose(filled[7], mean, rtol=1e-13)
    np.testing.assert_allclose(sd[7] ** 2, np.diagonal(covariance), rtol=1e-13)
    np.testing.assert_allclose(np.cov(draws[:, 7].T), covariance, rtol=0.15, atol=0.2)


def test_groups_are_found_through_the_gaps_and_fill_them_better_than_one_normal():
    table, whole, _ = two_groups(600)
    gaps = np.isnan(table)
    errors = []
    for k in (1, 2):
        model = IncompleteMixture(k, 3, prior=incomplete_prior(table, k))
        found = fit(model, model.source(Readings(table)), starts=3, certificate=False, tol=1e-6)
        filled = model.conditional(found.params, Readings(table))[0]
        errors.append(float(np.sqrt(np.mean((filled - whole)[gaps] ** 2))))
    assert np.abs(np.sort(found.params.means[:, 0]) - [0.0, 4.0]).max() < 0.4
    assert errors[1] < 0.95 * errors[0], errors


@pytest.mark.parametrize("strategy", IncompleteMixture.strategies)
def test_starts_have_the_variances_of_what_is_observed(strategy):
    table = two_groups(400, share=0.6)[0]
    table[np.isnan(table).all(axis=1), 0] = 0.5
    model = IncompleteMixture(2, 3)
    start = model.initial_params(model.source(Readings(table)), np.random.default_rng(3), strategy)
    within = model.complete.covariance_matrices(start)
    assert (np.linalg.eigvalsh(within) > 0.0).all()
    if strategy == "random":
        variances = np.diagonal(within, axis1=1, axis2=2)
        np.testing.assert_allclose(variances, np.tile(np.nanvar(table, axis=0), (2, 1)), rtol=1e-10)


def test_a_component_collapses_without_a_prior_and_says_so():
    rng = np.random.default_rng(0)
    table = np.concatenate([rng.normal(size=(40, 2)), np.full((3, 2), 9.0)])
    table[0, 1] = table[5, 0] = np.nan
    start = MixtureParams(
        np.array([0.9, 0.1]), np.array([[0.0, 0.0], [9.0, 9.0]]), np.stack([np.eye(2), 0.01 * np.eye(2)])
    )
    source = IncompleteSource(table)
    ended = climb(IncompleteMixture(2, 2), source, start)
    assert ended.status is Status.DEGENERATE
    assert "component 2 has collapsed on 3 points" in ended.reason
    held = climb(IncompleteMixture(2, 2, prior=incomplete_prior(table, 2)), source, start)
    assert held.status is Status.CONVERGED


def test_hostile_tables_and_options():
    table = two_groups()[0]
    constant = np.where(np.arange(3) == 1, np.where(np.isnan(table), np.nan, 2.0), table)
    model = IncompleteMixture(2, 3, labels=("a", "crp", "c"))
    cases = [
        (lambda: IncompleteMixture(0, 3), "at least one of each"),
        (lambda: IncompleteMixture(2, 3, "diagonal"), "full or tied"),
        (lambda: IncompleteMixture(2, 3, prior=CovariancePrior(-4.0, np.eye(3))), "more than -4 degrees"),
        (lambda: IncompleteMixture(2, 3, prior=CovariancePrior(4.0, np.eye(2))), "scale of shape"),
        (lambda: model.source(Readings(table[:, :2])), "2 columns; 3"),
        (lambda: fit(model, model.source(Readings(constant))), "column 'crp' is constant"),
        (lambda: fit(model, model.source(Readings(table[:1]))), "column . has no value|1 rows"),
        (lambda: fit(model, model.source(Readings(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, np.nan]])))), "constant"),
        (lambda: model.e_step(some_params("full"), IncompleteSource(table).chunk(0), "hard"), "one of soft, sampled"),
        (lambda: incomplete_prior(constant, 2), "feature 2 is constant"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
