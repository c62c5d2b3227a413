"""Laplace and uniform densities, and the weighted median."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def log_laplace(values: Floats, location: float, scale: float) -> Floats:
    """Log density of a Laplace distribution, ``-log 2b - |x - m| / b``.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values x.
    location : float
        Median m, in the unit of the values.
    scale : float
        Mean absolute deviation b, positive, in the unit of the values.

    Returns
    -------
    ndarray, shape (n,)
        Nats.
    """
    log_densities: Floats = -math.log(2.0 * scale) - np.abs(values - location) / scale
    return log_densities


def log_uniform(values: Floats, lower: float, upper: float) -> Floats:
    """Log density of a uniform distribution on the closed interval from `lower` to `upper`.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values.
    lower, upper : float
        Bounds, ``lower < upper``.

    Returns
    -------
    ndarray, shape (n,)
        Nats; minus infinity outside.
    """
    inside = (values >= lower) & (values <= upper)
    return np.where(inside, -math.log(upper - lower), -np.inf)


def weighted_median(values: Floats, weights: Floats) -> float:
    """Least value with at least half of the weight at or below it.

    It minimises ``Σ weights |values - m|`` over m.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values in any order.
    weights : ndarray, shape (n,)
        Non-negative, not all zero.

    Returns
    -------
    float

    Examples
    --------
    >>> weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0]))
    2.0
    """
    order = np.argsort(values, kind="stable")
    heights = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(heights, 0.5 * heights[-1])])


def order_statistic(values: Floats, weights: Floats, share: float) -> float:
    """Least value with at least `share` of the weight at or below it.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values in any order.
    weights : ndarray, shape (n,)
        Positive.
    share : float
        From 0 (the least value) to 1 (the largest).

    Returns
    -------
    float
    """
    order = np.argsort(values, kind="stable")
    heights = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(heights, share * heights[-1])), len(values) - 1)])
