"""Score and observed information of a normal distribution from rows with gaps, in the mean and the covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.linalg import cho_factor, cho_solve, eigh

from emtools.kernels.missing import factorise, group_rows, solve_lower

Floats = npt.NDArray[np.float64]

# Parameters beyond which there is no information; terms, a second of them or two, beyond which that of the covariances is
# expected information, and from fewer rows.
LARGEST = 1500
TERMS = 5e8
WORK = 1e9  # patterns times d³ beyond which everything but the score's place comes from fewer patterns
MEANS = 1e10  # multiplications for information about means alone
BATCH = 2**20  # values of the matrices that are held at a time
GOLDEN = 0.6180339887498949  # its multiples modulo 1 fill the unit interval evenly, whatever the order of patterns


@dataclass(frozen=True)
class ClosedInformation:
    """Score and information in q parameters: d means, the lower triangle of the covariance by rows, and more where a model
    has more, as degrees of freedom.

    Everything is in units of the standard deviations `sd` of the columns, and further parameters in units of themselves.

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
        Share of the rows from which the block of the covariances comes; 1 is all.
    expected : bool
        Whether that block is expected information.
    """

    score: Floats
    observed: Floats
    complete: Floats
    sd: Floats
    share: float
    expected: bool = False

    @property
    def exact(self) -> bool:
        """Whether it is the observed information of all rows."""
        return self.share == 1.0 and not self.expected

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
        covariance[rows, columns] = covariance[columns, rows] = errors[d : d + len(rows)]
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


@njit(cache=True, nogil=True)
def add_all_pairs(
    weights: Floats, inners: Floats, seen: npt.NDArray[np.bool_], result: Floats
) -> None:  # pragma: no cover - compiled
    """`add_pairs` of several patterns, whose matrices (patterns, d, d) are 0 in the columns that are missing."""
    d = seen.shape[1]
    weight, inner, columns = np.empty((d, d)), np.empty((d, d)), np.empty(d, np.intp)
    for g in range(len(weights)):
        p = 0
        for j in range(d):
            if seen[g, j]:
                columns[p] = j
                p += 1
        for i in range(p):
            for j in range(p):
                weight[i, j] = weights[g, columns[i], columns[j]]
                inner[i, j] = inners[g, columns[i], columns[j]]
        add_pairs(weight, inner, columns[:p], result)


@njit(cache=True, nogil=True)
def gather(
    inverses: Floats,
    away: Floats,
    weights: Floats,
    cuts: npt.NDArray[np.intp],
    counts: Floats,
    pulls: Floats,
    inner: Floats,
) -> None:  # pragma: no cover - compiled
    """Sums by pattern of the weights w, of ``w W x`` and of ``w W x xᵀ W``, added to the last three arguments.

    Parameters
    ----------
    inverses : ndarray, shape (patterns, d, d)
        W, 0 in the columns that are missing.
    away : ndarray, shape (n, d)
        x by pattern, 0 where missing.
    weights : ndarray, shape (n,)
    cuts : ndarray of int, shape (patterns + 1,)
        First row of each pattern.
    counts, pulls, inner : ndarray, shapes (patterns,), (patterns, d) and (patterns, d, d)
        Changed in place.
    """
    d = away.shape[1]
    solved = np.empty(d)
    for g in range(len(cuts) - 1):
        for row in range(cuts[g], cuts[g + 1]):
            w = weights[row]
            counts[g] += w
            solved[:] = 0.0
            for i in range(d):
                x = away[row, i]
                if x != 0.0:
                    for j in range(d):
                        solved[j] += inverses[g, i, j] * x
            for i in range(d):
                pulls[g, i] += w * solved[i]
                for j in range(d):
                    inner[g, i, j] += w * solved[i] * solved[j]


def inverse_blocks(correlation: Floats, seen: npt.NDArray[np.bool_]) -> Floats:
    """Inverse of the observed block of each pattern, shape (patterns, d, d), 0 in the columns that are missing."""
    d = len(correlation)
    both = seen[:, :, None] & seen[:, None, :]
    blocks = np.where(both, correlation, np.eye(d))
    inverses = np.linalg.inv(blocks)
    result: Floats = np.where(both, 0.5 * (inverses + inverses.transpose(0, 2, 1)), 0.0)
    return result


def spaced(groups: list[npt.NDArray[np.intp]], times: float) -> list[npt.NDArray[np.intp]]:
    """One in `times` of the patterns, evenly spaced; all where that is at most 1."""
    if times <= 1.0:
        return groups
    return [rows for number, rows in enumerate(groups) if number * GOLDEN % 1.0 < 1.0 / times]


def mean_information(values: Floats, weights: Floats, covariance: Floats) -> tuple[Floats, Floats, float] | None:
    """Information about the means of observed and of complete rows, the covariance taken as known.

    A pattern of n rows adds ``n (K - K_:m K_mm⁻¹ K_m:)``, K the inverse covariance and m its missing columns. Beyond
    `MEANS` operations it comes from evenly spaced patterns.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN where missing.
    weights : ndarray, shape (n,)
        Non-negative.
    covariance : ndarray, shape (d, d)

    Returns
    -------
    observed, complete : ndarray, shape (d, d)
        In units of the columns.
    share : float
        Share of the rows that the first comes from.
        None where a matrix is not positive definite.

    Examples
    --------
    >>> rows = np.array([[1.0, np.nan], [2.0, 4.0], [3.0, 6.5], [4.0, 7.5]])
    >>> mean_information(rows, np.ones(4), np.eye(2))[0].tolist()
    [[4.0, 0.0], [0.0, 3.0]]
    """
    factor = factorise(covariance)
    if factor is None:
        return None
    half = solve_lower(factor, np.eye(len(covariance)))
    inverse = half.T @ half
    known = ~np.isnan(values) & (weights > 0.0)[:, None]
    groups, total = group_rows(known), float(weights[known.any(axis=1)].sum())
    hidden = (~known).sum(axis=1)
    operations = sum(float(hidden[rows[0]]) for rows in groups) * float(len(covariance)) ** 2
    groups = spaced(groups, operations / MEANS)
    used, lost = 0.0, np.zeros_like(inverse)
    for rows in groups:
        missing, n = np.flatnonzero(~known[rows[0]]), float(weights[rows].sum())
        used += n
        root = factorise(inverse[np.ix_(missing, missing)])
        if root is None:
            return None
        if missing.size:
            part = solve_lower(root, inverse[missing])
            lost += n * (part.T @ part)
    return total * (inverse - lost / used), total * inverse, used / total


def observed_information(
    values: Floats,
    weights: Floats,
    mean: Floats,
    covariance: Floats,
    *,
    pseudo_rows: float = 0.0,
    scale: Floats | None = None,
    terms: float = TERMS,
) -> ClosedInformation | None:
    """Score and observed information of rows with gaps, in closed form.

    A pattern of missingness with inverse covariance W of its p values, n rows, sum u of ``W (x - μ)`` and
    ``K = Σ W (x - μ)(x - μ)ᵀ W - n W / 2`` adds ``n W`` to the block of the means, ``tr(W dΣ u dμᵀ)`` to the mixed
    one and ``tr(W dΣ K dΣ)`` to that of the covariances. The last costs p⁴ / 8 terms a pattern; beyond `terms` in all,
    K gives way to its expectation ``n W / 2`` in evenly spaced patterns, scaled up. Beyond 1e9 patterns times d³ the rest
    comes from evenly spaced patterns too.

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
    ClosedInformation or None
        None with more than 1,500 parameters, or where the covariance is not positive definite.

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
    correlation = covariance / np.outer(sd, sd)
    if factorise(correlation) is None:
        return None
    observed = ~np.isnan(values) & (weights > 0.0)[:, None]
    groups, all_rows = group_rows(observed), float(weights[observed.any(axis=1)].sum())
    patterns = len(groups)
    groups = spaced(groups, patterns * float(d) ** 3 / WORK)
    sizes = np.array([float(observed[rows[0]].sum()) for rows in groups])
    stride = (sizes**4).sum() / (8.0 * terms)
    by_mean, by_covariance = np.zeros(d), np.zeros((d, d))
    means, mixed, pairs = np.zeros((d, d)), np.zeros((d, d, d)), np.zeros((n_pairs, n_pairs))
    total, used = 0.0, 0.0
    chosen = np.arange(len(groups)) * GOLDEN % 1.0 < 1.0 / max(1.0, stride)
    batch = max(1, BATCH // d**2)
    for begin in range(0, len(groups), batch):
        some, taken = groups[begin : begin + batch], chosen[begin : begin + batch]
        seen = observed[[rows[0] for rows in some]]
        rows, cuts = np.concatenate(some), np.cumsum([0, *map(len, some)])
        inverses = inverse_blocks(correlation, seen)
        away = np.where(observed[rows], (values[rows] - mean) / sd, 0.0)
        n, pulls, inner = np.zeros(len(some)), np.zeros((len(some), d)), np.zeros((len(some), d, d))
        gather(inverses, away, weights[rows], cuts, n, pulls, inner)
        half = 0.5 * n[:, None, None] * inverses
        by_mean += pulls.sum(axis=0)
        by_covariance += 0.5 * inner.sum(axis=0) - half.sum(axis=0)
        means += 2.0 * half.sum(axis=0)
        mixed += (inverses.reshape(len(some), -1).T @ pulls).reshape(d, d, d)
        total += float(n.sum())
        used += float(n[taken].sum())
        add_all_pairs(inverses[taken], ((inner - half) if stride <= 1.0 else half)[taken], seen[taken], pairs)
    pairs *= all_rows / used
    for part in (by_mean, by_covariance, means, mixed):
        part *= all_rows / total
    inverse = np.linalg.inv(correlation)
    if scale is not None:
        solved = inverse @ (scale / np.outer(sd, sd)) @ inverse
        by_covariance += 0.5 * (solved - pseudo_rows * inverse)
        add_pairs(inverse, solved - 0.5 * pseudo_rows * inverse, np.arange(d), pairs)
    complete = np.zeros((n_pairs, n_pairs))
    add_pairs(inverse, 0.5 * (all_rows + pseudo_rows) * inverse, np.arange(d), complete)
    below, beside = np.tril_indices(d)
    twice = np.where(below == beside, 0.5, 1.0)
    cross = (mixed[:, below, beside] + mixed[:, beside, below]) * twice
    apart = np.zeros_like(cross)
    return ClosedInformation(
        np.concatenate([by_mean, 2.0 * twice * by_covariance[below, beside]]),
        np.block([[means, cross], [cross.T, whole(pairs)]]),
        np.block([[all_rows * inverse, apart], [apart.T, whole(complete)]]),
        sd,
        1.0 if chosen.all() and len(groups) == patterns else used / all_rows,
        stride > 1.0,
    )


def whole(lower: Floats) -> Floats:
    """A symmetric matrix from its lower triangle."""
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)
