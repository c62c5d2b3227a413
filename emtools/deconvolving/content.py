"""RNA of a cell of each type: how fractions of RNA become fractions of cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emtools.deconvolving.reference import Codes, Floats
from emtools.errors import InputError
from emtools.io.bulk import REFERENCE
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


def mean_totals(values: Any, codes: Codes, n_types: int) -> Floats:
    """Mean total over all genes of the cells of each type, shape (K,); `values` (n, G), `codes` (n,) with -1 for none."""
    kept = np.flatnonzero(codes >= 0)
    totals = np.asarray(values.sum(axis=1), dtype=np.float64).ravel()[kept]
    sums, held = (np.bincount(codes[kept], weights, n_types) for weights in (totals, None))
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


def content_by_reference(path: str, profile: Floats | None) -> RnaContent:
    """RNA of a cell as the cells of the reference have it: their mean total, of which None stands for a table of profiles.

    Raises
    ------
    InputError
        If the reference has no cells, or these were brought to one total.
    """
    if profile is None or of_one_total(profile):
        got = "a table of profiles, without cells" if profile is None else "cells of one total"
        raise InputError(
            path, f"{got}: it does not hold the RNA of a cell", "raw counts of cells", "give --rna-per-cell a file"
        )
    return RnaContent(profile, profile, REFERENCE)
