"""Where the likelihood has no finite maximum it is said, why, and what is used instead; a ridge is continuous in its weight."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from emtools.errors import FitError
from emtools.imputing.fitting import fit_table
from emtools.kernels.readings import Readings

HERE = Path(__file__).parent


def mammalsleep():
    """The table and its columns; total sleep is the sum of two others."""
    with open(HERE / "impute_mammalsleep.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return np.array([[float(row[c] or "nan") for c in rows[0]] for row in rows]), tuple(rows[0])


def holes(values, share, seed=1):
    return np.where(np.random.default_rng(seed).random(values.shape) < share, np.nan, values)


def correlations(fitted):
    covariance = fitted.model.moments(fitted.params)[1]
    sd = np.sqrt(np.diagonal(covariance))
    return covariance / np.outer(sd, sd)


def test_the_sum_in_mammalsleep_is_named_and_a_ridge_used():
    values, labels = mammalsleep()
    fitted = fit_table(Readings(values), labels=labels, certificate=False)
    assert re.match(r"(ts = (sws \+ ps|ps \+ sws)|sws = ts - ps|ps = ts - sws): ", fitted.notices[0])
    assert "no finite maximum" in fitted.notices[0]
    assert fitted.pseudo_rows > 0.0
    assert f"a ridge prior worth {fitted.pseudo_rows:.3g} rows" in fitted.notices[1]
    assert np.linalg.eigvalsh(correlations(fitted))[0] > 1e-6


@pytest.mark.parametrize("weight", [0.0, 1e-10])
def test_a_ridge_that_is_lost_in_rounding_is_refused_by_name(weight):
    """Not a fault of a step of the model, nor a saddle."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(150, 3))
    values = holes(np.column_stack([values, values[:, 0] + values[:, 2] / 2.0]), 0.15)
    with pytest.raises(FitError) as told:
        fit_table(Readings(values), labels=("a", "b", "c", "d"), prior=weight)
    assert "d = a + 0.5 c" in str(told.value)
    assert ("lost in rounding" if weight else "no finite maximum") in str(told.value)
    assert "at least 0.0001 rows; set the prior to auto" in str(told.value)


def test_nine_rows_of_six_columns():
    rng = np.random.default_rng(0)
    values = holes(rng.normal(size=(9, 6)) @ rng.normal(size=(6, 6)) + 10.0, 0.2)
    fitted = fit_table(Readings(values))
    assert fitted.notices[0].startswith("The likelihood has no finite maximum with 9 rows of 6 columns")
    assert f"a ridge prior worth {fitted.pseudo_rows:.3g} rows" in fitted.notices[1]
    assert fitted.fit.converged


@pytest.mark.slow
def test_a_hundred_rows_of_five_hundred_columns():
    rng = np.random.default_rng(2)
    values = holes(rng.normal(size=(100, 3)) @ rng.normal(size=(3, 500)) + rng.normal(size=(100, 500)), 0.1)
    fitted = fit_table(Readings(values), max_passes=20)
    assert fitted.notices[0].startswith(
        "100 rows cannot tell the covariance of 500 columns: the likelihood has no finite"
    )
    assert fitted.kind == "factors"
    assert f"with a ridge prior on their loadings worth {fitted.pseudo_rows:g} rows" in fitted.notices[1]


def test_a_ridge_goes_to_its_limit_without_a_jump():
    """Of a table with a maximum: the distance from it falls with the weight, from 1e-2 to 1e-8 rows, to 0."""
    rng = np.random.default_rng(5)
    values = Readings(holes(rng.normal(size=(80, 4)) @ rng.normal(size=(4, 4)), 0.15))
    limit = fit_table(values, prior="none", certificate=False)
    sd = np.sqrt(np.diagonal(limit.params.covariance))
    away = []
    for weight in 10.0 ** -np.arange(2.0, 9.0):
        here = fit_table(values, prior=weight, certificate=False).params.covariance
        away.append(np.abs((here - limit.params.covariance) / np.outer(sd, sd)).max())
    np.testing.assert_allclose(np.divide(away[:-3], away[1:-2]), 10.0, rtol=0.1)
    assert away[-1] < 1e-8


def test_the_ridge_of_dependent_columns_goes_to_their_equation():
    """The variance about the equation falls with the weight, from 1e-2 to 1e-8 rows; all else has a limit."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(150, 3))
    values = holes(np.column_stack([values, values[:, 0] + values[:, 2] / 2.0]), 0.15)
    least, other = [], []
    for weight in 10.0 ** -np.arange(2.0, 9.0):
        fitted = fit_table(Readings(values), prior=weight, certificate=False)
        assert fitted.fit.converged
        spectrum = np.linalg.eigvalsh(correlations(fitted))
        least.append(spectrum[0])
        other.append(spectrum[1:])
    np.testing.assert_allclose(np.divide(least[:-1], least[1:]), 10.0, rtol=0.01)
    np.testing.assert_allclose(other[1:], other[-1][None, :].repeat(len(other) - 1, axis=0), rtol=1e-4)


@pytest.mark.parametrize("kind", ["normal", "t", "factors", "mixture"])
def test_units_of_columns_do_not_matter(kind):
    """A column times 2^40, another by 2^-40: the same choices, and the same fit within the tolerance of its climb."""
    rng = np.random.default_rng(0)
    values = holes(rng.normal(size=(120, 2)) @ rng.normal(size=(2, 8)) + rng.normal(size=(120, 8)), 0.15)
    unit = 2.0 ** np.array([0, 40, -20, 3, 0, -40, 10, 0])
    one, two = (fit_table(Readings(table), kind=kind, certificate=False) for table in (values, values * unit))
    filled, again = (
        fitted.model.conditional(fitted.params, Readings(table))[0]
        for fitted, table in ((one, values), (two, values * unit))
    )
    assert one.pseudo_rows == two.pseudo_rows
    near = 1e-3 if kind == "factors" else 1e-6
    np.testing.assert_allclose(again / unit, filled, rtol=0.0, atol=near)
