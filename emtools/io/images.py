"""Micrographs: read TIFF, OME-TIFF, OME-Zarr and PNG with their channels and pixel size; write OME-TIFF, the same bytes each time."""

from __future__ import annotations

import itertools
import math
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import tifffile

from emtools.errors import InputError
from emtools.io.image_folder import is_store
from emtools.io.outputs import require_file
from emtools.io.stored_image import DAMAGE, Size, Stored, require_size
from emtools.io.tiff import TiffFile, collected_log, own_series, read_tiff

LARGEST_TIFF = 2**31  # bytes of a file that is not a BigTIFF
TILE = 512  # pixels on a side of a tile of a TIFF
SMALLEST_SIDE = 16  # pixels
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG"
HIGHEST = 1e100  # size of a value
WHOLE = 2**24  # values of an image above which it is taken part by part
LARGEST_WHOLE = 2**25  # values of an image that can be worked on as a whole
KINDS = "TIFF, OME-TIFF, OME-Zarr or PNG"
NAMESPACE = uuid.UUID("8e7a3f6c-52c1-5d0e-9b1a-6f6b0f6d2a10")


@dataclass(frozen=True)
class Image:
    """A two-dimensional image.

    Parameters
    ----------
    path : Path
        File.
    values : ndarray, shape (n_channels, n_rows, n_columns)
        Intensities as stored, finite; at least one channel varies.
    channels : tuple of str
        Names of the channels.
    positions : tuple of int
        Their numbers in the file, from 0.
    pixel_size : (float, float) or None
        Height and width of a pixel in µm, None where the file does not say.
    notes : tuple of str
        What was left out on the way, for a reader.
    files : tuple of Path
        Files that hold its planes, where there are several; empty otherwise.
    """

    path: Path
    values: npt.NDArray[Any]
    channels: tuple[str, ...]
    positions: tuple[int, ...]
    pixel_size: Size | None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        """All files that it was read from."""
        return self.files or (self.path,)


def kind_of(path: Path) -> str:
    """``"tiff"`` or ``"png"``, by the first bytes of the file, or ``"zarr"`` for a folder that holds a store.

    Raises
    ------
    InputError
        If it is none of them.
    """
    if is_store(Path(path)):
        return "zarr"
    require_file(path, KINDS)
    with open(path, "rb") as file:
        head = file.read(4)
    if head in TIFF_MAGIC:
        return "tiff"
    if head == PNG_MAGIC:
        return "png"
    raise InputError(
        str(path),
        "not an image that can be read here, whatever its name says",
        KINDS,
        "save it as TIFF",
    )


def n_values(path: Path) -> int:
    """Values of an image, from its head; 0 for what cannot be read."""
    try:
        match kind_of(path):
            case "tiff":
                with collected_log("tifffile"), TiffFile(path) as file:
                    file.require_chain()
                    return math.prod(own_series(file)[0].shape)
            case "png":
                with PIL.Image.open(path) as picture:
                    return picture.height * picture.width * len(picture.getbands())
            case _:
                from emtools.io.ome_zarr import open_image

                return math.prod(open_image(path)[0].shape)
    except (InputError, *DAMAGE, SyntaxError, PIL.Image.DecompressionBombError):
        return 0


def read_stored(path: Path) -> Stored:
    """The array in a file, with its axes; nothing is judged yet but the size.

    Raises
    ------
    InputError
        If the file is no image, cut off, damaged, compressed in a way that cannot be read, or too large.
    """
    return {"tiff": read_tiff, "png": read_png, "zarr": read_zarr}[kind_of(path)](path)


def read_zarr(path: Path) -> Stored:
    """The largest resolution of an OME-Zarr image, or of one of its label images (``…/labels/NAME``)."""
    from emtools.io.ome_zarr import open_image, read_pixels

    array, axes, names, size = open_image(path)
    require_size(path, array.shape)
    return Stored(read_pixels(path, array), axes, names, size)


def read_png(path: Path) -> Stored:
    """A PNG file; a palette becomes colours. Its resolution is for print and is not used."""
    try:
        with PIL.Image.open(path) as picture:
            bands = len(picture.getbands())
            require_size(path, (picture.height, picture.width, bands))
            values = np.asarray(picture.convert("RGB") if picture.mode == "P" else picture)
    except PIL.Image.DecompressionBombError as error:
        most = f"at most {2 * (PIL.Image.MAX_IMAGE_PIXELS or 0):,} pixels of PNG"
        raise InputError(str(path), "far too large", most, "crop it, or save it as TIFF") from error
    except InputError:
        raise
    except (*DAMAGE, SyntaxError) as error:
        raise InputError(str(path), "the PNG file is cut off or damaged", "", "copy or export it again") from error
    return Stored(values, "YX" if values.ndim == 2 else "YXS")


