"""The blocked E-step of full mixtures against its readable version, at every edge of a block and of the arithmetic."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from emtools.engine.chunks import Rows
from emtools.kernels import gaussian
from emtools.kernels.logspace import entropy_rows, normalise_rows
from emtools.kernels.mixture import BLOCK, FEW, soft_moments
from emtools.models.assignment import shared_rows
from emtools.models.mixture import GaussianMixture, MixtureParams, kmeans


def draw(n, d, k, seed=0):
    """Rows, weights (some 0) and parameters."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, d, 2 * d))
    params = MixtureParams(rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)), root @ root.transpose(0, 2, 1) / d)
    return rng.normal(size=(n, d)) * 1.5, rng.integers(0, 3, size=n).astype(float), params


def readable(values, weights, params):
    """Log-likelihood, entropy, counts and moments, one component after another."""
    with np.errstate(divide="ignore"):
        log_weights = np.log(params.weights)
    factors = gaussian.cholesky_factors(params.covariances)
    log_shares, log_sums = normalise_rows(gaussian.log_density_full(values, params.means, factors) + log_weights)
    shares = np.exp(log_shares)
    weighted = shares * weights[:, None]
    deviations = [values - mean for mean in params.means]
    first = np.array([weighted[:, j] @ x for j, x in enumerate(deviations)])
    second = np.array([(x * weighted[:, j : j + 1]).T @ x for j, x in enumerate(deviations)])
    return weights @ log_sums, weights @ entropy_rows(shares, log_shares), weighted.sum(axis=0), first, second


def fast(values, weights, params):
    """The same from the E-step of the model."""
    model = GaussianMixture(*params.means.shape)
    stats = model.e_step(params, Rows(values, weights))
    return stats.loglik, stats.entropy, stats.counts, stats.first, stats.second


def narrowed(params, family):
    """The same parameters in a narrower family."""
    covariances = {
        "tied": params.covariances[0],
        "diagonal": np.diagonal(params.covariances, axis1=1, axis2=2),
        "spherical": params.covariances[:, 0, 0],
    }[family]
    return MixtureParams(params.weights, params.means, np.ascontiguousarray(covariances))


def assert_same(values, weights, params, rtol=1e-13):
    for got, expected in zip(fast(values, weights, params), readable(values, weights, params), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0.0, atol=rtol * max(scale, len(values)))


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 8, 11])
def test_every_number_of_features(d):
    assert_same(*draw(200, d, 3, seed=d))


@pytest.mark.parametrize("n", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_every_end_of_a_block(n):
    assert_same(*draw(n, 6, 4, seed=n))


@pytest.mark.parametrize("family", ["tied", "diagonal", "spherical"])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (200, 2), (BLOCK, 3), (BLOCK + 1, 4), (3 * BLOCK + 7, 7), (90, 9)])
def test_every_family_is_the_full_one_narrowed(family, n, d):
    values, weights, params = draw(n, d, 3, seed=n + d)
    weights[0] = 1.0
    model, given = GaussianMixture(3, d, family), narrowed(params, family)
    stats = model.e_step(given, Rows(values, weights))
    whole = MixtureParams(params.weights, params.means, model.covariance_matrices(given))
    loglik, entropy, counts, first, second = readable(values, weights, whole)
    variances = np.diagonal(second, axis1=1, axis2=2)
    expected = {"tied": second.sum(axis=0), "diagonal": variances, "spherical": variances.sum(axis=1)}[family]
    np.testing.assert_allclose([stats.loglik, stats.entropy], [loglik, entropy], rtol=1e-12, atol=1e-12)
    for got, sums in ((stats.counts, counts), (stats.first, first), (stats.second, expected)):
        np.testing.assert_allclose(got, sums, rtol=1e-12, atol=1e-13 * max(n, np.abs(sums).max()))


