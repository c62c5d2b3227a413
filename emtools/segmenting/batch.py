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
from emtools.kernels.intensity import Levels
from emtools.kernels.pixels import CONNECTED
from emtools.models.random_field import FieldParams, Plane, RandomField, Remembered
from emtools.segmenting.field import COUPLING, first_params, jitter_of
from emtools.segmenting.pooled import Images, pooled_levels
from emtools.segmenting.predicting import Predictor, scaled

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
    jitter : float
        Sigma in pixels of the average of the shares, an eighth of the radius of the typical object, 1 to 8 pixels.
    full : list of int
        Numbers of the images that took the background of the others.
    n_pixels : int
        Pixels that were fitted.
    values : ndarray, shape (d, n)
        Some of what was modelled, for a figure.
    shares : ndarray, shape (K,)
        Mean share of each class.
    """

    fit: Fit[FieldParams, Any]
    levels: list[tuple[Levels, ...]]
    jitter: float
    full: list[int]
    n_pixels: int
    values: Floats
    shares: Floats

    def predictor(self, image: int) -> Predictor:
        """What gives the classes of the pixels of an image."""
        return Predictor(self.fit.model, self.fit.params, self.levels[image], self.jitter)


def fit_batch(
    images: Images, n_classes: int, *, order_by: int = 0, certificate: bool = True, **climbing: Any
) -> FittedBatch:
    """Fit one random field to the images of a batch.

    The classes, their variances and the illumination are the same in all images; each has a background of its own.

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
            planes.append(Plane(scaled(part.planes, ours, part.place, part.inner), len(planes), place=part.place))
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
    areas, totals = [], np.zeros(n_classes)
    for plane in planes:
        shares = whole(memory.shares[plane.number], plane.shape[1])
        totals += shares.sum(axis=(1, 2), dtype=np.float64)
        parts, _ = ndimage.label(shares.argmax(axis=0) == n_classes - 1, structure=CONNECTED)
        areas.append(np.bincount(parts.ravel())[1:])
    fitted = replace(fitted, params=replace(fitted.params, memory=Remembered()))
    full = sorted({image for numbers in held for image in numbers})
    jitter = jitter_of(np.concatenate(areas))
    return FittedBatch(fitted, levels, jitter, full, n_pixels, some, totals / totals.sum())
