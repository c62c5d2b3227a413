"""Tables of any kind give the same chunks, again and again, here and in another process; hostile ones one clear line."""

from __future__ import annotations

import pickle
import tracemalloc

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from emtools.engine.chunks import AHEAD, ArraySource, read_ahead, total_stats
from emtools.engine.tables import TableSource, even_edges
from emtools.errors import InputError
from emtools.io.rows import rows_source
from emtools.io.stores import ParquetTable, require_claim
from emtools.models.mixture import GaussianMixture

N, D, CHUNK = 47, 3, 10


@pytest.fixture(scope="module")
def table():
    """Rows that float32 holds exactly, a third of them zero, so that every kind of file can."""
    values = np.random.default_rng(3).normal(size=(N, D)).astype(np.float32)
    values[np.random.default_rng(4).random((N, D)) < 0.3] = 0.0
    return values


WEIGHTS = np.random.default_rng(5).integers(0, 4, size=N).astype(float)


def npy(values, folder):
    np.save(folder / "a.npy", values)
    return {"data": folder / "a.npy"}


def npy_big_endian(values, folder):
    np.save(folder / "b.npy", values.astype(">f8"))
    return {"data": str(folder / "b.npy")}


def memory_map(values, folder):
    padded = np.concatenate([np.full((5, D), 9.0, dtype=np.float32), values])
    np.save(folder / "c.npy", padded)
    return {"data": np.load(folder / "c.npy", mmap_mode="r")[2:][3:]}


def parquet(values, folder):
    frame = pd.DataFrame(values, columns=["a", "b", "c"]).assign(label="x", weight=WEIGHTS)
    frame.to_parquet(folder / "d.parquet", row_group_size=23)
    return {"data": folder / "d.parquet", "columns": ["a", "b", "c"], "weights": "weight"}


def hdf5(values, folder):
    with h5py.File(folder / "e.h5", "w") as file:
        file.create_dataset("group/rows", data=values, chunks=(4, D), compression="gzip")
        file["other"] = np.zeros(3)
    return {"data": folder / "e.h5", "key": "group/rows"}


def hdf5_dataset(values, folder):
    made = hdf5(values, folder)
    return {"data": h5py.File(made["data"], "r")["group/rows"]}


def zarr_path(values, folder):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(folder / "f.zarr", data=values, chunks=(7, 2))
    return {"data": folder / "f.zarr"}


def zarr_array(values, folder):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(folder / "g.zarr", mode="w")
    group.create_array("rows", data=values, chunks=(7, D))
    return {"data": group["rows"]}


def h5ad(values, folder, **parts):
    data = anndata.AnnData(obs=pd.DataFrame({"weight": WEIGHTS}, index=[str(i) for i in range(len(values))]), **parts)
    data.write_h5ad(folder / "h.h5ad")
    return folder / "h.h5ad"


def anndata_dense(values, folder):
    return {"data": h5ad(values, folder, X=values), "weights": "weight"}


def anndata_sparse_layer(values, folder):
    path = h5ad(values, folder, X=np.zeros_like(values), layers={"counts": sparse.csr_matrix(values)})
    return {"data": path, "key": "layers/counts", "weights": "weight"}


def anndata_obsm(values, folder):
    path = h5ad(values, folder, X=np.zeros((N, 1), dtype=np.float32), obsm={"X_pca": values.astype(float)})
    return {"data": path, "key": "obsm/X_pca"}


def anndata_backed(values, folder):
    return {
        "data": anndata.read_h5ad(h5ad(values, folder, X=sparse.csr_matrix(values)), backed="r"),
        "weights": "weight",
    }


def anndata_in_memory(values, folder):
    return {"data": anndata.read_h5ad(h5ad(values, folder, X=sparse.csr_matrix(values))), "weights": "weight"}


def dask_array(values, folder):
    da = pytest.importorskip("dask.array")
    return {"data": da.from_array(values, chunks=((0, 20, 20, 7), (2, 1)))}


