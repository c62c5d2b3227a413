"""Score and observed information of a multivariate t from rows with gaps, in location, scatter and degrees of freedom."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.special import digamma, polygamma

from emtools.kernels.missing import factorise, group_rows
from emtools.kernels.normal_information import (
    BATCH,
    GOLDEN,
    LARGEST,
    TERMS,
    WORK,
    ClosedInformation,
    add_all_pairs,
    add_pairs,
    gather,
    inverse_blocks,
    mean_information,
    spaced,
    whole,
)

Floats = npt.NDArray[np.float64]

PRODUCTS = 2e10  # rows times squared entries of the scatter beyond which that block is expected information


class ScaleSums(NamedTuple):
    """What the information of complete rows with known scales u takes of an E-step.

    Parameters
    ----------
    scale : float
        Sum of E[u].
    trace : float
        ``tr Σ⁻¹ S``, S the sum of ``E[u (x - μ)(x - μ)ᵀ]``.
    exponent : float
        Power e of the determinant by which the scale is expanded, see `emtools.models.student_t`.
    """

    scale: float
    trace: float
    exponent: float


class Slopes(NamedTuple):
    """Derivatives of the log density of each row in its squared distance δ and the degrees of freedom ν, shapes (n,).

    Parameters
    ----------
    pull : ndarray
        ``w = (ν + p) / (ν + δ)``, -2 times the first derivative in δ.
    bend : ndarray
        ``g = w² / (2 (ν + p))``, the second.
    slope, curve : ndarray
        First and second derivative in ν.
    cross : ndarray
        ``r = (p - δ) / (2 (ν + δ)²)``, the mixed one.
    """

    pull: Floats
    bend: Floats
    slope: Floats
    curve: Floats
    cross: Floats


def slopes_of(squared: Floats, df: float, p: Floats) -> Slopes:
    """Derivatives of ``log Γ((ν + p) / 2) - log Γ(ν / 2) - p/2 log ν π - (ν + p)/2 log(1 + δ / ν)``.

    Parameters
    ----------
    squared : ndarray, shape (n,)
        δ
    df : float
        ν
    p : ndarray, shape (n,)
        Values of each row.

    Examples
    --------
    >>> slopes_of(np.array([3.0]), 1.0, np.array([1.0])).pull.tolist()
    [0.5]
    """
    away, half = df + squared, 0.5 * (df + p)
    pull = 2.0 * half / away
    share = squared / (df * away)
    slope = digamma(half) - digamma(0.5 * df) - p / df - np.log1p(squared / df) + (df + p) * share
    curve = 0.5 * (polygamma(1, half) - polygamma(1, 0.5 * df)) + p / df**2
    curve += share * (2.0 - (df + p) * (1.0 / df + 1.0 / away))
    return Slopes(pull, pull**2 / (4.0 * half), 0.5 * slope, 0.5 * curve, 0.5 * (p - squared) / away**2)


@njit(cache=True, nogil=True)
def solve_rows(
    inverses: Floats, away: Floats, cuts: npt.NDArray[np.intp], solved: Floats
) -> None:  # pragma: no cover - compiled
    """``W x`` of each row, rows by pattern, into `solved` (n, d)."""
    d = away.shape[1]
    for g in range(len(cuts) - 1):
        for row in range(cuts[g], cuts[g + 1]):
            for i in range(d):
                x = away[row, i]
                if x != 0.0:
                    for j in range(d):
                        solved[row, j] += inverses[g, i, j] * x


def student_information(
    values: Floats,
    weights: Floats,
    location: Floats,
    scatter: Floats,
    df: float,
    sums: ScaleSums,
    *,
    estimated: bool = True,
    terms: float = TERMS,
    products: float = PRODUCTS,
) -> ClosedInformation | None:
    """Score and observed information of rows with gaps, in closed form.

    A row of p values at deviation x, with W the inverse of its block of the scatter, ``y = W x``, ``δ = xᵀ y`` and w, g, r
    as in `Slopes`, adds the second differential of its log density: with ``dδ = -2 yᵀ dμ - yᵀ dΣ y``,

    ``tr(W dΣ W dΣ) / 2 - w [dμᵀ W dμ + 2 dμᵀ W dΣ y + yᵀ dΣ W dΣ y] + g dδ² + 2 r dδ dν + d²/dν² dν²``.

    All but the terms in g and r are those of a normal with the weights w, see
    `emtools.kernels.normal_information.observed_information`. The block of the scatter costs p⁴ / 8 terms a pattern and
    d⁴ / 4 products a row; beyond `terms` or `products` in all, it gives way to its expectation, ``[(ν + p) tr(W dΣ W dΣ) -
    (tr W dΣ)²] / (2 (ν + p + 2))`` a row, in evenly spaced patterns, scaled up, and so does the term in g of the block between
    location and scatter, to 0.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    weights : ndarray, shape (n,)
        Non-negative; 2 equals the row twice.
    location, scatter : ndarray, shapes (d,) and (d, d)
    df : float
        Where.
    sums : ScaleSums
        Of the E-step there, for the information of complete rows.
    estimated : bool
        Whether the degrees of freedom are a parameter, the last one, in units of `df`.
    terms, products : float
        See above.

    Returns
    -------
    ClosedInformation or None
        None with more than 1,500 locations and scatters, or where the scatter is not positive definite.

    References
    ----------
    Lange, Little & Taylor (1989), J. Am. Stat. Assoc. 84, 881-896, doi:10.1080/01621459.1989.10478852, appendix B (expected
    information); Magnus & Neudecker (2019), Matrix Differential Calculus, 3rd ed., doi:10.1002/9781119541219, chapter 10.

    Examples
    --------
    >>> rows = np.array([[-1.0], [0.0], [1.0]])
    >>> found = student_information(
    ...     rows, np.ones(3), np.zeros(1), np.eye(1), 1.0, ScaleSums(4.0, 2.0, 0.0), estimated=False
    ... )
    >>> found.observed.tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    d = location.size
    n_pairs = d * (d + 1) // 2
    if d + n_pairs > LARGEST or not (np.diagonal(scatter) > 0.0).all():
        return None
    sd = np.sqrt(np.diagonal(scatter))
    correlation = scatter / np.outer(sd, sd)
    if factorise(correlation) is None:
        return None
    observed = ~np.isnan(values) & (weights > 0.0)[:, None]
    known = observed.any(axis=1)
    groups, all_rows = group_rows(observed), float(weights[known].sum())
    patterns = len(groups)
    groups = spaced(groups, patterns * float(d) ** 3 / WORK)
    sizes = np.array([float(observed[rows[0]].sum()) for rows in groups])
    stride = (sizes**4).sum() / (8.0 * terms)
    expected = stride > 1.0 or float(known.sum()) * float(n_pairs) ** 2 > products
    if expected:
        stride = max(stride, len(groups) * float(n_pairs) ** 2 / products)
    chosen = np.arange(len(groups)) * GOLDEN % 1.0 < 1.0 / max(1.0, stride)
    below, beside = np.tril_indices(d)
    twice = np.where(below == beside, 1.0, 2.0)
    by_mean, by_scatter, by_df = np.zeros(d), np.zeros((d, d)), 0.0
    means, mixed, cross = np.zeros((d, d)), np.zeros((d, d, d)), np.zeros((d, n_pairs))
    pairs, squares = np.zeros((n_pairs, n_pairs)), np.zeros((n_pairs, n_pairs))
    mean_df, pairs_df, curve = np.zeros(d), np.zeros((d, d)), 0.0
    total = used = 0.0
    batch = max(1, BATCH // d**2)
    for begin in range(0, len(groups), batch):
        some, taken = groups[begin : begin + batch], chosen[begin : begin + batch]
        seen = observed[[rows[0] for rows in some]]
        rows, cuts = np.concatenate(some), np.cumsum([0, *map(len, some)])
        inverses = inverse_blocks(correlation, seen)
        away = np.where(observed[rows], (values[rows] - location) / sd, 0.0)
        solved = np.zeros_like(away)
        solve_rows(inverses, away, cuts, solved)
        held, p = weights[rows], observed[rows].sum(axis=1).astype(np.float64)
        of = slopes_of((away * solved).sum(axis=1), df, p)
        pulled, pulls, inner = np.zeros(len(some)), np.zeros((len(some), d)), np.zeros((len(some), d, d))
        gather(inverses, away, held * of.pull, cuts, pulled, pulls, inner)
        n = np.add.reduceat(held, cuts[:-1])
        half = 0.5 * n[:, None, None] * inverses
        by_mean += pulls.sum(axis=0)
        by_scatter += 0.5 * inner.sum(axis=0) - half.sum(axis=0)
        by_df += float(held @ of.slope)
        bent = (held * of.bend)[:, None] * solved
        means += (pulled[:, None, None] * inverses).sum(axis=0) - 4.0 * bent.T @ solved
        mixed += (inverses.reshape(len(some), -1).T @ pulls).reshape(d, d, d)
        crossed = (held * of.cross)[:, None] * solved
        mean_df += 2.0 * crossed.sum(axis=0)
        pairs_df += crossed.T @ solved
        curve -= float(held @ of.curve)
        total += float(n.sum())
        used += float(n[taken].sum())
        if expected:
            beyond = df + seen.sum(axis=1) + 2.0
            add_all_pairs(inverses[taken], (half * (1.0 - 2.0 / beyond)[:, None, None])[taken], seen[taken], pairs)
            flat = inverses[taken][:, below, beside] * (twice * np.sqrt(0.5 * n / beyond)[taken, None])
            squares += flat.T @ flat
            continue
        add_all_pairs(inverses, inner - half, seen, pairs)
        for first in range(0, len(rows), max(1, BATCH // n_pairs)):
            part = slice(first, first + max(1, BATCH // n_pairs))
            products_of = solved[part][:, below] * solved[part][:, beside] * twice
            flat = products_of * np.sqrt(held * of.bend)[part, None]
            squares += flat.T @ flat
            cross -= 2.0 * bent[part].T @ products_of
    pairs, squares = pairs * (all_rows / used), squares * (all_rows / used)
    for summed in (by_mean, by_scatter, means, mixed, cross, mean_df, pairs_df):
        np.multiply(summed, all_rows / total, out=summed)
    by_df, curve = by_df * all_rows / total, curve * all_rows / total
    cross += 0.5 * (mixed[:, below, beside] + mixed[:, beside, below]) * twice
    block = np.block([[means, cross], [cross.T, whole(pairs) - squares]])
    score = np.concatenate([by_mean, twice * by_scatter[below, beside]])
    complete = complete_information(np.linalg.inv(correlation), all_rows, df, sums)
    if estimated:
        edge = df * np.concatenate([mean_df, twice * pairs_df[below, beside]])
        block = np.block([[block, edge[:, None]], [edge, np.array([[df**2 * curve]])]])
        score = np.append(score, df * by_df)
    else:
        complete = complete[:-1, :-1]
    share = 1.0 if chosen.all() and len(groups) == patterns else used / all_rows
    return ClosedInformation(score, block, complete, sd, share, expected)


def complete_information(inverse: Floats, n: float, df: float, sums: ScaleSums) -> Floats:
    """Minus the second derivatives of Q at a maximum, those of rows without gaps whose expanded scales are known.

    With U and T the sums, ``y = df / 2``, ``G = y U + T / 2``, ``κ = T / d``, which is there ``2 e G - n (e (d + df) - 1)``, and
    ``D = tr Σ⁻¹ dΣ``, they are ``U dμᵀ Σ⁻¹ dμ``, ``κ tr(Σ⁻¹ dΣ Σ⁻¹ dΣ) / 2 + e (e G - κ) D²``, ``e (U - n) D dν / 2`` and
    ``n (ψ'(y) - 1 / y) dν² / 4``.

    Parameters
    ----------
    inverse : ndarray, shape (d, d)
        Σ⁻¹ in units of `student_information`.
    n : float
        Rows.
    df : float
    sums : ScaleSums

    Returns
    -------
    ndarray, shape (d + d (d + 1) / 2 + 1, the same)
        The last entry in units of `df`.
    """
    d, half = len(inverse), 0.5 * df
    below, beside = np.tril_indices(d)
    n_pairs, exponent = len(below), sums.exponent
    growth = inverse[below, beside] * np.where(below == beside, 1.0, 2.0)
    kappa, weight = sums.trace / d, half * sums.scale + 0.5 * sums.trace
    pairs = np.zeros((n_pairs, n_pairs))
    add_pairs(inverse, 0.5 * kappa * inverse, np.arange(d), pairs)
    result = np.zeros((d + n_pairs + 1, d + n_pairs + 1))
    result[:d, :d] = sums.scale * inverse
    result[d:-1, d:-1] = whole(pairs) + exponent * (exponent * weight - kappa) * np.outer(growth, growth)
    result[d:-1, -1] = result[-1, d:-1] = 0.5 * df * exponent * (sums.scale - n) * growth
    result[-1, -1] = 0.25 * df**2 * n * (float(polygamma(1, half)) - 1.0 / half)
    return result


def location_information(
    values: Floats, weights: Floats, scatter: Floats, df: float, scale: float
) -> tuple[Floats, Floats, float] | None:
    """Expected information about the location, and that of complete rows whose scales have the sum `scale`.

    A row of p values adds ``(ν + p) / (ν + p + 2)`` of that of a normal; there is none between location and the rest.
    See `emtools.kernels.normal_information.mean_information`.

    References
    ----------
    Lange, Little & Taylor (1989), doi:10.1080/01621459.1989.10478852, appendix B.
    """
    p = (~np.isnan(values)).sum(axis=1)
    shrunk = weights * (df + p) / (df + p + 2.0)
    found = mean_information(values, shrunk, scatter)
    if found is None:
        return None
    observed, complete, share = found
    return observed, complete * (scale / float(shrunk[p > 0].sum())), share
