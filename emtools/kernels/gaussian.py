"""Gaussian log densities through Cholesky factors, log-Cholesky packing and inverse-Wishart terms.

``n`` rows, ``d`` features, ``K`` components throughout.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, lapack, solve_triangular

from emtools.kernels.triangular import lower_inverses

Floats = npt.NDArray[np.float64]

LOG_2PI = math.log(2.0 * math.pi)


def cholesky_factors(matrices: Floats) -> Floats:
    """Lower Cholesky factors; NaN for a matrix that is not positive definite.

    Parameters
    ----------
    matrices : ndarray, shape (..., d, d)
        Symmetric.

    Returns
    -------
    ndarray, shape (..., d, d)
    """
    try:
        factors = np.asarray(np.linalg.cholesky(matrices), dtype=np.float64)
    except np.linalg.LinAlgError:
        if matrices.ndim > 2:
            return np.stack([cholesky_factors(matrix) for matrix in matrices])
        return np.full(matrices.shape, np.nan)
    return factors


def half_log_determinants(factors: Floats) -> Floats:
    """Half the log determinant of each ``L Lᵀ``: the sum of the logs of the diagonal of L.

    Parameters
    ----------
    factors : ndarray, shape (..., d, d)
        Lower Cholesky factors.

    Returns
    -------
    ndarray, shape (...,)
    """
    halves: Floats = np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
    return halves


def whiten(factor: Floats, deviations: Floats) -> Floats:
    """``L⁻¹ x`` for each row x.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        Lower Cholesky factor L; NaN gives NaN.
    deviations : ndarray, shape (n, d)
        Rows.

    Returns
    -------
    ndarray, shape (d, n)
        Whitened rows as columns.
    """
    white: Floats = solve_triangular(factor, deviations.T, lower=True, check_finite=False)
    return white


def log_density_full(values: Floats, means: Floats, factors: Floats) -> Floats:
    """Log densities of normals with a covariance matrix each.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows.
    means : ndarray, shape (K, d)
        Means.
    factors : ndarray, shape (K, d, d)
        Lower Cholesky factors of the covariances.

    Returns
    -------
    ndarray, shape (n, K)
        Nats.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, eq. 2.43.
    """
    constants = 0.5 * means.shape[1] * LOG_2PI + half_log_determinants(factors)
    out = np.empty((len(values), len(means)))
    for k, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        white = whiten(factor, values - mean)
        out[:, k] = -0.5 * np.einsum("in,in->n", white, white) - constants[k]
    return out


def log_density_tied(values: Floats, means: Floats, factor: Floats) -> Floats:
    """Log densities of normals that share one covariance, whitened once about the first mean.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows.
    means : ndarray, shape (K, d)
        Means.
    factor : ndarray, shape (d, d)
        Lower Cholesky factor of the covariance.

    Returns
    -------
    ndarray, shape (n, K)
        Nats.
    """
    constant = 0.5 * means.shape[1] * LOG_2PI + float(half_log_determinants(factor))
    white = whiten(factor, values - means[0])
    centres = whiten(factor, means - means[0])
    out = np.empty((len(values), len(means)))
    for k in range(len(means)):
        apart = white - centres[:, k : k + 1]
        out[:, k] = -0.5 * np.einsum("in,in->n", apart, apart) - constant
    return out


def log_density_diagonal(values: Floats, means: Floats, variances: Floats) -> Floats:
    """Log densities of normals with independent features.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Rows.
    means : ndarray, shape (K, d)
        Means.
    variances : ndarray, shape (K, d)
        Variances; one that is not positive gives NaN.

    Returns
    -------
    ndarray, shape (n, K)
        Nats.
    """
    variances = np.where(variances > 0.0, variances, np.nan)
    constants = 0.5 * means.shape[1] * LOG_2PI + 0.5 * np.log(variances).sum(axis=1)
    out = np.empty((len(values), len(means)))
    for k, (mean, precision) in enumerate(zip(means, 1.0 / variances, strict=True)):
        out[:, k] = -0.5 * (values - mean) ** 2 @ precision - constants[k]
    return out


def density(places: Floats, means: Floats, sds: Floats) -> Floats:
    """Density of normals of one feature, in its units⁻¹; all three are broadcast.

    Examples
    --------
    >>> float(density(np.array(3.0), np.array(1.0), np.array(2.0)).round(4))
    0.121
    """
    out: Floats = np.exp(-0.5 * (((places - means) / sds) ** 2 + LOG_2PI)) / sds
    return out


def expected_log_density(n: float, scatter: Floats, factor: Floats) -> float:
    """Weighted sum of normal log densities, from the scatter about the mean.

    ``-½ (n d log 2π + n log|Σ| + tr Σ⁻¹ S)`` with ``Σ = L Lᵀ``.

    Parameters
    ----------
    n : float
        Sum of the weights.
    scatter : ndarray, shape (d, d)
        Weighted sum S of the outer products of the deviations from the mean of the density.
    factor : ndarray, shape (d, d)
        Lower Cholesky factor L.

    Returns
    -------
    float
        Nats.
    """
    d = len(factor)
    return -0.5 * n * d * LOG_2PI - n * float(half_log_determinants(factor)) - 0.5 * trace_ratio(factor, scatter)


def trace_ratio(factor: Floats, scatter: Floats) -> float:
    """``tr (L Lᵀ)⁻¹ S``."""
    inner, singular = lapack.dtrtrs(factor, scatter, lower=1)
    if singular:
        raise LinAlgError(f"singular matrix: resolution failed at diagonal {singular - 1}")
    return float(np.trace(lapack.dtrtrs(factor, inner.T, lower=1)[0]))


def trace_ratios(factors: Floats, scatters: Floats) -> Floats:
    """``tr (L_k L_kᵀ)⁻¹ S_k`` of many small matrices at once.

    Parameters
    ----------
    factors : ndarray, shape (K, d, d)
        Lower Cholesky factors; NaN gives NaN.
    scatters : ndarray, shape (K, d, d) or (d, d)

    Returns
    -------
    ndarray, shape (K,)
    """
    inverses = lower_inverses(np.ascontiguousarray(factors))
    traces: Floats = ((inverses @ scatters) * inverses).sum(axis=(1, 2))
    return traces


def log_inverse_wishart(factor: Floats, degrees: float, scale: Floats) -> float:
    """Log density of an inverse Wishart in Σ, without its constant.

    ``-½ (degrees + d + 1) log|Σ| - ½ tr Σ⁻¹ scale``; for d = 1 an inverse gamma.

    Parameters
    ----------
    factor : ndarray, shape (d, d)
        Lower Cholesky factor of Σ.
    degrees : float
        Degrees of freedom.
    scale : ndarray, shape (d, d)
        Scale matrix, positive definite.

    Returns
    -------
    float
        Nats.

    References
    ----------
    Fraley & Raftery (2007), J. Classif. 24, 155-181, doi:10.1007/s00357-007-0004-5, section 4.1.
    """
    d = len(factor)
    return -(degrees + d + 1) * float(half_log_determinants(factor)) - 0.5 * trace_ratio(factor, scale)


def log_inverse_gamma(variances: Floats, degrees: float, scales: Floats) -> float:
    """Sum of the log densities of scaled inverse chi-squares, without constants.

    ``-½ (degrees + 2) log v - ½ scale / v``: the inverse Wishart of one dimension.

    Parameters
    ----------
    variances : ndarray
        Variances v.
    degrees : float
        Degrees of freedom.
    scales : ndarray, broadcastable to `variances`
        Scales.

    Returns
    -------
    float
        Nats.
    """
    return float((-0.5 * (degrees + 2.0) * np.log(variances) - 0.5 * scales / variances).sum())


@cache
def lower_triangle(d: int) -> npt.NDArray[np.bool_]:
    """Mask of the lower triangle of a (d, d) matrix, diagonal included."""
    return np.tri(d, dtype=bool)


def pack_cholesky(matrix: Floats) -> Floats:
    """Log-Cholesky vector of a covariance matrix, or of each of several.

    The lower triangle of ``L``, where ``matrix = L Lᵀ``, row by row, with logarithms on its
    diagonal: any real vector of this length is the vector of one positive definite matrix.

    Parameters
    ----------
    matrix : ndarray, shape (..., d, d)
        Symmetric and positive definite.

    Returns
    -------
    ndarray, shape (..., d * (d + 1) / 2)
        All NaN where a matrix is not positive definite.

    References
    ----------
    Pinheiro & Bates (1996), Stat. Comput. 6, 289-296, doi:10.1007/BF00140873, section 2.2.

    Examples
    --------
    >>> pack_cholesky(np.array([[1.0, 2.0], [2.0, 5.0]])).tolist()
    [0.0, 2.0, 0.0]
    """
    factor, diagonal = cholesky_factors(matrix), np.arange(matrix.shape[-1])
    factor[..., diagonal, diagonal] = np.log(factor[..., diagonal, diagonal])
    vector: Floats = factor[..., lower_triangle(len(diagonal))]
    return vector


def cholesky_units(covariance: Floats) -> Floats:
    """Units of the log-Cholesky vector: standard deviations of the rows of the factor, 1 for its logarithms.

    Parameters
    ----------
    covariance : ndarray, shape (d, d)

    Returns
    -------
    ndarray, shape (d * (d + 1) / 2,)
        1 as well where a variance is not positive.

    Examples
    --------
    >>> cholesky_units(np.diag([4.0, 9.0])).tolist()
    [1.0, 3.0, 1.0]
    """
    variance = np.diagonal(covariance)
    whole = np.repeat(np.sqrt(np.where(variance > 0.0, variance, 1.0))[:, None], len(variance), axis=1)
    np.fill_diagonal(whole, 1.0)
    units: Floats = whole[lower_triangle(len(variance))]
    return units


def unpack_cholesky(vector: Floats) -> Floats:
    """Inverse of `pack_cholesky`, of one vector or of several.

    Parameters
    ----------
    vector : ndarray, shape (..., d * (d + 1) / 2)
        Any finite values.

    Returns
    -------
    ndarray, shape (..., d, d)
        Symmetric and positive definite.
    """
    factor = log_cholesky_factor(vector)
    matrix: Floats = factor @ factor.swapaxes(-1, -2)
    return matrix


def log_cholesky_factor(vector: Floats) -> Floats:
    """The lower Cholesky factor, shape (..., d, d), that a log-Cholesky vector holds; see `pack_cholesky`."""
    d = (math.isqrt(8 * vector.shape[-1] + 1) - 1) // 2
    factor = np.zeros((*vector.shape[:-1], d, d))
    factor[..., lower_triangle(d)] = vector
    diagonal = factor.reshape(*vector.shape[:-1], d * d)[..., :: d + 1]
    np.exp(diagonal, out=diagonal)
    return factor


def quadric(
    means: tuple[Floats, Floats], matrices: tuple[Floats, Floats], log_weights: tuple[float, float]
) -> tuple[Floats, Floats, float]:
    """Log ratio of two weighted normal densities as ``xᵀAx + bᵀx + c``.

    Parameters
    ----------
    means : pair of ndarray, shape (d,)
        Means.
    matrices : pair of ndarray, shape (d, d)
        Covariances.
    log_weights : pair of float
        Logarithms of the weights, nats.

    Returns
    -------
    A : ndarray, shape (d, d)
        Exactly 0 where the covariances are equal.
    b : ndarray, shape (d,)
        Linear part.
    c : float
        Constant, nats.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, eqs 4.66-4.67.
    """
    d = len(means[0])
    factors = cholesky_factors(np.stack(matrices))
    inverses = [whiten(factor, np.eye(d)) for factor in factors]
    one, two = (inverse.T @ inverse for inverse in inverses)
    if np.array_equal(*matrices):
        difference, middle = means[0] - means[1], 0.5 * (means[0] + means[1])
        linear = one @ difference
        return np.zeros((d, d)), linear, float(log_weights[0] - log_weights[1] - linear @ middle)
    halves = half_log_determinants(factors)
    square = means[0] @ one @ means[0] - means[1] @ two @ means[1]
    constant = -0.5 * square + log_weights[0] - log_weights[1] - halves[0] + halves[1]
    return -0.5 * (one - two), one @ means[0] - two @ means[1], float(constant)
