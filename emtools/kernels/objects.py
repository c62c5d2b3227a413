"""Measurements of the objects of an image, by the names of scikit-image's `regionprops_table`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import regionprops_table

SHAPE = (
    "label", "area", "bbox", "centroid", "equivalent_diameter_area", "axis_major_length", "axis_minor_length",
    "eccentricity", "orientation", "perimeter", "extent",
)  # fmt: skip
MICROMETRES = {
    "area": 2, "equivalent_diameter_area": 1, "axis_major_length": 1, "axis_minor_length": 1, "perimeter": 1,
}  # fmt: skip

Columns = dict[str, npt.NDArray[Any]]


def numbered(columns: Columns, positions: Sequence[int]) -> Columns:
    """Columns whose intensities have the numbers of the channels in their file, of which some may not be used.

    Examples
    --------
    >>> list(numbered({"area": np.ones(1), "intensity_mean-0": np.ones(1), "intensity_mean-1": np.ones(1)}, (0, 2)))
    ['area', 'intensity_mean-0', 'intensity_mean-2']
    """
    named: Columns = {}
    for name, values in columns.items():
        stem, _, channel = name.rpartition("-")
        named[f"{stem}-{positions[int(channel)]}" if stem.startswith("intensity_") else name] = values
    return named


def measure_objects(
    objects: npt.NDArray[np.integer[Any]],
    planes: npt.NDArray[Any],
    posterior: npt.NDArray[np.floating[Any]],
    pixel_size: tuple[float, float] | None = None,
) -> Columns:
    """Shape, place, intensity and mean posterior of each object.

    Parameters
    ----------
    objects : ndarray of int, shape (n_rows, n_columns)
        0 is background.
    planes : ndarray, shape (n_channels, n_rows, n_columns)
        Intensities.
    posterior : ndarray, shape (n_rows, n_columns)
        Probability of each pixel to be foreground.
    pixel_size : (float, float), optional
        Height and width of a pixel in µm.

    Returns
    -------
    dict of str to ndarray, shape (n_objects,)
        In pixels; ``intensity_mean-c`` and ``intensity_max-c`` for channel c; ``mean_posterior``; and, where the
        pixels are square and their size is known, ``…_um2`` and ``…_um``.
    """
    channels = np.moveaxis(planes, 0, -1).astype(np.float64)
    table: Columns = dict(
        regionprops_table(  # type: ignore[no-untyped-call]
            objects, channels, properties=(*SHAPE, "intensity_mean", "intensity_max")
        )
    )
    counts = np.bincount(objects.ravel(), minlength=1)[table["label"]]
    sums = np.bincount(objects.ravel(), weights=posterior.ravel(), minlength=1)[table["label"]]
    table["mean_posterior"] = sums / np.maximum(counts, 1)
    if pixel_size is not None:
        height, width = pixel_size
        table["area_um2"] = table["area"] * height * width
        if np.isclose(height, width, rtol=1e-3):
            for name, power in MICROMETRES.items():
                if power == 1:
                    table[f"{name}_um"] = table[name] * width
    return table
