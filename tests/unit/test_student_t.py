"""Student's t against scipy, quadrature, closed forms of the steps, and the ways in which it can collapse."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats as dist
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.loop import climb
from emtools.engine.protocol import Sampled
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.errors import InputError
from emtools.kernels import precision
from emtools.kernels.readings import Readings
from emtools.kernels.student import best_df, best_growth, drawn_scales, expected_scales
from emtools.models.incomplete_rows import IncompleteSource
from emtools.models.student_t import StudentT, StudentTParams

# Darwin's maize: differences of heights in eighths of an inch (Fisher 1935, The Design of Experiments, section 17).
MAIZE = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])


def far_rows(n=80, d=2, df=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ np.triu(np.ones((d, d))) / np.sqrt(rng.gamma(df / 2, 2 / df, (n, 1))) + 5.0


def some_params(d=2, df=2.5):
    return StudentTParams(np.full(d, 4.0), np.eye(d) * 2.0 + 0.5, df)


def test_log_likelihood_is_that_of_scipy():
    values, weights = far_rows(), np.random.default_rng(1).integers(0, 4, size=80).astype(float)
    params = some_params()
    ours = total_stats(StudentT(2), ArraySource(values, weights, chunk_rows=17), params).loglik
    densities = dist.multivariate_t(params.location, params.scatter, df=params.df).logpdf(values)
    assert ours == pytest.approx(float(weights @ densities), rel=1e-12)


def test_hidden_scales_by_quadrature():
    squared, df, d = 3.7, 2.5, 3
    found = expected_scales(np.array([squared]), df, d)

    def density(u):
        return dist.gamma.pdf(u, df / 2, scale=2 / df) * (u / (2 * math.pi)) ** (d / 2) * math.exp(-u * squared / 2)

    def integral(f):
        return quad(f, 0, 1, epsabs=1e-13)[0] + quad(f, 1, np.inf, epsabs=1e-13)[0]

    total = integral(density)
    assert found.log_density[0] == pytest.approx(math.log(total), rel=1e-8)
    assert found.scale[0] == pytest.approx(integral(lambda u: u * density(u)) / total, rel=1e-8)
    assert found.log_scale[0] == pytest.approx(
        integral(lambda u: math.log(u) * density(u) if u else 0.0) / total, rel=1e-7
    )
    entropy = integral(lambda u: -density(u) / total * math.log(density(u) / total) if density(u) else 0.0)
    assert found.entropy[0] == pytest.approx(entropy, rel=1e-7)


def test_draws_of_the_scale_have_its_mean():
    squared = np.repeat([0.5, 9.0], 20000)
    drawn, expected = drawn_scales(squared, 3.0, 2, np.random.default_rng(0)), expected_scales(squared, 3.0, 2)
    for ours, truth in ((drawn.scale, expected.scale), (drawn.log_scale, expected.log_scale)):
        for half in (slice(0, 20000), slice(20000, None)):
            error = ours[half].std() / math.sqrt(20000)
            assert ours[half].mean() == pytest.approx(truth[half][0], abs=5 * error)


@pytest.mark.parametrize("expanded", [True, False])
def test_one_step_with_fixed_df_in_closed_form(expanded):
    """Kent, Tyler & Vardi (1994): the expanded step divides the scatter by the sum of the weights, the plain one by n."""
    values, params = far_rows(), some_params()
    deviations = values - params.location
    squared = np.einsum("ni,ij,nj->n", deviations, np.linalg.inv(params.scatter), deviations)
    weights = (params.df + 2) / (params.df + squared)
    mean = weights @ values / weights.sum()
    scatter = (values - mean).T @ ((values - mean) * weights[:, None])
    model = StudentT(2, df=params.df, expanded=expanded)
    after = model.m_step(total_stats(model, ArraySource(values), params), params)
    np.testing.assert_allclose(after.location, mean, rtol=1e-12)
    np.testing.assert_allclose(after.scatter, scatter / (weights.sum() if expanded else len(values)), rtol=1e-12)
    assert after.df == params.df


def test_the_two_forms_reach_one_maximum_and_the_expanded_is_quicker():
    values = far_rows(n=300, d=10, df=1.0, seed=11)
    source, passes, ends = ArraySource(values), {}, {}
    for expanded in (True, False):
        model = StudentT(10, df=1.0, expanded=expanded)
        start = model.initial_params(source, np.random.default_rng(0), "robust")
        run = climb(model, source, start, tol=1e-9, accelerate=False)
        passes[expanded], ends[expanded] = len(run.trace), run
    assert ends[True].loglik == pytest.approx(ends[False].loglik, abs=1e-7)
    assert 5 * passes[True] < passes[False], passes
    assert ends[True].stats.scale == pytest.approx(len(values), rel=1e-5), "the weights have a mean of 1 at the top"


def test_the_maximum_is_that_of_a_direct_search():
    result = fit(StudentT(1), ArraySource(MAIZE), tol=1e-11)

    def loss(x):
        return -dist.t.logpdf(MAIZE, math.exp(x[2]), x[0], math.exp(x[1])).sum()

    best = minimize(
        loss, [20.0, 3.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5000}
    )
    assert result.loglik == pytest.approx(-best.fun, abs=1e-9)
    assert result.params.location[0] == pytest.approx(best.x[0], abs=1e-4)
    assert result.params.df == pytest.approx(math.exp(best.x[2]), rel=1e-4)


def test_cauchy_of_the_maize():
    """The 30-digit reference of tests/reference/exact.json."""
    for expanded in (True, False):
        result = fit(StudentT(1, df=1.0, expanded=expanded), ArraySource(MAIZE), tol=1e-12)
        assert result.loglik == pytest.approx(-75.3436200725604743, rel=1e-12)
        assert result.params.location[0] == pytest.approx(24.970541803836186, abs=1e-4)
        assert result.params.scatter[0, 0] == pytest.approx(246.674308003356, abs=1e-2)


def test_best_df_and_growth_are_the_best_of_a_search():
    for mean_scale, mean_log in ((1.0, -0.3), (0.8, -0.6), (1.1, -2.0)):

        def q(log_df, u=mean_scale, log_u=mean_log):
            y = math.exp(log_df) / 2
            return y * math.log(y) - math.lgamma(y) + y * (log_u - u)

        best = minimize_scalar(lambda x, q=q: -q(x), bounds=(-6, 9), method="bounded", options={"xatol": 1e-10})
        assert best_df(mean_scale, mean_log, 1e-3, 1e4) == pytest.approx(math.exp(best.x), rel=1e-5)
    assert best_df(1.0, -1e-9, 1e-3, 1e4) == 1e4
    d, e, s, u, log_u = 3, 1 / 7, 0.4, 0.9, -0.7

    def both(x):
        g, df = x[0], math.exp(x[1])
        y, scaled, log_scaled = df / 2, u * math.exp(e * g), log_u + e * g
        normal = (e * d - 1) * g / 2 - d / 2 * math.exp(s / d + (e - 1 / d) * g)
        return -(normal + y * math.log(y) - math.lgamma(y) + y * (log_scaled - scaled))

    best = minimize(both, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 5000})
    growth, df = best_growth((u, log_u), s, e, d, (1e-3, 1e4))
    assert (growth, math.log(df)) == (pytest.approx(best.x[0], abs=1e-5), pytest.approx(best.x[1], abs=1e-5))
    assert best_growth((u, log_u), s, 0.0, d, (1e-3, 1e4))[0] == s


def test_normal_rows_have_many_degrees_of_freedom():
    values = dist.norm.ppf((np.arange(400) + 0.5) / 400)
    result = fit(StudentT(1), ArraySource(values), max_passes=3000)
    assert result.params.df > 100.0
    assert result.loglik == pytest.approx(dist.norm.logpdf(values, 0.0, values.std()).sum(), abs=0.05)
    assert result.params.df <= 1e4 * (1 + 1e-12)


def test_a_far_offset_costs_no_digits():
    values = np.round(far_rows(), 3)
    near, far = (fit(StudentT(2), ArraySource(values + shift), tol=1e-9) for shift in (0.0, 2.0**28))
    assert far.loglik == pytest.approx(near.loglik, abs=1e-5)


@pytest.mark.parametrize("df", [None, 1.0])
def test_statistics_of_two_places_add_without_a_change_of_q(df):
    model = StudentT(2, df=df)
    source, other = ArraySource(far_rows()), some_params(df=df or 6.0)
    start = model.initial_params(source, np.random.default_rng(0), "robust")
    one, two = total_stats(model, source, start), total_stats(model, source, other)
    for params in (start, other, model.m_step(one, start)):
        summed = model.expected_loglik(one, params) + model.expected_loglik(two, params)
        assert model.expected_loglik(one + two, params) == pytest.approx(summed, rel=1e-12)
        assert model.expected_loglik(two + one, params) == pytest.approx(summed, rel=1e-12)
    np.testing.assert_allclose((one + two).squares, 2 * one.squares, rtol=1e-12)


def test_a_cauchy_on_tied_points_is_degenerate_and_says_how_many():
    values = np.concatenate([np.full(7, 3.0), [1.0, 2.0, 5.5, 9.0]])
    ended = climb(StudentT(1, df=1.0), ArraySource(values), StudentTParams(np.array([3.1]), np.array([[1.0]]), 1.0))
    assert ended.status is Status.DEGENERATE
    assert "the scatter of column 1 has collapsed: its centre holds 7.0 points" in ended.reason
    sound = climb(StudentT(1, df=1.0), ArraySource(values[3:]), StudentTParams(np.array([3.1]), np.array([[1.0]]), 1.0))
    assert sound.status is Status.DEGENERATE or sound.params.scatter[0, 0] > 0.0


def test_collinear_columns_are_degenerate():
    line = np.linspace(-3.0, 4.0, 30)
    ended = climb(StudentT(2, df=2.0), ArraySource(np.column_stack([line, 2 * line])), some_params(df=2.0))
    assert ended.status is Status.DEGENERATE
    assert "points lie in fewer than 2 dimensions" in ended.reason


def test_hostile_tables_and_options():
    values = far_rows()
    cases = [
        (partial(fit, StudentT(3), ArraySource(values)), "2 columns; 3"),
        (partial(fit, StudentT(2), ArraySource(np.column_stack([values[:, 0], np.ones(80)]))), "column 2 is constant"),
        (partial(StudentT, 0), "at least one"),
        (partial(StudentT, 1, df=0.0), "0.001 to 10000"),
        (partial(StudentT, 1, df=math.nan), "0.001 to 10000"),
    ]
    values = values.copy()
    values[6, 1] = np.nan
    cases.append((partial(fit, StudentT(2), ArraySource(values)), "not a finite number"))
    cases.append((partial(total_stats, StudentT(2), ArraySource(values), some_params()), "row 7, column 2: nan"))
    clean = ArraySource(far_rows())
    cases.append((partial(StudentT(2).e_step, some_params(), clean.chunk(0), "hard"), "one of soft, sampled"))
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
    assert StudentT(2).e_step(some_params(), clean.chunk(0), Sampled((1,))).entropy == 0.0


def gappy_rows(n=120, d=4, seed=2, share=0.3):
    """Rows of a t with gaps, two of them without any value, and weights."""
    rng = np.random.default_rng(seed)
    values = far_rows(n, d, seed=seed)
    values[rng.random(values.shape) < share] = np.nan
    values[[5, 40]] = np.nan
    return values, rng.integers(0, 4, size=n).astype(float)


def some_params_of(d=4, df=2.5):
    rng = np.random.default_rng(9)
    mixing = rng.normal(size=(d, d))
    return StudentTParams(rng.normal(5.0, 0.5, d), mixing @ mixing.T + 0.3 * np.eye(d), df)


def observed_density(row, params):
    o = ~np.isnan(row)
    if not o.any():
        return 0.0
    return float(dist.multivariate_t(params.location[o], params.scatter[np.ix_(o, o)], df=params.df).logpdf(row[o]))


def test_log_likelihood_of_rows_with_gaps_is_that_of_scipy():
    (values, weights), params, model = gappy_rows(), some_params_of(), StudentT(4)
    densities = np.array([observed_density(row, params) for row in values])
    np.testing.assert_allclose(model.log_density(params, Readings(values)), densities, rtol=1e-12, atol=1e-13)
    stats = total_stats(model, IncompleteSource(values, weights, chunk_rows=37), params)
    assert stats.loglik == pytest.approx(float(weights @ densities), rel=1e-12)
    assert stats.n == weights.sum() - weights[[5, 40]].sum(), "rows without any value say nothing"


def test_moments_of_rows_with_gaps_equal_a_naive_rewrite():
    """The conditional covariance enters once a row: E[u x xᵀ] = E[u] x̂ x̂ᵀ + C (Liu & Rubin 1995)."""
    (values, weights), params = gappy_rows(), some_params_of()
    first, second, scale = np.zeros(4), np.zeros((4, 4)), 0.0
    for row, weight in zip(values, weights, strict=True):
        o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        if not o.size:
            continue
        inverse = np.linalg.inv(params.scatter[np.ix_(o, o)])
        away, slopes = row - params.location, params.scatter[np.ix_(m, o)] @ inverse
        u = (params.df + o.size) / (params.df + away[o] @ inverse @ away[o])
        away[m] = slopes @ away[o]
        left = np.zeros((4, 4))
        left[np.ix_(m, m)] = params.scatter[np.ix_(m, m)] - slopes @ params.scatter[np.ix_(o, m)]
        first += weight * u * away
        second += weight * (u * np.outer(away, away) + left)
        scale += weight * u
    stats = total_stats(StudentT(4), IncompleteSource(values, weights), params)
    np.testing.assert_allclose(stats.first, first, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(stats.second, second, rtol=1e-11, atol=1e-11)
    assert stats.scale == pytest.approx(scale, rel=1e-12)


def test_the_observed_block_gives_the_same_as_the_inverse(monkeypatch):
    """What is used where the scatter is nearly singular."""
    (values, weights), params, model = gappy_rows(), some_params_of(), StudentT(4)
    source = IncompleteSource(values, weights)
    quick = total_stats(model, source, params)
    monkeypatch.setattr(precision, "INFLATED", 0.0)
    slow = total_stats(model, source, params)
    for name in ("loglik", "entropy", "scale", "log_scale", "first", "second"):
        np.testing.assert_allclose(getattr(quick, name), getattr(slow, name), rtol=1e-11, atol=1e-10, err_msg=name)


def test_a_nearly_singular_scatter_keeps_the_identity():
    rng, d = np.random.default_rng(3), 5
    loadings = rng.normal(size=(2, d))
    values = rng.normal(size=(200, 2)) @ loadings + 1e-4 * rng.normal(size=(200, d)) + 3.0
    values[rng.random(values.shape) < 0.2] = np.nan
    params = StudentTParams(np.full(d, 3.0), loadings.T @ loadings + 1e-8 * np.eye(d), 5.0)
    stats = total_stats(StudentT(d), IncompleteSource(values), params)
    whole = StudentT(d).expected_loglik(stats, params) + stats.entropy
    assert stats.loglik == pytest.approx(whole, rel=1e-7)
    naive = 0.0
    for row in values[~np.isnan(values).all(axis=1)]:
        o = np.flatnonzero(~np.isnan(row))
        block, away, p = params.scatter[np.ix_(o, o)], row[o] - 3.0, o.size
        constant = math.lgamma((5.0 + p) / 2) - math.lgamma(2.5) - p / 2 * math.log(5.0 * math.pi)
        squared = away @ np.linalg.solve(block, away)
        naive += constant - np.linalg.slogdet(block)[1] / 2 - (5.0 + p) / 2 * math.log1p(squared / 5.0)
    assert stats.loglik == pytest.approx(naive, rel=1e-8)


def test_complete_rows_are_read_as_they_were():
    values, model, params = far_rows(), StudentT(2), some_params()
    source = model.source(Readings(values))
    assert isinstance(source, ArraySource)
    ordinary, sorted_rows = (total_stats(model, s, params) for s in (source, IncompleteSource(values)))
    for name in ("loglik", "entropy", "scale", "log_scale", "first", "second", "shift", "squares"):
        ours, theirs = getattr(sorted_rows, name), getattr(ordinary, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=name)


def test_conditional_distribution_by_simulation():
    """Draws have the conditional mean and sd; those of a row without any value, the covariance of a row."""
    values, params, model = gappy_rows(60)[0], some_params_of(df=6.0), StudentT(4)
    readings = Readings(values)
    filled, sd = model.conditional(params, readings)
    gaps = np.isnan(values)
    np.testing.assert_array_equal(filled[~gaps], values[~gaps])
    assert np.isnan(sd[~gaps]).all()
    assert (sd[gaps] > 0.0).all()
    draws = model.draw(params, Readings(np.tile(values, (4000, 1))), np.random.default_rng(1)).reshape(4000, 60, 4)
    np.testing.assert_array_equal(draws[:, ~gaps], np.broadcast_to(values[~gaps], (4000, (~gaps).sum())))
    off = (draws.mean(axis=0) - filled)[gaps] / (sd[gaps] / math.sqrt(4000))
    assert np.abs(off).max() < 4.5
    np.testing.assert_allclose(draws.std(axis=0)[gaps], sd[gaps], rtol=0.15)
    products = np.mean((draws[:, 40, :, None] - filled[40, :, None]) * (draws[:, 40, None] - filled[40]), axis=0)
    np.testing.assert_allclose(products, model.moments(params)[1], rtol=0.3, atol=0.4)


def test_conditional_variance_by_quadrature():
    """Two columns, one seen: the conditional density is the joint over the marginal."""
    params, model = some_params(df=2.5), StudentT(2)
    filled, sd = model.conditional(params, Readings(np.array([[7.0, np.nan]])))
    joint = dist.multivariate_t(params.location, params.scatter, df=params.df)
    marginal = dist.t.pdf(7.0, params.df, params.location[0], math.sqrt(params.scatter[0, 0]))

    def moment(power, centre):
        return quad(lambda y: (y - centre) ** power * joint.pdf([7.0, y]) / marginal, -np.inf, np.inf, limit=400)[0]

    mean = moment(1, 0.0)
    assert filled[0, 1] == pytest.approx(mean, rel=1e-6)
    assert sd[0, 1] == pytest.approx(math.sqrt(moment(2, mean)), rel=1e-3)


def test_moments_exist_only_where_they_do():
    model, empty = StudentT(2), Readings(np.full((1, 2), np.nan))
    for df, has_mean, has_variance in ((1.0, False, False), (2.0, True, False), (5.0, True, True)):
        params = some_params(df=df)
        mean, covariance = model.moments(params)
        assert np.isfinite(mean).all() == has_mean
        assert np.isfinite(covariance).all() == has_variance
        filled, sd = model.conditional(params, empty)
        np.testing.assert_array_equal(filled[0], params.location)
        assert np.isfinite(sd).all() == has_variance
        if has_variance:
            np.testing.assert_allclose(sd[0] ** 2, np.diagonal(covariance), rtol=1e-14)


def test_far_rows_hardly_move_what_is_filled_in():
    """A twentieth of the rows shifted by 12 sd: gaps of sound rows are filled as if they were not there, by t alone."""
    rng, d = np.random.default_rng(4), 6
    factor = rng.normal(size=(d, 2))
    truth = rng.normal(size=(400, 2)) @ factor.T + 0.5 * rng.normal(size=(400, d))
    values = truth.copy()
    values[:20] += 12.0 * rng.choice([-1.0, 1.0], size=(20, d))
    gaps = rng.random(values.shape) < 0.2
    gaps[:20] = False
    values[gaps] = np.nan
    errors = {}
    for name, df in (("t", None), ("normal", 1e4)):
        model = StudentT(d, df=df)
        found = fit(model, model.source(Readings(values)), tol=1e-6, certificate=False).params
        filled = model.conditional(found, Readings(values))[0]
        errors[name] = float(np.sqrt(np.mean((filled - truth)[gaps] ** 2)))
    assert errors["t"] < 0.85 * errors["normal"], errors


def test_hostile_tables_with_gaps():
    values = gappy_rows()[0]
    infinite, constant = values.copy(), values.copy()
    infinite[6, 1] = np.inf
    constant[:, 2] = np.where(np.isnan(constant[:, 2]), np.nan, 7.0)
    model, named = StudentT(4), StudentT(4, labels=("a", "b", "crp", "d"))
    cases = [
        (lambda: model.source(Readings(values[:, :3])), "3 columns; 4"),
        (lambda: model.source(Readings(infinite)), "row 7, column 2: .*infinite"),
        (lambda: model.conditional(some_params_of(), Readings(infinite)), "row 7, column 2: .*infinite"),
        (lambda: model.source(Readings(np.where(np.arange(4) == 1, np.nan, values))), "column 2 has no value"),
        (lambda: fit(named, named.source(Readings(constant))), "column 'crp' is constant"),
        (lambda: model.source(Readings(values), np.zeros(120)), "all are zero"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