def channel_first(path: Path, stored: Stored) -> npt.NDArray[Any]:
    """The array with axes (channel, row, column).

    Raises
    ------
    InputError
        If there is an axis beyond those with more than one position.
    """
    kept = [
        i for i, (axis, n) in enumerate(zip(stored.axes, stored.values.shape, strict=True)) if n > 1 or axis in "YX"
    ]
    axes = "".join(stored.axes[i] for i in kept)
    values = stored.values.reshape([stored.values.shape[i] for i in kept])
    if axes == "YX":
        return values[None]
    if axes in ("CYX", "SYX"):
        return values
    if axes in ("YXC", "YXS"):
        return np.moveaxis(values, -1, 0)
    shape = " x ".join(map(str, values.shape))
    words = {"Z": "a z-stack", "T": "a time series"}
    found = ", ".join(words[a] for a in axes if a in words) or "stacked planes of unknown meaning"
    raise InputError(
        str(path),
        f"{found} (axes {axes}, {shape})",
        "one plane, with or without channels",
        "save one plane or a projection; for channels, save as OME-TIFF with axes CYX",
    )


def read_image(path: Path, pixel_size: float | None = None, flat: bool = False) -> Image:
    """Read a two-dimensional image.

    An alpha channel is dropped, equal colour channels become one, and channels that do not vary are dropped.

    Parameters
    ----------
    path : Path
        TIFF, OME-TIFF, OME-Zarr or PNG.
    pixel_size : float, optional
        Side of a pixel in µm, instead of what the file says.
    flat : bool
        Whether channels that do not vary, and colours that are all equal, are kept as they are: in a batch others may vary.

    Returns
    -------
    Image

    Raises
    ------
    InputError
        If the file cannot be read, is not two-dimensional, is too small or too large, or its values are not finite,
        not real, or all the same.
    """
    stored = read_stored(path)
    values = channel_first(path, stored)
    notes = list(stored.notes)
    if values.dtype.kind not in "buif":
        raise InputError(str(path), f"values of type {values.dtype}", "integers or real numbers", "save it so")
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    colour = "S" in stored.axes
    if colour and len(values) in (2, 4):
        values = values[:-1]
        notes.append("the alpha channel is not used")
    named = len(stored.channels) == len(values)
    names = told_apart(stored.channels) if named else channel_names(len(values), colour)
    if colour and not flat and len(values) == 3 and (values == values[0]).all():
        values, names = values[:1], ("grey",)
    n_rows, n_columns = values.shape[1:]
    if min(n_rows, n_columns) < SMALLEST_SIDE:
        raise InputError(
            str(path), f"{n_rows} x {n_columns} pixels", f"at least {SMALLEST_SIDE} on each side", "use a larger image"
        )
    require_finite(path, values, names)
    varied = [i for i, plane in enumerate(values) if flat or plane.min() < plane.max()]
    if not varied:
        raise InputError(str(path), f"every pixel is {values.flat[0]}", "an image that varies", "check the exposure")
    if len(varied) < len(values):
        level = ", ".join(names[i] for i in range(len(values)) if i not in varied)
        notes.append(f"channels that do not vary are not used: {level}")
        values, names = values[varied], tuple(names[i] for i in varied)
    size = stored.pixel_size if pixel_size is None else (pixel_size, pixel_size)
    return Image(Path(path), np.ascontiguousarray(values), names, tuple(varied), size, tuple(notes), stored.files)


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with a number where one comes again: results are kept by name.

    Examples
    --------
    >>> told_apart(["DAPI", "GFP", "DAPI"])
    ('DAPI', 'GFP', 'DAPI (2)')
    """
    found: list[str] = []
    for name in names:
        numbered = (name if n == 1 else f"{name} ({n})" for n in itertools.count(1))
        found.append(next(one for one in numbered if one not in found))
    return tuple(found)


def channel_names(n_channels: int, colour: bool) -> tuple[str, ...]:
    """Names where the file has none."""
    if n_channels == 1:
        return ("intensity",)
    return ("red", "green", "blue") if colour and n_channels == 3 else tuple(f"channel_{i}" for i in range(n_channels))


def require_finite(path: Path, values: npt.NDArray[Any], names: Sequence[str]) -> None:
    """Refuse NaN and infinities, and say where the first is."""
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values)
    if bad.any():
        channel, row, column = np.unravel_index(int(bad.argmax()), values.shape)
        raise InputError(
            f"{path}, {names[int(channel)]}, row {row}, column {column}",
            f"{values[channel, row, column]} there, {int(bad.sum())} such values of {values.size}",
            "finite values",
            "fill or crop them",
        )
    size = max(-float(values.min()), float(values.max()))
    if not 1.0 / HIGHEST < size < HIGHEST and values.any():
        need = f"values from {1.0 / HIGHEST:g} to {HIGHEST:g}, whose squares are numbers"
        raise InputError(str(path), f"values of at most {size:g}", need, "change their unit")


def read_labels(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Read a label image of true objects: 0 is background, each object has a number of its own.

    Parameters
    ----------
    path : Path
        TIFF, OME-TIFF, a label image of OME-Zarr (``….zarr/labels/NAME``) or PNG (the indices of a palette are the labels).
    shape : (int, int)
        Rows and columns that it must have.

    Returns
    -------
    ndarray of int64, shape `shape`

    Raises
    ------
    InputError
        If it is no label image of this shape, or holds no object.
    """
    kind = kind_of(path)
    stored = read_stored(path)
    if kind == "png":
        with PIL.Image.open(path) as picture:
            if picture.mode == "P":
                stored = Stored(np.asarray(picture), "YX")
    planes = channel_first(path, stored)
    if len(planes) > 1:
        planes = planes[:1] if (planes[:3] == planes[0]).all() else planes
    if len(planes) != 1 or planes.dtype.kind not in "bui":
        raise InputError(
            str(path), f"{len(planes)} channels of {planes.dtype}", "one channel of integers", "use a label image"
        )
    if planes.shape[1:] != shape:
        raise InputError(
            str(path),
            " x ".join(map(str, planes.shape[1:])) + " pixels",
            " x ".join(map(str, shape)) + ", as the image",
            "use the labels of this image",
        )
    labels: npt.NDArray[np.int64] = planes[0].astype(np.int64)
    if labels.min() < 0 or not labels.any():
        raise InputError(str(path), "negative labels" if labels.any() else "no object", "0 and object numbers above 0")
    return labels


