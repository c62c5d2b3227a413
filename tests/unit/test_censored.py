"""A normal model of tables with detection limits, held to quadrature, to R's survreg and to what was known before."""

from __future__ import annotations

import itertools
import math
import pickle

import mpmath as mp
import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal, norm, qmc

from emtools.engine.chunks import total_stats
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.kernels.censored import scale_normal, tobit
from emtools.kernels.readings import Readings
from emtools.kernels.truncated import (
    draw_truncated,
    draw_within,
    propagate,
    truncated_moments,
    truncated_normal,
    truncated_pair,
)
from emtools.models.censored_normal import CensoredNormal, CensoredSource
from emtools.models.normal import MultivariateNormal, NormalParams

INF = math.inf
SURVREG = (5.4049513804947633, 2.8461566184764595, -27.7946372731085205)  # mean, sd, nats


def exact_interval(low: float, high: float) -> tuple[float, float, float]:
    """Log probability, mean and variance of a standard normal in an interval, to 60 digits before rounding."""
    with mp.workdps(60):
        if high == INF or low + high >= 0:
            tail = mp.erfc(mp.mpf(low) / mp.sqrt(2)) - (0 if high == INF else mp.erfc(mp.mpf(high) / mp.sqrt(2)))
        else:
            tail = mp.erfc(-mp.mpf(high) / mp.sqrt(2)) - (0 if low == -INF else mp.erfc(-mp.mpf(low) / mp.sqrt(2)))
        near, far = (mp.mpf(0) if math.isinf(x) else mp.npdf(mp.mpf(x)) for x in (low, high))
        ends = (0 if math.isinf(low) else low * near) - (0 if math.isinf(high) else high * far)
        mean = (near - far) / (tail / 2)
        return float(mp.log(tail / 2)), float(mean), float(1 + ends / (tail / 2) - mean**2)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        *[(0.0, INF), (-INF, -1.3), (-INF, 3.0), (2.99, INF), (3.01, INF), (40.0, INF), (-INF, -40.0), (1e4, INF)],
        *[(-1.0, 1.0), (1.0, 1.0 + 1e-6), (-40.0, -39.9), (2.99, 5.1), (-0.5, 50.0), (-3.0, 8.0), (0.9, 2.95)],
    ],
)
def test_one_variable_within_bounds_to_the_last_digits(low, high):
    found, exact = truncated_normal(low, high), exact_interval(low, high)
    np.testing.assert_allclose(found[:2], exact[:2], rtol=2e-14, atol=2e-16)
    np.testing.assert_allclose(found[2], exact[2], rtol=1e-12)


def test_unbounded_is_the_standard_normal():
    assert truncated_normal(-INF, INF) == (0.0, 0.0, 1.0)


def scaled_pair(low1, high1, low2, high2, correlation, start, end):
    """The same by Gauss-Legendre quadrature of the first variable in mpmath, its density scaled to 1 at `start`."""
    with mp.workdps(30):
        slope = mp.mpf(correlation)
        spread = mp.sqrt(1 - slope**2)

        def inner(x):
            under, over = ((mp.mpf(b) - slope * x) / spread for b in (low2, high2))
            turn = -1 if high2 < INF and (low2 == -INF or under + over < 0) else 1
            near, far = (under, over) if turn > 0 else (-over, -under)
            mass = (mp.erfc(near / mp.sqrt(2)) - (0 if far == mp.inf else mp.erfc(far / mp.sqrt(2)))) / 2
            one, two = mp.npdf(near), mp.mpf(0) if far == mp.inf else mp.npdf(far)
            bend = near * one - (0 if far == mp.inf else far * two)
            mean = slope * x * mass + turn * spread * (one - two)
            square = spread**2 * (mass + bend) + 2 * slope * x * turn * spread * (one - two) + (slope * x) ** 2 * mass
            return mass, mean, square

        scale = mp.npdf(start) * inner(mp.mpf(start))[0]
        grid = mp.linspace(max(low1, start), min(high1, end), 13)

        def integral(function):
            return mp.quad(lambda x: mp.npdf(x) / scale * function(x), grid, method="gauss-legendre", maxdegree=4)

        total = integral(lambda x: inner(x)[0])
        mean1 = integral(lambda x: x * inner(x)[0]) / total
        mean2 = integral(lambda x: inner(x)[1]) / total
        variance1 = integral(lambda x: (x - mean1) ** 2 * inner(x)[0]) / total
        cross = integral(lambda x: (x - mean1) * inner(x)[1]) / total
        variance2 = integral(lambda x: inner(x)[2]) / total - mean2**2
        return [float(v) for v in (mp.log(total * scale), mean1, mean2, variance1, cross, variance2)]


