"""OME-Zarr: read an image or a label image with its channels and pixel size; write classes, objects and posteriors (0.4)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Zlib

from emtools.errors import InputError

VERSION = "0.4"
# What a damaged chunk may raise; the last of Blosc, where the head of a chunk claims a size below zero.
UNPACKING = (OSError, ValueError, KeyError, TypeError, RuntimeError, zlib.error, EOFError, MemoryError, SystemError)
CHUNK = 512  # pixels on a side
LARGEST_WHOLE = 1024  # pixels on a side above which smaller copies are added
UNITS = {
    "micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6, "angstrom": 1e-4,
    "picometer": 1e-6, "inch": 25400.0,
}  # fmt: skip

Size = tuple[float, float]


def open_image(path: Path) -> tuple[Any, str, tuple[str, ...], Size | None]:
    """The largest resolution of the first image of a store, its axes, channel names and pixel size in µm.

    Parameters
    ----------
    path : Path
        Group with ``multiscales``: an image, or one of its ``labels/<name>``; OME-Zarr 0.1 to 0.5.

    Returns
    -------
    array : zarr.Array
        Not read yet.
    axes : str
        Such as ``"CYX"``.
    channels : tuple of str
        May be empty.
    pixel_size : (float, float) or None
        Height and width, None where a unit is missing.

    Raises
    ------
    InputError
        If the store is damaged, or no image of OME-Zarr.
    """
    try:
        group = zarr.open_group(path, mode="r")
        told = dict(group.attrs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path) from error
    told = told.get("ome", told)
    if not isinstance(told, Mapping) or not told.get("multiscales"):
        names = sorted(name for name, _ in group.members())[:6]
        remedy = f"name one of its groups ({', '.join(names)})" if names else "convert it to OME-Zarr"
        raise InputError(str(path), "a zarr store, but no image of OME-Zarr (no multiscales)", "OME-Zarr", remedy)
    try:
        scales = told["multiscales"][0]
        first = scales["datasets"][0]
        array = group[first["path"]]
        axes = [axis if isinstance(axis, str) else axis["name"] for axis in scales.get("axes", "tczyx"[-array.ndim :])]
        units = [None if isinstance(axis, str) else axis.get("unit") for axis in scales.get("axes", [])]
        steps = np.ones(len(axes))
        for place in (first, scales):
            for move in place.get("coordinateTransformations", []):
                if move["type"] == "scale":
                    steps = steps * np.array(move["scale"], dtype=float)
        channels = tuple(str(c["label"]) for c in told.get("omero", {}).get("channels", []) if c.get("label"))
        if len(axes) != array.ndim:
            raise damaged(path)
    except PermissionError as error:
        raise InputError(str(path), "cannot be read", str(error.strerror), "check its permissions") from error
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path) from error
    size = None
    sides = [axes.index(name) for name in "yx" if name in axes]
    if len(sides) == 2 and len(units) == len(axes):
        height, width = (float(steps[i]) * UNITS.get(str(units[i]), math.nan) for i in sides)
        size = (height, width) if 0 < height < math.inf and 0 < width < math.inf else None
    return array, "".join(axes).upper(), channels, size


def damaged(path: Path) -> InputError:
    """The failure of a store that cannot be read."""
    return InputError(str(path), "the zarr store is damaged or incomplete", "", "copy or export it again")


def read_pixels(path: Path, array: Any) -> npt.NDArray[Any]:
    """All values of an array of a store.

    Raises
    ------
    InputError
        If a chunk is damaged.
    """
    try:
        return np.asarray(array[...])
    except UNPACKING as error:
        raise damaged(path) from error


def write_ome_zarr(
    path: Path,
    posteriors: npt.NDArray[np.float32],
    labels: Mapping[str, npt.NDArray[np.unsignedinteger[Any]]],
    pixel_size: Size | None,
    channels: Sequence[str],
) -> None:
    """Write posteriors as an image and label images under ``labels/<name>``; the same values give the same bytes.

    Parameters
    ----------
    path : Path
        Folder, named ``….ome.zarr``.
    posteriors : ndarray, shape (K, n_rows, n_columns)
        One channel a class.
    labels : mapping of str to ndarray of unsigned int, shape (n_rows, n_columns)
        Label images.
    pixel_size : (float, float) or None
        Height and width of a pixel in µm.
    channels : sequence of str
        Names of the classes, K of them.

    References
    ----------
    Moore et al. (2021) Nat. Methods 18:1496, doi:10.1038/s41592-021-01326-w; the specification, version 0.4.
    """
    levels = create_posteriors(path, posteriors.shape, pixel_size, channels)
    levels[0][...] = posteriors
    write_smaller(levels)
    write_labels(path, labels, pixel_size)


def create_posteriors(path: Path, shape: Sequence[int], pixel_size: Size | None, channels: Sequence[str]) -> list[Any]:
    """A store with an image of posteriors, shape (K, n_rows, n_columns), to be filled; its arrays, the largest first."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    window = {"start": 0.0, "end": 1.0, "min": 0.0, "max": 1.0}
    levels, described = create_scales(root, shape, np.float32, "posteriors", "cyx", pixel_size)
    colors = ("0072B2", "E69F00", "009E73", "CC79A7", "56B4E9", "D55E00")
    shown = [
        {"label": name, "color": colors[k % len(colors)], "window": window, "active": k == len(channels) - 1}
        for k, name in enumerate(channels)
    ]
    root.attrs.put({"multiscales": described, "omero": {"version": VERSION, "name": "posteriors", "channels": shown}})
    return levels


