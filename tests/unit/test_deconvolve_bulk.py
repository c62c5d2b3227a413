"""The command for mixtures: answers on planted fractions, what is written, and one line for what cannot be used."""

import json
from itertools import pairwise
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from emtools.branches.deconvolve.bulk import layer_names
from emtools.cli import main
from emtools.io.bulk import logarithm_of
from emtools.io.outputs import OWN
from emtools.plots.deconvolve_bulk import draw_composition, draw_factors
from emtools.plots.deconvolve_checks import draw_reliability

GENES = [f"G{i}" for i in range(90)]
TYPES = ("B cell", "CD4+/CD8+ T", "NK")


def drawn(rng, codes):
    rates = np.full((3, 90), 0.5)
    for k in range(3):
        rates[k, 30 * k : 30 * k + 20] = 5.0
    return rng.poisson(rates[codes]).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """40 cells of each of three types, and eight mixtures of 90 others."""
    rng = np.random.default_rng(2)
    folder = tmp_path_factory.mktemp("input")
    codes = np.repeat([0, 1, 2], 40)
    obs = pd.DataFrame(
        {"known": np.array(TYPES)[codes], "donor": np.tile(["d1", "d2", "d3", "d4"], 30)},
        index=[f"c{i}" for i in range(120)],
    )
    cells = anndata.AnnData(sparse.csr_matrix(drawn(rng, codes)), obs, pd.DataFrame(index=GENES))
    cells.write_h5ad(folder / "cells.h5ad")
    counts = rng.multinomial(90, [0.5, 0.3, 0.2], 8)
    values = np.array([drawn(rng, np.repeat([0, 1, 2], row)).sum(axis=0) for row in counts])
    frame = pd.DataFrame(values, index=[f"s{i}" for i in range(8)], columns=GENES)
    frame.T.to_csv(folder / "bulk.csv")
    anndata.AnnData(frame).write_h5ad(folder / "bulk.h5ad")
    pd.DataFrame(counts / 90, index=frame.index, columns=list(TYPES)).to_csv(folder / "truth.csv")
    return folder


def arguments(files: Path, out: Path, *more: str, bulk: str = "bulk.h5ad", cells: str = "cells.h5ad") -> list[str]:
    words = ["deconvolve", str(files / bulk), "--reference", str(files / cells), "--labels", "known"]
    return [*words, "--out", str(out), *more]


