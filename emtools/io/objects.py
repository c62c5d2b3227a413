"""Tables of objects: CSV for a spreadsheet, AnnData for spatial analysis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

SHOWN = {"hires": "tissue_hires_scalef", "segmentation": "tissue_segmentation_scalef"}
MOST_SHOWN = 2**24  # pixels of the pictures of a batch
PLACE = ("label", "centroid-0", "centroid-1", "bbox-0", "bbox-1", "bbox-2", "bbox-3")


@dataclass(frozen=True)
class Thumbnail:
    """What squidpy draws under the objects: every n-th pixel of the image and of its objects.

    Parameters
    ----------
    step : int
        The n.
    hires : ndarray of uint8, shape (n_rows, n_columns, 3)
        Red, green and blue.
    segmentation : ndarray of int, shape (n_rows, n_columns)
        Number of the object of each pixel, 0 none.
    """

    step: int
    hires: npt.NDArray[np.uint8]
    segmentation: npt.NDArray[np.integer[Any]]


def write_object_table(columns: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Write one row per object as CSV."""
    import pandas as pd

    pd.DataFrame(dict(columns)).to_csv(path, index=False)


def write_object_anndata(
    columns: Mapping[str, npt.NDArray[Any]],
    path: Path,
    image: str,
    channels: Sequence[str],
    scale: float | None,
    thumbnail: Thumbnail,
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
    thumbnail : Thumbnail
        ``images['hires']`` and ``images['segmentation']`` of the library, with their scale factors.
    """
    import pandas as pd

    frame = pd.DataFrame(dict(columns)).assign(image=image)
    write_library(frame, path, {image: scale}, channels, {image: thumbnail})


def write_library(
    frame: pd.DataFrame,
    path: Path,
    scales: Mapping[str, float | None],
    channels: Sequence[str],
    thumbnails: Mapping[str, Thumbnail],
) -> None:
    """Write the objects of one image or several as AnnData; squidpy knows an image by ``library_key="image"``.

    Parameters
    ----------
    frame : DataFrame
        Columns as of `measure_objects`, and ``image``.
    path : Path
        File (.h5ad).
    scales : mapping of str to (float or None)
        µm per pixel of each image.
    channels : sequence of str
        Names of the channels, in the order of the intensity columns.
    thumbnails : mapping of str to Thumbnail
        By image.
    """
    import anndata  # as long to import as a small image is to fit
    import pandas as pd

    from emtools.io.cells import write_anndata

    measured = [name for name in frame.columns if name not in (*PLACE, "image")]
    several = len(scales) > 1
    names = [
        f"{image}_{label}" if several else f"object_{label}"
        for image, label in zip(frame["image"], frame["label"], strict=True)
    ]
    obs = pd.DataFrame(
        {
            "label": frame["label"].to_numpy(dtype=np.int64),
            "image": pd.Categorical(frame["image"], categories=list(scales)),
        },
        index=pd.Index(names, dtype=object),
    )
    values = frame[measured].to_numpy(dtype=np.float64)
    adata = anndata.AnnData(X=values, obs=obs, var=pd.DataFrame(index=pd.Index(measured, dtype=object)))
    adata.obsm["spatial"] = frame[["centroid-1", "centroid-0"]].to_numpy(dtype=np.float64)
    adata.uns["spatial"] = {}
    for image, scale in scales.items():
        own = frame["equivalent_diameter_area"][(frame["image"] == image).to_numpy()]
        diameter = float(np.median(own)) if len(own) else 1.0
        metadata: dict[str, Any] = {"unit": "pixel", "channels": np.array(channels, dtype=object)}
        if scale is not None:
            metadata["micrometres_per_pixel"] = scale
        factors = {"spot_diameter_fullres": diameter} | dict.fromkeys(SHOWN.values(), 1.0 / thumbnails[image].step)
        images = {name: getattr(thumbnails[image], name) for name in SHOWN}
        adata.uns["spatial"][image] = {"images": images, "scalefactors": factors, "metadata": metadata}
    write_anndata(adata, path)


def write_objects_of_images(
    folder: Path, tables: Mapping[str, Path], scales: Mapping[str, float | None], channels: Sequence[str]
) -> None:
    """Write objects.csv and objects.h5ad of a batch from the objects.csv of its images, with a column ``image`` first.

    Parameters
    ----------
    folder : Path
        Where to.
    tables : mapping of str to Path
        objects.csv by image.
    scales, channels : see `write_library`
    """
    # Digits as they are in the files, so that the number of an object is the same in both.
    import pandas as pd

    frames = [pd.read_csv(path, float_precision="round_trip").assign(image=name) for name, path in tables.items()]
    common = [c for c in frames[0].columns if all(c in frame.columns for frame in frames)]
    frame = pd.concat([f[common] for f in frames if len(f)] or [frames[0][common]], ignore_index=True)
    frame.insert(0, "image", frame.pop("image"))
    frame.to_csv(folder / "objects.csv", index=False)
    write_library(frame, folder / "objects.h5ad", scales, channels, thumbnails_of(tables))


def thumbnails_of(tables: Mapping[str, Path]) -> dict[str, Thumbnail]:
    """Those in the objects.h5ad beside each objects.csv, thinned again so that all of them have about `MOST_SHOWN` pixels."""
    import h5py

    def shown(image: str, more: int) -> tuple[int, Thumbnail]:
        with h5py.File(tables[image].with_name("objects.h5ad")) as file:
            library = next(iter(file["uns/spatial"].values()))
            hires, segmentation = (library["images"][name] for name in SHOWN)
            step = round(1.0 / float(library["scalefactors"][SHOWN["hires"]][()]))
            return segmentation.size, Thumbnail(
                step * more, hires[()][::more, ::more], segmentation[()][::more, ::more]
            )

    total = sum(shown(image, 2**20)[0] for image in tables)
    more = math.ceil(math.sqrt(total / MOST_SHOWN))
    return {image: shown(image, max(1, more))[1] for image in tables}
