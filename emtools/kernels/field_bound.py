"""How high the log-likelihood of a Potts field on a grid can lie: a bound from its rows and columns, each summed exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def chain_sum(log_density: Floats, coupling: float) -> float:
    """Log of ``Σ_z Π exp(log_density) Π exp(coupling [z_t = z_t+1])`` over the labellings of chains that do not touch, in nats.

    Parameters
    ----------
    log_density : ndarray, shape (K, n_chains, length)
        Log weight of each class at each place, nats.
    coupling : float
        Nats for each pair of neighbours along a chain that agree, at least 0.
    """
    _, n_chains, length = log_density.shape
    peak = log_density.max(axis=0)
    weight, differs = np.exp(log_density - peak), np.exp(-coupling)
    total = float(peak.sum()) + float(coupling * n_chains * (length - 1))
    ahead = np.ones_like(weight[:, :, 0])
    for t in range(length):
        reached = weight[:, :, t] * ahead
        size = reached.sum(axis=0)
        total += float(np.log(size).sum())
        ahead = (1.0 - differs) * reached / size + differs
    return float(total)


def field_bound(log_density: Floats, coupling: float) -> float:
    """At least ``log Σ_z exp(Σ_i log_density + coupling Σ_neighbours [z_i = z_j])`` over the labellings of a grid, in nats.

    The exponent is the mean of two, that of the rows and that of the columns, each with twice the coupling; the log of the
    sum of exponentials is convex, so that the mean of their sums is a bound.

    Parameters
    ----------
    log_density : ndarray, shape (K, R, C)
        Log density of each pixel in each class, nats.
    coupling : float
        Nats for each pair of the 4 nearest neighbours that agree, at least 0.

    References
    ----------
    Wainwright, Jaakkola & Willsky (2005), IEEE Trans. Inf. Theory 51, 2313-2335, doi:10.1109/TIT.2005.850091, eq. 17.

    Examples
    --------
    >>> even = np.zeros((2, 1, 2))  # of one row, one of the two sums has no neighbours
    >>> round(field_bound(even, 1.0), 3), round(float(np.log(2 * np.e + 2)), 3)
    (2.103, 2.006)
    """
    rows = chain_sum(log_density, 2.0 * coupling)
    columns = chain_sum(np.swapaxes(log_density, 1, 2), 2.0 * coupling)
    return 0.5 * (rows + columns)
