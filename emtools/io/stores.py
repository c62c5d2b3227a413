"""Tables in files that are larger than memory: .npy, Parquet, HDF5, zarr and AnnData, read a piece at a time.

Each opens its file when a piece is read, so that it can be pickled and used in another process.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tokenize import TokenError
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from scipy import sparse

from emtools.engine.chunks import REAL, VALUES_PER_CHUNK
from emtools.engine.tables import even_edges
from emtools.errors import InputError
from emtools.io import h5ad
from emtools.io.outputs import require_file

Array = npt.NDArray[Any]
WIDEST = 2**27  # values of a row: 1 GB
LARGEST = 2**42  # values of a table: 32 TB


def shape_of(where: str, shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, int]:
    """Rows and columns; one dimension is one column.

    Raises
    ------
    InputError
        If it is no table of numbers.
    """
    if len(shape) not in (1, 2) or dtype.kind not in REAL:
        got = f"{dtype} of shape {tuple(shape)}"
        raise InputError(where, got, "a table of real numbers with one unit a row", "save it as float32 or float64")
    n_rows, n_columns = int(shape[0]), int(shape[1]) if len(shape) == 2 else 1
    require_claim(where, n_rows, n_columns)
    return n_rows, n_columns


def require_claim(where: str, n_rows: int, n_columns: int, sparse: bool = False) -> None:
    """Refuse a table that claims more than any disk holds, or rows of which one does not fit in memory; zeros of a sparse one are not stored."""
    if n_columns > WIDEST or (not sparse and n_rows * n_columns > LARGEST):
        got = f"{n_rows:,} x {n_columns:,} values"
        most = f"at most {WIDEST:,} a row" if sparse else f"at most {LARGEST:,}, and {WIDEST:,} a row"
        raise InputError(where, got, most, "check how it was written")


class NpyTable:
    """A .npy file, read at offsets into a fresh buffer: pages of a memory map would stay resident.

    Parameters
    ----------
    path : path
        File.
    chunk_rows : int, optional
        Rows of a piece, for tests.
    """

    def __init__(self, path: Path, chunk_rows: int | None = None) -> None:
        require_file(path, "NumPy (.npy)")
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError, SyntaxError, TokenError) as error:
            got = f"cannot be read as .npy ({str(error).splitlines()[0]})"
            raise InputError(str(path), got, "a whole .npy file of numbers", "copy or save it again") from error
        if not isinstance(mapped, np.memmap):
            raise InputError(str(path), "an archive of arrays", "one array", "save the table with numpy.save")
        self.describe(Path(path), mapped, int(mapped.offset), chunk_rows)

    def describe(self, path: Path, mapped: np.memmap[Any, Any], offset: int, chunk_rows: int | None) -> None:
        """Note where the rows lie."""
        n, d = shape_of(str(path), mapped.shape, mapped.dtype)
        if not mapped.flags.c_contiguous:
            raise InputError(str(path), "not stored row by row", "C order", "save numpy.ascontiguousarray(table)")
        self.path, self.name, self.dtype, self.offset = path.absolute(), str(path), mapped.dtype, offset
        self.n_columns, self.edges = d, even_edges(n, d, chunk_rows=chunk_rows)

    @classmethod
    def of_map(cls, mapped: np.memmap[Any, Any], chunk_rows: int | None = None) -> NpyTable:
        """The rows of a memory map, or of a run of rows of one."""
        root = mapped
        while isinstance(root.base, np.memmap):
            root = root.base
        if root.filename is None:
            raise InputError("memory map", "it has no file", "a memory map of a named file", "give the path instead")
        table = cls.__new__(cls)
        start = mapped.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        table.describe(Path(root.filename), mapped, int(root.offset) + start, chunk_rows)
        return table

    def read(self, index: int) -> Array:
        first, last = int(self.edges[index]), int(self.edges[index + 1])
        values = np.empty((last - first, self.n_columns), dtype=self.dtype)
        view = memoryview(values.view(np.uint8).reshape(-1))  # type: ignore[arg-type]
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset + first * self.n_columns * self.dtype.itemsize)
            filled = 0
            while filled < len(view):
                size = file.readinto(view[filled:])
                if not size:
                    row = first + filled // (self.n_columns * self.dtype.itemsize) + 1
                    raise InputError(self.name, f"the file ends in row {row}", "", "do not change it during a fit")
                filled += size
        return values


class ParquetTable:
    """Columns of a Parquet file: a row group is a piece, or several of equal size that are streamed.

    Parameters
    ----------
    path : path
        File.
    columns : sequence of str, optional
        Numeric columns; all of them by default.
    chunk_rows : int, optional
        Rows of a piece, for tests.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None, chunk_rows: int | None = None) -> None:
        require_file(path, "Parquet")
        self.path, self.name = Path(path).absolute(), str(path)
        with self.opened() as file:
            names = [field.name for field in file.schema_arrow]
            types = {field.name: field.type for field in file.schema_arrow}
            counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        self.columns = tuple(columns) if columns is not None else tuple(types)
        for column in self.columns:
            if column not in types:
                found = h5ad.listed(list(types))
                raise InputError(self.name, f"no column {column!r}", f"one of {found}", "name a column of the file")
            if names.count(column) > 1:
                raise InputError(
                    self.name, f"column {column!r} stands {names.count(column)} times", "once", "rename one"
                )
            if not str(types[column]).startswith(("int", "uint", "float", "double", "halffloat", "bool")):
                got = f"column {column!r} is {types[column]}"
                raise InputError(self.name, got, "numbers", "leave it out of the columns")
        self.n_columns = len(self.columns)
        self.chunk_rows = chunk_rows or max(1, VALUES_PER_CHUNK // max(1, self.n_columns))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        cuts = [np.arange(a, b, self.chunk_rows) for a, b in pairwise(starts)]
        self.groups = np.repeat(np.arange(len(cuts)), [len(cut) for cut in cuts])
        self.edges = np.append(np.concatenate([np.empty(0, dtype=np.int64), *cuts]), starts[-1])
        self.open_at = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "open_at"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, open_at=threading.local())

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file, its failures named."""
        if find_spec("pyarrow") is None:
            raise InputError(self.name, "Parquet needs pyarrow, which is absent", "", "pip install emtools[parquet]")
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self.path, buffer_size=2**20) as file:
                yield file
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            got = f"not Parquet, or cut off ({str(error).splitlines()[0][:80]})"
            raise InputError(self.name, got, "", "copy or write the file again") from error

    def pieces(self, group: int) -> Iterator[Array]:
        """The pieces of a row group, one after another."""
        rows: list[Array] = []
        waiting = 0
        with self.opened() as file:
            batches = file.iter_batches(
                self.chunk_rows, row_groups=[group], columns=list(self.columns), use_threads=False
            )
            for batch in batches:
                parts = [batch.column(name).to_numpy(zero_copy_only=False) for name in self.columns]
                rows.append(np.column_stack([part.astype(np.float64) for part in parts]))
                waiting += len(rows[-1])
                while waiting >= self.chunk_rows:
                    table = np.concatenate(rows) if len(rows) > 1 else rows[0]
                    yield table[: self.chunk_rows]
                    rows = [table[self.chunk_rows :]]
                    waiting -= self.chunk_rows
        if waiting:
            yield np.concatenate(rows)

    def read(self, index: int) -> Array:
        """Piece `index`; cheapest where a thread reads them in order, since a row group is decoded from its start."""
        group, expected, pieces = getattr(self.open_at, "place", (-1, -1, None))
        if expected != index or group != self.groups[index]:
            group = int(self.groups[index])
            pieces = self.pieces(group)
            for _ in range(index - int(np.searchsorted(self.groups, group))):
                next(pieces, None)
        piece: Array | None = next(pieces, None)
        if piece is None or len(piece) != self.edges[index + 1] - self.edges[index]:
            got = f"row group {group} has not as many rows as it claims"
            raise InputError(self.name, got, "", "copy or write the file again")
        self.open_at.place = (group, index + 1, pieces)
        if index + 1 == len(self.groups) or self.groups[index + 1] != group:
            pieces.close()
        return piece


class Hdf5Table:
    """A dataset of an HDF5 file.

    Parameters
    ----------
    path : path
        File.
    key : str, optional
        Dataset; by default the only one.
    chunk_rows : int, optional
        Rows of a piece, for tests.
    """

    def __init__(self, path: Path, key: str | None = None, chunk_rows: int | None = None) -> None:
        require_file(path, "HDF5")
        self.path, self.name = Path(path).absolute(), str(path)
        with self.opened() as file:
            found: list[str] = []
            file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
            if key is None and len(found) == 1:
                key = found[0]
            if key is None or key.strip("/") not in found:
                got = "no dataset is named" if key is None else f"no dataset {key!r}"
                raise InputError(self.name, got, f"one of {h5ad.listed(found)}", "name it with key=")
            self.key, self.name = key, f"{path}, {key}"
            n, self.n_columns = shape_of(self.name, file[key].shape, file[key].dtype)
            stored = (file[key].chunks or (1,))[0]
        self.edges = even_edges(n, self.n_columns, stored, chunk_rows)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file, its failures named."""
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except (OSError, RuntimeError) as error:
            got = f"not HDF5, or cut off ({str(error).split('(')[-1].rstrip(')')})"
            raise InputError(self.name, got, "", "copy or write the file again") from error

    def read(self, index: int) -> Array:
        with self.opened() as file:
            values: Array = file[self.key][self.edges[index] : self.edges[index + 1]]
        return values.reshape(len(values), -1)


