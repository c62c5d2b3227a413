"""Options of ``emtools hmm``; light, so that an input is refused before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emtools.branches.options import RunOptions
from emtools.io.outputs import SEAL

Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools hmm``.

    Parameters
    ----------
    input : Path
        FASTA file.
    states : tuple of int, optional
        Fewest and most hidden states; the number is chosen by BIC. None with a ready-made model.
    order : tuple of int
        Fewest and most letters that an emission depends on; chosen by BIC.
    topology : {"free", "left-right", "banded"}
        Which states may follow.
    model : str, optional
        Name of a ready-made model.
    alphabet : {"dna", "rna", "protein"}
        Letters.
    pseudocount : float, optional
        Dirichlet pseudo-count of every probability; 0.0 is maximum likelihood. None is 1 of the model ``"coding"`` and 0 of others.
    repeats : int
        States in a row that stand for each.
    sample : int
        Paths to draw; 0 for none.
    against : Path, optional
        fit.json of another model, or its folder, to compare with by log-odds.
    odds_window : int, optional
        Letters of a window of log-odds; None is 1000.
    """

    input: Path
    states: Range | None = None
    order: Range = (0, 0)
    topology: Literal["free", "left-right", "banded"] = "free"
    model: Literal["cpg", "cpg-8", "coding"] | None = None
    alphabet: str = "dna"
    pseudocount: float | None = None
    repeats: int = 1
    sample: int = 0
    against: Path | None = None
    odds_window: int | None = None


def file_of(fit: Path) -> Path:
    """fit.json itself, or that of a folder."""
    return fit / SEAL if fit.is_dir() else fit
