"""A table, the model that fits its rows, and what was filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.engine.result import Fit
from emtools.kernels.readings import Readings
from emtools.kernels.scales import Scale
from emtools.models.tabular import TableModel

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A model of the rows of a table and how it was fitted.

    Parameters
    ----------
    kind : str
        "normal", "t", "factors" or "mixture".
    model : TableModel
        The model.
    fit : Fit
        Parameters, trace and certificate.
    pseudo_rows : float
        Weight of the ridge prior in rows; 0 is maximum likelihood.
    notices : tuple of str
        What the reader should know: why a prior was used, what was chosen and by what.
    """

    kind: str
    model: TableModel
    fit: Fit[Any, Any]
    pseudo_rows: float
    notices: tuple[str, ...]

    @property
    def params(self) -> Any:
        """Parameters of the model."""
        return self.fit.params


@dataclass(frozen=True)
class Filler:
    """A model that fills gaps beside the one that explains the table.

    Parameters
    ----------
    kind : str
        "stack".
    model : TableModel
        The model.
    params : object
        Its parameters.
    """

    kind: str
    model: TableModel
    params: Any


@dataclass(frozen=True)
class Imputation:
    """A table with its gaps filled.

    Parameters
    ----------
    readings : Readings
        The markers in the units of the table, shape (n, d).
    scaled : Readings
        What the model saw: the markers on the scales of the model, then e columns of the design, shape (n, d + e).
    markers, units, design : tuple of str
        Names of the markers, their units ("" where unknown), names of the columns of the design.
    scales : tuple of Scale
        Transform of each marker.
    fitted : Fitted
        Model of `scaled`.
    filled, sd : ndarray, shape (n, d)
        On the scales of the model: the markers with conditional means in their gaps, and the conditional standard
        deviation of each filled cell (NaN where observed).
    values, lower, upper : ndarray, shape (n, d)
        In the units of the table: the completed table, and the ends of the 95 % interval of each filled cell.
    draws : tuple of ndarray, each of shape (n, d)
        Completed tables drawn for multiple imputation, in the units of the table.
    how_drawn : tuple of str
        How their parameters were drawn, and what went otherwise than asked.
    better : Filler, optional
        What predicts hidden cells better than `fitted` and filled the gaps in its place.
    how_filled : str
        What filled the gaps, and why; empty where nothing was compared.
    """

    readings: Readings
    scaled: Readings
    markers: tuple[str, ...]
    units: tuple[str, ...]
    design: tuple[str, ...]
    scales: tuple[Scale, ...]
    fitted: Fitted
    filled: Floats
    sd: Floats
    values: Floats
    lower: Floats
    upper: Floats
    draws: tuple[Floats, ...]
    how_drawn: tuple[str, ...] = ()
    better: Filler | None = None
    how_filled: str = ""

    @property
    def filler(self) -> Fitted | Filler:
        """The model whose conditional means stand in the completed table."""
        return self.fitted if self.better is None else self.better
