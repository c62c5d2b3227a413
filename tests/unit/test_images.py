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
from emtools.io.images import n_values, read_image, read_labels, write_ome
from emtools.io.outputs import sha256

PLANE = np.random.default_rng(0).integers(0, 200, (40, 32)).astype(np.uint8)
PAIR = np.stack([PLANE, PLANE[::-1]])


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


def in_two_files(
    folder: Path, planes: np.ndarray = PAIR, compression: str | None = None, **how: int
) -> tuple[Path, Path]:
    """An OME-TIFF whose two channels lie in a file each, as Bio-Formats exports them on request."""
    _, n_rows, n_columns = planes.shape
    paths = [folder / f"a_C{channel}.ome.tif" for channel in range(2)]
    marks = [f"urn:uuid:{channel}1111111-1111-1111-1111-111111111111" for channel in range(2)]
    told = "".join(
        f'<TiffData FirstC="{channel}" FirstT="0" FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="{path.name}">{mark}</UUID></TiffData>'
        for channel, (path, mark) in enumerate(zip(paths, marks, strict=True))
    )
    for path, mark, plane in zip(paths, marks, planes, strict=True):
        xml = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{mark}">'
            f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{planes.dtype}" SizeX="{n_columns}" '
            f'SizeY="{n_rows}" SizeC="2" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
            f'<Channel ID="Channel:0:1" SamplesPerPixel="1"/>{told}</Pixels></Image></OME>'
        )
        tifffile.imwrite(path, plane, description=xml.encode(), metadata=None, compression=compression, **how)
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


def test_long_strips_in_several_files_are_looked_for_where_they_lie(tmp_path: Path) -> None:
    """Those of the other file were looked for in the file itself, which was then called damaged."""
    planes = np.random.default_rng(1).integers(0, [[[60_000]], [[9_000]]], (2, 600, 400)).astype(np.uint16)
    for path in in_two_files(tmp_path, planes, "zlib", rowsperstrip=200):
        np.testing.assert_array_equal(read_image(path).values, planes)


def plate(folder: Path, n: int, compression: str | None) -> list[Path]:
    """An export of n positions, one a file, each file with the OME-XML of all."""
    folder.mkdir()
    paths = [folder / f"p{position}.ome.tif" for position in range(n)]
    marks = [f"urn:uuid:{position}1111111-1111-1111-1111-111111111111" for position in range(n)]
    told = "".join(
        f'<Image ID="Image:{i}" Name="p{i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYCZT" Type="{PLANE.dtype}" '
        f'SizeX="{PLANE.shape[1]}" SizeY="{PLANE.shape[0]}" SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="{i + 1}" '
        f'PhysicalSizeY="{i + 1}"><Channel ID="Channel:{i}:0" SamplesPerPixel="1" Name="stain"/>'
        f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="{path.name}">{mark}</UUID></TiffData></Pixels></Image>'
        for i, (path, mark) in enumerate(zip(paths, marks, strict=True))
    )
    for position, (path, mark) in enumerate(zip(paths, marks, strict=True)):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{mark}">{told}</OME>'
        )
        tifffile.imwrite(
            path, np.roll(PLANE, position, 0), description=xml.encode(), metadata=None, compression=compression
        )
    return paths


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_each_file_of_a_plate_gives_its_own_pixels(tmp_path: Path, n: int, compression: str | None) -> None:
    """The first position of the OME-XML was taken for each: the others were left out, or read with its pixels."""
    paths = plate(tmp_path / "plate", n, compression)
    batch = Batch(list_images([tmp_path / "plate"]), None)
    assert [member.image.path for member in batch.members] == paths
    assert batch.notes == []
    for position, path in enumerate(paths):
        image = batch.load(position)
        np.testing.assert_array_equal(image.values, [np.roll(PLANE, position, 0)])
        assert (image.sources, image.notes, image.channels) == ((path,), (), ("stain",))
        assert image.pixel_size == (position + 1, position + 1)


