"""Gaussian mixture and K-means beside mclust (stored fits) and scikit-learn (run here)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.loop import climb
from emtools.engine.stopping import Status
from emtools.models.mixture import GaussianMixture, MixtureParams, kmeans

HERE = Path(__file__).parent
FAMILY = {"VVV": "full", "EEE": "tied", "VVI": "diagonal", "VII": "spherical"}
SKLEARN = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}
MCLUST = json.loads((HERE / "mclust.json").read_text())["fits"]


def table(name):
    if name == "iris":
        return load_iris().data
    return np.loadtxt(HERE / f"{name}.tsv", skiprows=1)


def labels_of(row):
    return np.array([int(digit) - 1 for digit in row["labels"]])


def test_all_sixty_fits_are_stored():
    assert len(MCLUST) == 60
    assert all(np.isfinite(row["loglik"]) for row in MCLUST)


@pytest.mark.parametrize("row", MCLUST, ids=lambda row: f"{row['data']}-{row['model']}-{row['n_components']}")
def test_loglik_is_that_of_mclust_or_higher(row):
    """From mclust's own partition, to 1e-8 relative; mclust 6.0.0 with a tolerance of 1e-15."""
    values = table(row["data"])
    model = GaussianMixture(row["n_components"], values.shape[1], FAMILY[row["model"]])
    assert model.n_free_parameters == row["df"]
    ended = climb(model, ArraySource(values), model.from_labels(values, labels_of(row)), tol=1e-9, max_passes=20000)
    assert ended.status is Status.CONVERGED
    assert ended.loglik >= row["loglik"] - 1e-8 * abs(row["loglik"])


def test_a_permuted_partition_does_not_match():
    """Negative control: the comparison above depends on the partition."""
    row = next(r for r in MCLUST if (r["data"], r["model"], r["n_components"]) == ("iris", "VVV", 3))
    values = table("iris")
    wrong = np.random.default_rng(0).permutation(labels_of(row))
    model = GaussianMixture(3, 4)
    ended = climb(model, ArraySource(values), model.from_labels(values, wrong), tol=1e-9, max_passes=20000)
    assert abs(ended.loglik - row["loglik"]) > 1e-4 * abs(row["loglik"])


def sklearn_start(family, params, passes):
    """scikit-learn after `passes` iterations from the same parameters, without its variance floor."""
    matrices = family in ("full", "tied")
    precisions = np.linalg.inv(params.covariances) if matrices else 1.0 / params.covariances
    return SklearnMixture(
        len(params.weights),
        covariance_type=SKLEARN[family],
        reg_covar=0.0,
        tol=0.0,
        max_iter=passes,
        weights_init=params.weights,
        means_init=params.means,
        precisions_init=precisions,
    )


@pytest.mark.parametrize("family", sorted(SKLEARN))
def test_trace_is_that_of_scikit_learn(family):
    """Step by step from equal starts; its `score` is taken at its returned parameters."""
    values = load_iris().data
    model = GaussianMixture(3, 4, family)
    params = model.from_labels(values, np.arange(150) * 3 // 150)
    for passes in (1, 2, 3, 10, 30):
        peer = sklearn_start(family, params, passes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            peer.fit(values)
        ours = params
        for _ in range(passes):
            ours = model.m_step(total_stats(model, ArraySource(values, chunk_rows=40), ours), ours)
        loglik = total_stats(model, ArraySource(values), ours).loglik
        assert loglik == pytest.approx(150 * peer.score(values), rel=1e-10)
        np.testing.assert_allclose(ours.means, peer.means_, rtol=1e-8)
        np.testing.assert_allclose(ours.covariances, peer.covariances_, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["iris", "faithful", "diabetes"])
@pytest.mark.parametrize("n_clusters", [2, 3, 5])
def test_inertia_is_that_of_kmeans(name, n_clusters):
    """From the same five sets of rows as centres, to 1e-10 relative."""
    values = table(name)
    for seed in range(5):
        centres = values[np.random.default_rng(seed).choice(len(values), n_clusters, replace=False)]
        peer = KMeans(n_clusters, init=centres, n_init=1, tol=0.0, max_iter=1000, algorithm="lloyd").fit(values)
        model = kmeans(n_clusters, values.shape[1])
        start = MixtureParams(np.full(n_clusters, 1 / n_clusters), centres, np.ones(n_clusters))
        ended = climb(model, ArraySource(values), start, assign="hard")
        assert ended.status is Status.CONVERGED
        labels = model.responsibilities(ended.params, values).argmax(axis=1)
        inertia = ((values - ended.params.means[labels]) ** 2).sum()
        assert inertia == pytest.approx(peer.inertia_, rel=1e-10)
