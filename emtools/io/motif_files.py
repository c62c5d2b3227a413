"""Motifs in: a file in MEME format or in that of JASPAR, or one clear line about what is wrong and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.fasta import read_bytes

Floats = npt.NDArray[np.float64]

WIDEST = 1000
WIDTH = re.compile(r"\swidth\s*=")  # what MEME writes behind the name in its text


@dataclass(frozen=True)
class NamedMotif:
    """A motif of a file.

    Parameters
    ----------
    name : str
        Identifier, and the name behind it where there is one.
    matrix : ndarray, shape (width, n_letters)
        Letter probabilities at each position; rows sum to 1.
    """

    name: str
    matrix: Floats


def read_motifs(path: Path, letters: str) -> list[NamedMotif]:
    """Read motifs in MEME format (minimal or full text) or JASPAR format (with or without letters and brackets), plain or gzip.

    Parameters
    ----------
    path : Path
        File.
    letters : str
        The alphabet that is expected; T reads as U.

    Returns
    -------
    list of NamedMotif
        At least one.

    Raises
    ------
    InputError
        If the file is absent, of another format, of another alphabet, or damaged; or holds no motif.
    """
    lines = read_bytes(path, "MEME or JASPAR").decode("utf-8", "replace").split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first.startswith(">"):
        found = list(jaspar_motifs(path, lines, letters))
    elif any(line.startswith("MEME version") for line in lines):
        found = list(meme_motifs(path, lines, letters))
    else:
        shown = repr("".join(c if c.isprintable() else "?" for c in first[:24]))
        raise InputError(str(path), f"it starts with {shown}", "motifs in MEME or JASPAR format", "check the format")
    if not found:
        raise InputError(str(path), "no motif", "at least one", "check the file")
    return found


def jaspar_motifs(path: Path, lines: list[str], letters: str) -> Iterator[NamedMotif]:
    """The motifs of a file whose headers start with '>'."""
    heads = [number for number, line in enumerate(lines) if line.startswith(">")]
    for begin, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        name = " ".join(lines[begin][1:].split())
        place = f"{path}: line {begin + 1}"
        rows = [(at + 1, line) for at, line in enumerate(lines[begin + 1 : end], begin + 1) if line.strip()]
        if not name or len(rows) != len(letters):
            got = "a header without a name" if not name else f"{len(rows)} rows for {name!r}"
            raise InputError(place, got, f"'>name' and {len(letters)} rows, one a letter of {letters}")
        counts = []
        for (number, line), letter in zip(rows, letters, strict=True):
            text = line.strip()
            given = text[0] if text[0].isalpha() else letter
            counted = text[text[0].isalpha() :].strip().removeprefix("[").removesuffix("]")
            if set("[]") & set(counted) or given.upper() not in (letter, letter.replace("U", "T")):
                raise InputError(f"{path}: line {number}", repr(line[:24]), f"the counts of {letter}")
            counts.append(numbers_of(counted, f"{path}: line {number}"))
        yield NamedMotif(name, shares(counts, place, name).T)


def meme_motifs(path: Path, lines: list[str], letters: str) -> Iterator[NamedMotif]:
    """The motifs of a file in MEME format."""
    name, at = "", 0
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        place = f"{path}: line {at}"
        if line.startswith("ALPHABET") and not line.startswith("ALPHABET="):
            raise InputError(place, "an alphabet of its own", f"ALPHABET= {letters}", "convert it to the standard one")
        if line.startswith("ALPHABET="):
            given = line.removeprefix("ALPHABET=").strip()
            if given not in (letters, letters.replace("U", "T")):
                raise InputError(place, f"alphabet {given}", letters, "give motifs of the alphabet that is searched")
        elif line.startswith("MOTIF"):
            name = " ".join(WIDTH.split(line.removeprefix("MOTIF"))[0].split())
        elif line.startswith("letter-probability matrix"):
            rows = []
            while at < len(lines) and lines[at].strip() and lines[at].strip()[0] in "0123456789.":
                rows.append(numbers_of(lines[at], f"{path}: line {at + 1}"))
                at += 1
            if not name or not rows or {len(row) for row in rows} != {len(letters)}:
                got = f"{len(rows)} rows of {sorted({len(row) for row in rows})} numbers for {name!r}"
                raise InputError(place, got, f"a name, and rows of {len(letters)} numbers below")
            asked = re.search(r"\bw=\s*(\d+)", line)
            if asked and int(asked[1]) != len(rows):
                raise InputError(
                    place, f"{len(rows)} rows for {name!r}", f"w= {asked[1]} of them", "is the file whole?"
                )
            yield NamedMotif(name, shares(rows, place, name, along=1))
            name = ""


def numbers_of(text: str, place: str) -> list[float]:
    """The numbers of a line."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        raise InputError(place, repr(text.strip()[:24]), "numbers") from None
    if not values or not np.isfinite(values).all() or min(values) < 0.0:
        raise InputError(place, repr(text.strip()[:24]), "finite numbers, none below 0")
    return values


def shares(rows: list[list[float]], place: str, name: str, along: int = 0) -> Floats:
    """The rows as an array whose sums along an axis are 1."""
    if len({len(row) for row in rows}) != 1:
        raise InputError(place, f"rows of different lengths for {name!r}", "equal ones", "is the file whole?")
    values = np.array(rows)
    with np.errstate(over="ignore"):
        sums = values.sum(axis=along, keepdims=True)
    sound = bool((np.isfinite(sums) & (sums > 0.0)).all())
    if not sound or values.shape[1 - along] > WIDEST:
        got = f"{values.shape[1 - along]} positions" if sound else "a position without any letter, or with too many"
        raise InputError(place, f"{got} in {name!r}", f"1 to {WIDEST} positions, each with letters")
    made: Floats = values / sums
    return made
