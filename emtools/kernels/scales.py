"""Monotone transforms of a marker to the scale of a model, and back."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Scale(Protocol):
    """A strictly increasing transform of one marker."""

    @property
    def name(self) -> str:
        """One of "none", "log", "logit", "rank-normal" or "yeo-johnson"."""
        ...

    def forward(self, values: Floats) -> Floats:
        """Values in the units of the table to the scale of the model; NaN stays NaN, infinite bounds stay infinite."""
        ...

    def inverse(self, scaled: Floats) -> Floats:
        """Back to the units of the table."""
        ...
