"""Agreement of two segmentations: of their pixels, and of their objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Detection:
    """Objects found.

    Parameters
    ----------
    n_predicted, n_true, n_matched : int
        Objects predicted, true, and matched one to one.
    """

    n_predicted: int
    n_true: int
    n_matched: int

    @property
    def f1(self) -> float:
        """``2 n_matched / (n_predicted + n_true)``, the harmonic mean of precision and recall; NaN for no object."""
        total = self.n_predicted + self.n_true
        return 2.0 * self.n_matched / total if total else float("nan")

    @property
    def precision(self) -> float:
        """Share of the predicted objects that are matched; NaN where there are none."""
        return self.n_matched / self.n_predicted if self.n_predicted else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true objects that are matched; NaN where there are none."""
        return self.n_matched / self.n_true if self.n_true else float("nan")


def dice(predicted: Mask, true: Mask) -> float:
    """Overlap of two sets of pixels, ``2 |A ∩ B| / (|A| + |B|)``; NaN where both are empty.

    Parameters
    ----------
    predicted, true : ndarray of bool, of one shape
        Pixels of the foreground.

    References
    ----------
    Dice (1945), Ecology 26, 297-302, doi:10.2307/1932409.

    Examples
    --------
    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    total = int(predicted.sum()) + int(true.sum())
    return 2.0 * int((predicted & true).sum()) / total if total else float("nan")


def match_objects(predicted: Labels, true: Labels, threshold: float = 0.5) -> Detection:
    """Objects whose intersection over union exceeds `threshold`.

    Above one half an object can match one other only, so no assignment problem has to be solved.

    Parameters
    ----------
    predicted, true : ndarray of int, of one shape
        0 is background; each object has a number of its own, gaps allowed.
    threshold : float
        At least 0.5, below 1.

    Returns
    -------
    Detection

    References
    ----------
    Caicedo et al. (2019), Nat. Methods 16, 1247-1253, doi:10.1038/s41592-019-0612-7, Methods; Kirillov et al.
    (2019), CVPR, doi:10.1109/CVPR.2019.00963, section 4.1 (why the matching is unique).

    Examples
    --------
    >>> match_objects(np.array([1, 1, 1, 0, 2]), np.array([0, 7, 7, 0, 9])).n_matched
    2
    """
    if not 0.5 <= threshold < 1.0:
        raise ValueError(f"threshold {threshold} is not in [0.5, 1)")
    numbers, rows = np.unique(predicted.ravel(), return_inverse=True)
    true_numbers, columns = np.unique(true.ravel(), return_inverse=True)
    shape = (len(numbers), len(true_numbers))
    shared = sparse.coo_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), shape=shape).tocsr().tocoo()
    areas = np.bincount(rows, minlength=shape[0])
    true_areas = np.bincount(columns, minlength=shape[1])
    i, j = shared.coords
    iou = shared.data / (areas[i] + true_areas[j] - shared.data)
    objects = (numbers[i] != 0) & (true_numbers[j] != 0)
    return Detection(
        n_predicted=int((numbers != 0).sum()),
        n_true=int((true_numbers != 0).sum()),
        n_matched=int((objects & (iou > threshold)).sum()),
    )
