"""Images as nobody wants them: each is one clear line, a non-zero exit and nothing written, or the right answer."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr
from numcodecs import Blosc

from emtools.cli import main
from emtools.errors import InputError
from emtools.io.cells import load_anndata
from emtools.io.images import read_image
from emtools.io.rows import rows_source

RNG = np.random.default_rng(8)
MASK = np.zeros((48, 64), dtype=bool)
MASK[5:20, 5:22] = MASK[25:41, 30:52] = True
GREY = RNG.poisson(20 + 100 * MASK).astype(np.uint8)


def tiff(values: np.ndarray, **how: object) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, values, **how)


def cut(path: Path) -> None:
    tifffile.imwrite(path, GREY, compression="zlib")
    path.write_bytes(path.read_bytes()[:-400])


def palette(path: Path) -> None:
    """A picture of 256 colours that are no straight line from dark to bright."""
    picture = PIL.Image.fromarray(GREY).convert("P")
    level = np.arange(256)
    colours = np.stack([level, 255 * np.sqrt(level / 255), level**2 / 255], axis=1)
    picture.putpalette(colours.round().astype(int).ravel().tolist())
    picture.putdata(GREY.ravel().tolist())
    picture.save(path)


def two_colours(path: Path) -> None:
    picture = PIL.Image.fromarray(MASK.astype(np.uint8)).convert("P")
    picture.putpalette([10, 10, 40, 200, 180, 190])
    picture.putdata(MASK.ravel().astype(int).tolist())
    picture.save(path)


REFUSED: dict[str, tuple[str, Callable[[Path], None], tuple[str, ...]]] = {
    "1 x 1": ("a.tif", tiff(GREY[:1, :1]), ("1 x 1 pixels", "at least 16 on each side")),
    "numbers without squares": ("a.tif", tiff(1e200 * GREY), ("values of at most", "change their unit")),
    "numbers whose squares are nothing": ("a.tif", tiff(1e-200 * GREY), ("values of at most", "change their unit")),
    "one row": ("a.tif", tiff(GREY[:1]), ("1 x 64 pixels", "at least 16")),
    "constant": ("a.tif", tiff(np.full_like(GREY, 7)), ("every pixel is 7", "check the exposure")),
    "constant colours": ("a.png", lambda p: PIL.Image.new("RGB", (40, 40), (9, 8, 7)).save(p), ("every pixel is 9",)),
    "two colours": ("a.png", two_colours, ("carry the same information", "save the image without")),
    "all NaN": ("a.tif", tiff(np.full(GREY.shape, np.nan, np.float32)), ("row 0, column 0", "3072 such values", "crop")),
    "one infinity": (
        "a.tif", tiff(np.where(np.arange(3072).reshape(48, 64) == 70, np.inf, GREY).astype(np.float32)),
        ("row 1, column 6", "1 such values"),
    ),
    "complex": ("a.tif", tiff(GREY.astype(np.complex64)), ("complex64", "real numbers")),
    "channels last": (
        "a.ome.tif", tiff(np.stack([GREY, GREY.T[:48, :].repeat(2, 1)[:, :64]], -1), metadata={"axes": "ZYX"}),
        ("z-stack", "48 x 64 x 2", "axes CYX"),
    ),
    "z-stack": (
        "a.ome.tif", tiff(np.stack([GREY] * 3), metadata={"axes": "ZYX"}, photometric="minisblack"),
        ("a z-stack (axes ZYX, 3 x 48 x 64)", "save one plane or a projection"),
    ),
    "time series": (
        "a.ome.tif", tiff(np.stack([GREY] * 3), metadata={"axes": "TYX"}, photometric="minisblack"), ("a time series",)
    ),
    "truncated": ("a.tif", cut, ("cut off or damaged", "copy or export it again")),
    "text named .tif": ("a.tif", lambda p: p.write_text("no image\n" * 50) and None, ("not an image", "TIFF")),
    "a page named .png": ("a.png", lambda p: p.write_text("<html></html>") and None, ("not an image",)),
    "empty": ("a.tif", lambda p: p.write_bytes(b"") and None, ("the file is empty",)),
    "a folder": ("a.tif", lambda p: p.mkdir(), ("holds no image", "check the folder")),
    "absent": ("a.tif", lambda p: None, ("no such file", "check the path")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_with_nothing_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stem, write, words = REFUSED[name]
    path = tmp_path / stem
    write(path)
    before = sorted(tmp_path.iterdir())
    assert main(["segment", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith(f"emtools: error: {path}"), error
    for word in words:
        assert word in error, (word, error)
    assert sorted(tmp_path.iterdir()) == before


def rgba(alpha: np.ndarray) -> np.ndarray:
    planes = [GREY, RNG.poisson(30 + 60 * MASK).clip(0, 255), RNG.poisson(90 - 40 * MASK).clip(0, 255), alpha]
    return np.stack(planes, axis=-1).astype(np.uint8)


ANSWERED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "plain": ("a.tif", tiff(GREY)),
    "floats with negatives": ("a.tif", tiff(RNG.normal(-50 + 60 * MASK, 9).astype(np.float32))),
    "tiny floats": ("a.tif", tiff((1e-6 * RNG.normal(5 + 9 * MASK, 1)).astype(np.float32))),
    "signed integers": ("a.tif", tiff(RNG.normal(-500 + 600 * MASK, 90).astype(np.int16))),
    "12 bit in 16": ("a.tif", tiff(RNG.poisson(400 + 2500 * MASK).clip(0, 4095).astype(np.uint16))),
    "big endian": ("a.tif", tiff(GREY.astype(">u2"), byteorder=">")),
    "palette": ("a.png", palette),
    "1 bit": ("a.png", lambda p: PIL.Image.fromarray(MASK).save(p)),
    "RGBA": ("a.png", lambda p: PIL.Image.fromarray(rgba(np.full_like(GREY, 255))).save(p)),
    "RGBA, holes": ("a.png", lambda p: PIL.Image.fromarray(rgba(np.where(MASK, 255, 0))).save(p)),
    "colours plane by plane": (
        "a.tif", tiff(np.moveaxis(rgba(GREY)[..., :3], -1, 0), photometric="rgb", planarconfig="separate")
    ),
    "a dead channel": (
        "a.ome.tif", tiff(np.stack([GREY, GREY * 0]), metadata={"axes": "CYX"}, photometric="minisblack")
    ),
    "a dead channel before the live one": (
        "a.ome.tif", tiff(np.stack([GREY * 0, GREY]), metadata={"axes": "CYX"}, photometric="minisblack")
    ),
    "name in the wrong": ("a.png", lambda p: tifffile.imwrite(p.with_suffix(".tif"), GREY)
                          or (p.write_bytes(p.with_suffix(".tif").read_bytes()) and None)),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERED)
def test_answered_rightly(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stem, write = ANSWERED[name]
    write(tmp_path / stem)
    out = tmp_path / "out"
    assert main(["segment", str(tmp_path / stem), "--out", str(out), "--starts", "2"]) in (0, 3)
    found = tifffile.imread(out / "labels.ome.tif") == 2
    assert 2 * (found & MASK).sum() / (found.sum() + MASK.sum()) > 0.95, name
    assert tifffile.imread(out / "instances.ome.tif").max() == 2
    image = read_image(tmp_path / stem)
    columns = (out / "objects.csv").read_text().split("\n")[0].split(",")
    assert [c for c in columns if c.startswith("intensity_mean")] == [f"intensity_mean-{c}" for c in image.positions]
    page, told = (out / "report.html").read_text(), capsys.readouterr().err
    for note in image.notes:
        assert f"<li>{note}.</li>" in page
        assert f"segment: {note}\n" in told


def test_one_bright_pixel_is_no_object_and_draws_without_a_warning(tmp_path: Path) -> None:
    """Both features of nearly all pixels are then the same number, and the figure of the boundary had no width."""
    values = np.zeros((48, 48), dtype=np.uint8)
    values[10, 10] = 255
    tifffile.imwrite(tmp_path / "hot.tif", values)
    assert main(["segment", str(tmp_path / "hot.tif"), "--out", str(tmp_path / "out"), "--starts", "2"]) in (0, 3)
    assert tifffile.imread(tmp_path / "out" / "instances.ome.tif").max() == 0


@pytest.mark.parametrize("n_pages", [3, 150])
def test_pages_in_a_circle_are_damage(tmp_path: Path, n_pages: int) -> None:
    """tifffile looks for a circle at the hundredth page alone, and not where pages are read one by one."""
    path = tmp_path / "i.tif"
    values = np.arange(400, dtype=np.uint16).reshape(20, 20)
    with tifffile.TiffWriter(path) as file:
        for number in range(n_pages):
            file.write(values[:, number % 2 :], metadata=None, photometric="minisblack")
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    at = first
    while at:
        last = at + 2 + 12 * struct.unpack_from("<H", content, at)[0]
        (at,) = struct.unpack_from("<I", content, last)
    struct.pack_into("<I", content, last, first)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cut off or damaged"):
        read_image(path)


def claim_less_than_nothing(store: Path) -> None:
    """The size that Blosc finds in the head of the first chunk, below zero."""
    chunk = next(path for path in sorted(store.rglob("*")) if path.name in ("0", "0.0") and path.is_file())
    content = bytearray(chunk.read_bytes())
    struct.pack_into("<i", content, 4, -1)
    chunk.write_bytes(content)


@pytest.mark.filterwarnings("ignore")
def test_a_chunk_of_blosc_that_claims_a_size_below_zero(tmp_path: Path) -> None:
    """numcodecs raises a SystemError of it."""
    values = np.arange(400.0).reshape(20, 20)
    group = zarr.open_group(tmp_path / "i.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=values, chunks=(20, 20), compressors=Blosc())
    group.attrs.put({"multiscales": [{"datasets": [{"path": "0"}], "axes": [{"name": axis} for axis in "yx"]}]})
    np.testing.assert_array_equal(read_image(tmp_path / "i.zarr").values[0], values)
    rows = rows_source(tmp_path / "i.zarr", key="0")
    rows.chunk(0)
    claim_less_than_nothing(tmp_path / "i.zarr" / "0")
    with pytest.raises(InputError, match="damaged or incomplete"):
        read_image(tmp_path / "i.zarr")
    with pytest.raises(InputError, match="a chunk is damaged"):
        rows.chunk(0)
    anndata.AnnData(values).write_zarr(tmp_path / "c.zarr")
    load_anndata(tmp_path / "c.zarr")
    claim_less_than_nothing(tmp_path / "c.zarr" / "X")
    with pytest.raises(InputError, match="anndata cannot read it"):
        load_anndata(tmp_path / "c.zarr")
