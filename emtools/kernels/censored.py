"""Rows of a normal distribution, each cell of which was observed, lies between bounds, or is missing.

``d`` columns; of a row ``p`` were observed and ``u = k + q`` not: ``k`` of these have a bound (censored), ``q`` none
(missing). Values are in standard deviations from the mean, so that the covariance is a correlation matrix. Each row is
conditioned on what was observed, the censored block gets its moments within the bounds, and the missing cells follow by
regression on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.linalg import lapack

from emtools.kernels.truncated import (
    HALF_LOG_2PI,
    cholesky,
    draw_truncated,
    solve_rows,
    truncated_moments,
    truncated_normal,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

SMALLEST = 1e-6  # standard deviation of a column, relative to the spread of its values and bounds
WELL_CONDITIONED = 1e-6  # smallest conditional variance, relative, for which the precision matrix is used


@dataclass(frozen=True)
class Scaled:
    """A normal distribution in standard deviations from its mean.

    Parameters
    ----------
    mean, sd : ndarray, shape (d,)
        In the units of the columns.
    correlation, precision : ndarray, shape (d, d)
        Correlation matrix and its inverse.
    half_log_determinant : float
        Of the correlation matrix.
    by_precision : bool
        Whether the precision matrix is accurate enough to condition by; else each row's observed block is factorised.
    """

    mean: Floats
    sd: Floats
    correlation: Floats
    precision: Floats
    half_log_determinant: float
    by_precision: bool


def scale_normal(mean: Floats, covariance: Floats) -> Scaled | None:
    """A normal distribution as the kernels want it; None where `covariance` is not positive definite.

    Parameters
    ----------
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)

    Returns
    -------
    Scaled or None
    """
    variance = np.diagonal(covariance)
    if not (variance > 0).all():
        return None
    sd = np.sqrt(variance)
    correlation = covariance / np.outer(sd, sd)
    factor, info = lapack.dpotrf(correlation, lower=1, clean=1)
    if info:
        return None
    inverse, _ = lapack.dpotri(factor, lower=1)
    precision = np.tril(inverse) + np.tril(inverse, -1).T
    pivots = np.diagonal(factor)
    return Scaled(
        mean,
        sd,
        np.ascontiguousarray(correlation),
        np.ascontiguousarray(precision),
        float(np.log(pivots).sum()),
        bool(pivots.min() ** 2 > WELL_CONDITIONED),
    )


def tobit(values: Floats, low: Floats, high: Floats, weights: Floats) -> tuple[float, float]:
    """Maximum likelihood of the mean and the standard deviation of one censored column.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN where not observed; at least one value.
    low, high : ndarray, shape (n,)
        Bounds, looked at only there; cells without any say nothing.
    weights : ndarray, shape (n,)
        Non-negative.

    Returns
    -------
    mean, sd : float
        `sd` is 0 for a column that does not vary.

    References
    ----------
    Tobin (1958), Econometrica 26, 24-36, doi:10.2307/1907382.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 4.0, np.nan, np.nan])
    >>> mean, sd = tobit(values, np.full(5, -np.inf), np.full(5, 1.0), np.ones(5))
    >>> round(mean, 3), round(sd, 3)
    (1.293, 1.715)
    """
    from scipy.optimize import minimize

    weight, middle, square, under, over, counts = reduce_column(values, low, high, weights)
    unit = math.sqrt(square + float(np.mean([*np.square(ends_of(under, over) - middle), 0.0])))
    if not unit > 0.0:
        return middle, 0.0
    if not counts.size:
        return middle, math.sqrt(square)
    under, over, square = (under - middle) / unit, (over - middle) / unit, square / unit**2

    def loss(at: Floats) -> tuple[float, Floats]:
        value, slope = tobit_slope(at, weight, 0.0, square, under, over, counts)
        return -value / weight, -slope / weight

    bounds = [(None, None), (None, -math.log(SMALLEST))]
    found = minimize(
        loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-9}
    )
    sd = math.exp(-float(found.x[1]))
    return middle + unit * sd * float(found.x[0]), unit * sd


def ends_of(under: Floats, over: Floats) -> Floats:
    """The finite ones of lower and upper bounds."""
    ends: Floats = np.concatenate([under, over])
    finite: Floats = ends[np.isfinite(ends)]
    return finite


def reduce_column(
    values: Floats, low: Floats, high: Floats, weights: Floats
) -> tuple[float, float, float, Floats, Floats, Floats]:
    """What `tobit_slope` needs of a column: cells that share their bounds are counted together.

    Parameters
    ----------
    values, low, high, weights
        As in `tobit`.

    Returns
    -------
    weight, mean, square : float
    under, over, counts : ndarray, shape (g,)
    """
    seen = ~np.isnan(values) & (weights > 0)
    censored = np.isnan(values) & (weights > 0) & (np.isfinite(low) | np.isfinite(high))
    mean = float(np.average(values[seen], weights=weights[seen]))
    square = float(np.average((values[seen] - mean) ** 2, weights=weights[seen]))
    pairs, group = np.unique(np.column_stack([low[censored], high[censored]]), axis=0, return_inverse=True)
    counts = np.bincount(group.ravel(), weights=weights[censored], minlength=len(pairs)).astype(np.float64)
    under, over = pairs.T.copy()
    return float(weights[seen].sum()), mean, square, under, over, counts


def tobit_loglik(values: Floats, low: Floats, high: Floats, weights: Floats) -> float:
    """Highest log-likelihood of one censored column under a normal distribution, in nats.

    Parameters
    ----------
    values, low, high, weights
        As in `tobit`.

    Returns
    -------
    float
        Minus infinity for a column that does not vary.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 4.0, np.nan, np.nan])
    >>> round(tobit_loglik(values, np.full(5, -np.inf), np.full(5, 1.0), np.ones(5)), 3)
    -7.398
    """
    mean, sd = tobit(values, low, high, weights)
    if not sd > 0.0:
        return -math.inf
    reduced = reduce_column(values, low, high, weights)
    return float(tobit_slope(np.array([mean / sd, -math.log(sd)]), *reduced)[0]) - reduced[0] * HALF_LOG_2PI


@njit(cache=True, nogil=True)
def invert_lower(factor: Floats, n: int) -> Floats:
    """Inverse of the leading (n, n) block of a lower triangular matrix."""
    inverse = np.zeros((n, n))
    for j in range(n):
        inverse[j, j] = 1.0 / factor[j, j]
        for i in range(j + 1, n):
            total = 0.0
            for k in range(j, i):
                total += factor[i, k] * inverse[k, j]
            inverse[i, j] = -total / factor[i, i]
    return inverse


@njit(cache=True, nogil=True)
def by_precision_matrix(
    precision: Floats, away: Floats, seen: Integers, hidden: Integers, k: int, half_log_determinant: float
) -> tuple[bool, float, Floats, Floats, Floats, Floats]:
    """Distribution of the hidden cells of a row given the others, from the hidden block of the precision matrix.

    Small arrays are filled by loops: assigning to parts of them is the same, and takes three times as long to compile.

    Parameters
    ----------
    precision : ndarray, shape (d, d)
    away : ndarray, shape (d,)
        Deviations from the mean; those of hidden cells are not looked at.
    seen, hidden : ndarray of int, shapes (p,) and (u,)
        Columns; the first `k` of `hidden` are the censored ones.
    k : int
        Censored cells.
    half_log_determinant : float
        Of the correlation matrix.

    Returns
    -------
    valid : bool
        False where the block is not positive definite.
    log_density : float
        Of what was seen, nats.
    centre : ndarray, shape (u,)
        Conditional means.
    block : ndarray, shape (k, k)
        Conditional covariance of the censored cells.
    slopes : ndarray, shape (q, k)
        Regression of the missing cells on the censored ones.
    root : ndarray, shape (q, q)
        ``root @ root.T`` is the covariance of the missing cells given all others, and its triangle is its root.

    References
    ----------
    Rue & Held (2005), Gaussian Markov Random Fields, theorem 2.5.
    """
    p, u = len(seen), len(hidden)
    q = u - k
    order = np.empty(u, dtype=np.intp)
    for a in range(u):
        order[a] = hidden[k + a] if a < q else hidden[a - q]
    factor = np.empty((u, u))
    shift = np.zeros(u)
    for a in range(u):
        row = precision[order[a]]
        for b in range(a + 1):
            factor[a, b] = row[order[b]]
        for j in range(p):
            shift[a] -= row[seen[j]] * away[seen[j]]
    centre, block, slopes, root = np.empty(u), np.empty((k, k)), np.empty((q, k)), np.empty((q, q))
    if not cholesky(factor, u):
        return False, math.nan, centre, block, slopes, root
    log_density = -p * HALF_LOG_2PI - half_log_determinant
    for a in range(u):
        log_density -= math.log(factor[a, a])
        for b in range(a):
            shift[a] -= factor[a, b] * shift[b]
        shift[a] /= factor[a, a]
    for a in range(u - 1, -1, -1):
        for b in range(a + 1, u):
            shift[a] -= factor[b, a] * shift[b]
        shift[a] /= factor[a, a]
    square = 0.0
    for i in range(p):
        row = precision[seen[i]]
        total = 0.0
        for j in range(p):
            total += row[seen[j]] * away[seen[j]]
        for b in range(u):
            total += row[order[b]] * shift[b]
        square += total * away[seen[i]]
    for a in range(u):
        centre[a] = shift[q + a] if a < k else shift[a - k]
    last = invert_lower(factor[q:, q:], k)
    np.dot(last.T, last, block)
    if q:
        first = invert_lower(factor, q)
        np.dot(first.T, np.ascontiguousarray(factor[q:, :q].T), slopes)
        for a in range(q):
            for b in range(k):
                slopes[a, b] = -slopes[a, b]
            for b in range(q):
                root[a, b] = first[b, a]
    return True, log_density - 0.5 * square, centre, block, slopes, root


@njit(cache=True, nogil=True)
def by_observed_block(
    correlation: Floats, away: Floats, seen: Integers, hidden: Integers, k: int
) -> tuple[bool, float, Floats, Floats, Floats, Floats]:
    """The same as `by_precision_matrix` from the observed block of the correlation matrix, for one near singular.

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3rd ed., theorem 2.5.1.
    """
    p, u = len(seen), len(hidden)
    q = u - k
    centre, slopes, root = np.zeros(u), np.empty((q, k)), np.zeros((q, q))
    factor, half, rest = np.empty((p, p)), np.empty((u + 1, p)), np.empty((u, u))
    for i in range(p):
        row = correlation[seen[i]]
        for j in range(i + 1):
            factor[i, j] = row[seen[j]]
        for b in range(u):
            half[b, i] = row[hidden[b]]
        half[u, i] = away[seen[i]]
    if not cholesky(factor, p):
        return False, math.nan, centre, rest[:k, :k].copy(), slopes, root
    solve_rows(factor, p, half)
    log_density = -p * HALF_LOG_2PI
    for i in range(p):
        log_density -= math.log(factor[i, i]) + 0.5 * half[u, i] ** 2
    for a in range(u):
        for b in range(u):
            total = correlation[hidden[a], hidden[b]]
            for i in range(p):
                total -= half[a, i] * half[b, i]
            rest[a, b] = total
        for i in range(p):
            centre[a] += half[a, i] * half[u, i]
    block = rest[:k, :k].copy()
    if not cholesky(rest, u):
        return False, math.nan, centre, block, slopes, root
    if q:
        np.dot(np.ascontiguousarray(rest[k:, :k]), invert_lower(rest, k), slopes)
        for a in range(q):
            for b in range(a + 1):
                root[a, b] = rest[k + a, k + b]
    return True, log_density, centre, block, slopes, root


@njit(cache=True, nogil=True)
def sort_cells(values: Floats, low: Floats, high: Floats, cells: Integers) -> tuple[int, int]:
    """Columns of a row by what is known of them: observed, then censored, then missing.

    Parameters
    ----------
    values, low, high : ndarray, shape (d,)
    cells : ndarray of int, shape (d,)
        Receives the columns in that order.

    Returns
    -------
    p, k : int
        Observed and censored ones.
    """
    p = k = 0
    top = 0
    for kind in range(3):
        for j in range(len(values)):
            observed = not math.isnan(values[j])
            bounded = low[j] > -math.inf or high[j] < math.inf
            if (0 if observed else 1 if bounded else 2) == kind:
                cells[top] = j
                top += 1
                p += kind == 0
                k += kind == 1
    return p, k


@njit(cache=True, nogil=True)
def complete(
    values: Floats,
    low: Floats,
    high: Floats,
    weights: Floats,
    correlation: Floats,
    precision: Floats,
    half_log_determinant: float,
    by_precision: bool,
    spread: Floats,
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """What is expected of each row, in standard deviations from the mean.

    Parameters
    ----------
    values, low, high : ndarray, shape (n, d)
        NaN where not observed; bounds, looked at only there.
    weights : ndarray, shape (n,)
        Of the rows in `spread`.
    correlation, precision, half_log_determinant, by_precision
        As in `Scaled`.
    spread : ndarray, shape (d, d)
        Receives the weighted sum of the conditional covariances.

    Returns
    -------
    completed : ndarray, shape (n, d)
        Conditional means in the gaps.
    variances : ndarray, shape (n, d)
        Conditional variances; 0 where observed.
    log_densities, entropies : ndarray, shape (n,)
        Of what is known of each row, and of what is not; nats. NaN where the matrix is not positive definite.
    changes : ndarray, shape (n,)
        Last change of expectation propagation; 0 where the row is exact.
    """
    n, d = values.shape
    completed, variances = values.copy(), np.zeros((n, d))
    log_densities, entropies, changes = np.empty(n), np.zeros(n), np.zeros(n)
    cells = np.empty(d, dtype=np.intp)
    for r in range(n):
        p, k = sort_cells(values[r], low[r], high[r], cells)
        seen, hidden = cells[:p], cells[p:]
        u = d - p
        q = u - k
        if by_precision:
            valid, log_density, centre, block, slopes, root = by_precision_matrix(
                precision, values[r], seen, hidden, k, half_log_determinant
            )
        else:
            valid, log_density, centre, block, slopes, root = by_observed_block(correlation, values[r], seen, hidden, k)
        log_densities[r] = log_density if p else 0.0
        if not valid:
            entropies[r] = math.nan
            continue
        if not u:
            continue
        entropy = q * (0.5 + HALF_LOG_2PI)
        for a in range(q):
            entropy += math.log(root[a, a])
        covariance = np.zeros((u, u))
        if k:
            under, over = np.empty(k), np.empty(k)
            for a in range(k):
                under[a], over[a] = low[r, hidden[a]] - centre[a], high[r, hidden[a]] - centre[a]
            moved, within = np.empty(k), np.empty((k, k))
            inside, changes[r] = truncated_moments(block, under, over, moved, within)
            log_densities[r] += inside
            factor = block.copy()
            if not cholesky(factor, k):
                entropies[r] = math.nan
                continue
            half = invert_lower(factor, k)
            entropy += inside + k * HALF_LOG_2PI
            for a in range(k):
                entropy += math.log(factor[a, a])
                for b in range(a + 1):
                    for c in range(a + 1):
                        entropy += 0.5 * half[a, b] * half[a, c] * (within[b, c] + moved[b] * moved[c])
                centre[a] += moved[a]
                for b in range(k):
                    covariance[a, b] = within[a, b]
            if q:
                pulled, cross = slopes @ moved, slopes @ within
                squares = cross @ slopes.T
                for a in range(q):
                    centre[k + a] += pulled[a]
                    for b in range(k):
                        covariance[k + a, b] = covariance[b, k + a] = cross[a, b]
                    for b in range(q):
                        covariance[k + a, k + b] = squares[a, b]
        if q:
            squares = root @ root.T
            for a in range(q):
                for b in range(q):
                    covariance[k + a, k + b] += squares[a, b]
        entropies[r] = entropy
        for a in range(u):
            completed[r, hidden[a]] = centre[a]
            variances[r, hidden[a]] = covariance[a, a]
            for b in range(u):
                spread[hidden[a], hidden[b]] += weights[r] * covariance[a, b]
    return completed, variances, log_densities, entropies, changes


@njit(cache=True, nogil=True)
def draw_rows(
    values: Floats,
    low: Floats,
    high: Floats,
    correlation: Floats,
    precision: Floats,
    half_log_determinant: float,
    by_precision: bool,
    rounds: int,
    generator: np.random.Generator,
) -> Floats:
    """Rows with their gaps drawn jointly given what is known of them, in standard deviations from the mean.

    Parameters
    ----------
    values, low, high : ndarray, shape (n, d)
        NaN where not observed; bounds, looked at only there.
    correlation, precision, half_log_determinant, by_precision
        As in `Scaled`.
    rounds : int
        Steps of the Markov chain that draws two and more censored cells.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n, d)
        NaN where the matrix is not positive definite.
    """
    n, d = values.shape
    drawn = values.copy()
    cells = np.empty(d, dtype=np.intp)
    for r in range(n):
        p, k = sort_cells(values[r], low[r], high[r], cells)
        seen, hidden = cells[:p], cells[p:]
        u = d - p
        if not u:
            continue
        if by_precision:
            valid, _, centre, block, slopes, root = by_precision_matrix(
                precision, values[r], seen, hidden, k, half_log_determinant
            )
        else:
            valid, _, centre, block, slopes, root = by_observed_block(correlation, values[r], seen, hidden, k)
        if not valid:
            continue
        if k:
            under, over = np.empty(k), np.empty(k)
            for a in range(k):
                under[a], over[a] = low[r, hidden[a]] - centre[a], high[r, hidden[a]] - centre[a]
            _, moved = draw_truncated(block, under, over, rounds, generator)
            pulled = slopes @ moved
            for a in range(u):
                centre[a] += moved[a] if a < k else pulled[a - k]
        noise = np.empty(u - k)
        for a in range(u - k):
            noise[a] = generator.standard_normal()
        added = root @ noise
        for a in range(u):
            drawn[r, hidden[a]] = centre[a] if a < k else centre[a] + added[a - k]
    return drawn


@njit(cache=True, nogil=True)
def tobit_slope(
    at: Floats, weight: float, mean: float, square: float, low: Floats, high: Floats, counts: Floats
) -> tuple[float, Floats]:
    """Log-likelihood of one censored normal column, and its slope.

    Parameters
    ----------
    at : ndarray, shape (2,)
        ``mean / sd`` and ``log(1 / sd)``; the log-likelihood is concave in the first and ``1 / sd``.
    weight, mean, square : float
        Sum of the weights of the values, their mean, and their mean square deviation from it.
    low, high, counts : ndarray, shape (g,)
        Bounds of the censored cells, and the sum of the weights of those that share them.

    Returns
    -------
    float
        Nats, but for a constant.
    ndarray, shape (2,)

    References
    ----------
    Olsen (1978), Econometrica 46, 1211-1215, doi:10.2307/1911445.
    """
    centre, scale = at[0], math.exp(at[1])
    apart = scale * mean - centre
    value = weight * (at[1] - 0.5 * apart * apart - 0.5 * scale * scale * square)
    slope = np.array([weight * apart, weight * (1.0 - scale * mean * apart - scale * scale * square)])
    for g in range(len(counts)):
        inside, first, variance = truncated_normal(scale * low[g] - centre, scale * high[g] - centre)
        value += counts[g] * inside
        slope[0] += counts[g] * first
        slope[1] += counts[g] * (1.0 - variance - first * first - centre * first)
    return value, slope
