"""Rows of a table sorted by their pattern of missingness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.lanes import LANES

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

FEW = LANES  # rows of a pattern, at most, that are worked on one by one
WIDE = 128  # missing columns beyond which LAPACK factorises
REDUCED = 4  # rows of a pattern, in multiples of those that stand for them, from which they are replaced


@dataclass(frozen=True)
class PatternRows:
    """Rows sorted by their pattern of missingness, and how each is worked on; `arrange` makes them.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows from an origin; what stands in the gaps is not looked at.
    scale : ndarray, shape (n,)
        Root of the weight of a row; 1 for one of the rows that stand for the scatter of a pattern.
    keep : ndarray, shape (n,)
        1, or 0 for the rows of a scatter, which have no mean.
    cuts : ndarray of int, shape (g + 1,)
        First row of each pattern, and n.
    observed : ndarray of bool, shape (g, d)
        The patterns, none without any value.
    n_units : ndarray of int, shape (g,)
        Rows of the table behind each pattern.
    pattern : ndarray of int, shape (n,)
        Pattern of each row.
    weights : ndarray, shape (n,)
        ``keep * scale²``: their sum over a pattern is its weight.
    alone : ndarray of int
        Rows of rare patterns, the number of their gaps ascending.
    together, wide : ndarray of int
        Patterns with many rows, and patterns with more than `WIDE` gaps.
    weight, weight_of_gaps : float
        Sums of the weights over the rows, and over the missing cells.
    """

    values: Floats
    scale: Floats
    keep: Floats
    cuts: Integers
    observed: Booleans
    n_units: Integers
    pattern: Integers
    weights: Floats
    alone: Integers
    together: Integers
    wide: Integers
    weight: float
    weight_of_gaps: float

    @property
    def has_gaps(self) -> bool:
        """Whether any cell is missing."""
        return bool(self.alone.size or self.together.size or self.wide.size)


def arrange(
    values: Floats, scale: Floats, keep: Floats, cuts: Integers, observed: Booleans, n_units: Integers
) -> PatternRows:
    """`PatternRows` with the way of working on each row chosen."""
    sizes, gaps = np.diff(cuts), (~observed).sum(axis=1)
    pattern = np.repeat(np.arange(len(sizes)), sizes)
    weights = keep * scale**2
    narrow = (gaps > 0) & (gaps <= WIDE)
    rare = sizes <= FEW
    alone = np.flatnonzero((narrow & rare)[pattern])
    alone = alone[np.argsort(gaps[pattern[alone]].astype(np.uint16), kind="stable")]
    together, wide = np.flatnonzero(narrow & ~rare), np.flatnonzero(gaps > WIDE)
    totals = float(weights.sum()), float(weights @ gaps[pattern])
    return PatternRows(values, scale, keep, cuts, observed, n_units, pattern, weights, alone, together, wide, *totals)


def sort_patterns(observed: Booleans) -> tuple[Integers, Integers]:
    """Rows in the lexicographic order of their patterns (without any value first, complete rows last).

    Parameters
    ----------
    observed : ndarray of bool, shape (n, d)
        Which cells hold a value.

    Returns
    -------
    order : ndarray of int, shape (n,)
        Row numbers, ascending in each pattern.
    cuts : ndarray of int, shape (g + 1,)
        First place of each pattern, and n.
    """
    n, d = observed.shape
    size = next((size for size in (1, 2, 4, 8) if 8 * size >= d), 8)
    packed = np.packbits(observed, axis=1)
    width = -(-packed.shape[1] // size) * size
    padded = np.zeros((n, width), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    words = padded.view(f">u{size}").astype(f"u{size}")
    order = np.argsort(words[:, 0], kind="stable") if words.shape[1] == 1 else np.lexsort(words.T[::-1])
    words = words[order]
    new = np.flatnonzero((words[1:] != words[:-1]).any(axis=1)) + 1
    return order, np.concatenate([[0], new, [n]]) if n else np.zeros(1, dtype=np.intp)


@dataclass(frozen=True)
class SortedRows:
    """Rows sorted by pattern, before the way of working on each is chosen; fields as in `PatternRows`."""

    values: Floats
    scale: Floats
    keep: Floats
    cuts: Integers
    observed: Booleans
    n_units: Integers

    def part(self, begin: int, end: int) -> PatternRows:
        """Patterns `begin` to `end`, without the last, arranged."""
        rows, of = slice(self.cuts[begin], self.cuts[end]), slice(begin, end)
        cuts = self.cuts[begin : end + 1] - self.cuts[begin]
        return arrange(self.values[rows], self.scale[rows], self.keep[rows], cuts, self.observed[of], self.n_units[of])


@njit(cache=True, nogil=True)
def column_sums(values: Floats, weights: Floats) -> tuple[Floats, Floats, int]:
    """Weight and weighted sum of what is observed of each column, shapes (d,), and the number of rows without any value.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    weights : ndarray, shape (n,)
    """
    n, d = values.shape
    weight, total, empty = np.zeros(d), np.zeros(d), 0
    for i in range(n):  # loops without a branch, which become vectors
        row, w, found = values[i], weights[i], 0.0
        for j in range(d):
            weight[j] += w if row[j] == row[j] else 0.0
        for j in range(d):
            total[j] += w * row[j] if row[j] == row[j] else 0.0
        for j in range(d):
            found = max(found, 1.0 if row[j] == row[j] else 0.0)
        empty += found == 0.0
    return weight, total, empty


@njit(cache=True, nogil=True)
def taken(values: Floats, order: Integers, origin: Floats) -> Floats:
    """``values[order] - origin``, without a copy between."""
    n, d = len(order), values.shape[1]
    rows = np.empty((n, d))
    for i in range(n):
        for j in range(d):
            rows[i, j] = values[order[i], j] - origin[j]
    return rows


def sorted_rows(
    values: Floats, weights: Floats, origin: Floats | None = None, reduce: bool = False
) -> tuple[SortedRows, Integers]:
    """Rows sorted by pattern, without those of weight 0 or without any value.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    weights : ndarray, shape (n,)
        Non-negative.
    origin : ndarray, shape (d,), optional
        Taken off the values.
    reduce : bool
        Replace the many rows of a pattern with p observed columns by p + 1, of the same weight, mean and scatter, so
        that the cost of a pass does not follow their number.

    Returns
    -------
    rows : SortedRows
    order : ndarray of int
        Number of each row in the table, before anything is replaced.
    """
    seen = ~np.isnan(values)
    used = weights > 0.0
    order, cuts = sort_patterns(seen if used.all() else seen & used[:, None])
    if len(order) and not (seen[order[0]].any() and used[order[0]]):
        order, cuts = order[cuts[1] :], cuts[1:] - cuts[1]
    held = values[order] if origin is None else taken(values, order, origin)
    observed, sizes = seen[order[cuts[:-1]]], np.diff(cuts)
    scale, keep = np.sqrt(weights[order]), np.ones(len(order))
    if reduce:
        stand_ins = observed.sum(axis=1) + 1
        many = np.flatnonzero(sizes >= REDUCED * stand_ins)
        if many.size:
            return SortedRows(*replaced(held, scale, cuts, observed, many), observed, sizes), order
    return SortedRows(held, scale, keep, cuts, observed, sizes), order


def rows_by_pattern(
    values: Floats, weights: Floats, origin: Floats | None = None, reduce: bool = False
) -> tuple[PatternRows, Integers]:
    """As `sorted_rows`, with the way of working on each row chosen."""
    rows, order = sorted_rows(values, weights, origin, reduce)
    return rows.part(0, len(rows.observed)), order


def replaced(
    values: Floats, scale: Floats, cuts: Integers, observed: Booleans, many: Integers
) -> tuple[Floats, Floats, Floats, Integers]:
    """Values, scale, keep and cuts with the rows of the patterns `many` replaced by a mean and a root of the scatter."""
    sizes = np.diff(cuts)
    sizes[many] = observed[many].sum(axis=1) + 1
    tables, roots, keep, begin = [], [], [], 0
    for g in many:
        o, rows = np.flatnonzero(observed[g]), slice(cuts[g], cuts[g + 1])
        weight, mean, root = mean_and_root(values[rows, o], scale[rows] ** 2)
        block = np.zeros((len(o) + 1, values.shape[1]))
        block[0, o], block[1:, o] = mean, root
        tables += [values[begin : cuts[g]], block]
        roots += [scale[begin : cuts[g]], np.sqrt([weight]), np.ones(len(o))]
        keep += [np.ones(cuts[g] - begin + 1), np.zeros(len(o))]
        begin = cuts[g + 1]
    table, root_weights = np.concatenate([*tables, values[begin:]]), np.concatenate([*roots, scale[begin:]])
    new = np.concatenate([[0], np.cumsum(sizes)])
    return table, root_weights, np.concatenate([*keep, np.ones(len(values) - begin)]), new


def mean_and_root(values: Floats, weights: Floats) -> tuple[float, Floats, Floats]:
    """Sum of the weights, weighted mean, and R with ``R.T @ R`` the scatter about it, of at most as many rows as columns.

    Parameters
    ----------
    values : ndarray, shape (n, p)
    weights : ndarray, shape (n,)
        Positive.

    Returns
    -------
    weight : float
    mean : ndarray, shape (p,)
    root : ndarray, shape (min(n, p), p), or (0, p) for one row
    """
    weight = float(weights.sum())
    mean: Floats = weights @ values / weight
    root = np.zeros((0, values.shape[1]))
    if len(values) > 1:
        root = np.sqrt(weights)[:, None] * (values - mean)
        if len(root) > root.shape[1]:
            root = np.asarray(np.linalg.qr(root, mode="r"))
    return weight, mean, root


@njit(cache=True, nogil=True)
def moments_of_columns(
    values: Floats, scale: Floats, keep: Floats, weights: Floats, pattern: Integers, observed: Booleans
) -> tuple[Floats, Floats, Floats]:
    """What `column_moments` gives, of the fields of `PatternRows`."""
    n, d = values.shape
    weight, mean, scatter = np.zeros(d), np.zeros(d), np.zeros(d)
    for i in range(n):  # loops without a branch, which become vectors
        row, seen, w = values[i], observed[pattern[i]], weights[i]
        for j in range(d):
            weight[j] += w if seen[j] else 0.0
        for j in range(d):
            mean[j] += w * row[j] if seen[j] else 0.0
    for j in range(d):
        mean[j] = mean[j] / weight[j] if weight[j] > 0.0 else 0.0
    for i in range(n):
        row, seen = values[i], observed[pattern[i]]
        for j in range(d):
            away = scale[i] * (row[j] - keep[i] * mean[j])
            scatter[j] += away * away if seen[j] else 0.0
    return weight, mean, scatter


def column_moments(rows: PatternRows) -> tuple[Floats, Floats, Floats]:
    """Weight, weighted mean and scatter about it of what is observed of each column, shapes (d,), from the origin."""
    found: tuple[Floats, Floats, Floats] = moments_of_columns(
        rows.values, rows.scale, rows.keep, rows.weights, rows.pattern, rows.observed
    )
    return found
