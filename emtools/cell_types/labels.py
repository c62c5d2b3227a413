"""Types of which some cells are known: by a column of labels, by marker genes, or by a reference.

``n`` cells, ``d`` columns, ``K`` types throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.cell_types.reproduce import HOTTEST, Reproducibility, believed
from emtools.cell_types.search import Search, fit_last, fit_on_the_way, rougher, shrinkage
from emtools.engine.chunks import ArraySource
from emtools.engine.loop import OnPass
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.errors import EmtoolsError, InputError
from emtools.kernels.logits import fit_logits, log_chances
from emtools.kernels.logspace import normalise_rows
from emtools.models.mixture import GaussianMixture
from emtools.models.partly_labelled import PartlyLabelled

Codes = npt.NDArray[np.intp]

UNLABELLED = 0.1  # weight of a cell without a label
FOLDS = 5
RIDGE = 0.1  # of the logistic regression, its columns scaled to a mean variance of 1
REGRESSED_ROWS = 10_000  # labelled cells that it sees, at most
USUAL, FEW = np.array([0.1, 1.0]), 10.0  # powers of mixture and regression; nats that it takes to move one by 1


def fit_labelled(
    values: Floats, codes: Codes, n_types: int, search: Search, on_pass: OnPass | None = None
) -> Fit[Any, Any]:
    """The default mixture where some cells are labelled: a tied fit, then covariances shrunk to it, labels held.

    A cell without a label weighs `UNLABELLED` of one with a label, so that many of the former do not pull a type away.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Cells.
    codes : ndarray of int, shape (n,)
        Type, or -1; every type occurs.
    n_types : int
        K.
    search : Search
        Tolerances; there is one start.
    on_pass : callable, optional
        Told of each pass of the last fit.

    Returns
    -------
    Fit
        Of a `PartlyLabelled` mixture with full covariances and a prior.

    Raises
    ------
    InputError
        If a type has no cell.
    """
    d = values.shape[1]
    known = codes >= 0
    present = np.bincount(codes[known], minlength=n_types)
    if not present.all():
        raise InputError("labels", f"type {int(np.argmin(present)) + 1} has no labelled cell", "one for each type")
    weights = np.where(known, 1.0, UNLABELLED)
    source = ArraySource(np.column_stack([values, codes]), weights)
    total = np.cov(values.T, bias=True).reshape(d, d)
    tied = GaussianMixture(n_types, d, "tied", shrinkage(total, 2 * d + 1, 1))
    first = tied.from_labels(values[known], codes[known])
    common = fit_on_the_way(PartlyLabelled(tied), source, first, search)
    model = GaussianMixture(n_types, d, "full", shrinkage(common.params.covariances, float(weights.sum()), n_types))
    shares = np.where(known[:, None], np.eye(n_types)[codes], tied.responsibilities(common.params, values))
    first = model.from_labels(values, shares, weights)
    return fit_last(PartlyLabelled(model), source, first, search, "It starts from the labels.", on_pass)


def chances_of(values: Floats, codes: Codes, n_types: int, others: Floats) -> Floats:
    """Log probabilities (m, K) of the types of `others` (m, d) by a logistic regression on the labelled ones of the cells (n, d)."""
    known = np.flatnonzero(codes >= 0)
    if len(known) > REGRESSED_ROWS:
        rng = np.random.default_rng(np.random.SeedSequence([len(known), 5]))
        known = np.sort(rng.choice(known, REGRESSED_ROWS, replace=False))
    centre, spread = values.mean(axis=0), float(np.sqrt(values.var(axis=0).mean())) or 1.0
    coefficients = fit_logits((values[known] - centre) / spread, codes[known], n_types, RIDGE)
    return log_chances(coefficients, (others - centre) / spread)


def best_powers(log_joint: Floats, chances: Floats, codes: Codes) -> tuple[float, float]:
    """Powers a and b of two opinions at which labels are likeliest, ``argmax Σ_i log r_i,code(i) - 10 (a - 0.1)² - 10 (b - 1)²``.

    ``r_i ∝ exp(a log_joint_i + b chances_i)``; a is at most 1. The penalty decides where labels are few (`FEW`, `USUAL`).

    Parameters
    ----------
    log_joint : ndarray, shape (m, K)
        Log of weight times density, in nats.
    chances : ndarray, shape (m, K)
        Log probabilities by the regression.
    codes : ndarray of int, shape (m,)
        Label of each.

    References
    ----------
    Genest & Zidek (1986), Stat. Sci. 1, 114-135, doi:10.1214/ss/1177013825 (logarithmic opinion pool).
    """
    from scipy.optimize import minimize

    rows, both = np.arange(len(codes)), (log_joint, chances)

    def loss(powers: Floats) -> tuple[float, Floats]:
        logs, _ = normalise_rows(powers[0] * log_joint + powers[1] * chances)
        shares, away = np.exp(logs), powers - USUAL
        slope = np.array([float((shares * x).sum() - x[rows, codes].sum()) for x in both])
        return float(FEW * away @ away - logs[rows, codes].sum()), slope + 2.0 * FEW * away

    bounds = [(1.0 / HOTTEST, 1.0), (0.0, None)]
    found = minimize(loss, USUAL, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
    return float(found.x[0]), float(found.x[1])


@dataclass(frozen=True)
class Hidden:
    """What is said of labelled cells by those that have not seen their labels.

    Parameters
    ----------
    log_joint : ndarray, shape (m, K)
        Log of weight times density.
    chances : ndarray, shape (m, K)
        Log probabilities by the regression.
    codes : ndarray of int, shape (m,)
        Their labels.
    n_fits : int
        Folds that could be fitted.
    """

    log_joint: Floats
    chances: Floats
    codes: Codes
    n_fits: int


def hide_labels(values: Floats, codes: Codes, n_types: int, search: Search) -> Hidden | None:
    """Hide the labels of each fold in turn; None where no fold can be fitted.

    A type with fewer labelled cells than folds is not hidden, unless all have fewer: without one of three cells a fit is
    another one, and its mistakes would make all types less certain.
    """
    known = np.flatnonzero(codes >= 0)
    rng = np.random.default_rng(np.random.SeedSequence([search.seed, 3]))
    least = FOLDS if np.bincount(codes[known]).max() >= FOLDS else 2
    folds = np.empty(len(known), dtype=np.intp)
    for k in range(n_types):
        mine = rng.permutation(np.flatnonzero(codes[known] == k))
        folds[mine] = np.arange(len(mine)) % FOLDS if len(mine) >= least else -1
    logs, chances, labels = [], [], []
    for fold in range(FOLDS):
        hidden = known[folds == fold]
        if not len(hidden):
            continue
        shown = codes.copy()
        shown[hidden] = -1
        try:
            fitted = fit_labelled(values, shown, n_types, rougher(search, 1, search.seed))
        except EmtoolsError:
            continue
        logs.append(fitted.model.log_joint(fitted.params, values[hidden]))
        chances.append(chances_of(values, shown, n_types, values[hidden]))
        labels.append(codes[hidden])
    if not logs:
        return None
    return Hidden(np.concatenate(logs), np.concatenate(chances), np.concatenate(labels), len(logs))


def believe_labels(
    values: Floats, codes: Codes, n_types: int, log_joint: Floats, search: Search
) -> tuple[Floats, Reproducibility]:
    """Pool the mixture with a logistic regression on the labels, by what labels of hidden cells bear out.

    The mixture knows the cells without labels, the regression only where types part: which of them is right more often
    differs between tissues. Temperature and weight are those at which the hidden labels are likeliest.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        Cells.
    codes : ndarray of int, shape (n,)
        Type, or -1; every type occurs.
    n_types : int
        K.
    log_joint : ndarray, shape (n, K)
        Log of weight times density by the mixture, in nats.
    search : Search
        As for the fit.

    Returns
    -------
    evidence : ndarray, shape (n, K)
        Log of the pooled probabilities, up to a constant for each cell; the mixture's where no label could be hidden.
    trust : Reproducibility
        What came of hidden labels.
    """
    hidden = hide_labels(values, codes, n_types, search)
    if hidden is None:
        return log_joint, Reproducibility(1.0, np.nan, np.full(n_types, np.nan), 0)
    power, weight = best_powers(hidden.log_joint, hidden.chances, hidden.codes)
    trust = believed(power * hidden.log_joint + weight * hidden.chances, hidden.codes, hidden.n_fits, hidden.codes)
    pooled = power * log_joint + weight * chances_of(values, codes, n_types, values)
    return pooled, replace(trust, temperature=1.0 / power, logistic_weight=weight)
