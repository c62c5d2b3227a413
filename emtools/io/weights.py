"""Values of a track as weights of the letters of a FASTA file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.bedgraph import ValueTrack, read_track
from emtools.io.fasta import Record


def read_weights(path: Path, records: Sequence[Record]) -> dict[str, ValueTrack]:
    """The tracks of a bedGraph or bigWig file on `records`, by record.

    Raises
    ------
    InputError
        As `read_track`, or if none is on a record, one reaches beyond the end of its record, or a value is negative.
    """
    lengths = {record.name: len(record.codes) for record in records}
    tracks = {track.name: track for track in read_track(path, lengths)}
    kept = {name: track for name, track in tracks.items() if name in lengths}
    if not kept:
        got = f"values on {next(iter(tracks))!r} and the like, none on {records[0].name!r} and the like"
        raise InputError(
            str(path), got, "the names of the records in the FASTA file", "rename the records of one of them"
        )
    for name, track in kept.items():
        place = f"{path}: {name}:{track.starts[-1]}-{track.ends[-1]}"
        if track.ends[-1] > lengths[name]:
            raise InputError(place, f"beyond the end of the record ({lengths[name]})", "coordinates of the FASTA file")
        below = np.flatnonzero(track.values < 0.0)
        if below.size:
            at = int(below[0])
            place = f"{path}: {name}:{track.starts[at]}-{track.ends[at]}"
            raise InputError(
                place, f"{track.values[at]:g}", "0 or more: a weight", "use probabilities, or shift the values"
            )
    return kept


def values_between(track: ValueTrack | None, start: int, end: int) -> npt.NDArray[np.float64]:
    """The value of each letter from `start` to before `end`, NaN where there is none.

    Examples
    --------
    >>> track = ValueTrack("a", np.array([2, 5]), np.array([4, 6]), np.array([0.5, 2.0]))
    >>> values_between(track, 1, 6).tolist()
    [nan, 0.5, 0.5, nan, 2.0]
    """
    values = np.full(end - start, np.nan)
    if track is None:
        return values
    first, last = np.searchsorted(track.ends, start, side="right"), np.searchsorted(track.starts, end, side="left")
    for low, high, value in zip(
        track.starts[first:last], track.ends[first:last], track.values[first:last], strict=True
    ):
        values[max(low - start, 0) : high - start] = value
    return values
