"""Acceleration, the look before the end, saddles, warm-ups and the map of optima."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from reference.slow_problems import MAXIMUM, london_times
from sklearn.cluster import KMeans

from emtools.engine import starts
from emtools.engine.certificate import Certificate
from emtools.engine.chunks import ArraySource, SequenceSource, total_stats
from emtools.engine.loop import climb
from emtools.engine.result import Start, unseen_mass
from emtools.engine.starts import fit
from emtools.engine.stopping import FALL, Status
from emtools.errors import InputError
from emtools.models.count_mixture import MultinomialMixture, PoissonMixture
from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.models.mixture import GaussianMixture, MixtureParams, kmeans
from emtools.models.normal import MultivariateNormal, NormalParams, PatternSource

NAN = math.nan
MURRAY = np.array(
    [
        [1, 1],
        [1, -1],
        [-1, 1],
        [-1, -1],
        [2, NAN],
        [-2, NAN],
        [NAN, 2],
        [NAN, -2],
        [2, NAN],
        [-2, NAN],
        [NAN, 2],
        [NAN, -2],
    ]
)
MURRAY_SADDLE = 16 / 15  # rate at zero correlation


def two_groups(n_features=2):
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(-2, 1, (100, n_features)), rng.normal(2, 1, (100, n_features))])


def symmetric(family, values, weights=(0.5, 0.5)):
    """All components at the mean of the data with its covariance: a stationary point of EM."""
    model = GaussianMixture(2, values.shape[1], family)
    centre, covariance = values.mean(axis=0), np.cov(values.T, bias=True)
    return model, MixtureParams(np.array(weights), np.stack([centre, centre]), model.as_family(covariance))


def test_acceleration_reaches_the_maximum_in_few_passes():
    problem = london_times()
    for start in problem.starts[:10]:
        end = climb(problem.model, problem.source, start)
        assert end.status is Status.CONVERGED
        assert end.objective == pytest.approx(MAXIMUM["london_times"], abs=1e-6)
        assert len(end.trace) <= 100
        kept = [row.objective for row in end.trace]
        assert all(after >= before - FALL * (1 + abs(before)) for before, after in pairwise(kept))


def test_plain_em_takes_every_step_as_it_is():
    problem = london_times()
    end = climb(problem.model, problem.source, problem.starts[0], accelerate=False, max_passes=50)
    assert end.status is Status.BUDGET
    assert {row.kind for row in end.trace} == {"step"}


@pytest.mark.parametrize("tol", [3e-2, 1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("accelerate", [True, False])
def test_gap_is_the_gain_still_to_come(tol, accelerate):
    problem = london_times()
    for start in problem.starts[:3]:
        end = climb(problem.model, problem.source, start, tol=tol, accelerate=accelerate, max_passes=5000)
        assert end.status is Status.CONVERGED
        left = MAXIMUM["london_times"] - end.objective
        assert left < tol
        assert end.gap == pytest.approx(left, rel=0.1, abs=1e-11)


def test_a_budget_that_ends_in_a_look_is_not_convergence():
    problem = london_times()
    full = climb(problem.model, problem.source, problem.starts[0])
    for budget in range(1, len(full.trace)):
        end = climb(problem.model, problem.source, problem.starts[0], max_passes=budget)
        assert len(end.trace) == budget
        left = MAXIMUM["london_times"] - end.objective
        assert end.status is Status.BUDGET or left < 1e-6


def test_saddle_of_murray_is_named_and_left():
    source, model = PatternSource(MURRAY), MultivariateNormal(2)
    start = NormalParams(np.zeros(2), np.diag([2.0, 2.0]))
    result = fit(model, source, init=[start])
    assert result.converged
    assert result.certificate.kind == "maximum"
    assert [event.kind for event in result.events] == ["saddle"]
    assert result.events[0].rate == pytest.approx(MURRAY_SADDLE, abs=1e-3)
    assert "covariance" in result.events[0].along[0]
    assert "saddle (rate 1.067) left" in result.verdict
    covariance = result.params.covariance
    assert abs(covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])) == pytest.approx(0.5, abs=1e-4)


def test_no_random_start_ends_at_the_saddle_of_murray():
    source, model = PatternSource(MURRAY), MultivariateNormal(2)
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(60):
        factor = rng.normal(size=(2, 3))
        starts.append(NormalParams(rng.normal(size=2), factor @ factor.T))
    result = fit(model, source, init=starts, certificate=False)
    assert {s.status for s in result.starts} == {Status.CONVERGED}
    assert {s.optimum for s in result.starts} == {1}


@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "spherical"])
def test_identical_components_part(family):
    values = two_groups()
    model, start = symmetric(family, values)
    result = fit(model, ArraySource(values), init=[start])
    assert result.converged
    assert result.certificate.kind == "maximum"
    assert len(result.events) == 1
    assert result.events[0].rate > 0.999
    params = result.params
    assert max(np.abs(params.means[0] - params.means[1]).max(), np.ptp(params.covariances, axis=0).max()) > 1.0


def test_uniform_hidden_markov_model_parts():
    rng = np.random.default_rng(2)
    rich, poor = [0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1]
    sequences = [np.concatenate([rng.choice(4, 30, p=p) for p in [rich, poor] * 4]).astype(np.uint8) for _ in range(4)]
    start = HMMParams(np.full(2, 0.5), np.full((2, 2), 0.5), np.full((2, 4), 0.25))
    result = fit(CategoricalHMM(2, 4), SequenceSource(sequences), init=[start])
    assert result.converged
    assert result.events[0].kind == "saddle"
    assert result.events[0].rate > 1.0
    assert np.abs(result.params.emission[0] - result.params.emission[1]).max() > 0.2


def test_collapsing_component_is_degenerate_and_never_the_best():
    values = np.concatenate([np.random.default_rng(3).normal(size=40), [9.0]])
    model = GaussianMixture(2, 1)
    collapsing = MixtureParams(np.array([0.9, 0.1]), np.array([[0.0], [9.0]]), np.array([[[1.0]], [[1e-4]]]))
    fair = MixtureParams(np.array([0.5, 0.5]), np.array([[-0.5], [0.5]]), np.array([[[1.0]], [[1.5]]]))
    result = fit(model, ArraySource(values), init=[collapsing, fair], certificate=False)
    assert result.starts[0].status is Status.DEGENERATE
    assert result.best_restart == 1


@pytest.mark.parametrize("warm", ["annealed", "sampled", "online", "incremental"])
def test_warm_ups_end_in_the_same_top(warm):
    values = np.random.default_rng(8).permutation(two_groups(1))
    model, source = GaussianMixture(2, 1, order_by=0), ArraySource(values, chunk_rows=25)
    plain = fit(model, source, tol=1e-9)
    result = fit(model, source, warm=warm, warm_passes=4, tol=1e-9)
    assert [row.kind for row in result.trace[:5]] == ["warm"] * 4 + ["step"]
    assert result.converged
    assert result.loglik == pytest.approx(plain.loglik, abs=1e-7)


def test_online_pass_gets_close_in_one_look_at_the_data():
    rng = np.random.default_rng(9)
    values = rng.permutation(np.concatenate([rng.normal(-2, 1, 4000), rng.normal(2, 1, 4000)]))
    model, source = GaussianMixture(2, 1, order_by=0), ArraySource(values, chunk_rows=100)
    start = MixtureParams(np.array([0.5, 0.5]), np.array([[-0.5], [0.5]]), np.full((2, 1, 1), 4.0))
    online = fit(model, source, init=[start], warm="online", warm_passes=1, max_passes=2, certificate=False)
    batch = fit(model, source, init=[start], max_passes=12, accelerate=False, certificate=False)
    assert online.loglik > batch.loglik


def test_incremental_passes_climb_faster_than_batches():
    values = np.random.default_rng(10).permutation(two_groups(1))
    model, source = GaussianMixture(2, 1), ArraySource(values, chunk_rows=10)
    start = MixtureParams(np.array([0.5, 0.5]), np.array([[-0.2], [0.2]]), np.full((2, 1, 1), 4.0))
    passes = {"certificate": False, "max_passes": 6}
    batch = fit(model, source, init=[start], accelerate=False, **passes)
    incremental = fit(model, source, init=[start], warm="incremental", warm_passes=5, **passes)
    assert incremental.loglik > batch.loglik


def test_short_runs_choose_the_starts():
    values = np.concatenate([np.random.default_rng(4).normal(c, 0.5, (30, 2)) for c in (0, 4, 8, 12)])
    model, source = GaussianMixture(4, 2, "spherical"), ArraySource(values)
    result = fit(model, source, starts=2, strategy="random", short_runs=20, seed=5, certificate=False)
    assert len(result.starts) == 2
    assert all("20 short runs" in s.strategy for s in result.starts)
    alone = fit(model, source, starts=20, strategy="random", seed=5, certificate=False)
    assert result.loglik == pytest.approx(alone.loglik, abs=1e-5)


def test_unknown_warm_up_and_assignment_are_refused():
    model, source = GaussianMixture(2, 1), ArraySource(two_groups(1))
    with pytest.raises(InputError, match="warm 'hot'"):
        fit(model, source, warm="hot")
    with pytest.raises(InputError, match="assignment 'annealed'"):
        fit(MultivariateNormal(2), PatternSource(MURRAY), warm="annealed")


def start_with(optimum):
    return Start(0, "random", Status.CONVERGED, 0.0, 1, optimum)


def test_unseen_mass_is_the_share_of_optima_seen_once():
    assert unseen_mass([start_with(k) for k in (1, 1, 1, 2, 3)]) == pytest.approx(2 / 5)
    assert unseen_mass([start_with(1)] * 4) == 0.0
    assert math.isnan(unseen_mass([start_with(1)]))


def test_map_of_optima_counts_hits_and_distances():
    values = np.concatenate([np.random.default_rng(4).normal(c, 0.5, (30, 1)) for c in (0, 3, 6, 10)])
    result = fit(GaussianMixture(4, 1, "spherical", order_by=0), ArraySource(values), starts=12, strategy="random")
    best = result.optima[0]
    assert best.apart == 0.0
    assert best.objective == result.objective
    assert sum(optimum.hits for optimum in result.optima) == sum(s.status is Status.CONVERGED for s in result.starts)
    assert all(optimum.apart > 1.0 for optimum in result.optima[1:])


def test_gap_counts_what_an_edge_still_gains():
    """A Poisson mean that fades to zero is at an edge of the packed space; what it gains on its way is in the gap."""
    values = np.random.default_rng(3).poisson(4, (300, 1)).astype(float)
    model, source = PoissonMixture(3, 1), ArraySource(values)
    top = climb(model, source, model.initial_params(source, np.random.default_rng(0), model.strategies[0]), tol=1e-12)
    for seed in (1, 2, 3):
        end = climb(model, source, model.initial_params(source, np.random.default_rng(seed), model.strategies[0]))
        assert end.status is Status.CONVERGED
        assert top.objective - end.objective < 1e-6
        assert end.gap > 0.5 * (top.objective - end.objective)


@pytest.mark.parametrize("warm", ["annealed", "sampled", "online", "incremental"])
def test_a_warm_up_as_long_as_the_budget_leaves_a_pass_to_what_is_reported(warm):
    values = np.random.default_rng(8).permutation(two_groups(1))
    model, source = GaussianMixture(2, 1), ArraySource(values, chunk_rows=25)
    result = fit(model, source, warm=warm, warm_passes=10, max_passes=4, certificate=False)
    assert [row.kind for row in result.trace] == ["warm"] * 3 + ["step"]
    assert result.status is Status.BUDGET
    assert result.loglik == pytest.approx(total_stats(model, source, result.params, "soft").loglik, rel=1e-12)


def test_a_look_that_the_budget_cuts_short_does_not_certify_a_saddle():
    values = two_groups()
    model, start = symmetric("full", values)
    for budget in range(1, 9):
        end = climb(model, ArraySource(values), start, max_passes=budget)
        assert end.status is Status.BUDGET
        assert len(end.trace) == budget


@pytest.mark.parametrize("accelerate", [True, False])
def test_looks_do_not_follow_pass_upon_pass(accelerate):
    """Weights of 1e6 put the end below the rounding of the objective long before the gap is below the tolerance."""
    problem = london_times()
    days = problem.source.values if hasattr(problem.source, "values") else None
    assert days is not None
    source = ArraySource(days, np.full(len(days), 1e6))
    end = climb(problem.model, source, problem.starts[0], accelerate=accelerate, max_passes=3000)
    n_looks = sum(row.kind == "look" for row in end.trace)
    assert n_looks <= len(end.trace) / 2 + 40


def test_a_level_likelihood_takes_few_looks():
    """Single draws from three categories do not tell two components apart: every mixture of them is a maximum."""
    values = np.eye(3)[np.random.default_rng(3).integers(3, size=60)]
    model, source = MultinomialMixture(2, 3), ArraySource(values)
    end = climb(model, source, model.initial_params(source, np.random.default_rng(0), model.strategies[0]))
    assert end.status is Status.CONVERGED
    assert len(end.trace) <= 20


def test_a_climb_that_its_certificate_sends_on_stays_within_its_budget():
    """A certificate that always sees a way up: the passes of all rounds together keep to the budget, numbered on."""
    problem = london_times()
    short = climb(problem.model, problem.source, problem.starts[0], tol=1e-2)
    budget = len(short.trace) + 2
    with pytest.MonkeyPatch.context() as patch:
        seen = Certificate("climbing", 1.0, math.nan, math.nan, {}, 0)
        patch.setattr(starts, "certify", lambda *arguments, **options: seen)
        result = fit(problem.model, problem.source, init=[problem.starts[0]], tol=1e-2, max_passes=budget)
    assert len(result.trace) == budget
    assert [row.number for row in result.trace] == list(range(len(result.trace)))


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-13, 0.0), (1e9, 0.0), (1.0, 1e7), (1e-4, 1.0)])
def test_k_means_ends_at_the_first_pass_that_moves_nothing_in_any_unit(scale, offset):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(4, 3))
    rows = centres[rng.integers(4, size=2000)] + rng.normal(size=(2000, 3))
    start = centres + rng.normal(size=centres.shape)
    peer = KMeans(4, init=start, n_init=1, tol=0.0, algorithm="lloyd", max_iter=1000).fit(rows)
    model, values = kmeans(4, 3, variance=scale**2), offset + scale * rows
    end = climb(
        model,
        ArraySource(values),
        MixtureParams(np.full(4, 0.25), offset + scale * start, np.full(4, scale**2)),
        assign="hard",
    )
    assert end.status is Status.CONVERGED
    assert len(end.trace) == peer.n_iter_
    np.testing.assert_allclose((end.params.means - offset) / scale, peer.cluster_centers_, rtol=0.0, atol=1e-7)
