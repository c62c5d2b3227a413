"""A random field over an image: scale, start and blur from the image alone, the fit, and what its curvature says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from emtools.engine.certificate import certify
from emtools.engine.chunks import ListSource
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.kernels.field import whole
from emtools.kernels.field_bound import field_bound
from emtools.kernels.intensity import (
    HIGHEST,
    Levels,
    distances_of,
    keener,
    levels_of,
    local_heights,
    rescaled,
    separated_means,
    stabilise,
)
from emtools.kernels.pixels import CONNECTED, typical_radius
from emtools.models.random_field import FieldParams, Plane, RandomField

COUPLING = 1.0
# Where an outline lies is not known better than to a share of the radius of the typical object, nor to a pixel.
JITTER, LEAST, MOST = 1.0 / 12.0, 1.0, 8.0
SPECK = 30  # pixels below which a part of the brightest class is no object
NEAR = 0.5  # share of the radius of the typical object over which heights are averaged


@dataclass(frozen=True)
class Segmented:
    """A random field fitted to an image.

    Parameters
    ----------
    fit : Fit
        With the certificate of the mixture given its neighbours.
    levels : tuple of Levels
        Of each channel.
    values : ndarray, shape (d, R, C)
        What was modelled.
    posterior : ndarray of float32, shape (K, R, C)
        Probability of each class at each pixel: `softened` shares of the field of the outlines.
    jitter : float
        Sigma of that average, a twelfth of the radius of the typical object, 1 to 8 pixels.
    outlines : Fit, optional
        Of two classes: the field on the scale of the heights of the objects, which says where their borders lie.
    blurs : tuple of float
        Of that field, pixels, by channel; empty where there is none.
    """

    fit: Fit[FieldParams, Any]
    levels: tuple[Levels, ...]
    values: Floats
    posterior: npt.NDArray[np.float32]
    jitter: float
    outlines: Fit[FieldParams, Any] | None = None
    blurs: tuple[float, ...] = ()


def segment_planes(
    planes: npt.NDArray[Any],
    n_classes: int = 2,
    *,
    coupling: float = COUPLING,
    lit: bool = True,
    order_by: int = 0,
    certificate: bool = True,
    **climbing: Any,
) -> Segmented:
    """Fit a random field to an image.

    Each channel is brought to its scale by `emtools.kernels.intensity`; the start is K-means in the channel `order_by`, under
    an even illumination. Nothing is drawn at random. Of two classes, `outlined` then moves the borders.

    Parameters
    ----------
    planes : ndarray, shape (d, R, C)
        Intensities; no channel is constant.
    n_classes : int
        Classes K, at least 2.
    coupling : float
        Nats by which two neighbours of one class are likelier.
    lit : bool
        Whether an illumination is fitted.
    order_by : int
        Channel whose means order the classes upwards.
    certificate : bool
        Whether the curvature at the end is looked at.
    **climbing
        Arguments of `emtools.engine.starts.fit`.

    Returns
    -------
    Segmented

    Raises
    ------
    InputError
        If there are more classes than the intensities fall into.

    Examples
    --------
    >>> image = np.random.default_rng(0).poisson(20.0, (1, 40, 60))
    >>> image[0, 10:22, 10:25] += 60
    >>> found = segment_planes(image)
    >>> found.fit.status.value, found.fit.certificate.kind, found.posterior.argmax(axis=0)[15, 8:14].tolist()
    ('converged', 'maximum', [0, 0, 1, 1, 1, 1])
    """
    levels = tuple(levels_of(plane) for plane in planes)
    values = np.stack([stabilise(plane, level) for plane, level in zip(planes, levels, strict=True)])
    model = RandomField(n_classes, len(planes), coupling, lit, order_by=order_by)
    plane = Plane(values)
    more = climbing | {"accelerate": False, "look": False, "certificate": False}
    fitted = fit(model, ListSource([plane], 1), init=[first_params(model, values, levels)], **more)
    if certificate:
        given = model.neighbours(fitted.params.memory, plane)
        seen = certify(model, ListSource([given], 1), fitted.params, errors=True)
        fitted = replace(fitted, certificate=seen)
    shares = whole(fitted.params.memory.shares[0], plane.shape[1])
    parts, _ = ndimage.label(shares.argmax(axis=0) == n_classes - 1, structure=CONNECTED)
    radius = typical_radius(np.bincount(parts.ravel())[1:], SPECK)
    outlines, keen = None, []
    if n_classes == 2 and radius > 0.0:
        keen = [keener(level, radius) for level in levels]
        distances = np.stack([distances_of(plane, level) for plane, level in zip(planes, keen, strict=True)])
        outlines = outlined([by_heights(distances, shares[1], levels, radius)], fitted, levels[order_by], **more)
        shares = whole(outlines.params.memory.shares[0], plane.shape[1])
    posterior, blurs = softened(shares, jitter_of(radius)), tuple(level.blur for level in keen)
    return Segmented(fitted, levels, values, posterior, jitter_of(radius), outlines, blurs)


def upper_bound(fitted: Fit[FieldParams, Any], planes: Iterable[Plane]) -> float:
    """What the log-likelihood of images, or of parts of them, is at most, nats; ``log Z`` left out as in the fit's own."""
    model, params = fitted.model, fitted.params
    return sum(field_bound(model.log_density(params, plane), model.coupling) for plane in planes)


