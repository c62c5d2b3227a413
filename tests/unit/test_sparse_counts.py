"""Mixtures of counts on sparse rows: a dense brute force, chunks from memory and from files, weights, and hostile input."""

from __future__ import annotations

import tracemalloc

import anndata
import numpy as np
import pytest
from scipy import sparse, stats

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.io.counts import counts_source
from emtools.models.count_mixture import MultinomialMixture, MultinomialParams, PoissonMixture, PoissonParams
from emtools.models.negative_binomial import NegativeBinomialMixture, NegativeBinomialParams

N, D, K = 60, 7, 3


def cells(seed=0, n=N, d=D):
    """Counts mostly zero, size factors, and weights."""
    rng = np.random.default_rng(seed)
    exposures = rng.gamma(4.0, 0.25, size=n)
    rates = rng.gamma(0.5, 1.0, size=(K, d))
    counts = rng.poisson(exposures[:, None] * rates[rng.integers(K, size=n)])
    counts[5], counts[:, 2] = 0, 0
    counts[7, 2] = 1
    weights = rng.integers(0, 3, size=n).astype(float)
    weights[7] = 1.0
    return counts.astype(float), exposures, weights


def cases():
    rng = np.random.default_rng(1)
    weights, rates = rng.dirichlet(np.ones(K)), rng.gamma(1.0, 1.0, size=(K, D))
    rates[1, 2] = 0.0
    shares = rates / rates.sum(axis=1, keepdims=True)
    return {
        "poisson": (PoissonMixture(K, D), PoissonParams(weights, rates)),
        "poisson with size factors": (PoissonMixture(K, D, exposure=True), PoissonParams(weights, rates)),
        "multinomial": (MultinomialMixture(K, D), MultinomialParams(weights, shares)),
        "negative binomial": (
            NegativeBinomialMixture(K, D),
            NegativeBinomialParams(weights, rates, rng.gamma(1.0, 0.5, size=(K, D))),
        ),
    }


CASES = cases()


def brute_force(name, params, counts, exposures):
    """Log of weight times probability, one row and one component after another, by scipy's distributions."""
    out = np.empty((len(counts), K))
    for i, x in enumerate(counts):
        for k in range(K):
            if name == "multinomial":
                log_probability = stats.multinomial(int(x.sum()), params.probabilities[k]).logpmf(x)
            elif name == "negative binomial":
                size = 1.0 / params.dispersions[k]
                log_probability = stats.nbinom.logpmf(x, size, size / (size + params.means[k])).sum()
            else:
                scale = exposures[i] if name == "poisson with size factors" else 1.0
                log_probability = stats.poisson.logpmf(x, scale * params.rates[k]).sum()
            out[i, k] = np.log(params.weights[k]) + log_probability
    return out


def sources(name, counts, exposures, weights, chunk_rows=11):
    """The sparse source and the dense one."""
    dense, given = counts, None
    if name == "poisson with size factors":
        dense, given = np.column_stack([counts, exposures]), exposures
    matrix = sparse.csr_matrix(counts.astype(np.float32))
    return counts_source(matrix, weights, exposures=given, chunk_rows=chunk_rows), ArraySource(dense, weights)


def means_of(name, params):
    return {"multinomial": "probabilities", "negative binomial": "means"}.get(name, "rates")


@pytest.mark.parametrize("name", CASES)
def test_a_pass_over_sparse_rows_equals_brute_force(name):
    (model, params), (counts, exposures, weights) = CASES[name], cells()
    sums = total_stats(model, sources(name, counts, exposures, weights)[0], params)
    log_joint = brute_force(name, params, counts, exposures)
    joint = np.exp(log_joint)
    shares = joint / joint.sum(axis=1, keepdims=True) * weights[:, None]
    assert sums.loglik == pytest.approx(weights @ np.log(joint.sum(axis=1)), rel=1e-11)
    np.testing.assert_allclose(sums.counts, shares.sum(axis=0), rtol=1e-11)
    np.testing.assert_allclose(sums.totals, shares.T @ counts, rtol=1e-11, atol=1e-13)
    assert abs(sums.loglik - np.log(joint.sum(axis=1)).sum()) > 1.0, "negative control: without weights"


