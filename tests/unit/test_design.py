"""Covariates as columns of numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emtools.errors import InputError
from emtools.io.design import design_columns, design_from_json, design_of

FRAME = pd.DataFrame(
    {
        "age": [50.0, np.nan, 43.0, 61.0, 70.0, 55.0],
        "plate": ["B", "A", "B", "C", "B", None],
        "smoker": [True, False, True, True, False, True],
        "site": ["x"] * 6,
        "empty": [np.nan] * 6,
    }
)


def test_indicators_have_the_most_frequent_level_as_reference():
    values, labels = design_columns(FRAME)
    assert labels == ("age", "plate=A", "plate=C", "smoker=False")
    nan = np.nan
    np.testing.assert_array_equal(values[:, 0], FRAME["age"])
    np.testing.assert_array_equal(values[:, 1:3].T, [[0, 1, 0, 0, 0, nan], [0, 0, 0, 1, 0, nan]])
    np.testing.assert_array_equal(values[:, 3], [0, 1, 0, 0, 1, 0])


def test_what_is_told():
    told = "\n".join(design_of(FRAME).notices)
    assert "covariate plate: levels in so few rows say little of their effect: A (1), C (1)" in told
    assert "covariate age is missing in 1 of 6 rows" in told
    assert "covariate plate is missing in 1 of 6 rows" in told
    assert "covariate site has one value only and was left out" in told
    assert "covariate empty is missing everywhere and was left out" in told


def test_later_rows_are_coded_alike_and_a_new_level_is_named():
    design = design_from_json(design_of(FRAME).as_json())
    later = FRAME.iloc[[3]].reset_index(drop=True)
    np.testing.assert_array_equal(design.matrix(later), [[61.0, 0.0, 1.0, 0.0]])
    with pytest.raises(InputError, match=r"covariate 'plate', row 1: the level 'Z' was not in the data of the fit"):
        design.matrix(later.assign(plate="Z"))
    with pytest.raises(InputError, match="there is no column 'age'"):
        design.matrix(later.drop(columns="age"))


def test_no_covariates_make_no_columns():
    values, labels = design_columns(pd.DataFrame(index=range(4)))
    assert values.shape == (4, 0)
    assert labels == ()
