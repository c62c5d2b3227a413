"""Shuffles of a sequence that keep how often each pair of neighbouring letters occurs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Codes = npt.NDArray[np.uint8]


@njit(cache=True, nogil=True)
def shuffle_pairs(codes: Codes, draws: npt.NDArray[np.float64], n_letters: int) -> Codes:
    """A random sequence with the same pairs of neighbours, first and last letter: all of them equally likely.

    A random spanning tree towards the last letter (loop-erased random walk, weighted by the counts of pairs) fixes the last exit of every
    letter; the other exits are permuted, and the walk is read off.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n,)
        Letters, each below `n_letters`.
    draws : ndarray, shape (at least 1,)
        Uniform numbers; they are used in turn and again from the start when all are used. Give a few times n.
    n_letters : int
        Size of the alphabet.

    Returns
    -------
    ndarray of uint8, shape (n,)

    References
    ----------
    Altschul & Erickson (1985), Mol. Biol. Evol. 2, 526-538; Kandel, Matias, Unger & Winkler (1996), Discrete Appl. Math.
    71, 171-185, doi:10.1016/S0166-218X(97)81456-4 (spanning tree by a random walk).
    """
    n = codes.size
    if n < 3:
        return codes.copy()
    out_of = np.zeros(n_letters, dtype=np.int64)
    for j in range(n - 1):
        out_of[codes[j]] += 1
    ends = np.zeros(n_letters + 1, dtype=np.int64)
    for a in range(n_letters):
        ends[a + 1] = ends[a] + out_of[a]
    exits = np.empty(n - 1, dtype=np.uint8)
    filled = ends[:-1].copy()
    for j in range(n - 1):
        exits[filled[codes[j]]] = codes[j + 1]
        filled[codes[j]] += 1
    used = 0
    last = int(codes[n - 1])
    in_tree = np.zeros(n_letters, dtype=np.bool_)
    chosen = np.zeros(n_letters, dtype=np.int64)
    in_tree[last] = True
    for a in range(n_letters):
        if out_of[a] == 0 or in_tree[a]:
            continue
        at = a
        while not in_tree[at]:
            chosen[at] = ends[at] + np.int64(draws[used % draws.size] * out_of[at])
            used += 1
            at = int(exits[chosen[at]])
        at = a
        while not in_tree[at]:
            in_tree[at] = True
            at = int(exits[chosen[at]])
    for a in range(n_letters):
        low, high = ends[a], ends[a + 1]
        if low == high:
            continue
        if a != last:
            exits[chosen[a]], exits[high - 1] = exits[high - 1], exits[chosen[a]]
            high -= 1
        for j in range(high - 1, low, -1):
            other = low + np.int64(draws[used % draws.size] * (j - low + 1))
            used += 1
            exits[j], exits[other] = exits[other], exits[j]
    shuffled = np.empty(n, dtype=np.uint8)
    filled = ends[:-1].copy()
    at = int(codes[0])
    shuffled[0] = codes[0]
    for j in range(1, n):
        letter = exits[filled[at]]
        filled[at] += 1
        shuffled[j] = letter
        at = int(letter)
    return shuffled
