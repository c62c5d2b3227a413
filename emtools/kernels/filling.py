"""Gaps filled from a normal distribution, and the density of what was observed, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emtools.kernels import missing
from emtools.kernels.missing import LOG_2PI
from emtools.kernels.patterns import Floats, Integers, PatternRows, sorted_rows
from emtools.kernels.precision import NONE, Precision, complete, invert

BLOCK = 2**17  # values


def blocks_of(values: Floats, mean: Floats) -> Iterator[tuple[PatternRows, Integers]]:
    """Rows with any value from the mean, sorted by pattern, with their numbers, in blocks of about `BLOCK` values."""
    rows, order = sorted_rows(values, np.ones(len(values)), mean)
    begin = 0
    while begin < len(rows.cuts) - 1:
        target = rows.cuts[begin] + BLOCK // len(mean)
        end = max(begin + 1, int(np.searchsorted(rows.cuts, target, side="right")) - 1)
        yield rows.part(begin, end), order[rows.cuts[begin] : rows.cuts[end]]
        begin = end


def usable_precision(covariance: Floats) -> Precision | None:
    """The precision, or None where its blocks are not exact enough.

    Raises
    ------
    numpy.linalg.LinAlgError
        If `covariance` is not positive definite.
    """
    precision = invert(covariance)
    if precision is None:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    return precision if precision.usable else None


def fill_gaps(values: Floats, mean: Floats, covariance: Floats, noise: Floats | None = None) -> tuple[Floats, Floats]:
    """The same as `emtools.kernels.missing.fill_conditional`, a row at the cost of its gaps."""
    precision = usable_precision(covariance)
    if precision is None:
        return missing.fill_conditional(values, mean, covariance, noise)
    filled, sd = values.copy(), np.full(values.shape, np.nan)
    gaps = np.isnan(values)
    empty = np.flatnonzero(gaps.all(axis=1))
    filled[empty], sd[empty] = mean, np.sqrt(np.diagonal(covariance))
    if noise is not None and empty.size:
        filled[empty] += noise[empty] @ missing.square_root(covariance).T
    origin = np.zeros(len(mean))
    for rows, order in blocks_of(values, mean):
        variances = np.zeros(rows.values.shape)
        done = complete(rows, origin, precision, NONE if noise is None else noise[order], variances)
        if done is None:
            return missing.fill_conditional(values, mean, covariance, noise)
        filled[order] = np.where(gaps[order], done.deviations + mean, values[order])
        sd[order] = np.where(gaps[order], np.sqrt(variances), np.nan)
    return filled, sd


def draw_gaps(values: Floats, mean: Floats, covariance: Floats, rng: np.random.Generator) -> Floats:
    """`values` with the gaps of each row drawn jointly given what was observed of it, shape (n, d).

    One normal number is taken from `rng` for each gap, row by row.
    """
    gaps = np.isnan(values)
    noise = np.zeros(values.shape)
    noise[gaps] = rng.standard_normal(int(gaps.sum()))
    return fill_gaps(values, mean, covariance, noise)[0]


def log_density_rows(values: Floats, mean: Floats, covariance: Floats, precision: Precision | None = None) -> Floats:
    """The same as `emtools.kernels.missing.log_density_observed`, a row at the cost of its gaps; `precision`, where it is
    known already, is that of the covariance."""
    if precision is None:
        precision = usable_precision(covariance)
    if precision is None or not precision.usable:
        return missing.log_density_observed(values, mean, covariance)
    densities, origin = np.zeros(len(values)), np.zeros(len(mean))
    for rows, order in blocks_of(values, mean):
        done = complete(rows, origin, precision, spreads=False)
        if done is None:
            return missing.log_density_observed(values, mean, covariance)
        seen = rows.observed.sum(axis=1)[rows.pattern]
        white = done.deviations @ precision.whitener.T
        densities[order] = -0.5 * (seen * LOG_2PI + precision.log_det + done.log_dets + np.square(white).sum(axis=1))
    return densities
