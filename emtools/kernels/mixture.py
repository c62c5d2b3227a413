"""E-step of a Gaussian mixture: densities, shares and moments of a block of rows at a time.

``n`` rows, ``d`` features, ``K`` components. A block is kept feature by feature, so that the rows lie along the lanes
of vector registers (`emtools.kernels.vectors`), and all that the inner loops touch stays in the cache. The readable
version, which the tests hold this one to, is `emtools.kernels.gaussian.log_density_full` with
`emtools.kernels.logspace.normalise_rows`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.direct import (
    GROUP,
    add_few_of_1,
    add_few_of_2,
    add_moments_of_1,
    add_moments_of_2,
    add_moments_of_4,
    add_rows,
    nearest_strip,
    square_pairs,
    square_strip,
)
from emtools.kernels.tiles import (
    DEPTH,
    TILE,
    add_chosen,
    add_group,
    add_products,
    add_squares_of_2,
    add_squares_of_4,
    fill_strip,
)
from emtools.kernels.vectors import LANES, STRIP, WEIGHED, count_from, scale_shares, total_rows, weigh_rows

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Moments = tuple[float, float, Floats, Floats, Floats]

BLOCK = 480  # rows; not a power of two, whose features would meet in the same lines of the cache
# Weighted share of a row below which it adds nothing to the products of a component: far below rounding, for any number of
# rows, unless the component itself holds less than 1e-10 rows.
NEGLIGIBLE = 1e-30
MASKED = 4  # components up to which a hard pass sums all rows for each, by masks
FEW = 0.6  # fraction of a block below which the rows that count are picked out


def soft_moments(values: Floats, weights: Floats, means: Floats, inverses: Floats, constants: Floats) -> Moments:
    """Expected moments of rows about the means of their components, with a covariance matrix each.

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
    k, d = means.shape
    if d > 2:
        return whole_moments(values, weights, means, inverses, constants)
    scales = inverses[:, 0] if d == 1 else inverses
    loglik, entropy, counts, first, squares, cross = few_moments(values, weights, means, scales, constants)
    second = np.zeros((k, d, d))
    second[:, range(d), range(d)] = squares
    if d == 2:
        second[:, 0, 1] = second[:, 1, 0] = cross
    return loglik, entropy, counts, first, second


def soft_diagonal(values: Floats, weights: Floats, means: Floats, scales: Floats, constants: Floats) -> Moments:
    """Expected moments of rows about the means of their components, with independent features.

    Parameters
    ----------
    values, weights, means, constants
        As in `soft_moments`.
    scales : ndarray, shape (K, d)
        Reciprocals of the standard deviations.

    Returns
    -------
    loglik, entropy, counts, first
        As in `soft_moments`.
    second : ndarray, shape (K, d)
        Sums of the squared deviations.
    """
    return few_moments(values, weights, means, scales, constants)[:5]


@njit(cache=True, nogil=True)
def read_block(values: Floats, weights: Floats, begin: int, used: int, columns: Floats, block_weights: Floats) -> None:
    """Rows from `begin` on, feature by feature; places up to `used` without a row hold the first one, without weight."""
    n, d = values.shape
    filled = min(used, n - begin)
    for t in range(filled):
        block_weights[t] = weights[begin + t]
    if d <= 2:
        for j in range(d):
            for t in range(filled):
                columns[j * BLOCK + t] = values[begin + t, j]
    else:
        for t in range(filled):
            for j in range(d):
                columns[j * BLOCK + t] = values[begin + t, j]
    for t in range(filled, used):
        block_weights[t] = 0.0
        for j in range(d):
            columns[j * BLOCK + t] = columns[j * BLOCK]


@njit(cache=True, nogil=True)
def weigh_block(
    shares: Floats, groups: int, constants: Floats, block_weights: Floats, outcome: Floats, totals: Floats
) -> None:
    """Squared distances of a block become densities in place, `totals` what makes shares of them; sums go to `outcome`."""
    tops, spreads = np.zeros(BLOCK), np.zeros(BLOCK)
    for s in range(0, groups * LANES, WEIGHED):
        weigh_rows(shares, s, BLOCK, constants, tops, totals, spreads)
    total_rows(block_weights, groups, tops, totals, spreads, outcome)


