"""One way in for sparse counts: `counts_source` keeps them sparse, from memory or from a .h5ad file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from emtools.engine.tables import SparseSource, even_edges
from emtools.errors import InputError
from emtools.io import h5ad
from emtools.io.rows import SparseTable, as_numbers
from emtools.io.stores import AnnDataTable


def counts_source(
    data: Any,
    weights: Any = None,
    *,
    exposures: Any = None,
    key: str | None = None,
    chunk_rows: int | None = None,
) -> SparseSource:
    """Sparse counts as a source for `emtools.engine.starts.fit` of a mixture of counts; they are never made dense.

    Parameters
    ----------
    data : sparse matrix, AnnData or path of a .h5ad file
        Counts of one cell a row. A backed AnnData is read from its file, a few chunks at a time, in every pass.
    weights : array or str, optional
        Non-negative weight of each row, or the name of a column of obs.
    exposures : array or str, optional
        Size factor of each row, above 0, or the name of a column of obs; for `PoissonMixture(..., exposure=True)`.
    key : str, optional
        ``X`` (default) or ``layers/NAME`` of AnnData.
    chunk_rows : int, optional
        Rows of a chunk, for tests; by default they hold about 2^19 counts above 0.

    Returns
    -------
    SparseSource

    Raises
    ------
    InputError
        If the matrix is absent or not sparse in rows, or weights or exposures cannot be used.

    Examples
    --------
    >>> from emtools.engine.starts import fit
    >>> from emtools.models.count_mixture import PoissonMixture
    >>> counts = sparse.csr_matrix([[9, 0, 1], [8, 0, 0], [0, 7, 0], [0, 9, 1]])
    >>> source = counts_source(counts, exposures=np.array([1.0, 0.8, 0.8, 1.0]))
    >>> fit(PoissonMixture(2, 3, exposure=True), source).params.rates.round(2).tolist()
    [[0.0, 8.89, 0.56], [9.44, 0.0, 0.56]]
    """
    table: Any
    if isinstance(data, (str, Path)) or (getattr(data, "isbacked", False) and hasattr(data, "obs")):
        path = Path(data if isinstance(data, (str, Path)) else data.filename)
        table = AnnDataTable(path, key or "X")
        if table.indptr is None:
            raise InputError(table.name, "a dense matrix", "sparse rows (CSR)", "use rows_source for dense tables")
        n_rows, n_counts = len(table.indptr) - 1, int(table.indptr[-1])
        weights, exposures = (obs_in_file(path, named) for named in (weights, exposures))
    else:
        weights, exposures = (obs_in_memory(data, named) for named in (weights, exposures))
        matrix = matrix_of(data, key)
        if not sparse.issparse(matrix):
            raise InputError(
                "counts", f"{type(matrix).__name__}", "a sparse matrix", "use rows_source for dense tables"
            )
        table = SparseTable(matrix.tocsr())
        n_rows, n_counts = matrix.shape[0], int(matrix.nnz)
    table.edges = even_edges(n_rows, -(-n_counts // max(1, n_rows)), chunk_rows=chunk_rows)
    return SparseSource(table, weights, exposures)


def matrix_of(data: Any, key: str | None) -> Any:
    """X or a layer of an AnnData object; else the data themselves."""
    if not hasattr(data, "obs"):
        return data
    if key is None or key == "X":
        return data.X
    name = key.removeprefix("layers/")
    if name not in data.layers:
        found = h5ad.listed(["X", *(f"layers/{layer}" for layer in data.layers)])
        raise InputError("AnnData", f"no matrix {key!r}", f"one of {found}", "name it with key=")
    return data.layers[name]


def obs_in_file(path: Path, named: Any) -> Any:
    """A column of obs of a file as numbers, where it is named."""
    if not isinstance(named, str):
        return named
    with h5ad.opened(path) as file:
        found = h5ad.column_names(file["obs"])
        if named not in found:
            raise InputError(f"{path}, obs", f"no column {named!r}", f"one of {h5ad.listed(found)}", "name one of them")
        return as_numbers(f"{path}, obs, {named}", h5ad.read_column(file, named)[0])


def obs_in_memory(data: Any, named: Any) -> Any:
    """A column of obs of an object as numbers, where it is named."""
    if not isinstance(named, str):
        return named
    if named not in getattr(data, "obs", ()):
        raise InputError("counts", f"no column {named!r} of obs", "the name of one, or an array", "give an array")
    return as_numbers(f"obs, {named}", np.asarray(data.obs[named]))
