"""Draws of the mean and covariance of a normal distribution from their posterior given complete rows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

Floats = npt.NDArray[np.float64]


def draw_inverse_wishart(degrees: float, scale: Floats, rng: np.random.Generator) -> Floats:
    """A covariance from the inverse-Wishart distribution, whose density falls as ``|Σ|^(-(ν + d + 1)/2)``.

    ``Σ = L (B Bᵀ)⁻¹ Lᵀ`` with ``L Lᵀ`` the scale and B the Bartlett factor of a Wishart matrix.

    Parameters
    ----------
    degrees : float
        Degrees of freedom ν, above ``d - 1``.
    scale : ndarray, shape (d, d)
        Positive definite.
    rng : Generator
        Source of the draw.

    Returns
    -------
    ndarray, shape (d, d)

    Raises
    ------
    numpy.linalg.LinAlgError
        If `scale` is not positive definite.

    References
    ----------
    Smith & Hocking (1972), J. R. Stat. Soc. C 21, 341-345, doi:10.2307/2346290 (algorithm AS 53).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> drawn = [draw_inverse_wishart(12.0, np.diag([9.0, 18.0]), rng) for _ in range(4000)]
    >>> np.mean(drawn, axis=0).round(1).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    d = len(scale)
    bartlett = np.tril(rng.standard_normal((d, d)), -1)
    np.fill_diagonal(bartlett, np.sqrt(rng.chisquare(degrees - np.arange(d))))
    root, _ = lapack.dtrtrs(bartlett, np.linalg.cholesky(scale).T, lower=1)
    covariance: Floats = root.T @ root
    return covariance


def draw_normal_posterior(
    rows: Floats, degrees: float, scale: Floats | None, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Mean and covariance from their posterior: ``Σ ~ IW(n - 1 + ν, S + Ψ)``, then ``μ ~ N(mean, Σ / n)``.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Complete rows.
    degrees, scale : float and ndarray of shape (d, d), optional
        Inverse-Wishart prior of ν degrees and scale Ψ; 0 and None are Jeffreys' ``|Σ|^(-(d + 1)/2)``.
    rng : Generator
        Source of the draw.

    Returns
    -------
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)

    References
    ----------
    Schafer (1997), Analysis of Incomplete Multivariate Data, doi:10.1201/9780367803025, section 5.2.2.
    """
    n = len(rows)
    centre = rows.mean(axis=0)
    away = rows - centre
    scatter = away.T @ away
    covariance = draw_inverse_wishart(n - 1.0 + degrees, scatter if scale is None else scatter + scale, rng)
    mean = centre + np.linalg.cholesky(covariance) @ rng.standard_normal(len(centre)) / math.sqrt(n)
    return mean, covariance
