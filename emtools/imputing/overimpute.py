"""Over-imputation: observed cells predicted as if they had been missing, by a fit that did not see them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtr

from emtools.engine.chunks import in_turn
from emtools.engine.executors import executor as make_executor
from emtools.engine.loop import climb
from emtools.engine.stopping import Status
from emtools.imputing.predicting import refitted
from emtools.imputing.result import Filler, Fitted
from emtools.kernels.missingness import leave_one_out
from emtools.kernels.readings import Readings
from emtools.models.normal import MultivariateNormal, NormalParams
from emtools.models.stacked import StackedParams, pooled

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

FOLDS = 5
LEVELS = (0.5, 0.8, 0.95)
FEWEST = 4  # observed values of a column below which none of them is predicted
FEW_ROWS = 5  # rows per column up to which a fifth of the cells is too many to do without
SMALL, TWENTY, FEWER_ROWS = (
    20_000,
    20,
    10,
)  # cells of a table that bears so many refits, and rows per column up to which it has them
REFIT_TOL, REFIT_PASSES, NEAR = 1e-3, 100, 0.05
LARGE, BRIEF = 200_000, 6  # cells of a wide table from which a refit under a strong prior takes so many passes
# Where refits stop paying: a single cell moves nothing, or a pass takes long.
LARGEST, WIDE = 2_000_000, 100
ROWS_SHOWN = 20_000
FLOPS = 4e10  # what the predictions of one fold may cost
LEAST_INSIDE = 1e-9  # predictive probability of the limits of a column below which a cell is not judged
MOST_COPIES = 3_000  # rows with bounds that are predicted cell by cell


@dataclass(frozen=True)
class OverImputed:
    """Observed cells predicted from the rest of their rows, on the scales of the model.

    Parameters
    ----------
    rows, columns : ndarray of int, shape (k,)
        The cells.
    truth, predicted, sd : ndarray, shape (k,)
        Observed value, its predictive mean and standard deviation.
    pit : ndarray, shape (k,)
        Predictive probability of a value at most as large as the one observed, given that it was within the limits of
        its marker; uniform where the model is right.
    variance : ndarray, shape (d,)
        Of all observed values of each marker; NaN for markers with cells beyond a limit, whose observed values are
        those on one side of it.
    n_observed : int
        Observed cells of the table.
    n_fits : int
        Refits without the predicted cells; 0 where the fit itself predicted them.
    n_failed : int
        Refits that had no maximum; their cells are left out.
    unjudged : tuple of int
        Markers with cells beyond limits that differ by row, none of whose cells were predicted: under which limit an
        observed value would have been hidden is not known, so that its probability is not either.
    """

    rows: Integers
    columns: Integers
    truth: Floats
    predicted: Floats
    sd: Floats
    pit: Floats
    variance: Floats
    n_observed: int
    n_fits: int
    n_failed: int
    unjudged: tuple[int, ...] = ()

    def coverage(self, level: float, column: int | None = None) -> float:
        """Share of the cells within their central interval of this level, of one column or of all; NaN for none."""
        pit = self.pit if column is None else self.pit[self.columns == column]
        return float((np.abs(pit - 0.5) <= 0.5 * level).mean()) if pit.size else math.nan

    def explained(self, column: int) -> float:
        """One less the mean square error of a column's cells over its variance; NaN for fewer than four cells or a limit."""
        mine = self.columns == column
        if mine.sum() < FEWEST or not self.variance[column]:
            return math.nan
        return 1.0 - float(((self.truth[mine] - self.predicted[mine]) ** 2).mean() / self.variance[column])


