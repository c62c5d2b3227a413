"""E-step of a Gaussian mixture with full covariances: densities, shares and moments of a block of rows at a time.

``n`` rows, ``d`` features, ``K`` components. A block is kept feature by feature, so that the rows lie along the lanes
of vector registers (`emtools.kernels.tiles`), and all that the inner loops touch stays in the cache. The readable
version, which the tests hold this one to, is `emtools.kernels.gaussian.log_density_full` with
`emtools.kernels.logspace.normalise_rows`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.tiles import (
    DEPTH,
    LANES,
    STRIP,
    add_group,
    add_products_of_2,
    add_products_of_4,
    add_squares_of_2,
    add_squares_of_4,
    fill_strip,
    finish,
    lane_sum,
    share_lanes,
)

Floats = npt.NDArray[np.float64]

BLOCK = 512  # rows
# Weighted share of `LANES` rows together below which they add nothing to the moments of a component: far below rounding, for any number
# of rows, unless the component itself holds less than 1e-10 rows.
NEGLIGIBLE = 1e-30


@njit(cache=True, nogil=True)
def soft_moments(
    values: Floats, weights: Floats, means: Floats, inverses: Floats, constants: Floats
) -> tuple[float, float, Floats, Floats, Floats]:
    """Expected moments of rows about the means of their components.

    Parameters
    ----------
    values : ndarray of float64 or float32, shape (n, d)
        Rows; all sums are in float64.
    weights : ndarray, shape (n,)
        Weights of the rows.
    means : ndarray, shape (K, d)
        Means.
    inverses : ndarray, shape (K, d, d)
        Inverses of the lower Cholesky factors of the covariances; finite, zero above the diagonal.
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
    width = 2 if d <= 2 else 4
    n_tiles = -(-d // width)
    padded = n_tiles * width
    matrices = np.zeros((n_components, padded, d))
    matrices[:, :d] = inverses
    flat, centres = matrices.reshape(-1), means.copy().reshape(-1)
    columns, strip = np.zeros(d * BLOCK), np.zeros(d * STRIP)
    shares, block_weights = np.zeros(n_components * BLOCK), np.zeros(BLOCK)
    outcome, rows = np.zeros(2 * LANES), np.zeros(padded * DEPTH)
    n_pairs = n_tiles * (n_tiles + 1) // 2
    size = width * width * LANES
    sums = np.zeros(n_components * n_pairs * size)
    firsts, counts = np.zeros(n_components * padded * LANES), np.zeros(n_components)
    loglik = entropy = 0.0
    for begin in range(0, n, BLOCK):
        filled = min(BLOCK, n - begin)
        for t in range(filled):
            block_weights[t] = weights[begin + t]
            for j in range(d):
                columns[j * BLOCK + t] = values[begin + t, j]
        used = -(-filled // STRIP) * STRIP
        for t in range(filled, used):
            block_weights[t] = 0.0
            for j in range(d):
                columns[j * BLOCK + t] = columns[j * BLOCK]
        for k in range(n_components):
            for s in range(0, used, STRIP):
                fill_strip(columns, s, BLOCK, d, centres, k * d, strip)
                at = k * BLOCK + s
                shares[at : at + STRIP] = 0.0
                row = k * padded * d
                for i in range(0, d, width):
                    if d - i <= 2:
                        add_squares_of_2(flat, row + i * d, d, d, strip, shares, at)
                    else:
                        add_squares_of_4(flat, row + i * d, d, min(i + 4, d), strip, shares, at)
                finish(shares, at, STRIP // LANES, constants[k])
        for s in range(0, used, LANES):
            share_lanes(shares, s, BLOCK, n_components, block_weights, s, outcome, 0)
            for t in range(min(LANES, filled - s)):
                loglik += outcome[t]
                entropy += outcome[LANES + t]
        for k in range(n_components):
            held = 0
            base = k * n_pairs * size
            for s in range(0, used, LANES):
                at = k * BLOCK + s
                total = lane_sum(shares, at)
                if total < NEGLIGIBLE:
                    continue
                counts[k] += total
                add_group(
                    columns, s, BLOCK, d, centres, k * d, shares, at, rows, held * LANES, firsts, k * padded * LANES
                )
                held += 1
                if held * LANES == DEPTH or s + LANES >= used:
                    add_tiles(rows, n_tiles, width, held, sums, base, size)
                    held = 0
            if held > 0:
                add_tiles(rows, n_tiles, width, held, sums, base, size)
    first, second = np.zeros((n_components, d)), np.zeros((n_components, d, d))
    for k in range(n_components):
        for j in range(d):
            for t in range(LANES):
                first[k, j] += firsts[(k * padded + j) * LANES + t]
        for i in range(d):
            for j in range(i + 1):
                row, column = i // width, j // width
                tile = k * n_pairs + row * (row + 1) // 2 + column
                at = tile * size + ((i % width) * width + j % width) * LANES
                total = 0.0
                for t in range(LANES):
                    total += sums[at + t]
                second[k, i, j] = second[k, j, i] = total
    return loglik, entropy, counts, first, second


@njit(cache=True, nogil=True, inline="always")
def add_tiles(rows: Floats, n_tiles: int, width: int, steps: int, sums: Floats, base: int, size: int) -> None:
    """Add the products of all pairs of features in the lower triangle, tile by tile, to the sums of a component."""
    at = base
    for i in range(n_tiles):
        for j in range(i + 1):
            if width == 2:
                add_products_of_2(rows, i * width * DEPTH, j * width * DEPTH, steps, sums, at)
            else:
                add_products_of_4(rows, i * width * DEPTH, j * width * DEPTH, steps, sums, at)
            at += size
