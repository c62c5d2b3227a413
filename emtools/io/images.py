"""Micrographs: read TIFF, OME-TIFF, OME-Zarr and PNG with their channels and pixel size; write OME-TIFF, the same bytes each time."""

from __future__ import annotations

import itertools
import logging
import lzma
import math
import os
import re
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import PIL.Image
import tifffile

from emtools.errors import InputError
from emtools.io.image_folder import is_store
from emtools.io.outputs import require_file
from emtools.io.strips import opened, require_strips

LARGEST = 2**30  # values, all channels together
LARGEST_TIFF = 2**31  # bytes of a file that is not a BigTIFF
TILE = 512  # pixels on a side of a tile of a TIFF
SMALLEST_SIDE = 16  # pixels
MOST_COMPLAINTS = 100  # of a library about a file
PRINT_RESOLUTION = 10.0  # µm: a size above it that TIFF alone tells is a print resolution, not a microscope's
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG"
HIGHEST = 1e100  # size of a value
WHOLE = 2**24  # values of an image above which it is taken part by part
LARGEST_WHOLE = 2**25  # values of an image that can be worked on as a whole
KINDS = "TIFF, OME-TIFF, OME-Zarr or PNG"
MICROMETRES = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "\\u00B5m": 1.0,
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4, "pm": 1e-6, "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
DAMAGE = (
    OSError, ValueError, IndexError, KeyError, TypeError, OverflowError, ZeroDivisionError, struct.error, zlib.error,
    RuntimeError, AttributeError, MemoryError, lzma.LZMAError,
)  # fmt: skip
ABSENT = re.compile(r"OME series failed to read (\d+ files|'.+', raised)")
NAMESPACE = uuid.UUID("8e7a3f6c-52c1-5d0e-9b1a-6f6b0f6d2a10")

Size = tuple[float, float]


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


@dataclass(frozen=True)
class Stored:
    """An array as it lies in a file or several: axes such as ``"CYX"``, channel names (may be empty), pixel size in µm."""

    values: npt.NDArray[Any]
    axes: str
    channels: tuple[str, ...] = ()
    pixel_size: Size | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


class TiffFile(tifffile.TiffFile):
    """A TIFF file whose OME-XML lists the images with planes in it alone, where there are some.

    Each file of a plate lists the images of all: tifffile would open every one of them.
    """

    def require_chain(self) -> None:
        """Raise ValueError where the chain of pages leads back into itself: tifffile would follow it without end."""
        seen, handle, tiff = set(), self.filehandle, self.tiff
        handle.seek(len(TIFF_MAGIC[0]) if not self.is_bigtiff else 8)
        while len(told := handle.read(tiff.offsetsize)) == tiff.offsetsize:
            (offset,) = struct.unpack(tiff.offsetformat, told)
            if offset in seen:
                raise ValueError("pages in a circle")
            seen.add(offset)
            handle.seek(offset)
            n_tags = handle.read(tiff.tagnosize)
            if not 0 < offset < handle.size or len(n_tags) < tiff.tagnosize:
                return  # the end, or damage that tifffile tells of
            handle.seek(struct.unpack(tiff.tagnoformat, n_tags)[0] * tiff.tagsize, os.SEEK_CUR)

    @cached_property
    def ome_metadata(self) -> str | None:  # type: ignore[override]
        """OME-XML of the file, less the images of other files."""
        told = super().ome_metadata
        try:
            root = ElementTree.fromstring(told or "")
        except ElementTree.ParseError:
            return told
        images = root.findall("{*}Image")
        others = [image for image in images if not has_planes(image, root.get("UUID"), self)]
        if not 0 < len(others) < len(images):
            return told
        for image in others:
            root.remove(image)
        return ElementTree.tostring(root, encoding="unicode")


class Collected(logging.Handler):
    """Keeps what a library wrote to its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        if len(self.messages) > MOST_COMPLAINTS:  # a chain of pages through garbage has no end
            raise ValueError("too many complaints")


@contextmanager
def collected_log(name: str) -> Iterator[list[str]]:
    """Messages of a library's logger inside the block, instead of lines on the terminal."""
    logger, handler = logging.getLogger(name), Collected()
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


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


