"""Passes on the slow problems against what was promised, and the stored counts of plain EM and of R's SQUAREM."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from reference.passes import HERE, WITHIN, ours, passes_to, plain, table
from reference.slow_problems import MAXIMUM, PROBLEMS, STARTS
from reference.slow_problems import table as table_of
from reference.stop_rules import ends
from reference.test_exact import REFERENCES
from sklearn.mixture import GaussianMixture as SklearnMixture

from emtools.engine.loop import climb

STORED = json.loads((HERE / "passes.json").read_text())
SQUAREM = json.loads((HERE / "squarem.json").read_text())["results"]
FEW = 5


def trace(*objectives: float) -> list[SimpleNamespace]:
    return [SimpleNamespace(objective=value) for value in objectives]


def test_passes_are_counted_from_one_to_the_first_that_is_near():
    assert passes_to(trace(-5.0, -1.0, -5e-9, 0.0), 0.0) == 3
    assert passes_to(trace(-5.0, -1.0), 0.0) is None


def test_london_times_has_the_maximum_of_the_reference():
    exact = json.loads((HERE / "exact.json").read_text(encoding="utf-8"))["problems"]["london_times"]
    assert MAXIMUM["london_times"] == pytest.approx(float(exact["loglik"]), rel=1e-15)


@pytest.mark.parametrize("name", PROBLEMS)
def test_r_and_we_know_the_same_maximum(name):
    rows = [row for row in SQUAREM if row["problem"] == name]
    assert [row["control"] for row in rows] == ["default", "monotone"]
    for row in rows:
        assert len(row["tops"]) == row["n_at_best"] == STARTS
        assert row["best"] == pytest.approx(MAXIMUM[name], rel=0.0, abs=1e-10)
    assert rows[1]["n_falls"] == 0
    problem = PROBLEMS[name]()
    end = climb(problem.model, problem.source, problem.starts[0], tol=1e-10)
    assert end.objective == pytest.approx(MAXIMUM[name], rel=0.0, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_stored_counts_of_plain_em(name):
    """A few starts again; rounding may move a count by little."""
    problem = PROBLEMS[name]()
    few = type(problem)(problem.title, problem.model, problem.source, problem.starts[:FEW], problem.maximum)
    assert np.abs(np.array(plain(few)) - np.array(STORED[name]["plain"][:FEW])).max() <= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_passes_are_within_what_was_promised(name):
    counts, em = ours(PROBLEMS[name]()), STORED[name]["plain"]
    assert None not in counts
    median, percentile = WITHIN[name]
    assert np.median(counts) <= median
    assert percentile is None or np.percentile(counts, 95) <= percentile
    assert all(mine <= 1.25 * theirs + 5 for mine, theirs in zip(counts, em, strict=True))


@pytest.mark.parametrize("name", [name for name in REFERENCES if name not in PROBLEMS])
def test_where_em_is_quick_little_is_lost(name):
    """At most 1.25 times the passes of EM and 5, from starts of any kind."""
    reference = REFERENCES[name]()
    model, source = reference.model, reference.source
    starts = [model.initial_params(source, np.random.default_rng(seed), "random") for seed in range(FEW)]
    for start in [reference.start, *starts]:
        mine = climb(model, source, start, tol=1e-9)
        em = climb(model, source, start, tol=1e-9, max_passes=10_000, accelerate=False)
        counts = [passes_to(end.trace, max(row.objective for row in end.trace)) for end in (mine, em)]
        assert counts[0] <= 1.25 * counts[1] + 5


def test_scikit_learns_rule_is_where_scikit_learn_stops():
    """From the same starts: passes, and the nats left at what it returns."""
    problem = PROBLEMS["overlap"]()
    natural = problem.model.natural(problem.starts[0])
    for start in problem.starts[:FEW]:
        peer = SklearnMixture(
            3,
            reg_covar=0.0,
            max_iter=1000,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=1.0 / start.covariances,
        ).fit(table_of("slow_overlap")[:, None])
        stopped = ends(problem, start, natural, {name: np.ones(value.shape) for name, value in natural.items()})[0]
        assert peer.n_iter_ == stopped.passes - 1
        left = problem.maximum - 600 * peer.score(table_of("slow_overlap")[:, None])
        assert stopped.left == pytest.approx(left, rel=0.0, abs=1e-8)


def test_the_table_of_the_docs_has_a_row_for_each_problem():
    assert len(table(STORED).splitlines()) == 2 + len(PROBLEMS) + 2
