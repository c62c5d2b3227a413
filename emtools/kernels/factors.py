"""Factor analysis of rows with gaps, one pattern of missingness at a time.

``d`` columns, ``q`` factors; a pattern has ``p`` observed columns. Only (q, q) matrices are factorised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emtools.kernels.missing import LOG_2PI, Pattern, factorise, log_determinant, solve_lower

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FactorMoments:
    """Expected moments of completed rows x and their factors z.

    Parameters
    ----------
    loglik, entropy : float
        Nats; NaN where the noise is not positive.
    x : ndarray, shape (d,)
        ``Σ w E[x]``
    z : ndarray, shape (q,)
        ``Σ w E[z]``
    xx : ndarray, shape (d,)
        ``Σ w E[x_j²]``
    xz : ndarray, shape (d, q)
        ``Σ w E[x zᵀ]``
    zz : ndarray, shape (q, q)
        ``Σ w E[z zᵀ]``
    """

    loglik: float
    entropy: float
    x: Floats
    z: Floats
    xx: Floats
    xz: Floats
    zz: Floats


def factor_posterior(loadings: Floats, noise: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Regression of the factors on observed columns: ``E[z | x] = slopes (x - μ)``, ``cov[z | x] = spread``.

    With ``M = I + Λᵀ Ψ⁻¹ Λ``: ``spread = M⁻¹`` and ``slopes = M⁻¹ Λᵀ Ψ⁻¹``.

    Parameters
    ----------
    loadings : ndarray, shape (p, q)
        Λ of the observed columns.
    noise : ndarray, shape (p,)
        Their variances Ψ.

    Returns
    -------
    factor : ndarray, shape (q, q)
        Lower Cholesky factor of M.
    slopes : ndarray, shape (q, p)
    spread : ndarray, shape (q, q)
        None where a variance is not positive.

    References
    ----------
    Rubin & Thayer (1982), Psychometrika 47, 69-76, doi:10.1007/BF02293851, eqs 2-4, by the Woodbury identity.
    """
    if not (noise > 0.0).all():
        return None
    scaled = loadings / noise[:, None]
    factor = factorise(np.eye(loadings.shape[1]) + loadings.T @ scaled)
    if factor is None:
        return None
    inverse = solve_lower(factor, np.eye(len(factor)))
    spread = inverse.T @ inverse
    return factor, spread @ scaled.T, spread


def factor_moments(patterns: Sequence[Pattern], mean: Floats, loadings: Floats, noise: Floats) -> FactorMoments:
    """Observed-data log-likelihood, entropy of factors and gaps together, and expected moments.

    The squared distance ``(x - μ)ᵀ (ΛΛᵀ + Ψ)⁻¹ (x - μ)`` is taken as ``(x - μ - Λẑ)ᵀ Ψ⁻¹ (x - μ - Λẑ) + ẑᵀẑ`` with
    ``ẑ = E[z | x]``: nothing cancels. Given the factors the missing columns are independent of the observed ones.

    Parameters
    ----------
    patterns : sequence of Pattern
        Rows, from an origin.
    mean : ndarray, shape (d,)
        From the same origin.
    loadings : ndarray, shape (d, q)
        Λ.
    noise : ndarray, shape (d,)
        Variances Ψ, positive.

    Returns
    -------
    FactorMoments

    References
    ----------
    Rubin & Thayer (1982), doi:10.1007/BF02293851, eqs 2-4; Ghahramani & Hinton (1996), CRG-TR-96-1, eqs 1-6.
    """
    d, q = loadings.shape
    loglik = entropy = 0.0
    x, z, xx, xz, zz = np.zeros(d), np.zeros(q), np.zeros(d), np.zeros((d, q)), np.zeros((q, q))
    for pattern in patterns:
        o, m, weight = pattern.observed, pattern.missing, pattern.weight
        parts = factor_posterior(loadings[o], noise[o])
        if parts is None or not (noise[m] > 0.0).all():
            return FactorMoments(math.nan, math.nan, x, z, xx, xz, zz)
        factor, slopes, spread = parts
        away = np.vstack([math.sqrt(weight) * (pattern.mean - mean[o]), pattern.root])
        scores = away @ slopes.T
        left = away - scores @ loadings[o].T
        square = float(((left * left) / noise[o]).sum() + (scores * scores).sum())
        log_det = log_determinant(factor)
        constant = o.size * LOG_2PI + float(np.log(noise[o]).sum()) + log_det
        loglik -= 0.5 * (weight * constant + square)
        free = q * (1.0 + LOG_2PI) - log_det + m.size * (1.0 + LOG_2PI) + float(np.log(noise[m]).sum())
        entropy += 0.5 * weight * free

        score = scores[0] / math.sqrt(weight)
        rows = np.zeros((len(away), d))
        rows[:, o] = away
        rows[:, m] = scores @ loadings[m].T
        rows[0] += math.sqrt(weight) * mean
        x += math.sqrt(weight) * rows[0]
        z += weight * score
        xx += (rows * rows).sum(axis=0)
        xz += rows.T @ scores
        zz += scores.T @ scores + weight * spread
        carried = weight * (loadings[m] @ spread)
        xx[m] += (carried * loadings[m]).sum(axis=1) + weight * noise[m]
        xz[m] += carried
    return FactorMoments(loglik, entropy, x, z, xx, xz, zz)
