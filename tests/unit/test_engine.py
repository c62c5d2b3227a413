"""The loop, the stop rule, the starts and the reduction, on models whose answer is known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from emtools.engine.chunks import ArraySource, ListSource, in_turn, tree_sum, workers
from emtools.engine.loop import climb
from emtools.engine.protocol import Stats
from emtools.engine.result import number_optima
from emtools.engine.starts import fit
from emtools.engine.stopping import Status, fell, remaining_gain
from emtools.errors import FitError, InputError
from emtools.models.linkage import COUNTS, Linkage, LinkageParams, LinkageStats, exact_maximum

MLE = exact_maximum(*COUNTS)

# Rate of the EM map at the MLE: share of the information on the recombination that the split of
# the first cell would add (Dempster, Laird & Rubin 1977, section 1).
RATE = 0.1327787


def counts(chunk_rows=None):
    return ArraySource(np.array([COUNTS]), chunk_rows=chunk_rows)


def test_linkage_reaches_the_closed_form():
    result = fit(Linkage(), counts(), tol=1e-12, parameter_tol=1e-12)
    assert result.status is Status.CONVERGED
    assert result.params.probability == pytest.approx(MLE, abs=1e-11)


def test_rate_is_the_fraction_of_missing_information():
    result = fit(Linkage(), counts(), tol=1e-9)
    assert result.rate == pytest.approx(RATE, rel=2e-3)


def test_gap_is_the_gain_still_to_come():
    top = fit(Linkage(), counts(), tol=1e-13).loglik
    for tol in (1e-2, 1e-4, 1e-6):
        result = fit(Linkage(), counts(), strategy="worst", tol=tol)
        assert result.gap < tol
        assert top - result.loglik < tol
        assert top - result.loglik == pytest.approx(result.gap, rel=0.6)


def test_loglik_belongs_to_the_parameters():
    result = fit(Linkage(), counts(), max_passes=3)
    assert result.status is Status.BUDGET
    assert result.loglik == Linkage().e_step(result.params, counts().chunk(0)).loglik
    assert "not converged" in result.verdict.lower()
    assert len(result.trace) == 3


def test_reaching_the_limit_is_not_convergence():
    assert not fit(Linkage(), counts(), max_passes=1).converged


class Falling(Linkage):
    """An M-step that goes the wrong way after two passes."""

    name = "falling"

    def m_step(self, stats, params):
        return LinkageParams(0.5 if params.probability < 0.55 else 0.2)


def test_a_fall_is_a_status_with_the_parameters_before_it():
    result = climb(Falling(), counts(), LinkageParams(0.6))
    assert result.status is Status.DECREASED
    assert result.params.probability == 0.6
    assert len(result.trace) == 1
    assert "M-step is at fault" in result.reason


class Swapped(Linkage):
    """An E-step whose statistics are those of other cells."""

    def e_step(self, params, chunk, assign="soft"):
        stats = super().e_step(params, chunk, assign)
        return replace(stats, linked=stats.unlinked, unlinked=stats.linked)


def test_a_wrong_e_step_is_told_from_a_wrong_m_step():
    result = climb(Swapped(), counts(), LinkageParams(0.6), accelerate=False)
    assert result.status is Status.DECREASED
    assert "E-step is at fault: loglik is not Q plus entropy" in result.reason


class Exploding(Linkage):
    name = "exploding"

    def e_step(self, params, chunk, assign="soft"):
        stats = super().e_step(params, chunk, assign)
        return replace(stats, loglik=math.nan) if params.probability > 0.6 else stats


def test_a_value_that_is_not_finite_stops_before_it():
    result = climb(Exploding(), counts(), LinkageParams(0.3))
    assert result.status is Status.NONFINITE
    assert result.params.probability < 0.6
    assert math.isfinite(result.loglik)
    with pytest.raises(FitError, match="none of 2 starts is usable"):
        fit(Exploding(), counts(), starts=2)


class Corner(Linkage):
    """Every climb from below 0.5 is called degenerate, with a likelihood that would win."""

    name = "corner"

    def initial_params(self, data, rng, strategy):
        return LinkageParams(float(rng.choice([0.2, 0.9])))

    def degenerate(self, stats, params):
        return "below one half" if params.probability < 0.5 else None


def test_degenerate_starts_are_reported_and_never_best():
    result = fit(Corner(), counts(), starts=8, seed=1)
    statuses = [s.status for s in result.starts]
    assert Status.DEGENERATE in statuses
    assert Status.CONVERGED in statuses
    assert all(s.optimum is None for s in result.starts if s.status is Status.DEGENERATE)
    assert result.converged
    assert "set aside" in result.verdict


def test_starts_do_not_depend_on_one_another_or_on_threads():
    alone = fit(Linkage(), counts(), starts=5, seed=7)
    fewer = fit(Linkage(), counts(), starts=3, seed=7)
    threaded = fit(Linkage(), counts(), starts=5, seed=7, threads=3)
    assert [s.objective for s in alone.starts][:3] == [s.objective for s in fewer.starts]
    strip = lambda f: [replace(row, seconds=0.0) for row in f.trace]  # noqa: E731
    np.testing.assert_equal(
        [(r.restart, r.number, r.objective, r.gain, r.gap) for r in strip(alone)],
        [(r.restart, r.number, r.objective, r.gain, r.gap) for r in strip(threaded)],
    )


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"max_passes": 0}, {"tol": 0.0}, {"strategy": "astrology"}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(InputError):
        fit(Linkage(), counts(), **wrong)


def test_aitken_sums_a_geometric_series():
    rate = 0.9
    objectives = [-(rate ** (2 * t)) for t in range(60)]
    remaining = remaining_gain(objectives)
    assert remaining.gap == pytest.approx(rate ** (2 * 59), rel=1e-6)
    assert remaining.rate == pytest.approx(rate, rel=1e-6)


def test_growing_gains_never_look_like_the_end():
    assert remaining_gain([0.0, 1e-9, 1e-8, 1e-7, 1e-6]).gap == math.inf
    assert remaining_gain([0.0]).gap == math.inf


def test_a_fall_within_rounding_is_no_fall():
    assert not fell(-1e4, -1e4 - 1e-9)
    assert fell(-1e4, -1e4 - 1e-7)


def test_optima_are_numbered_from_the_best():
    assert number_optima([-5.0, None, -3.0, -3.0000001, -9.0]) == [2, None, 1, 1, 3]


def test_tree_sum_has_a_fixed_shape():
    items = [Stats(1.0, 0.1 * i, 0.0) for i in range(7)]
    expected = ((0.0 + 0.1) + (0.2 + 0.1 * 3)) + ((0.4 + 0.5) + 0.1 * 6)
    assert tree_sum(items).loglik == expected
    assert tree_sum(items).n == 7
    assert tree_sum(items[:1]) is items[0]


def test_workers_keep_the_order():
    with workers(3) as pool:
        assert pool(lambda i: i * i, range(20)) == in_turn(lambda i: i * i, range(20))


def test_array_source_can_be_read_again():
    source = ArraySource(np.arange(10.0), chunk_rows=4)
    assert source.n_chunks == 3
    assert source.n_units == 10
    for _ in range(2):
        read = np.concatenate([source.chunk(i).values for i in range(3)])
        np.testing.assert_array_equal(read[:, 0], np.arange(10.0))
    assert ListSource([1, 2], 2).chunk(1) == 2


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, math.nan]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(InputError, match="weights"):
        ArraySource(np.zeros((2, 1)), np.array(weights))
    with pytest.raises(InputError, match="at least one row"):
        ArraySource(np.zeros((0, 3)))


def test_every_pass_is_reported():
    seen = []
    result = fit(Linkage(), counts(), starts=2, on_pass=seen.append)
    assert seen == list(result.trace)
    assert result.passes == len(seen)
    assert math.isnan(seen[0].gain)
    assert seen[1].gain == pytest.approx(seen[1].objective - seen[0].objective)
    assert isinstance(result.stats, LinkageStats)


def test_a_climb_that_reaches_its_fixed_point_at_once_stops() -> None:
    """Gains of a hard climb in real data: two nearly equal ones, then the fixed point, then rounding."""
    gains = [1e-2, 6.4e-3, 5.6e-4, 1.0310e-4, 1.0304e-4, 6.8e-5, -3.5e-10, 2.3e-10, 0.0]
    objectives = (-884389.3293827006 + np.cumsum(gains)).tolist()
    remaining = remaining_gain(objectives)
    assert remaining.resolution > 0.0
    assert remaining.within(1e-6)
    slow = (-884389.0 + np.cumsum(1e-3 * 0.99 ** np.arange(940))).tolist()
    assert remaining_gain(slow).resolution > 0.0
    assert not remaining_gain(slow).within(1e-6)


def test_a_huge_loglik_is_certified_to_what_rounding_leaves_visible():
    objectives = [-1e9 - 1e3 * 0.25**t for t in range(40)]
    remaining = remaining_gain(objectives)
    assert remaining.within(1e-6)
    assert 1e-4 < remaining.gap < 1e-2
    assert not remaining_gain([-1e9 - 1e3 * 0.25**t for t in range(8)]).within(1e-6)


def test_the_decay_is_carried_on_below_rounding():
    slow = (-1e5 - 10 * 0.995 ** np.arange(4500)).tolist()
    remaining = remaining_gain(slow)
    assert remaining.resolution > 0.0
    assert remaining.gap == pytest.approx(2e-8, rel=0.5)
    for passes in (2000, 2500, 3000):
        assert remaining_gain(slow[:passes]).gap == pytest.approx(10 * 0.995 ** (passes - 1), rel=0.5)


def test_a_slow_climb_that_never_stood_out_of_rounding_is_not_at_its_end():
    gain, ratio = 5e-8, 0.9999
    warm = (-1e6 - gain / (1 - ratio) * ratio ** np.arange(40)).tolist()
    for passes in (4, 10, 40):
        assert not remaining_gain(warm[:passes]).within(1e-6)
    assert remaining_gain([-1e6, -1e6, -1e6, -1e6]).within(1e-6)


def test_starts_within_the_tolerance_are_one_optimum():
    assert number_optima([-1.5, -1.0, -3.0], same=1.0) == [1, 1, 2]
