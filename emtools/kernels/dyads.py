"""Pairs of short words, and triplets of letters, at fixed distances: in how many sequences each occurs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Codes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

HALF = 3  # letters of each word of a pair
N_PAIRS = 4 ** (2 * HALF)


@njit(cache=True, nogil=True)
def count_pairs(codes: Codes, offsets: Offsets, gap: int, both: bool) -> tuple[Offsets, int]:
    """In how many sequences each pair of words of three letters, `gap` letters apart, occurs.

    Parameters
    ----------
    codes, offsets
        As in `kernels.motif.background_letters`; four letters.
    gap : int
        Letters between the two words, at least 0.
    both : bool
        Whether a pair on the reverse strand counts as well.

    Returns
    -------
    counts : ndarray of int64, shape (4096,)
        By the number of the six letters, the first one the highest digit.
    n_windows : int
        Windows with all six letters observed.
    """
    counts = np.zeros(N_PAIRS, dtype=np.int64)
    seen = np.full(N_PAIRS, -1, dtype=np.int64)
    span = 2 * HALF + gap
    n_windows = 0
    for i in range(offsets.size - 1):
        for j in range(offsets[i], offsets[i + 1] - span + 1):
            forward, reverse, known = np.int64(0), np.int64(0), True
            for k in range(2 * HALF):
                letter = np.int64(codes[j + k if k < HALF else j + k + gap])
                known = known and bool(letter < 4)
                forward = forward * 4 + letter
                reverse += (3 - letter) << (2 * k)
            if not known:
                continue
            n_windows += 1
            if seen[forward] != i:
                seen[forward] = i
                counts[forward] += 1
            if both and seen[reverse] != i:
                seen[reverse] = i
                counts[reverse] += 1
    return counts, n_windows


@njit(cache=True, nogil=True)
def count_triplets(codes: Codes, offsets: Offsets, near: int, far: int, n_letters: int) -> tuple[Offsets, int]:
    """In how many sequences each three letters occur, the second `near` letters behind the first and the third `far` behind it.

    Parameters
    ----------
    codes, offsets
        As in `kernels.motif.background_letters`.
    near, far : int
        Distances, at least 1.
    n_letters : int
        Size of the alphabet.

    Returns
    -------
    counts : ndarray of int64, shape (n_letters**3,)
        By the number of the three letters, the first one the highest digit.
    n_windows : int
        Places with all three letters observed.
    """
    counts = np.zeros(n_letters**3, dtype=np.int64)
    seen = np.full(n_letters**3, -1, dtype=np.int64)
    n_windows = 0
    for i in range(offsets.size - 1):
        for j in range(offsets[i], offsets[i + 1] - near - far):
            one, two, three = np.int64(codes[j]), np.int64(codes[j + near]), np.int64(codes[j + near + far])
            if max(one, two, three) >= n_letters:
                continue
            n_windows += 1
            word = (one * n_letters + two) * n_letters + three
            if seen[word] != i:
                seen[word] = i
                counts[word] += 1
    return counts, n_windows
