"""Fit of a normal whose certificate comes from the observed information in closed form instead of differences of Q."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular

from emtools.engine.certificate import (
    ESTIMATED,
    FLAT,
    INFORMATION,
    KRYLOV,
    LARGEST,
    NEAR,
    Certificate,
    judge,
    moves,
    no_errors,
)
from emtools.engine.intervals import POSITIVE, REAL, intervals
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.kernels.normal_information import NormalInformation, mean_information, observed_information
from emtools.kernels.readings import Readings
from emtools.models.normal import MultivariateNormal, NormalParams, NormalStats
from emtools.models.tabular import TableModel

RESOLVED = 1e12  # condition number of the complete-data information in standard deviations, at most
BOTH = ("mean", "covariance")


def fit_with_errors(
    model: TableModel, readings: Readings, weights: Floats | None = None, **arguments: Any
) -> Fit[Any, Any]:
    """Fit a model to a table, a normal's certificate from its observed information in closed form.

    Up to 1,500 parameters (53 columns) that information takes the place of the engine's differences of Q wherever the
    climb converged to a maximum within its tolerance; elsewhere, and for other models, the engine's certificate is made.
    From more columns gap and rate are those of the look that ended the climb, without a further pass; standard errors
    are those of the means, the covariance taken as known, and the certificate says that it estimates. It says so too
    where patterns of missingness are so many that the information comes from a part of them.

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
    if not wanted or not isinstance(model, MultivariateNormal):
        return fit(cast("Any", model), source, **arguments)
    fitted = fit(cast("Any", model), source, **{**arguments, "certificate": False})
    told = closed_certificate(fitted, readings, weights)
    left = 2.0 * max(float(arguments.get("tol", 1e-6)), fitted.gap)
    exact = told is not None and told.kind == "maximum" and (told.method == KRYLOV or told.gap <= left)
    if told is None or (fitted.converged and not exact):
        return fit(cast("Any", model), source, **arguments)
    return judge(replace(fitted, certificate=told), told)


def closed_certificate(
    fitted: Fit[Any, NormalStats], readings: Readings, weights: Floats | None = None
) -> Certificate | None:
    """What the information in closed form says of the fit of a normal; None where float64 does not resolve it.

    Parameters
    ----------
    fitted : Fit
        Of a `MultivariateNormal`.
    readings : Readings
        The table that it was fitted to, shape (n, d).
    weights : ndarray, shape (n,), optional
        Non-negative weights of the rows.

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., section 9.1.2.
    """
    model, params = fitted.model, fitted.params
    counts = np.ones(len(readings.values)) if weights is None else weights
    pseudo_rows, scale = 0.0, None
    if model.prior is not None:
        pseudo_rows, scale = model.prior.degrees + model.n_features + 1.0, model.prior.scale
    found = observed_information(
        readings.values, counts, params.mean, params.covariance, pseudo_rows=pseudo_rows, scale=scale
    )
    if found is None:
        return means_alone(fitted, readings, counts)
    if found.share < 1.0:
        found = replace(found, score=score_of(fitted.stats, params, found.sd, pseudo_rows, scale))
    return read_closed(fitted, found)


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


