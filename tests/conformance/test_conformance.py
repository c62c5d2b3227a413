"""Every model faces the same examiners: those of ``emtools.testing``, which are there for other people's models too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance.cases import CASES, Case

from emtools.engine.protocol import assigns_of
from emtools.testing import EXAMINATIONS, NotExaminedError, Subject
from emtools.testing.subject import EXACT, identity_gap


def subject_of(case: Case) -> Subject:
    """What is examined of a case."""
    return Subject(
        model=case.model,
        whole=case.source(1),
        split=case.source(4),
        weighted=case.weighted() if case.weighted else None,
        replicated=case.replicated() if case.replicated else None,
        assigns=assigns_of(case.model),
        smooth=case.smooth,
        maximises=case.m_step_maximises,
    )


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


def test_the_split_is_one(subject):
    assert subject.whole.n_chunks == 1
    assert subject.split.n_chunks > 1


def test_a_wrong_statistic_is_noticed(subject):
    """Negative control: the identity fails when the entropy is off by a thousandth."""
    params = subject.inner()
    stats = subject.stats(params)
    assert identity_gap(subject.model, stats, params) <= EXACT
    spoiled = replace(stats, entropy=stats.entropy + 1e-3 * (1 + abs(stats.loglik)))
    assert identity_gap(subject.model, spoiled, params) > 1e-4
    assert np.isfinite(stats.loglik)
