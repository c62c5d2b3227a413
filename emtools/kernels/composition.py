"""What types express and how much of each there is, every unit counted by its responsibility."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
BLOCK_VALUES = 2**22
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Profiles:
    """Expression of every gene in every type.

    Parameters
    ----------
    means : ndarray, shape (G, K)
        Mean, in the unit of the expression; NaN for a type without weight.
    fractions : ndarray, shape (G, K)
        Fraction of the units above zero.
    spread : ndarray, shape (G,)
        Standard deviation within types; not finite where a value is not.
    lowest : float
        Smallest value of all.
    """

    means: Floats
    fractions: Floats
    spread: Floats
    lowest: float


def dense_rows(matrix: Any, start: int, stop: int) -> Floats:
    """Rows of a matrix in memory, on disk or of Dask, dense or sparse, as float64."""
    block = matrix[start:stop]
    if hasattr(block, "compute"):
        block = block.compute()
    return np.asarray(block.toarray() if hasattr(block, "toarray") else block, dtype=np.float64)


def type_profiles(expression: Any, responsibilities: Floats) -> Profiles:
    """Mean expression per type: ``sum_i r_ik x_ig / sum_i r_ik``.

    Parameters
    ----------
    expression : ndarray or scipy sparse matrix with row slices, shape (n, G)
        Expression; never made dense as a whole.
    responsibilities : ndarray, shape (n, K)
        Posterior probability of each type.
    """
    n, n_genes = expression.shape
    n_types = responsibilities.shape[1]
    sums = np.zeros((n_genes, n_types))
    above = np.zeros((n_genes, n_types))
    squares = np.zeros(n_genes)
    lowest = np.inf
    step = max(1, BLOCK_VALUES // max(n_genes, 1))
    for start in range(0, n, step):
        dense = dense_rows(expression, start, start + step)
        weights = responsibilities[start : start + step]
        sums += dense.T @ weights
        above += (dense > 0).T.astype(np.float64) @ weights
        squares += (dense * dense).sum(axis=0)
        lowest = min(lowest, float(dense.min(initial=np.inf)))
    mass = responsibilities.sum(axis=0)
    known = np.where(mass > 0, mass, np.nan)
    means = sums / known
    with np.errstate(invalid="ignore"):
        within = squares / n - np.nansum(means**2 * mass, axis=1) / n
        spread = np.sqrt(np.maximum(within, 0.0))
    return Profiles(means, above / known, spread, lowest)


def profile_errors(expression: Any, responsibilities: Floats, means: Floats) -> Floats:
    """Standard error of the mean expression per type, ``sqrt(sum_i r_ik² (x_ig − mean_gk)²) / sum_i r_ik``.

    The sandwich of a weighted mean, the responsibilities held as they are.

    Parameters
    ----------
    expression : ndarray or scipy sparse matrix with row slices, shape (n, G)
        Expression; never made dense as a whole.
    responsibilities : ndarray, shape (n, K)
        Posterior probability of each type.
    means : ndarray, shape (G, K)
        `Profiles.means`.

    Returns
    -------
    ndarray, shape (G, K)
        NaN for a type without weight.

    References
    ----------
    White (1980), Econometrica 48, 817-838, doi:10.2307/1912934, eq. 6, for a constant alone.

    Examples
    --------
    >>> profile_errors(np.array([[1.0], [3.0]]), np.ones((2, 1)), np.array([[2.0]])).round(4).tolist()
    [[0.7071]]
    """
    n, n_genes = expression.shape
    squared = responsibilities**2
    total = np.zeros_like(means)
    step = max(1, BLOCK_VALUES // max(n_genes, 1))
    centre = np.nan_to_num(means.mean(axis=1))
    for start in range(0, n, step):
        dense = dense_rows(expression, start, start + step) - centre
        weights = squared[start : start + step]
        total += (dense * dense).T @ weights - 2.0 * (means - centre[:, None]) * (dense.T @ weights)
        total += (means - centre[:, None]) ** 2 * weights.sum(axis=0)
    mass = responsibilities.sum(axis=0)
    errors: Floats = np.sqrt(np.maximum(total, 0.0)) / np.where(mass > 0.0, mass, np.nan)
    return errors


def donor_shares(responsibilities: Floats, donors: Codes, n_donors: int) -> tuple[Floats, Floats]:
    """Mean share of each type over donors, and its standard error from the variance between donors.

    Each donor counts once, whatever its number of cells: cells of one donor are not independent draws of the population.

    Parameters
    ----------
    responsibilities : ndarray, shape (n, K)
        Posterior probability of each type.
    donors : ndarray of int, shape (n,)
        Donor of each cell, -1 where it is unknown.
    n_donors : int
        Donors; each has a cell.

    Returns
    -------
    means, errors : ndarray, shape (K,)
        Errors are NaN with one donor.

    Examples
    --------
    >>> means, errors = donor_shares(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0, 0, 1]), 2)
    >>> means.tolist(), errors.tolist()
    ([0.5, 0.5], [0.5, 0.5])
    """
    known = donors >= 0
    table = np.zeros((n_donors, responsibilities.shape[1]))
    np.add.at(table, donors[known], responsibilities[known])
    shares = table / np.bincount(donors[known], minlength=n_donors)[:, None]
    errors = np.full(shares.shape[1], np.nan)
    if n_donors > 1:
        errors = shares.std(axis=0, ddof=1) / np.sqrt(n_donors)
    return shares.mean(axis=0), errors


def share_intervals(shares: Floats, doubt: Floats, n: Floats, z: float = Z95) -> tuple[Floats, Floats]:
    """Wilson's interval of shares of n cells whose types are not certain.

    With ``v = p (1 - p) + mean_i r_i (1 - r_i)``, the variance of drawing a cell and that of not knowing its type (at most
    the former), n cells tell as much of a share as ``m = n p (1 - p) / v`` cells of known type; the interval is Wilson's
    for m.

    Parameters
    ----------
    shares : ndarray, shape (S, K)
        Shares p of the types in each sample.
    doubt : ndarray, shape (S, K)
        Mean of ``r (1 - r)`` over the cells of the sample.
    n : ndarray, shape (S,)
        Cells of each sample.
    z : float
        Normal quantile.

    Returns
    -------
    lower, upper : ndarray, shape (S, K)

    References
    ----------
    Wilson (1927), J. Am. Stat. Assoc. 22, 209-212, doi:10.1080/01621459.1927.10502953; for the variance of an unknown
    type, Rubin (1987), Multiple Imputation for Nonresponse in Surveys, eq. 3.1.5, with infinitely many imputations.

    Examples
    --------
    >>> low, high = share_intervals(np.array([[0.5]]), np.array([[0.0]]), np.array([100.0]))
    >>> low.round(4).tolist(), high.round(4).tolist()
    ([[0.4038]], [[0.5962]])
    """
    drawn = shares * (1.0 - shares)
    shared = np.minimum(doubt, drawn)
    told = n[:, None] * np.where(drawn > 0.0, drawn / np.where(drawn > 0.0, drawn + shared, 1.0), 1.0)
    centre = (shares + z**2 / (2.0 * told)) / (1.0 + z**2 / told)
    half = z / (1.0 + z**2 / told) * np.sqrt(drawn / told + z**2 / (4.0 * told**2))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def telling(profiles: Profiles, proportions: Floats, n_each: int) -> list[list[int]]:
    """Genes that tell each type from the rest: largest ``(mean in it − mean outside) / SD within types``.

    Parameters
    ----------
    profiles : Profiles
        Profiles of K types.
    proportions : ndarray, shape (K,)
        Share of each type.
    n_each : int
        Genes per type; a gene is named once, for the type listed first.

    Returns
    -------
    list of list of int
        Positions of genes, a list for each type, most telling first.
    """
    means = np.nan_to_num(profiles.means)
    overall = means @ proportions
    outside = 1.0 - proportions
    rest = (overall[:, None] - means * proportions) / np.where(outside > 1e-12, outside, 1.0)
    usable = profiles.spread > 1e-12 * max(float(profiles.spread.max(initial=0.0)), 1e-300)
    score = np.where(usable[:, None], (means - rest) / np.where(usable, profiles.spread, 1.0)[:, None], -np.inf)
    taken: set[int] = set()
    chosen: list[list[int]] = []
    for column in score.T:
        order = [int(g) for g in np.argsort(-column, kind="stable") if column[g] > 0 and int(g) not in taken]
        chosen.append(order[:n_each])
        taken.update(order[:n_each])
    return chosen


def share_errors(responsibilities: Floats) -> Floats:
    """Standard errors of the K shares with the types held as they are, shape (K,).

    Inverse of the empirical information ``sum_i s_i s_iᵀ``, with the score of the shares ``s_ik = r_ik / π_k`` on the
    simplex (Meilijson 1989, doi:10.1111/j.2517-6161.1989.tb01754.x). Certain responsibilities give the binomial error; overlap enlarges it;
    what is unknown about the types themselves is not in it. NaN where a share is zero or the types cannot be told apart.
    """
    n_types = responsibilities.shape[1]
    shares = responsibilities.mean(axis=0)
    errors = np.full(n_types, np.nan)
    present = np.flatnonzero(shares > 1e-12)
    if len(present) < 2:
        errors[present] = 0.0
        return errors
    basis = np.vstack([np.eye(len(present) - 1), -np.ones(len(present) - 1)])
    scores = (responsibilities[:, present] / shares[present]) @ basis
    information = scores.T @ scores
    if np.linalg.cond(information) > 1e12:
        return errors
    covariance = basis @ np.linalg.solve(information, basis.T)
    errors[present] = np.sqrt(np.diag(covariance))
    return errors


def effective_counts(responsibilities: Floats) -> Floats:
    """Effective number of units behind each type, ``(Σ r)² / Σ r²`` (Kish 1965), shape (K,)."""
    squares = (responsibilities**2).sum(axis=0)
    counts = np.zeros(responsibilities.shape[1])
    np.divide(responsibilities.sum(axis=0) ** 2, squares, out=counts, where=squares > 0)
    return counts


def principal_axes(values: Floats, n_axes: int) -> Floats:
    """Scores on the first principal axes, shape (n, n_axes); each axis points to its largest loading."""
    centred = values - values.mean(axis=0)
    _, _, axes = np.linalg.svd(centred.T @ centred, hermitian=True)
    axes = axes[:n_axes]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    scores = centred @ (axes * signs[:, None]).T
    return np.pad(scores, ((0, 0), (0, max(0, n_axes - scores.shape[1]))))