def dask_frame(values, folder):
    dd = pytest.importorskip("dask.dataframe")
    made = dd.from_pandas(pd.DataFrame(values, columns=["a", "b", "c"]).assign(weight=WEIGHTS), npartitions=4)
    return {"data": made, "weights": "weight"}


def frame(values, folder):
    return {"data": pd.DataFrame(values, columns=["a", "b", "c"]).assign(weight=WEIGHTS), "weights": "weight"}


def sparse_rows(values, folder):
    return {"data": sparse.csc_array(values)}


def array(values, folder):
    return {"data": values}


KINDS = [
    npy,
    npy_big_endian,
    memory_map,
    parquet,
    hdf5,
    hdf5_dataset,
    zarr_path,
    zarr_array,
    anndata_dense,
    anndata_sparse_layer,
    anndata_obsm,
    anndata_backed,
    anndata_in_memory,
    dask_array,
    dask_frame,
    frame,
    sparse_rows,
    array,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda f: f.__name__)
def test_every_kind_of_table_gives_the_same_rows(kind, table, tmp_path):
    made = {"weights": WEIGHTS, "chunk_rows": CHUNK, **kind(table, tmp_path)}
    source = rows_source(**made)
    assert source.n_units == N
    assert source.n_chunks > 2
    for again in (source, source, pickle.loads(pickle.dumps(source))):
        chunks = [again.chunk(i) for i in (2, 1, 0, *range(again.n_chunks))][3:]
        assert [c.first for c in chunks] == np.cumsum([0, *(len(c.values) for c in chunks)])[:-1].tolist()
        assert all(c.values.dtype == np.float64 for c in chunks)
        np.testing.assert_array_equal(np.concatenate([c.values for c in chunks]), table)
        np.testing.assert_array_equal(np.concatenate([c.weights for c in chunks]), WEIGHTS)
    for handle in (getattr(made["data"], "file", None),):
        if hasattr(handle, "close"):
            handle.close()


def test_every_kind_gives_a_fit_the_same_statistics(table, tmp_path):
    model = GaussianMixture(2, D)
    params = model.initial_params(ArraySource(table.astype(float)), np.random.default_rng(0), "kmeans++")
    expected = total_stats(model, ArraySource(table.astype(float), WEIGHTS, CHUNK), params)
    for kind in (npy, memory_map, sparse_rows, array):
        source = rows_source(**{"weights": WEIGHTS, "chunk_rows": CHUNK, **kind(table, tmp_path)})
        stats = total_stats(model, source, params)
        assert stats.loglik == expected.loglik, kind.__name__
        assert stats.second.tobytes() == expected.second.tobytes(), kind.__name__


def test_edges_depend_on_the_table_alone():
    assert even_edges(100, 2**18).tolist() == list(range(0, 101, 2))
    assert even_edges(100, 2**16, multiple=3).tolist() == [*range(0, 100, 6), 100]
    assert even_edges(10, 2**18, multiple=5).tolist() == [0, 2, 4, 6, 8, 10]


def test_row_groups_larger_than_a_chunk_are_streamed(tmp_path, table):
    pd.DataFrame(table, columns=["a", "b", "c"]).to_parquet(tmp_path / "t.parquet", row_group_size=25)
    read = ParquetTable(tmp_path / "t.parquet", chunk_rows=10)
    assert read.edges.tolist() == [0, 10, 20, 25, 35, 45, 47]
    for index in (5, 4, 1, 2, 3, 0):
        np.testing.assert_array_equal(read.read(index), table[read.edges[index] : read.edges[index + 1]])


def test_integers_and_nulls_of_parquet(tmp_path):
    frame = pd.DataFrame({"i": pd.array([1, None, 3], dtype="Int64"), "b": [True, False, True]})
    frame.to_parquet(tmp_path / "t.parquet")
    source = rows_source(tmp_path / "t.parquet", missing=True)
    np.testing.assert_array_equal(source.chunk(0).values, [[1, 1], [np.nan, 0], [3, 1]])


