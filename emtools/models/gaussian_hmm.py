"""Hidden Markov model of measurements: each state emits from a normal distribution, rows may have gaps.

The emissions are those of a Gaussian mixture of the same family, whose M-step, Q and packing they use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from emtools.engine.protocol import Annealed, Assign, Floats, Sampled, Source
from emtools.engine.series import Series
from emtools.errors import InputError
from emtools.kernels.gaussian import LOG_2PI
from emtools.kernels.missing import condition, factorise, group_rows, log_determinant, solve_lower
from emtools.models.assignment import EVERY_KIND, generator, kind_of
from emtools.models.covariance_prior import CovariancePrior
from emtools.models.hidden_chain import (
    best_path,
    chain_loglik,
    chain_prior,
    check_chain,
    find_states,
    next_chain,
    one_series,
    pack_chain,
    start_chain,
    unpack_chain,
)
from emtools.models.mixture import ALIASES, Family, GaussianMixture
from emtools.models.mixture_starts import group_moments
from emtools.models.mixture_values import MixtureParams, MixtureStats

# Share of the data's covariance in the covariance of a start, so that none is singular.
START_SHARE = 0.1


@dataclass(frozen=True)
class GaussianHMMParams:
    """Parameters of `GaussianHMM`.

    Parameters
    ----------
    start : ndarray, shape (K,)
        Probability of each state at the first row of a series.
    transition : ndarray, shape (K, K)
        Probability of each next state (column) after each state (row).
    means : ndarray, shape (K, d)
        Units of the data.
    covariances : ndarray
        Shape (K, d, d) full, (d, d) tied, (K, d) diagonal, (K,) spherical; squared units of the data.
    """

    start: Floats
    transition: Floats
    means: Floats
    covariances: Floats


@dataclass(frozen=True)
class GaussianHMMStats(MixtureStats):
    """Expected counts of the chain and expected moments of the states; `n` counts series.

    Parameters
    ----------
    n_start, n_transition : ndarray, shapes (K,) and (K, K)
        Series that start in each state, and steps between states.
    """

    n_start: Floats
    n_transition: Floats

    def __add__(self, other: Self) -> Self:
        return replace(
            super().__add__(other),
            n_start=self.n_start + other.n_start,
            n_transition=self.n_transition + other.n_transition,
        )


@dataclass(frozen=True)
class GaussianHMM:
    """Hidden Markov model whose states emit from a normal distribution.

    A row that was not observed (all NaN) is summed out. In a row with some gaps what is missing is completed with
    its conditional mean and covariance in each state; hard assignment puts it at its mode together with the path.

    Parameters
    ----------
    n_states : int
        States K, 1 to 100.
    n_features : int
        Columns d, at least 1.
    family : {"full", "tied", "diagonal", "spherical"}
        What the covariances may be.
    prior : CovariancePrior, optional
        Inverse-Wishart prior on each covariance: a part of the objective, so that none can collapse.
    pseudocount : float
        Added to every expected start and transition: a Dirichlet(1 + pseudocount) prior. 0.0 is maximum likelihood.

    Raises
    ------
    InputError
        If a number, the family or the prior cannot be used.

    References
    ----------
    Rabiner (1989), doi:10.1109/5.18626, eqs. 40, 53 and 54 with one component a state; Ghahramani & Jordan (1994),
    NIPS 6, 120-127, for rows with gaps.

    Examples
    --------
    >>> from emtools.engine.series import SeriesSource
    >>> from emtools.engine.starts import fit
    >>> series = np.array([0.1, -0.2, 0.0, 0.3, 5.1, 4.8, np.nan, 5.2, 4.9, 0.2, -0.1, 0.0])
    >>> fitted = fit(GaussianHMM(2), SeriesSource([series]), starts=3)
    >>> fitted.model.viterbi(fitted.params, series).tolist()
    [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    """

    n_states: int
    n_features: int = 1
    family: Family = "full"
    prior: CovariancePrior | None = None
    pseudocount: float = 0.0

    name: ClassVar[str] = "gaussian_hmm"
    strategies: ClassVar[tuple[str, ...]] = ("windows", "random")
    assigns: ClassVar[tuple[str, ...]] = EVERY_KIND

    def __post_init__(self) -> None:
        check_chain(self.n_states, self.n_features, self.pseudocount)
        if self.family not in ALIASES:
            raise InputError("hidden Markov model", f"family {self.family!r}", f"one of {', '.join(ALIASES)}")
        self.emissions  # noqa: B018 - raises where the family or the prior cannot be used

    @property
    def emissions(self) -> GaussianMixture:
        """The mixture whose components emit."""
        return GaussianMixture(self.n_states, self.n_features, self.family, self.prior, equal_weights=True)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        prior = None if self.prior is None else {"degrees": self.prior.degrees, "scale": self.prior.scale}
        return {
            "n_states": self.n_states,
            "n_features": self.n_features,
            "family": self.family,
            "prior": prior,
            "pseudocount": self.pseudocount,
        }

    @property
    def n_free_parameters(self) -> int:
        """Start, transitions, means and covariances."""
        return (1 + self.n_states) * (self.n_states - 1) + self.emissions.n_free_parameters

    def mixture(self, params: GaussianHMMParams) -> MixtureParams:
        """The emissions as components of equal weight."""
        return MixtureParams(np.full(self.n_states, 1.0 / self.n_states), params.means, params.covariances)

    def initial_params(self, data: Source[Series], rng: np.random.Generator, strategy: str) -> GaussianHMMParams:
        """Start values; the strategies are those of `start_chain`, with one covariance for all states.

        Raises
        ------
        InputError
            If a column is constant, or fewer windows differ than there are states.
        """
        begin = start_chain(data, self.n_states, self.n_features, rng, strategy)
        seen = ~np.isnan(begin.values)
        centre = np.array(
            [np.average(x[o], weights=begin.weights[o]) for x, o in zip(begin.values.T, seen.T, strict=True)]
        )
        filled = np.where(seen, begin.values, centre)
        if self.prior is None and not (np.ptp(filled, axis=0) > 0.0).all():
            column = int(np.argmin(np.ptp(filled, axis=0) > 0.0)) + 1
            raise InputError("series", f"column {column} is constant", "columns that vary", "drop it or set a prior")
        labels = begin.labels
        present, labels = np.unique(labels, return_inverse=True)
        groups = group_moments(filled, begin.weights, labels, len(present))
        means = np.repeat(centre[None], self.n_states, axis=0)
        means[present] = groups.means
        covariance = (1.0 - START_SHARE) * groups.within + START_SHARE * groups.total
        means = means + 0.1 * np.sqrt(np.diagonal(groups.total)) * rng.normal(size=means.shape)
        emissions = self.emissions
        return GaussianHMMParams(
            begin.start, begin.transition, means, emissions.as_family(emissions.with_prior(covariance))
        )

    def e_step(self, params: GaussianHMMParams, chunk: Series, assign: Assign = "soft") -> GaussianHMMStats:
        """Expected counts and moments of `chunk` about ``params.means`` under any assignment; along one path where hard or drawn.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        values = chunk.values
        if values.shape[1] != self.n_features:
            raise InputError("series", f"{values.shape[1]} columns", f"{self.n_features}")
        kind_of(assign)
        states = find_states(params, self.log_emission(params, values, assign), chunk, assign)
        seen = np.asarray(~np.isnan(values))
        whole = np.asarray(seen.all(axis=1))
        base = self.emissions.moments(
            values[whole], states.shares[whole], params.means, n=0.0, loglik=states.loglik, entropy=states.entropy
        )
        counts, first, second = base.counts.copy(), base.first.copy(), base.second.copy()
        loglik, entropy = base.loglik, base.entropy
        draws = None
        if isinstance(assign, Sampled):
            draws = generator(Sampled((*assign.seed, 1)), chunk.first).normal(size=values.shape)
        for rows in grouped(seen, ~whole):
            drawn = None if draws is None else draws[rows]
            added = self.complete(params, values[rows], seen[rows[0]], states.shares[rows], assign, drawn)
            counts += added[0]
            first += added[1]
            second += added[2]
            loglik += added[3]
            entropy += added[4]
        return GaussianHMMStats(
            n=float(chunk.weights.sum()),
            loglik=loglik,
            entropy=entropy,
            counts=counts,
            first=first,
            second=second,
            origin=base.origin,
            n_start=states.n_start,
            n_transition=states.n_transition,
        )

    def log_emission(self, params: GaussianHMMParams, values: Floats, assign: Assign = "soft") -> Floats:
        """Log density of what was observed of each row in each state.

        Parameters
        ----------
        params : GaussianHMMParams
            Parameters.
        values : ndarray, shape (n, d)
            NaN where not observed.
        assign : Assign
            Where annealed with power b, the log of the density to the power b, summed over what is missing; where
            hard, the log density with what is missing at its mode.

        Returns
        -------
        ndarray, shape (n, K)
            Nats; 0 where nothing was observed, NaN where a covariance is not positive definite.
        """
        seen = np.asarray(~np.isnan(values))
        table = np.zeros((len(values), self.n_states))
        covariances = self.emissions.covariance_matrices(self.mixture(params))
        whole = np.asarray(seen.all(axis=1))
        for rows in [np.flatnonzero(whole), *grouped(seen, ~whole)]:
            if not rows.size:
                continue
            o, m = np.flatnonzero(seen[rows[0]]), np.flatnonzero(~seen[rows[0]])
            held = values[np.ix_(rows, o)]
            for k, covariance in enumerate(covariances):
                parts = condition(covariance, o, m)
                if parts is None:
                    table[rows, k] = np.nan
                    continue
                factor, _, residual = parts
                white = solve_lower(factor, (held - params.means[k, o]).T)
                constant = o.size * LOG_2PI + log_determinant(factor)
                table[rows, k] = -0.5 * (np.einsum("in,in->n", white, white) + constant)
                if isinstance(assign, Annealed):
                    b = assign.power
                    spread = log_determinant_of(residual) + m.size * LOG_2PI if m.size else 0.0
                    table[rows, k] = b * table[rows, k] + 0.5 * ((1.0 - b) * spread - m.size * np.log(b))
                elif assign == "hard" and m.size:
                    table[rows, k] -= 0.5 * (m.size * LOG_2PI + log_determinant_of(residual))
        return table

    def complete(
        self,
        params: GaussianHMMParams,
        values: Floats,
        observed: npt.NDArray[np.bool_],
        shares: Floats,
        assign: Assign,
        draws: Floats | None = None,
    ) -> tuple[Floats, Floats, Floats, float, float]:
        """Counts, first and second moments, log-likelihood and entropy that rows (n, d) of one pattern of gaps add.

        What is missing has its conditional mean and covariance (over the power where annealed), its mode where hard,
        or one draw, made of the standard normal `draws` (n, d).
        """
        k, d = params.means.shape
        o, m = np.flatnonzero(observed), np.flatnonzero(~observed)
        power = assign.power if isinstance(assign, Annealed) else 1.0
        counts = shares.sum(axis=0)
        first, second, loglik, entropy = np.zeros((k, d)), np.zeros((k, d, d)), 0.0, 0.0
        for j, covariance in enumerate(self.emissions.covariance_matrices(self.mixture(params))):
            parts = condition(covariance, o, m)
            if parts is None:
                return counts, first, self.in_family(second), np.nan, np.nan
            _, slopes, residual = parts
            deviations = np.zeros((len(values), d))
            deviations[:, o] = values[:, o] - params.means[j, o]
            deviations[:, m] = deviations[:, o] @ slopes
            if draws is not None:
                root = factorise(residual)
                deviations[:, m] += np.nan if root is None else draws[:, m] @ root.T
                square = float(shares[:, j] @ (draws[:, m] ** 2).sum(axis=1))
                loglik -= 0.5 * (counts[j] * (m.size * LOG_2PI + log_determinant_of(residual)) + square)
            elif assign != "hard":
                second[j][np.ix_(m, m)] += counts[j] * residual / power
                spread = m.size * (1.0 + LOG_2PI - np.log(power)) + log_determinant_of(residual)
                entropy += 0.5 * counts[j] * spread / power
            shared = deviations * shares[:, j : j + 1]
            first[j] = shared.sum(axis=0)
            second[j] += shared.T @ deviations
        return counts, first, self.in_family(0.5 * (second + np.swapaxes(second, 1, 2))), float(loglik), float(entropy)

    def in_family(self, second: Floats) -> Floats:
        """Products of deviations (K, d, d) in the shape that the family keeps."""
        if self.family == "full":
            return second
        if self.family == "tied":
            return np.asarray(second.sum(axis=0))
        diagonal = np.diagonal(second, axis1=1, axis2=2)
        return diagonal if self.family == "diagonal" else np.asarray(diagonal.sum(axis=1))

    def m_step(self, stats: GaussianHMMStats, params: GaussianHMMParams) -> GaussianHMMParams:
        """Shares of the counts; means and covariances as in `GaussianMixture.m_step`."""
        start, transition = next_chain(stats.n_start, stats.n_transition, params, self.pseudocount)
        emitted = self.emissions.m_step(stats, self.mixture(params))
        return GaussianHMMParams(start, transition, emitted.means, emitted.covariances)

    def expected_loglik(self, stats: GaussianHMMStats, params: GaussianHMMParams) -> float:
        """Q in nats: the chain's part plus that of a mixture without its weights."""
        of_weights = float(stats.counts.sum()) * np.log(self.n_states)
        emitted = self.emissions.expected_loglik(stats, self.mixture(params)) + of_weights
        return float(chain_loglik(stats.n_start, stats.n_transition, params) + emitted)

    def log_prior(self, params: GaussianHMMParams) -> float:
        return chain_prior(params, self.pseudocount) + self.emissions.log_prior(self.mixture(params))

    def pack(self, params: GaussianHMMParams) -> Floats:
        """Log-odds of the chain, then the emissions as `GaussianMixture.pack` holds them."""
        return np.concatenate([pack_chain(params), self.emissions.pack(self.mixture(params))])

    def unpack(self, vector: Floats) -> GaussianHMMParams:
        cut = self.n_states**2 - 1
        start, transition = unpack_chain(vector[:cut], self.n_states)
        emitted = self.emissions.unpack(vector[cut:])
        return GaussianHMMParams(start, transition, emitted.means, emitted.covariances)

    def natural(self, params: GaussianHMMParams) -> dict[str, Floats]:
        word = "covariances" if self.family in ("full", "tied") else "variances"
        return {
            "start": params.start,
            "transition": params.transition,
            "means": params.means,
            word: params.covariances,
        }

    def canonical(self, params: GaussianHMMParams) -> GaussianHMMParams:
        """States by ascending mean of the first column; ties by the other means, the spread, then staying."""
        k, tied = self.n_states, self.family == "tied"
        spread = np.empty((k, 0)) if tied else params.covariances.reshape(k, -1)
        stay = np.diagonal(params.transition)
        order = np.lexsort((params.start, stay, *spread.T[::-1], *params.means.T[::-1]))
        covariances = params.covariances if tied else params.covariances[order]
        return GaussianHMMParams(
            params.start[order], params.transition[np.ix_(order, order)], params.means[order], covariances
        )

    def degenerate(self, stats: GaussianHMMStats, params: GaussianHMMParams) -> str | None:
        """Which state has lost its rows, or collapses on a few: the likelihood is unbounded there."""
        reason = self.emissions.degenerate(stats, self.mixture(params))
        return None if reason is None else reason.replace("component", "state")

    def posterior(self, params: GaussianHMMParams, values: npt.ArrayLike) -> Floats:
        """Probability of each state at each row given the whole series.

        Parameters
        ----------
        params : GaussianHMMParams
            Parameters.
        values : array, shape (T, d) or (T,)
            NaN where not observed.

        Returns
        -------
        ndarray, shape (T, K)
            Rows sum to 1.

        Raises
        ------
        InputError
            If the series is empty, infinite somewhere, or of another width.
        """
        chunk = one_series(values, self.n_features)
        return find_states(params, self.log_emission(params, chunk.values), chunk, "soft").shares

    def viterbi(self, params: GaussianHMMParams, values: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """The most probable path of states given what was observed, shape (T,), from 0; errors as in `posterior`."""
        chunk = one_series(values, self.n_features)
        return best_path(params, self.log_emission(params, chunk.values), chunk)


def grouped(seen: npt.NDArray[np.bool_], gaps: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    """Rows among those with `gaps`, one array for each pattern of what is `seen` (n, d); none for rows without any."""
    rows = np.flatnonzero(gaps)
    return [rows[group] for group in group_rows(seen[rows])] if rows.size else []


def log_determinant_of(matrix: Floats) -> float:
    """Log determinant of a covariance; NaN where it is not positive definite."""
    factor = factorise(matrix)
    return float("nan") if factor is None else log_determinant(factor)
