"""The stored study of coverage shows what is said of it, and the width that no method undercuts is computed right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.impute_coverage import analyse, at_maximum

STUDY = pd.read_csv(Path(__file__).parents[2] / "benchmarks" / "impute_coverage.tsv", sep="\t")
SETTING = ["table", "n", "d", "mechanism", "share_masked", "estimates"]
DRAWN = ("bootstrap", "posterior")


def test_pooled_intervals_cover_as_those_of_complete_data_and_single_imputation_does_not():
    coverage = STUDY.pivot(index=SETTING, columns="method", values="coverage")
    assert len(coverage) == 16
    for method in DRAWN:
        assert ((coverage[method] - coverage["complete data"]).abs() <= 0.03).all()
    slopes = coverage.xs("slopes", level="estimates")
    assert (slopes["single imputation"] < slopes["bootstrap"] - 0.03).all()


def test_slope_intervals_are_at_most_a_fifth_wider_where_a_tenth_is_missing():
    few = STUDY.query("share_masked <= 0.1 and estimates == 'slopes' and method in @DRAWN")
    assert len(few) == 8
    assert (few["width_ratio"] <= 1.2).all()


def test_pooled_intervals_are_as_wide_as_the_observed_information_and_the_number_of_tables_ask():
    excess = STUDY.query("method in @DRAWN").set_index([*SETTING, "method"]).eval("beyond_bound / rubin - 1")
    small = (excess.index.get_level_values("n") == 100) & (excess.index.get_level_values("d") == 8)
    assert (excess[~small].abs() <= 0.02).all()
    assert (excess[small] <= 0.1).all()  # the bootstrap of 100 rows and 44 parameters


def test_the_errors_of_the_maximum_are_those_of_least_squares_where_nothing_is_missing():
    rows = np.random.default_rng(3).normal(size=(60, 4)) @ np.random.default_rng(4).normal(size=(4, 4))
    estimates, variances, _ = analyse(rows[None])
    found, errors, share = at_maximum(rows, rows.mean(axis=0), np.cov(rows.T, bias=True))
    np.testing.assert_allclose(found, estimates[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(errors, variances[0], rtol=1e-9, atol=0)
    np.testing.assert_allclose(share, 0.0, rtol=0, atol=1e-9)


def test_a_response_missing_in_some_rows_leaves_the_errors_of_the_rows_that_have_it():
    """Monotone gaps in the response: the slopes are those of the complete rows, with their residual variance."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3))
    rows[50:, -1] = np.nan
    some = rows[:50]
    design = np.column_stack([np.ones(50), some[:, :-1]])
    beta, *_ = np.linalg.lstsq(design, some[:, -1], rcond=None)
    noise = float(np.mean((some[:, -1] - design @ beta) ** 2))
    mean, spread = rows[:, :-1].mean(axis=0), np.cov(rows[:, :-1].T, bias=True)
    covariance = np.zeros((3, 3))
    covariance[:-1, :-1], covariance[-1, :-1] = spread, spread @ beta[1:]
    covariance[:-1, -1], covariance[-1, -1] = covariance[-1, :-1], beta[1:] @ spread @ beta[1:] + noise
    found, errors, _ = at_maximum(rows, np.append(mean, beta[0] + mean @ beta[1:]), covariance)
    np.testing.assert_allclose(found[1:], beta[1:], rtol=1e-9, atol=0)
    expected = noise * np.diagonal(np.linalg.inv(design.T @ design))[1:] * 80 / 77
    np.testing.assert_allclose(errors[1:], expected, rtol=1e-9, atol=0)
