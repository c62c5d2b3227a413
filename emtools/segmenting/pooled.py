"""One scale for the images of a batch: noise, blur and contrast of all of them together, a background for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from emtools.engine.protocol import Floats
from emtools.kernels.intensity import (
    EVEN,
    FIRST,
    FLATTEST,
    HIGHEST,
    LOOKS,
    NOISE_LEFT,
    SIDE,
    TYPICAL,
    WIDEST,
    Levels,
    blur_for,
    contrast_of,
    noise_level,
    rounding_of,
    separated_means,
    smooth_below,
    surface_at,
    terms_at,
)
from emtools.segmenting.sampling import Part

Images = Sequence[Sequence[Part]]

LEAST_STEPS = 8  # distances that are looked at are at least every eighth pixel down and across
LOOKED_AT = 2**22  # distances, about


@dataclass(frozen=True)
class Look:
    """A channel of all images after a blur.

    Parameters
    ----------
    backgrounds : ndarray, shape (n, 6)
        Of each image.
    spread : float
        Of the background, the median over the images.
    first : float
        Distance at which the logarithm takes over for the start.
    typical : float
        Median distance from its background of what is bright in the images together.
    """

    backgrounds: Floats
    spread: float
    first: float
    typical: float


def blurred_part(part: Part, channel: int, sigma: float) -> Floats:
    """A channel of a part, blurred as it would be in the whole image."""
    plane = part.planes[channel].astype(np.float64)
    return np.asarray(ndimage.gaussian_filter(plane, sigma, mode="reflect")[part.inner])


def look_at(images: Images, channel: int, sigma: float, least: float) -> Look:
    """Backgrounds, and how far from them what is bright typically lies.

    Images that do not vary have the mean of themselves as background, and no say in the rest.

    Parameters
    ----------
    images : sequence of sequences of Part
        Parts of each image.
    channel : int
        Channel, from 0.
    sigma : float
        Blur, pixels.
    least : float
        Least spread.
    """
    n_pixels = sum(part.place[0].size * part.place[1].size for parts in images for part in parts)
    step = int(np.clip(np.sqrt(n_pixels / LOOKED_AT), 1, LEAST_STEPS))
    backgrounds, spreads, levels, distances = np.zeros((len(images), 6)), [], [], []
    for i, parts in enumerate(images):
        blurred = [blurred_part(part, channel, sigma) for part in parts]
        steps = [max(1, min(plane.shape) // SIDE) for plane in blurred]
        design = np.concatenate(
            [terms_at(part.place[0][::s], part.place[1][::s]) for part, s in zip(parts, steps, strict=True)]
        )
        values = np.concatenate([plane[::s, ::s].ravel() for plane, s in zip(blurred, steps, strict=True)])
        if values.min() == values.max():
            backgrounds[i, 0] = values[0]
            continue
        backgrounds[i], spread = smooth_below(design, values)
        spreads.append(spread)
        for part, plane in zip(parts, blurred, strict=True):
            apart = plane - surface_at(backgrounds[i], *part.place)
            distances.append(apart[::step, ::step].ravel())
            levels.append(plane[::step, ::step].ravel())
    spread = max(float(np.median(spreads)), least)
    together = np.concatenate(distances)
    first = max(FIRST * spread, contrast_of(np.concatenate(levels)) / FLATTEST)
    scaled = np.minimum(np.arcsinh(together / first), HIGHEST)
    bright = together[scaled > separated_means(scaled, 2).mean()]
    return Look(backgrounds, spread, first, float(np.median(bright)) if bright.size else 0.0)


def pooled_levels(images: Images, channel: int) -> tuple[list[Levels], list[int]]:
    """Levels of a channel in each image: one noise, blur and scale for all of them, a background for each.

    What `emtools.kernels.intensity.levels_of` reads from an image is read from all of them together, so that an image
    without objects is not stretched until its noise looks like some. An image whose background lies nearer to the
    typical object than to the backgrounds of the others is full of objects, and takes the background of the others.

    Parameters
    ----------
    images : sequence of sequences of Part
        Parts of each image; at least one image varies in this channel.
    channel : int
        Channel, from 0.

    Returns
    -------
    levels : list of Levels
        One for each image.
    full : list of int
        Numbers of the images that took the background of the others.
    """
    inner = [[part.planes[channel][part.inner].astype(np.float64) for part in parts] for parts in images]
    varied = [i for i, planes in enumerate(inner) if any(plane.min() < plane.max() for plane in planes)]
    noise = float(np.median([np.median([noise_level(plane) for plane in inner[i]]) for i in varied]))
    steps = [step for i in varied for step in map(rounding_of, inner[i]) if step > 0.0]
    least = min(steps)
    deviation = float(np.sqrt(np.mean([np.mean([plane.var() for plane in inner[i]]) for i in varied])))
    del inner
    blur = WIDEST
    for _ in range(LOOKS):
        typical = look_at(images, channel, blur, least).typical
        contrast = typical if typical > 0.0 else deviation
        blur = blur_for(noise, NOISE_LEFT * contrast)
    look = look_at(images, channel, blur, least)
    usual = np.median(look.backgrounds[varied], axis=0)
    full = [i for i in varied if look.backgrounds[i, 0] - usual[0] > 0.5 * look.typical > 0.0]
    backgrounds = look.backgrounds.copy()
    backgrounds[full] = usual
    scale = max(EVEN * look.spread, look.typical / TYPICAL)
    levels = [
        Levels(noise, contrast, blur, background, look.spread, look.first, look.typical, scale)
        for background in backgrounds
    ]
    return levels, full
