"""Fitted models of one table, a normal and mixtures of normals, stacked: what fills its gaps, not what explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emtools.engine.protocol import Floats
from emtools.kernels.cell_mixtures import CellMixtures
from emtools.kernels.readings import Readings
from emtools.models.incomplete_mixture import IncompleteMixture
from emtools.models.mixture import MixtureParams
from emtools.models.normal import MultivariateNormal, NormalParams


@dataclass(frozen=True)
class StackedParams:
    """Parameters of a normal and of M mixtures, of K normals all together, of rows of d columns, and the share of the mixtures.

    Parameters
    ----------
    share : float
        Of the mixtures together in a filled value, 0 to 1; each has an equal part of it.
    mean, covariance : ndarray, shapes (d,) and (d, d)
        Of the normal; units of the data and their squares.
    sizes : ndarray of int, shape (M,)
        Components of each mixture.
    weights, means, covariances : ndarray, shapes (K,), (K, d) and (K, d, d)
        Of their components, one mixture after another; the weights of each sum to 1.
    """

    share: float
    mean: Floats
    covariance: Floats
    sizes: npt.NDArray[np.int64]
    weights: Floats
    means: Floats
    covariances: Floats

    @classmethod
    def of(cls, share: float, normal: NormalParams, mixtures: Sequence[MixtureParams]) -> StackedParams:
        """Of the parameters of all parts."""
        sizes = np.array([len(params.weights) for params in mixtures], dtype=np.int64)
        names = ("weights", "means", "covariances")
        parts = (np.concatenate([getattr(params, name) for params in mixtures]) for name in names)
        return cls(float(share), normal.mean, normal.covariance, sizes, *parts)

    @property
    def normal(self) -> NormalParams:
        """Parameters of the normal."""
        return NormalParams(self.mean, self.covariance)

    @property
    def mixtures(self) -> list[MixtureParams]:
        """Parameters of each mixture."""
        cuts = np.cumsum(self.sizes)[:-1]
        parts = (np.split(array, cuts) for array in (self.weights, self.means, self.covariances))
        return [MixtureParams(*part) for part in zip(*parts, strict=True)]

    @property
    def shares(self) -> Floats:
        """Of the normal and of each mixture, shape (M + 1,)."""
        many = len(self.sizes)
        return np.concatenate([[1.0 - self.share], np.full(many, self.share / many)])


@dataclass(frozen=True)
class Stacked:
    """The gaps of a row given its values: with probability ``share`` as one of the mixtures has them, else as a normal has them.

    ``p(x_m | x_o) = (1 - a) N(x_m | x_o) + a/M Σ_k J_k(x_m | x_o)``, a the same for all rows, so that the conditional mean is
    ``(1 - a)`` times that of the normal plus ``a`` times the average of those of the mixtures: a regression that is stacked.
    It is no distribution of whole rows, and no loop fits it: its parts are fitted by themselves, and a by hidden cells
    (`emtools.imputing.predicting`).

    Parameters
    ----------
    n_components : int
        Components K of all mixtures together.
    n_features : int
        Columns d.

    References
    ----------
    Stone (1961), Ann. Math. Stat. 32, 1339-1342, doi:10.1214/aoms/1177704873 (linear opinion pool); Breiman (1996), Mach.
    Learn. 24, 49-64, doi:10.1007/BF00117832 (stacked regressions).

    Examples
    --------
    >>> one, apart = np.eye(2), np.array([[0.0, -2.0], [0.0, 2.0]])
    >>> mixture = MixtureParams(np.array([0.5, 0.5]), apart, np.stack([one, one]))
    >>> params = StackedParams.of(0.25, NormalParams(np.zeros(2), one), [mixture])
    >>> filled, sd = Stacked(2, 2).conditional(params, Readings(np.array([[1.0, np.nan]])))
    >>> filled.tolist(), float(sd[0, 1].round(4))
    ([[1.0, 0.0]], 1.4142)
    """

    n_components: int
    n_features: int

    name: ClassVar[str] = "stacked_normal"

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"n_components": self.n_components, "n_features": self.n_features}

    @property
    def takes_bounds(self) -> bool:
        """False: bounds of cells are not used."""
        return False

    def parts(self, params: StackedParams) -> list[tuple[Any, Any]]:
        """Each part and its parameters: the normal, then the mixtures."""
        d = self.n_features
        mixtures = [(IncompleteMixture(len(one.weights), d), one) for one in params.mixtures]
        return [(MultivariateNormal(d), params.normal), *mixtures]

    def conditional(self, params: StackedParams, readings: Readings) -> tuple[Floats, Floats]:
        """Conditional mean of each gap given the values of its row, and its standard deviation, shapes (n, d).

        The variance is the mean of the variances of the parts plus that of their means. Observed values are untouched; their
        SD is NaN.
        """
        return pooled(params.shares, [model.conditional(one, readings) for model, one in self.parts(params)])

    def draw(self, params: StackedParams, readings: Readings, rng: np.random.Generator) -> Floats:
        """The table with the gaps of each row drawn from one of the parts, which is drawn by its share, (n, d)."""
        chosen = rng.choice(len(params.shares), size=len(readings.values), p=params.shares)
        table = readings.values.copy()
        for number, (model, one) in enumerate(self.parts(params)):
            rows = np.flatnonzero(chosen == number)
            if rows.size:
                table[rows] = model.draw(one, readings.take(rows), rng)
        return table

    def cell_mixtures(self, params: StackedParams, readings: Readings) -> CellMixtures:
        """The distribution of each gap given the values of its row."""
        cells = ~readings.observed
        (normal, alone), *mixtures = self.parts(params)
        filled, sd = normal.conditional(alone, readings)
        found = [CellMixtures(cells, np.ones((1, int(cells.sum()))), filled[None, cells], sd[None, cells])]
        found += [model.cell_mixtures(one, readings) for model, one in mixtures]
        shares = np.vstack([share * one.shares for share, one in zip(params.shares, found, strict=True)])
        return CellMixtures(
            cells, shares, *(np.vstack([getattr(one, name) for one in found]) for name in ("means", "sds"))
        )


def pooled(shares: Floats, parts: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of cells that follow one of several distributions, each with a probability.

    Parameters
    ----------
    shares : ndarray, shape (M,)
        Probabilities, which sum to 1.
    parts : sequence of tuple of ndarray
        Mean and standard deviation under each, of one shape. Where all means are the same, so is the result, to the bit.
    """
    first = parts[0][0]
    mean = first + sum(share * (one - first) for share, (one, _) in zip(shares, parts, strict=True))
    squares = (share * (sd**2 + (one - mean) ** 2) for share, (one, sd) in zip(shares, parts, strict=True))
    return mean, np.sqrt(sum(squares))
