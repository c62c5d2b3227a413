"""``emtools motif`` until its sequences are read: nothing heavy is imported before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emtools.branches.options import RunOptions
from emtools.errors import InputError
from emtools.io.fasta import ALPHABETS, read_fasta
from emtools.io.motifs import motif_name
from emtools.io.regions import read_regions

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
    background_order : int or None
        Order of the Markov background; None to choose it by the number of letters.
    background : Path or None
        FASTA file that the background is learnt from; None for what is searched.
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
    background_order: int | None = None
    background: Path | None = None
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


def run(options: Options) -> int:
    """Read, search, fit, write; the exit code."""
    motif_name(options.name)
    options = replace(options, strands=options.strands or ("both" if options.alphabet == "dna" else "one"))
    require_consistent(options)
    records = read_fasta(options.input, options.alphabet)
    regions = None if options.regions is None else read_regions(options.regions, records, options.region_name)

    from emtools.branches.motif import analyse  # what a file that cannot be read need not wait for

    return analyse(options, records, regions)


def require_consistent(options: Options) -> None:
    """Refuse options that do not go together."""
    if options.region_name is not None and options.regions is None:
        raise InputError("--region-name", repr(options.region_name), "--regions BED", "add it or leave both out")
    if options.alphabet != "dna" and (options.strands == "both" or options.palindrome):
        option = "--palindrome" if options.palindrome else "--strands both"
        raise InputError(option, f"with --alphabet {options.alphabet}", "DNA, which has two strands", "leave it out")
    if options.alphabet == "protein" and options.occurrence == "anr":
        raise InputError("--occurrence", "anr with --alphabet protein", "oops or zoops", "take one of them")
    if options.palindrome and options.strands == "one":
        raise InputError("--palindrome", "with --strands one", "both strands", "leave one of them out")
    narrow, wide = options.width
    if not 2 <= narrow <= wide:
        raise InputError("--width", f"{narrow}-{wide}", "at least 2 bp, the smaller one first")
    if options.window is not None and options.window < narrow:
        raise InputError(
            "--window", f"{options.window} bp", f"at least the width of the motif, {narrow} bp", "use wider windows"
        )
