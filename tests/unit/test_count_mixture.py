"""Mixtures of Poisson, negative binomial and multinomial distributions against scipy, closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import mp
from scipy import stats as dist
from scipy.optimize import minimize_scalar

from emtools.engine.chunks import ArraySource, Rows, total_stats
from emtools.engine.loop import climb
from emtools.engine.protocol import Annealed, Sampled
from emtools.engine.starts import fit
from emtools.engine.stopping import Status
from emtools.errors import InputError
from emtools.kernels.counts import best_dispersion, log_minus, log_negative_binomial, rising_slope, stirling_error
from emtools.models.count_mixture import MultinomialMixture, MultinomialParams, PoissonMixture, PoissonParams
from emtools.models.negative_binomial import Histogram, NegativeBinomialMixture, NegativeBinomialParams

TIMES = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1.0])


def negative_binomial(counts, mean, dispersion):
    return dist.nbinom.logpmf(counts, 1 / dispersion, 1 / (1 + mean * dispersion))


def mixed(weights, log_parts):
    return float(np.logaddexp.reduce(np.log(weights)[None] + log_parts, axis=1).sum())


def test_poisson_likelihood_and_one_step_by_hand():
    rng = np.random.default_rng(0)
    counts, exposures = rng.poisson(4.0, size=(30, 2)).astype(float), rng.uniform(0.5, 2.0, size=30)
    params = PoissonParams(np.array([0.3, 0.7]), np.array([[2.0, 5.0], [4.0, 1.0]]))
    log_parts = np.stack(
        [dist.poisson.logpmf(counts, exposures[:, None] * rates).sum(axis=1) for rates in params.rates], axis=1
    )
    model = PoissonMixture(2, 2, exposure=True)
    total = total_stats(model, ArraySource(np.column_stack([counts, exposures]), chunk_rows=7), params)
    assert total.loglik == pytest.approx(mixed(params.weights, log_parts), rel=1e-12)
    joint = np.exp(log_parts) * params.weights
    shares = joint / joint.sum(axis=1, keepdims=True)
    after = model.m_step(total, params)
    np.testing.assert_allclose(after.weights, shares.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(after.rates, shares.T @ counts / (shares.T @ exposures)[:, None], rtol=1e-12)


def test_london_times_is_the_mixture_of_the_books():
    """Hasselblad (1969): weights 0.36 and 0.64, 1.26 and 2.66 deaths a day; a thousand weighted days in ten rows."""
    result = fit(PoissonMixture(2), ArraySource(np.arange(10.0), TIMES), starts=2, max_passes=5000, tol=1e-9)
    np.testing.assert_allclose(result.params.weights, [0.359885, 0.640115], atol=2e-3)
    np.testing.assert_allclose(result.params.rates.ravel(), [1.256095, 2.663404], atol=3e-3)
    assert result.loglik == pytest.approx(-1989.945859883, abs=1e-6)


def test_one_poisson_is_the_mean_and_zero_inflation_is_a_rate_of_zero():
    one = fit(PoissonMixture(1), ArraySource(np.arange(10.0), TIMES))
    assert one.params.rates[0, 0] == pytest.approx(TIMES @ np.arange(10) / TIMES.sum(), rel=1e-14)
    values = np.concatenate([np.zeros(40), dist.poisson.ppf((np.arange(60) + 0.5) / 60, 6.0)])
    start = PoissonParams(np.array([0.5, 0.5]), np.array([[0.0], [3.0]]))
    inflated = climb(PoissonMixture(2), ArraySource(values), start)
    assert inflated.params.rates[0, 0] == 0.0
    assert inflated.params.weights[0] == pytest.approx(0.4, abs=0.01)
    model = PoissonMixture(2)
    packed = model.pack(inflated.params)
    assert np.isfinite(packed).all()
    assert model.unpack(packed).rates[0, 0] == 0.0


def test_multinomial_likelihood_and_one_step_by_hand():
    rng = np.random.default_rng(3)
    rows = np.stack([rng.multinomial(9, [0.5, 0.2, 0.3]) for _ in range(20)]).astype(float)
    params = MultinomialParams(np.array([0.4, 0.6]), np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]))
    model = MultinomialMixture(2, 3, pseudocount=0.25)
    log_parts = np.stack([dist.multinomial.logpmf(rows, 9, p) for p in params.probabilities], axis=1)
    total = total_stats(model, ArraySource(rows), params)
    assert total.loglik == pytest.approx(mixed(params.weights, log_parts), rel=1e-12)
    joint = np.exp(log_parts) * params.weights
    shares = joint / joint.sum(axis=1, keepdims=True)
    raised = shares.T @ rows + 0.25
    np.testing.assert_allclose(
        model.m_step(total, params).probabilities, raised / raised.sum(axis=1, keepdims=True), rtol=1e-12
    )
    assert model.log_prior(params) == pytest.approx(0.25 * np.log(params.probabilities).sum(), rel=1e-14)


def test_a_row_without_counts_says_nothing_of_the_probabilities():
    params = MultinomialParams(np.array([0.4, 0.6]), np.array([[0.2, 0.8], [0.7, 0.3]]))
    model = MultinomialMixture(2, 2)
    assert total_stats(model, ArraySource(np.zeros((1, 2))), params).loglik == pytest.approx(0.0, abs=1e-15)
    shares = model.e_step(params, Rows(np.zeros((1, 2)), np.ones(1))).counts
    np.testing.assert_allclose(shares, params.weights, rtol=1e-14)


@pytest.mark.parametrize("dispersion", [3.0, 0.3, 0.06, 0.04, 1e-3, 1e-6])
def test_negative_binomial_log_probabilities_are_those_of_scipy(dispersion):
    counts = np.array([0.0, 1, 2, 7, 40, 900])
    for mean in (0.3, 5.0, 800.0):
        ours = log_negative_binomial(counts, np.array([mean]), np.array([dispersion]))[:, 0]
        np.testing.assert_allclose(ours, negative_binomial(counts, mean, dispersion), rtol=1e-8, atol=1e-8)
        total = np.exp(log_negative_binomial(np.arange(60000.0), np.array([mean]), np.array([dispersion]))).sum()
        assert total == pytest.approx(1.0, abs=1e-10)


def test_without_dispersion_it_is_the_poisson():
    counts, means = np.arange(30.0), np.array([0.0, 4.0])
    ours = log_negative_binomial(counts, means, np.zeros(2))
    np.testing.assert_allclose(ours[:, 1], dist.poisson.logpmf(counts, 4.0), rtol=1e-13)
    assert ours[0, 0] == 0.0
    assert (ours[1:, 0] == -np.inf).all()
    near = log_negative_binomial(counts, np.array([4.0]), np.array([1e-8]))[:, 0]
    np.testing.assert_allclose(near, ours[:, 1], atol=1e-5)


def test_large_counts_keep_their_digits():
    """Against 40 digits."""
    with mp.workdps(40):
        for x, mean, dispersion in ((3e5, 2.9e5, 0.4), (123456.0, 2e4, 1e-3), (7.0, 2e4, 3.0), (1e6, 1e6, 1e-7)):
            r = 1 / mp.mpf(dispersion)
            exact = mp.loggamma(x + r) - mp.loggamma(r) - mp.loggamma(x + 1) - r * mp.log(1 + mean / r)
            exact -= x * mp.log(1 + r / mean)
            ours = log_negative_binomial(np.array([x]), np.array([mean]), np.array([dispersion]))[0, 0]
            assert ours == pytest.approx(float(exact), rel=1e-13, abs=1e-13)


def test_pieces_of_the_negative_binomial_against_many_digits():
    with mp.workdps(40):
        for y in (-0.9, -0.0201, -0.0199, -1e-9, 1e-9, 1e-4, 0.0199, 0.0201, 3.0):
            assert log_minus(np.array([y]))[0] == pytest.approx(float(mp.log(1 + mp.mpf(y)) - mp.mpf(y)), rel=2e-13)
        for z in (0.01, 0.7, 1.0, 19.9, 20.1, 1e6):
            exact = mp.loggamma(mp.mpf(z) + 1) - (mp.mpf(z) + 0.5) * mp.log(z) + mp.mpf(z) - mp.log(2 * mp.pi) / 2
            assert stirling_error(np.array([z]))[0] == pytest.approx(float(exact), rel=1e-13, abs=2e-14)
        for size in (0.2, 3.0, 19.9, 20.1, 1e4, 1e9):
            for x in (0.0, 1.0, 2.0, 17.0, 300.0, 1e6):
                r = mp.mpf(size)
                exact = mp.digamma(x + r) - mp.digamma(r) - x / r
                assert rising_slope(np.array([x]), size)[0] == pytest.approx(float(exact), rel=1e-10, abs=1e-15)


def test_best_dispersion_is_the_best_of_a_search():
    rng = np.random.default_rng(5)
    for seed in range(8):
        counts = np.arange(40.0)
        weights = rng.gamma(0.3, size=40) * np.exp(-counts / rng.uniform(3, 20))
        mean = float(weights @ counts / weights.sum())
        found = best_dispersion(counts, weights, float(10.0 ** rng.uniform(-6, 4)))

        def q(log_dispersion, counts=counts, weights=weights, mean=mean):
            return float(weights @ negative_binomial(counts, mean, math.exp(log_dispersion)))

        best = minimize_scalar(lambda a: -q(a), bounds=(-12, 8), method="bounded", options={"xatol": 1e-10})
        assert found == pytest.approx(math.exp(best.x), rel=1e-5), seed
        assert q(math.log(found)) >= -best.fun - 1e-12 * abs(best.fun)


def test_best_dispersion_is_zero_where_the_variance_is_not_above_the_mean():
    assert best_dispersion(np.array([2.0, 3.0]), np.array([1.0, 1.0]), 0.5) == 0.0
    assert best_dispersion(np.array([0.0]), np.array([4.0]), 0.5) == 0.0
    poisson = dist.poisson.pmf(np.arange(60.0), 5.0)
    assert best_dispersion(np.arange(60.0), poisson, 1.0) < 1e-8


def test_negative_binomial_mixture_likelihood_by_hand():
    rng = np.random.default_rng(2)
    counts = rng.negative_binomial(2, 0.3, size=(25, 2)).astype(float)
    params = NegativeBinomialParams(
        np.array([0.3, 0.7]), np.array([[2.0, 5.0], [6.0, 1.0]]), np.array([[0.5, 2.0], [0.1, 0.0]])
    )
    log_parts = np.stack(
        [
            negative_binomial(counts[:, 0], 2.0, 0.5) + negative_binomial(counts[:, 1], 5.0, 2.0),
            negative_binomial(counts[:, 0], 6.0, 0.1) + dist.poisson.logpmf(counts[:, 1], 1.0),
        ],
        axis=1,
    )
    total = total_stats(NegativeBinomialMixture(2, 2), ArraySource(counts, chunk_rows=6), params)
    assert total.loglik == pytest.approx(mixed(params.weights, log_parts), rel=1e-11)


def test_histograms_add_whatever_their_values():
    one = Histogram((np.array([0.0, 3.0]),), (np.array([[1.0, 2.0], [3.0, 4.0]]),))
    two = Histogram((np.array([1.0, 3.0]),), (np.array([[5.0, 6.0], [7.0, 8.0]]),))
    for total in (one + two, two + one):
        np.testing.assert_array_equal(total.values[0], [0, 1, 3])
        np.testing.assert_array_equal(total.weights[0], [[1, 2], [5, 6], [10, 12]])
    np.testing.assert_array_equal(one.scaled(0.5).weights[0], [[0.5, 1.0], [1.5, 2.0]])


def test_a_negative_binomial_of_counts_that_vary_less_ends_at_the_poisson():
    counts = dist.binom.ppf((np.arange(200) + 0.5) / 200, 8, 0.5)
    result = fit(NegativeBinomialMixture(1), ArraySource(counts))
    assert result.status is Status.CONVERGED
    assert result.params.dispersions[0, 0] == 0.0
    assert result.loglik == pytest.approx(dist.poisson.logpmf(counts, counts.mean()).sum(), rel=1e-12)


def test_a_mixture_of_negative_binomials_is_recovered():
    rng = np.random.default_rng(1)
    means, dispersions = np.array([3.0, 25.0]), np.array([0.5, 0.2])
    group = (rng.random(4000) < 0.6).astype(int)
    counts = rng.poisson(rng.gamma(1 / dispersions[group], dispersions[group] * means[group])).astype(float)
    result = fit(NegativeBinomialMixture(2), ArraySource(counts), starts=2, tol=1e-4)
    np.testing.assert_allclose(result.params.means.ravel(), means, rtol=0.08)
    np.testing.assert_allclose(result.params.dispersions.ravel(), dispersions, rtol=0.25)
    np.testing.assert_allclose(result.params.weights, [0.4, 0.6], atol=0.03)


MODELS = [PoissonMixture(2, 2), NegativeBinomialMixture(2, 2), MultinomialMixture(2, 2)]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (1.5, "row 4, column 2: 1.5; a whole number of at least 0"),
        (-1.0, "row 4, column 2: -1"),
        (np.nan, "row 4, column 2: nan"),
        (np.inf, "row 4, column 2: inf"),
    ],
)
def test_what_is_no_count_is_named(model, bad, message):
    rows = np.arange(12.0).reshape(6, 2)
    params = model.initial_params(ArraySource(rows), np.random.default_rng(0), "kmeans++")
    rows[3, 1] = bad
    with pytest.raises(InputError, match=message):
        fit(model, ArraySource(rows, chunk_rows=2))
    with pytest.raises(InputError, match=message):
        total_stats(model, ArraySource(rows, chunk_rows=2), params)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_tables_that_cannot_be_used(model):
    with pytest.raises(InputError, match="every count is zero"):
        fit(model, ArraySource(np.zeros((5, 2))))
    with pytest.raises(InputError, match="3 columns; 2"):
        fit(model, ArraySource(np.ones((5, 3))))
    with pytest.raises(InputError, match="1 columns; 2"):
        fit(model, ArraySource(np.ones((5, 1))))
    with pytest.raises(InputError, match="at least one for each of 2 components"):
        fit(model, ArraySource(np.ones((5, 2))))
    with pytest.raises(InputError, match="at least one of each"):
        type(model)(0, 2)


def test_exposures_must_be_positive():
    rows = np.array([[3.0, 1.0], [2.0, 0.0]])
    with pytest.raises(InputError, match="row 2, exposure: 0; a finite number above 0"):
        fit(PoissonMixture(1, 1, exposure=True), ArraySource(rows))
    with pytest.raises(InputError, match="pseudocount"):
        MultinomialMixture(2, 2, pseudocount=-1.0)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_component_that_lost_its_rows_is_named_with_what_it_holds(model):
    rows = np.array([[3.0, 4.0], [5.0, 2.0], [4.0, 4.0]])
    start = model.initial_params(ArraySource(np.vstack([rows, [[90.0, 1.0]]])), np.random.default_rng(0), "kmeans++")
    lost = type(start)(np.array([1.0, 0.0]), *list(vars(start).values())[1:])
    ended = climb(model, ArraySource(rows), lost)
    assert ended.status is Status.DEGENERATE
    assert ended.reason.startswith("component 2 holds 0.0 points")
    kept = model.m_step(ended.stats, lost)
    np.testing.assert_array_equal(list(vars(kept).values())[1][1], list(vars(lost).values())[1][1])


IMPOSSIBLE = [
    (PoissonMixture(2, 2), PoissonParams(np.array([0.4, 0.6]), np.array([[2.0, 0.0], [5.0, 0.0]]))),
    (MultinomialMixture(2, 3), MultinomialParams(np.array([0.4, 0.6]), np.array([[0.3, 0.7, 0.0], [0.8, 0.2, 0.0]]))),
    (
        NegativeBinomialMixture(2, 2),
        NegativeBinomialParams(np.array([0.4, 0.6]), np.array([[2.0, 0.0], [5.0, 0.0]]), np.full((2, 2), 0.3)),
    ),
]


@pytest.mark.parametrize(("model", "params"), IMPOSSIBLE, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("assign", ["soft", "hard", Annealed(0.5), Sampled((1, 2))], ids=lambda value: str(value)[:8])
def test_an_impossible_row_of_weight_zero_is_as_if_it_were_not_there(model, params, assign):
    rows = np.zeros((5, model.n_features))
    rows[:, 0] = [1, 4, 2, 6, 3]
    rows[2, -1] = 3.0
    weights = np.array([1.0, 2.0, 0.0, 1.0, 1.0])
    some = weights > 0.0
    found = model.e_step(params, Rows(rows, weights), assign)
    expected = model.e_step(params, Rows(rows[some], weights[some]), assign)
    for name in ("n", "loglik", "entropy", "counts", "totals"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12, err_msg=name)
    after = model.m_step(found, params)
    assert np.isfinite(after.weights).all()
    assert model.expected_loglik(found, params) + found.entropy == pytest.approx(found.loglik, rel=1e-12)
