"""One integer channel by its grey levels: pixels of one level are one row, whose weight is their number.

EM over the levels is EM over the pixels, exactly: the statistics of a chunk are sums over rows, and equal rows add equal
terms. A pass costs the number of levels, at most 65,536, whatever the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import ArraySource
from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.kernels.levels import MOST_LEVELS, count_levels


@dataclass(frozen=True)
class Histogram:
    """The grey levels that occur in an image.

    Parameters
    ----------
    levels : ndarray of int64, shape (n_levels,)
        Ascending.
    counts : ndarray of int64, shape (n_levels,)
        Pixels of each, at least one.
    values : ndarray of float64, shape (n_levels,)
        The feature of a pixel of each level.
    """

    levels: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    values: Floats

    @property
    def source(self) -> ArraySource:
        """Rows for a fit, one a level, weighted by its pixels."""
        return ArraySource(self.values, weights=self.counts.astype(np.float64))

    def spread(self, table: npt.NDArray[Any], plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What a table says of each level, for every pixel.

        Parameters
        ----------
        table : ndarray, shape (n_levels, ...)
            Such as the responsibilities or the class of each level.
        plane : ndarray of int
            The image.

        Returns
        -------
        ndarray, shape plane.shape + table.shape[1:]
        """
        low = int(self.levels[0])
        places = np.zeros(int(self.levels[-1]) - low + 1, dtype=np.intp)
        places[self.levels - low] = np.arange(len(self.levels))
        return np.asarray(table[places][plane.astype(np.int64) - low])


def histogram(plane: npt.NDArray[Any], feature: Callable[[Floats], Floats] | None = None) -> Histogram:
    """Grey levels of an integer image, ready for a fit that equals that of its pixels.

    Parameters
    ----------
    plane : ndarray of int
        One channel, of any shape; levels at most 65,536 apart.
    feature : callable, optional
        Takes grey levels to the feature that is modelled, such as ``np.sqrt``; by default the level itself.

    Returns
    -------
    Histogram

    Raises
    ------
    InputError
        If the values are no integers, or too far apart.

    Examples
    --------
    >>> from emtools.engine.starts import fit
    >>> from emtools.models.mixture import GaussianMixture
    >>> plane = np.array([[3, 4, 3, 5], [90, 91, 3, 4], [95, 4, 4, 90]], dtype=np.uint16)
    >>> levels = histogram(plane)
    >>> fitted = fit(GaussianMixture(2, 1, "tied", order_by=0), levels.source)
    >>> fitted.params.means.ravel().round(6).tolist()
    [3.75, 91.5]
    >>> levels.spread(fitted.model.responsibilities(fitted.params, levels.values[:, None]).argmax(axis=1), plane)
    array([[0, 0, 0, 0],
           [1, 1, 0, 0],
           [1, 0, 0, 1]])
    """
    try:
        lowest, counts = count_levels(plane)
    except ValueError as error:
        raise InputError(
            "image", str(error), f"integers at most {MOST_LEVELS:,} apart", "fit its pixels instead"
        ) from error
    held = np.flatnonzero(counts)
    levels = lowest + held
    values = levels.astype(np.float64)
    return Histogram(levels, counts[held], values if feature is None else np.asarray(feature(values), dtype=np.float64))
