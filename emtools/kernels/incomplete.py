"""Rows with gaps under a normal distribution: what is expected in each gap given the rest of its row.

``n`` rows of ``d`` columns in ``P`` patterns of missingness; a row of a pattern has ``q`` gaps and ``p = d - q`` values.
What a pattern needs is read off the missing block of the inverse covariance K: given the values the gaps have the
covariance ``C = K_mm⁻¹``, and ``log|Σ_oo| = log|Σ| + log|K_mm|``. That costs q³ and not p³ a pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.gaussian import half_log_determinants, whiten
from emtools.kernels.missing import Booleans, condition, factorise, group_rows, log_determinant, solve_lower

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)

# Condition number of the correlations from which conditional moments are computed from the observed block instead.
ILL_CONDITIONED = 1e7


@dataclass(frozen=True)
class IncompleteRows:
    """Rows with gaps, those of one pattern of missingness after another.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows; what stands in a gap is of no account, but finite.
    weights : ndarray, shape (n,)
        Their weights.
    tops : ndarray of int, shape (P + 1,)
        Pattern g has the rows from ``tops[g]`` to ``tops[g + 1]``.
    columns : ndarray of int
        Missing columns of the patterns, end to end, ascending in each.
    cuts : ndarray of int, shape (P + 1,)
        Pattern g misses ``columns[cuts[g] : cuts[g + 1]]``.
    order : ndarray of int, shape (n,)
        Number of each row in its table.
    first : int
        Number of the first row among all that are sorted so.
    """

    values: Floats
    weights: Floats
    tops: Integers
    columns: Integers
    cuts: Integers
    order: Integers
    first: int = 0

    @property
    def n_gaps(self) -> Integers:
        """Gaps q of each row, shape (n,)."""
        return np.repeat(np.diff(self.cuts), np.diff(self.tops))

    def by_row(self, of_pattern: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Something of each pattern (P,) as that of each row (n,)."""
        return np.repeat(of_pattern, np.diff(self.tops))

    def by_pattern(self, of_row: Floats) -> Floats:
        """Sums over the rows (n,) of each pattern, (P,)."""
        sums: Floats = np.add.reduceat(of_row, self.tops[:-1])
        return sums

    def layout(self, starts: Integers) -> tuple[Integers, Integers, Integers, Integers]:
        """What the kernels walk along: rows and missing columns of the patterns, and where their blocks start."""
        return self.tops, self.columns, self.cuts, starts

    def diagonals(self, given: Conditioned) -> Floats:
        """Conditional variances of the gaps of each row, 0 where observed, shape (n, d)."""
        n_gaps, d = np.diff(self.cuts), self.values.shape[1]
        place = np.arange(len(self.columns)) - np.repeat(self.cuts[:-1], n_gaps)
        variances = np.zeros((len(n_gaps), d))
        pattern = np.repeat(np.arange(len(n_gaps)), n_gaps)
        variances[pattern, self.columns] = given.residuals[given.starts[pattern] + place * (n_gaps[pattern] + 1)]
        return np.repeat(variances, np.diff(self.tops), axis=0)

    def gaps(self) -> Booleans:
        """Which cells are missing, shape (n, d)."""
        d = self.values.shape[1]
        missing = np.zeros((len(self.tops) - 1, d), dtype=bool)
        missing[np.repeat(np.arange(len(missing)), np.diff(self.cuts)), self.columns] = True
        return np.repeat(missing, np.diff(self.tops), axis=0)


