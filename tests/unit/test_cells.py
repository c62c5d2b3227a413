"""AnnData in and out: what was written is read back, and what cannot be used is named."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from emtools.cell_types.represent import expression_of, represented
from emtools.errors import InputError
from emtools.io.cells import (
    Cells,
    annotate,
    labels_of,
    load_anndata,
    require_prefix,
    require_size,
    write_anndata,
)


def small(kind: type = np.asarray) -> anndata.AnnData:
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (12, 5)).astype(np.float32)
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical(["B/1", "A"] * 6, categories=["B/1", "unused", "A"]),
            "batch": [2, 10] * 6,
            "plain": ["x", "y", "x"] * 4,
            "score": pd.array([1, None, 2] * 4, dtype="Int64"),
            "each": [f"w{i}" for i in range(12)],
        },
        index=[f"cell{i}" for i in range(12)],
    )
    adata = anndata.AnnData(kind(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(5)]))
    adata.obsm["X_pca"] = rng.standard_normal((12, 11)).astype(np.float32)
    adata.obsm["X_umap"] = rng.standard_normal((12, 2))
    adata.obsm["frame"] = pd.DataFrame(rng.standard_normal((12, 2)), index=adata.obs_names, columns=["u", "v"])
    return adata


def read_cells(path: Path, sample: str | None = None, truth: str | None = None, **options: object) -> Cells:
    """As the command reads them."""
    adata = load_anndata(path)
    cells = represented(adata, where=str(path), **options)  # type: ignore[arg-type]
    expression_of(adata)
    where = str(path)
    sampled, known = labels_of(adata, sample, "--sample", where), labels_of(adata, truth, "--truth", where)
    return replace(cells, sample=sampled, truth=known)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "small.h5ad"
    small().write_h5ad(file)
    return file


def test_default_representation(path: Path) -> None:
    cells, adata = read_cells(path, sample="donor", truth="plain"), small()
    np.testing.assert_array_equal(cells.values, adata.obsm["X_pca"][:, :10])
    assert cells.values.dtype == np.float64
    assert cells.dimensions == tuple(f"PC{i}" for i in range(1, 11))
    assert cells.names == tuple(adata.obs_names)
    assert cells.sample is not None
    assert cells.sample.names == ("B/1", "A")
    assert [cells.sample.names[c] for c in cells.sample.codes] == list(adata.obs["donor"])
    assert cells.truth is not None
    assert [cells.truth.names[c] for c in cells.truth.codes] == list(adata.obs["plain"])
    np.testing.assert_array_equal(cells.embedding, adata.obsm["X_umap"])


@pytest.mark.parametrize(
    ("column", "names", "n_missing"),
    [
        (pd.Categorical([10.0, 2.0, None] * 4), ("2", "10"), 4),
        (pd.Categorical([2.5, 2.0, 2.5] * 4), ("2", "2.5"), 0),
        (pd.Series(["B", "T", np.nan] * 4).astype(str).to_numpy(), ("B", "T"), 4),
        (pd.Categorical(["B", "NA", " "] * 4), ("B",), 8),
        (["None", "Tnan", "T"] * 4, ("None", "T", "Tnan"), 0),
    ],
)
def test_numbers_as_categories_and_missing_labels_as_text(
    column: object, names: tuple[str, ...], n_missing: int
) -> None:
    adata = small()
    adata.obs["known"] = column
    labels = labels_of(adata, "known", "labels")
    assert labels is not None
    assert (labels.names, int((labels.codes < 0).sum())) == (names, n_missing)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_variables_of_x(kind: type, tmp_path: Path) -> None:
    small(kind).write_h5ad(tmp_path / "x.h5ad")
    cells = read_cells(tmp_path / "x.h5ad", columns=["g3", "g0"])
    np.testing.assert_array_equal(cells.values, np.asarray(small().X)[:, [3, 0]])
    assert cells.dimensions == ("g3", "g0")
    whole = read_cells(tmp_path / "x.h5ad", use_rep="X")
    np.testing.assert_array_equal(whole.values, small().X)


def test_other_columns(path: Path) -> None:
    batch = read_cells(path, sample="batch").sample
    score = read_cells(path, sample="score").sample
    assert batch is not None
    assert score is not None
    assert batch.names == ("2", "10")
    assert score.names == ("1", "2")
    assert score.codes[:3].tolist() == [0, -1, 1]
    frame = read_cells(path, use_rep="frame")
    np.testing.assert_array_equal(frame.values, small().obsm["frame"].to_numpy())


@pytest.mark.skipif(find_spec("scanpy") is None, reason="scanpy ships the file")
def test_file_of_anndata_06() -> None:
    spec = find_spec("scanpy")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    cells = read_cells(file, sample="phase", truth="bulk_labels", n_dims=50)
    adata = load_anndata(file)
    np.testing.assert_array_equal(cells.values, adata.obsm["X_pca"])
    assert cells.truth is not None
    assert [cells.truth.names[c] for c in cells.truth.codes] == list(adata.obs["bulk_labels"])
    values, source = expression_of(adata)
    assert source == "raw"
    assert values.shape == adata.shape


def test_answer_is_read_back_and_has_the_same_bytes(path: Path, tmp_path: Path) -> None:
    types = [f"type_{k}" for k in range(1, 12)]
    weights = np.random.default_rng(3).dirichlet(np.ones(11), 12)
    profiles = np.random.default_rng(4).random((5, 11))
    record = {"verdict": "fine", "types": np.array(types, dtype=object), "parameters": {"weights": weights[0]}}
    for name in ("a.h5ad", "b.h5ad"):
        write_anndata(annotate(load_anndata(path), types, weights, profiles, record), tmp_path / name)
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert list(back.obs["em_type"].cat.categories) == types
    assert list(back.obs["em_type"]) == [types[k] for k in weights.argmax(axis=1)]
    np.testing.assert_array_equal(back.obs["em_uncertainty"], 1 - weights.max(axis=1))
    assert list(back.obsm["em_responsibilities"].columns) == types
    np.testing.assert_array_equal(back.obsm["em_responsibilities"], weights)
    np.testing.assert_array_equal(back.varm["em_profiles"], profiles)
    assert list(back.uns["em"]["types"]) == types
    assert list(back.obs["donor"]) == list(small().obs["donor"])
    np.testing.assert_array_equal(back.X, small().X)


def spoil(path: Path, case: str) -> Path:
    adata = small()
    if case == "nan":
        adata.obsm["X_pca"][4, 2] = np.nan
    elif case == "twice":
        adata.obs_names = ["same", "same", *adata.obs_names[2:]]
    elif case == "genes":
        adata.var_names = ["same", "same", *adata.var_names[2:]]
    elif case == "none":
        adata = adata[:0].copy()
    elif case == "flat":
        adata.obsm["X_pca"][:, 1] = 3.0
    elif case == "bare":
        adata = anndata.AnnData(obs=adata.obs, obsm={"X_pca": adata.obsm["X_pca"]})
    adata.write_h5ad(path)
    if case == "text":
        path.write_text("cell\tgene\n")
    elif case == "cut":
        path.write_bytes(path.read_bytes()[:9000])
    elif case == "zeroed":
        raw = bytearray(path.read_bytes())
        raw[200 : len(raw) // 2] = bytes(len(raw) // 2 - 200)
        path.write_bytes(raw)
    elif case == "other":
        with h5py.File(path, "w") as file:
            file["matrix"] = np.ones(3)
    elif case == "empty":
        path.write_bytes(b"")
    elif case == "index":
        with h5py.File(path, "a") as file:
            del file["obs/_index"]
    return path


@pytest.mark.parametrize(
    ("case", "options", "words"),
    [
        ("text", {}, "not HDF5"),
        ("cut", {}, "cut off or damaged"),
        ("zeroed", {}, "bad.h5ad: "),
        ("other", {}, "it holds matrix"),
        ("empty", {}, "the file is empty"),
        ("index", {}, "anndata cannot read it"),
        ("nan", {}, "the first in cell4, PC3"),
        ("twice", {}, "obs_names_make_unique"),
        ("genes", {}, "var_names_make_unique"),
        ("none", {}, "no cells"),
        ("flat", {}, "PC2 is constant"),
        ("bare", {}, "there is no expression"),
        ("", {"use_rep": "X_scvi"}, "no key 'X_scvi'; one of: X_pca, X_umap, frame; or X"),
        ("", {"sample": "patient"}, "no column 'patient'; one of: donor, batch"),
        ("", {"truth": "each"}, "12 different values for 12 units"),
        ("", {"columns": ["g1", "CD3E"]}, "no variable CD3E"),
        ("", {"columns": ["g1", "g1"]}, "named twice"),
        ("", {"columns": ["g1"], "use_rep": "X_pca"}, "leave one of them out"),
        ("", {"n_dims": 12}, "11 columns"),
    ],
)
def test_bad_files_and_names(case: str, options: dict[str, object], words: str, tmp_path: Path) -> None:
    path = spoil(tmp_path / "bad.h5ad", case)
    with pytest.raises(InputError, match=words) as caught:
        read_cells(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_cells(tmp_path / "absent.h5ad")


def test_sizes_and_prefixes(path: Path) -> None:
    cells = read_cells(path)
    with pytest.raises(InputError, match="12 units for 13 types"):
        require_size(cells, 13, 20)
    with pytest.raises(InputError, match="fewer parameters than values"):
        require_size(cells, 2, 121)
    require_size(cells, 2, 120)
    for bad in ("a/b", "", "x\n", "_/"):
        with pytest.raises(InputError, match="--prefix"):
            require_prefix(bad)
    require_prefix("T cell")