@pytest.mark.parametrize("name", CASES)
def test_a_pass_over_sparse_rows_equals_dense_ones(name):
    model, params = CASES[name]
    mine, theirs = (total_stats(model, source, params) for source in sources(name, *cells()))
    new, other = model.m_step(mine, params), model.m_step(theirs, params)
    assert mine.loglik == pytest.approx(theirs.loglik, rel=1e-13)
    assert mine.entropy == pytest.approx(theirs.entropy, rel=1e-11)
    assert model.expected_loglik(mine, new) == pytest.approx(model.expected_loglik(theirs, other), rel=1e-12)
    np.testing.assert_allclose(getattr(new, means_of(name, new)), getattr(other, means_of(name, other)), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_starts_and_climbs_are_those_of_dense_rows(name):
    model, _ = CASES[name]
    mine, theirs = (
        fit(model, source, starts=1, seed=3, max_passes=12, certificate=False)
        for source in sources(name, *cells(4, n=90))
    )
    assert mine.loglik == pytest.approx(theirs.loglik, rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_weights_are_replication(name):
    (model, params), (counts, exposures, weights) = CASES[name], cells()
    times = weights.astype(int)
    once = total_stats(model, sources(name, counts, exposures, weights)[0], params)
    repeated = sources(name, np.repeat(counts, times, axis=0), np.repeat(exposures, times), None)[0]
    again = total_stats(model, repeated, params)
    assert once.loglik == pytest.approx(again.loglik, rel=1e-12)
    np.testing.assert_allclose(once.totals, again.totals, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("backed", [True, False])
def test_cells_in_a_file_are_those_in_memory(tmp_path, backed):
    (model, params), (counts, exposures, weights) = CASES["poisson with size factors"], cells()
    adata = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.obs["size"], adata.obs["times"] = exposures, weights
    adata.layers["counts"] = adata.X
    adata.write_h5ad(tmp_path / "cells.h5ad")
    data = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r" if backed else None)
    expected = total_stats(model, sources("poisson with size factors", counts, exposures, weights)[0], params)
    for given in (data, tmp_path / "cells.h5ad"):
        for key in (None, "layers/counts"):
            source = counts_source(given, "times", exposures="size", key=key, chunk_rows=11)
            assert source.n_chunks == -(-N // 11)
            assert total_stats(model, source, params).loglik == expected.loglik
    if backed:
        data.file.close()


def test_a_fit_takes_much_less_than_a_dense_table():
    rng = np.random.default_rng(0)
    matrix = sparse.random_array((20_000, 500), density=0.02, rng=rng, format="csr", dtype=np.float32)
    matrix.data = np.ceil(5 * matrix.data)
    model, source = MultinomialMixture(4, 500, pseudocount=0.1), counts_source(matrix)
    model.initial_params(counts_source(matrix[:500]), rng, "random")
    tracemalloc.start()
    params = model.initial_params(source, rng, "random")
    for _ in range(2):
        params = model.m_step(total_stats(model, source, params), params)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert source.n_chunks == 1
    assert peak < 0.5 * 20_000 * 500 * 8 + 2**22 * 8


def test_input_that_cannot_be_used_is_named(tmp_path):
    counts, exposures, _ = cells()
    wrong = counts.copy()
    wrong[40, 3] = 2.5
    adata = anndata.AnnData(counts)
    adata.write_h5ad(tmp_path / "dense.h5ad")
    model, params = CASES["poisson"]
    some = sparse.csr_matrix(counts)
    calls = [
        (
            lambda: total_stats(model, counts_source(sparse.csr_matrix(wrong), chunk_rows=11), params),
            "row 41, column 4: 2.5",
        ),
        (lambda: total_stats(model, counts_source(some[:, :4]), params), "4 columns; 7"),
        (lambda: counts_source(counts), "rows_source"),
        (lambda: counts_source(adata), "rows_source"),
        (lambda: counts_source(tmp_path / "dense.h5ad"), "rows_source"),
        (lambda: counts_source(tmp_path / "dense.h5ad", key="layers/raw"), "no matrix 'layers/raw'"),
        (lambda: counts_source(some, exposures=exposures[:-1]), "60 finite values above 0"),
        (lambda: counts_source(some, exposures=0.0 * exposures), "above 0"),
        (lambda: counts_source(some, "times"), "no column 'times'"),
        (lambda: counts_source(sparse.csr_matrix((0, 3))), "at least one of each"),
    ]
    for call, message in calls:
        with pytest.raises(InputError, match=message):
            call()
