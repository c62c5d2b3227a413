"""Motifs out: MEME minimal format, JASPAR, TRANSFAC and BaMM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from Bio import motifs
from Bio.motifs import jaspar, transfac

from emtools.errors import InputError

Floats = npt.NDArray[np.float64]

LETTERS = "ACGT"
DECIMALS = 6


def motif_name(name: str) -> str:
    """`name`, if the formats can hold it.

    Raises
    ------
    InputError
        If it is empty, has a blank, or has characters that are not printable ASCII.
    """
    if not name or not name.isascii() or not name.isprintable() or " " in name or name.startswith(">"):
        raise InputError("--name", repr(name), "a word of printable ASCII characters without blanks")
    return name


@dataclass(frozen=True)
class Matrix:
    """A motif as the formats hold it.

    Parameters
    ----------
    name : str
        As `motif_name` allows.
    shares : ndarray, shape (width, n_letters)
        Probabilities of the letters at each position.
    counts : ndarray, shape (width, n_letters)
        Expected counts of them.
    n_sites : int
        Sites that it was made of.
    e_value : float or None
        Of the motif.
    """

    name: str
    shares: Floats
    counts: Floats
    n_sites: int
    e_value: float | None = None


def write_meme(path: Path, matrices: Sequence[Matrix], frequencies: Floats, both: bool, letters: str = LETTERS) -> None:
    """Write motifs in MEME minimal format, version 5.

    Parameters
    ----------
    path : Path
        File.
    matrices : sequence of Matrix
        Of different names.
    frequencies : ndarray, shape (n_letters,)
        Background letter frequencies.
    both : bool
        Whether both strands were searched.
    letters : str
        The alphabet, in the order of the matrices; only DNA has strands.

    References
    ----------
    Bailey et al. (2015), Nucleic Acids Res. 43, W39-W49, doi:10.1093/nar/gkv416; format description of the MEME Suite.
    """
    shares = " ".join(f"{letter} {p:.{DECIMALS}f}" for letter, p in zip(letters, frequencies, strict=True))
    strands = [f"strands: {'+ -' if both else '+'}", ""] if letters == LETTERS else []
    lines = [
        "MEME version 5",
        "",
        f"ALPHABET= {letters}",
        "",
        *strands,
        "Background letter frequencies",
        shares,
        "",
    ]
    for matrix in matrices:
        lines += [
            f"MOTIF {matrix.name}",
            f"letter-probability matrix: alength= {len(letters)} w= {len(matrix.shares)} nsites= {max(1, matrix.n_sites)}"
            + ("" if matrix.e_value is None else f" E= {matrix.e_value:.3g}"),
            *(" ".join(f"{p:.{DECIMALS}f}" for p in row) for row in matrix.shares),
            "",
        ]
    path.write_text("\n".join(lines), encoding="ascii", newline="\n")


def write_jaspar(path: Path, matrices: Sequence[Matrix]) -> None:
    """Write motifs of DNA, or of RNA with T for U, in JASPAR format; identifier and name are the name."""
    found = [jaspar.Motif(m.name, m.name, alphabet=LETTERS, counts=columns_of(m.counts)) for m in matrices]
    path.write_text(motifs.write(found, "jaspar"), encoding="ascii", newline="\n")


def write_transfac(path: Path, matrices: Sequence[Matrix]) -> None:
    """Write motifs in TRANSFAC format; as `write_jaspar`."""
    found = []
    for matrix in matrices:
        motif = transfac.Motif(alphabet=LETTERS, counts=columns_of(matrix.counts))
        motif["ID"] = motif["AC"] = matrix.name
        found.append(motif)
    path.write_text(transfac.write(found), encoding="ascii", newline="\n")


def write_ihbcp(path: Path, matrix: Floats, after: Floats) -> None:
    """Write a motif of order 1 in the format of BaMMmotif: a block for each position, an empty line behind it.

    The first line of a block has the probabilities of the letters, the second those after A, after C and so on.

    Parameters
    ----------
    path : Path
        File, by convention ending in .ihbcp.
    matrix : ndarray, shape (width, n_letters)
        Letter probabilities at each position.
    after : ndarray, shape (width, n_letters, n_letters)
        The same after each letter (second axis); at the first position whatever is before.

    References
    ----------
    "BaMM flat file format" in the README of BaMMmotif2, https://github.com/soedinglab/BaMMmotif2.
    """
    blocks = [
        "".join("".join(f"{p:.{DECIMALS}e} " for p in values) + "\n" for values in (row, table.ravel())) + "\n"
        for row, table in zip(matrix, after, strict=True)
    ]
    path.write_text("".join(blocks), encoding="ascii", newline="\n")


def columns_of(values: Floats) -> dict[str, list[float]]:
    """Values of each letter along the motif."""
    return {letter: values[:, i].tolist() for i, letter in enumerate(LETTERS)}


def consensus(matrix: Floats, letters: str = LETTERS) -> str:
    """IUPAC consensus of a matrix of A, C, G, T (U) by the rule of Cavener; of a protein what remains of it.

    Cavener (1987), Nucleic Acids Res. 15, 1353-1361, doi:10.1093/nar/15.4.1353: one letter above a half and twice
    the next; two letters above three quarters together; three where the fourth is absent; N otherwise. Of a protein,
    x where no letter is above a half and twice the next.

    Examples
    --------
    >>> consensus(np.array([[0.9, 0.05, 0.03, 0.02], [0.4, 0.02, 0.55, 0.03], [0.25, 0.25, 0.25, 0.25]]))
    'ARN'
    """
    if matrix.shape[1] != len(LETTERS):
        ranked = np.sort(matrix, axis=1)
        clear = (ranked[:, -1] > 0.5) & (ranked[:, -1] > 2.0 * ranked[:, -2])
        return "".join(letters[best] if sure else "x" for best, sure in zip(matrix.argmax(axis=1), clear, strict=True))
    found = str(motifs.Motif(alphabet=LETTERS, counts=columns_of(matrix)).counts.degenerate_consensus)
    return found.replace("T", letters[-1])