def test_a_file_of_a_plate_is_read_without_a_look_into_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file lists the images of all: a plate of n files took n² of them."""
    paths = plate(tmp_path / "plate", 4, None)
    names: list[str] = []
    opens = tifffile.FileHandle.open
    monkeypatch.setattr(tifffile.FileHandle, "open", lambda file: (opens(file), names.append(file.name))[0])
    assert read_image(paths[2]).pixel_size == (3, 3)
    assert n_values(paths[2]) == PLANE.size
    assert set(names) == {paths[2].name}


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_of_a_plate_is_read_without_the_files_of_other_positions(
    tmp_path: Path, compression: str | None
) -> None:
    first, second, third = plate(tmp_path / "plate", 3, compression)
    first.unlink()
    second.unlink()
    alone = third.rename(third.with_name("renamed.ome.tif"))
    image = read_image(alone)
    np.testing.assert_array_equal(image.values, [np.roll(PLANE, 2, 0)])
    assert (image.notes, image.pixel_size) == ((), (3, 3))


def test_a_file_that_names_the_planes_of_another_alone_is_read_there(tmp_path: Path) -> None:
    """Its pixels are those of the other file, with which it counts once."""
    one, two = plate(tmp_path / "plate", 2, None)
    with tifffile.TiffFile(one) as file:
        xml = file.ome_metadata
    begin, end = xml.index("<Image"), xml.index("</Image>") + len("</Image>")
    only_one = xml[:begin] + xml[begin:end] + "</OME>"
    mark = "urn:uuid:91111111-1111-1111-1111-111111111111"
    head = only_one.index("<Image")
    other = only_one[:head].replace("urn:uuid:01111111-1111-1111-1111-111111111111", mark) + only_one[head:]
    two.unlink()
    stub = saved(one.with_name("all.ome.tif"), 0 * PLANE, description=other.encode(), metadata=None)
    image = read_image(stub)
    np.testing.assert_array_equal(image.values, [PLANE])
    assert image.sources == (one,)
    batch = Batch(list_images([one.parent]), None)
    assert [member.name for member in batch.members] == ["all"]
    one.unlink()
    with pytest.raises(InputError, match=r"planes of it lie in p0\.ome\.tif, which is not there"):
        read_image(stub)


def test_a_link_of_another_name_is_its_own_source(tmp_path: Path) -> None:
    """The file that it leads to was looked for beside the link, which ended in a traceback after the fit."""
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    real = saved(tmp_path / "real" / "blob.tif", PLANE)
    links = [tmp_path / "links" / f"{name}.tif" for name in "ab"]
    for link in links:
        link.symlink_to(Path("..") / "real" / real.name)
    assert read_image(links[0]).sources == (links[0],)
    assert read_image(links[0]).notes == ()
    batch = Batch(list_images([tmp_path / "links"]), None)
    assert [member.image.path for member in batch.members] == links
    assert batch.members[0].sha == sha256(real)


def test_links_to_an_image_in_several_files_lead_to_the_others_and_count_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    one, two = in_two_files(tmp_path / "real")
    links = [tmp_path / "links" / f"{name}.ome.tif" for name in "ab"]
    for link, path in zip(links, (one, two), strict=True):
        link.symlink_to(path)
    image = read_image(links[0])
    np.testing.assert_array_equal(image.values, [PLANE, PLANE[::-1]])
    assert set(image.sources) == {links[0], two.resolve()}
    batch = Batch(list_images([tmp_path / "links"]), None)
    assert [member.image.path for member in batch.members] == links[:1]
    assert batch.notes == ["left out, since images before them hold the same planes: b.ome.tif"]


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


@pytest.mark.parametrize("n_pages", [1, 2])
def test_twelve_bits_a_pixel_are_read_or_told(tmp_path, n_pages):
    """As some cameras pack them; tifffile alone takes them for damage."""
    values = np.arange(480, dtype=np.uint16).reshape(24, 20) * 8 + 5
    bits = "".join(format(value, "012b") for value in values.ravel())
    packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    tags = [(256, 4, 20), (257, 4, 24), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, 24)]
    tags += [(279, 4, len(packed))]
    fields = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, kind, 1, n) for tag, kind, n in tags)
    first = 8 + len(packed)
    then = [first + (page + 1) * (len(fields) + 4) for page in range(n_pages - 1)] + [0]
    pages = b"".join(fields + struct.pack("<I", place) for place in then)
    path = tmp_path / "camera.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", first) + packed + pages)
    if n_pages == 1:
        np.testing.assert_array_equal(read_image(path).values[0], values)
        return
    with pytest.raises(InputError, match="stored with packints_decode of 12-bit integers"):
        read_image(path)
