"""Types by the default search, by labels and markers; what is written into an AnnData object."""

import warnings
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import emtools
from emtools.cell_types.labels import fit_labelled
from emtools.cell_types.reproduce import best_temperature, tempered
from emtools.cell_types.search import Search, find_types, greedy_seeds
from emtools.errors import InputError

SIZES = (60, 40, 20)
NAMES = np.array(["CD4+/CD25 T", "B", "NK"], dtype=object)
CODES = np.repeat([0, 1, 2], SIZES)


def planted() -> anndata.AnnData:
    rng = np.random.default_rng(3)
    rates = np.full((3, 9), 0.4)
    for k in range(3):
        rates[k, 3 * k : 3 * k + 3] = 7.0
    values = np.log1p(rng.poisson(rates[CODES])).astype(np.float32)
    genes = ["CD3D", "CD3E", "CD2", "CD19", "MS4A1", "CD79A", "NKG7", "GNLY", "PRF1"]
    obs = pd.DataFrame(
        {"known": pd.Categorical(NAMES[CODES]), "donor": rng.choice(["d1", "d2", "d3"], len(CODES))},
        index=[f"c{i}" for i in range(len(CODES))],
    )
    adata = anndata.AnnData(sparse.csr_matrix(values), obs, pd.DataFrame(index=genes))
    centres = np.array([[0.0, 0, 0], [6, 0, 2], [0, 7, -3]])
    adata.obsm["X_pca"] = centres[CODES] + 0.6 * rng.standard_normal((len(CODES), 3))
    return adata


def test_default_search_finds_planted_types_from_any_seed() -> None:
    values = planted().obsm["X_pca"]
    for seed in (0, 1, 2):
        fitted = find_types(values, 3, Search(seed=seed, starts=10, certificate=False))
        found = fitted.model.log_joint(fitted.params, values).argmax(axis=1)
        assert len(set(zip(found.tolist(), CODES.tolist(), strict=True))) == 3


def test_seeds_are_distinct_rows() -> None:
    values = np.repeat(np.array([[-5.0, 0], [0, 0], [5, 1]]), 4, axis=0)
    seeds = greedy_seeds(values, 3, np.random.default_rng(0))
    assert len({tuple(v) for v in values[seeds].tolist()}) == 3
    with pytest.raises(InputError, match="3 distinct rows"):
        greedy_seeds(values, 4, np.random.default_rng(0))


def test_temperature_of_overconfident_probabilities_is_recovered() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0.0, 1.5, (20_000, 2))
    chance = 1.0 / (1.0 + np.exp(honest[:, 0] - honest[:, 1]))
    codes = (rng.random(len(chance)) < chance).astype(np.intp)
    assert best_temperature(4.0 * honest, codes) == pytest.approx(4.0, rel=0.05)
    assert best_temperature(0.5 * honest, codes) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(tempered(4.0 * honest, 4.0)[:, 1], chance, rtol=1e-12, atol=0)


