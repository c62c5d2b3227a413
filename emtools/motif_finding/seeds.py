"""Where the search starts: pairs of words, or triplets of letters, that occur in more sequences than the background explains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import SequenceSource
from emtools.engine.protocol import Floats
from emtools.kernels.dyads import HALF, N_PAIRS, count_pairs, count_triplets
from emtools.models.motif import DNA, Background, number_of

MATCH = 0.7  # probability of the letters of a word in the matrix made of it
WIDEST_GAP = 16
FARTHEST = 10  # letters from one of a triplet to the next, at most


def word_probabilities(background: Background, length: int) -> Floats:
    """Background probability of every word of `length` letters, shape (4**length,)."""
    base, order = DNA + 1, background.order
    logs = np.zeros(DNA**length)
    for word, letters in enumerate(np.ndindex(*(DNA,) * length)):
        for place, letter in enumerate(letters):
            context = letters[max(0, place - order) : place]
            digits = (DNA,) * (order - len(context)) + context
            logs[word] += background.log_table[number_of(digits, base), letter]
    probabilities: Floats = np.exp(logs)
    return probabilities


def reverse_words(length: int) -> np.ndarray:
    """Number of the reverse complement of every word, shape (4**length,)."""
    words = np.arange(DNA**length)
    turned = np.zeros_like(words)
    for _ in range(length):
        turned = turned * DNA + (DNA - 1 - words % DNA)
        words = words // DNA
    return turned


def enriched_pairs(
    source: SequenceSource, background: Background, both: bool, widest: int, most: int
) -> list[tuple[int, int, float]]:
    """The pairs of words that most exceed the background, best first.

    A pair is scored by ``n log(n / e) - (n - e)``, n the sequences that have it and e how many would by the background alone
    (a Poisson likelihood ratio), over all distances up to `WIDEST_GAP` that fit into `widest` letters.

    Parameters
    ----------
    source : SequenceSource
        All sequences are counted.
    background : Background
        What explains the rest.
    both : bool
        Whether both strands are searched; of a pair and its reverse complement one is returned.
    widest : int
        Letters that a pair may span.
    most : int
        Pairs at most.

    Returns
    -------
    list of (word, gap, score)
        Number of the six letters, letters between them, nats.
    """
    three, six = word_probabilities(background, HALF), word_probabilities(background, 2 * HALF)
    apart = (three[:, None] * three[None, :]).ravel()
    turned = reverse_words(2 * HALF)
    found: list[tuple[float, int, int]] = []
    for gap in range(max(0, min(WIDEST_GAP, widest - 2 * HALF)) + 1):
        counts, n_windows = count_pairs(source.codes, source.offsets, gap, both)
        p = six if gap == 0 else apart
        rates = (p + p[turned] * (turned != np.arange(N_PAIRS))) if both else p
        expected = source.n_units * -np.expm1(-rates * n_windows / source.n_units)
        excess = excess_of(counts, expected)
        if both:
            excess[turned < np.arange(N_PAIRS)] = 0.0
        best = np.argsort(-excess, kind="stable")[:most]
        found += [(float(-excess[word]), gap, int(word)) for word in best if excess[word] > 0.0]
    return [(word, gap, -score) for score, gap, word in sorted(found)[:most]]


def excess_of(counts: npt.NDArray[np.int64], expected: Floats) -> Floats:
    """``n log(n / e) - (n - e)`` where n counts exceed the e that are expected, else 0; nats."""
    n = counts.astype(np.float64)
    ratio = np.maximum(n, 1.0) / np.maximum(expected, 1e-300)
    values: Floats = np.where(n > expected, n * np.log(ratio) - (n - expected), 0.0)
    return values


def enriched_triplets(
    source: SequenceSource, background: Background, widest: int, most: int
) -> list[tuple[tuple[int, int, int], tuple[int, int, int], float]]:
    """The triplets of letters at fixed distances that most exceed a background of independent letters, best first.

    Scored as pairs of words are, over all distances up to `FARTHEST` from one letter to the next that fit into `widest` letters; the
    spaced triplets of Smith, Annau & Chandrasegaran (1990), Proc. Natl. Acad. Sci. 87, 826-830, doi:10.1073/pnas.87.2.826.

    Parameters
    ----------
    source, background, widest, most
        As in `enriched_pairs`; any alphabet.

    Returns
    -------
    list of (letters, places, score)
        Three letters, their places from the first on, nats.
    """
    p, n_letters = background.frequencies, background.n_letters
    rates = (p[:, None, None] * p[:, None] * p).ravel()
    found: list[tuple[float, int, int, int]] = []
    for near in range(1, FARTHEST + 1):
        for far in range(1, FARTHEST + 1):
            if near + far >= widest:
                continue
            counts, n_windows = count_triplets(source.codes, source.offsets, near, far, n_letters)
            excess = excess_of(counts, source.n_units * -np.expm1(-rates * n_windows / source.n_units))
            best = np.argsort(-excess, kind="stable")[:most]
            found += [(float(-excess[word]), near, far, int(word)) for word in best if excess[word] > 0.0]
    return [
        ((word // n_letters**2, word // n_letters % n_letters, word % n_letters), (0, near, near + far), -score)
        for score, near, far, word in sorted(found)[:most]
    ]


def triplet_matrix(
    letters: tuple[int, int, int], places: tuple[int, int, int], width: int, background: Background
) -> Floats:
    """Matrix of `width` positions that prefers the letters of a triplet in its middle, shape (width, n_letters)."""
    matrix = np.tile(background.frequencies, (width, 1))
    at = (width - places[-1] - 1) // 2 + np.array(places)
    matrix[at] *= 1.0 - MATCH
    matrix[at, letters] += MATCH
    return matrix


def pair_matrix(word: int, gap: int, width: int, background: Background) -> Floats:
    """Matrix of `width` positions that prefers the letters of a pair in its middle, shape (width, 4).

    A pair longer than `width` is cut on the right.
    """
    matrix = np.tile(background.frequencies, (width, 1))
    first = max(0, (width - 2 * HALF - gap) // 2)
    for k in range(2 * HALF):
        place = first + k + (gap if k >= HALF else 0)
        if place < width:
            matrix[place] = (1.0 - MATCH) * background.frequencies
            matrix[place, (word >> (2 * (2 * HALF - 1 - k))) & 3] += MATCH
    return matrix
