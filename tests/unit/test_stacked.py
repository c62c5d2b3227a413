"""A normal and mixtures of normals in fixed shares: what is said of a gap, drawn, stored and left out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from emtools.imputing.complete import fill, impute
from emtools.imputing.overimpute import predict_stacked
from emtools.imputing.store import read_model, write_model
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Identity, Log
from emtools.models.mixture import MixtureParams
from emtools.models.normal import NormalParams
from emtools.models.stacked import Stacked, StackedParams


def params_of(share):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(6, 3, 3))
    covariances = factors @ factors.transpose(0, 2, 1) + 0.3 * np.eye(3)
    normal = NormalParams(rng.normal(size=3), covariances[0])
    two = MixtureParams(np.array([0.4, 0.6]), 2.0 * rng.normal(size=(2, 3)), covariances[1:3])
    three = MixtureParams(np.array([0.2, 0.5, 0.3]), 2.0 * rng.normal(size=(3, 3)), covariances[3:])
    return StackedParams.of(share, normal, [two, three])


def table_with_gaps():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(12, 3))
    table[rng.random(table.shape) < 0.4] = np.nan
    return table


def naive(params, row, j):
    """Weights, means and variances of the normals of which cell j of a row is a mixture, from its observed values."""
    seen = ~np.isnan(row)
    seen[j] = False
    found = []
    for mean, covariance in [(params.mean, params.covariance), *zip(params.means, params.covariances, strict=True)]:
        slope = covariance[j, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)]) if seen.any() else np.zeros(0)
        density = multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).pdf(row[seen]) if seen.any() else 1.0
        found.append((density, mean[j] + slope @ (row - mean)[seen], covariance[j, j] - slope @ covariance[seen, j]))
    density, mean, variance = np.array(found).T
    two, three = (params.weights * density[1:])[:2], (params.weights * density[1:])[2:]
    a = params.share
    return np.concatenate([[1.0 - a], a / 2 * two / two.sum(), a / 2 * three / three.sum()]), mean, variance


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mean_and_sd_of_each_gap_are_those_of_all_parts(share):
    params, table = params_of(share), table_with_gaps()
    filled, sd = Stacked(5, 3).conditional(params, Readings(table))
    given = Stacked(5, 3).cell_mixtures(params, Readings(table))
    for at, (i, j) in enumerate(np.argwhere(np.isnan(table))):
        weights, mean, variance = naive(params, table[i], j)
        middle = weights @ mean
        spread = np.sqrt(weights @ (variance + (mean - middle) ** 2))
        np.testing.assert_allclose([filled[i, j], sd[i, j]], [middle, spread], rtol=1e-9)
        np.testing.assert_allclose([given.mean[at], given.sd[at]], [middle, spread], rtol=1e-9)
    seen = ~np.isnan(table)
    np.testing.assert_array_equal(filled[seen], table[seen])
    assert np.isnan(sd[seen]).all()


def test_draws_have_these_moments_and_keep_what_was_observed():
    params, table = params_of(0.4), table_with_gaps()[:5]
    model, known, rng = Stacked(5, 3), Readings(table), np.random.default_rng(2)
    drawn = np.stack([model.draw(params, known, rng) for _ in range(4000)])
    filled, sd = model.conditional(params, known)
    gaps = np.isnan(table)
    np.testing.assert_array_equal(drawn[0][~gaps], table[~gaps])
    np.testing.assert_allclose(drawn.mean(axis=0)[gaps], filled[gaps], atol=5.0 * sd[gaps].max() / np.sqrt(4000))
    np.testing.assert_allclose(drawn.std(axis=0)[gaps], sd[gaps], rtol=0.08)


def test_each_cell_left_out_is_what_a_gap_there_would_be():
    params, table = params_of(0.3), table_with_gaps()
    predicted, sd, pit = predict_stacked(params, table)
    for i, j in np.argwhere(~np.isnan(table)):
        weights, mean, variance = naive(params, table[i], j)
        middle = weights @ mean
        spread = np.sqrt(weights @ (variance + (mean - middle) ** 2))
        below = weights @ norm.cdf((table[i, j] - mean) / np.sqrt(variance))
        np.testing.assert_allclose([predicted[i, j], sd[i, j], pit[i, j]], [middle, spread, below], rtol=1e-8)


def bent(seed=0, n=200, noise=0.05):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2.0, 2.0, size=n)
    table = np.column_stack([x, np.exp(0.5 * np.abs(x) + noise * rng.normal(size=n))])
    table[rng.random(table.shape) < 0.15] = np.nan
    return table


def test_a_stored_stack_fills_new_rows_as_it_filled_the_old(tmp_path):
    table, scales = bent(), [Identity(), Log()]
    done = impute(Readings(table), markers=("a", "b"), scales=scales, filling="best")
    assert done.better is not None
    write_model(tmp_path / "model.npz", done)
    stored = read_model(tmp_path / "model.npz")
    again = fill(stored.model, stored.params, done.readings, done.scaled, stored.scales, 1)
    for name in ("filled", "sd", "values", "lower", "upper"):
        np.testing.assert_array_equal(getattr(again, name), getattr(done, name))
    new = np.array([[1.5, np.nan], [-1.5, np.nan]])
    scaled = Readings(np.column_stack([new[:, 0], new[:, 1]]))
    filled = fill(stored.model, stored.params, Readings(new), scaled, stored.scales, 0).values
    np.testing.assert_allclose(filled[:, 1], np.exp(0.75), rtol=0.1)  # one normal would say the mean of all, 1.7


def test_intervals_of_two_groups_hold_what_they_say_and_observed_cells_stay():
    rng = np.random.default_rng(5)
    group = rng.integers(0, 2, size=500)
    truth = 3.0 * group[:, None] * [1.0, -1.0, 1.0] + rng.normal(size=(500, 3)) + 0.7 * rng.normal(size=(500, 1))
    table = np.where(rng.random(truth.shape) < 0.2, np.nan, truth)
    done = impute(Readings(table), markers=("a", "b", "c"), scales=[Identity()] * 3, filling="best")
    hidden = np.isnan(table)
    assert done.better is not None
    assert 0.92 < ((done.lower <= truth) & (truth <= done.upper))[hidden].mean() < 0.985
    np.testing.assert_array_equal(done.values[~hidden], table[~hidden])
