"""Hidden Markov model of counts that vary more than Poisson counts: each state emits negative binomial counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emtools.engine.protocol import Annealed, Assign, Floats, Source, Stats
from emtools.engine.series import Series
from emtools.kernels.counts import best_dispersion, log_negative_binomial
from emtools.models.assignment import EVERY_KIND
from emtools.models.counts import pack_positive, unpack_positive
from emtools.models.hidden_chain import (
    best_path,
    chain_loglik,
    chain_prior,
    check_chain,
    check_series,
    emitted,
    find_states,
    next_chain,
    pack_chain,
    start_counts,
    stationary,
    unpack_chain,
)
from emtools.models.negative_binomial import WITHIN, Histogram, sum_by_place


@dataclass(frozen=True)
class NegativeBinomialHMMParams:
    """Parameters of `NegativeBinomialHMM`.

    Parameters
    ----------
    start : ndarray, shape (K,)
        Probability of each state at the first row of a series.
    transition : ndarray, shape (K, K)
        Probability of each next state (column) after each state (row).
    means : ndarray, shape (K, d)
        Expected counts of each column in each state, at least 0.
    dispersions : ndarray, shape (K, d)
        a in the variance ``m + a m²``, at least 0; zero is the Poisson distribution.
    """

    start: Floats
    transition: Floats
    means: Floats
    dispersions: Floats


@dataclass(frozen=True)
class NegativeBinomialHMMStats(Stats):
    """Expected counts of `NegativeBinomialHMM`; `n` counts series.

    Parameters
    ----------
    n_start, n_transition : ndarray, shapes (K,) and (K, K)
        Series that start in each state, and steps between states.
    histogram : Histogram
        For each column, how often each count was observed in each state.
    """

    n_start: Floats
    n_transition: Floats
    histogram: Histogram


@dataclass(frozen=True)
class NegativeBinomialHMM:
    """Hidden Markov model whose states emit d independent negative binomial counts, such as read coverage in bins.

    A count that was not observed (NaN) is summed out.

    Parameters
    ----------
    n_states : int
        States K, 1 to 100.
    n_features : int
        Columns d, at least 1.
    pseudocount : float
        Added to every expected start and transition: a Dirichlet(1 + pseudocount) prior. 0.0 is maximum likelihood.

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Zucchini & MacDonald (2009), Hidden Markov Models for Time Series, doi:10.1201/9781420010893, section 8.3;
    Aragón, Eberly & Eberly (1992), Stat. Probab. Lett. 15, 375-379, doi:10.1016/0167-7152(92)90157-Z (dispersions).

    Examples
    --------
    >>> from emtools.engine.series import SeriesSource
    >>> from emtools.engine.starts import fit
    >>> counts = np.array([1, 0, 6, 1, 0, 2, 30, 11, 55, np.nan, 24, 18, 2, 0, 1, 4, 0, 1])
    >>> fitted = fit(NegativeBinomialHMM(2), SeriesSource([counts]), starts=3)
    >>> fitted.params.means.round(1).ravel().tolist(), fitted.model.viterbi(fitted.params, counts)[4:14].tolist()
    ([1.5, 27.4], [0, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    """

    n_states: int
    n_features: int = 1
    pseudocount: float = 0.0

    name: ClassVar[str] = "negative_binomial_hmm"
    strategies: ClassVar[tuple[str, ...]] = ("windows", "random")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND

    def __post_init__(self) -> None:
        check_chain(self.n_states, self.n_features, self.pseudocount)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"n_states": self.n_states, "n_features": self.n_features, "pseudocount": self.pseudocount}

    @property
    def n_free_parameters(self) -> int:
        """Start, transitions, means and dispersions."""
        return (1 + self.n_states) * (self.n_states - 1) + 2 * self.n_states * self.n_features

    def initial_params(
        self, data: Source[Series], rng: np.random.Generator, strategy: str
    ) -> NegativeBinomialHMMParams:
        """Start values; the strategies are those of `start_chain`, the means are those of the states, and the dispersions
        0.3 of that of all rows by moments, at least 0.1, times gamma draws of mean 1 and variance 1/4.

        Raises
        ------
        InputError
            If a count is negative or no whole number, or fewer windows differ than there are states.
        """
        begin, means = start_counts(data, self.n_states, self.n_features, rng, strategy)
        seen = ~np.isnan(begin.values)
        weights = seen * begin.weights[:, None]
        counts = np.where(seen, begin.values, 0.0)
        overall = (weights * counts).sum(axis=0) / weights.sum(axis=0)
        variance = (weights * (counts - overall) ** 2).sum(axis=0) / weights.sum(axis=0)
        positive = np.where(overall > 0.0, overall, 1.0)
        dispersion = np.maximum(WITHIN * (variance - overall) / positive**2, 0.1)
        return NegativeBinomialHMMParams(
            begin.start, begin.transition, means, dispersion * rng.gamma(4.0, 0.25, size=means.shape)
        )

    def log_emission(self, params: NegativeBinomialHMMParams, values: Floats) -> Floats:
        """Log probability of each row in each state.

        Parameters
        ----------
        params : NegativeBinomialHMMParams
            Parameters.
        values : ndarray, shape (n, d)
            Counts; NaN where not observed.

        Returns
        -------
        ndarray, shape (n, K)
            Nats; 0 where nothing was observed.
        """
        table = np.zeros((len(values), self.n_states))
        for j, column in enumerate(values.T):
            seen = np.flatnonzero(~np.isnan(column))
            counts, place = np.unique(column[seen], return_inverse=True)
            table[seen] += log_negative_binomial(counts, params.means[:, j], params.dispersions[:, j])[place]
        return table

    def e_step(
        self, params: NegativeBinomialHMMParams, chunk: Series, assign: Assign = "soft"
    ) -> NegativeBinomialHMMStats:
        """Expected counts of `chunk` under any assignment; along one path where hard or sampled.

        Raises
        ------
        InputError
            If a count is negative or no whole number, or a series has probability zero.
        """
        check_series(chunk, self.n_features)
        power = assign.power if isinstance(assign, Annealed) else 1.0
        states = find_states(params, power * self.log_emission(params, chunk.values), chunk, assign)
        counts, held = [], []
        for column in chunk.values.T:
            seen = np.flatnonzero(~np.isnan(column))
            distinct, place = np.unique(column[seen], return_inverse=True)
            counts.append(distinct)
            held.append(sum_by_place(place, states.shares[seen], len(distinct)))
        return NegativeBinomialHMMStats(
            n=float(chunk.weights.sum()),
            loglik=states.loglik,
            entropy=states.entropy,
            n_start=states.n_start,
            n_transition=states.n_transition,
            histogram=Histogram(tuple(counts), tuple(held)),
        )

    def m_step(self, stats: NegativeBinomialHMMStats, params: NegativeBinomialHMMParams) -> NegativeBinomialHMMParams:
        """Shares of the counts, means of the states, and for each the dispersion that is best with it, zero where the
        variance is not above the mean. A state in which a column was never observed keeps its own.
        """
        start, transition = next_chain(stats.n_start, stats.n_transition, params, self.pseudocount)
        means, dispersions = params.means.copy(), params.dispersions.copy()
        for j, (counts, held) in enumerate(zip(stats.histogram.values, stats.histogram.weights, strict=True)):
            for k in np.flatnonzero(held.sum(axis=0) > 0.0):
                means[k, j] = counts @ held[:, k] / held[:, k].sum()
                dispersions[k, j] = best_dispersion(counts, held[:, k], float(params.dispersions[k, j]))
        return NegativeBinomialHMMParams(start, transition, means, dispersions)

    def expected_loglik(self, stats: NegativeBinomialHMMStats, params: NegativeBinomialHMMParams) -> float:
        """Q in nats: the chain's part plus ``Σ_kj Σ_x held log NB(x | means, dispersions)``."""
        total = chain_loglik(stats.n_start, stats.n_transition, params)
        for j, (counts, held) in enumerate(zip(stats.histogram.values, stats.histogram.weights, strict=True)):
            log_probability = log_negative_binomial(counts, params.means[:, j], params.dispersions[:, j])
            total += float((held * np.where(held > 0.0, log_probability, 0.0)).sum())
        return total

    def log_prior(self, params: NegativeBinomialHMMParams) -> float:
        return chain_prior(params, self.pseudocount)

    def pack(self, params: NegativeBinomialHMMParams) -> Floats:
        """Log-odds of the chain, log means and log dispersions."""
        return np.concatenate([pack_chain(params), pack_positive(params.means), pack_positive(params.dispersions)])

    def unpack(self, vector: Floats) -> NegativeBinomialHMMParams:
        cut, shape = self.n_states**2 - 1, (self.n_states, self.n_features)
        start, transition = unpack_chain(vector[:cut], self.n_states)
        means, dispersions = np.split(vector[cut:], 2)
        return NegativeBinomialHMMParams(
            start, transition, unpack_positive(means, shape), unpack_positive(dispersions, shape)
        )

    def natural(self, params: NegativeBinomialHMMParams) -> dict[str, Floats]:
        return {
            "start": params.start,
            "transition": params.transition,
            "means": params.means,
            "dispersions": params.dispersions,
        }

    def canonical(self, params: NegativeBinomialHMMParams) -> NegativeBinomialHMMParams:
        """States by ascending mean of the first column; ties by the others, the dispersions, the probability of staying."""
        stay = np.diagonal(params.transition)
        order = np.lexsort((params.start, stay, *params.dispersions.T[::-1], *params.means.T[::-1]))
        return NegativeBinomialHMMParams(
            params.start[order], params.transition[np.ix_(order, order)], params.means[order], params.dispersions[order]
        )

    def degenerate(self, stats: NegativeBinomialHMMStats, params: NegativeBinomialHMMParams) -> str | None:
        """None: the likelihood of counts is at most 1."""
        return None

    def posterior(self, params: NegativeBinomialHMMParams, values: npt.ArrayLike) -> Floats:
        """Probability of each state at each row given the whole series, shape (T, K); as in `PoissonHMM.posterior`."""
        chunk, table = emitted(self, params, values)
        return find_states(params, table, chunk, "soft").shares

    def viterbi(self, params: NegativeBinomialHMMParams, values: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """The most probable path of states, shape (T,), from 0."""
        chunk, table = emitted(self, params, values)
        return best_path(params, table, chunk)

    def stationary(self, params: NegativeBinomialHMMParams) -> Floats:
        """Long-run share of each state, shape (K,)."""
        return stationary(params.transition)
