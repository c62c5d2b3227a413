"""Which kind of model fills hidden cells with the smallest error, which need not be the one of the highest likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emtools.engine.protocol import Floats
from emtools.errors import FitError
from emtools.imputing.choose import Comparison, variances
from emtools.imputing.fitting import Asked, fit_table, mixture_model, normal_model
from emtools.imputing.result import Fitted
from emtools.kernels.readings import Readings
from emtools.models.tabular import TableModel

BETTER = 0.97  # error relative to that of the first candidate from which another is preferred
CLEAR = 1.0  # standard errors by which squared errors must differ as well
SIZES = (2, 3, 5)  # components of the mixtures that are tried
LARGEST, WIDEST, FEWEST = 60_000, 50, 40  # values and columns up to which they are tried, and rows from which


@dataclass(frozen=True)
class Prediction:
    """Errors of conditional means in hidden cells, by candidate.

    Parameters
    ----------
    errors : dict of str to float
        Root mean square in standard deviations of the columns.
    chosen : str
        The first candidate, unless another is clearly better.
    """

    errors: dict[str, float]
    chosen: str


def squared_errors(comparison: Comparison, make: Callable[[Readings], TableModel]) -> Floats:
    """Squared error of each hidden cell of all parts in variances of its column, times the weight of its row.

    Infinite throughout where a part cannot be fitted.
    """
    score, ends = comparison.judge(make)
    spread = variances(comparison.readings, comparison.weights) / comparison.unit**2
    found = []
    for part, params in zip(comparison.parts, ends, strict=True):
        hidden = part.after.observed & ~part.before.observed
        filled = make(part.kept).conditional(params, part.before)[0] if np.isfinite(score) else np.inf
        squares = np.where(hidden, filled - np.where(hidden, part.after.values, 0.0), 0.0) ** 2 / spread
        found.append((squares * part.weights[:, None])[hidden])
    return np.concatenate(found) if found else np.zeros(0)


def best_prediction(comparison: Comparison, candidates: Mapping[str, Callable[[Readings], TableModel]]) -> Prediction:
    """The candidate whose conditional means are nearest to hidden cells.

    Another than the first must lower the root mean square by 3 %, and the mean of the squares by a standard error of
    the difference: the first keeps what is doubtful.

    Parameters
    ----------
    comparison : Comparison
        Hidden cells.
    candidates : mapping of str to callable
        The model of a table, by name; the first is the default.

    Returns
    -------
    Prediction

    Examples
    --------
    >>> from emtools.models.normal import MultivariateNormal
    >>> from emtools.models.incomplete_mixture import IncompleteMixture, incomplete_prior
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-2.0, 2.0, size=300)
    >>> bent = Readings(np.column_stack([x, np.abs(x) + 0.1 * rng.normal(size=300)]))
    >>> two = lambda t: IncompleteMixture(2, 2, prior=incomplete_prior(t.values, 2))
    >>> best_prediction(Comparison(bent), {"normal": lambda t: MultivariateNormal(2), "mixture": two}).chosen
    'mixture'
    """
    names = list(candidates)
    squares = {name: squared_errors(comparison, candidates[name]) for name in names}
    errors = {name: float(np.sqrt(s.sum() / comparison.n_cells)) for name, s in squares.items()}
    first = squares[names[0]]

    def clear(name: str) -> bool:
        if not errors[name] < BETTER * errors[names[0]]:
            return False
        gain = first - squares[name]
        return bool(not np.isfinite(first).all() or gain.mean() > CLEAR * gain.std() / np.sqrt(gain.size))

    better = [name for name in names[1:] if clear(name)]
    return Prediction(errors, min(better, key=lambda name: errors[name]) if better else names[0])


def best_filler(
    fitted: Fitted,
    readings: Readings,
    *,
    labels: Sequence[str] = (),
    weights: Floats | None = None,
    **climbing: Any,
) -> Fitted | None:
    """A mixture of normals that fills the gaps of a table clearly better than the normal that was fitted to it.

    Parameters
    ----------
    fitted : Fitted
        What was fitted to the table.
    readings : Readings
        The table on the scales of the model.
    labels : sequence of str
        Names of the columns.
    weights : ndarray, shape (n,), optional
        Weights of the rows, as `fitted` had them.
    **climbing
        As in `emtools.engine.starts.fit`.

    Returns
    -------
    Fitted or None
        None where `fitted` is no normal distribution, or the best of its kind, or where hidden cells cannot tell: tables
        with limits of detection, of few rows, or too large to try in seconds.
    """
    n, d = readings.values.shape
    if fitted.kind != "normal" or readings.bounded.any() or not readings.values.size <= LARGEST:
        return None
    n_used = n if weights is None else int((weights > 0.0).sum())
    if d < 2 or d > WIDEST or n_used < FEWEST or readings.observed.all():
        return None
    asked = Asked(readings, tuple(labels), weights, 1, None, climbing)
    candidates: dict[str, Callable[[Readings], TableModel]] = {
        "normal": lambda table: normal_model(asked, fitted.pseudo_rows, table)
    }
    for size in SIZES:
        candidates[str(size)] = lambda table, size=size: mixture_model(asked, size, "auto", table)  # type: ignore[misc]
    found = best_prediction(asked.compare(), candidates)
    if found.chosen == "normal":
        return None
    try:
        filler = fit_table(
            readings,
            labels=labels,
            kind="mixture",
            n_components=int(found.chosen),
            weights=weights,
            certificate=False,
            **climbing,
        )
    except FitError:
        return None
    gain = 1.0 - found.errors[found.chosen] / found.errors["normal"]
    return Fitted(
        filler.kind,
        filler.model,
        filler.fit,
        filler.pseudo_rows,
        (
            f"filled by a mixture of {found.chosen} normals, which predicts hidden cells {100 * gain:.0f} % closer than one "
            "normal does; parameters, tests and draws are those of the normal",
        ),
    )
