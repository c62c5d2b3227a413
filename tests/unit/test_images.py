"""Images: what is read, with channels and pixel size; what is refused, in one line; what is written."""

from __future__ import annotations

import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import tifffile

from emtools.branches.segment.batch_types import Batch
from emtools.errors import InputError
from emtools.io.image_folder import list_images
from emtools.io.images import read_image, read_labels, write_ome

PLANE = np.random.default_rng(0).integers(0, 200, (40, 32)).astype(np.uint8)


def saved(path: Path, values: np.ndarray, **how: object) -> Path:
    tifffile.imwrite(path, values, **how)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [None, (0.325, 0.325), (0.5, 0.25)])
def test_ome_round_trip_keeps_values_and_pixel_size(
    tmp_path: Path, dtype: type, size: tuple[float, float] | None
) -> None:
    path = tmp_path / "a.ome.tif"
    values = np.stack([PLANE, PLANE[::-1]]).astype(dtype)
    write_ome(path, values, "CYX", "name", size, ["nuclei & co", "β-actin"])
    image = read_image(path)
    np.testing.assert_array_equal(image.values, values)
    assert image.values.dtype == dtype
    assert image.channels == ("nuclei & co", "β-actin")
    assert image.pixel_size == (None if size is None else pytest.approx(size, rel=1e-12))
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert file.series[0].axes == "CYX"
        pixels = ElementTree.fromstring(file.ome_metadata).find(".//{*}Pixels")
        assert pixels is not None
        assert (pixels.get("SizeX"), pixels.get("SizeY"), pixels.get("SizeC")) == ("32", "40", "2")
        if size is not None:
            assert float(pixels.get("PhysicalSizeX", "0")) == size[1]


