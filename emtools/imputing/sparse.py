"""A ridge towards the correlations of a table that stand out of their noise, for more columns than rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from emtools.engine.protocol import Floats
from emtools.imputing.choose import Comparison, variances
from emtools.kernels.readings import Readings
from emtools.models.mixture import CovariancePrior
from emtools.models.normal import MultivariateNormal, NormalParams
from emtools.models.tabular import TableModel

CUTS = (2.5, 3.25, 1.75)  # thresholds in standard errors of a correlation of 0, in the order in which they are tried
WEIGHTS = (3.0, 10.0, 1.0)  # pseudo-rows in rows of the table, likewise
LEAST_EIGENVALUE = 0.1  # of the correlations after thresholding
PASSES = 8


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
class SparseChoice:
    """Threshold and weight of the prior, chosen by hidden cells.

    Parameters
    ----------
    cut : float
        In standard errors of a correlation of 0.
    rows : float
        Weight of the prior, in rows of the table.
    score : float
        Nats a hidden cell.
    """

    cut: float
    rows: float
    score: float


def sparse_model(
    readings: Readings, cut: float, pseudo_rows: float, weights: Floats | None = None, labels: tuple[str, ...] = ()
) -> TableModel:
    """A normal model whose covariance is ``(scatter + λ T) / (n + λ)``, T the thresholded covariance."""
    target = thresholded(readings, cut, weights)
    d = len(target)
    return cast(
        "TableModel", MultivariateNormal(d, CovariancePrior(pseudo_rows - d - 1.0, pseudo_rows * target), labels)
    )


def target_params(model: Any, readings: Readings) -> NormalParams:
    """Column means and the target of the prior, to start a climb from."""
    prior = model.prior
    pseudo_rows = prior.degrees + model.n_features + 1.0
    return NormalParams(np.nanmean(readings.values, axis=0), prior.scale / pseudo_rows)


def best_sparse(comparison: Comparison, n_rows: int) -> SparseChoice:
    """The threshold that predicts hidden cells best, then the weight."""
    w = comparison.weights
    begin = [lambda model, s=part: target_params(model, s.kept) for part in comparison.parts]

    def judge(cut: float, rows: float) -> SparseChoice:
        score, _ = comparison.judge(lambda t: sparse_model(t, cut, rows * n_rows, w), begin, PASSES)
        return SparseChoice(cut, rows, score)

    best = SparseChoice(CUTS[0], WEIGHTS[0], -math.inf)
    for cut in CUTS:
        best = max(best, judge(cut, WEIGHTS[0]), key=lambda choice: choice.score)
    for rows in WEIGHTS[1:]:
        best = max(best, judge(best.cut, rows), key=lambda choice: choice.score)
    return best
