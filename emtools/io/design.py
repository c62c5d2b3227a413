"""Covariates and batches as columns of numbers: indicators of the levels of a category, numbers as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.errors import InputError

FEW = 2
SHOWN = 5

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """How covariates become columns of numbers, also for rows that come later.

    Parameters
    ----------
    names : tuple of str
        Covariates that are used, in order.
    levels : tuple
        Levels of each, the reference first; None for a numeric one.
    notices : tuple of str
        Covariates left out, rare levels, missing values.

    Examples
    --------
    >>> frame = pd.DataFrame({"age": [50.0, 61.0, 43.0], "plate": ["B", "A", "B"]})
    >>> design = design_of(frame)
    >>> design.labels, design.matrix(frame).tolist()
    (('age', 'plate=A'), [[50.0, 0.0], [61.0, 1.0], [43.0, 0.0]])
    """

    names: tuple[str, ...]
    levels: tuple[tuple[str, ...] | None, ...]
    notices: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: the covariate, or "covariate=level" of an indicator."""
        found: list[str] = []
        for name, levels in zip(self.names, self.levels, strict=True):
            found += [name] if levels is None else [f"{name}={level}" for level in levels[1:]]
        return tuple(found)

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """Columns of numbers, shape (n, e); NaN where a covariate is missing.

        Parameters
        ----------
        frame : DataFrame
            The covariates, by name.

        Raises
        ------
        InputError
            If a covariate is absent, or has a level that was not there before.
        """
        columns: list[Floats] = []
        for name, levels in zip(self.names, self.levels, strict=True):
            if name not in frame.columns:
                raise InputError("covariates", f"there is no column {name!r}", "the covariates of the fit", "add it")
            if levels is None:
                columns.append(frame[name].to_numpy(dtype=np.float64, na_value=np.nan))
                continue
            held = as_levels(frame[name])
            for row, level in enumerate(held):
                if level is not None and level not in levels:
                    raise InputError(
                        f"covariate {name!r}, row {row + 1}",
                        f"the level {level!r} was not in the data of the fit",
                        f"one of {', '.join(levels[:SHOWN])}{', …' if len(levels) > SHOWN else ''}",
                        "fit again with such rows, or blank the cell",
                    )
            gaps = np.array([level is None for level in held], dtype=bool)
            for level in levels[1:]:
                column = np.array([value == level for value in held], dtype=np.float64)
                column[gaps] = np.nan
                columns.append(column)
        return np.column_stack(columns) if columns else np.empty((len(frame), 0))

    def as_json(self) -> dict[str, Any]:
        """The design as JSON holds it."""
        return {"names": list(self.names), "levels": [None if one is None else list(one) for one in self.levels]}


def design_from_json(stored: dict[str, Any]) -> Design:
    """The design that `Design.as_json` gave.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is another thing.
    """
    names, levels = stored["names"], stored["levels"]
    if not isinstance(names, list) or not isinstance(levels, list) or len(names) != len(levels):
        raise ValueError("names")
    if not all(
        isinstance(word, str) for word in (*names, *(word for one in levels if one is not None for word in one))
    ):
        raise TypeError("names")
    return Design(tuple(names), tuple(None if one is None else tuple(one) for one in levels))


def design_of(frame: pd.DataFrame) -> Design:
    """The design of some covariates: the most frequent level of a category is its reference.

    Parameters
    ----------
    frame : DataFrame
        Columns of numbers enter as they are, all others by indicators of their levels.
    """
    names: list[str] = []
    coded: list[tuple[str, ...] | None] = []
    notices: list[str] = []
    for name in frame.columns:
        column = frame[name]
        n_missing = int(column.isna().sum())
        if is_numeric(column):
            levels = None
            n_levels = int(column.nunique())
        else:
            counts = pd.Series([level for level in as_levels(column) if level is not None], dtype=object).value_counts()
            ordered = sorted(counts.index, key=lambda level: (-counts[level], level))
            levels = (*ordered[:1], *sorted(ordered[1:]))
            n_levels = len(ordered)
            rare = [f"{level} ({counts[level]})" for level in levels if counts[level] <= FEW]
            if rare and n_levels > 1:
                shown = ", ".join(rare[:SHOWN]) + (f" and {len(rare) - SHOWN} more" if len(rare) > SHOWN else "")
                notices.append(
                    f"covariate {name}: levels in so few rows say little of their effect: {shown}; join them with others"
                )
        if n_levels < 2:
            why = "is missing everywhere" if n_levels == 0 else "has one value only"
            notices.append(f"covariate {name} {why} and was left out")
            continue
        if n_missing:
            notices.append(
                f"covariate {name} is missing in {n_missing} of {len(frame)} rows and is filled along with the markers"
            )
        names.append(str(name))
        coded.append(levels)
    return Design(tuple(names), tuple(coded), tuple(notices))


def design_columns(frame: pd.DataFrame) -> tuple[Floats, tuple[str, ...]]:
    """Columns of numbers of some covariates, shape (n, e), and their names.

    Parameters
    ----------
    frame : DataFrame
        See `design_of`.
    """
    design = design_of(frame)
    return design.matrix(frame), design.labels


def is_numeric(column: pd.Series) -> bool:
    """Whether a covariate is a number and no category or yes-no answer."""
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def as_levels(column: pd.Series) -> Sequence[str | None]:
    """Levels as text, None where missing."""
    return [None if missing else str(level) for level, missing in zip(column, column.isna(), strict=True)]
