"""Outputs of one image of a batch, made and written part by part, and whether they are there already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emtools import __version__
from emtools.io.geojson import write_geojson
from emtools.io.images import Image, as_labels, label_type, write_ome, write_ome_in_tiles
from emtools.io.objects import Thumbnail, write_object_anndata, write_object_table
from emtools.io.ome_zarr import create_posteriors, write_labels, write_smaller
from emtools.io.outputs import files_in, sha256
from emtools.kernels.object_windows import measure_in_windows
from emtools.kernels.objects import numbered
from emtools.kernels.pixels import separate_objects
from emtools.plots.segment import class_name, thinned
from emtools.plots.segment_batch import densest, small_grey, write_overlay
from emtools.segmenting.predicting import Predictor

SEAL = "image.json"  # written last: where it stands, the outputs beside it are whole
SIDE = 1024  # pixels on a side of a part; a multiple of the chunks of a store


@dataclass(frozen=True)
class Outcome:
    """What the page says of an image.

    Parameters
    ----------
    image, file : str
        Name in the batch, and of the file.
    rows, columns : int
        Pixels.
    pixel_size_um : list of float, or None
        Height and width.
    classes : list of int
        Pixels of each class.
    objects : int
        Their number.
    uncertainty : float
        Mean over the pixels of one minus the largest posterior.
    notes : list of str
        What was left out in reading.
    """

    image: str
    file: str
    rows: int
    columns: int
    pixel_size_um: list[float] | None
    classes: list[int]
    objects: int
    uncertainty: float
    notes: list[str]


def parts_of(shape: tuple[int, int], side: int) -> list[tuple[slice, slice]]:
    """Squares that cover an image."""
    n_rows, n_columns = shape
    return [
        (slice(r, min(n_rows, r + side)), slice(c, min(n_columns, c + side)))
        for r in range(0, n_rows, side)
        for c in range(0, n_columns, side)
    ]


def write_segmented(
    folder: Path,
    name: str,
    image: Image,
    predictor: Predictor,
    channel: int,
    smallest: int,
    threads: int,
    detail: bool = False,
) -> Outcome:
    """Write everything that belongs to one image.

    Parameters
    ----------
    folder : Path
        Where to.
    name : str
        Name of the image in the batch.
    image : Image
        The image.
    predictor : Predictor
        Of this image.
    channel : int
        Channel that orders the classes; it is drawn.
    smallest : int
        Area in pixels of the smallest object kept.
    threads : int
        Parts that are worked on at once.
    detail : bool
        Whether a part is drawn as it is, which is done where pixels are left out, too.
    """
    k, size = predictor.model.n_components, image.pixel_size
    n_rows, n_columns = image.values.shape[1:]
    names = [class_name(i, k) for i in range(k)]
    store = folder / "segmentation.ome.zarr"
    levels = create_posteriors(store, (k, n_rows, n_columns), size, names)
    labels = np.empty((n_rows, n_columns), dtype=label_type(k))

    def predict(span: tuple[slice, slice]) -> tuple[Any, float]:
        posterior = predictor.posterior(image.values, span)
        levels[0][:, span[0], span[1]] = posterior
        labels[span] = posterior.argmax(axis=0) + 1
        counts = np.bincount(labels[span].ravel(), minlength=k + 1)[1:]
        return counts, float((1.0 - posterior.max(axis=0)).sum(dtype=np.float64))

    with ThreadPoolExecutor(threads) as pool:
        counts, unsure = zip(*pool.map(predict, parts_of((n_rows, n_columns), SIDE)), strict=True)
    write_smaller(levels)
    objects = separate_objects(labels == k, smallest)
    columns = numbered(measure_in_windows(objects, image.values, levels[0], size), image.positions)
    write_ome(folder / "labels.ome.tif", labels, "YX", "classes", size, ["class"])
    write_ome_in_tiles(folder / "posteriors.ome.tif", levels[0], "posteriors", size, names)
    write_ome(folder / "instances.ome.tif", as_labels(objects, 2**8), "YX", "objects", size, ["object"])
    write_labels(store, {"classes": labels, "objects": as_labels(objects, 2**8)}, size)
    write_object_table(columns, folder / "objects.csv")
    step = thinned((n_rows, n_columns))
    plane, ours = image.values[channel], predictor.levels[channel]
    whole = (slice(0, n_rows), slice(0, n_columns))
    small = Thumbnail(step, small_grey(plane, ours, whole, step), objects[::step, ::step])
    write_object_anndata(columns, folder / "objects.h5ad", name, image.channels, size and size[1], small)
    write_geojson(folder / "objects.geojson", objects, columns, names[-1])
    write_overlay(folder / "overlay.png", small.hires, small.segmentation, tint=step > 1)
    if detail or step > 1:
        square = densest(columns, (n_rows, n_columns))
        write_overlay(folder / "detail.png", small_grey(plane, ours, square), objects[square])
    return Outcome(
        name,
        image.path.name,
        n_rows,
        n_columns,
        None if size is None else list(size),
        np.sum(counts, axis=0).tolist(),
        len(columns["label"]),
        sum(unsure) / labels.size,
        list(image.notes),
    )


def key_of(predictor: Predictor, sha: str, told: Sequence[Any]) -> str:
    """What the outputs of an image depend on, as one hash: its bytes, the fit, the options and the version."""
    model, fits = predictor.model, [predictor.params, *([] if predictor.outlines is None else [predictor.outlines])]
    parts = [
        __version__,
        sha,
        json.dumps(list(told)),
        json.dumps(dict(model.hyperparameters)),
        repr([value.tolist() for params in fits for value in (params.means, params.variances, params.bends)]),
        repr([{**asdict(level), "background": level.background.tolist()} for level in predictor.levels]),
        repr(predictor.radius),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def seal(folder: Path, told: Outcome, key: str) -> None:
    """Say that the outputs in `folder` are whole, and what they belong to."""
    outputs = {name: sha256(folder / name) for name in sorted(files_in(folder))}
    text = json.dumps(asdict(told) | {"key": key, "outputs": outputs}, indent=1, ensure_ascii=False)
    (folder / SEAL).write_text(f"{text}\n", encoding="utf-8")


def kept(folder: Path, key: str) -> Outcome | None:
    """What an earlier run said of an image, where its outputs are all there as it wrote them; else None."""
    try:
        record = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        if record.pop("key") != key:
            return None
        if any(sha256(folder / name) != sha for name, sha in record.pop("outputs").items()):
            return None
        return Outcome(**record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
