"""Columns that say the same as others: the covariance of such data has no inverse."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SMALLEST_EIGENVALUE = 1e-10
SMALLEST_SHARE = 1e-6


def dependent_columns(values: Floats, pairs_only: bool = False) -> tuple[int, ...]:
    """Columns that are an exact linear function of one another.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Finite; every column varies.
    pairs_only : bool
        Look only for columns that are a linear function of one other column.

    Returns
    -------
    tuple of int
        Where two columns have a correlation of 1 or -1, the first of them and every column that repeats it; else
        the columns with weight in the null space of the correlation matrix (eigenvalues below 1e-10); empty where
        there is none.

    References
    ----------
    Belsley, Kuh & Welsch (1980) Regression Diagnostics. Wiley, doi:10.1002/0471725153, section 3.2.

    Examples
    --------
    >>> rows = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [2.0, 5.0, 7.0], [4.0, 1.0, 5.0]])
    >>> dependent_columns(rows), dependent_columns(rows[:, :2])
    ((0, 1, 2), ())
    """
    centred = values - values.mean(axis=0)
    scaled = centred / np.sqrt((centred**2).sum(axis=0))
    correlation = scaled.T @ scaled
    same = np.triu(1.0 - np.abs(correlation) < SMALLEST_EIGENVALUE, 1)
    if same.any():
        first = int(same.any(axis=1).argmax())
        return (first, *(int(j) for j in np.flatnonzero(same[first])))
    if pairs_only:
        return ()
    eigenvalues, vectors = np.linalg.eigh(correlation)
    null = vectors[:, eigenvalues < SMALLEST_EIGENVALUE]
    return tuple(int(j) for j in np.flatnonzero((null**2).sum(axis=1) > SMALLEST_SHARE))
