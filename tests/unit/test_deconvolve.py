"""The command: answers on planted types, the same bytes, and one line for what cannot be used."""

import json
import re
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import multivariate_normal

from emtools.cli import main
from emtools.io.outputs import OWN
from emtools.plots.deconvolve import numbers
from emtools.plots.deconvolve_checks import selection_figure
from emtools.tl import mixture

N = 150
TRUTH = np.repeat(["B cell", "CD4+/CD8+ T", "NK"], [75, 45, 30])
SPREAD = 0.5


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 cells of three types far apart in three PCs, each with genes of its own, of two donors."""
    rng = np.random.default_rng(7)
    codes = np.repeat([0, 1, 2], [75, 45, 30])
    rates = np.full((3, 9), 0.3)
    for k in range(3):
        rates[k, 3 * k : 3 * k + 3] = 6.0
    obs = pd.DataFrame(
        {"known": TRUTH, "donor": np.where(rng.random(N) < 0.4, "d1", "d2")}, index=[f"c{i}" for i in range(N)]
    )
    var = pd.DataFrame(index=["CD19", "MS4A1", "CD79A", "CD3D", "CD3E", "CD2", "NKG7", "GNLY", "PRF1"])
    adata = anndata.AnnData(sparse.csr_matrix(np.log1p(rng.poisson(rates[codes])).astype(np.float32)), obs, var)
    centres = np.array([[0.0, 0, 0], [6, 0, 2], [0, 7, -3]])
    adata.obsm["X_pca"] = centres[codes] + SPREAD * rng.standard_normal((N, 3))
    path = tmp_path_factory.mktemp("input") / "planted.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def answer(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("answer") / "out"
    assert main(arguments(planted, out)) == 0
    return out


def arguments(path: Path, out: Path, *more: str) -> list[str]:
    words = ["deconvolve", str(path), "--out", str(out), "--components", "3", "--starts", "3"]
    return [*words, "--sample", "donor", "--truth", "known", *more]


def test_planted_types_are_found(planted: Path, answer: Path) -> None:
    accuracy = pd.read_csv(answer / "accuracy.tsv", sep="\t").set_index(["method", "metric"])["value"]
    for method in ("Gaussian mixture", "K-means"):
        for metric in ("ARI", "NMI", "matched accuracy", "majority accuracy"):
            assert accuracy[method, metric] == pytest.approx(1.0, abs=1e-12)
    cells, given = anndata.read_h5ad(answer / "cells.h5ad"), anndata.read_h5ad(planted)
    names = dict(zip(["B cell", "CD4+/CD8+ T", "NK"], ["type_1", "type_2", "type_3"], strict=True))
    assert list(cells.obs["em_type"]) == [names[t] for t in TRUTH]
    assert list(cells.obs["known"]) == list(TRUTH)
    assert (cells.X != given.X).nnz == 0
    weights = cells.obsm["em_responsibilities"]
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    dense = given.X.toarray().astype(np.float64)
    naive = [(weights[t].to_numpy() @ dense) / weights[t].sum() for t in weights]
    np.testing.assert_allclose(cells.varm["em_profiles"], np.array(naive).T, rtol=1e-12, atol=0)
    profiles = pd.read_csv(answer / "profiles.tsv", sep="\t", index_col="gene")
    np.testing.assert_allclose(profiles, cells.varm["em_profiles"], rtol=1e-12, atol=0)
    assert profiles["type_3"].nlargest(3).index.sort_values().tolist() == ["GNLY", "NKG7", "PRF1"]


def test_loglik_is_that_of_the_parameters_returned(planted: Path, answer: Path) -> None:
    record = json.loads((answer / "fit.json").read_text())
    values = anndata.read_h5ad(planted).obsm["X_pca"]
    parameters = {name: np.array(entry["value"]) for name, entry in record["parameters"].items()}
    density = sum(
        weight * multivariate_normal(mean, covariance).pdf(values)
        for weight, mean, covariance in zip(
            parameters["weights"], parameters["means"], parameters["covariances"], strict=True
        )
    )
    assert record["loglik"] == pytest.approx(np.log(density).sum(), rel=1e-12)
    stored = anndata.read_h5ad(answer / "cells.h5ad").uns["em"]
    assert stored["loglik"] == record["loglik"]
    np.testing.assert_array_equal(stored["parameters"]["means"], parameters["means"])


def test_proportions_count_cells_by_responsibility(answer: Path) -> None:
    shares = pd.read_csv(answer / "proportions.tsv", sep="\t")
    np.testing.assert_allclose(shares["proportion"], [0.5, 0.3, 0.2], rtol=0, atol=1e-6)
    binomial = np.sqrt(shares["proportion"] * (1 - shares["proportion"]) / N)
    np.testing.assert_allclose(shares["standard_error"], binomial, rtol=1e-3)
    cells = anndata.read_h5ad(answer / "cells.h5ad")
    table = pd.read_csv(answer / "proportions_by_sample.tsv", sep="\t")
    for (donor, name), row in table.set_index(["donor", "type"]).iterrows():
        inside = (cells.obs["donor"] == donor).to_numpy()
        assert row["proportion"] == pytest.approx(cells.obsm["em_responsibilities"][name][inside].mean(), rel=1e-12)
        assert row["n"] == inside.sum()


def test_files(answer: Path) -> None:
    figures = ("types", "profiles", "proportions", "composition", "reliability", "confusion", "convergence")
    tables = ("accuracy.tsv", "proportions.tsv", "proportions_by_sample.tsv", "profiles.tsv")
    expected = {f"{f}.{e}" for f in figures for e in ("svg", "png")} | {
        *tables,
        "cells.h5ad",
        "fit.json",
        "report.html",
    }
    assert {path.name for path in answer.iterdir()} == expected | {".outputs.json"}
    assert set(json.loads((answer / "fit.json").read_text())["outputs"]) == expected
    assert all(OWN.fullmatch(name) for name in expected)
    page = (answer / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(page) < 1_000_000


@pytest.mark.rendered
def test_same_bytes_for_any_number_of_threads(planted: Path, answer: Path, tmp_path: Path) -> None:
    assert main(arguments(planted, tmp_path / "again", "--threads", "2")) == 0
    for path in sorted(answer.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_budget_is_not_convergence(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "short"
    assert main(arguments(planted, out, "--max-passes", "2", "--family", "diagonal", "--seed", "9" * 30)) == 3
    assert json.loads((out / "fit.json").read_text())["status"] == "budget"


def two_groups(frame: pd.DataFrame, folder: Path) -> list[str]:
    """Write a table, and the words of a command that finds two groups of its rows."""
    frame.to_csv(folder / "t.csv", index=False)
    return ["deconvolve", f"{folder}/t.csv", "--out", f"{folder}/out", "--components", "2", "--starts", "2"]


def test_rows_of_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    group = np.repeat([0, 1], [40, 20])
    frame = pd.DataFrame(
        {
            "patient": [f"P{i}" for i in range(60)],
            "bili": np.exp(rng.normal([0.0, 3.0], 0.3, (60, 2))[np.arange(60), group]),
            "albumin": rng.normal([4.0, 2.5], 0.2, (60, 2))[np.arange(60), group],
            "centre/ward": rng.choice(["x", "y"], 60),
            "stage": group + 1,
        }
    )
    words = two_groups(frame, tmp_path)
    words += ["--truth", "stage", "--log", "bili", "--columns", "bili", "albumin", "--family", "diagonal"]
    assert main([*words, "--prefix", "group"]) == 0
    cells = anndata.read_h5ad(tmp_path / "out" / "cells.h5ad")
    assert list(cells.obs_names) == list(frame["patient"])
    assert list(cells.obs["em_type"]) == [f"group_{g + 1}" for g in group]
    assert "centre_ward" in cells.obs
    np.testing.assert_allclose(cells.X, frame[["bili", "albumin"]], rtol=1e-12)
    weights = cells.obsm["em_responsibilities"].to_numpy()
    geometric = np.exp(np.log(frame["bili"].to_numpy()) @ weights / weights.sum(axis=0))
    np.testing.assert_allclose(cells.varm["em_profiles"].loc["bili"], geometric, rtol=1e-12)
    parameters = json.loads((tmp_path / "out" / "fit.json").read_text())["parameters"]
    assert parameters["means"]["unit"] == "SD"
    assert parameters["weights"]["se"] is not None


def spoiled(path: Path, case: str) -> list[str]:
    rows = "id,a,b,g\n" + "".join(f"r{i},{i % 7},{i * i % 11},{'xy'[i % 2]}\n" for i in range(20))
    text = {
        "gap": rows.replace("r3,3,", "r3,,"),
        "word": rows.replace("r3,3,", "r3,high,"),
        "flat": "id,a,b\n" + "".join(f"r{i},{i % 7},1\n" for i in range(20)),
        "nothing": "id,a,b\n",
        "twin": "id,a,b,twin\n" + "".join(f"r{i},{i % 7},{i * i % 11},{5 - 2 * (i % 7)}\n" for i in range(20)),
        "sum": "id,a,b,sum\n" + "".join(f"r{i},{i % 7},{i * i % 11},{i % 7 + i * i % 11}\n" for i in range(20)),
        "fake": "not an AnnData file\n",
    }.get(case, rows)
    file = path / ("t.h5ad" if case == "fake" else "t.csv")
    file.write_text(text)
    return ["deconvolve", str(file), "--out", str(path / "out"), "--components", "2"]


@pytest.mark.parametrize(
    ("case", "more", "words"),
    [
        ("fake", [], "not HDF5"),
        ("gap", ["--columns", "a", "b"], "the first in r3, a"),
        ("word", ["--columns", "a", "b"], "'high' is not a number"),
        ("flat", [], "constant"),
        ("nothing", [], "no row"),
        ("", ["--columns", "a", "z"], "no column 'z'"),
        ("", ["--columns", "a", "a"], "named twice"),
        ("", ["--truth", "stage"], "no column 'stage'"),
        ("", ["--sample", "id"], "20 different values"),
        ("", ["--log", "b"], "not above 0"),
        ("", ["--log", "g", "--columns", "a", "b"], "not among the modelled"),
        ("", ["--representation", "X_pca"], "given with a table"),
        ("", ["--id", "g"], "stands at line"),
        ("", ["--columns", "a", "--id", "a"], "names the rows"),
        ("", ["--prefix", "a/b"], "--prefix"),
        ("", ["--components", "21"], "20 units for 21 types"),
        ("", ["--components", "9"], "free parameters"),
        ("", ["--components", "2", "--family", "full"], "at least 10 values for each parameter"),
        ("", ["--labels", "g"], "given with a table"),
        ("", ["--layer", "counts"], "given with a table"),
        ("twin", ["--family", "diagonal"], "columns a, twin carry the same information"),
        ("sum", ["--family", "tied"], "columns a, b, sum carry the same information"),
    ],
)
def test_hostile_input(
    case: str, more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*spoiled(tmp_path, case), *more]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert words in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("more", "asked"), [
    (["--components", "2-4", "--criterion", "bic"], {"n_types": range(2, 5), "criterion": "bic"}),
    (["--labels", "some", "--layer", "twice"], {"labels": "some", "layer": "twice"}),
    (["--components", "3", "--family", "EEV"], {"n_types": 3, "family": "EEV"}),
])  # fmt: skip
def test_command_and_python_give_the_same_bytes(
    more: list[str], asked: dict[str, object], planted: Path, tmp_path: Path
) -> None:
    adata = anndata.read_h5ad(planted)
    adata.obs["some"] = adata.obs["known"].astype(object).where(np.arange(N) % 5 == 0, np.nan)
    adata.layers["twice"] = 2.0 * adata.X
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = [
        "deconvolve",
        str(tmp_path / "in.h5ad"),
        "--out",
        str(tmp_path / "out"),
        "--sample",
        "donor",
        "--seed",
        "5",
    ]
    assert main([*words, "--starts", "4", *more]) == 0
    adata = anndata.read_h5ad(tmp_path / "in.h5ad")
    mixture(adata, sample="donor", random_state=5, starts=4, **asked)
    adata.write_h5ad(tmp_path / "python.h5ad", compression="gzip")
    assert (tmp_path / "python.h5ad").read_bytes() == (tmp_path / "out" / "cells.h5ad").read_bytes()
    assert {"em_type", "em_uncertainty"} <= set(adata.obs)
    assert {"em_responsibilities"} <= set(adata.obsm)
    assert {"em_profiles", "em_profiles_se"} <= set(adata.varm)
    if "criterion" in asked:
        assert adata.uns["em"]["selection"]["n_components"].tolist() == [2, 3, 4]
        assert (tmp_path / "out" / "selection.svg").exists()


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_a_zarr_store_in_and_out(planted: Path, answer: Path, tmp_path: Path) -> None:
    adata = anndata.read_h5ad(planted)
    adata.write_zarr(tmp_path / "in.zarr")
    for _ in range(2):  # the second replaces the first
        assert main(arguments(tmp_path / "in.zarr", tmp_path / "out")) == 0
    back, given = anndata.read_zarr(tmp_path / "out" / "cells.zarr"), anndata.read_h5ad(answer / "cells.h5ad")
    np.testing.assert_array_equal(back.obsm["em_responsibilities"], given.obsm["em_responsibilities"])
    assert list(back.obs["known"]) == list(TRUTH)
    record = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert "cells.zarr" in record["outputs"]
    assert len(record["inputs"][0]["sha256"]) == 64
    assert main(arguments(tmp_path / "absent.zarr", tmp_path / "none")) == 2


def test_labels_with_a_truth_are_judged_on_the_others(planted: Path, tmp_path: Path) -> None:
    adata = anndata.read_h5ad(planted)
    adata.obs["some"] = adata.obs["known"].astype(object).where(np.arange(N) % 3 == 0, np.nan)
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["deconvolve", str(tmp_path / "in.h5ad"), "--out", str(tmp_path / "out"), "--truth", "known"]
    assert main([*words, "--labels", "some"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Only cells without a label count" in page
    assert "May the probabilities be believed?" in page
    cells = anndata.read_h5ad(tmp_path / "out" / "cells.h5ad")
    assert list(cells.obs["em_type"]) == list(TRUTH)
    assert cells.uns["em"]["reliability"]["n"].sum() == 50


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--components", "4", "--criterion", "bic"], "--criterion: given with --components 4, so that no number is"),
        (["--labels", "known", "--criterion", "bic"], "--criterion: given with --labels, so that no number is chosen"),
        (["--labels", "known", "--prefix", "cluster"], "--prefix: given with --labels, whose names the types get"),
    ],
)
def test_options_that_would_not_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["deconvolve", "cells.h5ad", "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err


def test_all_labels_and_a_truth(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["deconvolve", str(planted), "--out", str(tmp_path / "out"), "--truth", "known", "--labels", "known"]
    assert main(words) == 2
    assert "every cell with a known type has a label" in capsys.readouterr().err
    assert main([*words[:4], "--labels", "known", "--components", "4"]) == 2
    assert "3 types in known, 4 asked for" in capsys.readouterr().err


def test_options_of_tables_are_refused_for_anndata(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(planted, tmp_path / "out", "--log", "CD19")) == 2
    assert "--log" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_expression_that_is_not_finite(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adata = anndata.read_h5ad(planted)
    adata.X = adata.X.toarray()
    adata.X[3, 4] = np.inf
    adata.write_h5ad(tmp_path / "inf.h5ad")
    assert main(arguments(tmp_path / "inf.h5ad", tmp_path / "out")) == 2
    assert "X: CD3E has a missing or infinite value" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_raw_counts_and_cells_without_a_sample_are_said(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adata = anndata.read_h5ad(planted)
    adata.X = sparse.csr_matrix(np.round(np.expm1(adata.X.toarray())))
    adata.obs["donor"] = adata.obs["donor"].astype(object).where(np.arange(N) >= 4, np.nan)
    path = tmp_path / "raw.h5ad"
    adata.write_h5ad(path)
    words = arguments(path, tmp_path / "out", "--representation", "X", "--family", "spherical")
    assert main(words) == 0
    said, page = capsys.readouterr().err, (tmp_path / "out" / "report.html").read_text()
    for note in ("X looks like raw counts: a normal mixture wants logarithms", "4 of 150 cells have no donor"):
        assert note in said
        assert note in page


def test_the_page_of_patients_speaks_of_groups_of_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    group = np.arange(90) % 2
    frame = pd.DataFrame(
        {
            "patient": [f"P{i}" for i in range(90)],
            "visits": rng.poisson(1.0 + 6 * group),
            "drinks": rng.poisson(6 - 5 * group),
            "weight": rng.normal(60 + 20 * group, 4),
            "centre": rng.choice(["x", "y"], 90),
            "stage": group + 1,
        }
    )
    words = two_groups(frame, tmp_path)
    words += ["--columns", "visits", "drinks", "weight", "--sample", "centre", "--truth", "stage"]
    assert main(words) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "the highest group (1) for each variable" in page
    shown = re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    shown = shown.replace("An empty cell belongs", "").replace("cells.h5ad", "")
    assert re.findall(r"(?i).{30}\b(?:types?|cells?|genes?)\b.{30}", shown) == []


def test_what_is_held_out_is_named_as_what_a_row_is() -> None:
    told = {
        "n_components": [1, 2],
        "held_out": [0.0, 1.0],
        "bic": [np.nan] * 2,
        "icl": [np.nan] * 2,
        "criterion": "bic",
    }
    for unit, word in (("cells", "cell"), ("rows", "row")):
        assert selection_figure(told, unit).axes[0].get_title("left") == f"Held-out, per {word}"
    plt.close("all")


def test_written_means_tell_types_apart() -> None:
    assert numbers(np.array([2007.9, 2008.2, 1999.0])) == ["2007.9", "2008.2", "1999.0"]
    assert numbers(np.array([3.5, 4.25])) == ["3.5", "4.25"]
    assert numbers(np.array([2.0, 2.0])) == ["2", "2"]


def test_no_overflow_for_large_values_beside_logged_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    group = np.arange(60) % 2
    frame = pd.DataFrame(
        {"id": range(60), "day": 9000.0 + 900 * group + rng.normal(size=60), "bili": np.exp(rng.normal(group, 0.3))}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    words = ["deconvolve", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), "--components", "2"]
    assert main([*words, "--log", "bili", "--starts", "2", "--family", "diagonal"]) == 0
    days = pd.read_csv(tmp_path / "out" / "profiles.tsv", sep="\t", index_col="variable").loc["day"]
    assert sorted(days.round(-2)) == [9000.0, 9900.0]
