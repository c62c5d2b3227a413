"""The segment command on tables of features: nuclei, objects of an image, AnnData."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

from emtools.branches.segment.table import Options, boundaries, segmentations
from emtools.cli import main
from emtools.errors import InputError
from emtools.io.feature_table import read_features
from emtools.io.outputs import OWN
from emtools.kernels.feature_scale import feature_scales
from emtools.kernels.telling import telling_pair

RESOURCES = Path(__file__).parents[2] / "resources"
FILES = {
    "classes.csv", "boundaries.json", "accuracy.tsv", "fit.json", "report.html",
    *(f"{stem}.{kind}" for stem in ("boundary", "accuracy", "convergence") for kind in ("svg", "png")),
}  # fmt: skip
SCALINGS = ("raw", "z-scored", "log-z")


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "nuclei.tsv"
    assert main(["demo", "breast_cancer", "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def results(nuclei: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["segment", str(nuclei), "--truth", "diagnosis", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three groups of 300 in four positive features of very different units."""
    rng = np.random.default_rng(2)
    group = np.repeat([0, 1, 2], 300)
    centres = np.array([[1.0, 1.0, 0.0, 2.0], [2.5, 1.5, 1.0, 2.0], [2.0, 4.0, 2.0, 1.0]])
    rows = np.exp(0.4 * (centres[group] + rng.normal(size=(900, 4)))) * np.array([1.0, 1e3, 1e-3, 50.0])
    table = pd.DataFrame(rows, columns=["width", "area", "texture", "length"])
    table.insert(0, "nucleus", [f"n{i}" for i in range(900)])
    table["kind"] = np.array(["a", "b", "c"])[group]
    path = tmp_path_factory.mktemp("small") / "small.csv"
    table.to_csv(path, index=False)
    return path


