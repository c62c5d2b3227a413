"""From what is known of each cell of a table to the completed one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from emtools.imputing.fitting import fit_table
from emtools.imputing.multiple import draw
from emtools.imputing.predicting import best_filler
from emtools.imputing.result import Imputation
from emtools.kernels.cell_mixtures import CellMixtures
from emtools.kernels.imputation import interval
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Scale
from emtools.models.censored_normal import CensoredNormal
from emtools.models.factor_analysis import FactorAnalysis
from emtools.models.normal import MultivariateNormal
from emtools.models.student_t import StudentT
from emtools.models.tabular import TableModel

Floats = npt.NDArray[np.float64]

TRIES = 1000  # conditional draws from which the intervals of a cell that is not normal are read
MOST_TRIED = 20_000_000  # values of such draws that are held at once
TAILS = (0.025, 0.975)
NODES = 41  # of Gauss-Hermite sums
NORMAL_GIVEN_THE_ROW = (MultivariateNormal, CensoredNormal, FactorAnalysis)  # but for rows with limits


def to_scales(readings: Readings, scales: Sequence[Scale]) -> Readings:
    """Readings on the scales of the model: the transforms increase, so bounds stay bounds.

    Parameters
    ----------
    readings : Readings
        In the units of the table.
    scales : sequence of Scale
        One a column.

    Returns
    -------
    Readings
        With bounds only where any cell has one.
    """
    values = np.column_stack([scale.forward(column) for scale, column in zip(scales, readings.values.T, strict=True)])
    if not readings.bounded.any():
        return Readings(values)
    bounds = [np.array(bound) for bound in readings.bounds()]
    unknown = ~readings.bounded
    for bound, nothing in zip(bounds, (-np.inf, np.inf), strict=True):
        for j, scale in enumerate(scales):
            known = np.isfinite(bound[:, j]) & ~unknown[:, j]
            bound[known, j] = scale.forward(bound[known, j])
        bound[unknown] = nothing
    return Readings(values, *bounds)


def with_design(readings: Readings, design: Floats) -> Readings:
    """The same rows with the columns of a design after the markers, shape (n, d + e)."""
    values = np.hstack([readings.values, design])
    if not readings.bounded.any():
        return Readings(values)
    low, high = readings.bounds()
    beside = np.full(design.shape, np.inf)
    return Readings(values, np.hstack([low, -beside]), np.hstack([high, beside]))


@dataclass(frozen=True)
class Filling:
    """What a model says of the gaps of a table; arrays of shape (n, d), the markers alone.

    Parameters
    ----------
    filled, sd : ndarray
        On the scales of the model: conditional means in the gaps, and their standard deviations.
    values, lower, upper : ndarray
        In the units of the table: the completed table, and ends of the 95 % interval of each filled cell.
    """

    filled: Floats
    sd: Floats
    values: Floats
    lower: Floats
    upper: Floats


def impute(
    readings: Readings,
    *,
    markers: Sequence[str],
    scales: Sequence[Scale],
    units: Sequence[str] = (),
    design: Floats | None = None,
    design_names: Sequence[str] = (),
    draws: int = 0,
    method: str = "bootstrap",
    filling: str = "best",
    seed: int = 0,
    threads: int = 1,
    **asked: Any,
) -> Imputation:
    """Fit a model to the rows of a table and fill its gaps.

    Parameters
    ----------
    readings : Readings
        Markers in the units of the table, shape (n, d).
    markers, units : sequence of str
        Names of the d markers, and their units.
    scales : sequence of Scale
        Scale on which each marker is modelled.
    design : ndarray, shape (n, e), optional
        Covariates and batches, which enter as fixed effects; NaN where missing.
    design_names : sequence of str
        Names of its columns.
    draws : int
        Completed tables to draw.
    method : str
        How, as in `emtools.imputing.multiple.draw`.
    filling : {"best", "model"}
        Whether mixtures may share in what fills the gaps where they predict hidden cells closer than the normal that was
        fitted does (`emtools.imputing.predicting`), or the fitted model alone fills them.
    seed, threads
        As in `emtools.engine.starts.fit`.
    **asked
        As in `emtools.imputing.fitting.fit_table`.

    Returns
    -------
    Imputation

    Raises
    ------
    InputError, FitError
        If the table cannot be modelled; see `fit_table`.
    """
    scaled = as_modelled(readings, scales, design)
    labels = (*markers, *design_names)
    fitted = fit_table(scaled, labels=labels, seed=seed, threads=threads, **asked)
    limits = getattr(fitted.model, "notices", None)
    if limits is not None:
        fitted = replace(fitted, notices=(*fitted.notices, *limits(scaled)))
    weights = asked.get("weights")
    better, told = best_filler(fitted, scaled, weights=weights, seed=seed) if filling == "best" else (None, "")
    used = fitted if better is None else better
    filled = fill(used.model, used.params, readings, scaled, scales, seed)
    drawn = draw(fitted, scaled, draws, seed, method=method, threads=threads, weights=weights) if draws else None
    return Imputation(
        readings=readings,
        scaled=scaled,
        markers=tuple(markers),
        units=tuple(units) or ("",) * len(markers),
        design=tuple(design_names),
        scales=tuple(scales),
        fitted=fitted,
        filled=filled.filled,
        sd=filled.sd,
        values=filled.values,
        lower=filled.lower,
        upper=filled.upper,
        draws=tuple(back(table[:, : len(markers)], scales, readings) for table in drawn.tables) if drawn else (),
        how_drawn=drawn.notices if drawn else (),
        better=better,
        how_filled=told,
    )


def as_modelled(readings: Readings, scales: Sequence[Scale], design: Floats | None = None) -> Readings:
    """Markers on the scales of the model, then the columns of the design."""
    scaled = to_scales(readings, scales)
    return scaled if design is None or not design.shape[1] else with_design(scaled, design)


def fill(
    model: TableModel, params: Any, readings: Readings, scaled: Readings, scales: Sequence[Scale], seed: int
) -> Filling:
    """What a model with its parameters says of the gaps.

    Parameters
    ----------
    model, params
        A model of rows, fitted to these or to other ones.
    readings, scaled : Readings
        Markers in the units of the table, shape (n, d), and the same as modelled (see `as_modelled`).
    scales : sequence of Scale
        One a marker.
    seed : int
        Root of the conditional draws behind intervals that are not normal.
    """
    d = len(scales)
    whole, spread = model.conditional(params, scaled)
    tried = not_normal(model, params, scaled, spread, seed)
    low, high = ends(model, params, scaled, whole, spread, tried)
    lower, upper = (back(table[:, :d], scales, readings) for table in (low, high))
    return Filling(
        whole[:, :d], spread[:, :d], expected(whole[:, :d], spread[:, :d], scales, readings, tried), lower, upper
    )


@dataclass(frozen=True)
class Tried:
    """Draws of some cells given what is known of their rows.

    Parameters
    ----------
    cells : ndarray of bool, shape (n, d)
        Which.
    draws : ndarray, shape (draws, cells)
        On the scales of the model.
    """

    cells: npt.NDArray[np.bool_]
    draws: Floats

    def quantile(self, probability: float) -> Floats:
        """Quantile of the draws of each cell, shape (cells,)."""
        return np.asarray(np.quantile(self.draws, probability, axis=0))

    def expected(self, function: Callable[[Floats], Floats], column: int) -> Floats:
        """Mean of a function over the draws of the cells of one column."""
        mine = np.broadcast_to(np.arange(self.cells.shape[1]), self.cells.shape)[self.cells] == column
        return np.asarray(function(self.draws[:, mine]).mean(axis=0))


def expected(
    whole: Floats, spread: Floats, scales: Sequence[Scale], readings: Readings, tried: Tried | CellMixtures
) -> Floats:
    """The completed table in the units of the readings: conditional means there, not transforms of those of the scales.

    Of a cell that was drawn, the mean of the draws taken back; of one that is normal or a mixture of normals given its row,
    a Gauss-Hermite sum.

    Parameters
    ----------
    whole, spread : ndarray, shape (n, d)
        Conditional means and standard deviations on the scales.
    """
    values = back(whole, scales, readings)
    nodes, shares = np.polynomial.hermite_e.hermegauss(NODES)
    for j, scale in enumerate(scales):
        drawn, gaps = tried.cells[:, j], ~readings.observed[:, j]
        if scale.name == "none":
            continue
        plain = gaps & ~drawn & ~readings.bounded[:, j]
        points = whole[plain, j] + spread[plain, j] * nodes[:, None]
        values[plain, j] = shares @ scale.inverse(points) / shares.sum()
        values[drawn, j] = tried.expected(scale.inverse, j)
    if readings.bounded.any():
        values = np.clip(values, *readings.bounds())
    return np.where(readings.observed, readings.values, values)


def back(scaled: Floats, scales: Sequence[Scale], readings: Readings) -> Floats:
    """A table on the scales of the model in its own units: what was observed as it was, the rest within its bounds."""
    values = np.column_stack([scale.inverse(column) for scale, column in zip(scales, scaled.T, strict=True)])
    if readings.bounded.any():
        values = np.clip(values, *readings.bounds())  # a rounding of the transforms must not step over a limit
    return np.where(readings.observed, readings.values, values)


def not_normal(model: TableModel, params: Any, scaled: Readings, spread: Floats, seed: int) -> Tried | CellMixtures:
    """The cells that are not normal given what is known of their rows, as mixtures of normals where they are, else drawn;
    none where they would not fit into memory."""
    mixtures = getattr(model, "cell_mixtures", None)
    if mixtures is not None and int((~scaled.observed).sum()) * len(params.weights) <= MOST_TRIED:
        found: CellMixtures = mixtures(params, scaled)
        return found
    limited = scaled.bounded.any(axis=1)
    wanted = np.zeros_like(scaled.observed)
    if isinstance(model, StudentT):
        wanted = ~scaled.observed & ~with_moments(params, scaled, spread)[0]
    elif not isinstance(model, NORMAL_GIVEN_THE_ROW):
        wanted = ~scaled.observed
    wanted[limited] |= ~scaled.observed[limited]
    if not wanted.any() or int(wanted.sum()) * TRIES > MOST_TRIED:
        return Tried(np.zeros_like(wanted), np.zeros((TRIES, 0)))
    rows = np.flatnonzero(wanted.any(axis=1))
    some, chosen = scaled.take(rows), wanted[rows]
    rng = np.random.default_rng(np.random.SeedSequence([seed, TRIES]))
    return Tried(wanted, np.stack([model.draw(params, some, rng)[chosen] for _ in range(TRIES)]))


def with_moments(params: Any, scaled: Readings, spread: Floats) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Gaps whose t distribution has a variance, and the degrees of freedom of all cells, shapes (n, d)."""
    df = np.broadcast_to(params.df + scaled.observed.sum(axis=1, keepdims=True), spread.shape)
    return ~scaled.observed & (df > 2.0), df


def ends(
    model: TableModel, params: Any, scaled: Readings, whole: Floats, spread: Floats, tried: Tried | CellMixtures
) -> tuple[Floats, Floats]:
    """Ends of the 95 % interval of each filled cell, on the scales of the model.

    Where a cell is normal given what is known of its row they are mean and standard deviation times 1.96, under a t those
    of the t that the row leaves; else quantiles of the mixture, or of conditional draws.
    """
    low, high = interval(whole, spread)
    if isinstance(model, StudentT):
        known, df = with_moments(params, scaled, spread)
        half = stdtrit(df[known], TAILS[1]) * np.sqrt(1.0 - 2.0 / df[known]) * spread[known]
        low[known], high[known] = whole[known] - half, whole[known] + half
    if tried.cells.any():
        low[tried.cells], high[tried.cells] = (tried.quantile(tail) for tail in TAILS)
    return low, high
