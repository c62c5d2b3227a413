"""Fit of a normal or a t whose certificate comes from the observed information in closed form instead of differences of Q."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular
from scipy.special import digamma

from emtools.engine.certificate import (
    ESTIMATED,
    FLAT,
    INFORMATION,
    KRYLOV,
    LARGEST,
    NEAR,
    Certificate,
    Entry,
    judge,
    moves,
    no_errors,
)
from emtools.engine.intervals import POSITIVE, REAL, intervals
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.kernels.gaussian import cholesky_factors, trace_ratio
from emtools.kernels.normal_information import ClosedInformation, mean_information, observed_information
from emtools.kernels.readings import Readings
from emtools.kernels.student_information import ScaleSums, location_information, student_information
from emtools.models.normal import MultivariateNormal, NormalParams, NormalStats
from emtools.models.student_t import HIGHEST_DF, LOWEST_DF, StudentT, StudentTParams, StudentTStats
from emtools.models.tabular import TableModel

RESOLVED = 1e12  # condition number of the complete-data information in standard deviations, at most
AT_BOUND = 1e-6  # relative distance of degrees of freedom from a bound at which they are held there
TYPES = (MultivariateNormal, StudentT)


def fit_with_errors(
    model: TableModel, readings: Readings, weights: Floats | None = None, **arguments: Any
) -> Fit[Any, Any]:
    """Fit a model to a table, the certificate of a normal or a t from its observed information in closed form.

    Up to 1,500 parameters (53 columns) that information takes the place of the engine's differences of Q wherever the
    climb converged to a maximum within its tolerance; elsewhere, and for other models, the engine's certificate is made.
    From more columns gap and rate are those of the look that ended the climb, without a further pass; standard errors
    are those of the means, the covariance taken as known, and the certificate says that it estimates. It says so too
    where patterns of missingness are so many that the information comes from a part of them. Degrees of freedom at a bound
    are held there, and everything else is told as if they were known.

    Parameters
    ----------
    model : TableModel
        Any.
    readings : Readings
        The table, shape (n, d).
    weights : ndarray, shape (n,), optional
        Non-negative weights of the rows.
    **arguments
        Of `emtools.engine.starts.fit`.

    Returns
    -------
    Fit

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rows = rng.normal(size=(80, 15)) + rng.normal(size=(80, 1))
    >>> rows[rng.random(rows.shape) < 0.1] = np.nan
    >>> fitted = fit_with_errors(MultivariateNormal(15), Readings(rows))
    >>> fitted.certificate.method, fitted.certificate.passes
    ('observed information', 0)
    """
    source = model.source(readings, weights)
    wanted = arguments.get("certificate", True) and arguments.get("assign", "soft") == "soft"
    if not wanted or not isinstance(model, TYPES):
        return fit(cast("Any", model), source, **arguments)
    fitted = fit(cast("Any", model), source, **{**arguments, "certificate": False})
    told = closed_certificate(fitted, readings, weights)
    left = 2.0 * max(float(arguments.get("tol", 1e-6)), fitted.gap)
    top = told is not None and told.kind in ("maximum", "boundary")
    exact = told is not None and top and (told.method == KRYLOV or told.gap <= left)
    if told is None or (fitted.converged and not exact):
        return fit(cast("Any", model), source, **arguments)
    return judge(replace(fitted, certificate=told), told)


def closed_certificate(fitted: Fit[Any, Any], readings: Readings, weights: Floats | None = None) -> Certificate | None:
    """What the information in closed form says of the fit of a normal or a t; None where float64 does not resolve it.

    Parameters
    ----------
    fitted : Fit
        Of a `MultivariateNormal` or a `StudentT`.
    readings : Readings
        The table that it was fitted to, shape (n, d).
    weights : ndarray, shape (n,), optional
        Non-negative weights of the rows.

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., section 9.1.2.
    """
    counts = np.ones(len(readings.values)) if weights is None else weights
    if isinstance(fitted.model, StudentT):
        return certificate_of_t(fitted, readings, counts)
    model, params = fitted.model, fitted.params
    pseudo_rows, scale = 0.0, None
    if model.prior is not None:
        pseudo_rows, scale = model.prior.degrees + model.n_features + 1.0, model.prior.scale
    found = observed_information(
        readings.values, counts, params.mean, params.covariance, pseudo_rows=pseudo_rows, scale=scale
    )
    if found is None:
        return means_alone(fitted, mean_information(readings.values, counts, params.covariance))
    if found.share < 1.0:
        found = replace(found, score=score_of(fitted.stats, params, found.sd, pseudo_rows, scale))
    return read_closed(fitted, found)


def certificate_of_t(fitted: Fit[Any, StudentTStats], readings: Readings, weights: Floats) -> Certificate | None:
    """The same of a t."""
    model, params, stats = fitted.model, fitted.params, fitted.stats
    trace = trace_ratio(cholesky_factors(params.scatter), stats.scatter(params.location))
    held = model.df is None and at_bound(params.df)
    found = student_information(
        readings.values,
        weights,
        params.location,
        params.scatter,
        params.df,
        ScaleSums(stats.scale, float(trace), stats.place.exponent),
        estimated=model.df is None and not held,
    )
    if found is None:
        return means_alone(
            fitted, location_information(readings.values, weights, params.scatter, params.df, stats.scale)
        )
    if found.share < 1.0:
        score = score_of_t(stats, params, found.sd)
        found = replace(found, score=score[: len(found.score)])
    told = read_closed(fitted, found)
    if told is None or not held:
        return told
    edge = (Entry("df", (0,)),)
    return replace(told, kind="boundary" if told.kind == "maximum" else told.kind, n_held=1, held=edge)


def at_bound(df: float) -> bool:
    """Whether degrees of freedom have come to the least or the largest that a fit allows."""
    return df >= HIGHEST_DF * (1.0 - AT_BOUND) or df <= LOWEST_DF * (1.0 + AT_BOUND)


def score_of(stats: NormalStats, params: NormalParams, sd: Floats, pseudo_rows: float, scale: Floats | None) -> Floats:
    """Gradient in means and covariances, in standard deviations, from the expected moments at `params`."""
    at = stats.about(params.mean)
    unit = np.outer(sd, sd)
    inverse = np.linalg.inv(params.covariance / unit)
    excess = (at.second + (0.0 if scale is None else scale)) / unit
    excess = excess - (at.n + pseudo_rows) * params.covariance / unit
    pull = 0.5 * inverse @ excess @ inverse
    rows, columns = np.tril_indices(len(sd))
    return np.concatenate([inverse @ (at.first / sd), np.where(rows == columns, 1.0, 2.0) * pull[rows, columns]])


def score_of_t(stats: StudentTStats, params: StudentTParams, sd: Floats) -> Floats:
    """Gradient in location, scatter and df, in standard deviations and in df, from the expected moments at `params`."""
    d, half, exponent = len(sd), 0.5 * params.df, stats.place.exponent
    unit = np.outer(sd, sd)
    inverse = np.linalg.inv(params.scatter / unit)
    second = stats.scatter(params.location) / unit
    weight = half * stats.scale + 0.5 * float(np.vdot(inverse, second))
    pull = 0.5 * inverse @ second @ inverse
    pull += (0.5 * stats.n * (exponent * (d + params.df) - 1.0) - exponent * weight) * inverse
    first = stats.first + stats.scale * (stats.place.origin - params.location)
    by_df = stats.n * (math.log(half) + 1.0 - float(digamma(half))) + stats.log_scale - stats.scale
    rows, columns = np.tril_indices(d)
    by_scatter = np.where(rows == columns, 1.0, 2.0) * pull[rows, columns]
    return np.concatenate([inverse @ (first / sd), by_scatter, [half * by_df]])


def read_closed(fitted: Fit[Any, Any], found: ClosedInformation) -> Certificate | None:
    """Kind, gap, rate, direction, errors and intervals from the information."""
    model, params, sd = fitted.model, fitted.params, found.sd
    d = len(sd)
    if not np.linalg.cond(found.complete) < RESOLVED:
        return None
    factor = cholesky(found.complete, lower=True)
    shares, vectors = eigh(solve_triangular(factor, solve_triangular(factor, found.observed, lower=True).T, lower=True))
    vectors = solve_triangular(factor, vectors, lower=True, trans=1)
    natural = {name: np.asarray(value, dtype=np.float64) for name, value in model.natural(params).items()}
    middle, spread_out, *further = natural
    rows, columns = np.tril_indices(d)
    own = [natural[name].ravel() for name in further]
    units = np.concatenate([sd, sd[rows] * sd[columns], *own])[: len(found.score)]

    def shaped(values: Floats) -> dict[str, Floats]:
        """By name, from one vector; what is held does not move."""
        square = np.empty((d, d))
        square[rows, columns] = square[columns, rows] = values[d : d + len(rows)]
        rest = values[d + len(rows) :] if len(values) > d + len(rows) else np.zeros(len(further))
        return {middle: values[:d], spread_out: square} | {name: rest[k : k + 1] for k, name in enumerate(further)}

    half = solve_triangular(factor, np.eye(len(units)), lower=True)
    sizes = shaped(units * np.asarray(np.sqrt((half**2).sum(axis=0)), dtype=np.float64))
    top, numbers = shaped(units * vectors[:, 0]), shaped(np.arange(1.0, len(units) + 1.0))
    shapes = {name: value.shape for name, value in top.items()}
    # The second column, which does not move, tells one entry from all others but its mirror image.
    pairs = {name: np.column_stack([top[name].ravel(), numbers[name].ravel()]) for name in natural}
    direction = moves(pairs, {n: size.ravel() for n, size in sizes.items()}, np.array([1.0, 0.0]), shapes)
    upward = math.copysign(1.0, direction[0].share) if direction else 1.0
    told = replace(
        no_errors(model, params, 0),
        rate=float(1.0 - shares[0]),
        spectrum=1.0 - shares[:LARGEST],
        method=INFORMATION if found.exact else KRYLOV,
        direction=tuple(replace(move, share=upward * move.share) for move in direction),
        along=upward * packed_way(natural, top),
        complete_errors=without_zeros(sizes),
    )
    if not shares[0] > FLAT:
        steep = np.abs(shares) > FLAT
        gain = 0.5 * float(np.sum((vectors.T @ found.score)[steep] ** 2 / np.abs(shares[steep])))
        level = "flat" if shares[0] > -FLAT else "saddle"
        return replace(told, kind=level if gain < NEAR else "climbing")
    spread: Floats = vectors / np.sqrt(shares)
    pull = spread.T @ found.score
    way, errors = spread @ pull, np.sqrt((spread**2).sum(axis=1))
    gap = 0.5 * float(pull @ pull)
    told = replace(
        told,
        kind="climbing" if gap > NEAR else "maximum",
        gap=gap,
        worst_error=float(np.max(np.abs(way) / errors)),
    )
    return with_scales(natural, told, without_zeros(shaped(units * errors)))


def without_zeros(errors: dict[str, Floats]) -> dict[str, Floats]:
    """NaN for what is held."""
    return {name: np.where(error > 0.0, error, math.nan) for name, error in errors.items()}


def packed_way(natural: dict[str, Floats], change: dict[str, Floats]) -> Floats:
    """Change of the packed parameters along a change of location, covariance and positive numbers.

    References
    ----------
    Murray (2016), Differentiation of the Cholesky decomposition, arXiv:1602.07527, eq. 8.
    """
    middle, spread_out, *further = natural
    factor = np.linalg.cholesky(natural[spread_out])
    inner = solve_triangular(factor, solve_triangular(factor, change[spread_out], lower=True).T, lower=True)
    moved = factor @ (np.tril(inner) - 0.5 * np.diag(np.diagonal(inner)))
    moved[np.diag_indices_from(moved)] /= np.diagonal(factor)
    logs = [change[name] / natural[name] for name in further]
    return np.concatenate([change[middle], moved[np.tril_indices_from(moved)], *logs])


def with_scales(natural: dict[str, Floats], told: Certificate, errors: dict[str, Floats]) -> Certificate:
    """The certificate with errors and what follows from them; intervals of positive numbers are symmetric in their
    logarithm."""
    middle, spread_out, *further = natural
    d = len(natural[middle])
    scale = {
        middle: np.full(d, REAL, dtype="<U8"),
        spread_out: np.where(np.eye(d, dtype=bool), POSITIVE, REAL).astype("<U8"),
    } | {name: np.full(1, POSITIVE, dtype="<U8") for name in further}
    ends = {name: intervals(natural[name], errors[name], scale[name]) for name in natural}
    with np.errstate(all="ignore"):
        missing = {name: np.maximum(1.0 - (told.complete_errors[name] / errors[name]) ** 2, 0.0) for name in natural}
    return replace(
        told,
        standard_errors=errors,
        missing=missing,
        lower={name: low for name, (low, _) in ends.items()},
        upper={name: high for name, (_, high) in ends.items()},
        scale=scale,
    )


def means_alone(fitted: Fit[Any, Any], found: tuple[Floats, Floats, float] | None) -> Certificate | None:
    """Standard errors of the means of many columns from information about them; gap and rate as the climb's own look
    gives them."""
    roots = None if found is None else [np.linalg.inv(information) for information in found[:2]]
    if roots is None or not all((np.diagonal(root) > 0.0).all() for root in roots):
        return None
    natural = {n: np.asarray(v, dtype=np.float64) for n, v in fitted.model.natural(fitted.params).items()}
    middle, *others = natural
    blank = {name: np.full(natural[name].shape, math.nan) for name in others}
    errors, complete = ({middle: np.sqrt(np.diagonal(root)), **blank} for root in roots)
    gap, rate = fitted.gap, fitted.rate
    kind = "flat" if rate > 1.0 - ESTIMATED else "maximum"
    told = replace(
        no_errors(fitted.model, fitted.params, 0),
        kind="climbing" if gap > NEAR else kind,
        gap=gap if math.isfinite(gap) else math.nan,
        worst_error=math.sqrt(2.0 * gap) if math.isfinite(gap) else math.nan,
        rate=rate,
        spectrum=np.array([rate]),
        method=KRYLOV,
        complete_errors=complete,
    )
    return with_scales(natural, told, errors)
