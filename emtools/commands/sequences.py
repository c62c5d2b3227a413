"""``emtools hmm``, of letters or of values, and ``emtools motif``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from emtools.commands.parsing import add_scatter, branch_parser, positive, real, whole, whole_range
from emtools.errors import InputError
from emtools.io.sniff import TRACKS, bare_suffix

width_range = whole_range(2)
MOST_MOTIFS = 100
MOST_REPEATS = 50
MOST_PATHS = 10_000
ISOCHORES = "isochores"
HMM_STARTS = 10


def add_hmm(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools hmm``."""
    hmm = branch_parser(
        branches,
        "hmm",
        "INPUT",
        "find hidden states in sequences (FASTA) or along values on a genome (bedGraph, bigWig), by Baum-Welch",
        "emtools hmm genome.fa --out results/genome --states 2\n"
        "  emtools hmm ratios.bedgraph --out results/ratios --states 2-5",
        HMM_STARTS,
    )
    hmm.set_defaults(starts=None)  # which of them was asked for decides what is said beside --model
    hmm.add_argument(
        "--states",
        type=whole_range(1, 100),
        default=None,
        metavar="K|A-B",
        help="number of hidden states, or a range to choose from by BIC; needed without --model",
    )
    hmm.add_argument(
        "--order",
        type=whole_range(0, 3),
        default=(0, 0),
        metavar="M|A-B",
        help="letters before it that a letter is emitted given, 0 to 3, or a range to choose from by BIC (default 0)",
    )
    hmm.add_argument(
        "--topology",
        choices=("free", "left-right", "banded"),
        default="free",
        help="states that may follow: all (default), the same and later ones, or the same and its neighbours",
    )
    hmm.add_argument(
        "--model",
        choices=("cpg", "cpg-8", "coding", "isochores"),
        default=None,
        help="a ready-made model instead of --states: CpG islands by two states with published tables, or by eight states; "
        "genes without introns, on either strand, by their codons; isochores L1 to H3 by the GC content of windows (--bin)",
    )
    hmm.add_argument("--alphabet", choices=("dna", "rna", "protein"), default="dna", help="letters (default dna)")
    hmm.add_argument(
        "--repeats",
        type=whole(1, MOST_REPEATS),
        default=1,
        metavar="R",
        help="states in a row that stand for each: a stay lasts R letters at least, and is negative binomial (default 1)",
    )
    hmm.add_argument(
        "--sample",
        type=whole(1, MOST_PATHS),
        default=0,
        metavar="N",
        help="draw N whole paths by their probability: their segments, and, of 20 and more, intervals for number, share and "
        "length",
    )
    hmm.add_argument(
        "--against",
        type=Path,
        default=None,
        metavar="FIT",
        help="fit.json, or its folder, of another model: log-odds of each record and window, in bits",
    )
    hmm.add_argument(
        "--odds-window",
        type=positive,
        default=None,
        metavar="BP",
        help="letters of a window of log-odds, beside --against (default 1000)",
    )
    hmm.add_argument(
        "--pseudocount",
        type=real(0, inclusive=True),
        default=None,
        metavar="A",
        help="Dirichlet pseudo-count of every probability (default 0; 1 with --model coding)",
    )
    hmm.add_argument(
        "--emission",
        choices=("gaussian", "poisson", "negative-binomial"),
        default=None,
        help="of values: numbers (default gaussian), counts, or counts that vary more than Poisson counts",
    )
    hmm.add_argument(
        "--bin",
        type=positive,
        default=None,
        metavar="BP",
        help="of values: means over bins of this width are the steps, which counts round (default: a step an interval); "
        "of isochores: windows (default 100000)",
    )
    add_scatter(hmm)


OF_LETTERS = {
    "order": (0, 0),
    "topology": "free",
    "model": None,
    "alphabet": "dna",
    "repeats": 1,
    "sample": 0,
    "against": None,
    "odds_window": None,
}


