"""The multivariate normal with gaps against row-by-row densities, numerical integration and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import invwishart, multivariate_normal, norm

from emtools.engine.chunks import total_stats
from emtools.engine.spectrum import THREADED
from emtools.engine.starts import fit
from emtools.errors import FitError, InputError
from emtools.kernels.filling import fill_gaps, log_density_rows
from emtools.kernels.missing import expected_moments, fill_conditional, group_rows, log_density_observed
from emtools.kernels.patterns import FEW, WIDE, column_moments, column_sums, rows_by_pattern
from emtools.kernels.precision import INFLATED, MILD, expected_deviations, invert
from emtools.kernels.readings import Readings
from emtools.models import normal
from emtools.models.mixture import CovariancePrior
from emtools.models.normal import LARGEST_CHUNK, MultivariateNormal, NormalParams, PatternSource, cut_patterns

MEAN = np.array([1.0, -2.0, 0.5, 3.0])
COVARIANCE = np.array([[2.0, 0.8, 0.3, 0.1], [0.8, 1.0, 0.2, -0.4], [0.3, 0.2, 1.5, 0.5], [0.1, -0.4, 0.5, 2.5]])


def gappy(n=80, seed=3, share=0.3):
    rng = np.random.default_rng(seed)
    table = rng.multivariate_normal(MEAN, COVARIANCE, size=n)
    table[rng.random(table.shape) < share] = np.nan
    table[: n // 4] = rng.multivariate_normal(MEAN, COVARIANCE, size=n // 4)
    return table


def naive_loglik(table, mean, covariance, weights=None):
    total = 0.0
    for row, weight in zip(table, np.ones(len(table)) if weights is None else weights, strict=True):
        o = ~np.isnan(row)
        if o.any():
            total += weight * multivariate_normal.logpdf(row[o], mean[o], covariance[np.ix_(o, o)])
    return total


def test_likelihood_equals_scipy_row_by_row():
    table = gappy()
    table[7] = np.nan
    weights = np.random.default_rng(1).uniform(0.2, 3.0, size=len(table))
    params = NormalParams(MEAN + 0.3, COVARIANCE * 1.2)
    stats = total_stats(MultivariateNormal(4), PatternSource(table, weights), params)
    assert stats.loglik == pytest.approx(naive_loglik(table, params.mean, params.covariance, weights), rel=1e-13)
    assert stats.n == pytest.approx(weights.sum() - weights[7], rel=1e-14)


def test_moments_equal_a_naive_rewrite():
    table = gappy()
    params = NormalParams(MEAN + 0.3, COVARIANCE * 1.2)
    first, second, entropy = np.zeros(4), np.zeros((4, 4)), 0.0
    for row in table:
        o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        if not o.size:
            continue
        inverse = np.linalg.inv(params.covariance[np.ix_(o, o)])
        slope = params.covariance[np.ix_(m, o)] @ inverse
        full = row.copy()
        full[m] = params.mean[m] + slope @ (row[o] - params.mean[o])
        spread = params.covariance[np.ix_(m, m)] - slope @ params.covariance[np.ix_(o, m)]
        first += full
        second += np.outer(full, full)
        second[np.ix_(m, m)] += spread
        entropy += multivariate_normal(cov=spread).entropy() if m.size else 0.0
    stats = total_stats(MultivariateNormal(4), PatternSource(table), params).about(np.zeros(4))
    np.testing.assert_allclose(stats.first, first, rtol=1e-12)
    np.testing.assert_allclose(stats.second, second, rtol=1e-12)
    assert stats.entropy == pytest.approx(entropy, rel=1e-12)


def test_conditional_moments_equal_integration():
    model, params = MultivariateNormal(2), NormalParams(MEAN[:2], COVARIANCE[:2, :2])
    filled, sd = model.conditional(params, Readings(np.array([[np.nan, 0.5]])))

    def density(x, power):
        return x**power * multivariate_normal.pdf([x, 0.5], params.mean, params.covariance)

    total, first, second = (quad(density, -15, 25, args=(k,), epsabs=1e-13, epsrel=1e-12)[0] for k in range(3))
    assert filled[0, 0] == pytest.approx(first / total, rel=1e-8)
    assert sd[0, 0] == pytest.approx(np.sqrt(second / total - (first / total) ** 2), rel=1e-8)
    assert filled[0, 1] == 0.5
    assert np.isnan(sd[0, 1])


def test_conditional_covariance_belongs_to_the_standard_deviations():
    model, params = MultivariateNormal(4), NormalParams(MEAN, COVARIANCE)
    row = np.array([np.nan, -1.0, np.nan, 2.0])
    full = model.conditional_covariance(params, ~np.isnan(row))
    _, sd = model.conditional(params, Readings(row[None]))
    np.testing.assert_allclose(np.sqrt(np.diag(full))[[0, 2]], sd[0, [0, 2]], rtol=1e-14)
    assert full[0, 2] != 0.0
    assert not full[[1, 3]].any()
    np.testing.assert_array_equal(model.conditional_covariance(params, np.zeros(4, dtype=bool)), COVARIANCE)


def test_rows_without_values_are_left_out_and_filled_with_the_mean():
    table = gappy()
    with_empty = np.vstack([table, np.full((2, 4), np.nan)])
    source = PatternSource(with_empty)
    assert source.n_empty == np.isnan(table).all(axis=1).sum() + 2
    one = fit(MultivariateNormal(4), PatternSource(table))
    two = fit(MultivariateNormal(4), source)
    assert two.loglik == pytest.approx(one.loglik, rel=1e-14)
    filled, sd = two.model.conditional(two.params, Readings(with_empty))
    np.testing.assert_array_equal(filled[-1], two.params.mean)
    np.testing.assert_array_equal(sd[-1], np.sqrt(np.diag(two.params.covariance)))


def test_complete_rows_give_the_sample_moments():
    table = np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, size=50)
    best = fit(MultivariateNormal(4), PatternSource(table))
    np.testing.assert_allclose(best.params.mean, table.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(best.params.covariance, np.cov(table.T, bias=True), rtol=1e-12)


def test_a_monotone_pattern_has_a_closed_form():
    """Anderson (1957): with one column cut short the MLE is a regression on the complete rows."""
    table = np.random.default_rng(0).multivariate_normal(MEAN[:2], COVARIANCE[:2, :2], size=60)
    table[40:, 1] = np.nan
    best = fit(MultivariateNormal(2), PatternSource(table), tol=1e-12, parameter_tol=1e-12)
    x, y = table[:, 0], table[:40, 1]
    slope = np.cov(x[:40], y, bias=True)[0, 1] / x[:40].var()
    residual = (y - y.mean() - slope * (x[:40] - x[:40].mean())).var()
    assert best.params.mean[1] == pytest.approx(y.mean() + slope * (x.mean() - x[:40].mean()), rel=1e-10)
    assert best.params.covariance[1, 1] == pytest.approx(residual + slope**2 * x.var(), rel=1e-10)
    assert best.params.covariance[0, 1] == pytest.approx(slope * x.var(), rel=1e-10)


def test_trace_is_monotone_and_weights_are_replication():
    table = gappy(40)
    counts = np.random.default_rng(2).integers(0, 4, size=40)
    model = MultivariateNormal(4)
    weighted = fit(model, PatternSource(table, counts.astype(float)), tol=1e-12, parameter_tol=1e-10)
    repeated = fit(model, PatternSource(np.repeat(table, counts, axis=0)), tol=1e-12, parameter_tol=1e-10)
    assert weighted.loglik == pytest.approx(repeated.loglik, rel=1e-12)
    np.testing.assert_allclose(weighted.params.covariance, repeated.params.covariance, rtol=1e-7)
    objectives = [row.objective for row in weighted.trace]
    assert len(objectives) > 5
    assert min(np.diff(objectives)) > -1e-11


@pytest.mark.parametrize("power", [8, -8])
def test_an_offset_or_another_unit_changes_nothing(power):
    """Values on a grid of 2^-10 stay exact under a shift of 10^8 SD."""
    table = np.round(gappy() * 1024) / 1024
    plain = fit(MultivariateNormal(4), PatternSource(table), tol=1e-10)
    if power > 0:
        moved = fit(MultivariateNormal(4), PatternSource(table + 10.0**power), tol=1e-10)
        assert moved.loglik == pytest.approx(plain.loglik, rel=1e-11)
        np.testing.assert_allclose(moved.params.covariance, plain.params.covariance, rtol=1e-6)
    else:
        moved = fit(MultivariateNormal(4), PatternSource(table * 10.0**power), tol=1e-10)
        n_cells = (~np.isnan(table)).sum()
        assert moved.loglik + n_cells * power * np.log(10) == pytest.approx(plain.loglik, rel=1e-11)


def test_random_starts_reach_the_same_top():
    best = fit(MultivariateNormal(4), PatternSource(gappy(200)), starts=4, strategy="random", tol=1e-9)
    assert [s.optimum for s in best.starts] == [1, 1, 1, 1]


def test_filling_in_means_shrinks_the_variances():
    """Hard assignment, the classic mistake, is there to be compared with."""
    rng = np.random.default_rng(5)
    table = rng.multivariate_normal(np.zeros(3), np.eye(3) + 0.2, size=400)
    table[rng.random(table.shape) < 0.3] = np.nan
    model, source = MultivariateNormal(3), PatternSource(table)
    right, wrong = (fit(model, source, assign=assign) for assign in ("soft", "hard"))
    assert (np.diag(wrong.params.covariance) < 0.9 * np.diag(right.params.covariance)).all()


def test_prior_is_the_inverse_wishart_density():
    prior = CovariancePrior(7.0, np.diag([1.0, 2.0, 3.0, 4.0]))
    model = MultivariateNormal(4, prior=prior)
    one, two = NormalParams(MEAN, COVARIANCE), NormalParams(MEAN, COVARIANCE + np.eye(4))
    theirs = invwishart(7.0, prior.scale)
    ours = model.log_prior(one) - model.log_prior(two)
    assert ours == pytest.approx(theirs.logpdf(one.covariance) - theirs.logpdf(two.covariance), rel=1e-12)


def test_prior_holds_where_rows_are_fewer_than_columns():
    table = gappy(80)[:4]
    with pytest.raises(FitError, match=r"has no maximum|no variance"):
        fit(MultivariateNormal(4), PatternSource(table))
    kept = fit(MultivariateNormal(4, prior=CovariancePrior(8.0, np.eye(4))), PatternSource(table))
    assert kept.converged
    assert np.linalg.eigvalsh(kept.params.covariance).min() > 0.01


def test_dependent_columns_are_named():
    table = gappy()
    table = np.column_stack([table, table[:, 0] - table[:, 2]])
    model = MultivariateNormal(5, labels=("a", "b", "c", "d", "e"))
    with pytest.raises(FitError, match="a linear combination of a, c, e does not vary"):
        fit(model, PatternSource(table))


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        (np.zeros((0, 2)), None, "at least one row"),
        (np.array([[1.0, np.inf], [2.0, 3.0]]), None, "row 0, column 1 is infinite"),
        (np.array([[1.0, np.nan], [2.0, np.nan]]), None, "column 1 has no value"),
        (np.array([[1.0, 2.0], [2.0, 3.0]]), np.array([1.0, -1.0]), "finite values >= 0"),
        (np.array([[1.0, 2.0], [2.0, 3.0]]), np.zeros(2), "all are zero"),
    ],
)
def test_bad_data_are_refused(values, weights, message):
    with pytest.raises(InputError, match=message):
        PatternSource(values, weights)


def test_a_ridge_goes_to_maximum_likelihood_with_its_rows():
    """At λ - d - 1 degrees and scale λ V the mode is (scatter + λ V) / (n + λ), also where no density has the prior."""
    table, spread = gappy(), np.diag([2.0, 1.0, 1.5, 2.5])
    exact = {"tol": 1e-13, "parameter_tol": 1e-11}
    plain = fit(MultivariateNormal(4), PatternSource(table), **exact).params.covariance
    moved = []
    for rows in (1e-2, 1e-4, 1e-6):
        prior = CovariancePrior(rows - 5.0, rows * spread)
        moved.append(fit(MultivariateNormal(4, prior=prior), PatternSource(table), **exact).params.covariance - plain)
    np.testing.assert_allclose(moved[1] / 1e-4, moved[0] / 1e-2, rtol=2e-3)
    assert np.abs(moved[2]).max() < 1e-6
    full = np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, size=30)
    best = fit(MultivariateNormal(4, prior=CovariancePrior(0.5 - 5.0, 0.5 * spread)), PatternSource(full), **exact)
    wanted = (30 * np.cov(full.T, bias=True) + 0.5 * spread) / 30.5
    np.testing.assert_allclose(best.params.covariance, wanted, rtol=1e-10)


def test_bad_priors_are_refused():
    with pytest.raises(InputError, match="positive definite scale"):
        MultivariateNormal(2, prior=CovariancePrior(5.0, -np.eye(2)))
    with pytest.raises(InputError, match="more than -3 degrees"):
        MultivariateNormal(2, prior=CovariancePrior(-3.0, np.eye(2)))


def test_patterns_are_grouped_and_cut_by_the_data_alone():
    observed = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], dtype=bool)
    assert [rows.tolist() for rows in group_rows(observed)] == [[0, 3], [1]]
    assert cut_patterns(np.arange(6), 2, 2) == [0, 2, 4, 5]
    assert cut_patterns(np.array([0, 2**19, 2**19 + 1, 2**20]), 1) == [0, 1, 3]
    assert cut_patterns(np.array([0, 5]), 3) == [0, 1]
    assert np.diff(cut_patterns(np.arange(100_001), 50)).max() == LARGEST_CHUNK // 50
    wide = np.random.default_rng(0).random((500, 70)) < 0.5
    assert sum(len(rows) for rows in group_rows(wide)) == 500


def test_coverage_of_conditional_intervals_is_nominal():
    """A negative control for the conditional covariance: 95 % of masked values lie within 1.96 SD."""
    rng = np.random.default_rng(8)
    full = rng.multivariate_normal(MEAN, COVARIANCE, size=2000)
    table = np.where(rng.random(full.shape) < 0.25, np.nan, full)
    best = fit(MultivariateNormal(4), PatternSource(table))
    filled, sd = best.model.conditional(best.params, Readings(table))
    gap = np.isnan(table)
    inside = np.abs(full - filled)[gap] < norm.ppf(0.975) * sd[gap]
    assert inside.mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("strategy", MultivariateNormal.strategies)
@pytest.mark.parametrize("n_features", [3, 5])
def test_a_table_of_another_width_is_refused(n_features, strategy):
    source, model = PatternSource(gappy()), MultivariateNormal(n_features)
    with pytest.raises(InputError, match=f"4 columns; {n_features}"):
        fit(model, source, strategy=strategy)
    with pytest.raises(InputError, match=f"4 columns; {n_features}"):
        fit(model, source, init=[NormalParams(np.zeros(n_features), np.eye(n_features))])


def test_a_normal_without_columns_is_refused():
    with pytest.raises(InputError, match="0 features"):
        MultivariateNormal(0)


def oracle(table, mean, covariance, weights=None, mode_only=False):
    """The same as `expected_deviations`, from the observed block of the covariance."""
    source = PatternSource(table, weights)
    centre = mean - source.origin
    loglik, entropy, first, second = expected_moments(source.patterns, centre, covariance, mode_only)
    n = sum(pattern.weight for pattern in source.patterns)
    cross = np.outer(first, centre)
    return loglik, entropy, first - n * centre, second - cross - cross.T + n * np.outer(centre, centre)


def correlated(n, d, share, seed=0, patterns=None):
    """Rows with gaps of their own, or with one of a number of patterns."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * rng.normal(size=(n, d))
    holes = rng.random((patterns or n, d)) < share
    holes[holes.all(axis=1), 0] = False
    holes[0] = False
    table[holes[np.arange(n) % patterns] if patterns else holes] = np.nan
    mixing = rng.normal(size=(d, d))
    return table + 5.0, 5.0 + 0.3 * rng.normal(size=d), mixing @ mixing.T / d + 0.3 * np.eye(d)


