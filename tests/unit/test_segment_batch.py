"""A folder of images as one batch, and a large image part by part."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from emtools.branches.segment import batch as segment_batch
from emtools.branches.segment import image as segment_image
from emtools.cli import main
from emtools.io import images
from emtools.io.image_folder import list_images
from emtools.io.objects import thumbnails_of
from emtools.segmenting import predicting
from emtools.segmenting.batch import fit_batch
from emtools.segmenting.field import segment_planes
from emtools.segmenting.sampling import part_of, sampled_spans, shares_of

RESOURCES = Path(__file__).parents[2] / "resources"
NUCLEI = tifffile.imread(RESOURCES / "nuclei.tif")
SCALE = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
OUTPUTS = {
    "labels.ome.tif", "posteriors.ome.tif", "instances.ome.tif", "objects.csv", "objects.h5ad", "objects.geojson",
    "segmentation.ome.zarr", "overlay.png", "image.json",
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three fields of different size, the third with nothing in it, and a file that is no image."""
    folder = tmp_path_factory.mktemp("plate")
    background = np.random.default_rng(0).poisson(18, (70, 90)).astype(np.uint8)
    tifffile.imwrite(folder / "b.tif", NUCLEI[:120, :150], **SCALE)
    tifffile.imwrite(folder / "a.tif", NUCLEI[300:420, 200:300], **SCALE)
    tifffile.imwrite(folder / "empty.tif", background, **SCALE)
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def results(plate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["segment", str(plate), "--out", str(out)]) == 0
    return out


def test_each_image_has_a_folder_and_the_batch_has_tables(results: Path) -> None:
    assert [path.name for path in sorted((results / "images").iterdir())] == ["a", "b", "empty"]
    assert all({path.name for path in folder.iterdir()} == OUTPUTS for folder in (results / "images").iterdir())
    table = pd.read_csv(results / "images.tsv", sep="\t")
    assert table["image"].tolist() == ["a", "b", "empty"]
    objects = pd.read_csv(results / "objects.csv", float_precision="round_trip")
    assert objects.columns[0] == "image"
    for name, count, area in zip(table["image"], table["objects"], table["area_class_2"], strict=True):
        folder = results / "images" / name
        labels = tifffile.imread(folder / "labels.ome.tif")
        numbers = tifffile.imread(folder / "instances.ome.tif")
        assert (numbers.max(), (labels == 2).sum()) == (count, area)
        np.testing.assert_array_equal(tifffile.imread(folder / "posteriors.ome.tif").argmax(axis=0) + 1, labels)
        own = pd.read_csv(folder / "objects.csv", float_precision="round_trip")
        pd.testing.assert_frame_equal(objects[objects["image"] == name].drop(columns="image").reset_index(drop=True), own,
                                      check_dtype=False)  # fmt: skip
    together = anndata.read_h5ad(results / "objects.h5ad")
    assert together.obs["image"].tolist() == objects["image"].tolist()
    assert list(together.uns["spatial"]) == ["a", "b", "empty"]
    for name, library in together.uns["spatial"].items():  # as squidpy draws them
        numbers = tifffile.imread(results / "images" / name / "instances.ome.tif")
        np.testing.assert_array_equal(library["images"]["segmentation"], numbers)
        assert library["images"]["hires"].shape == (*numbers.shape, 3)
    assert (results / "report.html").stat().st_size < 1_000_000


def test_the_page_of_a_batch_says_what_the_free_energy_may_lack(results: Path) -> None:
    record = json.loads((results / "fit.json").read_text())
    energy, n_pixels = record["extra"]["free_energy"], 120 * 150 + 120 * 100 + 70 * 90
    assert energy["upper_bound"] == pytest.approx(record["loglik"] + energy["gap"])
    assert 0.0 < energy["gap"] < 0.1 * n_pixels
    assert energy["gap_per_unit"] == pytest.approx(energy["gap"] / n_pixels)
    page = (results / "report.html").read_text()
    assert f"by {energy['gap']:,.0f} nats at most" in page
    assert page.count("<code>fit.json</code></a>:") == 1  # among the files
    assert "<code>images/NAME/labels.ome.tif</code>: class of each pixel" in page
    assert 'href="images/NAME' not in page


def test_a_label_means_the_same_in_every_image(results: Path) -> None:
    """An image without objects has none, where a model of its own would make some of its noise."""
    table = pd.read_csv(results / "images.tsv", sep="\t").set_index("image")
    assert table["area_class_2"]["empty"] == 0
    assert table["objects"]["a"] > 3
    means = json.loads((results / "fit.json").read_text())["parameters"]["means"]["value"]
    assert means[0][0] < 0.3 < means[1][0]
    record = json.loads((results / "fit.json").read_text())["extra"]["scale"]["intensity"]["outlines"]
    assert record["status"] == "converged"
    assert record["means"][0] < 0.2 < 0.7 < record["means"][1] < 1.0
    assert "fitted again to asinh(d / h)" in (results / "report.html").read_text()


