"""Objects as GeoJSON that QuPath opens: polygons in pixels, a classification, measurements."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.io.objects import PLACE
from emtools.kernels.outlines import object_polygons

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
    polygons = object_polygons(objects)
    measured = [name for name in columns if name not in PLACE]
    features = []
    for i, label in enumerate(columns["label"].tolist()):
        parts = [[[list(point) for point in ring] for ring in polygon] for polygon in polygons[label]]
        geometry = {"type": "Polygon", "coordinates": parts[0]}
        if len(parts) > 1:
            geometry = {"type": "MultiPolygon", "coordinates": parts}
        values = {name: float(columns[name][i]) for name in measured}
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(NAMESPACE, f"{label} {json.dumps(parts)}")),
                "geometry": geometry,
                "properties": {
                    "objectType": "detection",
                    "name": f"object {label}",
                    "classification": {"name": classification, "color": list(color)},
                    "measurements": {name: value for name, value in values.items() if math.isfinite(value)},
                },
            }
        )
    lines = ",\n".join(json.dumps(feature, separators=(",", ":"), allow_nan=False) for feature in features)
    text = (
        f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'
        if lines
        else '{"type":"FeatureCollection","features":[]}\n'
    )
    path.write_text(text, encoding="utf-8")
