"""Cells (or other units) for a mixture: read the representation, write the AnnData with what was found."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata._io.specs.registry import IORegistryError

from emtools.errors import InputError
from emtools.io.h5ad import column_names, listed, matrix_shape, opened, read_column, read_matrix, read_names
from emtools.kernels.collinear import dependent_columns

Floats = npt.NDArray[np.float64]
EMBEDDINGS = ("X_umap", "X_tsne", "X_draw_graph_fa")
DEFAULT_PCS = 10
NAMEABLE = re.compile(r"[\w.+ -]*\w")


@dataclass(frozen=True)
class Labels:
    """A column that groups the units.

    Parameters
    ----------
    column : str
        Its name.
    codes : ndarray of int, shape (n,)
        Group of each unit, -1 where it is missing.
    names : tuple of str
        Names of the groups; every one occurs.
    """

    column: str
    codes: npt.NDArray[np.intp]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    """What a fit needs of a data set.

    Parameters
    ----------
    path : Path
        File.
    names : tuple of str
        Units, n of them.
    values : ndarray, shape (n, d)
        Representation, in its own units (z-scores for a table).
    dimensions : tuple of str
        Names of its columns, d of them.
    representation : str
        Key of obsm, ``"X"``, or ``"z-scores"`` for a table.
    sample, truth : Labels or None
        Columns named by the reader.
    embedding : ndarray, shape (n, 2), or None
        Where to draw each unit.
    embedding_name : str
        Key of that embedding.
    """

    path: Path
    names: tuple[str, ...]
    values: Floats
    dimensions: tuple[str, ...]
    representation: str
    sample: Labels | None = None
    truth: Labels | None = None
    embedding: Floats | None = None
    embedding_name: str = ""


def read_cells(
    path: Path,
    *,
    representation: str | None = None,
    dimensions: int | None = None,
    columns: Sequence[str] | None = None,
    sample: str | None = None,
    truth: str | None = None,
) -> Cells:
    """Read the representation and the grouping columns of an AnnData file.

    Parameters
    ----------
    path : Path
        AnnData file (.h5ad), of anndata 0.6 or later.
    representation : str, optional
        Key of obsm, or ``"X"``; by default X_pca where it is present, else X.
    dimensions : int, optional
        Use the first so many columns; by default 10 of X_pca, all of another.
    columns : sequence of str, optional
        Variables of X to use; by default all.
    sample, truth : str, optional
        Columns of obs.

    Returns
    -------
    Cells

    Raises
    ------
    InputError
        If the file cannot be read, something named is not in it, names occur twice, there are no cells, or a value is
        not finite.
    """
    with opened(path) as file:
        names = read_names(file["obs"])
        require_units(path, names, "cells")
        require_unique(path, names, "cell")
        genes = read_names(file["var"]) if "var" in file else []
        if not len(genes) or "X" not in file or file["X"].attrs.get("encoding-type") == "null":
            raise InputError(str(path), "there is no expression", "X with at least one variable", "keep X in the file")
        require_unique(path, np.array(genes, dtype=object), "variable")
        key = chosen_key(path, file, representation, columns)
        node = stored(file, key)
        labels = representation_labels(file, key, matrix_shape(node)[1])
        wanted = chosen_columns(path, key, labels, columns, dimensions)
        if matrix_shape(node)[0] != len(names):
            raise InputError(f"{path}, {key}", f"{matrix_shape(node)[0]} rows", f"{len(names)}, as in obs")
        values = read_matrix(node, wanted)
        kept = tuple(labels[i] for i in wanted)
        require_finite(f"{path}, {key}", values, names, kept)
        require_varying(f"{path}, {key}", values, kept)
        drawn = next((e for e in EMBEDDINGS if e in obsm_keys(file)), "")
        embedding = read_matrix(stored(file, drawn), np.arange(2)) if drawn else None
        if embedding is not None and not np.isfinite(embedding).all():
            drawn, embedding = "", None
        return Cells(
            path=Path(path),
            names=tuple(names),
            values=values,
            dimensions=kept,
            representation=key,
            sample=read_labels(path, file, sample, "--sample"),
            truth=read_labels(path, file, truth, "--truth"),
            embedding=embedding,
            embedding_name=drawn,
        )


def obsm_keys(file: h5py.File) -> list[str]:
    """Keys of obsm."""
    if "obsm" not in file:
        return []
    node = file["obsm"]
    return list(node.dtype.names) if isinstance(node, h5py.Dataset) else list(node)


def stored(file: h5py.File, key: str) -> Any:
    """The matrix of a representation, on disk (in memory where obsm is one compound data set, as of anndata 0.6)."""
    return file["X"] if key == "X" else file["obsm"][key]


def chosen_key(path: Path, file: h5py.File, representation: str | None, columns: Sequence[str] | None) -> str:
    """Key of the representation.

    Raises
    ------
    InputError
        If it is not there.
    """
    keys = obsm_keys(file)
    key = representation or ("X_pca" if "X_pca" in keys and columns is None else "X")
    if key != "X" and key not in keys:
        raise InputError(
            f"{path}, obsm",
            f"no key {key!r}",
            f"one of: {listed(keys)}; or X",
            "name one of them with --representation",
        )
    if columns is not None and key != "X":
        raise InputError("--columns", f"given with --representation {key}", "variables of X", "leave one of them out")
    return key


def representation_labels(file: h5py.File, key: str, width: int) -> list[str]:
    """Names of the columns of a representation: genes of X, PC1, PC2, … of X_pca, KEY1, KEY2, … of others."""
    if key == "X":
        return [str(name) for name in read_names(file["var"])]
    stem = "PC" if key == "X_pca" else f"{key.removeprefix('X_')}"
    return [f"{stem}{i + 1}" for i in range(width)]


def chosen_columns(
    path: Path, key: str, labels: Sequence[str], columns: Sequence[str] | None, dimensions: int | None
) -> npt.NDArray[np.intp]:
    """Positions of the columns to use.

    Raises
    ------
    InputError
        If a named one is absent or named twice, or there are fewer than asked for.
    """
    positions = {label: i for i, label in enumerate(labels)}
    if columns is not None:
        absent = [name for name in columns if name not in positions]
        if absent:
            raise InputError(
                f"{path}, var",
                f"no variable {listed(absent)}",
                f"names such as {listed(labels[:6])}",
                "check the spelling in --columns",
            )
        require_distinct("--columns", columns)
        chosen = [positions[name] for name in columns]
    else:
        chosen = list(range(len(labels)))
    if dimensions is not None and dimensions > len(chosen):
        raise InputError(
            f"{path}, {key}", f"{len(chosen)} columns", f"--dimensions {dimensions} of them", "ask for fewer"
        )
    if not chosen:
        raise InputError(f"{path}, {key}", "no columns", "at least one")
    limit = dimensions or (DEFAULT_PCS if key == "X_pca" else len(chosen))
    return np.array(chosen[:limit], dtype=np.intp)


def read_labels(path: Path, file: h5py.File, column: str | None, option: str) -> Labels | None:
    """A grouping column of obs, or None where none is named."""
    if column is None:
        return None
    names = column_names(file["obs"])
    if column not in names:
        raise InputError(
            f"{path}, obs", f"no column {column!r}", f"one of: {listed(names)}", f"name one of them with {option}"
        )
    values, categories = read_column(file, column)
    if categories is not None:
        values = np.array([categories[c] if c >= 0 else None for c in values.tolist()], dtype=object)
        return make_labels(path, column, values, option, order=categories)
    return make_labels(path, column, values, option)


def make_labels(
    path: Path, column: str, values: Sequence[Any] | npt.NDArray[Any], option: str, order: Sequence[str] | None = None
) -> Labels:
    """Groups of a column of any kind; blanks, None and NaN are missing.

    Raises
    ------
    InputError
        If every value is missing, or no two units share one.
    """
    texts = [as_text(v) for v in np.asarray(values, dtype=object).tolist()]
    present = {t for t in texts if t is not None}
    if not present:
        raise InputError(
            f"{path}, column {column!r}", "every value is missing", "a group for each unit", f"change {option}"
        )
    if len(present) == len(texts) and len(texts) > 1:
        raise InputError(
            f"{path}, column {column!r}",
            f"{len(texts)} different values for {len(texts)} units",
            "a column that groups them",
            f"name another with {option}",
        )
    names = [c for c in order if c in present] if order is not None else sorted(present, key=natural_order)
    codes = {name: i for i, name in enumerate(names)}
    return Labels(column, np.array([-1 if t is None else codes[t] for t in texts], dtype=np.intp), tuple(names))


def as_text(value: Any) -> str | None:
    """A value as the name of its group; whole numbers without a decimal point."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)) or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def natural_order(text: str) -> tuple[Any, ...]:
    """Sort key in which type_2 comes before type_10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)


def require_units(path: Path, names: Sequence[str] | npt.NDArray[Any], what: str) -> None:
    """Raise InputError where there are none."""
    if len(names) == 0:
        raise InputError(str(path), f"no {what}", "at least two", "check the filter that made the file")


def require_unique(path: Path, names: npt.NDArray[Any], what: str) -> None:
    """Raise InputError where a name occurs twice."""
    unique, counts = np.unique(names.astype(str), return_counts=True)
    twice = unique[counts > 1]
    if len(twice):
        axis = {"cell": "obs", "variable": "var"}.get(what)
        raise InputError(
            str(path),
            f"{len(twice)} {what} names occur more than once ({listed(twice[:3])})",
            "",
            f"run adata.{axis}_names_make_unique() and save again" if axis else "make them unique",
        )


def require_distinct(where: str, names: Sequence[str]) -> None:
    """Raise InputError where an option names something twice."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(where, f"{listed(twice)} named twice", "", "name each once")


