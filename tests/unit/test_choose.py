"""Hidden cells: which they are, what they score, and that the choices by them find the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as law

from emtools.imputing import choose
from emtools.imputing.choose import Comparison, best_factors, best_weight, grown, held_out, splits
from emtools.imputing.fitting import ridge
from emtools.kernels.readings import Readings
from emtools.models.factor_analysis import FactorAnalysis, FactorParams
from emtools.models.factor_rows import FactorSource
from emtools.models.normal import MultivariateNormal, NormalParams


def table(n=60, d=5, seed=0, share=0.15):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 1)) + 0.7 * rng.normal(size=(n, d)) + 3.0
    return np.where(rng.random(values.shape) < share, np.nan, values)


def test_hidden_cells_are_other_ones_each_time_and_leave_enough():
    values = table()
    values[:, 4] = np.nan
    values[:3, 4] = (1.0, 2.0, 2.0)
    values[5] = (np.nan, 1.0, np.nan, np.nan, np.nan)
    parts = splits(Readings(values), seed=3)
    assert len(parts) == 4
    hidden = np.array([~np.isnan(values) & np.isnan(part.kept.values) for part in parts])
    assert hidden.sum(axis=0).max() == 1
    assert not hidden[:, :, 4].any()
    assert not hidden[:, 5].any()
    assert sum(part.n_cells for part in parts) == hidden.sum()
    same = splits(Readings(values), seed=3)
    np.testing.assert_array_equal(same[1].kept.values, parts[1].kept.values)
    assert not np.array_equal(splits(Readings(values), seed=4)[0].kept.values, parts[0].kept.values, equal_nan=True)


def test_of_a_large_wide_table_some_rows_alone_are_judged(monkeypatch):
    """The cells of other rows stay; a table with fewer columns than rows is judged whole."""
    monkeypatch.setattr(choose, "JUDGED", 25)
    values = np.random.default_rng(0).normal(size=(40, 50))
    (part, *_) = splits(Readings(values))
    hidden = np.isnan(part.kept.values)
    assert len(part.before.values) == 25 * choose.PARTS // 50
    assert set(hidden.any(axis=1)) == {False, True}
    assert 5 < part.n_cells < 60
    tall = splits(Readings(values.T))[0]
    assert len(tall.before.values) > 45


def test_bounds_of_other_cells_stay():
    values = table()
    upper = np.where(np.isnan(values), 1.0, np.inf)
    part = splits(Readings(values, upper=upper))[0]
    assert part.kept.bounded.sum() == np.isnan(values).sum()
    low, high = part.kept.bounds()
    hidden = np.isnan(part.kept.values) & ~np.isnan(values)
    assert np.isinf(low[hidden]).all()
    assert np.isinf(high[hidden]).all()


def test_the_score_is_the_conditional_density_of_hidden_cells():
    values = table(20, 3)
    weights = np.random.default_rng(1).integers(1, 4, size=20).astype(float)
    part = splits(Readings(values), weights)[0]
    covariance = np.eye(3) * 0.5 + 1.0
    params = NormalParams(np.full(3, 3.0), covariance)
    expected = 0.0
    for row, kept, w in zip(values, part.kept.values, weights, strict=True):
        h, o = np.isnan(kept) & ~np.isnan(row), ~np.isnan(kept)
        if h.any():
            slope = covariance[np.ix_(h, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
            left = covariance[np.ix_(h, h)] - slope @ covariance[np.ix_(o, h)]
            mean = 3.0 + slope @ (row[o] - 3.0)
            expected += w * law.multivariate_normal(mean, left).logpdf(row[h])
    assert held_out(MultivariateNormal(3), params, part) == pytest.approx(expected, rel=1e-10)
    broken = NormalParams(np.full(3, 3.0), np.ones((3, 3)) - 2.0 * np.eye(3))
    assert held_out(MultivariateNormal(3), broken, part) == -np.inf


@pytest.mark.slow
def test_the_best_weight_is_at_the_top_of_its_curve():
    """Compared with the curve on a fine grid, every climb from scratch."""
    comparison = Comparison(Readings(table(15, 6, seed=2)))

    def make(readings, weight):
        return MultivariateNormal(6, ridge(readings, weight))

    weight, score = best_weight(comparison, make, [10.0**k for k in range(3, -4, -1)], refine=3)
    fine = {w: comparison.judge(lambda t, w=w: make(t, w), passes=60)[0] for w in np.geomspace(1e-3, 1e3, 13)}
    best = max(fine, key=lambda w: fine[w])
    assert abs(np.log10(weight / best)) < 0.5
    assert score > max(fine.values()) - 0.01


@pytest.mark.parametrize("n_factors", [1, 4])
def test_the_number_of_factors_is_found(n_factors):
    rng = np.random.default_rng(n_factors)
    values = rng.normal(size=(100, n_factors)) @ rng.normal(size=(n_factors, 25)) + rng.normal(size=(100, 25))
    values[rng.random(values.shape) < 0.2] = np.nan
    choice = best_factors(Comparison(Readings(values)))
    assert choice.n_factors in {1: (1,), 4: (3, 4, 5)}[n_factors]
    assert choice.score == max(choice.tried.values())
    assert best_factors(Comparison(Readings(values)), 2, 1.0).tried.keys() == {(2, 1.0)}


def test_growing_goes_along_what_is_left():
    rng = np.random.default_rng(4)
    loadings = rng.normal(size=(12, 2)) * [3.0, 1.5]
    values = rng.normal(size=(400, 2)) @ loadings.T + 0.5 * rng.normal(size=(400, 12))
    values[rng.random(values.shape) < 0.1] = np.nan
    one = FactorAnalysis(12, 1)
    source = FactorSource(values)
    params = one.initial_params(source, rng, "principal")
    for _ in range(50):
        params = one.m_step(one.e_step(params, source.chunk(0)), params)
    more = grown(params, values, 2)
    two = FactorAnalysis(12, 2)
    gain = two.e_step(more, source.chunk(0)).loglik - one.e_step(params, source.chunk(0)).loglik
    assert gain > 200.0
    back = grown(FactorParams(more.mean, more.loadings, more.noise), values, 1)
    assert back.loadings.shape == (12, 1)


def table_of_factors(n_rows, n_columns):
    rng = np.random.default_rng(3)
    values = rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, n_columns)) + rng.normal(size=(n_rows, n_columns))
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


@pytest.mark.slow
def test_pairs_worse_than_the_column_mean_are_not_used(monkeypatch):
    values = table_of_factors(30, 12)
    comparison = Comparison(Readings(values))
    free = best_factors(comparison)
    assert free.score == max(free.tried.values())
    monkeypatch.setattr(choose, "squares_of_mean", lambda _: 0.0)
    held = best_factors(comparison)
    assert (held.n_factors, held.ridge) == (1, choose.MEANS)
    model = choose.factor_model(comparison.parts[0].kept, 1, choose.MEANS)
    filled, _ = model.conditional(held.ends[0], comparison.parts[0].before)
    gaps = ~comparison.parts[0].before.observed
    centre = np.broadcast_to(held.ends[0].mean, filled.shape)
    np.testing.assert_allclose(filled[gaps], centre[gaps], rtol=0.0, atol=1e-2)


def test_a_search_keeps_to_its_budget(monkeypatch):
    comparison = Comparison(Readings(table_of_factors(40, 30)))
    free = best_factors(comparison)
    assert len({q for q, _ in free.tried}) > 3
    monkeypatch.setattr(choose, "SEARCH", 40 * 30 * 5**2 * choose.PASSES * len(comparison.parts) * 2.5)
    short = best_factors(comparison)
    spent = sum(40 * 30 * q**2 * choose.PASSES * len(comparison.parts) for q, _ in short.tried)
    assert spent <= choose.SEARCH
    assert 1 <= len(short.tried) < len(free.tried)


def test_a_search_far_behind_a_rival_ends_early(monkeypatch):
    comparison = Comparison(Readings(table_of_factors(40, 30)))
    monkeypatch.setattr(choose, "SEARCH", 40 * 30 * 5**2 * choose.PASSES * len(comparison.parts) * 16.0)
    free = best_factors(comparison)
    assert best_factors(comparison, rival=free.score).tried == free.tried
    behind = best_factors(comparison, rival=free.score + 10.0)
    assert len(behind.tried) < len(free.tried)
    assert behind.score == max(behind.tried.values())
