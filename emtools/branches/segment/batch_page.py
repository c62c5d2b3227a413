"""The page of ``emtools segment`` for many images, or for a large one: its tables and its words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emtools.branches.segment.field import outlines_text
from emtools.branches.segment.image import Outcome
from emtools.branches.segment.page import IMAGE_FILES, REFERENCES, counted
from emtools.kernels.field import grid, illumination
from emtools.plots.segment import class_name
from emtools.plots.style import Picture
from emtools.report.page import Page, Table
from emtools.segmenting.batch import FittedBatch
from emtools.segmenting.predicting import SWEEPS

FILES = IMAGE_FILES | {"overlay.png": "objects over the image, on the grey scale of the batch"}


def image_table(told: Sequence[Outcome]) -> pd.DataFrame:
    """One row per image, as images.tsv has them."""
    rows = []
    for image in told:
        row: dict[str, object] = {
            "image": image.image,
            "file": image.file,
            "rows": image.rows,
            "columns": image.columns,
        }
        row |= {f"area_class_{k + 1}": area for k, area in enumerate(image.classes)}
        if all(t.pixel_size_um for t in told) and image.pixel_size_um:
            height, width = image.pixel_size_um
            row |= {f"area_class_{k + 1}_um2": area * height * width for k, area in enumerate(image.classes)}
        row |= {"objects": image.objects, "mean_uncertainty": image.uncertainty}
        rows.append(row)
    return pd.DataFrame(rows)


def shown_table(told: Sequence[Outcome]) -> pd.DataFrame:
    """The same for a person: shares in place of areas."""
    rows = []
    for image in told:
        row: dict[str, object] = {"image": image.image, "pixels": f"{image.rows} × {image.columns}"}
        whole = sum(image.classes)
        row |= {f"class {k + 1}, %": 100.0 * area / whole for k, area in enumerate(image.classes)}
        rows.append(row | {"objects": image.objects, "mean uncertainty": image.uncertainty})
    return pd.DataFrame(rows)


def class_table(fitted: FittedBatch, told: Sequence[Outcome], channels: Sequence[str]) -> pd.DataFrame:
    """One row per class."""
    k = fitted.fit.model.n_components
    totals = np.sum([image.classes for image in told], axis=0)
    frame = pd.DataFrame(
        {
            "label": np.arange(1, k + 1),
            "class": [class_name(i, k) for i in range(k)],
            "share of all pixels, %": 100.0 * totals / totals.sum(),
            "in images": [sum(image.classes[i] > 0 for image in told) for i in range(k)],
        }
    )
    for channel, name in enumerate(channels):
        level = fitted.levels[0][channel]
        frame[f"{name} above its background"] = level.scale * np.sinh(fitted.fit.params.means[:, channel])
    return frame


def describe(
    fitted: FittedBatch,
    told: Sequence[Outcome],
    channels: Sequence[str],
    channel: int,
    smallest: int,
    notes: Sequence[str],
    pictures: Sequence[Picture],
    beside: bool = False,
) -> Page:
    """The page.

    Parameters
    ----------
    fitted : FittedBatch
        The fit.
    told : sequence of Outcome
        Of each image.
    channels : sequence of str
        Names of the channels that are used.
    channel : int
        The one of them that orders the classes.
    smallest : int
        Area in pixels of the smallest object kept.
    notes : sequence of str
        What a reader should know first.
    pictures : sequence of Picture
        Figures, already saved.
    beside : bool
        Whether the files of the one image lie beside the page, as those of a large image do, not in a folder of its own.
    """
    n_objects, n_images = sum(image.objects for image in told), len(told)
    whole = sum(sum(image.classes) for image in told)
    bright = sum(image.classes[-1] for image in told)
    brightest = "brightest class" if len(channels) == 1 else f"class brightest in {channels[channel]}"
    single = n_images == 1
    where = told[0].file if single else counted(n_images, "image")
    lead = (
        f"{counted(n_objects, 'object')} {'was' if n_objects == 1 else 'were'} found in {where}; the {brightest} covers "
        f"{100.0 * bright / whole:.1f} % of {'the image' if single else 'all pixels'}."
    )
    if not single:
        shares = np.array([image.classes[-1] / sum(image.classes) for image in told])
        low, high = told[int(shares.argmin())], told[int(shares.argmax())]
        lead += (
            f" One model was fitted to all of them, so that a label means the same in every image: from "
            f"{100.0 * shares.min():.1f} % ({low.image}) to {100.0 * shares.max():.1f} % ({high.image}) of the pixels are of that class."
        )
    uncertainty = sum(image.uncertainty * sum(image.classes) for image in told) / whole
    facts = {
        "images": f"{n_images}",
        "objects": f"{n_objects}",
        "brightest class": f"{100.0 * bright / whole:.1f} %",
        "mean uncertainty": f"{uncertainty:.3g}",
        "pixels": f"{whole:,}",
        "pixels fitted": f"{fitted.n_pixels:,}",
    }
    tables = [
        Table(
            "Images",
            "Share of each class, objects of the brightest, and one minus the largest posterior in the mean over the "
            "pixels; an image that is much less sure than the others deserves a look. In images.tsv areas are in pixels and µm².",
            shown_table(told),
        ),
        Table(
            "Classes",
            f"Numbered by ascending brightness{'' if len(channels) == 1 else ' in ' + channels[channel]}; a label means the "
            "same in every image. Intensities are the centres of the classes under an illumination of 1, in the units of the images.",
            class_table(fitted, told, channels),
        ),
    ]
    files = FILES if beside else {f"images/NAME/{name}": what for name, what in FILES.items()}
    of_all = {} if beside else {
        "objects.csv": "all objects, with a column image",
        "objects.h5ad": "the same as AnnData; one library per image in uns['spatial'], library_key image",
    }  # fmt: skip
    return Page(
        title=f"Segmentation of {where}",
        lead=lead,
        facts=facts,
        notices=notes,
        pictures=pictures,
        tables=tables[1:] if single else tables,
        methods=methods_text(fitted, n_images, whole, channels, brightest, smallest),
        references=REFERENCES,
        files={"images.tsv": "one row per image: area of each class, objects, mean uncertainty"}
        | of_all
        | files
        | {"fit.json": "parameters, boundaries (A, b, c), scale of each image, trace, versions"},
    )


def methods_text(
    fitted: FittedBatch, n_images: int, n_pixels: int, channels: Sequence[str], brightest: str, smallest: int
) -> str:
    """The paragraph of a methods section."""
    model, params = fitted.fit.model, fitted.fit.params
    single = n_images == 1
    scales = "; ".join(
        f"{name}: noise {level.noise:.3g}, contrast {level.contrast:.3g}, blur {level.blur:.2f} pixels, scale {level.scale:.3g}"
        for name, level in zip(channels, fitted.levels[0], strict=True)
    )
    gains = [illumination(bends, *grid(65, 65)) for bends in params.bends]
    lit = "; ".join(f"{name}: {g.min():.2f} to {g.max():.2f}" for name, g in zip(channels, gains, strict=True))
    sampled = (
        f" The model was fitted to {fitted.n_pixels:,} of the {n_pixels:,} pixels, in squares spread evenly over "
        f"{'the image' if single else 'each image'}."
        if fitted.n_pixels < n_pixels
        else ""
    )
    shared = (
        ""
        if single
        else (
            " Noise, contrast, blur and scale, the classes with their variances and the illumination are those of all images "
            "together; each image has a background of its own. An overall gain per image is not fitted: it would turn dim "
            "objects into bright ones, so that the images must have been exposed alike."
        )
    )
    return (
        "The level of the background (a polynomial of degree 2), noise and contrast were estimated from the images; intensities "
        "were blurred as little as brings the noise to a sixteenth of the contrast, and their distance d from the background "
        f"brought to the scale asinh(d / scale) ({scales}). A hidden Markov random field of {model.n_components} normal classes "
        f"with a common variance per channel, coupled along the 4 nearest neighbours ({model.coupling:g} nats a pair), was fitted "
        "by variational EM (mean field, checkerboard sweeps) with a smooth illumination of degree 2 within it, which ranges "
        f"over {lit}; the start is K-means, and nothing is drawn at random.{shared}{sampled} {outlines_text(fitted)}The classes of the pixels are those "
        f"after {SWEEPS} sweeps at the fitted parameters, taken square by square with a margin that gives the same bytes as the "
        f"whole image; probabilities were tempered (fourth roots, since neighbours mostly say the same) and averaged over {fitted.jitter:.1f} pixels, a twelfth of the radius of the typical "
        f"object, since outlines are not known better. The pixels of the {brightest} form the objects: holes up to {smallest} "
        f"pixels filled, touching objects separated by a watershed on the distance to the background, pieces below {smallest} "
        "pixels removed. Standard errors and the certificate are those of the mixture given the neighbours; they take the "
        "shares of the neighbours for known, and are too small."
    )
