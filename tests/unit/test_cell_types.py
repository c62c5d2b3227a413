"""Types by the default search, by labels and markers; what is written into an AnnData object."""

import warnings
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import stdtrit
from statsmodels.stats.proportion import proportion_confint

import emtools
from emtools.cell_types import reproduce as reproducing
from emtools.cell_types.labels import fit_labelled
from emtools.cell_types.represent import represented
from emtools.cell_types.reproduce import best_temperature, reproduce, tempered
from emtools.cell_types.search import Search, find_types, greedy_seeds
from emtools.errors import InputError
from emtools.kernels.composition import donor_shares, share_intervals

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


@pytest.fixture(scope="module")
def answered() -> anndata.AnnData:
    """The answer for three planted types, in copies of its own for each test."""
    return emtools.tl.mixture(planted(), 3, sample="donor", copy=True)


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
    answer = emtools.tl.mixture(adata, labels="some", sample="donor", copy=True)
    assert answer is not None
    assert "em" not in adata.uns
    assert emtools.tl.mixture(given, labels="some", sample="donor") is None
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
        np.testing.assert_array_equal(back.uns["em"]["by_sample"]["mean"], given.uns["em"]["by_sample"]["mean"])


def test_markers_and_a_reference_name_the_types() -> None:
    adata, markers = planted(), {"T": ["CD3D", "CD2"], "B": "CD19", "NK": ["NKG7", "GNLY"]}
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


@pytest.mark.filterwarnings("ignore:X holds counts")
def test_components_are_computed_from_counts() -> None:
    adata = many("counts")
    emtools.tl.mixture(adata, n_types=3)
    assert "X_pca" in adata.obsm
    again = many("counts")
    assert represented(again).made.endswith(
        f"from the {again.n_vars:,} genes of X, counts scaled to 10,000 a cell and taken to log(1 + x)"
    )
    assert represented(again).made == ""
    assert (adata.X != many("counts").X).nnz == 0


def test_what_cannot_be_used_is_said() -> None:
    with pytest.raises(InputError, match="no number of them"):
        emtools.tl.mixture(planted())
    for asked, said in (
        ({"n_types": 3, "criterion": "BIC"}, "criterion: 'BIC'; one of bic, icl, held_out"),
        ({"n_types": [2.5, 3]}, "n_types: 2.5; a whole number"),
        ({"markers": ["CD19"]}, r"markers: \['CD19'\]; genes by type"),
        ({"markers": {}}, r"markers: \{\}; genes by type"),
        ({"n_types": 3, "reference_labels": "known"}, "reference_labels without a reference"),
    ):
        with pytest.raises(InputError, match=said):
            emtools.tl.mixture(planted(), **asked)
    with pytest.raises(InputError, match="a view"):
        emtools.tl.mixture(planted()[:50], n_types=2)
    with pytest.raises(InputError, match="no em_responsibilities"):
        emtools.pl.responsibilities(planted())


