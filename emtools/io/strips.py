"""Strips and tiles of a TIFF that would unpack to far more than their image holds, found before memory is taken for them."""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emtools.errors import InputError

HARMLESS = 2**26  # bytes that any strip may unpack to
ROOM = 2**28  # bytes that LZMA may take to work in
STEP = 2**20  # bytes unpacked at a time
PART = 2**16  # bytes that they are unpacked from at a time
LARGER = 4  # times its image that a tile may claim to be
STEEPEST = {8: 1032, 32946: 1032, 34925: 10_000}  # bytes out of one, at most about: deflate, its old number, LZMA


def inflated(packed: bytes, most: int) -> int:
    """Bytes that a deflate stream unpacks to, counted up to the first step beyond `most`; what is damaged ends it."""
    stream, n = zlib.decompressobj(), 0
    for begin in range(0, len(packed), PART):
        part = packed[begin : begin + PART]
        while part and not stream.eof and n <= most:
            n += len(stream.decompress(part, STEP))
            part = stream.unconsumed_tail
    return n


def unpacked(packed: bytes, most: int) -> int:
    """The same of an LZMA stream."""
    stream = lzma.LZMADecompressor(memlimit=ROOM)
    n = len(stream.decompress(packed, STEP))
    while not (stream.eof or stream.needs_input) and n <= most:
        n += len(stream.decompress(b"", STEP))
    return n


COUNTED: dict[int, Callable[[bytes, int], int]] = {8: inflated, 32946: inflated, 34925: unpacked}


@contextmanager
def opened(page: Any) -> Iterator[Any]:
    """The file that a page lies in; tifffile closes those that an OME-TIFF names beside itself."""
    handle = page.parent.filehandle
    was_closed = handle.closed
    handle.open()
    try:
        yield handle
    finally:
        if was_closed:
            handle.close()


def require_strips(path: Path, series: Any) -> None:
    """Refuse a series of which a strip or tile unpacks to more than it has room for, or a tile claims far more than its image.

    Only strips that are long enough to do harm are unpacked, in steps that are thrown away.

    Parameters
    ----------
    path : Path
        For the message.
    series : tifffile.TiffPageSeries
        Of an open file.

    Raises
    ------
    InputError
        If one does.
    zlib.error, lzma.LZMAError
        If one is damaged.
    """
    for page in series.pages:
        if page is None:
            continue
        room = math.prod(page.keyframe.chunks) * page.keyframe.dtype.itemsize
        whole = math.prod(page.keyframe.shape) * page.keyframe.dtype.itemsize
        if room > max(HARMLESS, LARGER * whole):
            raise InputError(
                str(path),
                f"a tile of {room:,} bytes",
                f"at most about the {whole:,} of its image",
                "copy or export it again",
            )
        count, most = COUNTED.get(int(page.keyframe.compression)), max(room, HARMLESS)
        if count is None:
            continue
        steepest = STEEPEST[int(page.keyframe.compression)]
        with opened(page) as handle:
            for start, length in zip(page.dataoffsets, page.databytecounts, strict=False):
                if length * steepest <= most:
                    continue
                handle.seek(start)
                if count(handle.read(length), most) > most:
                    raise InputError(
                        str(path), f"a strip of {length:,} bytes unpacks to more than {most:,}",
                        f"the {room:,} bytes that the image has there", "copy or export it again",
                    )  # fmt: skip
