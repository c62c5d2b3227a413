"""``emtools deconvolve BULK --reference CELLS`` until both are read: nothing heavy is imported before a file is known to be one."""

from __future__ import annotations

from emtools.branches.deconvolve.bulk_types import Options
from emtools.io.bulk import read_expression, read_markers, read_rna_per_cell


def run(options: Options) -> int:
    """Read, fit, write; the exit code."""
    only = None if options.markers is None else read_markers(options.markers)
    known = None if options.contents is None else read_rna_per_cell(options.contents)
    mixtures = read_expression(options.input, "mixtures")
    cells = read_expression(options.reference, "cells")

    from emtools.branches.deconvolve.bulk import analyse  # what a file that cannot be read need not wait for

    return analyse(options, mixtures, cells, only, known)
