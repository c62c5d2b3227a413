"""Sites of a motif by products of word tables: the fast E-step for DNA, one site a sequence or any number.

The likelihood ratio of a window is a product of a few table entries, one for every word of its letters, and a running
product of its background; expected letters are gathered by word and taken apart once. `kernels.motif` is the
same in log space, letter by letter: the oracle of this one, and what is used for other alphabets.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint16]
Powers = npt.NDArray[np.int32]

LETTERS = 4
NEGLIGIBLE = 1e-17  # posterior below which a window adds to no count
RENEW = 64  # windows after which the running product of the background is taken anew
FAR = 300  # powers of two after which a recursion is rescaled
HUGE, TINY = 2.0**FAR, 2.0**-FAR


@njit(cache=True, nogil=True)
def word_tables(matrix: Floats, word: int) -> Floats:
    """Probability of every word at every place in the motif.

    Parameters
    ----------
    matrix : ndarray, shape (width, 4)
        Letter probabilities at each position of a site.
    word : int
        Letters of a word.

    Returns
    -------
    ndarray, shape (2, n_words, 4**word)
        By strand, word of the window (``n_words = ceil(width / word)``) and number of the word, its first letter the highest
        digit; letters beyond the window count as 1.
    """
    width = matrix.shape[0]
    n_words = -(-width // word)
    size = LETTERS**word
    tables = np.ones((2, n_words, size))
    for q in range(n_words):
        for code in range(size):
            forward, reverse = 1.0, 1.0
            for place in range(min(word, width - q * word)):
                letter = (code >> (2 * (word - 1 - place))) & 3
                w = q * word + place
                forward *= matrix[w, letter]
                reverse *= matrix[width - 1 - w, 3 - letter]
            tables[0, q, code] = forward
            tables[1, q, code] = reverse
    return tables


@njit(cache=True, nogil=True)
def letters_of_words(sums: Floats, width: int, word: int) -> Floats:
    """Expected letters at each position of the sites from sums by word, shape (width, 4).

    Parameters
    ----------
    sums : ndarray, shape (2, n_words, 4**word)
        Expected number of sites with each word, laid out as in `word_tables`.
    """
    counts = np.zeros((width, LETTERS))
    for strand in range(2):
        for q in range(sums.shape[1]):
            for code in range(sums.shape[2]):
                here = sums[strand, q, code]
                if here == 0.0:
                    continue
                for place in range(min(word, width - q * word)):
                    letter = (code >> (2 * (word - 1 - place))) & 3
                    w = q * word + place
                    if strand == 0:
                        counts[w, letter] += here
                    else:
                        counts[width - 1 - w, 3 - letter] += here
    return counts


def context_table(log_table: Floats, order: int) -> Floats:
    """A background table whose contexts are numbers of three bits a letter, for `spell`.

    Parameters
    ----------
    log_table : ndarray, shape (5**order, 4)
        As in `kernels.motif.background_letters`.

    Returns
    -------
    ndarray, shape (3, 8**order * 4)
        Log-probability of a letter after a context, its exponential and one over it; the letter is the lowest digit.
    """
    logs = np.asarray(log_table).reshape((LETTERS + 1,) * order + (LETTERS,))
    wide = np.zeros((8,) * order + (LETTERS,))
    wide[(slice(0, LETTERS + 1),) * order] = logs
    flat = wide.ravel()
    return np.stack([flat, np.exp(flat), np.exp(-flat)])


@njit(cache=True, nogil=True)
def spell(
    codes: Codes, low: int, high: int, table: Floats, order: int, word: int, words: Words, background: Floats
) -> None:
    """Number of the word that starts at each letter, and the background probability of each letter.

    Parameters
    ----------
    codes, low, high
        As in `kernels.motif.window_ratios`.
    table : ndarray, shape (3, 8**order * 4)
        As `context_table` makes it.
    words : ndarray of uint16, shape (at least high - low + room for a window,)
        Out: number of the word; the last ones are filled up with letter 0.
    background : ndarray, shape (3, at least high - low + 1)
        Out: probability of the letter, one over it, and the log-probability of all letters before it, nats; a letter that
        was not observed has probability 1.
    """
    n = high - low
    mask = np.uint64(8**order - 1)
    unknown = np.uint64(LETTERS)
    context = np.uint64(0)
    for _ in range(order):
        context = (context << np.uint64(3)) | unknown
    fresh = context
    total = 0.0
    for j in range(n):
        letter = np.uint64(codes[low + j])
        background[2, j] = total
        if letter >= unknown:
            context = fresh
            background[0, j] = 1.0
            background[1, j] = 1.0
            continue
        at = (context << np.uint64(2)) | letter
        total += table[0, at]
        background[0, j] = table[1, at]
        background[1, j] = table[2, at]
        context = ((context << np.uint64(3)) | letter) & mask
    background[2, n] = total
    for j in range(n, words.size):
        words[j] = 0
    top = np.uint64(2 * (word - 1))
    code = np.uint64(0)
    for j in range(n - 1, -1, -1):
        code = (np.uint64(codes[low + j] & 3) << top) | (code >> np.uint64(2))
        words[j] = code


@njit(cache=True, nogil=True)
def rate_windows(
    codes: Codes,
    low: int,
    high: int,
    width: int,
    word: int,
    tables: Floats,
    both: bool,
    words: Words,
    background: Floats,
    inverse: Floats,
    ratios: Floats,
) -> int:
    """Likelihood ratio motif : background of every window of one sequence, into `ratios` by strand and start.

    `inverse` gets one over the background probability of the window; both are 0.0 where a letter was not
    observed. Returns the number of windows in which a site can lie.
    """
    n_starts = high - low - width + 1
    if n_starts <= 0:
        return 0
    blocked = 0
    for j in range(width - 1):
        if codes[low + j] >= LETTERS:
            blocked = j + 1
    run, n_windows = 1.0, 0
    for block in range(0, n_starts, RENEW):
        run = 1.0
        for k in range(block, block + width - 1):
            run *= background[1, k]
        for j in range(block, min(block + RENEW, n_starts)):
            run *= background[1, j + width - 1]
            if codes[low + j + width - 1] >= LETTERS:
                blocked = j + width
            free = blocked <= j
            inverse[j] = run if free else 0.0
            n_windows += free
            run *= background[0, j]
    n_words = tables.shape[1]
    for s in range(2 if both else 1):
        first = tables[s, 0]
        second, third = tables[s, min(1, n_words - 1)], tables[s, min(2, n_words - 1)]
        if n_words == 1:
            for j in range(n_starts):
                ratios[s, j] = inverse[j] * first[words[j]]
        elif n_words == 2:
            for j in range(n_starts):
                ratios[s, j] = inverse[j] * first[words[j]] * second[words[j + word]]
        else:
            for j in range(n_starts):
                ratios[s, j] = inverse[j] * first[words[j]] * second[words[j + word]] * third[words[j + 2 * word]]
        for q in range(3, n_words):
            more = tables[s, q]
            for j in range(n_starts):
                ratios[s, j] *= more[words[j + q * word]]
    return n_windows


@njit(cache=True, nogil=True)
def room_for(offsets: Offsets, width: int, word: int) -> tuple[Words, Floats, Floats, Floats]:
    """Empty arrays for the longest sequence: words, background, inverse background, ratios."""
    longest = 1
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return (
        np.empty(longest + width + word, dtype=np.uint16),
        np.empty((3, longest + 1)),
        np.empty(longest),
        np.empty((2, longest)),
    )


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
    word: int,
) -> tuple[Floats, Floats, Offsets]:
    """E-step with one site a sequence or none, as `kernels.motif.expected_sites` with ``hard=False``.

    Parameters
    ----------
    codes, offsets, weights
        As there; four letters.
    table : ndarray, shape (3, 8**order * 4)
        As `context_table` makes it.
    order : int
        Letters that the next one depends on.
    matrix : ndarray, shape (width, 4)
        Letter probabilities at each position of a site, above 0.
    rate : float
        Prior probability that a sequence has a site, above 0 and at most 1.
    word : int
        Letters of a word.

    Returns
    -------
    totals, counts
        As there.
    failed : ndarray of int64
        Sequences whose ratios left the range of numbers: they are in no sum.
    """
    width = matrix.shape[0]
    tables = word_tables(matrix, word)
    n_words = tables.shape[1]
    sums = np.zeros(tables.shape)
    words, background, inverse, ratios = room_for(offsets, width, word)
    totals = np.zeros(6)
    failed = np.zeros(offsets.size - 1, dtype=np.int64)
    n_failed = 0
    n_strands = 2 if both else 1
    for i in range(offsets.size - 1):
        low, high = offsets[i], offsets[i + 1]
        weight = weights[i]
        spell(codes, low, high, table, order, word, words, background)
        outside = background[2, high - low]
        n_windows = rate_windows(codes, low, high, width, word, tables, both, words, background, inverse, ratios)
        if n_windows == 0:
            totals[0] += weight
            totals[1] += weight * outside
            totals[5] += weight * outside
            continue
        n_starts = high - low - width + 1
        total = 0.0
        for s in range(n_strands):
            for j in range(n_starts):
                total += ratios[s, j]
        place = 1.0 / (n_strands * n_windows)
        mixture = 1.0 - rate + rate * place * total
        if not 0.0 < mixture < np.inf:
            failed[n_failed] = i
            n_failed += 1
            continue
        share = rate * place / mixture
        least = NEGLIGIBLE / share if share > 0.0 else np.inf
        any_site, written = 0.0, 0.0
        for s in range(n_strands):
            for j in range(n_starts):
                ratio = ratios[s, j]
                if ratio > least:
                    z = ratio * share
                    any_site += z
                    written += z * (background[2, j] - background[2, j + width])
                    for q in range(n_words):
                        sums[s, q, words[j + q * word]] += weight * z
        entropy = -written
        if any_site > 0.0:
            entropy -= any_site * math.log(share)
        none = (1.0 - rate) / mixture
        if none > 0.0:
            entropy -= none * math.log(none)
        totals[0] += weight
        totals[1] += weight * (outside + math.log(mixture))
        totals[2] += weight * entropy
        totals[3] += weight
        totals[4] += weight * any_site
        totals[5] += weight * (outside + written + any_site * math.log(place))
    counts = letters_of_words(sums, width, word)
    totals[2] -= (counts * np.log(matrix)).sum()  # the letters' part of the log of every posterior
    return totals, counts, failed[:n_failed]


@njit(cache=True, nogil=True)
def scaled(value: float, power: Any) -> float:
    """``value * 2**power``."""
    return math.ldexp(value, np.int64(power))  # type: ignore[arg-type]


@njit(cache=True, nogil=True)
def sweep(n: int, width: int, rate: float, free: Floats, ratios: Floats, ahead: Floats, powers: Powers) -> None:
    """Likelihood ratio of the letters from each place on, summed over all placements of sites that do not overlap.

    ``ahead[j] = (1 - rate) ahead[j + 1] + rate * mean ratio at j * ahead[j + width]`` where a site can start at j,
    ``ahead[j + 1]`` elsewhere; ``ahead[n] = 1``.

    Parameters
    ----------
    n, width : int
        Letters; letters of a site.
    rate : float
        Prior probability that a site starts at a free place where the one before has ended.
    free : ndarray, shape (n,)
        Above 0.0 where a site can start.
    ratios : ndarray, shape (n,)
        Likelihood ratio of a site that starts there, mean over strands.
    ahead : ndarray, shape (n + 1,)
        Out, as a multiple of 2 to the power ``powers``.
    powers : ndarray of int32, shape (n + 1,)
        Out.
    """
    ahead[n] = 1.0
    powers[n] = 0
    for j in range(n - 1, -1, -1):
        power = powers[j + 1]
        value = ahead[j + 1]
        if free[j] > 0.0:
            jump = ahead[j + width]
            if powers[j + width] != power:
                jump = scaled(jump, powers[j + width] - power)
            value = (1.0 - rate) * value + rate * ratios[j] * jump
        if value > HUGE:
            value *= TINY
            power += FAR
        elif value < TINY:
            value *= HUGE
            power -= FAR
        ahead[j] = value
        powers[j] = power


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
    word: int,
    posterior: Floats,
) -> tuple[Floats, Floats]:
    """E-step with any number of sites that do not overlap, on either strand: exact, linear in the letters.

    A sequence is written from left to right: at a place where a site can start (its letters are all observed and in
    the sequence) a site starts with probability `rate`, on either strand alike, and is written by the matrix; otherwise one
    letter is written by the background.

    Parameters
    ----------
    codes, offsets, weights, table, order, matrix, both, word
        As in `one_site`.
    rate : float
        Probability that a site starts at a free place, between 0 and 1.
    posterior : ndarray, shape (2, n_positions) or (2, 0)
        Out, where it has room: probability that a site starts at each place, by strand.

    Returns
    -------
    totals : ndarray, shape (6,)
        Weighted sums: sequences; log-likelihood; entropy of the posterior; expected number of places at which a site
        could have started; expected number of sites; the part of the complete-data log-likelihood that does
        not depend on matrix and rate. All logs in nats.
    counts : ndarray, shape (width, 4)
        Expected letters at each position of the sites.
    """
    width = matrix.shape[0]
    tables = word_tables(matrix, word)
    n_words = tables.shape[1]
    sums = np.zeros(tables.shape)
    words, background, inverse, ratios = room_for(offsets, width, word)
    longest = inverse.size
    means, ahead, powers = np.zeros(longest), np.empty(longest + 1), np.empty(longest + 1, dtype=np.int32)
    reach = np.empty(longest + 1)
    totals = np.zeros(6)
    n_strands = 2 if both else 1
    log_place = -math.log(n_strands)
    for i in range(offsets.size - 1):
        low, high = offsets[i], offsets[i + 1]
        n, weight = high - low, weights[i]
        spell(codes, low, high, table, order, word, words, background)
        outside = background[2, high - low]
        n_windows = rate_windows(codes, low, high, width, word, tables, both, words, background, inverse, ratios)
        totals[0] += weight
        if n_windows == 0:
            totals[1] += weight * outside
            totals[5] += weight * outside
            continue
        n_starts = n - width + 1
        inverse[n_starts:n] = 0.0
        for j in range(n_starts):
            means[j] = 0.5 * (ratios[0, j] + ratios[1, j]) if both else ratios[0, j]
        sweep(n, width, rate, inverse, means, ahead, powers)
        log_mixture = math.log(ahead[0]) + powers[0] * math.log(2.0)

        entropy, n_sites, n_places, constant = 0.0, 0.0, 0.0, outside
        reach[: n + 1] = 0.0
        reach[0] = 1.0
        for j in range(n):
            here = reach[j]
            if inverse[j] == 0.0:
                reach[j + 1] += here
                continue
            n_places += here
            jump = ahead[j + width] / ahead[j]
            if powers[j + width] != powers[j]:
                jump = scaled(jump, powers[j + width] - powers[j])
            starts = 0.0
            for s in range(n_strands):
                chosen = rate / n_strands * ratios[s, j] * jump
                z = here * chosen
                if z <= NEGLIGIBLE:
                    continue
                starts += chosen
                entropy -= z * math.log(chosen)
                n_sites += z
                constant += z * (log_place + background[2, j] - background[2, j + width])
                for q in range(n_words):
                    sums[s, q, words[j + q * word]] += weight * z
                if posterior.shape[1]:
                    posterior[s, low + j] = z
            onward = ahead[j + 1] / ahead[j] * (1.0 - rate)
            if powers[j + 1] != powers[j]:
                onward = scaled(onward, powers[j + 1] - powers[j])
            if onward > 0.0 and starts > 0.0:
                entropy -= here * onward * math.log(onward)
            reach[j + 1] += here * onward
            reach[j + width] += here * starts
        totals[1] += weight * (outside + log_mixture)
        totals[2] += weight * entropy
        totals[3] += weight * n_places
        totals[4] += weight * n_sites
        totals[5] += weight * constant
    return totals, letters_of_words(sums, width, word)


@njit(cache=True, nogil=True)
def best_placements(
    codes: Codes,
    offsets: Offsets,
    table: Floats,
    order: int,
    matrix: Floats,
    both: bool,
    word: int,
    most: int,
    least: float,
) -> tuple[Offsets, Offsets, Offsets, Floats]:
    """The windows with the highest likelihood ratio in each sequence, best first, that do not overlap.

    Parameters
    ----------
    codes, offsets, table, order, matrix, both, word
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
    tables = word_tables(matrix, word)
    words, background, inverse, ratios = room_for(offsets, width, word)
    n = offsets.size - 1
    capacity = 0
    for i in range(n):
        capacity += min(most, max(0, (offsets[i + 1] - offsets[i]) // width))
    found = np.empty((3, capacity), dtype=np.int64)
    logs = np.empty(capacity)
    size = 0
    threshold = math.exp(least)
    for i in range(n):
        low, high = offsets[i], offsets[i + 1]
        spell(codes, low, high, table, order, word, words, background)
        if rate_windows(codes, low, high, width, word, tables, both, words, background, inverse, ratios) == 0:
            continue
        n_starts = high - low - width + 1
        best = np.maximum(ratios[0, :n_starts], ratios[1, :n_starts]) if both else ratios[0, :n_starts].copy()
        places = np.array([np.argmax(best)]) if most == 1 else np.flatnonzero(best > threshold)
        if most > 1:
            places = places[np.argsort(-best[places], kind="mergesort")]
        taken = 0
        for j in places:
            value = best[j]
            if value <= threshold or taken == most:
                continue
            strand = 1 if both and ratios[1, j] > ratios[0, j] else 0
            found[0, size], found[1, size], found[2, size] = i, j, strand
            logs[size] = math.log(value)
            size += 1
            taken += 1
            best[max(0, j - width + 1) : j + width] = 0.0
    return found[0, :size], found[1, :size], found[2, :size], logs[:size]
