"""Maximum likelihood of a multivariate t of rows with gaps by a direct search that shares no line with the package.

``python tests/reference/incomplete_t.py > tests/reference/incomplete_t.json``. BFGS and then Newton steps climb the
observed-data log-likelihood, from its analytic gradient in location, log-Cholesky factor of the scatter and log degrees of
freedom; no EM anywhere. Standard errors are those of the inverse of the Hessian, by fourth-order differences of the gradient.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
from pathlib import Path

import impute_exact
import numpy as np
import scipy
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

HERE = Path(__file__).parent
PBC = ("age", "bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime")
HELD = (
    "airquality",
    "nhanes",
    "pbc",
    "pbc_log",
    "missvals",
)  # tables that are fitted with 3 degrees of freedom as well
OTHERS = ("apple", "sleep", "boys", "pbcseq")
STORED = (*OTHERS, "missvals")
STEPS = 50
HIGHEST = 1e4  # degrees of freedom at which they are held where the likelihood rises all the way to the normal
STEP = 1e-4


def table_of(name):
    """airquality and nhanes as normal.R wrote them; ten columns of resources/pbc.csv, and their logarithms; impute_*.tsv."""
    if name in STORED:
        return impute_exact.load(name)[0]
    if not name.startswith("pbc"):
        return np.array(json.loads((HERE / "normal.lavaan.json").read_text())[name]["data"], dtype=float)
    with open(HERE.parents[1] / "resources" / "pbc.csv", newline="") as file:
        table = np.array([[float(row[column] or "nan") for column in PBC] for row in csv.DictReader(file)])
    return np.log(table) if name == "pbc_log" else table


def unpack(vector, d):
    factor = np.zeros((d, d))
    factor[np.tril_indices(d)] = vector[d : d + d * (d + 1) // 2]
    factor[np.diag_indices(d)] = np.exp(np.diagonal(factor))
    return vector[:d], factor


def negative_loglik(vector, rows, df):
    """Minus the log-likelihood, pattern by pattern, and its gradient; the last entry is log df where `df` is None."""
    d = rows.shape[1]
    location, factor = unpack(vector, d)
    nu = float(np.exp(vector[-1])) if df is None else df
    scatter = factor @ factor.T
    value, by_location, by_scatter, by_nu = 0.0, np.zeros(d), np.zeros((d, d)), 0.0
    observed = ~np.isnan(rows)
    kinds, which = np.unique(observed, axis=0, return_inverse=True)
    for k, kind in enumerate(kinds):
        o = np.flatnonzero(kind)
        p = o.size
        inverse = np.linalg.inv(scatter[np.ix_(o, o)])
        away = rows[np.ravel(which) == k][:, o] - location[o]
        scores = away @ inverse
        squared = (away * scores).sum(axis=1)
        pull = (nu + p) / (nu + squared)
        constant = gammaln((nu + p) / 2) - gammaln(nu / 2) - p / 2 * np.log(nu * np.pi)
        value += len(away) * (constant + np.linalg.slogdet(inverse)[1] / 2)
        value -= (nu + p) / 2 * np.log1p(squared / nu).sum()
        by_location[o] += pull @ scores
        by_scatter[np.ix_(o, o)] += ((scores * pull[:, None]).T @ scores - len(away) * inverse) / 2
        slope = digamma((nu + p) / 2) - digamma(nu / 2) - p / nu
        by_nu += float((slope - np.log1p(squared / nu) + pull * squared / nu).sum())
    by_factor = 2.0 * np.tril(by_scatter @ factor)
    by_factor[np.diag_indices(d)] *= np.diagonal(factor)
    gradient = np.concatenate([by_location, by_factor[np.tril_indices(d)]])
    if df is None:
        gradient = np.append(gradient, 0.5 * by_nu * nu)
    return -value, -gradient


def curvature(at, rows, df):
    columns = []
    for shift in STEP * np.eye(at.size):
        near, far = (
            negative_loglik(at + k * shift, rows, df)[1] - negative_loglik(at - k * shift, rows, df)[1] for k in (1, 2)
        )
        columns.append((8 * near - far) / (12 * STEP))
    hessian = np.array(columns)
    return (hessian + hessian.T) / 2


def maximise(table, df):
    """Location, scatter, df, log-likelihood, standard errors of the location."""
    d = table.shape[1]
    centre, spread = np.nanmedian(table, axis=0), np.nanstd(table, axis=0)
    rows = (table - centre) / spread
    rows = rows[~np.isnan(rows).all(axis=1)]
    start = np.concatenate([np.zeros(d + d * (d + 1) // 2), [np.log(5.0)] if df is None else []])
    with np.errstate(all="ignore"):  # where degrees of freedom go to infinity
        at = minimize(negative_loglik, start, args=(rows, df), jac=True, method="BFGS", options={"maxiter": 5000}).x
    if df is None and at[-1] > np.log(HIGHEST):
        return maximise(table, HIGHEST)
    for _ in range(STEPS):
        widths, axes = np.linalg.eigh(curvature(at, rows, df))
        before, gradient = negative_loglik(at, rows, df)
        step = axes @ ((axes.T @ gradient) / np.abs(widths))
        while negative_loglik(at - step, rows, df)[0] > before + 1e-9 * abs(before):
            step = step / 2
        at = at - step
        if gradient @ step < 1e-20:
            break
    hessian = curvature(at, rows, df)
    assert np.linalg.eigvalsh(hessian)[0] > 0.0, "no maximum"
    gradient = negative_loglik(at, rows, df)[1]
    left = float(gradient @ np.linalg.solve(hessian, gradient)) / 2
    errors = (spread * np.sqrt(np.diagonal(np.linalg.inv(hessian)))[:d]).tolist()
    value = negative_loglik(at, rows, df)[0]
    location, factor = unpack(at, d)
    return {
        "loglik": -value - float((~np.isnan(table)).sum(axis=0) @ np.log(spread)),
        "location": (centre + spread * location).tolist(),
        "scatter": (factor @ factor.T * np.outer(spread, spread)).tolist(),
        "df": float(np.exp(at[-1])) if df is None else df,
        "errors": errors,
        "left": left,
    }


if __name__ == "__main__":
    found = {}
    for name in sys.argv[1:] or HELD + OTHERS:
        for df in (None, 3.0) if name in HELD else (None,):
            found[f"{name}, df {'estimated' if df is None else df}"] = maximise(table_of(name), df)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    print(json.dumps({"versions": versions, "fits": found}, indent=1))
