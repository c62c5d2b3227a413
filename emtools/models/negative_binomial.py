"""Mixture of negative binomial distributions. ``n`` rows, ``d`` features, ``K`` components throughout.

The only thing hidden is the component of a row. The statistics are therefore the counts that each component holds, as a
histogram: how often each value occurs, by component. Histograms add, and their size is the number of distinct counts,
not of rows. The classical alternative, a Poisson whose rate is a hidden gamma variable, has three sums for statistics,
but hides much more: its climbs are many times longer, and endless where a component is a Poisson.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import xlogy

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.kernels.counts import best_dispersion, is_sparse, log_negative_binomial
from emtools.kernels.logspace import log_or_minus_infinity
from emtools.models.assignment import EVERY_KIND, shared_rows
from emtools.models.counts import (
    START_SHARE,
    check_components,
    check_counts,
    draw_groups,
    pack_positive,
    pack_weights,
    total_counts,
    unpack_positive,
    unpack_weights,
    weigh_parts,
)
from emtools.models.mixture_starts import sample_rows

WITHIN = 0.3  # share of the dispersion of all rows in that of a component of a start

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class NegativeBinomialParams:
    """Parameters of `NegativeBinomialMixture`.

    Parameters
    ----------
    weights : ndarray, shape (K,)
        Sum to 1.
    means : ndarray, shape (K, d)
        Mean count of each feature, at least 0.
    dispersions : ndarray, shape (K, d)
        a in the variance ``m + a m²``, at least 0; zero is the Poisson distribution.
    """

    weights: Floats
    means: Floats
    dispersions: Floats


@dataclass(frozen=True)
class Column:
    """A feature of a chunk by its distinct counts.

    Parameters
    ----------
    values : ndarray, shape (h,)
        Distinct counts, ascending.
    place : ndarray of int, shape (n,) or (m,)
        Which of them each row has, or each of `rows`.
    rows : ndarray of int, shape (m,), or None
        Rows that `place` is about, where all others are zero, the first of `values`; None for all rows.
    """

    values: Floats
    place: Places
    rows: Places | None

    def held(self, expected: Floats, counts: Floats) -> Floats:
        """Sum of the shares (n, K) of the rows that have each count, shape (h, K); `counts` is the sum over all rows."""
        if self.rows is None:
            return sum_by_place(self.place, expected, len(self.values))
        held = sum_by_place(self.place, expected[self.rows], len(self.values))
        held[0] = np.maximum(counts - held[1:].sum(axis=0), 0.0)
        return held


@dataclass(frozen=True)
class Histogram:
    """How often each count occurs in each component, feature by feature; two histograms add.

    Parameters
    ----------
    values : tuple of ndarray, shape (h,)
        For each feature its distinct counts, ascending; h is its own.
    weights : tuple of ndarray, shape (h, K)
        For each feature the expected weight of the rows of each component with this count.
    """

    values: tuple[Floats, ...]
    weights: tuple[Floats, ...]

    def scaled(self, factor: float) -> Histogram:
        """The same counts, each `factor` times as often."""
        return Histogram(self.values, tuple(weights * factor for weights in self.weights))

    def __add__(self, other: Histogram) -> Histogram:
        values, weights = [], []
        for ours, theirs, here, there in zip(self.values, other.values, self.weights, other.weights, strict=True):
            distinct, place = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
            values.append(distinct)
            weights.append(sum_by_place(place, np.concatenate([here, there]), len(distinct)))
        return Histogram(tuple(values), tuple(weights))


@dataclass(frozen=True)
class NegativeBinomialStats(Stats):
    """Expected sums of `NegativeBinomialMixture`.

    Parameters
    ----------
    counts : ndarray, shape (K,)
        Expected weight of the rows of each component.
    totals : ndarray, shape (K, d)
        Sum of their counts of each feature.
    histogram : Histogram
        How often each count occurs.
    """

    counts: Floats
    totals: Floats
    histogram: Histogram


@dataclass(frozen=True)
class NegativeBinomialMixture:
    """Mixture of K products of negative binomials, ``p(x) = Σ_k weights[k] Π_j NB(x_j | means[k, j], dispersions[k, j])``.

    Parameters
    ----------
    n_components : int
        Components K, at least 1; one is the negative binomial distribution itself.
    n_features : int
        Columns of counts d, at least 1.

    Raises
    ------
    InputError
        If a number is below 1.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x, section 4.3;
    Aragón, Eberly & Eberly (1992), Stat. Probab. Lett. 15, 375-379, doi:10.1016/0167-7152(92)90157-Z (the M-step).

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> accidents = np.array([447, 132, 42, 21, 3, 2.0])
    >>> fitted = fit(NegativeBinomialMixture(1), ArraySource(np.arange(6.0), weights=accidents))
    >>> fitted.params.means.round(4).tolist(), fitted.params.dispersions.round(3).tolist()
    ([[0.4652]], [[1.156]])
    """

    n_components: int
    n_features: int = 1

    name: ClassVar[str] = "negative_binomial_mixture"
    strategies: ClassVar[tuple[str, ...]] = ("kmeans++", "random")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND

    def __post_init__(self) -> None:
        check_components(self.n_components, self.n_features)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"n_components": self.n_components, "n_features": self.n_features}

    @property
    def n_free_parameters(self) -> int:
        """Parameters that a fit may choose."""
        return self.n_components - 1 + 2 * self.n_components * self.n_features

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> NegativeBinomialParams:
        """``"kmeans++"`` draws rows far from each other on the square-root scale and takes the means of the groups about
        them; ``"random"`` multiplies the means of all rows by gamma draws of mean 1 and variance 1/4. The
        dispersions are 0.3 of that of all rows by moments, at least 0.1, times gamma draws of mean 1 and variance 1/4.

        Raises
        ------
        InputError
            If the data are not counts, all are zero, or fewer than K rows differ.
        """
        k, d = self.n_components, self.n_features
        totals = total_counts(data, d)
        overall = totals / sum(float(data.chunk(index).weights.sum()) for index in range(data.n_chunks))
        values, row_weights = sample_rows(data, rng, d)
        variance = np.average((values - overall) ** 2, axis=0, weights=row_weights)
        positive = np.where(overall > 0.0, overall, 1.0)
        dispersion = np.maximum(WITHIN * (variance - overall) / positive**2, 0.1)
        dispersions = dispersion * rng.gamma(4.0, 0.25, size=(k, d))
        if strategy == "random":
            means = overall * rng.gamma(4.0, 0.25, size=(k, d))
            return NegativeBinomialParams(rng.dirichlet(np.full(k, 4.0)), means, dispersions)
        groups = draw_groups(np.sqrt(values), row_weights, k, rng)
        sizes = groups.sum(axis=0)
        means = (1.0 - START_SHARE) * (groups.T @ values) / sizes[:, None] + START_SHARE * overall
        return NegativeBinomialParams(sizes / sizes.sum(), means, dispersions)

    def tabulate(self, chunk: Rows) -> list[Column]:
        """Each feature as its distinct counts and the place of each row among them.

        Raises
        ------
        InputError
            If the number of columns is wrong or a value is no count.
        """
        check_counts(chunk, self.n_features)
        if not is_sparse(chunk.values):
            return [Column(*np.unique(column, return_inverse=True), None) for column in chunk.values.T]
        turned: Any = sparse.csc_array(chunk.values)
        columns = []
        for begin, end in pairwise(turned.indptr):
            held = np.append(0.0, turned.data[begin:end])
            values, place = np.unique(held, return_inverse=True)
            columns.append(Column(values, place[1:], turned.indices[begin:end]))
        return columns

    def log_joint(self, params: NegativeBinomialParams, table: list[Column], n_rows: int) -> Floats:
        """Log of weight times probability of tabulated rows, in nats, shape (n, K)."""
        log_joint = np.tile(log_or_minus_infinity(params.weights), (n_rows, 1))
        for j, column in enumerate(table):
            log_probability = log_negative_binomial(column.values, params.means[:, j], params.dispersions[:, j])
            if column.rows is None:
                log_joint += log_probability[column.place]
            else:
                log_joint += log_probability[0]
                log_joint[column.rows] += log_probability[column.place] - log_probability[0]
        return log_joint

    def e_step(self, params: NegativeBinomialParams, chunk: Rows, assign: Assign = "soft") -> NegativeBinomialStats:
        """Expected weight and histogram of each component.

        Raises
        ------
        InputError
            If a value is no count, or `assign` is unknown.
        """
        table = self.tabulate(chunk)
        log_joint = self.log_joint(params, table, len(chunk.weights))
        shares, loglik, entropy = shared_rows(log_joint, chunk.weights, assign, chunk.first)
        expected = shares * chunk.weights[:, None]
        counts = expected.sum(axis=0)
        return NegativeBinomialStats(
            n=float(chunk.weights.sum()),
            loglik=loglik,
            entropy=entropy,
            counts=counts,
            totals=expected.T @ chunk.values,
            histogram=Histogram(
                tuple(column.values for column in table), tuple(column.held(expected, counts) for column in table)
            ),
        )

    def m_step(self, stats: NegativeBinomialStats, params: NegativeBinomialParams) -> NegativeBinomialParams:
        """``means = totals / counts``, and for each the dispersion that is best with it, zero where the variance is not
        above the mean; a component without rows keeps its own.
        """
        means, dispersions = params.means.copy(), params.dispersions.copy()
        for k in np.flatnonzero(stats.counts > 0.0):
            means[k] = stats.totals[k] / stats.counts[k]
            for j, (values, held) in enumerate(zip(stats.histogram.values, stats.histogram.weights, strict=True)):
                dispersions[k, j] = best_dispersion(values, held[:, k], float(params.dispersions[k, j]))
        return NegativeBinomialParams(stats.counts / stats.counts.sum(), means, dispersions)

    def expected_loglik(self, stats: NegativeBinomialStats, params: NegativeBinomialParams) -> float:
        """``Σ_k counts log weights + Σ_kj Σ_x held log NB(x | means, dispersions)`` in nats."""
        total = float(xlogy(stats.counts, params.weights).sum())
        for j, (values, held) in enumerate(zip(stats.histogram.values, stats.histogram.weights, strict=True)):
            log_probability = log_negative_binomial(values, params.means[:, j], params.dispersions[:, j])
            total += float((held * np.where(held > 0.0, log_probability, 0.0)).sum())
        return total

    def log_prior(self, params: NegativeBinomialParams) -> float:
        """0.0: maximum likelihood."""
        return 0.0

    def pack(self, params: NegativeBinomialParams) -> Floats:
        """Log odds of the weights, log means and log dispersions."""
        parts = [pack_weights(params.weights), pack_positive(params.means), pack_positive(params.dispersions)]
        return np.concatenate(parts)

    def unpack(self, vector: Floats) -> NegativeBinomialParams:
        """Inverse of `pack`."""
        k, shape = self.n_components, (self.n_components, self.n_features)
        means, dispersions = np.split(vector[k - 1 :], 2)
        weights = unpack_weights(vector[: k - 1])
        return NegativeBinomialParams(weights, unpack_positive(means, shape), unpack_positive(dispersions, shape))

    def natural(self, params: NegativeBinomialParams) -> dict[str, Floats]:
        """Weights, means and dispersions."""
        return {"weights": params.weights, "means": params.means, "dispersions": params.dispersions}

    def canonical(self, params: NegativeBinomialParams) -> NegativeBinomialParams:
        """Components by ascending sum of the means, then by means, descending weight and dispersions."""
        total = params.means.sum(axis=1)
        order = np.lexsort((*params.dispersions.T[::-1], -params.weights, *params.means.T[::-1], total))
        return NegativeBinomialParams(params.weights[order], params.means[order], params.dispersions[order])

    def degenerate(self, stats: NegativeBinomialStats, params: NegativeBinomialParams) -> str | None:
        """Which component has no rows left; the likelihood itself is at most 1."""
        return weigh_parts(stats.counts)


def sum_by_place(place: Places, weights: Floats, n_places: int) -> Floats:
    """Sum of the rows of `weights` (n, K) that share a place (n,), shape (n_places, K)."""
    columns = [np.bincount(place, weights=column, minlength=n_places) for column in weights.T]
    return np.stack(columns, axis=1).astype(np.float64)  # bincount of nothing is integer
