"""Options of ``emtools hmm TRACK``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emtools.branches.options import RunOptions


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools hmm`` for a track.

    Parameters
    ----------
    input : Path
        bedGraph or bigWig file.
    states : tuple of int
        Fewest and most hidden states; the number is chosen by BIC.
    emission : {"gaussian", "poisson", "negative-binomial"}
        What a state emits: a number, with a mean and a variance of its own, a count, or a count with a dispersion.
    bin : int or None
        Width of the bins over which means are taken, bp; None for the intervals of the file.
    pseudocount : float
        Dirichlet pseudo-count of every start and transition.
    model : str or None
        "isochores" where the input is FASTA and the values are the GC content of its windows.
    """

    input: Path
    states: tuple[int, int]
    emission: str = "gaussian"
    bin: int | None = None
    pseudocount: float = 0.0
    model: Literal["isochores"] | None = None
