"""The evidence bound: exact with one component, below the enumerated evidence with more, scikit-learn's, and its top."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as law
from scipy.special import gammaln, logsumexp, multigammaln
from sklearn.datasets import load_iris
from sklearn.mixture import BayesianGaussianMixture

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.models.variational_mixture import (
    VariationalGaussianMixture,
    VariationalParams,
    VariationalPrior,
    vague_prior,
)

IRIS = load_iris().data


def two_groups(n=60, d=2, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, 1)) < 0.6, 0.0, 4.0) + rng.normal(size=(n, d))


def objective(model, source, params):
    return total_stats(model, source, params).loglik + model.log_prior(params)


def log_evidence_of_group(values, prior):
    """Marginal likelihood of rows of one normal under the normal-Wishart prior, in closed form."""
    n, d = values.shape
    if not n:
        return 0.0
    centre = values.mean(axis=0)
    away = centre - prior.mean
    precision, degrees = prior.mean_precision + n, prior.degrees + n
    shrink = prior.mean_precision * n / precision
    scale = prior.scale + (values - centre).T @ (values - centre) + shrink * np.outer(away, away)
    return (
        -0.5 * n * d * math.log(math.pi)
        + multigammaln(degrees / 2, d)
        - multigammaln(prior.degrees / 2, d)
        + 0.5 * prior.degrees * np.linalg.slogdet(prior.scale)[1]
        - 0.5 * degrees * np.linalg.slogdet(scale)[1]
        + 0.5 * d * math.log(prior.mean_precision / precision)
    )


def log_probability_of_labels(counts, concentration, weights):
    if weights == "dirichlet":
        k = len(counts)
        return float(
            gammaln(k * concentration)
            - gammaln(k * concentration + sum(counts))
            + sum(gammaln(concentration + n) - gammaln(concentration) for n in counts)
        )
    total = 0.0
    for j in range(len(counts) - 1):
        after = sum(counts[j + 1 :])
        total += (
            gammaln(1 + counts[j]) + gammaln(concentration + after) - gammaln(1 + concentration + counts[j] + after)
        )
        total += gammaln(1 + concentration) - gammaln(concentration)
    return float(total)


def test_the_bound_of_one_component_is_the_evidence():
    values = two_groups(40, 3)
    prior = vague_prior(values, 1)
    for weights in ("dirichlet", "stick_breaking"):
        model = VariationalGaussianMixture(1, 3, prior, weights)
        result = fit(model, ArraySource(values))
        assert result.objective == pytest.approx(log_evidence_of_group(values, prior), rel=1e-12)


@pytest.mark.parametrize("weights", ["dirichlet", "stick_breaking"])
def test_the_bound_lies_below_the_evidence(weights):
    """All 3^7 assignments of seven rows; far apart, the bound comes near."""
    values = np.array([[0.0], [0.3], [-0.2], [9.0], [9.4], [8.9], [0.1]])
    prior = VariationalPrior(0.8, np.array([4.0]), 0.1, 2.0, np.array([[0.5]]))
    model = VariationalGaussianMixture(3, 1, prior, weights)
    terms = []
    for labels in product(range(3), repeat=len(values)):
        groups = [values[np.array(labels) == k] for k in range(3)]
        term = log_probability_of_labels([len(g) for g in groups], prior.concentration, weights)
        terms.append(term + sum(log_evidence_of_group(g, prior) for g in groups))
    evidence = logsumexp(terms)
    best = fit(model, ArraySource(values), starts=5, tol=1e-10, certificate=False).objective
    assert best < evidence
    assert evidence - best < 2.5


@pytest.mark.parametrize("weights", ["dirichlet", "stick_breaking"])
def test_no_optimiser_finds_a_higher_bound(weights):
    values = two_groups(40, 1) * np.array([2.0])
    model = VariationalGaussianMixture(2, 1, vague_prior(values, 2), weights)
    source = ArraySource(values)
    result = fit(model, source, starts=3, tol=1e-11, max_passes=5000, certificate=False)
    start = model.pack(result.params)
    away = start + 0.1 * np.random.default_rng(1).normal(size=start.size)
    found = optimize.minimize(lambda v: -objective(model, source, model.unpack(v)), away, method="BFGS")
    assert -found.fun == pytest.approx(result.objective, abs=1e-6)
    far = start + np.random.default_rng(2).normal(size=start.size)
    found = optimize.minimize(lambda v: -objective(model, source, model.unpack(v)), far, method="BFGS")
    from_there = fit(model, source, init=[model.unpack(found.x)], tol=1e-11, max_passes=5000, certificate=False)
    assert from_there.objective == pytest.approx(-found.fun, abs=1e-6)


def test_the_divergence_is_that_of_its_definition():
    """Monte Carlo over the posterior, with the densities of scipy."""
    prior = VariationalPrior(0.7, np.array([1.0, -1.0]), 0.5, 4.0, np.array([[2.0, 0.3], [0.3, 1.0]]))
    model = VariationalGaussianMixture(2, 2, prior)
    params = VariationalParams(
        np.array([3.0, 5.0]),
        np.array([[1.5, -0.5], [0.0, -2.0]]),
        np.array([2.0, 4.0]),
        np.array([6.0, 9.0]),
        np.array([[[3.0, 0.2], [0.2, 2.0]], [[5.0, -1.0], [-1.0, 4.0]]]),
    )
    rng = np.random.default_rng(1)
    draws = 4_000
    total = np.zeros(draws)
    own, common = law.dirichlet(params.concentration), law.dirichlet(np.full(2, 0.7))
    weights = own.rvs(draws, random_state=rng)
    total += common.logpdf(weights.T) - own.logpdf(weights.T)
    for k in range(2):
        posterior = law.wishart(params.degrees[k], np.linalg.inv(params.scales[k]))
        before = law.wishart(prior.degrees, np.linalg.inv(prior.scale))
        precisions = posterior.rvs(draws, random_state=rng)
        total += before.logpdf(np.moveaxis(precisions, 0, -1)) - posterior.logpdf(np.moveaxis(precisions, 0, -1))
        factors = np.linalg.cholesky(np.linalg.inv(precisions))
        means = params.means[k] + np.einsum("nij,nj->ni", factors, rng.normal(size=(draws, 2))) / math.sqrt(
            params.mean_precision[k]
        )
        for sign, centre, worth in (
            (1, prior.mean, prior.mean_precision),
            (-1, params.means[k], params.mean_precision[k]),
        ):
            gap = means - centre
            total += sign * (math.log(worth) - 0.5 * worth * np.einsum("ni,nij,nj->n", gap, precisions, gap))
    assert model.log_prior(params) == pytest.approx(total.mean(), abs=4.0 * total.std() / math.sqrt(draws))


def peer(weights, n_components, prior, seed, init):
    kind = "dirichlet_distribution" if weights == "dirichlet" else "dirichlet_process"
    return BayesianGaussianMixture(
        n_components=n_components,
        weight_concentration_prior_type=kind,
        weight_concentration_prior=prior.concentration,
        mean_precision_prior=prior.mean_precision,
        mean_prior=prior.mean,
        degrees_of_freedom_prior=prior.degrees,
        covariance_prior=prior.scale,
        reg_covar=0.0,
        tol=1e-14,
        max_iter=20_000,
        random_state=seed,
        init_params=init,
    ).fit(IRIS)


def test_scikit_learn_ends_at_the_same_posteriors():
    """Its optima are fixed points of ours, and differ by the same number of nats: its bound drops constants."""
    prior = vague_prior(IRIS, 3)
    model = VariationalGaussianMixture(3, 4, prior)
    source = ArraySource(IRIS)
    offsets = []
    for seed, init in ((0, "kmeans"), (1, "random_from_data"), (5, "random_from_data")):
        theirs = peer("dirichlet", 3, prior, seed, init)
        degrees = theirs.degrees_of_freedom_
        params = VariationalParams(
            theirs.weight_concentration_,
            theirs.means_,
            theirs.mean_precision_,
            degrees,
            theirs.covariances_ * degrees[:, None, None],
        )
        after = model.m_step(total_stats(model, source, params), params)
        np.testing.assert_allclose(after.means, theirs.means_, rtol=0, atol=1e-6)
        np.testing.assert_allclose(after.concentration, theirs.weight_concentration_, rtol=1e-5)
        np.testing.assert_allclose(after.scales, params.scales, rtol=0, atol=1e-4)
        result = fit(model, source, init=[params], tol=1e-9, max_passes=5000)
        np.testing.assert_allclose(np.sort(model.expected_weights(result.params)), np.sort(theirs.weights_), atol=1e-4)
        offsets.append(objective(model, source, params) - theirs.lower_bound_)
    np.testing.assert_allclose(offsets, offsets[0], rtol=0, atol=1e-7)


def test_components_that_are_not_needed_are_left_empty():
    values = two_groups(200)
    for weights in ("dirichlet", "stick_breaking"):
        model = VariationalGaussianMixture(4, 2, vague_prior(values, 4), weights)
        result = fit(model, ArraySource(values), starts=3, max_passes=5000, certificate=False)
        shares = model.expected_weights(result.params)
        assert shares.sum() == pytest.approx(1.0, abs=1e-12)
        assert (shares > 0.02).sum() == 2
        np.testing.assert_allclose(np.sort(shares)[-2:], [0.4, 0.6], atol=0.08)


def test_weights_of_sticks_are_means_of_products():
    model = VariationalGaussianMixture(3, 1, vague_prior(two_groups(20, 1), 3), "stick_breaking")
    params = VariationalParams(
        np.array([[2.0, 3.0], [4.0, 1.0]]), np.zeros((3, 1)), np.ones(3), np.ones(3), np.ones((3, 1, 1))
    )
    rng = np.random.default_rng(2)
    first, second = rng.beta(2.0, 3.0, 200_000), rng.beta(4.0, 1.0, 200_000)
    drawn = np.stack([first, (1 - first) * second, (1 - first) * (1 - second)])
    np.testing.assert_allclose(model.expected_weights(params), drawn.mean(axis=1), atol=3e-3)
    np.testing.assert_allclose(model.expected_log_weights(params), np.log(drawn).mean(axis=1), atol=2e-2)


def test_an_offset_of_the_data_costs_no_digits():
    values = np.round(two_groups(), 6)
    shifted = values + 2.0**30
    results = []
    for rows in (shifted - 2.0**30, shifted):
        prior = vague_prior(rows, 2)
        results.append(fit(VariationalGaussianMixture(2, 2, prior), ArraySource(rows), seed=1))
    assert results[1].objective == pytest.approx(results[0].objective, abs=1e-6)


GOOD = VariationalPrior(1.0, np.zeros(2), 1.0, 2.0, np.eye(2))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: VariationalGaussianMixture(0, 2, GOOD), "0 components"),
        (lambda: VariationalGaussianMixture(2, 2, GOOD, "round"), "weights"),
        (lambda: VariationalGaussianMixture(2, 3, GOOD), "shapes"),
        (lambda: VariationalGaussianMixture(2, 2, VariationalPrior(1.0, np.zeros(2), 1.0, 1.0, np.eye(2))), "degrees"),
        (lambda: VariationalGaussianMixture(2, 2, VariationalPrior(0.0, np.zeros(2), 1.0, 2.0, np.eye(2))), "positive"),
        (lambda: VariationalGaussianMixture(2, 2, VariationalPrior(1.0, np.zeros(2), 1.0, 2.0, -np.eye(2))), "scale"),
        (lambda: vague_prior(np.ones((5, 2)), 2), "singular"),
        (lambda: vague_prior(np.array([[np.nan], [1.0]]), 2), "finite"),
        (lambda: fit(VariationalGaussianMixture(2, 2, GOOD), ArraySource(np.ones((5, 3)))), "3 columns"),
        (lambda: fit(VariationalGaussianMixture(2, 2, GOOD), ArraySource(np.ones((5, 2)))), "distinct rows"),
    ],
)
def test_hostile_input_gets_one_clear_line(make, told):
    with pytest.raises(InputError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)
