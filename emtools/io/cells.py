"""Cells (or other units) for a mixture: read the representation, write the AnnData with what was found."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.h5ad import DEFLATED, listed, opened, places, require_sparse
from emtools.kernels.collinear import dependent_columns

if TYPE_CHECKING:  # to load them takes longer than to find that a file cannot be read
    import anndata

Floats = npt.NDArray[np.float64]
EMBEDDINGS = ("X_umap", "X_tsne", "X_draw_graph_fa")
DEFAULT_PCS = 10
NAMEABLE = re.compile(r"[\w.+ -]*\w")

# What anndata raises for a file that it cannot make sense of.
READING = (
    OSError, KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, MemoryError,
    zlib.error, SystemError,  # the last of Blosc, of a chunk whose head claims a size below zero
)  # fmt: skip
ABSENT = ("", "nan", "NaN", "NA", "<NA>")  # the last are what pandas and R make of a missing label as text
EMPTY = 2**32  # bytes that an array of a zarr store may claim, whatever is stored: chunks of zeros are not


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
    made : str
        How the representation was made here; empty where the file has it.
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
    made: str = ""


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


def make_labels(
    path: Path, column: str, values: Sequence[Any] | npt.NDArray[Any], option: str, order: Sequence[str] | None = None
) -> Labels:
    """Groups of a column of any kind; blanks, None, NaN and these as words (`ABSENT`) are missing.

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
    if (
        value is None
        or type(value).__name__ == "NAType"
        or (isinstance(value, float) and np.isnan(value))
        or (isinstance(value, str) and value.strip() in ABSENT)
    ):
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


def is_zarr(path: Path) -> bool:
    """Whether the name is that of a zarr store."""
    return Path(path).suffix.lower() == ".zarr"


def require_chunks(path: Path) -> None:
    """Raise where an array of a zarr store claims far more bytes than its chunks can hold; what is no store is left to anndata."""
    try:
        import zarr

        members = zarr.open_group(path, mode="r").members(max_depth=None)
        arrays = [(name, node) for name, node in members if isinstance(node, zarr.Array) and node.nbytes > EMPTY]
        sizes = [(name, node.nbytes, node.nbytes_stored()) for name, node in arrays]
    except (*READING, ModuleNotFoundError):
        return
    for name, claimed, stored in sizes:
        if claimed > DEFLATED * stored:
            got = f"{name} claims {claimed:,} bytes, of which {stored:,} are stored"
            raise InputError(str(path), got, "values that are there", "write the store again")


def load_anndata(path: Path) -> anndata.AnnData:
    """The whole file or store, for writing it again.

    Raises
    ------
    InputError
        If it is absent, cut off or damaged, or anndata cannot read it.
    """
    path = Path(path)
    if is_zarr(path):
        if not path.is_dir():
            raise InputError(str(path), "no such store", "a zarr store of AnnData", "check the path")
        require_chunks(path)
    else:
        with opened(path):
            pass
    import anndata
    from anndata._io.specs.registry import IORegistryError
    from scipy import sparse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adata = anndata.read_zarr(path) if is_zarr(path) else anndata.read_h5ad(path)
        except ModuleNotFoundError as absent:
            raise InputError(
                str(path), f"package {absent.name} is absent", "", "pip install 'emtools[zarr]'"
            ) from absent
        except (*READING, IORegistryError) as error:
            raise InputError(
                str(path),
                f"anndata cannot read it ({str(error).splitlines()[0]})",
                "",
                "copy it again, or write it again with a recent anndata",
            ) from error
    matrices = {"X": adata.X, **{f"layers/{name}": matrix for name, matrix in adata.layers.items()}}
    matrices |= {f"obsm/{name}": matrix for name, matrix in adata.obsm.items()}
    if adata.raw is not None:
        matrices["raw/X"] = adata.raw.X
    for name, matrix in matrices.items():
        if sparse.issparse(matrix) and matrix.format in ("csr", "csc"):
            shape = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
            require_sparse(f"{path}, {name}", matrix.indptr, matrix.indices, matrix.data, shape)
            matrix.indptr, matrix.indices = places(matrix.indptr), places(matrix.indices)
    return adata


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
    import pandas as pd

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


