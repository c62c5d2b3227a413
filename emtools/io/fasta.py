"""FASTA in: records as arrays of letter codes, or one clear line about what is wrong and where."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.outputs import require_file
from emtools.io.sniff import gunzip

Codes = npt.NDArray[np.uint8]

ALPHABETS = {"dna": "ACGT", "rna": "ACGU", "protein": "ACDEFGHIKLMNPQRSTVWY"}
AMBIGUOUS = {"dna": "NRYSWKMBDHVX", "rna": "NRYSWKMBDHVX", "protein": "XBZJUO*"}
UNITS = {"dna": "bp", "rna": "nt", "protein": "aa"}
UNKNOWN = {"dna": "NX", "rna": "NX", "protein": "X"}
NUCLEOTIDES = {
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
}
PARTIAL = {
    "dna": NUCLEOTIDES,
    "rna": {code: letters.replace("T", "U") for code, letters in NUCLEOTIDES.items()},
    "protein": {"B": "DN", "Z": "EQ", "J": "IL"},
}  # IUPAC-IUB (1984), doi:10.1093/nar/13.9.3021; IUPAC-IUB (1983), doi:10.1111/j.1432-1033.1984.tb07877.x
NOT_A_LETTER = 255
BLANKS = b" \t\n"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
ENOUGH_TO_TELL = 50


@dataclass(frozen=True)
class Record:
    """One sequence.

    Parameters
    ----------
    name : str
        First word of the header; unique in its file.
    description : str
        Rest of the header; may be empty.
    codes : ndarray of uint8, shape (n_letters,)
        Index of each letter in ``ALPHABETS[alphabet]``; the length of the alphabet where the letter was not observed (N, other
        ambiguity codes), above it where it is one of the sets in `partial_sets` and these were asked for.
    """

    name: str
    description: str
    codes: Codes


def encoding(alphabet: str, partial: bool = False) -> bytes:
    """Code of each of the 256 bytes; `NOT_A_LETTER` where it is none."""
    table = bytearray([NOT_A_LETTER] * 256)
    letters = ALPHABETS[alphabet]
    codes = {letter: len(letters) for letter in AMBIGUOUS[alphabet]}
    if partial:
        codes |= {letter: len(letters) + 1 + i for i, letter in enumerate(PARTIAL[alphabet])}
    for letter, code in {**codes, **{letter: i for i, letter in enumerate(letters)}}.items():
        table[ord(letter)] = table[ord(letter.lower())] = code
    return bytes(table)


def partial_sets(alphabet: str) -> tuple[tuple[int, ...], ...]:
    """The letters that each ambiguity code may be, in the order of their codes above that of a letter not observed.

    Examples
    --------
    >>> partial_sets("protein")
    ((2, 11), (3, 13), (7, 9))
    """
    letters = ALPHABETS[alphabet]
    return tuple(tuple(sorted(map(letters.index, group))) for group in PARTIAL[alphabet].values())


def decode(codes: Codes, alphabet: str = "dna") -> str:
    """Letters of `codes`, N (X for protein) where not observed.

    Examples
    --------
    >>> import numpy as np
    >>> decode(np.array([0, 3, 4], dtype=np.uint8))
    'ATN'
    """
    letters = ALPHABETS[alphabet] + UNKNOWN[alphabet][0]
    return np.frombuffer(letters.encode(), dtype=np.uint8)[codes].tobytes().decode()


def read_bytes(path: Path, kind: str) -> bytes:
    """All bytes of a file, decompressed where it is gzip or bgzip, with ``\\n`` line ends.

    Raises
    ------
    InputError
        If the file is absent, empty, unreadable, or a damaged gzip.
    """
    try:
        data = require_file(path, kind).read_bytes()
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", f"a {kind} file") from error
    if data[:2] == b"\x1f\x8b":
        try:
            data = gunzip(path, data)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                str(path), f"damaged gzip ({error})", "a whole gzip file", "copy or download the file again"
            ) from error
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def read_fasta(path: Path, alphabet: str = "dna", partial: bool = False) -> list[Record]:
    """Read all records of a FASTA file, plain, gzip or bgzip.

    Lower case (soft masking) reads as upper case. N and other ambiguity codes read as not observed.

    Parameters
    ----------
    path : Path
        File.
    alphabet : {"dna", "rna", "protein"}
        Its letters.
    partial : bool
        Whether codes such as R (A or G) have codes of their own, see `partial_sets`.

    Returns
    -------
    list of Record
        At least one, each with at least one letter, and at least one letter observed in all.

    Raises
    ------
    InputError
        If the file is absent, empty, not FASTA or damaged; a record has no name or one that no text file can hold, no letter, the
        name of another or a letter outside the alphabet; or the letters are those of another alphabet.
    """
    data = read_bytes(path, "FASTA")
    text = data.lstrip(BLANKS)
    if not text.startswith(b">"):
        found = "the file has only blanks" if not text else f"it starts with {preview(text)}"
        raise InputError(str(path), found, "a FASTA file, whose first line starts with '>'", "check the file format")

    table = encoding(alphabet, partial)
    records: list[Record] = []
    seen: dict[str, int] = {}
    line = 1 + data[: len(data) - len(text)].count(b"\n")
    for piece in (b"\n" + text).split(b"\n>")[1:]:
        header, _, body = piece.partition(b"\n")
        name, _, description = header.decode("utf-8", "replace").strip().partition(" ")
        name, *rest = name.split("\t")
        place = f"{path}: record {name!r} (line {line})"
        if not name:
            raise InputError(f"{path}: line {line}", "a header without a name", "'>name'", "name the record")
        if CONTROL.search(name):
            raise InputError(place, "a control character in the name", "a word", "rename the record")
        if name in seen:
            raise InputError(
                place, f"the name of the record on line {seen[name]} again", "different names", "rename one of them"
            )
        codes = np.frombuffer(body.translate(table, BLANKS), dtype=np.uint8)
        if not codes.size:
            raise InputError(place, "no letter", "a sequence below the header", "remove the record")
        if codes.max() == NOT_A_LETTER:
            raise foreign_letter(place, body.translate(None, BLANKS), codes, alphabet)
        seen[name] = line
        records.append(Record(name, " ".join([*rest, description]).strip(), codes))
        line += 1 + piece.count(b"\n")
    check_alphabet(path, records, text, alphabet)
    return records


def preview(text: bytes) -> str:
    """The first line of something unexpected, fit for a message."""
    line = text[:40].split(b"\n")[0].decode("ascii", "replace")
    return repr("".join(c if c.isprintable() else "?" for c in line[:24]))


def foreign_letter(place: str, letters: bytes, codes: Codes, alphabet: str) -> InputError:
    """The error for the first letter that is not in the alphabet."""
    at = int(np.argmax(codes == NOT_A_LETTER))
    letter = chr(letters[at])
    upper = letter.upper()
    shown = repr(letter) if letter.isprintable() and letters[at] < 128 else f"byte 0x{letters[at]:02x}"
    if letter in "-.":
        remedy = "remove the gaps of the alignment"
    elif alphabet == "dna" and upper == "U":
        remedy = "is it RNA? Then add --alphabet rna"
    elif alphabet == "rna" and upper == "T":
        remedy = "is it DNA? Then add --alphabet dna"
    elif alphabet != "protein" and upper in ALPHABETS["protein"] + AMBIGUOUS["protein"]:
        remedy = "is it protein? Then add --alphabet protein"
    else:
        remedy = "remove it"
    expected = f"only {alphabet} letters {ALPHABETS[alphabet]} and ambiguity codes {AMBIGUOUS[alphabet]}"
    return InputError(f"{place}, position {at + 1}", shown, expected, remedy)


def check_alphabet(path: Path, records: Sequence[Record], text: bytes, alphabet: str) -> None:
    """Refuse a file whose letters all fit the alphabet but are plainly of another one, or all unknown."""
    n_letters = len(ALPHABETS[alphabet])
    counts = sum(np.bincount(record.codes, minlength=NOT_A_LETTER) for record in records)
    n_total, n_observed = int(counts.sum()), int(counts[:n_letters].sum())
    if alphabet == "protein":
        nucleic = sum(int(counts[ALPHABETS["protein"].index(letter)]) for letter in "ACGTN")
        if nucleic == n_total >= ENOUGH_TO_TELL:
            raise InputError(
                str(path), f"all {n_total} letters are A, C, G, T or N", "protein", "is it DNA? Then add --alphabet dna"
            )
    elif n_total - n_observed > n_observed:
        n_unknown = sum(
            line.upper().count(letter.encode())
            for line in text.split(b"\n")
            if not line.startswith(b">")
            for letter in UNKNOWN[alphabet]
        )
        if n_total - n_observed - n_unknown > n_total // 2:
            raise InputError(
                str(path),
                f"{n_total - n_observed - n_unknown} of {n_total} letters are ambiguity codes",
                alphabet,
                "is it protein? Then add --alphabet protein",
            )
    if not n_observed:
        raise InputError(
            str(path), f"none of {n_total} letters is observed", f"letters {ALPHABETS[alphabet]}", "use another file"
        )
