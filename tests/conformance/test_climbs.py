"""Climbs of every model: no kept pass falls, the identity holds at each, and "converged" leaves next to nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from conformance.cases import CASES

from emtools.engine import loop
from emtools.engine.loop import climb
from emtools.engine.result import Climb
from emtools.engine.stopping import FALL, Status

LEFT = 1e-6  # nats that may be left where "converged" is said
SAME_HILL = 0.1  # nats beyond which a further climb has changed the hill
IDENTITY = 1e-11  # relative error of loglik = Q + entropy
MOST = 5000  # passes
FURTHER = 500  # passes that look for what is left
FEW, MANY = 2, 10  # starts


@dataclass
class Watch:
    """Errors of the identity at all passes of some climbs, by place."""

    errors: dict[float, float] = field(default_factory=dict)

    def record(self, model: Any, point: Any) -> None:
        q = model.expected_loglik(point.stats, point.params)
        error = abs(point.stats.loglik - q - point.stats.entropy) / (1.0 + abs(point.stats.loglik))
        self.errors[point.objective] = max(error, self.errors.get(point.objective, 0.0))


@pytest.fixture
def watch(monkeypatch):
    """Looks at what every pass over the data returns."""
    seen, evaluate = Watch(), loop.Climber.evaluate

    def watched(self, params, packed):
        point = evaluate(self, params, packed)
        seen.record(self.model, point)
        return point

    monkeypatch.setattr(loop.Climber, "evaluate", watched)
    return seen


def first_of(case: Any, source: Any, start: int) -> Any:
    strategies = case.model.strategies
    rng = np.random.default_rng(np.random.SeedSequence([77, start]))
    return case.model.initial_params(source, rng, strategies[start % len(strategies)])


def n_falls(end: Climb[Any, Any]) -> int:
    """Kept passes below the kept pass before; a step off a saddle goes up too."""
    kept = [row.objective for row in end.trace if row.kind == "step"]
    return sum(before - after > FALL * (1.0 + abs(before)) for before, after in pairwise(kept))


def examine(name: str, starts: range, watch: Watch) -> None:
    case = CASES[name]()
    source = case.source(1)
    for start in starts:
        first = first_of(case, source, start)
        end = climb(case.model, source, first, max_passes=MOST)
        assert n_falls(end) == 0, f"start {start} falls"
        kept = {row.objective for row in end.trace if row.kind == "step" and np.isfinite(row.objective)}
        assert max((watch.errors[objective] for objective in kept), default=0.0) <= IDENTITY, f"start {start}"
        assert end.status is not Status.DECREASED, f"start {start}: {end.reason}"
        if end.status is Status.CONVERGED and case.smooth:
            further = climb(case.model, source, end.params, tol=1e-12, max_passes=FURTHER, accelerate=False)
            left = further.objective - end.objective
            assert not LEFT < left < SAME_HILL, f"start {start}: {left:.2g} nats left, {end.gap:.2g} said"


def examine_cost(name: str, starts: range) -> None:
    case = CASES[name]()
    source = case.source(1)
    for start in starts:
        first = first_of(case, source, start)
        fast = climb(case.model, source, first, max_passes=MOST)
        plain = climb(case.model, source, first, max_passes=MOST, accelerate=False)
        if Status.DEGENERATE not in (fast.status, plain.status) and abs(fast.objective - plain.objective) < SAME_HILL:
            assert len(fast.trace) <= 1.25 * len(plain.trace) + 5, f"start {start}"


@pytest.mark.parametrize("name", sorted(CASES))
def test_no_kept_pass_falls_and_converged_means_it(name, watch):
    examine(name, range(FEW), watch)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_more_starts(name, watch):
    examine(name, range(FEW, MANY), watch)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_acceleration_costs_at_most_a_quarter_more_than_em(name):
    examine_cost(name, range(MANY))


def test_a_fall_is_counted():
    """Negative control: a climb whose trace falls by 1e-9 relative is noticed."""
    case = CASES["linkage"]()
    end = climb(case.model, case.source(1), first_of(case, case.source(1), 0))
    last = end.trace[0]
    lower = type(last)(**{**vars(last), "objective": last.objective - 1e-9 * (1 + abs(last.objective))})
    spoiled = Climb(**{**vars(end), "trace": (last, lower)})
    assert n_falls(end) == 0
    assert n_falls(spoiled) == 1
