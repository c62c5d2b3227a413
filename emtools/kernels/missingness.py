"""What the gaps of a normal table do to what can be known: Little's test, information, and each cell left out in turn.

``n`` rows, ``d`` columns; rows of one pattern of missingness share one factorisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack
from scipy.special import chdtrc

from emtools.kernels.missing import LOG_2PI, factorise, group_rows, log_determinant, solve_lower

FLAT = 1e-10  # of the largest eigenvalue of an information, below which a direction is without any

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Little:
    """Little's test that values are missing completely at random.

    Parameters
    ----------
    statistic : float
        d².
    df : int
        Degrees of freedom: observed columns summed over the patterns, less the columns.
    p : float
        Upper tail of the chi-squared distribution; NaN where there are no degrees of freedom.
    n_patterns : int
        Patterns of missingness with at least one value.
    """

    statistic: float
    df: int
    p: float
    n_patterns: int


@dataclass(frozen=True)
class LeftOut:
    """Each observed cell given the other observed cells of its row.

    Parameters
    ----------
    predicted, variance : ndarray, shape (n, d)
        Conditional mean and variance under a normal distribution; NaN where nothing was observed.
    distance : ndarray, shape (n,)
        Squared Mahalanobis distance of what was observed of each row; 0 for a row without any value.
    log_density : ndarray, shape (n,)
        Of what was observed of each row, nats.
    """

    predicted: Floats
    variance: Floats
    distance: Floats
    log_density: Floats


def little_test(mean: Floats, covariance: Floats, values: Floats) -> Little:
    """Little's test that values are missing completely at random.

    ``d² = Σ_j n_j (x̄_j - μ_j)ᵀ Σ_j⁻¹ (x̄_j - μ_j)`` over patterns j, with the maximum-likelihood estimates of mean and
    covariance (divisor n) cut down to the observed columns of the pattern. A row without any value says nothing.

    Parameters
    ----------
    mean : ndarray, shape (d,)
        Maximum-likelihood estimate.
    covariance : ndarray, shape (d, d)
        Maximum-likelihood estimate, positive definite.
    values : ndarray, shape (n, d)
        NaN where missing.

    Returns
    -------
    Little

    Raises
    ------
    numpy.linalg.LinAlgError
        If `covariance` is not positive definite.

    References
    ----------
    Little (1988), J. Am. Stat. Assoc. 83, 1198-1202, doi:10.1080/01621459.1988.10478722, eq. 6.

    Examples
    --------
    >>> values = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, np.nan], [3.0, np.nan]])
    >>> little_test(np.array([1.5, 0.0]), np.diag([1.25, 0.25]), values).df
    1
    """
    statistic, df = 0.0, -len(mean)
    groups = group_rows(~np.isnan(values))
    for rows in groups:
        o = np.flatnonzero(~np.isnan(values[rows[0]]))
        away = solve_lower(factor_of(covariance, o), values[np.ix_(rows, o)].mean(axis=0) - mean[o])
        statistic += rows.size * float(away @ away)
        df += o.size
    return Little(statistic, df, float(chdtrc(df, statistic)) if df > 0 else math.nan, len(groups))


def factor_of(covariance: Floats, columns: npt.NDArray[np.intp]) -> Floats:
    """Lower Cholesky factor of some columns."""
    factor = factorise(covariance[np.ix_(columns, columns)])
    if factor is None:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    return factor


def inverse_of(factor: Floats) -> Floats:
    """Inverse of the matrix of a lower Cholesky factor."""
    inverse, _ = lapack.dpotri(factor, lower=1)
    lower = np.tril(np.asarray(inverse), -1)
    return np.asarray(lower + lower.T + np.diag(np.diagonal(inverse)))


def leave_one_out(values: Floats, mean: Floats, covariance: Floats) -> LeftOut:
    """Predict each observed cell from the other observed cells of its row.

    With the precision ``P`` of what was observed of the row, ``x_j - E[x_j | others] = [P (x - μ)]_j / P_jj`` and the
    conditional variance is ``1 / P_jj``.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)
        Positive definite.

    Returns
    -------
    LeftOut

    Raises
    ------
    numpy.linalg.LinAlgError
        If `covariance` is not positive definite.

    References
    ----------
    Rue & Held (2005), Gaussian Markov Random Fields, doi:10.1201/9780203492024, theorem 2.3.

    Examples
    --------
    >>> out = leave_one_out(np.array([[2.0, 1.0]]), np.zeros(2), np.array([[1.0, 0.5], [0.5, 1.0]]))
    >>> out.predicted.round(12).tolist(), out.variance.round(12).tolist()
    ([[0.5, 1.0]], [[0.75, 0.75]])
    """
    predicted, variance = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    distance, density = np.zeros(len(values)), np.zeros(len(values))
    for rows in group_rows(~np.isnan(values)):
        o = np.flatnonzero(~np.isnan(values[rows[0]]))
        factor = factor_of(covariance, o)
        precision = inverse_of(factor)
        seen = values[np.ix_(rows, o)]
        away = seen - mean[o]
        pulled = away @ precision
        predicted[np.ix_(rows, o)] = seen - pulled / np.diagonal(precision)
        variance[np.ix_(rows, o)] = 1.0 / np.diagonal(precision)
        distance[rows] = (pulled * away).sum(axis=1)
        density[rows] = -0.5 * (o.size * LOG_2PI + log_determinant(factor) + distance[rows])
    return LeftOut(predicted, variance, distance, density)


def missing_information(covariance: Floats, observed: Booleans, df: float = math.inf) -> Floats:
    """Fraction of the information about each mean that is missing.

    One less the ratio of the variance of the mean with complete rows, ``Σ_jj / n``, to its variance with these gaps,
    the diagonal of the inverse of ``Σ_rows P`` with the precision ``P`` of what was observed of a row. Under a t with ν
    degrees of freedom a row with p values counts ``(ν + p) / (ν + p + 2)`` times.

    Parameters
    ----------
    covariance : ndarray, shape (d, d)
        Positive definite.
    observed : ndarray of bool, shape (n, d)
        Rows without any value are left out.
    df : float
        Degrees of freedom ν of a t, whose scatter is `covariance` up to a factor; infinite for a normal distribution.

    Returns
    -------
    ndarray, shape (d,)

    References
    ----------
    Orchard & Woodbury (1972), Proc. 6th Berkeley Symp. 1, 697-715, section 3; Lange, Little & Taylor (1989), J. Am.
    Stat. Assoc. 84, 881-896, doi:10.1080/01621459.1989.10478852, appendix B.

    Examples
    --------
    >>> seen = np.array([[True, True], [True, False]])
    >>> missing_information(np.eye(2), seen).round(12).tolist()
    [0.0, 0.5]
    """
    information = np.zeros(covariance.shape)
    groups = group_rows(observed)
    for rows in groups:
        o = np.flatnonzero(observed[rows[0]])
        information[np.ix_(o, o)] += rows.size * told_by(o.size, df) * inverse_of(factor_of(covariance, o))
    n = sum(rows.size for rows in groups) * told_by(len(covariance), df)
    fraction: Floats = 1.0 - np.diagonal(covariance) / n / np.diagonal(np.linalg.inv(information))
    return np.clip(fraction, 0.0, 1.0)


def told_by(p: int, df: float) -> float:
    """What a row with p values tells of the location of a t, in rows of a normal distribution."""
    return 1.0 if math.isinf(df) else (df + p) / (df + p + 2.0)


def slope_errors(design: Floats, residual: Floats, observed: Booleans) -> Floats:
    """Standard errors of the slopes of a regression of columns with gaps on complete ones.

    From the expected information ``Σ_rows z zᵀ ⊗ P`` with ``z`` an intercept and the row of the design, and ``P`` the
    residual precision of what was observed of the row.

    Parameters
    ----------
    design : ndarray, shape (n, e)
        Complete.
    residual : ndarray, shape (d, d)
        Residual covariance, positive definite.
    observed : ndarray of bool, shape (n, d)

    Returns
    -------
    ndarray, shape (e, d)
        NaN where these rows do not identify a slope.

    References
    ----------
    Orchard & Woodbury (1972), Proc. 6th Berkeley Symp. 1, 697-715, section 3.

    Examples
    --------
    >>> plate = np.array([[0.0], [0.0], [1.0], [1.0]])
    >>> slope_errors(plate, np.eye(1), np.ones((4, 1), dtype=bool)).round(12).tolist()
    [[1.0]]
    """
    z = np.column_stack([np.ones(len(design)), design])
    d, k = residual.shape[0], z.shape[1]
    information = np.zeros((k, d, k, d))
    for rows in group_rows(observed):
        o = np.flatnonzero(observed[rows[0]])
        block = np.einsum("ab,ij->aibj", z[rows].T @ z[rows], inverse_of(factor_of(residual, o)))
        information[np.ix_(np.arange(k), o, np.arange(k), o)] += block
    together = information.reshape(k * d, k * d)
    factor = factorise(together)
    variances = variances_told(together) if factor is None else np.diagonal(inverse_of(factor))
    return np.asarray(np.sqrt(variances).reshape(k, d)[1:])


def variances_told(information: Floats) -> Floats:
    """Variances of the parameters that a singular information tells of, shape (p,); NaN where it tells nothing.

    A parameter is told of where no direction without information moves it (Rao 1973, Linear Statistical Inference and
    Its Applications, section 4a.4: estimable functions).

    Examples
    --------
    >>> variances_told(np.array([[4.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])).tolist()
    [0.25, nan, nan]
    """
    unit = np.sqrt(np.diagonal(information))
    unit = np.where(unit > 0.0, unit, 1.0)
    values, vectors = np.linalg.eigh(information / np.outer(unit, unit))
    told = values > FLAT * values[-1]
    variances = ((vectors[:, told] ** 2) / values[told]).sum(axis=1) / unit**2
    return np.where((vectors[:, ~told] ** 2).sum(axis=1) > FLAT, np.nan, variances)
