"""Standard errors, rate and gap against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conformance.linkage import COUNTS, MLE, Linkage, LinkageParams

from emtools.engine.certificate import certify
from emtools.engine.chunks import ArraySource


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
    assert certificate.standard_errors["recombination"][0] == pytest.approx(expected, rel=1e-4)


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
