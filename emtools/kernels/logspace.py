"""Sums of numbers kept as their logarithms."""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NARROW = 7  # columns up to which numpy adds in their order too, so that the sum is the same


def across(ufunc: np.ufunc, values: Floats) -> Floats:
    """``ufunc.reduce(values, axis=-1)``; column by column where there are few, which takes a third of the time.

    Parameters
    ----------
    ufunc : numpy.ufunc
        ``np.add`` or ``np.maximum``.
    values : ndarray, shape (..., K)
        K at least 1.

    Returns
    -------
    ndarray, shape (...,)
    """
    few = 1 < values.shape[-1] <= NARROW
    result: Floats = reduce(ufunc, np.moveaxis(values, -1, 0)) if few else ufunc.reduce(values, axis=-1)
    return result


def logsumexp_rows(log_values: Floats) -> Floats:
    """Log of the sum of exponentials along the last axis.

    Parameters
    ----------
    log_values : ndarray, shape (..., K)
        Logarithms; minus infinity stands for zero.

    Returns
    -------
    ndarray, shape (...,)
        Minus infinity where a whole row is zero.

    Examples
    --------
    >>> logsumexp_rows(np.array([[0.0, -np.inf], [-np.inf, -np.inf]])).tolist()
    [0.0, -inf]
    """
    highest = across(np.maximum, log_values)
    shift = np.where(np.isneginf(highest), 0.0, highest)
    with np.errstate(divide="ignore"):
        log_sums: Floats = shift + np.log(across(np.add, np.exp(log_values - shift[..., None])))
    return log_sums


def normalise_rows(log_values: Floats) -> tuple[Floats, Floats]:
    """Divide each row by its sum, in log space.

    Parameters
    ----------
    log_values : ndarray, shape (n, K)
        Logarithms of non-negative numbers, not all zero in a row.

    Returns
    -------
    log_shares : ndarray, shape (n, K)
        Logarithms of shares that sum to 1 along a row.
    log_sums : ndarray, shape (n,)
        Logarithms of the sums of the rows.
    """
    log_sums = logsumexp_rows(log_values)
    return log_values - log_sums[:, None], log_sums


def entropy_rows(shares: Floats, log_shares: Floats) -> Floats:
    """Entropy of each row in nats; 0 log 0 is 0.

    Parameters
    ----------
    shares : ndarray, shape (n, K)
        Shares that sum to 1 along a row.
    log_shares : ndarray, shape (n, K)
        Their logarithms.

    Returns
    -------
    ndarray, shape (n,)
    """
    entropies: Floats = -np.einsum("...k,...k->...", shares, np.where(shares > 0.0, log_shares, 0.0))
    return entropies


def log_or_minus_infinity(values: Floats) -> Floats:
    """Natural logarithm in which zero is minus infinity without a warning."""
    with np.errstate(divide="ignore"):
        log_values: Floats = np.log(values)
    return log_values
