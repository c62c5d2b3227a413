"""Which kind of model fills hidden cells with the smallest error, which need not be the one of the highest likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from emtools.engine.protocol import Floats
from emtools.imputing.choose import Comparison, variances
from emtools.kernels.readings import Readings
from emtools.models.tabular import TableModel

BETTER = 0.97  # error relative to that of the first candidate from which another is preferred
CLEAR = 1.0  # standard errors by which squared errors must differ as well


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
    spread = variances(comparison.readings, comparison.weights)
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
