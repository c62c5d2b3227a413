"""AnnData files as tables of markers: rows are observations, markers variables, covariates columns of obs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.h5ad import column_names, listed, matrix_shape, opened, read_column, read_matrix, read_names, values_of
from emtools.io.sheets import Columns, Numbered, Numbers

UNITS = ("unit", "units")
COMPLETED = "completed"  # layer of the table without gaps

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Annotated:
    """An AnnData file that was read as a table.

    Parameters
    ----------
    path : Path
        File.
    layer : str or None
        Layer that was read; None for X.
    first : int
        Place of the first variable among the columns.
    """

    path: Path
    layer: str | None
    first: int


def read_annotated(path: Path, layer: str | None, codes: tuple[str, ...]) -> tuple[Columns, Annotated]:
    """Columns of obs, then variables of X or a layer; NaN is missing, a zero is a zero.

    Parameters
    ----------
    path : Path
        .h5ad.
    layer : str, optional
        Layer; X by default.
    codes : tuple of str
        Codes for a missing value.

    Raises
    ------
    InputError
        If the file cannot be read, the layer is absent, or names occur twice.
    """
    with opened(path) as file:
        rows, variables = read_names(file["obs"]), read_names(file["var"])
        for names, axis in ((rows, "obs"), (variables, "var")):
            twice = repeated(names)
            if twice:
                raise InputError(
                    str(path),
                    f"{len(twice)} names of {axis} occur more than once ({listed(twice[:3])})",
                    "a name of its own for each",
                    f"run adata.{axis}_names_make_unique() and save again",
                )
        node = matrix_of(path, file, layer)
        if matrix_shape(node) != (len(rows), len(variables)):
            shape = " × ".join(str(size) for size in matrix_shape(node))
            raise InputError(f"{path}, {layer or 'X'}", f"shape {shape}", f"{len(rows)} × {len(variables)}")
        values = read_matrix(node, np.arange(len(variables), dtype=np.intp))
        whole = is_whole(node)
        header: list[str] = []
        cells: list[Sequence[str]] = []
        notices = []
        for name in column_names(file["obs"]):
            if name in variables:
                notices.append(f"the column {name!r} of obs is left alone: a variable has that name")
                continue
            values_of_column, categories = read_column(file, name)
            if np.shape(values_of_column) != (len(rows),):
                got = f"shape {' × '.join(map(str, np.shape(values_of_column))) or 'of one value'}"
                raise InputError(f"{path}, obs {name!r}", got, f"{len(rows)} values", "write the file again")
            header.append(str(name))
            cells.append(as_cells(values_of_column, categories))
        units = units_of(file, variables)
    first = len(header)
    header += [str(name) for name in variables]
    cells += [Numbers(column, whole) for column in values.T]
    columns = Columns(
        path,
        tuple(header),
        cells,
        Numbered("row ", len(rows)),
        codes,
        candidates=tuple(range(first, len(header))),
        names=tuple(str(name) for name in rows),
        units=units,
        notices=tuple(notices),
    )
    return columns, Annotated(path, layer, first)


def matrix_of(path: Path, file: h5py.File, layer: str | None) -> Any:
    """X or a layer as it lies on disk."""
    layers = sorted(file["layers"]) if "layers" in file else []
    if layer is not None:
        if layer not in layers:
            raise InputError(str(path), f"no layer {layer!r}", f"one of: {listed(layers)}; or X", "check --layer")
        return file["layers"][layer]
    if "X" not in file or str(file["X"].attrs.get("encoding-type")) == "null":
        raise InputError(str(path), "there is no X", f"X, or a layer ({listed(layers)})", "name one with --layer")
    return file["X"]


def layers_of(path: Path) -> list[str]:
    """Names of the layers of a file."""
    with opened(path) as file:
        return sorted(file["layers"]) if "layers" in file else []


def repeated(names: npt.NDArray[Any]) -> list[str]:
    """Names that occur more than once."""
    unique, counts = np.unique(names.astype(str), return_counts=True)
    return [str(name) for name in unique[counts > 1]]


def is_whole(node: Any) -> bool:
    """Whether a matrix holds integers."""
    kind = node["data"].dtype.kind if isinstance(node, h5py.Group) and "data" in node else getattr(node, "dtype", None)
    return (kind if isinstance(kind, str) else getattr(kind, "kind", "f")) in "iu"


def as_cells(values: Any, categories: list[str] | None) -> Sequence[str]:
    """A column of obs as text, or as numbers."""
    if categories is not None:
        return [categories[code] if code >= 0 else "" for code in np.asarray(values).tolist()]
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
        return Numbers(array.astype(np.float64), array.dtype.kind in "iu")
    return ["" if value is None or value != value else str(value) for value in array.tolist()]


def units_of(file: h5py.File, variables: npt.NDArray[Any]) -> dict[str, str]:
    """Units by variable, from a column of var named unit."""
    frame = file["var"]
    for name in column_names(frame):
        if name.lower() not in UNITS:
            continue
        if isinstance(frame, h5py.Dataset):
            texts = [value.decode() if isinstance(value, bytes) else str(value) for value in frame[name]]
        elif isinstance(frame[name], h5py.Group) and "codes" in frame[name]:
            held = values_of(frame[name]["categories"])
            words = [value.decode() if isinstance(value, bytes) else str(value) for value in held]
            texts = [words[code] if code >= 0 else "" for code in frame[name]["codes"][()]]
        else:
            held = values_of(frame[name])
            texts = [value.decode() if isinstance(value, bytes) else str(value) for value in held]
        return {str(variable): text for variable, text in zip(variables, texts, strict=True) if text}
    return {}


def write_annotated(
    source: Annotated,
    positions: Sequence[int],
    gaps: npt.NDArray[np.bool_],
    filled: Floats,
    sd: Floats | None,
    target: Path,
) -> None:
    """The AnnData file with the layers `completed`, `imputed` and `conditional_sd`; X and all else as they were.

    Parameters
    ----------
    source : Annotated
        As read.
    positions : sequence of int
        Place of each marker among the columns.
    gaps : ndarray of bool, shape (n, d)
        Cells that were filled.
    filled, sd : ndarray, shape (n, d)
        Values without gaps, and standard deviations of the filled cells; `sd` may be None.
    target : Path
        File to write.
    """
    from emtools.io.cells import load_anndata, write_anndata

    adata = load_anndata(source.path)
    base = adata.X if source.layer is None else adata.layers[source.layer]
    dense = np.array(base.toarray() if hasattr(base, "toarray") else base)
    completed = dense if dense.dtype.kind == "f" else dense.astype(np.float64)
    flags, spread = np.zeros(dense.shape, dtype=bool), np.full(dense.shape, np.nan)
    for marker, position in enumerate(positions):
        variable, hit = position - source.first, gaps[:, marker]
        completed[hit, variable] = filled[hit, marker]
        flags[:, variable] = hit
        if sd is not None:
            spread[hit, variable] = sd[hit, marker]
    adata.layers[COMPLETED], adata.layers["imputed"] = completed, flags
    if sd is not None:
        adata.layers["conditional_sd"] = spread
    modelled = np.zeros(dense.shape[1], dtype=bool)
    modelled[[position - source.first for position in positions]] = True
    adata.var["em_modelled"], adata.var["em_n_imputed"] = modelled, flags.sum(axis=0)
    write_anndata(adata, target)
