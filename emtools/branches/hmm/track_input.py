"""``emtools hmm TRACK`` until its values are read: nothing heavy is imported before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from emtools.branches.hmm.track_types import Options
from emtools.errors import InputError
from emtools.io.bedgraph import MOST_BINS, ValueTrack, binned, common_width, on_grid, read_track
from emtools.io.fasta import read_fasta
from emtools.io.gc_windows import gc_windows

LARGEST = 1e100  # size of a value, whose square is a number still
WINDOW = 100_000  # letters of a window of isochores
FEWEST_WINDOWS = 10


def run(options: Options) -> int:
    """Read, fit, decode and write; the exit code."""
    tracks, width = steps_of(options)
    seen = np.concatenate([track.values[np.isfinite(track.values)] for track in tracks])
    most, n_distinct = float(np.abs(seen).max()), len(np.unique(seen))
    if most > LARGEST:
        raise InputError(str(options.input), f"a value of size {most:g}", f"at most {LARGEST:g}", "change their unit")
    if options.model is None and n_distinct < options.states[1]:
        raise InputError(
            str(options.input),
            f"{n_distinct} different value{'s' * (n_distinct != 1)}",
            f"at least one for each of {options.states[1]} states",
            "use fewer --states",
        )

    from emtools.branches.hmm.track import analyse  # what a file that cannot be read need not wait for

    return analyse(options, tracks, width)


def steps_of(options: Options) -> tuple[list[ValueTrack], int | None]:
    """Tracks of steps, and the width of all of them if they lie on a grid.

    Raises
    ------
    InputError
        If the file cannot be read, or counts are asked for and its values are none.
    """
    if options.model is not None:
        return windows_of(options)
    read = read_track(options.input)
    if options.emission != "gaussian" and options.bin is None:
        check_counts(options.input, read)
    if options.bin is not None:
        bins = sum(-(-int(track.ends[-1]) // options.bin) - int(track.starts[0]) // options.bin for track in read)
        if bins > MOST_BINS:
            got = f"{bins:,} bins of {options.bin} letters"
            raise InputError(str(options.input), got, f"at most {MOST_BINS:,}", "use a wider --bin")
        means = [track for track in (binned(track, options.bin) for track in read) if len(track)]
        if options.emission == "gaussian":
            return means, options.bin
        rounded = [replace(track, values=np.rint(track.values)) for track in means]
        check_counts(options.input, rounded)
        return rounded, options.bin
    width = common_width(read)
    if width is None:
        print("hmm: intervals differ in width; each is one step, --bin makes steps of one width", file=sys.stderr)
        return read, None
    return [on_grid(track, width) for track in read], width


def windows_of(options: Options) -> tuple[list[ValueTrack], int]:
    """GC content of windows of a FASTA file, and how wide they are.

    Raises
    ------
    InputError
        If there are too few of them.
    """
    width = options.bin or WINDOW
    records = read_fasta(options.input)
    tracks = gc_windows(records, width)
    n_windows = sum(int(np.isfinite(track.values).sum()) for track in tracks)
    if n_windows < FEWEST_WINDOWS:
        got = f"{n_windows} windows of {width:,} letters with known letters in at least half of them"
        raise InputError(str(options.input), got, f"at least {FEWEST_WINDOWS}", "use a smaller --bin or more sequence")
    if len(tracks) < len(records):
        n = len(records) - len(tracks)
        left = "1 record is" if n == 1 else f"{n} records are"
        print(f"hmm: {left} left out: no window of {width:,} letters of which half are known", file=sys.stderr)
    return tracks, width


def check_counts(path: Path, tracks: Sequence[ValueTrack]) -> None:
    """Refuse what is not a count, with its place."""
    for track in tracks:
        seen = np.isfinite(track.values)
        wrong = np.flatnonzero(seen & ((track.values < 0.0) | (track.values != np.floor(track.values))))
        if wrong.size:
            raise InputError(
                f"{path}: {track.name}:{track.starts[wrong[0]]}-{track.ends[wrong[0]]}",
                f"{track.values[wrong[0]]:g}",
                "a whole number of at least 0",
                "use --emission gaussian for values that are not counts",
            )
