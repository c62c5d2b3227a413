"""What predicts cells that were held out: the weight of a prior, the number of factors, the kind of model.

Some observed cells of a table are hidden, a model is fitted to the others, and judged by its log density of the hidden
cells given what is left of their rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from emtools.engine.loop import climb
from emtools.engine.protocol import Floats
from emtools.engine.stopping import Status
from emtools.errors import EmtoolsError
from emtools.kernels.readings import Readings
from emtools.models.factor_analysis import FactorAnalysis, FactorParams, FactorPrior
from emtools.models.factor_rows import FactorSource, leading_axes
from emtools.models.tabular import TableModel

PARTS = 8  # of the observed cells, of which one is hidden at a time
FEW, MANY = 5_000, 20_000  # cells up to which four and two parts are hidden in turn; beyond, one
JUDGED = 20_000  # cells that are hidden, or so, of a table with more columns than rows: of some of its rows alone
LEAST = 3  # values that a column keeps
VARIES = 1e-6  # and of its range
CLOSE = 0.05  # gain to come in nats at which a climb for a comparison ends
PASSES = 25
LARGE, BRIEF = 200_000, 10  # cells from which a comparison of factors ends after so many passes
FALLS = 2  # comparisons in a row that must fall to end a grid
SHARE = 0.5  # of a column's variance that the prior on its uniqueness expects
ROWS = 2.0  # weight of that prior in rows
RIDGES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
FACTORS = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90)
FIRST = (3, 3)  # places in both where the search begins
HALVINGS = 2
WORK = 5e9  # most of rows times columns times squared factors, which is what a pass costs
SEARCH = 2e11  # most of it that a search may spend, all passes together
BEHIND, SHORTENED = 0.05, 8.0  # nats a cell behind a rival, from which so small a part of it is spent
NO_WORSE = 1.005  # error of hidden cells, in that of the column mean, above which a pair is not used
MEANS = 1e6  # ridge under which factors fill with the column mean

K = TypeVar("K")


@dataclass(frozen=True)
class Split:
    """A table with some observed cells hidden.

    Parameters
    ----------
    kept : Readings
        The table without the hidden cells.
    before, after : Readings
        The rows with a hidden cell, without it and with it.
    weights : ndarray, shape (n,)
        Weights of these rows.
    n_cells : float
        Hidden cells, weighted.
    """

    kept: Readings
    before: Readings
    after: Readings
    weights: Floats
    n_cells: float


def splits(readings: Readings, weights: Floats | None = None, seed: int = 0) -> list[Split]:
    """Tables with an eighth of the observed cells hidden, other cells each time.

    A column keeps three values, of which two differ by more than rounding, and a row its last value. Of a large table with
    more columns than rows some rows alone are looked at, since what is judged costs by the row.

    Parameters
    ----------
    readings : Readings
        The table.
    weights : ndarray, shape (n,), optional
        Weights of the rows.
    seed : int
        Of the choice of cells.

    Returns
    -------
    list of Split
        Four, two or one, by the number of cells; none where a table has no cell to spare.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 8]))
    seen = readings.observed
    part = rng.integers(0, PARTS, size=seen.shape)
    n, d = seen.shape
    if d > n and seen.size > JUDGED * PARTS:
        part[rng.permutation(n)[math.ceil(JUDGED * PARTS / d) :]] = PARTS
    count = 4 if seen.size <= FEW else 2 if seen.size <= MANY else 1
    found = []
    for k in range(count):
        hidden = seen & (part == k)
        alone = hidden.any(axis=1) & ~(seen & ~hidden).any(axis=1)
        hidden[alone] = False
        kept = np.where(hidden, np.nan, readings.values)
        for j in np.flatnonzero(hidden.any(axis=0)):
            left = kept[~np.isnan(kept[:, j]), j]
            if left.size < LEAST or not np.ptp(left) > VARIES * np.ptp(readings.values[seen[:, j], j]):
                kept[:, j], hidden[:, j] = readings.values[:, j], False
        rows = hidden.any(axis=1)
        if rows.any():
            low, high = readings.bounds()
            table = replace(readings, values=kept)
            if readings.lower is not None or readings.upper is not None:
                table = Readings(kept, np.where(hidden, -np.inf, low), np.where(hidden, np.inf, high))
            w = np.ones(len(kept)) if weights is None else weights
            cells = float(hidden.sum(axis=1) @ w)
            found.append(Split(table, table.take(rows), readings.take(rows), w[rows], cells))
    return found