def test_figure_and_scanpy(answered: anndata.AnnData, tmp_path: Path) -> None:
    import scanpy as sc  # takes long

    adata = answered.copy()
    emtools.pl.responsibilities(adata, save=tmp_path / "types.png")
    assert (tmp_path / "types.png").stat().st_size > 10_000
    adata.obsm["X_umap"] = adata.obsm["X_pca"][:, :2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # of matplotlib, for scanpy's colours
        assert sc.pl.umap(adata, color="em_type", show=False, return_fig=True) is not None
    plt.close("all")


def test_interval_of_cells_of_known_type_is_wilsons() -> None:
    shares, n = np.array([[0.001, 0.07, 0.5, 0.93]]), np.array([60.0])
    low, high = share_intervals(shares, np.zeros_like(shares), n)
    theirs = proportion_confint(60 * shares[0], 60, method="wilson")
    np.testing.assert_allclose([low[0], high[0]], theirs, rtol=1e-9, atol=1e-12)
    wide = share_intervals(shares, np.full_like(shares, 0.1), n)
    assert (wide[1] - wide[0] >= high - low - 1e-12).all()
    assert wide[1][0, 0] < 0.15  # however doubtful the cells, half of them are known at least


def test_intervals_of_uncertain_cells_cover() -> None:
    rng = np.random.default_rng(1)
    truth, n, hits = np.array([0.15, 0.85]), 80, []
    for _ in range(600):
        codes = rng.random(n) < truth[0]
        x = rng.normal(np.where(codes, 1.2, -1.2))
        weights = truth * np.exp(-0.5 * (x[:, None] - np.array([1.2, -1.2])) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        shares, doubt = weights.mean(axis=0)[None], (weights * (1 - weights)).mean(axis=0)[None]
        low, high = share_intervals(shares, doubt, np.array([float(n)]))
        hits.append(low[0, 0] <= truth[0] <= high[0, 0])
    assert 0.93 <= np.mean(hits) <= 1.0


def test_interval_of_the_mean_of_few_donors_covers() -> None:
    rng, hits = np.random.default_rng(2), []
    donors = np.repeat([0, 1, 2], 40)
    for _ in range(400):
        share = rng.beta(8.0, 12.0, 3)
        first = rng.random(120) < share[donors]
        means, errors = donor_shares(np.column_stack([first, ~first]).astype(np.float64), donors, 3)
        hits.append(abs(means[0] - 0.4) <= stdtrit(2, 0.975) * errors[0])
    assert 0.92 <= np.mean(hits) <= 0.98


def test_small_numbers_of_numpy_are_numbers() -> None:
    ours, theirs = planted(), planted()
    emtools.tl.mixture(ours, 3, random_state=7, starts=5, n_dims=2)
    emtools.tl.mixture(theirs, np.int8(3), random_state=np.uint16(7), starts=np.float64(5), n_dims=2)
    pd.testing.assert_frame_equal(ours.obsm["em_responsibilities"], theirs.obsm["em_responsibilities"])
    for options in ({"n_types": 2.5}, {"n_types": 0}, {"n_types": np.nan}, {"n_types": 2, "random_state": -1}):
        with pytest.raises(InputError, match="a whole number of at least"):
            emtools.tl.mixture(planted(), **options)


def test_backed_cells_are_fitted_in_place(answered: anndata.AnnData, tmp_path: Path) -> None:
    whole = answered
    planted().write_h5ad(tmp_path / "a.h5ad")
    before = (tmp_path / "a.h5ad").read_bytes()
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    emtools.tl.mixture(backed, 3, sample="donor")
    assert backed.isbacked
    np.testing.assert_array_equal(backed.obsm["em_responsibilities"], whole.obsm["em_responsibilities"])
    np.testing.assert_allclose(backed.varm["em_profiles"], whole.varm["em_profiles"], rtol=1e-12, atol=0)
    assert (tmp_path / "a.h5ad").read_bytes() == before
    del backed.obsm["X_pca"]
    with pytest.raises(InputError, match="backed by its file and without X_pca"):
        emtools.tl.mixture(backed, 3, use_rep="X_pca")
    assert emtools.tl.mixture(backed, 3, use_rep="X", copy=True).isbacked is False
    backed.file.close()


def test_dask_gives_the_same(answered: anndata.AnnData) -> None:
    dask = pytest.importorskip("dask.array")
    ours, theirs = answered, planted()
    theirs.X = dask.from_array(theirs.X.toarray(), chunks=(50, 9))
    emtools.tl.mixture(theirs, 3)
    np.testing.assert_array_equal(ours.obsm["em_responsibilities"], theirs.obsm["em_responsibilities"])
    np.testing.assert_allclose(ours.varm["em_profiles"], theirs.varm["em_profiles"], rtol=1e-12, atol=0)


def many(case: str) -> anndata.AnnData:
    """120 cells of 90 genes, three types, without components."""
    rng = np.random.default_rng(0)
    rates = np.full((3, 90), 0.5)
    for k in range(3):
        rates[k, 30 * k : 30 * k + 30] = 6.0
    counts = rng.poisson(rates[CODES]).astype(np.float32)
    if case == "below zero":
        counts[3, 4] = -1.0
    elif case == "no cell":
        counts[4] = 0.0
    elif case == "no gene":
        counts[:, 7] = 0.0
    elif case in ("logged", "logged, no cell"):
        counts = np.log1p(counts)
        counts[4] *= case == "logged"
    elif case == "linear":
        counts = 1e4 * counts / counts.sum(axis=1, keepdims=True)
    elif case == "gap":
        counts[5, 6] = np.nan
    obs = pd.DataFrame({"known": NAMES[CODES]}, index=[f"c{i}" for i in range(120)])
    adata = anndata.AnnData(sparse.csr_matrix(counts), obs, pd.DataFrame(index=[f"g{i}" for i in range(90)]))
    if case == "twice":
        adata.var_names = ["g0", *adata.var_names[:-1]]
    return adata


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("below zero", "whole numbers down to -1: counts are never below zero"),
        ("no cell", r"1 cells without any count \(c4\)"),
        ("logged, no cell", r"1 cells without any expression \(c4\)"),
        ("linear", "neither counts nor logarithms"),
        ("gap", "missing or infinite values"),
        ("twice", "var_names_make_unique"),
    ],
)
def test_hostile_expression(case: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        emtools.tl.mixture(many(case), 3)


@pytest.mark.filterwarnings("ignore:X holds counts")
@pytest.mark.parametrize("case", ["counts", "no gene", "logged"])
def test_expression_that_is_right(case: str) -> None:
    adata = many(case)
    emtools.tl.mixture(adata, 3)
    assert len(set(zip(adata.obs["em_type"], CODES.tolist(), strict=True))) == 3
    assert np.isfinite(adata.varm["em_profiles"].to_numpy()).all()


@pytest.mark.filterwarnings("ignore:X holds counts")
def test_counts_taken_for_logarithms_are_said() -> None:
    import scanpy as sc

    adata = many("counts")
    with pytest.warns(UserWarning, match="X looks like raw counts"):
        emtools.tl.mixture(adata.copy(), 3, use_rep="X", n_dims=4, family="EII")
    depth = np.random.default_rng(1).gamma(2.0, 1.0, 120)
    adata.X = sparse.csr_matrix(np.round(adata.X.toarray() * depth[:, None] * 5.0))
    sc.pp.pca(adata, n_comps=10)
    held = adata.copy()
    with pytest.warns(UserWarning, match="X_pca tells the number of counts of a cell almost exactly"):
        emtools.tl.mixture(adata, 3, family="EII")
    del held.obsm["X_pca"]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        emtools.tl.mixture(held, 3, family="EII")  # components of logarithms
    assert not any("almost exactly" in str(warning.message) for warning in told)
    held = many("logged")
    sc.pp.pca(held, n_comps=10)
    held.layers["counts"] = many("counts").X
    with pytest.warns(UserWarning, match=r"layers\['counts'\] holds counts, so that profiles are mean counts"):
        emtools.tl.mixture(held, 3, layer="counts", family="EII")


def test_a_type_of_two_cells() -> None:
    adata = planted()
    some = adata.obs["known"].astype(object).where(np.arange(adata.n_obs) % 5 == 0, np.nan)
    kinds = some.to_numpy(copy=True)
    kinds[[1, 2]] = "rare"
    adata.obsm["X_pca"][[1, 2]] = [[-15.0, -15, 0], [-15.2, -15.1, 0.1]]
    adata.obs["some"] = kinds
    emtools.tl.mixture(adata, labels="some")
    assert list(adata.obs_names[adata.obs["em_type"] == "rare"]) == ["c1", "c2"]
    rare = list(adata.uns["em"]["types"]).index("rare")
    hidden = np.isfinite(adata.uns["em"]["reproducibility_by_type"])
    assert hidden.any()
    assert not hidden[rare]  # no fit without one of two cells says how sure the others are
    alone = planted()
    alone.obsm["X_pca"][[1, 2]] = [[-15.0, -15, 0], [-15.2, -15.1, 0.1]]
    emtools.tl.mixture(alone, 4)
    assert alone.obs["em_type"].iloc[1] == alone.obs["em_type"].iloc[2]
    assert (alone.obs["em_type"] == alone.obs["em_type"].iloc[1]).sum() == 2


def test_cells_that_were_judged_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproducing, "SPLIT_ROWS", 20)
    values = planted().obsm["X_pca"]
    search, halves = Search(seed=0, starts=2, certificate=False), []

    def fit_half(half, *more):
        halves.append(half)
        return find_types(half, *more)

    fitted = find_types(values, 2, search)
    curve = reproduce(fitted.model, fitted.params, values, search, fit_half).curve
    assert curve is not None
    assert curve.n.sum() == sum(map(len, halves)) == 160
    assert curve.n_units == len(
        np.unique(np.concatenate(halves), axis=0)
    )  # each half is judged by the fit to the other
    assert 60 < curve.n_units < 120


