"""Rubin's rules against mice's pool(), and what they must do at their ends."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from emtools.errors import InputError
from emtools.imputing.pooling import joint_test, pool

MICE = json.loads((Path(__file__).parents[1] / "reference" / "mice_pool.json").read_text(encoding="utf-8"))
NAMES = {
    "estimate": "estimate",
    "within": "ubar",
    "between": "b",
    "total": "t",
    "df": "df",
    "increase": "riv",
    "share": "lambda",
    "missing": "fmi",
    "p_value": "p_value",
}


@pytest.mark.parametrize("case", MICE["cases"], ids=lambda case: case["name"])
def test_pooling_is_that_of_mice(case):
    pooled = pool(case["estimates"], case["variances"], case["dfcom"] or math.inf)
    for ours, theirs in NAMES.items():
        np.testing.assert_allclose(getattr(pooled, ours), case[theirs], rtol=1e-11, atol=1e-14, err_msg=ours)
    for ours, theirs in zip(pooled.interval(), ("lower", "upper"), strict=True):
        np.testing.assert_allclose(ours, case[theirs], rtol=1e-10, atol=1e-12, err_msg=theirs)


def test_stored_cases_have_two_to_twenty_tables_and_all_families():
    assert {len(case["estimates"]) for case in MICE["cases"]} >= {2, 3, 5, 10, 20}
    assert {case["family"] for case in MICE["cases"]} == {"gaussian", "binomial", "poisson"}
    assert any(max(case["fmi"]) > 0.5 for case in MICE["cases"])


@pytest.mark.parametrize("case", MICE["joint"])
def test_joint_test_is_that_of_mice(case):
    test = joint_test(case["estimates"], [np.diag(row) for row in case["variances"]])
    np.testing.assert_allclose(test.statistic, case["statistic"][0], rtol=1e-12)
    np.testing.assert_allclose(test.increase, case["increase"][0], rtol=1e-12)
    np.testing.assert_allclose(test.df, case["df"], rtol=1e-12)
    np.testing.assert_allclose(test.p_value, case["p_value"][0], rtol=1e-10)


def test_joint_test_does_not_depend_on_the_coordinates():
    rng = np.random.default_rng(1)
    estimates, turn = rng.normal([1.0, 0.0, -1.0], size=(6, 3)), rng.normal(size=(3, 3))
    roots = rng.normal(size=(6, 3, 5))
    covariances = roots @ roots.transpose(0, 2, 1)
    one = joint_test(estimates, covariances)
    two = joint_test(estimates @ turn.T, turn @ covariances @ turn.T)
    np.testing.assert_allclose([two.statistic, two.increase, two.p_value], [one.statistic, one.increase, one.p_value])


def test_nothing_missing_is_the_analysis_of_the_complete_table():
    pooled = pool(np.tile([1.5, -0.2], (5, 1)), np.tile([0.25, 0.04], (5, 1)), 40.0)
    np.testing.assert_allclose(pooled.error, [0.5, 0.2], rtol=1e-15)
    np.testing.assert_array_equal(pooled.increase, 0.0)
    # Barnard & Rubin's estimate of the degrees of freedom of the observed data is a little below those of the complete.
    assert ((pooled.df > 37.5) & (pooled.df < 40.0)).all()
    test = joint_test(np.tile([1.5, -0.2], (5, 1)), np.tile(np.diag([0.25, 0.04]), (5, 1, 1)))
    assert test.p_value == pytest.approx(stats.chi2.sf(9.0 + 1.0, 2), rel=1e-12)


@pytest.mark.parametrize("m", [3, 5, 20])
def test_equal_tables_differ_by_nothing_at_all(m):
    pooled = pool(np.tile([0.1, 0.7, 1e9 / 3.0], (m, 1)), np.full((m, 3), 0.1), 50.0)
    assert pooled.between.tolist() == [0.0, 0.0, 0.0]
    assert pooled.estimate.tolist() == [0.1, 0.7, 1e9 / 3.0]
    assert joint_test(np.tile([0.1, 0.7], (m, 1)), np.tile(np.eye(2), (m, 1, 1))).df == (2.0, math.inf)


def test_intervals_widen_with_the_level_and_hold_the_estimate():
    pooled = pool([[1.0], [2.0], [1.5]], [[1.0], [1.0], [1.0]], 20.0)
    (low, high), (lower, higher) = pooled.interval(0.9), pooled.interval(0.99)
    assert lower < low < pooled.estimate < high < higher


@pytest.mark.parametrize(
    ("estimates", "variances", "df", "words"),
    [
        ([[1.0]], [[1.0]], 10.0, "1 completed table; at least 2"),
        ([[1.0], [2.0]], [[1.0, 2.0]], 10.0, r"shape \(2, 1\), variances of shape \(1, 2\)"),
        ([[1.0], [2.0]], [[1.0], [0.0]], 10.0, "positive variances"),
        ([[1.0], [np.nan]], [[1.0], [1.0]], 10.0, "not a finite number"),
        ([[1.0], [2.0]], [[1.0], [1.0]], 0.0, "0 degrees of freedom"),
    ],
)
def test_unusable_input_is_named(estimates, variances, df, words):
    with pytest.raises(InputError, match=words):
        pool(estimates, variances, df)


def test_joint_test_names_a_singular_covariance():
    with pytest.raises(InputError, match="singular"):
        joint_test(np.ones((3, 2)), np.ones((3, 2, 2)))
