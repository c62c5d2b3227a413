"""AnnData files as they lie on disk, read with h5py alone: one matrix or column at a time, never the whole file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.outputs import require_file
from emtools.io.sniff import HDF5

BLOCK_VALUES = 2**22
SHOWN = 12
CLAIMED = 2**26  # bytes that a dataset may claim, whatever is stored of it
DEFLATED = 1100  # times that deflate shrinks zeros

Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[np.object_]
Stored = h5py.Group | h5py.Dataset | npt.NDArray[Any]


@contextmanager
def opened(path: Path, again: bool = False) -> Iterator[h5py.File]:
    """An AnnData file, open for reading; `again` where the sizes that it claims have been looked at before.

    Raises
    ------
    InputError
        If it is absent, no HDF5, cut off, damaged (also where that shows only while it is read), or no AnnData.
    """
    require_file(path, "single-cell (.h5ad)")
    with open(path, "rb") as raw:
        if raw.read(len(HDF5)) != HDF5:
            raise InputError(
                str(path),
                "the content is not HDF5",
                "an AnnData file (.h5ad)",
                "write it with adata.write_h5ad(), or name a table .csv or .tsv",
            )
    try:
        with h5py.File(path, "r") as file:
            if "obs" not in file or ("X" not in file and "obsm" not in file):
                found = ", ".join(sorted(file)) or "nothing"
                raise InputError(str(path), f"HDF5, but it holds {found}", "an AnnData file with obs and X or obsm")
            if "layers" in file and not isinstance(file["layers"], h5py.Group):
                remedy = "write it again with adata.write_h5ad()"
                raise InputError(str(path), "layers is one array", "matrices with names", remedy)
            if not again:
                require_stored(path, file)
            yield file
    except KeyError as error:
        raise InputError(
            str(path), f"not laid out as AnnData ({error.args[0]})", "", "write it again with adata.write_h5ad()"
        ) from error
    except (TypeError, IndexError, AttributeError) as error:
        got = f"not laid out as AnnData ({str(error)[:80]})"
        raise InputError(str(path), got, "", "write it again with adata.write_h5ad()") from error
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        reason = str(error).split("(")[-1].rstrip(")") or type(error).__name__
        raise InputError(
            str(path), f"the HDF5 file is cut off or damaged ({reason})", "", "copy or write the file again"
        ) from error


def require_stored(path: Path, file: h5py.File) -> None:
    """Raise where a dataset claims far more values than its bytes in the file can hold, before memory is taken for them."""

    def check(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.size:
            claimed, stored = node.size * node.dtype.itemsize, node.id.get_storage_size()
            if claimed > max(CLAIMED, DEFLATED * stored):
                got = f"{name} claims {claimed:,} bytes, of which {stored:,} are stored"
                raise InputError(str(path), got, "values that are there", "write the file again")

    file.visititems(check)


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first few of many."""
    kept = [str(name) for name in names]
    return (
        (", ".join(kept[:SHOWN]) + (f" and {len(kept) - SHOWN} more" if len(kept) > SHOWN else "")) if kept else "none"
    )


def decoded(values: Any) -> Any:
    """Text where HDF5 gave bytes; numbers as they are."""
    array = np.asarray(values)
    if array.dtype.kind in "SO":
        return np.array([v.decode("utf-8") if isinstance(v, bytes) else v for v in array.tolist()], dtype=object)
    return array


def column_names(frame: h5py.Group | h5py.Dataset) -> list[str]:
    """Names of the columns of obs or var, without the index."""
    if isinstance(frame, h5py.Dataset):
        return list(frame.dtype.names)[1:]
    order = frame.attrs.get("column-order")
    index = index_key(frame)
    return (
        [str(c) for c in decoded(order)]
        if order is not None
        else [k for k in frame if k not in (index, "__categories")]
    )


def index_key(frame: h5py.Group) -> str:
    """Key of the index of a group that holds a data frame."""
    key = frame.attrs.get("_index", "index" if "index" in frame else "_index")
    return key.decode() if isinstance(key, bytes) else str(key)


def read_names(frame: h5py.Group | h5py.Dataset) -> Strings:
    """Names along an axis, shape (n,)."""
    if isinstance(frame, h5py.Dataset):
        values = decoded(frame[frame.dtype.names[0]])
    else:
        node = frame[index_key(frame)]
        values = decoded(node["values"][()] if isinstance(node, h5py.Group) else node[()])
    return np.array([str(v) for v in values], dtype=object)


def read_column(file: h5py.File, name: str) -> tuple[Any, list[str] | None]:
    """Column `name` of obs.

    Returns
    -------
    values : ndarray, shape (n,)
        Codes into the categories where there are categories (-1: missing), else the values, None or NaN where missing.
    categories : list of str or None
        Categories in their own order.
    """
    obs = file["obs"]
    if isinstance(obs, h5py.Dataset):
        legacy = f"uns/{name}_categories"
        return decoded(obs[name]), [str(c) for c in decoded(file[legacy][()])] if legacy in file else None
    node = obs[name]
    if isinstance(node, h5py.Group):
        if "codes" in node:
            return node["codes"][()], [str(c) for c in decoded(values_of(node["categories"]))]
        values = decoded(node["values"][()]).astype(object)
        values[node["mask"][()].astype(bool)] = None
        return values, None
    reference = node.attrs.get("categories")
    if reference is not None:
        return node[()], [str(c) for c in decoded(file[reference][()])]
    return decoded(node[()]), None