def test_channels_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """What is recorded by the name of a channel was that of the last one of the name."""
    path = tmp_path / "a.ome.tif"
    write_ome(path, np.stack([PLANE, PLANE[::-1], PLANE // 2]), "CYX", "name", None, ["DAPI", "GFP", "DAPI"])
    assert read_image(path).channels == ("DAPI", "GFP", "DAPI (2)")


def in_two_files(folder: Path) -> tuple[Path, Path]:
    """An OME-TIFF whose two channels lie in a file each, as Bio-Formats exports them on request."""
    planes = [PLANE, PLANE[::-1]]
    paths = [folder / f"a_C{channel}.ome.tif" for channel in range(2)]
    marks = [f"urn:uuid:{channel}1111111-1111-1111-1111-111111111111" for channel in range(2)]
    told = "".join(
        f'<TiffData FirstC="{channel}" FirstT="0" FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="{path.name}">{mark}</UUID></TiffData>'
        for channel, (path, mark) in enumerate(zip(paths, marks, strict=True))
    )
    for path, mark, plane in zip(paths, marks, planes, strict=True):
        xml = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{mark}">'
            f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{PLANE.dtype}" SizeX="{PLANE.shape[1]}" '
            f'SizeY="{PLANE.shape[0]}" SizeC="2" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
            f'<Channel ID="Channel:0:1" SamplesPerPixel="1"/>{told}</Pixels></Image></OME>'
        )
        tifffile.imwrite(path, plane, description=xml.encode(), metadata=None)
    return paths[0], paths[1]


def test_an_image_in_several_files_knows_them_and_counts_once_in_a_batch(tmp_path: Path) -> None:
    one, two = in_two_files(tmp_path)
    for path in (one, two):
        image = read_image(path)
        np.testing.assert_array_equal(image.values, [PLANE, PLANE[::-1]])
        assert image.sources == (one, two)
    batch = Batch(list_images([tmp_path]), None)
    assert [member.image.path for member in batch.members] == [one]
    assert batch.notes == ["left out, since images before them hold the same planes: a_C1.ome.tif"]
    two.unlink()
    with pytest.raises(InputError, match=r"planes of it lie in a_C1\.ome\.tif, which is not there"):
        read_image(one)


def test_inks_of_a_print_are_refused(tmp_path: Path) -> None:
    """Cyan, magenta and yellow were taken for red, green and blue, and black for an alpha channel."""
    saved(tmp_path / "a.tif", np.stack([PLANE] * 4, axis=-1), photometric="separated")
    with pytest.raises(InputError, match="CMYK"):
        read_image(tmp_path / "a.tif")


def test_same_values_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_ome(tmp_path / f"{name}.ome.tif", PLANE, "YX", "classes", (0.5, 0.5))
    assert (tmp_path / "a.ome.tif").read_bytes() == (tmp_path / "b.ome.tif").read_bytes()


def test_pixel_size_from_the_tiff_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    saved(path, PLANE, resolution=(20000, 20000), resolutionunit="CENTIMETER")
    assert read_image(path).pixel_size == pytest.approx((0.5, 0.5), rel=1e-9)
    saved(path, PLANE, imagej=True, resolution=(4, 2), metadata={"unit": "um"})
    assert read_image(path).pixel_size == pytest.approx((0.5, 0.25), rel=1e-9)
    for dots, unit in ((300, "INCH"), (118, "CENTIMETER")):
        saved(path, PLANE, resolution=(dots, dots), resolutionunit=unit)
        assert read_image(path).pixel_size is None
    assert read_image(path, 0.2).pixel_size == (0.2, 0.2)


def test_colours_alpha_palette_and_bits(tmp_path: Path) -> None:
    rgba = np.stack([PLANE, PLANE[::-1], PLANE // 2, np.full_like(PLANE, 255)], axis=-1)
    PIL.Image.fromarray(rgba).save(tmp_path / "rgba.png")
    image = read_image(tmp_path / "rgba.png")
    assert image.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(image.values, np.moveaxis(rgba[..., :3], -1, 0))
    assert "alpha" in image.notes[0]
    PIL.Image.fromarray(PLANE).convert("P").save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png").values, PLANE[None])
    sixteen = PLANE.astype(np.uint16) * 20
    PIL.Image.fromarray(sixteen).save(tmp_path / "sixteen.png")
    np.testing.assert_array_equal(read_image(tmp_path / "sixteen.png").values, sixteen[None])
    PIL.Image.fromarray(PLANE).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "lzw.tif").values, PLANE[None])
    only_green = rgba[..., :3] * np.array([0, 1, 0], dtype=np.uint8)
    PIL.Image.fromarray(only_green).save(tmp_path / "green.png")
    green = read_image(tmp_path / "green.png")
    assert (green.channels, green.positions) == (("green",), (1,))


def hostile_files(folder: Path) -> dict[str, tuple[Path, str]]:
    whole = saved(folder / "whole.tif", PLANE, compression="zlib").read_bytes()
    nan = PLANE.astype(np.float32)
    nan[3, 4] = np.nan
    many = saved(folder / "many.tif", np.stack([PLANE] * 9), photometric="minisblack", compression="zlib").read_bytes()
    files = {
        "truncated": (whole[: len(whole) // 2], "cut off or damaged"),
        "header only": (whole[:8], "cut off or damaged"),
        "one page of nine": (many[: len(many) // 2], "cut off or damaged"),
        "text": (b"row\tcolumn\n1\t2\n" * 20, "not an image"),
        "empty": (b"", "empty"),
        "nonsense": (b"II*\0" + b"\xff" * 60, "cut off or damaged"),
        "absurd": (struct.pack("<2sHIH", b"II", 42, 8, 2)
                   + struct.pack("<HHII", 256, 4, 1, 2**31 - 1) + struct.pack("<HHII", 257, 4, 1, 2**31 - 1)
                   + struct.pack("<I", 0), "at most 1,073,741,824"),
    }  # fmt: skip
    found = {}
    for name, (content, words) in files.items():
        path = folder / f"{name.replace(' ', '_')}.tif"
        path.write_bytes(content)
        found[name] = (path, words)
    arrays: dict[str, tuple[np.ndarray, dict[str, object], str]] = {
        "1x1": (PLANE[:1, :1], {}, "1 x 1 pixels"),
        "constant": (np.full_like(PLANE, 7), {}, "every pixel is 7"),
        "nan": (nan, {}, "row 3, column 4"),
        "all nan": (nan * np.nan, {}, "1280 such values"),
        "complex": (PLANE.astype(complex), {}, "complex"),
        "z-stack": (np.stack([PLANE] * 3), {"imagej": True, "metadata": {"axes": "ZYX"}}, "z-stack"),
        "pages": (np.stack([PLANE] * 3), {"photometric": "minisblack"}, "unknown meaning"),
    }
    for name, (values, how, words) in arrays.items():
        found[name] = (saved(folder / f"{name}.tif", values, **how), words)
    png = folder / "cut.png"
    PIL.Image.fromarray(PLANE).save(png)
    png.write_bytes(png.read_bytes()[:200])
    found["truncated png"] = (png, "cut off or damaged")
    found["absent"] = (folder / "absent.tif", "no such file")
    found["folder"] = (folder, "is a folder")
    return found


def test_hostile_files_get_one_clear_line(tmp_path: Path) -> None:
    for name, (path, words) in hostile_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_image(path)
        assert str(path) in str(caught.value), name
        assert words in str(caught.value), (name, str(caught.value))
        assert "\n" not in str(caught.value)


def test_flipped_bytes_never_escape(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    source = saved(tmp_path / "a.ome.tif", np.stack([PLANE, PLANE]), metadata={"axes": "CYX"}).read_bytes()
    path = tmp_path / "b.ome.tif"
    n_refused = 0
    for _ in range(150):
        content = bytearray(source)
        for place in rng.integers(4, 400, 4):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            read_image(path)
        except InputError:
            n_refused += 1
    assert n_refused > 50


def test_labels(tmp_path: Path) -> None:
    labels = (PLANE // 60).astype(np.uint8)
    path = saved(tmp_path / "labels.tif", labels)
    np.testing.assert_array_equal(read_labels(path, (40, 32)), labels)
    picture = PIL.Image.fromarray(labels).convert("P")
    picture.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture.putdata(labels.ravel().tolist())
    picture.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.png", (40, 32)), labels)
    with pytest.raises(InputError, match="40 x 32 pixels"):
        read_labels(path, (40, 40))
    with pytest.raises(InputError, match="no object"):
        read_labels(saved(tmp_path / "zero.tif", labels * 0), (40, 32))
    with pytest.raises(InputError, match="float32"):
        read_labels(saved(tmp_path / "float.tif", labels.astype(np.float32)), (40, 32))