class ZarrTable:
    """An array of a zarr store in a folder or .zip file.

    Parameters
    ----------
    path : path
        Store.
    key : str, optional
        Array in a group; by default the store is the array.
    chunk_rows : int, optional
        Rows of a piece, for tests.
    """

    def __init__(self, path: Path, key: str | None = None, chunk_rows: int | None = None) -> None:
        self.path, self.key = Path(path).absolute(), key
        self.name = str(path) if key is None else f"{path}, {key}"
        array = self.opened()
        n, self.n_columns = shape_of(self.name, array.shape, np.dtype(array.dtype))
        self.edges = even_edges(n, self.n_columns, array.chunks[0], chunk_rows)

    def opened(self) -> Any:
        """The array, its failures named."""
        if find_spec("zarr") is None:
            raise InputError(self.name, "zarr is absent", "", "pip install emtools[zarr]")
        import zarr

        if not self.path.exists():
            raise InputError(self.name, "no such file", "a zarr store", "check the path")
        try:
            node = zarr.open(self.path, mode="r", path=self.key or "")
        except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
            raise InputError(self.name, "no zarr array there", "a zarr store", "check the path and key=") from error
        if not isinstance(node, zarr.Array):
            got = f"a group that holds {h5ad.listed(sorted(node.array_keys()))}"
            raise InputError(self.name, got, "an array", "name it with key=")
        return node

    def read(self, index: int) -> Array:
        try:
            values = np.asarray(self.opened()[int(self.edges[index]) : int(self.edges[index + 1])])
        except (
            ValueError,
            OSError,
            RuntimeError,
            TypeError,
            ArithmeticError,
            zlib.error,
            EOFError,
            SystemError,
        ) as error:
            got = f"a chunk is damaged ({str(error).splitlines()[0][:80]})"
            raise InputError(self.name, got, "a whole zarr store", "copy or write it again") from error
        return values.reshape(len(values), -1)


