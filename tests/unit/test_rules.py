"""Where other stop rules may end: against a climb in closed form, and against plain EM on real counts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from reference.slow_problems import PROBLEMS
from reference.stop_rules import RULES as MEASURED
from reference.stop_rules import ends

from emtools.engine.certificate import certify
from emtools.engine.starts import fit
from emtools.report.rules import RULES, stops


def record(**changes: Any) -> dict[str, Any]:
    return {
        "branch": "deconvolve",
        "status": "converged",
        "loglik": -2000.0,
        "gap": 1e-9,
        "n_units": 1000.0,
        "certificate": {"kind": "maximum", "rate": 0.9},
    } | changes


@pytest.mark.parametrize("rate", [0.3, 0.9, 0.99])
def test_a_climb_at_a_constant_rate_stops_within_a_pass_of_what_is_stated(rate: float) -> None:
    told = stops(record(certificate={"kind": "maximum", "rate": rate}))
    for rule, stop in zip(RULES, told, strict=True):
        left = 1e6
        while left * (1.0 - rate**2) >= rule.rise(-2000.0, 1000.0):
            left *= rate**2
        left *= rate ** (2 * (1 + rule.more))
        assert rate**2 * stop.left <= left * (1 + 1e-9)
        assert left <= stop.left * (1 + 1e-9)
        assert stop.errors == pytest.approx(math.sqrt(2.0 * stop.left), rel=1e-12)


def test_plain_em_on_a_slow_problem_stops_below_what_is_stated() -> None:
    problem = PROBLEMS["missing"]()
    top = fit(problem.model, problem.source, init=problem.starts[:1], tol=1e-10)
    seen = certify(problem.model, problem.source, top.params)
    natural = problem.model.natural(top.params)
    measured = ends(problem, problem.starts[1], natural, seen.standard_errors)
    told = stops(record(loglik=top.loglik, n_units=top.stats.n, certificate={"kind": seen.kind, "rate": seen.rate}))
    assert [rule.name.split(",")[0] for rule in MEASURED] == [stop.package.split()[0] for stop in told]
    for end, stop in zip(measured, told, strict=True):
        assert 0.25 * stop.left < end.left < stop.left
        assert 0.1 * stop.errors < end.errors < stop.errors


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "budget"},
        {"gap": None},
        {"loglik": None},
        {"certificate": None},
        {"certificate": {"kind": "flat", "rate": 1.0}},
        {"certificate": {"kind": "unknown", "rate": None}},
    ],
)
def test_nothing_is_stated_where_the_rate_is_not_known(changes: dict[str, Any]) -> None:
    assert stops(record(**changes)) == []


def test_a_rule_a_row_is_not_put_to_sequences() -> None:
    assert [stop.package for stop in stops(record(branch="hmm"))] == ["hmmlearn"]
