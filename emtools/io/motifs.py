"""Motifs out: MEME minimal format, JASPAR and TRANSFAC."""

from __future__ import annotations

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


def write_meme(
    path: Path, name: str, matrix: Floats, frequencies: Floats, n_sites: int, both: bool, e_value: float | None = None
) -> None:
    """Write one DNA motif in MEME minimal format, version 5.

    Parameters
    ----------
    path : Path
        File.
    name : str
        As `motif_name` allows.
    matrix : ndarray, shape (width, 4)
        Probabilities of A, C, G, T.
    frequencies : ndarray, shape (4,)
        Background letter frequencies.
    n_sites : int
        Sites that it was made of.
    both : bool
        Whether both strands were searched.
    e_value : float, optional
        Of the motif.

    References
    ----------
    Bailey et al. (2015), Nucleic Acids Res. 43, W39-W49, doi:10.1093/nar/gkv416; format description of the MEME Suite.
    """
    shares = " ".join(f"{letter} {p:.{DECIMALS}f}" for letter, p in zip(LETTERS, frequencies, strict=True))
    rows = [" ".join(f"{p:.{DECIMALS}f}" for p in row) for row in matrix]
    lines = [
        "MEME version 5",
        "",
        f"ALPHABET= {LETTERS}",
        "",
        f"strands: {'+ -' if both else '+'}",
        "",
        "Background letter frequencies",
        shares,
        "",
        f"MOTIF {name}",
        f"letter-probability matrix: alength= {len(LETTERS)} w= {len(matrix)} nsites= {n_sites}"
        + ("" if e_value is None else f" E= {e_value:.3g}"),
        *rows,
        "",
    ]
    path.write_text("\n".join(lines), encoding="ascii", newline="\n")


def write_jaspar(path: Path, name: str, counts: Floats) -> None:
    """Write one DNA motif in JASPAR format.

    Parameters
    ----------
    path : Path
        File.
    name : str
        As `motif_name` allows; identifier and name.
    counts : ndarray, shape (width, 4)
        Expected counts of A, C, G, T at each position.
    """
    columns = {letter: counts[:, i].tolist() for i, letter in enumerate(LETTERS)}
    motif = jaspar.Motif(name, name, alphabet=LETTERS, counts=columns)
    path.write_text(motifs.write([motif], "jaspar"), encoding="ascii", newline="\n")


def write_transfac(path: Path, name: str, counts: Floats) -> None:
    """Write one DNA motif in TRANSFAC format; as `write_jaspar`."""
    columns = {letter: counts[:, i].tolist() for i, letter in enumerate(LETTERS)}
    motif = transfac.Motif(alphabet=LETTERS, counts=columns)
    motif["ID"] = motif["AC"] = name
    path.write_text(transfac.write([motif]), encoding="ascii", newline="\n")


def consensus(matrix: Floats) -> str:
    """IUPAC consensus of a matrix of A, C, G, T by the rule of Cavener.

    Cavener (1987), Nucleic Acids Res. 15, 1353-1361, doi:10.1093/nar/15.4.1353: one letter above a half and twice
    the next; two letters above three quarters together; three where the fourth is absent; N otherwise.

    Examples
    --------
    >>> consensus(np.array([[0.9, 0.05, 0.03, 0.02], [0.4, 0.02, 0.55, 0.03], [0.25, 0.25, 0.25, 0.25]]))
    'ARN'
    """
    columns = {letter: matrix[:, i].tolist() for i, letter in enumerate(LETTERS)}
    return str(motifs.Motif(alphabet=LETTERS, counts=columns).counts.degenerate_consensus)
