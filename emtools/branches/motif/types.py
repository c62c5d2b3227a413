"""Options of ``emtools motif``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emtools.branches.options import RunOptions
from emtools.io.fasta import ALPHABETS

if TYPE_CHECKING:
    from emtools.models.motif import Occurrence, Strands


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools motif``; the fields are those of the command line.

    Parameters
    ----------
    input : Path
        FASTA file.
    width : (int, int)
        Fewest and most positions of a site.
    motifs : int
        Motifs at most.
    occurrence : str
        One site a sequence (oops), zero or one (zoops), or any number (anr).
    alphabet : {"dna", "rna", "protein"}
        Its letters.
    strands : str or None
        Search both strands or one; None for both of DNA and one of others.
    palindrome : bool
        Tie the motif to its own reverse complement.
    motif_order : {0, 1}
        Letters of a site that the next one depends on.
    background_order : int or None
        Order of the Markov background; None to choose it by the number of letters.
    background : Path or None
        FASTA file that the background is learnt from; None for what is searched.
    central : bool
        Sites lie about the middle of the sequences.
    prior : Path or None
        bedGraph or bigWig file of weights of letters for where sites lie.
    untested : bool
        Leave out the test on held-out sequences.
    name : str
        Name of the motif in the files; of several, what comes before their numbers.
    regions : Path or None
        BED file of the stretches to search.
    region_name : str or None
        Search only the regions with this name.
    window : int or None
        Cut what is searched into windows of this length, bp.
    truth : Path or None
        BED file of known sites.
    known : Path or None
        MEME or JASPAR file of known motifs that the found ones are compared with.
    """

    input: Path
    width: tuple[int, int]
    motifs: int = 1
    occurrence: Occurrence = "zoops"
    alphabet: str = "dna"
    strands: Strands | None = None
    palindrome: bool = False
    motif_order: int = 0
    background_order: int | None = None
    background: Path | None = None
    central: bool = False
    prior: Path | None = None
    untested: bool = False
    name: str = "motif"
    regions: Path | None = None
    region_name: str | None = None
    window: int | None = None
    truth: Path | None = None
    known: Path | None = None

    @property
    def letters(self) -> str:
        """The letters of the alphabet."""
        return ALPHABETS[self.alphabet]

    @property
    def n_letters(self) -> int:
        """How many they are."""
        return len(self.letters)
