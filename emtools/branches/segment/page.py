"""The page of ``emtools segment``: its tables and its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from emtools.branches.segment.field import field_note, field_text
from emtools.branches.segment.types import Method, Options, Pixels
from emtools.kernels.field import whole
from emtools.kernels.objects import Columns
from emtools.plots.segment import class_name
from emtools.plots.style import Picture
from emtools.report.components import mixture_sizes
from emtools.report.page import Page, Table, show_value
from emtools.segmenting.field import Segmented

Reals = npt.NDArray[np.floating[Any]]

DARKEST = 1.0  # per cent of the pixels
UNSURE = 0.1
APART = 20.0  # per cent of the pixels
RIM = 0.5  # share of the rim of an image above which the brightest class may be its background

IMAGE_FILES = {
    "labels.ome.tif": "class of each pixel, 1 the darkest",
    "posteriors.ome.tif": "posterior probability of each class, one channel a class",
    "instances.ome.tif": "number of the object of each pixel, 0 none",
    "objects.csv": "shape, place, intensity and mean posterior of each object",
    "objects.h5ad": "the same as AnnData, centroids (x, y) in obsm['spatial']",
    "segmentation.ome.zarr": "posteriors as OME-Zarr 0.4, with labels/classes and labels/objects",
    "objects.geojson": "outlines and measurements of the objects, for QuPath",
}
REFERENCES = (
    "Dempster, Laird & Rubin (1977) J. R. Stat. Soc. B 39:1, doi:10.1111/j.2517-6161.1977.tb01600.x (EM).",
    "Celeux & Govaert (1992) Comput. Stat. Data Anal. 14:315, doi:10.1016/0167-9473(92)90042-E (K-means as hard EM).",
    "Zhang, Brady & Smith (2001) IEEE Trans. Med. Imaging 20:45, doi:10.1109/42.906424 (random field and illumination in EM).",
    "Huber et al. (2002) Bioinformatics 18:S96, doi:10.1093/bioinformatics/18.suppl_1.S96 (the arsinh scale).",
    "Bartlett (1936) Suppl. J. R. Stat. Soc. 3:68, doi:10.2307/2983678 (the square root of counts).",
    "Otsu (1979) IEEE Trans. Syst. Man Cybern. 9:62, doi:10.1109/TSMC.1979.4310076 (threshold).",
    "Meyer (1994) Signal Process. 38:113, doi:10.1016/0165-1684(94)90060-4 (watershed).",
    "Caicedo et al. (2019) Nat. Methods 16:1247, doi:10.1038/s41592-019-0612-7 (object F1).",
    "van der Walt et al. (2014) PeerJ 2:e453, doi:10.7717/peerj.453 (scikit-image).",
)


def dark_share(pixels: Pixels, method: Method) -> float:
    """Per cent of the darkest pixels that a method calls foreground."""
    blurred = pixels.features[:, 2 * pixels.channel + 1]
    darkest = blurred <= np.percentile(blurred, DARKEST)
    return 100.0 * float(method.foreground.ravel()[darkest].mean())


def bright_at_first(found: Segmented) -> npt.NDArray[np.bool_]:
    """Pixels of the brightest class in the first field, whose heights no outlines have been drawn by yet, shape (R, C)."""
    shares = whole(found.fit.params.memory.shares[0], found.values.shape[2])
    return np.asarray(shares.argmax(axis=0) == len(shares) - 1)


def boundary_note(pixels: Pixels, methods: Sequence[Method]) -> str:
    """What the reader should see in the feature space."""
    text = (
        "K-means (hard EM) knows distances only: a straight line half-way between two means. A mixture with one shared "
        "covariance draws a straight line too, but tilts it along the cloud. With a covariance of its own for each class "
        "the line becomes a quadric (an ellipse, parabola or hyperbola) that follows shape and abundance."
    )
    if pixels.features.shape[1] > 2:
        text += (
            f" The classes were found in {pixels.features.shape[1]} features; this is the plane of the two of "
            f"{pixels.image.channels[pixels.channel]}, and shows what remains of the classes when the other features are "
            "integrated out, so that a boundary that uses the other channels cannot be seen here."
        )
    free = next((m for m in methods if m.boundary == "quadric"), None)
    if free is None:
        return text
    broad, narrow = (100.0 * float(m.foreground.mean()) for m in (free, methods[0]))
    if broad > narrow + 2.0:
        text += (
            f" Here the broad bright class also takes in the upper tail of the background: it covers {broad:.0f} % of the "
            f"image, that of {methods[0].name} {narrow:.0f} %."
        )
    share = dark_share(pixels, free)
    if share > DARKEST:
        text += (
            f" Mind the far side of the quadric: it gives {share:.1f} % of the darkest {DARKEST:g} % of the pixels to the "
            "brightest class, which no one would."
        )
    return text


def comparison(pixels: Pixels, methods: Sequence[Method], accuracy: pd.DataFrame | None) -> pd.DataFrame:
    """One row per method."""
    frame = pd.DataFrame(
        {
            "method": [m.name for m in methods],
            "boundary": [m.boundary for m in methods],
            "foreground, %": [100.0 * float(m.foreground.mean()) for m in methods],
            "objects": [int(m.objects.max()) for m in methods],
            f"darkest {DARKEST:g} % in it, %": [dark_share(pixels, m) for m in methods],
        }
    )
    if accuracy is not None:
        wide = accuracy.pivot(index="method", columns="metric", values="value").loc[frame["method"]]
        for metric in ("Dice", "object F1", "object precision", "object recall", "Brier score"):
            frame[metric.replace("object p", "p").replace("object r", "r")] = wide[metric].to_numpy()
    return frame


def class_table(pixels: Pixels, posterior: Reals) -> pd.DataFrame:
    """One row per class."""
    k = len(posterior)
    labels = posterior.argmax(axis=0)
    flat = pixels.image.values.reshape(len(pixels.image.values), -1).astype(np.float64)
    frame = pd.DataFrame(
        {
            "label": np.arange(1, k + 1),
            "class": [class_name(i, k) for i in range(k)],
            "pixels": np.bincount(labels.ravel(), minlength=k),
            "share, %": 100.0 * np.bincount(labels.ravel(), minlength=k) / labels.size,
        }
    )
    weights = posterior.reshape(k, -1)
    for channel, name in enumerate(pixels.image.channels):
        frame[f"mean {name}"] = weights @ flat[channel] / np.maximum(weights.sum(axis=1), 1e-300)
    return frame


def counted(n: int, word: str) -> str:
    """A number with its noun."""
    return f"{n} {word}{'s' * (n != 1)}"


def describe(
    options: Options,
    pixels: Pixels,
    methods: Sequence[Method],
    posterior: Reals,
    columns: Columns,
    accuracy: pd.DataFrame | None,
    pictures: Sequence[Picture],
) -> Page:
    """The page."""
    best = methods[0]
    n_objects = int(best.objects.max())
    size = pixels.image.pixel_size
    covered = 100.0 * float(best.foreground.mean())
    verb = "was" if n_objects == 1 else "were"
    lead = f"{counted(n_objects, 'object')} {verb} found in {options.input.name}; the {pixels.brightest} covers {covered:.1f} % of the image."
    if len(pixels.image.channels) > 1:
        place = pixels.image.positions[pixels.channel]
        lead += f" Classes are ordered by {pixels.image.channels[pixels.channel]} (--channel {place})."
    if accuracy is not None and pixels.truth is not None:
        values = accuracy.set_index(["method", "metric"])["value"]
        ranked = sorted((m.name for m in methods[1:]), key=lambda name: -values[name, "Dice"])
        told = "; best of the others, ".join(
            f"{name}: Dice {values[name, 'Dice']:.3f}, object F1 {values[name, 'object F1']:.3f}"
            for name in (best.name, *ranked[:1])
        )
        found = int(values[best.name, "objects matched"])
        lead += (
            f" {found} of the {int(pixels.truth.max())} annotated objects are matched. {told[:1].upper()}{told[1:]}."
        )
    hard = next((m for m in methods if m.name == "K-means"), best)
    differ = 100.0 * float((best.foreground != hard.foreground).mean())
    if differ > APART:
        lead += (
            f" Caution: K-means finds {int(hard.objects.max())} and puts {differ:.0f} % of the pixels on the other side; "
            "look at the figure before believing either."
        )
    if best.field is not None:
        lead += f" {field_note(best.field)}"
    areas = columns["area"] if size is None else columns["area_um2"]
    unit = "pixels" if size is None else "µm²"
    unsure = 100.0 * float((1.0 - posterior.max(axis=0) > UNSURE).mean())
    facts = {
        "objects": f"{n_objects}",
        "foreground": f"{covered:.1f} %",
        "median object": f"{show_value(float(np.median(areas)))} {unit}" if n_objects else "–",
        "unsure pixels (p < 0.9)": f"{unsure:.1f} %",
        "image": f"{pixels.shape[0]} × {pixels.shape[1]}, {len(pixels.image.channels)} channel"
        + "s" * (len(pixels.image.channels) > 1),
        "pixel size": "not in the file" if size is None else f"{size[1]:.4g} × {size[0]:.4g} µm",
    }
    tables = [
        Table(
            "Methods side by side",
            "All methods see the same pixels; the mixtures and K-means use the pixel and its surroundings, Otsu the "
            f"intensity{'' if len(pixels.image.channels) == 1 else ' of ' + pixels.image.channels[pixels.channel]} alone. "
            f"The {pixels.brightest} is the foreground; none of the darkest pixels should be in it.",
            comparison(pixels, methods, accuracy),
        ),
        Table(
            "Classes",
            f"Numbered by ascending brightness{'' if len(pixels.image.channels) == 1 else ' in ' + pixels.image.channels[pixels.channel]}, so that a label means the same in every image; means in the units of the "
            "image, weighted by the posterior.",
            class_table(pixels, posterior),
        ),
    ]
    bright = best.foreground if best.field is None else bright_at_first(best.field)
    rim = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    notices = [*pixels.image.notes] + [
        f"The {pixels.brightest} fills {100 * rim.mean():.0f} % of the rim of the image, as a background does: where the objects are "
        "the darker part (brightfield, stained sections), invert the image and segment it again"
    ] * bool(rim.mean() > RIM)
    return Page(
        title=f"Segmentation of {options.input.name}",
        lead=lead,
        facts=facts,
        notices=notices,
        pictures=pictures,
        tables=tables,
        check_tables=sizes_of(pixels, best, posterior),
        methods=methods_text(options, pixels, best),
        references=REFERENCES,
        files=IMAGE_FILES
        | {"fit.json": "parameters, boundaries (A, b, c) and (w, b), trace, versions"}
        | ({"accuracy.tsv": "agreement with the annotation"} if accuracy is not None else {}),
    )


def sizes_of(pixels: Pixels, best: Method, posterior: Reals) -> list[Table]:
    """How much each class of a mixture rests on, and its condition; of a random field, the table of classes says it."""
    if best.fit is None or best.field is not None:
        return []
    model, params, k = best.fit.model, best.fit.params, len(posterior)
    names, shares = [class_name(i, k) for i in range(k)], posterior.reshape(k, -1).T
    matrices = model.covariance_matrices(params)
    return [mixture_sizes(names, pixels.features, shares, params.weights, params.means, matrices, "pixels")]


def methods_text(options: Options, pixels: Pixels, best: Method) -> str:
    """The paragraphs of a methods section."""
    weights = "equal class weights" if options.weights == "equal" else "free class weights"
    covariance = {
        "tied": "one covariance shared by all classes",
        "full": "a full covariance for each class",
        "diagonal": "a diagonal covariance for each class",
        "spherical": "a spherical covariance for each class",
    }[options.family]
    rivals = mixture_text(options, pixels, covariance, weights)
    if best.field is None:
        return rivals
    answer = field_text(best.field, pixels.image.channels, options.components, options.smallest, pixels.brightest)
    return f"{answer} For comparison: {rivals}"


def mixture_text(options: Options, pixels: Pixels, covariance: str, weights: str) -> str:
    """How the mixture and K-means were fitted."""
    return (
        f"each pixel is described by the square root of its intensity, which evens out the noise of photon counts, and by "
        f"the same after a Gaussian blur (sigma {options.smooth:g} pixels), per channel. A mixture of {options.components} "
        f"Gaussians with {covariance} and {weights} was fitted by EM from {options.starts} starts (the partition of "
        "K-means, and cuts by brightness), with a weak inverse-Wishart prior on the covariances; classes are "
        f"ordered by the mean of {pixels.names[2 * pixels.channel]}. K-means is the hard-assignment limit with one fixed spherical variance, in the same code. The pixels of the "
        f"{pixels.brightest} form the objects: holes up to {options.smallest} pixels filled, touching objects separated by a "
        f"watershed on the distance to the background, pieces below {options.smallest} pixels removed. Standard errors take "
        f"pixels for independent, which neighbours are not, and are too small."
    )
