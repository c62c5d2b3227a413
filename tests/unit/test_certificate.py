"""Standard errors, rate and gap against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emtools.engine.certificate import certify, judge
from emtools.engine.chunks import ArraySource, SequenceSource, total_stats
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.models.linkage import COUNTS, Linkage, LinkageParams, exact_maximum
from emtools.models.normal import MultivariateNormal, PatternSource

MLE = exact_maximum(*COUNTS)


def observed_information(t):
    a, b, c, d = COUNTS
    return a / (2 + t) ** 2 + (b + c) / (1 - t) ** 2 + d / t**2


def complete_information(t):
    a, b, c, d = COUNTS
    hidden = a * t / (2 + t)
    return (hidden + d) / t**2 + (b + c) / (1 - t) ** 2


def linkage_certificate(t):
    return certify(Linkage(), ArraySource(np.array([COUNTS])), LinkageParams(t))


def test_standard_error_is_that_of_the_observed_information():
    certificate = linkage_certificate(MLE)
    assert certificate.kind == "maximum"
    assert certificate.n_held == 0
    expected = 1 / math.sqrt(observed_information(MLE))
    assert certificate.standard_errors["probability"][0] == pytest.approx(expected, rel=1e-4)


def test_rate_is_the_missing_share_of_the_complete_information():
    expected = 1 - observed_information(MLE) / complete_information(MLE)
    assert linkage_certificate(MLE).rate == pytest.approx(expected, rel=1e-5)


def test_gap_is_the_gain_still_to_come():
    def loglik(t):
        return Linkage().e_step(LinkageParams(t), ArraySource(np.array([COUNTS])).chunk(0)).loglik

    for off in (1e-2, 1e-3, -1e-3):
        certificate = linkage_certificate(MLE + off)
        assert certificate.gap == pytest.approx(loglik(MLE) - loglik(MLE + off), rel=0.05)
    certificate = linkage_certificate(MLE + 1e-3)
    assert certificate.worst_error == pytest.approx(1e-3 * math.sqrt(observed_information(MLE)), rel=0.01)


def normal_certificate(values):
    source = PatternSource(values)
    return certify(MultivariateNormal(values.shape[1]), source, fit(MultivariateNormal(values.shape[1]), source).params)


def test_errors_do_not_depend_on_the_unit():
    values = np.random.default_rng(0).normal(size=(100, 2))
    values -= values.mean(axis=0)
    errors = [normal_certificate(values * unit).standard_errors["mean"] / unit for unit in (1e-4, 1.0, 1e4)]
    np.testing.assert_allclose(errors[0], values.std(axis=0) / 10.0, rtol=1e-5)
    np.testing.assert_allclose(errors[1:], [errors[0]] * 2, rtol=1e-6)


@pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3])
def test_collinear_columns_keep_their_standard_errors(noise):
    rng = np.random.default_rng(0)
    first = rng.normal(size=200)
    values = np.column_stack([first, first + noise * rng.normal(size=200), rng.normal(size=200)])
    certificate = normal_certificate(values)
    assert certificate.kind == "maximum"
    np.testing.assert_allclose(certificate.standard_errors["mean"], values.std(axis=0) / 200**0.5, rtol=1e-4)


def test_what_was_never_observed_together_has_no_standard_error():
    values = np.random.default_rng(2).multivariate_normal([5, 5, 5], np.eye(3) / 2 + 0.5, size=300)
    values[:150, 1] = values[150:, 2] = np.nan
    certificate = normal_certificate(values)
    assert certificate.kind == "flat"
    errors = certificate.standard_errors["covariance"]
    assert np.isnan(errors[1, 2])
    assert np.isfinite(np.delete(errors.ravel(), [5, 7])).all()


def test_a_climb_that_ends_on_a_saddle_has_not_converged():
    rng = np.random.default_rng(3)
    source = SequenceSource([rng.integers(3, size=50).astype(np.uint8) for _ in range(10)])
    model = CategoricalHMM(2, 3)
    start = HMMParams(np.full(2, 0.5), np.full((2, 2), 0.5), np.full((2, 3), 1 / 3))
    saddle = start
    for _ in range(5):
        saddle = model.m_step(total_stats(model, source, saddle), saddle)
    climbed = fit(model, source, init=[start])
    certificate = certify(model, source, saddle)
    assert certificate.kind == "saddle"
    assert certificate.rate > 1.01
    judged = judge(climbed, certificate)
    assert judged.status is Status.SADDLE
    assert not judged.converged
    assert "saddle" in judged.verdict


def test_a_held_zero_has_no_standard_error():
    codes = [np.array([0, 1, 0, 1, 1, 0, 0, 1, 2, 0] * 5, dtype=np.uint8)]
    source = SequenceSource(codes)
    model = CategoricalHMM(1, 4)
    certificate = certify(model, source, fit(model, source).params)
    emission = certificate.standard_errors["emission"][0]
    shares = np.array([25, 20, 5]) / 50
    np.testing.assert_allclose(emission[:3], np.sqrt(shares * (1 - shares) / 50), rtol=1e-4)
    assert np.isnan(emission[3])
    assert certificate.n_held == 1
    assert certificate.kind == "boundary"
    assert [entry.called() for entry in certificate.held] == ["emission [1, 4]"]
    assert "Held fixed at the edge of its range: emission [1, 4]." in certificate.sentence
