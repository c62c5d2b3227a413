"""What the models of counts share: the check of their data, and hidden classes of units that come counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from emtools.engine.chunks import Rows
from emtools.engine.protocol import Assign, Floats, Source
from emtools.errors import InputError
from emtools.kernels.counts import is_sparse
from emtools.models.assignment import shared_rows
from emtools.models.hmm import from_log_odds, to_log_odds
from emtools.models.mixture_starts import draw_seeds

TINY = 1e-300  # stands for zero in a packed vector
START_SHARE = 0.1  # share of what all rows have in common in each component of a start
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
    values: Any = chunk.values
    if values.shape[1] != n_columns:
        raise InputError("data", f"{values.shape[1]} columns", f"{n_columns}")
    held = values.data if is_sparse(values) else values
    with np.errstate(invalid="ignore"):
        good = (held >= 0.0) & (held <= LARGEST_COUNT)
        if whole:
            good &= held == np.floor(held)
    if good.all():
        return
    if is_sparse(values):
        place = int(np.argmin(good))
        row, column = int(np.searchsorted(values.indptr, place, side="right")) - 1, int(values.indices[place])
    else:
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


def check_components(n_components: int, n_features: int) -> None:
    """Refuse a mixture without a component or a feature.

    Raises
    ------
    InputError
        If either number is below 1.
    """
    if n_components < 1 or n_features < 1:
        raise InputError("mixture", f"{n_components} components in {n_features} features", "at least one of each")


def total_counts(data: Source[Rows], n_features: int) -> Floats:
    """Weighted total of the first `n_features` columns of checked data, shape (n_features,).

    Raises
    ------
    InputError
        As `check_counts`, or if every count is zero.
    """
    totals = np.zeros(n_features)
    for index in range(data.n_chunks):
        chunk = data.chunk(index)
        check_counts(Rows(chunk.values[:, :n_features], chunk.weights, chunk.first), n_features)
        totals += chunk.weights @ chunk.values[:, :n_features]
    check_total(float(totals.sum()))
    return totals


def draw_groups(places: Floats, weights: Floats, n_groups: int, rng: np.random.Generator) -> Floats:
    """Groups about rows drawn far from each other, as shares (n, K) of 0 and 1 times the weights of the rows.

    Parameters
    ----------
    places : ndarray, shape (n, d)
        Rows, in units in which distances make sense: square roots of counts.
    weights : ndarray, shape (n,)
        Positive.
    n_groups : int
        Number of groups K.
    rng : Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (n, K)
    """
    _, nearest = draw_seeds(places, weights, n_groups, rng, "kmeans++")
    shares = np.zeros((len(places), n_groups))
    shares[np.arange(len(places)), nearest] = weights
    return shares


def pack_weights(weights: Floats) -> Floats:
    """Log odds of each of K shares against those after it, shape (K - 1,)."""
    log_odds: Floats = to_log_odds(weights[None, :])[0]
    return log_odds


def unpack_weights(vector: Floats) -> Floats:
    """Inverse of `pack_weights`, shape (K,)."""
    weights: Floats = from_log_odds(vector[None, :])[0]
    return weights


def pack_positive(values: Floats) -> Floats:
    """Logarithms in one row; zero is one number far out."""
    logs: Floats = np.log(np.maximum(values, TINY)).ravel()
    return logs


def unpack_positive(vector: Floats, shape: tuple[int, ...]) -> Floats:
    """Inverse of `pack_positive`; zero where it met a zero."""
    with np.errstate(over="ignore"):
        values = np.exp(vector.reshape(shape))
    return np.where(values < 10.0 * TINY, 0.0, values)
