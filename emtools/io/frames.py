"""Whole tables as data frames, and the completed tables of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from emtools.errors import InputError
from emtools.io.annotated import COMPLETED, Annotated, layers_of
from emtools.io.cell_text import Rules
from emtools.io.columns import covariate
from emtools.io.delimited import Delimited
from emtools.io.markers import find_decimal
from emtools.io.olink import is_olink, read_olink
from emtools.io.readers import read_sheet
from emtools.io.sheets import Columns, Numbers

STARRED = re.compile(r"\*\s*([+-]?[\d.,]+(?:[eE][+-]?\d+)?)")
NUMBERED = re.compile(r"completed_([1-9]\d*)(\..+)")


def read_frame(path: Path, missing: Sequence[str] = ()) -> pd.DataFrame:
    """All columns of a table in any format that `read_sheet` knows: numbers as float64, the rest as text.

    Of an AnnData file with the layer `completed` that layer is read. Olink's long format becomes one row a sample, with a
    column for each assay beside those that say one thing of each sample. "*3.5" is the number that `emtools impute` took it
    for.

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
    sheet, content = read_sheet(path, missing)
    if isinstance(content, Annotated) and COMPLETED in layers_of(path):
        sheet, content = read_sheet(path, missing, layer=COMPLETED)
    if is_olink(sheet.header):
        sheet, _ = read_olink(sheet, content, "keep", isinstance(content, Delimited))
    positions = range(len(sheet.header))
    rules = Rules(find_decimal(sheet, list(positions)), tuple(missing))
    return pd.DataFrame({sheet.header[k]: covariate(without_stars(sheet, k), k, "", rules) for k in positions})


def without_stars(sheet: Columns, position: int) -> Columns:
    """The same with numbers behind a star (Luminex: extrapolated) in one column as numbers."""
    column = sheet.cells[position]
    if isinstance(column, Numbers) or not any(cell.startswith("*") for cell in column):
        return sheet
    cells = list(sheet.cells)
    cells[position] = [STARRED.sub(r"\1", cell) for cell in column]
    return replace(sheet, cells=cells)


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
