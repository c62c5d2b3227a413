"""Large label images a window at a time: counts by rows, and windows that hold each object whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from emtools.kernels.objects import Columns, measure_objects

Labels = npt.NDArray[np.integer[Any]]
Window = tuple[slice, slice]

BAND = 2**22  # pixels that are looked at together
SIDE = 1024  # pixels on a side of the squares by which objects are taken together


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an image, a few million pixels at a time."""
    step = max(1, BAND // max(1, shape[1]))
    for row in range(0, shape[0], step):
        yield slice(row, min(shape[0], row + step))


def areas_of(labels: Labels, largest: int) -> npt.NDArray[np.int64]:
    """Pixels of each label from 0 to `largest`, shape (largest + 1,)."""
    areas = np.zeros(largest + 1, dtype=np.int64)
    for rows in bands(labels.shape):
        areas += np.bincount(labels[rows].ravel(), minlength=largest + 1)
    return areas


def windows(labels: Labels, margin: int, side: int = SIDE) -> Iterator[tuple[Window, npt.NDArray[np.intp]]]:
    """Windows that between them hold every object whole, each object in one of them.

    Parameters
    ----------
    labels : ndarray of int, shape (n_rows, n_columns)
        0 is background.
    margin : int
        Pixels around the objects, where the image goes on.
    side : int
        Objects that begin in the same square of this many pixels share a window.

    Yields
    ------
    window : (slice, slice)
        Rows and columns.
    numbers : ndarray of int
        Its objects, ascending; others in the window may be cut.
    """
    boxes = ndimage.find_objects(labels)
    held: dict[tuple[int, int], list[int]] = {}
    for number, box in enumerate(boxes, start=1):
        if box is not None:
            held.setdefault((box[0].start // side, box[1].start // side), []).append(number)
    for square in sorted(held):
        numbers = held[square]
        spans = []
        for axis, n in enumerate(labels.shape):
            first = min(boxes[number - 1][axis].start for number in numbers)
            last = max(boxes[number - 1][axis].stop for number in numbers)
            spans.append(slice(max(0, first - margin), min(n, last + margin)))
        yield (spans[0], spans[1]), np.array(numbers)


def kept(labels: Labels, numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """Labels with only these left, as 1, 2, … in their order."""
    lookup = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    lookup[numbers] = np.arange(1, len(numbers) + 1)
    return np.asarray(lookup[labels])


def measure_in_windows(
    objects: Labels,
    planes: npt.NDArray[Any],
    posterior: Any,
    pixel_size: tuple[float, float] | None = None,
    side: int = SIDE,
) -> Columns:
    """What `emtools.kernels.objects.measure_objects` gives, to the same bits, a window at a time.

    Parameters
    ----------
    objects : ndarray of int, shape (n_rows, n_columns)
        0 is background; numbers without a gap.
    planes : ndarray, shape (d, n_rows, n_columns)
        Intensities.
    posterior : array, shape (K, n_rows, n_columns)
        Probability of each class, of which the last is foreground; anything that gives an ndarray for a window.
    pixel_size : (float, float), optional
        Height and width of a pixel in µm.
    side : int
        As of `windows`.
    """
    tables, order = [], []
    for window, numbers in windows(objects, 0, side):
        table = measure_objects(
            kept(objects[window], numbers),
            planes[:, window[0], window[1]],
            posterior[-1, window[0], window[1]],
            pixel_size,
        )
        area = table["area"]
        for axis, start in enumerate((window[0].start, window[1].start)):
            for name in (f"bbox-{axis}", f"bbox-{axis + 2}"):
                table[name] = table[name] + start
            # The sum of the places is a whole number, so that the mean in the image is got to the last bit.
            table[f"centroid-{axis}"] = (np.round(table[f"centroid-{axis}"] * area) + start * area) / area
        table["label"] = numbers
        tables.append(table)
        order.append(numbers)
    if not tables:
        return measure_objects(objects[:1, :1], planes[:, :1, :1], np.zeros((1, 1)), pixel_size)
    rank = np.argsort(np.concatenate(order), kind="stable")
    return {name: np.concatenate([table[name] for table in tables])[rank] for name in tables[0]}
