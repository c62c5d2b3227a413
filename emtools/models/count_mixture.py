"""Mixtures of Poisson and of multinomial distributions. ``n`` rows, ``d`` features, ``K`` components throughout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import xlogy

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.counts import as_dense, log_poisson, log_poisson_rows, log_powers, log_ratios
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
from emtools.models.hmm import from_log_odds, shares, to_log_odds
from emtools.models.mixture_starts import sample_rows


@dataclass(frozen=True)
class PoissonParams:
    """Parameters of `PoissonMixture`.

    Parameters
    ----------
    weights : ndarray, shape (K,)
        Sum to 1.
    rates : ndarray, shape (K, d)
        Expected count of each feature for an exposure of 1, at least 0.
    """

    weights: Floats
    rates: Floats


@dataclass(frozen=True)
class Anchor:
    """Rates or probabilities that the logs of all components are taken relative to, so that large counts keep their digits.

    Parameters
    ----------
    values : ndarray, shape (d,)
        The mean over the components at the E-step; 1 where that is zero.
    """

    values: Floats

    def scaled(self, factor: float) -> Anchor:
        """The anchor itself: it is a place, not a sum."""
        return self


def anchor_at(weights: Floats, values: Floats) -> Anchor:
    """The anchor of components with `weights` (K,) and `values` (K, d)."""
    mean = weights @ values
    return Anchor(np.where(mean > 0.0, mean, 1.0))


@dataclass(frozen=True)
class PoissonStats(Stats):
    """Expected sums of `PoissonMixture`.

    Parameters
    ----------
    counts : ndarray, shape (K,)
        Expected weight of the rows of each component.
    totals : ndarray, shape (K, d)
        Sum of the counts of each feature.
    exposures : ndarray, shape (K,)
        Sum of the exposures.
    constant : float
        Log-likelihood in nats of all rows at the rates of the anchor.
    anchor : Anchor
        Statistics with two anchors add too: the second is moved to the first.
    """

    counts: Floats
    totals: Floats
    exposures: Floats
    constant: float
    anchor: Anchor

    def __add__(self, other: Self) -> Self:
        mine, theirs = self.anchor.values, other.anchor.values
        moved = other.constant + float(
            other.totals.sum(axis=0) @ log_ratios(mine, theirs) - other.exposures.sum() * (mine - theirs).sum()
        )
        return replace(
            self,
            n=self.n + other.n,
            loglik=self.loglik + other.loglik,
            entropy=self.entropy + other.entropy,
            counts=self.counts + other.counts,
            totals=self.totals + other.totals,
            exposures=self.exposures + other.exposures,
            constant=self.constant + moved,
        )


@dataclass(frozen=True)
class PoissonMixture:
    """Mixture of K products of Poisson distributions, ``p(x) = Σ_k weights[k] Π_j Poisson(x_j | e rates[k, j])``.

    A component with a rate of zero emits nothing but zeros there: a zero-inflated Poisson is one of these.

    Parameters
    ----------
    n_components : int
        Components K, at least 1.
    n_features : int
        Columns of counts d, at least 1.
    exposure : bool
        Whether a last column has the exposure e of each row (time, area, size factor), above 0; else e is 1.

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Hasselblad (1969), J. Am. Stat. Assoc. 64, 1459-1471, doi:10.1080/01621459.1969.10501071; Dempster, Laird &
    Rubin (1977), J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x, section 4.3.

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> days = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1.0])
    >>> fitted = fit(PoissonMixture(2, 1), ArraySource(np.arange(10.0), weights=days), starts=3, max_passes=5000)
    >>> fitted.params.rates.ravel().round(2).tolist(), round(fitted.loglik, 3)
    ([1.26, 2.66], -1989.946)
    """

    n_components: int
    n_features: int = 1
    exposure: bool = False

    name: ClassVar[str] = "poisson_mixture"
    strategies: ClassVar[tuple[str, ...]] = ("kmeans++", "random")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND

    def __post_init__(self) -> None:
        check_components(self.n_components, self.n_features)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"n_components": self.n_components, "n_features": self.n_features, "exposure": self.exposure}

    @property
    def n_free_parameters(self) -> int:
        """Parameters that a fit may choose."""
        return self.n_components - 1 + self.n_components * self.n_features

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> PoissonParams:
        """``"kmeans++"`` draws rows far from each other on the square-root scale and takes the rates of the groups
        about them; ``"random"`` multiplies the rates of all rows by gamma draws of mean 1 and variance 1/4.

        Raises
        ------
        InputError
            If the data are not counts with exposures above 0, all are zero, or fewer than K rows differ.
        """
        exposed = 0.0
        for chunk in map(data.chunk, range(data.n_chunks)):
            exposed += float(chunk.weights @ self.split(chunk)[1])
        overall = total_counts(data, self.n_features) / exposed
        values, row_weights = sample_rows(data, rng, self.n_features + self.exposure)
        counts, exposures = self.split(Rows(values, row_weights))
        k = self.n_components
        if strategy == "random":
            rates = overall * rng.gamma(4.0, 0.25, size=(k, self.n_features))
            return PoissonParams(rng.dirichlet(np.full(k, 4.0)), rates)
        groups = draw_groups(np.sqrt(counts / exposures[:, None]), row_weights, k, rng)
        rates = groups.T @ counts / (groups.T @ exposures)[:, None]
        weights = groups.sum(axis=0) / row_weights.sum()
        return PoissonParams(weights, (1.0 - START_SHARE) * rates + START_SHARE * overall)

    def split(self, chunk: Rows) -> tuple[Floats, Floats]:
        """Checked counts (n, d) and exposures (n,) of a chunk.

        Raises
        ------
        InputError
            If the number of columns is wrong, a count is not one, or an exposure is not above 0.
        """
        d = self.n_features
        if chunk.values.shape[1] != d + self.exposure:
            raise InputError("data", f"{chunk.values.shape[1]} columns", f"{d + self.exposure}")
        if not self.exposure:
            check_counts(chunk, d)
            return chunk.values, np.ones(len(chunk.weights))
        counts, exposures = chunk.values[:, :d], as_dense(chunk.values[:, [d]])[:, 0]
        check_counts(Rows(counts, chunk.weights, chunk.first), d)
        good = (exposures > 0.0) & (exposures < math.inf)
        if not good.all():
            row = int(np.argmin(good))
            where = f"row {chunk.first + row + 1}, exposure"
            raise InputError(where, f"{exposures[row]:g}", "a finite number above 0", "correct it or drop the row")
        return counts, exposures

    def log_joint(self, params: PoissonParams, counts: Floats, exposures: Floats, anchor: Anchor) -> Floats:
        """Log of weight times probability of rows (n, d), less that at the anchor, in nats, shape (n, K)."""
        log_ratio = log_powers(counts, log_ratios(params.rates, anchor.values))
        log_ratio -= np.outer(exposures, (params.rates - anchor.values).sum(axis=1))
        return log_ratio + log_or_minus_infinity(params.weights)

    def e_step(self, params: PoissonParams, chunk: Rows, assign: Assign = "soft") -> PoissonStats:
        """Expected weight, counts and exposure of each component.

        Raises
        ------
        InputError
            If a value is no count, or `assign` is unknown.
        """
        counts, exposures = self.split(chunk)
        anchor = anchor_at(params.weights, params.rates)
        log_joint = self.log_joint(params, counts, exposures, anchor)
        given, loglik, entropy = shared_rows(log_joint, chunk.weights, assign, chunk.first)
        expected = given * chunk.weights[:, None]
        constant = float(chunk.weights @ log_poisson_rows(counts, exposures, anchor.values))
        return PoissonStats(
            n=float(chunk.weights.sum()),
            loglik=loglik + constant,
            entropy=entropy,
            counts=expected.sum(axis=0),
            totals=expected.T @ counts,
            exposures=expected.T @ exposures,
            constant=constant,
            anchor=anchor,
        )

    def m_step(self, stats: PoissonStats, params: PoissonParams) -> PoissonParams:
        """``rates = totals / exposures``, ``weights = counts / n``; a component without rows keeps its rates."""
        filled = stats.exposures > 0.0
        rates = stats.totals / np.where(filled, stats.exposures, 1.0)[:, None]
        return PoissonParams(stats.counts / stats.counts.sum(), np.where(filled[:, None], rates, params.rates))

    def expected_loglik(self, stats: PoissonStats, params: PoissonParams) -> float:
        """``Σ counts log weights + Σ totals log(rates / anchor) - Σ exposures (rates - anchor) + constant`` in nats."""
        anchor = stats.anchor.values
        mixed = xlogy(stats.counts, params.weights).sum()
        mixed += np.trace(log_powers(stats.totals, log_ratios(params.rates, anchor)))
        return float(mixed - stats.exposures @ (params.rates - anchor).sum(axis=1)) + stats.constant

    def log_prior(self, params: PoissonParams) -> float:
        """0.0: maximum likelihood."""
        return 0.0

    def pack(self, params: PoissonParams) -> Floats:
        """Log odds of the weights and log rates."""
        return np.concatenate([pack_weights(params.weights), pack_positive(params.rates)])

    def unpack(self, vector: Floats) -> PoissonParams:
        """Inverse of `pack`."""
        k = self.n_components
        return PoissonParams(unpack_weights(vector[: k - 1]), unpack_positive(vector[k - 1 :], (k, self.n_features)))

    def natural(self, params: PoissonParams) -> dict[str, Floats]:
        """Weights and rates."""
        return {"weights": params.weights, "rates": params.rates}

    def canonical(self, params: PoissonParams) -> PoissonParams:
        """Components by ascending sum of the rates, then by the rates, then by descending weight."""
        order = np.lexsort((-params.weights, *params.rates.T[::-1], params.rates.sum(axis=1)))
        return PoissonParams(params.weights[order], params.rates[order])

    def degenerate(self, stats: PoissonStats, params: PoissonParams) -> str | None:
        """Which component has no rows left; the likelihood itself is at most 1."""
        return weigh_parts(stats.counts)


@dataclass(frozen=True)
class MultinomialParams:
    """Parameters of `MultinomialMixture`.

    Parameters
    ----------
    weights : ndarray, shape (K,)
        Sum to 1.
    probabilities : ndarray, shape (K, d)
        Probability of each category in each component; rows sum to 1.
    """

    weights: Floats
    probabilities: Floats


@dataclass(frozen=True)
class MultinomialStats(Stats):
    """Expected sums of `MultinomialMixture`.

    Parameters
    ----------
    counts : ndarray, shape (K,)
        Expected weight of the rows of each component.
    totals : ndarray, shape (K, d)
        Sum of their counts in each category.
    constant : float
        Log-likelihood in nats of all rows at the probabilities of the anchor.
    anchor : Anchor
        Statistics with two anchors add too: the second is moved to the first.
    """

    counts: Floats
    totals: Floats
    constant: float
    anchor: Anchor

    def __add__(self, other: Self) -> Self:
        moved = float(other.totals.sum(axis=0) @ log_ratios(self.anchor.values, other.anchor.values))
        return replace(
            self,
            n=self.n + other.n,
            loglik=self.loglik + other.loglik,
            entropy=self.entropy + other.entropy,
            counts=self.counts + other.counts,
            totals=self.totals + other.totals,
            constant=self.constant + other.constant + moved,
        )


@dataclass(frozen=True)
class MultinomialMixture:
    """Mixture of K multinomials: a row has counts in d categories, all drawn by one component.

    Parameters
    ----------
    n_components : int
        Components K, at least 1.
    n_features : int
        Categories d, at least 1.
    pseudocount : float
        Added to every expected count of a category: a Dirichlet(1 + pseudocount) prior on each row of the
        probabilities, not on the weights. 0.0 is maximum likelihood.

    Raises
    ------
    InputError
        If a number is out of range.

    Notes
    -----
    With fewer than 2K - 1 counts in a row the components cannot be told apart (Elmore & Wang 2003): the certificate
    calls such a fit flat.

    References
    ----------
    Nigam, McCallum, Thrun & Mitchell (2000), Mach. Learn. 39, 103-134, doi:10.1023/A:1007692713085, eqs 5-8.

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> rows = np.array([[9.0, 1, 0], [8, 1, 1], [7, 2, 1], [1, 2, 7], [0, 1, 9]])
    >>> fitted = fit(MultinomialMixture(2, 3), ArraySource(rows), starts=3)
    >>> fitted.params.probabilities.round(2).tolist()
    [[0.8, 0.13, 0.07], [0.05, 0.15, 0.8]]
    """

    n_components: int
    n_features: int
    pseudocount: float = 0.0

    name: ClassVar[str] = "multinomial_mixture"
    strategies: ClassVar[tuple[str, ...]] = ("kmeans++", "random")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND

    def __post_init__(self) -> None:
        check_components(self.n_components, self.n_features)
        if not 0.0 <= self.pseudocount < math.inf:
            raise InputError("pseudocount", str(self.pseudocount), "a number of at least 0")

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {
            "n_components": self.n_components,
            "n_features": self.n_features,
            "pseudocount": self.pseudocount,
        }

    @property
    def n_free_parameters(self) -> int:
        """Parameters that a fit may choose."""
        return self.n_components * self.n_features - 1

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> MultinomialParams:
        """``"kmeans++"`` draws rows far from each other in square roots of proportions and takes the proportions of the
        groups about them; ``"random"`` draws probabilities about those of all rows.

        Raises
        ------
        InputError
            If the data are not counts, all are zero, or fewer than K rows differ.
        """
        k, d = self.n_components, self.n_features
        totals = total_counts(data, d)
        overall = totals / totals.sum()
        values, row_weights = sample_rows(data, rng, d)
        if strategy == "random":
            return MultinomialParams(rng.dirichlet(np.full(k, 4.0)), rng.dirichlet(1.0 + d * overall, size=k))
        sizes = values.sum(axis=1, keepdims=True)
        places = np.sqrt(np.where(sizes > 0.0, values / np.where(sizes > 0.0, sizes, 1.0), overall))
        groups = draw_groups(places, row_weights, k, rng)
        found = shares(groups.T @ values, 0.0, np.tile(overall, (k, 1)))
        weights = groups.sum(axis=0) / row_weights.sum()
        return MultinomialParams(weights, (1.0 - START_SHARE) * found + START_SHARE * overall)

    def log_joint(self, params: MultinomialParams, counts: Floats, anchor: Anchor) -> Floats:
        """Log of weight times probability of rows (n, d), less that at the anchor, in nats, shape (n, K)."""
        log_ratio = log_powers(counts, log_ratios(params.probabilities, anchor.values))
        return log_ratio + log_or_minus_infinity(params.weights)

    def e_step(self, params: MultinomialParams, chunk: Rows, assign: Assign = "soft") -> MultinomialStats:
        """Expected weight and counts of each component.

        Raises
        ------
        InputError
            If a value is no count, or `assign` is unknown.
        """
        check_counts(chunk, self.n_features)
        anchor = anchor_at(params.weights, params.probabilities)
        log_joint = self.log_joint(params, chunk.values, anchor)
        given, loglik, entropy = shared_rows(log_joint, chunk.weights, assign, chunk.first)
        expected = given * chunk.weights[:, None]
        constant = float(chunk.weights @ log_multinomial(chunk.values, anchor.values))
        return MultinomialStats(
            n=float(chunk.weights.sum()),
            loglik=loglik + constant,
            entropy=entropy,
            counts=expected.sum(axis=0),
            totals=expected.T @ chunk.values,
            constant=constant,
            anchor=anchor,
        )

    def m_step(self, stats: MultinomialStats, params: MultinomialParams) -> MultinomialParams:
        """Expected counts plus pseudo-count, normalised; a component without any count keeps its probabilities."""
        probabilities = shares(stats.totals, self.pseudocount, params.probabilities)
        return MultinomialParams(stats.counts / stats.counts.sum(), probabilities)

    def expected_loglik(self, stats: MultinomialStats, params: MultinomialParams) -> float:
        """``Σ counts log weights + Σ totals log(probabilities / anchor) + constant`` in nats."""
        log_ratio = log_ratios(params.probabilities, stats.anchor.values)
        mixed = xlogy(stats.counts, params.weights).sum() + np.trace(log_powers(stats.totals, log_ratio))
        return float(mixed) + stats.constant

    def log_prior(self, params: MultinomialParams) -> float:
        """``pseudocount Σ log probabilities`` in nats."""
        return float(xlogy(self.pseudocount, params.probabilities).sum())

    def pack(self, params: MultinomialParams) -> Floats:
        """Log odds of each weight, and of each probability within its row, against those after it."""
        return np.concatenate([pack_weights(params.weights), to_log_odds(params.probabilities).ravel()])

    def unpack(self, vector: Floats) -> MultinomialParams:
        """Inverse of `pack`."""
        k = self.n_components
        log_odds = vector[k - 1 :].reshape(k, self.n_features - 1)
        return MultinomialParams(unpack_weights(vector[: k - 1]), from_log_odds(log_odds))

    def natural(self, params: MultinomialParams) -> dict[str, Floats]:
        """Weights and probabilities."""
        return {"weights": params.weights, "probabilities": params.probabilities}

    def canonical(self, params: MultinomialParams) -> MultinomialParams:
        """Components by descending weight, then by descending probabilities."""
        order = np.lexsort((*-params.probabilities.T[::-1], -params.weights))
        return MultinomialParams(params.weights[order], params.probabilities[order])

    def degenerate(self, stats: MultinomialStats, params: MultinomialParams) -> str | None:
        """Which component has no rows left; the likelihood itself is at most 1."""
        return weigh_parts(stats.counts)


def log_multinomial(counts: Floats, bases: Floats) -> Floats:
    """``log N! + Σ_j (x_j log bases_j - log x_j!)`` of each row x with sum N, shape (n,) from (n, d) and (d,)."""
    sizes = counts.sum(axis=1)
    size = np.where(sizes > 0.0, sizes, 1.0)
    log_product = log_poisson_rows(counts, size, bases) + size * bases.sum()
    log_probability: Floats = np.where(sizes > 0.0, log_product - log_poisson(size, size) - size, 0.0)
    return log_probability
