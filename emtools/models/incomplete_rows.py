"""Tables with gaps as sources of rows sorted by pattern of missingness, and rows of them to start from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import VALUES_PER_CHUNK, check_weights
from emtools.engine.protocol import Floats, Source
from emtools.errors import InputError
from emtools.kernels.incomplete import IncompleteRows, sort_by_pattern
from emtools.models.mixture_starts import SAMPLE_ROWS

CHUNKS = 8  # of a table, beyond the least size
SMALLEST = 2**15  # values of a chunk
BLOCK = 2**17  # values filled at a time


class IncompleteSource:
    """A table with gaps, its rows sorted by pattern of missingness.

    Rows without any value say nothing about the parameters and are left out, as are rows of weight 0.

    Parameters
    ----------
    values : array, shape (n, d)
        NaN where missing.
    weights : array, shape (n,), optional
        Non-negative weights; 1 by default. A weight of 2 equals the row twice.
    chunk_rows : int, optional
        Rows per chunk, for tests; by default it follows from the data.

    Raises
    ------
    InputError
        If the table is empty, holds an infinity, a column has no value, or the weights do not fit.

    Examples
    --------
    >>> source = IncompleteSource(np.array([[1.0, np.nan], [np.nan, np.nan], [0.5, 2.0]]))
    >>> source.n_units, source.chunk(0).order.tolist()
    (2, [0, 2])
    """

    def __init__(self, values: Floats, weights: Floats | None = None, chunk_rows: int | None = None) -> None:
        table = np.asarray(values, dtype=np.float64)
        if table.ndim != 2 or not table.size:
            raise InputError("data", f"array of shape {table.shape}", "a table with at least one row and column")
        if np.isinf(table).any():
            row, column = (int(k) + 1 for k in np.argwhere(np.isinf(table))[0])
            raise InputError(f"row {row}, column {column}", "infinite", "a finite value, NaN where missing")
        checked = check_weights(weights, len(table))
        seen = (~np.isnan(table) & (checked > 0.0)[:, None]).any(axis=0)
        if not seen.all():
            got = f"column {int(np.argmin(seen)) + 1} has no value"
            raise InputError("data", got, "at least one value in each column", "drop it")
        self.chunks = list(sort_by_pattern(table, checked, chunk_rows or rows_of_chunk(*table.shape)))

    @property
    def n_units(self) -> int:
        return sum(len(chunk.values) for chunk in self.chunks)

    @property
    def n_chunks(self) -> int:
        return len(self.chunks)

    def chunk(self, index: int) -> IncompleteRows:
        return self.chunks[index]


def rows_of_chunk(n: int, d: int) -> int:
    """Rows of a chunk of a table of n rows of d columns: an eighth of the table, within bounds, so that threads help."""
    return max(1, min(max(n * d // CHUNKS, SMALLEST), VALUES_PER_CHUNK) // d)


def sample_incomplete(data: Source[IncompleteRows], rng: np.random.Generator, d: int) -> tuple[Floats, Floats]:
    """Rows with NaN in their gaps, all of them or a random `SAMPLE_ROWS`, and their weights.

    Parameters
    ----------
    data : Source of IncompleteRows
    rng : Generator
        Chooses where there are too many.
    d : int
        Columns that the data must have.

    Returns
    -------
    values : ndarray, shape (n, d)
    weights : ndarray, shape (n,)

    Raises
    ------
    InputError
        If the number of columns is wrong, or one has no value among the rows.
    """
    chunks = [data.chunk(index) for index in range(data.n_chunks)]
    check_width(chunks[0].values, d)
    values, weights = np.concatenate([c.values for c in chunks]), np.concatenate([c.weights for c in chunks])
    if len(values) > SAMPLE_ROWS:
        chosen = np.sort(rng.choice(len(values), SAMPLE_ROWS, replace=False))
        if not np.isnan(values[chosen]).all(axis=0).any():
            values, weights = values[chosen], weights[chosen]
    return values, weights


def check_width(values: Floats, d: int) -> None:
    """Refuse rows of another width."""
    if values.shape[1] != d:
        raise InputError("data", f"{values.shape[1]} columns", f"{d}")


def blocks_of(values: Floats, d: int) -> tuple[list[IncompleteRows], npt.NDArray[np.bool_]]:
    """Rows of any table to be filled, sorted by pattern in blocks, and which of them have no value at all.

    Raises
    ------
    InputError
        If the number of columns is wrong, or a value is infinite.
    """
    check_width(values, d)
    if np.isinf(values).any():
        row, column = (int(k) + 1 for k in np.argwhere(np.isinf(values))[0])
        raise InputError(f"row {row}, column {column}", "infinite", "a finite value, NaN where missing")
    blocks = list(sort_by_pattern(values, np.ones(len(values)), max(1, BLOCK // d)))
    return blocks, np.asarray(np.isnan(values).all(axis=1))
