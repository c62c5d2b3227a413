"""Agreement of two partitions of the same units."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import entr

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


def contingency(rows: Codes, weights: Floats) -> Floats:
    """Sum of the weights of the units of each row group.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        Group of each unit, 0 or more.
    weights : ndarray, shape (n, K)
        Responsibilities, or 0 and 1.

    Returns
    -------
    ndarray, shape (max(rows) + 1, K)
    """
    table = np.zeros((int(rows.max(initial=-1)) + 1, weights.shape[1]))
    np.add.at(table, rows, weights)
    return table


def one_hot(codes: Codes, n_groups: int) -> Floats:
    """Membership as 0 and 1, shape (n, n_groups)."""
    return np.eye(n_groups)[codes]


def pairs(counts: Floats) -> float:
    """Pairs of units within the cells of a table of counts."""
    return float((counts * (counts - 1.0)).sum() / 2.0)


def adjusted_rand(table: Floats) -> float:
    """Adjusted Rand index of a table of counts, shape (R, K); 1 for equal partitions, 0 on average by chance.

    Hubert & Arabie (1985), doi:10.1007/BF01908075, eq. 5.
    """
    joint, first, second = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    total = pairs(np.atleast_1d(table.sum()))
    chance = first * second / total if total else 0.0
    highest = (first + second) / 2.0
    return 1.0 if highest == chance else (joint - chance) / (highest - chance)


def normalised_information(table: Floats) -> float:
    """Mutual information of a table of counts over the mean of the two entropies, between 0 and 1.

    Vinh, Epps & Bailey (2010), JMLR 11:2837, table 2 (NMI sum).
    """
    share = table / table.sum()
    first, second = float(entr(share.sum(axis=1)).sum()), float(entr(share.sum(axis=0)).sum())
    if first + second == 0.0:
        return 1.0
    shared = first + second - float(entr(share).sum())
    return max(0.0, 2.0 * shared / (first + second))


def matching(table: Floats) -> tuple[Codes, Codes]:
    """Rows and columns of the one-to-one matching that keeps most of a table, shape (R, K).

    Kuhn (1955), doi:10.1002/nav.3800020109.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    return np.asarray(rows, dtype=np.intp), np.asarray(columns, dtype=np.intp)


def matched_accuracy(table: Floats) -> float:
    """Fraction of units that are right when each column may stand for one row only."""
    return float(table[matching(table)].sum() / table.sum())


def majority_accuracy(table: Floats) -> float:
    """Fraction of units that are right when each column stands for the row that is most frequent in it."""
    return float(table.max(axis=0).sum() / table.sum())
