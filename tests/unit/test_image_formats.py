"""Formats of segmented images: OME-Zarr in and out, GeoJSON for QuPath; what OME-TIFF carries is in test_images."""

from __future__ import annotations

import itertools
import json
import struct
import uuid
from collections import Counter
from pathlib import Path

import anndata
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr
from scipy.ndimage import gaussian_filter
from skimage.draw import polygon2mask
from skimage.measure import approximate_polygon, find_contours

from emtools.cli import main
from emtools.errors import InputError
from emtools.io.geojson import write_geojson
from emtools.io.images import read_image, read_labels
from emtools.io.ome_zarr import write_ome_zarr
from emtools.io.sniff import sniff
from emtools.kernels.objects import measure_objects
from emtools.kernels.outlines import Ring, object_polygons, simplified

RNG = np.random.default_rng(9)
CLASSES = ("class 1 (darkest)", "class 2 (brightest)")


def two_channels(seed: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((48, 64), dtype=bool)
    mask[5:20, 5:20] = mask[25:40, 30:50] = True
    return np.stack([rng.poisson(40 + 30 * mask), rng.poisson(5 + 90 * mask)]).astype(np.uint16)


def save_zarr(path: Path, values: np.ndarray, version: str = "0.4", unit: str = "nanometer") -> Path:
    """An OME-Zarr image of two channels as another program would write it."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("s0", data=values, chunks=(1, 20, 20))
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": unit} for n in "yx")]
    move = [{"type": "scale", "scale": [1.0, 250.0, 500.0]}]
    told = {
        "multiscales": [
            {"version": version, "axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": move}]}
        ],
        "omero": {"channels": [{"label": "membrane"}, {"label": "DNA"}]},
    }
    group.attrs.put(told if version == "0.4" else {"ome": told})
    return path


def test_images_and_label_images_of_a_store_pass_the_first_look_of_a_config(tmp_path: Path) -> None:
    """As `truth` of the workflow, those of ``….zarr/labels/NAME`` were refused for a folder."""
    store = tmp_path / "a.ome.zarr"
    write_ome_zarr(store, RNG.random((2, 16, 16), np.float32), {"objects": np.ones((16, 16), np.uint8)}, None, CLASSES)
    sniff(store, "image")
    sniff(store / "labels" / "objects", "image")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_is_read_with_channels_and_pixel_size(tmp_path: Path, version: str) -> None:
    values = two_channels()
    image = read_image(save_zarr(tmp_path / "a.ome.zarr", values, version))
    np.testing.assert_array_equal(image.values, values)
    assert image.channels == ("membrane", "DNA")
    assert image.pixel_size == pytest.approx((0.25, 0.5))
    assert read_image(save_zarr(tmp_path / "b.zarr", values, version, "parsec")).pixel_size is None


@pytest.mark.parametrize("size", [None, (0.25, 0.5)])
@pytest.mark.parametrize("shape", [(40, 32), (1500, 1100)])
def test_what_is_written_is_read_again(
    tmp_path: Path, size: tuple[float, float] | None, shape: tuple[int, int]
) -> None:
    objects = RNG.integers(0, 300, shape).astype(np.uint16)
    first = RNG.random(shape, dtype=np.float32)
    posteriors = np.stack([first, 1 - first])
    labels = {"classes": (first < 0.5).astype(np.uint8) + 1, "objects": objects}
    for name in ("a", "b"):
        write_ome_zarr(tmp_path / f"{name}.ome.zarr", posteriors, labels, size, CLASSES)
    files = {path.relative_to(tmp_path / "a.ome.zarr"): path for path in (tmp_path / "a.ome.zarr").rglob("*")}
    for name, path in files.items():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b.ome.zarr" / name).read_bytes(), "the same bytes"
    image = read_image(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(image.values, posteriors)
    assert (image.channels, image.pixel_size) == (CLASSES, size)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.ome.zarr" / "labels" / "objects", shape), objects)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    assert group["labels"].attrs["labels"] == ["classes", "objects"]
    assert group["labels/objects"].attrs["image-label"]["source"] == {"image": "../../"}
    scales = group["labels/objects"].attrs["multiscales"][0]
    assert len(scales["datasets"]) == (1 if max(shape) < 1024 else 2)
    for i, dataset in enumerate(scales["datasets"]):
        np.testing.assert_array_equal(group["labels/objects"][dataset["path"]][...], objects[:: 2**i, :: 2**i])
        step = dataset["coordinateTransformations"][0]["scale"]
        assert step == [2**i * side for side in (size or (1.0, 1.0))]


def test_damaged_and_foreign_stores_get_one_line(tmp_path: Path) -> None:
    values = two_channels()
    path = save_zarr(tmp_path / "cut.zarr", values)
    chunk = next(p for p in sorted((path / "s0").rglob("*")) if p.name[0].isdigit() and p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:7])
    broken = save_zarr(tmp_path / "broken.zarr", values)
    (broken / ".zattrs").write_text('{"multiscales": [{"datas')
    empty = save_zarr(tmp_path / "empty.zarr", values)
    (empty / ".zattrs").write_text("{}")
    lost = save_zarr(tmp_path / "lost.zarr", values)
    (lost / "s0" / ".zarray").unlink()
    series = save_zarr(tmp_path / "deep.zarr", values)
    told = json.loads((series / ".zattrs").read_text())
    told["multiscales"][0]["axes"][0]["name"] = "z"
    (series / ".zattrs").write_text(json.dumps(told))
    for store, words in (
        (path, "damaged or incomplete"),
        (broken, "damaged or incomplete"),
        (empty, "no multiscales"),
        (lost, "damaged or incomplete"),
        (series, "z-stack"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(InputError) as caught:
            read_image(store)
        assert words in str(caught.value), (store, str(caught.value))
        assert str(store) in str(caught.value)
        assert "\n" not in str(caught.value)


def area(ring: Ring) -> float:
    """Signed, by the shoelace formula."""
    return 0.5 * sum(x * v - u * y for (x, y), (u, v) in itertools.pairwise(ring))


def test_a_simpler_outline_leaves_out_what_is_near_it_as_skimage_does() -> None:
    tolerance, n_ours, n_theirs = 0.35, 0, 0
    for seed in range(20):
        mask = np.pad(gaussian_filter(np.random.default_rng(seed).normal(size=(40, 40)), 3) > 0, 1)
        for line in find_contours(mask.astype(float), 0.5):
            kept = simplified(line, tolerance)
            np.testing.assert_array_equal(kept[[0, -1]], line[[0, -1]])
            start, chord = kept[:-1], np.diff(kept, axis=0)
            away = line[:, None] - start
            along = np.clip((away * chord).sum(axis=2) / (chord**2).sum(axis=1), 0.0, 1.0)
            distance = np.linalg.norm(away - along[..., None] * chord, axis=2).min(axis=1)
            assert distance.max() <= tolerance + 1e-12
            n_ours += len(kept)
            n_theirs += len(approximate_polygon(line, tolerance))
    assert n_ours == pytest.approx(n_theirs, rel=0.01)


def test_polygons_are_simple_and_cover_the_pixels_exactly() -> None:
    n_holes = n_parts = n_touching = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        kinds = rng.choice([1, 2], (9, 11), p=[0.9, 0.1])
        objects = np.where(rng.random((9, 11)) < 0.35 + 0.15 * (seed % 4), kinds, 0)
        found = object_polygons(objects)
        assert set(found) == set(np.unique(objects)) - {0}
        for label, parts in found.items():
            n_parts += len(parts) > 1
            drawn = np.zeros(objects.shape, dtype=int)
            for outer, *holes in parts:
                n_holes += len(holes)
                assert area(outer) > 0
                assert all(area(hole) < 0 for hole in holes)
                for ring in (outer, *holes):
                    assert ring[0] == ring[-1]
                    corners = ring[:-1]
                    # A ring along pixels is simple where no corner comes twice, also among those it passes straight.
                    passed = [p for a, b in itertools.pairwise(ring) for p in along(a, b)]
                    assert max(Counter(passed).values()) == 1
                    turns = zip([corners[-1], *corners], corners, [*corners[1:], corners[0]], strict=False)
                    assert all((a[0] == b[0]) != (b[0] == c[0]) for a, b, c in turns), "a point only at a turn"
                    drawn += np.sign(area(ring)).astype(int) * inside(ring, objects.shape)
                n_touching += bool(holes) and bool({*outer} & {p for hole in holes for p in hole})
            np.testing.assert_array_equal(drawn, objects == label)
    assert min(n_holes, n_parts, n_touching) > 5, "the cases that matter occurred"


def along(a: tuple[int, int], b: tuple[int, int]) -> list[tuple[int, int]]:
    """Corners of pixels from a to before b."""
    steps = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
    return [(a[0] + i * (b[0] - a[0]) // steps, a[1] + i * (b[1] - a[1]) // steps) for i in range(steps)]


def inside(ring: Ring, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose middle a ring encloses, by skimage."""
    return np.asarray(polygon2mask(shape, [(y - 0.5, x - 0.5) for x, y in ring]).astype(int))


def test_geojson_is_what_qupath_reads(tmp_path: Path) -> None:
    objects = np.zeros((20, 20), dtype=np.int32)
    objects[2:9, 2:9] = 1
    objects[4:6, 4:6] = 0
    objects[12:15, 3:6] = objects[15:18, 6:9] = 2
    columns = measure_objects(objects, RNG.random((1, 20, 20)), RNG.random((20, 20)), (0.5, 0.5))
    write_geojson(tmp_path / "o.geojson", objects, columns, "nuclei")
    told = json.loads((tmp_path / "o.geojson").read_text())
    assert told["type"] == "FeatureCollection"
    first, second = told["features"]
    assert first["geometry"]["type"] == "Polygon"
    assert len(first["geometry"]["coordinates"]) == 2, "a hole"
    assert first["geometry"]["coordinates"][0][0] == [2, 2]
    assert second["geometry"]["type"] == "MultiPolygon"
    assert first["properties"]["objectType"] == "detection"
    assert first["properties"]["classification"]["name"] == "nuclei"
    assert first["properties"]["measurements"]["area"] == 45.0
    assert first["properties"]["measurements"]["area_um2"] == 45.0 / 4
    assert first["id"] != second["id"]
    for feature in told[
        "features"
    ]:  # as QuPath's PathObjectTypeAdapters reads it: else an annotation without an identity
        assert set(feature) == {"type", "id", "geometry", "properties"}
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        told_of = feature["properties"]
        assert set(told_of) == {"objectType", "name", "classification", "measurements"}
        assert [type(part) for part in told_of["classification"]["color"]] == [int] * 3
        assert {type(value) for value in told_of["measurements"].values()} == {float}
    write_geojson(tmp_path / "none.geojson", objects * 0, {k: v[:0] for k, v in columns.items()}, "nuclei")
    assert json.loads((tmp_path / "none.geojson").read_text()) == {"type": "FeatureCollection", "features": []}


def test_a_store_in_and_all_formats_out_agree(tmp_path: Path) -> None:
    path = save_zarr(tmp_path / "a.ome.zarr", two_channels())
    out = tmp_path / "out"
    assert main(["segment", str(path), "--out", str(out), "--channel", "1", "--starts", "1"]) in (0, 3)
    store = out / "segmentation.ome.zarr"
    for name, file in (("classes", "labels"), ("objects", "instances")):
        np.testing.assert_array_equal(
            read_labels(store / "labels" / name, (48, 64)), tifffile.imread(out / f"{file}.ome.tif")
        )
    assert read_image(store).pixel_size == pytest.approx((0.25, 0.5))
    objects = tifffile.imread(out / "instances.ome.tif")
    features = json.loads((out / "objects.geojson").read_text())["features"]
    assert len(features) == objects.max() == 2
    adata = anndata.read_h5ad(out / "objects.h5ad")
    (library,) = adata.uns["spatial"].values()  # as squidpy looks it up
    assert {"images", "scalefactors"} <= set(library)
    assert library["scalefactors"]["tissue_hires_scalef"] == 1.0
    assert library["scalefactors"]["spot_diameter_fullres"] > 5
    np.testing.assert_array_equal(library["images"]["segmentation"], objects)
    assert library["images"]["hires"].shape == (48, 64, 3)
    assert list(library["metadata"]["channels"]) == ["membrane", "DNA"]
    middles = [np.argwhere(objects == label).mean(axis=0)[::-1] for label in (1, 2)]
    np.testing.assert_allclose(adata.obsm["spatial"], middles, rtol=1e-12)
    assert json.loads((out / "fit.json").read_text())["extra"]["pixel_size_um"] == pytest.approx([0.25, 0.5])
    # A label image of the store is a truth.
    words = ["segment", str(path), "--channel", "1", "--starts", "1", "--out", str(tmp_path / "again")]
    assert main([*words, "--truth", str(store / "labels" / "objects")]) in (0, 3)


@pytest.mark.parametrize("predictor", [2, 3])
@pytest.mark.parametrize("n_planes", [1, 3])
def test_a_predictor_of_pixels_without_compression_is_ignored(tmp_path, n_planes, predictor):
    """So do libtiff and Pillow; tifffile would sum up what stands there, or find no such axis."""
    values = np.random.default_rng(0).integers(0, 200, (n_planes, 40, 32)).astype(np.uint16)
    path = tmp_path / "i.ome.tif"
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "CYX"})
    content = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", content, 4)
    while at:
        (n_tags,) = struct.unpack_from("<H", content, at)
        places = [at + 2 + 12 * number for number in range(n_tags)]
        (unit,) = [place for place in places if struct.unpack_from("<H", content, place) == (296,)]
        struct.pack_into("<HHII", content, unit, 317, 3, 1, predictor)  # in place of the unit of its resolution
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * n_tags)
    path.write_bytes(content)
    with PIL.Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), values[0])
    np.testing.assert_array_equal(read_image(path).values, values)
