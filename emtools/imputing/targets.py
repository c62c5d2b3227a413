"""A ridge towards a covariance that the table itself suggests, for more columns than rows.

That is either what stands out of the noise of its correlations, or the covariance of a few factors. A ridge towards
either keeps what both leave: many weak dependences that no threshold and no handful of factors holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from emtools.engine.protocol import Floats
from emtools.imputing.choose import LARGE, Comparison, variances
from emtools.kernels.readings import Readings
from emtools.models.mixture import CovariancePrior
from emtools.models.normal import MultivariateNormal, NormalParams
from emtools.models.tabular import TableModel

CUTS = (1.75, 2.5, 3.25, 4.25)  # thresholds in standard errors of a correlation of 0
WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # pseudo-rows in rows of the table
FIRST_CUT, FIRST_WEIGHT = 2, 3  # places in both where the search begins
FIRST_OF_LARGE = 4  # of a large table: climbs are few passes long, and end nearer their tops under more weight
LEAST_EIGENVALUE = 0.1  # of the correlations after thresholding
PASSES = 8  # of a climb
FIRST_PASSES, FURTHER_PASSES = 2, 1  # EM steps for a large table: from a target, and from the end under another weight

K = TypeVar("K")


def thresholded(readings: Readings, cut: float, weights: Floats | None = None) -> Floats:
    """Covariance from the correlations of pairs of columns, each drawn towards 0 by `cut` of its standard errors.

    ``r -> sign(r) max(|r| - cut / √n_jk, 0)``, n_jk the rows that have both, then drawn together towards the identity until
    the least eigenvalue is 0.1.

    Parameters
    ----------
    readings : Readings
        The table, shape (n, d).
    cut : float
        Threshold in standard errors of a correlation of 0.
    weights : ndarray, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    ndarray, shape (d, d)
        Positive definite, with the observed variances on its diagonal.

    References
    ----------
    Rothman, Levina & Zhu (2009), J. Am. Stat. Assoc. 104, 177-186, doi:10.1198/jasa.2009.0101, section 2.

    Examples
    --------
    >>> rows = np.array([[0.0, 0.1, 3.0], [1.0, 0.9, -3.0], [2.0, 2.1, -3.0], [3.0, 2.9, 3.0]])
    >>> thresholded(Readings(rows), 1.0).round(2).tolist()
    [[1.25, 0.6, 0.0], [0.6, 1.16, 0.0], [0.0, 0.0, 9.0]]
    """
    w = np.ones(len(readings.values)) if weights is None else weights
    seen = readings.observed.astype(np.float64)
    held = np.where(readings.observed, readings.values, 0.0)
    centred = seen * (held - (w @ held) / (w @ seen))
    scaled, squares = centred * w[:, None], (centred**2) * w[:, None]
    across = squares.T @ seen
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = cut / np.sqrt((seen * w[:, None]).T @ seen)
        r = (scaled.T @ centred) / np.sqrt(across * across.T)
        kept = np.nan_to_num(np.sign(r) * np.maximum(np.abs(r) - noise, 0.0), posinf=0.0, neginf=0.0)
    np.fill_diagonal(kept, 1.0)
    least = float(np.linalg.eigvalsh(kept)[0])
    if least < LEAST_EIGENVALUE:
        kept *= (1.0 - LEAST_EIGENVALUE) / (1.0 - least)
        np.fill_diagonal(kept, 1.0)
    sd = np.sqrt(variances(readings, weights))
    return np.asarray(kept * np.outer(sd, sd))


@dataclass(frozen=True)
class TargetChoice:
    """Target and weight of the prior, chosen by hidden cells.

    Parameters
    ----------
    cut : float or None
        Threshold in standard errors of a correlation of 0; None where the target is the covariance of the factors.
    rows : float
        Weight of the prior, in rows of the table.
    score : float
        Nats a hidden cell.
    params : NormalParams
        Where the first climb under these ended, with cells hidden, in the units of the table.
    """

    cut: float | None
    rows: float
    score: float
    params: NormalParams


def ridge_towards(target: Floats, pseudo_rows: float, labels: tuple[str, ...] = ()) -> TableModel:
    """A normal model whose covariance is ``(scatter + λ T) / (n + λ)``.

    Parameters
    ----------
    target : ndarray, shape (d, d)
        T, positive definite.
    pseudo_rows : float
        λ, positive.
    labels : tuple of str
        Names of the columns, for messages.
    """
    d = len(target)
    prior = CovariancePrior(pseudo_rows - d - 1.0, pseudo_rows * target)
    return cast("TableModel", MultivariateNormal(d, prior, labels))


def best_on_ladder(values: Sequence[K], first: int, judge: Callable[[K], float]) -> K:
    """The value with the highest score, by steps from one to its neighbours until neither is better."""
    scores = {first: judge(values[first])}
    at = first
    while True:
        for k in (at - 1, at + 1):
            if 0 <= k < len(values) and k not in scores:
                scores[k] = judge(values[k])
        best = max(scores, key=lambda k: scores[k])
        if best == at:
            return values[at]
        at = best


class TargetSearch:
    """Targets and weights judged on the same hidden cells.

    Parameters
    ----------
    comparison : Comparison
        Hidden cells.
    n_rows : int
        Rows of the table.
    """

    def __init__(self, comparison: Comparison, n_rows: int) -> None:
        self.comparison, self.n_rows = comparison, n_rows
        self.tables = [part.kept for part in comparison.parts]
        self.large = self.tables[0].values.size >= LARGE
        self.first_weight = FIRST_OF_LARGE if self.large else FIRST_WEIGHT
        self.targets: dict[float | None, Sequence[Floats]] = {}
        self.found: dict[tuple[float | None, float], tuple[float, list[NormalParams]]] = {}

    def judge(self, cut: float | None, rows: float) -> float:
        """Score of a target and weight in nats a hidden cell; the climb starts near that of the nearest weight."""
        if (cut, rows) in self.found:
            return self.found[cut, rows][0]
        if cut not in self.targets:
            self.targets[cut] = [thresholded(t, cast("float", cut), self.comparison.weights) for t in self.tables]
        targets = self.targets[cut]
        near = min((w for c, w in self.found if c == cut), key=lambda w: abs(math.log(w / rows)), default=None)
        if near is None:
            ends = [
                NormalParams(np.nanmean(table.values, axis=0), target)
                for table, target in zip(self.tables, targets, strict=True)
            ]
        else:
            ends = self.found[cut, near][1]
        passes = PASSES if not self.large else FIRST_PASSES if near is None else FURTHER_PASSES
        models = [ridge_towards(target, rows * self.n_rows) for target in targets]
        self.found[cut, rows] = self.comparison.judge_each(models, ends, passes, look=not self.large)
        return self.found[cut, rows][0]

    def first(self) -> float:
        """Score of correlations with the first threshold and weight."""
        return self.judge(CUTS[FIRST_CUT], WEIGHTS[self.first_weight])

    def best(self, factors: Sequence[Floats] = ()) -> TargetChoice:
        """The threshold that predicts hidden cells best, or the factors; then the weight.

        Of a large table the weight is sought for the better one of both alone.

        Parameters
        ----------
        factors : sequence of ndarray, shape (d, d)
            Covariance of the factors of each part of the comparison; none to leave them out.
        """
        rows = WEIGHTS[self.first_weight]
        cuts: list[float | None] = [best_on_ladder(CUTS, FIRST_CUT, lambda cut: self.judge(cut, rows))]
        if factors:
            self.targets[None] = factors
            self.judge(None, rows)
            cuts.append(None)
        if self.large:
            cuts = [max(cuts, key=lambda cut: self.judge(cut, rows))]
        for cut in cuts:
            best_on_ladder(WEIGHTS, self.first_weight, lambda weight, cut=cut: self.judge(cut, weight))  # type: ignore[misc]
        (at, rows), (score, ends) = max(self.found.items(), key=lambda item: item[1][0])
        end, unit = ends[0], self.comparison.unit
        return TargetChoice(at, rows, score, NormalParams(end.mean * unit, end.covariance * np.outer(unit, unit)))