@pytest.mark.parametrize("mode_only", [False, True])
@pytest.mark.parametrize(
    ("n", "d", "share", "patterns"),
    [(101, 6, 0.3, None), (60, 30, 0.6, None), (400, 7, 0.3, 12), (3, 5, 0.4, None), (30, WIDE + 40, 0.8, None)],
)
def test_the_block_of_the_precision_gives_what_the_block_of_the_covariance_gives(n, d, share, patterns, mode_only):
    """Rows one by one in all widths of a batch, patterns with many rows, rows that stand for a scatter, many gaps."""
    table, mean, covariance = correlated(n, d, share, patterns=patterns)
    weights = np.random.default_rng(1).uniform(0.2, 3.0, size=n)
    weights[0] = weights[0] if n < 10 else 0.0
    wanted = oracle(table, mean, covariance, weights, mode_only)
    size = np.sqrt(np.diagonal(wanted[3]))
    for reduce in (False, True):
        rows, _ = rows_by_pattern(table, weights, mean, reduce)
        assert (rows.wide.size > 0) == (d > WIDE)
        assert reduce or (rows.together.size > 0) == (patterns is not None)
        got = expected_deviations(rows, np.zeros(d), invert(covariance), mode_only)
        assert got[0] == pytest.approx(wanted[0], rel=1e-13)
        assert got[1] == pytest.approx(wanted[1], rel=1e-12, abs=1e-11)
        np.testing.assert_allclose(got[2] / size, wanted[2] / size, rtol=0, atol=1e-12)
        np.testing.assert_allclose(got[3] / np.outer(size, size), wanted[3] / np.outer(size, size), rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [6, WIDE + 40])
