"""Tables of features in (CSV, TSV, Parquet, Excel, AnnData), and the class of each row out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emtools.errors import InputError
from emtools.io.cells import (
    Labels,
    annotate,
    labels_of,
    load_anndata,
    require_distinct,
    require_finite,
    require_names,
    require_varying,
    write_anndata,
)
from emtools.io.h5ad import listed
from emtools.io.objects import PLACE
from emtools.io.readers import read_sheet
from emtools.io.unit_table import Floats, is_table, read_unit_table
from emtools.kernels.collinear import dependent_columns
from emtools.kernels.feature_scale import feature_scales

if TYPE_CHECKING:  # to load them takes longer than to find that a file cannot be read
    import anndata
    import pandas as pd

# Columns of a table of objects that say where an object lies, how it is turned and how sure the segmentation was.
NOT_SHAPE = (*PLACE, "orientation", "mean_posterior")
OBJECTS = "equivalent_diameter_area"
LEAST_ROWS = 3


@dataclass(frozen=True)
class FeatureTable:
    """Features, one row per object, nucleus, cell or patient.

    Parameters
    ----------
    path : Path
        File.
    rows : tuple of str
        Names of the rows.
    features : tuple of str
        Columns that are modelled.
    values : ndarray, shape (n, d)
        Their values, in the units of the table.
    truth : Labels or None
        Known classes.
    adata : AnnData or None
        Everything that came with the file, where it is AnnData.
    notices : tuple of str
        What the reader should know, without final full stops.
    """

    path: Path
    rows: tuple[str, ...]
    features: tuple[str, ...]
    values: Floats
    truth: Labels | None
    adata: anndata.AnnData | None
    notices: tuple[str, ...] = ()


def read_features(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    id_column: str | None = None,
    layer: str | None = None,
    truth: str | None = None,
) -> FeatureTable:
    """Read a table of features.

    Of a table of objects that `emtools segment` wrote, the columns of place, orientation and mean posterior are left
    out unless they are named; so are features that are an exact function of others.

    Parameters
    ----------
    path : Path
        .csv, .tsv, .parquet, .xlsx or .h5ad.
    columns : sequence of str, optional
        Features; by default every numeric column, or every variable, without another role.
    id_column : str, optional
        Of a table: the column that names the rows.
    layer : str, optional
        Of an AnnData file: in place of X.
    truth : str, optional
        Column of known classes.

    Returns
    -------
    FeatureTable

    Raises
    ------
    InputError
        If the file cannot be read, a column is absent, constant, has gaps or repeats others, or there are too few rows.
    """
    path = Path(path)
    require_distinct("--columns", columns or ())
    notices: list[str] = []
    if is_table(path):
        if layer is not None:
            raise InputError("--layer", "given with a table", "an AnnData file", "leave it out")
        adata, chosen = None, columns
        if columns is None:
            header = read_sheet(path)[0].header
            if OBJECTS in header:
                left = (*NOT_SHAPE, id_column, truth)
                chosen = [name for name in header if name not in left]
                id_column = id_column or ("label" if "label" in header else None)
                notices.append(left_out(header))
        table = read_unit_table(path, id_column=id_column, columns=chosen, truth=truth)
        features, rows = table.cells.dimensions, table.cells.names
        values, labels = np.asarray(table.adata.X, dtype=np.float64), table.cells.truth
    else:
        if id_column is not None:
            raise InputError("--id", "given with an AnnData file", "a table (.csv, .tsv)", "leave it out")
        adata = load_anndata(path)
        require_names(adata, str(path))
        features = tuple(str(name) for name in adata.var_names)
        if columns is None and OBJECTS in features:
            columns_kept: Sequence[str] = [name for name in features if name not in NOT_SHAPE]
            notices.append(left_out(features))
        else:
            columns_kept = features if columns is None else columns
        absent = [name for name in columns_kept if name not in features]
        if absent:
            raise InputError(
                f"{path}, var",
                f"no variable {listed(absent)}",
                f"names such as {listed(features[:6])}",
                "check --columns",
            )
        if layer is not None and layer not in adata.layers:
            raise InputError(str(path), f"no layer {layer!r}", f"one of: {listed(list(adata.layers))}", "check --layer")
        held = adata[:, list(columns_kept)]
        matrix = held.X if layer is None else held.layers[layer]
        if matrix is None:
            raise InputError(str(path), "there is no X", "X, or a layer", "name one with --layer")
        values = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
        features, rows = tuple(columns_kept), tuple(str(name) for name in adata.obs_names)
        labels = labels_of(adata, truth, "--truth", str(path))
        require_finite(str(path), values, rows, features)
        require_varying(str(path), values, features)
    if len(rows) < LEAST_ROWS:
        raise InputError(str(path), f"{len(rows)} rows", f"at least {LEAST_ROWS}", "use a larger table")
    kept, repeated = independent(values)
    if repeated and columns is not None:
        raise InputError(
            str(path),
            f"columns {listed([features[i] for i in repeated])} are exact functions of the others",
            "columns that differ",
            "leave them out of --columns",
        )
    if repeated:
        notices.append(f"exact functions of other features, and left out: {listed([features[i] for i in repeated])}")
    return FeatureTable(
        path, tuple(rows), tuple(features[i] for i in kept), values[:, kept], labels, adata, tuple(notices)
    )


def left_out(names: Sequence[str]) -> str:
    """The notice on a table of objects."""
    found = [name for name in NOT_SHAPE if name in names]
    return f"a table of objects: place, orientation and mean posterior are left out ({listed(found)}); --columns names others"


def independent(values: Floats) -> tuple[list[int], list[int]]:
    """Columns to keep, and those that are an exact linear function of others, as they are or in logarithms.

    Of columns that tell the same, the first is kept.
    """
    kept, repeated = list(range(values.shape[1])), []
    scales = feature_scales(values)
    for rows in [scales[1].scaled(values), *(scale.scaled(values) for scale in scales[2:])]:
        while len(kept) > 1:
            found = dependent_columns(rows[:, kept])
            if not found:
                break
            repeated.append(kept.pop(max(found)))
    return kept, sorted(repeated)


def write_classes(table: FeatureTable, shares: Floats, others: pd.DataFrame, folder: Path) -> None:
    """Write classes.csv, and classes.h5ad where the input is AnnData.

    Parameters
    ----------
    table : FeatureTable
        As read.
    shares : ndarray, shape (n, K)
        Posterior probability of each class.
    others : DataFrame, shape (n, m)
        Class of each row by every fit that was made.
    folder : Path
        Where to.
    """
    import pandas as pd

    n_classes = shares.shape[1]
    frame = pd.DataFrame({"row": table.rows, "class": shares.argmax(axis=1) + 1})
    if table.truth is not None:
        known = np.array([*table.truth.names, ""], dtype=object)
        frame["known"] = known[table.truth.codes]
    for k in range(n_classes):
        frame[f"posterior_{k + 1}"] = shares[:, k]
    frame["uncertainty"] = 1.0 - shares.max(axis=1)
    frame = pd.concat([frame, others], axis=1)
    frame.to_csv(folder / "classes.csv", index=False, lineterminator="\n")
    if table.adata is not None:
        classes = [f"class_{k + 1}" for k in range(n_classes)]
        record = {"features": np.array(table.features, dtype=object), "n_classes": n_classes}
        write_anndata(annotate(table.adata, classes, shares, None, record), folder / "classes.h5ad")
