"""Parameters and statistics of a Gaussian mixture. ``K`` components, ``d`` features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

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
    """Points about which moments are taken.

    Parameters
    ----------
    points : ndarray, shape (K, d)
        One for each component.
    tied : bool
        Whether the products are summed over the components.
    """

    points: Floats
    tied: bool

    def same(self, other: Origin) -> bool:
        """Whether these are the same points."""
        return self.points is other.points or np.array_equal(self.points, other.points)

    def scaled(self, factor: float) -> Origin:
        """The origin itself: it is a place, not a sum."""
        return self


@dataclass(frozen=True)
class MixtureStats(Stats):
    """Expected moments of each component about an origin, the means of the E-step.

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
        The means of the E-step, so that no offset of the data can cost digits. Statistics about two
        origins add too: the second is moved to the first.
    """

    counts: Floats
    first: Floats
    second: Floats
    origin: Origin

    def __add__(self, other: Self) -> Self:
        other = other.about(self.origin)
        return replace(
            self,
            n=self.n + other.n,
            loglik=self.loglik + other.loglik,
            entropy=self.entropy + other.entropy,
            counts=self.counts + other.counts,
            first=self.first + other.first,
            second=self.second + other.second,
        )

    def about(self, origin: Origin) -> Self:
        """The same statistics about another origin."""
        if self.origin.same(origin):
            return self
        shift = self.origin.points - origin.points
        return replace(
            self, first=self.first + self.counts[:, None] * shift, second=self.scatters(origin.points), origin=origin
        )

    def scatters(self, points: Floats) -> Floats:
        """Sum of products of the deviations from `points` (K, d), in the shape of ``second``."""
        if points is self.origin.points:
            return self.second
        shift = self.origin.points - points
        counts, first, second = self.counts, self.first, self.second
        if second.ndim == 3:
            cross = first[:, :, None] * shift[:, None, :]
            square = counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
            return np.asarray(second + cross + np.swapaxes(cross, 1, 2) + square)
        added = shift * (2.0 * first + counts[:, None] * shift)
        if second.ndim == 1:
            return np.asarray(second + added.sum(axis=1))
        if self.origin.tied:
            cross = first.T @ shift
            return np.asarray(second + cross + cross.T + (shift * counts[:, None]).T @ shift)
        return np.asarray(second + added)

    def squares(self, points: Floats) -> Floats:
        """Squares of the deviations from `points` (K, d) summed over all rows (d,); where ``second`` has one sum a component, 0-d."""
        shift = self.origin.points - points
        added = shift * (2.0 * self.first + self.counts[:, None] * shift)
        second = self.second
        if second.ndim == 1:
            return np.asarray(second.sum() + added.sum())
        if second.ndim == 3:
            second = np.diagonal(second, axis1=1, axis2=2)
        return np.asarray((np.diagonal(second) if self.origin.tied else second.sum(axis=0)) + added.sum(axis=0))
