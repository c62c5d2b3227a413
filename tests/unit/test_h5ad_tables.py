"""AnnData as a table of markers: X or a layer in, layers out, X untouched."""

from __future__ import annotations

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from emtools.errors import InputError
from emtools.io.cells import load_anndata
from emtools.io.rows import rows_source
from emtools.io.tables import read_table, write_completed

VALUES = np.array([[1.5, 2.0, 7.0], [np.nan, 3.25, 8.0], [4.0, np.nan, 7.5], [2.75, 7.0, 9.25]], dtype=np.float32)


def put(tmp_path, name="t.h5ad", values=VALUES, **more):
    obs = pd.DataFrame(
        {"plate": pd.Categorical(["A", "B", "A", "B"]), "age": [50.0, 61.0, np.nan, 40.0]},
        index=["P1", "P2", "P3", "P4"],
    )
    var = pd.DataFrame({"unit": ["mg/L", "pg/mL", ""]}, index=["CRP", "IL6", "TNF"])
    adata = anndata.AnnData(X=values, obs=obs, var=var, **more)
    adata.write_h5ad(tmp_path / name)
    return tmp_path / name


def test_rows_markers_units_and_covariates(tmp_path):
    table = read_table(put(tmp_path), covariates=["age"], batch="plate")
    assert (table.markers, tuple(table.rows)) == (("CRP", "IL6", "TNF"), ("P1", "P2", "P3", "P4"))
    assert table.units == ("mg/L", "pg/mL", "")
    np.testing.assert_array_equal(table.values, VALUES.astype(float))
    assert table.covariates["plate"].tolist() == ["A", "B", "A", "B"]
    np.testing.assert_array_equal(table.covariates["age"], [50.0, 61.0, np.nan, 40.0])


def test_layers_come_back_and_x_is_untouched(tmp_path):
    path = put(tmp_path)
    table = read_table(path, columns=["CRP", "IL6"])
    filled = np.where(np.isnan(table.values), 0.1, table.values)
    out = write_completed(table, filled, tmp_path, sd=np.where(np.isnan(table.values), 0.5, np.nan))
    again = anndata.read_h5ad(out)
    assert again.X.tobytes() == VALUES.tobytes()
    completed = again.layers["completed"]
    assert completed.dtype == np.float32
    there = ~np.isnan(VALUES)
    assert completed[there].tobytes() == VALUES[there].tobytes()
    np.testing.assert_array_equal(again.layers["imputed"], ~there)
    np.testing.assert_array_equal(again.layers["conditional_sd"], np.where(there, np.nan, 0.5))
    assert again.var["em_modelled"].tolist() == [True, True, False]
    assert again.var["em_n_imputed"].tolist() == [1, 1, 0]
    np.testing.assert_array_equal(read_table(out, layer="completed").values[:, :2], completed[:, :2].astype(float))
    first = out.read_bytes()
    write_completed(table, filled, tmp_path, sd=np.where(np.isnan(table.values), 0.5, np.nan))
    assert out.read_bytes() == first


def test_a_layer_and_a_sparse_matrix(tmp_path):
    counts = sparse.csr_matrix(np.array([[0, 2, 1], [1, 0, 5], [3, 4, 0], [2, 2, 2.0]]))
    path = put(tmp_path, layers={"npx": VALUES * 2}, values=counts)
    np.testing.assert_array_equal(read_table(path).values, counts.toarray())
    np.testing.assert_array_equal(read_table(path, layer="npx").values, VALUES.astype(float) * 2)
    with pytest.raises(InputError, match=r"no layer 'raw'; one of: npx; or X; check --layer"):
        read_table(path, layer="raw")


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
def test_room_behind_the_values_of_a_sparse_matrix_is_no_damage(tmp_path, kind):
    counts = kind(np.array([[0, 2, 1], [1, 0, 5], [3, 4, 0], [2, 2, 2.0]]))
    path = put(tmp_path, values=counts)
    with h5py.File(path, "a") as file:
        for name, more in (("indices", 99), ("data", 0)):
            values = np.append(file["X"][name][()], [more, more]).astype(file["X"][name].dtype)
            del file["X"][name]
            file["X"][name] = values
    np.testing.assert_array_equal(read_table(path).values, counts.toarray())
    with h5py.File(path, "a") as file:
        values = file["X"]["data"][()].astype(np.float16)
        del file["X"]["data"]
        file["X"]["data"] = values
    with pytest.raises(InputError, match="float16"):
        read_table(path)


def retyped(path, **types):
    with h5py.File(path, "a") as file:
        for name, kind in types.items():
            values = file["X"][name][()]
            del file["X"][name]
            file["X"][name] = values.astype(kind)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("types", [{"indices": "u4"}, {"indices": "u8", "indptr": "u8"}, {"indices": "i2"}])
def test_places_of_a_sparse_matrix_in_any_integers(tmp_path, kind, types):
    """scipy reads them and fails later, at multiplication or a slice."""
    counts = kind(np.array([[0, 2, 1], [1, 0, 5], [3, 4, 0], [2, 2, 2.0]]))
    path = put(tmp_path, values=counts)
    retyped(path, **types)
    np.testing.assert_array_equal(read_table(path).values, counts.toarray())
    read = load_anndata(path).X
    assert read.indices.dtype.kind == read.indptr.dtype.kind == "i"
    np.testing.assert_array_equal(read @ np.ones(3), counts @ np.ones(3))
    np.testing.assert_array_equal(read[1:3].toarray(), counts[1:3].toarray())
    if kind is sparse.csr_matrix:
        piece = rows_source(path, key="X").chunk(0)
        np.testing.assert_array_equal(getattr(piece, "values", piece), counts.toarray())


@pytest.mark.parametrize("name", ["indices", "indptr"])
def test_places_of_a_sparse_matrix_in_fractions_are_refused(tmp_path, name):
    path = put(tmp_path, values=sparse.csr_matrix(np.eye(4, 3)))
    retyped(path, **{name: "f8"})
    message = f"X: {name} of the sparse matrix in float64; integers; write {name} as int64"
    for read in (read_table, load_anndata, lambda path: rows_source(path, key="X")):
        with pytest.raises(InputError, match=message):
            read(path)


def test_one_array_in_place_of_layers_is_refused(tmp_path):
    path = put(tmp_path)
    with h5py.File(path, "a") as file:
        del file["layers"]
        file["layers"] = np.zeros(3)
    with pytest.raises(InputError, match="layers is one array; matrices with names"):
        read_table(path)


def test_damaged_and_mistaken_files_are_named(tmp_path):
    whole = put(tmp_path).read_bytes()
    for raw, message in ((whole[: len(whole) // 3], "cut off or damaged"), (b"a,b\n1,2\n", "not HDF5")):
        (tmp_path / "bad.h5ad").write_bytes(raw)
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / "bad.h5ad")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(InputError, match="leave --layer out"):
        read_table(tmp_path / "t.csv", layer="npx")
