"""``emtools hmm`` and ``emtools motif``."""

from __future__ import annotations

import argparse
from pathlib import Path

from emtools.commands.parsing import branch_parser, positive, real, whole


def width_range(text: str) -> tuple[int, int]:
    """A width, or the fewest and the most positions with a hyphen between."""
    first, hyphen, last = text.partition("-")
    narrow = whole(2)(first)
    wide = whole(2)(last) if hyphen else narrow
    if wide < narrow:
        raise argparse.ArgumentTypeError(f"{text}: the smaller number comes first")
    return narrow, wide


def add_hmm(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools hmm``."""
    hmm = branch_parser(
        branches,
        "hmm",
        "FASTA",
        "find hidden states in sequences (Baum-Welch)",
        "emtools hmm genome.fa --out results/genome --states 2",
        10,
    )
    hmm.add_argument("--states", type=whole(1, 100), required=True, metavar="K", help="number of hidden states")
    hmm.add_argument("--alphabet", choices=("dna", "rna", "protein"), default="dna", help="letters (default dna)")
    hmm.add_argument(
        "--pseudocount",
        type=real(0, inclusive=True),
        default=0.0,
        metavar="A",
        help="Dirichlet pseudo-count of every probability (default 0)",
    )


def add_motif(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools motif``."""
    motif = branch_parser(
        branches,
        "motif",
        "FASTA",
        "find a sequence motif and its sites (OOPS, ZOOPS or any number a sequence)",
        "emtools motif peaks.fa --out results/peaks --width 12",
        50,
    )
    motif.add_argument(
        "--width",
        type=width_range,
        default=(6, 20),
        metavar="W|A-B",
        help="width of the motif, bp, or a range (default 6-20)",
    )
    motif.add_argument(
        "--occurrence",
        choices=("oops", "zoops", "anr"),
        default="zoops",
        help="one site a sequence, zero or one (default), or any number",
    )
    motif.add_argument("--strands", choices=("both", "one"), default="both", help="strands searched (default both)")
    motif.add_argument(
        "--background-order",
        type=int,
        choices=range(6),
        default=None,
        metavar="M",
        help="order of the Markov background, 0 to 5 (default: by the number of letters)",
    )
    motif.add_argument(
        "--background",
        type=Path,
        metavar="FASTA",
        help="learn the background from these sequences, not the searched ones",
    )
    motif.add_argument(
        "--untested", action="store_true", help="leave out the E-value, which takes as long as the search"
    )
    motif.add_argument("--name", default="motif", help="name of the motif in the files (default motif)")
    motif.add_argument("--regions", type=Path, metavar="BED", help="search these regions of the FASTA")
    motif.add_argument("--region-name", default=None, metavar="NAME", help="use only the regions with this name")
    motif.add_argument(
        "--window", type=positive, default=None, metavar="BP", help="cut long regions into windows of this length"
    )
    motif.add_argument("--truth", type=Path, metavar="BED", help="known sites, to measure what was found")