def test_densities_of_rows_need_no_conditional_covariance(d):
    table, mean, covariance = correlated(30, d, 0.8)
    table[3, 1] = 0.0
    np.testing.assert_allclose(
        log_density_rows(table, mean, covariance), log_density_observed(table, mean, covariance), rtol=1e-11
    )


@pytest.mark.parametrize("pseudo_rows", [0.0, 4.0])
def test_the_objective_of_packed_parameters_is_that_of_the_parameters(pseudo_rows):
    table, mean, covariance = correlated(60, 5, 0.3)
    prior = CovariancePrior(pseudo_rows - 6.0, pseudo_rows * (np.eye(5) + 0.4)) if pseudo_rows else None
    model, source = MultivariateNormal(5, prior), PatternSource(table)
    stats = total_stats(model, source, NormalParams(mean, covariance))
    objective, packed = model.packed_objective(stats), model.pack(NormalParams(mean, covariance))
    for shift in (0.0, 0.3, -0.2):
        at = model.unpack(packed + shift)
        wanted = model.expected_loglik(stats, at) + model.log_prior(at)
        assert objective(packed + shift) == pytest.approx(wanted, rel=1e-13)
    few = PatternSource(np.random.default_rng(0).normal(size=(3, 5)))
    scatter = total_stats(MultivariateNormal(5), few, NormalParams(mean, covariance))
    assert (model.packed_objective(scatter) is None) == (prior is None)


