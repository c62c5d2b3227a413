"""The multivariate normal distribution of a table with missing values: exact EM, grouped by pattern of missingness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import VALUES_PER_CHUNK, check_weights
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.gaussian import cholesky_units, pack_cholesky, unpack_cholesky
from emtools.kernels.missing import (
    LOG_2PI,
    Pattern,
    condition,
    expected_moments,
    factorise,
    fill_conditional,
    group_rows,
    log_determinant,
    reduce_pattern,
    solve_lower,
)
from emtools.models.mixture import CovariancePrior

PATTERNS_PER_CHUNK = 256
SINGULAR = 1e-11
SHARE = 0.1


@dataclass(frozen=True)
class NormalParams:
    """Mean and covariance.

    Parameters
    ----------
    mean : ndarray, shape (d,)
        In the units of the columns.
    covariance : ndarray, shape (d, d)
        Symmetric and positive definite.
    """

    mean: Floats
    covariance: Floats


@dataclass(frozen=True)
class PatternChunk:
    """Some of the patterns of a table.

    Parameters
    ----------
    patterns : tuple of Pattern
        Rows reduced pattern by pattern.
    origin : ndarray, shape (d,)
        Point that their values are measured from, the same for the whole table.
    """

    patterns: tuple[Pattern, ...]
    origin: Floats


@dataclass(frozen=True)
class NormalStats(Stats):
    """Expected moments of the completed rows about an origin.

    Parameters
    ----------
    first : ndarray, shape (d,)
        ``Σ w E[x - origin]``
    second : ndarray, shape (d, d)
        ``Σ w E[(x - origin)(x - origin)ᵀ]``, conditional covariance included.
    origin : ndarray, shape (d,)
        Statistics about two origins add too: the second is moved to the first.
    """

    first: Floats
    second: Floats
    origin: Floats

    def scaled(self, factor: float) -> Self:
        """The statistics of `factor` times as many rows; the origin is a place and stays."""
        return replace(super().scaled(factor), origin=self.origin)

    def __add__(self, other: Self) -> Self:
        other = other.about(self.origin)
        return replace(
            self,
            n=self.n + other.n,
            loglik=self.loglik + other.loglik,
            entropy=self.entropy + other.entropy,
            first=self.first + other.first,
            second=self.second + other.second,
        )

    def about(self, origin: Floats) -> Self:
        """The same statistics about another origin."""
        shift = self.origin - origin
        if not shift.any():
            return self
        cross = np.outer(self.first, shift)
        second = self.second + cross + cross.T + self.n * np.outer(shift, shift)
        return replace(self, first=self.first + self.n * shift, second=second, origin=origin)


class PatternSource:
    """A table with gaps, reduced once to its patterns of missingness.

    A pass costs one factorisation per pattern, whatever the number of rows. Rows without any value say nothing about
    the parameters and are left out, as are rows of weight 0.

    Parameters
    ----------
    values : array, shape (n, d)
        NaN where missing.
    weights : array, shape (n,), optional
        Non-negative weights; 1 by default. A weight of 2 equals the row twice.
    chunk_patterns : int, optional
        Patterns per chunk, for tests; by default it follows from the data.

    Raises
    ------
    InputError
        If the table is empty, holds an infinity, a column has no value, or the weights do not fit.
    """

    def __init__(self, values: Floats, weights: Floats | None = None, chunk_patterns: int | None = None) -> None:
        table = np.asarray(values, dtype=np.float64)
        if table.ndim != 2 or not table.size:
            raise InputError("data", f"array of shape {table.shape}", "a table with at least one row and column")
        if np.isinf(table).any():
            row, column = np.argwhere(np.isinf(table))[0]
            raise InputError("data", f"row {row}, column {column} is infinite", "finite values, NaN where missing")
        n, d = table.shape
        w = check_weights(weights, n)
        observed = ~np.isnan(table) & (w > 0)[:, None]
        if not observed.any(axis=0).all():
            empty = int(np.argmin(observed.any(axis=0)))
            raise InputError("data", f"column {empty} has no value", "at least one value in each column", "drop it")
        self.n_empty = int((np.isnan(table).all(axis=1)).sum())
        self.origin: Floats = np.array([np.average(table[o, j], weights=w[o]) for j, o in enumerate(observed.T)])
        self.patterns = [
            reduce_pattern((table[rows] - self.origin)[:, observed[rows[0]]], w[rows], observed[rows[0]])
            for rows in group_rows(observed)
        ]
        self.cuts = cut_patterns([(1 + len(p.root)) * d for p in self.patterns], chunk_patterns)

    @property
    def n_units(self) -> int:
        return sum(p.n_rows for p in self.patterns)

    @property
    def n_chunks(self) -> int:
        return len(self.cuts) - 1

    def chunk(self, index: int) -> PatternChunk:
        return PatternChunk(tuple(self.patterns[self.cuts[index] : self.cuts[index + 1]]), self.origin)


def cut_patterns(sizes: Sequence[int], chunk_patterns: int | None) -> list[int]:
    """Where to cut a list of patterns so that a chunk has about `VALUES_PER_CHUNK` values, or a number of patterns."""
    cuts, values = [0], 0
    most = chunk_patterns or PATTERNS_PER_CHUNK
    for number, size in enumerate(sizes):
        if number - cuts[-1] >= most or (values and values + size > VALUES_PER_CHUNK):
            cuts.append(number)
            values = 0
        values += size
    return [*cuts, len(sizes)]


@dataclass(frozen=True)
class MultivariateNormal:
    """Multivariate normal distribution of rows with missing values.

    Maximum likelihood from every observed value, right where values are missing at random. Hard assignment fills the
    gaps with conditional means alone, without their covariance; it is there to be compared with, for it shrinks
    variances.

    Parameters
    ----------
    n_features : int
        Columns, at least 1.
    prior : CovariancePrior, optional
        Inverse-Wishart prior on the covariance; it keeps collinear or few rows from a singular one. Any ``degrees``
        above ``-d - 1`` will do: at ``λ - d - 1`` with the scale ``λ V`` it is a ridge towards V, worth λ rows, which is
        no proper density up to λ = 2 d but a penalty all the same, and goes to maximum likelihood with λ.
    labels : tuple of str
        Names of the columns, for messages.

    Raises
    ------
    InputError
        If there is no column, or the prior does not fit.

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., section 11.2.1;
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x.

    Examples
    --------
    >>> from emtools.engine.starts import fit
    >>> table = np.array([[1.0, 2.0], [2.0, 4.5], [3.0, 5.5], [4.0, np.nan]])
    >>> model = MultivariateNormal(2)
    >>> result = fit(model, PatternSource(table))
    >>> filled, sd = model.conditional(result.params, table)
    >>> filled[3].round(2).tolist(), sd[3].round(2).tolist()
    ([4.0, 7.5], [nan, 0.35])
    """

    n_features: int
    prior: CovariancePrior | None = None
    labels: tuple[str, ...] = ()
    name: ClassVar[str] = "multivariate_normal"
    strategies: ClassVar[tuple[str, ...]] = ("moments", "random")

    def __post_init__(self) -> None:
        if self.n_features < 1:
            raise InputError("normal", f"{self.n_features} features", "at least one")
        if self.prior is None:
            return
        d, degrees, scale = self.n_features, self.prior.degrees, self.prior.scale
        if scale.shape != (d, d) or factorise(scale) is None or not degrees + d + 1 > 0:
            expected = f"more than {-d - 1} degrees and a positive definite scale of shape ({d}, {d})"
            raise InputError("covariance prior", f"{degrees} degrees, scale of shape {scale.shape}", expected)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What fixes the model, as JSON values."""
        prior = None if self.prior is None else {"degrees": self.prior.degrees, "scale": self.prior.scale}
        return {"n_features": self.n_features, "prior": prior}

    @property
    def n_free_parameters(self) -> int:
        """Means, variances and covariances."""
        return self.n_features * (self.n_features + 3) // 2

    def initial_params(self, data: Source[PatternChunk], rng: np.random.Generator, strategy: str) -> NormalParams:
        """``"moments"``: mean and variance of what is observed, no correlation. ``"random"``: the mean moved by about
        one standard deviation, variances by a factor of about two, and a random correlation matrix.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        d = self.n_features
        weight, total, square = np.zeros(d), np.zeros(d), np.zeros(d)
        for index in range(data.n_chunks):
            chunk = data.chunk(index)
            self.check_columns(chunk)
            for p in chunk.patterns:
                weight[p.observed] += p.weight
                total[p.observed] += p.weight * p.mean
                square[p.observed] += p.weight * p.mean**2 + (p.root**2).sum(axis=0)
        centre = total / weight
        variance = square / weight - centre**2
        variance = np.where(variance > 0, variance, 1.0)
        if strategy == "moments":
            return NormalParams(chunk.origin + centre, np.diag(variance))
        sd = np.sqrt(variance * 2.0 ** rng.normal(size=d))
        draw = rng.normal(size=(d, 2 * d + 2))
        scatter = draw @ draw.T
        scale = sd / np.sqrt(np.diagonal(scatter))
        return NormalParams(chunk.origin + centre + sd * rng.normal(size=d), scatter * np.outer(scale, scale))

    def e_step(self, params: NormalParams, chunk: PatternChunk, assign: Assign = "soft") -> NormalStats:
        """Expected moments of the completed rows; see `emtools.kernels.missing.expected_moments`.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        self.check_columns(chunk)
        loglik, entropy, first, second = expected_moments(
            chunk.patterns, params.mean - chunk.origin, params.covariance, assign == "hard"
        )
        n = float(sum(p.weight for p in chunk.patterns))
        return NormalStats(n, loglik, entropy, first, second, chunk.origin)

    def check_columns(self, chunk: PatternChunk) -> None:
        """Refuse a table of another width."""
        if len(chunk.origin) != self.n_features:
            raise InputError("data", f"{len(chunk.origin)} columns", f"{self.n_features}")

    def m_step(self, stats: NormalStats, params: NormalParams) -> NormalParams:
        """``μ = Σ E[x] / n``, ``Σ = Σ E[x xᵀ] / n - μ μᵀ`` (Little & Rubin 2019, section 11.2.1).

        With a prior of ν degrees and scale Ψ: ``Σ = (scatter + Ψ) / (n + ν + d + 1)``, its posterior mode.
        """
        mean = stats.first / stats.n
        scatter = stats.second - stats.n * np.outer(mean, mean)
        pseudo = 0.0
        if self.prior is not None:
            scatter = scatter + self.prior.scale
            pseudo = self.prior.degrees + self.n_features + 1
        return NormalParams(stats.origin + mean, 0.5 * (scatter + scatter.T) / (stats.n + pseudo))

    def expected_loglik(self, stats: NormalStats, params: NormalParams) -> float:
        """``-½ [n d log 2π + n log det Σ + tr Σ⁻¹ Σ E[(x - μ)(x - μ)ᵀ]]`` in nats."""
        factor = factorise(params.covariance)
        if factor is None:
            return math.nan
        centre = params.mean - stats.origin
        cross = stats.first[:, None] * centre
        scatter = stats.second - cross - cross.T + stats.n * centre[:, None] * centre
        half = solve_lower(factor, solve_lower(factor, scatter).T)
        return -0.5 * (stats.n * (self.n_features * LOG_2PI + log_determinant(factor)) + float(half.trace()))

    def log_prior(self, params: NormalParams) -> float:
        """Inverse-Wishart log density ``-½ [(ν + d + 1) log det Σ + tr Ψ Σ⁻¹]`` but for a constant; 0.0 without one."""
        if self.prior is None:
            return 0.0
        factor = factorise(params.covariance)
        if factor is None:
            return math.nan
        trace = float(np.trace(solve_lower(factor, solve_lower(factor, self.prior.scale).T)))
        return -0.5 * ((self.prior.degrees + self.n_features + 1) * log_determinant(factor) + trace)

    def pack(self, params: NormalParams) -> Floats:
        """Means, then the log-Cholesky vector of the covariance."""
        return np.concatenate([params.mean, pack_cholesky(params.covariance)])

    def unpack(self, vector: Floats) -> NormalParams:
        """Inverse of `pack`."""
        return NormalParams(vector[: self.n_features], unpack_cholesky(vector[self.n_features :]))

    def packed_units(self, params: NormalParams) -> Floats:
        """Standard deviations for means and rows of the Cholesky factor, 1 for its logarithms."""
        variance = np.diagonal(params.covariance)
        return np.concatenate([np.sqrt(np.where(variance > 0.0, variance, 1.0)), cholesky_units(params.covariance)])

    def natural(self, params: NormalParams) -> dict[str, Floats]:
        """Means (d,) and covariances (d, d)."""
        return {"mean": params.mean, "covariance": params.covariance}

    def canonical(self, params: NormalParams) -> NormalParams:
        """`params`: there are no components to order."""
        return params

    def degenerate(self, stats: NormalStats, params: NormalParams) -> str | None:
        """Whether the next covariance has a direction without variance: the likelihood has no top there."""
        covariance = self.m_step(stats, params).covariance
        variance = np.diagonal(covariance)
        if not (variance > 0).all():
            return f"{self.label(int(np.argmin(variance)))} has no variance"
        scale = 1.0 / np.sqrt(variance)
        values, vectors = np.linalg.eigh(covariance * np.outer(scale, scale))
        if values[0] > SINGULAR:
            return None
        loads = np.abs(vectors[:, 0])
        names = ", ".join(self.label(int(j)) for j in np.flatnonzero(loads > SHARE * loads.max()))
        return f"the likelihood has no maximum: a linear combination of {names} does not vary"

    def label(self, column: int) -> str:
        """Name of a column, for messages."""
        return self.labels[column] if self.labels else f"column {column}"

    def conditional(self, params: NormalParams, values: Floats) -> tuple[Floats, Floats]:
        """Conditional mean and standard deviation of what is missing.

        Parameters
        ----------
        params : NormalParams
        values : ndarray, shape (n, d)
            NaN where missing.

        Returns
        -------
        filled : ndarray, shape (n, d)
            Observed values untouched, conditional means in the gaps.
        sd : ndarray, shape (n, d)
            Conditional standard deviations; NaN where observed.
        """
        return fill_conditional(values, params.mean, params.covariance)

    def conditional_covariance(self, params: NormalParams, observed: npt.NDArray[np.bool_]) -> Floats:
        """Covariance of a row given its observed values; it depends on the pattern alone.

        Parameters
        ----------
        params : NormalParams
        observed : ndarray of bool, shape (d,)
            Which columns are observed.

        Returns
        -------
        ndarray, shape (d, d)
            0 in the rows and columns of what is observed.
        """
        full = np.zeros((self.n_features, self.n_features))
        missing = np.flatnonzero(~observed)
        parts = condition(params.covariance, np.flatnonzero(observed), missing) if observed.any() else None
        full[np.ix_(missing, missing)] = params.covariance if parts is None else parts[2]
        return full
