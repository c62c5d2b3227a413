"""Multivariate Student's t: location and scatter that far rows do not pull away. ``n`` rows, ``d`` features.

Any cells may be missing: a row is weighted by the distance of what was observed of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import gammaln

from emtools.engine.chunks import ArraySource, Rows
from emtools.engine.protocol import Assign, Floats, Sampled, Source, Stats
from emtools.errors import InputError
from emtools.kernels.gaussian import (
    cholesky_factors,
    cholesky_units,
    half_log_determinants,
    pack_cholesky,
    trace_ratio,
    unpack_cholesky,
    whiten,
)
from emtools.kernels.incomplete import IncompleteRows, condition_rows
from emtools.kernels.laplace import weighted_median
from emtools.kernels.readings import Readings
from emtools.kernels.student import LOG_2PI, Scales, best_growth, drawn_scales, expected_scales
from emtools.models.assignment import generator, kind_of
from emtools.models.incomplete_rows import IncompleteSource, blocks_of, check_width, sample_incomplete
from emtools.models.mixture_starts import sample_rows

LOWEST_DF, HIGHEST_DF = 1e-3, 1e4  # at 10,000 degrees of freedom a t is a normal distribution
EXPANDED_AT = 4.0  # degrees of freedom at which the expansion is best where they are estimated
SHRUNK = 1e-20  # least variance of a scatter relative to that of the data
SINGULAR = 1e-12  # least eigenvalue of the scatter's correlations
MAD_OF_NORMAL = 0.6744897501960817


@dataclass(frozen=True)
class StudentTParams:
    """Parameters of `StudentT`.

    Parameters
    ----------
    location : ndarray, shape (d,)
        Centre of symmetry, in the units of the data.
    scatter : ndarray, shape (d, d)
        Positive definite; ``df / (df - 2)`` times it is the covariance where df is above 2.
    df : float
        Degrees of freedom, positive.
    """

    location: Floats
    scatter: Floats
    df: float


@dataclass(frozen=True)
class Place:
    """What the statistics are measured from: the parameters of their E-step.

    Parameters
    ----------
    origin : ndarray, shape (d,)
        Its location.
    log_determinant : float
        Of its scatter.
    exponent : float
        Power of the determinant by which the hidden scale is expanded; the same for all statistics of a model.
    """

    origin: Floats
    log_determinant: float
    exponent: float

    def scaled(self, factor: float) -> Place:
        """The place itself: it is not a sum."""
        return self

    def same(self, other: Place) -> bool:
        """Whether the places are equal."""
        mine, theirs = (self.log_determinant, self.exponent), (other.log_determinant, other.exponent)
        return mine == theirs and np.array_equal(self.origin, other.origin)


@dataclass(frozen=True)
class StudentTStats(Stats):
    """Expected sums of `StudentT` over rows x with hidden scale u, about a place.

    Parameters
    ----------
    scale, log_scale : float
        Sums of E[u] and of E[log u].
    first : ndarray, shape (d,)
        Sum of ``E[u (x - origin)]``.
    second : ndarray, shape (d, d)
        Sum of ``E[u (x - origin)(x - origin)ᵀ]``.
    shift, squares : ndarray, shape (d,)
        Sums of ``x - origin`` and of its squares, gaps at their conditional means, for the width of the data.
    moved : float
        Log Jacobian in nats of the hidden scales that were moved from another place; 0.0 from an E-step.
    place : Place
        Statistics about two places add too: the second is moved to the first.
    """

    scale: float
    log_scale: float
    first: Floats
    second: Floats
    shift: Floats
    squares: Floats
    moved: float
    place: Place

    def __add__(self, other: Self) -> Self:
        other = other.about(self.place)
        summed = [field.name for field in fields(self) if field.name != "place"]
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in summed})

    def about(self, place: Place) -> Self:
        """The same statistics about another place."""
        if self.place.same(place):
            return self
        step = self.place.origin - place.origin
        log_factor = place.exponent * (place.log_determinant - self.place.log_determinant)
        factor = math.exp(log_factor)
        return replace(
            self,
            scale=self.scale * factor,
            log_scale=self.log_scale + self.n * log_factor,
            first=(self.first + self.scale * step) * factor,
            second=self.scatter(place.origin) * factor,
            shift=self.shift + self.n * step,
            squares=self.squares + step * (2.0 * self.shift + self.n * step),
            moved=self.moved + self.n * log_factor,
            place=place,
        )

    def scatter(self, point: Floats) -> Floats:
        """Sum of ``E[u] (x - point)(x - point)ᵀ``, shape (d, d)."""
        step = self.place.origin - point
        cross = np.outer(self.first, step)
        scatter: Floats = self.second + cross + cross.T + self.scale * np.outer(step, step)
        return scatter


@dataclass(frozen=True)
class StudentT:
    """Student's t with location, scatter and degrees of freedom; one degree is the Cauchy distribution.

    A row is normal with covariance ``scatter / u``, its hidden scale u Gamma(df / 2) with mean 1. What the M-step
    maximises is the Q of ``u |scatter|**(-1 / (df + d))`` where `expanded`, of u where not: the likelihood is the same,
    but less is hidden, so that the climb is shorter. With fixed df it divides the weighted scatter by the sum of the
    weights instead of n, as parameter-expanded EM does, and is an EM of its own.

    Where cells are missing, at random, the likelihood is that of the observed ones; `source` gives the rows of a table
    with gaps by pattern of missingness, and those of a complete one as they are.

    Parameters
    ----------
    n_features : int
        Columns d, at least 1.
    df : float, optional
        Hold the degrees of freedom at this value; by default they are estimated, between 0.001 and 10,000.
    expanded : bool
        Whether the hidden scale is expanded.
    labels : tuple of str
        Names of the columns, for messages.

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Lange, Little & Taylor (1989), J. Am. Stat. Assoc. 84, 881-896, doi:10.1080/01621459.1989.10478852; with gaps,
    Little (1988), Appl. Stat. 37, 23-38, doi:10.2307/2347491, and Liu & Rubin (1995), Stat. Sin. 5, 19-39; Kent, Tyler &
    Vardi (1994), Commun. Stat. Simul. 23, 441-453, doi:10.1080/03610919408813180; Meng & van Dyk (1997), J. R. Stat.
    Soc. B 59, 511-567, doi:10.1111/1467-9868.00082, section 3; Liu, Rubin & Wu (1998), Biometrika 85, 755-770,
    doi:10.1093/biomet/85.4.755, section 3.

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> maize = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])
    >>> fitted = fit(StudentT(1, df=1.0), ArraySource(maize), tol=1e-9)
    >>> fitted.params.location.round(2).tolist(), np.sqrt(fitted.params.scatter).round(2).tolist()
    ([24.97], [[15.71]])
    """

    n_features: int
    df: float | None = None
    expanded: bool = True
    labels: tuple[str, ...] = ()

    name: ClassVar[str] = "student_t"
    strategies: ClassVar[tuple[str, ...]] = ("robust", "random")
    assigns: ClassVar[tuple[str, ...]] = ("soft", "sampled")

    def __post_init__(self) -> None:
        if self.n_features < 1:
            raise InputError("student_t", f"{self.n_features} features", "at least one")
        if self.df is not None and not LOWEST_DF <= self.df <= HIGHEST_DF:
            raise InputError("student_t", f"{self.df} degrees of freedom", f"{LOWEST_DF:g} to {HIGHEST_DF:g}")

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"n_features": self.n_features, "df": self.df, "expanded": self.expanded}

    @property
    def n_free_parameters(self) -> int:
        """Parameters that a fit may choose."""
        return self.n_features * (self.n_features + 3) // 2 + (self.df is None)

    @property
    def takes_bounds(self) -> bool:
        """False: bounds of cells are not used."""
        return False

    def label(self, column: int) -> str:
        """Name of a column, for messages."""
        return f"column {self.labels[column]!r}" if self.labels else f"column {column + 1}"

    def source(self, readings: Readings, weights: Floats | None = None) -> Source[Any]:
        """Rows by pattern of missingness; as they are where no cell is missing.

        Raises
        ------
        InputError
            If the table or the weights cannot be used.
        """
        check_width(readings.values, self.n_features)
        if np.isnan(readings.values).any():
            return IncompleteSource(readings.values, weights)
        return ArraySource(readings.values, weights)

    def initial_params(self, data: Source[Any], rng: np.random.Generator, strategy: str) -> StudentTParams:
        """``"robust"``: medians, median absolute deviations, no correlation, 4 degrees of freedom. ``"random"``: a row for
        the location, deviations times factors about 1.4, random correlations, 1 to 20 degrees of freedom.

        Raises
        ------
        InputError
            If the number of columns is wrong, a value is not finite, or a column is constant.
        """
        d = self.n_features
        incomplete = isinstance(data.chunk(0), IncompleteRows)
        values, weights = (sample_incomplete if incomplete else sample_rows)(data, rng, d)
        seen = ~np.isnan(values)
        columns = [(values[o, j], weights[o]) for j, o in enumerate(seen.T)]
        constant = [j for j, (column, _) in enumerate(columns) if column.max() == column.min()]
        if constant:
            raise InputError("data", f"{self.label(constant[0])} is constant", "columns that vary", "drop it")
        location = np.array([weighted_median(column, w) for column, w in columns])
        scale = np.array([spread_about(middle, *column) for middle, column in zip(location, columns, strict=True)])
        if strategy == "robust":
            return StudentTParams(location, np.diag(scale**2), 4.0 if self.df is None else self.df)
        row = rng.choice(len(values), p=weights / weights.sum())
        draw = rng.normal(size=(d, 2 * d + 2))
        spread = draw @ draw.T
        scale = scale * 2.0 ** (0.5 * rng.normal(size=d)) / np.sqrt(np.diagonal(spread))
        df = math.exp(rng.uniform(0.0, math.log(20.0))) if self.df is None else self.df
        return StudentTParams(np.where(seen[row], values[row], location), spread * np.outer(scale, scale), df)

    def e_step(self, params: StudentTParams, chunk: Rows | IncompleteRows, assign: Assign = "soft") -> StudentTStats:
        """Expected scale of each row, ``(df + p) / (df + δ)`` with δ the distance of its p values, and moments weighted by
        it; the conditional covariance of what is missing is added once, for its own scale takes out that weight.

        Raises
        ------
        InputError
            If the number of columns is wrong, a value is not finite, or `assign` is not soft or sampled.

        References
        ----------
        Liu & Rubin (1995), Stat. Sin. 5, 19-39, eqs 9-13.
        """
        kind_of(assign, self.assigns)
        d = self.n_features
        check_width(chunk.values, d)
        if isinstance(chunk, IncompleteRows):
            return self.incomplete_e_step(params, chunk, assign)
        if not np.isfinite(chunk.values).all():
            row, column = np.argwhere(~np.isfinite(chunk.values))[0].tolist()
            where = f"row {chunk.first + row + 1}, column {column + 1}"
            remedy = "impute or drop it, or give the rows by StudentT.source"
            raise InputError(where, f"{chunk.values[row, column]}", "a finite number", remedy)
        factor = cholesky_factors(params.scatter)
        deviations = chunk.values - params.location
        squared = (whiten(factor, deviations) ** 2).sum(axis=0)
        if isinstance(assign, Sampled):
            scales = drawn_scales(squared, params.df, d, generator(assign, chunk.first))
        else:
            scales = expected_scales(squared, params.df, d)
        n, half_log_determinant = float(chunk.weights.sum()), float(half_log_determinants(factor))
        loglik = float(chunk.weights @ scales.log_density) - n * half_log_determinant
        entropy = float(chunk.weights @ scales.entropy)
        place = Place(params.location, 2.0 * half_log_determinant, self.exponent)
        return moments(chunk.weights, deviations, scales, loglik, entropy, place)

    def incomplete_e_step(self, params: StudentTParams, chunk: IncompleteRows, assign: Assign) -> StudentTStats:
        """The E-step of rows with gaps."""
        n_gaps, weights = chunk.n_gaps, chunk.weights
        given = condition_rows(chunk.rows, params.location, params.scatter)
        constant = 0.5 * given.log_observed
        log_determinant = 2.0 * float(half_log_determinants(cholesky_factors(params.scatter)))
        place = Place(params.location, log_determinant, self.exponent)
        if isinstance(assign, Sampled):
            rng = generator(assign, chunk.first)
            scales = drawn_scales(given.squared, params.df, self.n_features - n_gaps, rng)
            normals = np.where(chunk.gaps, rng.normal(size=given.deviations.shape), 0.0)
            noise = normals / np.sqrt(scales.scale)[:, None]
            drawn = condition_rows(chunk.rows, params.location, params.scatter, noise).deviations
            of_gaps = 0.5 * (n_gaps * (scales.log_scale - LOG_2PI) - given.log_left - (normals**2).sum(axis=1))
            loglik = float(weights @ (scales.log_density - constant + of_gaps))
            return moments(weights, drawn, scales, loglik, 0.0, place)
        scales = expected_scales(given.squared, params.df, self.n_features - n_gaps)
        entropies = scales.entropy + 0.5 * (n_gaps * (1.0 + LOG_2PI - scales.log_scale) + given.log_left)
        loglik = float(weights @ (scales.log_density - constant))
        stats = moments(weights, given.deviations, scales, loglik, float(weights @ entropies), place)
        return replace(stats, second=stats.second + given.spread)

    @property
    def exponent(self) -> float:
        """Power of the determinant by which the hidden scale is expanded: best at df, or at `EXPANDED_AT` in its place."""
        df = EXPANDED_AT if self.df is None else self.df
        return 1.0 / (df + self.n_features) if self.expanded else 0.0

    def m_step(self, stats: StudentTStats, params: StudentTParams) -> StudentTParams:
        """Weighted mean and scatter, the latter over the sum of the weights; over n where the scale is not expanded.

        Where df is estimated, it and the size of the scatter are found together, see
        `emtools.kernels.student.best_growth`.

        References
        ----------
        Meng & van Dyk (1997), doi:10.1111/1467-9868.00082, section 3.
        """
        mean = stats.first / stats.scale
        summed = stats.second - np.outer(mean, stats.first)
        summed = 0.5 * (summed + summed.T)
        location = stats.place.origin + mean
        if self.df is not None:
            return StudentTParams(location, summed / (stats.scale if self.expanded else stats.n), self.df)
        d, scatter = self.n_features, summed / stats.n
        sign, log_determinant = np.linalg.slogdet(scatter)
        if not sign > 0.0:
            return StudentTParams(location, scatter, params.df)
        log_shape = float(log_determinant) - stats.place.log_determinant
        means = (stats.scale / stats.n, stats.log_scale / stats.n)
        growth, df = best_growth(means, log_shape, self.exponent, d, (LOWEST_DF, HIGHEST_DF))
        return StudentTParams(location, scatter * math.exp((growth - log_shape) / d), df)

    def expected_loglik(self, stats: StudentTStats, params: StudentTParams) -> float:
        """Q in nats, of the row and the expanded scale ``q = u e^(-e l)``, with ``l = log(|scatter| / |scatter before|)``.

        ``n [y log y - log Γ(y) + (e (d + df) - 1) l / 2 - log|scatter before| / 2 - d/2 log 2π]
        + (y + d/2 - 1) Σ E[log q] - e^(e l) (y Σ E[q] + tr scatter⁻¹ S / 2) + moved`` with ``y = df / 2``.
        """
        d, half = self.n_features, 0.5 * params.df
        factor = cholesky_factors(params.scatter)
        grown = 2.0 * float(half_log_determinants(factor)) - stats.place.log_determinant
        exponent = self.exponent
        squares = trace_ratio(factor, stats.scatter(params.location))
        constant = half * math.log(half) - float(gammaln(half)) - 0.5 * (d * LOG_2PI + stats.place.log_determinant)
        constant += 0.5 * (exponent * (d + params.df) - 1.0) * grown
        expanded = math.exp(exponent * grown) * (half * stats.scale + 0.5 * squares)
        return stats.n * constant + (half + 0.5 * d - 1.0) * stats.log_scale - expanded + stats.moved

    def log_prior(self, params: StudentTParams) -> float:
        """0.0: maximum likelihood."""
        return 0.0

    def pack(self, params: StudentTParams) -> Floats:
        """Location, log-Cholesky vector of the scatter, and log df where it is estimated."""
        parts = [params.location, pack_cholesky(params.scatter)]
        return np.concatenate(parts if self.df is not None else [*parts, [math.log(params.df)]])

    def unpack(self, vector: Floats) -> StudentTParams:
        """Inverse of `pack`; df ends at its bounds."""
        d = self.n_features
        if self.df is not None:
            return StudentTParams(vector[:d], unpack_cholesky(vector[d:]), self.df)
        df = math.exp(min(max(float(vector[-1]), math.log(LOWEST_DF)), math.log(HIGHEST_DF)))
        return StudentTParams(vector[:d], unpack_cholesky(vector[d:-1]), df)

    def packed_units(self, params: StudentTParams) -> Floats:
        """Roots of the widths of the scatter for the location and the rows of its Cholesky factor, 1 for logarithms."""
        widths = np.diagonal(params.scatter)
        parts = [np.sqrt(np.where(widths > 0.0, widths, 1.0)), cholesky_units(params.scatter)]
        return np.concatenate(parts if self.df is not None else [*parts, [1.0]])

    def natural(self, params: StudentTParams) -> dict[str, Floats]:
        """Location, scatter, and df where it is estimated."""
        named = {"location": params.location, "scatter": params.scatter}
        return named if self.df is not None else {**named, "df": np.array([params.df])}

    def canonical(self, params: StudentTParams) -> StudentTParams:
        """`params`: there are no components to order."""
        return params

    def rounding(self, stats: StudentTStats, params: StudentTParams) -> float:
        """Nats that rounding makes of the constant of the density, a difference of logarithms of gamma functions which grow
        with the degrees of freedom: 2e-9 for 100 rows at the most."""
        return 2.0 * float(np.finfo(float).eps) * stats.n * abs(float(gammaln(0.5 * (params.df + self.n_features))))

    def degenerate(self, stats: StudentTStats, params: StudentTParams) -> str | None:
        """Whether the next scatter has no width in some direction, along which the likelihood is unbounded.

        Where df is estimated there is such a way at every row (Fernández & Steel 1999, Biometrika 86, 153-167,
        doi:10.1093/biomet/86.1.153); a climb rarely takes it but where rows are tied.
        """
        scatter = self.m_step(stats, params).scatter
        widths = np.diagonal(scatter)
        variances = stats.squares / stats.n - (stats.shift / stats.n) ** 2
        held = stats.scale * params.df / (params.df + self.n_features)
        narrow = np.flatnonzero(~(widths > SHRUNK * variances))
        if narrow.size:
            return f"the scatter of {self.label(int(narrow[0]))} has collapsed: its centre holds {held:.1f} points"
        least = float(np.linalg.eigvalsh(scatter / np.sqrt(np.outer(widths, widths)))[0])
        if least > SINGULAR:
            return None
        return f"the scatter is singular: {held:.1f} of {stats.n:.1f} points lie in fewer than {self.n_features} dimensions"

    def conditional(self, params: StudentTParams, readings: Readings) -> tuple[Floats, Floats]:
        """Conditional mean of each gap given the values of its row, and its standard deviation.

        Given p values at distance δ the gaps follow a t with ``df + p`` degrees of freedom and covariance
        ``C (df + δ) / (df + p - 2)``.

        Parameters
        ----------
        params : StudentTParams
        readings : Readings
            Table, shape (n, d).

        Returns
        -------
        filled : ndarray, shape (n, d)
            Observed values untouched, conditional means in the gaps; a row without any value gets the location.
        sd : ndarray, shape (n, d)
            NaN where observed; infinite where ``df + p`` is at most 2.

        Raises
        ------
        InputError
            If the number of columns is wrong.

        References
        ----------
        Kotz & Nadarajah (2004), Multivariate t Distributions and Their Applications, doi:10.1017/CBO9780511550683,
        section 1.11.
        """
        blocks, empty = blocks_of(readings.values, self.n_features)
        filled, sd = readings.values.copy(), np.full(readings.values.shape, np.nan)
        filled[empty], sd[empty] = params.location, np.sqrt(np.diagonal(params.scatter) * inflation(params.df, 0, 0.0))
        for block in blocks:
            gaps, variances = block.gaps, np.zeros(block.values.shape)
            given = condition_rows(block.rows, params.location, params.scatter, variances=variances)
            variances *= inflation(params.df, self.n_features - block.n_gaps, given.squared)[:, None]
            filled[block.order] = np.where(gaps, params.location + given.deviations, block.values)
            sd[block.order] = np.where(gaps, np.sqrt(variances), np.nan)
        return filled, sd

    def draw(self, params: StudentTParams, readings: Readings, rng: np.random.Generator) -> Floats:
        """The table with its gaps drawn: the scale of each row given its values, then the gaps given both, (n, d)."""
        blocks, empty = blocks_of(readings.values, self.n_features)
        table, factor = readings.values.copy(), cholesky_factors(params.scatter)
        scale = drawn_scales(np.zeros(int(empty.sum())), params.df, 0, rng).scale
        noise = rng.normal(size=(len(scale), self.n_features)) @ factor.T
        table[empty] = params.location + noise / np.sqrt(scale)[:, None]
        for block in blocks:
            given = condition_rows(block.rows, params.location, params.scatter)
            scale = drawn_scales(given.squared, params.df, self.n_features - block.n_gaps, rng).scale
            noise = rng.normal(size=given.deviations.shape) / np.sqrt(scale)[:, None]
            drawn = condition_rows(block.rows, params.location, params.scatter, noise).deviations
            table[block.order] = np.where(block.gaps, params.location + drawn, block.values)
        return table

    def moments(self, params: StudentTParams) -> tuple[Floats, Floats]:
        """Mean (d,), NaN up to 1 degree of freedom, and covariance (d, d) ``scatter df / (df - 2)``, NaN up to 2."""
        df = params.df
        mean = params.location if df > 1.0 else np.full_like(params.location, np.nan)
        return mean, params.scatter * (df / (df - 2.0) if df > 2.0 else np.nan)

    def log_density(self, params: StudentTParams, readings: Readings) -> Floats:
        """Log density of the values of each row in nats, (n,); 0 where there is none."""
        blocks, _ = blocks_of(readings.values, self.n_features)
        densities = np.zeros(len(readings.values))
        for block in blocks:
            given = condition_rows(block.rows, params.location, params.scatter)
            scales = expected_scales(given.squared, params.df, self.n_features - block.n_gaps)
            densities[block.order] = scales.log_density - 0.5 * given.log_observed
        return densities


def spread_about(middle: float, column: Floats, weights: Floats) -> float:
    """Median absolute deviation from `middle` on the scale of a normal's sd; the root mean square where that is 0."""
    deviations = np.abs(column - middle)
    scale = float(weighted_median(deviations, weights)) / MAD_OF_NORMAL
    return scale if scale > 0.0 else math.sqrt(float(np.average(deviations**2, weights=weights)))


def inflation(df: float, n_seen: Any, squared: Any) -> Floats:
    """``(df + δ) / (df + p - 2)``, by which the conditional scatter C becomes a covariance; infinite up to 2."""
    beyond = np.asarray(df + n_seen - 2.0)
    return np.where(beyond > 0.0, (df + squared) / np.where(beyond > 0.0, beyond, 1.0), np.inf)


def moments(
    weights: Floats, deviations: Floats, scales: Scales, loglik: float, entropy: float, place: Place
) -> StudentTStats:
    """Statistics of rows about a place, from their deviations (n, d) and hidden scales."""
    scale = weights * scales.scale
    second = (deviations * scale[:, None]).T @ deviations
    return StudentTStats(
        n=float(weights.sum()),
        loglik=loglik,
        entropy=entropy,
        scale=float(scale.sum()),
        log_scale=float(weights @ scales.log_scale),
        first=scale @ deviations,
        second=0.5 * (second + second.T),
        shift=weights @ deviations,
        squares=weights @ deviations**2,
        moved=0.0,
        place=place,
    )
