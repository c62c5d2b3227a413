"""The multivariate normal distribution of a table with missing values: exact EM, grouped by pattern of missingness."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.filling import draw_gaps, fill_gaps, log_density_rows
from emtools.kernels.gaussian import cholesky_units, log_cholesky_factor, pack_cholesky, unpack_cholesky
from emtools.kernels.lapack import solve_columns
from emtools.kernels.missing import (
    LOG_2PI,
    Pattern,
    condition,
    expected_moments,
    factorise,
    pattern_list,
)
from emtools.kernels.patterns import PatternRows, column_moments, column_sums, rows_by_pattern, sorted_rows
from emtools.kernels.precision import Precision, expected_deviations, invert
from emtools.kernels.readings import Readings
from emtools.models.mixture import CovariancePrior
from emtools.models.tabular import checked_table

# Values of a chunk: a share of the table within bounds, so that a small one has work for several threads.
CHUNKS, SMALLEST_CHUNK, LARGEST_CHUNK = 8, 2**13, 2**17
TRIANGLES = 32
SINGULAR = 1e-11
BOUND, SURE = 0.01, 1e-6  # least eigenvalues of correlations: asked of a prior, and beyond which none is sought
SHARE = 0.1
EPSILON = 1e-16  # relative rounding of a sum


@dataclass(frozen=True, eq=False)
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


@lru_cache(maxsize=2)
def precision_of(params: NormalParams) -> Precision | None:
    """Inverse of the covariance, which all chunks of a pass share; None where it is not positive definite."""
    return invert(params.covariance)


@dataclass(frozen=True)
class PatternChunk:
    """Some of the patterns of a table.

    Parameters
    ----------
    rows : PatternRows
        Rows sorted by pattern.
    origin : ndarray, shape (d,)
        Point that their values are measured from, the same for the whole table.
    """

    rows: PatternRows
    origin: Floats

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """Rows reduced pattern by pattern."""
        return tuple(pattern_list(self.rows))


def as_patterns(chunk: PatternChunk | Rows) -> PatternChunk:
    """Rows that come as they are, from a file say, sorted by pattern."""
    if isinstance(chunk, PatternChunk):
        return chunk
    return PatternChunk(rows_by_pattern(chunk.values, chunk.weights)[0], np.zeros(chunk.values.shape[1]))


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
        n, loglik, entropy = self.n + other.n, self.loglik + other.loglik, self.entropy + other.entropy
        return type(self)(n, loglik, entropy, self.first + other.first, self.second + other.second, self.origin)

    def about(self, origin: Floats) -> Self:
        """The same statistics about another origin."""
        if self.origin is origin:
            return self
        shift = self.origin - origin
        if not shift.any():
            return self
        cross = np.outer(self.first, shift)
        second = self.second + cross + cross.T + self.n * np.outer(shift, shift)
        return replace(self, first=self.first + self.n * shift, second=second, origin=origin)


class PatternSource:
    """A table with gaps, reduced once to its patterns of missingness.

    Many rows of one pattern become a mean and a root of their scatter, so that a pass costs one factorisation per
    pattern, whatever their number. Rows without any value say nothing about the parameters and are left out, as are
    rows of weight 0.

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
        table, w = checked_table(values, weights)
        weight, total, self.n_empty = column_sums(np.ascontiguousarray(table), w)
        self.origin: Floats = total / weight
        rows, _ = sorted_rows(table, w, self.origin, reduce=True)
        cuts = cut_patterns(rows.cuts, table.shape[1], chunk_patterns)
        self.n_units = int(rows.n_units.sum())
        self.chunks = [PatternChunk(rows.part(begin, end), self.origin) for begin, end in pairwise(cuts)]

    @property
    def patterns(self) -> list[Pattern]:
        """All patterns."""
        return [pattern for chunk in self.chunks for pattern in chunk.patterns]

    @property
    def n_chunks(self) -> int:
        return len(self.chunks)

    def chunk(self, index: int) -> PatternChunk:
        return self.chunks[index]


