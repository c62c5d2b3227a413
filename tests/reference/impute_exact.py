"""Maximum of the observed-data likelihood of a normal and its observed information, without EM and without emtools.

Score and Hessian in (mean, covariance) are written out (Magnus & Neudecker 2019, Matrix Differential Calculus, 3rd ed.,
chapter 15), pattern of missingness by pattern. BFGS with limited memory climbs in the mean and the log-Cholesky factor
of standardised columns; Newton steps in (mean, covariance) end it. Little's statistic (1988, JASA 83, 1198-1202,
doi:10.1080/01621459.1988.10478722, eq. 2) follows from its parts.

Usage: python tests/reference/impute_exact.py [NAME …] > tests/reference/impute_exact.json
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import scipy
from scipy.linalg import cho_factor, cho_solve, eigh, solve_triangular
from scipy.optimize import minimize
from scipy.stats import chi2

HERE = Path(__file__).parent
PBC = ("bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime")
NAMES = ("airquality", "nhanes", "boys", "sleep", "pbc", "pbcseq", "apple", "missvals", "synthetic")


def synthetic(n=600, d=40, share=0.15, seed=40):
    """Three factors, and a gap in every seventh cell or so."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(d, 3))
    table = rng.normal(size=(n, 3)) @ loadings.T + rng.normal(size=(n, d)) * rng.uniform(0.5, 1.5, size=d)
    return np.where(rng.random((n, d)) < share, np.nan, np.round(10 + table, 3))


def load(name):
    """A table, shape (n, d), and its columns."""
    if name == "synthetic":
        table = synthetic()
        return table, [f"x{j + 1}" for j in range(table.shape[1])]
    path = HERE.parents[1] / "resources" / "pbc.csv" if name == "pbc" else HERE / f"impute_{name}.tsv"
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="," if name == "pbc" else "\t"))
    columns = list(PBC if name == "pbc" else rows[0])
    return np.array([[float(row[c] or "nan") for c in columns] for row in rows]), columns


def patterns(table):
    """Columns, number of rows, mean and scatter about it for each pattern."""
    observed = ~np.isnan(table)
    kinds, which = np.unique(observed, axis=0, return_inverse=True)
    found = []
    for k, kind in enumerate(kinds):
        if kind.any():
            rows = table[np.ravel(which) == k][:, kind]
            centred = rows - rows.mean(axis=0)
            found.append((np.flatnonzero(kind), len(rows), rows.mean(axis=0), centred.T @ centred))
    return found


def loglik_and_score(mean, covariance, parts):
    """In nats; score by the mean and by the covariance as a symmetric matrix of independent entries."""
    value, by_mean, by_covariance = 0.0, np.zeros(mean.size), np.zeros(covariance.shape)
    for o, n, centre, scatter in parts:
        factor = cho_factor(covariance[np.ix_(o, o)], lower=True)
        away = centre - mean[o]
        total = scatter + n * np.outer(away, away)
        weight = cho_solve(factor, np.eye(o.size))
        solved = weight @ total
        value -= 0.5 * n * (o.size * np.log(2 * np.pi) + 2 * np.log(np.diagonal(factor[0])).sum())
        value -= 0.5 * np.trace(solved)
        by_mean[o] += n * weight @ away
        by_covariance[np.ix_(o, o)] += 0.5 * (solved @ weight - n * weight)
    return value, by_mean, by_covariance


def information(mean, covariance, parts):
    """Observed information in the means and the lower triangle of the covariance, row by row."""
    d = mean.size
    by_means, mixed, by_pairs = np.zeros((d, d)), np.zeros((d, d, d)), np.zeros((d, d, d, d))
    for o, n, centre, scatter in parts:
        weight = cho_solve(cho_factor(covariance[np.ix_(o, o)], lower=True), np.eye(o.size))
        away = centre - mean[o]
        score = weight @ away * n
        inner = weight @ (scatter + n * np.outer(away, away)) @ weight - 0.5 * n * weight
        by_means[np.ix_(o, o)] += n * weight
        mixed[np.ix_(o, o, o)] += weight[:, :, None] * score
        by_pairs[np.ix_(o, o, o, o)] += weight[:, None, :, None] * inner[None, :, None, :]
    rows, columns = np.tril_indices(d)
    twice = np.where(rows == columns, 0.5, 1.0)

    def halves(tensor):
        """Derivative by one entry below the diagonal, which moves two of the matrix."""
        return (tensor[..., rows, columns] + tensor[..., columns, rows]) * twice

    cross = halves(mixed)
    both = halves(by_pairs)
    both = (both[rows, columns] + both[columns, rows]) * twice[:, None]
    both = 0.5 * (both + both.T)
    return np.block([[by_means, cross], [cross.T, both]])


