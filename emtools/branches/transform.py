"""``emtools transform``: fill the gaps of new rows with the model of an earlier run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emtools.branches.impute.fit import CELLS, known, pairs, refuse_limits, scale_word
from emtools.errors import InputError
from emtools.imputing.complete import as_modelled, fill
from emtools.imputing.store import read_model
from emtools.io.design import design_from_json
from emtools.io.outputs import staged
from emtools.io.tables import read_table, write_completed, write_flags
from emtools.kernels.scales import require_support


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``emtools transform``.

    Parameters
    ----------
    input : Path
        Table of new rows.
    model : Path
        model.npz of a run of ``emtools impute``.
    out : Path
        Folder for the results.
    id, missing, lod, upper_limit, sheet, layer
        As in ``emtools impute``.
    seed : int
        Root of the draws behind intervals that are not normal.
    command : tuple of str
        Command line as typed.
    """

    input: Path
    model: Path
    out: Path
    id: str | None = None
    missing: Sequence[str] = ()
    lod: Sequence[str] = ()
    upper_limit: Sequence[str] = ()
    sheet: str | None = None
    layer: str | None = None
    seed: int = 0
    command: tuple[str, ...] = ()


def run(options: Options) -> int:
    """Read, fill, write; the exit status."""
    stored = read_model(options.model)
    try:
        design = design_from_json(dict(stored.covariates))
    except (KeyError, TypeError, ValueError) as error:
        got = f"not a stored model (covariates: {type(error).__name__})"
        raise InputError(str(options.model), got, "", "give the model.npz of an `emtools impute` run") from error
    table = read_table(
        options.input,
        id_column=options.id,
        columns=stored.markers,
        missing=options.missing,
        option="the table: it needs the markers of the model",
        covariates=[name for name, levels in zip(design.names, design.levels, strict=True) if levels is None],
        batch=[name for name, levels in zip(design.names, design.levels, strict=True) if levels is not None],
        sheet=options.sheet,
        layer=options.layer,
        lod=pairs(options.lod, "--lod"),
        upper_limit=pairs(options.upper_limit, "--upper-limit"),
        new_rows=True,
    )
    if not stored.model.takes_bounds:
        refuse_limits(
            table, "a model fitted without limits", "fit it to a table with limits, or declare these cells missing"
        )
    for j, scale in enumerate(stored.scales):
        require_support(
            scale,
            table.values[:, j],
            at=lambda row, j=j: table.at(row, j),  # type: ignore[misc]
            option=f"the scale {scale.name} of the model",
        )
    scaled = as_modelled(table.readings, stored.scales, design.matrix(table.covariates))
    filling = fill(stored.model, stored.params, table.readings, scaled, stored.scales, options.seed)
    gaps = np.argwhere(~table.readings.observed)
    low, high = table.readings.bounds()
    cells = pd.DataFrame(
        [
            (
                table.rows[i],
                table.markers[j],
                known(low[i, j], high[i, j]),
                *(part[i, j] for part in (filling.values, filling.sd, filling.lower, filling.upper)),
                scale_word(stored.scales[j]),
            )
            for i, j in gaps
        ],
        columns=CELLS,
    )
    with staged(options.out) as folder:
        write_completed(table, filling.values, folder, sd=filling.sd)
        write_flags(table, folder)
        cells.to_csv(folder / "imputed_cells.tsv", sep="\t", index=False, lineterminator="\n")
    print(f"emtools transform: {len(gaps)} cells of {len(table.rows)} rows filled in {options.out}", file=sys.stderr)
    return 0
