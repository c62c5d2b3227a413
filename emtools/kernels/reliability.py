"""Whether probabilities of an event come true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reliability:
    """How often the event came in each bin of the probability; empty bins are left out.

    Parameters
    ----------
    told : ndarray, shape (m,)
        Mean probability in the bin.
    seen : ndarray, shape (m,)
        Share of the cases in which the event came.
    counts : ndarray of int, shape (m,)
        Cases.
    """

    told: Floats
    seen: Floats
    counts: npt.NDArray[np.int64]


def brier_score(probability: Reals, event: Mask) -> float:
    """Mean squared difference of probability and event.

    Parameters
    ----------
    probability : ndarray, any shape
        In [0, 1].
    event : ndarray of bool, same shape
        Whether it came.

    References
    ----------
    Brier (1950), Mon. Weather Rev. 78, 1-3, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Examples
    --------
    >>> brier_score(np.array([1.0, 0.5]), np.array([True, False]))
    0.125
    """
    return float(np.square(probability.astype(np.float64) - event).mean())


def error_auroc(uncertainty: Reals, wrong: Mask) -> float:
    """Probability that a case that is wrong is less sure than one that is right, ties counted half; NaN without either.

    Parameters
    ----------
    uncertainty : ndarray, any shape
        Larger where less sure.
    wrong : ndarray of bool, same shape
        Cases that are wrong.

    References
    ----------
    Hanley & McNeil (1982), Radiology 143, 29-36, doi:10.1148/radiology.143.1.7063747.

    Examples
    --------
    >>> error_auroc(np.array([0.1, 0.2, 0.4]), np.array([False, False, True]))
    1.0
    """
    n_wrong = int(wrong.sum())
    n_right = wrong.size - n_wrong
    if not n_wrong or not n_right:
        return float("nan")
    _, place, counts = np.unique(uncertainty.ravel(), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]  # ties share the mean of theirs
    return float((ranks[wrong.ravel()].sum() - n_wrong * (n_wrong + 1) / 2.0) / (n_wrong * n_right))


def reliability(probability: Reals, event: Mask, n_bins: int = 10) -> Reliability:
    """Cases in bins of the probability, of equal width.

    Parameters
    ----------
    probability : ndarray, any shape
        In [0, 1].
    event : ndarray of bool, same shape
        Whether it came.
    n_bins : int
        At least 1.

    References
    ----------
    DeGroot & Fienberg (1983), The Statistician 32, 12-22, doi:10.2307/2987588.
    """
    told = probability.ravel().astype(np.float64)
    place = np.minimum((told * n_bins).astype(np.int64), n_bins - 1)
    counts = np.bincount(place, minlength=n_bins)
    kept = counts > 0
    sums = np.bincount(place, told, n_bins)[kept]
    came = np.bincount(place, event.ravel().astype(np.float64), n_bins)[kept]
    return Reliability(sums / counts[kept], came / counts[kept], counts[kept])
