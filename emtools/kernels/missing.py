"""The normal distribution of rows with gaps, one pattern of missingness at a time, from the observed block of the covariance.

``d`` columns, of which a pattern has ``p`` observed and ``q = d - p`` missing. Rows of one pattern are kept as their
weight, their mean and a root of their scatter: these are sufficient, so that a pass never returns to the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from emtools.kernels.lapack import factorise_columns, lower_columns, solve_columns
from emtools.kernels.patterns import PatternRows, mean_and_root, sort_patterns

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Pattern:
    """Rows that share one pattern of missingness, reduced to what the likelihood needs.

    Parameters
    ----------
    observed : ndarray, shape (p,)
        Numbers of the observed columns, ascending; p >= 1.
    missing : ndarray, shape (q,)
        Numbers of the missing columns, ascending.
    n_rows : int
        Rows.
    weight : float
        Sum of their weights.
    mean : ndarray, shape (p,)
        Weighted mean of the observed values, from the origin.
    root : ndarray, shape (min(n_rows, p) or 0, p)
        ``root.T @ root`` is the weighted scatter about `mean`.
    """

    observed: Integers
    missing: Integers
    n_rows: int
    weight: float
    mean: Floats
    root: Floats


def group_rows(observed: Booleans) -> list[Integers]:
    """Rows of each pattern of missingness, patterns in lexicographic order (complete rows last).

    Parameters
    ----------
    observed : ndarray of bool, shape (n, d)
        Which cells hold a value.

    Returns
    -------
    list of ndarray
        Ascending row numbers, one array a pattern; the pattern without any value is left out.
    """
    order, cuts = sort_patterns(observed)
    edges = cuts.tolist()
    groups = [order[begin:end] for begin, end in pairwise(edges)]
    return [rows for rows in groups if observed[rows[0]].any()]


def pattern_list(rows: PatternRows) -> list[Pattern]:
    """The patterns of sorted rows, each reduced to its weight, mean and scatter."""
    patterns = []
    for g, observed in enumerate(rows.observed):
        o, of = np.flatnonzero(observed), slice(rows.cuts[g], rows.cuts[g + 1])
        values, scale = rows.values[of, o], rows.scale[of]
        if rows.keep[rows.cuts[g + 1] - 1] > 0.0:
            weight, mean, root = mean_and_root(values, scale**2)
        else:
            weight, mean, root = float(scale[0] ** 2), values[0], values[1:]
        patterns.append(Pattern(o, np.flatnonzero(~observed), int(rows.n_units[g]), weight, mean, root))
    return patterns


def factorise(matrix: Floats) -> Floats | None:
    """Lower Cholesky factor, or None where `matrix` is not positive definite."""
    turned = lower_columns(np.ascontiguousarray(matrix, dtype=np.float64))
    return turned.T if factorise_columns(turned) else None


def solve_lower(factor: Floats, right: Floats, transposed: bool = False) -> Floats:
    """``factor⁻¹ right``, or ``factor⁻ᵀ right``, for a lower triangular `factor`."""
    columns = np.array(right.T, dtype=np.float64, order="C", ndmin=2)
    solve_columns(np.ascontiguousarray(factor.T), columns, transposed)
    return columns.T if right.ndim == 2 else columns[0]


def condition(covariance: Floats, observed: Integers, missing: Integers) -> tuple[Floats, Floats, Floats] | None:
    """Regression of the missing columns on the observed ones.

    ``slopes = Σ_oo⁻¹ Σ_om`` and ``residual = Σ_mm - Σ_mo Σ_oo⁻¹ Σ_om``.

    Parameters
    ----------
    covariance : ndarray, shape (d, d)
        Positive definite.
    observed, missing : ndarray of int, shapes (p,) and (q,)
        Columns.

    Returns
    -------
    factor : ndarray, shape (p, p)
        Lower Cholesky factor of the observed block.
    slopes : ndarray, shape (p, q)
    residual : ndarray, shape (q, q)
        Conditional covariance.
        None where the observed block is not positive definite.

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3rd ed., theorem 2.5.1.
    """
    if not observed.size:
        return np.zeros((0, 0)), np.zeros((0, missing.size)), covariance[np.ix_(missing, missing)]
    factor = factorise(covariance[np.ix_(observed, observed)])
    if factor is None:
        return None
    if not missing.size:
        return factor, np.zeros((observed.size, 0)), np.zeros((0, 0))
    half = solve_lower(factor, covariance[np.ix_(observed, missing)])
    slopes = solve_lower(factor, half, transposed=True)
    return factor, slopes, covariance[np.ix_(missing, missing)] - half.T @ half


def log_determinant(factor: Floats) -> float:
    """``log det(L Lᵀ)`` of a lower Cholesky factor."""
    return 2.0 * float(np.log(factor.diagonal()).sum())


def expected_moments(
    patterns: Sequence[Pattern], mean: Floats, covariance: Floats, mode_only: bool
) -> tuple[float, float, Floats, Floats]:
    """Observed-data log-likelihood, entropy, and expected first and second moments of the completed rows.

    A missing part has the conditional mean ``μ_m + (x_o - μ_o) slopes`` and adds its conditional covariance to the
    second moment: a filled-in mean alone would shrink every variance.

    Parameters
    ----------
    patterns : sequence of Pattern
        Rows, from the origin.
    mean : ndarray, shape (d,)
        From the same origin.
    covariance : ndarray, shape (d, d)
    mode_only : bool
        Put each missing part at its conditional mode: no conditional covariance, no entropy, and the
        log-likelihood is that of the completed rows.

    Returns
    -------
    loglik, entropy : float
        In nats; NaN where `covariance` is not positive definite.
    first : ndarray, shape (d,)
        ``Σ w E[x]``
    second : ndarray, shape (d, d)
        ``Σ w E[x xᵀ]``

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., section 11.2.1.
    """
    d = mean.size
    loglik = entropy = 0.0
    first, second = np.zeros(d), np.zeros((d, d))
    completed = np.zeros((sum(1 + len(p.root) for p in patterns), d))
    undefined = math.nan, math.nan, first, second
    whole = factorise(covariance) if mode_only else None
    if mode_only and whole is None:
        return undefined
    top = 0
    for pattern in patterns:
        o, m, weight = pattern.observed, pattern.missing, pattern.weight
        parts = condition(covariance, o, m)
        if parts is None:
            return undefined
        factor, slopes, residual = parts
        rows = completed[top : top + 1 + len(pattern.root)]
        top += len(rows)
        away = pattern.mean - mean[o]
        rows[0, o] = pattern.mean
        rows[1:, o] = pattern.root
        if m.size:
            rows[0, m] = mean[m] + away @ slopes
            rows[1:, m] = pattern.root @ slopes
        first += weight * rows[0]
        rows[0] *= math.sqrt(weight)
        half = solve_lower(factor, np.vstack([math.sqrt(weight) * away, pattern.root]).T)
        square = float(np.vdot(half, half))
        if whole is not None:
            loglik -= 0.5 * (weight * (d * LOG_2PI + log_determinant(whole)) + square)
            continue
        loglik -= 0.5 * (weight * (o.size * LOG_2PI + log_determinant(factor)) + square)
        if m.size:
            left = factorise(residual)
            if left is None:
                return undefined
            entropy += 0.5 * weight * (m.size * (1.0 + LOG_2PI) + log_determinant(left))
            second[np.ix_(m, m)] += weight * residual
    second += completed.T @ completed
    return loglik, entropy, first, second


def fill_conditional(
    values: Floats, mean: Floats, covariance: Floats, noise: Floats | None = None
) -> tuple[Floats, Floats]:
    """Conditional mean and standard deviation of every missing cell.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)
        Positive definite.
    noise : ndarray, shape (n, d), optional
        Standard normal numbers; with them the gaps of a row are drawn jointly instead.

    Returns
    -------
    filled : ndarray, shape (n, d)
        `values`, with conditional means or draws in the gaps; a row without any value has the mean and covariance.
    sd : ndarray, shape (n, d)
        Conditional standard deviation of each filled cell, NaN where a value was observed.

    Raises
    ------
    numpy.linalg.LinAlgError
        If `covariance` is not positive definite.
    """
    filled, sd = values.copy(), np.full(values.shape, np.nan)
    observed = ~np.isnan(values)
    empty = np.flatnonzero(~observed.any(axis=1))
    for rows in [*group_rows(observed), *([empty] if empty.size else [])]:
        o, m = np.flatnonzero(observed[rows[0]]), np.flatnonzero(~observed[rows[0]])
        if not m.size:
            continue
        parts = condition(covariance, o, m)
        if parts is None:
            raise np.linalg.LinAlgError("the covariance is not positive definite")
        _, slopes, residual = parts
        filled[np.ix_(rows, m)] = mean[m] + (values[np.ix_(rows, o)] - mean[o]) @ slopes
        sd[np.ix_(rows, m)] = np.sqrt(np.maximum(np.diagonal(residual), 0.0))
        if noise is not None:
            filled[np.ix_(rows, m)] += noise[np.ix_(rows, m)] @ square_root(residual).T
    return filled, sd


def square_root(covariance: Floats) -> Floats:
    """A matrix whose product with its transpose is `covariance`, which may be singular."""
    factor = factorise(covariance)
    if factor is not None:
        return factor
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def log_density_observed(values: Floats, mean: Floats, covariance: Floats) -> Floats:
    """Log density of what was observed of each row under a normal distribution.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)
        Positive definite.

    Returns
    -------
    ndarray, shape (n,)
        Nats; 0 for a row without any value.

    Raises
    ------
    numpy.linalg.LinAlgError
        If `covariance` is not positive definite.
    """
    densities = np.zeros(len(values))
    observed = ~np.isnan(values)
    for rows in group_rows(observed):
        o = np.flatnonzero(observed[rows[0]])
        factor = factorise(covariance[np.ix_(o, o)])
        if factor is None:
            raise np.linalg.LinAlgError("the covariance is not positive definite")
        white = solve_lower(factor, (values[np.ix_(rows, o)] - mean[o]).T)
        densities[rows] = -0.5 * (o.size * LOG_2PI + log_determinant(factor) + (white**2).sum(axis=0))
    return densities