def require_finite(where: str, values: Floats, names: Sequence[str] | npt.NDArray[Any], columns: Sequence[str]) -> None:
    """Raise InputError where a value is NaN or infinite, naming the first."""
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            where,
            f"{int(bad.sum())} values are missing or infinite, the first in {names[row]}, {columns[column]}",
            "finite numbers",
            "drop these rows or columns, or fill the gaps first (emtools impute)",
        )


def require_varying(where: str, values: Floats, columns: Sequence[str]) -> None:
    """Raise InputError where a column has one value only."""
    flat = [name for name, extent in zip(columns, np.ptp(values, axis=0), strict=True) if not extent > 0]
    if flat:
        raise InputError(where, f"{listed(flat)} is constant", "columns that vary", "leave it out")


def require_independent(cells: Cells, pairs_only: bool) -> None:
    """Raise InputError where a column is an exact linear function of others.

    Parameters
    ----------
    cells : Cells
        Data.
    pairs_only : bool
        Look only for columns that repeat one other column.
    """
    found = dependent_columns(cells.values, pairs_only)
    if found:
        raise InputError(
            f"{cells.path}, {cells.representation}",
            f"columns {listed([cells.dimensions[i] for i in found])} carry the same information (one is an exact linear "
            "function of the others)",
            "columns that differ",
            "leave one of them out with --columns, or use fewer --dimensions",
        )