def by_heights(
    distances: Floats, shares: npt.NDArray[np.floating[Any]], levels: tuple[Levels, ...], radius: float
) -> Floats:
    """Distances from the background by the heights of the objects nearby, ``asinh(distance / height)``, at most `HIGHEST`.

    In a blurred image the border of an object lies at about half its height, that of a bright one far higher than
    that of a dim one: no level of the whole image finds both.

    Parameters
    ----------
    distances : ndarray, shape (d, R, C)
        Blurred intensity above the background.
    shares : ndarray, shape (R, C)
        Probability of each pixel to be of an object.
    levels : tuple of Levels
        Of each channel.
    radius : float
        Of the typical object, pixels.

    Returns
    -------
    ndarray, shape (d, R, C)
    """
    pairs = zip(distances, levels, strict=True)
    heights = np.stack([local_heights(plane, shares, NEAR * radius, level) for plane, level in pairs])
    return np.asarray(np.minimum(np.arcsinh(distances / heights), HIGHEST))


def outlined(
    values: list[Floats], found: Fit[FieldParams, Any], level: Levels, **climbing: Any
) -> Fit[FieldParams, Any]:
    """The field fitted again where an intensity counts by the height of the objects around it.

    On that scale the means of the two classes are known in the channel that orders them, so that a class does not drift into
    the noise where objects are rare.

    Parameters
    ----------
    values : list of ndarray, shapes (d, R, C)
        What `by_heights` gives of each image, or part of one, that `found` was fitted to.
    found : Fit
        Of two classes, with its shares.
    level : Levels
        Of the channel that orders the classes; of all images.
    **climbing
        Arguments of `emtools.engine.starts.fit`; nothing is written to `checkpoint`, which is that of `found`.

    Returns
    -------
    Fit
        Without an illumination; it goes on from the shares of `found`.
    """
    model: RandomField = replace(found.model, lit=False, known_means=(0.0, height_known(level)))
    memory = found.params.memory
    weights, sums, squares = np.zeros(2), np.zeros((2, model.n_channels)), np.zeros(model.n_channels)
    for number, plane in enumerate(values):
        shares = whole(memory.shares[number], plane.shape[2]).reshape(2, -1).astype(np.float64)
        weights += shares.sum(axis=1)
        sums += shares @ plane.reshape(model.n_channels, -1).T
    means = model.held(sums / weights[:, None])
    for number, plane in enumerate(values):
        nearest = whole(memory.shares[number], plane.shape[2]).argmax(axis=0)
        squares += np.square(plane - np.moveaxis(means[nearest], -1, 0)).sum(axis=(1, 2))
    start = replace(model.even(means, squares / sum(plane[0].size for plane in values)), memory=memory)
    planes = [Plane(plane, number) for number, plane in enumerate(values)]
    return fit(model, ListSource(planes, len(planes)), init=[start], **climbing | {"checkpoint": None})


def height_known(level: Levels) -> float:
    """Scaled intensity at the height of an object: ``asinh(1)``, but less where heights are held up by what is not noise.

    That is the rounding of grey values, or a background that is none: its spread is then larger than the noise, which a blur
    would have lessened.
    """
    held = level.noise < level.spread and level.typical > 0.0
    return float(np.arcsinh(min(1.0, level.typical / level.first) if held else 1.0))


def jitter_of(radius: float) -> float:
    """Sigma in pixels over which shares are averaged, from the radius of the typical object."""
    return float(np.clip(JITTER * radius, LEAST, MOST))


def softened(shares: npt.NDArray[np.float32], jitter: float) -> npt.NDArray[np.float32]:
    """Posterior from the shares (K, R, C) of a field: their fourth roots, scaled to sum to 1, averaged over `jitter` pixels.

    The mean field takes the four neighbours of a pixel for four witnesses, but they mostly say the same.
    """
    roots = np.sqrt(np.sqrt(shares))
    roots /= roots.sum(axis=0)
    return np.asarray(ndimage.gaussian_filter(roots, (0.0, jitter, jitter), mode="reflect"))


def first_params(model: RandomField, values: Floats, levels: tuple[Levels, ...]) -> FieldParams:
    """Means and variances of the clusters of K-means in the channel that orders the classes, on the scale of the start.

    `values` are (d, R, C).

    Raises
    ------
    InputError
        If a cluster has no pixels.
    """
    main = rescaled(values[model.order_by], levels[model.order_by])
    means = separated_means(main.ravel(), model.n_components)
    nearest = np.abs(main - means[:, None, None]).argmin(axis=0)
    if (np.bincount(nearest.ravel(), minlength=model.n_components) == 0).any():
        raise InputError("--components", f"{model.n_components} classes", "no more than the intensities fall into")
    centres = np.stack([values[:, nearest == k].mean(axis=1) for k in range(model.n_components)])
    variances = np.square(values - np.moveaxis(centres[nearest], -1, 0)).mean(axis=(1, 2))
    return model.even(centres, np.maximum(variances, np.finfo(np.float64).tiny))