def write_labels(
    path: Path, labels: Mapping[str, npt.NDArray[np.unsignedinteger[Any]]], pixel_size: Size | None
) -> None:
    """Write label images into a store that has its image."""
    held = zarr.open_group(path, mode="r+").create_group("labels")
    held.attrs.put({"labels": list(labels)})
    for name, values in labels.items():
        group = held.create_group(name)
        levels, described = create_scales(group, values.shape, values.dtype, name, "yx", pixel_size)
        levels[0][...] = values
        write_smaller(levels)
        group.attrs.put({"multiscales": described, "image-label": {"version": VERSION, "source": {"image": "../../"}}})


def create_scales(
    group: Any, shape: Sequence[int], dtype: npt.DTypeLike, name: str, axes: str, pixel_size: Size | None
) -> tuple[list[Any], list[Any]]:
    """Arrays "0", "1", … of a group, each for every second pixel of the one before, to be filled; their description."""
    height, width = pixel_size or (1.0, 1.0)
    datasets: list[dict[str, Any]] = []
    levels: list[Any] = []
    held = tuple(shape)
    while True:
        step = 2 ** len(datasets)
        array = group.create_array(
            str(len(datasets)),
            shape=held,
            chunks=(*(1,) * (len(held) - 2), min(CHUNK, held[-2]), min(CHUNK, held[-1])),
            dtype=dtype,
            compressors=Zlib(level=1),
            chunk_key_encoding={"name": "v2", "separator": "/"},
            fill_value=0,
            config={"write_empty_chunks": True},
        )
        levels.append(array)
        # Every second pixel: the corner of the first stays where it is, so its middle moves.
        scale = [*(1.0,) * (len(held) - 2), height * step, width * step]
        datasets.append({"path": str(len(datasets)), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        if max(held[-2:]) <= LARGEST_WHOLE:
            break
        held = (*held[:-2], -(-held[-2] // 2), -(-held[-1] // 2))
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    kinds = {"c": {"name": "c", "type": "channel"}}
    listed = [kinds.get(axis, {"name": axis, "type": "space", **unit}) for axis in axes]
    return levels, [{"version": VERSION, "name": name, "axes": listed, "datasets": datasets}]


def write_smaller(levels: Sequence[Any]) -> None:
    """Fill all arrays but the first with every second pixel of the one before, some rows of chunks at a time."""
    for larger, smaller in pairwise(levels):
        for row in range(0, smaller.shape[-2], CHUNK):
            end = min(row + CHUNK, smaller.shape[-2])
            smaller[..., row:end, :] = larger[..., 2 * row : 2 * end, :][..., ::2, ::2]
