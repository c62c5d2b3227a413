"""Score and observed information of a normal distribution from rows with gaps, in the mean and the covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.linalg import cho_factor, cho_solve, eigh

from emtools.kernels.missing import factorise, group_rows, solve_lower

Floats = npt.NDArray[np.float64]

# Parameters beyond which there is no information; terms, a few seconds of them, beyond which that of the covariances is
# expected information, and from fewer rows.
LARGEST = 1500
TERMS = 5e8
WORK = 2e9  # patterns times d³ beyond which there is none either
GOLDEN = 0.6180339887498949  # its multiples modulo 1 fill the unit interval evenly, whatever the order of patterns


@dataclass(frozen=True)
class NormalInformation:
    """Score and information in q = d (d + 3) / 2 parameters: d means, and the lower triangle of the covariance by rows.

    Everything is in units of the standard deviations `sd` of the columns.

    Parameters
    ----------
    score : ndarray, shape (q,)
        Gradient of the log-likelihood, nats.
    observed : ndarray, shape (q, q)
        Minus its second derivative.
    complete : ndarray, shape (q, q)
        The same of complete rows, at a maximum.
    sd : ndarray, shape (d,)
    share : float
        Share of the rows from which the block of the covariances comes; 1 is all, and observed information.
    """

    score: Floats
    observed: Floats
    complete: Floats
    sd: Floats
    share: float

    def errors(self) -> tuple[Floats, Floats] | None:
        """Standard errors of the means (d,) and the covariances (d, d) in the units of the columns; None where the
        information is not positive definite."""
        return self.roots(self.observed)

    def complete_errors(self) -> tuple[Floats, Floats] | None:
        """The same from complete rows."""
        return self.roots(self.complete)

    def roots(self, information: Floats) -> tuple[Floats, Floats] | None:
        """Standard errors by one of the two."""
        d = self.sd.size
        factor = factorise(information)
        if factor is None:
            return None
        half = solve_lower(factor, np.eye(len(information)))
        errors = np.sqrt((half**2).sum(axis=0))
        rows, columns = np.tril_indices(d)
        covariance = np.empty((d, d))
        covariance[rows, columns] = covariance[columns, rows] = errors[d:]
        return errors[:d] * self.sd, covariance * np.outer(self.sd, self.sd)

    def gap(self) -> tuple[float, float]:
        """Gain to the top in nats, and the longest way there of a parameter in its standard errors."""
        inverse = cho_solve(cho_factor(self.observed, lower=True), np.eye(self.score.size))
        step = inverse @ self.score
        return 0.5 * float(self.score @ step), float(np.max(np.abs(step) / np.sqrt(np.diagonal(inverse))))

    def missing(self, count: int) -> Floats:
        """The `count` largest fractions of missing information, falling."""
        last = min(count, self.score.size) - 1
        shares = eigh(self.observed, self.complete, eigvals_only=True, subset_by_index=(0, last))
        result: Floats = 1.0 - shares
        return result


@njit(cache=True, nogil=True)
def add_pairs(
    weight: Floats, inner: Floats, columns: npt.NDArray[np.intp], result: Floats
) -> None:  # pragma: no cover - compiled
    """Add ``½ tr(W E_r K E_s + W E_s K E_r)`` to `result` [r, s] for all pairs r >= s of entries of the covariance.

    ``E_r`` is 1 in both places of entry r of a symmetric matrix.

    Parameters
    ----------
    weight, inner : ndarray, shape (p, p)
        W and K, symmetric.
    columns : ndarray of int, shape (p,)
        Ascending columns of the p values.
    result : ndarray, shape (q, q)
        Lower triangle over the lower triangle, entry (i, j) at ``i (i + 1) / 2 + j``; changed in place.
    """
    for a in range(columns.size):
        for b in range(a + 1):
            row = columns[a] * (columns[a] + 1) // 2 + columns[b]
            here = 0.25 if a == b else 0.5
            for c in range(a + 1):
                start = columns[c] * (columns[c] + 1) // 2
                for e in range(min(c, b) + 1 if c == a else c + 1):
                    value = weight[a, e] * inner[b, c] + weight[a, c] * inner[b, e]
                    value += weight[b, e] * inner[a, c] + weight[b, c] * inner[a, e]
                    value += inner[a, e] * weight[b, c] + inner[a, c] * weight[b, e]
                    value += inner[b, e] * weight[a, c] + inner[b, c] * weight[a, e]
                    result[row, start + columns[e]] += here * (0.5 if e == c else 1.0) * value


def observed_information(
    values: Floats,
    weights: Floats,
    mean: Floats,
    covariance: Floats,
    *,
    pseudo_rows: float = 0.0,
    scale: Floats | None = None,
    terms: float = TERMS,
) -> NormalInformation | None:
    """Score and observed information of rows with gaps, in closed form.

    A pattern of missingness with inverse covariance W of its p values, n rows, sum u of ``W (x - μ)`` and
    ``K = Σ W (x - μ)(x - μ)ᵀ W - n W / 2`` adds ``n W`` to the block of the means, ``tr(W dΣ u dμᵀ)`` to the mixed
    one and ``tr(W dΣ K dΣ)`` to that of the covariances. The last costs p⁴ / 8 terms a pattern; beyond `terms` in all,
    K gives way to its expectation ``n W / 2`` in evenly spaced patterns, scaled up. Everything else stays exact.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    weights : ndarray, shape (n,)
        Non-negative; 2 equals the row twice.
    mean, covariance : ndarray, shapes (d,) and (d, d)
        Where.
    pseudo_rows, scale : float and ndarray (d, d), optional
        Of an inverse-Wishart prior with log density ``-½ [pseudo_rows log|Σ| + tr scale Σ⁻¹]``.
    terms : float
        See above.

    Returns
    -------
    NormalInformation or None
        None with more than 1,500 parameters or too many patterns of missingness, or where a covariance is not positive
        definite.

    References
    ----------
    Magnus & Neudecker (2019), Matrix Differential Calculus, 3rd ed., doi:10.1002/9781119541219, section 15.3;
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., section 9.1.2.

    Examples
    --------
    >>> rows = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.5], [4.0, 7.5]])
    >>> found = observed_information(rows, np.ones(4), rows.mean(axis=0), np.cov(rows.T, ddof=0))
    >>> found.errors()[0].round(4).tolist(), (rows.std(axis=0) / 2).round(4).tolist()
    ([0.559, 1.0753], [0.559, 1.0753])
    """
    d = mean.size
    n_pairs = d * (d + 1) // 2
    if d + n_pairs > LARGEST or not (np.diagonal(covariance) > 0.0).all():
        return None
    sd = np.sqrt(np.diagonal(covariance))
    standard, correlation = (values - mean) / sd, covariance / np.outer(sd, sd)
    observed = ~np.isnan(values) & (weights > 0.0)[:, None]
    groups = group_rows(observed)
    if len(groups) * float(d) ** 3 > WORK:
        return None
    sizes = np.array([float(observed[rows[0]].sum()) for rows in groups])
    stride = max(1, int(np.ceil((sizes**4).sum() / (8.0 * terms))))
    by_mean, by_covariance = np.zeros(d), np.zeros((d, d))
    means, mixed, pairs = np.zeros((d, d)), np.zeros((d, d, d)), np.zeros((n_pairs, n_pairs))
    total, used = 0.0, 0.0
    for number, rows in enumerate(groups):
        columns = np.flatnonzero(observed[rows[0]])
        factor = factorise(correlation[np.ix_(columns, columns)])
        if factor is None:
            return None
        half = solve_lower(factor, np.eye(columns.size))
        weight = half.T @ half
        n = float(weights[rows].sum())
        solved = weight @ standard[np.ix_(rows, columns)].T
        pull = solved @ weights[rows]
        inner = (solved * weights[rows]) @ solved.T - 0.5 * n * weight
        by_mean[columns] += pull
        by_covariance[np.ix_(columns, columns)] += 0.5 * (inner - 0.5 * n * weight)
        means[np.ix_(columns, columns)] += n * weight
        mixed[np.ix_(columns, columns, columns)] += weight[:, :, None] * pull
        total += n
        if number * GOLDEN % 1.0 < 1.0 / stride:
            used += n
            add_pairs(weight, inner if stride == 1 else 0.5 * n * weight, columns, pairs)
    pairs *= total / used
    inverse = np.linalg.inv(correlation)
    if scale is not None:
        solved = inverse @ (scale / np.outer(sd, sd)) @ inverse
        by_covariance += 0.5 * (solved - pseudo_rows * inverse)
        add_pairs(inverse, solved - 0.5 * pseudo_rows * inverse, np.arange(d), pairs)
    complete = np.zeros((n_pairs, n_pairs))
    add_pairs(inverse, 0.5 * (total + pseudo_rows) * inverse, np.arange(d), complete)
    below, beside = np.tril_indices(d)
    twice = np.where(below == beside, 0.5, 1.0)
    cross = (mixed[:, below, beside] + mixed[:, beside, below]) * twice
    apart = np.zeros_like(cross)
    return NormalInformation(
        np.concatenate([by_mean, 2.0 * twice * by_covariance[below, beside]]),
        np.block([[means, cross], [cross.T, whole(pairs)]]),
        np.block([[total * inverse, apart], [apart.T, whole(complete)]]),
        sd,
        used / total,
    )


def whole(lower: Floats) -> Floats:
    """A symmetric matrix from its lower triangle."""
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)
