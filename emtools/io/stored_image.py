"""What every reader of an image gives: its array as it lies in the file, if that is neither empty nor too large."""

from __future__ import annotations

import lzma
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from emtools.errors import InputError

LARGEST = 2**30  # values, all channels together
DAMAGE = (
    OSError, ValueError, IndexError, KeyError, TypeError, OverflowError, ZeroDivisionError, struct.error, zlib.error,
    RuntimeError, AttributeError, MemoryError, lzma.LZMAError,
)  # fmt: skip

Size = tuple[float, float]


@dataclass(frozen=True)
class Stored:
    """An array as it lies in a file or several: axes such as ``"CYX"``, channel names (may be empty), pixel size in µm."""

    values: npt.NDArray[Any]
    axes: str
    channels: tuple[str, ...] = ()
    pixel_size: Size | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def require_size(path: Path, shape: Sequence[int]) -> None:
    """Refuse what holds no pixel, and what is too large before memory is taken for it."""
    if not math.prod(shape):
        raise InputError(str(path), f"{' x '.join(map(str, shape))} values", "pixels", "copy or export it again")
    if math.prod(shape) > LARGEST:
        raise InputError(
            str(path),
            f"{' x '.join(map(str, shape))} values",
            f"at most {LARGEST:,}, all channels together",
            "crop it or scale it down",
        )
