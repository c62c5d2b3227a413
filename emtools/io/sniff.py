"""A first look at an input file: the mistakes that a few bytes betray, before any job starts."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Literal

from emtools.errors import InputError
from emtools.io.image_folder import is_store
from emtools.io.outputs import require_file

Kind = Literal["table", "cells", "image", "fasta", "bed", "track", "motifs", "fit"]
KINDS = {
    "table": "table", "cells": "h5ad", "image": "image", "fasta": "FASTA", "bed": "BED", "track": "bedGraph", "motifs": "MEME or JASPAR",
    "fit": "fit.json",
}  # fmt: skip
HDF5 = b"\x89HDF\r\n\x1a\n"
GZIP = b"\x1f\x8b"
TIFF = {b"II*\0": ("<I", 4), b"MM\0*": (">I", 4), b"II+\0": ("<Q", 8), b"MM\0+": (">Q", 8)}
TEXT = (".csv", ".tsv", ".tab", ".txt")
TABLES = (*TEXT, ".parquet", ".pq", ".xlsx", ".xlsm", ".xls", ".ods")
TRACKS = (".bedgraph", ".bdg", ".bg", ".bw", ".bigwig")
HEAD = 65536
UNPACKED = 2**26  # bytes that any file may unpack to
EXPANSION = 100  # times its size, above that: text and numbers reach 50, a bomb 1,000
PIECE = 2**22


def bare_suffix(path: Path) -> str:
    """Ending of the name in lower case, without .gz."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def whole_suffix(path: Path) -> str:
    """Ending of the name in lower case, .gz with what stands before it."""
    return bare_suffix(path) + (".gz" if path.suffix.lower() == ".gz" else "")


def read_head(path: Path) -> bytes:
    """First bytes, unpacked where gzip packed them."""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == GZIP
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            return file.read(HEAD)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(str(path), "cannot be read", str(error), "check how it was made") from error


def require_modest(path: Path, unpacked: int, packed: int) -> None:
    """Raise where `packed` bytes of `path` unpack to `unpacked`, far more than data do."""
    if unpacked > max(UNPACKED, EXPANSION * packed):
        got = f"{packed:,} bytes unpack to {unpacked:,} or more"
        raise InputError(
            str(path), got, f"at most {EXPANSION} times their size", "unpack it, and look at what it holds"
        )


def gunzip(path: Path, packed: bytes) -> bytes:
    """Content of the gzip file `path`, whose bytes are `packed`; refused before much more memory is taken than data need."""
    pieces, size = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
        while piece := file.read(PIECE):
            pieces.append(piece)
            size += len(piece)
            require_modest(path, size, len(packed))
    return b"".join(pieces)


def sniff(path: Path, kind: Kind) -> None:
    """Raise where `path` cannot be what `kind` says.

    Raises
    ------
    InputError
        If the file is absent or empty, or its first bytes belong to another format.
    """
    if kind == "image" and is_store(path):
        return
    require_file(path, KINDS[kind])
    head = read_head(path)
    if not head.strip():
        raise InputError(str(path), "there is nothing in the file", f"a {KINDS[kind]} file", "check how it was made")
    if bare_suffix(path) in (".h5ad", ".h5") and not head.startswith(HDF5):
        raise InputError(str(path), "is not HDF5 in spite of its name", "an AnnData file", "write it with anndata")
    if kind == "fasta" and not head.lstrip().startswith(b">"):
        raise InputError(str(path), "does not begin with '>'", "FASTA", "check that it is a sequence file")
    if kind == "motifs" and not (head.lstrip().startswith(b">") or b"MEME version" in head):
        raise InputError(
            str(path), "has neither '>' nor 'MEME version'", "motifs in MEME or JASPAR format", "check the format"
        )
    if kind == "fit" and not head.lstrip().startswith(b"{"):
        raise InputError(str(path), "does not begin with '{'", "fit.json of an earlier run", "check that it is one")
    if kind == "image" and bare_suffix(path) in (".tif", ".tiff"):
        sniff_tiff(path, head)


def sniff_tiff(path: Path, head: bytes) -> None:
    """Raise where the directory of a TIFF file, or the pixels of its first page, lie beyond its end."""
    layout = TIFF.get(head[:4])
    if layout is None:
        raise InputError(str(path), "is not TIFF in spite of its name", "an image", "check how it was made")
    form, start = layout
    size = struct.calcsize(form)
    end = path.stat().st_size
    cut = InputError(str(path), f"is cut short at {end} bytes", "a whole TIFF file", "copy it again")
    if len(head) < start + size or struct.unpack(form, head[start : start + size])[0] >= end:
        raise cut
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            pieces = zip(page.dataoffsets, page.databytecounts, strict=False)
            needed = max((offset + count for offset, count in pieces), default=0)
    except (
        tifffile.TiffFileError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        struct.error,
    ) as error:
        raise cut from error
    if needed > end:
        raise cut
