"""A model of the rows of a table, fitted: which one, and with which prior, is told by the data where they must tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.imputing.result import Fitted
from emtools.imputing.standard_errors import with_observed_errors
from emtools.kernels.readings import Readings
from emtools.models.mixture import CovariancePrior
from emtools.models.tabular import TableModel

KINDS = ("normal", "t", "factors", "mixture", "auto")
TOL, MOVE = 1e-10, 1e-9


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

    Parameters
    ----------
    readings : Readings
        The table on the scales of the model, shape (n, d).
    labels : sequence of str
        Names of the columns, for messages.
    kind : {"normal", "t", "factors", "mixture", "auto"}
        Model of the rows. A normal one of a table with bounded cells integrates over them.
    prior : {"auto", "none"} or float
        Weight of the ridge prior in rows, 0 or "none" for maximum likelihood; "auto" is maximum likelihood wherever
        it exists.
    n_factors, n_components : int, optional
        Of factors and mixture; chosen by held-out likelihood by default.
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
    """
    if kind not in KINDS:
        raise InputError("kind", repr(kind), f"one of {', '.join(KINDS)}")
    if kind != "normal":
        raise InputError("kind", repr(kind), "normal", "the others are on their way")
    weight = 0.0 if isinstance(prior, str) else float(prior)
    model = table_model(kind, readings, ridge(readings, weight, weights), tuple(labels))
    return Fitted(kind, model, fit_model(model, readings, weights, starts, strategy, climbing), weight, ())


def spread(readings: Readings, weights: Floats | None = None) -> Floats:
    """Variance of the observed values of each column, shape (d,)."""
    seen = readings.observed
    counts = seen * (1.0 if weights is None else weights[:, None])
    values = np.where(seen, readings.values, 0.0)
    totals = np.maximum(counts.sum(axis=0), 1e-300)
    centre = (counts * values).sum(axis=0) / totals
    return np.asarray((counts * np.where(seen, readings.values - centre, 0.0) ** 2).sum(axis=0) / totals)


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
    """
    if pseudo_rows == 0.0:
        return None
    variances = spread(readings, weights)
    return CovariancePrior(pseudo_rows - len(variances) - 1.0, np.diag(pseudo_rows * variances))


def table_model(kind: str, readings: Readings, prior: CovariancePrior | None, labels: tuple[str, ...]) -> TableModel:
    """A normal model of a table; bounded cells are integrated over."""
    d = readings.values.shape[1]
    if readings.bounded.any():
        from emtools.models.censored_normal import CensoredNormal

        return cast("TableModel", CensoredNormal(d, prior, labels))
    from emtools.models.normal import MultivariateNormal

    return cast("TableModel", MultivariateNormal(d, prior, labels))


def fit_model(
    model: TableModel,
    readings: Readings,
    weights: Floats | None,
    starts: int,
    strategy: str | None,
    climbing: dict[str, Any],
) -> Fit[Any, Any]:
    """Fit one model."""
    from emtools.models.normal import PatternSource

    make: Callable[..., Any] = getattr(model, "source", lambda r, w: PatternSource(r.values, w))
    fitted = fit(model, make(readings, weights), starts=starts, strategy=strategy, **tight(model, climbing))
    return with_observed_errors(fitted, readings, weights)


def tight(model: TableModel, climbing: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a climb, with tolerances of an exact fit where none were asked for: 1e-10 nats, and where a change of
    parameters is measured in standard deviations 1e-9 of them an EM step."""
    exact = {"tol": TOL, **({"parameter_tol": MOVE} if hasattr(model, "packed_units") else {})}
    return exact | climbing
