"""Probabilities of counts, exact down to where a rate, a probability or a dispersion is zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import digamma, gammaln

Floats = npt.NDArray[np.float64]

LARGE = 20.0  # argument from which four terms of Stirling's series are exact in float64
SMALL = 0.02  # argument up to which nine terms of the series of log(1 + y) - y are
NEAR_POISSON = 1e9  # size, over 1 + mean, at which a negative binomial is a Poisson distribution in float64
HALF_LOG_2PI = 0.5 * float(np.log(2.0 * np.pi))
STEP = 2.0  # first width, in nats, of the bracket about a size


def is_sparse(values: Any) -> bool:
    """Whether rows are a sparse matrix."""
    return bool(sparse.issparse(values))


def as_dense(values: Any) -> Floats:
    """Rows as an ndarray."""
    return np.asarray(values.toarray() if is_sparse(values) else values)


def log_powers(counts: Floats, logs: Floats) -> Floats:
    """``Σ_j counts[i, j] logs[k, j]``, in which zero times minus infinity is 0.

    Parameters
    ----------
    counts : ndarray, shape (n, d)
        At least 0.
    logs : ndarray, shape (K, d)
        Logarithms; minus infinity for zero.

    Returns
    -------
    ndarray, shape (n, K)
        Minus infinity where a count is positive and its base zero.
    """
    zero = np.isneginf(logs)
    powers: Floats = counts @ np.where(zero, 0.0, logs).T
    if zero.any():
        powers = np.where((counts > 0.0).astype(np.float64) @ zero.T > 0.0, -np.inf, powers)
    return powers


def log_ratios(values: Floats, anchor: Floats) -> Floats:
    """``log(values / anchor)``, exact where the two are close; minus infinity where a value is zero.

    Parameters
    ----------
    values : ndarray, shape (K, d)
        At least 0.
    anchor : ndarray, shape (d,)
        Positive.

    Returns
    -------
    ndarray, shape (K, d)
    """
    with np.errstate(divide="ignore"):
        logs: Floats = np.log1p((values - anchor) / anchor)
    return logs


def log_poisson(counts: Floats, means: Floats) -> Floats:
    """Log probability of counts under Poisson distributions, by deviances, in which no large terms cancel.

    Parameters
    ----------
    counts, means : ndarray, of one shape
        Counts x and means m, the latter positive.

    Returns
    -------
    ndarray, of the same shape
        Nats.
    """
    some = counts > 0.0
    x = np.where(some, counts, 1.0)
    positive = x * log_excess(means, x) - HALF_LOG_2PI - 0.5 * np.log(x) - stirling_error(x)
    return np.where(some, positive, -means)


def log_poisson_rows(counts: Any, exposures: Floats, rates: Floats) -> Floats:
    """Log probability of rows of counts whose means are exposure times rate; of sparse rows from what is not zero.

    Parameters
    ----------
    counts : ndarray or CSR array, shape (n, d)
        Counts.
    exposures : ndarray, shape (n,)
        Positive.
    rates : ndarray, shape (d,)
        Positive.

    Returns
    -------
    ndarray, shape (n,)
        Nats.
    """
    if not is_sparse(counts):
        return np.asarray(log_poisson(counts, np.outer(exposures, rates)).sum(axis=1))
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    means = exposures[rows] * rates[counts.indices]
    above = np.bincount(rows, weights=log_poisson(counts.data, means) + means, minlength=counts.shape[0])
    return np.asarray(above - exposures * rates.sum())


def log_minus(values: Floats) -> Floats:
    """``log(1 + y) - y`` for y above -1, without cancellation; at most 0."""
    small = np.clip(values, -SMALL, SMALL)
    series = np.zeros_like(small)
    for power in range(10, 1, -1):
        series = small * series + (-1.0) ** (power - 1) / power
    return np.where(np.abs(values) <= SMALL, small * small * series, np.log1p(values) - values)


def log_excess(values: Floats, about: Floats, apart: Floats | None = None) -> Floats:
    """``log(v / a) - (v - a) / a`` of positive numbers, without cancellation, and of ratios below rounding too; at most 0.

    Parameters
    ----------
    values, about : ndarray, of one shape
        v and a.
    apart : ndarray, optional
        v - a, where it is known to more digits.

    Returns
    -------
    ndarray, of the same shape
    """
    excess = (values - about if apart is None else apart) / about
    far = excess < -0.5
    logs = np.log(np.where(far, values, 1.0)) - np.log(np.where(far, about, 1.0))
    return np.where(far, logs - excess, log_minus(np.maximum(excess, -0.5)))


def stirling_error(values: Floats) -> Floats:
    """``log Γ(z + 1) - [(z + ½) log z - z + ½ log 2π]`` for z above 0, to the last digit."""
    inverse = 1.0 / np.maximum(values, LARGE)
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
    small = np.minimum(values, LARGE)
    direct = gammaln(small + 1.0) - (small + 0.5) * np.log(small) + small - HALF_LOG_2PI
    return np.where(values >= LARGE, series, direct)


def rising_slope(counts: Floats, size: float) -> Floats:
    """``ψ(x + r) - ψ(r) - x / r``, the derivative in r of ``log Γ(x + r) - log Γ(r) - x log r``; at most 0.

    Parameters
    ----------
    counts : ndarray, shape (h,)
        Counts x.
    size : float
        r, positive.

    Returns
    -------
    ndarray, shape (h,)
    """
    if size < LARGE:
        direct: Floats = digamma(counts + size) - digamma(size) - counts / size
        return direct
    far, near = 1.0 / (counts + size), 1.0 / size
    slope: Floats = log_minus(counts / size) + digamma_rest(far) - digamma_rest(np.asarray(near))
    return slope


def digamma_rest(inverse: Floats) -> Floats:
    """``ψ(z) - log z`` from 1 / z, for z of at least `LARGE`."""
    square = inverse * inverse
    return -inverse / 2 - square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))


def log_negative_binomial(counts: Floats, means: Floats, dispersions: Floats) -> Floats:
    """Log probability of counts under negative binomials with variance ``m + a m²``; a = 0 is the Poisson.

    With ``r = 1 / a``, ``n = x + r``, the error s of Stirling's formula and ``D(y) = y - log(1 + y)`` it is

    ``log(r / n) + s(n) - s(r) - s(x) - r D((x - m) / (r + m)) - x D(r (m - x) / (x (r + m))) + ½ log(n / (2π r x))``,

    in which no large terms cancel, so that counts in the hundred thousands keep their digits.

    Parameters
    ----------
    counts : ndarray, shape (h,)
        Counts x.
    means, dispersions : ndarray, shape (K,)
        m and a, at least 0.

    Returns
    -------
    ndarray, shape (h, K)
        Nats.

    References
    ----------
    Lawless (1987), Can. J. Stat. 15, 209-225, section 2; the form by deviances is that of Loader (2000), Fast and
    Accurate Computation of Binomial Probabilities, for the binomial distribution.

    Examples
    --------
    >>> np.exp(log_negative_binomial(np.array([0.0, 1.0]), np.array([1.0]), np.array([1.0]))).round(6).ravel().tolist()
    [0.5, 0.25]
    """
    table = np.empty((len(counts), len(means)))
    some = counts > 0.0
    x = counts[some]
    for k, (mean, dispersion) in enumerate(zip(means.tolist(), dispersions.tolist(), strict=True)):
        if mean == 0.0:
            table[:, k] = np.where(some, -np.inf, 0.0)
            continue
        base = -HALF_LOG_2PI - 0.5 * np.log(x) - stirling_error(x)
        if dispersion * (1.0 + mean) * NEAR_POISSON < 1.0:
            table[~some, k] = -mean
            table[some, k] = base + x * log_excess(np.full_like(x, mean), x)
            continue
        size = 1.0 / dispersion
        n = x + size
        base += stirling_error(n) - stirling_error(np.asarray(size)) + 0.5 * np.log(size / n)
        far = size * log_minus((x - mean) / (size + mean)) + x * log_excess(
            mean * n, x * (size + mean), size * (mean - x)
        )
        table[~some, k] = -size * np.log1p(mean * dispersion)
        table[some, k] = base + far
    return table


def best_dispersion(counts: Floats, weights: Floats, start: float) -> float:
    """Dispersion a that maximises ``Σ weights log NB(counts; mean, a)`` at the mean of the counts, which is the best mean.

    Zero, the Poisson, where the variance is not above the mean; else the one root of the score in r = 1 / a.

    Parameters
    ----------
    counts : ndarray, shape (h,)
        Counts x.
    weights : ndarray, shape (h,)
        At least 0, with a positive sum.
    start : float
        Where to look first, at least 0.

    Returns
    -------
    float
        At least 0.

    References
    ----------
    Aragón, Eberly & Eberly (1992), Stat. Probab. Lett. 15, 375-379, doi:10.1016/0167-7152(92)90157-Z: the likelihood
    equations have one solution exactly where the variance is above the mean.

    Examples
    --------
    >>> round(best_dispersion(np.arange(4.0), np.array([8.0, 4.0, 2.0, 2.0]), 1.0), 3)
    0.442
    """
    from scipy.optimize import brentq

    total = float(weights.sum())
    mean = float(weights @ counts) / total
    if not float(weights @ (counts - mean) ** 2) > total * mean:
        return 0.0
    highest = np.log(NEAR_POISSON * (1.0 + mean))

    def score(log_size: float) -> float:
        size = float(np.exp(log_size))
        slope = float(weights @ rising_slope(counts, size)) - total * float(log_minus(np.asarray(mean / size)))
        return slope * size * (size + 1.0) / total

    centre = -np.log(start) if start > 0.0 else 0.0
    low, width = min(centre, highest) - STEP, STEP
    while score(low) <= 0.0:
        low, width = low - width, 2.0 * width
    high, width = low + STEP, STEP
    while score(high) > 0.0:
        if high > highest:
            return 0.0
        high, width = high + width, 2.0 * width
    return float(np.exp(-brentq(score, low, high, xtol=1e-14, rtol=1e-14)))
