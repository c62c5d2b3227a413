"""What a model of the rows of a table offers beside the contract of the engine, so that gaps can be filled by it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from emtools.engine.chunks import check_weights
from emtools.engine.protocol import Floats, Model, Source
from emtools.errors import InputError
from emtools.kernels.readings import Readings


class TableModel(Model[Any, Any, Any], Protocol):
    """A distribution of rows of d columns, any cells of which may be missing; the rows are independent."""

    @property
    def n_features(self) -> int:
        """Columns d."""
        ...

    @property
    def takes_bounds(self) -> bool:
        """Whether bounds of cells are used; a model that does not is never given any."""
        ...

    def source(self, readings: Readings, weights: Floats | None = None) -> Source[Any]:
        """The rows as the E-step wants them; weights are non-negative, shape (n,), and 2 equals the row twice."""
        ...

    def conditional(self, params: Any, readings: Readings) -> tuple[Floats, Floats]:
        """Conditional mean of each gap given what is known of its row, in the table, and its standard deviation (NaN
        where observed), shapes (n, d). Observed values are untouched; a row without any value gets the marginals."""
        ...

    def draw(self, params: Any, readings: Readings, rng: np.random.Generator) -> Floats:
        """The table with each row's gaps drawn jointly from their conditional distribution, shape (n, d)."""
        ...

    def moments(self, params: Any) -> tuple[Floats, Floats]:
        """Mean (d,) and covariance (d, d) of a row; NaN where they do not exist."""
        ...

    def log_density(self, params: Any, readings: Readings) -> Floats:
        """Log density (probability, for cells of which bounds are known) of what is known of each row, (n,), nats."""
        ...


def checked_table(values: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """A table with gaps as float64, shape (n, d), and the weights of its rows, shape (n,).

    Raises
    ------
    InputError
        If the table is empty, holds an infinity, a column has no value in a row of positive weight, or the weights do
        not fit.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise InputError("data", f"array of shape {table.shape}", "a table with at least one row and column")
    if np.isinf(table).any():
        row, column = np.argwhere(np.isinf(table))[0]
        raise InputError("data", f"row {row}, column {column} is infinite", "finite values, NaN where missing")
    w = check_weights(weights, len(table))
    known = (~np.isnan(table) & (w > 0.0)[:, None]).any(axis=0)
    if not known.all():
        got = f"column {int(np.argmin(known))} has no value"
        raise InputError("data", got, "at least one value in each column", "drop it")
    return table, w