def test_float32_is_cast_chunk_by_chunk():
    values = np.zeros((2_000_000, 2), dtype=np.float32)
    tracemalloc.start()
    source = ArraySource(values)
    for index in range(source.n_chunks):
        source.chunk(index)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert source.values is values
    assert peak < 8 * 2**20, "the whole table in float64 takes 32 MB"


class Counted:
    """A table that notes how many of its pieces were read."""

    name, n_columns = "counted", 1

    def __init__(self, n_pieces):
        self.edges = np.arange(n_pieces + 1)
        self.n_read = 0

    def read(self, index):
        self.n_read += 1
        return np.zeros((1, 1))


def test_a_reader_is_never_far_ahead():
    counted = Counted(50)
    source = TableSource(counted)
    for taken, chunk in enumerate(read_ahead(source, range(50)), start=1):
        assert chunk.first == taken - 1
        assert counted.n_read <= taken + AHEAD
    assert counted.n_read == 50


def write(path, content):
    path.write_bytes(content)
    return path


def hostile(tmp_path):
    """Name of the case, arguments, and what the one line must say."""
    good = np.arange(40.0).reshape(20, 2)
    np.save(tmp_path / "good.npy", good)
    whole = (tmp_path / "good.npy").read_bytes()
    np.savez(tmp_path / "many.npy.npz", good)
    (tmp_path / "many.npy.npz").rename(tmp_path / "many.npy")
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    np.save(tmp_path / "object.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
    np.save(tmp_path / "columns.npy", np.asfortranarray(good))
    np.save(tmp_path / "none.npy", np.zeros((0, 2)))
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    pd.DataFrame({"a": [1.0, 2.0], "t": ["x", "y"]}).to_parquet(tmp_path / "t.parquet")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["one"], file["two"] = good, good
    h5ad(np.zeros((N, 1), np.float32), tmp_path, X=sparse.csc_matrix(np.eye(N, 2)), obsm={"two": np.eye(N, 2)})
    parquet_bytes = (tmp_path / "t.parquet").read_bytes()
    return [
        ({"data": tmp_path / "absent.npy"}, r"absent\.npy.*no such file"),
        ({"data": write(tmp_path / "cut.npy", whole[:-50])}, r"cut\.npy.*cannot be read as \.npy.*save it again"),
        ({"data": write(tmp_path / "short.npy", whole[:20])}, r"short\.npy.*cannot be read"),
        ({"data": write(tmp_path / "noise.npy", b"hello, world")}, r"noise\.npy.*cannot be read"),
        ({"data": write(tmp_path / "empty.npy", b"")}, r"empty\.npy.*the file is empty"),
        ({"data": tmp_path / "many.npy"}, "archive"),
        ({"data": tmp_path / "text.npy"}, r"text\.npy.*<U1.*real numbers"),
        ({"data": tmp_path / "object.npy"}, r"object\.npy.*cannot be read"),
        ({"data": tmp_path / "columns.npy"}, r"columns\.npy.*row by row.*ascontiguousarray"),
        ({"data": tmp_path / "none.npy"}, r"none\.npy: 0 rows"),
        ({"data": tmp_path / "cube.npy"}, r"cube\.npy.*\(2, 2, 2\)"),
        ({"data": tmp_path / "good.npy", "weights": np.ones(3)}, "weights.*20 finite values"),
        ({"data": tmp_path / "good.npy", "weights": "w"}, "weights named 'w'"),
        ({"data": tmp_path / "good.npy", "columns": ["a"]}, "columns=.*leave it out"),
        ({"data": tmp_path / "t.parquet", "columns": ["a", "z"]}, r"t\.parquet: no column 'z'; one of a, t"),
        ({"data": tmp_path / "t.parquet"}, r"column 't' is.*string"),
        ({"data": tmp_path / "t.parquet", "columns": ["a"], "weights": "w"}, "no column 'w'"),
        ({"data": write(tmp_path / "c.parquet", parquet_bytes[:-20])}, r"c\.parquet.*not Parquet, or cut off"),
        ({"data": tmp_path / "two.h5"}, r"two\.h5: no dataset is named; one of one, two; name it"),
        ({"data": tmp_path / "two.h5", "key": "three"}, "no dataset 'three'"),
        ({"data": write(tmp_path / "cut.h5", (tmp_path / "two.h5").read_bytes()[:900])}, r"cut\.h5.*cut off"),
        ({"data": tmp_path / "h.h5ad", "key": "obsm/X_umap"}, r"h\.h5ad: no matrix 'obsm/X_umap'; one of X"),
        ({"data": tmp_path / "h.h5ad"}, r"h\.h5ad, X: stored as csc_matrix.*csr_matrix"),
        ({"data": tmp_path / "h.h5ad", "key": "obsm/two", "weights": "w"}, r"obs: no column 'w'; one of weight"),
        ({"data": tmp_path / "rows.csv"}, r"the ending '\.csv'"),
        ({"data": np.array([["a"]])}, "values of type <U1"),
        ({"data": np.array([[1.0], [np.nan]])}, "data: row 2, column 1 is nan; finite numbers; use missing=True"),
        ({"data": pd.DataFrame({"a": [1.0]}), "columns": ["b"]}, "no column 'b'; one of a"),
    ]


def test_hostile_input_gets_one_clear_line(tmp_path):
    for arguments, message in hostile(tmp_path):
        with pytest.raises(InputError, match=message) as caught:
            rows_source(**arguments)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_a_value_that_is_not_finite_is_named_when_it_is_read(tmp_path):
    values = np.zeros((20, 2))
    values[13, 1] = np.nan
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=r"a\.npy: row 14, column 2 is nan"):
        rows_source(tmp_path / "a.npy", chunk_rows=6).chunk(2)
    assert np.isnan(rows_source(tmp_path / "a.npy", missing=True).chunk(0).values[13, 1])
    values[13, 1] = np.inf
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match="is inf; finite numbers; write NaN"):
        rows_source(tmp_path / "a.npy", missing=True).chunk(0)


