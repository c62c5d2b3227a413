"""A table with gaps, row by row, as factor analysis wants it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from emtools.engine.chunks import VALUES_PER_CHUNK
from emtools.engine.protocol import Floats
from emtools.kernels.missing import group_rows
from emtools.kernels.patterns import mean_and_root
from emtools.models.tabular import checked_table


@dataclass(frozen=True)
class FactorChunk:
    """Some rows of a table.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Values from the origin, times the square root of the weight of their row; 0 in the gaps.
    seen : ndarray, shape (n, d)
        1.0 where observed, else 0.0.
    share : ndarray, shape (n,)
        Square roots of the weights; 0.0 for rows that hold a root of the scatter of a pattern about its mean.
    origin : ndarray, shape (d,)
        Point that values are measured from, the same for the whole table.
    """

    rows: Floats
    seen: Floats
    share: Floats
    origin: Floats


class FactorSource:
    """A table with gaps, as the E-step of `FactorAnalysis` wants it.

    Rows without any value say nothing about the parameters and are left out, as are rows of weight 0. A pattern of gaps
    with more rows than observed columns is kept as its mean and a root of its scatter.

    Parameters
    ----------
    values : array, shape (n, d)
        NaN where missing.
    weights : array, shape (n,), optional
        Non-negative weights; 1 by default. A weight of 2 equals the row twice.
    chunk_rows : int, optional
        Rows per chunk, for tests; by default it follows from the data.

    Raises
    ------
    InputError
        If the table is empty, holds an infinity, a column has no value, or the weights do not fit.
    """

    def __init__(self, values: Floats, weights: Floats | None = None, chunk_rows: int | None = None) -> None:
        table, w = checked_table(values, weights)
        d = table.shape[1]
        seen = ~np.isnan(table) & (w > 0)[:, None]
        filled = np.where(seen, table, 0.0)
        self.origin: Floats = (w @ filled) / (w @ seen)
        self.n_units = int(seen.any(axis=1).sum())
        parts, masks, shares = [], [], []
        for rows in group_rows(seen):
            o = seen[rows[0]]
            away = (filled[rows] - self.origin) * o
            root = np.sqrt(w[rows])
            if len(rows) > o.sum() + 1:
                weight, mean, scatter = mean_and_root(away[:, o], w[rows])
                away = np.zeros((1 + len(scatter), d))
                away[0, o], away[1:, o] = math.sqrt(weight) * mean, scatter
                root = np.zeros(len(away))
                root[0] = math.sqrt(weight)
            else:
                away = root[:, None] * away
            parts.append(away)
            masks.append(np.broadcast_to(o, away.shape))
            shares.append(root)
        self.rows, self.seen, self.share = np.vstack(parts), np.vstack(masks), np.concatenate(shares)
        self.chunk_rows = chunk_rows or max(1, VALUES_PER_CHUNK // d)

    @property
    def n_chunks(self) -> int:
        return -(-len(self.rows) // self.chunk_rows)

    def chunk(self, index: int) -> FactorChunk:
        part = slice(index * self.chunk_rows, (index + 1) * self.chunk_rows)
        return FactorChunk(self.rows[part], self.seen[part].astype(np.float64), self.share[part], self.origin)


def leading_axes(table: Floats, count: int) -> tuple[Floats, Floats]:
    """Largest eigenvalues of ``tableᵀ table``, ascending, and their unit vectors, by the smaller of both products.

    Parameters
    ----------
    table : ndarray, shape (n, d)
    count : int
        Axes k; those beyond the rank of the table have eigenvalue 0 and no direction.

    Returns
    -------
    values, axes : ndarray, shapes (k,) and (d, k)
    """
    n, d = table.shape
    if d <= n:
        values, vectors = np.linalg.eigh(table.T @ table)
        return np.maximum(values[-count:], 0.0), vectors[:, -count:]
    values, vectors = np.linalg.eigh(table @ table.T)
    kept = min(count, n)
    values = np.maximum(values[-kept:], 0.0)
    axes = np.zeros((d, count))
    axes[:, count - kept :] = table.T @ (vectors[:, -kept:] / np.sqrt(np.where(values > 0.0, values, 1.0)))
    return np.concatenate([np.zeros(count - kept), values]), axes
