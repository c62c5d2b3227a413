"""Laplace signal on a uniform background: a mixture whose statistics are not a finite sum.

The location of the Laplace part is a weighted median, so the statistics are a weighted sample, which
merges. The bounds of the uniform part cannot move in a climb: every row between them has a positive
responsibility and no row outside has one, so the textbook's update returns the bounds it was given.
They are therefore profiled: each start holds a pair of order statistics, and the best start wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source, Stats
from emtools.errors import InputError
from emtools.kernels.laplace import log_laplace, log_uniform, order_statistic, weighted_median
from emtools.models.assignment import EVERY_KIND, shared_rows
from emtools.models.mixture_starts import sample_rows

# A scale or a width below this share of the range of the data is on its way to zero.
COLLAPSED = 1e-9
# Share of the rows in which each bound is sought: a uniform part on a few rows would win by its height.
TAIL = 0.25


@dataclass(frozen=True)
class LaplaceUniformParams:
    """Parameters of the mixture.

    Parameters
    ----------
    weight : float
        Share of the Laplace part, from 0 to 1.
    location, scale : float
        Its median and mean absolute deviation, in the unit of the data.
    lower, upper : float
        Bounds of the uniform part, in the unit of the data; constant in a climb.
    """

    weight: float
    location: float
    scale: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Sample:
    """Rows with a weight for either part; two samples add by being put together.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Unit of the data.
    laplace, uniform : ndarray, shape (n,)
        Expected weights.
    """

    values: Floats
    laplace: Floats
    uniform: Floats

    def scaled(self, factor: float) -> Sample:
        """The sample with its weights times `factor`."""
        return Sample(self.values, self.laplace * factor, self.uniform * factor)

    def __add__(self, other: Sample) -> Sample:
        return Sample(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.laplace, other.laplace]),
            np.concatenate([self.uniform, other.uniform]),
        )


@dataclass(frozen=True)
class LaplaceUniformStats(Stats):
    """Expected weights of both parts, and the sample that the median and the bounds need.

    Parameters
    ----------
    n_laplace, n_uniform : float
        Expected weight of the rows of each part.
    sample : Sample
        All rows.
    """

    n_laplace: float
    n_uniform: float
    sample: Sample


@dataclass(frozen=True)
class LaplaceUniform:
    """Mixture ``weight Laplace(location, scale) + (1 - weight) Uniform(lower, upper)`` of one feature.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x,
    section 4.3; Banfield & Raftery (1993), Biometrics 49, 803-821, doi:10.2307/2532201 (uniform noise).

    Examples
    --------
    >>> from emtools.engine.chunks import ArraySource
    >>> from emtools.engine.starts import fit
    >>> values = np.concatenate([np.linspace(-10, 10, 21), 3 + np.tan(np.linspace(-1, 1, 30)) / 10])
    >>> fitted = fit(LaplaceUniform(), ArraySource(values), starts=3)
    >>> round(fitted.params.location, 1), round(fitted.params.weight, 1)
    (3.0, 0.6)
    """

    name = "laplace_uniform"
    smooth = False
    strategies = ("range", "profile")
    assigns = EVERY_KIND

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return {"tail": TAIL}

    def initial_params(self, data: Source[Rows], rng: np.random.Generator, strategy: str) -> LaplaceUniformParams:
        """Parameters to start from.

        ``"range"`` takes the extremes as bounds; ``"profile"`` keeps each of them with probability a half
        and else draws an order statistic of the outer quarter of the rows, mostly near the extreme. The
        location is a row of the middle half. `profile_starts` searches the bounds on a grid instead.

        Raises
        ------
        InputError
            If a value is not finite or all are equal.
        """
        values, weights = sample_rows(data, rng, 1)
        low = high = 0.0
        if strategy == "profile":
            inward = rng.uniform(size=2) < 0.5
            low, high = (inward * TAIL * rng.uniform(size=2) ** 3).tolist()
        middle = float(rng.uniform(TAIL, 1.0 - TAIL))
        return self.start(values[:, 0], weights, low, 1.0 - high, middle)

    def start(self, values: Floats, weights: Floats, low: float, high: float, middle: float) -> LaplaceUniformParams:
        """Parameters with the bounds and the location at the order statistics of three shares of the weight."""
        if not values.max() > values.min():
            raise InputError("data", f"{len(values)} rows, all equal", "at least two distinct values")
        lower, upper = order_statistic(values, weights, low), order_statistic(values, weights, high)
        if not upper > lower:
            lower, upper = float(values.min()), float(values.max())
        location = order_statistic(values, weights, middle)
        scale = weighted_median(np.abs(values - location), weights)
        if scale == 0.0:
            scale = float(weights @ np.abs(values - location) / weights.sum())
        return LaplaceUniformParams(0.5, location, scale, lower, upper)

    def profile_starts(self, data: Source[Rows], n_bounds: int = 6) -> list[LaplaceUniformParams]:
        """Starts on a grid of bounds, for ``fit(..., init=...)``: the profile over the order statistics.

        Parameters
        ----------
        data : Source of Rows
            Data of one column.
        n_bounds : int
            Order statistics tried for each bound, in the outer quarter of the rows and closest near the
            extreme; at least 1.

        Returns
        -------
        list of LaplaceUniformParams
            At most ``n_bounds ** 2``, without repeats; the first has the whole range.
        """
        values, weights = sample_rows(data, np.random.default_rng(0), 1)
        shares = TAIL * np.linspace(0.0, 1.0, n_bounds) ** 3
        grid = [self.start(values[:, 0], weights, low, 1.0 - high, 0.5) for low in shares for high in shares]
        return list(dict.fromkeys(grid))

    def log_joint(self, params: LaplaceUniformParams, values: Floats) -> Floats:
        """Log of share times density.

        Parameters
        ----------
        params : LaplaceUniformParams
            Parameters.
        values : ndarray, shape (n,)
            Values.

        Returns
        -------
        ndarray, shape (n, 2)
            Nats, Laplace first.
        """
        log_weight, log_rest = log_shares(params.weight)
        return np.stack(
            [
                log_weight + log_laplace(values, params.location, params.scale),
                log_rest + log_uniform(values, params.lower, params.upper),
            ],
            axis=1,
        )

    def e_step(self, params: LaplaceUniformParams, chunk: Rows, assign: Assign = "soft") -> LaplaceUniformStats:
        """Expected weights of `chunk`; under hard assignment, the better part takes the row."""
        values = chunk.values[:, 0]
        log_joint = self.log_joint(params, values)
        shares, loglik, entropy = shared_rows(log_joint, chunk.weights, assign, chunk.first)
        laplace, uniform = (shares * chunk.weights[:, None]).T
        return LaplaceUniformStats(
            n=float(chunk.weights.sum()),
            loglik=loglik,
            entropy=entropy,
            n_laplace=float(laplace.sum()),
            n_uniform=float(uniform.sum()),
            sample=Sample(values, laplace, uniform),
        )

    def m_step(self, stats: LaplaceUniformStats, params: LaplaceUniformParams) -> LaplaceUniformParams:
        """Weighted median, weighted mean absolute deviation, and the extremes of the rows of the uniform part."""
        sample = stats.sample
        location, scale, lower, upper = params.location, params.scale, params.lower, params.upper
        if stats.n_laplace > 0.0:
            location = weighted_median(sample.values, sample.laplace)
            scale = float(sample.laplace @ np.abs(sample.values - location)) / stats.n_laplace
        if stats.n_uniform > 0.0:
            rows = sample.values[sample.uniform > 0.0]
            lower, upper = float(rows.min()), float(rows.max())
        weight = stats.n_laplace / (stats.n_laplace + stats.n_uniform)
        return LaplaceUniformParams(weight, location, scale, lower, upper)

    def expected_loglik(self, stats: LaplaceUniformStats, params: LaplaceUniformParams) -> float:
        """Q in nats; minus infinity where a row of the uniform part is outside its bounds."""
        sample = stats.sample
        used = sample.uniform > 0.0
        rows = sample.values[used]
        if rows.size and not params.lower <= rows.min() <= rows.max() <= params.upper:
            return -math.inf
        log_weight, log_rest = log_shares(params.weight)
        total = 0.0
        if stats.n_laplace > 0.0:
            total += stats.n_laplace * log_weight
            total += float(sample.laplace @ log_laplace(sample.values, params.location, params.scale))
        if stats.n_uniform > 0.0:
            total += stats.n_uniform * (log_rest - math.log(params.upper - params.lower))
        return total

    def log_prior(self, params: LaplaceUniformParams) -> float:
        """0.0: maximum likelihood."""
        return 0.0

    def pack(self, params: LaplaceUniformParams) -> Floats:
        """Log odds of the weight, location, log scale, and the bounds as they are: a rounded bound loses its row."""
        log_weight, log_rest = log_shares(params.weight)
        log_scale = math.log(params.scale) if params.scale > 0.0 else -math.inf
        return np.array([log_weight - log_rest, params.location, log_scale, params.lower, params.upper])

    def unpack(self, vector: Floats) -> LaplaceUniformParams:
        """Inverse of `pack`."""
        weight = float(np.exp(-np.logaddexp(0.0, -vector[0])))
        return LaplaceUniformParams(
            weight, float(vector[1]), float(np.exp(vector[2])), float(vector[3]), float(vector[4])
        )

    def natural(self, params: LaplaceUniformParams) -> dict[str, Floats]:
        """Weight, location, scale and bounds."""
        names = ("weight", "location", "scale", "lower", "upper")
        return {name: np.array([getattr(params, name)]) for name in names}

    def canonical(self, params: LaplaceUniformParams) -> LaplaceUniformParams:
        """The parameters themselves: the two parts cannot change places."""
        return params

    def degenerate(self, stats: LaplaceUniformStats, params: LaplaceUniformParams) -> str | None:
        """A part without rows, or a scale or width that goes to zero, where the likelihood is unbounded."""
        for part, count in (("Laplace", stats.n_laplace), ("uniform", stats.n_uniform)):
            if not count > 0.0:
                return f"the {part} part has no rows left"
        after = self.m_step(stats, params)
        sample = stats.sample
        spread = float(np.ptp(sample.values[sample.laplace + sample.uniform > 0.0]))
        if after.scale <= COLLAPSED * spread:
            return f"the Laplace scale has collapsed on the value {after.location:.6g}"
        if after.upper - after.lower <= COLLAPSED * spread:
            return f"the uniform part has collapsed on the value {after.lower:.6g}"
        return None


def log_shares(weight: float) -> tuple[float, float]:
    """Logarithms of a share and of the rest; minus infinity for zero."""
    log_weight = math.log(weight) if weight > 0.0 else -math.inf
    return log_weight, math.log1p(-weight) if weight < 1.0 else -math.inf
