"""Objects as GeoJSON that QuPath opens: polygons in pixels, a classification, measurements."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.io.objects import PLACE
from emtools.kernels.object_windows import kept, windows
from emtools.kernels.outlines import Polygon, object_polygons

NAMESPACE = uuid.UUID("4c1d4a5e-6b0f-5a3e-8f5d-0a6f5f1f4e11")


def write_geojson(
    path: Path,
    objects: npt.NDArray[np.integer[Any]],
    columns: Mapping[str, npt.NDArray[Any]],
    classification: str,
    color: tuple[int, int, int] = (0, 114, 178),
) -> None:
    """Write a FeatureCollection with one detection per object.

    Parameters
    ----------
    path : Path
        File.
    objects : ndarray of int, shape (n_rows, n_columns)
        0 is background.
    columns : mapping of str to ndarray, shape (n_objects,)
        As of `measure_objects`; ``label`` names the object of each entry.
    classification : str
        Name of the class of the objects.
    color : (int, int, int)
        Its red, green and blue.

    Notes
    -----
    Butler et al. (2016) RFC 7946, but for the coordinates, which are pixels with the origin in the upper left corner and
    y downwards, as QuPath has them. Rings that are clockwise to the eye are counterclockwise by the formula of the RFC.
    """
    measured = [name for name in columns if name not in PLACE]
    rows = {label: row for row, label in enumerate(columns["label"].tolist())}
    after = ""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for window, numbers in windows(objects, 0):
            polygons = object_polygons(kept(objects[window], numbers))
            for number, label in enumerate(numbers.tolist(), start=1):
                values = {name: float(columns[name][rows[label]]) for name in measured}
                feature = detection(label, placed(polygons[number], window), values, classification, color)
                file.write(f"{after}\n{json.dumps(feature, separators=(',', ':'), allow_nan=False)}")
                after = ","
        file.write("\n]}\n" if after else "]}\n")


def placed(polygons: Sequence[Polygon], window: tuple[slice, slice]) -> list[Any]:
    """Polygons of a window as lists of coordinates in the image."""
    down, right = window[0].start, window[1].start
    return [[[[x + right, y + down] for x, y in ring] for ring in polygon] for polygon in polygons]


def detection(
    label: int, parts: Sequence[Any], values: Mapping[str, float], classification: str, color: tuple[int, int, int]
) -> dict[str, Any]:
    """An object as QuPath reads it; measurements that are no numbers are left out."""
    single = len(parts) == 1
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NAMESPACE, f"{label} {json.dumps(parts)}")),
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": parts[0] if single else parts,
        },
        "properties": {
            "objectType": "detection",
            "name": f"object {label}",
            "classification": {"name": classification, "color": list(color)},
            "measurements": {name: value for name, value in values.items() if math.isfinite(value)},
        },
    }
