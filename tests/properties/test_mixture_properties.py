"""What must hold for any table: order of rows, affine maps, and shares of one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emtools.engine.chunks import ArraySource, total_stats
from emtools.models.mixture import GaussianMixture

SEEDS = st.integers(0, 2**32 - 1)


def passes(model, values, labels, count=5):
    """Log-likelihood at each of the first passes from a partition."""
    params, trace = model.from_labels(values, labels), []
    for _ in range(count):
        stats = total_stats(model, ArraySource(values, chunk_rows=9), params)
        trace.append(stats.loglik)
        params = model.m_step(stats, params)
    return np.array(trace), params


def table(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], 20))
    return rng, rng.normal(size=(40, 2)) * rng.uniform(0.5, 2.0, size=2) + 3.0 * labels[:, None], labels


@settings(max_examples=15, deadline=None)
@given(SEEDS)
@pytest.mark.parametrize("family", ["full", "tied"])
def test_an_affine_map_moves_the_loglik_by_its_log_determinant(family, seed):
    rng, values, labels = table(seed)
    matrix = rng.normal(size=(2, 2)) + 3.0 * np.eye(2)
    model = GaussianMixture(2, 2, family)
    plain, params = passes(model, values, labels)
    mapped, moved = passes(model, values @ matrix.T + 17.0, labels)
    shift = len(values) * np.log(abs(np.linalg.det(matrix)))
    np.testing.assert_allclose(mapped, plain - shift, rtol=1e-8, atol=1e-7)
    np.testing.assert_allclose(moved.means, params.means @ matrix.T + 17.0, rtol=1e-7, atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "spherical"])
def test_the_order_of_rows_does_not_matter_and_shares_sum_to_one(family, seed):
    rng, values, labels = table(seed)
    order = rng.permutation(40)
    model = GaussianMixture(2, 2, family)
    one, params = passes(model, values, labels)
    two, _ = passes(model, values[order], labels[order])
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)
    assert (np.diff(one) > -1e-9).all()
    np.testing.assert_allclose(model.responsibilities(params, values).sum(axis=1), 1.0, rtol=1e-12)
