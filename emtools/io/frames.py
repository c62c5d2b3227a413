"""Whole tables as data frames, and the completed tables of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from emtools.errors import InputError
from emtools.io.cell_text import Rules
from emtools.io.columns import covariate
from emtools.io.markers import find_decimal
from emtools.io.sheets import read_sheet

NUMBERED = re.compile(r"completed_([1-9]\d*)(\..+)")


def read_frame(path: Path, missing: Sequence[str] = ()) -> pd.DataFrame:
    """All columns of a table in any format that `read_sheet` knows: numbers as float64, the rest as text.

    Parameters
    ----------
    path : Path
        File.
    missing : sequence of str
        Codes for a missing value beside the usual ones.

    Returns
    -------
    DataFrame
        NaN or None where missing.

    Raises
    ------
    InputError
        If the file cannot be used; the message names the place.
    """
    sheet, _ = read_sheet(path, missing)
    positions = range(len(sheet.header))
    rules = Rules(find_decimal(sheet, list(positions)), tuple(missing))
    return pd.DataFrame({sheet.header[k]: covariate(sheet, k, "", rules) for k in positions})


def completed_tables(folder: Path) -> list[Path]:
    """completed_1, completed_2, … of a run, in order; they lie in `folder` or in its folder draws.

    Raises
    ------
    InputError
        If there are fewer than two, one is absent, or a number is there in two formats.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(str(folder), "no such folder", "the results of emtools impute --draws", "check the path")
    found: dict[int, Path] = {}
    for place in (folder, folder / "draws"):
        for path in sorted(place.iterdir()) if place.is_dir() and not found else ():
            named = NUMBERED.fullmatch(path.name)
            if named is None:
                continue
            number = int(named[1])
            if number in found:
                raise InputError(str(path), f"{found[number].name} is there too", "one of them", "delete the other")
            found[number] = path
    if len(found) < 2:
        got = f"{len(found)} completed table{'s' * (len(found) != 1)} (completed_1, completed_2, …)"
        raise InputError(str(folder), got, "at least 2", "run emtools impute with --draws 20")
    absent = set(range(1, max(found) + 1)) - set(found)
    if absent:
        raise InputError(str(folder), f"completed_{min(absent)} is absent of {max(found)} tables", "", "run it again")
    return [found[number] for number in sorted(found)]
