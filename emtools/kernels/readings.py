"""What is known of each cell of a table: its value, bounds, or nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Readings:
    """What is known of each cell of a table.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        NaN unless the cell was observed.
    lower, upper : ndarray, shape (n, d), optional
        Bounds of the cells that were not observed: minus and plus infinity where nothing is known, a limit of
        detection where the cell is known to lie beyond it. Looked at only where `values` is NaN. Without them
        nothing is known of any gap.

    Raises
    ------
    InputError
        If shapes differ, or a lower bound is not below its upper one.

    Examples
    --------
    >>> known = Readings(np.array([[1.0, np.nan, np.nan]]), upper=np.array([[0.0, 0.5, np.inf]]))
    >>> known.observed.tolist(), known.bounded.tolist()
    ([[True, False, False]], [[False, True, False]])
    """

    values: Floats
    lower: Floats | None = None
    upper: Floats | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise InputError("table", f"an array of shape {self.values.shape}", "rows and columns")
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if bound is None:
                continue
            if bound.shape != self.values.shape:
                raise InputError(f"{name} bounds", f"shape {bound.shape}", f"shape {self.values.shape}")
            if np.isnan(bound[~self.observed]).any():
                raise InputError(f"{name} bounds", "NaN", "numbers, infinite where there is no bound")
        low, high = self.bounds()
        crossed = ~self.observed & ~(low < high)
        if crossed.any():
            row, column = (int(k) for k in np.argwhere(crossed)[0])
            got = f"lower bound {low[row, column]:g} and upper bound {high[row, column]:g}"
            raise InputError(f"row {row}, column {column}", got, "a lower bound below the upper one")

    @property
    def observed(self) -> Booleans:
        """Cells with a value, shape (n, d)."""
        return ~np.isnan(self.values)

    @property
    def bounded(self) -> Booleans:
        """Cells without a value of which a bound is known, shape (n, d)."""
        low, high = self.bounds()
        return ~self.observed & (np.isfinite(low) | np.isfinite(high))

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper bounds, infinite where there is none, shapes (n, d)."""
        low = np.full(self.values.shape, -np.inf) if self.lower is None else self.lower
        high = np.full(self.values.shape, np.inf) if self.upper is None else self.upper
        return low, high

    def take(self, rows: npt.NDArray[np.intp] | Booleans | slice) -> Readings:
        """The same of some rows."""
        return Readings(
            self.values[rows],
            None if self.lower is None else self.lower[rows],
            None if self.upper is None else self.upper[rows],
        )

    def take_columns(self, columns: npt.NDArray[np.intp] | list[int]) -> Readings:
        """The same of some columns."""
        return Readings(
            self.values[:, columns],
            None if self.lower is None else self.lower[:, columns],
            None if self.upper is None else self.upper[:, columns],
        )
