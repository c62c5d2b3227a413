"""Agreement of predicted with known intervals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Spans = npt.NDArray[np.int64]


def matches(predicted: Spans, known: Spans, share: float = 0.5) -> npt.NDArray[np.bool_]:
    """Which predicted intervals overlap which known ones by `share` of the known one.

    Parameters
    ----------
    predicted, known : ndarray of int64, shapes (n, 3) and (m, 3)
        Number of the record, start, end; 0-based, half-open.
    share : float
        Share of the known interval that must be covered, 0 to 1.

    Returns
    -------
    ndarray of bool, shape (n, m)

    Examples
    --------
    >>> matches(np.array([[0, 5, 15], [1, 5, 15]]), np.array([[0, 10, 20], [0, 11, 21]]))
    array([[ True, False],
           [False, False]])
    """
    low = np.maximum(predicted[:, None, 1], known[None, :, 1])
    high = np.minimum(predicted[:, None, 2], known[None, :, 2])
    same = predicted[:, None, 0] == known[None, :, 0]
    enough: npt.NDArray[np.bool_] = same & (high - low >= share * (known[:, 2] - known[:, 1])) & (high > low)
    return enough


def n_positions(spans: Spans) -> int:
    """Positions covered by at least one of `spans`, shape (n, 3).

    Examples
    --------
    >>> n_positions(np.array([[0, 0, 10], [0, 5, 12], [1, 5, 6]]))
    13
    """
    covered = 0
    record, reached = -1, 0
    for number, start, end in spans[np.lexsort((spans[:, 1], spans[:, 0]))].tolist():
        reached = start if number != record else max(reached, start)
        record = number
        covered += max(0, end - reached)
        reached = max(reached, end)
    return covered


def n_shared_positions(one: Spans, other: Spans) -> int:
    """Positions covered by both, by inclusion and exclusion.

    Examples
    --------
    >>> n_shared_positions(np.array([[0, 0, 10]]), np.array([[0, 8, 12], [1, 0, 5]]))
    2
    """
    return n_positions(one) + n_positions(other) - n_positions(np.concatenate([one, other]))
