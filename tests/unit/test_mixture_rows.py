"""What a mixture makes of its rows: weights are repeated rows, float32 is what it says, copies and constants included."""

from __future__ import annotations

import anndata
import dask.array
import numpy as np
import pytest

from emtools.engine.chunks import ArraySource, total_stats, workers
from emtools.engine.loop import climb
from emtools.io.rows import rows_source
from emtools.models.mixture import CovariancePrior, GaussianMixture, MixtureParams

FAMILIES = ("full", "tied", "diagonal", "spherical")


def groups(n=400, d=4, seed=0):
    """Rows of three overlapping groups, and means to start from."""
    rng = np.random.default_rng(seed)
    means = 1.5 * rng.normal(size=(3, d))
    return means[rng.integers(3, size=n)] + rng.normal(size=(n, d)), means + 0.3 * rng.normal(size=(3, d))


def start_at(means, family):
    """Parameters with unit covariances."""
    k, d = means.shape
    one = {"full": np.repeat(np.eye(d)[None], k, axis=0), "tied": np.eye(d), "diagonal": np.ones((k, d))}
    return MixtureParams(np.full(k, 1.0 / k), means, one.get(family, np.ones(k)))


def after_passes(model, source, params, n_passes=30):
    """Log-likelihood and parameters after some passes of plain EM."""
    for _ in range(n_passes):
        stats = total_stats(model, source, params)
        params = model.m_step(stats, params)
    return stats.loglik, params


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_replication_after_many_passes(family):
    values, means = groups()
    times = np.random.default_rng(1).integers(0, 4, size=len(values))
    model = GaussianMixture(3, 4, family)
    (one, mine), (two, theirs) = (
        after_passes(model, source, start_at(means, family))
        for source in (ArraySource(values, times.astype(float)), ArraySource(np.repeat(values, times, axis=0)))
    )
    assert one == pytest.approx(two, rel=1e-12)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_rows_give_the_fit_of_float64_ones(family):
    """An offset, rows that come twice and a constant column (scikit-learn's issue 30382: a variance of 112 for 0.1)."""
    values, means = groups(d=5)
    values[:, 4], means[:, 4] = 3.0, 3.0
    values, means = np.concatenate([values, values[:150]]) + 100.0, means + 100.0
    prior = CovariancePrior(9.0, 0.1 * np.eye(5))
    model = GaussianMixture(3, 5, family, prior=prior)
    ends = [
        climb(model, ArraySource(rows), start_at(means, family), max_passes=3000)
        for rows in (values.astype(np.float32), values)
    ]
    single, double = (end.params for end in ends)
    assert ends[0].loglik == pytest.approx(ends[1].loglik, rel=1e-5)
    np.testing.assert_allclose(single.means, double.means, rtol=1e-5)
    scale = np.abs(double.covariances).max()
    np.testing.assert_allclose(single.covariances, double.covariances, rtol=0.0, atol=1e-5 * scale)
    naive = (values.astype(np.float32) ** 2).mean(axis=0) - values.astype(np.float32).mean(axis=0) ** 2
    assert np.abs(naive - values.var(axis=0)).max() > 1e-3 * scale, "negative control: float32 moments are useless here"


@pytest.mark.parametrize("family", FAMILIES)
def test_two_threads_give_the_same_bytes(family):
    values, means = groups(n=3000)
    model, source = GaussianMixture(3, 4, family), ArraySource(values, chunk_rows=170)
    one = total_stats(model, source, start_at(means, family))
    with workers(2) as chunk_map:
        two = total_stats(model, source, start_at(means, family), chunk_map=chunk_map)
    for name in ("loglik", "entropy", "counts", "first", "second"):
        assert np.asarray(getattr(one, name)).tobytes() == np.asarray(getattr(two, name)).tobytes(), name


def test_backed_and_dask_rows_give_the_fit_of_rows_in_memory(tmp_path):
    values, means = groups(n=1000)
    anndata.AnnData(values).write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    model = GaussianMixture(3, 4)
    dask_rows = dask.array.from_array(values, chunks=(130, 2))
    memory, *others = (
        after_passes(model, source, start_at(means, "full"))
        for source in (ArraySource(values), rows_source(backed, chunk_rows=90), rows_source(dask_rows))
    )
    backed.file.close()
    for loglik, params in others:
        assert loglik == pytest.approx(memory[0], rel=1e-12)
        np.testing.assert_allclose(params.means, memory[1].means, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(params.covariances, memory[1].covariances, rtol=1e-9, atol=1e-9)
