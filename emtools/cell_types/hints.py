"""Cells whose type is plain from marker genes or from a reference: labels for the others to follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData

from emtools.cell_types.represent import CELLS_TOTAL, expression_of, looks_whole
from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.io.cells import Labels, labels_of
from emtools.io.h5ad import listed

SEEDED = 30  # cells labelled for each type by its markers or a reference, at most
LEAST_SHARE = 0.05  # of the common genes with a reference, below which nothing is done


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


def logged(adata: AnnData) -> tuple[Any, Sequence[str]]:
    """Log expression (n, G) for scores, with the names of its genes: raw where it is, X after log where it is counts."""
    values, _ = expression_of(adata)
    names = [str(name) for name in adata.var_names]
    if not looks_whole(values):
        return values, names
    totals = np.maximum(np.asarray(values.sum(axis=1), dtype=np.float64).ravel(), 1.0)
    if hasattr(values, "multiply"):
        scaled = values.astype(np.float64).multiply((CELLS_TOTAL / totals)[:, None]).tocsr()
        return scaled.log1p(), names
    return np.log1p(np.asarray(values, dtype=np.float64) * (CELLS_TOTAL / totals)[:, None]), names


def columns_of(values: Any, wanted: Sequence[int]) -> Floats:
    """Columns of a dense or sparse matrix as z-scores, shape (n, len(wanted)); those that do not vary are 0."""
    part = values[:, list(wanted)]
    dense = np.asarray(part.toarray() if hasattr(part, "toarray") else part, dtype=np.float64)
    spread = dense.std(axis=0)
    return (dense - dense.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)


def n_seeded(n_cells: int, n_types: int) -> int:
    """Cells to label for each type."""
    return max(3, min(SEEDED, n_cells // (4 * n_types)))


def marked(adata: AnnData, markers: Mapping[str, Sequence[str]]) -> Labels:
    """Labels of the cells in which the markers of one type stand out, mean z-score over its genes.

    Raises
    ------
    InputError
        If no type is named, or one has no marker among the genes, or no cell.
    """
    if not isinstance(markers, Mapping) or not markers:
        raise InputError(
            "markers", f"{markers!r:.60}", "genes by type", "such as {'B': ['CD19', 'MS4A1'], 'T': ['CD3D']}"
        )
    values, names = logged(adata)
    place = {name: i for i, name in enumerate(names)}
    scores = []
    for name, genes in markers.items():
        genes = [genes] if isinstance(genes, str) else genes
        found = [place[g] for g in genes if g in place]
        if not found:
            raise InputError(
                f"markers, {name!r}",
                f"none of {listed(list(genes))} is among the genes",
                f"names such as {listed(names[:4])}",
                "use the same kind of names (symbols or Ensembl ids)",
            )
        scores.append(columns_of(values, found).mean(axis=1))
    return labels_from_scores(np.column_stack(scores), list(markers), "markers", n_seeded(adata.n_obs, len(markers)))


def referred(adata: AnnData, reference: AnnData, column: str) -> Labels:
    """Labels of the cells that lie closest to the mean of one type of a reference, by correlation over common genes.

    Raises
    ------
    InputError
        If hardly any gene is common, or no cell is closest to a type.
    """
    types = labels_of(reference, column, "reference_labels", "reference")
    assert types is not None
    values, names = logged(adata)
    theirs, their_names = logged(reference)
    place = {name: i for i, name in enumerate(their_names)}
    common = [i for i, name in enumerate(names) if name in place]
    if len(common) < max(2, LEAST_SHARE * min(len(names), len(their_names))):
        raise InputError(
            "reference",
            f"{len(common)} of {len(names)} genes in common (adata: {listed(names[:3])}; reference: "
            f"{listed(list(their_names[:3]))})",
            f"at least {100 * LEAST_SHARE:.0f} %",
            "use the same kind of names (symbols or Ensembl ids)",
        )
    other = columns_of(theirs, [place[names[i]] for i in common])
    means = np.stack([other[types.codes == k].mean(axis=0) for k in range(len(types.names))])
    mine = columns_of(values, common)
    means -= means.mean(axis=1, keepdims=True)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-300)
    mine -= mine.mean(axis=1, keepdims=True)
    mine /= np.maximum(np.linalg.norm(mine, axis=1, keepdims=True), 1e-300)
    return labels_from_scores(mine @ means.T, types.names, f"reference, {column}", n_seeded(len(mine), len(means)))
