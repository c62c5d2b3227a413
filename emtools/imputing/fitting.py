"""A model of the rows of a table, fitted: which one, and with which prior, is told by the data where they must tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from emtools.engine.loop import climb
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.stopping import Status
from emtools.errors import FitError, InputError
from emtools.imputing.choose import (
    BEHIND,
    BRIEF,
    LARGE,
    MEANS,
    SHARE,
    Comparison,
    FactorChoice,
    best_factors,
    best_weight,
    factor_model,
    variances,
)
from emtools.imputing.dependencies import dependencies
from emtools.imputing.result import Fitted
from emtools.imputing.standard_errors import AT_BOUND, fit_with_errors
from emtools.imputing.targets import TargetChoice, TargetSearch, ridge_towards, thresholded
from emtools.kernels.readings import Readings
from emtools.models.censored_normal import CensoredNormal
from emtools.models.factor_analysis import FactorAnalysis, FactorParams
from emtools.models.incomplete_mixture import IncompleteMixture, incomplete_prior
from emtools.models.mixture import CovariancePrior
from emtools.models.normal import MultivariateNormal
from emtools.models.student_t import HIGHEST_DF, LOWEST_DF, StudentT
from emtools.models.tabular import TableModel

KINDS = ("normal", "t", "factors", "mixture", "auto")
TOL, MOVE = 1e-10, 1e-9
WIDE = 100  # columns beyond which a covariance without a finite maximum is modelled by factors
DENSE = 4000  # columns up to which a covariance without structure is tried beside them, since it must be held
PASS = 3e11  # and operations that a pass over it may cost
CHEAPER = 5e-3  # nats a cell that factors may be behind a covariance without structure and still be used
LOOSE = 0.1  # gain to come in nats at which climbs of many factors' parameters end
A_CELL = 2e-6  # the same for each cell of a large table
LONGEST, BRIEFEST = 1000, 50  # passes of such climbs
ORDER = 3  # of the acceleration of a climb over a large covariance, each of which it remembers six of
CLIMB = 2.5e11  # and what they cost, in rows times columns times squared factors
GRID = tuple(10.0 ** (k / 2.0) for k in range(2, -7, -1))  # pseudo-rows of the ridge, in rows of the table
FURTHER = tuple(10.0 ** (k / 2.0) for k in range(-7, -11, -1))  # the same where it stands beside a fit without
LEAST = 1e-6  # pseudo-rows of a ridge, in rows of the table, that float64 tells from none where columns depend on one another
# Smallest eigenvalue of correlations at the end of a climb that did not converge: it was heading for none below the first, and
# below the second a ridge predicts better than where it ended.
SINGULAR, ILL_TOLD = 1e-8, 1e-4
COMPONENTS = (1, 2, 3, 4, 6)
MOST_COMPARED = 20_000  # rows that a comparison of kinds looks at
ROUNDING = 1e-13  # range of a column, in its largest value, up to which it holds one value alone
NO_CELL = "a tenth of the rows, since no cell can be spared to choose by"
TOLD = 5  # equations that a notice names


@dataclass(frozen=True)
class Asked:
    """Arguments of `fit_table` that every kind of model shares."""

    readings: Readings
    labels: tuple[str, ...]
    weights: Floats | None
    starts: int
    strategy: str | None
    climbing: dict[str, Any]

    @property
    def seed(self) -> int:
        """Root of the random numbers."""
        return int(self.climbing.get("seed", 0))

    @property
    def n_rows(self) -> int:
        """Rows of positive weight in which anything is known."""
        known = (self.readings.observed | self.readings.bounded).any(axis=1)
        return int(known.sum() if self.weights is None else (known & (self.weights > 0.0)).sum())

    def name(self, column: int) -> str:
        """Name of a column."""
        return self.labels[column] if self.labels else f"column {column}"

    def compare(self) -> Comparison:
        """Hidden cells of the table."""
        return Comparison(self.readings, self.weights, self.seed)


def fit_table(
    readings: Readings,
    *,
    labels: Sequence[str] = (),
    kind: str = "normal",
    prior: str | float = "auto",
    n_factors: int | None = None,
    n_components: int | None = None,
    weights: Floats | None = None,
    starts: int = 1,
    strategy: str | None = None,
    **climbing: Any,
) -> Fitted:
    """Fit a model to the rows of a table.

    A normal distribution is fitted by maximum likelihood. Where its likelihood has no finite maximum, or one that no climb reaches
    between columns that all but depend on one another, the notices say so and name the columns that depend on one another; up to 100 columns a ridge ``Σ = (scatter + λ diag(v)) / (n + λ)``
    is used, v the observed variances, beyond them factors with a ridge on their loadings or, up to 500 columns and where it
    is better, a ridge towards thresholded correlations. Weights of ridges, the number
    of factors and of components are those that predict hidden cells best (`emtools.imputing.choose`).

    Parameters
    ----------
    readings : Readings
        The table on the scales of the model, shape (n, d).
    labels : sequence of str
        Names of the columns, for messages.
    kind : {"normal", "t", "factors", "mixture", "auto"}
        Model of the rows; "auto" is the one that predicts hidden cells best. A normal one of a table with bounded cells
        integrates over them; the others refuse bounds.
    prior : {"auto", "none"} or float
        Weight of the ridge prior in rows, 0 or "none" for maximum likelihood; "auto" is maximum likelihood wherever
        a finite maximum exists.
    n_factors, n_components : int, optional
        Of factors and mixture.
    weights : ndarray, shape (n,), optional
        Non-negative weights of the rows; 2 equals the row twice.
    starts : int
        Starts of the climb.
    strategy : str, optional
        How they are made.
    **climbing
        Further arguments of `emtools.engine.starts.fit`.

    Returns
    -------
    Fitted

    Raises
    ------
    InputError
        If an option or the table cannot be used.
    FitError
        If no start gave a usable result.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rows = rng.normal(size=(40, 2))
    >>> rows = np.column_stack([rows, rows.sum(axis=1)])
    >>> rows[::5, 0] = np.nan
    >>> fitted = fit_table(Readings(rows), labels=("a", "b", "sum"))
    >>> fitted.notices[0].split(":")[0]
    'sum = a + b'
    """
    check_options(readings, kind, prior)
    asked = Asked(readings, tuple(labels), weights, starts, strategy, climbing)
    check_columns(asked)
    match kind:
        case "normal":
            return fit_normal(asked, prior)
        case "t":
            return fit_t(asked)
        case "factors":
            return fit_factors(asked, prior, n_factors)
        case "mixture":
            return fit_mixture(asked, prior, n_components)
    return fit_best(asked, prior, n_factors, n_components)


def check_options(readings: Readings, kind: str, prior: str | float) -> None:
    """Refuse options that cannot be used, or not with this table.

    Raises
    ------
    InputError
        If so.
    """
    if kind not in KINDS:
        raise InputError("kind", repr(kind), f"one of {', '.join(KINDS)}")
    words = isinstance(prior, str)
    if (words and prior not in ("auto", "none")) or (not words and not 0.0 <= float(prior) < np.inf):
        raise InputError("prior", repr(prior), "auto, none, or a number of pseudo-rows of at least 0")
    if kind in ("t", "factors", "mixture") and readings.bounded.any():
        row, column = (int(k) for k in np.argwhere(readings.bounded)[0])
        got = f"bounds of a cell (row {row}, column {column})"
        raise InputError(f"kind {kind}", got, "values or nothing", "use kind normal, which integrates over limits")
    if kind == "t" and not words and float(prior):
        raise InputError("prior", f"{prior:g} rows with kind t", "auto or none", "use kind normal for a ridge")


def check_columns(asked: Asked) -> None:
    """Refuse a column that does not vary or of which nothing is known: no variance can be estimated.

    Raises
    ------
    InputError
        If there is one.
    """
    readings = asked.readings
    if readings.bounded.any():
        return
    seen = readings.observed
    if asked.weights is not None:
        seen = seen & (asked.weights > 0.0)[:, None]
    counts = seen.sum(axis=0)
    if not counts.all():
        raise InputError(asked.name(int(np.argmin(counts))), "no value", "at least two that differ", "drop it")
    high = np.where(seen, readings.values, -np.inf).max(axis=0)
    low = np.where(seen, readings.values, np.inf).min(axis=0)
    flat = high - low <= ROUNDING * np.maximum(np.abs(high), np.abs(low))
    if flat.any():
        column = int(np.argmax(flat))
        got = f"one value alone, {high[column]:g}, in its {counts[column]} observed cells"
        raise InputError(asked.name(column), got, "at least two that differ", "drop it")


def ridge(readings: Readings, pseudo_rows: float, weights: Floats | None = None) -> CovariancePrior | None:
    """The prior under which the covariance is ``(scatter + λ diag(v)) / (n + λ)``, v the observed variances.

    Parameters
    ----------
    readings : Readings
        The table.
    pseudo_rows : float
        Weight λ of the prior in rows, at least 0; 0 is no prior.
    weights : ndarray, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    CovariancePrior or None

    Examples
    --------
    >>> ridge(Readings(np.array([[0.0, 1.0], [2.0, 5.0]])), 0.5).scale.tolist()
    [[0.5, 0.0], [0.0, 2.0]]
    """
    if pseudo_rows == 0.0:
        return None
    spread = variances(readings, weights)
    spread = np.where(spread > 0.0, spread, 1.0)
    return CovariancePrior(pseudo_rows - len(spread) - 1.0, np.diag(pseudo_rows * spread))


def normal_model(asked: Asked, pseudo_rows: float, readings: Readings | None = None) -> TableModel:
    """A normal model of a table with a ridge; bounded cells are integrated over."""
    table = asked.readings if readings is None else readings
    d, prior = table.values.shape[1], ridge(table, pseudo_rows, asked.weights)
    if asked.readings.bounded.any():
        return cast("TableModel", CensoredNormal(d, prior, asked.labels))
    return cast("TableModel", MultivariateNormal(d, prior, asked.labels))


def fit_model(model: Any, asked: Asked, **more: Any) -> Fit[Any, Any]:
    """Fit one model."""
    arguments = {
        "starts": asked.starts,
        "strategy": asked.strategy,
        **more,
        **tight(model, asked.climbing, asked.readings.values.size),
    }
    return fit_with_errors(model, asked.readings, asked.weights, **arguments)


def tight(model: TableModel, climbing: dict[str, Any], cells: int) -> dict[str, Any]:
    """Arguments of a climb, with tolerances of an exact fit where none were asked for: 1e-10 nats, and where a change of
    parameters is measured in standard deviations 1e-9 of them an EM step. Beyond 100 columns factors climb to 0.1 nats or
    2e-6 nats a cell, in so many passes as cost what a search for their number does."""
    if isinstance(model, FactorAnalysis):
        if model.n_features <= WIDE:
            return {"tol": TOL} | climbing
        most = int(min(max(CLIMB / (cells * model.n_factors**2), BRIEFEST), LONGEST))
        return {"tol": max(LOOSE, A_CELL * cells), "max_passes": most, "certificate": False} | climbing
    exact = {"tol": TOL, **({"parameter_tol": MOVE} if hasattr(model, "packed_units") else {})}
    return exact | climbing


def fit_t(asked: Asked) -> Fitted:
    """A multivariate t, and what degrees of freedom at a bound mean."""
    model = StudentT(asked.readings.values.shape[1], labels=asked.labels)
    fitted = fit_model(model, asked)
    notices = []
    if fitted.params.df >= HIGHEST_DF * (1.0 - AT_BOUND):
        notices.append(
            f"The likelihood rises with the degrees of freedom as far as they go, {HIGHEST_DF:,.0f}, where a t is a normal "
            "distribution: no row lies far enough out for a t; use kind normal"
        )
    elif fitted.params.df <= LOWEST_DF * (1.0 + AT_BOUND):
        notices.append(
            f"The degrees of freedom are as few as they can be, {LOWEST_DF:g}: the likelihood rises without bound as the t "
            "narrows about some rows; use kind normal"
        )
    return Fitted("t", cast("TableModel", model), fitted, 0.0, tuple(notices))


def fit_normal(asked: Asked, prior: str | float) -> Fitted:
    """A normal distribution, by maximum likelihood where it exists, else with a ridge or by factors."""
    d = asked.readings.values.shape[1]
    if prior != "auto":
        return fit_given(asked, 0.0 if prior == "none" else float(prior))
    if asked.n_rows <= d:
        rows = f"{asked.n_rows:,} rows cannot tell the covariance of {d:,} columns"
        return regularised(asked, f"{rows}: the likelihood has no finite maximum", [])
    model = normal_model(asked, 0.0)
    try:
        fitted = fit_model(model, asked)
    except FitError:
        fitted = None
    again = replace(asked, climbing=asked.climbing | {"checkpoint": None})  # which is of the fit above: it knows one
    table = f"{asked.n_rows:,} rows of {d:,} columns and these gaps"
    if fitted is not None and not nearly_singular(model.moments(fitted.params)[1], fitted.status):
        plain = Fitted("normal", model, fitted, 0.0, ())
        lost = fitted.status is Status.BUDGET and nearly_singular(
            model.moments(fitted.params)[1], fitted.status, ILL_TOLD
        )
        why = f"{fitted.passes:,} passes did not reach the maximum of the likelihood, which {table} hardly tell"
        return (rather_a_ridge(again, why) if lost and d <= WIDE else None) or plain
    equations = named_dependencies(asked, model, fitted)
    why = "the likelihood has no finite maximum"
    return regularised(again, why if equations else f"{why} with {table}", equations)


def rather_a_ridge(asked: Asked, why: str) -> Fitted | None:
    """A fit with a ridge where hidden cells ask for more than the least weight that is tried; None where not, or none can tell."""
    comparison = asked.compare()
    if not comparison.parts:
        return None
    weight, score = hidden_cells_weight(asked, comparison, GRID + FURTHER)
    if weight <= FURTHER[-1] * asked.n_rows:  # columns that are alike, and not for want of rows
        return None
    try:
        return with_ridge(asked, weight, score, [told_without_equations(why)])
    except FitError:
        return None


def fit_given(asked: Asked, weight: float) -> Fitted:
    """A normal distribution with a ridge of the weight that was asked for.

    Raises
    ------
    FitError
        Where that has no maximum that float64 can tell.
    """
    model = normal_model(asked, weight)
    try:
        fitted = fit_model(model, asked)
    except FitError as error:
        raise no_fit(asked, model, weight, error) from None
    if fitted.status is Status.SADDLE and nearly_singular(model.moments(fitted.params)[1], fitted.status):
        raise no_fit(asked, model, weight, FitError("normal", fitted.verdict))
    return Fitted("normal", model, fitted, weight, ())


def no_fit(asked: Asked, model: TableModel, weight: float, error: FitError) -> FitError:
    """Why a normal with the prior that was asked for has no fit, and what prior would do; `error` where that is not it."""
    equations = named_dependencies(asked, model, None)
    if not equations and weight >= LEAST * asked.n_rows:
        return error
    if equations:
        more = f" and {len(equations) - TOLD} more" if len(equations) > TOLD else ""
        why = f"the columns depend on one another exactly ({'; '.join(equations[:TOLD])}{more})"
    else:
        why = f"{asked.n_rows:,} rows and these gaps do not tell the covariance of {asked.readings.values.shape[1]:,} columns"
    needed = f"at least {LEAST * asked.n_rows:.1g} rows"
    if weight:
        got = f"a ridge of {weight:g} rows is lost in rounding: {why}"
    else:
        got, needed = f"the likelihood has no finite maximum: {why}", f"a ridge prior of {needed}"
    return FitError("normal", got, needed, "set the prior to auto, which chooses its weight, or drop columns")


def nearly_singular(covariance: Floats, status: Status, least: float = SINGULAR) -> bool:
    """Whether a climb that did not converge was heading for a singular covariance: an eigenvalue of correlations below `least`."""
    if status is Status.CONVERGED:
        return False
    sd = np.sqrt(np.diagonal(covariance))
    return bool(np.linalg.eigvalsh(covariance / np.outer(sd, sd))[0] < least)


def named_dependencies(asked: Asked, model: TableModel, fitted: Fit[Any, Any] | None) -> list[str]:
    """Equations among the columns, from where a climb without a prior was heading."""
    if fitted is None:
        source = model.source(asked.readings, asked.weights)
        start = model.initial_params(source, np.random.default_rng(asked.seed), model.strategies[0])
        ended = climb(model, source, start, tol=LOOSE, max_passes=500)
        covariance = model.m_step(ended.stats, ended.params).covariance
    else:
        covariance = model.moments(fitted.params)[1]
    labels = [asked.name(j) for j in range(len(covariance))]
    if not np.isfinite(covariance).all() or not (np.diagonal(covariance) > 0.0).all():
        return []
    return dependencies(asked.readings.values, covariance, labels)


def regularised(asked: Asked, why: str, equations: list[str]) -> Fitted:
    """A fit with the prior that predicts hidden cells best, and why there is one."""
    notices = []
    if equations:
        more = f" and {len(equations) - TOLD} more" if len(equations) > TOLD else ""
        many = len(equations) > 1
        notices = [
            f"{'; '.join(equations[:TOLD])}{more}: {'these columns depend' if many else 'the columns depend'} on one another "
            f"exactly, so {why}; drop one column of {'each' if many else 'the'} equation to be rid of it"
        ]
    else:
        notices = [told_without_equations(why)]
    d = asked.readings.values.shape[1]
    if d > WIDE and not asked.readings.bounded.any():
        return fit_wide(asked, notices)
    comparison = asked.compare()
    if not comparison.parts:
        return with_ridge(asked, 0.1 * asked.n_rows, None, notices)
    return with_ridge(asked, *hidden_cells_weight(asked, comparison), notices)


def told_without_equations(why: str) -> str:
    """The notice of a table without a maximum in which no columns depend on one another."""
    return f"{why[0].upper()}{why[1:]}; drop columns or add rows to do without a prior"


def hidden_cells_weight(asked: Asked, comparison: Comparison, grid: Sequence[float] = GRID) -> tuple[float, float]:
    """The weight of a ridge that predicts hidden cells best, in rows, and its score in nats a cell."""
    weights = [float(asked.n_rows) * share for share in grid]
    return best_weight(comparison, lambda table, weight: normal_model(asked, weight, table), weights)


def with_ridge(asked: Asked, weight: float, score: float | None, notices: list[str]) -> Fitted:
    """A fit with a ridge of this weight, and what to say of it; `score` is None where no cell could tell."""
    how = f"the weight that predicts hidden cells best ({score:.3f} nats a cell)" if score is not None else NO_CELL
    model = normal_model(asked, weight)
    fitted = fit_model(model, asked)
    notice = (
        f"Used instead: a ridge prior worth {weight:.3g} rows, which draws correlations towards 0 by "
        f"{100.0 * weight / (asked.n_rows + weight):.2g} %; {how}"
    )
    return Fitted("normal", model, fitted, weight, (*notices, notice))


def affordable(readings: Readings) -> bool:
    """Whether a covariance of all columns can be held, and a pass over it made in good time.

    A pass costs about q³ operations a row of q gaps, and 5 d³ for the covariance.
    """
    gaps = (~readings.observed).sum(axis=1).astype(float)
    d = float(len(readings.values.T))
    return d <= DENSE and float((gaps**3).sum()) + 5.0 * d**3 <= PASS


def fit_wide(asked: Asked, notices: list[str]) -> Fitted:
    """Factors, or where that predicts hidden cells better a ridge towards their covariance or thresholded correlations."""
    comparison, readings = asked.compare(), asked.readings
    if not comparison.parts or not affordable(readings):
        found = fit_factors(asked, "auto", None)
        return replace(found, notices=(*notices, *found.notices))
    search, cells = TargetSearch(comparison, asked.n_rows), readings.values.size
    rival = search.first() if cells >= LARGE else -np.inf
    factors = best_factors(comparison, rival=rival)
    plain = factor_model(readings, factors.n_factors, factors.ridge, asked.weights)
    near = factors.score >= rival - BEHIND
    ridged = search.best([plain.covariance(params) for params in factors.ends] if near else [])
    many = "1 factor" if factors.n_factors == 1 else f"{factors.n_factors} factors"
    if factors.score >= ridged.score - CHEAPER:
        found = fit_factors(asked, factors.ridge, factors.n_factors, factors.params)
        also = f"a ridge towards {name_target(ridged, many)} gives {ridged.score:.3f}"
        return replace(found, notices=(*notices, f"{tell_choice(factors, comparison)}; {also}", *found.notices))
    weight = ridged.rows * asked.n_rows
    if ridged.cut is None:
        source = plain.source(readings, asked.weights)
        target = plain.covariance(climb(plain, source, factors.params, tol=LOOSE, max_passes=BRIEF).params)
    else:
        target = thresholded(readings, ridged.cut, asked.weights)
    model = ridge_towards(target, weight, asked.labels)
    quick = {
        "tol": max(LOOSE, A_CELL * cells),
        "parameter_tol": math.inf,
        "certificate": False,
        "look": cells < LARGE,
        "order": ORDER,
        **asked.climbing,
    }
    fitted = fit_model(model, replace(asked, climbing=quick), init=[ridged.params])
    notices.append(
        f"Used instead: a ridge prior worth {weight:.4g} rows, towards {name_target(ridged, many)}: it predicts "
        f"{comparison.n_cells:,.0f} hidden cells best ({ridged.score:.3f} nats a cell; {many} alone give {factors.score:.3f})"
    )
    if fitted.certificate is None:
        notices.append(f"Standard errors of {model.n_free_parameters:,} parameters are not computed")  # type: ignore[attr-defined]
    return Fitted("normal", model, fitted, weight, tuple(notices))


def name_target(choice: TargetChoice, factors: str) -> str:
    """What a ridge draws the covariance towards, in words."""
    if choice.cut is None:
        return f"the covariance of {factors}"
    return f"the correlations of pairs of columns, each drawn towards 0 by {choice.cut:g} standard errors"


def fit_factors(asked: Asked, prior: str | float, n_factors: int | None, near: FactorParams | None = None) -> Fitted:
    """Factor analysis with a ridge on loadings; number and ridge by hidden cells where they are not given.

    Of many columns, a single start without a strategy of its own is taken near where cells were hidden.
    """
    readings, d = asked.readings, asked.readings.values.shape[1]
    given = None if prior == "auto" else 0.0 if prior == "none" else float(prior)
    notices = []
    if n_factors is None or given is None:
        comparison = asked.compare()
        if not comparison.parts:
            raise InputError("factors", "no cell to spare", "more values", "set n_factors and the prior")
        choice = best_factors(comparison, n_factors, given)
        n_factors, weight = choice.n_factors, choice.ridge
        notices.append(tell_choice(choice, comparison))
        near = choice.params
    else:
        weight = given
    if not 1 <= n_factors < d:
        raise InputError("factors", str(n_factors), f"1 to {d - 1}")
    if prior == "none":
        model = FactorAnalysis(d, n_factors, labels=asked.labels)
    else:
        model = factor_model(readings, n_factors, weight, asked.weights, asked.labels)
    alone = asked.starts == 1 and asked.strategy is None and d > WIDE
    fitted = fit_model(model, asked, init=[near] if alone and near is not None else [])
    if d > WIDE and fitted.certificate is None:
        notices.append(f"Standard errors of {model.n_free_parameters:,} parameters are not computed")
    return Fitted("factors", cast("TableModel", model), fitted, weight, tuple(notices))


def tell_choice(choice: FactorChoice, comparison: Comparison) -> str:
    """One sentence on how many factors were chosen, and by what."""
    many = "1 factor" if choice.n_factors == 1 else f"{choice.n_factors} factors"
    if choice.ridge == MEANS:
        return "Used: the mean of each column, in effect; no factors predict hidden cells closer by squared error"
    ridge = (
        f"a ridge prior on their loadings worth {choice.ridge:g} rows" if choice.ridge else "no ridge on their loadings"
    )
    return (
        f"Used: {many} with {ridge}, which predict "
        f"{comparison.n_cells:,.0f} hidden cells best of {len(choice.tried)} pairs tried ({choice.score:.3f} nats a cell); "
        f"uniquenesses are kept from 0 by the weight of two rows at {SHARE:g} of each variance"
    )


def mixture_model(asked: Asked, n_components: int, prior: str | float, readings: Readings | None = None) -> TableModel:
    """A mixture of normals of a table."""
    table = asked.readings if readings is None else readings
    weak: CovariancePrior | None
    if prior == "auto":
        weak = incomplete_prior(table.values, n_components, "full", asked.weights)
    else:
        weak = ridge(table, 0.0 if prior == "none" else float(prior), asked.weights)
    d = table.values.shape[1]
    return cast("TableModel", IncompleteMixture(n_components, d, prior=weak, labels=asked.labels))


def fit_mixture(asked: Asked, prior: str | float, n_components: int | None) -> Fitted:
    """A mixture of normals; their number by hidden cells where it is not given."""
    notices = []
    if n_components is None:
        comparison = asked.compare()
        scores = mixture_scores(asked, prior, comparison)
        n_components = max(scores, key=lambda k: scores[k])
        many = "1 component" if n_components == 1 else f"{n_components} components"
        notices = [f"Used: {many}, the number that predicts hidden cells best ({scores[n_components]:.3f} nats a cell)"]
    model = mixture_model(asked, n_components, prior)
    fitted = fit_model(model, asked)
    weight = 0.0 if prior in ("auto", "none") else float(prior)
    return Fitted("mixture", model, fitted, weight, tuple(notices))


def mixture_scores(
    asked: Asked, prior: str | float, comparison: Comparison, counts: Sequence[int] = COMPONENTS
) -> dict[int, float]:
    """Nats a hidden cell by number of components, until one more does not help."""
    scores: dict[int, float] = {}
    for k in counts:
        scores[k] = comparison.judge(lambda table, k=k: mixture_model(asked, k, prior, table))[0]  # type: ignore[misc]
        if len(scores) > 1 and scores[k] < max(scores.values()):
            break
    return scores


def fit_best(asked: Asked, prior: str | float, n_factors: int | None, n_components: int | None) -> Fitted:
    """The kind of model that predicts hidden cells best."""
    readings, (n, d) = asked.readings, asked.readings.values.shape
    if readings.bounded.any():
        told = "Used: normal, the kind that integrates over limits of detection"
        return with_notice(fit_normal(asked, prior), told)
    if d > WIDE:
        told = f"Used: factors, the kind for more than {WIDE} columns; others were not compared"
        return with_notice(fit_factors(asked, prior, n_factors), told)
    looked = asked
    if n > MOST_COMPARED:
        rows = np.sort(np.random.default_rng(asked.seed).choice(n, MOST_COMPARED, replace=False))
        w = None if asked.weights is None else asked.weights[rows]
        looked = replace(asked, readings=readings.take(rows), weights=w)
    comparison = looked.compare()
    if not comparison.parts:
        return with_notice(fit_normal(asked, prior), "Used: normal, since no cell can be spared to compare kinds by")
    scores, weight = {}, 0.0 if isinstance(prior, str) else float(prior)
    scores["normal"] = comparison.judge(lambda table: normal_model(looked, weight, table))[0]
    if prior == "auto" and (scores["normal"] == -np.inf or looked.n_rows <= d):
        grid = [looked.n_rows * g for g in GRID]
        scores["normal"] = best_weight(comparison, lambda t, w: normal_model(looked, w, t), grid)[1]
    student = cast("TableModel", StudentT(d, labels=asked.labels))
    scores["t"] = comparison.judge(lambda _: student)[0]
    if d > 2:
        chosen = best_factors(comparison, n_factors, None if prior == "auto" else weight)
        scores["factors"] = chosen.score
    counts = COMPONENTS if n_components is None else (n_components,)
    sizes = mixture_scores(looked, prior, comparison, counts)
    n_components = max(sizes, key=lambda k: sizes[k])
    if n_components > 1:
        scores["mixture"] = sizes[n_components]
    order = sorted(scores, key=lambda name: -scores[name])
    told = ", ".join(f"{name} {scores[name]:.3f}" for name in order)
    lead = scores[order[0]] - scores[order[1]]
    notice = f"Used: {order[0]}, ahead by {lead:.3f} nats a cell on {comparison.n_cells:,.0f} hidden cells ({told})"
    match order[0]:
        case "t":
            best = fit_t(asked)
        case "factors":
            best = fit_factors(asked, prior if prior == "none" else chosen.ridge, chosen.n_factors)
        case "mixture":
            best = fit_mixture(asked, prior, n_components)
        case _:
            best = fit_normal(asked, prior)
    return with_notice(best, notice)


def with_notice(fitted: Fitted, notice: str) -> Fitted:
    """The same with a notice before the others."""
    return replace(fitted, notices=(notice, *fitted.notices))