@pytest.mark.parametrize(
    "case",
    [
        (-INF, -0.5, -INF, 0.3, 0.6, -9.0, 0.0),
        (-INF, -0.5, -INF, 0.3, -0.95, -9.0, 0.0),
        (40.0, INF, -INF, 0.0, 0.5, 40.0, 41.5),
        (-1.0, 1.0, -INF, 0.2, 0.999, -1.0, 1.0),
        (-1.0, 1.0, 0.2, 0.21, 0.3, -1.0, 1.0),
        (0.5, 3.0, -2.0, -1.0, -0.4, 0.5, 3.0),
    ],
)
def test_two_variables_within_bounds_are_those_of_quadrature(case):
    found, exact = truncated_pair(*case[:5]), scaled_pair(*case)
    np.testing.assert_allclose(found[:3], exact[:3], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[3::2], exact[3::2], rtol=1e-11)
    assert abs(found[4] - exact[4]) < 1e-12 * math.sqrt(exact[3] * exact[5])


def test_a_quadrant_has_sheppards_probability_up_to_a_correlation_of_one():
    for correlation in (-0.9999, -0.7, 0.0, 1e-9, 0.3, 0.99, 0.999999):
        exact = 0.25 + math.asin(correlation) / (2 * math.pi)
        assert math.isclose(math.exp(truncated_pair(-INF, 0.0, -INF, 0.0, correlation)[0]), exact, rel_tol=1e-12)


def sequential(prior, high, n=14):
    """Log probability and moments below `high` by importance sampling along a Sobol sequence."""
    k = len(high)
    factor, points = np.linalg.cholesky(prior), qmc.Sobol(k, rng=3).random_base2(n)
    white, logs = np.zeros((2**n, k)), np.zeros(2**n)
    for i in range(k):
        below = ndtr((high[i] - white[:, :i] @ factor[i, :i]) / factor[i, i])
        logs += np.log(below)
        white[:, i] = ndtri(below * points[:, i])
    weight = np.exp(logs)
    x = white @ factor.T
    mean = weight @ x / weight.sum()
    return math.log(weight.mean()), mean, (x - mean).T @ ((weight / weight.sum())[:, None] * (x - mean))


@pytest.mark.parametrize(
    ("correlation", "log_off", "mean_off", "sd_off"), [(0.3, 2e-3, 1e-3, 2e-3), (0.6, 0.02, 5e-3, 0.015)]
)
def test_expectation_propagation_is_near_for_three_to_six_variables(correlation, log_off, mean_off, sd_off):
    for k in range(3, 7):
        prior = np.full((k, k), correlation)
        np.fill_diagonal(prior, 1.0)
        high = np.full(k, -0.52)
        mean, covariance = np.empty(k), np.empty((k, k))
        log_probability, change = propagate(prior, np.full(k, -INF), high, mean, covariance)
        exact = sequential(prior, high)
        assert change < 1e-13
        assert abs(log_probability - exact[0]) < log_off
        assert np.abs(mean - exact[1]).max() < mean_off
        assert np.abs(np.sqrt(np.diag(covariance)) - np.sqrt(np.diag(exact[2]))).max() < sd_off


