"""What of an AnnData object is modelled, and what its types are described by; counts and logarithms told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from anndata import AnnData

from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.io.cells import Cells, cells_of, require_names
from emtools.io.h5ad import listed
from emtools.kernels.composition import dense_rows

FEW_GENES = 50  # a panel up to this size is modelled as it is
HIGHLY_VARIABLE = 2000
PCS = 50
CELLS_TOTAL = 1e4
LOOKED_AT = 2**20  # values looked at to tell counts
LARGEST_LOG = 50.0  # no logarithm of an expression is larger
DEPTH = 0.95  # of the variance of the number of counts that components explain, above which it is said
COUNTS_MODELLED = "X looks like raw counts: a normal mixture wants logarithms, or components of these (X_pca)"


def expression_of(adata: AnnData, layer: str | None = None, use_raw: bool | None = None) -> tuple[Any, str]:
    """Expression of all variables, shape (n, n_vars), dense or sparse, and where it lies.

    Parameters
    ----------
    adata : AnnData
        Cells.
    layer : str, optional
        Layer to take.
    use_raw : bool, optional
        By default ``raw`` where it holds every variable (X is then often scaled), else X.

    Raises
    ------
    InputError
        If the layer is absent, or raw is asked for and lacks a variable.
    """
    if layer is not None:
        if use_raw:
            raise InputError("layer, raw", "both given", "one of them", "leave one out")
        if layer not in adata.layers:
            keys = listed([str(key) for key in adata.layers])
            raise InputError("adata, layers", f"no layer {layer!r}", f"one of: {keys}", "name one of them")
        return adata.layers[layer], f"layers[{layer!r}]"
    raw = adata.raw
    whole = raw is not None and raw.var_names.is_unique and bool(adata.var_names.isin(raw.var_names).all())
    if use_raw and not whole:
        what = "no raw" if raw is None else "a raw that lacks some variables of X"
        raise InputError("adata", what, "raw with every variable", "leave use_raw out")
    if raw is not None and whole and use_raw is not False:
        same = raw.shape[1] == adata.n_vars and bool((raw.var_names == adata.var_names).all())
        return (raw.X if same else raw[:, adata.var_names].X), "raw"
    if adata.X is None:
        raise InputError("adata", "there is no expression", "X with at least one variable", "keep X")
    return adata.X, "X"


def some_values(matrix: Any) -> Floats:
    """Values of the first rows, about `LOOKED_AT` of them."""
    n = max(1, LOOKED_AT // max(int(matrix.shape[1]), 1))
    return dense_rows(matrix, 0, min(n, int(matrix.shape[0])))


def looks_whole(matrix: Any) -> bool:
    """Whether the first values are whole numbers, none below zero, some above one: counts."""
    values = some_values(matrix)
    return bool((values >= 0).all() and (values == np.floor(values)).all() and (values > 1).any())


def represented(
    adata: AnnData,
    use_rep: str | None = None,
    n_dims: int | None = None,
    columns: Sequence[str] | None = None,
    layer: str | None = None,
    use_raw: bool | None = None,
    where: str = "adata",
) -> Cells:
    """The representation to model; X_pca is computed where it is asked for and absent.

    Parameters
    ----------
    adata : AnnData
        Cells; gets X_pca where that is computed.
    use_rep : str, optional
        Key of obsm, or ``"X"``; by default X_pca, and X where variables are named or at most `FEW_GENES`.
    n_dims : int, optional
        Use the first so many columns; by default 10 of X_pca, all of another.
    columns : sequence of str, optional
        Variables of X.
    layer, use_raw
        What stands for X; see `expression_of`.
    where : str
        Name of the data for messages.

    Raises
    ------
    InputError
        If something named is absent, names occur twice, or the values cannot be modelled.
    """
    require_names(adata, where)
    few = columns is not None or adata.n_vars <= FEW_GENES
    key = use_rep or ("X_pca" if not few or ("X_pca" in adata.obsm and columns is None) else "X")
    if columns is not None and key != "X":
        raise InputError("columns", f"given with {key}", "variables of X", "leave one of them out")
    made = ""
    if key == "X_pca" and key not in adata.obsm:
        if adata.isbacked:
            what = "backed by its file and without X_pca"
            raise InputError(
                where, what, "components to model", "run scanpy.pp.pca first and save them, or use to_memory()"
            )
        made = add_components(adata, layer, use_raw, where)
    matrix = expression_of(adata, layer, bool(use_raw))[0] if key == "X" else None
    return replace(cells_of(adata, key, dimensions=n_dims, columns=columns, matrix=matrix, where=where), made=made)


def add_components(adata: AnnData, layer: str | None = None, use_raw: bool | None = None, where: str = "adata") -> str:
    """``obsm['X_pca']`` with scanpy: counts are normalised and logged first, on a copy; 2,000 most variable genes.

    Returns
    -------
    str
        What was done, for a methods section.

    Raises
    ------
    InputError
        If there is no expression, it has values that are no numbers, is neither counts nor logarithms, or a cell has
        none at all.
    """
    try:
        import scanpy as sc
    except ModuleNotFoundError as absent:
        what = f"no X_pca, and package {absent.name} to compute it is absent"
        raise InputError(where, what, "", "pip install scanpy, or name a key of obsm") from absent
    matrix, source = expression_of(adata, layer, bool(use_raw))
    held = np.asarray(matrix.compute()) if hasattr(matrix, "compute") else matrix.copy()
    stored = held.data if hasattr(held, "toarray") else np.asarray(held)
    here = f"{where}, {source}"
    if not np.isfinite(stored).all():
        raise InputError(here, "missing or infinite values", "finite numbers", "drop or fill them")
    if held.shape[1] < 2 or held.shape[0] < 3:
        raise InputError(here, f"{held.shape[0]} cells × {held.shape[1]} variables", "at least 3 × 2", "")
    least, largest = float(stored.min(initial=0.0)), float(stored.max(initial=0.0))
    whole = bool((stored == np.floor(stored)).all()) and largest > 1.0
    if whole and least < 0.0:
        raise InputError(
            here, f"whole numbers down to {least:g}: counts are never below zero", "counts or logarithms", "mend them"
        )
    if not whole and least >= 0.0 and largest > LARGEST_LOG:
        raise InputError(
            here,
            f"values up to {largest:.4g} that are not whole: neither counts nor logarithms",
            "counts or log-normalised expression",
            "run scanpy.pp.log1p(adata)",
        )
    if least >= 0.0:
        totals = np.asarray(held.sum(axis=1)).ravel()
        if not (totals > 0).all():
            names = listed([str(n) for n in adata.obs_names[totals == 0][:3]])
            what = f"{int((totals == 0).sum())} cells without any {'count' if whole else 'expression'} ({names})"
            raise InputError(here, what, "cells that express something", "drop them: scanpy.pp.filter_cells")
    work = AnnData(held, adata.obs[[]].copy(), adata.var[[]].copy())
    if whole:
        sc.pp.normalize_total(work, target_sum=CELLS_TOTAL)
        sc.pp.log1p(work)
    if work.n_vars > HIGHLY_VARIABLE and least >= 0.0:
        varying = np.asarray((work.X > 0).sum(axis=0)).ravel() > 0
        work = work[:, varying].copy()
        sc.pp.highly_variable_genes(work, n_top_genes=min(HIGHLY_VARIABLE, work.n_vars))
    sc.pp.pca(work, n_comps=min(PCS, work.n_obs - 1, work.n_vars - 1), random_state=0)
    adata.obsm["X_pca"] = np.asarray(work.obsm["X_pca"])
    chosen = work.n_vars > HIGHLY_VARIABLE and least >= 0.0
    genes = f"{HIGHLY_VARIABLE:,} most variable genes" if chosen else f"{work.n_vars:,} genes"
    counts = f", counts scaled to {CELLS_TOTAL:,.0f} a cell and taken to log(1 + x)" if whole else ""
    return f"computed here with scanpy from the {genes} of {source}{counts}"


def doubts(cells: Cells, expression: Any, source: str) -> list[str]:
    """What the reader should know of the input before believing the answer: counts taken for logarithms, and so on.

    Parameters
    ----------
    cells : Cells
        What is modelled.
    expression : matrix, shape (n, G)
        What types are described by.
    source : str
        Where that lies.
    """
    whole = looks_whole(expression)
    if cells.representation == "X":
        return [COUNTS_MODELLED] if whole else []
    if not whole:
        values = some_values(expression)
        if (values >= 0.0).all() and values.max(initial=0.0) > LARGEST_LOG:
            largest = f"{values.max():.4g}"
            return [f"{source} holds values up to {largest} that are neither counts nor logarithms; so do the profiles"]
        return []
    notes = [f"{source} holds counts, so that profiles are mean counts"]
    if explained(depths(expression), cells.values) > DEPTH:
        notes.append(
            f"{cells.representation} tells the number of counts of a cell almost exactly: it seems to come from raw counts; "
            "normalise and log1p before the components"
        )
    return notes


def depths(expression: Any) -> Floats:
    """Sum of each row, shape (n,)."""
    n, step = int(expression.shape[0]), max(1, LOOKED_AT // max(int(expression.shape[1]), 1))
    return np.concatenate([dense_rows(expression, i, i + step).sum(axis=1) for i in range(0, n, step)])


def explained(target: Floats, values: Floats) -> float:
    """Share of the variance of a target (n,) that columns (n, d) explain linearly, adjusted for their number.

    Examples
    --------
    >>> explained(np.array([1.0, 2.0, 3.0, 4.0]), np.array([[2.0], [4.0], [6.0], [8.0]]))
    1.0
    """
    n, d = values.shape
    about = target - target.mean()
    if n <= d + 1 or not about.any():
        return 0.0
    fitted = np.linalg.lstsq(values - values.mean(axis=0), about, rcond=None)[0]
    left = about - (values - values.mean(axis=0)) @ fitted
    return float(1.0 - (left @ left) / (about @ about) * (n - 1) / (n - d - 1))
