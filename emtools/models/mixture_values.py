"""Parameters and statistics of a Gaussian mixture. ``K`` components, ``d`` features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emtools.engine.protocol import Floats, Stats


@dataclass(frozen=True)
class MixtureParams:
    """Parameters of a Gaussian mixture.

    Parameters
    ----------
    weights : ndarray, shape (K,)
        Sum to 1.
    means : ndarray, shape (K, d)
        Units of the data.
    covariances : ndarray
        Shape (K, d, d) full, (d, d) tied, (K, d) diagonal, (K,) spherical; squared units of the data.
    """

    weights: Floats
    means: Floats
    covariances: Floats


@dataclass(frozen=True)
class Origin:
    """Points about which moments are taken; all chunks of a pass share them.

    Parameters
    ----------
    points : ndarray, shape (K, d)
        One for each component.
    """

    points: Floats

    def __add__(self, other: Origin) -> Origin:
        if self.points is not other.points and not np.array_equal(self.points, other.points):
            raise ValueError("statistics of two different passes cannot be added")
        return self


@dataclass(frozen=True)
class MixtureStats(Stats):
    """Expected moments of each component about the means of the E-step.

    Parameters
    ----------
    counts : ndarray, shape (K,)
        Expected weight of the rows of each component.
    first : ndarray, shape (K, d)
        Sum of the deviations from `origin`.
    second : ndarray
        Sum of their products, in the shape that the family needs: (K, d, d) full, (d, d) tied,
        (K, d) diagonal, (K,) spherical.
    origin : Origin
        The means of the E-step, so that no offset of the data can cost digits.
    """

    counts: Floats
    first: Floats
    second: Floats
    origin: Origin
