"""bedGraph in: values along records, as series of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.fasta import read_bytes
from emtools.io.intervals import SKIPPED

MISSING = ("NA", "NaN", "nan", ".")
MOST_FILLED = 4  # steps to a value, beyond which gaps between values of equal width are not filled with steps


@dataclass(frozen=True)
class ValueTrack:
    """Values along a record, in ascending order.

    Parameters
    ----------
    name : str
        Record (chromosome).
    starts, ends : ndarray of int64, shape (T,)
        0-based, half-open; they do not overlap.
    values : ndarray, shape (T,)
        NaN where not observed.
    """

    name: str
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)


def read_bedgraph(path: Path) -> list[ValueTrack]:
    """Read a bedGraph file, plain or gzip.

    Parameters
    ----------
    path : Path
        Four columns: record, start, end, value; ``NA``, ``nan`` or ``.`` for a value that was not observed.

    Returns
    -------
    list of ValueTrack
        Records in the order of the file, each sorted; at least one observed value.

    Raises
    ------
    InputError
        If the file is not bedGraph, intervals overlap, a value is infinite, or none is observed.
    """
    rows: dict[str, list[tuple[int, int, float, int]]] = {}
    for number, raw in enumerate(read_bytes(path, "bedGraph").split(b"\n"), start=1):
        line = raw.decode("utf-8", "replace").rstrip()
        if line and not line.startswith(SKIPPED):
            name, *row = parse_value(line, f"{path}: line {number}")
            rows.setdefault(name, []).append((*row, number))  # type: ignore[arg-type]
    tracks = []
    for name, held in rows.items():
        held.sort()
        starts, ends, numbers = (np.array([row[i] for row in held], dtype=np.int64) for i in (0, 1, 3))
        overlap = np.flatnonzero(starts[1:] < ends[:-1])
        if overlap.size:
            first, second = numbers[overlap[0]], numbers[overlap[0] + 1]
            raise InputError(
                f"{path}: line {max(first, second)}",
                f"overlaps line {min(first, second)} on {name!r}",
                "intervals that do not overlap",
                "merge the values of a place first",
            )
        tracks.append(ValueTrack(name, starts, ends, np.array([row[2] for row in held])))
    if not any(np.isfinite(track.values).any() for track in tracks):
        raise InputError(str(path), "no value", "lines with record, start, end and a number", "is it a bedGraph file?")
    return tracks


def parse_value(line: str, place: str) -> tuple[str, int, int, float]:
    """One line of a bedGraph file."""
    fields = line.split()
    if len(fields) != 4:
        raise InputError(place, f"{len(fields)} columns", "4: record, start, end, value", "is it a bedGraph file?")
    name, first, last, text = fields
    try:
        start, end = int(first), int(last)
        value = math.nan if text in MISSING else float(text)
    except ValueError:
        raise InputError(
            place, f"{line[:60]!r}", "whole start and end, and a number", "is it a bedGraph file?"
        ) from None
    if not 0 <= start < end < 2**62:
        raise InputError(place, f"start {start}, end {end}", "0 <= start < end (0-based, half-open)")
    if math.isinf(value):
        raise InputError(place, "an infinite value", "a finite number, or NA")
    return name, start, end, value


def common_width(tracks: Sequence[ValueTrack]) -> int | None:
    """The width of bins that lie on a grid, the last of a record excepted; None where there is no such grid."""
    width = int(np.median(np.concatenate([track.ends - track.starts for track in tracks])))
    for track in tracks:
        widths = track.ends - track.starts
        if (widths[:-1] != width).any() or widths[-1] > width or ((track.starts - track.starts[0]) % width).any():
            return None
    steps = sum(int((track.starts[-1] - track.starts[0]) // width) + 1 for track in tracks)
    return width if steps <= MOST_FILLED * sum(map(len, tracks)) else None


def on_grid(track: ValueTrack, width: int) -> ValueTrack:
    """The same track with a step in every bin of the grid; NaN where the file has none."""
    places = (track.starts - track.starts[0]) // width
    starts = track.starts[0] + width * np.arange(places[-1] + 1)
    ends, values = starts + width, np.full(len(starts), np.nan)
    ends[-1], values[places] = track.ends[-1], track.values
    return ValueTrack(track.name, starts, ends, values)
