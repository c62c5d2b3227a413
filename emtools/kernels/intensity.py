"""Levels of a micrograph: its noise, the level of its background, and intensities on a scale where both are even.

An image has ``R`` rows and ``C`` columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu

from emtools.kernels.field import POWERS, grid

Floats = npt.NDArray[np.float64]

# Noise that is left after the blur, as a share of the contrast, for which the blur is chosen.
NOISE_LEFT = 1.0 / 16.0
OPTICS = 0.5  # blur in pixels that a micrograph has already, so that little noise asks for none
NARROWEST, WIDEST = 0.5, 3.0  # blur, pixels
# The blur of outlines is at most this share of the radius of the typical object, but leaves no more noise than that share of its height.
KEEN, NOISE_OF_OUTLINES = 1.0 / 5.0, 1.0 / 6.0
LOOKS = 2  # at the contrast: after the widest blur, and after the one that it asks for
# Spreads of the background at which the logarithm takes over from the straight line: for the start, and for the fit.
FIRST, EVEN = 6.0, 12.0
FLATTEST = 128.0  # contrast over the least scale of the start
TYPICAL = 4.0  # distance of the typical object over the least scale of the fit
HIGHEST = 3.0  # scaled intensity at which it ends: what is brighter tells no more
SIDE = 96  # pixels on the shorter side of the image on which the background is fitted
BINS = 256
ROUNDS = 15
FAR = 1e-3  # weight of the typical height in that of the objects around a pixel
ABOVE = 2.0  # spreads above the background from which a pixel is something else


@dataclass(frozen=True)
class Levels:
    """What `stabilise` needs of a plane.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise of a pixel, in the unit of the image.
    contrast : float
        Typical distance of what is bright from the background, after about that blur.
    blur : float
        Sigma in pixels.
    background : ndarray, shape (6,)
        Coefficients of 1, row, column, row², row × column and column², on `emtools.kernels.field.grid`.
    spread : float
        Standard deviation of the blurred background, from what lies below it.
    first : float
        Distance from the background at which the logarithm takes over for the start.
    typical : float
        Median distance from the background of what the start calls bright.
    scale : float
        Distance from the background at which the logarithm takes over for the fit.
    """

    noise: float
    contrast: float
    blur: float
    background: Floats
    spread: float
    first: float
    typical: float
    scale: float


def noise_level(plane: Floats) -> float:
    """Standard deviation of the noise of a pixel, from second differences, which cancel what is smooth.

    The median of their size is taken, so that edges do not count.

    Parameters
    ----------
    plane : ndarray, shape (R, C)
        Intensities; 3 rows and columns at least.

    References
    ----------
    Immerkær (1996), Comput. Vis. Image Underst. 64, 300-302, doi:10.1006/cviu.1996.0060, eq. 4.
    """
    mask = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]) / 6.0
    differences = ndimage.convolve(plane, mask, mode="reflect")[1:-1, 1:-1]
    return float(np.median(np.abs(differences)) / 0.6744897501960817)


def contrast_of(plane: Floats) -> float:
    """Mean above Otsu's threshold less the mean below it; 0 for a constant plane."""
    if plane.min() == plane.max():
        return 0.0
    above = plane > threshold_otsu(plane)  # type: ignore[no-untyped-call]
    return float(plane[above].mean() - plane[~above].mean())


def commonest(values: Floats) -> float:
    """The highest place of a smoothed histogram, outside the brightest hundredth."""
    low, high = float(values.min()), float(np.percentile(values, 99.0))
    if not high > low:
        return low
    counts, edges = np.histogram(values, BINS, (low, high))
    best = int(ndimage.gaussian_filter1d(counts.astype(np.float64), 2.0).argmax())
    return float(0.5 * (edges[best] + edges[best + 1]))


def terms(n_rows: int, n_columns: int, step: int = 1) -> Floats:
    """Terms of a polynomial of degree 2 at every `step`-th pixel, shape (n_pixels, 6)."""
    rows, columns = grid(n_rows, n_columns)
    return terms_at(rows[::step], columns[::step])


def terms_at(rows: Floats, columns: Floats) -> Floats:
    """Terms of a polynomial of degree 2 at these places, shape (r * c, 6)."""
    rows, columns = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([(rows**a * columns**b).ravel() for a, b in POWERS], axis=1)