def test_pictures_of_many_images_are_thinned(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {path.name: path / "objects.csv" for path in (results / "images").iterdir()}
    alone = thumbnails_of(tables)
    monkeypatch.setattr("emtools.io.objects.MOST_SHOWN", 4600)  # of 36,300
    thinned = thumbnails_of(tables)
    assert {thumbnail.step for thumbnail in thinned.values()} == {3}
    for name, thumbnail in thinned.items():
        np.testing.assert_array_equal(thumbnail.hires, alone[name].hires[::3, ::3])
        np.testing.assert_array_equal(thumbnail.segmentation, alone[name].segmentation[::3, ::3])


def test_dim_objects_are_not_bright_ones(tmp_path: Path) -> None:
    """Of three classes, cells a quarter as bright are of the second in their own image as beside bright ones."""
    rng, y, x = np.random.default_rng(0), *np.mgrid[:128, :128]
    discs = [(y - r) ** 2 + (x - c) ** 2 < 100 for r in range(16, 128, 32) for c in range(16, 128, 32)]
    levels = {name: rng.permutation([100.0] * 8 + [400.0] * 8) for name in ("one", "two")} | {"dim": [100.0] * 16}
    clean = {name: sum(level * disc for level, disc in zip(of, discs, strict=True)) for name, of in levels.items()}
    for name, plane in clean.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.poisson(50 + plane).astype(np.uint16))
    assert main(["segment", str(tmp_path), "--out", str(tmp_path / "out"), "--components", "3"]) == 0
    labels = {name: tifffile.imread(tmp_path / "out/images" / name / "labels.ome.tif") for name in clean}
    for name, plane in clean.items():
        assert (labels[name][plane == 100] == 2).mean() > 0.97
    assert (labels["one"][clean["one"] == 400] == 3).all()
    assert (labels["dim"] == 3).sum() == 0


@pytest.mark.rendered
def test_same_bytes_whatever_the_threads_and_the_listing(
    plate: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(listed(self), reverse=True)))
    assert main(["segment", str(plate), "--out", str(tmp_path), "--threads", "2"]) == 0
    assert contents(tmp_path) == contents(results)


def test_an_interrupted_batch_goes_on(plate: Path, results: Path, tmp_path: Path) -> None:
    """Killed while the second image is sealed: the first is kept, nothing of the second is there."""
    script = (
        "import os, signal, sys\n"
        "from emtools.branches.segment import batch as segment_batch\n"
        "true, calls = segment_batch.seal, []\n"
        "def deadly(*told):\n"
        "    calls.append(0)\n"
        "    true(*told)\n"
        "    if len(calls) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "segment_batch.seal = deadly\n"
        "from emtools.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    words = ["segment", str(plate), "--out", str(tmp_path)]
    ended = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, env=dict(os.environ))
    assert ended.returncode == -9
    assert {path.name for path in tmp_path.iterdir()} == {"images"}
    assert (tmp_path / "images/a/image.json").is_file()
    assert [p.name for p in (tmp_path / "images/b").iterdir() if not p.name.startswith(".writing-")] == []
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "images/a").rglob("*")}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images/a").rglob("*")} == first
    assert contents(tmp_path) == contents(results)


