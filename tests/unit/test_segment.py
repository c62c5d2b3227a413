"""The segment command on a crop of the demo image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile

from emtools.branches.segment.fit import Options, read_pixels
from emtools.branches.segment.methods import by_field, chosen_model, segmentations
from emtools.cli import main
from emtools.engine.chunks import ArraySource
from emtools.io.images import read_image
from emtools.io.outputs import OWN

RESOURCES = Path(__file__).parents[2] / "resources"
FILES = {
    "labels.ome.tif", "posteriors.ome.tif", "instances.ome.tif", "objects.csv", "objects.h5ad", "fit.json", "report.html",
    "objects.geojson", "segmentation.ome.zarr", "accuracy.tsv",
    *(f"{stem}.{kind}" for stem in ("overlay", "posterior", "levels", "boundary", "accuracy", "reliability", "convergence")
                      for kind in ("svg", "png")),
}  # fmt: skip


@pytest.fixture(scope="module")
def crop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("crop")
    place = (slice(360, 456), slice(170, 298))
    image, truth = folder / "crop.tif", folder / "truth.tif"
    resolution = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(image, tifffile.imread(RESOURCES / "nuclei.tif")[place], **resolution)
    tifffile.imwrite(truth, tifffile.imread(RESOURCES / "nuclei_mask.tif")[place])
    return image, truth


@pytest.fixture(scope="module")
def results(crop: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["segment", str(crop[0]), "--out", str(out), "--truth", str(crop[1])]) == 0
    return out


@pytest.fixture(scope="module")
def mixed(crop: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixture as the answer, with a tolerance that leaves its starts apart."""
    out = tmp_path_factory.mktemp("mixed")
    words = ["segment", str(crop[0]), "--out", str(out), "--model", "mixture", "--tol", "0.5", "--algorithm", "em"]
    assert main(words) == 0
    return out


def test_dark_objects_on_a_bright_ground_are_told_of(crop: tuple[Path, Path], results: Path, tmp_path: Path) -> None:
    dark = tmp_path / "dark.tif"
    tifffile.imwrite(dark, 255 - tifffile.imread(crop[0]))
    main(["segment", str(dark), "--out", str(tmp_path / "out")])
    told = "invert the image and segment it again"
    assert told in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert told not in (results / "report.html").read_text(encoding="utf-8")


