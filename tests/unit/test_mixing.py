"""Counts of mixtures of known profiles: densities against quadrature, scores and information against differences."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, logsumexp
from scipy.stats import gamma, poisson

from emtools.kernels.mixing import (
    Classes,
    adapted_profiles,
    amount_information,
    amount_scores,
    excess_scale,
    expected_counts,
    latent_expression,
    log_evidence,
    pulls,
)


@pytest.fixture
def mixed():
    rng = np.random.default_rng(3)
    profiles = rng.gamma(1.0, 3.0, size=(12, 2)) + 0.1
    amounts = np.array([[2.0, 1.0], [0.5, 3.0], [1.0, 1.0]])
    counts = rng.poisson(expected_counts(amounts, profiles)).astype(float)
    return profiles, amounts, counts


def test_evidence_is_the_integral_over_the_gene_factor(mixed):
    profiles, amounts, counts = mixed
    expected = expected_counts(amounts, profiles)
    found = log_evidence(counts, expected, Classes(np.array([2.5]), np.array([1.0])))[:, 0]
    for g in range(4):
        value, _ = quad(
            lambda f, g=g: gamma.pdf(f, 2.5, scale=1 / 2.5) * np.exp(poisson.logpmf(counts[g], f * expected[g]).sum()),
            0,
            30,
            epsabs=0,
            epsrel=1e-11,
        )
        # the double exponential family leaves y log y - y where the Poisson distribution has log y!
        rest = (gammaln(counts[g] + 1) - np.where(counts[g] > 0, counts[g] * np.log(np.maximum(counts[g], 1)), 0)).sum()
        assert np.isclose(found[g], np.log(value) + rest + counts[g].sum(), rtol=1e-9, atol=1e-9)


def evidence_of(amounts, profiles, counts, classes, shares):
    joint = np.log(shares) + log_evidence(counts, expected_counts(amounts, profiles), classes)
    return logsumexp(joint, axis=1), np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def test_scores_and_information_are_derivatives_of_the_evidence(mixed):
    profiles, amounts, counts = mixed
    classes, shares = Classes(np.array([1.0, 6.0]), np.array([1.0, 3.0])), np.array([0.4, 0.6])

    def score(flat):
        at = flat.reshape(amounts.shape)
        _, own = evidence_of(at, profiles, counts, classes, shares)
        expected = expected_counts(at, profiles)
        return amount_scores(profiles, counts, expected, pulls(own, counts, expected, classes)).sum(axis=0).ravel()

    flat, step = amounts.ravel(), 1e-5
    plain = [
        (evidence_of((flat + e).reshape(3, 2), profiles, counts, classes, shares)[0].sum()
         - evidence_of((flat - e).reshape(3, 2), profiles, counts, classes, shares)[0].sum()) / (2 * step)
        for e in step * np.eye(6)
    ]  # fmt: skip
    assert np.allclose(score(flat), plain, rtol=1e-6, atol=1e-6)
    curve = np.array([(score(flat + e) - score(flat - e)) / (2 * step) for e in step * np.eye(6)])
    _, own = evidence_of(amounts, profiles, counts, classes, shares)
    expected = expected_counts(amounts, profiles)
    found = amount_information(profiles, counts, expected, pulls(own, counts, expected, classes))
    assert np.allclose(found, -curve, rtol=1e-5, atol=1e-5)


def test_profiles_follow_the_mixtures_as_far_as_they_are_free(mixed):
    profiles, amounts, counts = mixed
    expected = expected_counts(amounts, profiles)
    classes = Classes(np.array([1e9]), np.array([1.0]))
    pull = pulls(np.ones((12, 1)), counts, expected, classes)
    certain = adapted_profiles(profiles, np.full(profiles.shape, 1e12), profiles, amounts, counts, pull)
    assert np.allclose(certain, profiles, rtol=1e-9, atol=0)
    free = adapted_profiles(profiles, np.full(profiles.shape, 1e-9), profiles, amounts, counts, pull)
    one = profiles * ((counts / expected) @ amounts) / amounts.sum(axis=0)  # a step of Richardson and Lucy
    assert np.allclose(free, one, rtol=1e-6, atol=1e-9)


def test_latent_expression_is_the_conditional_normal():
    rng = np.random.default_rng(0)
    means, variances = rng.gamma(2.0, 2.0, (1, 3)), rng.gamma(2.0, 1.0, (1, 3))
    joint = np.diag([*variances[0], 0.7])
    tie = np.ones((1, 4))
    gain = joint @ tie.T / (tie @ joint @ tie.T)
    y = np.array([9.0])
    want = np.array([*means[0], 0.0]) + gain[:, 0] * (y - means.sum())
    mean, variance = latent_expression(y, means, variances, np.array([0.7]))
    assert np.allclose(mean[0], want[:3], rtol=1e-12, atol=0)
    assert np.allclose(variance[0], np.diag(joint - gain @ tie @ joint)[:3], rtol=1e-12, atol=1e-12)


def test_the_scale_of_the_excess_variance_is_found():
    rng = np.random.default_rng(1)
    spreads, noise = rng.gamma(2.0, 1.0, 20_000), np.full(20_000, 0.01)
    y = 5.0 + rng.normal(size=20_000) * np.sqrt(3.0 * spreads + noise)
    assert np.isclose(excess_scale(y, np.full(20_000, 5.0), spreads, noise), 3.0, rtol=0.05, atol=0)
    assert excess_scale(y, y, np.zeros(20_000), noise) == 0.0