def test_threads_share_the_look_around_the_end_and_change_no_bit():
    table, _, _ = correlated(300, 64, 0.1)
    model, source = MultivariateNormal(64), PatternSource(table)
    one, two = (fit(model, source, threads=threads, certificate=False) for threads in (1, 2))
    assert model.pack(one.params).size >= THREADED
    assert any(row.kind == "look" for row in one.trace)
    assert (one.gap, one.rate) == (two.gap, two.rate)
    assert one.params.covariance.tobytes() == two.params.covariance.tobytes()


def test_a_strong_prior_rules_out_a_degenerate_end_as_the_covariance_does():
    """What the prior tells without a factor is what the factor tells; a prior of next to no weight tells nothing."""
    rows = np.random.default_rng(3).normal(size=(20, 1)) @ np.ones((1, 3))
    source = PatternSource(rows)
    for pseudo_rows, named in ((1e-12, True), (1.0, False)):
        model = MultivariateNormal(3, CovariancePrior(pseudo_rows - 4.0, pseudo_rows * np.eye(3)))
        assert model.prior_bound == normal.BOUND
        start = model.initial_params(source, np.random.default_rng(0), "moments")
        assert (model.degenerate(total_stats(model, source, start), start) is not None) == named


def test_columns_are_summed_row_by_row_as_by_numpy():
    table, mean, _ = correlated(200, 5, 0.4)
    table[7] = np.nan
    weights = np.random.default_rng(1).uniform(0.0, 2.0, size=200)
    seen = ~np.isnan(table)
    weight, total, empty = column_sums(table, weights)
    np.testing.assert_allclose(weight, weights @ seen, rtol=1e-13)
    np.testing.assert_allclose(total, weights @ np.where(seen, table, 0.0), rtol=1e-12)
    assert empty == (~seen.any(axis=1)).sum() > 0
    average = total / weight
    for reduce in (False, True):
        rows, _ = rows_by_pattern(table, weights, mean, reduce)
        found, centre, scatter = column_moments(rows)
        np.testing.assert_allclose(found, weight, rtol=1e-12)
        np.testing.assert_allclose(mean + centre, average, rtol=1e-12)
        away = np.where(seen, table - average, 0.0)
        np.testing.assert_allclose(scatter, weights @ away**2, rtol=1e-11)