class AnnDataTable:
    """A matrix of a .h5ad file, dense or in sparse rows.

    Parameters
    ----------
    path : path
        File.
    key : str
        ``X``, ``layers/NAME`` or ``obsm/NAME``.
    chunk_rows : int, optional
        Rows of a piece, for tests.
    """

    def __init__(self, path: Path, key: str = "X", chunk_rows: int | None = None) -> None:
        self.path, self.key, self.name = Path(path).absolute(), key, f"{path}, {key}"
        stored = 1
        with h5ad.opened(Path(path)) as file:
            if key not in file:
                names = [f"{group}/{name}" for group in ("layers", "obsm") for name in file.get(group, ())]
                found = h5ad.listed([*(["X"] if "X" in file else []), *names])
                raise InputError(str(path), f"no matrix {key!r}", f"one of {found}", "name it with key=")
            node = file[key]
            self.indptr = None
            if isinstance(node, h5py.Group):
                kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "a data frame")))
                if not kind.startswith("csr"):
                    remedy = "write it as csr_matrix or as a dense array"
                    raise InputError(self.name, f"stored as {kind}", "dense or in sparse rows (CSR)", remedy)
                self.indptr = node["indptr"][()]
                n, self.n_columns = h5ad.matrix_shape(node)
                require_claim(self.name, n, self.n_columns, sparse=True)
                h5ad.require_parts(self.name, self.indptr, node["indices"], node["data"], n)
            else:
                n, self.n_columns = shape_of(self.name, node.shape, node.dtype)
                stored = (node.chunks or (1,))[0]
        self.edges = even_edges(n, self.n_columns, stored, chunk_rows)

    def read(self, index: int) -> Array:
        first, last = int(self.edges[index]), int(self.edges[index + 1])
        with h5ad.opened(self.path, again=True) as file:
            node = file[self.key]
            if self.indptr is None:
                values: Array = node[first:last]
                return values.reshape(len(values), -1)
        dense: Array = self.read_sparse(index).toarray()
        return dense

    def read_sparse(self, index: int) -> Any:
        """Piece `index` of sparse rows as a CSR matrix."""
        assert self.indptr is not None
        first, last = int(self.edges[index]), int(self.edges[index + 1])
        bounds = self.indptr[first : last + 1]
        part = slice(int(bounds[0]), int(bounds[-1]))
        with h5ad.opened(self.path, again=True) as file:
            node = file[self.key]
            rows = (node["data"][part], node["indices"][part], bounds - bounds[0])
        h5ad.require_sparse(self.name, rows[2], rows[1], rows[0], (last - first, self.n_columns))
        parts = (rows[0], h5ad.places(rows[1]), h5ad.places(rows[2]))
        return sparse.csr_matrix(parts, shape=(last - first, self.n_columns))
