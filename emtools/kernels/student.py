"""Student's t as a normal distribution with a hidden gamma scale, row by row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, gammaln

from emtools.kernels.counts import LARGE, digamma_rest

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LOG_2PI = float(np.log(2.0 * np.pi))


class Scales(NamedTuple):
    """What is known of the hidden scale u of each row.

    Parameters
    ----------
    scale, log_scale : ndarray, shape (n,)
        Expectation of u and of log u given the row.
    log_density : ndarray, shape (n,)
        Log density of the row in nats, but for ``-½ log|Σ|``.
    entropy : ndarray, shape (n,)
        Entropy in nats of u given the row.
    """

    scale: Floats
    log_scale: Floats
    log_density: Floats
    entropy: Floats


def expected_scales(squared: Floats, df: float, d: int | Integers) -> Scales:
    """The hidden scales given the rows: u is Gamma((ν + d) / 2) with rate (ν + δ) / 2.

    Parameters
    ----------
    squared : ndarray, shape (n,)
        Squared Mahalanobis distances δ.
    df : float
        Degrees of freedom ν, positive.
    d : int or ndarray of int, shape (n,)
        Features, of each row those that were observed.

    Returns
    -------
    Scales

    References
    ----------
    Lange, Little & Taylor (1989), J. Am. Stat. Assoc. 84, 881-896, doi:10.1080/01621459.1989.10478852, appendix B;
    Liu & Rubin (1995), Stat. Sin. 5, 19-39, eqs 9-13.

    Examples
    --------
    >>> expected_scales(np.array([0.0, 3.0]), df=1.0, d=1).scale.tolist()
    [2.0, 0.5]
    """
    shape = 0.5 * (df + d)
    log_rate = np.log(0.5 * (df + squared))
    constant = gammaln(shape) - gammaln(0.5 * df) - 0.5 * d * np.log(df * np.pi)
    slope = digamma(shape)
    return Scales(
        scale=(df + d) / (df + squared),
        log_scale=slope - log_rate,
        log_density=constant - shape * np.log1p(squared / df),
        entropy=shape - log_rate + gammaln(shape) + (1.0 - shape) * slope,
    )


def drawn_scales(squared: Floats, df: float, d: int | Integers, rng: np.random.Generator) -> Scales:
    """One draw of the hidden scale of each row; `log_density` is then that of row and scale together, without entropy."""
    scale = rng.gamma(0.5 * (df + d), 2.0 / (df + squared))
    log_scale = np.log(scale)
    half = 0.5 * df
    log_gamma = half * np.log(half) - gammaln(half) + (half - 1.0) * log_scale - half * scale
    log_normal = 0.5 * d * (log_scale - LOG_2PI) - 0.5 * scale * squared
    return Scales(scale, log_scale, log_gamma + log_normal, np.zeros_like(scale))


def best_df(mean_scale: float, mean_log: float, lowest: float, highest: float) -> float:
    """Degrees of freedom ν that maximise Q: the one root of ``log(ν/2) - ψ(ν/2) + 1 + l - u``, which falls in ν.

    Parameters
    ----------
    mean_scale, mean_log : float
        Means u and l over the rows of E[u] and of E[log u].
    lowest, highest : float
        Bounds of ν.

    Returns
    -------
    float
        A bound where there is no root between them.

    References
    ----------
    Lange, Little & Taylor (1989), doi:10.1080/01621459.1989.10478852, appendix B.
    """
    from scipy.optimize import brentq

    def slope(log_df: float) -> float:
        half = 0.5 * float(np.exp(log_df))
        gap = -float(digamma_rest(np.asarray(1.0 / half))) if half >= LARGE else np.log(half) - float(digamma(half))
        return float(gap + 1.0 + mean_log - mean_scale)

    low, high = float(np.log(lowest)), float(np.log(highest))
    if slope(high) >= 0.0:
        return highest
    if slope(low) <= 0.0:
        return lowest
    return float(np.exp(brentq(slope, low, high, xtol=1e-14, rtol=1e-14)))


def best_growth(
    means: tuple[float, float], log_shape: float, exponent: float, d: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Growth g of the log determinant of the scatter, and degrees of freedom ν, that maximise Q together.

    With e the exponent, Q per row is, but for a constant, ``(e (d + ν) - 1) g / 2 - d exp(s / d + (e - 1 / d) g) / 2``
    and the terms of ν at means of u ``u e^(e g)`` and of log u ``l + e g``. At the best ν for each g its slope in g
    falls, from plus to minus infinity.

    Parameters
    ----------
    means : tuple of float
        Means u and l over the rows of E[u] and of E[log u].
    log_shape : float
        s, log determinant of the weighted scatter divided by n, less that of the scatter before.
    exponent : float
        From 0 to less than 1 / d.
    d : int
        Features.
    bounds : tuple of float
        Least and largest ν.

    Returns
    -------
    growth, df : float
    """
    from scipy.optimize import brentq

    mean_scale, mean_log = means

    def df_at(growth: float) -> float:
        return best_df(mean_scale * np.exp(exponent * growth), mean_log + exponent * growth, *bounds)

    def slope(growth: float) -> float:
        df = df_at(growth)
        pull = (1.0 - d * exponent) * np.exp(log_shape / d + (exponent - 1.0 / d) * growth)
        push = exponent * df * mean_scale * np.exp(exponent * growth)
        return float(exponent * (d + df) - 1.0 - push + pull)

    if exponent == 0.0:
        return log_shape, df_at(log_shape)
    low, width = log_shape - 1.0, 1.0
    while slope(low) <= 0.0:
        low, width = low - width, 2.0 * width
    high, width = low + 1.0, 1.0
    while slope(high) > 0.0:
        high, width = high + width, 2.0 * width
    growth = float(brentq(slope, low, high, xtol=1e-14, rtol=1e-14))
    return growth, df_at(growth)