def read_closed(fitted: Fit[Any, Any], found: NormalInformation) -> Certificate | None:
    """Kind, gap, rate, direction, errors and intervals from the information."""
    model, params, sd = fitted.model, fitted.params, found.sd
    d = len(sd)
    if not np.linalg.cond(found.complete) < RESOLVED:
        return None
    factor = cholesky(found.complete, lower=True)
    shares, vectors = eigh(solve_triangular(factor, solve_triangular(factor, found.observed, lower=True).T, lower=True))
    vectors = solve_triangular(factor, vectors, lower=True, trans=1)
    rows, columns = np.tril_indices(d)
    units = np.concatenate([sd, sd[rows] * sd[columns]])

    def shaped(values: Floats) -> dict[str, Floats]:
        covariance = np.empty((d, d))
        covariance[rows, columns] = covariance[columns, rows] = values[d:]
        return dict(zip(BOTH, (values[:d], covariance), strict=True))

    half = solve_triangular(factor, np.eye(len(units)), lower=True)
    sizes = shaped(units * np.asarray(np.sqrt((half**2).sum(axis=0)), dtype=np.float64))
    top, numbers = shaped(units * vectors[:, 0]), shaped(np.arange(1.0, len(units) + 1.0))
    shapes = {name: value.shape for name, value in top.items()}
    # The second column, which does not move, tells one entry from all others but its mirror image.
    pairs = {name: np.column_stack([top[name].ravel(), numbers[name].ravel()]) for name in BOTH}
    direction = moves(pairs, {n: size.ravel() for n, size in sizes.items()}, np.array([1.0, 0.0]), shapes)
    upward = math.copysign(1.0, direction[0].share) if direction else 1.0
    told = replace(
        no_errors(model, params, 0),
        rate=float(1.0 - shares[0]),
        spectrum=1.0 - shares[:LARGEST],
        method=INFORMATION if found.share == 1.0 else KRYLOV,
        direction=tuple(replace(move, share=upward * move.share) for move in direction),
        along=upward * packed_way(params, top["mean"], top["covariance"]),
        complete_errors=sizes,
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
    return with_scales(params, told, shaped(units * errors))


def packed_way(params: NormalParams, mean: Floats, covariance: Floats) -> Floats:
    """Change of the packed parameters along a change of means and covariances.

    References
    ----------
    Murray (2016), Differentiation of the Cholesky decomposition, arXiv:1602.07527, eq. 8.
    """
    factor = np.linalg.cholesky(params.covariance)
    inner = solve_triangular(factor, solve_triangular(factor, covariance, lower=True).T, lower=True)
    change = factor @ (np.tril(inner) - 0.5 * np.diag(np.diagonal(inner)))
    change[np.diag_indices_from(change)] /= np.diagonal(factor)
    return np.concatenate([mean, change[np.tril_indices_from(change)]])


def with_scales(params: NormalParams, told: Certificate, errors: dict[str, Floats]) -> Certificate:
    """The certificate with errors and what follows from them; intervals of variances are symmetric in their logarithm."""
    d = len(params.mean)
    scale = {
        "mean": np.full(d, REAL, dtype="<U8"),
        "covariance": np.where(np.eye(d, dtype=bool), POSITIVE, REAL).astype("<U8"),
    }
    natural = {"mean": params.mean, "covariance": params.covariance}
    ends = {name: intervals(natural[name], errors[name], scale[name]) for name in BOTH}
    with np.errstate(all="ignore"):
        missing = {name: np.maximum(1.0 - (told.complete_errors[name] / errors[name]) ** 2, 0.0) for name in BOTH}
    return replace(
        told,
        standard_errors=errors,
        missing=missing,
        lower={name: low for name, (low, _) in ends.items()},
        upper={name: high for name, (_, high) in ends.items()},
        scale=scale,
    )


def means_alone(fitted: Fit[Any, Any], readings: Readings, weights: Floats) -> Certificate | None:
    """Standard errors of the means of many columns; gap and rate as the climb's own look gives them."""
    params, d = fitted.params, fitted.model.n_features
    found = mean_information(readings.values, weights, params.covariance)
    roots = None if found is None else [np.linalg.inv(information) for information in found[:2]]
    if roots is None or not all((np.diagonal(root) > 0.0).all() for root in roots):
        return None
    blank = np.full((d, d), math.nan)
    errors, complete = ({"mean": np.sqrt(np.diagonal(root)), "covariance": blank} for root in roots)
    gap, rate = fitted.gap, fitted.rate
    kind = "flat" if rate > 1.0 - ESTIMATED else "maximum"
    told = replace(
        no_errors(fitted.model, params, 0),
        kind="climbing" if gap > NEAR else kind,
        gap=gap if math.isfinite(gap) else math.nan,
        worst_error=math.sqrt(2.0 * gap) if math.isfinite(gap) else math.nan,
        rate=rate,
        spectrum=np.array([rate]),
        method=KRYLOV,
        complete_errors=complete,
    )
    return with_scales(params, told, errors)