def test_what_was_left_out_stands_once_on_the_page(crop: tuple[Path, Path], tmp_path: Path) -> None:
    """It stood at the top and again among the methods."""
    values = tifffile.imread(crop[0])
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for scene in (values, values[:40, :50]):
            file.write(scene, photometric="minisblack")
    assert main(["segment", str(path), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("the file holds 2 images; the first is used") == 1


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_and_formats(results: Path) -> None:
    assert {path.name for path in results.iterdir()} == FILES | {".outputs.json"}
    assert set(json.loads((results / "fit.json").read_text())["outputs"]) == FILES
    assert all(OWN.fullmatch(name) for name in FILES)
    labels = tifffile.imread(results / "labels.ome.tif")
    posteriors = tifffile.imread(results / "posteriors.ome.tif")
    objects = tifffile.imread(results / "instances.ome.tif")
    assert (labels.dtype, posteriors.dtype, objects.dtype) == (np.uint8, np.float32, np.uint16)
    np.testing.assert_array_equal(posteriors.argmax(axis=0) + 1, labels)
    np.testing.assert_allclose(posteriors.sum(axis=0), 1.0, atol=1e-6)
    with tifffile.TiffFile(results / "labels.ome.tif") as file:
        assert file.is_ome
        assert 'PhysicalSizeX="0.5"' in file.ome_metadata
    table = pd.read_csv(results / "objects.csv")
    assert table["label"].tolist() == list(range(1, objects.max() + 1))
    np.testing.assert_array_equal(table["area"], np.bincount(objects.ravel())[1:])
    np.testing.assert_allclose(table["area_um2"], table["area"] / 4, rtol=1e-12)
    assert table["mean_posterior"].between(0.5, 1).all()
    adata = anndata.read_h5ad(results / "objects.h5ad")
    np.testing.assert_allclose(adata.obsm["spatial"], table[["centroid-1", "centroid-0"]], rtol=1e-12)
    assert (results / "overlay.svg").stat().st_size < 1_000_000
    assert (results / "report.html").stat().st_size < 1_000_000


def test_accuracy_of_all_methods_and_their_order(results: Path) -> None:
    table = pd.read_csv(results / "accuracy.tsv", sep="\t").pivot(index="method", columns="metric", values="value")
    assert {"random field", "K-means", "Otsu", "GMM tied, equal weights", "GMM full, free weights"} == set(table.index)
    assert table.loc["random field", "Dice"] > 0.85
    assert table.loc["random field", "object F1"] > 0.7
    assert table.loc["random field", "Brier score"] < table.loc["GMM full, free weights", "Brier score"] / 3
    assert table["Dice"].between(0, 1).all()


def test_scale_is_told_and_the_certificate_holds(results: Path) -> None:
    record = json.loads((results / "fit.json").read_text())
    assert record["model"]["name"] == "random_field"
    assert record["status"] == "converged"
    assert record["extra"]["scale"]["intensity"]["scale"] > 0.0
    (pair,) = record["extra"]["boundaries"]["random field"]
    means = np.ravel(record["parameters"]["means"]["value"])
    assert pair["b"][0] * means.mean() + pair["c"] == pytest.approx(0.0, abs=1e-9)
    assert np.min(record["parameters"]["means"]["se"]) > 0.0


def test_boundaries_decide_as_the_labels_do(mixed: Path, crop: tuple[Path, Path]) -> None:
    from emtools.io.images import read_image
    from emtools.kernels.pixels import pixel_features

    features = pixel_features(read_image(crop[0]).values, 1.0)
    record = json.loads((mixed / "fit.json").read_text())
    (pair,) = record["extra"]["boundaries"]["GMM tied, equal weights"]
    assert (pair["first"], pair["second"]) == (1, 2)
    np.testing.assert_allclose(pair["A"], 0.0, atol=1e-12)
    darker = features @ np.array(pair["b"]) + pair["c"] > 0
    np.testing.assert_array_equal(np.where(darker, 1, 2), tifffile.imread(mixed / "labels.ome.tif").ravel())
    (line,) = record["extra"]["boundaries"]["K-means"]
    means = np.array(record["extra"]["rivals"]["K-means"]["parameters"]["means"])
    nearest = ((features[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(features @ np.array(line["w"]) + line["b"] > 0, nearest == 0)
    (quadric,) = record["extra"]["boundaries"]["GMM full, free weights"]
    assert np.abs(quadric["A"]).max() > 1e-3


@pytest.mark.rendered
def test_threads_cannot_change_a_byte(results: Path, crop: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["segment", str(crop[0]), "--out", str(tmp_path), "--truth", str(crop[1]), "--threads", "2"]
    assert main(words) == 0
    before, after = contents(results), contents(tmp_path)
    assert [name for name in before if before[name] != after.get(name)] == []
    assert before.keys() == after.keys()


@pytest.mark.parametrize(("model", "components"), [("mixture", 2), ("mixture", 3), ("field", 2), ("field", 3)])
def test_labels_mean_the_same_for_every_seed(
    crop: tuple[Path, Path], tmp_path: Path, model: Literal["field", "mixture"], components: int
) -> None:
    seen = []
    for seed in range(5 if model == "mixture" else 20):
        options = Options(
            input=crop[0], out=tmp_path, model=model, seed=seed, starts=4 - components, components=components
        )
        pixels = read_pixels(options, read_image(options.input))
        if model == "field":
            posterior = by_field(options, pixels).posterior
        else:
            chosen = chosen_model(options, pixels)
            posterior = segmentations(options, pixels, chosen, ArraySource(pixels.features))[0].posterior
        assert posterior is not None
        seen.append(posterior.argmax(axis=0).ravel())
    brightness = tifffile.imread(crop[0]).ravel()
    means = [brightness[seen[0] == k].mean() for k in range(components)]
    assert means == sorted(means)
    for other in seen[1:]:
        assert (other == seen[0]).mean() > 0.999


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--channel", "2"], "a channel that varies: 0 (intensity)"),
        (["--smooth", "900"], "at most a quarter"),
        (["--truth", str(RESOURCES / "nuclei_mask.tif")], "96 x 128, as the image"),
        (["--truth", str(RESOURCES / "README.md")], "not an image"),
    ],
)
def test_bad_options_leave_nothing(
    crop: tuple[Path, Path], tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["segment", str(crop[0]), "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_truncated_image_leaves_nothing(
    crop: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.tif"
    path.write_bytes(crop[0].read_bytes()[:5000])
    assert main(["segment", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "cut off or damaged" in error
    assert error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["cut.tif"]


def test_channels_mask_as_truth_and_no_object(tmp_path: Path) -> None:
    """Two channels, a 0/255 mask as truth, and a --smallest that leaves no object."""
    rng = np.random.default_rng(4)
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[5:20, 5:20] = mask[25:40, 30:50] = 255
    planes = np.stack([rng.poisson(40, mask.shape), rng.poisson(5 + mask * 0.3)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "two.ome.tif", planes, metadata={"axes": "CYX"}, photometric="minisblack")
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    words = [
        "segment",
        str(tmp_path / "two.ome.tif"),
        "--out",
        str(tmp_path / "out"),
        "--channel",
        "1",
        "--starts",
        "2",
    ]
    assert main([*words, "--truth", str(tmp_path / "mask.tif")]) == 0
    table = pd.read_csv(tmp_path / "out" / "accuracy.tsv", sep="\t").set_index(["method", "metric"])["value"]
    assert table["GMM tied, equal weights", "object F1"] == 1.0
    assert table["GMM tied, equal weights", "Dice"] > 0.9
    assert main([*words[:3], str(tmp_path / "none"), *words[4:], "--smallest", "1000"]) == 0
    assert len(pd.read_csv(tmp_path / "none" / "objects.csv")) == 0


def test_channels_that_repeat_another_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plane = np.random.default_rng(1).poisson(40, (32, 32)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "same.ome.tif", np.stack([plane, 4 * plane]), metadata={"axes": "CYX"}, photometric="minisblack"
    )
    assert main(["segment", str(tmp_path / "same.ome.tif"), "--out", str(tmp_path / "out")]) == 2
    assert "channels channel_0, channel_1 carry the same information" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_colours_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    mask = np.zeros((48, 64), dtype=bool)
    mask[5:20, 5:20] = mask[25:40, 30:50] = True
    planes = [rng.poisson(level + more * mask) for level, more in ((40, 60), (60, 20), (80, -30))]
    path = tmp_path / "rgb.tif"
    tifffile.imwrite(path, np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8), photometric="rgb")
    assert main(["segment", str(path), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the class brightest in red covers" in page
    assert "Classes are ordered by red (--channel 0)." in page
    assert "Plane of red; the 4 other features are integrated out" in page
    assert "in its colours" in page


def test_starts_within_the_tolerance_are_one_optimum(mixed: Path) -> None:
    record = json.loads((mixed / "fit.json").read_text())
    ends = [start["objective"] for start in record["starts"]]
    assert 1e-3 < max(ends) - min(ends) < 1.0, "apart by more than 1e-3 nats, by less than twice the tolerance"
    assert [start["optimum"] for start in record["starts"]] == [1, 1, 1]
    assert "All 3 starts agree" in record["verdict"]
