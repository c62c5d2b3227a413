"""``emtools deconvolve BULK --reference CELLS`` until both are read: nothing heavy is imported before a file is known to be one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emtools.branches.options import RunOptions
from emtools.io.bulk import read_expression, read_markers


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


def run(options: Options) -> int:
    """Read, fit, write; the exit code."""
    only = None if options.markers is None else read_markers(options.markers)
    mixtures = read_expression(options.input, "mixtures")
    cells = read_expression(options.reference, "cells")

    from emtools.branches.deconvolve_bulk import analyse  # what a file that cannot be read need not wait for

    return analyse(options, mixtures, cells, only)