def rounding_of(plane: Floats) -> float:
    """Standard deviation that rounding to its grey values gives an image, ``step / √12``; 0 for one value only.

    Parameters
    ----------
    plane : ndarray
        Intensities as they are; the step is the least difference between two of them.
    """
    steps = np.diff(np.unique(plane))
    return float(steps.min() / np.sqrt(12.0)) if steps.size else 0.0


def background_of(plane: Floats) -> tuple[Floats, float]:
    """Level of the background as a smooth polynomial, and its spread.

    Least squares on the pixels that are at most two spreads above it, in turn, from the commonest value on.

    Parameters
    ----------
    plane : ndarray, shape (R, C)
        Blurred intensities.

    Returns
    -------
    background : ndarray, shape (6,)
        Coefficients as in `Levels`.
    spread : float
        Root mean square of the distances below it.
    """
    step = max(1, min(plane.shape) // SIDE)
    return smooth_below(terms(plane.shape[0], plane.shape[1], step), plane[::step, ::step].ravel())


def smooth_below(design: Floats, values: Floats) -> tuple[Floats, float]:
    """As `background_of`, from values (n,) and the terms of the polynomial at their places (n, 6)."""
    background = np.zeros(len(POWERS))
    background[0] = commonest(values)
    spread = spread_below(values - background[0])
    ridge = 1e-6 * len(values) * np.eye(len(POWERS))
    for _ in range(ROUNDS):
        level = background[0]
        kept = values - design @ background < ABOVE * spread
        rows = design[kept]
        background = np.linalg.solve(rows.T @ rows + ridge, rows.T @ (values[kept] - level))
        background[0] += level
        spread = spread_below(values - design @ background)
    return background, spread


def surface(background: Floats, shape: tuple[int, ...]) -> Floats:
    """Level of the background at each pixel, shape (R, C)."""
    return surface_at(background, *grid(shape[0], shape[1]))


def surface_at(background: Floats, rows: Floats, columns: Floats) -> Floats:
    """Level of the background at these places of rows (r,) and columns (c,), as `grid` gives them; shape (r, c)."""
    across = background[0] + background[2] * columns + background[5] * columns**2
    down = background[1] * rows + background[3] * rows**2
    return np.asarray((down[:, None] + across) + background[4] * rows[:, None] * columns)


def spread_below(deviations: Floats) -> float:
    """Root mean square of the negative deviations; the smallest positive number where there are none."""
    below = deviations[deviations < 0.0]
    return float(np.sqrt(np.square(below).mean())) if below.size else float(np.finfo(np.float64).tiny)


def typical_distance(blurred: Floats, least: float = 0.0) -> tuple[Floats, float, float, float]:
    """Background, its spread, the scale of the start, and how far from the background what is bright there typically lies.

    Bright is the upper of two clusters on a scale so logarithmic that few very bright objects do not hide the others.

    Parameters
    ----------
    blurred : ndarray, shape (R, C)
        Intensities, not all equal.
    least : float
        Least spread: below the rounding of the grey values nothing can be read, as where a background was cut at 0.
    """
    background, spread = background_of(blurred)
    spread = max(spread, least)
    distances = blurred - surface(background, blurred.shape)
    first = max(FIRST * spread, contrast_of(blurred) / FLATTEST)
    scaled = np.minimum(np.arcsinh(distances / first), HIGHEST)
    bright = distances[scaled > separated_means(scaled.ravel(), 2).mean()]
    return background, spread, first, float(np.median(bright)) if bright.size else 0.0


def levels_of(plane: npt.NDArray[Any]) -> Levels:
    """Noise, blur, background and scale of a plane, from the plane alone.

    Parameters
    ----------
    plane : ndarray, shape (R, C)
        Intensities, not all equal.

    Returns
    -------
    Levels
    """
    values = plane.astype(np.float64)
    noise, least = noise_level(values), rounding_of(values)
    blur = WIDEST
    for _ in range(LOOKS):
        contrast = typical_distance(ndimage.gaussian_filter(values, blur, mode="reflect"), least)[3]
        contrast = contrast if contrast > 0.0 else float(values.std())
        blur = blur_for(noise, NOISE_LEFT * contrast)
    blurred = ndimage.gaussian_filter(values, blur, mode="reflect")
    background, spread, first, typical = typical_distance(blurred, least)
    return Levels(noise, contrast, blur, background, spread, first, typical, max(EVEN * spread, typical / TYPICAL))


def blur_for(noise: float, left: float) -> float:
    """Blur in pixels that brings white noise of a standard deviation down to `left`, within bounds.

    Noise of unit variance keeps 1 / (4 π sigma²) of its variance after a Gaussian blur.
    """
    asked = noise / (left * np.sqrt(4.0 * np.pi))
    return float(np.clip(np.sqrt(max(asked**2 - OPTICS**2, 0.0)), NARROWEST, WIDEST))


def keener(levels: Levels, radius: float) -> Levels:
    """Levels for outlines: a blur that finds small objects under noise is wider than they bear.

    Parameters
    ----------
    levels : Levels
        Of a plane.
    radius : float
        Of the typical object, pixels.

    Returns
    -------
    Levels
        With a blur that is not above that of `levels`.
    """
    least = blur_for(levels.noise, NOISE_OF_OUTLINES * max(levels.typical, levels.first))
    return replace(levels, blur=min(levels.blur, max(KEEN * radius, least)))


def distances_of(plane: npt.NDArray[Any], levels: Levels) -> Floats:
    """Blurred intensity above the background, shape (R, C)."""
    blurred = ndimage.gaussian_filter(plane.astype(np.float64), levels.blur, mode="reflect")
    return np.asarray(blurred - surface(levels.background, plane.shape))


def stabilise(plane: npt.NDArray[Any], levels: Levels) -> Floats:
    """Blurred intensity above the background, on a scale that is straight near it and logarithmic far above.

    ``asinh((blurred - background) / scale)``, at most `HIGHEST`: the noise of the background keeps its size whatever that is, and an object
    twice as bright as another lies log 2 above it, as it does under an illumination half as strong.

    Parameters
    ----------
    plane : ndarray, shape (R, C)
        Intensities.
    levels : Levels
        Of this plane.

    Returns
    -------
    ndarray, shape (R, C)
        0 at the background.

    References
    ----------
    Huber et al. (2002), Bioinformatics 18, S96-S104, doi:10.1093/bioinformatics/18.suppl_1.S96, eq. 6 (the arsinh as
    stabiliser where noise is partly additive, partly proportional).
    """
    return np.asarray(np.minimum(np.arcsinh(distances_of(plane, levels) / levels.scale), HIGHEST))


def local_heights(distances: Floats, shares: npt.NDArray[np.floating[Any]], sigma: float, levels: Levels) -> Floats:
    """How far above the background the objects around each pixel lie: a mean over their pixels, the near ones first.

    Pixels weigh by their own distance as well (a contraharmonic mean), so that it hardly matters how much of the border,
    which is dark, the shares take in.

    Parameters
    ----------
    distances : ndarray, shape (R, C)
        Blurred intensity above the background.
    shares : ndarray, shape (R, C)
        Probability of each pixel to be of an object; a pixel that is likelier of none does not count.
    sigma : float
        Of the Gaussian weights of the mean, in pixels.
    levels : Levels
        Of the plane: the typical height, which holds where no object is near, and the scale of the start, which is the least.

    Returns
    -------
    ndarray, shape (R, C)
    """
    weights = np.where(shares > 0.5, shares * np.maximum(distances, 0.0), 0.0)
    near = ndimage.gaussian_filter(weights, sigma, mode="reflect") + FAR * levels.typical
    sums = ndimage.gaussian_filter(weights * distances, sigma, mode="reflect") + FAR * levels.typical**2
    return np.maximum(sums / near, levels.first)


def rescaled(values: Floats, levels: Levels) -> Floats:
    """What `stabilise` gave, on the scale of the start."""
    return np.asarray(np.minimum(np.arcsinh(np.sinh(values) * (levels.scale / levels.first)), HIGHEST))


def separated_means(values: Floats, n_classes: int) -> Floats:
    """Means of K-means clusters along a line, from an even start between the darkest and the brightest thousandth.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers, not all equal.
    n_classes : int
        Clusters K, at least 2.

    Returns
    -------
    ndarray, shape (K,)
        Ascending.
    """
    counts, edges = np.histogram(values, 4 * BINS)
    middles, held = 0.5 * (edges[1:] + edges[:-1]), counts.astype(np.float64)
    low, high = np.percentile(values, [0.1, 99.9])
    means = np.linspace(low, high, 2 * n_classes + 1)[1::2]
    for _ in range(4 * BINS):
        nearest = np.abs(middles[:, None] - means).argmin(axis=1)
        totals = np.bincount(nearest, held, n_classes)
        sums = np.bincount(nearest, held * middles, n_classes)
        new = np.where(totals > 0.0, sums / np.maximum(totals, 1.0), means)
        if np.array_equal(new, means):
            break
        means = new
    return np.sort(means)
