"""One way in for tables of any size: `rows_source` chooses by type, or by the ending of a path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from emtools.engine.chunks import ArraySource
from emtools.engine.tables import Table, TableSource, check_finite, even_edges
from emtools.errors import InputError
from emtools.io import h5ad
from emtools.io.stores import AnnDataTable, Hdf5Table, NpyTable, ParquetTable, ZarrTable, shape_of

Array = npt.NDArray[Any]

ENDINGS = ".npy, .parquet, .pq, .h5, .hdf5, .zarr or .h5ad"


def rows_source(
    data: Any,
    weights: Any = None,
    *,
    columns: Sequence[str] | None = None,
    key: str | None = None,
    missing: bool = False,
    chunk_rows: int | None = None,
) -> ArraySource | TableSource:
    """Rows of a table in memory, in a file or in a Dask collection, as a source for `emtools.engine.starts.fit`.

    What is not in memory stays where it is: each pass reads a few chunks at a time. Chunks depend on the data alone,
    and are cast to float64 one by one.

    Parameters
    ----------
    data : array, DataFrame, sparse matrix, memory map, Dask array or DataFrame, AnnData, h5py or zarr array, or path
        One unit a row. A path ends in .npy, .parquet, .pq, .h5, .hdf5, .zarr or .h5ad.
    weights : array or str, optional
        Non-negative weight of each row; or the name of the column that holds it (Parquet, DataFrame, obs of AnnData).
    columns : sequence of str, optional
        Columns of a Parquet file or a DataFrame; all but that of the weights by default.
    key : str, optional
        Dataset of an HDF5 file, array of a zarr group, ``X`` (default), ``layers/NAME`` or ``obsm/NAME`` of AnnData.
    missing : bool
        Whether NaN may stand for a missing value.
    chunk_rows : int, optional
        Rows of a chunk, for tests.

    Returns
    -------
    ArraySource or TableSource

    Raises
    ------
    InputError
        If the data or an option cannot be used as it is: one line that names file, place and remedy.

    Examples
    --------
    >>> source = rows_source(pd.DataFrame({"a": [1.0, 2.0, 4.0], "n": [1, 1, 2]}), weights="n")
    >>> source.chunk(0).values.ravel().tolist(), source.chunk(0).weights.tolist()
    ([1.0, 2.0, 4.0], [1.0, 1.0, 2.0])
    """
    if isinstance(data, (str, Path)):
        return from_path(Path(data), weights, columns, key, missing, chunk_rows)
    if isinstance(data, pd.DataFrame) or is_dask_frame(data):
        names = chosen(list(data.columns), weights, columns)
        held = column_values(data[weights]) if isinstance(weights, str) else weights
        if isinstance(data, pd.DataFrame):
            return in_memory(data[names].to_numpy(), held, missing, chunk_rows)
        return TableSource(DaskFrameTable(data[names]), held, missing)
    refuse("data", "columns", columns)
    if hasattr(data, "obs") and hasattr(data, "n_obs"):
        return from_anndata(data, weights, key, missing, chunk_rows)
    refuse("data", "key", key)
    if isinstance(weights, str):
        raise InputError("weights", f"the name {weights!r}", "an array of numbers, since columns have no names here")
    if isinstance(data, np.memmap):
        return TableSource(NpyTable.of_map(data, chunk_rows), weights, missing)
    if sparse.issparse(data):
        return TableSource(SparseTable(data.tocsr(), chunk_rows), weights, missing)
    if hasattr(data, "__dask_graph__"):
        return TableSource(DaskArrayTable(data), weights, missing)
    if hasattr(data, "store_path"):
        root = str(data.store_path.store.root)
        return TableSource(ZarrTable(Path(root), data.store_path.path or None, chunk_rows), weights, missing)
    if hasattr(data, "file") and hasattr(data, "name") and hasattr(data, "chunks"):
        return TableSource(Hdf5Table(Path(data.file.filename), data.name, chunk_rows), weights, missing)
    return in_memory(np.asarray(data), weights, missing, chunk_rows)


def from_path(
    path: Path,
    weights: Any,
    columns: Sequence[str] | None,
    key: str | None,
    missing: bool,
    chunk_rows: int | None,
) -> TableSource:
    """The table in a file."""
    ending = path.suffix.lower()
    if ending in (".parquet", ".pq"):
        refuse(str(path), "key", key)
        whole = ParquetTable(path, columns)
        names = chosen(list(whole.columns), weights if columns is None else None, None)
        held = weights
        if isinstance(weights, str):
            column = ParquetTable(path, [weights])
            held = np.concatenate([column.read(index)[:, 0] for index in range(len(column.groups))])
        return TableSource(ParquetTable(path, names, chunk_rows), held, missing)
    refuse(str(path), "columns", columns)
    if ending == ".h5ad":
        return from_h5ad(path, weights, key, missing, chunk_rows)
    if isinstance(weights, str):
        raise InputError(
            str(path), f"weights named {weights!r}", "an array of numbers, since columns have no names here"
        )
    table: Table
    if ending == ".npy":
        refuse(str(path), "key", key)
        table = NpyTable(path, chunk_rows)
    elif ending in (".h5", ".hdf5"):
        table = Hdf5Table(path, key, chunk_rows)
    elif ending == ".zarr" or path.name.endswith(".zarr.zip"):
        table = ZarrTable(path, key, chunk_rows)
    else:
        raise InputError(str(path), f"the ending {ending!r}", ENDINGS, "convert it, or read it into an array")
    return TableSource(table, weights, missing)


def from_h5ad(path: Path, weights: Any, key: str | None, missing: bool, chunk_rows: int | None) -> TableSource:
    """A matrix of a .h5ad file, and a column of its obs as weights."""
    table = AnnDataTable(path, key or "X", chunk_rows)
    if isinstance(weights, str):
        with h5ad.opened(path) as file:
            found = h5ad.column_names(file["obs"])
            if weights not in found:
                raise InputError(f"{path}, obs", f"no column {weights!r}", f"one of {h5ad.listed(found)}")
            weights = as_numbers(f"{path}, obs, {weights}", h5ad.read_column(file, weights)[0])
    return TableSource(table, weights, missing)


def from_anndata(
    data: Any, weights: Any, key: str | None, missing: bool, chunk_rows: int | None
) -> ArraySource | TableSource:
    """A matrix of an AnnData object: read from its file where it is backed."""
    if isinstance(weights, str):
        if weights not in data.obs:
            raise InputError("AnnData, obs", f"no column {weights!r}", f"one of {h5ad.listed(list(data.obs))}")
        weights = column_values(data.obs[weights])
    group, _, name = (key or "X").partition("/")
    if getattr(data, "isbacked", False) and group in ("X", "layers"):
        if data.is_view:
            raise InputError(
                "AnnData", "a view of a backed object", "the whole object", "use weights of 0 for other rows"
            )
        return from_h5ad(Path(data.filename), weights, key, missing, chunk_rows)
    if group != "X" and (group not in ("layers", "obsm") or name not in getattr(data, group)):
        found = h5ad.listed(["X", *(f"layers/{n}" for n in data.layers), *(f"obsm/{n}" for n in data.obsm)])
        raise InputError("AnnData", f"no matrix {key!r}", f"one of {found}", "name it with key=")
    return rows_source(
        data.X if group == "X" else getattr(data, group)[name], weights, missing=missing, chunk_rows=chunk_rows
    )


def in_memory(values: Array, weights: Any, missing: bool, chunk_rows: int | None) -> ArraySource:
    """An array as a source, its values checked."""
    source = ArraySource(values, weights, chunk_rows)
    if source.values.dtype.kind == "f":
        for chunk in map(source.chunk, range(source.n_chunks)):
            check_finite("data", chunk.values, chunk.first, missing)
    return source


class SparseTable:
    """Sparse rows in memory, made dense a piece at a time.

    Parameters
    ----------
    matrix : csr_matrix, shape (n, d)
        Rows.
    chunk_rows : int, optional
        Rows of a piece, for tests.
    """

    name = "sparse matrix"

    def __init__(self, matrix: Any, chunk_rows: int | None = None) -> None:
        n, self.n_columns = shape_of(self.name, matrix.shape, matrix.dtype)
        self.matrix = matrix
        self.edges = even_edges(n, self.n_columns, chunk_rows=chunk_rows)

    def read(self, index: int) -> Array:
        rows: Array = self.read_sparse(index).toarray()
        return rows

    def read_sparse(self, index: int) -> Any:
        """Piece `index` as it is."""
        return self.matrix[self.edges[index] : self.edges[index + 1]]


class DaskArrayTable:
    """A Dask array: a block of its rows is a piece, computed where it is needed.

    Parameters
    ----------
    array : dask.array.Array, shape (n, d) or (n,)
        Rows; sizes that Dask does not know are computed once.
    """

    name = "Dask array"

    def __init__(self, array: Any) -> None:
        refuse_persisted(self.name, array)
        if any(np.isnan(size) for size in array.shape):
            array = array.compute_chunk_sizes()
        n, self.n_columns = shape_of(self.name, array.shape, array.dtype)
        array = array.reshape(n, 1) if array.ndim == 1 else array
        self.array = array.rechunk({1: -1}) if array.numblocks[1] > 1 else array
        sizes = np.array(self.array.chunks[0], dtype=np.int64)
        self.blocks = np.flatnonzero(sizes)
        self.edges = np.concatenate([[0], np.cumsum(sizes[self.blocks])]).astype(np.int64)

    def read(self, index: int) -> Array:
        return np.asarray(self.array.blocks[int(self.blocks[index])].compute(scheduler="synchronous"))


class DaskFrameTable:
    """A Dask DataFrame: a partition is a piece, computed where it is needed.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        Numeric columns; the lengths of its partitions are computed once.
    """

    name = "Dask DataFrame"

    def __init__(self, frame: Any) -> None:
        refuse_persisted(self.name, frame)
        self.frame = frame
        self.n_columns = len(frame.columns)
        for column, dtype in frame.dtypes.items():
            if not pd.api.types.is_numeric_dtype(dtype):
                raise InputError(self.name, f"column {column!r} is {dtype}", "numbers", "leave it out of the columns")
        sizes = np.asarray(frame.map_partitions(len).compute(), dtype=np.int64)
        self.partitions = np.flatnonzero(sizes)
        self.edges = np.concatenate([[0], np.cumsum(sizes[self.partitions])]).astype(np.int64)

    def read(self, index: int) -> Array:
        part = self.frame.partitions[int(self.partitions[index])].compute(scheduler="synchronous")
        values: Array = part.to_numpy(dtype=np.float64, na_value=np.nan)
        return values


def refuse_persisted(where: str, collection: Any) -> None:
    """Refuse a collection whose blocks lie on the workers of a cluster: a chunk could not be computed elsewhere."""
    if "distributed" in sys.modules:
        from distributed import futures_of

        if futures_of(collection):
            remedy = "give it as it was before persist(), or write it to Parquet or zarr"
            raise InputError(where, "it is persisted on a cluster", "blocks that any worker can compute", remedy)


def is_dask_frame(data: Any) -> bool:
    """Whether `data` is a Dask DataFrame."""
    return hasattr(data, "__dask_graph__") and hasattr(data, "map_partitions") and hasattr(data, "columns")


def chosen(found: list[str], weights: Any, columns: Sequence[str] | None) -> list[str]:
    """Names of the columns to fit."""
    named = weights if isinstance(weights, str) else None
    for name in [*(columns or ()), *([named] if named is not None else [])]:
        if name not in found:
            raise InputError("data", f"no column {name!r}", f"one of {h5ad.listed(found)}", "name a column of the data")
    return list(columns) if columns is not None else [name for name in found if name != named]


def column_values(column: Any) -> Array:
    """A column of a DataFrame or Dask DataFrame as numbers."""
    series = column.compute() if hasattr(column, "compute") else column
    return as_numbers(f"column {column.name}", series.to_numpy())


def as_numbers(where: str, values: Any) -> Array:
    """The values in float64."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(where, f"{error}", "numbers as weights") from error


def refuse(where: str, option: str, value: object) -> None:
    """Refuse an option that says nothing here."""
    if value is not None:
        raise InputError(
            where, f"the option {option}={value!r}", "no such option for this kind of data", "leave it out"
        )
