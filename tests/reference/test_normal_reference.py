"""The multivariate normal on real tables against lavaan (normal.R) and against a direct maximiser."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from emtools.cli import build_parser
from emtools.engine.starts import fit
from emtools.kernels.gaussian import pack_cholesky, unpack_cholesky
from emtools.kernels.readings import Readings
from emtools.models.normal import MultivariateNormal, PatternSource

HERE = Path(__file__).parent
LAVAAN = json.loads((HERE / "normal.lavaan.json").read_text())
TABLES = ("airquality", "nhanes", "pbc")


def load(name):
    if name != "pbc":
        return np.array(LAVAAN[name]["data"], dtype=float)
    with open(HERE.parents[1] / "resources" / "pbc.csv", newline="") as file:
        return np.array([[float(row[c] or "nan") for c in LAVAAN["pbc"]["columns"]] for row in csv.DictReader(file)])


def negative_loglik(vector, rows):
    """Minus the observed-data log-likelihood, row by row, and its gradient in (mean, log-Cholesky)."""
    d = rows.shape[1]
    mean, covariance = vector[:d], unpack_cholesky(vector[d:])
    value, by_mean, by_covariance = 0.0, np.zeros(d), np.zeros((d, d))
    for row in rows:
        o = np.flatnonzero(~np.isnan(row))
        block = covariance[np.ix_(o, o)]
        inverse = np.linalg.inv(block)
        score = inverse @ (row[o] - mean[o])
        value += 0.5 * (o.size * np.log(2 * np.pi) + np.linalg.slogdet(block)[1] + (row[o] - mean[o]) @ score)
        by_mean[o] -= score
        by_covariance[np.ix_(o, o)] += 0.5 * (inverse - np.outer(score, score))
    factor = np.linalg.cholesky(covariance)
    by_factor = 2.0 * np.tril(by_covariance @ factor)
    np.fill_diagonal(by_factor, np.diagonal(by_factor) * np.diagonal(factor))
    return value, np.concatenate([by_mean, by_factor[np.tril_indices(d)]])


def maximise(table):
    """Maximum by BFGS and then Newton steps on the gradient; no EM anywhere."""
    d = table.shape[1]
    centre, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    rows = (table - centre) / spread
    rows = rows[~np.isnan(rows).all(axis=1)]
    start = np.concatenate([np.zeros(d), pack_cholesky(np.eye(d))])
    at = minimize(negative_loglik, start, args=(rows,), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    for _ in range(3):
        gradient = negative_loglik(at, rows)[1]
        shifts = 1e-5 * np.eye(at.size)
        curvature = [(negative_loglik(at + s, rows)[1] - negative_loglik(at - s, rows)[1]) / 2e-5 for s in shifts]
        at = at - np.linalg.solve(np.array(curvature), gradient)
    loglik = -negative_loglik(at, rows)[0] - (~np.isnan(table)).sum(axis=0) @ np.log(spread)
    return loglik, centre + spread * at[:d], unpack_cholesky(at[d:]) * np.outer(spread, spread)


def tight(table):
    model = MultivariateNormal(table.shape[1])
    return fit(model, PatternSource(table), tol=1e-11, parameter_tol=1e-10, max_passes=20000)


def distance(params, mean, covariance):
    """Largest difference of a mean in SD, and of a covariance in products of SD."""
    sd = np.sqrt(np.diag(covariance))
    off = np.abs(params.covariance - covariance) / np.outer(sd, sd)
    return np.abs((params.mean - mean) / sd).max(), off.max()


@pytest.mark.parametrize("name", TABLES)
def test_mle_equals_lavaan(name):
    theirs = LAVAAN[name]
    ours = tight(load(name))
    assert ours.converged
    assert ours.loglik >= theirs["loglik"] - 1e-12 * abs(theirs["loglik"])
    assert max(distance(ours.params, np.array(theirs["mean"]), np.array(theirs["covariance"]))) < 1e-6


@pytest.mark.parametrize("name", TABLES)
def test_default_tolerance_of_the_command_is_tight_enough(name):
    theirs = LAVAAN[name]
    table = load(name)
    tol = build_parser().parse_args(["impute", "x.csv", "--out", "x"]).tol
    ours = fit(MultivariateNormal(table.shape[1]), PatternSource(table), tol=tol)
    assert ours.converged
    assert max(distance(ours.params, np.array(theirs["mean"]), np.array(theirs["covariance"]))) < 1e-6


@pytest.mark.parametrize("name", ["airquality", "nhanes", pytest.param("pbc", marks=pytest.mark.slow)])
def test_mle_equals_a_direct_maximiser(name):
    table = load(name)
    ours = tight(table)
    loglik, mean, covariance = maximise(table)
    assert ours.loglik == pytest.approx(loglik, rel=1e-12)
    assert max(distance(ours.params, mean, covariance)) < 1e-7


def shrinkage_rows(name):
    """Rows of the table in docs/models/normal.md: variances of the incomplete columns, right and wrong."""
    table = load(name)
    ours = tight(table)
    source = PatternSource(table)
    hard = fit(ours.model, source, assign="hard", tol=1e-9)
    filled, _ = ours.model.conditional(ours.params, Readings(table))
    means = np.where(np.isnan(table), np.nanmean(table, axis=0), table)
    right = np.diag(ours.params.covariance)
    wrong = np.array([filled.var(axis=0), np.diag(hard.params.covariance), means.var(axis=0)])
    share = 100 * np.isnan(table).mean(axis=0)
    return [
        (
            f"| {name} | {column} | {share[j]:.1f} % | {right[j]:.5g} | "
            + " | ".join(f"{v:.5g}" for v in wrong[:, j])
            + " |"
        )
        for j, column in enumerate(LAVAAN[name]["columns"])
        if share[j]
    ], wrong[:, share > 2] / right[share > 2]


@pytest.mark.parametrize("name", TABLES)
def test_filling_in_shrinks_the_variances_as_the_docs_show(name):
    """The negative control: no kind of single filling comes near the MLE."""
    rows, ratios = shrinkage_rows(name)
    assert ratios.max() < 0.98
    assert (ratios[2] < ratios[0]).all()
    docs = (HERE.parents[1] / "docs" / "models" / "normal.md").read_text(encoding="utf-8")
    for row in rows:
        assert row in docs