@njit(cache=True, nogil=True)
def share_block(
    shares: Floats, groups: int, constants: Floats, block_weights: Floats, outcome: Floats, counts: Floats
) -> None:
    """Squared distances of a block become weighted shares in place; what they sum to is added to `outcome` and `counts`."""
    totals = np.zeros(BLOCK)
    weigh_block(shares, groups, constants, block_weights, outcome, totals)
    for k in range(len(constants)):
        scale_shares(shares, k * BLOCK, groups, totals, counts, k * LANES)


@njit(cache=True, nogil=True)
def few_moments(
    values: Floats, weights: Floats, means: Floats, scales: Floats, constants: Floats
) -> tuple[float, float, Floats, Floats, Floats, Floats]:
    """The E-step with independent features, `scales` (K, d); or of pairs of features, `scales` (K, 2, 2)."""
    n, d = values.shape
    n_components, pairs = len(means), scales.ndim == 3
    flat, centres = scales.copy().reshape(-1), means.copy().reshape(-1)
    columns, shares = np.zeros(d * BLOCK), np.zeros(n_components * BLOCK)
    block_weights, outcome = np.zeros(BLOCK), np.zeros(2 * LANES)
    firsts, seconds = np.zeros(n_components * d * LANES), np.zeros(n_components * d * LANES)
    crosses, counts, totals = np.zeros(n_components * LANES), np.zeros(n_components * LANES), np.zeros(BLOCK)
    for begin in range(0, n, BLOCK):
        used = min(BLOCK, -(-(n - begin) // STRIP) * STRIP)
        read_block(values, weights, begin, used, columns, block_weights)
        for k in range(n_components):
            for s in range(0, used, STRIP):
                if pairs:
                    square_pairs(columns, s, BLOCK, centres, flat, k, shares, k * BLOCK + s)
                else:
                    square_strip(columns, s, BLOCK, d, centres, flat, k * d, shares, k * BLOCK + s)
        groups = used // LANES
        if d <= 2:
            weigh_block(shares, groups, constants, block_weights, outcome, totals)
            for k in range(n_components):
                at = k * BLOCK
                if d == 1:
                    add_few_of_1(
                        columns, BLOCK, centres, k, shares, at, groups, totals, counts, firsts, seconds, crosses
                    )
                else:
                    add_few_of_2(
                        columns, BLOCK, centres, k, shares, at, groups, totals, counts, firsts, seconds, crosses
                    )
            continue
        share_block(shares, groups, constants, block_weights, outcome, counts)
        for k in range(n_components):
            add_independent(columns, centres, k, d, shares, k * BLOCK, groups, firsts, seconds)
    loglik, entropy = outcome[:LANES].sum(), outcome[LANES:].sum()
    first, second = over_lanes(firsts).reshape(n_components, d), over_lanes(seconds).reshape(n_components, d)
    return loglik, entropy, over_lanes(counts), first, second, over_lanes(crosses)


def hard_diagonal(values: Floats, weights: Floats, means: Floats, scales: Floats, constants: Floats) -> Moments:
    """Moments of rows given whole to their best component, the first of equals, with independent features.

    Parameters
    ----------
    values, weights, means, scales, constants
        As in `soft_diagonal`.

    Returns
    -------
    loglik : float
        Classification log-likelihood in nats; NaN where a row holds one.
    entropy : float
        0.0.
    counts : ndarray, shape (K,)
        Weight of each component.
    first, second : ndarray, shape (K, d)
        Sums of the deviations from the mean, and of their squares.

    References
    ----------
    Celeux & Govaert (1992), Comput. Stat. Data Anal. 14, 315-332, doi:10.1016/0167-9473(92)90042-E, section 3.
    """
    rows = np.empty(0) if len(means) <= MASKED else np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
    if (scales == scales[0, 0]).all():
        counts, first, second = nearest_moments(values, rows, weights, means, constants / scales[0, 0] ** 2)
    else:
        counts, first, second = best_moments(values, rows, weights, means, scales, constants)
    held = counts > 0.0
    loglik = float(counts[held] @ constants[held] - 0.5 * (scales**2 * second).sum())
    return loglik, 0.0, counts, first, second


@njit(cache=True, nogil=True)
def best_moments(
    values: Floats, rows: Floats, weights: Floats, means: Floats, scales: Floats, constants: Floats
) -> tuple[Floats, Floats, Floats]:
    """Counts and moments of the hard E-step, with a variance for each component and feature; `rows` as in `add_winners`."""
    n, d = values.shape
    flat, centres = scales.copy().reshape(-1), means.copy().reshape(-1)
    columns, squares, block_weights = np.zeros(d * BLOCK), np.zeros(BLOCK), np.zeros(BLOCK)
    best, winners = np.zeros(BLOCK), np.zeros(BLOCK)
    sums, middles = empty_sums(means.shape), padded_rows(means)
    for begin in range(0, n, BLOCK):
        used = min(BLOCK, -(-(n - begin) // STRIP) * STRIP)
        read_block(values, weights, begin, used, columns, block_weights)
        for k in range(len(means)):
            for s in range(0, used, STRIP):
                square_strip(columns, s, BLOCK, d, centres, flat, k * d, squares, s)
            choose(squares, used, constants[k], k, best, winners)
        add_winners(values, rows, begin, used, columns, block_weights, centres, middles, winners, sums)
    return total_sums(sums, means.shape)


@njit(cache=True, nogil=True)
def nearest_moments(
    values: Floats, rows: Floats, weights: Floats, means: Floats, constants: Floats
) -> tuple[Floats, Floats, Floats]:
    """The same with one variance for all, in whose units the constants are: a row goes where its product with the mean, less
    half the square of the mean, is largest, both about the middle of the means."""
    n, d = values.shape
    n_components = len(means)
    middle = np.zeros(d)
    for k in range(n_components):
        middle += means[k] / n_components
    padded = np.zeros((-(-n_components // GROUP) * GROUP, d))
    heights = np.full(len(padded), -np.inf)
    for k in range(n_components):
        for j in range(d):  # a slice assigned to a slice takes as long to compile as all the rest
            padded[k, j] = means[k, j] - middle[j]
        heights[k] = constants[k] - 0.5 * (padded[k] ** 2).sum()
    centres = padded.reshape(-1)
    columns, block_weights = np.zeros(d * BLOCK), np.zeros(BLOCK)
    best, winners = np.zeros(BLOCK), np.zeros(BLOCK)
    sums, middles = empty_sums(means.shape), padded_rows(means)
    for begin in range(0, n, BLOCK):
        used = min(BLOCK, -(-(n - begin) // STRIP) * STRIP)
        read_block(values, weights, begin, used, columns, block_weights)
        for j in range(d):
            for t in range(used):
                columns[j * BLOCK + t] -= middle[j]
        best[:used], winners[:used] = -np.inf, 0.0
        for s in range(0, used, STRIP):
            for k in range(0, n_components, GROUP):
                nearest_strip(columns, s, BLOCK, d, centres, heights, k, best, winners)
        add_winners(values, rows, begin, used, columns, block_weights, centres, middles, winners, sums)
    return total_sums(sums, means.shape)


@njit(cache=True, nogil=True)
def choose(squares: Floats, used: int, height: float, k: int, best: Floats, winners: Floats) -> None:
    """Component k takes the rows of a block where it stands higher than the best so far; the first takes all."""
    for t in range(used):
        reached = height - 0.5 * squares[t]
        if k == 0 or reached > best[t]:
            best[t] = reached
            winners[t] = k


@njit(cache=True, nogil=True)
def padded_rows(means: Floats) -> Floats:
    """The means one after the other, each filled up with zeros to whole vectors."""
    k, d = means.shape
    size = -(-d // LANES) * LANES
    flat = np.zeros(k * size)
    for i in range(k):
        for j in range(d):
            flat[i * size + j] = means[i, j]
    return flat


@njit(cache=True, nogil=True)
def empty_sums(shape: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Running sums of counts, and of deviations and squares: in `LANES` parts where components are few, else both in one."""
    k, d = shape
    if k <= MASKED:
        return np.zeros(k * LANES), np.zeros(k * d * LANES), np.zeros(k * d * LANES)
    return np.zeros(k), np.zeros(2 * k * -(-d // LANES) * LANES), np.zeros(0)


@njit(cache=True, nogil=True)
def total_sums(sums: tuple[Floats, Floats, Floats], shape: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """The totals of `empty_sums`."""
    k, d = shape
    counts, firsts, seconds = sums
    if k <= MASKED:
        return over_lanes(counts), over_lanes(firsts).reshape(shape), over_lanes(seconds).reshape(shape)
    both = firsts.reshape(2 * k, -(-d // LANES) * LANES)
    first, second = np.zeros(shape), np.zeros(shape)
    for i in range(k):
        for j in range(d):
            first[i, j], second[i, j] = both[2 * i, j], both[2 * i + 1, j]
    return counts, first, second


@njit(cache=True, nogil=True)
def add_winners(
    values: Floats, rows: Floats, begin: int, used: int, columns: Floats, weights: Floats, centres: Floats,
    middles: Floats, winners: Floats, sums: tuple[Floats, Floats, Floats],
) -> None:  # fmt: skip
    """Add the rows of a block to their components: few of these by masks of all rows, many row by row.

    `rows` holds the values one after the other where components are many, `middles` the means of `padded_rows`, and `centres`
    those that `columns` are told from.
    """
    n, d = values.shape
    counts, firsts, seconds = sums
    n_components = len(middles) // (-(-d // LANES) * LANES)
    if n_components <= MASKED:
        shares, groups = np.zeros(BLOCK), used // LANES
        for k in range(n_components):
            label = float(k)
            for t in range(used):
                shares[t] = weights[t] if winners[t] == label else 0.0
            for t in range(0, used, LANES):
                for lane in range(LANES):
                    counts[k * LANES + lane] += shares[t + lane]
            add_independent(columns, centres, k, d, shares, 0, groups, firsts, seconds)
        return
    size = -(-d // LANES) * LANES
    held = min(used, n - begin)
    add_rows(rows, begin, d, weights, winners, held - 1, middles, size, counts, firsts)
    t = held - 1  # by itself: whole vectors of the last row of all would end behind the last number
    k = int(winners[t])
    counts[k] += weights[t]
    for j in range(d):
        deviation = values[begin + t, j] - middles[k * size + j]
        firsts[2 * k * size + j] += weights[t] * deviation
        firsts[(2 * k + 1) * size + j] += weights[t] * deviation**2


@njit(cache=True, nogil=True)
def add_independent(
    columns: Floats,
    centres: Floats,
    k: int,
    d: int,
    shares: Floats,
    at: int,
    groups: int,
    firsts: Floats,
    seconds: Floats,
) -> None:
    """Add the moments of the features of a component, a few at a time."""
    j = 0
    while j + GROUP <= d:
        add_moments_of_4(columns, j * BLOCK, BLOCK, centres, k * d + j, shares, at, groups, firsts, seconds)
        j += GROUP
    if j + 2 <= d:
        add_moments_of_2(columns, j * BLOCK, BLOCK, centres, k * d + j, shares, at, groups, firsts, seconds)
        j += 2
    if j < d:
        add_moments_of_1(columns, j * BLOCK, BLOCK, centres, k * d + j, shares, at, groups, firsts, seconds)


@njit(cache=True, nogil=True)
def over_lanes(sums: Floats) -> Floats:
    """Sums over the lanes, shape (size / LANES,)."""
    totals = np.zeros(len(sums) // LANES)
    for i in range(len(totals)):
        for t in range(LANES):
            totals[i] += sums[i * LANES + t]
    return totals


@njit(cache=True, nogil=True)
def whole_moments(
    values: Floats, weights: Floats, means: Floats, inverses: Floats, constants: Floats
) -> tuple[float, float, Floats, Floats, Floats]:
    """The E-step with covariance matrices of three features or more."""
    n, d = values.shape
    n_components = len(means)
    n_tiles = -(-d // TILE)
    padded = n_tiles * TILE
    matrices = np.zeros((n_components, padded, d))
    for k in range(n_components):
        for i in range(d):
            for j in range(d):
                matrices[k, i, j] = inverses[k, i, j]
    flat, centres = matrices.reshape(-1), means.copy().reshape(-1)
    columns, strip = np.zeros(d * BLOCK), np.zeros(d * STRIP)
    shares, block_weights = np.zeros(n_components * BLOCK), np.zeros(BLOCK)
    outcome, rows, places = np.zeros(2 * LANES), np.zeros(padded * DEPTH), np.zeros(BLOCK, dtype=np.int64)
    n_pairs = n_tiles * (n_tiles + 1) // 2
    size = TILE * TILE * LANES
    sums = np.zeros(n_components * n_pairs * size)
    firsts, counts = np.zeros(n_components * padded * LANES), np.zeros(n_components * LANES)
    for begin in range(0, n, BLOCK):
        used = min(BLOCK, -(-(n - begin) // STRIP) * STRIP)
        read_block(values, weights, begin, used, columns, block_weights)
        for k in range(n_components):
            row = k * padded * d
            for s in range(0, used, STRIP):
                fill_strip(columns, s, BLOCK, d, centres, k * d, strip)
                at = k * BLOCK + s
                shares[at : at + STRIP] = 0.0
                for i in range(0, d, TILE):
                    if d - i <= 2:
                        add_squares_of_2(flat, row + i * d, d, d, strip, shares, at)
                    else:
                        add_squares_of_4(flat, row + i * d, d, min(i + TILE, d), strip, shares, at)
        share_block(shares, used // LANES, constants, block_weights, outcome, counts)
        for k in range(n_components):
            at, groups = k * BLOCK, used // LANES
            counting = count_from(shares, at, groups, NEGLIGIBLE)
            few = counting < FEW * used
            n_rows = pick(shares, at, used, places) if few else used
            for s in range(0, n_rows, DEPTH):
                upto = min(s + DEPTH, n_rows)
                for t in range(s, upto, LANES):
                    if few:
                        add_chosen(
                            columns, BLOCK, d, centres, k * d, shares, at, places, t, n_rows - t, rows, t - s, firsts,
                            k * padded * LANES,
                        )  # fmt: skip
                    else:
                        add_group(
                            columns, t, BLOCK, d, centres, k * d, shares, at + t, rows, t - s, firsts,
                            k * padded * LANES,
                        )  # fmt: skip
                add_tiles(rows, n_tiles, -(-(upto - s) // LANES), sums, k * n_pairs * size)
    loglik, entropy = outcome[:LANES].sum(), outcome[LANES:].sum()
    first = over_lanes(firsts).reshape(n_components, padded)[:, :d].copy()
    products = over_lanes(sums).reshape(n_components, n_pairs, TILE, TILE)
    second = np.zeros((n_components, d, d))
    for k in range(n_components):
        for i in range(d):
            for j in range(i + 1):
                tile = (i // TILE) * (i // TILE + 1) // 2 + j // TILE
                second[k, i, j] = second[k, j, i] = products[k, tile, i % TILE, j % TILE]
    return loglik, entropy, over_lanes(counts), first, second


@njit(cache=True, nogil=True)
def pick(shares: Floats, at: int, used: int, places: Places) -> int:
    """Places of a block whose share counts, and how many there are; beyond them place 0."""
    held = 0
    for t in range(used):
        places[held] = t
        if not shares[at + t] < NEGLIGIBLE:
            held += 1
    for t in range(held, min(held + LANES, used)):
        places[t] = 0
    return held


@njit(cache=True, nogil=True, inline="always")
def add_tiles(rows: Floats, n_tiles: int, steps: int, sums: Floats, base: int) -> None:
    """Add the products of all pairs of features in the lower triangle, tile by tile, to the sums of a component."""
    at = base
    for i in range(n_tiles):
        for j in range(i + 1):
            add_products(rows, i * TILE * DEPTH, j * TILE * DEPTH, steps, sums, at)
            at += TILE * TILE * LANES
