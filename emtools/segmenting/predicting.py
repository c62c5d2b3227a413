"""Classes of the pixels of an image by a fitted random field, part by part, the same whatever the parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from emtools.engine.protocol import Floats
from emtools.kernels.field import Singles, by_colour, grid, sweep, whole
from emtools.kernels.intensity import HIGHEST, Levels, keener, surface_at
from emtools.models.random_field import FieldParams, Plane, RandomField
from emtools.segmenting.field import NEAR, by_heights, jitter_of, softened
from emtools.segmenting.sampling import MARGIN, Span, cut_out

SWEEPS = 32  # from the pixels alone; a sweep reaches two pixels further
WIDTHS = 4.0  # standard deviations at which an average over neighbours ends, as in scipy


def reach_of(sigma: float) -> int:
    """Pixels that a Gaussian average reaches, or one more: even, as the checkerboard asks."""
    reach = int(WIDTHS * sigma + 0.5)
    return reach + reach % 2


def apart(planes: npt.NDArray[Any], levels: tuple[Levels, ...], place: tuple[Floats, Floats], inner: Span) -> Floats:
    """What `emtools.kernels.intensity.distances_of` gives, for a part; shape (d, r, c).

    Parameters
    ----------
    planes : ndarray, shape (d, r, c)
        Intensities with a margin.
    levels : tuple of Levels
        Of each channel.
    place : (ndarray, ndarray)
        Where the rows and columns of the part lie in the image.
    inner : (slice, slice)
        The part within `planes`.
    """
    distances = []
    for plane, level in zip(planes, levels, strict=True):
        blurred = ndimage.gaussian_filter(plane.astype(np.float64), level.blur, mode="reflect")[inner]
        distances.append(blurred - surface_at(level.background, *place))
    return np.stack(distances)


def scaled(distances: Floats, levels: tuple[Levels, ...]) -> Floats:
    """What `emtools.kernels.intensity.stabilise` gives, from the distances (d, r, c) from the background."""
    scales = np.array([level.scale for level in levels])
    return np.asarray(np.minimum(np.arcsinh(distances / scales[:, None, None]), HIGHEST))


def settled(model: RandomField, params: FieldParams, plane: Plane) -> Singles:
    """Shares (K, r, c) after a fixed number of sweeps, from the pixels alone."""
    density = model.log_density(params, plane)
    density -= density.max(axis=0)
    cut = by_colour(density)
    del density
    shares, n_columns = np.zeros_like(cut), plane.shape[1]
    sweep(shares, cut, 0.0, n_columns)
    sweep(shares, cut, model.coupling, n_columns, SWEEPS)
    return whole(shares, n_columns)


@dataclass(frozen=True)
class Predictor:
    """A fitted random field, ready for the parts of one image.

    A number of sweeps that is fixed lets a pixel depend on a neighbourhood that is bounded: with that much around it a part
    has the same bytes as in the whole image.

    Parameters
    ----------
    model : RandomField
        Of the fit.
    params : FieldParams
        Without memory.
    levels : tuple of Levels
        Of each channel of this image.
    radius : float
        Of the typical object, pixels.
    outlines : FieldParams, optional
        Of two classes: the second fit, on the scale of the heights of the objects nearby; without memory.
    """

    model: RandomField
    params: FieldParams
    levels: tuple[Levels, ...]
    radius: float
    outlines: FieldParams | None = None

    @property
    def jitter(self) -> float:
        """Sigma in pixels of the average over neighbours."""
        return jitter_of(self.radius)

    @property
    def reach(self) -> int:
        """Pixels around a part that have a say in it, beyond the blur; even."""
        fitted = 2 * SWEEPS + reach_of(self.jitter)
        return fitted if self.outlines is None else fitted + 2 * SWEEPS + reach_of(NEAR * self.radius)

    def posterior(self, planes: npt.NDArray[Any], span: Span) -> npt.NDArray[np.float32]:
        """Probability of each class at each pixel of a part.

        Parameters
        ----------
        planes : ndarray, shape (d, R, C)
            Intensities of the whole image.
        span : (slice, slice)
            Rows and columns of the part; both begin at an even number.

        Returns
        -------
        ndarray of float32, shape (K, r, c)
        """
        shape = planes.shape[1:]
        ends = [(max(0, s.start - self.reach), min(n, s.stop + self.reach)) for s, n in zip(span, shape, strict=True)]
        wide = (slice(*ends[0]), slice(*ends[1]))
        rows, columns = grid(*shape)
        place = (rows[wide[0]], columns[wide[1]])
        crop, within = cut_out(planes, wide, MARGIN)
        distances = apart(crop, self.levels, place, within)
        shares = settled(self.model, self.params, Plane(scaled(distances, self.levels), place=place))
        if self.outlines is not None:
            distances = apart(crop, tuple(keener(level, self.radius) for level in self.levels), place, within)
            values = by_heights(distances, shares[1], self.levels, self.radius)
            del distances
            shares = settled(replace(self.model, lit=False), self.outlines, Plane(values, place=place))
        averaged = softened(shares, self.jitter)
        inner = [slice(s.start - w.start, s.stop - w.start) for s, w in zip(span, wide, strict=True)]
        return np.ascontiguousarray(averaged[:, inner[0], inner[1]])
