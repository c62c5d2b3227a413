"""Hidden Markov model of counts: each state emits independent Poisson counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, xlogy

from emtools.engine.protocol import Annealed, Assign, Floats, Source, Stats
from emtools.engine.series import Series
from emtools.models.assignment import EVERY_KIND
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
from emtools.models.hmm import TINY


@dataclass(frozen=True)
class PoissonHMMParams:
    """Parameters of `PoissonHMM`.

    Parameters
    ----------
    start : ndarray, shape (K,)
        Probability of each state at the first row of a series.
    transition : ndarray, shape (K, K)
        Probability of each next state (column) after each state (row).
    rates : ndarray, shape (K, d)
        Expected counts of each column in each state, at least 0.
    """

    start: Floats
    transition: Floats
    rates: Floats


@dataclass(frozen=True)
class PoissonHMMStats(Stats):
    """Expected counts of `PoissonHMM`; `n` counts series.

    Parameters
    ----------
    n_start, n_transition : ndarray, shapes (K,) and (K, K)
        Series that start in each state, and steps between states.
    n_seen : ndarray, shape (K, d)
        Rows of each state in which a column was observed.
    totals : ndarray, shape (K, d)
        Sums of the counts of these rows.
    log_factorials : float
        Weighted sum of ``log x!`` over all that was observed, nats.
    """

    n_start: Floats
    n_transition: Floats
    n_seen: Floats
    totals: Floats
    log_factorials: float


@dataclass(frozen=True)
class PoissonHMM:
    """Hidden Markov model whose states emit d independent Poisson counts.

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
    Zucchini & MacDonald (2009), Hidden Markov Models for Time Series, doi:10.1201/9781420010893, section 4.2.

    Examples
    --------
    >>> from emtools.engine.series import SeriesSource
    >>> from emtools.engine.starts import fit
    >>> counts = np.array([1, 0, 2, 1, 1, 9, 11, 8, np.nan, 10, 12, 2, 0, 1, 1, 0])
    >>> fitted = fit(PoissonHMM(2), SeriesSource([counts]), starts=3)
    >>> fitted.params.rates.round(1).ravel().tolist(), fitted.model.viterbi(fitted.params, counts)[3:12].tolist()
    ([0.9, 10.0], [0, 0, 1, 1, 1, 1, 1, 1, 0])
    """

    n_states: int
    n_features: int = 1
    pseudocount: float = 0.0

    name: ClassVar[str] = "poisson_hmm"
    strategies: ClassVar[tuple[str, ...]] = ("windows", "random")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND

    def __post_init__(self) -> None:
        check_chain(self.n_states, self.n_features, self.pseudocount)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"n_states": self.n_states, "n_features": self.n_features, "pseudocount": self.pseudocount}

    @property
    def n_free_parameters(self) -> int:
        """Start, transitions and rates."""
        return (1 + self.n_states) * (self.n_states - 1) + self.n_states * self.n_features

    def initial_params(self, data: Source[Series], rng: np.random.Generator, strategy: str) -> PoissonHMMParams:
        """Start values; the strategies are those of `start_chain`, the rates are the means of the states.

        Raises
        ------
        InputError
            If a count is negative or no whole number, or fewer windows differ than there are states.
        """
        begin, rates = start_counts(data, self.n_states, self.n_features, rng, strategy)
        return PoissonHMMParams(begin.start, begin.transition, rates)

    def log_emission(self, params: PoissonHMMParams, values: Floats) -> Floats:
        """Log probability of each row in each state.

        Parameters
        ----------
        params : PoissonHMMParams
            Parameters.
        values : ndarray, shape (n, d)
            Counts; NaN where not observed.

        Returns
        -------
        ndarray, shape (n, K)
            Nats; 0 where nothing was observed.
        """
        seen = ~np.isnan(values)
        counts = np.where(seen, values, 0.0)
        log_factorials = np.where(seen, gammaln(counts + 1.0), 0.0).sum(axis=1)
        table = np.empty((len(values), self.n_states))
        for k, rates in enumerate(params.rates):
            table[:, k] = (xlogy(counts, rates) - seen * rates).sum(axis=1) - log_factorials
        return table

    def e_step(self, params: PoissonHMMParams, chunk: Series, assign: Assign = "soft") -> PoissonHMMStats:
        """Expected counts of `chunk` under any assignment; along one path where hard or sampled.

        Raises
        ------
        InputError
            If a count is negative or no whole number, or a series has probability zero.
        """
        check_series(chunk, self.n_features)
        power = assign.power if isinstance(assign, Annealed) else 1.0
        states = find_states(params, power * self.log_emission(params, chunk.values), chunk, assign)
        seen = ~np.isnan(chunk.values)
        counts = np.where(seen, chunk.values, 0.0)
        log_factorials = float(chunk.row_weights @ gammaln(counts + 1.0).sum(axis=1))
        return PoissonHMMStats(
            n=float(chunk.weights.sum()),
            loglik=states.loglik,
            entropy=states.entropy,
            n_start=states.n_start,
            n_transition=states.n_transition,
            n_seen=states.shares.T @ seen.astype(np.float64),
            totals=states.shares.T @ counts,
            log_factorials=log_factorials,
        )

    def m_step(self, stats: PoissonHMMStats, params: PoissonHMMParams) -> PoissonHMMParams:
        """Shares of the counts and means of the states (Zucchini & MacDonald 2009, section 4.2.3).

        A state in which a column was never observed keeps its rate.
        """
        start, transition = next_chain(stats.n_start, stats.n_transition, params, self.pseudocount)
        used = stats.n_seen > 0.0
        rates = np.where(used, stats.totals / np.where(used, stats.n_seen, 1.0), params.rates)
        return PoissonHMMParams(start, transition, rates)

    def expected_loglik(self, stats: PoissonHMMStats, params: PoissonHMMParams) -> float:
        """Q in nats: the chain's part plus ``Σ totals log rates - n_seen rates - log x!``."""
        emitted = float((xlogy(stats.totals, params.rates) - stats.n_seen * params.rates).sum())
        return chain_loglik(stats.n_start, stats.n_transition, params) + emitted - stats.log_factorials

    def log_prior(self, params: PoissonHMMParams) -> float:
        return chain_prior(params, self.pseudocount)

    def pack(self, params: PoissonHMMParams) -> Floats:
        """Log-odds of the chain, then log rates; a rate of zero is a number far out."""
        return np.concatenate([pack_chain(params), np.log(np.maximum(params.rates, TINY)).ravel()])

    def unpack(self, vector: Floats) -> PoissonHMMParams:
        cut = self.n_states**2 - 1
        start, transition = unpack_chain(vector[:cut], self.n_states)
        rates = np.exp(vector[cut:]).reshape(self.n_states, self.n_features)
        return PoissonHMMParams(start, transition, np.where(rates < 10.0 * TINY, 0.0, rates))

    def natural(self, params: PoissonHMMParams) -> dict[str, Floats]:
        return {"start": params.start, "transition": params.transition, "rates": params.rates}

    def canonical(self, params: PoissonHMMParams) -> PoissonHMMParams:
        """States by ascending rate of the first column; ties by the others, then the probability of staying."""
        stay = np.diagonal(params.transition)
        order = np.lexsort((params.start, stay, *params.rates.T[::-1]))
        return PoissonHMMParams(params.start[order], params.transition[np.ix_(order, order)], params.rates[order])

    def degenerate(self, stats: PoissonHMMStats, params: PoissonHMMParams) -> str | None:
        """None: the likelihood of counts is at most 1."""
        return None

    def posterior(self, params: PoissonHMMParams, values: npt.ArrayLike) -> Floats:
        """Probability of each state at each row given the whole series.

        Parameters
        ----------
        params : PoissonHMMParams
            Parameters.
        values : array, shape (T, d) or (T,)
            Counts; NaN where not observed.

        Returns
        -------
        ndarray, shape (T, K)
            Rows sum to 1.

        Raises
        ------
        InputError
            If the series is empty, holds no counts, or has probability zero.
        """
        chunk, table = emitted(self, params, values)
        return find_states(params, table, chunk, "soft").shares

    def viterbi(self, params: PoissonHMMParams, values: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """The most probable path of states, shape (T,), from 0; parameters and errors as in `posterior`."""
        chunk, table = emitted(self, params, values)
        return best_path(params, table, chunk)

    def stationary(self, params: PoissonHMMParams) -> Floats:
        """Long-run share of each state, shape (K,)."""
        return stationary(params.transition)
