"""Diagnostics of an imputation: against published numbers, naive rewrites, and data that are made to fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate
from scipy.stats import chi2, norm
from scipy.stats import f as f_distribution

from emtools.imputing.advice import before_fit, collinear, dependencies, on_log_scale
from emtools.imputing.batches import holm
from emtools.imputing.complete import impute
from emtools.imputing.diagnose import centre_and_scatter, diagnose, pattern_table
from emtools.imputing.overimpute import deal, overimpute, predict_each, predict_mixture
from emtools.kernels.missingness import leave_one_out, little_test, missing_information, slope_errors
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Identity, Log
from emtools.models.student_t import StudentTParams

AIRQUALITY = Path(__file__).parents[1] / "reference" / "impute_airquality.tsv"


def correlated(n, d, seed, gaps=0.15, shared=1.0):
    """Rows with one shared factor and gaps at random."""
    rng = np.random.default_rng(seed)
    values = shared * rng.normal(size=(n, 1)) + rng.normal(size=(n, d)) + 5.0
    values[rng.random((n, d)) < gaps] = np.nan
    return values


def completed(values, **asked):
    d = values.shape[1]
    return impute(Readings(values), markers=[f"m{j}" for j in range(d)], scales=(Identity(),) * d, **asked)


@pytest.fixture(scope="module")
def airquality():
    """R's table with its six columns: months of 31, 30, 31, 31 and 30 days."""
    days = [
        (month, day)
        for month, last in zip(range(5, 10), (31, 30, 31, 31, 30), strict=True)
        for day in range(1, last + 1)
    ]
    return np.hstack([pd.read_csv(AIRQUALITY, sep="\t").to_numpy(dtype=float), np.array(days, dtype=float)])


def test_littles_statistic_of_airquality_is_the_published_one(airquality):
    """naniar::mcar_test(airquality) prints 35.1 on 14 degrees of freedom, p = 0.00142, 4 patterns (its web page)."""
    found = diagnose(completed(airquality, tol=1e-12)).mcar
    assert (round(found.statistic, 1), found.df, round(found.p, 5), found.n_patterns) == (35.1, 14, 0.00142, 4)


def test_littles_statistic_is_its_definition(airquality):
    mean, covariance = np.nanmean(airquality, axis=0), np.cov(airquality[~np.isnan(airquality).any(axis=1)].T)
    total, df, seen = 0.0, -6, ~np.isnan(airquality)
    for pattern in {tuple(row) for row in seen}:
        o = np.array(pattern)
        rows = airquality[(seen == o).all(axis=1)][:, o]
        away = rows.mean(axis=0) - mean[o]
        total += len(rows) * away @ np.linalg.inv(covariance[np.ix_(o, o)]) @ away
        df += o.sum()
    found = little_test(mean, covariance, airquality)
    assert found.statistic == pytest.approx(total, rel=1e-10)
    assert (found.df, found.p) == (df, pytest.approx(chi2.sf(total, df), rel=1e-9))


def test_little_rejects_gaps_that_follow_another_marker_and_no_others():
    rng = np.random.default_rng(1)
    values = correlated(300, 3, 1, gaps=0.0)
    chance, driven = values.copy(), values.copy()
    chance[rng.random(300) < 0.3, 0] = np.nan
    driven[values[:, 1] > 5.5, 0] = np.nan
    assert diagnose(completed(chance)).mcar.p > 0.05
    assert diagnose(completed(driven)).mcar.p < 1e-6


def test_each_cell_left_out_is_its_conditional():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(4, 4))
    covariance, mean = root @ root.T + np.eye(4), rng.normal(size=4)
    values = rng.multivariate_normal(mean, covariance, size=6)
    values[1, 2] = values[4, 0] = values[4, 1] = np.nan
    values[5] = np.nan
    out = leave_one_out(values, mean, covariance)
    for i, j in np.argwhere(~np.isnan(values)):
        others = np.flatnonzero(~np.isnan(values[i]) & (np.arange(4) != j))
        slope = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, j])
        assert out.predicted[i, j] == pytest.approx(mean[j] + slope @ (values[i, others] - mean[others]), rel=1e-9)
        assert out.variance[i, j] == pytest.approx(covariance[j, j] - slope @ covariance[others, j], rel=1e-9)
    assert np.isnan(out.predicted[np.isnan(values)]).all()
    assert out.distance[5] == out.log_density[5] == 0.0
    o = [0, 1, 3]
    away = values[1, o] - mean[o]
    assert out.distance[1] == pytest.approx(away @ np.linalg.inv(covariance[np.ix_(o, o)]) @ away, rel=1e-9)


