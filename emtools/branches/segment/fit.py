"""``emtools segment``: classes of pixels and the objects they form, a random field beside mixtures, K-means and Otsu."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from emtools.branches.finish import finish
from emtools.branches.segment.field import energy_of, field_labels, field_record
from emtools.branches.segment.methods import chosen_model, segmentations
from emtools.branches.segment.page import boundary_note, counted, describe
from emtools.branches.segment.types import Method, Options, Pixels
from emtools.engine.chunks import ArraySource
from emtools.engine.protocol import Floats
from emtools.errors import InputError
from emtools.io.console import Progress
from emtools.io.image_folder import stem_of
from emtools.io.images import Image, label_type, read_labels, write_ome
from emtools.io.objects import Thumbnail, write_object_anndata, write_object_table
from emtools.io.outputs import staged
from emtools.io.viewers import write_viewers
from emtools.kernels.collinear import dependent_columns
from emtools.kernels.objects import measure_objects, numbered
from emtools.kernels.overlap import dice, match_objects
from emtools.kernels.pixels import CONNECTED, pixel_features, renumber
from emtools.kernels.reliability import brier_score, error_auroc
from emtools.models.mixture import GaussianMixture, MixtureParams
from emtools.plots.segment import (
    GRID,
    Outlined,
    Regions,
    class_name,
    draw_accuracy,
    draw_boundary,
    draw_overlay,
    draw_posterior,
    shown_grey,
    thinned,
)
from emtools.plots.segment_field import draw_levels, draw_reliability
from emtools.plots.style import Picture


def analyse(options: Options, image: Image) -> int:
    """Fit what was read, write; the exit code."""
    for note in image.notes:
        print(f"segment: {note}", file=sys.stderr)
    pixels = read_pixels(options, image)
    chosen = chosen_model(options, pixels)
    source = ArraySource(pixels.features)
    progress = Progress(
        f"segment {options.input.name}", options.starts if options.model == "mixture" else 1, options.quiet
    )
    methods = segmentations(options, pixels, chosen, source, progress)
    best, posterior = methods[0].fit, methods[0].posterior
    assert best is not None
    assert posterior is not None
    progress.close(best.summary)
    columns = measure_objects(methods[0].objects, pixels.image.values, posterior[-1], pixels.image.pixel_size)
    columns = numbered(columns, pixels.image.positions)
    accuracy = None if pixels.truth is None else accuracy_table(methods, pixels.truth)
    with staged(options.out) as folder:
        write_images(folder, posterior, methods[0].objects, pixels.image)
        write_object_table(columns, folder / "objects.csv")
        size = pixels.image.pixel_size
        step = thinned(pixels.shape)
        grey = np.uint8(255 * shown_grey(pixels.plane[::step, ::step]))
        small = Thumbnail(step, np.repeat(grey[:, :, None], 3, axis=2), methods[0].objects[::step, ::step])
        write_object_anndata(
            columns, folder / "objects.h5ad", stem_of(options.input), pixels.image.channels, size and size[1], small
        )
        names = [class_name(k, options.components) for k in range(options.components)]
        write_viewers(folder, posterior, methods[0].objects, columns, size, names)
        pictures = draw(pixels, methods, posterior, accuracy, folder)
        page = describe(options, pixels, methods, posterior, columns, accuracy, pictures)
        labels, units = named_parameters(options, pixels)
        return finish(
            folder,
            best,
            page,
            options,
            branch="segment",
            inputs=[*image.sources, *([] if options.truth is None else [options.truth])],
            labels=labels,
            units=units,
            accuracy=accuracy,
            extra=record(pixels, methods),
        )


def named_parameters(options: Options, pixels: Pixels) -> tuple[dict[str, list[Sequence[str]]], dict[str, str]]:
    """Names along the axes of the parameters of the answer, and their units."""
    classes = [f"class {k + 1}" for k in range(options.components)]
    if options.model == "field":
        return field_labels(classes, pixels.image.channels)
    square = [pixels.names, pixels.names]
    labels: dict[str, list[Sequence[str]]] = {
        "weights": [classes],
        "means": [classes, pixels.names],
        "covariances": [*square] if options.family == "tied" else [classes, *square],
        "variances": [classes, pixels.names] if options.family == "diagonal" else [classes],
    }
    return labels, {"means": "√intensity", "covariances": "intensity", "variances": "intensity"}


def read_pixels(options: Options, image: Image) -> Pixels:
    """Image, features and truth.

    Raises
    ------
    InputError
        If a file or an option cannot be used.
    """
    n_rows, n_columns = image.values.shape[1:]
    if options.smooth > min(n_rows, n_columns) / 4:
        raise InputError(
            "--smooth", f"{options.smooth:g} pixels", f"at most a quarter of the image, {min(n_rows, n_columns) / 4:g}"
        )
    channel = image.positions[0] if options.channel is None else options.channel
    if channel not in image.positions:
        raise InputError(
            "--channel",
            f"{channel}",
            "a channel that varies: "
            + ", ".join(f"{i} ({n})" for i, n in zip(image.positions, image.channels, strict=True)),
            "count from 0",
        )
    truth: npt.NDArray[np.integer[Any]] | None = None
    if options.truth is not None:
        truth = read_labels(options.truth, (n_rows, n_columns))
        if len(np.unique(truth[truth > 0])) == 1:
            truth, n_parts = ndimage.label(truth > 0, structure=CONNECTED)
            if n_parts > 1:
                print(
                    f"segment: {options.truth} is a mask; its {n_parts} connected parts are the objects",
                    file=sys.stderr,
                )
        truth = renumber(truth)
    roots = [f"√{name}" for name in image.channels]
    names = tuple(word for root in roots for word in (root, f"{root}, blurred"))
    features = pixel_features(image.values, options.smooth)
    require_distinct_features(options, features, names)
    return Pixels(image, image.positions.index(channel), features, names, truth)


def require_distinct_features(options: Options, features: Floats, names: Sequence[str]) -> None:
    """Refuse channels that repeat others: the covariance has no inverse, and the fit no maximum.

    Raises
    ------
    InputError
        If a feature is an exact linear function of others.
    """
    found = dependent_columns(features)
    if not found:
        return
    channels = list(dict.fromkeys(names[i].removesuffix(", blurred").removeprefix("√") for i in found))
    if len(channels) == 1:
        raise InputError("--smooth", f"{options.smooth:g} pixels, which blurs nothing", "", "use a larger one")
    raise InputError(
        str(options.input),
        f"channels {', '.join(channels)} carry the same information (one is an exact function of the others)",
        "channels that differ",
        f"save the image without {channels[-1]}",
    )


def accuracy_table(methods: Sequence[Method], truth: npt.NDArray[np.integer[Any]]) -> pd.DataFrame:
    """Agreement with the true objects."""
    rows: list[tuple[str, str, float]] = []
    for method in methods:
        found = match_objects(method.objects, truth)
        rows += [
            (method.name, "Dice", dice(method.foreground, truth > 0)),
            (method.name, "object F1", found.f1),
            (method.name, "object precision", found.precision),
            (method.name, "object recall", found.recall),
            (method.name, "objects matched", float(found.n_matched)),
        ]
        if method.posterior is not None:
            wrong = method.foreground != (truth > 0)
            unsure = unsureness(method.posterior)
            rows += [
                (method.name, "Brier score", brier_score(method.posterior[-1], truth > 0)),
                (method.name, "errors found by the uncertainty", error_auroc(unsure, wrong)),
            ]
    return pd.DataFrame(rows, columns=["method", "metric", "value"])


def unsureness(posterior: npt.NDArray[np.floating[Any]]) -> Floats:
    """Probability that the likeliest class is the wrong one, exact where it is small, shape (n_rows, n_columns)."""
    ranked = np.sort(posterior.astype(np.float64), axis=0)
    return np.asarray(ranked[:-1].sum(axis=0))


def write_images(
    folder: Path, posterior: npt.NDArray[np.floating[Any]], objects: npt.NDArray[np.int32], image: Image
) -> None:
    """Classes, posteriors and objects as OME-TIFF."""
    k = len(posterior)
    labels = posterior.argmax(axis=0) + 1
    names = [class_name(i, k) for i in range(k)]
    size = image.pixel_size
    write_ome(folder / "labels.ome.tif", labels.astype(label_type(k)), "YX", "classes", size, ["class"])
    write_ome(folder / "posteriors.ome.tif", posterior.astype(np.float32), "CYX", "posteriors", size, names)
    n_objects = int(objects.max())
    kind = np.uint16 if n_objects < 2**16 else np.uint32
    write_ome(folder / "instances.ome.tif", objects.astype(kind), "YX", "objects", size, ["object"])


def plane_regions(pixels: Pixels, method: Method, grid: tuple[Floats, Floats]) -> Regions:
    """Classes of a method in the plane of the two features of the ordering channel, the others integrated out."""
    assert method.fit is not None
    model, params = method.fit.model, method.fit.params
    columns = np.array([2 * pixels.channel, 2 * pixels.channel + 1])
    means = params.means[:, columns]
    covariances = model.covariance_matrices(params)[:, columns[:, None], columns]
    flat = GaussianMixture(model.n_components, 2, "full")
    points = np.stack(np.meshgrid(*grid), axis=-1).reshape(-1, 2)
    joint = flat.log_joint(MixtureParams(params.weights, means, covariances), points)
    joint = joint.T.reshape(model.n_components, len(grid[1]), len(grid[0]))
    hard = model.fixed_variance is not None
    title = f"{method.name}\n{method.boundary}"
    return Regions(title, joint, means, None if hard else covariances)


def record(pixels: Pixels, methods: Sequence[Method]) -> dict[str, Any]:
    """What only this branch has to say in fit.json: boundaries between classes, and the rivals."""
    boundaries, others = {}, {}
    for method in methods:
        if method.fit is None:
            continue
        if method.field is not None:
            boundaries[method.name] = method.fit.model.boundaries(method.fit.params)
            continue
        pairs = []
        for pair in method.fit.model.boundaries(method.fit.params):
            form: dict[str, Any] = {"first": pair["first"] + 1, "second": pair["second"] + 1}
            hard = method.fit.model.fixed_variance is not None
            form |= {"w": pair["b"], "b": pair["c"]} if hard else {key: pair[key] for key in ("A", "b", "c")}
            pairs.append(form)
        boundaries[method.name] = pairs
        if method is not methods[0]:
            others[method.name] = {
                "status": str(method.fit.status),
                "verdict": method.fit.verdict,
                "objective": method.fit.objective,
                "parameters": method.fit.model.natural(method.fit.params),
            }
    return {
        "features": pixels.names,
        "pixel_size_um": pixels.image.pixel_size,
        "channels": pixels.image.channels,
        "boundaries": boundaries,
        "rivals": others,
    } | (
        {}
        if methods[0].field is None
        else {
            "scale": field_record(methods[0].field, pixels.image.channels),
            "free_energy": energy_of(methods[0].field),
        }
    )


def draw(
    pixels: Pixels,
    methods: Sequence[Method],
    posterior: npt.NDArray[np.floating[Any]],
    accuracy: pd.DataFrame | None,
    folder: Path,
) -> list[Picture]:
    """The figures of the answer."""
    scores: dict[str, str] = {}
    if accuracy is not None:
        values = accuracy.set_index(["method", "metric"])["value"]
        scores = {
            m.name: f"\nDice {values[m.name, 'Dice']:.3f}, object F1 {values[m.name, 'object F1']:.3f}" for m in methods
        }
    hard = next((m for m in methods if m.name == "K-means"), methods[-1])
    panels = [
        Outlined(f"{m.name}: {counted(int(m.objects.max()), 'object')}{scores.get(m.name, '')}", m.objects)
        for m in (methods[0], hard)
    ]
    differ = 100.0 * float((methods[0].foreground != hard.foreground).mean())
    note = f"The two methods put {differ:.1f} % of the pixels on different sides."
    size = pixels.image.pixel_size
    pictures = [
        draw_overlay(
            pixels.plane if pixels.colours is None else pixels.colours, panels, pixels.truth, size, folder, note
        ),
        draw_posterior(posterior[-1], unsureness(posterior), size, folder, pixels.brightest, methods[0].field is None),
    ]
    if methods[0].field is not None:
        pictures.append(draw_levels(methods[0].field, pixels.channel, size, folder))
    columns = [2 * pixels.channel, 2 * pixels.channel + 1]
    values = pixels.features[:, columns]
    low, high = np.percentile(values, [0.0, 99.95], axis=0)
    edge = np.where(high > low, 0.05 * (high - low), 1.0)
    grid = (
        np.linspace(low[0] - edge[0], high[0] + edge[0], GRID),
        np.linspace(low[1] - edge[1], high[1] + edge[1], GRID),
    )
    mixtures = [m for m in (hard, *(m for m in methods if m is not hard)) if m.sees_features]
    regions = [plane_regions(pixels, method, grid) for method in mixtures]
    names = (f"{pixels.names[columns[0]]} of the pixel", f"{pixels.names[columns[0]]} of its surroundings (blurred)")
    n_others = pixels.features.shape[1] - len(columns)
    where = f"Plane of {pixels.image.channels[pixels.channel]}; the {n_others} other features are integrated out"
    pictures.append(
        draw_boundary(values, names, grid, regions, folder, boundary_note(pixels, mixtures), where if n_others else "")
    )
    if accuracy is not None and pixels.truth is not None:
        n_true = int(pixels.truth.max())
        pictures.append(draw_accuracy(accuracy, ("Dice", "object F1"), n_true, folder))
        soft = {m.name: m.posterior[-1] for m in methods if m.posterior is not None}
        pictures.append(draw_reliability(soft, pixels.truth > 0, folder))
    return pictures
