"""bedGraph and bigWig in: values along records, as series of steps."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.bigwig import read_rows
from emtools.io.fasta import read_bytes
from emtools.io.intervals import is_remark

MISSING = ("NA", "NaN", "nan", ".")
BIGWIG = (".bw", ".bigwig")
MOST_BINS = 2**25
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


def read_track(path: Path, names: Collection[str] | None = None) -> list[ValueTrack]:
    """Read a bedGraph or bigWig file, by its ending; values, errors and order as in `read_bedgraph`."""
    return read_bigwig(path, names) if path.suffix.lower() in BIGWIG else read_bedgraph(path, names)


def read_bigwig(path: Path, names: Collection[str] | None = None) -> list[ValueTrack]:
    """Read a bigWig file; records without a value are left out, and `names` are as in `read_bedgraph`.

    Raises
    ------
    InputError
        If it cannot be read, pybigtools is not installed, a value is infinite, or none is observed.
    """
    tracks = [ValueTrack(name, r["start"], r["end"], r["value"]) for name, r in read_rows(path, names).items()]
    for track in tracks:
        wrong = np.flatnonzero(np.isinf(track.values) | (track.starts >= track.ends))
        late = 1 + np.flatnonzero(track.starts[1:] < track.ends[:-1])
        if wrong.size or late.size:
            at = int((wrong if wrong.size else late)[0])
            raise InputError(
                f"{path}: {track.name}:{track.starts[at]}-{track.ends[at]}",
                f"the value {track.values[at]:g}" if wrong.size else "overlaps the interval before it",
                "finite values of intervals that do not overlap",
                "write the file again",
            )
    return observed(path, tracks, "is it the right file?")


def observed(path: Path, tracks: list[ValueTrack], remedy: str) -> list[ValueTrack]:
    """The tracks, if any value was observed; `InputError` otherwise."""
    if not any(np.isfinite(track.values).any() for track in tracks):
        raise InputError(str(path), "no value", "lines with record, start, end and a number", remedy)
    return tracks


def read_bedgraph(path: Path, names: Collection[str] | None = None) -> list[ValueTrack]:
    """Read a bedGraph file, plain or gzip.

    Parameters
    ----------
    path : Path
        Four columns: record, start, end, value; ``NA``, ``nan`` or ``.`` for a value that was not observed.
    names : collection of str, optional
        Records that are wanted; of each other only the first line is kept, so that a track of a genome costs little memory. All by default.

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
        if not is_remark(line):
            name, *row = parse_value(line, f"{path}: line {number}")
            held = rows.setdefault(name, [])
            if names is None or name in names or not held:
                held.append((*row, number))  # type: ignore[arg-type]
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
    return observed(path, tracks, "is it a bedGraph file?")


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


def binned(track: ValueTrack, width: int) -> ValueTrack:
    """Means over bins of `width` letters from the first that holds a value to the last; NaN where a bin holds none.

    Parameters
    ----------
    track : ValueTrack
        Values; a bin weighs each by the letters of it that it covers.
    width : int
        At least 1; bins begin at multiples of it.

    Raises
    ------
    InputError
        If there would be more than 2²⁵ bins.

    Examples
    --------
    >>> track = ValueTrack("a", np.array([5, 20]), np.array([15, 30]), np.array([1.0, 4.0]))
    >>> binned(track, 10).values.tolist(), binned(track, 20).values.tolist()
    ([1.0, 1.0, 4.0], [1.0, 4.0])
    """
    seen = np.isfinite(track.values)
    starts, ends, values = track.starts[seen], track.ends[seen], track.values[seen]
    if not len(values):
        return ValueTrack(track.name, starts, ends, values)
    first, n_bins = int(starts[0]) // width, -(-int(ends[-1]) // width) - int(starts[0]) // width
    if n_bins > MOST_BINS:
        raise InputError(track.name, f"{n_bins:,} bins of {width} letters", f"at most {MOST_BINS:,}", "use wider bins")
    one, last = starts // width - first, (ends - 1) // width - first
    pieces = last - one + 1
    of = np.repeat(np.arange(len(values)), pieces)
    place = one[of] + np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    covered = np.minimum(ends[of], (first + place + 1) * width) - np.maximum(starts[of], (first + place) * width)
    letters = np.bincount(place, covered, n_bins)
    sums = np.bincount(place, covered * values[of], n_bins)
    means = np.divide(sums, letters, out=np.full(n_bins, np.nan), where=letters > 0)
    begins = (first + np.arange(n_bins)) * width
    return ValueTrack(track.name, begins, np.append(begins[1:], ends[-1]), means)


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
