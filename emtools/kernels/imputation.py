"""How far filled-in values are from the truth, and what filling in does to a standard deviation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

NORMAL_975 = 1.959963984540054


def normalised_errors(truth: Floats, filled: Floats) -> Floats:
    """Error of each cell in standard deviations of its column's truth.

    Parameters
    ----------
    truth : ndarray, shape (n, d)
        NaN where unknown.
    filled : ndarray, shape (n, d)

    Returns
    -------
    ndarray, shape (n, d)
    """
    errors: Floats = (filled - truth) / np.nanstd(truth, axis=0, ddof=1)
    return errors


def normalised_rmse(truth: Floats, filled: Floats, cells: Booleans) -> tuple[float, Floats]:
    """Root mean square of `normalised_errors` over some cells.

    Parameters
    ----------
    truth, filled : ndarray, shape (n, d)
    cells : ndarray of bool, shape (n, d)
        The cells that were masked.

    Returns
    -------
    pooled : float
        Over all of them; filling in a column's mean gives about 1.
    by_column : ndarray, shape (d,)
        NaN for a column without such a cell.

    References
    ----------
    Oba et al. (2003), Bioinformatics 19, 2088-2096, doi:10.1093/bioinformatics/btg287; here each column
    has its own scale.
    """
    squares = np.where(cells, normalised_errors(truth, filled) ** 2, 0.0)
    n_cells = cells.sum(axis=0)
    with np.errstate(invalid="ignore"):
        by_column: Floats = np.sqrt(squares.sum(axis=0) / n_cells)
    return float(np.sqrt(squares.sum() / n_cells.sum())), by_column


def interval_coverage(truth: Floats, lower: Floats, upper: Floats, cells: Booleans) -> float:
    """Share of some cells whose truth lies between `lower` and `upper`."""
    return float(((lower <= truth) & (truth <= upper))[cells].mean())


def joint_counts(observed: Booleans) -> npt.NDArray[np.int64]:
    """Rows in which both of two columns are observed, shape (d, d)."""
    counted = observed.astype(np.float64)
    return (counted.T @ counted).astype(np.int64)


def sd_after_filling(values: Floats, fill: Floats) -> Floats:
    """Standard deviation (divisor n) of each column after its gaps are filled, shape (d,).

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    fill : ndarray, shape (n, d) or (d,)
        What goes into the gaps: column means, or conditional means.
    """
    spread: Floats = np.where(np.isnan(values), fill, values).std(axis=0)
    return spread


def interval(filled: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """Lower and upper end of the 95 % interval of a normal."""
    return filled - NORMAL_975 * sd, filled + NORMAL_975 * sd
