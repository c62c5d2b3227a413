"""Hidden Markov models of numbers: every path enumerated, gaps integrated, far-out values, hostile input."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats as law

from emtools.engine.chunks import ArraySource, total_stats
from emtools.engine.protocol import Annealed
from emtools.engine.series import Series, SeriesSource
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.errors import FitError, InputError
from emtools.kernels.chain import best_states, drawn_states, expected_states
from emtools.kernels.markov import POSSIBLE, expected_counts
from emtools.models.covariance_prior import data_prior
from emtools.models.gaussian_hmm import GaussianHMM, GaussianHMMParams
from emtools.models.negative_binomial import NegativeBinomialMixture
from emtools.models.negative_binomial_hmm import NegativeBinomialHMM, NegativeBinomialHMMParams
from emtools.models.poisson_hmm import PoissonHMM, PoissonHMMParams

START = np.array([0.6, 0.4, 0.0])
TRANSITION = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.3, 0.3, 0.4]])
MEANS = np.array([[0.0, 1.0], [2.0, -1.0], [4.0, 3.0]])
COVARIANCES = np.array([[[1.0, 0.3], [0.3, 2.0]], [[3.0, -0.5], [-0.5, 1.0]], [[0.5, 0.1], [0.1, 0.8]]])
GAPPY = np.array([[0.2, 1.4], [np.nan, -0.7], [np.nan, np.nan], [3.6, np.nan], [4.2, 2.5]])


def enumerate_paths(log_emission, start, transition):
    """Joint log-probability of every path, and the paths."""
    n, k = log_emission.shape
    paths = np.array(list(product(range(k), repeat=n)))
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(start), np.log(transition)
    joint = log_start[paths[:, 0]] + log_emission[np.arange(n), paths].sum(axis=1)
    joint = joint + log_transition[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    return joint, paths


def check_by_enumeration(log_emission, start, transition):
    joint, paths = enumerate_paths(log_emission, start, transition)
    top = joint.max()
    loglik = top + math.log(np.exp(joint - top).sum())
    share = np.exp(joint - top) / np.exp(joint - top).sum()
    n, k = log_emission.shape
    offsets = np.array([0, n])
    posterior, n_start, n_transition, value, entropy, series, position = expected_states(
        log_emission, offsets, np.array([2.0]), start, transition
    )
    assert (series, position) == (POSSIBLE, POSSIBLE)
    assert value == pytest.approx(2.0 * loglik, rel=1e-12)
    live = share > 0.0
    assert entropy == pytest.approx(2.0 * -(share[live] * np.log(share[live])).sum(), rel=1e-10, abs=1e-12)
    expected = np.array([[share[paths[:, t] == j].sum() for j in range(k)] for t in range(n)])
    np.testing.assert_allclose(posterior, expected, rtol=1e-11, atol=1e-13)
    steps = np.zeros((k, k))
    for t in range(n - 1):
        np.add.at(steps, (paths[:, t], paths[:, t + 1]), share)
    np.testing.assert_allclose(n_transition, 2.0 * steps, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(n_start, 2.0 * expected[0], rtol=1e-11, atol=1e-13)
    path, _, _, best, _, _ = best_states(log_emission, offsets, np.array([1.0]), start, transition)
    assert best == pytest.approx(joint.max(), rel=1e-12)
    assert joint[(paths == path).all(axis=1)][0] == pytest.approx(joint.max(), rel=1e-12)


def test_all_paths_of_a_short_series():
    rng = np.random.default_rng(1)
    check_by_enumeration(rng.normal(scale=3.0, size=(6, 3)), START, TRANSITION)


def test_a_row_of_zeros_is_summed_out():
    rng = np.random.default_rng(2)
    table = rng.normal(size=(5, 3))
    table[2] = 0.0
    check_by_enumeration(table, START, TRANSITION)


def test_far_out_values_lose_no_path():
    """State 3 is 3,000 nats behind at first and the only one left later: a scaled recursion would have dropped it."""
    table = np.array([[0.0, 0.0, 0.0], [-1.0, -2.0, -3000.0], [-5000.0, -5000.0, -1.0], [-9e5, -8e5, -7e5]])
    check_by_enumeration(table, np.array([0.5, 0.3, 0.2]), np.diag([0.6, 0.4, 1.0]) + np.diag([0.4, 0.6], 1))
    apart = np.diag([1.0, 1.0, 1.0])
    check_by_enumeration(table, np.array([0.5, 0.3, 0.2]), apart)


def test_letters_agree_with_their_own_kernel():
    rng = np.random.default_rng(3)
    emission = rng.dirichlet(np.ones(4), size=3)
    codes = rng.integers(4, size=500).astype(np.uint8)
    offsets, weights = np.array([0, 120, 121, 500]), np.array([1.0, 2.0, 0.5])
    table = np.concatenate([emission, np.ones((3, 1))], axis=1)
    old = expected_counts(codes, offsets, weights, START, TRANSITION, table)
    new = expected_states(np.log(emission[:, codes].T), offsets, weights, START, TRANSITION)
    np.testing.assert_allclose(new[1], old[0], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(new[2], old[1], rtol=1e-11, atol=1e-13)
    assert new[3] == pytest.approx(old[3], rel=1e-13)
    assert new[4] == pytest.approx(old[4], rel=1e-11)


def test_an_impossible_series_is_named():
    model = PoissonHMM(2)
    params = PoissonHMMParams(np.array([1.0, 0.0]), np.eye(2), np.array([[0.0], [5.0]]))
    source = SeriesSource([np.array([0.0]), np.array([0.0, 0.0, 3.0])])
    with pytest.raises(InputError, match="series 2, position 3"):
        total_stats(model, source, params)
    with pytest.raises(InputError, match="position 1"):
        model.viterbi(params, np.array([2.0]))


def marginal_loglik(values, params):
    """Enumeration with the density of what was observed in each row, by scipy."""
    table = np.zeros((len(values), 3))
    for t, row in enumerate(values):
        seen = ~np.isnan(row)
        for k in range(3):
            if seen.any():
                table[t, k] = law.multivariate_normal(
                    params.means[k][seen], params.covariances[k][np.ix_(seen, seen)]
                ).logpdf(row[seen])
    joint, _ = enumerate_paths(table, params.start, params.transition)
    return float(np.logaddexp.reduce(joint))


def test_gaps_of_a_gaussian_series_are_integrated_out():
    params = GaussianHMMParams(START, TRANSITION, MEANS, COVARIANCES)
    model = GaussianHMM(3, 2)
    stats = total_stats(model, SeriesSource([GAPPY]), params)
    assert stats.loglik == pytest.approx(marginal_loglik(GAPPY, params), rel=1e-12)
    assert stats.loglik == pytest.approx(model.expected_loglik(stats, params) + stats.entropy, rel=1e-12)
    assert stats.counts.sum() == pytest.approx(4.0, rel=1e-12)


def test_gaps_of_counts_are_summed_out():
    params = PoissonHMMParams(START, TRANSITION, np.array([[1.0, 4.0], [3.0, 0.5], [9.0, 9.0]]))
    values = np.array([[0.0, 3.0], [np.nan, 1.0], [np.nan, np.nan], [7.0, np.nan]])
    with np.errstate(invalid="ignore"):
        table = np.stack(
            [np.nansum(law.poisson(rates).logpmf(values) * (values == values), axis=1) for rates in params.rates],
            axis=1,
        )
    joint, _ = enumerate_paths(table, START, TRANSITION)
    stats = total_stats(PoissonHMM(3, 2), SeriesSource([values]), params)
    assert stats.loglik == pytest.approx(float(np.logaddexp.reduce(joint)), rel=1e-12)


def test_gaps_of_spread_counts_are_summed_out():
    """Every path with scipy's negative binomials, of which one is a Poisson."""
    means, dispersions = np.array([[1.0, 4.0], [3.0, 0.5], [9.0, 9.0]]), np.array([[0.5, 2.0], [0.0, 0.3], [1.0, 0.1]])
    values = np.array([[0.0, 3.0], [np.nan, 1.0], [np.nan, np.nan], [7.0, np.nan]])
    table = np.zeros((4, 3))
    for t, k, j in product(range(4), range(3), range(2)):
        if not np.isnan(values[t, j]):
            m, a = means[k, j], dispersions[k, j]
            counts = law.nbinom(1.0 / a, 1.0 / (1.0 + a * m)) if a else law.poisson(m)
            table[t, k] += counts.logpmf(values[t, j])
    joint, paths = enumerate_paths(table, START, TRANSITION)
    params, model = NegativeBinomialHMMParams(START, TRANSITION, means, dispersions), NegativeBinomialHMM(3, 2)
    stats = total_stats(model, SeriesSource([values]), params)
    assert stats.loglik == pytest.approx(float(np.logaddexp.reduce(joint)), rel=1e-12)
    assert stats.loglik == pytest.approx(model.expected_loglik(stats, params) + stats.entropy, rel=1e-12)
    share = np.exp(joint - np.logaddexp.reduce(joint))
    for j, (counts, held) in enumerate(zip(stats.histogram.values, stats.histogram.weights, strict=True)):
        for x, k in product(counts.tolist(), range(3)):
            rows = np.flatnonzero(values[:, j] == x)
            expected = sum(share[paths[:, t] == k].sum() for t in rows)
            assert held[counts == x, k] == pytest.approx([expected], rel=1e-11)


