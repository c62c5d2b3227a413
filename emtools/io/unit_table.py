"""A table with one row per unit (a patient, a well) as input of a mixture, and the AnnData that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.errors import InputError
from emtools.io.cells import Cells, make_labels, require_distinct, require_finite, require_unique, require_units
from emtools.io.h5ad import listed
from emtools.io.outputs import require_file

Floats = npt.NDArray[np.float64]
DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}
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
        return np.where(self.logged[:, None], np.exp(means), means)


def is_table(path: Path) -> bool:
    """Whether the name is that of a delimited table."""
    return path.suffix.lower() in DELIMITERS


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
        Delimited text with a header.
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
    frame = read_frame(path)
    require_units(path, list(frame.index), "rows")
    named = [name for name in (id_column, sample, truth, *(columns or ()), *log) if name is not None]
    absent = [name for name in dict.fromkeys(named) if name not in frame.columns]
    if absent:
        raise InputError(
            str(path), f"no column {listed(absent)}", f"columns are {listed(list(frame.columns))}", "check the spelling"
        )
    require_distinct("--columns", columns or ())
    names, id_column = row_names(path, frame, id_column, columns)
    numbers = frame.apply(pd.to_numeric, errors="coerce")
    roles = {id_column, sample, truth}
    gaps = frame.isna()
    if columns is None:
        columns = [
            c for c in frame.columns if c not in roles and (numbers[c].notna() | gaps[c]).all() and numbers[c].any()
        ]
        if not columns:
            raise InputError(str(path), "no numeric column", "at least one", "name columns with --columns")
    chosen = list(columns)
    for name in chosen:
        words = frame[name][numbers[name].isna() & ~gaps[name]]
        if len(words):
            raise InputError(
                f"{path}, column {name!r}", f"{words.iloc[0]!r} is not a number", "numbers", "mend or drop it"
            )
    stray = [name for name in log if name not in chosen]
    if stray:
        raise InputError("--log", f"{listed(stray)} is not among the modelled columns", "", "add it to --columns")
    values = numbers[chosen].to_numpy(dtype=np.float64)
    require_finite(str(path), values, names, chosen)
    logged = np.array([name in log for name in chosen])
    low = [name for name, flag, column in zip(chosen, logged, values.T, strict=True) if flag and (column <= 0).any()]
    if low:
        raise InputError(
            f"{path}, column {low[0]!r}", "a value is not above 0", "positive values for --log", "leave it out"
        )
    modelled = values.copy()
    modelled[:, logged] = np.log(values[:, logged])
    spread = modelled.std(axis=0)
    flat = [name for name, sd in zip(chosen, spread, strict=True) if not sd > 0]
    if flat:
        raise InputError(str(path), f"{listed(flat)} is constant", "columns that vary", "leave it out with --columns")
    scaled = (modelled - modelled.mean(axis=0)) / spread
    cells = Cells(
        path=Path(path),
        names=tuple(names),
        values=scaled,
        dimensions=tuple(chosen),
        representation="z-scores",
        sample=None if sample is None else make_labels(path, sample, frame[sample], "--sample"),
        truth=None if truth is None else make_labels(path, truth, frame[truth], "--truth"),
    )
    return UnitTable(cells, as_anndata(frame, numbers, names, chosen, values, scaled), modelled, logged)


def read_frame(path: Path) -> pd.DataFrame:
    """All columns as text, blanks and NA as missing."""
    require_file(path, "table")
    try:
        frame = pd.read_csv(path, sep=DELIMITERS[path.suffix.lower()], dtype=str, encoding="utf-8-sig")
    except (pd.errors.ParserError, UnicodeDecodeError, pd.errors.EmptyDataError) as error:
        raise InputError(str(path), f"cannot be read ({error})", "a delimited table", "save it as UTF-8 CSV") from error
    return frame


def row_names(
    path: Path, frame: pd.DataFrame, id_column: str | None, columns: Sequence[str] | None
) -> tuple[npt.NDArray[np.object_], str | None]:
    """Names of the rows and the column they come from, if any."""
    first = str(frame.columns[0])
    if id_column is None and frame[first].notna().all() and frame[first].is_unique and first not in (columns or ()):
        id_column = first
    if id_column is None:
        return np.array([f"row{i + 1}" for i in range(len(frame))], dtype=object), None
    if frame[id_column].isna().any():
        raise InputError(f"{path}, column {id_column!r}", "a name is missing", "a name for each row", "fill it in")
    names = frame[id_column].to_numpy(dtype=object)
    require_unique(path, names, "row")
    return names, id_column


def as_anndata(
    frame: pd.DataFrame,
    numbers: pd.DataFrame,
    names: npt.NDArray[np.object_],
    chosen: Sequence[str],
    values: Floats,
    scaled: Floats,
) -> anndata.AnnData:
    """The table as AnnData; a '/' in the name of an obs column, which HDF5 cannot hold, becomes '_'."""
    obs = pd.DataFrame(index=pd.Index(names.astype(str)))
    for name in frame.columns:
        if name in chosen:
            continue
        key = name.replace("/", "_")
        while key in obs.columns or key in RESERVED:
            key += "_"
        numeric = (numbers[name].notna() | frame[name].isna()).all() and numbers[name].notna().any()
        obs[key] = numbers[name].to_numpy(dtype=np.float64) if numeric else pd.Categorical(frame[name])
    adata = anndata.AnnData(X=values, obs=obs, var=pd.DataFrame(index=pd.Index(list(chosen))))
    adata.obsm["X_scaled"] = scaled
    return adata