@pytest.fixture(scope="module")
def answer(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("answer") / "out"
    assert main(arguments(files, out)) == 0
    return out


def test_planted_fractions_are_found(files, answer):
    truth = pd.read_csv(files / "truth.csv", index_col=0)
    adata = anndata.read_h5ad(answer / "mixtures.h5ad")
    found = adata.obsm["em_fractions"]
    assert list(found.columns) == list(TYPES)
    assert np.sqrt(((found - truth) ** 2).to_numpy().mean()) < 0.04
    table = pd.read_csv(answer / "fractions.csv")
    assert ((table["lower_95"] <= table["fraction"]) & (table["fraction"] <= table["upper_95"])).all()
    inside = (table["lower_95"] <= truth.to_numpy().ravel()) & (truth.to_numpy().ravel() <= table["upper_95"])
    assert inside.mean() >= 0.8
    assert np.allclose(found.to_numpy().ravel(), table["fraction"], rtol=1e-12, atol=0)


def test_the_page_says_where_mixtures_and_reference_differ_by_more_than_chance(files, answer, tmp_path):
    rng = np.random.default_rng(3)
    rates = np.full((3, 90), 0.5)
    for k in range(3):
        rates[k, 30 * k : 30 * k + 20] = 5.0
    foreign = rng.poisson(rng.multinomial(90, [0.5, 0.3, 0.2], 8) @ (rates * np.exp(rng.normal(0, 1, rates.shape))))
    frame = pd.DataFrame(foreign, index=[f"s{i}" for i in range(8)], columns=GENES)
    frame.T.to_csv(tmp_path / "foreign.csv")
    words = arguments(files, tmp_path / "out")
    words[1] = str(tmp_path / "foreign.csv")
    assert main(words) == 0
    misfits, said = [], []
    for folder in (answer, tmp_path / "out"):
        misfits.append(json.loads((folder / "fit.json").read_text())["extra"]["misfit"])
        said.append("Mixtures and reference differ" in (folder / "report.html").read_text())
    assert misfits[0] < 40 < misfits[1]
    assert said == [False, True]


def test_layers_of_types_add_up_to_about_the_mixture(answer):
    adata = anndata.read_h5ad(answer / "mixtures.h5ad")
    keys = list(adata.uns["em"]["layers"])
    assert keys == ["em_B cell", "em_CD4+_CD8+ T", "em_NK"]
    total = sum(adata.layers[key] for key in keys)
    assert abs(total.sum() / adata.X.sum() - 1) < 0.05
    assert all((adata.layers[f"{key}_sd"] >= 0).all() for key in keys)


def test_every_output_is_known_as_our_own(answer):
    assert all(OWN.fullmatch(path.name) for path in answer.iterdir())
    assert {"report.html", "fit.json", "composition.svg", "factors.png"} <= {path.name for path in answer.iterdir()}


def test_a_table_either_way_round_gives_the_same(files, answer, tmp_path):
    pd.read_csv(files / "bulk.csv", index_col=0).T.to_csv(tmp_path / "turned.csv")
    for name, bulk in (("a", files / "bulk.csv"), ("b", tmp_path / "turned.csv")):
        words = arguments(files, tmp_path / name)
        words[1] = str(bulk)
        assert main(words) == 0
        assert (tmp_path / name / "fractions.csv").read_bytes() == (answer / "fractions.csv").read_bytes()


@pytest.mark.rendered
def test_again_with_two_threads_the_same_bytes(files, answer, tmp_path):
    assert main(arguments(files, tmp_path / "out", "--threads", "2")) == 0
    for name in ("fractions.csv", "mixtures.h5ad", "fit.json", "composition.png", "report.html"):
        assert (tmp_path / "out" / name).read_bytes() == (answer / name).read_bytes(), name


def test_donors_and_rna(files, answer, tmp_path):
    assert main(arguments(files, tmp_path / "out", "--donor", "donor", "--rna")) == 0
    adata = anndata.read_h5ad(tmp_path / "out" / "mixtures.h5ad")
    assert adata.uns["em"]["fractions_of"] == "RNA"
    assert np.allclose(adata.obsm["em_fractions"].sum(axis=1), 1, rtol=1e-12, atol=0)


@pytest.fixture(scope="module")
def profiles(files):
    """Mean profiles of the three types as a table of genes by types."""
    cells = anndata.read_h5ad(files / "cells.h5ad")
    means = pd.DataFrame(cells.X.toarray(), columns=GENES).groupby(cells.obs["known"].to_numpy()).mean()
    means.T.to_csv(files / "profiles.tsv", sep="\t")
    return files


@pytest.mark.parametrize("turn", [False, True])
def test_a_table_of_profiles_is_a_reference_either_way_round(profiles, tmp_path, turn):
    frame = pd.read_csv(profiles / "profiles.tsv", sep="\t", index_col=0)
    (frame.T if turn else frame).to_csv(tmp_path / "profiles.csv")
    words = ["deconvolve", str(profiles / "bulk.csv"), "--reference", str(tmp_path / "profiles.csv"), "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0
    found = anndata.read_h5ad(tmp_path / "out" / "mixtures.h5ad").obsm["em_fractions"]
    truth = pd.read_csv(profiles / "truth.csv", index_col=0)
    assert list(found.columns) == list(TYPES)
    assert np.sqrt(((found - truth) ** 2).to_numpy().mean()) < 0.04


@pytest.mark.parametrize("turn", [False, True])
def test_names_that_occur_twice_in_a_table_either_way_round(profiles, tmp_path, capsys, turn):
    def ask(bulk, reference):
        for frame, name in ((bulk, "bulk.csv"), (reference, "profiles.csv")):
            (frame.T if turn else frame).to_csv(tmp_path / name)
        words = ["deconvolve", str(tmp_path / "bulk.csv"), "--reference", str(tmp_path / "profiles.csv")]
        status = main([*words, "--out", str(tmp_path / "out")])
        return status, capsys.readouterr().err

    bulk = pd.read_csv(profiles / "bulk.csv", index_col=0)
    reference = pd.read_csv(profiles / "profiles.tsv", sep="\t", index_col=0)
    status, said = ask(bulk.rename(columns={"s1": "s0"}), reference)
    assert (status, "bulk.csv: 1 sample names occur more than once (s0)" in said) == (2, True)
    status, said = ask(bulk, reference.rename(columns={"NK": "B cell"}))
    assert (status, "profiles.csv: 1 type names occur more than once (B cell)" in said) == (2, True)
    halves = pd.concat([bulk.drop(index="G7"), bulk.loc[["G7"]] - 3, bulk.loc[["G7"]] * 0 + 3])
    status, said = ask(halves, reference)
    assert (status, "1 gene names of bulk.csv occur more than once: their values were added" in said) == (0, True)
    found = anndata.read_h5ad(tmp_path / "out" / "mixtures.h5ad")
    expected = bulk.loc[list(found.var_names)].to_numpy().T
    np.testing.assert_allclose(found.X, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_spots_of_sections_put_together_may_have_names_in_common(profiles, tmp_path):
    bulk = anndata.read_h5ad(profiles / "bulk.h5ad")
    bulk.obs_names = ["AAAC-1", "AAAG-1"] * 4
    bulk.write_h5ad(tmp_path / "spots.h5ad")
    words = ["deconvolve", str(tmp_path / "spots.h5ad"), "--reference", str(profiles / "profiles.tsv"), "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0


def test_options_that_do_not_fit_the_kind_of_reference(profiles, tmp_path, capsys):
    words = ["deconvolve", str(profiles / "bulk.csv"), "--out", str(tmp_path / "out"), "--reference"]
    assert main([*words, str(profiles / "profiles.tsv"), "--donor", "donor"]) == 2
    assert "--donor: given with a table of profiles (profiles.tsv)" in capsys.readouterr().err
    assert main([*words, str(profiles / "cells.h5ad")]) == 2
    assert "--labels: is missing" in capsys.readouterr().err


def test_profiles_of_one_total_give_fractions_of_rna(profiles, tmp_path, capsys):
    frame = pd.read_csv(profiles / "profiles.tsv", sep="\t", index_col=0)
    (1e6 * frame / frame.sum()).to_csv(tmp_path / "profiles.csv")
    words = ["deconvolve", str(profiles / "bulk.csv"), "--reference", str(tmp_path / "profiles.csv"), "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0
    assert "all profiles have one total: fractions are of RNA" in capsys.readouterr().err


RNA = {"NK": 0.5, "B cell": 1.0, "CD4+/CD8+ T": 4.0}  # in another order than the types


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """Cells whose RNA per cell differs but was normalised to one total, mixtures of such cells, what they hold, and RNA per cell."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("unequal")
    codes, each = np.repeat([0, 1, 2], 40), np.array([RNA[name] for name in TYPES])
    rates = np.full((3, 90), 1.0)
    for k in range(3):
        rates[k, 30 * k : 30 * k + 20] = 9.0
    rates *= 5.0 * each[:, None]
    raw = rng.poisson(rates[codes]).astype(np.float32)
    obs = pd.DataFrame({"known": np.array(TYPES)[codes]}, index=[f"c{i}" for i in range(120)])
    for name, values in (("raw.h5ad", raw), ("cells.h5ad", 1e3 * raw / raw.sum(axis=1, keepdims=True))):
        anndata.AnnData(values, obs, pd.DataFrame(index=GENES)).write_h5ad(folder / name)
    counts = rng.multinomial(200, [0.5, 0.2, 0.3], 8)
    parts = np.array([[rng.poisson(rates[k], (n, 90)).sum(axis=0) for k, n in enumerate(row)] for row in counts])
    frame = pd.DataFrame(parts.sum(axis=1), index=[f"s{i}" for i in range(8)], columns=GENES)
    anndata.AnnData(frame.astype(np.float32)).write_h5ad(folder / "bulk.h5ad")
    np.savez(folder / "truth.npz", cells=counts / 200, RNA=parts.sum(axis=2) / parts.sum(axis=(1, 2))[:, None])
    rows = ["type,rna", "Treg,2", *(f"{name},{value}" for name, value in RNA.items())]
    (folder / "rna.csv").write_text("\n".join(rows) + "\n")
    return folder


def off(found, truth) -> float:
    return float(np.sqrt(np.mean((np.asarray(found).reshape(truth.shape) - truth) ** 2)))


def test_rna_per_cell_makes_fractions_of_cells_of_those_of_rna(unequal, tmp_path, capsys):
    truth = np.load(unequal / "truth.npz")
    assert main(arguments(unequal, tmp_path / "without")) == 0
    assert main(arguments(unequal, tmp_path / "out", "--rna-per-cell", str(unequal / "rna.csv"))) == 0
    assert "Treg of rna.csv is not in the reference" in capsys.readouterr().err
    without, table = (pd.read_csv(tmp_path / name / "fractions.csv") for name in ("without", "out"))
    assert list(table.columns[:6]) == list(without.columns)
    assert off(without["fraction"], truth["cells"]) > 0.1
    assert off(table["fraction"], truth["cells"]) < 0.02
    assert off(table["rna_fraction"], truth["RNA"]) < 0.02
    for prefix, of in (("", "cells"), ("rna_", "RNA")):
        low, high = (table[f"{prefix}{end}_95"].to_numpy().reshape(8, 3) for end in ("lower", "upper"))
        assert ((low <= truth[of]) & (truth[of] <= high)).mean() >= 0.8, of
        assert np.allclose(table[f"{prefix}fraction"].groupby(table["sample"]).sum(), 1.0, rtol=1e-12, atol=0)
    adata = anndata.read_h5ad(tmp_path / "out" / "mixtures.h5ad")
    upper = adata.obsm["em_fractions_rna_upper"].to_numpy().ravel()
    assert np.allclose(upper, table["rna_upper_95"], rtol=1e-12, atol=0)
    assert list(adata.uns["em"]["rna_per_cell"]) == [RNA[name] for name in TYPES]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "those of cells are these over the RNA per cell of rna.csv" in page
    assert "Fractions of RNA" in page
    assert main(arguments(unequal, tmp_path / "rna", "--rna", "--rna-per-cell", str(unequal / "rna.csv"))) == 0
    other = pd.read_csv(tmp_path / "rna" / "fractions.csv")
    assert np.array_equal(other["fraction"], table["rna_fraction"])
    assert np.array_equal(other["cells_upper_95"], table["upper_95"])


def test_rna_per_cell_of_the_reference_is_in_counts_and_gone_from_normalised_cells(unequal, tmp_path, capsys):
    truth = np.load(unequal / "truth.npz")
    for name, more in (("with", ["--rna-per-cell", "reference"]), ("without", [])):
        assert main(arguments(unequal, tmp_path / name, *more, cells="raw.h5ad")) == 0
    table, plain = (pd.read_csv(tmp_path / name / "fractions.csv") for name in ("with", "without"))
    assert table[plain.columns].equals(plain)
    assert off(table["fraction"], truth["cells"]) < 0.02
    assert off(table["rna_fraction"], truth["RNA"]) < 0.02
    by_file = arguments(unequal, tmp_path / "file", "--rna-per-cell", str(unequal / "rna.csv"), cells="raw.h5ad")
    assert main(by_file) == 0
    assert off(pd.read_csv(tmp_path / "file" / "fractions.csv")["fraction"], truth["cells"]) < 0.02
    assert main(arguments(unequal, tmp_path / "out", "--rna-per-cell", "reference")) == 2
    assert "X holds values that are not whole numbers: totals are not the RNA of a cell" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("cut", "X holds values that are not whole numbers"),
        ("counts", "layers['counts'] holds values that are not whole numbers"),
        ("rounded", "all cells have one total"),
        ("varying", ""),
    ],
)
def test_rna_per_cell_of_the_reference_needs_raw_counts_whatever_the_means_of_types(
    unequal, tmp_path, capsys, made, said
):
    adata = anndata.read_h5ad(unequal / "cells.h5ad")
    if made == "cut":  # totals of what is left differ by type, though those of cells were one
        adata = adata[:, 15:].copy()
    elif made == "counts":
        adata.X, adata.layers["counts"] = np.rint(adata.X), adata.X[:, ::-1].copy()
    elif made == "rounded":
        adata.X = np.rint(100 * adata.X)
    else:  # whole counts, cells that differ, types of one mean total: a gene takes up what each lacks
        means = adata.X.reshape(3, 40, 90).mean(axis=1, keepdims=True)
        adata.X = np.rint(means * np.linspace(0.5, 1.5, 40)[:, None]).reshape(120, 90)
        totals = adata.X.sum(axis=1).reshape(3, 40).sum(axis=1)
        adata.X[::40, 89] += totals.max() - totals
    adata.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "bulk.h5ad").write_bytes((unequal / "bulk.h5ad").read_bytes())
    code = main(arguments(tmp_path, tmp_path / "out", "--rna-per-cell", "reference"))
    assert said in capsys.readouterr().err
    assert code == (2 if said else 0)
    if not said:
        table = pd.read_csv(tmp_path / "out" / "fractions.csv")
        assert off(table["fraction"], np.load(unequal / "truth.npz")["RNA"]) < 0.02
        assert np.allclose(table["fraction"], table["rna_fraction"], rtol=1e-12, atol=0)


def test_profiles_of_a_table_count_as_per_unit_of_rna_and_totals_that_differ_are_told(unequal, tmp_path, capsys):
    cells = anndata.read_h5ad(unequal / "raw.h5ad")
    means = pd.DataFrame(cells.X, columns=GENES).groupby(cells.obs["known"].to_numpy()).mean()
    means.T.to_csv(tmp_path / "profiles.csv")
    words = ["deconvolve", str(unequal / "bulk.h5ad"), "--reference", str(tmp_path / "profiles.csv"), "--rna-per-cell"]
    assert main([*words, str(unequal / "rna.csv"), "--out", str(tmp_path / "out")]) == 0
    totals = means.sum(axis=1)
    said = f"profiles of profiles.csv have different totals ({totals.min():.4g} to {totals.max():.4g}) and were taken as per unit of RNA"
    assert said in capsys.readouterr().err
    assert said in (tmp_path / "out" / "report.html").read_text()
    assert main([*words[:-1], "--out", str(tmp_path / "plain")]) == 0
    plain, table = (pd.read_csv(tmp_path / name / "fractions.csv") for name in ("plain", "out"))
    rna = plain["fraction"].to_numpy().reshape(8, 3)
    for column, of, due in (("rna_fraction", "RNA", rna), ("fraction", "cells", rna / [RNA[name] for name in TYPES])):
        due /= due.sum(axis=1, keepdims=True)
        assert np.allclose(table[column], due.ravel(), rtol=1e-6, atol=1e-9), of


def test_cells_that_may_be_cut_after_they_were_normalised_are_named(unequal, tmp_path, capsys):
    cells = anndata.read_h5ad(unequal / "cells.h5ad")
    cells[:, 15:].copy().write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "bulk.h5ad").write_bytes((unequal / "bulk.h5ad").read_bytes())
    for folder, name, said in ((tmp_path, "cells", True), (unequal, "cells", False), (unequal, "raw", False)):
        out = tmp_path / f"{folder.name}_{name}"
        assert main(arguments(folder, out, "--rna-per-cell", str(unequal / "rna.csv"), cells=f"{name}.h5ad")) == 0
        assert ("profiles of cells.h5ad have different totals" in capsys.readouterr().err) == said


def test_profiles_per_unit_of_rna_are_given_whole_and_genes_chosen_by_markers(unequal, tmp_path, capsys):
    truth = np.load(unequal / "truth.npz")
    cells = anndata.read_h5ad(unequal / "cells.h5ad")
    means = pd.DataFrame(cells.X, columns=GENES).groupby(cells.obs["known"].to_numpy()).mean()
    means.T.to_csv(tmp_path / "profiles.csv")
    (tmp_path / "markers.txt").write_text("\n".join(GENES[15:]) + "\n")
    words = ["deconvolve", str(unequal / "bulk.h5ad"), "--reference", str(tmp_path / "profiles.csv")]
    words += ["--rna-per-cell", str(unequal / "rna.csv"), "--markers", str(tmp_path / "markers.txt")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "different totals" not in capsys.readouterr().err
    assert off(pd.read_csv(tmp_path / "out" / "fractions.csv")["fraction"], truth["cells"]) < 0.03


def test_profiles_of_a_table_are_of_equal_amounts_of_rna(unequal, tmp_path, capsys):
    truth = np.load(unequal / "truth.npz")
    cells = anndata.read_h5ad(unequal / "cells.h5ad")
    means = pd.DataFrame(cells.X, columns=GENES).groupby(cells.obs["known"].to_numpy()).mean()
    means.T.to_csv(tmp_path / "profiles.csv")
    words = ["deconvolve", str(unequal / "bulk.h5ad"), "--reference", str(tmp_path / "profiles.csv"), "--rna-per-cell"]
    assert main([*words, str(unequal / "rna.csv"), "--out", str(tmp_path / "out")]) == 0
    assert "fractions are of RNA, not of cells" not in capsys.readouterr().err
    assert off(pd.read_csv(tmp_path / "out" / "fractions.csv")["fraction"], truth["cells"]) < 0.03
    assert main([*words, "reference", "--out", str(tmp_path / "none")]) == 2
    assert "a table of profiles, without cells" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("type,rna\nB cell,1\nT,2\nNK,1\n", "no RNA per cell for CD4+/CD8+ T; it has T beside"),
        ("type,rna\nB cell,1\nCD4+/CD8+ T,0\nNK,1\n", "no number above 0 for CD4+/CD8+ T"),
        ("type,rna\nB cell,1\nCD4+/CD8+ T,\nNK,1\n", "no number above 0 for CD4+/CD8+ T"),
        ("type,rna\nB cell,1\nB cell,2\n", "B cell stand there more than once"),
        ("type,rna,n\nB cell,1,3\n", "2 columns beside the types"),
        ("type,rna\nB cell,much\n", "columns rna hold text"),
        ("type,rna\nB cell,1\nT\r cell,2\n", "no number above 0 for T"),  # pandas makes 262,144 rows of it
        ("type,rna\n", "no row below the header line"),
        ("", "the file is empty"),
    ],
)
def test_hostile_rna_per_cell(unequal, tmp_path, capsys, text, said):
    (tmp_path / "rna.csv").write_text(text)
    assert main(arguments(unequal, tmp_path / "out", "--rna-per-cell", str(tmp_path / "rna.csv"))) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rna_per_cell_without_a_reference_or_a_file(unequal, tmp_path, capsys):
    words = ["deconvolve", str(unequal / "raw.h5ad"), "--components", "3", "--out", str(tmp_path / "out")]
    assert main([*words, "--rna-per-cell", "reference"]) == 2
    assert "--rna-per-cell: given without --reference" in capsys.readouterr().err
    assert main(arguments(unequal, tmp_path / "out", "--rna-per-cell", str(tmp_path / "none.csv"))) == 2
    assert "none.csv" in capsys.readouterr().err


@pytest.mark.parametrize("table", [False, True])
def test_markers_restrict_the_genes(files, tmp_path, capsys, table):
    names = [*GENES[:20], *GENES[30:50], *GENES[60:80], "ABSENT"]
    rows = ["type,gene", *(f"x,{name}" for name in names)] if table else names
    (tmp_path / "markers.csv").write_text("\n".join(rows) + "\n")
    assert main(arguments(files, tmp_path / "out", "--markers", str(tmp_path / "markers.csv"))) == 0
    assert "60 of 61 markers are in both files" in capsys.readouterr().err
    adata = anndata.read_h5ad(tmp_path / "out" / "mixtures.h5ad")
    assert set(adata.var_names) <= set(names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gene\n", "names no gene"),
        ("type\tmarker\nB\tG1\n", "no column 'gene' among type, marker"),
        ("G1\nG2\nG31\n", "3 of 3 markers are in both"),
    ],
)
def test_hostile_markers(files, tmp_path, capsys, text, said):
    (tmp_path / "markers.txt").write_text(text)
    assert main(arguments(files, tmp_path / "out", "--markers", str(tmp_path / "markers.txt"))) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_names_of_the_genes_are_pointed_at(files, tmp_path, capsys):
    cells = anndata.read_h5ad(files / "cells.h5ad")
    cells.var["symbol"] = list(cells.var_names)
    cells.var_names = [f"ENSG{i:011d}" for i in range(cells.n_vars)]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "bulk.h5ad").write_bytes((files / "bulk.h5ad").read_bytes())
    assert main(arguments(tmp_path, tmp_path / "out")) == 2
    assert "var['symbol'] of cells.h5ad names 90 of them: make it var_names" in capsys.readouterr().err


def test_names_of_layers_can_be_read_back_and_differ():
    assert layer_names(["a/b", "a_b", "c"]) == ["em_a_b", "em_a_b_", "em_c"]


def changed(files: Path, name: str, make) -> Path:
    adata = anndata.read_h5ad(files / name)
    return make(adata) or adata


def ensembl(adata):
    adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]


def logged(adata):
    adata.X = np.log1p(1e4 * adata.X / adata.X.sum(axis=1, keepdims=True))


def logged_base_2(adata):
    adata.X = np.log2(1 + 1e6 * adata.X / adata.X.sum(axis=1, keepdims=True))


def negative(adata):
    adata.X = adata.X - adata.X.mean(axis=0)


def gap(adata):
    adata.X[2, 3] = np.nan


def empty(adata):
    adata.X[4] = 0


def twice(adata):
    names = list(adata.var_names)
    names[1] = names[0]
    adata.var_names = names


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (ensembl, 2, "0 of 90 genes are common to both (Ensembl ids such as ENSG00000000000"),
        (negative, 2, "some values are negative (scaled or centred data)"),
        (gap, 2, "1 values are missing or infinite"),
        (empty, 2, "s4 has no expression in the common genes"),
        (logged, 0, "X of bulk.h5ad holds logarithms (no whole numbers, largest"),
        (logged, 0, "they were undone as ln(x + 1)"),
        (logged_base_2, 0, "they were undone as log2(x + 1)"),
        (twice, 0, "1 gene names of bulk.h5ad occur more than once"),
    ],
)
def test_hostile_mixtures(files, tmp_path, capsys, make, code, said):
    (tmp_path / "cells.h5ad").write_bytes((files / "cells.h5ad").read_bytes())
    changed(files, "bulk.h5ad", make).write_h5ad(tmp_path / "bulk.h5ad")
    assert main(arguments(tmp_path, tmp_path / "out")) == code
    assert said in capsys.readouterr().err
    assert (tmp_path / "out").exists() == (code == 0)


@pytest.mark.parametrize(
    ("table", "base", "shift"),
    [
        (lambda x: np.log2(x + 30.0), 2.0, 0.0),
        (lambda x: np.log2(1 + 1e6 * x / x.sum(axis=1, keepdims=True)), 2.0, 1.0),
        (lambda x: np.log2(1 + 1e6 * x / x.sum(axis=1, keepdims=True)).T, 2.0, 1.0),
        (lambda x: np.log1p(1e4 * x / x.sum(axis=1, keepdims=True)), np.e, 1.0),
        (lambda x: sparse.csr_matrix(np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))), np.e, 1.0),
        (lambda x: np.log1p(x), np.e, 1.0),
    ],
)
def test_base_of_logarithms(table, base, shift):
    x = np.random.default_rng(3).negative_binomial(0.5, 0.001, (12, 400)).astype(float)
    assert logarithm_of(table(x)) == (base, shift)


@pytest.mark.parametrize(
    ("labels", "code", "said"),
    [
        (["a"] * 119 + ["b"], 2, "one cell only of b"),
        (["a"] * 60 + ["b"] * 58 + ["c"] * 2, 0, "few cells of c (2)"),
        (["a"] * 120, 2, "one type (a)"),
    ],
)
def test_types_with_few_cells(files, tmp_path, capsys, labels, code, said):
    adata = anndata.read_h5ad(files / "cells.h5ad")
    adata.obs["known"] = labels
    adata.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "bulk.h5ad").write_bytes((files / "bulk.h5ad").read_bytes())
    assert main(arguments(tmp_path, tmp_path / "out")) == code
    assert said in capsys.readouterr().err


def test_a_file_cut_off_and_options_of_the_other_kind(files, tmp_path, capsys):
    whole = (files / "bulk.h5ad").read_bytes()
    (tmp_path / "bulk.h5ad").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cells.h5ad").write_bytes((files / "cells.h5ad").read_bytes())
    assert main(arguments(tmp_path, tmp_path / "out")) == 2
    assert "cut off or damaged" in capsys.readouterr().err
    assert main(arguments(files, tmp_path / "out", "--components", "3")) == 2
    assert "--components: given with --reference" in capsys.readouterr().err
    assert main(["deconvolve", str(files / "cells.h5ad"), "--out", str(tmp_path / "out")]) == 2
    assert "--components: is missing" in capsys.readouterr().err


def kept_figures(monkeypatch):
    """The figures that would be saved."""
    kept = []
    for module in ("deconvolve_bulk", "deconvolve_checks"):
        monkeypatch.setattr(f"emtools.plots.{module}.save", lambda figure, folder, picture: kept.append(figure))
    return kept


def test_names_of_types_stay_over_their_panels(tmp_path, monkeypatch):
    kept = kept_figures(monkeypatch)
    types = ["CD4+/CD25 T Reg", "CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic T", "CD14+ Monocyte"]
    fractions = np.random.default_rng(0).dirichlet(np.ones(4), size=6)
    draw_composition(fractions, fractions / 2, fractions + 0.1, types, [f"donor{i}" for i in range(6)], tmp_path)
    figure = kept[0]
    figure.canvas.draw()
    panels = figure.subfigs[1].axes
    boxes = [panel._left_title.get_window_extent() for panel in panels]
    assert all(one.x1 < two.x0 for one, two in pairwise(boxes))
    assert all(panel.get_xlim()[0] < -0.5 for panel in panels)  # the first sample stands beside the axis, not on it
    plt.close("all")


@pytest.mark.parametrize(("widest", "reach"), [(0.3, 2.0), (3.4, 4.0), (30.0, 8.0)])
def test_factors_of_genes_fill_their_figure(widest, reach, tmp_path, monkeypatch):
    kept = kept_figures(monkeypatch)
    draw_factors(2.0 ** np.linspace(-widest, widest, 50), np.linspace(1.0, 9.0, 50), tmp_path)
    assert kept[0].axes[1].get_ylim() == (-reach, reach)
    plt.close("all")


def test_each_curve_of_certainty_says_who_was_judged(tmp_path):
    curve = {"certainty": [0.4, 0.95], "right": [0.2, 0.9], "n": [24, 91], "n_units": 38, "error": 0.1}
    curves = {"other fits agree": curve, "known": curve | {"n_units": 115}}
    caption = draw_reliability(curves, "rows", tmp_path).caption
    assert (
        "(no label was used: this is stability, not truth), n = 38 rows, judged by 3 fits to others on average; the"
        in caption
    )
    assert "the known known, groups matched to its groups one to one, n = 115 rows. On" in caption
    plt.close("all")


def test_what_explains_the_curves_of_certainty_hides_none(tmp_path, monkeypatch):
    kept = kept_figures(monkeypatch)
    curve = {"certainty": [0.4, 0.6, 0.95], "right": [0.2, 0.1, 0.9], "n": [4, 20, 90], "n_units": 38, "error": 0.1}
    draw_reliability({"other fits agree": curve, "known": curve}, "cells", tmp_path)
    figure = kept[0]
    figure.canvas.draw()
    assert figure.axes[0].get_legend().get_window_extent().y0 >= figure.axes[0].get_window_extent().y1
    plt.close("all")
