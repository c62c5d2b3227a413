"""Options of ``emtools deconvolve BULK --reference CELLS``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emtools.branches.options import RunOptions


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools deconvolve`` with ``--reference``; the fields are those of the command line.

    Parameters
    ----------
    input : Path
        Mixtures: AnnData file, or a table of samples and genes.
    reference : Path
        AnnData file of single cells, or a table of profiles (genes by types).
    labels, donor : str, optional
        Columns of the obs of the cells: type, and donor where there are several.
    markers : Path, optional
        Genes to use.
    rna : bool
        Report fractions of RNA instead of cells.
    """

    input: Path
    reference: Path
    labels: str | None = None
    donor: str | None = None
    markers: Path | None = None
    rna: bool = False
