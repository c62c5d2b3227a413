"""TIFF and OME-TIFF: the first image of a file, with its axes, channel names and pixel size, also where its planes lie in several files."""

from __future__ import annotations

import logging
import math
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import PIL.Image
import tifffile

from emtools.errors import InputError
from emtools.io.stored_image import DAMAGE, Size, Stored, require_size
from emtools.io.strips import opened, require_strips

MOST_COMPLAINTS = 100  # of a library about a file
PRINT_RESOLUTION = 10.0  # µm: a size above it that TIFF alone tells is a print resolution, not a microscope's
MICROMETRES = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "\\u00B5m": 1.0,
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4, "pm": 1e-6, "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
ABSENT = re.compile(r"OME series failed to read (\d+ files|'.+', raised)")
UNCOMPRESSED = 1


class TiffFile(tifffile.TiffFile):  # type: ignore[misc]  # it is said to be final
    """A TIFF file whose OME-XML lists the images with planes in it alone, where there are some.

    Each file of a plate lists the images of all: tifffile would open every one of them.
    """

    def require_chain(self) -> None:
        """Raise ValueError where the chain of pages leads back into itself: tifffile would follow it without end."""
        seen, handle, tiff = set(), self.filehandle, self.tiff
        handle.seek(8 if self.is_bigtiff else 4)
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
    def ome_metadata(self) -> str | None:
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
    for page in series.pages:
        if page is not None and page.keyframe.compression == UNCOMPRESSED:
            page.keyframe.predictor = 1  # as libtiff: what is stored plain was not made of differences
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
