"""What the models of counts share: the check of their data, and hidden classes of units that come counted."""

from __future__ import annotations

import numpy as np

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats
from emtools.errors import InputError
from emtools.models.assignment import shared_rows

LARGEST_COUNT = 2.0**53  # beyond it float64 does not know every whole number


def check_counts(chunk: Rows, n_columns: int, *, whole: bool = True) -> None:
    """Refuse a table that does not hold counts, naming the first bad cell.

    Parameters
    ----------
    chunk : Rows
        Data.
    n_columns : int
        Columns that it must have.
    whole : bool
        Whether each value must be a whole number.

    Raises
    ------
    InputError
        If the number of columns is wrong, or a value is NaN, infinite, negative or, where asked, not whole.

    Examples
    --------
    >>> check_counts(Rows(np.array([[1.0, 2.5]]), np.ones(1)), 2)
    Traceback (most recent call last):
    ...
    emtools.errors.InputError: row 1, column 2: 2.5; a whole number of at least 0; correct it or drop the row
    """
    values = chunk.values
    if values.shape[1] != n_columns:
        raise InputError("data", f"{values.shape[1]} columns", f"{n_columns}")
    with np.errstate(invalid="ignore"):
        good = (values >= 0.0) & (values <= LARGEST_COUNT)
        if whole:
            good &= values == np.floor(values)
    if good.all():
        return
    row, column = np.argwhere(~good)[0].tolist()
    expected = "a whole number of at least 0" if whole else "a finite number of at least 0"
    where = f"row {chunk.first + row + 1}, column {column + 1}"
    raise InputError(where, f"{values[row, column]:g}", expected, "correct it or drop the row")


def column_totals(chunk: Rows, n_columns: int) -> Floats:
    """Checked and weighted total of each column, shape (n_columns,).

    Raises
    ------
    InputError
        As `check_counts`; the counts need not be whole.
    """
    check_counts(chunk, n_columns, whole=False)
    totals: Floats = chunk.weights @ chunk.values
    return totals


def split_cells(log_joint: Floats, counts: Floats, assign: Assign, first: int) -> tuple[Floats, float, float]:
    """Expected counts of the hidden classes within observed cells.

    Parameters
    ----------
    log_joint : ndarray, shape (m, K)
        Log probability of cell and class for one unit, in nats; minus infinity where they exclude each other.
    counts : ndarray, shape (m,)
        Units in each cell.
    assign : Assign
        Any kind.
    first : int
        Number of the first row of the chunk.

    Returns
    -------
    expected : ndarray, shape (m, K)
        Units of each class in each cell.
    loglik, entropy : float
        Nats, without the multinomial coefficient.
    """
    held = counts > 0.0
    shares, loglik, entropy = shared_rows(log_joint[held], counts[held], assign, first)
    expected = np.zeros_like(log_joint)
    expected[held] = shares * counts[held, None]
    return expected, loglik, entropy


def check_total(total: float) -> None:
    """Refuse data without a single count.

    Raises
    ------
    InputError
        If the total is zero.
    """
    if not total > 0.0:
        raise InputError("data", "every count is zero", "at least one count above zero")


def weigh_parts(n_by_part: Floats, word: str = "component") -> str | None:
    """Which component holds nothing, in words, or None; `n_by_part` (K,) are expected weights of rows."""
    empty = np.flatnonzero(~(n_by_part > 0.0))
    if not empty.size:
        return None
    k = int(empty[0])
    return f"{word} {k + 1} holds {n_by_part[k]:.1f} points: use fewer than {len(n_by_part)} or other starts"