def route_hmm(chosen: dict[str, Any]) -> dict[str, Any]:
    """Options of the one of the two kinds of `hmm` that the ending of the input asks for.

    Raises
    ------
    InputError
        If options of the other kind are given, or the number of states is missing.
    """
    values = bare_suffix(chosen["input"]) in TRACKS
    if chosen["model"] == ISOCHORES and not values:
        return route_isochores(chosen)
    foreign: dict[str, Any] = OF_LETTERS if values else {"emission": None, "bin": None}
    given = [f"--{key.replace('_', '-')}" for key, default in foreign.items() if chosen[key] != default]
    if given:
        raise InputError(
            ", ".join(given),
            f"given with {'values (bedGraph, bigWig)' if values else 'sequences (FASTA)'}",
            f"it is for {'sequences' if values else 'values'}",
            "leave it out or see emtools hmm --help",
        )
    kept = {key: value for key, value in chosen.items() if key not in foreign}
    if not values and chosen["model"] is not None:
        return kept | only_start(chosen)
    kept["starts"] = chosen["starts"] or HMM_STARTS
    if not values:
        return kept
    if kept["states"] is None:
        raise InputError("emtools hmm", "no number of states", "--states K or --states A-B")
    return kept | {
        "emission": chosen["emission"] or "gaussian",
        "bin": chosen["bin"],
        "pseudocount": chosen["pseudocount"] or 0.0,
        "module": "emtools.branches.hmm.track_input",
    }


def route_isochores(chosen: dict[str, Any]) -> dict[str, Any]:
    """Options of isochores, which are states along the values of windows of letters.

    Raises
    ------
    InputError
        If options are given that the model does not know.
    """
    foreign = {key: default for key, default in OF_LETTERS.items() if key != "model"}
    foreign |= {"states": None, "emission": None, "pseudocount": None}
    given = [f"--{key.replace('_', '-')}" for key, default in foreign.items() if chosen[key] != default]
    if given:
        raise InputError(", ".join(given), f"given with --model {ISOCHORES}", "--bin beside it", "leave it out")
    kept = {key: value for key, value in chosen.items() if key not in foreign}
    return kept | only_start(chosen) | {"states": (5, 5), "module": "emtools.branches.hmm.track_input"}


def only_start(chosen: dict[str, Any]) -> dict[str, Any]:
    """The number of starts of a ready-made model, which is told where another was asked for."""
    if chosen["starts"] not in (None, 1):
        print(
            f"hmm: --model {chosen['model']} has one start, from what is known of it; --starts {chosen['starts']} is not used",
            file=sys.stderr,
        )
    return {"starts": 1}


def add_motif(branches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``emtools motif``."""
    motif = branch_parser(
        branches,
        "motif",
        "FASTA",
        "find sequence motifs and their sites (OOPS, ZOOPS or any number a sequence)",
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
        "--motifs",
        type=whole(1, MOST_MOTIFS),
        default=1,
        metavar="N",
        help="motifs at most, each sought in what those before have left; none after one that is no better than chance, "
        "unless --untested (default 1)",
    )
    motif.add_argument(
        "--occurrence",
        choices=("oops", "zoops", "anr"),
        default="zoops",
        help="one site a sequence, zero or one (default), or any number",
    )
    motif.add_argument("--alphabet", choices=("dna", "rna", "protein"), default="dna", help="letters (default dna)")
    motif.add_argument(
        "--strands", choices=("both", "one"), default=None, help="strands searched (default both of DNA, one of RNA)"
    )
    motif.add_argument(
        "--palindrome", action="store_true", help="a motif that is its own reverse complement; needs both strands"
    )
    motif.add_argument(
        "--motif-order",
        type=int,
        choices=(0, 1),
        default=0,
        help="1: each letter of a site depends on the one before it (default 0: none does)",
    )
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
        "--central", action="store_true", help="sites lie about the middle of the sequences, as in peaks of ChIP-seq"
    )
    motif.add_argument(
        "--prior",
        type=Path,
        metavar="TRACK",
        help="weights of letters (bedGraph, bigWig; 0 or more): a site is as much more probable where they are higher",
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
    motif.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="known motifs (MEME or JASPAR format) to compare with; needs memelite",
    )
    add_scatter(motif)
