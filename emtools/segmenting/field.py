"""A random field over an image: scale, start and blur from the image alone, the fit, and what its curvature says."""

from __future__ import annotations

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
from emtools.kernels.intensity import (
    HIGHEST,
    Levels,
    distances_of,
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
        Probability of each class at each pixel: the shares of the field of the outlines, averaged over `jitter` pixels.
    jitter : float
        Sigma of that average, a twelfth of the radius of the typical object, 1 to 8 pixels.
    outlines : Fit, optional
        Of two classes: the field on the scale of the heights of the objects, which says where their borders lie.
    """

    fit: Fit[FieldParams, Any]
    levels: tuple[Levels, ...]
    values: Floats
    posterior: npt.NDArray[np.float32]
    jitter: float
    outlines: Fit[FieldParams, Any] | None = None


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
    areas = np.bincount(parts.ravel())[1:]
    radius = typical_radius(areas, SPECK)
    outlines = None
    if n_classes == 2 and radius > 0.0:
        outlines = outlined(planes, levels, fitted, radius, **more)
        shares = whole(outlines.params.memory.shares[0], plane.shape[1])
    jitter = jitter_of(areas)
    posterior = ndimage.gaussian_filter(shares, (0.0, jitter, jitter), mode="reflect")
    return Segmented(fitted, levels, values, posterior, jitter, outlines)


def outlined(
    planes: npt.NDArray[Any], levels: tuple[Levels, ...], found: Fit[FieldParams, Any], radius: float, **climbing: Any
) -> Fit[FieldParams, Any]:
    """The field fitted again where an intensity counts by the height of the objects around it.

    In a blurred image the border of an object lies at about half its height, that of a bright one far higher than
    that of a dim one: no level of the whole image finds both.

    Parameters
    ----------
    planes : ndarray, shape (d, R, C)
        Intensities.
    levels : tuple of Levels
        Of each channel.
    found : Fit
        Of two classes, with its shares.
    radius : float
        Of the typical object, pixels.
    **climbing
        Arguments of `emtools.engine.starts.fit`.

    Returns
    -------
    Fit
        Its values are ``asinh(distance from the background / height)``; it goes on from the shares of `found`.
    """
    model: RandomField = replace(found.model, lit=False)
    memory = found.params.memory
    shares = whole(memory.shares[0], planes.shape[2])
    values = np.empty(planes.shape)
    for c, (plane, level) in enumerate(zip(planes, levels, strict=True)):
        distances = distances_of(plane, level)
        heights = local_heights(distances, shares[1], NEAR * radius, level)
        values[c] = np.minimum(np.arcsinh(distances / heights), HIGHEST)
    weights = shares.reshape(2, -1).astype(np.float64)
    means = weights @ values.reshape(len(planes), -1).T / weights.sum(axis=1, keepdims=True)
    spread = values - np.moveaxis(means[shares.argmax(axis=0)], -1, 0)
    start = replace(model.even(means, np.square(spread).mean(axis=(1, 2))), memory=memory)
    return fit(model, ListSource([Plane(values)], 1), init=[start], **climbing)


def jitter_of(areas: npt.NDArray[np.integer[Any]]) -> float:
    """Sigma in pixels over which shares are averaged, from the areas of the parts of the brightest class."""
    return float(np.clip(JITTER * typical_radius(areas, SPECK), LEAST, MOST))


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
