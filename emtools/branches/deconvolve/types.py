"""Options of ``emtools deconvolve``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emtools.branches.options import RunOptions

if TYPE_CHECKING:
    from emtools.models.mixture_selection import Criterion


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools deconvolve``; the fields are those of the command line.

    Parameters
    ----------
    input : Path
        AnnData file or zarr store, or a table with one row per unit.
    components : int, sequence of int, "auto" or None
        Number of types K, or those of which the best is chosen; None with labels.
    criterion : str
        By what K is chosen.
    family : str
        Covariances.
    representation, dimensions, columns, layer
        What of the input is modelled and described; see `represented`. The layer "raw" is ``raw`` where no layer has that
        name.
    id : str or None
        For a table, the column that names the rows.
    log : sequence of str
        For a table, columns modelled on the log scale.
    sample, truth, labels : str or None
        Columns that name the sample, the known type, and the known type of some cells that the others follow.
    prefix : str
        Types are named ``prefix_1``, ``prefix_2``, ….
    """

    input: Path
    components: int | Sequence[int] | str | None = None
    criterion: Criterion = "icl"
    family: str
    representation: str | None = None
    dimensions: int | None = None
    columns: Sequence[str] | None = None
    layer: str | None = None
    id: str | None = None
    log: Sequence[str] = ()
    sample: str | None = None
    truth: str | None = None
    labels: str | None = None
    prefix: str = "type"
