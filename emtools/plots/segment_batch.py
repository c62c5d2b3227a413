"""Pictures of a batch: outlines over each image, and a sheet of them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import PIL.Image

from emtools.kernels.field import grid
from emtools.kernels.intensity import Levels, surface_at
from emtools.plots.segment import FOUND, GREYS
from emtools.plots.style import FAINT, PAGE, Picture, abreast, arrange, color_of, save, styled

Labels = npt.NDArray[np.integer[Any]]

BRIGHTEST_SHOWN = 2.0  # distance of the typical object from the background that is white
THUMBNAIL = 320  # pixels on a side
DETAIL = 512  # pixels on a side of the part of a large image that is shown as it is
MOST_SHOWN = 24
ACROSS = 4


def small_grey(
    plane: npt.NDArray[Any], levels: Levels, span: tuple[slice, slice], step: int = 1
) -> npt.NDArray[np.uint8]:
    """Every n-th pixel of a part of an image on the grey scale of its batch, shape (n_rows, n_columns, 3).

    Parameters
    ----------
    plane : ndarray, shape (R, C)
        Intensities.
    levels : Levels
        Of the image: its background is black, twice the typical object of the batch is white.
    span : (slice, slice)
        The part.
    step : int
        The n.
    """
    rows, columns = (places[part][::step] for places, part in zip(grid(*plane.shape), span, strict=True))
    apart = plane[span][::step, ::step] - surface_at(levels.background, rows, columns)
    top = np.arcsinh(BRIGHTEST_SHOWN * max(levels.typical, levels.spread) / levels.scale)
    grey = np.round(np.clip(np.arcsinh(apart / levels.scale) / top, 0.0, 1.0) * GREYS) / GREYS
    return np.repeat(np.uint8(255 * grey)[:, :, None], 3, axis=2)


def write_overlay(path: Path, grey: npt.NDArray[np.uint8], objects: Labels, tint: bool = False) -> None:
    """Objects over an image, shapes (n_rows, n_columns) and (n_rows, n_columns, 3), as a PNG file.

    Their outlines, or, where pixels are left out and outlines would hide everything, a tint.
    """
    shown, color = grey.copy(), np.array([int(FOUND[i : i + 2], 16) for i in (1, 3, 5)])
    if tint:
        shown[objects > 0] = (0.6 * shown[objects > 0] + 0.4 * color).astype(np.uint8)
    else:
        shown[rims(objects)] = color
    PIL.Image.fromarray(shown).save(path, optimize=True)


def densest(columns: Mapping[str, npt.NDArray[Any]], shape: tuple[int, int]) -> tuple[slice, slice]:
    """The square of `DETAIL` pixels in which most objects lie; the first of several."""
    squares = [np.asarray(columns[f"centroid-{axis}"] // DETAIL, dtype=int) for axis in (0, 1)]
    counts = np.zeros([n // DETAIL + 1 for n in shape], dtype=int)
    np.add.at(counts, tuple(squares), 1)
    place = np.unravel_index(int(counts.argmax()), counts.shape)
    starts = [min(int(i) * DETAIL, max(0, n - DETAIL)) for i, n in zip(place, shape, strict=True)]
    return slice(starts[0], starts[0] + DETAIL), slice(starts[1], starts[1] + DETAIL)


def rims(objects: Labels) -> npt.NDArray[np.bool_]:
    """Pixels of objects that have another object or the background above, below or beside them."""
    rim = np.zeros(objects.shape, dtype=bool)
    down, right = objects[1:] != objects[:-1], objects[:, 1:] != objects[:, :-1]
    rim[1:] |= down
    rim[:-1] |= down
    rim[:, 1:] |= right
    rim[:, :-1] |= right
    return rim & (objects > 0)


def shown_of(n: int) -> list[int]:
    """Numbers of the images on the sheet: all, or as many as fit, spread evenly."""
    return sorted(set(np.linspace(0, n - 1, min(n, MOST_SHOWN)).round().astype(int).tolist()))


def draw_sheet(overlays: Sequence[Path], titles: Sequence[str], folder: Path) -> Picture:
    """Overlays of the images side by side.

    Parameters
    ----------
    overlays : sequence of Path
        PNG files, as `write_overlay` makes them.
    titles : sequence of str
        What to write above each.
    folder : Path
        Where the figure goes.
    """
    chosen = shown_of(len(overlays))
    across = min(ACROSS, len(chosen))
    down = math.ceil(len(chosen) / across)
    width = min(PAGE, 2.6 * across)
    with styled():
        figure, axes = plt.subplots(down, across, figsize=(width, (width / across + 0.35) * down), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for axis, number in zip(axes.flat, chosen, strict=False):
            with PIL.Image.open(overlays[number]) as opened:
                small = opened.convert("RGB")
                small.thumbnail((THUMBNAIL, THUMBNAIL), PIL.Image.Resampling.BOX)
            axis.set_anchor("NW")
            axis.imshow(np.asarray(small), interpolation="none")
            axis.set_title(titles[number], fontsize=7, fontweight="normal", wrap=True)
        arrange(figure, pad=0.4)
        some = "" if len(chosen) == len(overlays) else f"{len(chosen)} of the {len(overlays)} images, spread evenly. "
        caption = (
            f"{some}Outlines of the objects (blue) over each image. Black is the background of the image, white twice the "
            "typical object of the batch, on one scale for all images: what is dim here is dim beside the others."
        )
        return save(figure, folder, Picture("overlay", "What was found in each image", caption))


def draw_large(overview: Path, detail: Path, titles: tuple[str, str], folder: Path) -> Picture:
    """A large image with its objects tinted, and a part of it with their outlines.

    Parameters
    ----------
    overview, detail : Path
        PNG files.
    titles : (str, str)
        What to write above each.
    folder : Path
        Where the figure goes.
    """
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 3.8))
        for axis, path, title in zip(axes, (overview, detail), titles, strict=True):
            with PIL.Image.open(path) as opened:
                axis.imshow(np.asarray(opened.convert("RGB")), interpolation="none")
            axis.axis("off")
            axis.set_anchor("NW")
            axis.set_title(title, fontsize=7, fontweight="normal")
        arrange(figure, pad=0.4)
        caption = (
            "Left: the whole image, its objects tinted blue. Right: the square with most objects at full size, with their "
            "outlines. Black is the background, white twice the typical object."
        )
        return save(figure, folder, Picture("sheet", "What was found", caption))


def draw_shares(names: Sequence[str], shares: npt.NDArray[np.float64], folder: Path) -> Picture:
    """Share of each class but the darkest in each image.

    Parameters
    ----------
    names : sequence of str
        Of the images.
    shares : ndarray, shape (n_images, K)
        Of the pixels.
    folder : Path
        Where the figure goes.
    """
    n, k = shares.shape
    with styled():
        figure, axis = plt.subplots(figsize=(PAGE, 2.6))
        left = np.zeros(n)
        for c in range(1, k):
            axis.bar(range(n), 100.0 * shares[:, c], bottom=left, color=color_of(c), width=0.8, label=f"class {c + 1}")
            left += 100.0 * shares[:, c]
        axis.axhline(float(np.median(left)), color=FAINT, lw=0.8, ls="--", label="median")
        axis.set_ylabel("share of the image, %")
        if n <= 40:
            axis.set_xticks(range(n), [name[:24] for name in names], rotation=60, ha="right", fontsize=7)
        else:
            axis.set_xlabel("image, in the order of the table")
        axis.legend(fontsize=7, ncols=abreast(["class 10"] * k, PAGE - 1))
        arrange(figure)
        caption = "Share of each image that each class but the darkest covers; a class is the same in all images."
        return save(figure, folder, Picture("shares", "How much of each class?", caption))