def write_ome(
    path: Path, values: npt.NDArray[Any], axes: str, name: str, pixel_size: Size | None, channels: Sequence[str] = ()
) -> None:
    """Write an OME-TIFF (deflate); the same values give the same bytes.

    Parameters
    ----------
    path : Path
        File, named ``….ome.tif``.
    values : ndarray
        Its type is kept.
    axes : str
        ``"YX"`` or ``"CYX"``.
    name : str
        Name of the image.
    pixel_size : (float, float) or None
        Height and width of a pixel in µm.
    channels : sequence of str
        Names of the channels.
    """
    seed = f"{name} {values.dtype} {values.shape} {zlib.crc32(np.ascontiguousarray(values).data)}"
    tifffile.imwrite(
        path,
        values,
        predictor=2 if values.dtype.kind == "u" else None,
        rowsperstrip=min(values.shape[-2], 256),
        **ome_options(seed, axes, name, pixel_size, channels),
    )


def write_ome_in_tiles(path: Path, values: Any, name: str, pixel_size: Size | None, channels: Sequence[str]) -> None:
    """As `write_ome`, of a zarr array with axes CYX that need not fit in memory; the file is tiled.

    Parameters
    ----------
    path, name, pixel_size, channels
        As of `write_ome`.
    values : zarr.Array, shape (n_channels, n_rows, n_columns)
        Read a row of tiles at a time, twice.
    """
    shape, checksum = values.shape, 0

    def tiles() -> Iterator[npt.NDArray[Any]]:
        for channel in range(shape[0]):
            for row in range(0, shape[1], TILE):
                strip = values[channel, row : row + TILE]
                for column in range(0, shape[2], TILE):
                    tile = strip[:, column : column + TILE]
                    edge = [(0, TILE - n) for n in tile.shape]
                    yield np.ascontiguousarray(np.pad(tile, edge, mode="edge"))

    for tile in tiles():
        checksum = zlib.crc32(tile.data, checksum)
    tifffile.imwrite(
        path,
        tiles(),
        shape=shape,
        dtype=values.dtype,
        tile=(TILE, TILE),
        bigtiff=math.prod(shape) * values.dtype.itemsize > LARGEST_TIFF,
        **ome_options(f"{name} {values.dtype} {shape} {checksum}", "CYX", name, pixel_size, channels),
    )


def ome_options(seed: str, axes: str, name: str, pixel_size: Size | None, channels: Sequence[str]) -> dict[str, Any]:
    """Arguments of tifffile that all our files share; the identifier of the image is made from `seed`."""
    metadata: dict[str, Any] = {"axes": axes, "Name": name, "Creator": "emtools"}
    resolution: dict[str, Any] = {}
    if pixel_size is not None:
        height, width = pixel_size
        metadata |= {
            "PhysicalSizeX": width, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": height, "PhysicalSizeYUnit": "µm",
        }  # fmt: skip
        resolution = {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}
    if channels:
        metadata["Channel"] = {"Name": list(channels)}
    metadata["UUID"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, seed)}"
    fixed = {"ome": True, "photometric": "minisblack", "compression": "zlib", "software": False, "datetime": None}
    return fixed | {"metadata": metadata} | resolution


def as_labels(objects: npt.NDArray[np.int32], least: int = 0) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Object numbers in the smallest unsigned integers that hold them and `least`."""
    kind = label_type(max(int(objects.max()), least))
    return objects.view(np.uint32) if kind is np.uint32 else objects.astype(kind)


def label_type(largest: int) -> type[np.unsignedinteger[Any]]:
    """Smallest unsigned integer type that holds `largest`."""
    return np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32
