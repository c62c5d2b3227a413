"""From an image to one row of features per pixel, and from a foreground to separate objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from emtools.kernels.object_windows import SIDE, areas_of, bands, kept, windows

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.int32]

CONNECTED = np.ones((3, 3), dtype=bool)
BLUNT = 1.0  # sigma in pixels by which distances to the background are smoothed
# Pixels around a component that have a say in how it is cut: four sigma, and the distances there, which are as small.
APART = 16


def root_intensity(plane: npt.NDArray[Any]) -> Floats:
    """Square root of the intensity, which makes the variance of photon counts constant (1/4, after the gain).

    Parameters
    ----------
    plane : ndarray, shape (n_rows, n_columns)
        Intensities; where some are negative, the lowest is taken as zero.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_columns)
        Square root of the unit of the image.

    References
    ----------
    Bartlett (1936), Suppl. J. R. Stat. Soc. 3, 68-78, doi:10.2307/2983678, eq. 2.
    """
    values = plane.astype(np.float64)
    return np.asarray(np.sqrt(values - min(float(values.min()), 0.0)))


def pixel_features(planes: npt.NDArray[Any], smooth: float) -> Floats:
    """Root intensity of each pixel and the same after a Gaussian blur, channel by channel.

    Parameters
    ----------
    planes : ndarray, shape (n_channels, n_rows, n_columns)
        Intensities.
    smooth : float
        Sigma of the blur in pixels, above 0; edges are mirrored.

    Returns
    -------
    ndarray of float64, shape (n_rows * n_columns, 2 * n_channels)
        Columns ``2 c`` (as it is) and ``2 c + 1`` (blurred) for channel c; rows in the order of the pixels.
    """
    columns = []
    for plane in planes:
        root = root_intensity(plane)
        columns += [root.ravel(), ndimage.gaussian_filter(root, smooth, mode="reflect").ravel()]
    return np.stack(columns, axis=1)


def brightness_partitions(brightness: Floats, n_classes: int, n_partitions: int) -> list[npt.NDArray[np.intp]]:
    """Cuts of the pixels by brightness, to start a fit from: the brightest class holds 40 %, 20 %, 10 %, … of them.

    Parameters
    ----------
    brightness : ndarray, shape (n,)
        Brightness of each pixel.
    n_classes : int
        Classes K, at most n; those below the brightest share the rest alike.
    n_partitions : int
        Number of cuts.

    Returns
    -------
    list of ndarray of int, shape (n,)
        Class of each pixel, from 0 for the darkest; none is empty.
    """
    n = len(brightness)
    rank = np.empty(n, dtype=np.intp)
    rank[np.argsort(brightness, kind="stable")] = np.arange(n)
    partitions = []
    for i in range(n_partitions):
        top = min(max(1, round(0.4 * 0.5**i * n)), n - n_classes + 1)
        partitions.append(np.where(rank >= n - top, n_classes - 1, rank * (n_classes - 1) // (n - top)))
    return partitions


def fill_small_holes(foreground: Mask, largest: int) -> Mask:
    """Foreground with its enclosed holes of at most `largest` pixels filled."""
    holes, n_holes = ndimage.label(~foreground)
    fill = areas_of(holes, n_holes) <= largest
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        fill[edge] = False
    fill[0] = False
    filled = foreground.copy()
    for rows in bands(holes.shape):
        filled[rows] |= fill[holes[rows]]
    return filled


def typical_radius(areas: npt.NDArray[np.integer[Any]], smallest: int) -> float:
    """Radius in pixels of a disc as large as the median of the areas from `smallest` on; 0 where there are none."""
    large = areas[areas >= smallest]
    return float(np.sqrt(np.median(large) / np.pi)) if len(large) else 0.0


def separate_objects(foreground: Mask, smallest: int, side: int = SIDE) -> Objects:
    """Number the objects of a foreground, cutting those that touch by a watershed on the distance to the background.

    Peaks of the distance that are closer than half the typical radius count as one object; the typical radius is
    that of the median connected component. Components are cut a window at a time, which changes nothing.

    Parameters
    ----------
    foreground : ndarray of bool, shape (n_rows, n_columns)
        Pixels of the objects.
    smallest : int
        Area in pixels, at least 1; smaller components, pieces and holes are removed.
    side : int
        Components that begin in the same square of this many pixels are cut together.

    Returns
    -------
    ndarray of int32, shape (n_rows, n_columns)
        0 for background, else 1, 2, … in the order of each object's first pixel.

    References
    ----------
    Meyer (1994), Signal Process. 38, 113-125, doi:10.1016/0165-1684(94)90060-4.
    """
    filled = fill_small_holes(foreground, smallest)
    parts, n_parts = ndimage.label(filled, structure=CONNECTED)
    areas = areas_of(parts, n_parts)
    areas[0] = 0
    radius = typical_radius(areas, smallest)
    objects = np.zeros(foreground.shape, dtype=np.int32)
    if radius == 0.0:
        return objects
    large = areas >= smallest
    for rows in bands(parts.shape):
        filled[rows] &= large[parts[rows]]
        parts[rows][~filled[rows]] = 0
    first: list[npt.NDArray[np.int64]] = []
    n_objects = 0
    for window, numbers in windows(parts, APART, side):
        pieces = cut_parts(filled[window], kept(parts[window], numbers), radius)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        own = np.flatnonzero((sizes >= smallest)[pieces])
        _, places, numbered = np.unique(pieces.ravel()[own], return_index=True, return_inverse=True)
        down, across = np.divmod(own, pieces.shape[1])
        down, across = down + window[0].start, across + window[1].start
        objects[down, across] = n_objects + 1 + numbered
        first.append(down[places].astype(np.int64) * foreground.shape[1] + across[places])
        n_objects += len(places)
    number = np.zeros(n_objects + 1, dtype=np.int32)
    number[1 + np.argsort(np.concatenate(first), kind="stable")] = np.arange(1, n_objects + 1)
    for rows in bands(objects.shape):
        objects[rows] = number[objects[rows]]
    return objects


def cut_parts(filled: Mask, parts: Objects, radius: float) -> Objects:
    """Pieces of connected components: a watershed on the smoothed distance to the background.

    Parameters
    ----------
    filled : ndarray of bool, shape (n_rows, n_columns)
        Foreground, `APART` pixels around the components included.
    parts : ndarray of int32, same shape
        The components to cut, numbered from 1.
    radius : float
        Typical radius in pixels.
    """
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(filled), BLUNT)
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        distance, min_distance=max(2, round(radius / 2)), threshold_abs=0.0, labels=parts, exclude_border=False
    )
    markers = np.zeros(parts.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-distance, markers, mask=parts > 0))  # type: ignore[no-untyped-call]


def renumber(objects: npt.NDArray[np.integer[Any]]) -> Objects:
    """The same objects numbered 1, 2, … in the order of their first pixel."""
    numbers, first, inverse = np.unique(objects.ravel(), return_index=True, return_inverse=True)
    order = np.argsort(np.where(numbers == 0, -1, first), kind="stable")
    new = np.empty(len(numbers), dtype=np.int32)
    new[order] = np.arange(len(numbers)) + (0 if 0 in numbers else 1)
    return np.asarray(new[inverse].reshape(objects.shape))
