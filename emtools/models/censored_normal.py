"""The multivariate normal distribution of a table with detection limits: cells known only to lie between bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from emtools.engine.chunks import check_weights
from emtools.engine.protocol import Assign, Floats, Source
from emtools.errors import InputError
from emtools.kernels.censored import Scaled, complete, draw_rows, scale_normal, tobit
from emtools.kernels.readings import Readings
from emtools.models.mixture import CovariancePrior
from emtools.models.normal import MultivariateNormal, NormalParams, NormalStats, PatternSource

ROWS_PER_CHUNK = 256
ROUNDS = 50  # steps of the Markov chain that draws two and more censored cells of a row
EXACT = 2  # censored cells of a row up to which nothing is approximated


@dataclass(frozen=True)
class CensoredChunk:
    """Rows with censored cells.

    Parameters
    ----------
    values, lower, upper : ndarray, shape (n, d)
        NaN where not observed; bounds, infinite where there is none.
    weights : ndarray, shape (n,)
        Positive weights.
    origin : ndarray, shape (d,)
        Point that the statistics are measured from.
    """

    values: Floats
    lower: Floats
    upper: Floats
    weights: Floats
    origin: Floats


@dataclass(frozen=True)
class PlainChunk:
    """Rows without a limit, as `MultivariateNormal` wants them, and the point that the statistics are measured from."""

    rows: Any
    origin: Floats


class CensoredSource:
    """A table with gaps and detection limits: rows without a limit reduced to patterns, the others as they are.

    Attributes `means` and `sds` are those of each column by itself, by maximum likelihood, to start from.

    Parameters
    ----------
    readings : Readings
        What is known of each cell.
    weights : array, shape (n,), optional
        Non-negative weights; 1 by default. A weight of 2 equals the row twice.
    labels : sequence of str, optional
        Names of the columns, for messages.
    chunk_rows : int
        Rows with a limit per chunk.

    Raises
    ------
    InputError
        If the table is empty, holds an infinity, a column has no value, or the weights do not fit.
    """

    def __init__(
        self,
        readings: Readings,
        weights: Floats | None = None,
        labels: tuple[str, ...] = (),
        chunk_rows: int = ROWS_PER_CHUNK,
    ) -> None:
        values = readings.values
        n, d = values.shape
        if not values.size:
            raise InputError("data", f"array of shape {values.shape}", "a table with at least one row and column")
        if np.isinf(values).any():
            row, column = np.argwhere(np.isinf(values))[0]
            raise InputError("data", f"row {row}, column {column} is infinite", "finite values, NaN where missing")
        w = check_weights(weights, n)
        used = w > 0
        observed, bounded = readings.observed, readings.bounded
        seen = observed & used[:, None]
        for j in np.flatnonzero(~seen.any(axis=0)):
            name = labels[j] if labels else f"column {j}"
            beyond = int(bounded[used, j].sum())
            got = f"{name} has no value, {beyond} cells beyond a limit" if beyond else f"{name} has no value"
            remedy = "drop it, or enter it as a covariate: beyond the limit or not" if beyond else "drop it"
            raise InputError("data", got, "at least one value in each column", remedy)
        lower, upper = readings.bounds()
        marginals = [tobit(values[:, j], lower[:, j], upper[:, j], w) for j in range(d)]
        self.means, self.sds = np.array(marginals).T.copy()
        self.origin: Floats = np.array([np.average(values[o, j], weights=w[o]) for j, o in enumerate(seen.T)])
        limited = used & bounded.any(axis=1)
        plain = used & ~bounded.any(axis=1) & observed.any(axis=1)
        self.plain: Source[Any] | None = None
        if observed[plain].any(axis=0).all():
            self.plain = PatternSource(values[plain], w[plain])
        else:
            limited |= plain
        self.values, self.weights = values[limited], w[limited]
        self.lower = np.where(bounded[limited], lower[limited], -np.inf)
        self.upper = np.where(bounded[limited], upper[limited], np.inf)
        self.chunk_rows = chunk_rows

    @property
    def n_units(self) -> int:
        return len(self.values) + (0 if self.plain is None else self.plain.n_units)

    @property
    def n_plain_chunks(self) -> int:
        """Chunks of rows without any limit; they come first."""
        return 0 if self.plain is None else self.plain.n_chunks

    @property
    def n_chunks(self) -> int:
        return self.n_plain_chunks - (-len(self.values) // self.chunk_rows)

    def chunk(self, index: int) -> CensoredChunk | PlainChunk:
        if self.plain is not None and index < self.n_plain_chunks:
            return PlainChunk(self.plain.chunk(index), self.origin)
        first = (index - self.n_plain_chunks) * self.chunk_rows
        rows = slice(first, first + self.chunk_rows)
        return CensoredChunk(self.values[rows], self.lower[rows], self.upper[rows], self.weights[rows], self.origin)


@dataclass(frozen=True)
class CensoredNormal:
    """Multivariate normal distribution of rows whose cells are observed, lie between bounds, or are missing.

    A cell below its limit of detection contributes the probability of lying there given the rest of its row, instead
    of a number put in its place. Exact where up to two cells of a row are censored; with more, their moments within
    the bounds and the probability come from expectation propagation, of whose likelihood the estimates, standard
    errors and certificate are those. Bounds are of cells, so that each plate or row may have its own.

    Parameters
    ----------
    n_features : int
        Columns, at least 1.
    prior : CovariancePrior, optional
        Inverse-Wishart prior on the covariance.
    labels : tuple of str
        Names of the columns, for messages.

    Raises
    ------
    InputError
        If there is no column, or the prior does not fit.

    References
    ----------
    Lee & Scott (2012), Comput. Stat. Data Anal. 56, 2816-2829, doi:10.1016/j.csda.2012.03.003, section 2.2, for EM;
    Cunningham, Hennig & Lacoste-Julien (2011), arXiv:1111.6832, for expectation propagation.

    Examples
    --------
    >>> from emtools.engine.starts import fit
    >>> table = np.array([[1.0, np.nan], [2.0, 2.4], [3.0, 2.9], [4.0, 4.5], [5.0, 4.6]])
    >>> known = Readings(table, upper=np.where(np.isnan(table), 1.5, np.inf))
    >>> model = CensoredNormal(2)
    >>> result = fit(model, model.source(known))
    >>> filled, sd = model.conditional(result.params, known)
    >>> bool(filled[0, 1] < 1.5), bool(sd[0, 1] > 0)
    (True, True)
    """

    n_features: int
    prior: CovariancePrior | None = None
    labels: tuple[str, ...] = ()
    name: ClassVar[str] = "censored_normal"
    strategies: ClassVar[tuple[str, ...]] = ("moments", "random")
    assigns: ClassVar[tuple[str, ...]] = ("soft",)
    takes_bounds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        MultivariateNormal(self.n_features, self.prior, self.labels)

    @property
    def normal(self) -> MultivariateNormal:
        """The distribution of complete rows, whose statistics and M-step these are."""
        return MultivariateNormal(self.n_features, self.prior, self.labels)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What fixes the model, as JSON values."""
        return self.normal.hyperparameters

    @property
    def n_free_parameters(self) -> int:
        """Means, variances and covariances."""
        return self.normal.n_free_parameters

    def source(self, readings: Readings, weights: Floats | None = None) -> CensoredSource:
        """The rows as the E-step wants them; see `CensoredSource`."""
        return CensoredSource(readings, weights, self.labels)

    def initial_params(self, data: CensoredSource, rng: np.random.Generator, strategy: str) -> NormalParams:
        """``"moments"``: each column's own censored normal by maximum likelihood, no correlation. ``"random"``: the
        mean moved by about one standard deviation, variances by a factor of about two, and a random correlation.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        d, mean = self.n_features, data.means
        if len(mean) != d:
            raise InputError("data", f"{len(mean)} columns", f"{d}")
        sd = np.where(data.sds > 0, data.sds, 1.0)
        if strategy == "moments":
            return NormalParams(mean, np.diag(sd**2))
        sd = sd * np.sqrt(2.0 ** rng.normal(size=d))
        draw = rng.normal(size=(d, 2 * d + 2))
        scatter = draw @ draw.T
        scale = sd / np.sqrt(np.diagonal(scatter))
        return NormalParams(mean + sd * rng.normal(size=d), scatter * np.outer(scale, scale))

    def e_step(self, params: NormalParams, chunk: CensoredChunk | PlainChunk, assign: Assign = "soft") -> NormalStats:
        """Expected moments of the completed rows; see `emtools.kernels.censored.complete`.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        if isinstance(chunk, PlainChunk):
            return self.normal.e_step(params, chunk.rows, assign).about(chunk.origin)
        n, d = float(chunk.weights.sum()), self.n_features
        if chunk.values.shape[1] != d:
            raise InputError("data", f"{chunk.values.shape[1]} columns", f"{d}")
        scaled = scale_normal(params.mean, params.covariance)
        if scaled is None:
            return NormalStats(n, math.nan, math.nan, np.zeros(d), np.zeros((d, d)), chunk.origin)
        spread = np.zeros((d, d))
        completed, _, log_densities, entropies, _ = self.completed(scaled, chunk, spread)
        rows = params.mean - chunk.origin + scaled.sd * completed
        weighted = chunk.weights[:, None] * rows
        log_sd = np.log(scaled.sd)
        observed = ~np.isnan(chunk.values)
        return NormalStats(
            n,
            float(chunk.weights @ (log_densities - observed @ log_sd)),
            float(chunk.weights @ (entropies + ~observed @ log_sd)),
            weighted.sum(axis=0),
            weighted.T @ rows + spread * np.outer(scaled.sd, scaled.sd),
            chunk.origin,
        )

    def completed(
        self, scaled: Scaled, chunk: CensoredChunk, spread: Floats
    ) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """What is expected of rows, in standard deviations; see `emtools.kernels.censored.complete`."""
        return complete(
            (chunk.values - scaled.mean) / scaled.sd,
            (chunk.lower - scaled.mean) / scaled.sd,
            (chunk.upper - scaled.mean) / scaled.sd,
            chunk.weights,
            scaled.correlation,
            scaled.precision,
            scaled.half_log_determinant,
            scaled.by_precision,
            spread,
        )

    def m_step(self, stats: NormalStats, params: NormalParams) -> NormalParams:
        """The M-step of complete rows; see `MultivariateNormal.m_step`."""
        return self.normal.m_step(stats, params)

    def expected_loglik(self, stats: NormalStats, params: NormalParams) -> float:
        """Q in nats; see `MultivariateNormal.expected_loglik`."""
        return self.normal.expected_loglik(stats, params)

    def log_prior(self, params: NormalParams) -> float:
        """Inverse-Wishart log density but for a constant; 0.0 without a prior."""
        return self.normal.log_prior(params)

    def pack(self, params: NormalParams) -> Floats:
        """Means, then the log-Cholesky vector of the covariance."""
        return self.normal.pack(params)

    def unpack(self, vector: Floats) -> NormalParams:
        """Inverse of `pack`."""
        return self.normal.unpack(vector)

    def natural(self, params: NormalParams) -> dict[str, Floats]:
        """Means (d,) and covariances (d, d)."""
        return self.normal.natural(params)

    def canonical(self, params: NormalParams) -> NormalParams:
        """`params`: there are no components to order."""
        return params

    def degenerate(self, stats: NormalStats, params: NormalParams) -> str | None:
        """Whether the next covariance has a direction without variance: the likelihood has no top there."""
        return self.normal.degenerate(stats, params)

    def scaled(self, params: NormalParams, readings: Readings) -> tuple[Scaled, CensoredChunk]:
        """Parameters and rows as the kernels want them.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        numpy.linalg.LinAlgError
            If the covariance is not positive definite.
        """
        n, d = readings.values.shape
        if d != self.n_features:
            raise InputError("data", f"{d} columns", f"{self.n_features}")
        scaled = scale_normal(params.mean, params.covariance)
        if scaled is None:
            raise np.linalg.LinAlgError("the covariance is not positive definite")
        return scaled, CensoredChunk(readings.values, *readings.bounds(), np.ones(n), params.mean)

    def conditional(self, params: NormalParams, readings: Readings) -> tuple[Floats, Floats]:
        """Conditional mean of each gap, in the table, and its standard deviation.

        A censored cell's mean lies within its bounds and its standard deviation is that of the truncated
        distribution, which is skew: read intervals from `draw`.

        Parameters
        ----------
        params : NormalParams
        readings : Readings
            Rows, shape (n, d).

        Returns
        -------
        filled : ndarray, shape (n, d)
            Observed values untouched; a row of which nothing is known gets the means.
        sd : ndarray, shape (n, d)
            NaN where observed.
        """
        scaled, chunk = self.scaled(params, readings)
        completed, variances, _, _, _ = self.completed(scaled, chunk, np.zeros_like(params.covariance))
        return self.placed(scaled, readings, completed), np.where(
            readings.observed, np.nan, scaled.sd * np.sqrt(np.maximum(variances, 0.0))
        )

    def placed(self, scaled: Scaled, readings: Readings, completed: Floats) -> Floats:
        """Rows in their units: observed values bit by bit, and rounding keeps no cell beyond its bounds."""
        filled = scaled.mean + scaled.sd * completed
        low, high = readings.bounds()
        return np.where(readings.observed, readings.values, np.clip(filled, low, high))

    def draw(self, params: NormalParams, readings: Readings, rng: np.random.Generator) -> Floats:
        """The table with each row's gaps drawn jointly from their conditional distribution, within their bounds.

        Exact for one censored cell; of more, the end of a Markov chain of `ROUNDS` steps that starts near its target.

        Parameters
        ----------
        params : NormalParams
        readings : Readings
            Rows, shape (n, d).
        rng : numpy.random.Generator

        Returns
        -------
        ndarray, shape (n, d)
        """
        scaled, chunk = self.scaled(params, readings)
        drawn = draw_rows(
            (chunk.values - scaled.mean) / scaled.sd,
            (chunk.lower - scaled.mean) / scaled.sd,
            (chunk.upper - scaled.mean) / scaled.sd,
            scaled.correlation,
            scaled.precision,
            scaled.half_log_determinant,
            scaled.by_precision,
            ROUNDS,
            rng,
        )
        return self.placed(scaled, readings, drawn)

    def moments(self, params: NormalParams) -> tuple[Floats, Floats]:
        """Mean (d,) and covariance (d, d) of a row."""
        return params.mean, params.covariance

    def log_density(self, params: NormalParams, readings: Readings) -> Floats:
        """Log density of the observed cells of each row, plus log probability of the bounds of the others given them.

        Parameters
        ----------
        params : NormalParams
        readings : Readings
            Rows, shape (n, d).

        Returns
        -------
        ndarray, shape (n,)
            Nats; 0 for a row of which nothing is known.
        """
        scaled, chunk = self.scaled(params, readings)
        _, _, log_densities, _, _ = self.completed(scaled, chunk, np.zeros_like(params.covariance))
        densities: Floats = log_densities - readings.observed @ np.log(scaled.sd)
        return densities

    def notices(self, readings: Readings) -> tuple[str, ...]:
        """What the reader should know: how many rows were approximated, and columns mostly beyond their limits."""
        bounded = readings.bounded
        cells = bounded.sum(axis=1)
        told = []
        if (cells > EXACT).any():
            told.append(
                f"{int((cells > EXACT).sum())} of {len(cells)} rows have more than {EXACT} cells beyond a limit: their"
                " likelihood is that of expectation propagation, the others' is exact"
            )
        share = bounded.mean(axis=0)
        for j in np.flatnonzero(share > 0.5):
            told.append(
                f"{self.normal.label(int(j))} is beyond its limit in {100 * share[j]:.0f} % of the rows: its mean and variance"
                " rest on the normal shape below the limit; report it as detected or not instead"
            )
        return tuple(told)