def sort_by_pattern(values: Floats, weights: Floats, most: float = np.inf) -> list[IncompleteRows]:
    """Rows by pattern of missingness, in blocks; rows without a value or without weight are left out.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    weights : ndarray, shape (n,)
        Non-negative.
    most : float
        Numbers that a block may ask for, about: d a row, and q² a pattern.

    Returns
    -------
    list of IncompleteRows
        Empty where no row says anything.

    Examples
    --------
    >>> (block,) = sort_by_pattern(np.array([[1.0, np.nan], [2.0, 3.0], [4.0, np.nan]]), np.ones(3))
    >>> block.order.tolist(), block.tops.tolist(), block.columns.tolist()
    ([0, 2, 1], [0, 2, 3], [1])
    """
    observed = ~np.isnan(values)
    used = np.flatnonzero(weights > 0.0)
    groups = [used[rows] for rows in group_rows(observed[used])] if used.size else []
    if not groups:
        return []
    order = np.concatenate(groups).astype(np.int64)
    sizes = np.array([len(rows) for rows in groups])
    n_gaps = np.array([int((~observed[rows[0]]).sum()) for rows in groups])
    cost = np.full(len(order), float(values.shape[1]))
    cost[np.concatenate([[0], np.cumsum(sizes)[:-1]])] += n_gaps**2
    block = np.floor(np.cumsum(cost) / most)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(block)) + 1, [len(order)]])
    pattern = np.repeat(np.arange(len(groups)), sizes)
    return [
        block_of(values, weights, observed, order[start:stop], pattern[start:stop], start)
        for start, stop in pairwise(edges.tolist())
    ]


def block_of(
    values: Floats, weights: Floats, observed: Booleans, order: Integers, pattern: npt.NDArray[np.intp], first: int
) -> IncompleteRows:
    """The rows `order` of a table, sorted by `pattern`."""
    starts = np.flatnonzero(np.diff(pattern, prepend=-1))
    missing = ~observed[order[starts]]
    _, columns = np.nonzero(missing)
    cuts = np.concatenate([[0], np.cumsum(missing.sum(axis=1))])
    rows = np.where(observed[order], values[order], 0.0)
    tops = np.append(starts, len(order))
    return IncompleteRows(
        rows, weights[order], tops.astype(np.int64), columns.astype(np.int64), cuts.astype(np.int64), order, first
    )


class Conditioned(NamedTuple):
    """Rows given what was observed of them.

    Parameters
    ----------
    deviations : ndarray, shape (n, d)
        From the mean, with conditional means in the gaps.
    squared : ndarray, shape (n,)
        Squared Mahalanobis distance of the observed part; that of the completed row is the same.
    log_observed, log_left : ndarray, shape (P,)
        ``log|Σ_oo|`` and ``log|C|`` of each pattern; NaN where the covariance is not positive definite.
    residuals : ndarray
        C of each pattern (q, q), row by row, end to end.
    starts : ndarray of int, shape (P + 1,)
        Where they start.
    """

    deviations: Floats
    squared: Floats
    log_observed: Floats
    log_left: Floats
    residuals: Floats
    starts: Integers


def condition_rows(rows: IncompleteRows, mean: Floats, covariance: Floats, factor: Floats) -> Conditioned:
    """Conditional moments of every row.

    With z the deviations of a row, 0 in the gaps, the gaps have the conditional mean ``-C (K z)_m``.

    Parameters
    ----------
    rows : IncompleteRows
        Rows.
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)
    factor : ndarray, shape (d, d)
        Its lower Cholesky factor; NaN where it is not positive definite.

    Returns
    -------
    Conditioned

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3rd ed., theorem 2.5.1; by the inverse, Rue &
    Held (2005), Gaussian Markov Random Fields, doi:10.1201/9780203492024, theorem 2.5.
    """
    n_gaps = np.diff(rows.cuts)
    starts = np.concatenate([[0], np.cumsum(n_gaps**2)]).astype(np.int64)
    deviations = rows.values - mean
    clear_gaps(deviations, rows.tops, rows.columns, rows.cuts)
    inverse = np.ascontiguousarray(whiten(factor, np.eye(len(mean))))
    precision = inverse.T @ inverse
    if not np.isfinite(inverse).all():
        nothing = np.full(len(n_gaps), np.nan)
        return Conditioned(
            deviations, np.full(len(deviations), np.nan), nothing, nothing, np.full(starts[-1], np.nan), starts
        )
    if condition_number(covariance, precision) > ILL_CONDITIONED:
        return condition_on_observed(rows, deviations, covariance, starts)
    residuals, log_blocks = np.empty(starts[-1]), np.zeros(len(n_gaps))
    invert_blocks(precision, rows.columns, rows.cuts, starts, residuals, log_blocks)
    if len(rows.columns):
        fill_gaps(deviations @ precision, rows.tops, rows.columns, rows.cuts, starts, residuals, deviations)
    white = deviations @ inverse.T
    squared = np.einsum("nd,nd->n", white, white)
    log_whole = 2.0 * float(half_log_determinants(factor))
    return Conditioned(deviations, squared, log_whole + log_blocks, -log_blocks, residuals, starts)


