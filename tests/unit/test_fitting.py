"""Which model a table gets: maximum likelihood where there is one, else a prior that is said; dependencies are named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from emtools.errors import FitError, InputError
from emtools.imputing import fitting
from emtools.imputing.dependencies import dependencies
from emtools.imputing.fitting import fit_table, ridge
from emtools.imputing.targets import thresholded
from emtools.kernels.readings import Readings
from emtools.models.factor_analysis import FactorAnalysis
from emtools.models.normal import MultivariateNormal


def holes(values, share=0.15, seed=1):
    """The table with a share of its cells missing completely at random."""
    return np.where(np.random.default_rng(seed).random(values.shape) < share, np.nan, values)


def correlated(n=200, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 10.0


def test_a_well_posed_table_gets_maximum_likelihood():
    """The score of the observed-data likelihood is zero, and nothing is said."""
    values = holes(correlated())
    fitted = fit_table(Readings(values))
    assert (fitted.kind, fitted.pseudo_rows, fitted.notices) == ("normal", 0.0, ())
    assert fitted.fit.converged
    source = fitted.model.source(Readings(values))
    stats = fitted.model.e_step(fitted.params, source.chunk(0))
    for i in range(1, source.n_chunks):
        stats = stats + fitted.model.e_step(fitted.params, source.chunk(i))
    again = fitted.model.m_step(stats, fitted.params)
    np.testing.assert_allclose(again.mean, fitted.params.mean, rtol=1e-8)
    np.testing.assert_allclose(again.covariance, fitted.params.covariance, rtol=1e-6, atol=1e-7)


def test_the_ridge_goes_to_maximum_likelihood_without_a_jump():
    values = Readings(holes(correlated(80)))
    exact = fit_table(values, prior="none", certificate=False).params.covariance
    sd = np.sqrt(np.diagonal(exact))
    away = []
    for weight in (1e-2, 1e-4, 1e-6, 1e-8):
        here, beside = (
            fit_table(values, prior=w, certificate=False).params.covariance for w in (weight, weight * 1.001)
        )
        away.append(np.abs((here - exact) / np.outer(sd, sd)).max())
        assert np.abs((here - beside) / np.outer(sd, sd)).max() < 1e-3 * weight + 1e-9
    assert away[0] > 1e-6
    np.testing.assert_array_less(away, [1e-2, 1e-4, 1e-6, 1e-7])


def test_the_ridge_on_complete_rows_is_its_formula():
    values = correlated(30)
    scatter = np.cov(values.T, bias=True) * 30
    expected = (scatter + 7.0 * np.diag(np.diagonal(scatter) / 30)) / 37.0
    fitted = fit_table(Readings(values), prior=7.0, certificate=False)
    np.testing.assert_allclose(fitted.params.covariance, expected, rtol=1e-8)
    assert fitted.pseudo_rows == 7.0
    assert ridge(Readings(values), 0.0) is None


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (lambda y: y[:, 1], "last = column 1"),
        (lambda y: 5.0 - 2.0 * y[:, 1], r"last = -2 column 1 \+ 5"),
        (lambda y: y[:, 0] + y[:, 2] / 2.0, r"last = column 0 \+ 0.5 column 2"),
        (lambda y: y[:, 0] - y[:, 1], "(last|column 0) = (column 0 - column 1|column 1 [+] last|last [+] column 1)"),
    ],
)
def test_a_dependency_is_named_and_a_ridge_used(column, told):
    y = np.random.default_rng(3).normal(size=(150, 3))
    values = Readings(holes(np.column_stack([y, column(y)])))
    fitted = fit_table(values, labels=("column 0", "column 1", "column 2", "last"), certificate=False)
    text = " ".join(fitted.notices)
    assert fitted.pseudo_rows > 0.0

    assert re.search(told, text), text
    assert "no finite maximum" in text
    assert f"worth {fitted.pseudo_rows:.3g} rows" in text
    assert np.linalg.eigvalsh(fitted.params.covariance)[0] > 0.0


def test_two_equations_are_told_and_none_is_made_up():
    y = np.random.default_rng(4).normal(size=(100, 3))
    wide = np.column_stack([y, y[:, 0] + y[:, 1], 2.0 * y[:, 2]])
    assert dependencies(holes(wide), np.cov(wide.T), "abcde") == ["d = a + b", "e = 2 c"]
    assert dependencies(y, np.cov(y.T), "abc") == []
    near = np.column_stack([y, y[:, 0] + y[:, 1] + 1e-3 * y[:, 2]])
    assert dependencies(near, np.cov(near.T), "abcd") == []
    few = wide[:5]
    assert dependencies(few, np.cov(few.T), "abcde") == ["e = 2 c"]


def test_too_few_rows_are_said():
    """n = 9, p = 6 with gaps: no equation is made up of what is a lack of rows."""
    fitted = fit_table(Readings(holes(correlated(9, 6), 0.2)), certificate=False)
    assert fitted.notices[0].startswith("The likelihood has no finite maximum with 9 rows of 6 columns")
    assert fitted.pseudo_rows > 0.0
    fitted = fit_table(Readings(holes(correlated(6, 8), 0.05)), certificate=False)
    assert fitted.notices[0].startswith("6 rows cannot tell the covariance of 8 columns")
    assert np.linalg.eigvalsh(fitted.params.covariance)[0] > 0.0


def test_a_maximum_that_no_climb_reaches_gives_way_to_a_ridge_where_that_predicts_better():
    """Sizes of nuclei in many units, two fifths of them missing; but not of columns that are alike in truth."""
    truth = load_breast_cancer().data[:200]
    masked = holes(truth, 0.4)
    gaps, readings = np.isnan(masked), Readings(masked)

    def filled(prior):
        found = fit_table(readings, prior=prior, certificate=False, max_passes=100)
        off = ((found.model.conditional(found.params, readings)[0] - truth) / truth.std(axis=0))[gaps]
        return found, np.sqrt(np.square(off).mean())

    fitted, error = filled("auto")
    assert fitted.notices[0].startswith("100 passes did not reach the maximum of the likelihood, which 200 rows of 30")
    assert f"worth {fitted.pseudo_rows:.3g} rows" in fitted.notices[1]
    assert error < 0.95 * filled("none")[1]
    rng = np.random.default_rng(0)
    alike = rng.normal(size=(60, 1)) + 2e-3 * rng.normal(size=(60, 5))
    assert not fit_table(Readings(holes(alike, 0.5)), certificate=False, max_passes=30).notices


def test_a_fit_is_kept_where_the_ridge_that_would_replace_it_has_none(monkeypatch):
    def refuse(*told):
        raise FitError("normal", "no start is usable")

    monkeypatch.setattr(fitting, "with_ridge", refuse)
    masked = holes(load_breast_cancer().data[:200], 0.4)
    fitted = fit_table(Readings(masked), certificate=False, max_passes=100)
    assert fitted.pseudo_rows == 0.0
    assert fitted.fit.passes == 100


def wide_table(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return holes(rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + rng.normal(size=(n, d)), 0.2)


def test_filled_cells_of_factors_do_not_depend_on_units():
    """Units of 2^±40 take the climb another way to the same top, to within what it stops at: 1e-10 nats."""
    rng = np.random.default_rng(0)
    values = holes(rng.normal(size=(88, 2)) @ rng.normal(size=(2, 12)) + 0.7 * rng.normal(size=(88, 12)), 0.1)
    units = 2.0 ** rng.integers(-40, 41, size=12)
    tables = (Readings(values), Readings(values * units))
    fits = [fit_table(table, kind="factors", n_factors=2, certificate=False) for table in tables]
    filled = [fitted.model.conditional(fitted.params, table)[0] for fitted, table in zip(fits, tables, strict=True)]
    np.testing.assert_allclose((filled[0] - filled[1] / units) / np.nanstd(values, axis=0), 0.0, atol=2e-6)


def test_more_columns_than_rows_get_factors():
    values = wide_table(60, 150)
    fitted = fit_table(Readings(values))
    assert isinstance(fitted.model, FactorAnalysis)
    assert fitted.kind == "factors"
    assert fitted.model.n_factors == 3
    assert "60 rows cannot tell the covariance of 150 columns" in fitted.notices[0]
    assert "3 factors with a ridge prior" in fitted.notices[1]
    assert np.linalg.eigvalsh(fitted.model.moments(fitted.params)[1])[0] > 0.0
    assert fit_table(Readings(values)).fit.objective == fitted.fit.objective


def test_neighbours_get_a_ridge_towards_their_correlations():
    rng = np.random.default_rng(5)
    values = np.empty((50, 110))
    values[:, 0] = rng.normal(size=50)
    for j in range(1, 110):
        values[:, j] = 0.9 * values[:, j - 1] + np.sqrt(0.19) * rng.normal(size=50)
    fitted = fit_table(Readings(holes(values, 0.2)))
    assert fitted.kind == "normal"
    assert isinstance(fitted.model, MultivariateNormal)
    assert "towards the correlations of pairs of columns" in fitted.notices[1]
    filled, sd = fitted.model.conditional(fitted.params, Readings(holes(values, 0.2)))
    gaps = np.isfinite(sd)
    assert np.sqrt(np.mean((filled - values)[gaps] ** 2)) < 0.75 * values.std()


def test_thresholded_correlations_by_hand():
    values = np.random.default_rng(6).normal(size=(40, 3)) + np.random.default_rng(7).normal(size=(40, 1))
    r = np.corrcoef(values.T)
    expected = np.sign(r) * np.maximum(np.abs(r) - 0.5 / np.sqrt(40), 0.0)
    np.fill_diagonal(expected, 1.0)
    sd = values.std(axis=0)
    assert np.linalg.eigvalsh(expected)[0] > 0.1
    np.testing.assert_allclose(thresholded(Readings(values), 0.5), expected * np.outer(sd, sd), rtol=1e-12)
    counts = np.random.default_rng(8).integers(1, 4, size=40)
    twice = thresholded(Readings(np.repeat(values, counts, axis=0)), 1.0)
    np.testing.assert_allclose(thresholded(Readings(values), 1.0, counts.astype(float)), twice, rtol=1e-12)


def test_auto_takes_t_for_heavy_tails_and_says_by_how_much():
    rng = np.random.default_rng(9)
    values = correlated(150) + 0.0
    values = 10.0 + (values - 10.0) / np.sqrt(rng.gamma(1.0, 1.0, size=(150, 1)))
    fitted = fit_table(Readings(holes(values)), kind="auto", certificate=False)
    assert fitted.kind == "t"
    assert "Used: t, ahead by" in fitted.notices[0]


def test_bounds_go_to_the_normal_alone():
    values = correlated(60)
    hidden = values[:, 0] < np.quantile(values[:, 0], 0.2)
    known = np.where(hidden[:, None] & (np.arange(4) == 0), np.nan, values)
    upper = np.where(np.isnan(known), np.quantile(values[:, 0], 0.2), np.inf)
    readings = Readings(known, upper=upper)
    assert fit_table(readings, certificate=False).model.takes_bounds
    with pytest.raises(InputError, match=r"kind t: bounds of a cell .*use kind normal"):
        fit_table(readings, kind="t")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "gamma"}, "kind: 'gamma'"),
        ({"prior": "strong"}, "prior: 'strong'"),
        ({"prior": -1.0}, "prior: -1.0"),
        ({"kind": "t", "prior": 2.0}, "use kind normal for a ridge"),
        ({"kind": "factors", "n_factors": 9, "prior": 1.0}, "factors: 9; 1 to 3"),
    ],
)
def test_hostile_options_get_one_clear_line(change, told):
    with pytest.raises(InputError, match=told) as caught:
        fit_table(Readings(correlated()), **change)
    assert "\n" not in str(caught.value)


def test_hostile_columns_get_one_clear_line():
    values = correlated()
    constant = np.column_stack([values, np.ones(len(values))])
    with pytest.raises(InputError, match="E: one value alone, 1, in its 200 observed cells"):
        fit_table(Readings(constant), labels="ABCDE")
    with pytest.raises(InputError, match="E: no value"):
        fit_table(Readings(constant * [1, 1, 1, 1, np.nan]), labels="ABCDE")


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_table_that_needs_a_prior_has_a_checkpoint_too(tmp_path, monkeypatch, at):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(24, 1))
    table = np.column_stack([rows, rows])
    table[:2, 0] = np.nan
    whole = fit_table(Readings(table))
    assert whole.pseudo_rows > 0.0
    fit_one, calls = fitting.fit_with_errors, []

    def broken(*given, **asked):
        def stop(*_, passes=[]):  # noqa: B006
            passes.append(1)
            if len(passes) > 2:
                raise KeyboardInterrupt

        calls.append(1)
        return fit_one(*given, **asked, **({"on_pass": stop} if len(calls) == at else {}))

    monkeypatch.setattr(fitting, "fit_with_errors", broken)
    if at:
        with pytest.raises(KeyboardInterrupt):
            fit_table(Readings(table), checkpoint=tmp_path / "at")
    again = fit_table(Readings(table), checkpoint=tmp_path / "at")
    np.testing.assert_array_equal(again.params.covariance, whole.params.covariance)
    assert not (tmp_path / "at").exists()
