"""Sites of a motif by products of word tables: the fast E-step for DNA, one site a sequence or any number.

`kernels.windows` has the ratios of the windows and the sums by word. `kernels.motif` does the same in log space, letter by
letter: the oracle of this one, and what is used for other alphabets.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.places import passed_over
from emtools.kernels.windows import (
    BLOCK,
    add_shares,
    end_of_block,
    full_contexts,
    letters_of_words,
    rate_block,
    room_for,
    total_pairs,
    word_tables,
)

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Powers = npt.NDArray[np.int32]

FAR = 300  # powers of two after which a recursion is rescaled
HUGE, TINY = 2.0**FAR, 2.0**-FAR


@njit(cache=True, nogil=True)
def xlogy(x: float, log_y: float) -> float:
    """``x log_y``, 0.0 where x is."""
    return x * log_y if x > 0.0 else 0.0


@njit(cache=True, nogil=True)
def one_site(
    codes: Codes,
    offsets: Offsets,
    weights: Floats,
    table: Floats,
    order: int,
    matrix: Floats,
    rate: float,
    both: bool,
    free: Floats,
    prior: Floats,
    posterior: Floats,
) -> tuple[Floats, Floats, Offsets]:
    """E-step with one site a sequence or none, as `kernels.motif.expected_sites` with ``hard=False``.

    Parameters
    ----------
    codes, offsets, weights
        As there; four letters.
    table : ndarray, shape (2, 8**order * 4)
        As `kernels.windows.context_table` makes it.
    order : int
        Letters that the next one depends on.
    matrix : ndarray, shape (width, 4) or (width, 4, 4)
        Letter probabilities at each position of a site, above 0; with three axes those after each letter, as in `kernels.windows.word_tables`.
    rate : float
        Prior probability that a sequence has a site, above 0 and at most 1.
    free : ndarray, shape (n_positions,) or (0,)
        Probability that each letter may be part of a site, above 0; the likelihood ratio of a window is multiplied by those of its
        letters. Empty for 1 everywhere.
    prior : ndarray, shape (n_positions,) or (0,)
        Weight of a site at each start, as from `kernels.places.place_weights`; empty for 1 everywhere.
    posterior : ndarray, shape (2, n_positions) or (2, 0)
        Out, where it has room: probability that a site starts at each place, by strand.

    Returns
    -------
    totals, counts
        As there.
    failed : ndarray of int64
        Sequences whose ratios left the range of numbers: they are in no sum.
    """
    width = matrix.shape[0]
    tables, full, room = word_tables(matrix, table, order), full_contexts(table, order), room_for(offsets, width)
    if not both:
        tables[0, :, 1] = 0.0
    _, _, _, factors, _, ratios = room
    sums, weighed, outsides = np.zeros(tables.size), np.zeros(4), np.empty(BLOCK)
    totals = np.zeros(6)
    failed = np.zeros(offsets.size - 1, dtype=np.int64)
    n_failed, latest, log_place = 0, 0, 0.0
    n_strands = 2 if both else 1
    log_rate, log_none = math.log(rate), math.log(1.0 - rate) if rate < 1.0 else -np.inf
    first = int(np.int64(0))  # a literal has `rate_block` compiled for itself too
    while first < offsets.size - 1:
        last = end_of_block(offsets, first)
        base = offsets[first]
        known = rate_block(codes, offsets, first, last, matrix, tables, table, full, order, free, prior, room, outsides)
        for i in range(first, last):
            low, high = offsets[i] - base, offsets[i + 1] - base
            n_starts = max(0, high - low - width + 1)
            weight, outside = weights[i], outsides[i - first]
            n_windows = n_starts
            if not known:
                n_windows = 0
                for j in range(low, low + n_starts):
                    n_windows += factors[j] > 0.0
            if n_windows == 0:
                totals[0] += weight
                totals[1] += weight * outside
                totals[5] += weight * outside
                continue
            total = total_pairs(ratios, 2 * low, n_starts)
            if n_windows != latest:
                latest, log_place = n_windows, -math.log(n_strands * n_windows)
            mixture = 1.0 - rate + rate * total / (n_strands * n_windows)
            if not 0.0 < mixture < np.inf:
                failed[n_failed] = i
                n_failed += 1
                continue
            share = rate / (n_strands * n_windows * mixture)
            if posterior.shape[1]:
                for j in range(n_starts):
                    posterior[0, base + low + j] = share * ratios[2 * (low + j)]
                    posterior[1, base + low + j] = share * ratios[2 * (low + j) + 1]
            add_shares(low, n_starts, weight * share, room, matrix, sums, weighed)
            log_mixture = math.log(mixture)
            any_site, none = share * total, (1.0 - rate) / mixture
            entropy = -xlogy(any_site, log_rate + log_place - log_mixture) - xlogy(none, log_none - log_mixture)
            totals[0] += weight
            totals[1] += weight * (outside + log_mixture)
            totals[2] += weight * entropy
            totals[3] += weight
            totals[4] += weight * any_site
            totals[5] += weight * (outside + any_site * log_place)
        first = last
    counts, written = letters_of_words(sums.reshape(tables.shape), matrix, table, order)
    written += weighed[0] + weighed[1]
    totals[2] -= written + (counts * np.log(matrix)).sum()  # the ratios' part of the log of every posterior
    totals[5] += written
    return totals, counts, failed[:n_failed]


@njit(cache=True, nogil=True)
def scaled(value: float, power: Any) -> float:
    """``value * 2**power``."""
    return math.ldexp(value, int(power))


@njit(cache=True, nogil=True)
def sweep(n: int, width: int, starts: Floats, stays: Floats, ahead: Floats, powers: Powers) -> None:
    """Likelihood ratio of the letters from each place on, summed over all placements of sites that do not overlap.

    ``ahead[j] = stays[j] ahead[j + 1] + starts[j] ahead[j + width]``; ``ahead[n] = 1``.

    Parameters
    ----------
    n, width : int
        Letters; letters of a site.
    starts : ndarray, shape (at least n - width + 1,)
        Prior probability that a site starts at a place where the one before has ended, times its likelihood ratio.
    stays : ndarray, shape (at least n - width + 1,)
        Prior probability that none does.
    ahead : ndarray, shape (n + 1,)
        Out, as a multiple of 2 to the power ``powers``.
    powers : ndarray of int32, shape (n + 1,)
        Out.
    """
    n_starts = max(0, n - width + 1)
    ahead[n_starts : n + 1] = 1.0
    powers[n_starts : n + 1] = 0
    value, power = 1.0, 0
    for j in range(n_starts - 1, -1, -1):
        jump = ahead[j + width]
        if powers[j + width] != power:
            jump = scaled(jump, powers[j + width] - power)
        value = stays[j] * value + starts[j] * jump
        if value > HUGE:
            value *= TINY
            power += FAR
        elif value < TINY:
            value *= HUGE
            power -= FAR
        ahead[j] = value
        powers[j] = power


@njit(cache=True, nogil=True)
def walk(
    n: int, width: int, starts: Floats, stays: Floats, ahead: Floats, powers: Powers, reach: Floats, shares: Floats
) -> tuple[float, float]:
    """Posterior of a site at each place, by strand, where the ratios of `shares` were; places that could have had one; sites.

    Parameters
    ----------
    n, width, starts, stays, ahead, powers
        As in `sweep`, after it.
    reach : ndarray, shape (n + 1,)
        Scratch.
    shares : ndarray, shape (at least 2 (n - width + 1),)
        In: parts of ``starts`` by strand; out: posteriors.
    """
    n_starts = max(0, n - width + 1)
    reach[: n + 1] = 0.0
    here, n_places, n_sites = 1.0, 0.0, 0.0
    for j in range(n_starts):
        inverse = 1.0 / ahead[j]
        jump, onward = ahead[j + width] * inverse, stays[j] * ahead[j + 1] * inverse
        if powers[j + width] != powers[j]:
            jump = scaled(jump, powers[j + width] - powers[j])
        if powers[j + 1] != powers[j]:
            onward = scaled(onward, powers[j + 1] - powers[j])
        scale = here * jump
        shares[2 * j] *= scale
        shares[2 * j + 1] *= scale
        site = starts[j] * scale
        reach[j + width] += site
        n_sites += site
        n_places += here if stays[j] < 1.0 else 0.0
        here = here * onward + reach[j + 1]
    return n_places, n_sites


@njit(cache=True, nogil=True)
def any_number(
    codes: Codes,
    offsets: Offsets,
    weights: Floats,
    table: Floats,
    order: int,
    matrix: Floats,
    rate: float,
    both: bool,
    free: Floats,
    prior: Floats,
    posterior: Floats,
) -> tuple[Floats, Floats]:
    """E-step with any number of sites that do not overlap, on either strand: exact, linear in the letters.

    A sequence is written from left to right: at a place where a site can start (its letters are all observed and in
    the sequence) a site starts with probability `rate`, on either strand alike, and is written by the matrix; otherwise one
    letter is written by the background.

    Parameters
    ----------
    codes, offsets, weights, table, order, matrix, both, free, posterior
        As in `one_site`.
    prior : ndarray, shape (n_positions,) or (0,)
        What `rate` is multiplied by at each start, below 1 / `rate`; empty for 1 everywhere.
    rate : float
        Probability that a site starts at a free place, between 0 and 1.

    Returns
    -------
    totals : ndarray, shape (6,)
        Weighted sums: sequences; log-likelihood; entropy of the posterior; expected number of places at which a site
        could have started; expected number of sites; the part of the complete-data log-likelihood that does
        not depend on matrix and rate. All logs in nats.
    counts : ndarray, shape of `matrix`
        Expected letters at each position of the sites.
    """
    width = matrix.shape[0]
    tables, full, room = word_tables(matrix, table, order), full_contexts(table, order), room_for(offsets, width)
    if not both:
        tables[0, :, 1] = 0.0
    _, _, _, factors, _, ratios = room
    sums, weighed, outsides = np.zeros(tables.size), np.zeros(4), np.empty(BLOCK)
    starts, stays, ahead = np.empty(factors.size), np.empty(factors.size), np.empty(factors.size)
    reach, powers = np.empty(factors.size), np.empty(factors.size, dtype=np.int32)
    totals = np.zeros(6)
    n_strands = 2 if both else 1
    log_start, log_none = math.log(rate / n_strands), math.log(1.0 - rate)
    first = int(np.int64(0))  # a literal has `rate_block` compiled for itself too
    while first < offsets.size - 1:
        last = end_of_block(offsets, first)
        base = offsets[first]
        known = rate_block(codes, offsets, first, last, matrix, tables, table, full, order, free, prior, room, outsides)
        for i in range(first, last):
            low, high = offsets[i] - base, offsets[i + 1] - base
            n, weight, outside = high - low, weights[i], outsides[i - first]
            n_starts = max(0, n - width + 1)
            here = ratios[2 * low : 2 * (low + n_starts)]
            for k in range(here.size):
                here[k] *= rate / n_strands
            for j in range(n_starts):
                starts[j] = here[2 * j] + here[2 * j + 1]
            for j in range(n_starts):
                stays[j] = 1.0 - rate if known or factors[low + j] > 0.0 else 1.0
            if prior.size:
                for j in range(n_starts):
                    stays[j] = 1.0 - rate * prior[base + low + j]
            sweep(n, width, starts, stays, ahead, powers)
            log_mixture = math.log(ahead[0]) + powers[0] * math.log(2.0)
            n_places, n_sites = walk(n, width, starts, stays, ahead, powers, reach, here)
            if posterior.shape[1]:
                for j in range(n_starts):
                    posterior[0, base + low + j] = here[2 * j]
                    posterior[1, base + low + j] = here[2 * j + 1]
            add_shares(low, n_starts, weight, room, matrix, sums, weighed)
            totals[0] += weight
            totals[1] += weight * (outside + log_mixture)
            totals[2] += weight * (log_mixture - n_sites * log_start - (n_places - n_sites) * log_none)
            totals[3] += weight * n_places
            totals[4] += weight * n_sites
            totals[5] += weight * (outside - n_sites * math.log(n_strands))
            if prior.size:
                passed = weight * passed_over(n_starts, width, stays, here, log_none)
                totals[2] -= passed
                totals[5] += passed
        first = last
    counts, written = letters_of_words(sums.reshape(tables.shape), matrix, table, order)
    written += weighed[0] + weighed[1]
    totals[2] -= written + (counts * np.log(matrix)).sum()
    totals[5] += written
    return totals, counts


@njit(cache=True, nogil=True)
def best_placements(
    codes: Codes,
    offsets: Offsets,
    table: Floats,
    order: int,
    matrix: Floats,
    both: bool,
    free: Floats,
    prior: Floats,
    most: int,
    least: float,
) -> tuple[Offsets, Offsets, Offsets, Floats]:
    """The windows with the highest likelihood ratio in each sequence, best first, that do not overlap.

    Parameters
    ----------
    codes, offsets, table, order, matrix, both, free, prior
        As in `one_site`.
    most : int
        Windows of a sequence at most.
    least : float
        Log-ratio below which a window is not taken, nats.

    Returns
    -------
    sequence, start, strand : ndarray of int64, shape (n_windows,)
        Number of the sequence, 0-based start in it, 0 forward or 1 reverse.
    log_ratio : ndarray, shape (n_windows,)
        Nats.
    """
    width = matrix.shape[0]
    tables, full, room = word_tables(matrix, table, order), full_contexts(table, order), room_for(offsets, width)
    if not both:
        tables[0, :, 1] = 0.0
    ratios, outsides = room[5], np.empty(BLOCK)
    n = offsets.size - 1
    capacity = 0
    for i in range(n):
        capacity += min(most, max(0, (offsets[i + 1] - offsets[i]) // width))
    found = np.empty((3, capacity), dtype=np.int64)
    logs = np.empty(capacity)
    size, first = 0, int(np.int64(0))
    threshold = math.exp(least)
    while first < n:
        last = end_of_block(offsets, first)
        rate_block(codes, offsets, first, last, matrix, tables, table, full, order, free, prior, room, outsides)
        for i in range(first, last):
            low = offsets[i] - offsets[first]
            n_starts = offsets[i + 1] - offsets[i] - width + 1
            if n_starts <= 0:
                continue
            here = ratios[2 * low : 2 * (low + n_starts)]
            best = np.maximum(here[::2], here[1::2])
            places = np.array([np.argmax(best)]) if most == 1 else np.flatnonzero(best > threshold)
            if most > 1:
                places = places[np.argsort(-best[places], kind="mergesort")]
            taken = 0
            for j in places:
                value = best[j]
                if value <= threshold or taken == most:
                    continue
                found[0, size], found[1, size], found[2, size] = i, j, here[2 * j + 1] > here[2 * j]
                logs[size] = math.log(value)
                size += 1
                taken += 1
                best[max(0, j - width + 1) : j + width] = 0.0
        first = last
    return found[0, :size], found[1, :size], found[2, :size], logs[:size]