def condition_number(covariance: Floats, precision: Floats) -> float:
    """Condition number of the correlations in the 1-norm, from a covariance and its inverse."""
    sd = np.sqrt(np.diagonal(covariance))
    one = (np.abs(covariance) / np.outer(sd, sd)).sum(axis=0).max()
    return float(one * (np.abs(precision) * np.outer(sd, sd)).sum(axis=0).max())


def condition_on_observed(
    rows: IncompleteRows, deviations: Floats, covariance: Floats, starts: Integers
) -> Conditioned:
    """The same as `condition_rows`, pattern by pattern from the observed block: slow, and sure where K is not.

    Parameters
    ----------
    rows : IncompleteRows
    deviations : ndarray, shape (n, d)
        From the mean, 0 in the gaps; these are filled.
    covariance : ndarray, shape (d, d)
    starts : ndarray of int, shape (P + 1,)

    Returns
    -------
    Conditioned
    """
    n_patterns, d = len(rows.tops) - 1, len(covariance)
    squared = np.full(len(deviations), np.nan)
    log_observed, log_left = np.full(n_patterns, np.nan), np.full(n_patterns, np.nan)
    residuals = np.full(starts[-1], np.nan)
    for g in range(n_patterns):
        missing = rows.columns[rows.cuts[g] : rows.cuts[g + 1]]
        observed = np.setdiff1d(np.arange(d), missing, assume_unique=True)
        parts = condition(covariance, observed, missing)
        left = None if parts is None else factorise(parts[2]) if missing.size else np.ones((1, 1))
        if parts is None or left is None:
            continue
        here = slice(rows.tops[g], rows.tops[g + 1])
        seen = deviations[here][:, observed]
        squared[here] = (solve_lower(parts[0], seen.T) ** 2).sum(axis=0)
        deviations[here, missing] = seen @ parts[1]
        residuals[starts[g] : starts[g + 1]] = parts[2].ravel()
        log_observed[g], log_left[g] = log_determinant(parts[0]), log_determinant(left)
    return Conditioned(deviations, squared, log_observed, log_left, residuals, starts)


@njit(cache=True, nogil=True)
def clear_gaps(deviations: Floats, tops: Integers, columns: Integers, cuts: Integers) -> None:
    """Put 0 in every gap, in place."""
    for g in range(len(tops) - 1):
        for r in range(tops[g], tops[g + 1]):
            for c in range(cuts[g], cuts[g + 1]):
                deviations[r, columns[c]] = 0.0


@njit(cache=True, nogil=True)
def invert_blocks(
    matrix: Floats, columns: Integers, cuts: Integers, starts: Integers, inverses: Floats, log_determinants: Floats
) -> None:
    """Inverse and log determinant of a block of a matrix for each pattern, by Gauss-Jordan elimination.

    Parameters
    ----------
    matrix : ndarray, shape (d, d)
        Symmetric and positive definite, so that no pivoting is needed.
    columns, cuts, starts : ndarray of int
        See `IncompleteRows` and `Conditioned`.
    inverses : ndarray
        Receives the inverses.
    log_determinants : ndarray, shape (P,)
        Receives the log determinants of the blocks; NaN where one is not positive definite.

    References
    ----------
    Beaton's sweep operator: Goodnight (1979), Am. Stat. 33, 149-158, doi:10.1080/00031305.1979.10482685.
    """
    for g in range(len(cuts) - 1):
        low, q = cuts[g], cuts[g + 1] - cuts[g]
        a = inverses[starts[g] : starts[g + 1]].reshape(q, q)
        for i in range(q):
            for j in range(q):
                a[i, j] = matrix[columns[low + i], columns[low + j]]
        total = 0.0
        for k in range(q):
            pivot = a[k, k]
            if not pivot > 0.0:
                total = np.nan
                break
            total += np.log(pivot)
            for j in range(q):
                a[k, j] /= pivot
            for i in range(q):
                if i != k:
                    share = a[i, k]
                    for j in range(q):
                        a[i, j] -= share * a[k, j]
                    a[i, k] = -share / pivot
            a[k, k] = 1.0 / pivot
        for i in range(q):
            for j in range(i):
                a[j, i] = a[i, j]
        log_determinants[g] = total


