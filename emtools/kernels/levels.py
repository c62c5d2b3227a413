"""Counts of the grey levels of an integer image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Counts = npt.NDArray[np.int64]

STREAMS = 4  # neighbouring pixels are often alike: each of four counts in a row of its own, so that none waits
MOST_LEVELS = 2**16


def count_levels(plane: npt.NDArray[Any]) -> tuple[int, Counts]:
    """How many pixels have each grey level.

    Parameters
    ----------
    plane : ndarray of int or bool
        Grey levels, of any shape, at least one; at most 65,536 levels apart.

    Returns
    -------
    lowest : int
        The lowest level.
    counts : ndarray of int64, shape (highest - lowest + 1,)
        Pixels of level ``lowest + i``.

    Raises
    ------
    ValueError
        If the values are no integers or span more than 65,536 levels.

    Examples
    --------
    >>> count_levels(np.array([[7, 9], [9, 9]], dtype=np.uint16))
    (7, array([1, 0, 3]))
    """
    if plane.dtype.kind not in "uib" or not plane.size:
        raise ValueError(f"grey levels of type {plane.dtype}, {plane.size} of them: integers are needed")
    flat = np.ascontiguousarray(plane).reshape(-1)
    if flat.dtype.kind == "b":
        flat = flat.view(np.uint8)
    size = flat.dtype.itemsize
    if size <= 2:
        # The bits as they are; levels below zero come in the upper half, and are put in front.
        n_levels = 2 ** (8 * size)
        first = 0 if flat.dtype.kind == "u" else -n_levels // 2
        counts = np.roll(count_words(flat.view(f"u{size}"), n_levels), -first)
    else:
        first, last = int(flat.min()), int(flat.max())
        if last - first >= MOST_LEVELS:
            raise ValueError(f"grey levels from {first} to {last}: at most {MOST_LEVELS:,} apart are counted")
        counts = count_words((flat - first).astype(np.uint16), MOST_LEVELS)
    held = np.flatnonzero(counts)
    return first + int(held[0]), counts[held[0] : held[-1] + 1]


@njit(cache=True, nogil=True)
def count_words(words: npt.NDArray[Any], n_levels: int) -> Counts:
    """How often each of the numbers from 0 to `n_levels` - 1 occurs."""
    streams = np.zeros((STREAMS, n_levels), dtype=np.int64)
    whole = len(words) // STREAMS * STREAMS
    for i in range(0, whole, STREAMS):
        for s in range(STREAMS):
            streams[s, words[i + s]] += 1
    for i in range(whole, len(words)):
        streams[0, words[i]] += 1
    total = np.zeros(n_levels, dtype=np.int64)
    for s in range(STREAMS):  # a sum along an axis takes two seconds to compile
        for level in range(n_levels):
            total[level] += streams[s, level]
    return total
