"""Rows with gaps under a normal distribution: what is expected in each gap given the rest of its row.

``n`` rows of ``d`` columns. What a row needs is read off the missing block of the precision matrix by
`emtools.kernels.precision`; where that is not exact enough, off the observed block of the covariance, pattern by pattern.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from emtools.kernels.missing import condition, factorise, log_determinant, solve_lower
from emtools.kernels.patterns import PatternRows, arrange, rows_by_pattern
from emtools.kernels.precision import NONE, complete, invert

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]


@dataclass(frozen=True)
class IncompleteRows:
    """Some rows of a table with gaps, those of one pattern of missingness after another.

    Parameters
    ----------
    rows : PatternRows
        The rows, NaN in their gaps, each with a scale of 1.
    order : ndarray of int, shape (n,)
        Number of each row in its table.
    first : int
        Number of the first row among all that are sorted so.
    """

    rows: PatternRows
    order: Integers
    first: int = 0

    @property
    def values(self) -> Floats:
        """The rows, NaN where missing, shape (n, d)."""
        return self.rows.values

    @property
    def weights(self) -> Floats:
        """Weights of the rows, shape (n,)."""
        return self.rows.weights

    @property
    def n_gaps(self) -> Integers:
        """Gaps of each row, shape (n,)."""
        gaps: Integers = (~self.rows.observed).sum(axis=1)[self.rows.pattern]
        return gaps

    @property
    def gaps(self) -> npt.NDArray[np.bool_]:
        """Which cells are missing, shape (n, d)."""
        return ~self.rows.observed[self.rows.pattern]


def sort_by_pattern(values: Floats, weights: Floats, block: int) -> Iterator[IncompleteRows]:
    """Rows by pattern of missingness, in blocks; rows without a value or without weight are left out.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    weights : ndarray, shape (n,)
        Non-negative.
    block : int
        Rows of a block.

    Yields
    ------
    IncompleteRows

    Examples
    --------
    >>> (found,) = sort_by_pattern(np.array([[1.0, np.nan], [2.0, 3.0], [4.0, np.nan]]), np.ones(3), 100)
    >>> found.order.tolist(), found.n_gaps.tolist()
    ([0, 2, 1], [1, 1, 0])
    """
    rows, order = rows_by_pattern(values, weights)
    for begin in range(0, len(order), block):
        here = slice(begin, begin + block)
        pattern = rows.pattern[here]
        cuts = np.append(np.flatnonzero(np.diff(pattern, prepend=-1)), len(pattern))
        observed = rows.observed[pattern[cuts[:-1]]]
        some = arrange(rows.values[here], rows.scale[here], rows.keep[here], cuts, observed, np.diff(cuts))
        some = replace(some, scale=np.ones(len(pattern)), weights=weights[order[here]])
        yield IncompleteRows(some, order[here], begin)


class Conditioned(NamedTuple):
    """Rows given what was observed of them; NaN where the covariance is not positive definite.

    Parameters
    ----------
    deviations : ndarray, shape (n, d)
        From the mean, with conditional means, or draws, in the gaps.
    squared : ndarray, shape (n,)
        Squared Mahalanobis distance of what was observed, which is that of the row with conditional means in its gaps.
        NaN beside draws.
    log_observed, log_left : ndarray, shape (n,)
        Log determinants of the covariance of what was observed of each row, and of that of its gaps given this.
    spread : ndarray, shape (d, d)
        Weighted sum of the conditional covariances of the gaps.
    """

    deviations: Floats
    squared: Floats
    log_observed: Floats
    log_left: Floats
    spread: Floats


def condition_rows(
    rows: PatternRows, mean: Floats, covariance: Floats, noise: Floats = NONE, variances: Floats = NONE
) -> Conditioned:
    """Conditional moments of every row.

    Parameters
    ----------
    rows : PatternRows
        With their weights, and scales of 1.
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)
    noise : ndarray, shape (n, d), optional
        Standard normal numbers times the spread of each row, for draws.
    variances : ndarray, shape (n, d), optional
        Receives the conditional variance of each gap.

    Returns
    -------
    Conditioned

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3rd ed., theorem 2.5.1.
    """
    n, d = rows.values.shape
    squared = np.full(n, np.nan)
    precision = invert(covariance)
    done = None if precision is None or not precision.usable else complete(rows, mean, precision, noise, variances)
    if precision is not None and done is not None:
        if not noise.size:
            white = done.deviations @ precision.whitener.T
            squared = np.einsum("nd,nd->n", white, white)
        return Conditioned(done.deviations, squared, precision.log_det + done.log_dets, -done.log_dets, done.spread)
    deviations, spread = np.full((n, d), np.nan), np.zeros((d, d))
    log_observed, log_left = np.full(n, np.nan), np.full(n, np.nan)
    for g, seen in enumerate(rows.observed):
        here, o, m = slice(rows.cuts[g], rows.cuts[g + 1]), np.flatnonzero(seen), np.flatnonzero(~seen)
        parts = condition(covariance, o, m)
        root = None if parts is None else factorise(parts[2]) if m.size else np.ones((1, 1))
        if parts is None or root is None:
            spread[:] = np.nan
            continue
        away = rows.values[here][:, o] - mean[o]
        deviations[here, o] = away
        if not noise.size:
            squared[here] = np.square(solve_lower(parts[0], away.T)).sum(axis=0)
        log_observed[here], log_left[here] = log_determinant(parts[0]), log_determinant(root)
        if m.size:
            deviations[here, m] = away @ parts[1] + (noise[here][:, m] @ root.T if noise.size else 0.0)
            spread[np.ix_(m, m)] += rows.weights[here].sum() * parts[2]
            if variances.size:
                variances[here, m] = np.diagonal(parts[2])
    return Conditioned(deviations, squared, log_observed, log_left, spread)