def test_expectation_propagation_is_exact_without_correlation_and_settles_in_hard_cases():
    mean, covariance = np.empty(3), np.empty((3, 3))
    low, high = np.array([-INF, 40.0, 0.3]), np.array([-1.0, INF, 0.3001])
    log_probability, _ = propagate(np.eye(3), low, high, mean, covariance)
    each = [truncated_normal(a, b) for a, b in zip(low, high, strict=True)]
    np.testing.assert_allclose(log_probability, sum(e[0] for e in each), rtol=1e-12)
    np.testing.assert_allclose(mean, [e[1] for e in each], rtol=1e-12)
    np.testing.assert_allclose(np.diag(covariance), [e[2] for e in each], rtol=1e-6)
    for k, correlation in itertools.product((3, 20), (0.5, 0.99, 0.9999)):
        prior = np.full((k, k), correlation)
        np.fill_diagonal(prior, 1.0)
        mean, covariance = np.empty(k), np.empty((k, k))
        for high in (np.linspace(-0.8, -0.2, k), np.linspace(-45.0, -35.0, k)):
            log_probability, change = propagate(prior, np.full(k, -INF), high, mean, covariance)
            assert math.isfinite(log_probability)
            assert change < 1e-8
            assert (mean < high).all()
            assert np.linalg.eigvalsh(covariance)[0] > 0


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_slope_of_the_log_probability_is_that_of_the_moments(k):
    rng = np.random.default_rng(k)
    draw = rng.normal(size=(k, 2 * k))
    prior, high = draw @ draw.T / k, rng.normal(size=k)
    mean, covariance = np.empty(k), np.empty((k, k))
    low = np.full(k, -INF)
    low[0] = high[0] - 1.5

    def log_probability(shift, matrix):
        return truncated_moments(matrix, low - shift, high - shift, np.empty(k), np.empty((k, k)))[0]

    truncated_moments(prior, low, high, mean, covariance)
    inverse = np.linalg.inv(prior)
    by_mean = inverse @ mean
    by_covariance = 0.5 * (inverse @ (covariance + np.outer(mean, mean)) @ inverse - inverse)
    step = 1e-4
    for i in range(k):
        e = step * np.eye(k)[i]
        slope = (log_probability(e, prior) - log_probability(-e, prior)) / (2 * step)
        assert math.isclose(slope, by_mean[i], rel_tol=1e-6, abs_tol=1e-7)
        for j in range(k):
            bump = np.outer(e, np.eye(k)[j]) + np.outer(np.eye(k)[j], e)
            slope = (log_probability(np.zeros(k), prior + bump) - log_probability(np.zeros(k), prior - bump)) / (
                2 * step
            )
            assert math.isclose(slope, 2 * by_covariance[i, j], rel_tol=1e-5, abs_tol=1e-6)


def small_table():
    """Rows of every kind: complete, one and two cells censored from either side or both, gaps, nothing known."""
    rng = np.random.default_rng(5)
    values = rng.multivariate_normal([3.0, -1.0, 10.0], [[2.0, 1.2, 0.5], [1.2, 1.5, -0.3], [0.5, -0.3, 1.0]], size=25)
    lower, upper = np.full(values.shape, -INF), np.full(values.shape, INF)
    below, above = values[:, 0] < 2.2, values[:, 1] > 0.0
    upper[below, 0] = 2.2
    lower[above, 1] = 0.0
    between = np.zeros(25, dtype=bool)
    between[[3, 7]] = True
    between &= ~(below & above)
    lower[between, 2], upper[between, 2] = np.floor(values[between, 2]), np.floor(values[between, 2]) + 1.0
    hidden = np.column_stack([below, above, between])
    hidden[[4, 12], 2] = hidden[18] = True
    lower[18], upper[18] = -INF, INF
    return values, Readings(np.where(hidden, np.nan, values), lower, upper)