def require_size(path: Path, shape: Sequence[int]) -> None:
    """Refuse what holds no pixel, and what is too large before memory is taken for it."""
    if not math.prod(shape):
        raise InputError(str(path), f"{' x '.join(map(str, shape))} values", "pixels", "copy or export it again")
    if math.prod(shape) > LARGEST:
        raise InputError(
            str(path),
            f"{' x '.join(map(str, shape))} values",
            f"at most {LARGEST:,}, all channels together",
            "crop it or scale it down",
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


def read_tiff(path: Path) -> Stored:
    """First image of a TIFF or OME-TIFF file, of those that have pixels in it."""
    damaged = InputError(str(path), "the TIFF file is cut off or damaged", "", "copy or export it again")
    with collected_log("tifffile") as complaints:
        try:
            with TiffFile(path) as file:
                file.require_chain()
                images, first = own_series(file), file.pages.first
                series, n_images = images[0], len(images)
                require_size(path, series.shape)
                if is_complete(file, series):  # what is absent is of other images
                    complaints[:] = [one for one in complaints if not ABSENT.search(one)]
                if complaints:
                    require_all_files(path, file)
                    raise damaged
                if first.photometric == tifffile.PHOTOMETRIC.SEPARATED:
                    raise InputError(str(path), "inks of a print (CMYK)", "grey values or RGB", "save it as RGB")
                files = files_of(path, file, series)
                require_strips(path, series)
                values = tiff_values(path, series, bool(files))
                names, size = described(file, first)
                axes = series.axes
                if complaints or values.shape != series.shape or len(axes) != values.ndim:
                    raise damaged
                if (
                    first.photometric == tifffile.PHOTOMETRIC.PALETTE
                    and values.ndim == 2
                    and first.colormap is not None
                ):
                    values, axes = colours(values, first), "YXS"
                    if values.ndim != len(axes):
                        raise damaged
        except InputError:
            raise
        except DAMAGE as error:
            raise damaged from error
    notes = (f"the file holds {n_images} images; the first is used",) if n_images > 1 else ()
    if files:
        where = "another file" if len(files) == 1 else f"{len(files)} files"
        notes = (*notes, f"its planes lie in {where}: {', '.join(one.name for one in files)}")
    return Stored(values, axes, names, size, notes, files)


def place_of(file: tifffile.TiffFile) -> str:
    """Where an open file lies, links resolved."""
    return os.path.join(file.filehandle.dirname, file.filehandle.name)


def own_series(file: tifffile.TiffFile) -> list[Any]:
    """Images that have pixels in the file itself, for an OME-TIFF may list those of other files too; all where none has."""
    own = place_of(file)
    mine = [s for s in file.series if any(page is not None and place_of(page.parent) == own for page in s.pages)]
    return mine or list(file.series)


def is_complete(file: tifffile.TiffFile, series: Any) -> bool:
    """Whether an image of an OME-TIFF has all its planes, of which one at least lies in the file itself."""
    places = {None if page is None else place_of(page.parent) for page in series.pages}
    return series.kind == "ome" and place_of(file) in places and None not in places


def require_all_files(path: Path, file: tifffile.TiffFile) -> None:
    """Refuse an image of several files of which one is absent, by the name of the file."""
    root, pixels = own_pixels(file)
    for mark in [] if pixels is None else pixels.findall("{*}TiffData/{*}UUID"):
        name = mark.get("FileName", "")
        if not is_own(mark, root, file) and not os.path.exists(os.path.join(file.filehandle.dirname, name)):
            raise InputError(
                str(path), f"planes of it lie in {name}, which is not there", "all files of the image",
                "copy them beside it, or export it as one file",
            )  # fmt: skip


def files_of(path: Path, file: tifffile.TiffFile, series: Any) -> tuple[Path, ...]:
    """Files that hold the planes of a series, where there are several, as an OME-TIFF may name them; empty otherwise."""
    own, found = place_of(file), set()
    for place in {place_of(page.parent) for page in series.pages if page is not None}:
        beside = path.parent / os.path.relpath(place, file.filehandle.dirname)
        found.add(path if place == own else beside if os.path.realpath(beside) == place else Path(place))
    return tuple(sorted(found)) if found - {path} else ()


def tiff_values(path: Path, series: Any, in_others: bool) -> npt.NDArray[Any]:
    """Pixels of a series; one plane in a compression that tifffile leaves to a plug-in is read by Pillow.

    Planes in other files are read one by one: tifffile would look for those that follow one another in the file itself.
    """
    try:
        if not in_others:
            return np.asarray(series.asarray())
        values = np.zeros((len(series.pages), *series.keyframe.shape), series.dtype)
        for plane, page in zip(values, series.pages, strict=True):
            if page is not None:
                with opened(page):
                    plane[...] = page.asarray()
        return values.reshape(series.shape)
    except (ValueError, ImportError, NotImplementedError) as error:
        if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
            raise
        if len(series.pages) == 1 and series.pages[0].index == 0 and not in_others:
            with suppress(OSError), PIL.Image.open(path) as picture:
                values = np.asarray(picture)
                if values.shape == series.shape and values.dtype == series.dtype:
                    return values
        named = re.search(r"<(\w+)\.(\w+)", str(error))  # what tifffile lacks: a compression, or a predictor
        name = " ".join(named.groups()).lower() if named else str(error).partition(" requires")[0]
        raise InputError(
            str(path), f"stored with {name}", "no compression, or plain deflate", "save it so, or install imagecodecs"
        ) from error


def colours(values: npt.NDArray[Any], page: Any) -> npt.NDArray[Any]:
    """Red, green and blue of a palette image."""
    return np.moveaxis(page.colormap[:, values], 0, -1)


def described(file: tifffile.TiffFile, page: Any) -> tuple[tuple[str, ...], Size | None]:
    """Channel names and pixel size that the file states, from OME-XML, ImageJ or the TIFF resolution."""
    pixels = own_pixels(file)[1]
    if pixels is not None:
        return ome_description(pixels)
    unit = (file.imagej_metadata or {}).get("unit")
    scale = MICROMETRES.get(str(unit)) if unit else None
    if scale is None:
        scale = {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit))
    tags = [page.tags.get(name) for name in ("YResolution", "XResolution")]
    if scale is None or None in tags or any(0 in tag.value for tag in tags):
        return (), None
    height, width = (scale * tag.value[1] / tag.value[0] for tag in tags)
    if unit is None and max(height, width) > PRINT_RESOLUTION:
        return (), None
    return (), (height, width)


