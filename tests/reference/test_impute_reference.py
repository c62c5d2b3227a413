"""Normal models of real tables with gaps against maxima and information found without EM (impute_exact.py)."""

from __future__ import annotations

import json
from pathlib import Path

import impute_exact
import numpy as np
import pytest

from emtools.imputing.fitting import fit_table
from emtools.kernels.missingness import little_test
from emtools.kernels.readings import Readings

KNOWN = json.loads(Path(__file__).with_name("impute_exact.json").read_text())
MOST_PASSES = 300


def fitted(name, **asked):
    table, columns = impute_exact.load(name)
    return fit_table(Readings(table), labels=tuple(columns), **asked)


def distance(params, known):
    """Largest difference of a mean in SD, and of a covariance in products of SD."""
    mean, covariance = np.array(known["mean"]), np.array(known["covariance"])
    sd = np.sqrt(np.diag(covariance))
    off = np.abs(params.covariance - covariance) / np.outer(sd, sd)
    return max(np.abs((params.mean - mean) / sd).max(), off.max())


@pytest.mark.parametrize("name", impute_exact.NAMES)
def test_default_fit_is_the_maximum_with_its_errors(name):
    known, ours = KNOWN[name], fitted(name)
    assert ours.pseudo_rows == 0.0
    assert ours.fit.converged
    assert distance(ours.params, known) < 1e-6
    assert ours.fit.loglik == pytest.approx(known["loglik"], rel=0.0, abs=1e-6)
    certificate = ours.fit.certificate
    np.testing.assert_allclose(certificate.standard_errors["mean"], known["mean_errors"], rtol=1e-3, atol=0.0)
    below = np.tril_indices(len(known["mean"]))
    theirs = known["covariance_errors"]
    np.testing.assert_allclose(certificate.standard_errors["covariance"][below], theirs, rtol=1e-3, atol=0.0)
    assert ours.fit.passes <= MOST_PASSES


@pytest.mark.parametrize("name", ["boys", "nhanes", "pbcseq"])
def test_a_loose_fit_is_not(name):
    """Negative control: the likelihood is level to 1e-3 nats where the parameters are still far off."""
    assert distance(fitted(name, tol=1e-3, parameter_tol=1e-3, certificate=False).params, KNOWN[name]) > 1e-6


@pytest.mark.parametrize("name", impute_exact.NAMES)
def test_little_statistic(name):
    known, ours = KNOWN[name], fitted(name, certificate=False).params
    test = little_test(ours.mean, ours.covariance, impute_exact.load(name)[0])
    assert test.statistic == pytest.approx(known["little"], rel=1e-6)
    assert test.df == known["little_degrees"]
    assert test.p == pytest.approx(known["little_p"], rel=1e-4, abs=1e-300)


def regressed(table, order):
    """Mean and covariance at the maximum where gaps are nested: each column on those before it, where it is seen
    (Anderson 1957, doi:10.1080/01621459.1957.10501379)."""
    d = table.shape[1]
    mean, covariance = np.zeros(d), np.zeros((d, d))
    for place, column in enumerate(order):
        before = order[:place]
        seen = ~np.isnan(table[:, column])
        design = np.column_stack([np.ones(seen.sum()), table[np.ix_(seen, before)]])
        slopes, *_ = np.linalg.lstsq(design, table[seen, column], rcond=None)
        residual = np.mean((table[seen, column] - design @ slopes) ** 2)
        mean[column] = slopes[0] + slopes[1:] @ mean[before]
        shared = covariance[np.ix_(before, before)] @ slopes[1:]
        covariance[before, column] = covariance[column, before] = shared
        covariance[column, column] = residual + slopes[1:] @ shared
    return mean, covariance


@pytest.mark.parametrize(("name", "order"), [("apple", [0, 1]), ("missvals", [2, 4, 0, 1, 3])])
def test_stored_maximum_equals_regressions_where_gaps_are_nested(name, order):
    mean, covariance = regressed(impute_exact.load(name)[0], order)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((np.array(KNOWN[name]["mean"]) - mean) / sd, 0.0, rtol=0.0, atol=1e-8)
    off = (np.array(KNOWN[name]["covariance"]) - covariance) / np.outer(sd, sd)
    np.testing.assert_allclose(off, 0.0, rtol=0.0, atol=1e-8)


SLOW = ("boys", "pbc", "pbcseq", "synthetic")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in impute_exact.NAMES])
def test_stored_maximum_is_found_again(name):
    known = KNOWN[name]
    again = impute_exact.maximum(impute_exact.load(name)[0])
    sd = np.sqrt(np.diag(again["covariance"]))
    np.testing.assert_allclose((np.array(known["mean"]) - again["mean"]) / sd, 0.0, rtol=0.0, atol=1e-8)
    for key in ("loglik", "little"):
        assert known[key] == pytest.approx(again[key], rel=1e-9)
    np.testing.assert_allclose(known["mean_errors"], again["mean_errors"], rtol=1e-6)
    assert known["decrement"] < 1e-15


@pytest.mark.parametrize("name", ["nhanes", "sleep", "missvals"])
def test_information_equals_differences_of_the_score(name):
    table, _ = impute_exact.load(name)
    d = table.shape[1]
    below = np.tril_indices(d)
    spread = np.nanstd(table, axis=0)
    parts = impute_exact.patterns((table - np.nanmean(table, axis=0)) / spread)
    mean = (np.array(KNOWN[name]["mean"]) - np.nanmean(table, axis=0)) / spread
    covariance = np.array(KNOWN[name]["covariance"]) / np.outer(spread, spread)
    at = np.concatenate([mean, covariance[below]])
    twice = np.where(below[0] == below[1], 1.0, 2.0)

    def score(vector):
        _, by_mean, by_covariance = impute_exact.loglik_and_score(*impute_exact.from_vector(vector, d), parts)
        return np.concatenate([by_mean, by_covariance[below] * twice])

    matrix = impute_exact.information(mean, covariance, parts)
    units = 1.0 / np.sqrt(np.diag(matrix))
    moves = np.diag(1e-3 * units)
    near, far = (np.array([score(at - k * m) - score(at + k * m) for m in moves]) for k in (1, 2))
    found = (8.0 * near - far) / 12e-3 / units[:, None]
    scale = np.outer(units, units)
    np.testing.assert_allclose(found * scale, matrix * scale, rtol=0.0, atol=1e-7)
    assert np.linalg.eigvalsh(matrix)[0] > 0.0
