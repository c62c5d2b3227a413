"""A table with one row per unit (a patient, a well) as input of a mixture, and the AnnData that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.cell_text import is_missing
from emtools.io.cells import Cells, make_labels, require_distinct, require_finite
from emtools.io.delimited import Delimited
from emtools.io.h5ad import listed
from emtools.io.markers import find_decimal, marker_values
from emtools.io.readers import EXCEL, OLD_SHEETS, PARQUET, read_sheet
from emtools.io.sheets import Columns, find_column, row_names
from emtools.io.sniff import TEXT, bare_suffix

if TYPE_CHECKING:  # to load them takes longer than to find that a file cannot be read
    import anndata
    import pandas as pd

Floats = npt.NDArray[np.float64]
RESERVED = ("_index",)


@dataclass(frozen=True)
class UnitTable:
    """A table, ready for a mixture.

    Parameters
    ----------
    cells : Cells
        Standardised columns and what goes with them.
    adata : AnnData
        X: the columns in their own units; obs: all other columns; obsm X_scaled: as modelled.
    modelled : ndarray, shape (n, d)
        The columns, logarithms taken where asked for.
    logged : ndarray of bool, shape (d,)
        Where they were.
    """

    cells: Cells
    adata: anndata.AnnData
    modelled: Floats
    logged: npt.NDArray[np.bool_]

    def in_units(self, means: Floats) -> Floats:
        """Means of modelled columns, shape (d, K), in the units of the table; geometric where logged."""
        values = means.copy()
        values[self.logged] = np.exp(means[self.logged])
        return values


def is_table(path: Path) -> bool:
    """Whether the name is that of a table (also of a kind that the reader will refuse)."""
    return bare_suffix(path) in (*TEXT, *PARQUET, *EXCEL, *OLD_SHEETS)


def read_unit_table(
    path: Path,
    *,
    id_column: str | None = None,
    columns: Sequence[str] | None = None,
    log: Sequence[str] = (),
    sample: str | None = None,
    truth: str | None = None,
) -> UnitTable:
    """Read a table, standardise the columns to model, and put everything into an AnnData.

    Parameters
    ----------
    path : Path
        Table as `emtools impute` reads it.
    id_column : str, optional
        Column that names the rows; by default the first where its values are distinct and it is not modelled.
    columns : sequence of str, optional
        Columns to model; by default every numeric one that has no other role.
    log : sequence of str
        Modelled columns to take logarithms of.
    sample, truth : str, optional
        Columns that group the rows.

    Returns
    -------
    UnitTable

    Raises
    ------
    InputError
        If a column is absent, not numeric, constant, has gaps, or is not above 0 where logarithms are taken.
    """
    sheet, content = read_sheet(Path(path))
    require_distinct("--columns", columns or ())
    for option, named in (("--columns", columns or ()), ("--log", log), ("--sample", (sample,)), ("--truth", (truth,))):
        for name in named:
            if name is not None:
                find_column(sheet, name, option)
    id_column = id_column or first_id(sheet, (*(columns or ()), *log, sample, truth))
    if id_column in (columns or ()):
        raise InputError("--columns", f"{id_column!r} names the rows (--id)", "columns to model", "take it out")
    names = np.array(row_names(sheet, id_column), dtype=object)
    asked = columns is not None
    roles = {id_column, sample, truth}
    places = [
        place for place, name in enumerate(sheet.header) if (name in columns if columns else name and name not in roles)
    ]
    decimal = find_decimal(sheet, places) if isinstance(content, Delimited) else "."
    arrays = {sheet.header[place]: marker_values(sheet, place, decimal, asked) for place in places}
    numbers = {name: array for name, array in arrays.items() if array is not None}
    if not numbers:
        raise InputError(str(path), "no numeric column", "at least one", "name columns with --columns")
    chosen = list(columns or numbers)
    stray = [name for name in log if name not in chosen]
    if stray:
        raise InputError("--log", f"{listed(stray)} is not among the modelled columns", "", "add it to --columns")
    values = np.column_stack([numbers[name] for name in chosen])
    require_finite(str(path), values, names, chosen)
    logged = np.array([name in log for name in chosen])
    low = [name for name, flag, column in zip(chosen, logged, values.T, strict=True) if flag and (column <= 0).any()]
    if low:
        raise InputError(
            f"{path}, column {low[0]!r}", "a value is not above 0", "positive values for --log", "leave it out"
        )
    modelled = values.copy()
    modelled[:, logged] = np.log(values[:, logged])
    scaled = (modelled - modelled.mean(axis=0)) / modelled.std(axis=0)
    cells = Cells(
        path=Path(path),
        names=tuple(names),
        values=scaled,
        dimensions=tuple(chosen),
        representation="z-scores",
        sample=None if sample is None else make_labels(path, sample, column_values(sheet, sample), "--sample"),
        truth=None if truth is None else make_labels(path, truth, column_values(sheet, truth), "--truth"),
    )
    return UnitTable(cells, as_anndata(sheet, names, chosen, values, scaled), modelled, logged)


def first_id(sheet: Columns, taken: Sequence[str | None]) -> str | None:
    """The first column where it names every row and has no other role."""
    cells = sheet.cells[0]
    free = sheet.header[0] not in taken
    return sheet.header[0] if free and all(cells) and len(set(cells)) == len(cells) else None


def column_values(sheet: Columns, name: str) -> pd.Series:
    """A column that is not modelled: numbers where all are, else text; NaN or None where missing."""
    import pandas as pd

    cells = sheet.cells[sheet.header.index(name)]
    held = pd.Series([None if is_missing(cell, sheet.codes) else cell for cell in cells], dtype=object)
    numbers = pd.to_numeric(held, errors="coerce")
    return numbers.astype(np.float64) if numbers.notna().any() and (numbers.notna() | held.isna()).all() else held


def as_anndata(
    sheet: Columns, names: npt.NDArray[np.object_], chosen: Sequence[str], values: Floats, scaled: Floats
) -> anndata.AnnData:
    """The table as AnnData; a '/' in the name of an obs column, which HDF5 cannot hold, becomes '_'."""
    import anndata
    import pandas as pd

    obs = pd.DataFrame(index=pd.Index(names.astype(str)))
    for name in sheet.header:
        if name in chosen:
            continue
        key = name.replace("/", "_") or "unnamed"
        while key in obs.columns or key in RESERVED:
            key += "_"
        column = column_values(sheet, name)
        obs[key] = column.to_numpy() if column.dtype != object else pd.Categorical(column)
    adata = anndata.AnnData(X=values, obs=obs, var=pd.DataFrame(index=pd.Index(list(chosen))))
    adata.obsm["X_scaled"] = scaled
    return adata