def test_labels_are_held_and_help() -> None:
    values = planted().obsm["X_pca"]
    shown = np.where(np.arange(len(CODES)) % 10 == 0, CODES, -1)
    fitted = fit_labelled(values, shown, 3, Search(certificate=False))
    assert (fitted.model.log_joint(fitted.params, values).argmax(axis=1) == CODES).all()
    with pytest.raises(InputError, match="type 3 has no labelled cell"):
        fit_labelled(values, np.where(shown == 2, -1, shown), 3, Search())


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_round_trips_with_a_slash_in_a_type(tmp_path: Path) -> None:
    adata = planted()
    adata.obs["some"] = adata.obs["known"].astype(object).where(np.arange(adata.n_obs) % 5 == 0, np.nan)
    given = adata.copy()
    answer = emtools.tl.mixture(adata, labels="some", donor="donor", copy=True)
    assert answer is not None
    assert "em" not in adata.uns
    assert emtools.tl.mixture(given, labels="some", donor="donor") is None
    assert list(answer.obs["em_type"]) == list(NAMES[CODES])
    dense = answer.X.toarray().astype(np.float64)
    weights = answer.uns["em"]["proportions"] * answer.n_obs
    np.testing.assert_allclose(weights, SIZES[1:2] + SIZES[:1] + SIZES[2:], rtol=0, atol=0.5)
    b_cells = dense[CODES == 1]
    np.testing.assert_allclose(answer.varm["em_profiles"]["B"], b_cells.mean(axis=0), rtol=0, atol=0.02)
    np.testing.assert_allclose(
        answer.varm["em_profiles_se"]["B"], b_cells.std(axis=0) / np.sqrt(len(b_cells)), rtol=0.05, atol=1e-3
    )
    answer.write_h5ad(tmp_path / "a.h5ad")
    answer.write_zarr(tmp_path / "a.zarr")
    for back in (anndata.read_h5ad(tmp_path / "a.h5ad"), anndata.read_zarr(tmp_path / "a.zarr")):
        assert list(back.obs["em_type"].astype(str)) == list(NAMES[CODES])
        assert list(back.obsm["em_responsibilities"].columns) == ["B", "CD4+|CD25 T", "NK"]
        assert list(back.uns["em"]["types"]) == ["B", "CD4+/CD25 T", "NK"]
        np.testing.assert_array_equal(back.obsm["em_responsibilities"], answer.obsm["em_responsibilities"])
        np.testing.assert_array_equal(back.uns["em"]["by_donor"]["mean"], given.uns["em"]["by_donor"]["mean"])


def test_markers_and_a_reference_name_the_types() -> None:
    adata, markers = planted(), {"T": ["CD3D", "CD2"], "B": ["CD19", "MS4A1"], "NK": ["NKG7", "GNLY"]}
    emtools.tl.mixture(adata, markers=markers)
    assert list(adata.obs["em_type"]) == list(np.array(["T", "B", "NK"])[CODES])
    again = planted()
    emtools.tl.mixture(again, reference=planted(), reference_labels="known")
    assert list(again.obs["em_type"]) == list(NAMES[CODES])
    with pytest.raises(InputError, match="none of ENSG01 is among the genes"):
        emtools.tl.mixture(planted(), markers={"T": ["ENSG01"]})
    other = planted()
    other.var_names = [f"ENSG{i}" for i in range(9)]
    with pytest.raises(InputError, match="0 of 9 genes in common"):
        emtools.tl.mixture(planted(), reference=other, reference_labels="known")


def test_components_are_computed_from_counts() -> None:
    rng = np.random.default_rng(0)
    rates = np.full((3, 90), 0.5)
    for k in range(3):
        rates[k, 30 * k : 30 * k + 30] = 6.0
    counts = rng.poisson(rates[CODES]).astype(np.float32)
    adata = anndata.AnnData(sparse.csr_matrix(counts))
    emtools.tl.mixture(adata, n_types=3)
    assert "X_pca" in adata.obsm
    assert (adata.X.toarray() == counts).all()
    assert len(set(zip(adata.obs["em_type"], CODES.tolist(), strict=True))) == 3
    counts[4] = 0.0
    with pytest.raises(InputError, match="1 cells without any count"):
        emtools.tl.mixture(anndata.AnnData(sparse.csr_matrix(counts)), n_types=3)
    with pytest.raises(InputError, match="neither counts nor logarithms"):
        emtools.tl.mixture(anndata.AnnData(rng.gamma(1.0, 40.0, (60, 90))), n_types=2)


def test_what_cannot_be_used_is_said() -> None:
    with pytest.raises(InputError, match="no number of types"):
        emtools.tl.mixture(planted())
    with pytest.raises(InputError, match="a view"):
        emtools.tl.mixture(planted()[:50], n_types=2)
    with pytest.raises(InputError, match="no em_responsibilities"):
        emtools.pl.responsibilities(planted())


def test_figure_and_scanpy(tmp_path: Path) -> None:
    adata = planted()
    emtools.tl.mixture(adata, n_types=3)
    emtools.pl.responsibilities(adata, save=tmp_path / "types.png")
    assert (tmp_path / "types.png").stat().st_size > 10_000
    adata.obsm["X_umap"] = adata.obsm["X_pca"][:, :2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # of matplotlib, for scanpy's colours
        assert sc.pl.umap(adata, color="em_type", show=False, return_fig=True) is not None
    plt.close("all")