def test_a_file_that_shrinks_during_a_fit(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 2)))
    source = rows_source(tmp_path / "a.npy", chunk_rows=5)
    write(tmp_path / "a.npy", (tmp_path / "a.npy").read_bytes()[:-40])
    source.chunk(0)
    with pytest.raises(InputError, match=r"a\.npy: the file ends in row 18"):
        source.chunk(3)


def test_zarr_groups_and_absent_stores(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.open_group(tmp_path / "g.zarr", mode="w").create_array("rows", data=np.zeros((4, 2)))
    with pytest.raises(InputError, match=r"a group that holds rows.*key="):
        rows_source(tmp_path / "g.zarr")
    with pytest.raises(InputError, match="no zarr array there"):
        rows_source(tmp_path / "g.zarr", key="absent")
    with pytest.raises(InputError, match="no such file"):
        rows_source(tmp_path / "h.zarr")
    assert rows_source(tmp_path / "g.zarr", key="rows").n_units == 4


def test_sparse_rows_may_be_wide_and_many_for_their_zeros_are_not_stored(tmp_path):
    empty = sparse.csr_matrix((3, 2_000_000), dtype=np.float32)
    path = tmp_path / "wide.h5ad"
    anndata.AnnData(empty).write_h5ad(path)
    assert rows_source(path, key="X").n_units == 3
    require_claim("X", 800_000, 6_062_095, sparse=True)
    with pytest.raises(InputError, match=r"at most 134,217,728 a row"):
        require_claim("X", 1, 2**28, sparse=True)
    with pytest.raises(InputError, match=r"at most 4,398,046,511,104, and 134,217,728 a row"):
        require_claim("X", 800_000, 6_062_095)
