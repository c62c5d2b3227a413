"""The normal distribution of rows with gaps, from the missing block of its precision matrix.

``d`` columns, of which a row has ``q`` missing; ``K = Σ⁻¹``. Given what was observed, the missing part has precision
``K_mm`` and mean ``μ_m - K_mm⁻¹ K_mo (x_o - μ_o)``, so that a row costs a Cholesky factor of order q, not of order d - q.
The readable version, which the tests hold this one to and which takes over where the covariance is nearly singular, is
`emtools.kernels.missing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.lanes import LANES, inverse_roots, settle
from emtools.kernels.lapack import factorise_columns, invert_factor, invert_from_factor, solve_columns
from emtools.kernels.missing import LOG_2PI, factorise, log_determinant
from emtools.kernels.patterns import PatternRows

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

# Largest variance inflation for which blocks of the precision are used, since rounding grows with it; and the largest for
# which a sum of quadratic forms is read from second moments, beyond which these or the rows are whitened first.
INFLATED, MILD = 1e8, 1e3
LARGE, SMALL = 1e100, 1e-100
TILE = 32  # rows and columns of a matrix that are turned over together
NONE = np.empty((0, 0))


@dataclass(frozen=True)
class Precision:
    """Inverse of a covariance matrix.

    Parameters
    ----------
    padded : ndarray, shape ((d + 1)²,)
        K with a last row and column of the identity.
    whitener : ndarray, shape (d, d)
        L⁻¹ of the lower Cholesky factor of the covariance.
    log_det : float
        Of the covariance.
    inflation : float
        Largest variance inflation ``Σ_jj K_jj`` of a column: 1 / (1 - R²) of its regression on all others.
    """

    padded: Floats
    whitener: Floats
    log_det: float
    inflation: float

    @property
    def matrix(self) -> Floats:
        """K, shape (d, d)."""
        d = len(self.whitener)
        return self.padded.reshape(d + 1, d + 1)[:d, :d]

    def trace_with(self, scatter: Floats) -> float:
        """``tr K S`` of a symmetric matrix S, shape (d, d)."""
        if self.inflation <= MILD:
            return float(np.einsum("ij,ij->", self.matrix, scatter))
        return float(np.vdot(self.whitener @ scatter, self.whitener))

    @property
    def usable(self) -> bool:
        """Whether its blocks are exact enough."""
        return self.inflation <= INFLATED


def invert(covariance: Floats) -> Precision | None:
    """The precision of a covariance of shape (d, d); None where that is not positive definite."""
    factor = factorise(covariance)
    if factor is None:
        return None
    turned = factor.T.copy()
    if not invert_factor(turned):
        return None
    whitener = np.ascontiguousarray(turned.T)
    matrix = whitener.T @ whitener
    padded = np.zeros((len(matrix) + 1, len(matrix) + 1))
    padded[:-1, :-1], padded[-1, -1] = matrix, 1.0
    inflation = float((np.diagonal(covariance) * np.diagonal(matrix)).max())
    return Precision(padded.ravel(), whitener, log_determinant(factor), inflation)


@njit(cache=True, nogil=True)
def deviations(
    values: Floats, scale: Floats, keep: Floats, pattern: Integers, observed: Booleans, mean: Floats, out: Floats
) -> None:
    """``scale (x - keep μ)`` of what is observed, 0 in the gaps.

    Parameters
    ----------
    values, scale, keep, pattern, observed
        As in `PatternRows`.
    mean : ndarray, shape (d,)
        From the origin of the rows.
    out : ndarray, shape (n, d)
        Receives them.
    """
    for i in range(len(values)):
        seen = observed[pattern[i]]
        for j in range(values.shape[1]):
            away = scale[i] * (values[i, j] - keep[i] * mean[j])
            out[i, j] = away if seen[j] else 0.0


@njit(cache=True, nogil=True)
def one_by_one(
    rows: Integers,
    pattern: Integers,
    observed: Booleans,
    weights: Floats,
    padded: Floats,
    products: Floats,
    noise: Floats,
    completed: Floats,
    log_dets: Floats,
    spread: Floats,
    variances: Floats,
) -> bool:
    """Fill the gaps of rows, `LANES` of them at a time, each with a Cholesky factor of its own block of the precision.

    With ``K_mm = L Lᵀ`` and M = L⁻¹: the gaps become ``-Mᵀ (M (K_mo y_o) - ε)`` and their covariance is ``Mᵀ M``.

    Parameters
    ----------
    rows : ndarray of int, shape (r,)
        Rows to fill, the number of their gaps ascending; 1 at least.
    pattern, observed, weights
        As in `PatternRows`.
    padded : ndarray, shape ((d + 1)²,)
        K with a last row and column of the identity, which stand for the gaps that a row has less than its neighbours.
    products : ndarray, shape (n, d)
        ``K y`` of the deviations y, 0 in the gaps.
    noise : ndarray, shape (n, d) or (0, 0)
        ε: standard normal for draws, absent for conditional means.
    completed : ndarray, shape (n, d)
        Deviations; receives the gaps.
    log_dets : ndarray, shape (n,)
        Receives ``log det K_mm``.
    spread : ndarray, shape ((d + 1)²,)
        Conditional covariances times the weights are added to its lower triangle.
    variances : ndarray, shape (n, d) or (0, 0)
        Receives the conditional variances of the gaps.

    Returns
    -------
    bool
        False where a block was not positive definite.
    """
    n, d = len(rows), completed.shape[1]
    wide, last = np.uint64(d + 1), np.uint64(d)
    most = 0
    for j in range(d):
        most += not observed[pattern[rows[n - 1]], j]
    step = most * LANES
    right = most * step
    spare = right + step
    one = spare + LANES
    zero = one + LANES
    work = np.zeros(zero + LANES)
    work[one : one + LANES] = 1.0
    column, line = np.empty((d + 1) * LANES, np.uint64), np.empty((d + 1) * LANES, np.uint64)
    count, weight = np.zeros(LANES, np.int64), np.zeros(LANES)
    product, logs = np.empty(LANES), np.empty(LANES)
    for begin in range(0, n, LANES):
        width = min(LANES, n - begin)
        for t in range(LANES):
            found, weight[t] = 0, 0.0
            if t < width:
                row = rows[begin + t]
                weight[t] = weights[row]
                seen = observed[pattern[row]]
                for j in range(d):
                    column[found * LANES + t] = np.uint64(j)
                    found += not seen[j]
            count[t] = found
            product[t], logs[t] = 1.0, 0.0
        q = count[width - 1]
        for t in range(LANES):
            for i in range(count[t], q):
                column[i * LANES + t] = last
        for k in range(q * LANES):
            line[k] = column[k] * wide
        for i in range(q):
            for j in range(i + 1):
                to, of, by = np.uint64((i * most + j) * LANES), np.uint64(i * LANES), np.uint64(j * LANES)
                for t in range(LANES):
                    lane = np.uint64(t)
                    work[to + lane] = padded[line[of + lane] + column[by + lane]]
        for t in range(LANES):
            for i in range(count[t]):
                work[right + i * LANES + t] = products[rows[begin + t], column[i * LANES + t]]
            for i in range(count[t], q):
                work[right + i * LANES + t] = 0.0
                for j in range(count[t], i):
                    work[i * step + j * LANES + t] = 0.0
        for i in range(q):
            top, corner, here = i * step, i * step + i * LANES, right + i * LANES
            for j in range(i):
                at = top + j * LANES
                settle(work, at, at, j * step + j * LANES, top, LANES, j * step, LANES, j)
            settle(work, corner, corner, one, top, LANES, top, LANES, i)
            for t in range(LANES):
                pivot = work[corner + t]
                if not pivot > 0.0:
                    return False
                product[t] *= pivot
                if product[t] > LARGE or product[t] < SMALL:
                    logs[t] += math.log(product[t])
                    product[t] = 1.0
            inverse_roots(work, corner)
            settle(work, here, here, corner, top, LANES, right, LANES, i)
        for t in range(width):
            row = rows[begin + t]
            log_dets[row] = logs[t] + math.log(product[t])
            if len(noise):
                for i in range(count[t]):
                    work[right + i * LANES + t] -= noise[row, column[i * LANES + t]]
        for i in range(1, q):
            top, corner = i * step, i * step + i * LANES
            for j in range(i):
                at = j * step + j * LANES
                settle(work, top + j * LANES, zero, corner, top + j * LANES, LANES, at, step, i - j)
        for i in range(q):
            corner = i * step + i * LANES
            settle(work, spare, zero, one, corner, step, right + i * LANES, LANES, q - i)
            for t in range(width):
                if i < count[t]:
                    completed[rows[begin + t], column[i * LANES + t]] = work[spare + t]
            for j in range(i + 1):  # in the place of row i of M, which no later sum asks for
                settle(work, i * step + j * LANES, zero, one, corner, step, i * step + j * LANES, step, q - i)
        for t in range(width):  # row by row, so that no sum waits for the one before it in the same place
            for i in range(count[t]):
                first, start = np.uint64(i * step + t), line[i * LANES + t]
                for j in range(i + 1):
                    lane = np.uint64(j * LANES)
                    spread[start + column[lane + np.uint64(t)]] -= weight[t] * work[first + lane]
            if len(variances):
                for i in range(count[t]):
                    variances[rows[begin + t], column[i * LANES + t]] = -work[i * step + i * LANES + t]
    return True


@njit(cache=True, nogil=True)
def pattern_by_pattern(
    patterns: Integers,
    cuts: Integers,
    observed: Booleans,
    weights: Floats,
    padded: Floats,
    products: Floats,
    noise: Floats,
    completed: Floats,
    log_dets: Floats,
    spread: Floats,
    variances: Floats,
) -> bool:
    """As `one_by_one`, with one factor for all rows of each of some patterns."""
    d = completed.shape[1]
    block, gaps = np.empty((d, d)), np.empty(d, np.intp)
    held, part = np.empty(d), np.empty(d)
    for g in patterns:
        q = 0
        for j in range(d):
            gaps[q] = j
            if not observed[g, j]:
                q += 1
        for i in range(q):
            for j in range(i + 1):
                block[i, j] = padded[gaps[i] * (d + 1) + gaps[j]]
        log_det, product = 0.0, 1.0
        for k in range(q):
            pivot = block[k, k]
            if not pivot > 0.0:
                return False
            product *= pivot
            if product > LARGE or product < SMALL:
                log_det += math.log(product)
                product = 1.0
            block[k, k] = 1.0 / math.sqrt(pivot)
            for i in range(k + 1, q):
                held[i] = block[i, k] * block[k, k]
                block[i, k] = held[i]
            for i in range(k + 1, q):
                factor = held[i]
                for j in range(k + 1, i + 1):
                    block[i, j] -= factor * held[j]
        log_det += math.log(product)
        for i in range(q):
            held[:i] = 0.0
            for k in range(i):
                factor = block[i, k]
                for j in range(k + 1):
                    held[j] += factor * block[k, j]
            for j in range(i):
                block[i, j] = -block[i, i] * held[j]
        total = 0.0
        for row in range(cuts[g], cuts[g + 1]):
            total += weights[row]
            log_dets[row] = log_det
            held[:q] = 0.0
            for i in range(q):
                part[i] = products[row, gaps[i]]
            for i in range(q):
                whitened = 0.0
                for j in range(i + 1):
                    whitened += block[i, j] * part[j]
                if len(noise):
                    whitened -= noise[row, gaps[i]]
                for j in range(i + 1):
                    held[j] -= whitened * block[i, j]
            for i in range(q):
                completed[row, gaps[i]] = held[i]
        for i in range(q):
            held[: i + 1] = 0.0
            for k in range(i, q):
                factor = block[k, i]
                for j in range(i + 1):
                    held[j] += factor * block[k, j]
            for j in range(i + 1):
                spread[gaps[i] * (d + 1) + gaps[j]] += total * held[j]
            if len(variances):
                for row in range(cuts[g], cuts[g + 1]):
                    variances[row, gaps[i]] = held[i]
    return True


@njit(cache=True, nogil=True)
def gathered(padded: Floats, order: int, gaps: Integers, block: Floats) -> None:
    """Lower triangle of the block of K at `gaps` into `block`, shape (q, q), which holds it by column.

    Parameters
    ----------
    padded : ndarray, shape (order²,)
        Symmetric.
    order : int
    gaps : ndarray of int, shape (q,)
    block : ndarray, shape (q, q)
        Its transpose, in the order of C: ``block[j, i]`` is entry (i, j).
    """
    q = len(gaps)
    for j in range(q):
        start = gaps[j] * order
        for i in range(j, q):
            block[j, i] = padded[start + gaps[i]]


@njit(cache=True, nogil=True)
def scattered(block: Floats, weight: float, order: int, gaps: Integers, spread: Floats, diagonal: Floats) -> None:
    """Add a block, laid out as by `gathered`, times a weight to the upper triangle of `spread`; its diagonal apart."""
    q = len(gaps)
    for j in range(q):
        start = gaps[j] * order
        for i in range(j, q):
            spread[start + gaps[i]] += weight * block[j, i]
        diagonal[j] = block[j, j]


@njit(cache=True, nogil=True)
def folded(spread: Floats, whole: Floats) -> None:
    """Both triangles of `spread`, each a part of a symmetric sum whose diagonal they share, into that sum.

    Parameters
    ----------
    spread : ndarray, shape ((d + 1)²,)
    whole : ndarray, shape (d, d)
        Receives it.
    """
    d = len(whole)
    for top in range(0, d, TILE):
        for left in range(0, top + TILE, TILE):
            for i in range(top, min(top + TILE, d)):
                for j in range(left, min(left + TILE, i)):
                    total = spread[i * (d + 1) + j] + spread[j * (d + 1) + i]
                    whole[i, j] = total
                    whole[j, i] = total
        for i in range(top, min(top + TILE, d)):
            whole[i, i] = spread[i * (d + 1) + i]


def wide_patterns(
    rows: PatternRows,
    precision: Precision,
    products: Floats,
    noise: Floats,
    completed: Floats,
    log_dets: Floats,
    spread: Floats,
    variances: Floats,
    spreads: bool,
) -> bool:
    """As `pattern_by_pattern`, by LAPACK, of the patterns with many gaps; conditional covariances only with `spreads`."""
    d = completed.shape[1]
    for g in rows.wide:
        m, of = np.flatnonzero(~rows.observed[g]), slice(rows.cuts[g], rows.cuts[g + 1])
        block, diagonal = np.empty((len(m), len(m))), np.empty(len(m))
        gathered(precision.padded, d + 1, m, block)
        if not factorise_columns(block):
            return False
        log_dets[of] = log_determinant(block)
        whitened = np.ascontiguousarray(products[of][:, m])
        solve_columns(block, whitened)
        if noise.size:
            whitened -= noise[of][:, m]
        solve_columns(block, whitened, transposed=True)
        completed[of, m] = -whitened
        if not spreads:
            continue
        invert_from_factor(block)
        scattered(block, float(rows.weights[of].sum()), d + 1, m, spread, diagonal)
        if variances.size:
            variances[of, m] = diagonal
    return True


@dataclass(frozen=True)
class Completed:
    """Rows with their gaps filled, as deviations from the mean.

    Parameters
    ----------
    deviations : ndarray, shape (n, d)
        ``scale (x - keep μ)``
    log_dets : ndarray, shape (n,)
        ``log det K_mm`` of each row, 0 without a gap.
    spread : ndarray, shape (d, d)
        Weighted sum of the conditional covariances; 0 where they were left out.
    """

    deviations: Floats
    log_dets: Floats
    spread: Floats


def complete(
    rows: PatternRows,
    mean: Floats,
    precision: Precision,
    noise: Floats = NONE,
    variances: Floats = NONE,
    spreads: bool = True,
) -> Completed | None:
    """Fill the gaps of rows with conditional means, or with draws.

    Parameters
    ----------
    rows : PatternRows
    mean : ndarray, shape (d,)
        From their origin.
    precision : Precision
    noise : ndarray, shape (n, d), optional
        Standard normal numbers, for draws.
    variances : ndarray, shape (n, d), optional
        Receives the conditional variance of each gap.
    spreads : bool
        False to leave out conditional covariances, and variances with them, where they cost most: rows with many gaps.

    Returns
    -------
    Completed
        None where a block of the precision is not positive definite.

    References
    ----------
    Rue & Held (2005), Gaussian Markov Random Fields, theorem 2.5, doi:10.1201/9780203492024.
    """
    n, d = rows.values.shape
    completed, log_dets, spread = np.empty((n, d)), np.zeros(n), np.zeros((d + 1) ** 2)
    deviations(rows.values, rows.scale, rows.keep, rows.pattern, rows.observed, mean, completed)
    sound = True
    if rows.has_gaps:
        products = completed @ precision.matrix
        rest = (rows.observed, rows.weights, precision.padded, products, noise, completed, log_dets, spread, variances)
        if rows.alone.size:
            sound = one_by_one(rows.alone, rows.pattern, *rest)
        if rows.together.size:
            sound = sound and pattern_by_pattern(rows.together, rows.cuts, *rest)
        if rows.wide.size:
            sound = sound and wide_patterns(
                rows, precision, products, noise, completed, log_dets, spread, variances, spreads
            )
    if not sound:
        return None
    whole = np.zeros((d, d))
    if rows.has_gaps and spreads:
        folded(spread, whole)
    return Completed(completed, log_dets, whole)


def expected_deviations(
    rows: PatternRows, mean: Floats, precision: Precision, mode_only: bool
) -> tuple[float, float, Floats, Floats]:
    """Log-likelihood, entropy and expected moments about the mean of the completed rows.

    ``log det Σ_oo = log det Σ + log det K_mm``, and the quadratic form of the observed part of a row is that of the row
    with its gaps at their conditional means.

    Parameters
    ----------
    rows : PatternRows
    mean : ndarray, shape (d,)
        From their origin.
    precision : Precision
    mode_only : bool
        As in `emtools.kernels.missing.expected_moments`.

    Returns
    -------
    loglik, entropy : float
        Nats; NaN where a block of the precision is not positive definite.
    first : ndarray, shape (d,)
        ``Σ w E[x - μ]``
    second : ndarray, shape (d, d)
        ``Σ w E[(x - μ)(x - μ)ᵀ]``

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., section 11.2.1.
    """
    d = len(mean)
    done = complete(rows, mean, precision)
    if done is None:
        return math.nan, math.nan, np.zeros(d), np.zeros((d, d))
    first = (rows.scale * rows.keep) @ done.deviations
    second = done.deviations.T @ done.deviations
    if precision.inflation <= MILD:
        square = precision.trace_with(second)
    else:
        white = done.deviations @ precision.whitener.T
        square = float(np.vdot(white, white))
    if mode_only:
        return -0.5 * (rows.weight * (d * LOG_2PI + precision.log_det) + square), 0.0, first, second
    blocks = float(rows.weights @ done.log_dets)
    cells = rows.weight_of_gaps
    loglik = -0.5 * ((rows.weight * d - cells) * LOG_2PI + rows.weight * precision.log_det + blocks + square)
    entropy = 0.5 * (cells * (1.0 + LOG_2PI) - blocks)
    second += done.spread
    return loglik, entropy, first, second
