"""Parts of images, with the margin that a filter needs, and the sample of them on which a batch is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.engine.protocol import Floats
from emtools.kernels.field import grid

Span = tuple[slice, slice]

FIT_PIXELS = 2**22  # pixels on which a batch is fitted, at most
SIDES = (16, 512)  # pixels on a side of a part of an image that is larger than its share of them
EACH_WAY = 4  # parts of it down and across at least, from edge to edge, so that its background is seen everywhere
MARGIN = 16  # pixels around a part, so that a blur sees what it would see in the whole image


@dataclass(frozen=True)
class Part:
    """A part of an image.

    Parameters
    ----------
    planes : ndarray, shape (d, r, c)
        Intensities as stored, with a margin where the image goes on.
    inner : (slice, slice)
        The part within `planes`.
    place : (ndarray, ndarray), shapes (n_rows,) and (n_columns,)
        Where its rows and columns lie in the whole image, as `emtools.kernels.field.grid` gives them.
    """

    planes: npt.NDArray[Any]
    inner: Span
    place: tuple[Floats, Floats]


def cut_out(planes: npt.NDArray[Any], span: Span, margin: int) -> tuple[npt.NDArray[Any], Span]:
    """A part of planes (d, R, C) with up to `margin` pixels around it, and where the part lies in that."""
    shape = planes.shape[1:]
    wide = [slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(span, shape, strict=True)]
    inner = [slice(s.start - w.start, s.stop - w.start) for s, w in zip(span, wide, strict=True)]
    return planes[:, wide[0], wide[1]], (inner[0], inner[1])


def part_of(planes: npt.NDArray[Any], span: Span) -> Part:
    """A part of planes (d, R, C); a copy where it is not the whole, so that the whole can be let go."""
    wide, inner = cut_out(planes, span, MARGIN)
    rows, columns = grid(*planes.shape[1:])
    return Part(wide if wide.shape == planes.shape else wide.copy(), inner, (rows[span[0]], columns[span[1]]))


def sampled_spans(shape: tuple[int, int], n_pixels: int) -> list[Span]:
    """Parts of an image of this shape that hold about `n_pixels`, spread evenly; the whole where that is not less.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    n_pixels : int
        At least one part is given, however few they are.
    """
    if n_pixels >= shape[0] * shape[1]:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    side = int(np.clip(np.sqrt(n_pixels) / EACH_WAY, *SIDES))
    n_parts = n_pixels / side**2
    down = max(EACH_WAY, round(np.sqrt(n_parts * shape[0] / shape[1])))
    across = max(EACH_WAY, int(n_parts / down))
    starts = []
    for n, count in zip(shape, (down, across), strict=True):
        places = np.linspace(0, n - min(side, n), min(count, n // min(side, n)))
        starts.append([(int(place), int(place) + min(side, n)) for place in places])
    return [(slice(*rows), slice(*columns)) for rows in starts[0] for columns in starts[1]]


def shares_of(shapes: list[tuple[int, int]], most: int) -> list[int]:
    """Pixels of each image that are fitted: all of them where they are at most `most` together, else in proportion."""
    counts = [n_rows * n_columns for n_rows, n_columns in shapes]
    total = sum(counts)
    return counts if total <= most else [count * most // total for count in counts]