def by_quadrature(params, known):
    """Log-likelihood of each row: the box of the censored cells given the observed ones, by scipy's quadrature."""
    low, high = known.bounds()
    total = []
    for row, under, over in zip(known.values, low, high, strict=True):
        o = np.flatnonzero(~np.isnan(row))
        c = np.flatnonzero(np.isnan(row) & (np.isfinite(under) | np.isfinite(over)))
        if not len(o) and not len(c):
            total.append(0.0)
            continue
        m, s = params.mean, params.covariance
        value, centre, rest = 0.0, m[c], s[np.ix_(c, c)]
        if len(o):
            value = multivariate_normal(m[o], s[np.ix_(o, o)]).logpdf(row[o])
            slope = np.linalg.solve(s[np.ix_(o, o)], s[np.ix_(o, c)]).T
            centre, rest = centre + slope @ (row[o] - m[o]), rest - slope @ s[np.ix_(o, c)]
        if len(c) == 1:
            a, b = (bound[c[0]] - centre[0] for bound in (under, over))
            sd = math.sqrt(rest[0, 0])
            value += math.log(norm.cdf(b / sd) - norm.cdf(a / sd))
        elif len(c):
            corners = itertools.product(*[((over[j], 1), (under[j], -1)) for j in c])
            box = 0.0
            for corner in corners:
                at, sign = [p for p, _ in corner], math.prod(s for _, s in corner)
                if -INF in at:
                    continue
                at = np.minimum(np.array(at), centre + 12 * np.sqrt(np.diag(rest)))
                box += sign * multivariate_normal(centre, rest, maxpts=10**6, abseps=1e-12, releps=1e-12).cdf(at)
            value += math.log(box)
        total.append(value)
    return np.array(total)