def test_spread_counts_of_one_state_are_the_negative_binomial_distribution():
    rng = np.random.default_rng(6)
    values = rng.negative_binomial(2.0, 0.2, size=(300, 1)).astype(float)
    chain = fit(NegativeBinomialHMM(1), SeriesSource([values[:100], values[100:]]), starts=1)
    alone = fit(NegativeBinomialMixture(1), ArraySource(values), starts=1)
    assert chain.loglik == pytest.approx(alone.loglik, rel=1e-12)
    assert chain.params.dispersions == pytest.approx(alone.params.dispersions, rel=1e-8)


def test_states_of_spread_counts_are_recovered():
    rng = np.random.default_rng(7)
    state = np.repeat(rng.integers(2, size=60), 50)
    values = rng.negative_binomial(np.array([4.0, 2.0])[state], np.array([0.5, 0.1])[state]).astype(float)
    fitted = fit(NegativeBinomialHMM(2), SeriesSource([values]), starts=3)
    errors = fitted.certificate.standard_errors
    assert np.all(np.abs(fitted.params.means[:, 0] - [4.0, 18.0]) < 3.0 * errors["means"][:, 0])
    assert np.all(np.abs(fitted.params.dispersions[:, 0] - [0.25, 0.5]) < 3.0 * errors["dispersions"][:, 0])
    assert (fitted.model.viterbi(fitted.params, values) == state).mean() > 0.98


