"""Sums of numbers kept as their logarithms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


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
    highest = log_values.max(axis=-1)
    shift = np.where(np.isneginf(highest), 0.0, highest)
    with np.errstate(divide="ignore"):
        log_sums: Floats = shift + np.log(np.exp(log_values - shift[..., None]).sum(axis=-1))
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