@njit(cache=True, nogil=True)
def fill_gaps(
    images: Floats,
    tops: Integers,
    columns: Integers,
    cuts: Integers,
    starts: Integers,
    residuals: Floats,
    deviations: Floats,
) -> None:
    """Put the conditional mean ``-C (K z)_m`` in the gaps of each row, in place.

    Parameters
    ----------
    images : ndarray, shape (n, d)
        K z of each row.
    tops, columns, cuts, starts : ndarray of int
    residuals : ndarray
        C of each pattern.
    deviations : ndarray, shape (n, d)
        Rows, of which the gaps are filled.
    """
    for g in range(len(tops) - 1):
        low, q = cuts[g], cuts[g + 1] - cuts[g]
        c = residuals[starts[g] : starts[g + 1]].reshape(q, q)
        for r in range(tops[g], tops[g + 1]):
            for i in range(q):
                total = 0.0
                for j in range(q):
                    total += c[i, j] * images[r, columns[low + j]]
                deviations[r, columns[low + i]] = -total


@njit(cache=True, nogil=True)
def add_residuals(
    weights: Floats, columns: Integers, cuts: Integers, starts: Integers, residuals: Floats, second: Floats
) -> None:
    """Add the weighted C of each pattern to its missing block of `second`, in place.

    Parameters
    ----------
    weights : ndarray, shape (P,)
        Weight of each pattern.
    columns, cuts, starts : ndarray of int
    residuals : ndarray
        C of each pattern.
    second : ndarray, shape (d, d)
        Receives the sum.
    """
    for g in range(len(weights)):
        low, q = cuts[g], cuts[g + 1] - cuts[g]
        c = residuals[starts[g] : starts[g + 1]].reshape(q, q)
        for i in range(q):
            for j in range(q):
                second[columns[low + i], columns[low + j]] += weights[g] * c[i, j]


@njit(cache=True, nogil=True)
def scatter_gaps(
    normals: Floats,
    spreads: Floats,
    tops: Integers,
    columns: Integers,
    cuts: Integers,
    starts: Integers,
    residuals: Floats,
    deviations: Floats,
) -> None:
    """Add normal noise of covariance C to the gaps of each row, in place.

    Parameters
    ----------
    normals : ndarray, shape (n, d)
        Independent standard normal numbers, of which those in the gaps are used.
    spreads : ndarray, shape (n,)
        Factor of the noise of each row.
    tops, columns, cuts, starts : ndarray of int
    residuals : ndarray
        C of each pattern.
    deviations : ndarray, shape (n, d)
        Rows whose gaps hold their conditional means.
    """
    for g in range(len(tops) - 1):
        low, q = cuts[g], cuts[g + 1] - cuts[g]
        root = residuals[starts[g] : starts[g + 1]].copy().reshape(q, q)
        for i in range(q):
            for j in range(i + 1):
                total = root[i, j]
                for k in range(j):
                    total -= root[i, k] * root[j, k]
                root[i, j] = np.sqrt(max(total, 0.0)) if i == j else (total / root[j, j] if root[j, j] > 0.0 else 0.0)
        for r in range(tops[g], tops[g + 1]):
            for i in range(q):
                total = 0.0
                for j in range(i + 1):
                    total += root[i, j] * normals[r, columns[low + j]]
                deviations[r, columns[low + i]] += spreads[r] * total
