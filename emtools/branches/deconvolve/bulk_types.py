"""Options of ``emtools deconvolve BULK --reference CELLS``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emtools.branches.options import RunOptions
from emtools.io.bulk import REFERENCE


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
    rna_per_cell : str, optional
        Table of the RNA of a cell of each type, or ``"reference"``: fractions of cells are then amounts of RNA over it, and
        both are reported with intervals.
    """

    input: Path
    reference: Path
    labels: str | None = None
    donor: str | None = None
    markers: Path | None = None
    rna: bool = False
    rna_per_cell: str | None = None

    @property
    def contents(self) -> Path | None:
        """File with the RNA of a cell, if any."""
        return None if self.rna_per_cell in (None, REFERENCE) else Path(str(self.rna_per_cell))