def held_out(model: TableModel, params: Any, split: Split) -> float:
    """Log density in nats of the hidden cells given the rest of their rows; minus infinity where it is not finite."""
    with np.errstate(all="ignore"):
        try:
            gain = model.log_density(params, split.after) - model.log_density(params, split.before)
        except (EmtoolsError, np.linalg.LinAlgError):
            return -math.inf
    total = float(split.weights @ gain)
    return total if math.isfinite(total) else -math.inf


@dataclass
class Comparison:
    """Candidates judged on the same hidden cells, each column in a unit near its standard deviation.

    Parameters
    ----------
    readings : Readings
        The table in its own units.
    weights : ndarray, shape (n,), optional
        Weights of the rows.
    seed : int
        Of hidden cells and starts.
    """

    readings: Readings
    weights: Floats | None = None
    seed: int = 0
    parts: list[Split] = field(init=False)
    unit: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.unit = units(self.readings, self.weights)
        self.parts = splits(scaled(self.readings, 1.0 / self.unit), self.weights, self.seed)

    @property
    def log_unit(self) -> float:
        """Mean logarithm of the units of hidden cells, by which nats a cell in units of the table are fewer."""
        hidden = [part.weights @ (part.after.observed & ~part.before.observed) for part in self.parts]
        return float(sum(hidden) @ np.log(self.unit)) / self.n_cells

    @property
    def n_cells(self) -> float:
        """Hidden cells, all parts together."""
        return sum(part.n_cells for part in self.parts)

    def judge(
        self,
        make: Callable[[Readings], TableModel],
        begin: Sequence[Callable[[TableModel], Any] | None] = (),
        passes: int = PASSES,
    ) -> tuple[float, list[Any]]:
        """Score of a model in nats a hidden cell, and its parameters for each part.

        Parameters
        ----------
        make : callable
            The model of what is kept of the table.
        begin : sequence of callable
            First parameters for each part; those of the model by default.
        passes : int
            Budget of each climb.
        """
        models = [make(part.kept) for part in self.parts]
        starts = []
        for k, (model, part) in enumerate(zip(models, self.parts, strict=True)):
            first = begin[k] if begin else None
            if first is None:
                source = model.source(part.kept, self.weights)
                starts.append(model.initial_params(source, np.random.default_rng(self.seed), model.strategies[0]))
            else:
                starts.append(first(model))
        return self.judge_each(models, starts, passes)

    def judge_each(
        self, models: Sequence[TableModel], starts: Sequence[Any], passes: int, look: bool = True
    ) -> tuple[float, list[Any]]:
        """The same with a model and first parameters for each part; `look` as for `climb`, without one a last M-step is
        taken after the climb, since it costs no pass."""
        total, ends = 0.0, []
        for model, start, part in zip(models, starts, self.parts, strict=True):
            source = model.source(part.kept, self.weights)
            ended = climb(model, source, start, tol=CLOSE, max_passes=passes, look=look)
            usable = ended.status in (Status.CONVERGED, Status.BUDGET)
            end = ended.params if look else model.m_step(ended.stats, ended.params)
            total += held_out(model, end, part) if usable else -math.inf
            ends.append(end)
        return (total / self.n_cells - self.log_unit if self.parts else -math.inf), ends


def best_weight(
    comparison: Comparison, make: Callable[[Readings, float], TableModel], grid: Sequence[float], refine: int = 2
) -> tuple[float, float]:
    """The weight of a prior that predicts hidden cells best, along a descending grid and then between its points.

    Parameters
    ----------
    comparison : Comparison
        Hidden cells.
    make : callable
        The model of a table under a weight.
    grid : sequence of float
        Weights, descending; each climb starts from the end of the one before.
    refine : int
        Times that the steps beside the best weight are halved, on the scale of logarithms.

    Returns
    -------
    weight, score : float
        The score in nats a hidden cell.
    """
    scores: dict[float, float] = {}
    ends: dict[float, list[Any]] = {}

    def judge(weight: float, near: float | None) -> float:
        begin = [(lambda _, p=p: p) for p in ends[near]] if near is not None else []
        scores[weight], ends[weight] = comparison.judge(lambda table: make(table, weight), begin)
        return scores[weight]

    near, top, falls = None, -math.inf, 0
    for weight in grid:
        score = judge(weight, near)
        falls = 0 if score > top else falls + 1
        top = max(top, score)
        near = weight
        if falls == FALLS:
            break
    for _ in range(refine):
        order = sorted(scores)
        at = order.index(max(scores, key=lambda w: scores[w]))
        for beside in (at - 1, at + 1):
            if 0 <= beside < len(order):
                judge(math.sqrt(order[at] * order[beside]), order[at])
    best = max(scores, key=lambda w: (scores[w], w))
    return best, scores[best]


