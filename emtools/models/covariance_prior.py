"""Inverse-Wishart prior on the covariances of a mixture, and a weak one from the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.kernels.gaussian import cholesky_factors, half_log_determinants, log_inverse_gamma, trace_ratios


@dataclass(frozen=True)
class CovariancePrior:
    """Inverse-Wishart prior on each covariance.

    Parameters
    ----------
    degrees : float
        Degrees of freedom, above ``d - 1``.
    scale : ndarray, shape (d, d)
        Scale matrix, positive definite, in squared units of the data. The diagonal family uses its
        diagonal, the spherical one its mean diagonal.
    """

    degrees: float
    scale: Floats

    def usable(self, n_features: int) -> bool:
        """Whether this is a proper prior on covariances of shape (n_features, n_features)."""
        if self.scale.shape != (n_features, n_features) or not self.degrees > n_features - 1:
            return False
        return bool(np.isfinite(cholesky_factors(self.scale)).all())

    def added_scatter(self, family: str) -> Floats:
        """What the prior adds to a scatter: (d, d), (d,) diagonal or 0-d spherical."""
        if family in ("full", "tied"):
            return self.scale
        diagonal = np.diagonal(self.scale)
        return diagonal if family == "diagonal" else np.asarray(diagonal.mean())

    def added_counts(self, family: str) -> float:
        """What the prior adds to the divisor of a scatter."""
        return self.degrees + (len(self.scale) + 1.0 if family in ("full", "tied") else 2.0)

    def log_density(self, covariances: Floats, family: str) -> float:
        """Sum of the log densities of the covariances, in the family's shape, without constants, in nats."""
        if family in ("full", "tied"):
            factors = cholesky_factors(covariances).reshape(-1, *self.scale.shape)
            halves = (self.degrees + len(self.scale) + 1.0) * half_log_determinants(factors)
            return -float((halves + 0.5 * trace_ratios(factors, self.scale)).sum())
        return log_inverse_gamma(covariances, self.degrees, self.added_scatter(family))


def data_prior(values: Floats, n_components: int, family: str, weights: Floats | None = None) -> CovariancePrior:
    """A weak prior from the data, so that no component can collapse.

    ``d + 2`` degrees of freedom and the covariance of the data over ``K^(2/d)``, the share of the
    volume that each of K components would have. The tied family uses K = 1: all components share one
    covariance, so there is nothing to divide the volume among, and the prior enters the objective
    once. The diagonal and spherical families use the variances alone. A millionth is added to the
    diagonal, so that collinear features have a prior too.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Data, or a sample of them.
    n_components : int
        Components K.
    family : {"full", "tied", "diagonal", "spherical"}
        Family of the mixture.
    weights : ndarray, shape (n,), optional
        Weights of the rows; a weight of 2 equals the row twice.

    Returns
    -------
    CovariancePrior

    Raises
    ------
    InputError
        If a feature is constant or a value is not finite.

    References
    ----------
    Fraley & Raftery (2007), J. Classif. 24, 155-181, doi:10.1007/s00357-007-0004-5, section 4.2.

    Examples
    --------
    >>> values = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> [float(data_prior(values, 4, family).scale[0, 0].round(3)) for family in ("full", "tied")]
    [0.104, 1.667]
    """
    if not np.isfinite(values).all():
        raise InputError("data", "a value that is not a finite number", "finite numbers", "impute or drop it")
    d = values.shape[1]
    counts = np.ones(len(values)) if weights is None else weights
    deviations = values - np.average(values, axis=0, weights=counts)
    covariance = (deviations * counts[:, None]).T @ deviations / max(1.0, float(counts.sum()) - 1.0)
    variances = np.diagonal(covariance).copy()
    if not (variances > 0.0).all():
        column = int(np.argmin(variances > 0.0)) + 1
        raise InputError("data", f"feature {column} is constant", "features that vary", "drop it")
    if family in ("diagonal", "spherical"):
        covariance = np.diag(variances)
    if family == "tied":
        n_components = 1
    return CovariancePrior(float(d + 2), (covariance + 1e-6 * np.diag(variances)) / n_components ** (2.0 / d))


def spread_prior(values: Floats, weights: Floats | None = None) -> CovariancePrior:
    """A weak prior for a table with gaps: ``d + 2`` degrees of freedom, and the variances of what is observed.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing; at least one value in each column.
    weights : ndarray, shape (n,), optional
        Weights of the rows; a weight of 2 equals the row twice.

    Returns
    -------
    CovariancePrior

    Raises
    ------
    InputError
        If a column is constant.

    Examples
    --------
    >>> spread_prior(np.array([[0.0, 1.0], [2.0, np.nan], [4.0, 3.0]])).scale.diagonal().round(2).tolist()
    [2.67, 1.0]
    """
    observed = ~np.isnan(values)
    counts = observed * (1.0 if weights is None else weights[:, None])
    filled = np.where(observed, values, 0.0)
    centre = (counts * filled).sum(axis=0) / counts.sum(axis=0)
    variances = (counts * np.where(observed, values - centre, 0.0) ** 2).sum(axis=0) / counts.sum(axis=0)
    if not (variances > 0.0).all():
        column = int(np.argmin(variances > 0.0)) + 1
        raise InputError("data", f"feature {column} is constant", "features that vary", "drop it")
    return CovariancePrior(float(values.shape[1] + 2), np.diag(variances))