def test_missing_information_agrees_with_the_certificate_where_gaps_are_at_random():
    done = completed(correlated(4000, 3, 3, gaps=0.3))
    ours = missing_information(done.fitted.params.covariance, done.readings.observed)
    np.testing.assert_allclose(ours, done.fitted.fit.certificate.missing["mean"], rtol=0, atol=0.01)
    assert (ours > 0.1).all()
    assert (ours < 0.3).all()
    t = missing_information(done.fitted.params.covariance, done.readings.observed, df=3.0)
    assert (t > ours).all()


def test_errors_of_slopes_are_those_of_least_squares_and_of_the_curvature():
    rng = np.random.default_rng(4)
    design, residual = rng.normal(size=(30, 2)), np.array([[1.0, 0.6], [0.6, 2.0]])
    seen = np.ones((30, 2), dtype=bool)
    z = np.column_stack([np.ones(30), design])
    complete = np.sqrt(np.outer(np.diagonal(np.linalg.inv(z.T @ z)), np.diagonal(residual)))[1:]
    np.testing.assert_allclose(slope_errors(design, residual, seen), complete, rtol=1e-10)
    seen[:10, 0] = seen[20:, 1] = False
    information = np.zeros((6, 6))
    for row, o in zip(z, seen, strict=True):
        precision = np.zeros((2, 2))
        precision[np.ix_(o, o)] = np.linalg.inv(residual[np.ix_(o, o)])
        information += np.kron(np.outer(row, row), precision)
    slow = np.sqrt(np.diagonal(np.linalg.inv(information))).reshape(3, 2)[1:]
    np.testing.assert_allclose(slope_errors(design, residual, seen), slow, rtol=1e-10)


def test_a_marker_without_values_in_a_batch_leaves_the_errors_of_the_other_slopes():
    rng = np.random.default_rng(8)
    plate, age = np.repeat([0.0, 1.0, 2.0], 20), rng.normal(size=60)
    design = np.column_stack([plate == 1.0, plate == 2.0, age]).astype(float)
    seen = rng.random((60, 2)) < 0.8
    seen[plate == 1.0, 1] = False
    residual = np.diag([2.0, 0.5])
    errors = slope_errors(design, residual, seen)
    for j, columns in ((0, [0, 1, 2]), (1, [1, 2])):
        rows = seen[:, j]
        z = np.column_stack([np.ones(rows.sum()), design[rows][:, columns]])
        alone = np.sqrt(np.diagonal(residual[j, j] * np.linalg.inv(z.T @ z)))[1:]
        np.testing.assert_allclose(errors[columns, j], alone, rtol=1e-9)
    assert np.isnan(errors[0, 1])
    seen[plate == 0.0, 1] = False  # of the reference, too: neither shift can be told, the slope on age can
    errors = slope_errors(design, residual, seen)
    assert np.isnan(errors).tolist() == [[False, True], [False, True], [False, False]]


