"""Baum-Welch against hmmlearn 0.3.3 on the lambda genome, pass by pass; values made by hmmlearn_trace.py."""

import json
from pathlib import Path

import numpy as np
import pytest

from emtools.engine.chunks import SequenceSource, total_stats
from emtools.io.fasta import read_fasta
from emtools.models.hmm import CategoricalHMM, HMMParams

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "hmmlearn.json").read_text())
GENOME = HERE.parents[1] / "resources" / "lambda.fa"


@pytest.fixture(scope="module")
def source():
    (record,) = read_fasta(GENOME)
    assert len(record.codes) == REFERENCE["n_letters"]
    return SequenceSource([record.codes])


def params_of(table):
    return HMMParams(*(np.array(table[name]) for name in ("start", "transition", "emission")))


@pytest.fixture(params=["two_states", "three_states"], scope="module")
def fitted(request, source):
    """The reference, our model, our log-likelihood before each M-step and after the last, our last parameters."""
    reference = REFERENCE[request.param]
    model = CategoricalHMM(len(reference["start"]), 4)
    params = params_of(reference)
    logliks = []
    for _ in reference["loglik"]:
        stats = total_stats(model, source, params)
        logliks.append(stats.loglik)
        params = model.m_step(stats, params)
    logliks.append(total_stats(model, source, params).loglik)
    return reference, model, np.array(logliks), params


def test_trace_equals_hmmlearn_step_by_step(fitted):
    reference, _, logliks, _ = fitted
    np.testing.assert_allclose(logliks[:-1], reference["loglik"], rtol=1e-10, atol=0)
    assert logliks[-1] == pytest.approx(reference["final"]["loglik"], rel=1e-10)


def test_shifted_by_one_pass_the_traces_differ(fitted):
    """Negative control for the alignment: hmmlearn's history is one step behind its parameters."""
    reference, _, logliks, _ = fitted
    shifted = np.abs(logliks[1:4] / np.array(reference["loglik"][:3]) - 1.0)
    assert shifted.min() > 1e-5


def test_parameters_equal_hmmlearn_after_the_last_pass(fitted):
    reference, _, _, params = fitted
    expected = params_of(reference["final"])
    for name in ("start", "transition", "emission"):
        np.testing.assert_allclose(getattr(params, name), getattr(expected, name), rtol=1e-8, atol=1e-14)


def test_viterbi_and_posterior_equal_hmmlearn(fitted, source):
    reference, model, _, _ = fitted
    expected = reference["final"]
    params = params_of(expected)
    path = model.viterbi(params, source.codes)
    changes = np.flatnonzero(np.diff(path)) + 1
    assert changes.tolist() == expected["viterbi_changes"]
    assert path[np.concatenate([[0], changes])].tolist() == expected["viterbi_states"]
    shares = model.posterior(params, source.codes)
    np.testing.assert_allclose(shares[::1000], expected["posterior_every_1000"], rtol=1e-8, atol=1e-12)
    hard = total_stats(model, source, params, "hard")
    assert hard.loglik == pytest.approx(expected["viterbi_loglik"], rel=1e-12)
