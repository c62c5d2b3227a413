"""Tables of objects: CSV for a spreadsheet, AnnData for spatial analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.io.cells import write_anndata

PLACE = ("label", "centroid-0", "centroid-1", "bbox-0", "bbox-1", "bbox-2", "bbox-3")


def write_object_table(columns: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Write one row per object as CSV."""
    pd.DataFrame(dict(columns)).to_csv(path, index=False)


def write_object_anndata(
    columns: Mapping[str, npt.NDArray[Any]], path: Path, image: str, channels: Sequence[str], scale: float | None
) -> None:
    """Write objects as AnnData: measurements in X, centroids as (x, y) in pixels in ``obsm['spatial']``.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (n_objects,)
        As of `measure_objects`.
    path : Path
        File (.h5ad).
    image : str
        Name of the image; the library id of ``uns['spatial']``.
    channels : sequence of str
        Names of the channels, in the order of the intensity columns.
    scale : float or None
        µm per pixel.
    """
    measured = [name for name in columns if name not in PLACE]
    n_objects = len(columns["label"])
    values = np.stack([np.asarray(columns[name], dtype=np.float64) for name in measured], axis=1)
    obs = pd.DataFrame(
        {
            "label": np.asarray(columns["label"], dtype=np.int64),
            "image": pd.Categorical([image] * n_objects, categories=[image]),
        },
        index=pd.Index([f"object_{label}" for label in columns["label"]], dtype=object),
    )
    adata = anndata.AnnData(X=values, obs=obs, var=pd.DataFrame(index=pd.Index(measured, dtype=object)))
    adata.obsm["spatial"] = np.stack([columns["centroid-1"], columns["centroid-0"]], axis=1).astype(np.float64)
    factors: dict[str, Any] = {"tissue_hires_scalef": 1.0, "spot_diameter_fullres": 1.0}
    if n_objects:
        factors["spot_diameter_fullres"] = float(np.median(columns["equivalent_diameter_area"]))
    metadata: dict[str, Any] = {"unit": "pixel", "channels": np.array(channels, dtype=object)}
    if scale is not None:
        metadata["micrometres_per_pixel"] = scale
    adata.uns["spatial"] = {image: {"images": {}, "scalefactors": factors, "metadata": metadata}}
    write_anndata(adata, path)
