"""BED in and out, bedGraph and GFF3 out: intervals, checked against the records they lie on."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.fasta import read_bytes

HEADS = ("track", "browser")
FULL_SCORE = 1000
SAFE = "".join(map(chr, [32, *(c for c in range(33, 127) if chr(c) not in "%;=&,")]))
SAFE_NAME = "".join(c for c in SAFE if c.isalnum() or c in ".:^*$@!+_?-|")


@dataclass(frozen=True)
class Interval:
    """A stretch of a record.

    Parameters
    ----------
    record : str
        Name of the record (chromosome).
    start, end : int
        0-based, half-open: ``0 <= start < end``.
    name : str
        No tab or blank; "." for none.
    score : int
        0 to 1000.
    strand : {"+", "-", "."}
        Strand.
    color : tuple of int or None
        Red, green, blue, 0 to 255.
    """

    record: str
    start: int
    end: int
    name: str = "."
    score: int = 0
    strand: str = "."
    color: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return self.end - self.start


def is_remark(line: str) -> bool:
    """Whether a line of BED or bedGraph holds no interval; a record may have a name such as ``track_7``.

    Examples
    --------
    >>> [is_remark(line) for line in ("", "# a", "track name=a", "track_7 0 10")]
    [True, True, True, False]
    """
    return not line or line.startswith("#") or line.split(maxsplit=1)[0] in HEADS


def read_bed(path: Path, lengths: Mapping[str, int] | None = None) -> list[Interval]:
    """Read a BED file with 3 or more columns, plain or gzip.

    Parameters
    ----------
    path : Path
        File.
    lengths : mapping of str to int, optional
        Length of each record that an interval may lie on.

    Returns
    -------
    list of Interval
        In the order of the file; at least one.

    Raises
    ------
    InputError
        If the file is not BED, has no interval, or an interval is empty, turned round, on an unknown
        record or beyond its end.
    """
    intervals = []
    for number, raw in enumerate(read_bytes(path, "BED").split(b"\n"), start=1):
        line = raw.decode("utf-8", "replace").rstrip()
        if not is_remark(line):
            intervals.append(parse_interval(line, f"{path}: line {number}", lengths))
    if not intervals:
        raise InputError(str(path), "no interval", "at least one line with record, start and end")
    return intervals


def parse_interval(line: str, place: str, lengths: Mapping[str, int] | None) -> Interval:
    """One line of a BED file."""
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) < 3:
        raise InputError(place, f"{len(fields)} columns", "at least 3: record, start, end", "is it a BED file?")
    record, first, last = fields[:3]
    name, score, strand = [*fields[3:6], *(".", "0", ".")[len(fields[3:6]) :]]
    try:
        start, end = int(first), int(last)
    except ValueError:
        raise InputError(place, f"start {first!r} and end {last!r}", "whole numbers", "is it a BED file?") from None
    if not 0 <= start < end:
        raise InputError(place, f"start {start}, end {end}", "0 <= start < end (0-based, half-open)")
    if lengths is not None:
        if record not in lengths:
            known = ", ".join(list(lengths)[:3]) + (", …" if len(lengths) > 3 else "")
            raise InputError(place, f"record {record!r} is not in the FASTA", f"one of {known}", "check the names")
        if end > lengths[record]:
            raise InputError(place, f"end {end} lies beyond the {lengths[record]} letters of {record!r}")
    if strand not in ("+", "-", "."):
        raise InputError(place, f"strand {strand!r}", "'+', '-' or '.'")
    try:
        points = min(FULL_SCORE, max(0, round(float(score))))
    except (ValueError, OverflowError):
        points = 0
    return Interval(record, start, end, name, points, strand)


def write_bed(path: Path, intervals: Iterable[Interval]) -> None:
    """Write BED6, or BED9 with colours where the intervals have them."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for i in intervals:
            row = [i.record, i.start, i.end, i.name, i.score, i.strand]
            if i.color is not None:
                row += [i.start, i.end, ",".join(str(c) for c in i.color)]
            file.write("\t".join(str(field) for field in row) + "\n")


def write_gff3(
    path: Path, intervals: Sequence[Interval], notes: Sequence[Mapping[str, str]], kind: str = "TF_binding_site"
) -> None:
    """Write sites as GFF3: 1-based, inclusive, one a line.

    Parameters
    ----------
    path : Path
        File.
    intervals : sequence of Interval
        Sites; the score column is ``score / 1000``.
    notes : sequence of mapping
        Further attributes of each site.
    kind : str
        Term of the Sequence Ontology.

    References
    ----------
    Generic Feature Format version 3, Sequence Ontology Project: reserved characters are percent-encoded.
    """
    lines = ["##gff-version 3"]
    for number, (site, note) in enumerate(zip(intervals, notes, strict=True), start=1):
        pairs = {"ID": f"{site.name}-{number}", "Name": site.name, **note}
        attributes = ";".join(f"{key}={quote(value, safe=SAFE)}" for key, value in pairs.items())
        columns = (
            *(quote(site.record, safe=SAFE_NAME), "emtools", kind, site.start + 1, site.end),
            *(f"{site.score / FULL_SCORE:.3f}", site.strand, ".", attributes),
        )
        lines.append("\t".join(map(str, columns)))
    path.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")


class Track:
    """A bedGraph track: one line a run of equal rounded values.

    Parameters
    ----------
    text : file
        Where it is written.
    title : str
        What the track is called; no quotation mark.
    color : tuple of int
        Red, green, blue, 0 to 255.
    decimals : int
        Places that are kept.
    """

    def __init__(self, text: TextIO, title: str, color: tuple[int, int, int], decimals: int = 3) -> None:
        self.text = text
        self.decimals = decimals
        self.open: tuple[str, int, int, float] | None = None  # the last run, which may go on
        shade = ",".join(str(c) for c in color)
        self.text.write(f'track type=bedGraph name="{title}" color={shade} viewLimits=0:1 autoScale=off\n')

    def add(self, record: str, begin: int, values: npt.NDArray[np.float64]) -> None:
        """Values between 0 and 1 of a record, from the letter `begin` on; the pieces of a record follow each other."""
        rounded = np.round(values, self.decimals)
        firsts = np.concatenate([[0], np.flatnonzero(np.diff(rounded)) + 1])
        heights, begins = rounded[firsts].tolist(), (firsts + begin).tolist()
        ends = [*begins[1:], begin + len(rounded)]
        if self.open is not None and self.open[::2] == (record, begin) and self.open[3] == heights[0]:
            begins[0] = self.open[1]
        else:
            self.flush()
        runs = list(zip(begins, ends, heights, strict=True))
        self.text.writelines(f"{record}\t{first}\t{end}\t{height:g}\n" for first, end, height in runs[:-1])
        self.open = (record, *runs[-1])

    def flush(self) -> None:
        """Write the run that is still open."""
        if self.open is not None:
            self.text.write("{}\t{}\t{}\t{:g}\n".format(*self.open))
        self.open = None


@contextmanager
def zipped_text(path: Path) -> Iterator[TextIO]:
    """A gzipped text file to write, with the same bytes for the same text."""
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as zipped:
        text = io.TextIOWrapper(zipped, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        text.detach()


@contextmanager
def bedgraph(path: Path, title: str, color: tuple[int, int, int]) -> Iterator[Track]:
    """A gzipped `Track` to write."""
    with zipped_text(path) as text:
        track = Track(text, title, color)
        yield track
        track.flush()
