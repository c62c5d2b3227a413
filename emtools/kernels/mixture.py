"""E-step of a Gaussian mixture with full covariances: densities, shares and moments of a block of rows at a time.

``n`` rows, ``d`` features, ``K`` components. A block is kept feature by feature, so that the innermost loops run
over rows and all that they touch stays in the cache. The readable version, which the tests hold this one to, is
`emtools.kernels.gaussian.log_density_full` with `emtools.kernels.logspace.normalise_rows`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]

BLOCK = 128  # rows
# Sums in the order that suits vector registers; NaN and infinity keep their meaning. What is compiled so must be inlined
# where it is called: of a function that is called, the linker takes another copy after compiling than from the cache,
# and the two may sum in another order.
SUMS = {"contract", "reassoc", "nsz"}


@njit(cache=True, nogil=True, fastmath=SUMS, inline="always")
def squared_norms(inverse: Floats, deviations: Floats, white: Floats, out: Floats, n: int) -> None:
    """``|L⁻¹ x|²`` of the first `n` columns x.

    Parameters
    ----------
    inverse : ndarray, shape (d, d)
        L⁻¹, lower triangular.
    deviations : ndarray, shape (d, n or more)
        Rows as columns.
    white : ndarray, shape (n or more,)
        Scratch.
    out : ndarray, shape (n or more,)
        Receives the squares.
    """
    for t in range(n):
        out[t] = 0.0
    for i in range(len(inverse)):
        for t in range(n):
            white[t] = 0.0
        j = 0
        while j + 4 <= i + 1:
            a, b, c, d = inverse[i, j], inverse[i, j + 1], inverse[i, j + 2], inverse[i, j + 3]
            for t in range(n):
                white[t] += (
                    a * deviations[j, t]
                    + b * deviations[j + 1, t]
                    + c * deviations[j + 2, t]
                    + d * deviations[j + 3, t]
                )
            j += 4
        while j <= i:
            a = inverse[i, j]
            for t in range(n):
                white[t] += a * deviations[j, t]
            j += 1
        for t in range(n):
            out[t] += white[t] * white[t]


@njit(cache=True, nogil=True, fastmath=SUMS, inline="always")
def add_moments(deviations: Floats, shares: Floats, shared: Floats, first: Floats, second: Floats, n: int) -> None:
    """Add the weighted moments of the first `n` columns to `first` and to the lower triangle of `second`.

    Parameters
    ----------
    deviations : ndarray, shape (d, n or more)
        Rows as columns.
    shares : ndarray, shape (n or more,)
        Their weights.
    shared : ndarray, shape (d, n or more)
        Scratch.
    first : ndarray, shape (d,)
        Sum of the columns.
    second : ndarray, shape (d, d)
        Sum of their outer products; what is above the diagonal is left alone.
    """
    for i in range(len(deviations)):
        total = 0.0
        for t in range(n):
            shared[i, t] = deviations[i, t] * shares[t]
            total += shared[i, t]
        first[i] += total
        j = 0
        while j + 4 <= i + 1:
            a = b = c = d = 0.0
            for t in range(n):
                value = shared[i, t]
                a += value * deviations[j, t]
                b += value * deviations[j + 1, t]
                c += value * deviations[j + 2, t]
                d += value * deviations[j + 3, t]
            second[i, j] += a
            second[i, j + 1] += b
            second[i, j + 2] += c
            second[i, j + 3] += d
            j += 4
        while j <= i:
            a = 0.0
            for t in range(n):
                a += shared[i, t] * deviations[j, t]
            second[i, j] += a
            j += 1


@njit(cache=True, nogil=True)
def share_out(log_joint: Floats, weights: Floats, n: int) -> tuple[float, float]:
    """Turn log joint densities into weighted responsibilities, in place.

    Parameters
    ----------
    log_joint : ndarray, shape (K, n or more)
        Nats; receives the responsibilities times the weights.
    weights : ndarray, shape (n,)
        Weights of the rows.

    Returns
    -------
    loglik, entropy : float
        Weighted sums over the rows, nats; the entropy from the responsibilities alone.
    """
    loglik = entropy = 0.0
    for t in range(n):
        highest = log_joint[0, t]
        for k in range(1, len(log_joint)):
            highest = max(highest, log_joint[k, t])
        if highest == -math.inf:
            highest = 0.0
        total = 0.0
        for k in range(len(log_joint)):
            total += math.exp(log_joint[k, t] - highest)
        log_sum = highest + (math.log(total) if total > 0.0 else -math.inf)
        spread = 0.0
        for k in range(len(log_joint)):
            log_share = log_joint[k, t] - log_sum
            share = math.exp(log_share)
            if share > 0.0:
                spread -= share * log_share
            log_joint[k, t] = share * weights[t]
        loglik += weights[t] * log_sum
        entropy += weights[t] * spread
    return loglik, entropy


@njit(cache=True, nogil=True, fastmath=SUMS)
def soft_moments(
    values: Floats, weights: Floats, means: Floats, inverses: Floats, constants: Floats
) -> tuple[float, float, Floats, Floats, Floats]:
    """Expected moments of rows about the means of their components.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows.
    weights : ndarray, shape (n,)
        Weights of the rows.
    means : ndarray, shape (K, d)
        Means.
    inverses : ndarray, shape (K, d, d)
        Inverses of the lower Cholesky factors of the covariances; finite.
    constants : ndarray, shape (K,)
        Log joint density at the mean of each component, nats; minus infinity where its weight is zero.

    Returns
    -------
    loglik, entropy : float
        Nats.
    counts : ndarray, shape (K,)
        Expected weight of each component.
    first : ndarray, shape (K, d)
        Sums of the deviations from the mean.
    second : ndarray, shape (K, d, d)
        Sums of their outer products, symmetric.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, eqs 2.43 and 9.23-9.25.
    """
    n, d = values.shape
    n_components = len(means)
    counts, first = np.zeros(n_components), np.zeros((n_components, d))
    second = np.zeros((n_components, d, d))
    columns, deviations, shared = np.empty((d, BLOCK)), np.empty((d, BLOCK)), np.empty((d, BLOCK))
    shares, white, squares = np.empty((n_components, BLOCK)), np.empty(BLOCK), np.empty(BLOCK)
    loglik = entropy = 0.0
    for begin in range(0, n, BLOCK):
        size = min(BLOCK, n - begin)
        for t in range(size):
            for j in range(d):
                columns[j, t] = values[begin + t, j]
        for k in range(n_components):
            for j in range(d):
                for t in range(size):
                    deviations[j, t] = columns[j, t] - means[k, j]
            squared_norms(inverses[k], deviations, white, squares, size)
            for t in range(size):
                shares[k, t] = constants[k] - 0.5 * squares[t]
        block_loglik, block_entropy = share_out(shares, weights[begin : begin + size], size)
        loglik += block_loglik
        entropy += block_entropy
        for k in range(n_components):
            total = 0.0
            for t in range(size):
                total += shares[k, t]
            counts[k] += total
            if total > 0.0 or math.isnan(total):
                for j in range(d):
                    for t in range(size):
                        deviations[j, t] = columns[j, t] - means[k, j]
                add_moments(deviations, shares[k], shared, first[k], second[k], size)
    for k in range(n_components):
        for i in range(d):
            for j in range(i):
                second[k, j, i] = second[k, i, j]
    return loglik, entropy, counts, first, second
