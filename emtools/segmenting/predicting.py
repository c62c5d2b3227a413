"""Classes of the pixels of an image by a fitted random field, part by part, the same whatever the parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from emtools.engine.protocol import Floats
from emtools.kernels.field import by_colour, grid, sweep, whole
from emtools.kernels.intensity import HIGHEST, Levels, surface_at
from emtools.models.random_field import FieldParams, Plane, RandomField
from emtools.segmenting.sampling import MARGIN, Span, cut_out

SWEEPS = 32  # from the pixels alone; a sweep reaches two pixels further
WIDTHS = 4.0  # standard deviations at which an average over neighbours ends, as in scipy


def scaled(planes: npt.NDArray[Any], levels: tuple[Levels, ...], place: tuple[Floats, Floats], inner: Span) -> Floats:
    """What `emtools.kernels.intensity.stabilise` gives, for a part.

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
    values = []
    for plane, level in zip(planes, levels, strict=True):
        blurred = ndimage.gaussian_filter(plane.astype(np.float64), level.blur, mode="reflect")[inner]
        distances = blurred - surface_at(level.background, *place)
        values.append(np.minimum(np.arcsinh(distances / level.scale), HIGHEST))
    return np.stack(values)


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
    jitter : float
        Sigma in pixels of the average over neighbours.
    """

    model: RandomField
    params: FieldParams
    levels: tuple[Levels, ...]
    jitter: float

    @property
    def reach(self) -> int:
        """Pixels around a part that have a say in it, beyond the blur; even, as the checkerboard asks."""
        averaged = int(WIDTHS * self.jitter + 0.5)
        return 2 * SWEEPS + averaged + averaged % 2

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
        values = scaled(crop, self.levels, place, within)
        density = self.model.log_density(self.params, Plane(values, place=place))
        density -= density.max(axis=0)
        cut = by_colour(density)
        del density
        shares, n_columns = np.zeros_like(cut), values.shape[2]
        sweep(shares, cut, 0.0, n_columns)
        for _ in range(SWEEPS):
            sweep(shares, cut, self.model.coupling, n_columns)
        averaged = ndimage.gaussian_filter(whole(shares, n_columns), (0.0, self.jitter, self.jitter), mode="reflect")
        inner = [slice(s.start - w.start, s.stop - w.start) for s, w in zip(span, wide, strict=True)]
        return np.ascontiguousarray(averaged[:, inner[0], inner[1]])
