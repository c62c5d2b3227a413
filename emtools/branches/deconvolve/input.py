"""``emtools deconvolve`` until its input is read: nothing heavy is imported before a file is known to be what it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emtools.branches.deconvolve.types import Options
from emtools.errors import InputError
from emtools.io.cells import load_anndata, require_prefix
from emtools.io.unit_table import UnitTable, is_table, read_unit_table

if TYPE_CHECKING:
    from anndata import AnnData


def run(options: Options) -> int:
    """Read, fit, write; the exit code."""
    require_prefix(options.prefix)
    content = read(options)

    from emtools.branches.deconvolve.fit import analyse  # what a file that cannot be read need not wait for

    return analyse(options, content)


def read(options: Options) -> UnitTable | AnnData:
    """The table or the annotated data."""
    if is_table(options.input):
        foreign = (options.representation, options.dimensions, options.layer, options.labels)
        if any(x is not None for x in foreign):
            names = "--representation, --dimensions, --layer, --labels"
            raise InputError(names, "given with a table", "an AnnData file", "use --columns")
        return read_unit_table(
            options.input,
            id_column=options.id,
            columns=options.columns,
            log=options.log,
            sample=options.sample,
            truth=options.truth,
        )
    if options.id or options.log:
        raise InputError("--id, --log", "given with an AnnData file", "a table (.csv, .tsv)", "leave them out")
    return load_anndata(options.input)
