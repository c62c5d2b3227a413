"""The page of ``emtools motif``: what was found, where, and whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.io.fasta import decode
from emtools.io.intervals import Interval
from emtools.io.motifs import consensus
from emtools.io.regions import Piece
from emtools.motif_finding.calling import CALLED, Calls
from emtools.motif_finding.significance import SHUFFLES, Significance
from emtools.plots.style import Picture
from emtools.report.components import motif_sizes
from emtools.report.page import Page, Table

REFERENCES = (
    "Bailey & Elkan (1995) Proc. Int. Conf. Intell. Syst. Mol. Biol. 3:21 (ZOOPS, both strands, starts from words).",
    "Lawrence & Reilly (1990) Proteins 7:41, doi:10.1002/prot.340070105 (EM for one site a sequence).",
    "Liu (1994) J. Am. Stat. Assoc. 89:958, doi:10.1080/01621459.1994.10476829 (evidence of placed sites).",
    "Biernacki, Celeux & Govaert (2000) IEEE Trans. Pattern Anal. 22:719, doi:10.1109/34.865189 (completed likelihood).",
    "Bailey (2021) Bioinformatics 37:2834, doi:10.1093/bioinformatics/btab203 (held-out sequences against shuffles).",
    "Altschul & Erickson (1985) Mol. Biol. Evol. 2:526 (shuffles that keep pairs of letters).",
    "Staden (1989) CABIOS 5:89, doi:10.1093/bioinformatics/5.2.89 (p-value of a site).",
    "Schneider & Stephens (1990) Nucleic Acids Res. 18:6097, doi:10.1093/nar/18.20.6097 (sequence logos).",
    "Schneider et al. (1986) J. Mol. Biol. 188:415, doi:10.1016/0022-2836(86)90165-8 (bits of chance, bits needed to single out a site).",
    "Tareen & Kinney (2020) Bioinformatics 36:2272, doi:10.1093/bioinformatics/btz921 (Logomaker).",
)
FILES = {
    "motifs.meme": "the motif in MEME minimal format, for FIMO, Tomtom and the like",
    "motifs.jaspar": "the motif as expected counts, JASPAR format",
    "motifs.transfac": "the same, TRANSFAC format",
    "sites.bed": "the sites in BED6, coordinates of the FASTA (0-based, half-open); score = posterior × 1000",
    "sites.gff3": "the sites in GFF3 (1-based, inclusive) with posterior, p-value and letters",
    "logo.svg": "logo",
    "sites.svg": "sites",
    "positions.svg": "where in the sequences the sites lie",
}
MOST_ROWS = 500  # sites on the page
OCCURRENCES = {
    "oops": "one site a sequence",
    "zoops": "zero or one site a sequence",
    "anr": "any number of sites a sequence",
}


@dataclass(frozen=True)
class Finding:
    """The answer: what was searched, and the sites.

    Parameters
    ----------
    pieces : sequence of Piece
        Stretches that were searched.
    n_left_out : int
        Stretches without room for a site.
    calls : Calls
        The sites; a sequence is the number of a piece.
    p_values : ndarray, shape (n_sites,)
        Probability that a random window fits the motif as well as the site.
    known : sequence of Interval
        Known sites that lie in a piece; empty where no truth was given.
    significance : Significance or None
        Of the motif, where it was asked for.
    background_note : str
        How the order of the background was chosen.
    """

    pieces: Sequence[Piece]
    n_left_out: int
    calls: Calls
    p_values: Floats
    known: Sequence[Interval]
    significance: Significance | None
    background_note: str


def words_of(finding: Finding, intervals: Sequence[Interval]) -> list[str]:
    """Letters of each site on its strand."""
    words = []
    for i, site in zip(finding.calls.sequence, intervals, strict=True):
        piece = finding.pieces[i]
        codes = piece.codes[site.start - piece.start : site.end - piece.start]
        words.append(decode(codes if site.strand == "+" else 3 - codes[::-1]))
    return words


def describe(
    options: Any,
    fitted: Fit[Any, Any],
    finding: Finding,
    intervals: Sequence[Interval],
    gain: float,
    pictures: Sequence[Picture],
    accuracy: pd.DataFrame | None,
) -> Page:
    """The page of the motif."""
    model = fitted.model
    bits = model.information(fitted.params)
    n = len(finding.pieces)
    stretches = "sequences" if all(piece.whole for piece in finding.pieces) else "searched stretches"
    n_with = len(set(finding.calls.sequence.tolist()))
    needed = model.locating_bits(np.array([len(piece.codes) for piece in finding.pieces]))
    corrected = model.corrected_information(fitted.params, len(intervals))
    letters = consensus(fitted.params.matrix)
    lead = f"A motif of {model.width} bp, {letters}, has {len(intervals)} sites in {n_with} of {n} {stretches}."
    order = model.background.order
    facts = {
        "Sites": f"{len(intervals)} in {n_with} of {n} {stretches}",
        "Information": f"{bits.sum():.1f} bits",
        "Less what chance shows": f"{corrected:.1f} bits",
        "Needed to single out a site": f"{needed:.1f} bits",
        "Gain over no motif": f"{gain:.1f} nats",
        "Background": f"order {order}, {100 * model.background.frequencies[1:3].sum():.0f} % GC",
    }
    if finding.significance is not None:
        seen = finding.significance
        facts["E-value"] = f"{seen.p:.2g}"
        lead += (
            f" Sought in half of them and tested on the other half: {seen.n_with} of {seen.n_tested} held-out {stretches} have a site, "
            f"and {100 * seen.share_shuffled:.0f} % of their shuffles (E = {seen.p:.2g})."
        )
    tables = []
    if accuracy is not None:
        lead += told_accuracy(accuracy, facts)
        what = "A known site is found where a predicted one covers at least half of it."
        named = accuracy.assign(metric=accuracy["metric"].str.replace("_", " "))
        tables.append(Table("Accuracy against known sites", what, named))
    if corrected < needed:
        lead += (
            f" With {corrected:.1f} bits (less what chance shows) it is weaker than the {needed:.1f} bits that it takes to single out one place in a "
            "stretch: read it as composition, not as a binding site."
        )
    tables += [site_table(finding, intervals), matrix_table(fitted.params.matrix, bits)]
    return Page(
        title=f"{options.name}: a motif in {options.input.name}",
        lead=lead,
        facts=facts,
        pictures=pictures,
        tables=tables,
        check_tables=[motif_sizes(fitted.stats, fitted.params.matrix, errors_of(fitted), len(intervals))],
        methods=methods(options, fitted, finding),
        references=REFERENCES,
        files=FILES | ({"accuracy.tsv": "agreement with the known sites"} if accuracy is not None else {}),
    )


def errors_of(fitted: Fit[Any, Any]) -> Floats | None:
    """Standard errors of the matrix, or None."""
    certificate = fitted.certificate
    errors = None if certificate is None or certificate.standard_errors is None else certificate.standard_errors
    return None if errors is None else errors.get("matrix")


def told_accuracy(accuracy: pd.DataFrame, facts: dict[str, str]) -> str:
    """A sentence on the known sites; the facts get them too."""
    value = dict(zip(accuracy["metric"], accuracy["value"], strict=True))
    facts["Known sites found"] = f"{value['known_sites_found']:.0f} of {value['known_sites']:.0f}"
    facts["Nucleotide F1"] = f"{value['nucleotide_f1']:.2f}"
    return (
        f" It meets a known site in {value['sequences_found']:.0f} of the {value['sequences_with_known_site']:.0f} "
        f"sequences that have one, and {value['known_sites_found']:.0f} of {value['known_sites']:.0f} known sites; "
        f"{value['false_sites']:.0f} of its sites are not known ones."
    )


def methods(options: Any, fitted: Fit[Any, Any], finding: Finding) -> str:
    """How it was done, in one paragraph."""
    model = fitted.model
    n_letters = sum(len(piece.codes) for piece in finding.pieces)
    narrow, wide = options.width
    searched = f"{narrow} bp" if narrow == wide else f"{model.width} bp (searched from {narrow} to {wide})"
    one_or_two = "both strands" if model.both else "the forward strand"
    if model.palindrome:
        one_or_two += ", tied to its own reverse complement,"
    held = "" if model.occurrence == "oops" else (
        " The number of sites in the search is the one with the highest evidence of the placed sites, letter probabilities and "
        "occurrence integrated out: likelihood alone drifts towards a blurred motif in every sequence. "
        + ("The occurrence was fitted in the last climb, which kept that evidence." if model.rate is None else
           "The occurrence is held at that number in the last climb.")
    )  # fmt: skip
    columns = "" if narrow == wide else " The same evidence chose the columns."
    tested = (
        f" For the E-value the search is repeated on a random half; the best windows of the other half are scored beside those of "
        f"{SHUFFLES} shuffles of each sequence that keep pairs of neighbouring letters (exact tail of the sum of scores)."
        if finding.significance is not None
        else ""
    )
    left = (
        f" {finding.n_left_out} stretches without {narrow} known letters in a row were left out."
        if finding.n_left_out
        else ""
    )
    return (
        f"A position weight matrix of {searched} with {OCCURRENCES[model.occurrence]} on {one_or_two} ({model.occurrence.upper()}) was fitted by "
        f"EM to {len(finding.pieces)} sequences ({n_letters} letters) over a Markov background of order {model.background.order} "
        f"({finding.background_note}), with {model.pseudocount:g} sites' worth of background letters as Dirichlet prior. Starts "
        f"are the {options.starts} pairs of words of three letters, up to 16 letters apart, that most exceed the background; short climbs, then "
        f"full EM of the best.{held}{columns} Sites are those with a posterior of at least {CALLED:g}. Letters that were not observed (N) are summed out, "
        f"and no site overlaps one. The p-value of a site is the probability that a window of random letters fits the motif as well.{tested}{left}"
    )


def site_table(finding: Finding, intervals: Sequence[Interval]) -> Table:
    """The sites with their letters, the most probable first."""
    frame = pd.DataFrame(
        {
            "sequence": [site.record for site in intervals],
            "start": [site.start for site in intervals],
            "end": [site.end for site in intervals],
            "strand": [site.strand for site in intervals],
            "posterior": finding.calls.posterior,
            "any site": finding.calls.anywhere,
            "p-value": finding.p_values,
            "letters on that strand": words_of(finding, intervals),
        }
    ).sort_values("posterior", ascending=False, kind="stable")
    most = (
        f" The first {MOST_ROWS} of {len(frame):,} are shown; all are in sites.gff3." if len(frame) > MOST_ROWS else ""
    )
    caption = (
        "The most probable first. Start and end are 0-based, half-open, as in sites.bed. “posterior” is the probability that the site starts there (on "
        "either strand), “any site” that the sequence (with any number of sites: this place) has one at all: a low first and a high second number "
        "mean that the exact place is in doubt, not the site. “p-value”: a random window fits as well."
    )
    return Table("Sites", caption + most, frame.head(MOST_ROWS))


def matrix_table(matrix: Any, bits: Any) -> Table:
    """The matrix with the information content of each position."""
    frame = pd.DataFrame(matrix, columns=list("ACGT"))
    frame.insert(0, "position", np.arange(1, len(matrix) + 1))
    frame["information, bits"] = bits
    return Table("Matrix", "Letter probabilities at each position of a site, and how much each position says.", frame)
