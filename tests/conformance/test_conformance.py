"""Every model faces the same examiners: those of ``emtools.testing``, which are there for other people's models too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance.cases import CASES
from conformance.subjects import subject_of

from emtools.testing import EXAMINATIONS, NotExaminedError
from emtools.testing.subject import EXACT, identity_gap


@pytest.fixture(params=sorted(CASES), scope="module")
def subject(request):
    return subject_of(CASES[request.param]())


@pytest.mark.parametrize("name", EXAMINATIONS)
def test_promise(subject, name):
    try:
        breaches = list(EXAMINATIONS[name].check(subject))
    except NotExaminedError as reason:
        pytest.skip(str(reason))
    assert not breaches, f"{EXAMINATIONS[name].promise}: {breaches[0]}"


def test_the_split_has_more_chunks(subject):
    assert subject.split.n_chunks > subject.whole.n_chunks


def test_a_wrong_statistic_is_noticed(subject):
    """Negative control: the identity fails when the entropy is off by a thousandth."""
    params = subject.inner()
    stats = subject.stats(params)
    assert identity_gap(subject.model, stats, params) <= EXACT
    spoiled = replace(stats, entropy=stats.entropy + 1e-3 * (1 + abs(stats.loglik)))
    assert identity_gap(subject.model, spoiled, params) > 1e-4
    assert np.isfinite(stats.loglik)