def is_own(mark: ElementTree.Element, root: str | None, file: tifffile.TiffFile) -> bool:
    """Whether a UUID of OME-XML means the file itself: by the UUID of the file, which outlasts a new name, or by its name."""
    return (root is not None and mark.text == root) or mark.get("FileName", "").lower() == file.filename.lower()


def has_planes(image: ElementTree.Element, root: str | None, file: tifffile.TiffFile) -> bool:
    """Whether an image of OME-XML has planes in the file itself."""
    marks = [data.find("{*}UUID") for data in image.findall("{*}Pixels/{*}TiffData")]
    return any(mark is None or is_own(mark, root, file) for mark in marks)


def own_pixels(file: tifffile.TiffFile) -> tuple[str | None, ElementTree.Element | None]:
    """UUID of a file, and what OME-XML says of the first image with planes in it, or else of the first; None if nothing."""
    try:
        found = ElementTree.fromstring(file.ome_metadata or "")
    except ElementTree.ParseError:
        return None, None
    root = found.get("UUID")
    for image in found.findall("{*}Image"):
        if has_planes(image, root, file):
            return root, image.find("{*}Pixels")
    return root, found.find(".//{*}Pixels")


def ome_description(pixels: ElementTree.Element) -> tuple[tuple[str, ...], Size | None]:
    """Channel names and pixel size of an image in OME-XML."""
    named = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    names = tuple(str(name) for name in named) if all(named) else ()
    try:
        sizes = [
            float(pixels.get(f"PhysicalSize{axis}", "nan"))
            * MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), math.nan)
            for axis in "YX"
        ]
    except ValueError:
        return names, None
    return names, (sizes[0], sizes[1]) if all(0 < size < math.inf for size in sizes) else None


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
        flat = ", ".join(names[i] for i in range(len(values)) if i not in varied)
        notes.append(f"channels that do not vary are not used: {flat}")
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
    labels = planes[0].astype(np.int64)
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
