"""One random field for the images of a batch: its scale, its start and its fit from all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from emtools.engine.certificate import certify
from emtools.engine.chunks import ListSource
from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.engine.starts import fit
from emtools.kernels.field import whole
from emtools.kernels.intensity import Levels, keener
from emtools.kernels.pixels import CONNECTED, typical_radius
from emtools.models.random_field import FieldParams, Plane, RandomField, Remembered
from emtools.segmenting.field import (
    COUPLING,
    SPECK,
    by_heights,
    first_params,
    jitter_of,
    outlined,
    upper_bound,
)
from emtools.segmenting.pooled import Images, pooled_levels
from emtools.segmenting.predicting import Predictor, apart, scaled

START_PIXELS = 2**21  # on which K-means starts the fit, about


@dataclass(frozen=True)
class FittedBatch:
    """A random field fitted to a batch.

    Parameters
    ----------
    fit : Fit
        With the certificate of the mixture given its neighbours; the shares of the pixels are forgotten.
    levels : list of tuple of Levels
        By image, then channel.
    radius : float
        Of the typical object, pixels.
    full : list of int
        Numbers of the images that took the background of the others.
    n_pixels : int
        Pixels that were fitted.
    values : ndarray, shape (d, n)
        Some of what was modelled, for a figure.
    shares : ndarray, shape (K,)
        Mean share of each class.
    outlines : Fit, optional
        Of two classes: the field on the scale of the heights of the objects, which says where their borders lie.
    upper : float, optional
        What the log-likelihood of the pixels that were fitted is at most, nats.
    """

    fit: Fit[FieldParams, Any]
    levels: list[tuple[Levels, ...]]
    radius: float
    full: list[int]
    n_pixels: int
    values: Floats
    shares: Floats
    outlines: Fit[FieldParams, Any] | None = None
    upper: float | None = None

    @property
    def jitter(self) -> float:
        """Sigma in pixels of the average of the shares."""
        return jitter_of(self.radius)

    @property
    def blurs(self) -> tuple[float, ...]:
        """Of the outlines, pixels, by channel; empty where there are none."""
        return () if self.outlines is None else tuple(keener(level, self.radius).blur for level in self.levels[0])

    def predictor(self, image: int) -> Predictor:
        """What gives the classes of the pixels of an image."""
        outlines = None if self.outlines is None else self.outlines.params
        return Predictor(self.fit.model, self.fit.params, self.levels[image], self.radius, outlines)


def fit_batch(
    images: Images, n_classes: int, *, order_by: int = 0, certificate: bool = True, **climbing: Any
) -> FittedBatch:
    """Fit one random field to the images of a batch.

    The classes, their variances and the illumination are the same in all images; each has a background of its own.
    Of two classes, `outlined` then moves the borders; the heights in a part are those of its own objects.

    Parameters
    ----------
    images : sequence of sequences of Part
        Parts of each image, of d channels; each channel varies in one image at least.
    n_classes : int
        Classes K.
    order_by : int
        Channel whose means order the classes upwards.
    certificate : bool
        Whether the curvature at the end is looked at.
    **climbing
        Arguments of `emtools.engine.starts.fit`.

    Raises
    ------
    InputError
        If there are more classes than the intensities fall into.
    """
    n_channels = len(images[0][0].planes)
    by_channel, held = zip(*(pooled_levels(images, channel) for channel in range(n_channels)), strict=True)
    levels = list(zip(*by_channel, strict=True))
    planes: list[Plane] = []
    for parts, ours in zip(images, levels, strict=True):
        for part in parts:
            distances = apart(part.planes, ours, part.place, part.inner)
            planes.append(Plane(scaled(distances, ours), len(planes), place=part.place))
    n_pixels = sum(plane.values[0].size for plane in planes)
    model = RandomField(n_classes, n_channels, COUPLING, order_by=order_by)
    step = max(1, n_pixels // START_PIXELS)
    some = np.concatenate([plane.values.reshape(n_channels, -1)[:, ::step] for plane in planes], axis=1)
    start = first_params(model, some[:, None, :], levels[0])
    more = climbing | {"accelerate": False, "look": False, "certificate": False}
    fitted = fit(model, ListSource(planes, len(planes)), init=[start], **more)
    memory = fitted.params.memory
    if certificate:
        given = [model.neighbours(memory, plane) for plane in planes]
        fitted = replace(fitted, certificate=certify(model, ListSource(given, len(given)), fitted.params, errors=True))
        del given
    upper = upper_bound(fitted, planes) if certificate else None
    areas, totals = [], np.zeros(n_classes)
    for plane in planes:
        shares = whole(memory.shares[plane.number], plane.shape[1])
        totals += shares.sum(axis=(1, 2), dtype=np.float64)
        parts, _ = ndimage.label(shares.argmax(axis=0) == n_classes - 1, structure=CONNECTED)
        areas.append(np.bincount(parts.ravel())[1:])
    radius, outlines = typical_radius(np.concatenate(areas), SPECK), None
    if n_classes == 2 and radius > 0.0:
        del planes
        values: list[Floats] = []
        for parts, ours in zip(images, levels, strict=True):
            for part in parts:
                shares = whole(memory.shares[len(values)], part.place[1].size)
                distances = apart(part.planes, tuple(keener(level, radius) for level in ours), part.place, part.inner)
                values.append(by_heights(distances, shares[1], ours, radius))
        outlines = forgetful(outlined(values, fitted, levels[0][order_by], **more))
    full = sorted({image for numbers in held for image in numbers})
    mean = totals / totals.sum()
    return FittedBatch(forgetful(fitted), levels, radius, full, n_pixels, some, mean, outlines, upper)


def forgetful(found: Fit[FieldParams, Any]) -> Fit[FieldParams, Any]:
    """A fit without the shares of the pixels."""
    nothing = Remembered()
    return replace(found, params=replace(found.params, memory=nothing), stats=replace(found.stats, memory=nothing))