def from_vector(vector, d):
    mean, lower = vector[:d], np.zeros((d, d))
    lower[np.tril_indices(d)] = vector[d:]
    return mean, lower + np.tril(lower, -1).T


def climb(parts, d):
    """Mean and covariance near the top, from a start at zero correlation."""
    below = np.tril_indices(d)
    diagonal = below[0] == below[1]

    def unpacked(vector):
        factor = np.zeros((d, d))
        factor[below] = np.where(diagonal, np.exp(np.where(diagonal, vector[d:], 0.0)), vector[d:])
        return vector[:d], factor

    def negative(vector):
        mean, factor = unpacked(vector)
        try:
            value, by_mean, by_covariance = loglik_and_score(mean, factor @ factor.T, parts)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros(vector.size)
        by_factor = 2.0 * (by_covariance @ factor)[below]
        return -value, -np.concatenate([by_mean, np.where(diagonal, by_factor * factor[below], by_factor)])

    at = np.zeros(d + diagonal.size)
    for _ in range(20):
        found = minimize(
            negative, at, jac=True, method="L-BFGS-B",
            options={"maxiter": 20000, "maxfun": 40000, "maxcor": 50, "ftol": 1e-16, "gtol": 1e-7},
        )  # fmt: skip
        settled = np.abs(found.x - at).max() < 1e-9
        at = found.x
        if settled:
            break
    mean, factor = unpacked(at)
    return mean, factor @ factor.T


def polish(mean, covariance, parts, steps=30):
    """Newton steps, halved while they leave the space or fall; the last decrement is returned with the point."""
    d = mean.size
    below = np.tril_indices(d)
    twice = np.where(below[0] == below[1], 1.0, 2.0)
    vector = np.concatenate([mean, covariance[below]])
    decrement = np.inf
    for _ in range(steps):
        mean, covariance = from_vector(vector, d)
        value, by_mean, by_covariance = loglik_and_score(mean, covariance, parts)
        score = np.concatenate([by_mean, by_covariance[below] * twice])
        step = np.linalg.solve(information(mean, covariance, parts), score)
        if not abs(score @ step) < decrement:
            break
        decrement = abs(score @ step)
        size = 1.0
        while size > 1e-6:
            try:
                if loglik_and_score(*from_vector(vector + size * step, d), parts)[0] >= value - 1e-9:
                    break
            except np.linalg.LinAlgError:
                pass
            size /= 2
        vector = vector + size * step
    return *from_vector(vector, d), decrement


def maximum(table):
    """Everything that the tests compare with, in the units of the table."""
    d = table.shape[1]
    centre, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    parts = patterns((table - centre) / spread)
    mean, covariance, decrement = polish(*climb(parts, d), parts)
    value = loglik_and_score(mean, covariance, parts)[0]
    matrix = information(mean, covariance, parts)
    values = eigh(matrix, eigvals_only=True)
    errors = np.sqrt(np.diagonal(np.linalg.inv(matrix)))
    rows, columns = np.tril_indices(d)
    statistic, degrees = 0.0, -d
    for o, n, middle, _ in parts:
        half = solve_triangular(np.linalg.cholesky(covariance[np.ix_(o, o)]), middle - mean[o], lower=True)
        statistic += n * float(half @ half)
        degrees += o.size
    return {
        "n_rows": int((~np.isnan(table)).any(axis=1).sum()),
        "n_patterns": len(parts),
        "loglik": float(value - (~np.isnan(table)).sum(axis=0) @ np.log(spread)),
        "decrement": float(decrement),
        "smallest_information": float(values[0]),
        "mean": (centre + spread * mean).tolist(),
        "covariance": (covariance * np.outer(spread, spread)).tolist(),
        "mean_errors": (errors[:d] * spread).tolist(),
        "covariance_errors": (errors[d:] * spread[rows] * spread[columns]).tolist(),
        "little": statistic,
        "little_degrees": int(degrees),
        "little_p": float(chi2.sf(statistic, degrees)) if degrees else None,
    }


def main():
    known = {}
    for name in sys.argv[1:] or NAMES:
        table, columns = load(name)
        known[name] = {"columns": columns, **maximum(table)}
        print(name, {k: v for k, v in known[name].items() if not isinstance(v, list)}, file=sys.stderr, flush=True)
    known["versions"] = {"numpy": np.__version__, "scipy": scipy.__version__}
    print(json.dumps(known, indent=1))


if __name__ == "__main__":
    main()
