"""The page of ``emtools motif``: what was found, where, and whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from emtools.engine.protocol import Floats
from emtools.engine.result import Fit
from emtools.io.fasta import ALPHABETS, UNITS, decode
from emtools.io.intervals import Interval
from emtools.io.motifs import consensus
from emtools.io.regions import Piece
from emtools.models.first_order_motif import FirstOrderMotif
from emtools.models.motif import Motif, MotifParams
from emtools.motif_finding.calling import CALLED, Calls
from emtools.motif_finding.dependence import Dependence
from emtools.motif_finding.places import EVEN, NARROWEST, SHORTEST, WIDEST
from emtools.motif_finding.significance import SHUFFLES, Significance
from emtools.plots.motif import RESIDUE
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
ERASING = (
    "Bailey & Elkan (1994) Proc. Int. Conf. Intell. Syst. Mol. Biol. 2:28 (several motifs by probabilistic erasing)."
)
CHANCE = 0.05  # E-value above which a motif is no better than chance, and no further one is sought
NUCLEIC = (".jaspar", ".transfac")
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
STARTS = "pairs of words of three letters, up to 16 letters apart"
TRIPLETS = "triplets of letters, up to 10 letters from one to the next"
MOST_ROWS = 500  # sites on the page
OCCURRENCES = {
    "oops": "one site a sequence",
    "zoops": "zero or one site a sequence",
    "anr": "any number of sites a sequence",
}


@dataclass(frozen=True)
class Searched:
    """What was searched.

    Parameters
    ----------
    pieces : sequence of Piece
        Stretches that were searched.
    n_left_out : int
        Stretches without room for a site.
    known : sequence of Interval
        Known sites that lie in a piece; empty where no truth was given.
    background_note : str
        How the order of the background was chosen.
    """

    pieces: Sequence[Piece]
    n_left_out: int
    known: Sequence[Interval]
    background_note: str

    @property
    def stretches(self) -> str:
        """What the pieces are called."""
        return "sequences" if all(piece.whole for piece in self.pieces) else "searched stretches"


@dataclass(frozen=True)
class Finding:
    """A motif and its sites.

    Parameters
    ----------
    name : str
        In the files.
    alphabet : {"dna", "rna", "protein"}
        Its letters.
    fitted : Fit
        The last climb.
    gain : float
        Log-likelihood above that of no motif, nats.
    calls : Calls
        The sites; a sequence is the number of a piece.
    intervals : list of Interval
        The same in coordinates of the FASTA.
    words : list of str
        Letters of each site on its strand.
    p_values : ndarray, shape (n_sites,)
        Probability that a random window fits the motif as well as the site.
    significance : Significance or None
        Of the motif, where it was asked for.
    candidates : list of dict
        Evidence, width and sites of the motifs that the search climbed.
    dependence : Dependence or None
        What the sites say of neighbouring letters, where the motif is of order 1.
    """

    name: str
    alphabet: str
    fitted: Fit[Any, Any]
    gain: float
    calls: Calls
    intervals: list[Interval]
    words: list[str]
    p_values: Floats
    significance: Significance | None
    candidates: list[dict[str, Any]]
    dependence: Dependence | None = None

    @property
    def motif(self) -> Motif:
        """The model, or what it has beside the tables of order 1."""
        return read_as(self.fitted)[0]

    @property
    def scored(self) -> MotifParams:
        """The parameters as that model reads them."""
        return read_as(self.fitted)[1]

    @property
    def consensus(self) -> str:
        """IUPAC consensus."""
        return consensus(self.fitted.params.matrix, ALPHABETS[self.alphabet])

    @property
    def unit(self) -> str:
        """Of a position."""
        return UNITS[self.alphabet]

    @property
    def background(self) -> str:
        """Order of the background, and how rich in G and C it is."""
        background = self.motif.background
        order = f"order {background.order}"
        return order if self.alphabet == "protein" else f"{order}, {100 * background.frequencies[1:3].sum():.0f} % GC"

    @property
    def bits(self) -> Floats:
        """Information of each position, bits."""
        return self.motif.information(self.fitted.params)

    def shared_bits(self, n_sites: int = 0) -> float:
        """Information that neighbouring letters share, bits, less what that many sites of random letters would show and no less than 0; 0.0 of order 0."""
        if self.dependence is None:
            return 0.0
        shared = self.fitted.model.dependence(self.fitted.params)
        spurious = shared.size * (self.motif.n_letters - 1) ** 2 / (2.0 * n_sites * np.log(2.0)) if n_sites else 0.0
        return max(0.0, float(shared.sum()) - spurious)

    @property
    def counts(self) -> Floats:
        """Expected letters at each position, shape (width, n_letters)."""
        counts: Floats = self.fitted.stats.counts
        return counts.sum(axis=1) if counts.ndim == 3 else self.motif.tied(counts)

    @property
    def n_with(self) -> int:
        """Stretches with a site."""
        return len(set(self.calls.sequence.tolist()))


@dataclass(frozen=True)
class Ended:
    """Why fewer motifs were sought than asked for.

    Parameters
    ----------
    because : str
        A clause.
    e_value : float or None
        Of the motif that was no better than chance.
    """

    because: str
    e_value: float | None = None


def read_as(fitted: Fit[Any, Any]) -> tuple[Motif, MotifParams]:
    """A fit of either order as what the E-step, sites, erasing and the test read."""
    linked = isinstance(fitted.model, FirstOrderMotif)
    return (fitted.model.motif, fitted.params.scored) if linked else (fitted.model, fitted.params)


def words_of(pieces: Sequence[Piece], calls: Calls, intervals: Sequence[Interval], alphabet: str) -> list[str]:
    """Letters of each site on its strand."""
    words = []
    for i, site in zip(calls.sequence, intervals, strict=True):
        piece = pieces[i]
        codes = piece.codes[site.start - piece.start : site.end - piece.start]
        words.append(decode(codes if site.strand == "+" else 3 - codes[::-1], alphabet))
    return words


def describe(
    options: Any,
    searched: Searched,
    findings: Sequence[Finding],
    ended: Ended | None,
    pictures: Sequence[Picture],
    accuracy: pd.DataFrame | None,
) -> Page:
    """The page of the motifs."""
    first, several = findings[0], len(findings) > 1
    lead, facts = tell_several(findings, searched) if several else tell(first, searched)
    if ended is not None:
        e_value = "" if ended.e_value is None else f" (E = {ended.e_value:.2g})"
        lead += f" {options.motifs} motifs were asked for; nothing further was sought because {ended.because}{e_value}."
    tables = [motif_table(findings, searched)] if several else []
    if accuracy is not None:
        lead += told_accuracy(accuracy, facts, findings)
        what = "A known site is found where a predicted one covers at least half of it."
        named = accuracy.assign(metric=accuracy["metric"].str.replace("_", " "))
        tables.append(Table("Accuracy against known sites", what, named))
    lead += "".join(told_weakness(finding, searched, several) for finding in findings)
    tables += [site_table(findings), *(matrix_table(finding, several) for finding in findings)]
    numbered = {
        f"{stem}_{k}.svg": f"{what} of {findings[k - 1].name}"
        for k in range(2, len(findings) + 1)
        for stem, what in (("logo", "logo"), ("sites", "sites"), ("positions", "where in the sequences the sites lie,"))
    }
    what = "motifs" if several else "a motif"
    titled = what.capitalize() if options.name == "motif" else f"{options.name}: {what}"
    return Page(
        title=f"{titled} in {options.input.name}",
        lead=lead,
        facts=facts,
        notices=told_verdicts(findings),
        pictures=pictures,
        tables=tables,
        check_tables=[sizes_of(finding, several) for finding in findings],
        methods=methods(options, findings, searched),
        references=REFERENCES if options.motifs == 1 else (*REFERENCES, ERASING),
        files=written(options.alphabet)
        | numbered
        | ({"accuracy.tsv": "agreement with the known sites"} if accuracy is not None else {}),
    )


def told_occurrence(findings: Sequence[Finding]) -> str:
    """Whether the occurrence was fitted in the last climb."""
    fitted = [finding.motif.rate is None for finding in findings]
    if all(fitted):
        return "The occurrence was fitted in the last climb, which kept that evidence."
    if not any(fitted):
        return "The occurrence is held at that number in the last climb."
    names = ", ".join(finding.name for finding, free in zip(findings, fitted, strict=True) if free)
    return f"The occurrence is held at that number in the last climb; that of {names} was fitted, which kept that evidence."


def sizes_of(finding: Finding, several: bool) -> Table:
    """Effective sizes and conditions of a motif, under its name where there are several."""
    fitted = finding.fitted
    table = motif_sizes(fitted.stats, fitted.params.matrix, errors_of(fitted), len(finding.intervals))
    return replace(table, title=f"{finding.name}: {table.title}") if several else table


def errors_of(fitted: Fit[Any, Any], name: str = "matrix") -> Floats | None:
    """Standard errors of a parameter, or None where none is known."""
    certificate = fitted.certificate
    errors = None if certificate is None or certificate.standard_errors is None else certificate.standard_errors
    found = None if errors is None else errors.get(name)
    return None if found is None or np.isnan(found).all() else found


def written(alphabet: str) -> dict[str, str]:
    """Files beside the page; JASPAR and TRANSFAC hold no protein."""
    return {name: what for name, what in FILES.items() if alphabet != "protein" or not name.endswith(NUCLEIC)}


def tell(finding: Finding, searched: Searched) -> tuple[str, dict[str, str]]:
    """The answer in a sentence or two, and key figures, where there is one motif."""
    model, n, stretches = finding.motif, len(searched.pieces), searched.stretches
    n_sites = len(finding.intervals)
    found = f"{n_sites} sites in {finding.n_with} of {n} {stretches}"
    lead = f"A motif of {model.width} {finding.unit}, {finding.consensus}, has {found}."
    corrected, needed = bits_to_spare(finding, searched)
    facts = {
        "Sites": f"{n_sites} in {finding.n_with} of {n} {stretches}",
        "Information": f"{finding.bits.sum():.1f} bits",
        "Less what chance shows": f"{corrected:.1f} bits",
        "Needed to single out a site": f"{needed:.1f} bits",
        "Gain over no motif": f"{finding.gain:.1f} nats",
        "Background": finding.background,
    }
    if finding.significance is not None:
        seen = finding.significance
        facts["E-value"] = f"{seen.p:.2g}"
        lead += (
            f" Sought in half of them and tested on the other half: {seen.n_with} of {seen.n_tested} held-out {stretches} have a site, "
            f"and {100 * seen.share_shuffled:.0f} % of their shuffles (E = {seen.p:.2g})."
        )
        if seen.p > CHANCE:
            lead += " That is no better than chance: letters without any motif would have given one like it."
    return lead, facts


def tell_several(findings: Sequence[Finding], searched: Searched) -> tuple[str, dict[str, str]]:
    """The same where there are several."""
    n = len(searched.pieces)
    each = (
        f"{f.name} ({f.consensus}) has {len(f.intervals)} sites in {f.n_with}"
        + (
            ""
            if f.significance is None
            else f" (E = {f.significance.p:.2g}{', no better than chance' * (f.significance.p > CHANCE)})"
        )
        for f in findings
    )
    lead = f"{len(findings)} motifs in {n} {searched.stretches}: {'; '.join(each)}."
    n_with = len({i for f in findings for i in f.calls.sequence.tolist()})
    facts = {
        "Motifs": str(len(findings)),
        "Sites": f"{sum(len(f.intervals) for f in findings)} in {n_with} of {n} {searched.stretches}",
        "Background": findings[0].background,
    }
    return lead, facts


def bits_to_spare(finding: Finding, searched: Searched) -> tuple[float, float]:
    """Bits of a motif less what chance shows, and those that it takes to single out a site."""
    model = finding.motif
    needed = model.locating_bits(np.array([len(piece.codes) for piece in searched.pieces]))
    n_sites = len(finding.intervals)
    return model.corrected_information(finding.fitted.params, n_sites) + finding.shared_bits(n_sites), needed


def told_weakness(finding: Finding, searched: Searched, several: bool) -> str:
    """A sentence on a motif that cannot point to its own sites; empty for another."""
    corrected, needed = bits_to_spare(finding, searched)
    if corrected >= needed:
        return ""
    return (
        f" With {corrected:.1f} bits (less what chance shows) {finding.name if several else 'it'} is weaker than the {needed:.1f} bits that it takes to single out one place in a "
        "stretch: read it as composition, not as a binding site."
    )


def told_verdicts(findings: Sequence[Finding]) -> list[str]:
    """What the verdict on the page, that of the first motif, does not say of the others."""
    return [f"{f.name}: {f.fitted.verdict.rstrip('.')}" for f in findings[1:] if not f.fitted.converged]


def motif_table(findings: Sequence[Finding], searched: Searched) -> Table:
    """The motifs, one a row."""
    rows = []
    for finding in findings:
        corrected, needed = bits_to_spare(finding, searched)
        seen = finding.significance
        rows.append(
            {
                "motif": finding.name,
                "consensus": finding.consensus,
                f"width, {finding.unit}": finding.motif.width,
                "sites": len(finding.intervals),
                searched.stretches: finding.n_with,
                "information, bits": float(finding.bits.sum()),
                "less what chance shows": corrected,
                "needed": needed,
                "gain, nats": finding.gain,
                **({} if seen is None else {"E-value": seen.p}),
                "fit": finding.fitted.status,
            }
        )
    what = "In the order in which they were found, each in what those before have left. The verdict and the curve of convergence are those of the first."
    return Table("Motifs", what, pd.DataFrame(rows))


def told_accuracy(accuracy: pd.DataFrame, facts: dict[str, str], findings: Sequence[Finding]) -> str:
    """A sentence on the known sites, of several motifs on the one that meets them best, whose rows come first; the facts get them too."""
    best = accuracy[accuracy["method"] == accuracy["method"].iloc[0]]
    value = dict(zip(best["metric"], best["value"], strict=True))
    it = "It" if len(findings) == 1 else best["method"].iloc[0]
    facts["Known sites found"] = f"{value['known_sites_found']:.0f} of {value['known_sites']:.0f}"
    facts["Nucleotide F1"] = f"{value['nucleotide_f1']:.2f}"
    return (
        f" {it} meets a known site in {value['sequences_found']:.0f} of the {value['sequences_with_known_site']:.0f} "
        f"sequences that have one, and {value['known_sites_found']:.0f} of {value['known_sites']:.0f} known sites; "
        f"{value['false_sites']:.0f} of its sites are not known ones."
    )


def methods(options: Any, findings: Sequence[Finding], searched: Searched) -> str:
    """How it was done, in one paragraph, or two where several motifs were asked for."""
    finding, model = findings[0], findings[0].motif
    n_letters = sum(len(piece.codes) for piece in searched.pieces)
    narrow, wide = options.width
    width = (
        f"{narrow} {finding.unit}"
        if narrow == wide
        else f"{model.width} {finding.unit} (searched from {narrow} to {wide})"
    )
    if len(findings) > 1 and narrow != wide:
        width = f"{narrow} to {wide} {finding.unit}"
    one_or_two = (
        "both strands" if model.both else "the forward strand" if options.alphabet == "dna" else "the strand as given"
    )
    if options.alphabet == "protein":
        one_or_two = "proteins"
    if model.palindrome:
        one_or_two += ", tied to its own reverse complement,"
    held = "" if model.occurrence == "oops" else (
        " The number of sites in the search is the one with the highest evidence of the placed sites, letter probabilities and "
        "occurrence integrated out: likelihood alone drifts towards a blurred motif in every sequence. "
        + told_occurrence(findings)
    )  # fmt: skip
    places = told_places(options, sum(len(piece.codes) < SHORTEST for piece in searched.pieces))
    columns = "" if narrow == wide else " The same evidence chose the columns."
    tested = (
        f" For the E-value the search is repeated on a random half; the best windows of the other half are scored beside those of "
        f"{SHUFFLES} shuffles of each sequence{'' if options.alphabet == 'protein' else ' that keep pairs of neighbouring letters'} (exact tail of the sum of scores)."
        if finding.significance is not None
        else ""
    )
    left = (
        f" {searched.n_left_out} {'stretch' if searched.n_left_out == 1 else 'stretches'} without {narrow} known letters in a row "
        f"{'was' if searched.n_left_out == 1 else 'were'} left out."
        if searched.n_left_out
        else ""
    )
    return (
        f"A position weight matrix of {width} with {OCCURRENCES[model.occurrence]} on {one_or_two} ({model.occurrence.upper()}) was fitted by "
        f"EM to {len(searched.pieces)} sequences ({n_letters} letters) over a Markov background of order {model.background.order} "
        f"({searched.background_note}), with {model.pseudocount:g} sites' worth of background letters as Dirichlet prior.{places} Starts "
        f"are the {options.starts} {STARTS if options.alphabet != 'protein' else TRIPLETS}, that most exceed the background; short climbs, then "
        f"full EM of the best.{held}{columns} {called_text(model.occurrence)} Letters that were not observed (N) are summed out, "
        f"and no site overlaps one. The p-value of a site is the probability that a window of random letters fits the motif as well.{tested}{left}{told_erasing(options)}"
    )


def told_places(options: Any, n_short: int) -> str:
    """Where sites were taken to lie; empty where every place was alike. `n_short` sequences are too short to have a middle."""
    told = []
    if options.central:
        told.append(
            "lie about the middle of the sequences (the mean of an even distribution and of normal ones with standard deviations of "
            f"{NARROWEST:g} letters, twice that, and so on up to {WIDEST:g} of the sequence"
            + f"; anywhere in the {n_short} of fewer than {SHORTEST} letters)" * bool(n_short)
            + ")" * (not n_short)
        )
    if options.prior is not None:
        told.append(f"lie where {options.prior.name} is high (in proportion, {EVEN:.0%} spread evenly)")
    return f" Before any was found, sites were taken to {' and to '.join(told)}." if told else ""


def called_text(occurrence: str) -> str:
    """Which places are sites."""
    if occurrence == "anr":
        return f"Sites are the most probable places that do not overlap, each with a probability of at least {CALLED:g} that a site covers its middle."
    if occurrence == "oops":
        return "Sites are the most probable place of each sequence."
    return (
        f"Sites are the most probable place of each sequence that has a site with a probability of at least {CALLED:g}."
    )


def told_erasing(options: Any) -> str:
    """How several motifs were found; empty where one was asked for."""
    if options.motifs == 1:
        return ""
    stop = (
        ""
        if options.untested
        else f" The test leaves letters out that earlier motifs more probably cover than not; after a motif with E > {CHANCE:g} nothing more is sought."
    )
    return (
        "\n\nEach further motif was sought in what those before have left (probabilistic erasing): every letter has the probability that none of their sites "
        "covers it, and the likelihood ratio of a place is multiplied by that of its letters in every E-step, in the evidence, and in the posteriors of the sites. "
        f"Starts are made of letters that are more probably free than not.{stop}"
    )


def site_table(findings: Sequence[Finding]) -> Table:
    """The sites with their letters, the most probable first."""
    intervals = [site for finding in findings for site in finding.intervals]
    stranded = findings[0].unit != RESIDUE
    frame = pd.DataFrame(
        {
            **({"motif": [site.name for site in intervals]} if len(findings) > 1 else {}),
            "sequence": [site.record for site in intervals],
            "start": [site.start for site in intervals],
            "end": [site.end for site in intervals],
            **({"strand": [site.strand for site in intervals]} if stranded else {}),
            "posterior": np.concatenate([f.calls.posterior for f in findings]),
            "any site": np.concatenate([f.calls.anywhere for f in findings]),
            "p-value": np.concatenate([f.p_values for f in findings]),
            "letters on that strand" if stranded else "letters": [word for f in findings for word in f.words],
        }
    ).sort_values("posterior", ascending=False, kind="stable")
    most = (
        f" The first {MOST_ROWS} of {len(frame):,} are shown; all are in sites.gff3." if len(frame) > MOST_ROWS else ""
    )
    caption = (
        "The most probable first. Start and end are 0-based, half-open, as in sites.bed. “posterior” is the probability that the site starts there"
        f"{' (on either strand)' if stranded else ''}, “any site” that the sequence (with any number of sites: this place) has one at all: a low first and a high second number "
        "mean that the exact place is in doubt, not the site. “p-value”: the probability that a random window fits as well."
    )
    return Table("Sites", caption + most, frame.head(MOST_ROWS))


def matrix_table(finding: Finding, several: bool) -> Table:
    """The matrix with the information content of each position."""
    matrix = finding.fitted.params.matrix
    frame = pd.DataFrame(matrix, columns=list(ALPHABETS[finding.alphabet]))
    frame.insert(0, "position", np.arange(1, len(matrix) + 1))
    frame["information, bits"] = finding.bits
    return Table(
        f"Matrix of {finding.name}" if several else "Matrix",
        "Letter probabilities at each position of a site, and how much each position says.",
        frame,
    )