def looks_like_counts(cells: Cells) -> bool:
    """Whether the values are expression that was never normalised: whole numbers of X, none below zero."""
    values = cells.values
    return cells.representation == "X" and bool((values >= 0).all()) and bool((values == np.floor(values)).all())


def require_size(cells: Cells, n_components: int, n_free: int, most: float = 1.0) -> None:
    """Raise InputError where a mixture cannot be told from the data.

    Parameters
    ----------
    cells : Cells
        Data.
    n_components : int
        Types asked for.
    n_free : int
        Free parameters of the mixture.
    most : float
        Free parameters that a value may carry.
    """
    n, d = cells.values.shape
    if n_components > n:
        raise InputError(
            str(cells.path), f"{n} units for {n_components} types", "more units than types", "lower --components"
        )
    distinct = len(np.unique(cells.values, axis=0)) if n_components > 1 else 1
    if n_components > distinct:
        raise InputError(
            str(cells.path), f"{distinct} distinct units for {n_components} types", "", "lower --components"
        )
    if n_free > most * n * d:
        raise InputError(
            f"{cells.path}, {cells.representation}",
            f"{n_free} free parameters for {n} × {d} values",
            "fewer parameters than values" if most == 1.0 else f"at least {1 / most:.0f} values for each parameter",
            "lower --dimensions or --components, choose --columns, or use --family tied or diagonal",
        )