@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "spherical"])
def test_one_state_is_the_normal_distribution(family):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(40, 2)) @ [[2.0, 0.5], [0.0, 1.0]] + 100.0
    result = fit(GaussianHMM(1, 2, family), SeriesSource([values[:15], values[15:]]))
    covariance = np.cov(values.T, bias=True)
    expected = {
        "full": covariance[None],
        "tied": covariance,
        "diagonal": np.diagonal(covariance)[None],
        "spherical": np.array([np.trace(covariance) / 2]),
    }
    np.testing.assert_allclose(result.params.means[0], values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.params.covariances, expected[family], rtol=1e-9)


def test_a_state_on_equal_values_is_degenerate_and_named():
    """Three equal values far from the rest: a state without width on them has infinite likelihood."""
    rng = np.random.default_rng(6)
    values = np.concatenate([rng.normal(size=20), [9.0, 9.0, 9.0], rng.normal(size=20)])
    model = GaussianHMM(2)
    start = GaussianHMMParams(
        np.array([0.9, 0.1]), np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([[0.0], [9.0]]), np.full((2, 1, 1), 1.0)
    )
    with pytest.raises(FitError, match=r"state 2 has collapsed on 3 points"):
        fit(model, SeriesSource([values]), init=[start])
    prior = data_prior(values[:, None], 2, "full")
    result = fit(GaussianHMM(2, prior=prior), SeriesSource([values]), init=[start])
    assert result.status is Status.CONVERGED


