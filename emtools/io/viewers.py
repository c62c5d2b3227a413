"""Files for viewers: OME-Zarr for napari and the web, GeoJSON for QuPath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.io.geojson import write_geojson
from emtools.io.images import label_type
from emtools.io.ome_zarr import write_ome_zarr
from emtools.io.stored_image import Size


def write_viewers(
    folder: Path,
    posterior: npt.NDArray[np.floating[Any]],
    objects: npt.NDArray[np.integer[Any]],
    columns: Mapping[str, npt.NDArray[Any]],
    pixel_size: Size | None,
    classes: Sequence[str],
) -> None:
    """Write segmentation.ome.zarr and objects.geojson.

    Parameters
    ----------
    folder : Path
        Where to.
    posterior : ndarray, shape (K, n_rows, n_columns)
        Probability of each class.
    objects : ndarray of int, shape (n_rows, n_columns)
        0 is background.
    columns : mapping of str to ndarray, shape (n_objects,)
        As of `measure_objects`.
    pixel_size : (float, float) or None
        Height and width of a pixel in µm.
    classes : sequence of str
        Names of the classes; the objects are of the last.
    """
    labels = {
        "classes": (posterior.argmax(axis=0) + 1).astype(label_type(len(posterior))),
        "objects": objects.astype(label_type(max(int(objects.max()), 2**8))),
    }
    write_ome_zarr(folder / "segmentation.ome.zarr", posterior.astype(np.float32), labels, pixel_size, classes)
    write_geojson(folder / "objects.geojson", objects, columns, classes[-1])