def grown(params: FactorParams, values: Floats, n_factors: int) -> FactorParams:
    """The same parameters with more factors, along what the present ones leave, or with fewer, the leading ones.

    Parameters
    ----------
    params : FactorParams
    values : ndarray, shape (n, d)
        The table, NaN where missing.
    n_factors : int
        Factors asked for.
    """
    d, q = params.loadings.shape
    model = FactorAnalysis(d, q)
    if n_factors <= q:
        return replace(params, loadings=model.principal_axes(params)[:, :n_factors])
    scores, _ = model.scores(params, values)
    left = (values - params.mean - scores @ model.principal_axes(params).T) / np.sqrt(params.noise)
    counts = np.sqrt((~np.isnan(left)).sum(axis=0))
    lengths, axes = leading_axes(np.where(np.isnan(left), 0.0, left) / counts, n_factors - q)
    more = axes * np.sqrt(np.maximum(lengths - 1.0, 0.1)) * np.sqrt(params.noise)[:, None]
    return replace(params, loadings=np.hstack([params.loadings, more]))


def variances(readings: Readings, weights: Floats | None = None) -> Floats:
    """Variance of the observed values of each column, shape (d,)."""
    seen = readings.observed
    counts = seen * (1.0 if weights is None else weights[:, None])
    values = np.where(seen, readings.values, 0.0)
    totals = np.maximum(counts.sum(axis=0), 1e-300)
    centre = (counts * values).sum(axis=0) / totals
    return np.asarray((counts * np.where(seen, readings.values - centre, 0.0) ** 2).sum(axis=0) / totals)


def units(readings: Readings, weights: Floats | None = None) -> Floats:
    """Powers of two near the standard deviations of what is observed, 1 where there is none, shape (d,): division by them is
    exact."""
    spread = variances(readings, weights)
    usable = np.isfinite(spread) & (spread > 0.0)
    return np.asarray(2.0 ** np.where(usable, np.round(0.5 * np.log2(np.where(usable, spread, 1.0))), 0.0))


def scaled(readings: Readings, factor: Floats) -> Readings:
    """The table with each column times a positive factor, shape (d,)."""
    ends = (None if end is None else end * factor for end in (readings.lower, readings.upper))
    return Readings(readings.values * factor, *ends)


def factor_model(
    readings: Readings, n_factors: int, ridge: float, weights: Floats | None = None, labels: tuple[str, ...] = ()
) -> FactorAnalysis:
    """Factor analysis of a table, uniquenesses kept from zero by the weight of two rows."""
    prior = FactorPrior(SHARE * variances(readings, weights), ROWS, ridge)
    return FactorAnalysis(readings.values.shape[1], n_factors, prior=prior, labels=labels)


@dataclass(frozen=True)
class FactorChoice:
    """Number of factors and weight of the prior on loadings, chosen by hidden cells.

    Parameters
    ----------
    n_factors : int
    ridge : float
    score : float
        Nats a hidden cell.
    tried : dict
        Score of every pair that was tried.
    ends : list of FactorParams
        Where the climb of each part under this pair ended, with cells hidden, in the units of the comparison.
    params : FactorParams
        The first of these in the units of the table.
    """

    n_factors: int
    ridge: float
    score: float
    tried: dict[tuple[int, float], float]
    ends: list[FactorParams]
    params: FactorParams