@pytest.mark.rendered
def test_only_what_is_whole_is_kept(
    plate: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that was changed or lost is made again; another option, another answer; images that left are removed."""
    made: list[str] = []
    true = segment_image.write_segmented

    def noted(folder: Path, name: str, *told: object) -> segment_image.Outcome:
        made.append(name)
        return true(folder, name, *told)

    monkeypatch.setattr(segment_batch, "write_segmented", noted)
    words = ["segment", str(plate), "--out", str(tmp_path)]
    assert main(words) == 0
    (tmp_path / "images/a/objects.csv").write_text("changed")
    (tmp_path / "images/b/overlay.png").unlink()
    (tmp_path / "images/b/mine.txt").write_text("kept")
    made.clear()
    assert main(words) == 0
    assert made == ["a", "b"]
    (tmp_path / "images/b/mine.txt").unlink()
    assert contents(tmp_path) == contents(results)
    made.clear()
    assert main([*words, "--smallest", "60"]) == 0
    assert made == ["a", "b", "empty"]
    assert main(["segment", str(plate / "a.tif"), str(plate / "b.tif"), "--out", str(tmp_path)]) == 0
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"a", "b"}


def test_a_batch_of_one_is_fitted_as_an_image_alone() -> None:
    planes = np.stack([NUCLEI[:160, :200], NUCLEI[:160, :200].T[:160].repeat(2, axis=1)[:, :200]])
    alone = segment_planes(planes, certificate=False)
    batch = fit_batch([[part_of(planes, (slice(0, 160), slice(0, 200)))]], 2, certificate=False)
    assert alone.outlines is not None
    assert batch.outlines is not None
    for one, other in ((batch.fit.params, alone.fit.params), (batch.outlines.params, alone.outlines.params)):
        np.testing.assert_array_equal(one.means, other.means)
        np.testing.assert_array_equal(one.variances, other.variances)
        np.testing.assert_array_equal(one.bends, other.bends)
    assert batch.jitter == alone.jitter
    posterior = batch.predictor(0).posterior(planes, (slice(0, 160), slice(0, 200)))
    assert (posterior.argmax(axis=0) == alone.posterior.argmax(axis=0)).mean() > 0.999


@pytest.mark.parametrize("side", [48, 62])
def test_parts_have_the_bytes_of_the_whole(side: int) -> None:
    planes = np.stack([NUCLEI[:200, :230], NUCLEI[200:400, 230:460]])
    whole = (slice(0, 200), slice(0, 230))
    batch = fit_batch([[part_of(planes, whole)]], 3, certificate=False)
    predictor = batch.predictor(0)
    expected, found = predictor.posterior(planes, whole), np.zeros((3, 200, 230), dtype=np.float32)
    for span in segment_image.parts_of((200, 230), side):
        found[:, span[0], span[1]] = predictor.posterior(planes, span)
    np.testing.assert_array_equal(found, expected)


def spotted(heights: np.ndarray) -> np.ndarray:
    """Blurred discs of radius 8, one every 24 pixels, of these heights over a background of 20 with noise."""
    y, x = (np.arange(24 * n) % 24 - 12 for n in heights.shape)
    clean = np.kron(heights, np.ones((24, 24))) * (y[:, None] ** 2 + x**2 < 64)
    image = gaussian_filter(clean, 2.0) + np.random.default_rng(0).normal(20.0, 0.5, clean.shape)
    return np.asarray(np.round(image))


def test_parts_see_the_heights_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heights change from object to object; with few sweeps, since the margin of 32 is wide enough for the heights as well."""
    monkeypatch.setattr(predicting, "SWEEPS", 2)
    planes = spotted(np.random.default_rng(1).choice([40.0, 160.0, 640.0], (8, 10)))[None]
    whole = (slice(0, 192), slice(0, 240))
    predictor = fit_batch([[part_of(planes, whole)]], 2, certificate=False).predictor(0)
    assert predictor.outlines is not None
    expected, found = predictor.posterior(planes, whole), np.zeros((2, 192, 240), dtype=np.float32)
    for span in segment_image.parts_of((192, 240), 26):
        found[:, span[0], span[1]] = predictor.posterior(planes, span)
    np.testing.assert_array_equal(found, expected)


def test_outlines_of_a_batch_hardly_depend_on_the_brightness() -> None:
    """Discs of an image are about as large as those of another, a quarter as bright; the first fit draws them far larger."""
    images = [spotted(np.full((6, 6), height))[None] for height in (40.0, 160.0)]
    whole, true = (slice(0, 144), slice(0, 144)), 36 * 193
    squares = [(slice(r, r + 72), slice(c, c + 72)) for r in (0, 72) for c in (0, 72)]
    for spans in ([whole], squares):
        batch = fit_batch([[part_of(planes, span) for span in spans] for planes in images], 2, certificate=False)
        areas = [
            [(fits.predictor(i).posterior(planes, whole)[1] > 0.5).sum() / true for i, planes in enumerate(images)]
            for fits in (batch, replace(batch, outlines=None))
        ]
        assert 0.95 < areas[0][0] < areas[0][1] < 1.2
        assert areas[0][1] / areas[0][0] < 1.15
        assert areas[1][1] / areas[1][0] > 1.5


def test_a_large_image_is_fitted_on_squares_and_predicted_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "slide.tif", NUCLEI[:300, :400], **SCALE)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["segment", str(tmp_path / "slide.tif"), "--out", str(whole)]) == 0
    monkeypatch.setattr(images, "WHOLE", 1000)
    monkeypatch.setattr(segment_image, "SIDE", 64)
    monkeypatch.setattr(segment_batch, "FIT_PIXELS", 40_000)
    assert main(["segment", str(tmp_path / "slide.tif"), "--out", str(parts)]) == 0
    assert {path.name for path in parts.iterdir()} >= OUTPUTS - {"image.json"}
    one, two = (tifffile.imread(folder / "labels.ome.tif") for folder in (whole, parts))
    assert (one == two).mean() > 0.98
    record = json.loads((parts / "fit.json").read_text())
    assert record["extra"]["n_pixels"] <= 40_000
    monkeypatch.setattr(images, "LARGEST_WHOLE", 2000)
    words = ["segment", str(tmp_path / "slide.tif"), "--out", str(tmp_path / "none"), "--model", "mixture"]
    assert main(words) == 2
    assert "120,000 values; at most 2,000 with --model mixture" in capsys.readouterr().err