def cut_patterns(first_rows: npt.NDArray[np.intp], n_columns: int, chunk_patterns: int | None = None) -> list[int]:
    """Where to cut a list of patterns, by the values that they hold, or after a number of patterns.

    Parameters
    ----------
    first_rows : ndarray of int, shape (g + 1,)
        First row of each pattern, and the number of rows.
    n_columns : int
        Columns.
    chunk_patterns : int, optional
        Patterns of a chunk instead.
    """
    n = len(first_rows) - 1
    if chunk_patterns:
        return [*range(0, n, chunk_patterns), n]
    share = int(first_rows[-1]) * n_columns // CHUNKS
    least = n_columns**2 // TRIANGLES  # of a chunk of wide rows the sums, of d² values, cost as much as few of its rows
    size = max(1, max(min(max(share, SMALLEST_CHUNK), LARGEST_CHUNK), least) // n_columns)
    inner = np.searchsorted(first_rows, np.arange(size, int(first_rows[-1]), size))
    return [int(cut) for cut in np.unique([0, *inner, n])]


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
    >>> filled, sd = model.conditional(result.params, Readings(table))
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

    def initial_params(
        self, data: Source[PatternChunk | Rows], rng: np.random.Generator, strategy: str
    ) -> NormalParams:
        """``"moments"``: mean and variance of what is observed, no correlation. ``"random"``: the mean moved by about
        one standard deviation, variances by a factor of about two, and a random correlation matrix.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        d = self.n_features
        weight, centre, scatter = np.zeros(d), np.zeros(d), np.zeros(d)
        for index in range(data.n_chunks):
            chunk = as_patterns(data.chunk(index))
            self.check_columns(chunk)
            more, mean, further = column_moments(chunk.rows)
            both = weight + more
            share = np.divide(more, both, out=np.zeros(d), where=both > 0.0)
            away = chunk.origin + mean - centre
            centre = centre + share * away
            scatter += further + weight * share * away**2
            weight = both
        if not (weight > 0.0).all():
            empty = self.label(int(np.argmin(weight)))
            raise InputError("data", f"{empty} has no value", "at least one value in each column", "drop it")
        variance = scatter / weight
        variance = np.where(variance > 0, variance, 1.0)
        if strategy == "moments":
            return NormalParams(centre, np.diag(variance))
        sd = np.sqrt(variance * 2.0 ** rng.normal(size=d))
        draw = rng.normal(size=(d, 2 * d + 2))
        scatter = draw @ draw.T
        scale = sd / np.sqrt(np.diagonal(scatter))
        return NormalParams(centre + sd * rng.normal(size=d), scatter * np.outer(scale, scale))

    def e_step(self, params: NormalParams, chunk: PatternChunk | Rows, assign: Assign = "soft") -> NormalStats:
        """Expected moments of the completed rows; see `emtools.kernels.precision.expected_deviations`.

        Rows that are not sorted by pattern yet, as those of `emtools.io.rows.rows_source`, are sorted here. Where the
        covariance is nearly singular, or not positive definite, `emtools.kernels.missing.expected_moments` takes over.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        chunk = as_patterns(chunk)
        self.check_columns(chunk)
        mean, hard, rows = params.mean - chunk.origin, assign == "hard", chunk.rows
        precision = precision_of(params)
        if precision is not None and precision.usable:
            moments = expected_deviations(rows, mean, precision, hard)
            if math.isfinite(moments[0]):
                return NormalStats(rows.weight, *moments, params.mean)
        return NormalStats(rows.weight, *expected_moments(chunk.patterns, mean, params.covariance, hard), chunk.origin)

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
        precision = precision_of(params)
        if precision is None:
            return math.nan
        centre = params.mean - stats.origin
        scatter = stats.second
        if centre.any():
            cross = stats.first[:, None] * centre
            scatter = scatter - cross - cross.T + stats.n * centre[:, None] * centre
        constant = stats.n * (self.n_features * LOG_2PI + precision.log_det)
        return -0.5 * (constant + precision.trace_with(scatter))

    def log_prior(self, params: NormalParams) -> float:
        """Inverse-Wishart log density ``-½ [(ν + d + 1) log det Σ + tr Ψ Σ⁻¹]`` but for a constant; 0.0 without one."""
        if self.prior is None:
            return 0.0
        precision = precision_of(params)
        if precision is None:
            return math.nan
        exponent = self.prior.degrees + self.n_features + 1.0
        return -0.5 * (exponent * precision.log_det + precision.trace_with(self.prior.scale))

    def packed_objective(self, stats: NormalStats) -> Callable[[Floats], float] | None:
        """Q plus log prior as a function of packed parameters, from their Cholesky factor L as it stands.

        ``-½ [n d log 2π + (n + ν + d + 1) log det L Lᵀ + |L⁻¹ R|² + n |L⁻¹ (μ - m)|²]``, m the mean that `stats` hold and
        ``R Rᵀ`` their scatter about it with the scale of the prior.

        Returns
        -------
        callable or None
            None where the scatter is not positive definite.
        """
        d, mean = self.n_features, stats.first / stats.n
        scatter, weight = stats.second - stats.n * np.outer(mean, mean), stats.n
        if self.prior is not None:
            scatter, weight = scatter + self.prior.scale, weight + self.prior.degrees + d + 1
        root = factorise(scatter)
        if root is None:
            return None
        diagonal, constant = d + np.cumsum(np.arange(1, d + 1)) - 1, stats.n * d * LOG_2PI

        def objective(packed: Floats) -> float:
            away = math.sqrt(stats.n) * (packed[:d] - stats.origin - mean)
            white = np.vstack([root.T, away])
            sound = solve_columns(log_cholesky_factor(packed[d:]), white, by_row=True)
            square = float(np.vdot(white, white)) if sound else math.nan
            return -0.5 * (constant + 2.0 * weight * float(packed[diagonal].sum()) + square)

        return objective

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

    def rounding(self, stats: NormalStats, params: NormalParams) -> float:
        """Nats that rounding makes of squared distances under a nearly singular covariance: `EPSILON` times the rows and
        the largest variance inflation of a column."""
        precision = precision_of(params)
        return 0.0 if precision is None else EPSILON * stats.n * precision.inflation

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
        if self.prior is not None and self.prior_bound:
            share = np.diagonal(self.prior.scale) / (variance * (stats.n + self.prior.degrees + self.n_features + 1))
            if self.prior_bound * share.min() > SURE:
                return None
        scale = 1.0 / np.sqrt(variance)
        correlation = covariance * scale[:, None] * scale
        if factorise(correlation - 2.0 * SINGULAR * np.eye(self.n_features)) is not None:
            return None
        values, vectors = np.linalg.eigh(correlation)
        if values[0] > SINGULAR:
            return None
        loads = np.abs(vectors[:, 0])
        names = ", ".join(self.label(int(j)) for j in np.flatnonzero(loads > SHARE * loads.max()))
        return f"the likelihood has no maximum: a linear combination of {names} does not vary"

    @cached_property
    def prior_bound(self) -> float:
        """What the eigenvalues of the correlations of the prior's scale are known to exceed: `BOUND`, or 0."""
        assert self.prior is not None
        sd = np.sqrt(np.diagonal(self.prior.scale))
        correlation = self.prior.scale / np.outer(sd, sd)
        return BOUND if factorise(correlation - BOUND * np.eye(self.n_features)) is not None else 0.0

    def label(self, column: int) -> str:
        """Name of a column, for messages."""
        return self.labels[column] if self.labels else f"column {column}"

    @property
    def takes_bounds(self) -> bool:
        """False: a limit of detection says nothing here."""
        return False

    def source(self, readings: Readings, weights: Floats | None = None) -> PatternSource:
        """The rows of a table sorted by their gaps."""
        return PatternSource(readings.values, weights)

    def conditional(self, params: NormalParams, readings: Readings) -> tuple[Floats, Floats]:
        """Conditional mean and standard deviation of what is missing.

        Parameters
        ----------
        params : NormalParams
        readings : Readings
            Rows with gaps, shape (n, d).

        Returns
        -------
        filled : ndarray, shape (n, d)
            Observed values untouched, conditional means in the gaps.
        sd : ndarray, shape (n, d)
            Conditional standard deviations; NaN where observed.
        """
        return fill_gaps(readings.values, params.mean, params.covariance)

    def draw(self, params: NormalParams, readings: Readings, rng: np.random.Generator) -> Floats:
        """The table with the gaps of each row drawn jointly given what was observed of it, shape (n, d)."""
        return draw_gaps(readings.values, params.mean, params.covariance, rng)

    def moments(self, params: NormalParams) -> tuple[Floats, Floats]:
        """Mean (d,) and covariance (d, d)."""
        return params.mean, params.covariance

    def log_density(self, params: NormalParams, readings: Readings) -> Floats:
        """Log density of what was observed of each row, shape (n,), nats; 0 for a row without any value."""
        return log_density_rows(readings.values, params.mean, params.covariance, precision_of(params))

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