def test_whiskers_count_a_cell_once(answered: anndata.AnnData) -> None:
    answered = answered.copy()
    told = answered.uns["em"]["reliability"]
    assert told["n_units"] == 120
    assert told["n"].sum() == 8 * 120
    del told["n_units"]  # as files of earlier versions have it
    for n_units in (120, 60):
        bars = emtools.pl.reliability(answered).axes[0].containers[0].lines[2][0].get_segments()
        held, right = told["n"] * n_units / told["n"].sum(), told["right"]
        spread = 1.96 * np.sqrt(np.maximum(right * (1 - right), 0.25 / np.maximum(held, 1)) / held)
        lengths = np.minimum(spread, right) + np.minimum(spread, 1 - right)
        np.testing.assert_allclose([bar[1, 1] - bar[0, 1] for bar in bars], lengths, rtol=1e-9, atol=0)
        told["n_units"] = 60
    plt.close("all")


def test_figures_of_an_answer(tmp_path: Path) -> None:
    adata = planted()
    emtools.tl.mixture(adata, range(2, 5), sample="donor")
    assert adata.uns["em"]["n_components"] == 3
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata = anndata.read_h5ad(tmp_path / "a.h5ad")
    for name, options in (
        ("profiles", {}),
        ("composition", {}),
        ("selection", {}),
        ("reliability", {"truth": "known"}),
        ("confusion", {"truth": "known"}),
    ):
        getattr(emtools.pl, name)(adata, save=tmp_path / f"{name}.png", **options)
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000
    plt.close("all")
    adata.uns["em"]["labels"] = "known"
    with pytest.raises(InputError, match="every cell with a known type has a label"):
        emtools.pl.confusion(adata, "known")
    del adata.uns["em"]["selection"]
    with pytest.raises(InputError, match="no 'selection'"):
        emtools.pl.selection(adata)