@pytest.mark.parametrize("apart", [0.0, 2.0, 20.0])
def test_rows_that_a_component_does_not_hold_may_be_left_out_of_its_products(apart):
    """Overlapping components take all rows of a block, pairs of them far from each other the few that count."""
    rng = np.random.default_rng(5)
    means = apart * np.array([0.0, 1.0, 9.0, 10.0, 30.0])[:, None] * np.ones(6)
    values = means[rng.integers(5, size=1000)] + rng.normal(size=(1000, 6))
    params = MixtureParams(np.full(5, 0.2), means + 0.1, np.repeat(np.eye(6)[None], 5, axis=0))
    held = (GaussianMixture(5, 6).responsibilities(params, values) > 1e-30).mean()
    assert (held < FEW) == (apart > 1.0)
    assert_same(values, rng.integers(0, 3, size=1000).astype(float), params)


def test_a_variance_that_is_not_positive_is_not_finite():
    values, weights, params = draw(50, 3, 2)
    given = narrowed(params, "diagonal")
    given.covariances[1, 2] = 0.0
    assert math.isnan(GaussianMixture(2, 3, "diagonal").e_step(given, Rows(values, weights)).loglik)


def test_one_component_of_many_features():
    assert_same(*draw(300, 40, 1))


def test_a_dropped_row_is_seen():
    values, weights, params = draw(BLOCK + 1, 3, 2)
    weights[-1] = 1.0
    (loglik, *_), (fewer, *_) = fast(values, weights, params), readable(values[:-1], weights[:-1], params)
    assert abs(loglik - fewer) > 0.1


def test_a_component_of_weight_zero_gets_nothing():
    values, weights, params = draw(200, 3, 3)
    params = MixtureParams(np.array([0.4, 0.0, 0.6]), params.means, params.covariances)
    assert_same(values, weights, params)
    assert fast(values, weights, params)[2][1] == 0.0


def test_rows_far_from_every_component():
    values, weights, params = draw(200, 3, 3)
    assert_same(values * 1e4, weights, params)


def test_components_much_tighter_than_their_distance():
    rng = np.random.default_rng(1)
    means = np.array([[0.0, 0.0], [1e5, 1e5]])
    values = means[rng.integers(2, size=400)] + rng.normal(size=(400, 2))
    params = MixtureParams(np.array([0.5, 0.5]), means, np.repeat(np.eye(2)[None], 2, axis=0))
    assert_same(values, np.ones(400), params)
    near = values[values[:, 0] < 50.0]
    np.testing.assert_allclose(fast(values, np.ones(400), params)[4][0], near.T @ near, rtol=1e-13, atol=1e-12)


def test_nothing_finite_comes_of_what_is_not():
    values, weights, params = draw(200, 3, 3)
    weights[:] = 1.0
    values[150, 1] = np.nan
    assert math.isnan(fast(values, weights, params)[0])
    values[150, 1] = np.inf
    assert not math.isfinite(fast(values, weights, params)[0])
    values, weights, params = draw(200, 3, 3)
    params.covariances[1] = -np.eye(3)
    assert math.isnan(fast(values, weights, params)[0])


def test_a_row_that_no_component_can_have_made():
    values, _, params = draw(5, 2, 2)
    inverses = np.linalg.inv(np.linalg.cholesky(params.covariances))
    loglik, *_ = soft_moments(values, np.ones(5), params.means, inverses, np.full(2, -np.inf))
    assert loglik == -math.inf


DIGEST = """
import hashlib
import numpy as np
from emtools.kernels.mixture import soft_diagonal, soft_moments
rng, digest, printed = np.random.default_rng(0), hashlib.sha256(), []
for n, d, k in ((40, 1, 2), (170, 2, 2), (333, 5, 3), (64, 7, 2)):
    values, weights, means = rng.normal(size=(n, d)), rng.integers(0, 3, size=n).astype(float), rng.normal(size=(k, d))
    inverses = np.tril(rng.normal(size=(k, d, d)))
    far = np.repeat(10.0 * np.arange(k), d).reshape(k, d)
    for parts in (
        soft_moments(values, weights, means, inverses, np.zeros(k)),
        soft_moments(values, weights, far, 5.0 * inverses, np.zeros(k)),
        soft_diagonal(values, weights, means, 1.0 + rng.random(size=(k, d)), np.zeros(k)),
    ):
        for part in parts:
            digest.update(np.asarray(part).tobytes())
            printed += np.ravel(part).tolist()
print(digest.hexdigest())
print(*printed)
"""


