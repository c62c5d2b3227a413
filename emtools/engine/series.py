"""Series of numbers in chunks: rows in order, several series, NaN where nothing was observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emtools.engine.chunks import check_weights
from emtools.engine.protocol import Floats
from emtools.errors import InputError

Offsets = npt.NDArray[np.int64]

ROWS_PER_CHUNK = 2**18


@dataclass(frozen=True)
class Series:
    """A chunk of series, end to end.

    Parameters
    ----------
    values : ndarray, shape (n_total, d)
        One row a time; NaN where not observed.
    offsets : ndarray of int64, shape (n_series + 1,)
        Series `i` is ``values[offsets[i]:offsets[i + 1]]``.
    weights : ndarray, shape (n_series,)
        Non-negative weight of each series; a weight of 2 equals the series twice.
    first : int
        Number of the first series among all, for messages.
    """

    values: Floats
    offsets: Offsets
    weights: Floats
    first: int = 0

    @property
    def row_weights(self) -> Floats:
        """Weight of each row, shape (n_total,): that of its series."""
        return np.repeat(self.weights, np.diff(self.offsets))


class SeriesSource:
    """Series of numbers, cut into chunks where a series ends.

    Parameters
    ----------
    series : sequence of array, shape (T_i, d) or (T_i,)
        At least one, each with at least one row; NaN where not observed.
    weights : array, shape (n_series,), optional
        Non-negative weights; 1 by default.
    chunk_rows : int
        A chunk ends with the series that reaches this number of rows.

    Raises
    ------
    InputError
        If there is no series, one is empty or infinite somewhere, their widths differ, a column is never observed,
        or the weights do not fit.

    Examples
    --------
    >>> source = SeriesSource([np.array([1.0, np.nan, 3.0]), np.array([2.0])])
    >>> source.n_units, source.n_chunks, source.chunk(0).offsets.tolist()
    (2, 1, [0, 3, 4])
    """

    def __init__(
        self, series: Sequence[npt.ArrayLike], weights: Floats | None = None, chunk_rows: int = ROWS_PER_CHUNK
    ) -> None:
        tables = [as_table(values, number) for number, values in enumerate(series, start=1)]
        if not tables:
            raise InputError("series", "none", "at least one")
        width = tables[0].shape[1]
        for number, table in enumerate(tables, start=1):
            if table.shape[1] != width:
                raise InputError(f"series {number}", f"{table.shape[1]} columns", f"{width}, as in series 1")
        self.weights = check_weights(weights, len(tables))
        self.values = np.concatenate(tables)
        seen = ~np.isnan(self.values[np.repeat(self.weights > 0.0, [len(t) for t in tables])])
        if not seen.any(axis=0).all():
            column = int(np.argmin(seen.any(axis=0))) + 1
            raise InputError("series", f"column {column} has no value", "at least one in each column", "drop it")
        self.offsets = np.concatenate([[0], np.cumsum([len(table) for table in tables])]).astype(np.int64)
        cuts, filled = [0], 0
        for number, table in enumerate(tables, start=1):
            filled += len(table)
            if filled >= chunk_rows or number == len(tables):
                cuts.append(number)
                filled = 0
        self.cuts = cuts

    @property
    def n_units(self) -> int:
        return len(self.weights)

    @property
    def n_chunks(self) -> int:
        return len(self.cuts) - 1

    def chunk(self, index: int) -> Series:
        first, last = self.cuts[index], self.cuts[index + 1]
        offsets = self.offsets[first : last + 1]
        return Series(self.values[offsets[0] : offsets[-1]], offsets - offsets[0], self.weights[first:last], first)


def as_table(values: npt.ArrayLike, number: int) -> Floats:
    """One series as a table, shape (T, d).

    Raises
    ------
    InputError
        If it is not a table of numbers, is empty, or holds an infinity.
    """
    where = f"series {number}"
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(where, "something that is not a table of numbers", "numbers, NaN for not observed") from None
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size:
        raise InputError(where, f"array of shape {table.shape}", "at least one row and one column")
    if np.isinf(table).any():
        row = int(np.argmax(np.isinf(table).any(axis=1)))
        raise InputError(where, f"row {row + 1} is infinite", "finite numbers, NaN for not observed")
    return table