def test_many_rows_of_a_pattern_become_few():
    table, mean, covariance = correlated(5000, 4, 0.3, patterns=6)
    source = PatternSource(table)
    assert source.n_units == 5000 - source.n_empty
    assert sum(len(chunk.rows.values) for chunk in source.chunks) <= 6 * 5
    far = rows_by_pattern(table, np.ones(5000), mean)[0]
    params = NormalParams(mean, covariance)
    ours = total_stats(MultivariateNormal(4), source, params)
    loglik, _, first, second = expected_deviations(far, np.zeros(4), invert(covariance), False)
    assert ours.loglik == pytest.approx(loglik, rel=1e-13)
    np.testing.assert_allclose(ours.first, first, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(ours.second, second, rtol=1e-11)
    assert FEW < 5000 / 6


@pytest.mark.parametrize("apart", [1e-1, 1e-3, 1e-6, 1e-8, 1e-10])
def test_a_nearly_singular_covariance_falls_back_where_blocks_of_the_precision_lose_digits(apart):
    """Criterion: a variance inflation beyond 1e8. Both ways lose digits in its proportion, and agree to that."""
    rng = np.random.default_rng(4)
    full = rng.multivariate_normal(MEAN, COVARIANCE, size=70)
    full = np.column_stack([full, full[:, 0] - full[:, 1] + np.sqrt(apart) * rng.normal(size=70)])
    mean, covariance = full.mean(axis=0), np.cov(full.T, bias=True)
    table = np.where(rng.random(full.shape) < 0.3, np.nan, full)
    precision = invert(covariance)
    assert precision.inflation == pytest.approx(1.0 / apart, rel=9.0)
    assert precision.usable == (precision.inflation <= INFLATED) == (apart > 5e-8)
    loglik, _, _, second = oracle(table, mean, covariance)
    stats = total_stats(MultivariateNormal(5), PatternSource(table), NormalParams(mean, covariance)).about(mean)
    noise = 1e-15 * max(precision.inflation, 10.0)
    assert stats.loglik == pytest.approx(loglik, rel=noise)
    np.testing.assert_allclose(stats.second, second, rtol=0, atol=100 * noise * second.max())
    whitened = -0.5 * (precision.whitener @ second @ precision.whitener.T).trace()
    assert -0.5 * precision.trace_with(second) == pytest.approx(whitened, rel=10 * noise)
    assert MILD < INFLATED


def test_filling_and_density_equal_those_of_the_covariance():
    table, mean, covariance = correlated(300, 9, 0.4, seed=2)
    table[5] = np.nan
    noise = np.random.default_rng(0).standard_normal(table.shape)
    for given in (None, noise):
        filled, sd = fill_gaps(table, mean, covariance, given)
        wanted, theirs = fill_conditional(table, mean, covariance)
        np.testing.assert_allclose(sd, theirs, rtol=1e-12)
        if given is None:
            np.testing.assert_allclose(filled, wanted, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(filled[~np.isnan(table)], table[~np.isnan(table)])
    ours, theirs = log_density_rows(table, mean, covariance), log_density_observed(table, mean, covariance)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    assert ours[5] == 0.0


@pytest.mark.parametrize("apart", [1.0, 1e-12])
@pytest.mark.parametrize("pattern", [[True, False, True, False, False], [False] * 5])
def test_draws_have_the_conditional_mean_and_covariance(apart, pattern):
    """On both ways; with a column that the others nearly give, the draws keep to that."""
    full = np.random.default_rng(4).multivariate_normal(MEAN, COVARIANCE, size=70)
    dependent = full[:, 0] - full[:, 1] + np.sqrt(apart) * np.random.default_rng(5).normal(size=70)
    full = np.column_stack([full, dependent])
    params, model = NormalParams(full.mean(axis=0), np.cov(full.T, bias=True)), MultivariateNormal(5)
    readings = Readings(np.tile(np.where(pattern, full[0], np.nan), (20_000, 1)))
    drawn = model.draw(params, readings, np.random.default_rng(1))
    mean, sd = model.conditional(params, readings.take(slice(1)))
    gaps = ~np.array(pattern)
    np.testing.assert_array_equal(drawn[:, ~gaps], readings.values[:, ~gaps])
    np.testing.assert_allclose(drawn.mean(axis=0)[gaps], mean[0, gaps], rtol=0, atol=0.05)
    covariance = model.conditional_covariance(params, np.array(pattern))[np.ix_(gaps, gaps)]
    np.testing.assert_allclose(np.cov(drawn[:, gaps].T), covariance, rtol=0, atol=0.12)
    np.testing.assert_allclose(sd[0, gaps], np.sqrt(np.diagonal(covariance)), rtol=1e-6)
    again = model.draw(params, readings, np.random.default_rng(1))
    np.testing.assert_array_equal(again, drawn)


def test_rows_that_stay_in_a_file_give_the_same_fit(tmp_path):
    from emtools.io.rows import rows_source

    table, _, _ = correlated(900, 5, 0.25, seed=3)
    table[7] = np.nan
    np.save(tmp_path / "rows.npy", table)
    streamed = rows_source(tmp_path / "rows.npy", missing=True, chunk_rows=100)
    assert streamed.n_chunks == 9
    model = MultivariateNormal(5)
    for strategy in model.strategies:
        one, two = (
            model.initial_params(source, np.random.default_rng(0), strategy)
            for source in (streamed, PatternSource(table))
        )
        np.testing.assert_allclose(one.mean, two.mean, rtol=1e-12)
        np.testing.assert_allclose(one.covariance, two.covariance, rtol=1e-11)
    from_file, in_memory = (fit(model, source, tol=1e-10) for source in (streamed, PatternSource(table)))
    assert from_file.loglik == pytest.approx(in_memory.loglik, rel=1e-13)
    np.testing.assert_allclose(from_file.params.covariance, in_memory.params.covariance, rtol=1e-6)
    threaded = fit(model, streamed, tol=1e-10, threads=3)
    np.testing.assert_array_equal(threaded.params.covariance, from_file.params.covariance)
    np.save(tmp_path / "rows.npy", np.where(np.arange(5) == 2, np.nan, table))
    with pytest.raises(InputError, match="column 2 has no value"):
        fit(model, rows_source(tmp_path / "rows.npy", missing=True))


def test_threads_and_the_offer_to_fill_tables():
    table, _, _ = correlated(3000, 8, 0.3, seed=5)
    model = MultivariateNormal(8)
    source = model.source(Readings(table))
    assert source.n_chunks > 1
    assert not model.takes_bounds
    one, two = (fit(model, source, threads=threads, tol=1e-8) for threads in (1, 2))
    np.testing.assert_array_equal(one.params.covariance, two.params.covariance)
    assert one.loglik == two.loglik
    assert model.log_density(one.params, Readings(table)).sum() == pytest.approx(one.loglik, rel=1e-12)
    np.testing.assert_array_equal(model.moments(one.params)[1], one.params.covariance)
