"""Motif in sequences: log-ratios of windows against a Markov background, and expected counts of sites."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.places import weigh_ratios

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Hits = npt.NDArray[np.int64]

NEGLIGIBLE = 1e-20  # posterior below which a window adds to no count


@njit(cache=True, nogil=True)
def background_letters(codes: Codes, offsets: Offsets, table: Floats, order: int, n_letters: int) -> Floats:
    """Log-probability of each letter given the letters before it, in nats.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n_positions,)
        Sequences end to end; a code of `n_letters` or more is a letter that was not observed.
    offsets : ndarray of int64, shape (n_sequences + 1,)
        Sequence `i` is ``codes[offsets[i]:offsets[i + 1]]``.
    table : ndarray, shape ((n_letters + 1)**order, n_letters)
        Log-probability of a letter after a context. A context is a number of `order` digits, the
        latest letter last; the digit `n_letters` stands for a letter before the start or not observed.
    order : int
        Letters that the next one depends on, 0 to 5.
    n_letters : int
        Size of the alphabet.

    Returns
    -------
    ndarray, shape (n_positions,)
        0.0 where the letter was not observed: it is summed out, and what follows starts afresh.
    """
    logs = np.zeros(codes.size)
    base = n_letters + 1
    size = base**order
    fresh = size - 1
    for i in range(offsets.size - 1):
        context = fresh
        for j in range(offsets[i], offsets[i + 1]):
            letter = np.int64(codes[j])
            if letter >= n_letters:
                context = fresh
                continue
            logs[j] = table[context, letter]
            context = (context * base + letter) % size
    return logs


@njit(cache=True, nogil=True)
def count_words(codes: Codes, offsets: Offsets, order: int, n_letters: int, both: bool) -> Floats:
    """How often each letter follows each context, for all orders up to `order`.

    Returns
    -------
    ndarray, shape ((n_letters + 1)**order, n_letters)
        Counts in the context numbers of `background_letters`: a context shorter than `order` has the
        digit `n_letters` in front. With `both`, the reverse complements are counted too.
    """
    base = n_letters + 1
    counts = np.zeros((base**order, n_letters))
    for i in range(offsets.size - 1):
        low, high = offsets[i], offsets[i + 1]
        for strand in range(2 if both else 1):
            run = 0
            for step in range(high - low):
                j = low + step if strand == 0 else high - 1 - step
                letter = np.int64(codes[j])
                if letter >= n_letters:
                    run = 0
                    continue
                if strand == 1:
                    letter = n_letters - 1 - letter
                for k in range(min(run, order) + 1):
                    context = np.int64(0)
                    for back in range(order, 0, -1):
                        digit = np.int64(n_letters)
                        if back <= k:
                            at = j - back if strand == 0 else j + back
                            digit = np.int64(codes[at])
                            if strand == 1:
                                digit = n_letters - 1 - digit
                        context = context * base + digit
                    counts[context, letter] += 1.0
                run += 1
    return counts


@njit(cache=True, nogil=True)
def site_logs(codes: Codes, at: int, log_matrix: Floats, both: bool) -> tuple[float, float]:
    """Log-probability of the letters from `at` on as a site on the forward and on the reverse strand; all observed.

    Parameters
    ----------
    log_matrix : ndarray, shape (width, n_letters) or (width, n_letters, n_letters)
        Log-probability of a letter at each position of a site; with three axes after each letter (the second axis), of which the first
        position has none: its rows are alike.
    """
    width, n_letters = log_matrix.shape[0], log_matrix.shape[-1]
    forward, reverse = 0.0, 0.0
    before = np.int64(0)
    for w in range(width):
        letter = np.int64(codes[at + w])
        if log_matrix.ndim == 3:
            forward += log_matrix[w, before, letter]
            if both and w:
                reverse += log_matrix[width - w, n_letters - 1 - letter, n_letters - 1 - before]
            before = letter
        else:
            forward += log_matrix[w, letter]
            if both:
                reverse += log_matrix[width - 1 - w, n_letters - 1 - letter]
    if log_matrix.ndim == 3 and both:
        reverse += log_matrix[0, 0, n_letters - 1 - before]
    return forward, reverse


@njit(cache=True, nogil=True)
def add_letters(codes: Codes, at: int, strand: int, share: float, counts: Floats) -> None:
    """Add a share of the site that starts at `at` to the counts of its letters, laid out as in `site_logs`; of a first position that
    has rows, to the first of them."""
    width, n_letters = counts.shape[0], counts.shape[-1]
    before = np.int64(0)
    for w in range(width):
        letter = np.int64(codes[at + w])
        if counts.ndim == 3:
            if strand == 0:
                counts[w, before, letter] += share
            elif w:
                counts[width - w, n_letters - 1 - letter, n_letters - 1 - before] += share
            before = letter
        elif strand == 0:
            counts[w, letter] += share
        else:
            counts[width - 1 - w, n_letters - 1 - letter] += share
    if counts.ndim == 3 and strand:
        counts[0, 0, n_letters - 1 - before] += share


@njit(cache=True, nogil=True)
def window_ratios(
    codes: Codes,
    low: int,
    high: int,
    log_background: Floats,
    log_matrix: Floats,
    both: bool,
    log_ratios: Floats,
    log_windows: Floats,
) -> int:
    """Log-ratio motif : background of every window of one sequence, into the two last arguments.

    Parameters
    ----------
    codes, log_background : ndarray, shape (n_positions,)
        Letters, and their background log-probability.
    low, high : int
        Bounds of the sequence in them.
    log_matrix : ndarray
        As in `site_logs`.
    both : bool
        Whether a site can lie on the reverse strand.
    log_ratios : ndarray, shape (2, at least high - low)
        Out: log-ratio in nats by strand and start; minus infinity where the window has a letter that
        was not observed.
    log_windows : ndarray, shape (at least high - low,)
        Out: background log-probability of the letters in the window.

    Returns
    -------
    int
        Number of windows in which a site can lie.
    """
    width, n_letters = log_matrix.shape[0], log_matrix.shape[-1]
    n_windows = 0
    blocked = low
    for j in range(low, min(low + width - 1, high)):
        if codes[j] >= n_letters:
            blocked = j + 1
    for j in range(low, high - width + 1):
        if codes[j + width - 1] >= n_letters:
            blocked = j + width
        if blocked > j:
            log_ratios[0, j - low] = -np.inf
            log_ratios[1, j - low] = -np.inf
            log_windows[j - low] = 0.0
            continue
        background = 0.0
        for w in range(width):
            background += log_background[j + w]
        forward, reverse = site_logs(codes, j, log_matrix, both)
        log_windows[j - low] = background
        log_ratios[0, j - low] = forward - background
        log_ratios[1, j - low] = reverse - background if both else -np.inf
        n_windows += 1
    return n_windows


@njit(cache=True, nogil=True)
def log_mean_ratios(
    codes: Codes, offsets: Offsets, log_background: Floats, log_matrix: Floats, both: bool
) -> tuple[Floats, Offsets]:
    """Log of the mean likelihood ratio over the windows of each sequence.

    Returns
    -------
    log_means : ndarray, shape (n_sequences,)
        In nats; minus infinity where no window has room for a site.
    n_windows : ndarray of int64, shape (n_sequences,)
        Windows with room.
    """
    n = offsets.size - 1
    width = log_matrix.shape[0]
    longest = 1
    for i in range(n):
        longest = max(longest, offsets[i + 1] - offsets[i])
    log_ratios = np.empty((2, longest))
    log_windows = np.empty(longest)
    log_means = np.full(n, -np.inf)
    n_windows = np.zeros(n, dtype=np.int64)
    n_strands = 2 if both else 1
    for i in range(n):
        low, high = offsets[i], offsets[i + 1]
        n_windows[i] = window_ratios(codes, low, high, log_background, log_matrix, both, log_ratios, log_windows)
        if n_windows[i] == 0:
            continue
        top = -np.inf
        for s in range(n_strands):
            for j in range(high - low - width + 1):
                top = max(top, log_ratios[s, j])
        total = 0.0
        for s in range(n_strands):
            for j in range(high - low - width + 1):
                total += math.exp(log_ratios[s, j] - top)
        log_means[i] = top + math.log(total / (n_strands * n_windows[i]))
    return log_means, n_windows


@njit(cache=True, nogil=True)
def best_windows(
    codes: Codes,
    offsets: Offsets,
    log_background: Floats,
    log_matrix: Floats,
    both: bool,
    prior: Floats,
    least: float,
) -> tuple[Offsets, Offsets, Offsets, Floats]:
    """The window with the highest likelihood ratio in each sequence, where its log is above `least`; as `placements.best_placements`.

    Returns
    -------
    sequence, start, strand : ndarray of int64, shape (n_windows,)
        Number of the sequence, 0-based start in it, 0 forward or 1 reverse.
    log_ratio : ndarray, shape (n_windows,)
        Nats.
    """
    n = offsets.size - 1
    width = log_matrix.shape[0]
    longest = 1
    for i in range(n):
        longest = max(longest, offsets[i + 1] - offsets[i])
    log_ratios = np.empty((2, longest))
    log_windows = np.empty(longest)
    found = np.empty((3, n), dtype=np.int64)
    logs = np.empty(n)
    size = 0
    for i in range(n):
        low, high = offsets[i], offsets[i + 1]
        top = least
        if window_ratios(codes, low, high, log_background, log_matrix, both, log_ratios, log_windows):
            if prior.size:
                weigh_ratios(prior[low : high - width + 1], log_ratios, log_windows)
            for s in range(2 if both else 1):
                for j in range(high - low - width + 1):
                    if log_ratios[s, j] > top:
                        top = log_ratios[s, j]
                        found[0, size], found[1, size], found[2, size] = i, j, s
        if top > least:
            logs[size] = top
            size += 1
    return found[0, :size], found[1, :size], found[2, :size], logs[:size]


@njit(cache=True, nogil=True)
def expected_sites(
    codes: Codes,
    offsets: Offsets,
    weights: Floats,
    log_background: Floats,
    log_matrix: Floats,
    log_site: float,
    log_no_site: float,
    both: bool,
    hard: bool,
    prior: Floats,
    places: Floats,
) -> tuple[Floats, Floats, Hits, Floats]:
    """E-step: posterior of the site of each sequence, and what it adds to the expected counts.

    A sequence has one site, or none with prior probability ``exp(log_no_site)``; its start and strand
    are uniform over the windows in which every letter was observed. A sequence without such a window
    has none.

    Parameters
    ----------
    codes, offsets, log_background, log_matrix, both
        As in `window_ratios`.
    weights : ndarray, shape (n_sequences,)
        Weight of each sequence.
    log_site, log_no_site : float
        Log prior probability that a sequence has a site, and that it has none.
    hard : bool
        Put all weight on the best window or on none, instead of the posterior.
    prior : ndarray, shape (n_positions,) or (0,)
        Weight of a site at each start, as from `kernels.places.place_weights`; empty for 1 everywhere.
    places : ndarray, shape (2, n_positions) or (2, 0)
        Out, where it has room: probability that a site starts at each place, by strand.

    Returns
    -------
    totals : ndarray, shape (6,)
        Weighted sums: sequences; log-likelihood; entropy of the posterior; sequences with room for a
        site; expected number of sites; the part of the complete-data log-likelihood that does not
        depend on matrix and occurrence rate. All logs in nats.
    counts : ndarray, shape of `log_matrix`
        Expected letters at each position of the sites.
    best : ndarray of int64, shape (n_sequences, 2)
        Start within the sequence and strand (0 forward, 1 reverse) of the likeliest site; -1 where there
        is no room. The start is the one with the largest posterior of both strands together.
    posterior : ndarray, shape (n_sequences, 2)
        Of that start (both strands together), and of any site at all.
    """
    n = offsets.size - 1
    width = log_matrix.shape[0]
    n_strands = 2 if both else 1
    longest = 1
    for i in range(n):
        longest = max(longest, offsets[i + 1] - offsets[i])
    log_ratios = np.empty((2, longest))
    log_windows = np.empty(longest)
    totals = np.zeros(6)
    counts = np.zeros(log_matrix.shape)
    best = np.full((n, 2), -1, dtype=np.int64)
    posterior = np.zeros((n, 2))

    for i in range(n):
        low, high = offsets[i], offsets[i + 1]
        weight = weights[i]
        outside = 0.0
        for j in range(low, high):
            outside += log_background[j]
        totals[0] += weight
        n_windows = window_ratios(codes, low, high, log_background, log_matrix, both, log_ratios, log_windows)
        if n_windows == 0:
            totals[1] += weight * outside
            totals[5] += weight * outside
            continue

        log_place = -math.log(n_strands * n_windows)
        n_starts = high - low - width + 1
        if prior.size:
            weigh_ratios(prior[low : low + n_starts], log_ratios, log_windows)
        top, top_strand, top_start = -np.inf, 0, -1
        for s in range(n_strands):
            for j in range(n_starts):
                if log_ratios[s, j] > top:
                    top, top_strand, top_start = log_ratios[s, j], s, j
        shift = max(log_no_site, log_site + log_place + top)
        total = math.exp(log_no_site - shift)
        if not hard:
            for s in range(n_strands):
                for j in range(n_starts):
                    log_ratios[s, j] = math.exp(log_site + log_place + log_ratios[s, j] - shift)
                    total += log_ratios[s, j]
        log_mixture = shift if hard else shift + math.log(total)

        entropy, any_site, constant = 0.0, 0.0, outside
        for j in range(n_starts):
            here = 0.0
            strand, larger = 0, -1.0
            for s in range(n_strands):
                if hard:
                    chosen = j == top_start and s == top_strand and log_no_site < log_site + log_place + top
                    z = 1.0 if chosen else 0.0
                else:
                    z = log_ratios[s, j] / total
                if places.shape[1]:
                    places[s, low + j] = z
                here += z
                if z > larger:
                    strand, larger = s, z
                if z < NEGLIGIBLE:
                    continue
                entropy -= z * math.log(z)
                constant += z * (log_place - log_windows[j])
                add_letters(codes, low + j, s, weight * z, counts)
            any_site += here
            if here > posterior[i, 0]:
                posterior[i, 0] = here
                best[i, 0], best[i, 1] = j, strand
        none = 1.0 - any_site if hard else math.exp(log_no_site - shift) / total
        if none >= NEGLIGIBLE:
            entropy -= none * math.log(none)
        posterior[i, 1] = min(1.0, any_site)
        totals[1] += weight * (outside + log_mixture)
        totals[2] += weight * entropy
        totals[3] += weight
        totals[4] += weight * any_site
        totals[5] += weight * constant
    return totals, counts, best, posterior
