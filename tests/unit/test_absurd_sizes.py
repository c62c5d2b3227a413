"""Small files that claim enormous contents are refused in one line before memory is taken for them."""

from __future__ import annotations

import gzip
import lzma
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tifffile
import zarr
from unit.test_cells import small

from emtools.errors import InputError
from emtools.io.cells import write_anndata

ROOM = 2**30  # bytes of address space beyond what the process has
GROWN = 300 * 2**10  # kB
BOMB = gzip.compress(b"\0" * 2**20, 9) * 400  # 400 MiB in 400 kB


def png(side: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(side: int) -> bytes:
    """One strip of 16 bytes, of an image that says it is `side` x `side`."""
    tags = [(256, 4, side), (257, 4, side), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, side), (279, 4, 16)]  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHI", b"II", 42, 24) + b"\0" * 16 + struct.pack("<H", len(tags)) + body + b"\0" * 4


def strip_bomb(compression: int, packer: Any) -> bytes:
    """An image of 64 x 64 whose one strip unpacks to 400 MiB."""
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(400)) + packer.flush()
    packed += b"\0" * (len(packed) % 2)
    tags = [(256, 3, 64), (257, 3, 64), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 64), (279, 4, len(packed))]  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(packed))
    return head + packed + struct.pack("<H", len(tags)) + body + b"\0" * 4


def tile_bomb(path: Path) -> None:
    """An image of 64 x 64 in one tile of 16,384 x 16,384."""
    tile = zlib.compress(bytes(2**28), 1)
    with tifffile.TiffWriter(path) as file:
        file.write(iter([tile]), shape=(64, 64), dtype=np.uint8, tile=(2**14, 2**14), compression="zlib")


def packed(path: Path) -> None:
    path.write_bytes(BOMB)


def sheet_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("[Content_Types].xml", "xl/workbook.xml"):
            file.writestr(name, "<x/>")
        with file.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part:
            for _ in range(400):
                part.write(b" " * 2**20)


def model_bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("means.npy", "w", force_zip64=True) as part,
    ):
        for _ in range(400):
            part.write(b"\0" * 2**20)


def absurd_npy(path: Path) -> None:
    np.save(path, np.zeros((4, 3)))
    path.write_bytes(path.read_bytes().replace(b"(4, 3), }            ", b"(4000000000000, 3), }"))
    assert b"4000000000000" in path.read_bytes()


def absurd_cells(path: Path) -> None:
    small().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", shape=(10**7, 10**6), chunks=(100, 100), dtype="f4").attrs.update(attributes)


def absurd_store(path: Path) -> None:
    write_anndata(small(), path)
    for summary in path.glob(".zmetadata"):
        summary.unlink()
    group = zarr.open_group(str(path), mode="r+")
    attributes = dict(group["X"].attrs)
    del group["X"]
    group.create_array("X", shape=(10**7, 10**6), chunks=(1000, 1000), dtype="f4").attrs.update(attributes)


def absurd_image(path: Path) -> None:
    group = zarr.open_group(str(path), mode="w")
    group.create_array("0", shape=(10**6, 10**6), chunks=(1000, 1000), dtype="f8")
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]


def absurd_parquet(path: Path) -> None:
    """A million nulls of a thousand columns are a few kB."""
    nulls = pyarrow.nulls(10**6, pyarrow.float64())
    pyarrow.parquet.write_table(pyarrow.table({f"c{i}": nulls for i in range(400)}), path)


def image(path: Path) -> None:
    from emtools.io.config import is_large
    from emtools.io.images import read_image

    is_large(path)
    read_image(path)


def table(path: Path) -> None:
    from emtools.io.tables import read_table

    read_table(path)


def cells(path: Path) -> None:
    from emtools.io.cells import load_anndata

    load_anndata(path)


def expression(path: Path) -> None:
    from emtools.io.bulk import read_expression

    read_expression(path, "cells")


def fasta(path: Path) -> None:
    from emtools.io.fasta import read_fasta

    read_fasta(path)


def bed(path: Path) -> None:
    from emtools.io.intervals import read_bed

    read_bed(path)


def rows(path: Path) -> None:
    from emtools.io.rows import rows_source

    rows_source(path).chunk(0)


def model(path: Path) -> None:
    from emtools.imputing.store import read_model

    read_model(path)


CASES: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], None], str]] = {
    "TIFF of 10^12 pixels": ("a.tif", lambda path: path.write_bytes(tiff(10**6)), image, "1000000 x 1000000 values"),
    "TIFF of a steep strip": (
        "a.tif",
        lambda path: path.write_bytes(strip_bomb(8, zlib.compressobj(9))),
        image,
        "unpacks to more than 67,108,864",
    ),
    "TIFF of a steep LZMA strip": (
        "a.tif",
        lambda path: path.write_bytes(strip_bomb(34925, lzma.LZMACompressor(preset=0))),
        image,
        "unpacks to more than 67,108,864",
    ),
    "TIFF of a tile far larger than its image": ("a.tif", tile_bomb, image, "a tile of 268,435,456 bytes"),
    "PNG of 60,000 x 60,000": ("a.png", lambda path: path.write_bytes(png(60_000)), image, "far too large"),
    "OME-Zarr of 10^12 pixels": ("a.zarr", absurd_image, image, "1000000 x 1000000 values"),
    "CSV in gzip": ("a.csv.gz", packed, table, "bytes unpack to"),
    "expression in gzip": ("a.csv.gz", packed, expression, "bytes unpack to"),
    "FASTA in gzip": ("a.fa.gz", packed, fasta, "bytes unpack to"),
    "BED in gzip": ("a.bed.gz", packed, bed, "bytes unpack to"),
    "Excel": ("a.xlsx", sheet_bomb, table, "bytes unpack to"),
    "model": ("model.npz", model_bomb, model, "bytes unpack to"),
    "Parquet": ("a.parquet", absurd_parquet, table, "400 columns"),
    "AnnData": ("a.h5ad", absurd_cells, cells, "claims 40,000,000,000,000 bytes"),
    "AnnData in zarr": ("a.zarr", absurd_store, cells, "X claims 40,000,000,000,000 bytes"),
    "AnnData as a table": ("a.h5ad", absurd_cells, table, "claims 40,000,000,000,000 bytes"),
    "npy": ("a.npy", absurd_npy, rows, "cannot be read as .npy"),
}


@pytest.fixture
def little_room() -> Iterator[None]:
    """No more memory than a small file deserves."""
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", CASES)
def test_refused_before_memory_is_taken(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    stem, write, read, words = CASES[name]
    path = tmp_path / stem
    write(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    request.getfixturevalue("little_room")
    with pytest.raises(InputError) as error:
        read(path)
    assert words in str(error.value), str(error.value)
    assert str(path) in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWN


def test_what_shrinks_well_is_read(tmp_path: Path) -> None:
    """A table of few values is a hundredth of its size in gzip, and that is nothing odd."""
    from emtools.io.tables import read_table

    lines = ["a,b"] + [f"{i % 3},{i % 2}" for i in range(100_000)]
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode(), 9))
    assert len(read_table(path).rows) == 100_000