def overimpute(
    scaled: Readings, fitted: Fitted | Filler, n_markers: int, *, seed: int = 0, threads: int = 1
) -> OverImputed:
    """Predict observed cells of the markers by fits that did not see them.

    The observed cells are dealt into five folds, ten or twenty where rows are few, column by column; for each fold the model is
    fitted anew without its cells, and each of them is predicted from all other cells of its row. Tables of over 100
    columns have one fold of a tenth of the cells, and where a table has over two million cells, so that no one of them moves
    the estimate, the fit itself predicts those of some rows.

    Parameters
    ----------
    scaled : Readings
        What the model saw, shape (n, d).
    fitted : Fitted
        Its model.
    n_markers : int
        The first so many columns are predicted; those of the design are not.
    seed : int
        Deals the cells.
    threads : int
        Cannot change the result.

    Returns
    -------
    OverImputed

    References
    ----------
    Honaker, King & Blackwell (2011), J. Stat. Softw. 45(7), doi:10.18637/jss.v045.i07, section 4.2;
    Dawid (1984), J. R. Stat. Soc. A 147, 278-292, doi:10.2307/2981683, section 5.3.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 7]))
    n, d = scaled.values.shape
    n_folds = folds(n, d)
    within, unjudged = window(scaled)
    eligible = scaled.observed[:, :n_markers].copy()
    eligible[:, [j for j in unjudged if j < n_markers]] = False
    fold = deal(eligible, rng, n_folds)
    parts: list[tuple[Integers, Integers, Floats, Floats, Floats]] = []
    n_fits = n_failed = 0
    refits = scaled.values.size <= LARGEST
    for number in range(1 if d > WIDE or not refits else n_folds):
        cells = fold == number if refits else fold >= 0
        if not cells.any():
            continue
        params = fitted.params
        if refits:
            n_fits += 1
            masked = scaled.values.copy()
            masked[:, :n_markers][cells] = np.nan
            params = refit(fitted, Readings(masked, *unbounded(scaled, within)), seed, threads)
            if params is None:
                n_failed += 1
                continue
        rows = chosen_rows(scaled, cells, rng)
        predicted, sd, pit = predict(scaled.take(rows), fitted, params, cells[rows], rng)
        pit = given_within(pit, predicted, sd, within)
        i, j = np.nonzero(cells[rows] & ~np.isnan(pit[:, :n_markers]))
        parts.append((rows[i], j, predicted[i, j], sd[i, j], pit[i, j]))
    if not parts:
        parts = [(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0), np.zeros(0))]
    i, j, predicted, sd, pit = (np.concatenate([part[k] for part in parts]) for k in range(5))
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    truth = scaled.values[i, j]
    n_observed = int(scaled.observed[:, :n_markers].sum())
    variance = np.array([column[~np.isnan(column)].var() for column in scaled.values[:, :n_markers].T])
    variance[scaled.bounded[:, :n_markers].any(axis=0)] = np.nan
    return OverImputed(
        i, j, truth, predicted[order], sd[order], pit[order], variance, n_observed, n_fits, n_failed, unjudged
    )


def folds(n: int, d: int) -> int:
    """Folds of a table; more where rows are few, for whose estimates the cells of a fold matter most."""
    if d <= WIDE and n <= FEWER_ROWS * d and n * d <= SMALL:
        return TWENTY
    return FOLDS if n > FEW_ROWS * d else 2 * FOLDS


def deal(observed: npt.NDArray[np.bool_], rng: np.random.Generator, n_folds: int) -> Integers:
    """Fold of each observed cell, dealt evenly within each column; -1 where nothing was observed or too little."""
    fold = np.full(observed.shape, -1, dtype=np.intp)
    for j in range(observed.shape[1]):
        rows = np.flatnonzero(observed[:, j])
        if rows.size >= FEWEST:
            fold[rng.permutation(rows), j] = (np.arange(rows.size) + j) % n_folds
    return fold


def window(scaled: Readings) -> tuple[tuple[Floats, Floats], tuple[int, ...]]:
    """Limits within which each column is observed, shapes (d,), infinite where there are none.

    They are those beyond which its other cells lie. Columns for which these differ from row to row, or that are
    observed beyond them too, are named: there the limits of an observed cell are not known.
    """
    d = scaled.values.shape[1]
    low, high, unknown = np.full(d, -np.inf), np.full(d, np.inf), []
    if not scaled.bounded.any():
        return (low, high), ()
    lower, upper = scaled.bounds()
    for j in np.flatnonzero(scaled.bounded.any(axis=0)).tolist():
        hidden = scaled.bounded[:, j]
        ends = np.column_stack([lower[hidden, j], upper[hidden, j]])
        below, above = np.unique(ends[np.isneginf(ends[:, 0]), 1]), np.unique(ends[np.isposinf(ends[:, 1]), 0])
        seen = scaled.values[scaled.observed[:, j], j]
        if below.size > 1 or above.size > 1 or np.isfinite(ends).all(axis=1).any() or not seen.size:
            unknown.append(j)
            continue
        low[j], high[j] = (below[0] if below.size else -np.inf), (above[0] if above.size else np.inf)
        if seen.min() < low[j] or seen.max() > high[j]:
            unknown.append(j)
            low[j], high[j] = -np.inf, np.inf
    return (low, high), tuple(unknown)


def given_within(pit: Floats, predicted: Floats, sd: Floats, within: tuple[Floats, Floats]) -> Floats:
    """Predictive probabilities of normal cells given that they lie between limits of their columns, shape (n, d)."""
    low, high = within
    limited = np.isfinite(low) | np.isfinite(high)
    if not limited.any():
        return pit
    with np.errstate(invalid="ignore", divide="ignore"):
        start, end = (ndtr((limit - predicted) / sd) for limit in (low, high))
        inside = (pit - start) / (end - start)
    found: Floats = np.where(limited, np.where(end - start > LEAST_INSIDE, np.clip(inside, 0.0, 1.0), np.nan), pit)
    return found


def unbounded(
    scaled: Readings, within: tuple[Floats, Floats] = (np.array(-np.inf), np.array(np.inf))
) -> tuple[Floats | None, Floats | None]:
    """Bounds in which nothing is known of what is going to be masked but that it lies within the limits of its column."""
    if scaled.lower is None and scaled.upper is None:
        return None, None
    low, high = scaled.bounds()
    return np.where(scaled.observed, within[0], low), np.where(scaled.observed, within[1], high)


def refit(fitted: Fitted | Filler, readings: Readings, seed: int, threads: int) -> Any:
    """Parameters without some cells; None where the climb did not get far enough to forget them.

    It starts from the estimate where there are more rows than columns and they are few. Elsewhere, and with factors,
    EM forgets slowly what a row once held, so that it starts afresh, and may end early. Under a prior worth as many rows as
    the table has EM forgets at least half of it in a pass: where a pass is dear a few from the estimate are enough, and under
    one of less weight as many from what the prior draws towards. Mixtures that share in a filling start afresh, as they did.
    """
    if isinstance(fitted, Filler):
        return refitted(fitted, readings, seed)
    model = fitted.model
    source = model.source(readings)
    n, d = readings.values.shape
    weight = fitted.pseudo_rows if fitted.kind == "normal" and n * d >= LARGE else 0.0
    pull = model.prior if isinstance(model, MultivariateNormal) and 0.0 < weight < n and d > WIDE else None
    ridged = weight >= n or pull is not None
    afresh = not ridged and (d > WIDE or n <= d or fitted.kind == "factors")
    passes = BRIEF if ridged else REFIT_PASSES
    rng = np.random.default_rng(np.random.SeedSequence([seed, 8]))
    start = model.initial_params(source, rng, model.strategies[0]) if afresh else fitted.params
    if pull is not None:
        start = NormalParams(np.nanmean(readings.values, axis=0), pull.scale / weight)
    with make_executor("threads", threads) as pool:
        chunk_map = pool if source.n_chunks > 1 else in_turn
        end = climb(model, source, start, tol=REFIT_TOL, max_passes=passes, look=not ridged, chunk_map=chunk_map)
    near = end.status is Status.BUDGET and (afresh or ridged or end.gap < NEAR)
    return end.params if end.status is Status.CONVERGED or near else None


def chosen_rows(scaled: Readings, cells: npt.NDArray[np.bool_], rng: np.random.Generator) -> Integers:
    """Rows with cells to predict, at random as many as their cost allows."""
    rows: Integers = np.flatnonzero(cells.any(axis=1))
    each = scaled.observed[rows].sum(axis=1).astype(float) ** 3 + 1e4
    most = min(ROWS_SHOWN, max(int(FLOPS / each.mean()), 1))
    return rows if rows.size <= most else np.sort(rng.permutation(rows)[:most])


def predict(
    scaled: Readings, fitted: Fitted | Filler, params: Any, cells: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Predictive mean, standard deviation and probability of each observed cell given the rest of its row."""
    predicted, sd, pit = predict_each(fitted, params, scaled.values)
    limited = np.flatnonzero(scaled.bounded.any(axis=1))
    if limited.size:
        for table in (predicted, sd, pit):
            table[limited] = np.nan
        i, j = np.nonzero(cells[limited])
        if i.size > MOST_COPIES:
            kept = np.sort(rng.permutation(i.size)[:MOST_COPIES])
            i, j = i[kept], j[kept]
        copies = Readings(
            scaled.values[limited[i]].copy(), *(b if b is None else b[limited[i]] for b in unbounded(scaled))
        )
        at = np.arange(i.size)
        copies.values[at, j] = np.nan
        mean, spread = fitted.model.conditional(params, copies)
        rows, seen = limited[i], scaled.values[limited[i], j]
        predicted[rows, j], sd[rows, j] = mean[at, j], spread[at, j]
        pit[rows, j] = ndtr((seen - mean[at, j]) / spread[at, j])
    return predicted, sd, pit


