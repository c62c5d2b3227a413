"""Types of which some cells are known: by a column of labels, by marker genes, or by a reference.

``n`` cells, ``d`` columns, ``K`` types throughout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.cell_types.reproduce import Reproducibility, believed
from emtools.cell_types.search import Search, fit_last, fit_on_the_way, rougher, shrinkage
from emtools.engine.chunks import ArraySource
from emtools.engine.loop import OnPass
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.errors import EmtoolsError, InputError
from emtools.models.mixture import GaussianMixture
from emtools.models.partly_labelled import PartlyLabelled

Codes = npt.NDArray[np.intp]

UNLABELLED = 0.1  # weight of a cell without a label
FOLDS = 5


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


def believe_labels(values: Floats, codes: Codes, n_types: int, search: Search) -> Reproducibility:
    """Temperature at which the labels of hidden cells are likeliest, by cross-validation over the labelled cells.

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
    logs, labels = [], []
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
        labels.append(codes[hidden])
    if not logs:
        return Reproducibility(1.0, np.nan, np.full(n_types, np.nan), 0)
    found = np.concatenate(labels)
    return believed(np.concatenate(logs), found, len(logs), found)
