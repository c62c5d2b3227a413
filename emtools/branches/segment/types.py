"""What the modules of ``emtools segment`` pass to one another: options, what is modelled, a method's answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from emtools.branches.options import RunOptions
from emtools.engine.protocol import Floats
from emtools.errors import InputError

if TYPE_CHECKING:
    from emtools.engine.result import Fit
    from emtools.io.images import Image
    from emtools.models.mixture import Family
    from emtools.segmenting.field import Segmented

RGB = ("red", "green", "blue")
MOST_CLASSES = 16


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools segment``; the fields are those of the command line.

    Parameters
    ----------
    input : Path
        TIFF, OME-TIFF or PNG with one plane.
    model : {"field", "mixture"}
        What gives the answer: a random field, or a mixture of pixels that are independent.
    components : int
        Number of classes K, 2 to 16.
    family : {"full", "tied", "diagonal", "spherical"}
        Covariances of the mixture.
    weights : {"equal", "free"}
        Whether a class of the mixture has the same weight however few its pixels are.
    channel : int or None
        Channel, from 0, whose mean orders the classes; the first that varies by default.
    smooth : float
        Sigma in pixels of the blurred feature of the mixture.
    smallest : int
        Area in pixels of the smallest object kept.
    pixel_size : float or None
        Side of a pixel in µm; from the file by default.
    truth : Path or None
        Label image with the true objects.
    """

    input: Path
    model: Literal["field", "mixture"] = "field"
    components: int = 2
    family: Family = "tied"
    weights: Literal["equal", "free"] = "equal"
    channel: int | None = None
    smooth: float = 1.0
    smallest: int = 30
    pixel_size: float | None = None
    truth: Path | None = None


@dataclass(frozen=True)
class Pixels:
    """What is modelled.

    Parameters
    ----------
    image : Image
        The image.
    channel : int
        Position in ``image.values`` of the channel that orders the classes.
    features : ndarray, shape (n_pixels, d)
        One row per pixel.
    names : tuple of str
        Names of the features, d of them.
    truth : ndarray of int, shape (n_rows, n_columns), or None
        True objects.
    """

    image: Image
    channel: int
    features: Floats
    names: tuple[str, ...]
    truth: npt.NDArray[np.integer[Any]] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        n_rows, n_columns = self.image.values.shape[1:]
        return n_rows, n_columns

    @property
    def plane(self) -> npt.NDArray[Any]:
        """Intensities of the channel that orders the classes."""
        return np.asarray(self.image.values[self.channel])

    @property
    def brightest(self) -> str:
        """What the last class is called: with several channels, by the one that decides."""
        if len(self.image.channels) == 1:
            return "brightest class"
        return f"class brightest in {self.image.channels[self.channel]}"

    @property
    def colours(self) -> npt.NDArray[Any] | None:
        """Red, green and blue where these are the channels, shape (n_rows, n_columns, 3)."""
        return np.moveaxis(self.image.values, 0, -1) if self.image.channels == RGB else None


@dataclass(frozen=True)
class Method:
    """A segmentation by one method.

    Parameters
    ----------
    name : str
        For tables and figures.
    boundary : str
        Shape of its boundary in feature space.
    foreground : ndarray of bool, shape (n_rows, n_columns)
        Pixels of the brightest class.
    objects : ndarray of int, shape (n_rows, n_columns)
        Separate objects.
    fit : Fit or None
        The mixture or the random field; None for a threshold.
    posterior : ndarray, shape (K, n_rows, n_columns), or None
        Probability of each class, of a soft method.
    field : Segmented or None
        What else there is of a random field.
    """

    name: str
    boundary: str
    foreground: npt.NDArray[np.bool_]
    objects: npt.NDArray[np.int32]
    fit: Fit[Any, Any] | None = None
    posterior: npt.NDArray[np.floating[Any]] | None = None
    field: Segmented | None = None

    @property
    def sees_features(self) -> bool:
        """Whether it divides the space of the features, so that its boundary can be drawn there."""
        return self.fit is not None and self.field is None


def require_classes(n_classes: int) -> None:
    """Refuse a number of classes that is out of range."""
    if not 2 <= n_classes <= MOST_CLASSES:
        raise InputError("--components", f"{n_classes}", f"2 to {MOST_CLASSES} classes")
