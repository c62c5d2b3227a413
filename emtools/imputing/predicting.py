"""What fills the gaps of a table: the normal that was fitted to it, drawn towards mixtures of normals as far as hidden cells say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from emtools.engine.loop import climb
from emtools.engine.protocol import Floats
from emtools.engine.stopping import Status
from emtools.errors import EmtoolsError
from emtools.imputing.choose import CLOSE, Comparison, Split, variances
from emtools.imputing.result import Filler, Fitted
from emtools.kernels.odds import missing_odds
from emtools.kernels.readings import Readings
from emtools.models.incomplete_mixture import IncompleteMixture, incomplete_prior
from emtools.models.mixture import MixtureParams
from emtools.models.normal import MultivariateNormal, NormalParams
from emtools.models.stacked import Stacked, StackedParams
from emtools.models.tabular import TableModel

SIZES = (2, 3, 5, 8)  # components of the mixtures that join the normal
PASSES = 25  # of the climb of each
MORE_ROWS = 2  # beyond the number of columns that the prior on each covariance is worth
CAP = 5.0  # most that a hidden cell may count, in the mean of them
SURE = 1.0  # standard errors that the share is drawn back by
FEWEST = 40  # rows from which they are tried
WORK = 250_000  # and rows times squared columns up to which


@dataclass(frozen=True)
class Hidden:
    """Cells that neither model saw, m of them.

    Parameters
    ----------
    rows : ndarray of int, shape (m,)
        Their rows.
    weights : ndarray, shape (m,)
        What they count.
    left : ndarray, shape (m,)
        Value less the mean of the normal, in standard deviations of the column.
    apart : ndarray, shape (m,)
        Average of the means of the mixtures less the mean of the normal, likewise.
    """

    rows: np.ndarray
    weights: Floats
    left: Floats
    apart: Floats

    def slope(self) -> tuple[float, float]:
        """Least-squares share of the mixtures, and its standard error from residuals summed by row."""
        square = float(self.weights @ self.apart**2)
        if not square > 0.0:
            return 0.0, 0.0
        share = float(self.weights @ (self.apart * self.left)) / square
        scores = self.weights * self.apart * (self.left - share * self.apart)
        by_row = np.bincount(self.rows, scores)
        return share, float(np.sqrt((by_row**2).sum())) / square

    def share(self) -> float:
        """The share less its standard error, between 0 and 1."""
        share, error = self.slope()
        return float(np.clip(share - SURE * error, 0.0, 1.0))

    def error(self, share: float) -> float:
        """Root mean square error of the stack in standard deviations of the columns."""
        return float(np.sqrt(self.weights @ (self.left - share * self.apart) ** 2 / self.weights.sum()))


def mixtures(normal: NormalParams, readings: Readings, weights: Floats | None, seed: int) -> list[MixtureParams]:
    """Mixtures of 2, 3, 5 and 8 normals of a table, those of them that can be fitted.

    Their covariances are drawn towards that of the normal by a prior worth ``d + 2`` rows, so that a component of few rows
    keeps the correlations of the table.

    Parameters
    ----------
    normal : NormalParams
        Fitted to this table.
    readings : Readings
        Shape (n, d).
    weights : ndarray, shape (n,), optional
        Weights of the rows.
    seed : int
        Of the starts.
    """
    values, d = readings.values, readings.values.shape[1]
    found = []
    for size in SIZES:
        try:
            prior = incomplete_prior(values, size, "full", weights, float(d + MORE_ROWS), normal.covariance)
            model = IncompleteMixture(size, d, prior=prior)
            source = model.source(readings, weights)
            start = model.initial_params(source, np.random.default_rng([seed, size]), model.strategies[0])
            end = climb(model, source, start, tol=CLOSE, max_passes=PASSES, look=False)
        except EmtoolsError:
            continue
        if end.status in (Status.CONVERGED, Status.BUDGET):
            found.append(end.params)
    return found


def hidden_cells(fitted: Fitted, comparison: Comparison) -> Hidden | None:
    """Cells of a comparison as the normal and the mixtures predict them without having seen them.

    Each counts by the odds of its being missing, at most five times the mean.
    """
    readings, weights = comparison.readings, comparison.weights
    w = np.ones(len(readings.values)) if weights is None else weights
    filled, _ = fitted.model.conditional(fitted.params, readings)
    odds = missing_odds(filled, readings.observed, w)
    spread = np.sqrt(variances(readings, weights))
    found: list[tuple[np.ndarray, Floats, Floats, Floats]] = []
    for part in comparison.parts:
        one = predicted(fitted, comparison, part)
        if one is None:
            return None
        cells = readings.observed & ~part.kept.observed
        rows, columns = np.nonzero(cells)
        first, second = (table[cells[cells.any(axis=1)]] * comparison.unit[columns] for table in one)
        scale = spread[columns]
        found.append((rows, odds[cells] * w[rows], (readings.values[cells] - first) / scale, (second - first) / scale))
    if not found:
        return None
    rows, counts, left, apart = (np.concatenate([part[k] for part in found]) for k in range(4))
    used = counts > 0.0
    if not used.any():
        return None
    rows, counts, left, apart = rows[used], counts[used], left[used], apart[used]
    return Hidden(rows, np.minimum(counts, CAP * counts.mean()), left, apart)


def predicted(fitted: Fitted, comparison: Comparison, part: Split) -> tuple[Floats, Floats] | None:
    """Rows with hidden cells as the normal and the mixtures fill them, in the units of the comparison."""
    unit = comparison.unit
    start = NormalParams(fitted.params.mean / unit, fitted.params.covariance / np.outer(unit, unit))
    params = stack(1.0, start, part.kept, comparison.weights, comparison.seed)
    if params is None:
        return None
    first, _ = fitted.model.conditional(params.normal, part.before)
    return first, model_of(params).conditional(params, part.before)[0]


def stack(
    share: float, start: NormalParams, readings: Readings, weights: Floats | None, seed: int
) -> StackedParams | None:
    """The normal of a table, from near its top, and mixtures; None where there is no fit."""
    model = MultivariateNormal(readings.values.shape[1])
    end = climb(model, model.source(readings, weights), start, tol=CLOSE, max_passes=4 * PASSES, look=False)
    if end.status not in (Status.CONVERGED, Status.BUDGET):
        return None
    found = mixtures(end.params, readings, weights, seed)
    return StackedParams.of(share, end.params, found) if found else None


def model_of(params: StackedParams) -> Stacked:
    """The model of some parameters."""
    return Stacked(*params.means.shape)


def refitted(filler: Filler, readings: Readings, seed: int) -> StackedParams | None:
    """Parameters of all parts of a stack without some cells, in the shares that they had; None where there is no fit."""
    return stack(filler.params.share, filler.params.normal, readings, None, seed)


def best_filler(
    fitted: Fitted, readings: Readings, *, weights: Floats | None = None, seed: int = 0
) -> tuple[Filler | None, str]:
    """What fills the gaps of a table closer than the normal that was fitted to it: the normal drawn towards mixtures.

    ``N + a (J - N)`` with J the average of the conditional means under `mixtures`; a is the slope by least squares on hidden
    cells, less a standard error.

    Parameters
    ----------
    fitted : Fitted
        What was fitted to the table.
    readings : Readings
        The table on the scales of the model.
    weights : ndarray, shape (n,), optional
        Weights of the rows, as `fitted` had them.
    seed : int
        Of hidden cells and starts.

    Returns
    -------
    filler : Filler or None
        None where `fitted` alone should fill: it is no normal distribution by maximum likelihood, hidden cells do not call
        for more, or cannot tell: tables with limits of detection, of few rows, or too large to try in seconds.
    told : str
        What fills the gaps, and why; empty for other models than the normal, and without gaps.

    Examples
    --------
    >>> from emtools.imputing.fitting import fit_table
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-2.0, 2.0, size=300)
    >>> bent = np.column_stack([x, np.abs(x) + 0.1 * rng.normal(size=300)])
    >>> bent[::5, 1] = np.nan
    >>> filler, told = best_filler(fit_table(Readings(bent)), Readings(bent))
    >>> filler.kind, filler.params.share > 0.9
    ('stack', True)
    """
    if fitted.kind != "normal" or readings.observed.all():
        return None, ""
    reason = not_tried(fitted, readings, weights)
    if reason:
        return None, f"The normal alone filled the gaps; mixtures of normals were not tried beside it, since {reason}."
    hidden = hidden_cells(fitted, Comparison(readings, weights, seed))
    found = [] if hidden is None else mixtures(fitted.params, readings, weights, seed)
    if hidden is None or not found:
        return None, "The normal alone filled the gaps: no mixture of normals could be fitted beside it."
    share, (slope, error) = hidden.share(), hidden.slope()
    if not share > 0.0:
        told = f"the share of mixtures that comes closest is {slope:.2f} with a standard error of {error:.2f}"
        return None, (
            "The normal alone filled the gaps: mixtures of normals, which allow for groups and for relations that are not "
            f"straight, did not predict {hidden.rows.size:,} hidden cells closer for certain ({told})."
        )
    params = StackedParams.of(share, fitted.params, found)
    gain = 100.0 * (1.0 - hidden.error(share) / hidden.error(0.0))
    return Filler("stack", cast("TableModel", model_of(params)), params), (
        f"A filled value is {told_share(share)}what mixtures of up to {max(SIZES)} normals expect, which allow for groups and for relations "
        "that are not straight. The share was learnt on "
        f"{hidden.rows.size:,} observed cells that were hidden from both, each counted by how much it resembles a missing one: "
        f"it is what came closest ({gain:.1f} % closer than the normal alone), less a standard error, so that what is in doubt "
        "stays with the normal. SDs and intervals are those of the two together; parameters, tests and drawn tables are "
        "those of the normal."
    )


def told_share(share: float) -> str:
    """What a filled value is of, before the mixtures are named; nothing where it is theirs alone.

    Examples
    --------
    >>> told_share(0.7), told_share(0.997)
    ('0.30 of what the normal expects and 0.70 of ', '')
    """
    return "" if share >= 0.995 else f"{1.0 - share:.2f} of what the normal expects and {share:.2f} of "


def not_tried(fitted: Fitted, readings: Readings, weights: Floats | None) -> str:
    """Why no mixture is tried beside a normal; empty where one is."""
    n, d = readings.values.shape
    n_used = n if weights is None else int((weights > 0.0).sum())
    if readings.bounded.any():
        return "they take no limits of detection"
    if fitted.pseudo_rows:
        return "the table needs a prior"
    if d < 2:
        return "one column tells nothing of itself"
    if n_used < FEWEST:
        return f"{n_used} rows cannot tell ({FEWEST} are needed)"
    if n * d**2 > WORK:
        return f"the table is too large to learn in seconds how ({n:,} rows times {d} columns squared, over {WORK:,})"
    return ""