def require_names(adata: anndata.AnnData, where: str) -> None:
    """Raise InputError where there are no cells, or names of cells or variables occur twice."""
    path = Path(where)
    require_units(path, list(adata.obs_names), "cells")
    require_unique(path, np.array(adata.obs_names, dtype=object), "cell")
    require_unique(path, np.array(adata.var_names, dtype=object), "variable")


def cells_of(
    adata: anndata.AnnData,
    representation: str,
    *,
    dimensions: int | None = None,
    columns: Sequence[str] | None = None,
    matrix: Any = None,
    where: str = "adata",
) -> Cells:
    """The representation of an AnnData object.

    Parameters
    ----------
    adata : AnnData
        Cells.
    representation : str
        Key of obsm, or ``"X"``.
    dimensions : int, optional
        Use the first so many columns; by default 10 of X_pca, all of another.
    columns : sequence of str, optional
        Variables of X to use; by default all.
    matrix : matrix, shape (n, n_vars), optional
        What stands for X.
    where : str
        Name of the data for messages.

    Raises
    ------
    InputError
        If something named is not in it, or a value is not finite.
    """
    path = Path(where)
    if representation != "X" and representation not in adata.obsm:
        keys = listed([str(key) for key in adata.obsm])
        raise InputError(f"{where}, obsm", f"no key {representation!r}", f"one of: {keys}; or X")
    if representation != "X":
        matrix = adata.obsm[representation]
    elif matrix is None:
        matrix = adata.X
    if representation == "X":
        labels = [str(name) for name in adata.var_names]
    else:
        stem = "PC" if representation == "X_pca" else representation.removeprefix("X_")
        labels = [f"{stem}{i + 1}" for i in range(matrix.shape[1])]
    wanted = chosen_columns(path, representation, labels, columns, dimensions)
    chosen = getattr(matrix, "iloc", matrix)[:, wanted]
    chosen = chosen.compute() if hasattr(chosen, "compute") else chosen
    dense = chosen.toarray() if hasattr(chosen, "toarray") else chosen
    try:
        values = np.ascontiguousarray(np.asarray(dense, dtype=np.float64))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where}, {representation}", "does not hold numbers", "numbers", "name another one"
        ) from error
    kept = tuple(labels[i] for i in wanted)
    require_finite(f"{where}, {representation}", values, list(adata.obs_names), kept)
    require_varying(f"{where}, {representation}", values, kept)
    drawn, embedding = embedding_of(adata)
    return Cells(
        path=path,
        names=tuple(str(name) for name in adata.obs_names),
        values=values,
        dimensions=kept,
        representation=representation,
        embedding=embedding,
        embedding_name=drawn,
    )


def embedding_of(adata: anndata.AnnData) -> tuple[str, Floats | None]:
    """Key of the first of `EMBEDDINGS` that is there and finite, and its two columns."""
    for key in EMBEDDINGS:
        if key in adata.obsm and adata.obsm[key].shape[1] > 1 and np.asarray(adata.obsm[key]).dtype.kind in "fiu":
            points = np.asarray(adata.obsm[key], dtype=np.float64)[:, :2]
            if np.isfinite(points).all():
                return key, points
    return "", None


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
    import pandas as pd

    series = adata.obs[column]
    order = None
    if isinstance(series.dtype, pd.CategoricalDtype):
        order = [text for text in map(as_text, series.cat.categories.tolist()) if text is not None]
    values = np.array([None if pd.isna(v) else v for v in series.tolist()], dtype=object)
    return make_labels(Path(where), column, values, option, order=order)


def write_anndata(adata: anndata.AnnData, path: Path) -> None:
    """Write an AnnData file, or a store where the name ends in .zarr; the same content gives the same bytes.

    Raises
    ------
    InputError
        If something that came with the input cannot be stored.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if is_zarr(path):
                adata.write_zarr(path)
            else:
                adata.write_h5ad(path, compression="gzip")
        except (TypeError, ValueError, NotImplementedError) as error:
            raise InputError(
                path.name,
                f"anndata cannot write what came with the input ({str(error).splitlines()[0]})",
                "",
                "rename or drop that column or key in the input",
            ) from error
