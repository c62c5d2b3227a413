"""Tables that are read piece by piece on every pass, so that no more than a few pieces are ever in memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from emtools.engine.chunks import REAL, VALUES_PER_CHUNK, Rows, check_weights
from emtools.engine.protocol import Floats
from emtools.errors import InputError

Edges = npt.NDArray[np.int64]


class Pieces(Protocol):
    """A table in pieces whose edges depend on it alone. It can be pickled, and keeps no open file when it is."""

    @property
    def name(self) -> str:
        """What to call it in a message: the path, and the place in the file."""
        ...

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        ...

    @property
    def edges(self) -> Edges:
        """First row of each piece, and the number of rows, shape (n_pieces + 1,)."""
        ...


class Table(Pieces, Protocol):
    """Pieces of dense rows."""

    def read(self, index: int) -> npt.NDArray[Any]:
        """Piece `index`, shape (rows, n_columns), of any real type; may be called from several threads."""
        ...


def even_edges(n_rows: int, n_columns: int, multiple: int = 1, chunk_rows: int | None = None) -> Edges:
    """Edges of pieces of about `VALUES_PER_CHUNK` values.

    Parameters
    ----------
    n_rows, n_columns : int
        Size of the table.
    multiple : int
        Rows that are stored together: a piece holds a multiple of them.
    chunk_rows : int, optional
        Rows of a piece instead, for tests.

    Returns
    -------
    ndarray of int64, shape (n_pieces + 1,)

    Examples
    --------
    >>> even_edges(10, 3, chunk_rows=4).tolist()
    [0, 4, 8, 10]
    """
    rows = chunk_rows or max(1, VALUES_PER_CHUNK // max(1, n_columns))
    if multiple <= rows and not chunk_rows:
        rows -= rows % multiple
    return np.append(np.arange(0, n_rows, rows, dtype=np.int64), n_rows)


def check_finite(where: str, values: Floats, first: int, missing: bool) -> None:
    """Refuse infinity, and NaN unless `missing`.

    Parameters
    ----------
    where : str
        Name of the data, for the message.
    values : ndarray, shape (n, d)
        Rows.
    first : int
        Number of the first row.
    missing : bool
        Whether NaN may stand for a missing value.

    Raises
    ------
    InputError
        At the first value that is refused.
    """
    wrong = np.isinf(values) if missing else ~np.isfinite(values)
    if not wrong.any():
        return
    row, column = np.argwhere(wrong)[0]
    remedy = "use missing=True and a model of rows with gaps, or drop the row"
    if missing or np.isinf(values[row, column]):
        remedy = "write NaN where a value is missing, or drop the row"
    got = f"row {first + row + 1}, column {column + 1} is {values[row, column]}"
    raise InputError(where, got, "finite numbers", remedy)


class TableSource:
    """Rows of a table that stays where it is: on disk, or in a Dask collection.

    Parameters
    ----------
    table : Table
        What is read.
    weights : array, shape (n,), optional
        Non-negative weights, kept in memory; 1 by default.
    missing : bool
        Whether NaN may stand for a missing value; infinity may never.

    Raises
    ------
    InputError
        If there is no row or column, or the weights do not fit; when a chunk is read, if a value is not a finite number.
    """

    reads = True

    def __init__(self, table: Table, weights: Floats | None = None, missing: bool = False) -> None:
        self.edges = table.edges
        if not table.n_columns or self.edges[-1] < 1:
            got = f"{self.edges[-1]} rows and {table.n_columns} columns"
            raise InputError(table.name, got, "at least one of each", "check how it was made")
        self.table = table
        self.weights = None if weights is None else check_weights(weights, self.n_units)
        self.missing = missing

    @property
    def n_units(self) -> int:
        return int(self.edges[-1])

    @property
    def n_chunks(self) -> int:
        return len(self.edges) - 1

    def chunk(self, index: int) -> Rows:
        first, last = int(self.edges[index]), int(self.edges[index + 1])
        read = self.table.read(index)
        if read.shape != (last - first, self.table.n_columns) or read.dtype.kind not in REAL:
            got = f"rows {first + 1} to {last} came as {read.dtype} of shape {read.shape}"
            expected = f"numbers of shape ({last - first}, {self.table.n_columns})"
            raise InputError(self.table.name, got, expected, "do not change it during a fit")
        values: Floats = np.ascontiguousarray(read, dtype=np.float64)
        if read.dtype.kind == "f":
            check_finite(self.table.name, values, first, self.missing)
        return Rows(values, np.ones(len(values)) if self.weights is None else self.weights[first:last], first)


class SparseTable(Pieces, Protocol):
    """Pieces of sparse rows."""

    def read_sparse(self, index: int) -> Any:
        """Piece `index` as a CSR matrix, shape (rows, n_columns)."""
        ...


class SparseSource:
    """Sparse rows that are never made dense, for models that take them: those of counts.

    A chunk has a CSR array where others have an ndarray.

    Parameters
    ----------
    table : SparseTable
        What is read.
    weights : array, shape (n,), optional
        Non-negative weights, kept in memory; 1 by default.
    exposures : array, shape (n,), optional
        Exposure of each row (size factor), which becomes the last column.

    Raises
    ------
    InputError
        If there is no row or column, the weights do not fit, or an exposure is not above 0.
    """

    reads = True

    def __init__(self, table: SparseTable, weights: Floats | None = None, exposures: Floats | None = None) -> None:
        self.table, self.edges = table, table.edges
        if not table.n_columns or self.edges[-1] < 1:
            got = f"{self.edges[-1]} rows and {table.n_columns} columns"
            raise InputError(table.name, got, "at least one of each", "check how it was made")
        self.weights = None if weights is None else check_weights(weights, self.n_units)
        self.exposures = None if exposures is None else np.asarray(exposures, dtype=np.float64)
        if self.exposures is not None:
            good = self.exposures.shape == (self.n_units,) and bool(
                ((self.exposures > 0) & (self.exposures < np.inf)).all()
            )
            if not good:
                got = f"array of shape {self.exposures.shape}"
                raise InputError("exposures", got, f"{self.n_units} finite values above 0", "drop rows without counts")

    @property
    def n_units(self) -> int:
        return int(self.edges[-1])

    @property
    def n_chunks(self) -> int:
        return len(self.edges) - 1

    def chunk(self, index: int) -> Rows:
        first, last = int(self.edges[index]), int(self.edges[index + 1])
        values: Any = sparse.csr_array(self.table.read_sparse(index)).astype(np.float64)
        values.sum_duplicates()
        if self.exposures is not None:
            last_column: Any = sparse.csr_array(self.exposures[first:last, None])
            values = sparse.hstack([values, last_column], format="csr")
        return Rows(values, np.ones(last - first) if self.weights is None else self.weights[first:last], first)