def test_the_likelihood_is_that_of_scipys_quadrature_and_the_fit_is_at_its_top():
    _, known = small_table()
    model = CensoredNormal(3)
    source = model.source(known)
    assert known.bounded.sum(axis=1).max() == 2
    start = NormalParams(np.array([2.5, -0.8, 9.5]), np.array([[2.5, 0.9, 0.3], [0.9, 1.2, 0.1], [0.3, 0.1, 1.4]]))
    np.testing.assert_allclose(model.log_density(start, known), by_quadrature(start, known), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(total_stats(model, source, start).loglik, by_quadrature(start, known).sum(), rtol=1e-10)
    result = fit(model, source, tol=1e-11)
    top = model.pack(result.params)
    for direction in np.eye(top.size):
        rise = [by_quadrature(model.unpack(top + h * direction), known).sum() for h in (-1e-3, 1e-3)]
        assert abs(rise[1] - rise[0]) / 2e-3 < 2e-4
        assert max(rise) < result.loglik


def test_one_column_is_the_tobit_of_survreg():
    # survival 3.5-3: survreg(Surv(low, high, type = "interval2") ~ 1, dist = "gaussian")
    seen = [4.1, 5.3, 6.2, 7.7, 8.4, 9.9, 3.8, 5.9]
    values = np.array([*seen, *[np.nan] * 6])
    lower = np.array([-INF] * 8 + [-INF, -INF, -INF, 9.0, 4.0, 2.0])
    upper = np.array([INF] * 8 + [3.5, 3.5, 5.0, INF, 6.0, 3.0])
    known = Readings(values[:, None], lower[:, None], upper[:, None])
    mean, sd = tobit(values, lower, upper, np.ones(14))
    model = CensoredNormal(1)
    result = fit(model, model.source(known), tol=1e-12)
    np.testing.assert_allclose([mean, sd], SURVREG[:2], rtol=1e-7)
    np.testing.assert_allclose(
        [result.params.mean[0], math.sqrt(result.params.covariance[0, 0])], SURVREG[:2], rtol=1e-7
    )
    np.testing.assert_allclose(result.loglik, SURVREG[2], rtol=1e-12)


def test_three_censored_cells_have_the_likelihood_of_a_box_but_for_expectation_propagation():
    values, _ = small_table()
    known = Readings(np.full((1, 3), np.nan), None, np.array([[2.0, -1.5, 9.0]]))
    params = NormalParams(values.mean(axis=0), np.cov(values.T))
    found = CensoredNormal(3).log_density(params, known)
    assert 0 < abs(found[0] - by_quadrature(params, known)[0]) < 0.02


def test_no_limits_is_the_multivariate_normal():
    values, known = small_table()
    values[known.observed.sum(axis=1) == 1, 0] = np.nan
    plain = Readings(values)
    one, two = CensoredNormal(3), MultivariateNormal(3)
    a, b = fit(one, one.source(plain), tol=1e-10), fit(two, two.source(plain), tol=1e-10)
    np.testing.assert_allclose(a.loglik, b.loglik, rtol=1e-12)
    np.testing.assert_allclose(a.params.covariance, b.params.covariance, rtol=1e-5)
    for mine, theirs in zip(one.conditional(b.params, plain), two.conditional(b.params, plain), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10)


def test_rows_without_a_limit_may_take_either_path():
    _, known = small_table()
    model = CensoredNormal(3)
    params = NormalParams(np.array([2.5, -0.8, 9.5]), np.diag([2.0, 1.0, 1.0]) + 0.3)
    split = model.source(known)
    assert split.plain is not None
    alone = model.source(known)
    alone.plain, whole = None, known.take(known.observed.any(axis=1) | known.bounded.any(axis=1))
    alone.values, (alone.lower, alone.upper), alone.weights = whole.values, whole.bounds(), np.ones(len(whole.values))
    one, two = (total_stats(model, source, params) for source in (split, alone))
    for name in ("n", "loglik", "entropy", "first", "second"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_column_never_seen_without_a_limit_elsewhere_is_fitted():
    rng = np.random.default_rng(0)
    values = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]], size=60)
    upper = np.full(values.shape, INF)
    upper[np.arange(60), np.arange(60) % 2] = 4.0
    known = Readings(np.where(np.isfinite(upper), np.nan, values), None, upper)
    model = CensoredNormal(2)
    assert model.source(known).plain is None
    assert math.isfinite(fit(model, model.source(known), certificate=False, max_passes=50).loglik)