def test_an_offset_of_the_data_costs_no_digits():
    rng = np.random.default_rng(7)
    values = np.where(np.repeat(rng.integers(2, size=20), 5) > 0, 3.0, 0.0) + rng.normal(size=100)
    moved = np.round(values, 6) + 2.0**30
    exact = moved - 2.0**30
    results = [fit(GaussianHMM(2), SeriesSource([x]), starts=2, seed=4, certificate=False) for x in (exact, moved)]
    assert results[1].loglik == pytest.approx(results[0].loglik, abs=1e-6)
    with_spread = [r.params.covariances.ravel() for r in results]
    np.testing.assert_allclose(with_spread[1], with_spread[0], rtol=1e-5)


def test_both_kinds_recover_known_parameters():
    rng = np.random.default_rng(8)
    states = np.zeros(4000, dtype=int)
    for t in range(1, 4000):
        states[t] = states[t - 1] if rng.random() < 0.95 else 1 - states[t - 1]
    counts = rng.poisson(np.array([2.0, 6.0])[states]).astype(float)
    counts[rng.random(4000) < 0.1] = np.nan
    result = fit(PoissonHMM(2), SeriesSource([counts]), certificate=False)
    np.testing.assert_allclose(result.params.rates.ravel(), [2.0, 6.0], rtol=0.05)
    np.testing.assert_allclose(np.diagonal(result.params.transition), 0.95, atol=0.015)
    values = rng.normal(np.array([0.0, 2.0])[states], np.array([1.0, 0.5])[states])
    result = fit(GaussianHMM(2, family="diagonal"), SeriesSource([values]), certificate=False)
    np.testing.assert_allclose(result.params.means.ravel(), [0.0, 2.0], atol=0.08)
    np.testing.assert_allclose(result.params.covariances.ravel(), [1.0, 0.25], rtol=0.1)
    assert (result.model.viterbi(result.params, values) == states).mean() > 0.9


def test_long_run_shares_solve_their_equation():
    params = PoissonHMMParams(START, TRANSITION, np.ones((3, 1)))
    shares = PoissonHMM(3).stationary(params)
    np.testing.assert_allclose(shares @ TRANSITION, shares, atol=1e-14)
    assert shares.sum() == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("strategy", ["windows", "random"])
