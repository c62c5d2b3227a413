"""Factor analysis of rows with gaps, each row with its own pattern.

``d`` columns, ``q`` factors, ``n`` rows. Only (q, q) matrices are factorised, and what leads to them is two products of
a mask of the cells with a matrix of ``t = q (q + 1) / 2`` columns: nothing of shape (d, d) is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.missing import LOG_2PI

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


@dataclass(frozen=True)
class Posterior:
    """The factors of rows given what was observed of them.

    Parameters
    ----------
    away : ndarray, shape (n, d)
        Observed values minus the mean, times the share of the row; 0 in the gaps.
    scores : ndarray, shape (n, q)
        ``E[z | x]`` times the share of the row.
    spreads : ndarray, shape (n, t)
        ``cov[z | x]``, lower triangles row by row.
    log_determinants : ndarray, shape (n,)
        ``log det(I + Λᵀ Ψ⁻¹ Λ)`` over the observed columns.
    squares : ndarray, shape (n,)
        ``(x - μ)ᵀ (ΛΛᵀ + Ψ)⁻¹ (x - μ)`` over the observed columns, times the squared share.
    """

    away: Floats
    scores: Floats
    spreads: Floats
    log_determinants: Floats
    squares: Floats


@njit(cache=True, nogil=True)
def solve_each(inner: Floats, right: Floats, scores: Floats, log_determinants: Floats) -> None:
    """``M = I + inner`` of each row: its inverse into `inner`, ``M⁻¹ right`` into `scores`, and ``log det M``.

    Parameters
    ----------
    inner : ndarray, shape (n, t)
        Lower triangles row by row; overwritten.
    right, scores : ndarray, shape (n, q)
    log_determinants : ndarray, shape (n,)
        NaN where M is not positive definite.
    """
    n, q = right.shape
    low = np.zeros((q, q))
    for i in range(n):
        at = 0
        log_det = 0.0
        for a in range(q):
            for b in range(a + 1):
                total = inner[i, at]
                at += 1
                if a == b:
                    total += 1.0
                for k in range(b):
                    total -= low[a, k] * low[b, k]
                if a > b:
                    low[a, b] = total / low[b, b]
                elif total > 0.0:
                    low[a, a] = math.sqrt(total)
                    log_det += math.log(total)
                else:
                    low[a, a] = math.nan
                    log_det = math.nan
        log_determinants[i] = log_det
        for b in range(q):
            low[b, b] = 1.0 / low[b, b]
        for b in range(q):
            for a in range(b + 1, q):
                total = 0.0
                for k in range(b, a):
                    total -= low[a, k] * low[k, b]
                low[a, b] = total * low[a, a]
        at = 0
        for a in range(q):
            scores[i, a] = 0.0
        for a in range(q):
            for b in range(a + 1):
                total = 0.0
                for k in range(a, q):
                    total += low[k, a] * low[k, b]
                inner[i, at] = total
                at += 1
                scores[i, a] += total * right[i, b]
                if a > b:
                    scores[i, b] += total * right[i, a]


@njit(cache=True, nogil=True)
def times_each(packed: Floats, vectors: Floats, out: Floats) -> None:
    """A symmetric matrix times a vector, for each row.

    Parameters
    ----------
    packed : ndarray, shape (n, t)
        Lower triangles row by row.
    vectors, out : ndarray, shape (n, q)
    """
    n, q = vectors.shape
    for i in range(n):
        at = 0
        for a in range(q):
            out[i, a] = 0.0
        for a in range(q):
            for b in range(a + 1):
                out[i, a] += packed[i, at] * vectors[i, b]
                if a > b:
                    out[i, b] += packed[i, at] * vectors[i, a]
                at += 1


def unpacked(triangle: Floats, q: int) -> Floats:
    """Symmetric matrix, shape (q, q), of a lower triangle row by row, shape (t,)."""
    full = np.zeros((q, q))
    full[np.tril_indices(q)] = triangle
    return full + np.tril(full, -1).T


def posterior(rows: Floats, seen: Floats, share: Floats, mean: Floats, loadings: Floats, noise: Floats) -> Posterior:
    """The factors of each row given what was observed of it.

    The squared distance ``(x - μ)ᵀ (ΛΛᵀ + Ψ)⁻¹ (x - μ)`` is taken as ``(x - μ - Λẑ)ᵀ Ψ⁻¹ (x - μ - Λẑ) + ẑᵀẑ`` with
    ``ẑ = E[z | x]``: nothing cancels.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Values times the share of their row; 0 in the gaps.
    seen : ndarray, shape (n, d)
        1.0 where observed, else 0.0.
    share : ndarray, shape (n,)
        Square root of the weight of each row, 0.0 for one that is a part of the scatter about a mean.
    mean : ndarray, shape (d,)
    loadings : ndarray, shape (d, q)
        Λ.
    noise : ndarray, shape (d,)
        Variances Ψ, positive.

    Returns
    -------
    Posterior

    References
    ----------
    Rubin & Thayer (1982), doi:10.1007/BF02293851, eqs 2-4; Ghahramani & Hinton (1996), CRG-TR-96-1, eqs 1-6.
    """
    q = loadings.shape[1]
    scaled = loadings / noise[:, None]
    first, second = np.tril_indices(q)
    spreads = seen @ (scaled[:, first] * loadings[:, second])
    away = rows - seen * np.outer(share, mean)
    scores, log_determinants = np.empty((len(rows), q)), np.empty(len(rows))
    solve_each(spreads, away @ scaled, scores, log_determinants)
    left = away - seen * (scores @ loadings.T)
    squares = (left * left) @ (1.0 / noise) + (scores * scores).sum(axis=1)
    return Posterior(away, scores, spreads, log_determinants, squares)


def factor_moments(
    rows: Floats, seen: Floats, share: Floats, mean: Floats, loadings: Floats, noise: Floats
) -> FactorMoments:
    """Observed-data log-likelihood, entropy of factors and gaps together, and expected moments.

    Given the factors the missing columns are independent of the observed ones.

    Parameters
    ----------
    rows, seen, share, mean, loadings, noise
        As for `posterior`.

    Returns
    -------
    FactorMoments

    References
    ----------
    Rubin & Thayer (1982), doi:10.1007/BF02293851, eqs 2-4; Ghahramani & Hinton (1996), CRG-TR-96-1, eqs 1-6.
    """
    d, q = loadings.shape
    if not (noise > 0.0).all():
        return FactorMoments(math.nan, math.nan, *map(np.zeros, (d, q, d, (d, q), (q, q))))
    weight, log_noise = share * share, np.log(noise)
    given = posterior(rows, seen, share, mean, loadings, noise)
    gaps = 1.0 - seen
    n_seen, n_gaps = seen.sum(axis=1), gaps.sum(axis=1)
    constant = n_seen * LOG_2PI + seen @ log_noise + given.log_determinants
    loglik = -0.5 * float(weight @ constant + given.squares.sum())
    free = (q + n_gaps) * (1.0 + LOG_2PI) + gaps @ log_noise - given.log_determinants
    full = given.away + gaps * (given.scores @ loadings.T) + np.outer(share, mean)
    spreads = weight[:, None] * given.spreads
    own = weight @ gaps * noise
    carried = np.empty((d, q))
    times_each(gaps.T @ spreads, loadings, carried)
    return FactorMoments(
        loglik=loglik,
        entropy=0.5 * float(weight @ free),
        x=share @ full,
        z=share @ given.scores,
        xx=(full * full).sum(axis=0) + (carried * loadings).sum(axis=1) + own,
        xz=full.T @ given.scores + carried,
        zz=given.scores.T @ given.scores + unpacked(spreads.sum(axis=0), q),
    )