def test_the_page_of_a_folder_with_one_image_says_what_was_left_out_and_its_links_lead_somewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plate").mkdir()
    with tifffile.TiffWriter(tmp_path / "plate" / "a.ome.tif", ome=True) as file:
        for scene in (NUCLEI[:120, :150], NUCLEI[:40, :50]):
            file.write(np.stack([0 * scene, scene]), metadata={"axes": "CYX"}, photometric="minisblack")
    out = tmp_path / "out"
    assert main(["segment", str(tmp_path / "plate"), "--out", str(out)]) == 0
    page, note = (out / "report.html").read_text(), "the file holds 2 images; the first is used"
    assert f"segment: {note}\n" in capsys.readouterr().err
    assert f"<li>{note}.</li>" in page
    table = pd.read_csv(out / "images" / "a" / "objects.csv")
    assert {"intensity_mean-1", "intensity_max-1"} < set(table) - {"intensity_mean-0"}
    assert "intensity_mean-1" in pd.read_csv(out / "objects.csv")
    names = re.findall(r'<a href="([^":#]+)"><code>', page)
    assert {"images.tsv", "objects.csv"} <= set(names)
    assert [name for name in names if not (out / name).exists()] == []


def test_samples_reach_from_edge_to_edge() -> None:
    assert sampled_spans((30, 40), 1200) == [(slice(0, 30), slice(0, 40))]
    spans = sampled_spans((10_000, 8_000), 2**23)
    assert (spans[0][0].start, spans[0][1].start, spans[-1][0].stop, spans[-1][1].stop) == (0, 0, 10_000, 8_000)
    assert 0.6 * 2**23 < sum((r.stop - r.start) * (c.stop - c.start) for r, c in spans) <= 2**23
    assert shares_of([(10, 10), (20, 10)], 150) == [50, 100]


def grey(path: Path, dtype: type = np.uint8, channels: int = 1) -> Path:
    values = NUCLEI[:40, :50].astype(dtype)
    if channels > 1:
        tifffile.imwrite(path, np.stack([values, values[::-1]]), metadata={"axes": "CYX"}, ome=True)
    else:
        tifffile.imwrite(path, values)
    return path


HOSTILE: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "empty folder": (lambda d: None, ("holds no image",)),
    "cut off": (lambda d: (grey(d / "a.tif"), (d / "b.tif").write_bytes((d / "a.tif").read_bytes()[:900])), ("b.tif",)),
    "no image": (lambda d: (grey(d / "a.tif"), (d / "b.png").write_text("hello")), ("b.png", "not an image")),
    "channels": (
        lambda d: (grey(d / "a.tif"), grey(d / "b.ome.tif", channels=2)), ("b.ome.tif", "2 channels", "1 channel", "a.tif"),
    ),
    "types": (lambda d: (grey(d / "a.tif"), grey(d / "b.tif", np.uint16)), ("b.tif", "uint16", "uint8, as in")),
    "twins": (lambda d: (grey(d / "a.tif"), grey(d / "A.tiff")), ("has the name of", "rename")),
    "all black": (
        lambda d: [tifffile.imwrite(d / f"{n}.tif", np.zeros((40, 50), np.uint8)) for n in "ab"], ("no image", "varies"),
    ),
    "not finite": (
        lambda d: (grey(d / "a.tif", np.float32), tifffile.imwrite(d / "b.tif", np.full((40, 50), np.nan, np.float32))),
        ("b.tif", "2000 such values"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_batch_that_cannot_be(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = HOSTILE[case]
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder)
    assert main(["segment", str(folder), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("emtools: error: ")
    assert told.count("\n") == 1
    assert all(word in told for word in words), told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--truth", "x.tif"], ["--model", "mixture"], ["--family", "full"], ["--id", "n"]])
def test_options_for_one_image_are_refused(
    words: list[str], plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", str(plate), "--out", str(tmp_path / "out"), *words]) == 2
    assert f"{words[0]}: given with several images" in capsys.readouterr().err


def test_results_do_not_go_among_the_images(plate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", str(plate), "--out", str(plate)]) == 2
    assert "among the images" in capsys.readouterr().err


def test_images_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b.ome.tif", "a.png", ".hidden.tif", "c.zarr", "table.csv"):
        (tmp_path / name).touch()
    (tmp_path / "c.zarr").unlink()
    (tmp_path / "c.zarr").mkdir()
    assert list(list_images([tmp_path])) == ["a", "b"]
    (tmp_path / "c.zarr/.zgroup").touch()
    assert list(list_images([tmp_path])) == ["a", "b", "c"]