def run_digest(**environment):
    """Digest and numbers of another process."""
    found = subprocess.run(
        [sys.executable, "-c", DIGEST], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    digest, numbers = found.stdout.splitlines()
    return digest, np.array(numbers.split(), dtype=float)


def test_compiled_now_or_loaded_from_the_cache_it_gives_the_same_bits(tmp_path):
    first, second = (run_digest(NUMBA_CACHE_DIR=str(tmp_path))[0] for _ in range(2))
    assert any(tmp_path.rglob("*.nbc")), "nothing was cached"
    assert first == second


def test_the_readable_versions_give_the_same_without_a_compiler():
    compiled, plain = run_digest()[1], run_digest(NUMBA_DISABLE_JIT="1")[1]
    assert len(compiled) > 300
    np.testing.assert_allclose(plain, compiled, rtol=1e-11, atol=1e-11)


def hard_readable(model, values, weights, params):
    """The hard E-step by a table of densities."""
    shares, loglik, entropy = shared_rows(model.log_joint(params, values), weights, "hard")
    weighted = shares * weights[:, None]
    return model.moments(values, weighted, params.means, n=weights.sum(), loglik=loglik, entropy=entropy)


@pytest.mark.parametrize("family", ["diagonal", "spherical", "common"])
@pytest.mark.parametrize("k", [1, 3, 4, 9])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (200, 2), (BLOCK, 3), (BLOCK + 1, 4), (3 * BLOCK + 7, 7)])
def test_rows_go_whole_to_their_best_component(family, k, n, d):
    values, weights, params = draw(n, d, k, seed=n + d + k)
    weights[0] = 1.0
    if family == "common":
        model, given = kmeans(k, d, variance=0.3), MixtureParams(np.full(k, 1 / k), params.means, np.full(k, 0.3))
    else:
        model, given = GaussianMixture(k, d, family), narrowed(params, family)
    got, expected = model.e_step(given, Rows(values, weights), "hard"), hard_readable(model, values, weights, given)
    assert got.loglik == pytest.approx(expected.loglik, rel=1e-13)
    assert (got.n, got.entropy) == (expected.n, 0.0)
    np.testing.assert_array_equal(got.counts, expected.counts)
    np.testing.assert_allclose(got.first, expected.first, rtol=0.0, atol=1e-12 * n)
    np.testing.assert_allclose(got.second, expected.second, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_the_first_of_equal_components_takes_the_row(offset):
    means = offset + np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    values = offset + np.array([[0.5, 0.0], [0.2, 0.0], [0.8, 0.0], [0.5, 9.0]])
    params = MixtureParams(np.full(5, 0.2), means, np.ones(5))
    stats = kmeans(5, 2).e_step(params, Rows(values, np.ones(4)), "hard")
    assert stats.counts.tolist() == [3.0, 1.0, 0.0, 0.0, 0.0]


def test_a_row_that_is_not_finite_makes_the_hard_likelihood_nan():
    values, _, params = draw(50, 3, 2)
    values[7, 1] = np.nan
    for model, given in (
        (kmeans(2, 3), narrowed(params, "spherical")),
        (GaussianMixture(2, 3, "diagonal"), narrowed(params, "diagonal")),
    ):
        assert math.isnan(model.e_step(given, Rows(values, np.ones(50)), "hard").loglik)


def test_single_numbers_are_assigned_as_their_doubles():
    values, weights, params = draw(500, 5, 6)
    model, given = kmeans(6, 5), MixtureParams(np.full(6, 1 / 6), params.means, np.ones(6))
    single = values.astype(np.float32)
    got, expected = (model.e_step(given, Rows(x, weights), "hard") for x in (single, single.astype(float)))
    np.testing.assert_array_equal(got.counts, expected.counts)
    np.testing.assert_array_equal(got.first, expected.first)
