"""Laplace signal on a uniform background: closed forms, the frozen bounds and their profile, and the corners."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.loop import climb
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.errors import InputError
from emtools.kernels.laplace import order_statistic, weighted_median
from emtools.models.laplace_uniform import LaplaceUniform, LaplaceUniformParams

MODEL = LaplaceUniform()


def spikes(n=120, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.laplace(3.0, 0.4, n // 2), rng.uniform(-10.0, 12.0, n // 2)])


def naive_loglik(params, values):
    total = 0.0
    for x in values:
        laplace = params.weight * math.exp(-abs(x - params.location) / params.scale) / (2 * params.scale)
        uniform = (1 - params.weight) / (params.upper - params.lower) if params.lower <= x <= params.upper else 0.0
        total += math.log(laplace + uniform)
    return total


def test_loglik_equals_a_naive_loop():
    values = spikes()
    params = LaplaceUniformParams(0.3, 2.0, 1.5, -4.0, 9.0)
    stats = total_stats(MODEL, ArraySource(values, chunk_rows=11), params)
    assert stats.loglik == pytest.approx(naive_loglik(params, values), rel=1e-12)


def test_weighted_median_is_the_best_of_all_values():
    rng = np.random.default_rng(1)
    for _ in range(20):
        values, weights = rng.normal(size=9), rng.uniform(size=9)
        costs = [weights @ np.abs(values - m) for m in values]
        assert weighted_median(values, weights) == values[int(np.argmin(costs))]
    assert weighted_median(np.array([4.0, 1.0]), np.array([1.0, 1.0])) == 1.0


def test_order_statistics_count_weight():
    values, weights = np.array([5.0, 1.0, 3.0]), np.array([1.0, 2.0, 1.0])
    got = [order_statistic(values, weights, share) for share in (0.0, 0.5, 0.51, 0.75, 1.0)]
    assert got == [1.0, 1.0, 3.0, 3.0, 5.0]


def test_one_m_step_in_closed_form():
    values = np.array([0.0, 1.0, 2.0, 4.0, 10.0])
    start = LaplaceUniformParams(0.5, 1.0, 1.0, 0.0, 10.0)
    stats = total_stats(MODEL, ArraySource(values), start, "hard")
    assert (stats.n_laplace, stats.n_uniform) == (3.0, 2.0)
    after = MODEL.m_step(stats, start)
    assert after == LaplaceUniformParams(0.6, 1.0, pytest.approx(2 / 3), 4.0, 10.0)


def test_the_textbook_update_of_the_bounds_is_frozen_and_the_profile_is_not():
    values = np.concatenate([spikes(), [40.0]])
    source = ArraySource(values)
    narrow = LaplaceUniformParams(0.5, 3.0, 1.0, *np.sort(values)[[3, -5]])
    ended = climb(MODEL, source, narrow)
    assert (ended.params.lower, ended.params.upper) == (narrow.lower, narrow.upper)
    starts = MODEL.profile_starts(source)
    assert len({(s.lower, s.upper) for s in starts}) == len(starts) > 20
    profiled = fit(MODEL, source, init=starts, tol=1e-3)
    assert profiled.loglik > ended.loglik + 1.0


def test_the_profile_is_the_best_of_every_pair_of_order_statistics():
    """Among the climbs that ended well: a Laplace part that shrinks onto the outlier has an unbounded likelihood."""
    values = np.concatenate([spikes(36, seed=5), [80.0]])
    source = ArraySource(values)
    ordered = np.sort(values)
    quarter = len(values) // 4
    first = LaplaceUniformParams(0.5, float(np.median(values)), 1.0, 0.0, 0.0)
    every = [
        climb(MODEL, source, replace(first, lower=ordered[i], upper=ordered[-1 - j]))
        for i, j in product(range(quarter), range(quarter))
    ]
    sound = [ended.loglik for ended in every if ended.status is Status.CONVERGED]
    best = fit(MODEL, source, init=MODEL.profile_starts(source, n_bounds=12))
    assert max(ended.loglik for ended in every) > max(sound) + 5.0, "the corner should tempt"
    assert best.loglik == pytest.approx(max(sound), abs=1e-3)


def test_parameters_are_recovered():
    rng = np.random.default_rng(7)
    values = np.concatenate([rng.laplace(3.0, 0.5, 6000), rng.uniform(-10.0, 12.0, 4000)])
    params = fit(MODEL, ArraySource(values)).params
    got = [params.weight, params.location, params.scale, params.lower, params.upper]
    np.testing.assert_allclose(got, [0.6, 3.0, 0.5, -10.0, 12.0], rtol=0.03, atol=0.02)


def test_a_scale_of_zero_is_degenerate():
    values = np.concatenate([np.full(6, 2.0), np.linspace(-5.0, 5.0, 30)])
    ended = climb(MODEL, ArraySource(values), LaplaceUniformParams(0.3, 2.0, 0.01, -5.0, 5.0))
    assert ended.status is Status.DEGENERATE
    assert "scale has collapsed on the value 2" in ended.reason


def test_a_uniform_part_on_one_value_is_degenerate():
    values = np.concatenate([np.full(6, 2.0), np.linspace(-5.0, 5.0, 30)])
    ended = climb(MODEL, ArraySource(values), LaplaceUniformParams(0.7, 0.0, 2.0, 1.99, 2.01))
    assert ended.status is Status.DEGENERATE
    assert "uniform part has collapsed on the value 2" in ended.reason


def test_q_is_minus_infinity_outside_the_bounds():
    values = spikes()
    start = MODEL.profile_starts(ArraySource(values))[0]
    stats = total_stats(MODEL, ArraySource(values), start)
    assert MODEL.expected_loglik(stats, replace(start, upper=start.upper - 1e-6)) == -math.inf


def test_data_that_cannot_be_used_is_named():
    for values, message in (
        (np.ones(5), "all equal"),
        (np.ones((5, 2)), "2 columns"),
        (np.array([1, np.inf]), "finite"),
    ):
        with pytest.raises(InputError, match=message):
            fit(MODEL, ArraySource(values))


def test_a_row_of_weight_zero_does_not_widen_the_range():
    values = spikes()
    plain = fit(MODEL, ArraySource(values), starts=3)
    far, weights = np.append(values, 1e12), np.append(np.ones(len(values)), 0.0)
    padded = fit(MODEL, ArraySource(far, weights), starts=3)
    assert padded.params == plain.params
    assert padded.loglik == pytest.approx(plain.loglik, rel=1e-14)
