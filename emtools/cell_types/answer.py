"""From cells and what is known of them to named types with probabilities that may be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.cell_types.labels import believe_labels, fit_labelled
from emtools.cell_types.reproduce import Reproducibility, reproduce, tempered
from emtools.cell_types.search import Search, find_types
from emtools.engine.loop import OnPass
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.errors import InputError
from emtools.io.cells import Cells, Labels

Codes = npt.NDArray[np.intp]
DEFAULT = "shrunken"


@dataclass(frozen=True)
class Typed:
    """Types of cells.

    Parameters
    ----------
    fitted : Fit
        The mixture.
    types : tuple of str
        Names, K of them.
    responsibilities : ndarray, shape (n, K)
        Probability of each type, at the temperature of `trust`.
    posterior : ndarray, shape (n, K)
        The same as the model has it: their means are the shares of the types.
    trust : Reproducibility
        How far the model's own certainty was borne out.
    """

    fitted: Fit[Any, Any]
    types: tuple[str, ...]
    responsibilities: Floats
    posterior: Floats
    trust: Reproducibility


def type_cells(
    cells: Cells,
    n_types: int,
    search: Search,
    *,
    prefix: str = "type",
    labels: Labels | None = None,
    on_pass: OnPass | None = None,
) -> Typed:
    """Fit the default mixture and temper its probabilities.

    Parameters
    ----------
    cells : Cells
        Data.
    n_types : int
        K; with labels, their number.
    search : Search
        How.
    prefix : str
        Types are named ``prefix_1``, …, where there are no labels.
    labels : Labels, optional
        Known types of some cells.
    on_pass : callable, optional
        Told of each pass of the last fit.

    Raises
    ------
    InputError
        If the labels name another number of types than asked for.
    """
    values = cells.values
    if labels is None:
        fitted = find_types(values, n_types, search, on_pass)
        trust = reproduce(fitted.model, fitted.params, values, search)
        names = tuple(f"{prefix}_{k + 1}" for k in range(n_types))
    else:
        if len(labels.names) != n_types:
            got = f"{len(labels.names)} types in {labels.column}, {n_types} asked for"
            raise InputError("labels", got, "the same number", "leave the number out")
        fitted = fit_labelled(values, labels.codes, n_types, search, on_pass)
        trust = believe_labels(values, labels.codes, n_types, search)
        names = labels.names
    log_joint = fitted.model.log_joint(fitted.params, values)
    held = None if labels is None else labels.codes
    return Typed(
        fitted,
        names,
        held_to(tempered(log_joint, trust.temperature), held),
        held_to(tempered(log_joint, 1.0), held),
        trust,
    )


def held_to(responsibilities: Floats, codes: Codes | None) -> Floats:
    """Responsibilities in which a labelled cell is of its type."""
    if codes is None:
        return responsibilities
    held: Floats = np.where(codes[:, None] >= 0, np.eye(responsibilities.shape[1])[codes], responsibilities)
    return held


def labels_from_scores(scores: Floats, types: Sequence[str], column: str, n_each: int) -> Labels:
    """Labels of the cells that stand out: of each type the `n_each` with the largest lead of its score over the next.

    Parameters
    ----------
    scores : ndarray, shape (n, K)
        How well each cell fits each type; columns on one scale.
    types : sequence of str
        Names.
    column : str
        Where the scores come from, for messages.
    n_each : int
        Cells labelled for each type, at most; only those with a lead above 0.

    Raises
    ------
    InputError
        If no cell is led by a type.

    Examples
    --------
    >>> scores = np.array([[3.0, 0.0], [1.0, 0.8], [0.0, 2.0]])
    >>> labels_from_scores(scores, ["B", "T"], "markers", 1).codes.tolist()
    [0, -1, 1]
    """
    best = scores.argmax(axis=1)
    ordered = np.sort(scores, axis=1)
    lead = ordered[:, -1] - (ordered[:, -2] if scores.shape[1] > 1 else 0.0)
    codes = np.full(len(scores), -1, dtype=np.intp)
    for k, name in enumerate(types):
        mine = np.flatnonzero((best == k) & (lead > 0.0))
        if not len(mine):
            raise InputError(column, f"no cell fits {name!r} best", "at least one", "check its genes or leave it out")
        codes[mine[np.argsort(-lead[mine], kind="stable")[:n_each]]] = k
    return Labels(column, codes, tuple(types))


def record(
    cells: Cells, fitted: Fit[Any, Any], types: Sequence[str], shares: Floats, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Content of ``uns['em']``: numbers, text, arrays and mappings of these.

    Parameters
    ----------
    cells : Cells
        Data.
    fitted : Fit
        The mixture.
    types : sequence of str
        Names.
    shares : ndarray, shape (K,)
        Share of each type.
    settings : mapping
        What else is to stand there.
    """
    seen = fitted.certificate
    return {
        "types": np.array(types, dtype=object),
        "proportions": shares,
        "status": str(fitted.status),
        "verdict": fitted.verdict,
        "certificate": "none" if seen is None else seen.tell(None),
        "loglik": fitted.loglik,
        "objective": fitted.objective,
        "representation": cells.representation,
        "dimensions": np.array(cells.dimensions, dtype=object),
        "parameters": fitted.model.natural(fitted.params),
        **settings,
    }


def trust_record(trust: Reproducibility) -> dict[str, Any]:
    """What ``uns['em']`` says of the certainty."""
    return {
        "temperature": trust.temperature,
        "reproducibility": trust.agreement,
        "reproducibility_by_type": trust.by_type,
    }
