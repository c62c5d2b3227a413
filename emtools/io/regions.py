"""Stretches of records to search: whole records, the regions of a BED file, or windows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emtools.errors import InputError
from emtools.io.fasta import Codes, Record
from emtools.io.intervals import Interval, read_bed


@dataclass(frozen=True)
class Piece:
    """A stretch of a record.

    Parameters
    ----------
    record : str
        Name of the record.
    start : int
        Where the stretch starts in it, 0-based.
    codes : ndarray of uint8, shape (n_letters,)
        Its letters.
    whole : bool
        Whether it is the whole record.
    """

    record: str
    start: int
    codes: Codes
    whole: bool

    @property
    def end(self) -> int:
        """Where it ends in the record, half-open."""
        return self.start + len(self.codes)

    @property
    def label(self) -> str:
        """Name of the record, with 1-based inclusive coordinates where it is a part."""
        return self.record if self.whole else f"{self.record}:{self.start + 1}-{self.end}"


def read_regions(path: Path, records: Sequence[Record], name: str | None) -> list[Interval]:
    """The intervals of a BED file on `records`, all of them or those called `name`.

    Raises
    ------
    InputError
        As `read_bed`, or if no interval has the name.
    """
    regions = read_bed(path, {record.name: len(record.codes) for record in records})
    chosen = [region for region in regions if name is None or region.name == name]
    if not chosen:
        names = sorted({region.name for region in regions})
        known = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
        raise InputError(str(path), f"no region is named {name!r}", f"one of {known}", "change --region-name")
    return chosen


def cut(records: Sequence[Record], regions: Sequence[Interval] | None, window: int | None) -> list[Piece]:
    """The stretches to search, in the order of the records and along each.

    Parameters
    ----------
    records : sequence of Record
        Sequences.
    regions : sequence of Interval or None
        Stretches of them; None for whole records. Regions that overlap or touch are joined, so that no
        letter is searched twice.
    window : int or None
        Longest stretch, bp; a longer one is cut from its start, and the last part may be shorter.

    Returns
    -------
    list of Piece
    """
    pieces = []
    for record in records:
        spans = [(0, len(record.codes))] if regions is None else joined(regions, record.name)
        for start, end in spans:
            step = window or end - start
            for low in range(start, end, step):
                codes = record.codes[low : min(low + step, end)]
                pieces.append(Piece(record.name, low, codes, len(codes) == len(record.codes)))
    return pieces


def joined(regions: Sequence[Interval], record: str) -> list[tuple[int, int]]:
    """Disjoint stretches of `record` that cover the regions on it, in order."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted((region.start, region.end) for region in regions if region.record == record):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans
