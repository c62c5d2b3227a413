"""The share of mixtures in what fills the gaps, learnt on hidden cells."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from emtools.imputing.choose import Comparison
from emtools.imputing.complete import impute
from emtools.imputing.fitting import fit_table
from emtools.imputing.multiple import draw
from emtools.imputing.overimpute import overimpute
from emtools.imputing.predicting import Hidden, best_filler, hidden_cells, mixtures
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Identity
from emtools.models.incomplete_mixture import IncompleteMixture, incomplete_prior

TOLD = {"markers": ("a", "b"), "scales": (Identity(),) * 2, "filling": "best"}


def bent(n=160, noise=0.1):
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, size=n)
    table = np.column_stack([x, np.abs(x) + noise * rng.normal(size=n)]) * [1.0, 100.0]
    table[rng.random(table.shape) < 0.15] = np.nan
    return table


def straight():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3)) + 2.0 * rng.normal(size=(200, 1))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows


def learnt(table, **told):
    return best_filler(fit_table(Readings(table), **told), Readings(table), **told)


@pytest.fixture(scope="module")
def done():
    """The bent table filled."""
    return impute(Readings(bent()), **TOLD)


def test_what_is_bent_is_told_from_what_is_straight(done):
    assert done.better.params.share > 0.9
    assert "A filled value is what mixtures of up to 8 normals expect" in done.how_filled
    filler, told = learnt(straight())
    assert filler is None or filler.params.share < 0.3
    assert "The normal alone filled the gaps" in told


def test_the_share_is_the_least_squares_slope_less_its_error_by_row():
    rng = np.random.default_rng(2)
    rows = np.sort(rng.integers(0, 50, size=200))
    apart = rng.normal(size=200)
    left = 0.6 * apart + rng.normal(size=200) + rng.normal(size=50)[rows] * apart
    hidden = Hidden(rows, rng.uniform(0.2, 2.0, size=200), left, apart)
    told = {"groups": rows, "use_correction": False}
    peer = sm.WLS(left, apart, hidden.weights).fit(cov_type="cluster", cov_kwds=told)
    np.testing.assert_allclose(hidden.slope(), [peer.params[0], peer.bse[0]], rtol=1e-10)
    assert hidden.share() == pytest.approx(peer.params[0] - peer.bse[0])
    assert Hidden(rows, hidden.weights, -left, apart).share() == 0.0
    assert Hidden(rows, hidden.weights, 9.0 * apart, apart).share() == 1.0
    assert Hidden(rows, hidden.weights, left, 0.0 * apart).share() == 0.0


def test_hidden_cells_count_as_they_resemble_missing_ones():
    """Gaps where x is large: hidden cells there count more, those of a column without gaps nothing."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 2)) + rng.normal(size=(400, 1))
    x[(rng.random(400) < 1.0 / (1.0 + np.exp(-2.0 * x[:, 0]))), 1] = np.nan
    table = Readings(x)
    hidden = hidden_cells(fit_table(table), Comparison(table))
    seen = x[hidden.rows, 0]
    assert np.corrcoef(seen, hidden.weights)[0, 1] > 0.5
    assert not np.isnan(x[hidden.rows, 1]).any()
    assert hidden.weights.max() <= 5.0 * hidden.weights.mean() * 1.5


def test_units_and_seeds(done):
    first, second, again = done.better, learnt(bent() * [7.0, 0.01] + [100.0, -3.0])[0], learnt(bent())[0]
    assert second.params.share == pytest.approx(first.params.share, abs=0.05)
    for name in ("share", "mean", "weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(first.params, name), getattr(again.params, name))


def test_mixtures_of_all_sizes_lean_on_the_normal():
    """A component without rows has the covariance of the normal over its share of the volume."""
    table = Readings(bent())
    normal = fit_table(table).params
    found = mixtures(normal, table, None, 0)
    assert [len(params.weights) for params in found] == [2, 3, 5, 8]
    model, params = (
        IncompleteMixture(2, 2, prior=incomplete_prior(table.values, 2, towards=normal.covariance)),
        found[0],
    )
    empty = model.e_step(params, model.source(table).chunk(0)).scaled(1e-12)
    np.testing.assert_allclose(model.m_step(empty, params).covariances[0], normal.covariance / 2, rtol=1e-6)


def test_weights_of_rows_decide_too():
    """Rows without weight do not call for a mixture, though alone they would."""
    table = np.vstack([straight()[:, :2], bent()])
    alone = np.r_[np.ones(200), np.zeros(160)]
    assert learnt(table)[0].params.share > 0.5
    filler, _ = learnt(table, weights=alone)
    assert filler is None or filler.params.share < 0.3


def test_where_nothing_is_tried_the_reason_is_told():
    table = bent()
    for known, reason in (
        (Readings(table[:30]), "30 rows"),
        (Readings(np.repeat(straight(), 170, axis=0)), "too large"),
        (Readings(table, np.full(table.shape, -np.inf), np.where(np.isnan(table), 0.0, np.inf)), "limits of detection"),
    ):
        filler, told = best_filler(fit_table(known), known)
        assert filler is None
        assert reason in told
    filler, told = best_filler(fit_table(Readings(table), prior=5.0), Readings(table))
    assert (filler, "prior" in told) == (None, True)
    assert best_filler(fit_table(Readings(table), kind="t"), Readings(table)) == (None, "")


def test_of_a_table_without_gaps_nothing_is_told():
    whole = Readings(np.where(np.isnan(bent()), 0.0, bent()))
    assert best_filler(fit_table(whole), whole) == (None, "")


def test_the_model_alone_fills_where_that_is_asked(done):
    plain = impute(Readings(bent()), **(TOLD | {"filling": "model"}))
    assert (plain.better, plain.how_filled) == (None, "")
    np.testing.assert_array_equal(done.fitted.params.covariance, plain.fitted.params.covariance)
    assert not np.array_equal(done.values, plain.values)


def test_draws_are_those_of_the_normal(done):
    drawn = impute(Readings(bent()), draws=2, **TOLD)
    np.testing.assert_array_equal(drawn.values, done.values)
    for one, other in zip(drawn.draws, draw(done.fitted, done.scaled, 2).tables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_over_imputation_refits_all_parts_and_does_not_see_the_cells(done):
    table = Readings(bent())
    cells, plain = overimpute(table, done.filler, 2), overimpute(table, done.fitted, 2)
    assert cells.n_failed == 0
    assert cells.explained(1) > 0.6 > 0.2 > plain.explained(1)  # some rows hold nothing else to tell by
    assert cells.coverage(0.95) > 0.92  # wide rather than narrow: components lean on the covariance of all rows
    assert np.median(cells.sd[cells.columns == 1]) < 0.7 * np.median(plain.sd[plain.columns == 1])
