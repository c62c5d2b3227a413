"""Scalings of a table of features, and boundaries taken back to the units of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Scaling = Literal["raw", "z-scored", "log-z"]


@dataclass(frozen=True)
class FeatureScale:
    """How features are put on scales: ``(y - centre) / spread``, with ``y = log x`` for some and ``y = x`` for others.

    Parameters
    ----------
    name : {"raw", "z-scored", "log-z"}
        For tables and files.
    logged : ndarray of bool, shape (d,)
        Where logarithms are taken.
    centre, spread : ndarray, shape (d,)
        Mean and standard deviation of y; 0 and 1 for raw features.
    """

    name: Scaling
    logged: npt.NDArray[np.bool_]
    centre: Floats
    spread: Floats

    def opened(self, values: Floats) -> Floats:
        """Features (n, d) with their logarithms taken: the y in which boundaries are written."""
        result = np.array(values, dtype=np.float64)
        result[:, self.logged] = np.log(result[:, self.logged])
        return result

    def scaled(self, values: Floats) -> Floats:
        """Features (n, d) as they are modelled."""
        return np.asarray((self.opened(values) - self.centre) / self.spread)

    def log_jacobian(self, values: Floats) -> float:
        """What to add to a log-likelihood of the scaled rows to have that of `values`, shape (n, d), nats.

        With it the fits of different scalings are densities of the same numbers, and can be compared.
        """
        return -float(len(values) * np.log(self.spread).sum() + np.log(values[:, self.logged]).sum())

    def quadric(self, square: Floats, linear: Floats, constant: float) -> tuple[Floats, Floats, float]:
        """A quadric ``zᵀAz + bᵀz + c`` of scaled features z as one of y.

        Parameters
        ----------
        square, linear, constant
            A (d, d), symmetric; b (d,); c.

        Returns
        -------
        A, b, c
            With the same value at the same row.
        """
        wide = square / np.outer(self.spread, self.spread)
        slope = linear / self.spread
        shifted = slope - 2.0 * wide @ self.centre
        return wide, shifted, float(constant - slope @ self.centre + self.centre @ wide @ self.centre)


def feature_scales(values: Floats) -> tuple[FeatureScale, ...]:
    """The three scalings of features, shape (n, d); only two where no feature is positive throughout.

    ``log-z`` takes logarithms of the features of which every value is above 0, and leaves the others as they are.

    Examples
    --------
    >>> scales = feature_scales(np.array([[1.0, 0.0], [10.0, 2.0]]))
    >>> [scale.name for scale in scales], scales[2].logged.tolist()
    (['raw', 'z-scored', 'log-z'], [True, False])
    >>> scales[2].scaled(np.array([[100.0, 1.0]])).round(6).tolist()
    [[3.0, 0.0]]
    """
    d = values.shape[1]
    plain = np.zeros(d, dtype=bool)
    raw = FeatureScale("raw", plain, np.zeros(d), np.ones(d))
    found = [raw, FeatureScale("z-scored", plain, values.mean(axis=0), values.std(axis=0))]
    positive = np.asarray((values > 0.0).all(axis=0))
    if positive.any():
        opened = FeatureScale("log-z", positive, np.zeros(d), np.ones(d)).opened(values)
        found.append(FeatureScale("log-z", positive, opened.mean(axis=0), opened.std(axis=0)))
    return tuple(found)
