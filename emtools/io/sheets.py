"""Every column of a table by its name, whatever the format of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError

SHOWN = 12
Floats = npt.NDArray[np.float64]


class Numbered(Sequence[str]):
    """The texts "<stem>1", "<stem>2", …, made when they are asked for.

    Parameters
    ----------
    stem : str
        What stands before the number.
    n : int
        How many.
    """

    def __init__(self, stem: str, n: int) -> None:
        self.stem, self.n = stem, n

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        numbers = range(1, self.n + 1)[at]
        return f"{self.stem}{numbers}" if isinstance(numbers, int) else tuple(f"{self.stem}{k}" for k in numbers)


class Numbers(Sequence[str]):
    """A column that the file holds as numbers; as text where that is asked for.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN where missing.
    whole : bool
        Whether the file holds integers.
    """

    def __init__(self, values: Floats, whole: bool = False) -> None:
        self.values, self.whole = values, whole

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            return Numbers(self.values[at], self.whole)
        value = float(self.values[at])
        return "" if value != value else str(int(value)) if self.whole else repr(value)


@dataclass(frozen=True)
class Columns:
    """Columns of a file as text, with where each row stands.

    Parameters
    ----------
    path : Path
        File.
    header : tuple of str
        Names of the columns.
    cells : sequence of sequences of str
        One a column: text, or `Numbers`.
    places : sequence of str
        Where each row stands: "line 3" or "row 2".
    codes : tuple of str
        Codes for a missing value.
    candidates : tuple of int, optional
        Columns that may be markers unless others are named; all where None.
    names : sequence of str, optional
        Names of the rows, where the format has them.
    units : mapping
        Units by column, where the format has them.
    limits : mapping
        Limit of detection of each row by column, shapes (n,), where the format has them.
    notices : tuple of str
        What the reader should know of how the file was read.
    """

    path: Path
    header: tuple[str, ...]
    cells: Sequence[Sequence[str]]
    places: Sequence[str]
    codes: tuple[str, ...] = ()
    candidates: tuple[int, ...] | None = None
    names: Sequence[str] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Floats] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def at(self, row: int, column: int) -> str:
        """Where a cell stands, for a message."""
        return f"{self.path}, {self.places[row]}, column {self.header[column]!r}"


def row_names(sheet: Columns, id_column: str | None) -> Sequence[str]:
    """Names from the id column, which must differ; without one those of the format, or numbers from 1."""
    if id_column is None:
        return sheet.names if sheet.names is not None else Numbered("", len(sheet.places))
    position = find_column(sheet, id_column, "--id")
    seen: dict[str, int] = {}
    for row, name in enumerate(sheet.cells[position]):
        if name in seen:
            raise InputError(
                sheet.at(row, position),
                f"the id {name!r} stands at {sheet.places[seen[name]]} too" if name else "more than one id is empty",
                "an id of its own for each row",
                "make the ids differ, or leave out --id",
            )
        seen[name] = row
    return tuple(sheet.cells[position])


def find_column(sheet: Columns, name: str, option: str) -> int:
    """Place of a column by its name."""
    if name not in sheet.header:
        shown = ", ".join(repr(column) for column in sheet.header[:SHOWN])
        more = ", …" if len(sheet.header) > SHOWN else ""
        raise InputError(str(sheet.path), f"no column {name!r}", f"one of {shown}{more}", f"check {option}")
    return sheet.header.index(name)
