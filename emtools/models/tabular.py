"""What a model of the rows of a table offers beside the contract of the engine, so that gaps can be filled by it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from emtools.engine.protocol import Floats, Model, Source
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
