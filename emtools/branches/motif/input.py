"""``emtools motif`` until its sequences are read: nothing heavy is imported before."""

from __future__ import annotations

from dataclasses import replace

from emtools.branches.motif.types import Options
from emtools.errors import InputError
from emtools.io.fasta import read_fasta
from emtools.io.motifs import motif_name
from emtools.io.regions import read_regions
from emtools.io.weights import read_weights


def run(options: Options) -> int:
    """Read, search, fit, write; the exit code."""
    motif_name(options.name)
    options = replace(options, strands=options.strands or ("both" if options.alphabet == "dna" else "one"))
    require_consistent(options)
    records = read_fasta(options.input, options.alphabet)
    regions = None if options.regions is None else read_regions(options.regions, records, options.region_name)
    n_reverse = sum(region.strand == "-" for region in regions or ())
    if n_reverse and options.strands == "one" and options.alphabet == "dna":
        raise InputError(
            str(options.regions),
            f"{n_reverse} of {len(regions or ())} regions on the reverse strand, and one strand is searched, that of the FASTA",
            "regions on the forward strand, or both strands",
            "search a FASTA of the regions on their own strands (bedtools getfasta -s), or leave the strands out of the BED",
        )
    weights = None if options.prior is None else read_weights(options.prior, records)

    from emtools.branches.motif.fit import analyse  # what a file that cannot be read need not wait for

    return analyse(options, records, regions, weights)


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
    if options.motif_order and (options.palindrome or options.alphabet == "protein"):
        given = "--palindrome" if options.palindrome else "--alphabet protein"
        needed = (
            "letters that depend on none"
            if options.palindrome
            else "DNA or RNA: sites cannot teach 380 probabilities a position"
        )
        raise InputError("--motif-order", f"1 with {given}", needed, "leave one of them out")
    if options.central and options.window is not None:
        raise InputError(
            "--central", "with --window", "stretches whose middle means something", "leave one of them out"
        )
    narrow, wide = options.width
    if not 2 <= narrow <= wide:
        raise InputError("--width", f"{narrow}-{wide}", "at least 2 bp, the smaller one first")
    if options.window is not None and options.window < narrow:
        raise InputError(
            "--window", f"{options.window} bp", f"at least the width of the motif, {narrow} bp", "use wider windows"
        )