def predict_each(fitted: Fitted | Filler, params: Any, values: Floats) -> tuple[Floats, Floats, Floats]:
    """The same of rows without bounds, exactly for normal, t and mixture models and what is stacked of them."""
    if isinstance(params, StackedParams):
        return predict_stacked(params, values)
    if hasattr(params, "df"):
        out = leave_one_out(values, params.location, params.scatter)
        square = (values - out.predicted) ** 2 / out.variance
        df = params.df + np.maximum((~np.isnan(values)).sum(axis=1, keepdims=True) - 1.0, 0.0)
        width = np.sqrt((params.df + out.distance[:, None] - square) / df * out.variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            sd = np.where(df > 2.0, width * np.sqrt(df / (df - 2.0)), np.nan)
        return out.predicted, sd, stdtr(df, (values - out.predicted) / width)
    if hasattr(params, "weights"):
        return predict_mixture(params, values)
    return predict_normal(*fitted.model.moments(params), values)


def predict_normal(mean: Floats, covariance: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """The same under a normal distribution."""
    out = leave_one_out(values, mean, covariance)
    sd = np.sqrt(out.variance)
    return out.predicted, sd, ndtr((values - out.predicted) / sd)


def predict_stacked(params: StackedParams, values: Floats) -> tuple[Floats, Floats, Floats]:
    """The same of a normal and mixtures of normals in shares that do not depend on the row."""
    parts = [predict_normal(params.mean, params.covariance, values)]
    parts += [predict_mixture(one, values) for one in params.mixtures]
    mean, sd = pooled(params.shares, [(one, spread) for one, spread, _ in parts])
    pit = np.einsum("k,knd->nd", params.shares, np.stack([part for _, _, part in parts]))
    return mean, sd, pit


def predict_mixture(params: Any, values: Floats) -> tuple[Floats, Floats, Floats]:
    """The same under a mixture of normals: each component weighed by how well it fits the rest of the row."""
    d = values.shape[1]
    parts = []
    for weight, mean, covariance in zip(params.weights, params.means, params.covariances, strict=True):
        out = leave_one_out(values, mean, covariance if np.ndim(covariance) == 2 else np.diag(covariance) * np.eye(d))
        z = (values - out.predicted) / np.sqrt(out.variance)
        alone = -0.5 * (z**2 + np.log(out.variance))  # without the constant, which all components share
        parts.append((np.log(weight) + out.log_density[:, None] - alone, out.predicted, out.variance, ndtr(z)))
    log_share, predicted, variance, pit = (np.stack([part[k] for part in parts]) for k in range(4))
    share = np.exp(log_share - log_share.max(axis=0))
    share /= share.sum(axis=0)
    mean = (share * predicted).sum(axis=0)
    second = (share * (variance + (predicted - mean) ** 2)).sum(axis=0)
    return mean, np.sqrt(second), (share * pit).sum(axis=0)
