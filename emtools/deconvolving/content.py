"""RNA of a cell of each type: how fractions of RNA become fractions of cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emtools.deconvolving.reference import Codes, Floats
from emtools.errors import InputError
from emtools.io.bulk import TABLE, Expression, are_whole
from emtools.io.h5ad import listed

ONE_TOTAL = 0.01  # spread of totals over their mean below which they were brought to one


@dataclass(frozen=True)
class RnaContent:
    """What the amounts of K types hold: ``profile`` of RNA, and ``profile / cell`` cells.

    Parameters
    ----------
    profile : ndarray, shape (K,)
        RNA behind a profile: mean total of a reference cell, over all genes of the reference; 1 for each profile of a
        table, where they are per unit of RNA (transcripts or counts per million).
    cell : ndarray, shape (K,)
        RNA of a cell, in any one unit, taken as known.
    source : str
        Where the latter is from.
    """

    profile: Floats
    cell: Floats
    source: str

    @property
    def cells(self) -> Floats:
        """Cells in a unit of each amount, up to a common factor, shape (K,)."""
        return np.asarray(self.profile / self.cell, dtype=np.float64)


def totals_of(values: Any) -> Floats:
    """Total of each row over all genes, shape (n,); `values` (n, G), also sparse."""
    return np.asarray(values.sum(axis=1), dtype=np.float64).ravel()


def mean_totals(totals: Floats, codes: Codes, n_types: int) -> Floats:
    """Mean total of the cells of each type, shape (K,); `totals` and `codes` (n,), with -1 for no type."""
    kept = np.flatnonzero(codes >= 0)
    sums, held = (np.bincount(codes[kept], weights, n_types) for weights in (totals[kept], None))
    return np.asarray(sums / held, dtype=np.float64)


def of_one_total(totals: Floats) -> bool:
    """Whether totals were brought to one, so that they do not hold the RNA of a cell."""
    return bool(totals.std() < ONE_TOTAL * totals.mean())


def content_by_file(path: str, known: Mapping[str, float], types: tuple[str, ...], profile: Floats) -> RnaContent:
    """RNA of a cell as a table has it, the types in any order.

    Raises
    ------
    InputError
        If it lacks a type of the reference.
    """
    absent = [name for name in types if name not in known]
    if absent:
        others = [name for name in known if name not in types]
        got = f"no RNA per cell for {listed(absent)}" + f"; it has {listed(others)} beside" * bool(others)
        raise InputError(
            path, got, "all types of the reference", "name types as the reference does, below a header line"
        )
    return RnaContent(profile, np.array([known[name] for name in types]), path)


def require_raw(cells: Expression, codes: Codes) -> None:
    """Refuse a reference whose totals are not the RNA of a cell; `codes` (n,) of types, -1 for cells that are not used.

    Values must be whole: cells that were brought to one total and then cut to some genes have totals that differ, as
    those of raw counts do, and means of types tell neither from the other.

    Raises
    ------
    InputError
        If the reference has no cells, values are not whole numbers, or all cells have one total.
    """
    if cells.source == TABLE:
        got = "a table of profiles, without cells"
    elif not are_whole(cells.values):
        got = f"{cells.source} holds values that are not whole numbers"
    elif of_one_total(totals_of(cells.values)[codes >= 0]):
        got = "all cells have one total"
    else:
        return
    raise InputError(
        str(cells.path),
        f"{got}: totals are not the RNA of a cell",
        "raw counts of cells, all of them whole numbers",
        "put them into layers['counts'], or give --rna-per-cell a file",
    )