def test_cells_are_dealt_evenly_and_never_twice():
    seen = np.random.default_rng(5).random((40, 6)) < 0.7
    seen[:, 5] = False
    seen[:3, 5] = True
    fold = deal(seen, np.random.default_rng(0), 5)
    assert (fold[~seen] == -1).all()
    assert (fold[:, 5] == -1).all()
    for j in range(5):
        counts = np.bincount(fold[seen[:, j], j], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_overimputation_covers_what_it_promises_where_the_model_holds():
    cells = diagnose(completed(correlated(400, 4, 6))).overimputed
    for level in (0.5, 0.8, 0.95):
        error = np.sqrt(level * (1 - level) / cells.pit.size)
        assert abs(cells.coverage(level) - level) < 4 * error
    assert cells.pit.size == cells.n_observed


def test_cells_that_the_fit_saw_look_better_than_they_are():
    """Sixty rows of fifteen independent markers: nothing can be foretold, but a fit that saw a cell says otherwise."""
    values = correlated(60, 15, 7, gaps=0.05, shared=0.0)
    done = completed(values, certificate=False)
    honest = overimpute(done.scaled, done.fitted, 15)
    blind = leave_one_out(values, done.fitted.params.mean, done.fitted.params.covariance)
    seen = ~np.isnan(values)
    flattered = 1 - np.mean((values[seen] - blind.predicted[seen]) ** 2) / np.nanvar(values)
    told = 1 - np.mean((honest.truth - honest.predicted) ** 2) / np.nanvar(values)
    assert flattered > 0.1
    assert told < 0.0


def test_few_rows_are_dealt_into_many_folds_and_told_so():
    """Two factors behind 12 markers of 88 rows: what is left of the shortfall is the error of 90 estimates.

    True parameters hold 95 % at 95 %; of five folds, each of which takes a fifth of the cells away, 78 % were held.
    """
    rng = np.random.default_rng(0)
    values = rng.normal(size=(88, 2)) @ rng.normal(size=(2, 12)) + 0.7 * rng.normal(size=(88, 12))
    values[rng.random(values.shape) < 0.1] = np.nan
    found = diagnose(completed(values, certificate=False))
    assert found.overimputed.n_fits == 20
    assert 0.86 < found.overimputed.coverage(0.95) < 0.91
    assert any("with 88 rows for 12 columns they lack the error" in text for text in found.notices)


def test_fits_that_do_not_get_there_are_left_out_and_told(monkeypatch):
    monkeypatch.setattr("emtools.imputing.overimpute.REFIT_PASSES", 1)
    found = diagnose(completed(correlated(60, 3, 15), certificate=False))
    assert found.overimputed.n_failed == found.overimputed.n_fits == 5
    assert found.overimputed.pit.size == 0
    assert any(text.startswith("5 of 5 fits without some of the observed cells") for text in found.notices)


def test_prediction_under_a_t_is_the_ratio_of_densities():
    done = completed(correlated(60, 3, 8), kind="t", certificate=False)
    params = StudentTParams(
        np.array([0.0, 1.0, 2.0]), np.array([[1.0, 0.5, 0.2], [0.5, 2.0, 0.3], [0.2, 0.3, 1.0]]), 4.0
    )
    row = np.array([[0.7, -0.5, 3.0]])
    _, _, pit = predict_each(done.fitted, params, row)

    def density(x):
        away = np.array([x, -0.5, 3.0]) - params.location
        return (1 + away @ np.linalg.solve(params.scatter, away) / params.df) ** (-(params.df + 3) / 2)

    below, above = (integrate.quad(density, *ends, epsabs=1e-13)[0] for ends in ((-np.inf, 0.7), (0.7, np.inf)))
    assert pit[0, 0] == pytest.approx(below / (below + above), rel=1e-7)


def test_prediction_under_a_mixture_weighs_components_by_the_rest_of_the_row():
    class Two:
        weights = np.array([0.3, 0.7])
        means = np.array([[0.0, 0.0], [3.0, 4.0]])
        covariances = np.array([[[1.0, 0.4], [0.4, 1.0]], [[2.0, -0.5], [-0.5, 1.0]]])

    mean, sd, pit = predict_mixture(Two, np.array([[1.0, 2.5]]))
    at = np.linspace(-12, 16, 20001)
    density = sum(
        w * np.exp(-0.5 * np.einsum("ni,ij,nj->n", away, np.linalg.inv(c), away)) / np.sqrt(np.linalg.det(c))
        for w, m, c in zip(Two.weights, Two.means, Two.covariances, strict=True)
        for away in [np.column_stack([at, np.full(at.size, 2.5)]) - m]
    )
    density /= density.sum()
    assert mean[0, 0] == pytest.approx((density * at).sum(), rel=1e-6)
    assert sd[0, 0] == pytest.approx(np.sqrt((density * at**2).sum() - (density * at).sum() ** 2), rel=1e-6)
    assert pit[0, 0] == pytest.approx(density[at <= 1.0].sum(), abs=1e-3)


def test_likelihood_ratio_of_a_batch_is_that_of_a_regression():
    rng = np.random.default_rng(9)
    plate = rng.integers(0, 2, size=(80, 1)).astype(float)
    values = rng.normal(size=(80, 3)) + plate * np.array([1.5, 0.0, 0.0])
    batch = diagnose(completed(values, design=plate, design_names=("plate=2",), tol=1e-12)).batch
    within = values - np.where(plate == 1, values[plate[:, 0] == 1].mean(axis=0), values[plate[:, 0] == 0].mean(axis=0))
    ratio = 80 * (np.linalg.slogdet(np.cov(values.T, bias=True))[1] - np.linalg.slogdet(within.T @ within / 80)[1])
    assert batch.statistic == pytest.approx(ratio, rel=1e-7)
    assert batch.df == 3
    shifts = batch.shifts.set_index("marker")
    sd = np.sqrt((within**2).mean(axis=0))
    observed = (values[plate[:, 0] == 1].mean(axis=0) - values[plate[:, 0] == 0].mean(axis=0)) / sd
    np.testing.assert_allclose(shifts["shift"], observed, rtol=1e-6)
    counts = np.array([(plate == 0).sum(), (plate == 1).sum()])
    np.testing.assert_allclose(shifts["se"], np.sqrt((1 / counts).sum()), rtol=1e-6)
    assert shifts["p_holm"]["m0"] < 1e-4
    assert (shifts["p_holm"][["m1", "m2"]] > 0.05).all()


def test_holm_never_falls_and_stays_below_one():
    p = np.array([0.5, 0.001, 0.02, 0.9, 0.02])
    np.testing.assert_allclose(holm(p), [1.0, 0.005, 0.08, 1.0, 0.08], rtol=1e-12)


def test_a_row_out_of_line_is_found_and_told():
    values = correlated(150, 4, 10, gaps=0.05)
    values[17] = [5.0, 11.0, -1.0, 5.0]
    found = diagnose(completed(values, certificate=False))
    assert found.outliers["row"].tolist()[0] == 17
    assert any("(row 18): check it for errors, or use --model t" in told for told in found.notices)
    assert found.to_json()["outlying_rows"][0] == 18
    assert diagnose(completed(correlated(150, 4, 10, gaps=0.05), certificate=False)).outliers.empty


@pytest.mark.parametrize("kind", ["normal", "t"])
def test_rows_are_judged_given_their_covariates(kind):
    """Distance and p value are those of the markers about their regression on the covariate, by hand."""
    values = correlated(150, 3, 10, gaps=0.05)
    values[17] = [6.0, -7.0, 6.0]
    age = np.random.default_rng(1).normal(50.0, 9.0, size=(150, 1))
    done = completed(values, design=age, design_names=("age",), kind=kind)
    found = diagnose(done).outliers
    assert found["row"].tolist() == [17]
    mean, scatter = centre_and_scatter(done.fitted)
    slope = scatter[:3, 3] / scatter[3, 3]
    away = values[17] - mean[:3] - slope * (age[17, 0] - mean[3])
    square = away @ np.linalg.solve(scatter[:3, :3] - np.outer(slope, scatter[3, :3]), away)
    p = chi2.sf(square, 3)
    if kind == "t":
        df, far = done.fitted.params.df, (age[17, 0] - mean[3]) ** 2 / scatter[3, 3]
        square *= (df + 1) / (df + far)
        p = f_distribution.sf(square / 3, 3, df + 1)
    assert found.loc[0, ["n_observed", "distance", "p"]].to_numpy(float) == pytest.approx([3, square, p], rel=1e-8)


def test_the_covariance_of_a_t_is_that_of_its_rows():
    done = completed(correlated(150, 3, 12), kind="t")
    params, found = done.fitted.params, diagnose(done)
    assert params.df > 2.0
    wanted = params.scatter * params.df / (params.df - 2.0)
    np.testing.assert_allclose(found.covariance, wanted, rtol=1e-12)
    np.testing.assert_allclose(found.markers["sd"] ** 2, np.diag(wanted), rtol=1e-12)


def test_outlying_rows_are_told_by_their_names():
    values = correlated(150, 4, 10, gaps=0.05)
    values[17], values[40] = [5.0, 11.0, -1.0, 5.0], [-9.0, 9.0, -9.0, 9.0]
    told = diagnose(completed(values), rows=[f"patient {k}" for k in range(150)]).notices
    assert any("2 rows too far from the others" in text and "(rows patient 40, patient 17)" in text for text in told)


def test_patterns_tell_limits_from_gaps():
    values = np.array([[1.0, np.nan], [np.nan, 2.0], [1.5, np.nan], [2.0, 3.0], [np.nan, np.nan]])
    upper = np.full(values.shape, np.inf)
    upper[0, 1] = upper[2, 1] = 0.5
    frame, count = pattern_table(Readings(values, None, upper), ("a", "b"))
    assert count == 4
    assert frame["pattern"].tolist()[0] == "o<"
    assert frame["n_rows"].tolist()[0] == 2
    assert dict(zip(frame["pattern"], frame["missing"], strict=True)) == {"o<": "", "oo": "", ".o": "a", "..": "a b"}


def test_same_answer_for_any_number_of_threads():
    done = completed(correlated(700, 5, 11), certificate=False)
    one, two = diagnose(done, threads=1), diagnose(done, threads=2)
    assert np.array_equal(one.overimputed.pit, two.overimputed.pit)
    pd.testing.assert_frame_equal(one.markers, two.markers, check_exact=True)
    assert json.dumps(one.to_json()) == json.dumps(two.to_json())


@pytest.mark.parametrize("kind", ["t", "factors", "mixture"])
def test_every_kind_of_model_is_diagnosed(kind):
    asked = {"factors": {"n_factors": 1}, "mixture": {"n_components": 2}}.get(kind, {})
    found = diagnose(completed(correlated(100, 3, 12, gaps=0.1), kind=kind, certificate=False, **asked))
    assert found.overimputed.pit.size > 200
    assert abs(found.overimputed.coverage(0.8) - 0.8) < 0.1
    assert found.mcar.p > 0.001
    json.dumps(found.to_json())


def test_more_markers_than_rows_are_predicted_by_a_fit_made_afresh():
    rng = np.random.default_rng(13)
    values = rng.normal(size=(24, 2)) @ rng.normal(size=(2, 30)) + rng.normal(size=(24, 30))
    values[rng.random(values.shape) < 0.1] = np.nan
    found = diagnose(completed(values, prior=10.0, certificate=False))
    assert found.mcar is None
    assert "more rows than columns" in found.why_no_test
    assert 0.85 < found.overimputed.coverage(0.95) <= 1.0


def test_cells_with_limits_count_as_limits():
    values = correlated(80, 3, 14, gaps=0.05)
    upper = np.full(values.shape, np.inf)
    low = values[:, 0] < 4.0
    values[low, 0], upper[low, 0] = np.nan, 4.0
    done = impute(Readings(values, None, upper), markers=("a", "b", "c"), scales=(Identity(),) * 3, certificate=False)
    found = diagnose(done)
    assert found.mcar is None
    assert found.markers["n_beyond_limit"].tolist() == [int(low.sum()), 0, 0]
    tested = found.overimputed
    rows = np.flatnonzero(low & ~np.isnan(values[:, 1]))
    assert np.isin(rows, tested.rows[tested.columns == 1]).all()
    ignored = overimpute(Readings(values), completed(values).fitted, 3).pit[np.isin(tested.rows, rows)]
    assert norm.ppf(ignored).mean() < norm.ppf(tested.pit[np.isin(tested.rows, rows)]).mean() - 0.1


# --------------------------------------------------------------------------------------------------- sentences


def told(values, rows=None, **asked):
    names = [f"m{j}" for j in range(values.shape[1])]
    return before_fit(Readings(values), names, rows or [str(i) for i in range(len(values))], **asked)


def test_clean_markers_get_no_sentence():
    assert told(correlated(80, 3, 20)) == []


def test_few_and_mostly_missing_values_are_named():
    values = correlated(60, 3, 21, gaps=0.0)
    values[3:, 0] = np.nan
    values[20:, 1] = np.nan
    found = told(values)
    assert any(text.startswith("fewer than 10 observed values: m0 (3)") for text in found)
    assert any(text.startswith("missing in more than half of the rows: m1 (67 %)") for text in found)


def test_pairs_never_seen_together_are_named_with_a_remedy():
    values = correlated(60, 3, 22, gaps=0.0)
    values[:30, 0] = values[30:, 1] = np.nan
    (text,) = told(values)
    assert text.startswith("m0 and m1 are never observed in one row")
    assert "--columns" in text
    values = correlated(60, 8, 23, gaps=0.0)
    values[:30, :4] = values[30:, 4:] = np.nan
    assert told(values)[0].startswith("16 pairs of markers are never observed in one row")


def test_long_tails_want_a_logarithm_only_where_it_helps():
    rng = np.random.default_rng(24)
    values = correlated(200, 2, 24, gaps=0.0)
    values[:, 0] = np.exp(rng.normal(size=200))
    assert [text for text in told(values) if "long right tail" in text and "m0; model them with --log" in text]
    assert told(values, logged=np.array([True, False])) == []
    values[:, 0] -= 1.0
    assert not [text for text in told(values) if "long right tail" in text]


def test_zeros_are_asked_about_and_never_changed():
    values = correlated(100, 2, 25, gaps=0.0)
    values[:30, 0] = 0.0
    values[:25, 1] = 50.0
    found = told(values)
    assert any("m0 (30 of 100 are 0); are these true values" in text and "--lod" in text for text in found)
    assert any("m1 (25 of 100 are 50); are these true values" in text and "--upper-limit" in text for text in found)


def test_collinear_pairs_and_groups_are_named():
    rng = np.random.default_rng(26)
    x = rng.normal(size=(500, 4))
    x[:, 1] = x[:, 0] + 0.02 * rng.normal(size=500)
    (text,) = collinear(np.corrcoef(x.T), ("a", "b", "c", "d"))
    assert text.startswith("nearly the same measurement: a and b (r = 0.999")
    x[:, 1] = rng.normal(size=500)
    x[:, 3] = x[:, 0] + x[:, 1] + x[:, 2] + 0.02 * rng.normal(size=500)
    (text,) = collinear(np.corrcoef(x.T), ("a", "b", "c", "d"))
    assert text.startswith("nearly a linear function of one another: a, b, c, d")
    assert dependencies(np.corrcoef(rng.normal(size=(500, 4)).T)) == []


def test_values_below_zero_of_a_positive_marker_are_told():
    rng = np.random.default_rng(27)
    base = rng.normal(size=150)
    values = np.column_stack([np.exp(1.5 * base + 0.2 * rng.normal(size=150)), base + 0.2 * rng.normal(size=150)])
    values[base < -1.0, 0] = np.nan
    below = "below 0 although every observed value is above it: m0 ("
    assert any(below in text for text in diagnose(completed(values, certificate=False)).notices)
    logged = impute(Readings(values), markers=("m0", "m1"), scales=(Log(), Identity()), certificate=False)
    assert not any(below in text for text in diagnose(logged).notices)
    npx = completed(values, units=("NPX (log2)", ""), certificate=False)
    assert not any("below 0" in text for text in diagnose(npx).notices)


@pytest.mark.parametrize(
    ("unit", "known"),
    [
        *[(unit, True) for unit in ("NPX (log2)", "npx", "Ct", "log10 pg/mL", "ln(x)")],
        *[(unit, False) for unit in ("logits", "mg/dL", "", "CTX")],
    ],
)
def test_units_of_logarithms_are_known(unit, known):
    assert on_log_scale(unit) is known


def test_wrong_coverage_is_told():
    rng = np.random.default_rng(28)
    values = rng.standard_t(1.5, size=(400, 3))
    done = completed(values[(np.abs(values) < 200).all(axis=1)])
    narrow = replace(done.fitted.params, covariance=done.fitted.params.covariance * 100.0)
    stretched = replace(done, fitted=replace(done.fitted, fit=replace(done.fitted.fit, params=narrow)))
    assert any("row" in text and "--model t" in text for text in diagnose(done).notices)
    assert diagnose(stretched).outliers.empty


def test_observed_values_above_a_limit_are_judged_given_that():
    """A third of two markers below their limit: intervals hold what they promise, which those of all values would not."""
    rng = np.random.default_rng(31)
    values = rng.multivariate_normal(np.zeros(4), 0.5 * np.eye(4) + 0.5, size=500)
    upper = np.full(values.shape, np.inf)
    for j in (0, 1):
        limit = np.quantile(values[:, j], 1 / 3)
        upper[values[:, j] < limit, j] = limit
        values[values[:, j] < limit, j] = np.nan
    plates = upper.copy()
    plates[:250, 1][np.isfinite(plates[:250, 1])] += 0.01
    for bounds, n_unknown in ((upper, 0), (plates, 1)):
        known = Readings(values, np.full(values.shape, -np.inf), bounds)
        done = impute(known, markers=tuple("abcd"), scales=(Identity(),) * 4, certificate=False)
        cells = overimpute(done.scaled, done.fitted, 4)
        assert cells.unjudged == (1,) * n_unknown
        assert (cells.columns == 1).sum() == (0 if n_unknown else (~np.isnan(values[:, 1])).sum())
        pit = cells.pit[cells.columns == 0]
        assert abs(pit.mean() - 0.5) < 3.0 / np.sqrt(12 * pit.size)
        assert abs(cells.coverage(0.5, 0) - 0.5) < 3.0 * np.sqrt(0.25 / pit.size)
