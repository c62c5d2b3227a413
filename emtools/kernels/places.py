"""Where in a sequence a site may lie: prior weights of starts from those of letters."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def place_weights(codes: Codes, offsets: Offsets, prior: Floats, width: int, n_letters: int, each: bool) -> Floats:
    """Prior weight of a site at each start: the mean weight of its letters.

    Parameters
    ----------
    codes, offsets
        As in `kernels.motif.background_letters`.
    prior : ndarray, shape (n_positions,)
        Weight of each letter, above 0.
    width, n_letters : int
        Letters of a site; size of the alphabet.
    each : bool
        Divide by the mean over the windows of the sequence in which every letter was observed: with equal weights all are 1.0, to the bit.

    Returns
    -------
    ndarray, shape (n_positions,)
        By start; 0.0 where a letter of the window was not observed or the sequence ends.
    """
    weights = np.zeros(codes.size)
    for i in range(offsets.size - 1):
        low, high = offsets[i], offsets[i + 1]
        largest = 1.0
        if each:
            largest = 0.0
            for j in range(low, high):
                if codes[j] < n_letters:
                    largest = max(largest, prior[j])
        total, n_windows, run, inside = 0.0, 0, 0, 0.0
        for j in range(low, high):
            if codes[j] < n_letters:
                inside += prior[j] / largest
            if j - low >= width and codes[j - width] < n_letters:
                inside -= prior[j - width] / largest
            run = run + 1 if codes[j] < n_letters else 0
            if run >= width:
                weights[j - width + 1] = max(inside, 1e-9)
                total += weights[j - width + 1]
                n_windows += 1
        for j in range(low, high):
            weights[j] = weights[j] * n_windows / total if each and n_windows else weights[j] / width
    return weights


@njit(cache=True, nogil=True)
def weigh_factors(weights: Floats, factors: Floats, log_factors: Floats) -> None:
    """Multiply the factors of windows by their prior weights and add the logs of these to `log_factors`."""
    for j in range(weights.size):
        if weights[j] > 0.0 and factors[j] > 0.0:
            factors[j] *= weights[j]
            log_factors[j] += math.log(weights[j])


@njit(cache=True, nogil=True)
def weigh_ratios(weights: Floats, log_ratios: Floats, log_windows: Floats) -> None:
    """Add the logs of prior weights to the log-ratios of windows on both strands, and take them from the log of their background."""
    for j in range(weights.size):
        if weights[j] > 0.0:
            log_weight = math.log(weights[j])
            log_ratios[0, j] += log_weight
            log_ratios[1, j] += log_weight
            log_windows[j] -= log_weight


@njit(cache=True, nogil=True)
def passed_over(n_starts: int, width: int, stays: Floats, shares: Floats, log_none: float) -> float:
    """Expected log-probability, above `log_none` each, of no site at the places where one could have started and did not; nats.

    Parameters
    ----------
    n_starts, width : int
        Places; letters of a site.
    stays : ndarray, shape (at least n_starts,)
        Prior probability that none starts, 1.0 where none can.
    shares : ndarray, shape (at least 2 n_starts,)
        Posterior of a site at each place, by strand.
    """
    total, inside = 0.0, 0.0
    for j in range(n_starts):
        inside += shares[2 * j] + shares[2 * j + 1]
        if j >= width:
            inside -= shares[2 * (j - width)] + shares[2 * (j - width) + 1]
        if stays[j] < 1.0:
            total += (1.0 - inside) * (math.log(stays[j]) - log_none)
    return total