def values_of(node: h5py.Group | h5py.Dataset) -> Any:
    """Values of an array, nullable or not."""
    return node["values"][()] if isinstance(node, h5py.Group) else node[()]


def place_of(node: h5py.Group) -> str:
    """File and name of a part of it, for messages."""
    return f"{node.file.filename}, {node.name.strip('/')}"


def matrix_shape(node: Stored) -> tuple[int, int]:
    """Rows and columns of a matrix, dense, sparse or a data frame."""
    if not isinstance(node, h5py.Group):
        return (int(node.shape[0]), int(np.prod(node.shape[1:], dtype=np.int64)))
    if "indptr" in node:
        n, d = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
        return int(n), int(d)
    return len(read_names(node)), len(column_names(node))


def require_sparse(place: str, indptr: Any, indices: Any, data: Any, shape: tuple[int, int]) -> None:
    """Raise where compressed rows (or columns) point beyond the matrix: scipy would follow them out of its memory.

    Parameters
    ----------
    place : str
        Of the matrix, for the message.
    indptr, indices, data : ndarray
        Parts of the matrix.
    shape : (int, int)
        Number of compressed rows, and of their columns.
    """
    require_parts(place, indptr, indices, data, shape[0])
    used = indices[: int(indptr[-1])]  # some writers leave room behind
    if len(used) and not (0 <= int(used.min()) <= int(used.max()) < shape[1]):
        raise scattered(place)


def require_parts(place: str, indptr: Any, indices: Any, data: Any, n: int) -> None:
    """The same but for the indices themselves, which may still lie in the file."""
    for name, part in (("indptr", indptr), ("indices", indices)):
        if part.dtype.kind not in "iu":
            got = f"{name} of the sparse matrix in {part.dtype}"
            raise InputError(place, got, "integers", f"write {name} as int64")
        if len(part.shape) != 1:
            raise scattered(place)
    bounds = np.asarray(indptr, dtype=np.int64)
    if data.dtype == np.float16:
        raise InputError(place, "a sparse matrix of float16", "float32 or float64", "write it as one of these")
    if data.shape != indices.shape or data.dtype.kind not in "biuf" or len(bounds) != n + 1:
        raise scattered(place)
    if bounds[0] != 0 or bounds[-1] > len(indices) or (np.diff(bounds) < 0).any():
        raise scattered(place)


def places(part: Any) -> npt.NDArray[np.signedinteger[Any]]:
    """Indices of a sparse matrix in integers that scipy computes with: it reads others and fails later."""
    return part if part.dtype in (np.int32, np.int64) else part.astype(np.int64)


def scattered(place: str) -> InputError:
    """What to say of a sparse matrix that is none."""
    return InputError(place, "the parts of the sparse matrix do not belong together", "", "write the file again")


def read_matrix(node: Stored, columns: npt.NDArray[np.intp]) -> Floats:
    """Some columns of a matrix (dense, CSR, CSC or a data frame) in float64, shape (n, len(columns)).

    Only a block of rows is in memory beside the result.
    """
    n, d = matrix_shape(node)
    result = np.zeros((n, len(columns)))
    step = max(1, BLOCK_VALUES // max(d, 1))
    if not isinstance(node, h5py.Group):
        if node.ndim == 1:
            return np.asarray(node[()], dtype=np.float64)[:, None][:, columns]
        width = int(columns.max(initial=-1)) + 1
        for start in range(0, n, step):
            with np.errstate(invalid="ignore"):  # a NaN of any kind
                result[start : start + step] = node[start : start + step, :width][:, columns]
    elif "indptr" not in node:
        names = column_names(node)
        for position, column in enumerate(columns):
            result[:, position] = values_of(node[names[column]])
    elif str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format"))).startswith("csc"):
        indptr = node["indptr"][()]
        require_sparse(place_of(node), indptr, node["indices"][()], node["data"], (d, n))
        for position, column in enumerate(columns):
            part = slice(int(indptr[column]), int(indptr[column + 1]))
            result[node["indices"][part], position] = node["data"][part]
    else:
        from scipy import sparse

        indptr = node["indptr"][()]
        for start in range(0, n, step):
            bounds = indptr[start : start + step + 1]
            part = slice(int(bounds[0]), int(bounds[-1]))
            shape = (len(bounds) - 1, d)
            parts = (node["data"][part], node["indices"][part], bounds - bounds[0])
            require_sparse(place_of(node), parts[2], parts[1], parts[0], shape)
            block = sparse.csr_matrix((parts[0], places(parts[1]), places(parts[2])), shape=shape)
            result[start : start + step] = block[:, columns].toarray()
    return result
