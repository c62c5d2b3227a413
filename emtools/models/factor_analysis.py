"""Factor analysis and probabilistic principal components of a table with gaps.

Rotating the factors changes nothing that can be observed. The loadings are therefore kept *anchored*: the first rows
form a lower triangle, so that every packed vector is another distribution. What does not depend on the rotation
(communalities, the covariance) and the loadings along principal axes are what `natural` reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from emtools.engine.chunks import VALUES_PER_CHUNK
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.factors import Posterior, factor_moments, posterior, unpacked
from emtools.kernels.missing import LOG_2PI, factorise
from emtools.kernels.readings import Readings
from emtools.models.assignment import kind_of
from emtools.models.factor_rows import FactorChunk, FactorSource, leading_axes

# A uniqueness below this share of its column's variance, with no bound set, counts as on its way to zero (Heywood):
# EM would follow it for ever, ψ falling as one over the passes. Isotropic noise is no such case short of rounding.
HEYWOOD = 1e-3
NO_NOISE = 1e-13
# Columns of loadings whose cosines are below this already lie along principal axes.
ALIGNED = 1e-12
TINY = 1e-300  # stands for a noise at its bound in the packed vector
SHOWN = 200  # columns up to which `natural` holds the covariance


@dataclass(frozen=True)
class FactorParams:
    """Parameters of `FactorAnalysis`.

    Parameters
    ----------
    mean : ndarray, shape (d,)
        Units of the columns.
    loadings : ndarray, shape (d, q)
        Λ, units of the columns, in any rotation.
    noise : ndarray, shape (d,)
        Uniquenesses Ψ, squared units; all equal where the noise is isotropic.
    """

    mean: Floats
    loadings: Floats
    noise: Floats


@dataclass(frozen=True)
class FactorStats(Stats):
    """Expected moments of completed rows x, measured from an origin, and their factors z, anchored.

    Parameters
    ----------
    x, z : ndarray, shapes (d,) and (q,)
        Expected sums.
    xx : ndarray, shape (d,)
        Expected sums of squares.
    xz, zz : ndarray, shapes (d, q) and (q, q)
        Expected sums of products.
    origin : ndarray, shape (d,)
        Statistics about two origins add too: the second is moved to the first.
    """

    x: Floats
    z: Floats
    xx: Floats
    xz: Floats
    zz: Floats
    origin: Floats

    def scaled(self, factor: float) -> Self:
        """The statistics of `factor` times as many rows; the origin is a place and stays."""
        return replace(super().scaled(factor), origin=self.origin)

    def __add__(self, other: Self) -> Self:
        return replace(super().__add__(other.about(self.origin)), origin=self.origin)

    def about(self, origin: Floats) -> Self:
        """The same statistics about another origin."""
        shift = self.origin - origin
        if not shift.any():
            return self
        return replace(
            self,
            x=self.x + self.n * shift,
            xx=self.xx + shift * (2.0 * self.x + self.n * shift),
            xz=self.xz + np.outer(shift, self.z),
            origin=origin,
        )


@dataclass(frozen=True)
class FactorPrior:
    """Inverse-gamma prior on each uniqueness, normal prior on its loadings given it.

    ``-½ Σ_j [rows (log ψ_j + v_j / ψ_j) + ridge |Λ_j|² / ψ_j]``: as if `rows` more rows had been seen that the factors
    leave with the variances `noise`. No uniqueness goes to zero (Heywood case), since both parts of the prior do not let it.

    Parameters
    ----------
    noise : ndarray, shape (d,)
        v, squared units of the columns, positive.
    rows : float
        Weight of the prior on uniquenesses, positive.
    ridge : float
        Weight of the prior on loadings, at least 0.

    References
    ----------
    Press & Shigemasu (1989), in Contributions to Probability and Statistics, 271-287, doi:10.1007/978-1-4612-3678-8_19.
    """

    noise: Floats
    rows: float = 1.0
    ridge: float = 0.0


@dataclass(frozen=True)
class FactorAnalysis:
    """Rows ``x = μ + Λ z + ε`` with q standard normal factors z and independent normal noise ε; gaps allowed.

    Maximum likelihood from every observed value, right where values are missing at random. With isotropic noise it
    is probabilistic principal component analysis.

    Parameters
    ----------
    n_features : int
        Columns d, at least 2.
    n_factors : int
        Factors q, 1 to d - 1. With diagonal noise no more than (d - q)² >= d + q can be told apart.
    noise : {"diagonal", "isotropic"}
        A variance for each column, or one for all.
    least_noise : float
        Lower bound of each variance, in squared units of the columns; the M-step maximises within it. At 0 a
        variance below 1e-3 of that of its column (Heywood case) ends the climb as degenerate.
    expand : bool
        Parameter-expanded EM: the factors may have any mean and covariance in the M-step and are standardised after
        it. Climbs the same likelihood in fewer passes, but its M-step does not maximise Q.
    prior : FactorPrior, optional
        Keeps uniquenesses from zero and loadings small.
    labels : tuple of str
        Names of the columns, for messages.

    Raises
    ------
    InputError
        If a number or the kind of noise cannot be used.

    References
    ----------
    Rubin & Thayer (1982), Psychometrika 47, 69-76, doi:10.1007/BF02293851; Ghahramani & Hinton (1996), CRG-TR-96-1;
    Tipping & Bishop (1999), J. R. Stat. Soc. B 61, 611-622, doi:10.1111/1467-9868.00196; Liu, Rubin & Wu (1998),
    Biometrika 85, 755-770, doi:10.1093/biomet/85.4.755 (expansion).

    Examples
    --------
    >>> from emtools.engine.starts import fit
    >>> rng = np.random.default_rng(0)
    >>> table = rng.normal(size=(300, 1)) * [2.0, 1.0, -1.0, 1.0] + 0.5 * rng.normal(size=(300, 4))
    >>> table[::7, 1] = np.nan
    >>> from emtools.models.factor_rows import FactorSource
    >>> result = fit(FactorAnalysis(4, 1), FactorSource(table))
    >>> result.model.natural(result.params)["loadings"].ravel().round(1).tolist()
    [2.0, 1.0, -1.0, 1.1]
    """

    n_features: int
    n_factors: int
    noise: Literal["diagonal", "isotropic"] = "diagonal"
    least_noise: float = 0.0
    expand: bool = False
    prior: FactorPrior | None = None
    labels: tuple[str, ...] = ()

    name: ClassVar[str] = "factor_analysis"
    strategies: ClassVar[tuple[str, ...]] = ("principal", "random")
    assigns: ClassVar[tuple[str, ...]] = ("soft",)

    def __post_init__(self) -> None:
        if self.n_features < 2:
            raise InputError("factor analysis", f"{self.n_features} columns", "at least 2")
        if not 1 <= self.n_factors < self.n_features:
            raise InputError("factors", str(self.n_factors), f"1 to {self.n_features - 1}")
        if self.noise not in ("diagonal", "isotropic"):
            raise InputError("noise", repr(self.noise), "diagonal or isotropic")
        if not 0.0 <= self.least_noise < math.inf:
            raise InputError("least_noise", str(self.least_noise), "a number of at least 0")
        if self.prior is None:
            return
        if self.expand:
            raise InputError("factor prior", "expand", "no expansion", "it is an M-step of the likelihood alone")
        usable = self.prior.noise.shape == (self.n_features,) and (self.prior.noise > 0.0).all()
        if not usable or not self.prior.rows > 0.0 or not self.prior.ridge >= 0.0:
            got = f"{self.prior.rows} rows, ridge {self.prior.ridge}, noise of shape {self.prior.noise.shape}"
            raise InputError(
                "factor prior", got, f"positive rows and noise of shape ({self.n_features},), ridge 0 or more"
            )

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {
            "n_features": self.n_features,
            "n_factors": self.n_factors,
            "noise": self.noise,
            "least_noise": self.least_noise,
            "expand": self.expand,
            "prior": None if self.prior is None else vars(self.prior),
        }

    @property
    def n_free_parameters(self) -> int:
        """Means, loadings but for their rotation, and noise."""
        d, q = self.n_features, self.n_factors
        return d + d * q - q * (q - 1) // 2 + (1 if self.noise == "isotropic" else d)

    def initial_params(self, data: Source[FactorChunk], rng: np.random.Generator, strategy: str) -> FactorParams:
        """Parameters to start from.

        ``"principal"`` takes the leading principal axes of the correlations of what is observed, gaps at their mean,
        turned a little at random; ``"random"`` draws loadings that explain about half of each variance.

        Raises
        ------
        InputError
            If the number of columns is wrong or a column is constant.
        """
        d, q = self.n_features, self.n_factors
        weight, total, square = np.zeros(d), np.zeros(d), np.zeros(d)
        for index in range(data.n_chunks):
            chunk = data.chunk(index)
            self.check_columns(chunk)
            weight += chunk.share**2 @ chunk.seen
            total += chunk.share @ chunk.rows
            square += (chunk.rows**2).sum(axis=0)
        centre = total / weight
        variance = square / weight - centre**2
        if not (variance > 0.0).all():
            column = int(np.argmin(variance > 0.0))
            raise InputError("data", f"{self.label(column)} is constant", "columns that vary", "drop it")
        sd = np.sqrt(variance)
        loadings = rng.normal(size=(d, q)) * math.sqrt(0.5 / q)
        unique = np.full(d, 0.5)
        if strategy == "principal":
            chunks = (data.chunk(index) for index in range(data.n_chunks))
            away = [c.rows - c.seen * np.outer(c.share, centre) for c in chunks]
            values, axes = leading_axes(np.vstack(away) / (sd * np.sqrt(weight)), q)
            rest = (d - float(values.sum())) / (d - q)
            kept = np.sqrt(np.maximum(values - rest, 0.1))
            loadings = axes * kept * (1.0 + 0.05 * rng.normal(size=q)) + 0.01 * loadings
            unique = np.clip(1.0 - (loadings**2).sum(axis=1), 0.1, 1.0)
        noise = np.maximum(unique * variance, self.least_noise)
        if self.noise == "isotropic":
            noise = np.full(d, noise.mean())
        return self.anchored(FactorParams(chunk.origin + centre, loadings * sd[:, None], noise))

    def check_columns(self, chunk: FactorChunk) -> None:
        """Refuse a table of another width."""
        if len(chunk.origin) != self.n_features:
            raise InputError("data", f"{len(chunk.origin)} columns", f"{self.n_features}")

    def anchored(self, params: FactorParams) -> FactorParams:
        """The same distribution with zeros above the diagonal of the loadings; `params` itself where they are there."""
        if not np.triu(params.loadings, 1).any():
            return params
        head = params.loadings[: self.n_factors]
        rotation, triangle = np.linalg.qr(head.T)
        rotation = rotation * np.where(np.diagonal(triangle) < 0.0, -1.0, 1.0)
        return replace(params, loadings=np.tril(params.loadings @ rotation))

    def e_step(self, params: FactorParams, chunk: FactorChunk, assign: Assign = "soft") -> FactorStats:
        """Expected moments of completed rows and anchored factors; see `emtools.kernels.factors.factor_moments`.

        Raises
        ------
        InputError
            If the number of columns is wrong, or the assignment is not soft.
        """
        self.check_columns(chunk)
        kind_of(assign, self.assigns)
        params = self.anchored(params)
        mean = params.mean - chunk.origin
        m = factor_moments(chunk.rows, chunk.seen, chunk.share, mean, params.loadings, params.noise)
        n = float(chunk.share @ chunk.share)
        return FactorStats(n, m.loglik, m.entropy, m.x, m.z, m.xx, m.xz, m.zz, chunk.origin)

    def m_step(self, stats: FactorStats, params: FactorParams) -> FactorParams:
        """Regression of each column on a constant and its factors; the noise is what it leaves.

        Column j < q depends on the factors 1 to j alone: the loadings stay anchored. With `expand` the factors are
        then standardised by their own mean and covariance (Liu, Rubin & Wu 1998, section 3). With a prior the regression is
        a ridge, and the noise ``(left + ridge |Λ_j|² + rows v_j) / (n + rows)``.
        """
        d, q = self.n_features, self.n_factors
        prior = self.prior
        ridge, rows = (0.0, 0.0) if prior is None else (prior.ridge, prior.rows)
        zz = stats.zz + ridge * np.eye(q)
        inner = np.block([[np.full((1, 1), stats.n), stats.z[None, :]], [stats.z[:, None], zz]])
        outer = np.concatenate([stats.x[:, None], stats.xz], axis=1)
        table = np.zeros((d, q + 1))
        for j in range(q - 1):
            table[j, : j + 2] = np.linalg.solve(inner[: j + 2, : j + 2], outer[j, : j + 2])
        table[q - 1 :] = np.linalg.solve(inner, outer[q - 1 :].T).T
        left = stats.xx - 2.0 * (table * outer).sum(axis=1) + ((table @ inner) * table).sum(axis=1)
        if prior is not None:
            left = left + rows * prior.noise
        noise = np.maximum(left / (stats.n + rows), self.least_noise)
        if self.noise == "isotropic":
            noise = np.full(d, max(float(left.sum()) / (d * (stats.n + rows)), self.least_noise))
        mean, loadings = table[:, 0], table[:, 1:]
        if self.expand:
            middle = stats.z / stats.n
            factor = factorise(stats.zz / stats.n - np.outer(middle, middle))
            if factor is not None:
                mean, loadings = mean + loadings @ middle, np.tril(loadings @ factor)
        return FactorParams(stats.origin + mean, loadings, noise)

    def expected_loglik(self, stats: FactorStats, params: FactorParams) -> float:
        """``-½ [n d log 2π + n log|Ψ| + Σ_j S_jj / ψ_j + n q log 2π + tr Σ E[z zᵀ]]`` in nats.

        ``S_jj`` is the expected sum of squares of ``x_j - μ_j - Λ_j z``.
        """
        params = self.anchored(params)
        mean, loadings, noise = params.mean - stats.origin, params.loadings, params.noise
        if not (noise > 0.0).all():
            return math.nan
        cross = mean * stats.x + (loadings * stats.xz).sum(axis=1)
        product = loadings @ stats.zz + 2.0 * np.outer(mean, stats.z)
        left = stats.xx - 2.0 * cross + stats.n * mean**2 + (product * loadings).sum(axis=1)
        of_rows = stats.n * (self.n_features * LOG_2PI + float(np.log(noise).sum())) + float((left / noise).sum())
        return -0.5 * (of_rows + stats.n * self.n_factors * LOG_2PI + float(np.trace(stats.zz)))

    def log_prior(self, params: FactorParams) -> float:
        """``-½ Σ_j [rows (log ψ_j + v_j / ψ_j) + ridge |Λ_j|² / ψ_j]`` in nats; 0.0 without a prior."""
        if self.prior is None:
            return 0.0
        if not (params.noise > 0.0).all():
            return math.nan
        squares = self.prior.rows * self.prior.noise + self.prior.ridge * (params.loadings**2).sum(axis=1)
        return -0.5 * float((self.prior.rows * np.log(params.noise) + squares / params.noise).sum())

    def pack(self, params: FactorParams) -> Floats:
        """Means, anchored loadings without their zeros, logs of the noise above its bound."""
        params = self.anchored(params)
        free = np.tri(self.n_features, self.n_factors, dtype=bool)
        noise = params.noise[:1] if self.noise == "isotropic" else params.noise
        above = np.log(np.maximum(noise - self.least_noise, TINY))
        return np.concatenate([params.mean, params.loadings[free], above])

    def unpack(self, vector: Floats) -> FactorParams:
        """Inverse of `pack`."""
        d, q = self.n_features, self.n_factors
        free = np.tri(d, q, dtype=bool)
        loadings = np.zeros((d, q))
        cut = d + int(free.sum())
        loadings[free] = vector[d:cut]
        noise = np.exp(vector[cut:])
        noise = self.least_noise + np.where(noise < 10.0 * TINY, 0.0, noise)
        return FactorParams(vector[:d], loadings, np.repeat(noise, d) if self.noise == "isotropic" else noise)

    def principal_axes(self, params: FactorParams) -> Floats:
        """Loadings turned so that ``ΛᵀΨ⁻¹Λ`` is diagonal and descending, the entry that is largest in standard deviations of
        its noise positive in each column. Neither depends on the units of the columns.

        Parameters
        ----------
        params : FactorParams
            Parameters.

        Returns
        -------
        ndarray, shape (d, q)
            `params.loadings` itself where it is so already.

        References
        ----------
        Lawley & Maxwell (1971), Factor Analysis as a Statistical Method, 2nd ed., section 2.3.
        """
        loadings, noise = params.loadings, params.noise
        white = loadings / np.sqrt(noise)[:, None] if (noise > 0.0).all() else loadings
        norms = np.sqrt((white**2).sum(axis=0))
        largest = white[np.abs(white).argmax(axis=0), np.arange(self.n_factors)]
        bound = ALIGNED * np.outer(norms, norms) + np.diag(norms**2)
        aligned = (np.abs(white.T @ white) <= bound * (1.0 + ALIGNED)).all()
        if aligned and (largest >= 0.0).all() and (np.diff(norms) <= 0.0).all():
            return loadings
        left, _, axes = np.linalg.svd(white, full_matrices=False)
        largest = left[np.abs(left).argmax(axis=0), np.arange(self.n_factors)]
        return np.asarray((loadings @ axes.T) * np.where(largest < 0.0, -1.0, 1.0))

    def covariance(self, params: FactorParams) -> Floats:
        """``ΛΛᵀ + Ψ``, shape (d, d)."""
        return np.asarray(params.loadings @ params.loadings.T + np.diag(params.noise))

    def natural(self, params: FactorParams) -> dict[str, Floats]:
        """Mean, uniquenesses, communalities, covariance (of 200 columns at most), and loadings along principal axes.

        None depends on the rotation.
        """
        named = {
            "mean": params.mean,
            "uniqueness": params.noise,
            "communality": (params.loadings**2).sum(axis=1),
            "loadings": self.principal_axes(params),
        }
        return named if self.n_features > SHOWN else {**named, "covariance": self.covariance(params)}

    def canonical(self, params: FactorParams) -> FactorParams:
        """The same distribution with its loadings along principal axes."""
        return replace(params, loadings=self.principal_axes(params))

    def degenerate(self, stats: FactorStats, params: FactorParams) -> str | None:
        """A uniqueness that goes to zero without a bound: a Heywood case."""
        if self.least_noise > 0.0 or self.prior is not None:
            return None
        noise = self.m_step(stats, params).noise
        centre = stats.x / stats.n
        share = noise / (stats.xx / stats.n - centre**2)
        column = int(np.argmin(share))
        if share[column] > (NO_NOISE if self.noise == "isotropic" else HEYWOOD):
            return None
        if self.noise == "isotropic":
            return f"{self.n_factors} factors leave no noise: the likelihood has no maximum"
        return (
            f"the uniqueness of {self.label(column)} goes to zero (Heywood case): use fewer factors or set least_noise"
        )

    def scores(self, params: FactorParams, values: Floats) -> tuple[Floats, Floats]:
        """Expected factors of each row given what was observed of it, along principal axes, and their errors.

        Parameters
        ----------
        params : FactorParams
            Parameters.
        values : ndarray, shape (n, d)
            NaN where missing.

        Returns
        -------
        scores, sd : ndarray, shape (n, q)
            Conditional means and standard deviations; 0 and 1 in a row without any value.

        Raises
        ------
        InputError
            If the number of columns is wrong.
        """
        loadings = self.principal_axes(params)
        scores, sd = np.zeros((len(values), self.n_factors)), np.ones((len(values), self.n_factors))
        for part, _, given in self.posteriors(replace(params, loadings=loadings), values):
            scores[part] = given.scores
            for i, triangle in enumerate(given.spreads):
                sd[part.start + i] = np.sqrt(np.diagonal(unpacked(triangle, self.n_factors)))
        return scores, sd

    def label(self, column: int) -> str:
        """Name of a column, for messages."""
        return self.labels[column] if self.labels else f"column {column + 1}"

    @property
    def takes_bounds(self) -> bool:
        """False: bounds of cells are not used."""
        return False

    def source(self, readings: Readings, weights: Floats | None = None) -> FactorSource:
        """The rows as the E-step wants them."""
        return FactorSource(readings.values, weights)

    def posteriors(self, params: FactorParams, values: Floats) -> Iterator[tuple[slice, Floats, Posterior]]:
        """Rows by blocks: which, their mask (1.0 where observed), and their factors given what was observed.

        Raises
        ------
        InputError
            If the number of columns is wrong or a variance is not positive.
        """
        if values.ndim != 2 or values.shape[1] != self.n_features:
            raise InputError("data", f"array of shape {values.shape}", f"{self.n_features} columns")
        if not (params.noise > 0.0).all():
            raise InputError("noise", "a variance that is not positive", "positive variances")
        step = max(1, VALUES_PER_CHUNK // max(self.n_features, self.n_factors**2))
        for begin in range(0, len(values), step):
            part = slice(begin, min(begin + step, len(values)))
            block = values[part]
            seen = (~np.isnan(block)).astype(np.float64)
            rows = np.where(seen > 0.0, block - params.mean, 0.0)
            nothing = np.zeros(self.n_features)
            yield part, seen, posterior(rows, seen, np.ones(len(rows)), nothing, params.loadings, params.noise)

    def conditional(self, params: FactorParams, readings: Readings) -> tuple[Floats, Floats]:
        """Conditional mean of each gap, in the table, and its standard deviation; see `TableModel`.

        ``E[x_m | x_o] = μ_m + Λ_m ẑ`` and ``var[x_j | x_o] = Λ_j cov[z | x_o] Λ_jᵀ + ψ_j``.
        """
        filled, sd = readings.values.copy(), np.full(readings.values.shape, np.nan)
        for part, seen, given in self.posteriors(params, readings.values):
            mean = params.mean + given.scores @ params.loadings.T
            variance = np.empty_like(mean)
            for i, triangle in enumerate(given.spreads):
                turned = params.loadings @ unpacked(triangle, self.n_factors)
                variance[i] = (turned * params.loadings).sum(axis=1) + params.noise
            gaps = seen == 0.0
            filled[part][gaps] = mean[gaps]
            sd[part][gaps] = np.sqrt(variance[gaps])
        return filled, sd

    def draw(self, params: FactorParams, readings: Readings, rng: np.random.Generator) -> Floats:
        """The table with the gaps of each row drawn jointly: its factors first, then the noise."""
        filled = readings.values.copy()
        for part, seen, given in self.posteriors(params, filled):
            normal = rng.standard_normal(given.scores.shape)
            factors = given.scores.copy()
            for i, triangle in enumerate(given.spreads):
                factors[i] += np.linalg.cholesky(unpacked(triangle, self.n_factors)) @ normal[i]
            noise = np.sqrt(params.noise) * rng.standard_normal(seen.shape)
            drawn = params.mean + factors @ params.loadings.T + noise
            filled[part] = np.where(seen > 0.0, filled[part], drawn)
        return filled

    def moments(self, params: FactorParams) -> tuple[Floats, Floats]:
        """Mean (d,) and covariance (d, d) of a row."""
        return params.mean, self.covariance(params)

    def log_density(self, params: FactorParams, readings: Readings) -> Floats:
        """Log density of what was observed of each row in nats, shape (n,); 0 for a row without any value."""
        density = np.zeros(len(readings.values))
        for part, seen, given in self.posteriors(params, readings.values):
            constant = seen @ (LOG_2PI + np.log(params.noise)) + given.log_determinants
            density[part] = -0.5 * (constant + given.squares)
        return density
