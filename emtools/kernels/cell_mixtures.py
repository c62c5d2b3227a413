"""Cells whose distribution is a mixture of normals, one of its own each: means, spreads, quantiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

HALVINGS = 60  # of the interval that holds a quantile: to rounding
NODES = 41  # of Gauss-Hermite sums


@dataclass(frozen=True)
class CellMixtures:
    """Some cells of a table, m of them, each a mixture of K normals.

    Parameters
    ----------
    cells : ndarray of bool, shape (n, d)
        Which; they are counted row by row.
    shares : ndarray, shape (K, m)
        Probabilities of the components; they sum to 1 in each cell.
    means, sds : ndarray, shape (K, m)
        Of the components.

    Examples
    --------
    >>> two = CellMixtures(np.array([[True]]), np.array([[0.5], [0.5]]), np.array([[1.0], [5.0]]), np.ones((2, 1)))
    >>> two.quantile(0.5).round(6).tolist(), float(two.sd[0].round(4))
    ([3.0], 2.2361)
    """

    cells: Booleans
    shares: Floats
    means: Floats
    sds: Floats

    @property
    def mean(self) -> Floats:
        """Mean of each cell, shape (m,)."""
        return np.asarray((self.shares * self.means).sum(axis=0))

    @property
    def sd(self) -> Floats:
        """Standard deviation of each cell, shape (m,): from the spread within and among the components."""
        away = self.means - self.mean
        return np.asarray(np.sqrt((self.shares * (self.sds**2 + away**2)).sum(axis=0)))

    def quantile(self, probability: float) -> Floats:
        """The value below which a cell lies with this probability, shape (m,).

        By halving of the interval between the least and the largest such quantile of the components.
        """
        each = self.means + ndtri(probability) * self.sds
        low, high = each.min(axis=0), each.max(axis=0)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            below = (self.shares * ndtr((middle - self.means) / self.sds)).sum(axis=0) < probability
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(0.5 * (low + high))

    def expected(self, function: Callable[[Floats], Floats], column: int) -> Floats:
        """Mean of a function of the cells of one column, by Gauss-Hermite sums over the components."""
        mine = np.broadcast_to(np.arange(self.cells.shape[1]), self.cells.shape)[self.cells] == column
        nodes, shares = np.polynomial.hermite_e.hermegauss(NODES)
        total = np.zeros(int(mine.sum()))
        for share, mean, sd in zip(self.shares[:, mine], self.means[:, mine], self.sds[:, mine], strict=True):
            total += share * (shares @ function(mean + sd * nodes[:, None])) / shares.sum()
        return total