def test_files_classes_and_posteriors(results: Path) -> None:
    assert {path.name for path in results.iterdir()} == FILES | {".outputs.json"}
    assert all(OWN.fullmatch(name) for name in FILES)
    table = pd.read_csv(results / "classes.csv")
    posteriors = table[["posterior_1", "posterior_2"]].to_numpy()
    np.testing.assert_allclose(posteriors.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(posteriors.argmax(axis=1) + 1, table["class"])
    np.testing.assert_allclose(table["uncertainty"], 1.0 - posteriors.max(axis=1), rtol=0, atol=1e-15)
    assert table["row"].tolist()[:2] == ["N001", "N002"]
    np.testing.assert_array_equal(table["gmm_full_z-scored"], table["class"])
    assert len([name for name in table if name.startswith(("k-means", "gmm"))]) == 9


def test_accuracy_depends_on_the_scaling(results: Path) -> None:
    """Raw and z-scored figures are those of scikit-learn's models; those of log-z have no outside reference."""
    values = pd.read_csv(results / "accuracy.tsv", sep="\t").set_index(["method", "metric"])["value"]
    expected = {
        ("K-means", "raw"): 0.854, ("GMM full", "raw"): 0.951, ("GMM diagonal", "raw"): 0.912,
        ("GMM full", "z-scored"): 0.940, ("GMM diagonal", "z-scored"): 0.912,
    }  # fmt: skip
    for (method, scaling), value in expected.items():
        assert values[f"{method}, {scaling}", "accuracy"] == pytest.approx(value, abs=6e-4), (method, scaling)
    assert values.index[0][0] == "GMM full, z-scored", "the answer first"
    best = {
        scaling: max(("K-means", "GMM full", "GMM diagonal"), key=lambda m: values[f"{m}, {scaling}", "accuracy"])
        for scaling in SCALINGS
    }
    assert len(set(best.values())) > 1
    page = (results / "report.html").read_text()
    assert "The winner depends on the scaling" in page
    assert "raw and z-scored features have one likelihood, with more than one top" in page
    truth = pd.read_csv(results / "classes.csv")
    found = (truth["class"] == truth["known"].map({"benign": 1, "malignant": 2})).mean()
    assert values["GMM full, z-scored", "accuracy"] == pytest.approx(found, rel=1e-12)


def test_k_means_is_at_least_as_good_as_that_of_scikit_learn(results: Path, nuclei: Path) -> None:
    """Inertia of z-scored features; the best of ten starts of scikit-learn has accuracy 0.905, on another top."""
    table, found = read_features(nuclei, truth="diagnosis"), pd.read_csv(results / "classes.csv")["k-means_z-scored"]
    rows = feature_scales(table.values)[1].scaled(table.values)
    ours = sum(((rows[found == k] - rows[found == k].mean(axis=0)) ** 2).sum() for k in (1, 2))
    with threadpool_limits(1):
        theirs = KMeans(2, n_init=10, random_state=0, tol=0.0, max_iter=1000).fit(rows).inertia_
    assert ours <= theirs * (1 + 1e-12)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_mixtures_are_those_of_scikit_learn(small: Path, tmp_path: Path) -> None:
    table = read_features(small, truth="kind")
    options = Options(input=small, out=tmp_path, components=3, tol=1e-9)
    for method in segmentations(options, table):
        if method.name == "K-means":
            continue
        rows = method.scale.scaled(table.values)
        peer = Peer(3, covariance_type={"GMM full": "full", "GMM diagonal": "diag"}[method.name], reg_covar=0.0)
        start, end = method.fit.params, method.fit.model.covariance_matrices(method.fit.params)
        peer.set_params(weights_init=start.weights, means_init=start.means, tol=1e-13, max_iter=500)
        peer.set_params(precisions_init=np.linalg.inv(end) if peer.covariance_type == "full" else 1 / start.covariances)
        peer.fit(rows)
        np.testing.assert_allclose(peer.means_, start.means, rtol=1e-4, atol=1e-6 * rows.std())
        log_density = float(peer.score(rows)) * len(rows) + method.scale.log_jacobian(table.values)
        assert log_density == pytest.approx(method.loglik, rel=1e-9)


def agree(path: Path, components: int, family: str, n_points: int) -> None:
    """Signs of the written boundaries decide as the models do, on points around the rows."""
    table = read_features(path, truth="diagnosis" if components == 2 else "kind")
    options = Options(input=path, out=path.parent, components=components, family=family, tol=1e-4)  # type: ignore[arg-type]
    methods = segmentations(options, table)
    lines = json.loads(
        json.dumps([{k: np.asarray(v).tolist() for k, v in line.items()} for line in boundaries(methods)])
    )
    rng = np.random.default_rng(4)
    for _ in range(n_points // 100_000):
        rows = table.values[rng.integers(len(table.values), size=100_000)]
        points = rows * np.exp(0.3 * rng.normal(size=rows.shape))
        for method in methods:
            expected = method.fit.model.log_joint(method.fit.params, method.scale.scaled(points)).argmax(axis=1) + 1
            wins = np.zeros((len(points), components + 1), dtype=int)
            for line in lines:
                if (line["method"], line["scaling"]) == (method.name, method.scale.name):
                    first = value_of(line, points) > 0
                    wins[first, line["first"]] += 1
                    wins[~first, line["second"]] += 1
            np.testing.assert_array_equal(wins.argmax(axis=1), expected)
            assert (wins.max(axis=1) == components - 1).all()
    tied = [line for line in lines if line["method"] == "GMM tied"]
    assert bool(tied) == (family == "tied")
    assert all(not np.any(line["A"]) for line in tied)
    assert all(np.any(line["A"]) for line in lines if line["method"] == "GMM full")


def value_of(line: dict[str, Any], points: np.ndarray) -> np.ndarray:
    """A boundary at points in the units of the table."""
    logged = np.array(line["log"])
    y = np.where(logged, np.log(np.where(logged, points, 1.0)), points)
    if "w" in line:
        return np.asarray(y @ np.array(line["w"]) + line["b"])
    return np.asarray(np.einsum("ni,ni->n", y @ np.array(line["A"]), y) + y @ np.array(line["b"]) + line["c"])


def test_boundaries_decide_a_million_points_as_the_classes_do(small: Path) -> None:
    agree(small, 3, "tied", 1_000_000)


@pytest.mark.slow
def test_boundaries_of_thirty_features_too(nuclei: Path) -> None:
    agree(nuclei, 2, "full", 1_000_000)


def test_files_hold_the_boundaries(results: Path, nuclei: Path) -> None:
    written = json.loads((results / "boundaries.json").read_text())
    record = json.loads((results / "fit.json").read_text())
    assert record["extra"]["boundaries"] == written["boundaries"]
    assert written["features"] == record["extra"]["features"] == list(read_features(nuclei, truth="diagnosis").features)
    points = read_features(nuclei, truth="diagnosis").values
    table = pd.read_csv(results / "classes.csv")
    for line in written["boundaries"]:
        column = f"{line['method']} {line['scaling']}".replace(" ", "_").lower()
        np.testing.assert_array_equal(np.where(value_of(line, points) > 0, 1, 2), table[column], err_msg=column)


@pytest.mark.rendered
def test_threads_cannot_change_a_byte(nuclei: Path, results: Path, tmp_path: Path) -> None:
    words = ["segment", str(nuclei), "--truth", "diagnosis", "--out", str(tmp_path), "--threads", "2"]
    assert main(words) == 0
    assert [path.name for path in results.iterdir() if path.read_bytes() != (tmp_path / path.name).read_bytes()] == []


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    tifffile.imwrite(folder / "crop.tif", tifffile.imread(RESOURCES / "nuclei.tif")[250:506, :298])
    assert main(["segment", str(folder / "crop.tif"), "--out", str(folder / "out"), "--starts", "1"]) in (0, 3)
    return folder / "out"


def test_objects_of_an_image_are_a_table(objects: Path, tmp_path: Path) -> None:
    given, other = (read_features(objects / name) for name in ("objects.csv", "objects.h5ad"))
    assert given.features == other.features
    np.testing.assert_allclose(given.values, other.values, rtol=1e-12)
    assert "area" in given.features
    assert not {"label", "centroid-0", "bbox-0", "orientation", "mean_posterior", "area_um2"} & set(given.features)
    assert any("place, orientation and mean posterior are left out" in note for note in given.notices)
    words = ["segment", str(objects / "objects.h5ad"), "--out", str(tmp_path), "--order-by", "area"]
    assert main([*words, "--family", "diagonal"]) in (0, 3)
    table, areas = pd.read_csv(tmp_path / "classes.csv"), pd.read_csv(objects / "objects.csv")["area"]
    assert len(table) == len(areas) > 20
    assert areas[table["class"] == 1].mean() < areas[table["class"] == 2].mean()
    adata, before = anndata.read_h5ad(tmp_path / "classes.h5ad"), anndata.read_h5ad(objects / "objects.h5ad")
    np.testing.assert_array_equal(adata.obs["em_type"].astype(str), "class_" + table["class"].astype(str))
    np.testing.assert_allclose(adata.obsm["em_responsibilities"].sum(axis=1), 1.0)
    np.testing.assert_array_equal(adata.obsm["spatial"], before.obsm["spatial"])
    np.testing.assert_array_equal(adata.X, before.X)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--truth", "sort"], "--truth"),
        (["--truth", "nucleus"], "900 different values for 900 units"),
        (["--smooth", "2"], "--smooth: given with a table"),
        (["--order-by", "height"], "'height' is not a modelled feature"),
        (["--columns", "width", "kind"], "'kind'"),
        (["--components", "16", "--columns", "flat"], "flat"),
    ],
)
def test_bad_options_leave_nothing(
    small: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", str(small), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"a": [1.0, 2.0], "b": [3.0, 4.5]}, "2 rows; at least 3"),
        ({"a": [1.0, 2.0, 1.0, 2.0, 5.0], "b": [3.0, 4.0, 3.0, 4.0, 0.0]}, "3 distinct rows for 3 classes"),
        ({"a": [1.0, 2.0, 3.0, 4.5], "b": [2.0, 4.0, 6.0, 9.0]}, "columns b are exact functions of the others"),
        ({"a": [1.0, 2.0, np.nan, 5.0], "b": [3.0, 4.0, 1.0, 9.0]}, "missing or infinite"),
    ],
)
def test_bad_tables_get_one_line(
    rows: dict[str, list[float]], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    words = ["--columns", "a", "b", "--components", "3"]
    assert main(["segment", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_table_options_are_refused_with_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(RESOURCES / "nuclei.tif")
    assert main(["segment", image, "--out", str(tmp_path / "out"), "--scaling", "raw"]) == 2
    assert "--scaling: given with an image" in capsys.readouterr().err


def test_few_rows_are_held_by_a_prior(tmp_path: Path) -> None:
    """Eight rows in five features: full covariances have no maximum, diagonal ones have."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(8, 5)) + np.outer(np.arange(8) > 3, np.full(5, 9.0))
    pd.DataFrame(rows, columns=list("abcde")).to_csv(tmp_path / "t.csv", index=False)
    options = Options(input=tmp_path / "t.csv", out=tmp_path, family="diagonal")
    for method in segmentations(options, read_features(options.input, columns=list("abcde"))):
        if method.name != "K-means":
            assert (method.fit.model.prior is None) == (method.name == "GMM diagonal")
        assert method.classes.tolist() == [0] * 4 + [1] * 4


def test_anndata_gives_layer_and_known_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    adata = anndata.AnnData(rng.normal(size=(20, 3)), var=pd.DataFrame(index=["a", "b", "c"]))
    adata.layers["other"] = adata.X[:, ::-1] * 2.0
    adata.obs["kind"] = pd.Categorical(np.repeat(["x", "y"], 10))
    path = tmp_path / "t.h5ad"
    adata.write_h5ad(path)
    table = read_features(path, columns=["c", "a"], layer="other", truth="kind")
    assert table.features == ("c", "a")
    np.testing.assert_array_equal(table.values, 2.0 * adata.X[:, [0, 2]])
    assert table.truth is not None
    assert table.truth.codes.tolist() == [0] * 10 + [1] * 10
    for more, said in (
        ({"columns": ["d"]}, "no variable d"),
        ({"layer": "raw"}, "no layer 'raw'; one of: other"),
        ({"truth": "sort"}, "no column 'sort'"),
        ({"id_column": "kind"}, "given with an AnnData file"),
    ):
        with pytest.raises(InputError, match=said):
            read_features(path, **more)  # type: ignore[arg-type]


def test_quadrics_and_densities_of_scalings() -> None:
    rng = np.random.default_rng(3)
    values = np.exp(rng.normal(size=(40, 3))) * np.array([1.0, 100.0, 1e-3])
    values[:, 2] -= 1e-3
    square = rng.normal(size=(3, 3))
    square, linear, constant = square + square.T, rng.normal(size=3), 0.7
    scales = feature_scales(values)
    assert [scale.name for scale in scales] == list(SCALINGS)
    assert scales[2].logged.tolist() == [True, True, False]
    for scale in scales:
        z, y = scale.scaled(values), scale.opened(values)
        a, b, c = scale.quadric(square, linear, constant)
        expected = np.einsum("ni,ij,nj->n", z, square, z) + z @ linear + constant
        np.testing.assert_allclose(np.einsum("ni,ij,nj->n", y, a, y) + y @ b + c, expected, rtol=1e-9, atol=1e-9)
        step = 1e-6 * values
        slopes = (scale.scaled(values + step) - scale.scaled(values - step)) / (2 * step)
        assert scale.log_jacobian(values) == pytest.approx(np.log(slopes).sum(), rel=1e-6, abs=1e-6)


def test_the_telling_pair_is_that_of_a_search_over_all() -> None:
    rng = np.random.default_rng(6)
    groups = rng.integers(3, size=500)
    rows = rng.normal(size=(500, 5)) @ rng.normal(size=(5, 5)) + rng.normal(size=(3, 5))[groups] * 2
    shares = np.eye(3)[groups]

    def told(columns: list[int]) -> float:
        part = rows[:, columns]
        inside = sum(
            (groups == k).mean() * np.linalg.slogdet(np.atleast_2d(np.cov(part[groups == k].T, bias=True)))[1]
            for k in range(3)
        )
        return float(0.5 * (np.linalg.slogdet(np.atleast_2d(np.cov(part.T, bias=True)))[1] - inside))

    first = max(range(5), key=lambda i: told([i]))
    second = max((i for i in range(5) if i != first), key=lambda i: told([first, i]))
    assert telling_pair(rows, shares) == (first, second)