def test_filled_and_drawn_cells_keep_to_their_bounds_and_observed_ones_to_their_bits():
    _, known = small_table()
    model = CensoredNormal(3)
    params = fit(model, model.source(known), certificate=False).params
    filled, sd = model.conditional(params, known)
    low, high = known.bounds()
    drawn = [model.draw(params, known, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    for table in (filled, *drawn):
        assert np.array_equal(table[known.observed], known.values[known.observed])
        assert (table >= np.where(known.observed, -INF, low)).all()
        assert (table <= np.where(known.observed, INF, high)).all()
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(np.isnan(sd), known.observed)
    assert (sd[~known.observed] > 0).all()
    np.testing.assert_allclose(filled[18], params.mean, rtol=1e-14)
    np.testing.assert_allclose(sd[18], np.sqrt(np.diag(params.covariance)), rtol=1e-12)
    assert model.log_density(params, known)[18] == 0.0


def test_limits_forty_standard_deviations_away_stay_finite():
    params = NormalParams(np.zeros(4), 0.5 + 0.5 * np.eye(4))
    upper = np.array([[-40.0, -40.0, -40.0, INF], [-40.0, -40.0, INF, INF], [-40.0, INF, INF, INF]])
    known = Readings(np.full((3, 4), np.nan), None, upper)
    model = CensoredNormal(4)
    assert np.isfinite(model.log_density(params, known)).all()
    filled, sd = model.conditional(params, known)
    for table in (filled, model.draw(params, known, np.random.default_rng(0))):
        assert (table <= upper).all()
        assert (table[np.isfinite(upper)] > -41.0).all()
    assert (sd > 0).all()
    stats = model.e_step(
        params,
        model.source(
            Readings(np.vstack([known.values, np.eye(4)]), None, np.vstack([upper, np.full((4, 4), INF)]))
        ).chunk(0),
    )
    gap = stats.loglik - model.expected_loglik(stats, params) - stats.entropy
    assert abs(gap) <= 1e-11 * (1 + abs(stats.loglik))


@pytest.mark.parametrize(
    ("low", "high"), [(-0.5, INF), (1.5, INF), (8.0, INF), (-1.0, 2.0), (0.3, 0.5), (6.0, 6.3), (-INF, 0.7)]
)
def test_draws_within_bounds_have_their_moments(low, high):
    rng = np.random.default_rng(1)
    draws = np.array([draw_within(low, high, rng) for _ in range(20_000)])
    _, mean, variance = truncated_normal(low, high)
    assert ((draws >= low) & (draws <= high)).all()
    assert abs(draws.mean() - mean) < 5 * math.sqrt(variance / 20_000)
    assert abs(draws.var() / variance - 1) < 0.08


@pytest.mark.parametrize(
    ("correlation", "high"), [(0.95, [-3.0, -2.5]), (-0.9, [-0.5, -0.7]), (0.6, [-2.0, -2.0, -1.0, -2.5])]
)
def test_joint_draws_have_the_moments_of_the_truncated_normal(correlation, high):
    k, rng = len(high), np.random.default_rng(2)
    prior = np.full((k, k), correlation)
    np.fill_diagonal(prior, 1.0)
    draws = np.array([draw_truncated(prior, np.full(k, -INF), np.array(high), 50, rng)[1] for _ in range(6_000)])
    exact = sequential(prior, np.array(high))
    assert (draws <= high).all()
    sd = np.sqrt(np.diag(exact[2]))
    np.testing.assert_allclose((draws.mean(axis=0) - exact[1]) / sd, 0.0, atol=0.06)
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(sd, sd), exact[2] / np.outer(sd, sd), atol=0.09)


def test_a_nearly_singular_covariance_takes_the_observed_block():
    base = np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    known = Readings(
        np.array([[0.4, np.nan, np.nan], [np.nan, 0.1, np.nan], [np.nan, np.nan, 0.2], [0.1, np.nan, 0.3]]),
        None,
        np.array([[INF, 0.2, INF], [0.1, INF, 0.0], [INF, INF, INF], [INF, 0.5, INF]]),
    )
    model, params = CensoredNormal(3), NormalParams(np.zeros(3), base)
    usual = scale_normal(params.mean, base)
    assert usual is not None
    assert usual.by_precision
    _, chunk = model.scaled(params, known)
    found = [
        model.completed(s, chunk, np.zeros((3, 3)))
        for s in (usual, type(usual)(**{**vars(usual), "by_precision": False}))
    ]
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-13)
    tight = np.diag([1.0, 1.0, 1e-8]) + np.outer([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    scaled = scale_normal(np.zeros(3), tight)
    assert scaled is not None
    assert not scale_normal(np.zeros(3), np.array([[1.0, 1 - 1e-8, 0], [1 - 1e-8, 1.0, 0], [0, 0, 1.0]])).by_precision
    assert scale_normal(np.zeros(2), np.ones((2, 2))) is None


def test_starts_are_those_of_each_column_by_itself():
    rng = np.random.default_rng(3)
    for share in (0.3, 0.8):
        values = rng.normal(5.0, 2.0, size=(4000, 2))
        limit = np.quantile(values, share, axis=0)
        known = Readings(np.where(values < limit, np.nan, values), None, np.where(values < limit, limit, INF))
        model = CensoredNormal(2)
        start = model.initial_params(model.source(known), rng, "moments")
        np.testing.assert_allclose(start.mean, 5.0, atol=0.25)
        np.testing.assert_allclose(np.diag(start.covariance), 4.0, rtol=0.2)


def test_limits_that_differ_by_plate_give_back_the_parameters():
    rng = np.random.default_rng(4)
    mean, covariance = np.array([1.0, 2.0]), np.array([[1.0, 0.7], [0.7, 1.0]])
    values = rng.multivariate_normal(mean, covariance, size=4000)
    plate = rng.integers(2, size=4000)
    low = np.array([[0.3, 1.2], [1.0, 1.8]])[plate]
    high = np.full(values.shape, 3.0)
    known = Readings(
        np.where((values < low) | (values > high), np.nan, values),
        np.where(values > high, high, -INF),
        np.where(values < low, low, INF),
    )
    model = CensoredNormal(2)
    params = fit(model, model.source(known), certificate=False).params
    np.testing.assert_allclose(params.mean, mean, atol=0.06)
    np.testing.assert_allclose(params.covariance, covariance, atol=0.08)


def test_plain_passes_never_fall_where_expectation_propagation_is_used():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        loads = rng.normal(size=(5, 1)) * 2
        values = rng.multivariate_normal(np.zeros(5), loads @ loads.T + np.diag(rng.random(5) + 0.1), size=40)
        limit = np.quantile(values, 0.5, axis=0)
        known = Readings(np.where(values < limit, np.nan, values), None, np.where(values < limit, limit, INF))
        model = CensoredNormal(5)
        source = model.source(known)
        params, before = model.initial_params(source, rng, "random"), -INF
        for _ in range(40):
            stats = total_stats(model, source, params)
            assert stats.loglik >= before - 1e-12 * abs(before)
            before, params = stats.loglik, model.m_step(stats, params)


def test_hostile_tables_are_named():
    values = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, np.nan]])
    limits = np.where(np.isnan(values), 0.5, INF)
    model = CensoredNormal(2, labels=("CRP", "IL6"))
    with pytest.raises(InputError, match=r"IL6 has no value, 3 cells beyond a limit.*drop it, or enter it"):
        model.source(Readings(values, None, limits))
    with pytest.raises(InputError, match="IL6 has no value; "):
        model.source(Readings(values))
    with pytest.raises(InputError, match="row 0, column 0 is infinite"):
        model.source(Readings(np.array([[INF, 1.0]])))
    with pytest.raises(InputError, match="3 columns"):
        model.conditional(NormalParams(np.zeros(2), np.eye(2)), Readings(np.zeros((1, 3))))
    with pytest.raises(InputError, match="0 features"):
        CensoredNormal(0)
    constant = CensoredSource(Readings(np.array([[1.0], [1.0], [np.nan]]), None, np.array([[INF], [INF], [1.0]])))
    assert CensoredNormal(1).initial_params(constant, np.random.default_rng(0), "moments").covariance[0, 0] == 1.0


def test_notices_say_what_was_approximated_and_what_rests_on_the_shape():
    values = np.array([[1.0, np.nan, np.nan, np.nan], [2.0, 1.0, 1.0, 1.0], [2.0, np.nan, 1.0, 3.0]])
    known = Readings(values, None, np.where(np.isnan(values), 0.5, INF))
    told = CensoredNormal(4, labels=("a", "b", "c", "d")).notices(known)
    assert len(told) == 2
    assert told[0].startswith("1 of 3 rows have more than 2 cells beyond a limit")
    assert told[1].startswith("b is beyond its limit in 67 % of the rows")
    assert not CensoredNormal(4).notices(known.take(np.array([1])))


def test_the_model_travels():
    model = pickle.loads(pickle.dumps(CensoredNormal(2)))
    assert model.takes_bounds
    mean, covariance = model.moments(NormalParams(np.zeros(2), np.eye(2)))
    assert mean.shape == (2,)
    assert covariance.shape == (2, 2)