def best_factors(
    comparison: Comparison, n_factors: int | None = None, ridge: float | None = None, rival: float = -math.inf
) -> FactorChoice:
    """The number of factors and the weight on loadings that predict hidden cells best, by steps on a grid of both.

    From the best pair so far its neighbours are tried, each climb starting from the end of that pair's, until none is
    better; then numbers of factors halfway to those beside it. Where a table is so large that a climb would exceed the
    budget of the search it is left out. Pairs that predict hidden cells worse than the column mean does, by squared
    error, are not used.

    Parameters
    ----------
    comparison : Comparison
        Hidden cells.
    n_factors : int, optional
        The number of factors where it is given.
    ridge : float, optional
        The weight on loadings where it is given.
    rival : float
        Score of another model: a search that is far behind it ends early.
    """
    n, d = comparison.readings.values.shape
    most = max(1, min(d - 1, n // 2, int(math.sqrt(WORK / (n * d)))))
    sizes: list[int] = [q for q in FACTORS if q <= most] if n_factors is None else [n_factors]
    ridges = RIDGES if ridge is None else (ridge,)
    passes = PASSES if n * d < LARGE else BRIEF
    scores: dict[tuple[int, float], float] = {}
    ends: dict[tuple[int, float], list[FactorParams]] = {}
    spent = 0.0

    def model_of(pair: tuple[int, float]) -> Callable[[Readings], FactorAnalysis]:
        return lambda table: factor_model(table, *pair, comparison.weights)

    def judge(pair: tuple[int, float], near: tuple[int, float] | None) -> None:
        nonlocal spent
        cost = float(n * d * pair[0] ** 2 * passes * len(comparison.parts))
        behind = bool(scores) and max(scores.values()) < rival - BEHIND
        if pair in scores or (scores and spent + cost > (SEARCH / SHORTENED if behind else SEARCH)):
            return
        begin: list[Any] = []
        if near is not None:
            begin = [
                (lambda _, p=p, s=s: grown(p, s.kept.values, pair[0]))
                for p, s in zip(ends[near], comparison.parts, strict=True)
            ]
        scores[pair], ends[pair] = comparison.judge(model_of(pair), begin, passes)
        spent += cost

    def chosen(pair: tuple[int, float]) -> FactorChoice:
        """The choice, its parameters in the units of the table."""
        end, unit = ends[pair][0], comparison.unit
        params = FactorParams(end.mean * unit, end.loadings * unit[:, None], end.noise * unit**2)
        return FactorChoice(*pair, scores[pair], scores, ends[pair], params)

    def best() -> tuple[int, float]:
        return max(scores, key=lambda pair: (scores[pair], -pair[0], pair[1]))

    at = (sizes[min(FIRST[0], len(sizes) - 1)], ridges[min(FIRST[1], len(ridges) - 1)])
    judge(at, None)
    while True:
        i, j = sizes.index(at[0]), ridges.index(at[1])
        beside = [(sizes[k], at[1]) for k in (i + 1, i - 1) if 0 <= k < len(sizes)]
        beside += [(at[0], ridges[k]) for k in (j + 1, j - 1) if 0 <= k < len(ridges)]
        for pair in beside:
            judge(pair, at)
        if best() == at:
            break
        at = best()
    if n_factors is None:
        for _ in range(HALVINGS):
            at = best()
            tried = sorted({q for q, _ in scores})
            k = tried.index(at[0])
            for q in sorted({(tried[k] + tried[b]) // 2 for b in (k - 1, k + 1) if 0 <= b < len(tried)}):
                judge((q, at[1]), at)
    mean_error = squares_of_mean(comparison)
    order = sorted(scores, key=lambda pair: (scores[pair], -pair[0], pair[1]), reverse=True)
    for at in order:
        if math.isfinite(scores[at]) and squares(comparison, model_of(at), ends[at]) <= NO_WORSE**2 * mean_error:
            return chosen(at)
    at = order[0]
    if ridge is None:
        at = (1 if n_factors is None else n_factors, MEANS)
        scores[at], ends[at] = comparison.judge(model_of(at), (), passes)
    return chosen(at)


def squares(comparison: Comparison, make: Callable[[Readings], TableModel], params: Sequence[Any]) -> float:
    """Squared errors of hidden cells summed, each column in units of its variance.

    Parameters
    ----------
    comparison : Comparison
    make : callable
        The model of what is kept of the table.
    params : sequence
        Its parameters for each part.
    """
    total = 0.0
    for part, own in zip(comparison.parts, params, strict=True):
        filled, _ = make(part.kept).conditional(own, part.before)
        total += sum_of_squares(part, filled, comparison.weights)
    return total


def squares_of_mean(comparison: Comparison) -> float:
    """The same of the mean of each column."""
    total = 0.0
    for part in comparison.parts:
        centre = FactorSource(part.kept.values, comparison.weights).origin
        total += sum_of_squares(part, np.broadcast_to(centre, part.after.values.shape), comparison.weights)
    return total


def sum_of_squares(part: Split, filled: Floats, weights: Floats | None) -> float:
    """Squared errors of the hidden cells of one part."""
    hidden = part.after.observed & ~part.before.observed
    away = np.where(hidden, part.after.values - filled, 0.0)
    return float(part.weights @ (away**2 / variances(part.kept, weights)).sum(axis=1))
