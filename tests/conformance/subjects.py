"""From a case to what ``emtools.testing`` examines."""

from __future__ import annotations

from conformance.cases import Case

from emtools.engine.protocol import assigns_of
from emtools.testing import Subject


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