def test_starts_are_distributions(strategy):
    rng = np.random.default_rng(9)
    values = rng.poisson(4.0, size=(50, 2)).astype(float)
    values[3:9, 1] = np.nan
    for model in (PoissonHMM(3, 2), GaussianHMM(3, 2), GaussianHMM(1, 2), PoissonHMM(1, 2)):
        params = model.initial_params(SeriesSource([values]), rng, strategy)
        np.testing.assert_allclose(params.transition.sum(axis=1), 1.0, rtol=1e-12)
        assert params.start.sum() == pytest.approx(1.0, rel=1e-12)
        assert np.isfinite(model.pack(params)).all()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SeriesSource([]), "series: none"),
        (lambda: SeriesSource([[1.0], []]), "series 2"),
        (lambda: SeriesSource([["a"]]), "not a table of numbers"),
        (lambda: SeriesSource([[1.0, np.inf]]), "row 2 is infinite"),
        (lambda: SeriesSource([np.ones((2, 2)), np.ones((2, 3))]), "series 2: 3 columns"),
        (lambda: SeriesSource([[[1.0, np.nan], [2.0, np.nan]]]), "column 2 has no value"),
        (lambda: SeriesSource([[1.0]], np.array([-1.0])), "weights"),
        (lambda: PoissonHMM(0), "states"),
        (lambda: PoissonHMM(2, 0), "features"),
        (lambda: GaussianHMM(2, 1, pseudocount=-1.0), "pseudocount"),
        (lambda: GaussianHMM(2, 1, "round"), "family"),
        (lambda: fit(PoissonHMM(2), SeriesSource([[1.0, 2.0], [3.0, 2.5]])), "series 2, row 2, column 1: 2.5"),
        (lambda: fit(PoissonHMM(2), SeriesSource([[1.0, -2.0]])), "series 1, row 2, column 1: -2"),
        (lambda: fit(PoissonHMM(2), SeriesSource([np.ones((5, 2))])), "2 columns"),
        (lambda: fit(GaussianHMM(2), SeriesSource([np.ones((5, 2))])), "2 columns"),
        (lambda: fit(GaussianHMM(1), SeriesSource([np.ones(5)])), "column 1 is constant"),
        (lambda: fit(GaussianHMM(2), SeriesSource([np.ones(5)])), "distinct rows"),
        (lambda: GaussianHMM(2).viterbi(None, np.ones((3, 2))), "series"),
    ],
)
def test_hostile_input_gets_one_clear_line(make, told):
    with pytest.raises(InputError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_series_of_weight_zero_is_not_looked_at():
    chunk = Series(np.array([[1.0], [2.0], [50.0]]), np.array([0, 2, 3]), np.array([1.0, 0.0]))
    params = GaussianHMMParams(np.array([0.5, 0.5]), np.full((2, 2), 0.5), np.array([[1.0], [2.0]]), np.ones((2, 1, 1)))
    model = GaussianHMM(2)
    stats = model.e_step(params, chunk)
    alone = model.e_step(params, Series(np.array([[1.0], [2.0]]), np.array([0, 2]), np.ones(1)))
    assert stats.loglik == alone.loglik
    np.testing.assert_array_equal(stats.second, alone.second)


def test_drawn_paths_have_the_posterior_and_annealed_ones_its_power():
    rng = np.random.default_rng(10)
    table = rng.normal(scale=1.5, size=(4, 3))
    joint, paths = enumerate_paths(table, START, TRANSITION)
    share = np.exp(joint - np.logaddexp.reduce(joint))
    counted = np.zeros(len(paths))
    offsets = np.arange(0, 4 * 6001, 4)
    path, n_start, _, loglik, _, _ = drawn_states(
        np.tile(table, (6000, 1)), offsets, np.ones(6000), START, TRANSITION, rng.random(24_000)
    )
    numbers = path.reshape(-1, 4) @ [27, 9, 3, 1]
    counted = np.bincount(numbers, minlength=81)
    used = share * 6000 > 5
    chi = ((counted[used] - 6000 * share[used]) ** 2 / (6000 * share[used])).sum()
    assert law.chi2(used.sum()).sf(chi) > 1e-3
    assert counted[share == 0.0].sum() == 0
    assert n_start.sum() == 6000
    assert loglik == pytest.approx(joint[numbers].sum(), rel=1e-12)
    power = 0.4
    _, _, _, value, entropy, _, _ = expected_states(
        power * table, np.array([0, 4]), np.ones(1), START**power, TRANSITION**power
    )
    assert value == pytest.approx(float(np.logaddexp.reduce(power * joint)), rel=1e-12)
    flat = np.exp(power * joint - value)
    assert entropy == pytest.approx(-(flat[flat > 0] * np.log(flat[flat > 0])).sum(), rel=1e-11)


def test_an_annealed_gap_is_the_integral_of_the_power():
    model, power = GaussianHMM(1, 2), 0.6
    params = GaussianHMMParams(np.ones(1), np.ones((1, 1)), MEANS[:1], COVARIANCES[:1])
    row = np.array([[0.7, np.nan]])
    grid = np.linspace(-25.0, 27.0, 20_001)
    rows = np.column_stack([np.full_like(grid, 0.7), grid])
    density = law.multivariate_normal(MEANS[0], COVARIANCES[0]).pdf(rows) ** power
    expected = math.log(density.sum() * (grid[1] - grid[0]))
    assert model.log_emission(params, row, Annealed(power))[0, 0] == pytest.approx(expected, rel=1e-9)


def test_an_unknown_assignment_is_refused():
    params = PoissonHMMParams(START, TRANSITION, np.ones((3, 1)))
    with pytest.raises(InputError, match="assign"):
        PoissonHMM(3).e_step(params, SeriesSource([[1.0]]).chunk(0), "loud")