def require_prefix(prefix: str) -> None:
    """Raise InputError where a prefix cannot be part of a key of an AnnData file."""
    if not NAMEABLE.fullmatch(prefix):
        raise InputError(
            "--prefix", repr(prefix), "letters, digits, '_', '.', '+', '-' (no '/')", "choose another word"
        )


def load_anndata(path: Path) -> anndata.AnnData:
    """The whole file, for writing it again.

    Raises
    ------
    InputError
        If anndata cannot read it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return anndata.read_h5ad(path)
        except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, IORegistryError) as error:
            raise InputError(
                str(path),
                f"anndata cannot read it ({str(error).splitlines()[0]})",
                "",
                "write it again with a recent anndata",
            ) from error


def expression_of(adata: anndata.AnnData) -> tuple[Any, str]:
    """Expression of all variables, shape (n, n_vars), dense or CSR, and where it lies.

    ``raw`` where it holds every variable (X is then often scaled), else ``X``.
    """
    raw = adata.raw
    if raw is not None and adata.var_names.isin(raw.var_names).all() and raw.var_names.is_unique:
        return raw[:, adata.var_names].X, "raw"
    return adata.X, "X"


def annotate(
    adata: anndata.AnnData,
    types: Sequence[str],
    responsibilities: Floats,
    profiles: Floats | None,
    record: Mapping[str, Any],
    errors: Floats | None = None,
) -> anndata.AnnData:
    """Put the answer into `adata`, by the names that scverse tools expect.

    Parameters
    ----------
    adata : AnnData
        Input; changed in place.
    types : sequence of str
        Names of the types, K of them.
    responsibilities : ndarray, shape (n, K)
        Posterior probability of each type.
    profiles : ndarray, shape (n_vars, K), or None
        Mean expression.
    record : mapping
        For ``uns['em']``: numbers, text, arrays and mappings of these.
    errors : ndarray, shape (n_vars, K), optional
        Standard errors of the profiles.
    """
    labels = np.array(types, dtype=object)[responsibilities.argmax(axis=1)]
    columns = column_keys(types)
    adata.obs["em_type"] = pd.Categorical(labels, categories=list(types))
    adata.obs["em_uncertainty"] = 1.0 - responsibilities.max(axis=1)
    adata.obsm["em_responsibilities"] = pd.DataFrame(responsibilities, index=adata.obs_names, columns=columns)
    if profiles is not None:
        adata.varm["em_profiles"] = pd.DataFrame(profiles, index=adata.var_names, columns=columns)
    if errors is not None:
        adata.varm["em_profiles_se"] = pd.DataFrame(errors, index=adata.var_names, columns=columns)
    adata.uns["em"] = dict(record)
    adata.uns.pop("em_type_colors", None)
    return adata


def column_keys(types: Sequence[str]) -> list[str]:
    """Names of types as column names that zarr can store: a "/" becomes "|".

    Raises
    ------
    InputError
        If two types get one name.

    Examples
    --------
    >>> column_keys(["CD4+/CD25 T Reg", "B"])
    ['CD4+|CD25 T Reg', 'B']
    """
    keys = [name.replace("/", "|") for name in types]
    if len(set(keys)) < len(keys):
        raise InputError("types", f"names that differ in '/' and '|' only ({listed(types)})", "", "rename one")
    return keys


def cells_of(
    adata: anndata.AnnData,
    representation: str,
    *,
    dimensions: int | None = None,
    columns: Sequence[str] | None = None,
    sample: str | None = None,
    truth: str | None = None,
    where: str = "adata",
) -> Cells:
    """The representation and the grouping columns of an AnnData object, as `read_cells` takes them from a file.

    Raises
    ------
    InputError
        If something named is not in it, names occur twice, there are no cells, or a value is not finite.
    """
    path = Path(where)
    require_units(path, list(adata.obs_names), "cells")
    require_unique(path, np.array(adata.obs_names, dtype=object), "cell")
    require_unique(path, np.array(adata.var_names, dtype=object), "variable")
    if representation != "X" and representation not in adata.obsm:
        keys = listed([str(key) for key in adata.obsm])
        raise InputError(f"{where}, obsm", f"no key {representation!r}", f"one of: {keys}; or X")
    matrix = adata.X if representation == "X" else adata.obsm[representation]
    if matrix is None:
        raise InputError(where, "there is no expression", "X with at least one variable", "keep X")
    if representation == "X":
        labels = [str(name) for name in adata.var_names]
    else:
        stem = "PC" if representation == "X_pca" else representation.removeprefix("X_")
        labels = [f"{stem}{i + 1}" for i in range(matrix.shape[1])]
    wanted = chosen_columns(path, representation, labels, columns, dimensions)
    chosen = (matrix.iloc if isinstance(matrix, pd.DataFrame) else matrix)[:, wanted]
    dense = chosen.toarray() if hasattr(chosen, "toarray") else chosen
    values = np.ascontiguousarray(np.asarray(dense, dtype=np.float64))
    kept = tuple(labels[i] for i in wanted)
    require_finite(f"{where}, {representation}", values, list(adata.obs_names), kept)
    require_varying(f"{where}, {representation}", values, kept)
    return Cells(
        path=path,
        names=tuple(str(name) for name in adata.obs_names),
        values=values,
        dimensions=kept,
        representation=representation,
        sample=labels_of(adata, sample, "sample", where),
        truth=labels_of(adata, truth, "truth", where),
    )


def labels_of(adata: anndata.AnnData, column: str | None, option: str, where: str = "adata") -> Labels | None:
    """A grouping column of obs in memory, or None where none is named.

    Raises
    ------
    InputError
        If it is not there or groups nothing.
    """
    if column is None:
        return None
    if column not in adata.obs:
        names = listed([str(name) for name in adata.obs.columns])
        raise InputError(
            f"{where}, obs", f"no column {column!r}", f"one of: {names}", f"name one of them with {option}"
        )
    series = adata.obs[column]
    order = [str(c) for c in series.cat.categories] if isinstance(series.dtype, pd.CategoricalDtype) else None
    values = np.array([None if pd.isna(v) else v for v in series.tolist()], dtype=object)
    return make_labels(Path(where), column, values, option, order=order)


def write_anndata(adata: anndata.AnnData, path: Path) -> None:
    """Write an AnnData file; the same content gives the same bytes.

    Raises
    ------
    InputError
        If something that came with the input cannot be stored.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adata.write_h5ad(path, compression="gzip")
        except (TypeError, ValueError, NotImplementedError) as error:
            raise InputError(
                path.name,
                f"anndata cannot write what came with the input ({str(error).splitlines()[0]})",
                "",
                "rename or drop that column or key in the input",
            ) from error
