"""``emtools motif``: one motif and its sites in the sequences of a FASTA file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools.branches.finish import finish
from emtools.branches.options import RunOptions
from emtools.engine.chunks import SequenceSource
from emtools.engine.result import Fit
from emtools.engine.starts import fit, join, with_certificate
from emtools.errors import FitError, InputError
from emtools.io.console import Progress
from emtools.io.fasta import Record, decode, read_fasta
from emtools.io.intervals import FULL_SCORE, Interval, read_bed, write_bed
from emtools.io.motifs import consensus, motif_name, write_jaspar, write_meme
from emtools.io.outputs import staged
from emtools.io.regions import Piece, cut, read_regions
from emtools.kernels.spans import matches, n_positions, n_shared_positions
from emtools.models.motif import Motif, Occurrence, Sites, Strands, estimate_background, has_room
from emtools.plots.motif import Row, draw_logo, draw_sites
from emtools.plots.style import Picture
from emtools.report.page import Page, Table

CALLED = 0.5
SHIFTS_OF_WIDTH = 3
SPARSE = 100
FEWEST_LETTERS = 10  # letters for each context of the background, below which it is refused
STRANDS = "+-"
REFERENCES = (
    "Bailey & Elkan (1995) Proc. Int. Conf. Intell. Syst. Mol. Biol. 3:21 (ZOOPS, both strands, starts from words).",
    "Lawrence & Reilly (1990) Proteins 7:41, doi:10.1002/prot.340070105 (EM for one site a sequence).",
    "Schneider & Stephens (1990) Nucleic Acids Res. 18:6097, doi:10.1093/nar/18.20.6097 (sequence logos).",
    "Schneider et al. (1986) J. Mol. Biol. 188:415, doi:10.1016/0022-2836(86)90165-8 (bits of chance, bits needed to single out a site).",
    "Tareen & Kinney (2020) Bioinformatics 36:2272, doi:10.1093/bioinformatics/btz921 (Logomaker).",
)
FILES = {
    "motifs.meme": "the motif in MEME minimal format, for FIMO, Tomtom and the like",
    "motifs.jaspar": "the motif as expected counts, JASPAR format",
    "sites.bed": "the sites in BED6, coordinates of the FASTA (0-based, half-open); score = posterior × 1000",
    "logo.svg": "logo",
    "sites.svg": "sites",
}


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools motif``; the fields are those of the command line.

    Parameters
    ----------
    input : Path
        FASTA file of DNA.
    width : int
        Positions of a site.
    occurrence : str
        One site a sequence (oops), or zero or one (zoops).
    strands : str
        Search both strands or one.
    background_order : int
        Order of the Markov background.
    name : str
        Name of the motif in the files.
    regions : Path or None
        BED file of the stretches to search.
    region_name : str or None
        Search only the regions with this name.
    window : int or None
        Cut what is searched into windows of this length, bp.
    truth : Path or None
        BED file of known sites.
    """

    input: Path
    width: int
    occurrence: Occurrence = "zoops"
    strands: Strands = "both"
    background_order: int = 0
    name: str = "motif"
    regions: Path | None = None
    region_name: str | None = None
    window: int | None = None
    truth: Path | None = None


@dataclass(frozen=True)
class Finding:
    """The answer: what was searched, and the likeliest site of each piece.

    Parameters
    ----------
    pieces : sequence of Piece
        Stretches that were searched.
    n_left_out : int
        Stretches without room for a site.
    sites : Sites
        The likeliest site of each piece.
    known : sequence of Interval
        Known sites that lie in a piece; empty where no truth was given.
    """

    pieces: Sequence[Piece]
    n_left_out: int
    sites: Sites
    known: Sequence[Interval]

    @property
    def called(self) -> list[int]:
        """Pieces with a site among the results."""
        likely = (self.sites.any_site >= CALLED) & (self.sites.starts >= 0)
        return [int(i) for i in np.flatnonzero(likely)]


def run(options: Options) -> int:
    """Read, fit, write; the exit code."""
    motif_name(options.name)
    require_consistent(options)
    records = read_dna(options.input)
    regions = None if options.regions is None else read_regions(options.regions, records, options.region_name)
    everything = cut(records, regions, options.window)
    pieces = [piece for piece in everything if has_room(piece.codes, options.width)]
    require_enough(pieces, everything, options)
    require_background(pieces, options)
    known = read_known(options, records, pieces)

    source = SequenceSource([piece.codes for piece in pieces])
    background = estimate_background(source, options.background_order, both=options.strands == "both")
    model = Motif(options.width, background, occurrence=options.occurrence, strands=options.strands)
    progress = Progress(f"motif {options.input.name}")
    try:
        fitted = climb_and_shift(model, source, options, progress)
    except FitError as error:
        raise InputError(
            str(options.input), error.got, "", "use more sequences, a smaller --width, or a lower --background-order"
        ) from error
    progress.close(fitted.summary)
    finding = Finding(pieces, len(everything) - len(pieces), model.sites(fitted.params, source), known)
    intervals = site_intervals(finding, options)
    accuracy = None if options.truth is None else measure(intervals, finding, options)
    gain = fitted.loglik - model.background_loglik(source)
    letters = consensus(fitted.params.matrix)

    with staged(options.out) as folder:
        both = options.strands == "both"
        n_sites = max(1, len(intervals))
        write_meme(folder / "motifs.meme", options.name, fitted.params.matrix, background.frequencies, n_sites, both)
        write_jaspar(folder / "motifs.jaspar", options.name, fitted.stats.counts)
        write_bed(folder / "sites.bed", intervals)
        pictures = [
            draw_logo(fitted.params.matrix, model.information(fitted.params), letters, len(intervals), both, folder),
            draw_sites(site_rows(finding), options.width, options.truth is not None, folder),
        ]
        page = describe(options, model, fitted, finding, intervals, gain, pictures, accuracy)
        return finish(
            folder,
            fitted,
            page,
            options,
            branch="motif",
            inputs=[path for path in (options.input, options.regions, options.truth) if path is not None],
            labels={"matrix": [[str(w + 1) for w in range(options.width)], list("ACGT")]},
            accuracy=accuracy,
            extra={
                "consensus": letters,
                "information": model.information(fitted.params),
                "gain_over_background": gain,
                "n_sequences": len(pieces),
                "n_left_out": finding.n_left_out,
                "n_sites": len(intervals),
            },
        )


def require_consistent(options: Options) -> None:
    """Refuse options that do not go together."""
    if options.region_name is not None and options.regions is None:
        raise InputError("--region-name", repr(options.region_name), "--regions BED", "add it or leave both out")
    if options.width < 2:
        raise InputError("--width", str(options.width), "at least 2 bp")
    if options.window is not None and options.window < options.width:
        raise InputError(
            "--window",
            f"{options.window} bp",
            f"at least the width of the motif, {options.width} bp",
            "use wider windows",
        )


def read_dna(path: Path) -> list[Record]:
    """Records of a FASTA file of DNA."""
    try:
        return read_fasta(path, "dna")
    except InputError as error:
        if "--alphabet" in error.remedy:
            raise InputError(error.where, error.got, error.expected, "emtools motif reads DNA only") from None
        raise


def require_enough(pieces: Sequence[Piece], everything: Sequence[Piece], options: Options) -> None:
    """At least two sequences with room for a site: with one, any word of it is a perfect motif."""
    if len(pieces) >= 2:
        return
    place = str(options.input if options.regions is None else options.regions)
    longest = max(len(piece.codes) for piece in everything)
    raise InputError(
        place,
        f"{len(pieces)} of {len(everything)} sequences to search have {options.width} known letters in a row "
        f"(the longest has {longest} letters)",
        "at least 2",
        "cut the long one with --window" if pieces and longest >= 2 * options.width else "use a smaller --width",
    )


def require_background(pieces: Sequence[Piece], options: Options) -> None:
    """Refuse a background with more contexts than the letters can tell apart: it would explain any sequence."""
    order = options.background_order
    n_counted = sum(max(0, len(piece.codes) - order) for piece in pieces)
    needed = FEWEST_LETTERS * 4**order
    if order and n_counted < needed:
        raise InputError(
            str(options.input if options.regions is None else options.regions),
            f"{n_counted:,} letters to count a background of order {order} from",
            f"at least {needed:,} ({FEWEST_LETTERS} for each of {4**order:,} contexts)",
            "lower --background-order, or use more sequences",
        )


def read_known(options: Options, records: Sequence[Record], pieces: Sequence[Piece]) -> list[Interval]:
    """Known sites that lie in a piece."""
    if options.truth is None:
        return []
    everything = read_bed(options.truth, {record.name: len(record.codes) for record in records})
    inside = [site for site in everything if any(holds(piece, site) for piece in pieces)]
    if not inside:
        raise InputError(
            str(options.truth),
            f"none of {len(everything)} known sites lies in what is searched",
            "",
            "leave out --truth",
        )
    return inside


def holds(piece: Piece, site: Interval) -> bool:
    """Whether all of `site` lies in `piece`."""
    return piece.record == site.record and piece.start <= site.start and site.end <= piece.end


def climb_and_shift(model: Motif, source: SequenceSource, options: Options, progress: Progress) -> Fit[Any, Any]:
    """Fit from words, then again from the best motif moved along its sites, which is the usual wrong optimum."""
    first = fit(
        model,
        source,
        starts=options.starts,
        **options.climbing,
        checkpoint=options.checkpoint,
        on_pass=progress,
        certificate=False,
    )
    reach = max(1, options.width // SHIFTS_OF_WIDTH)
    moved = [model.shifted(first.params, by) for by in range(-reach, reach + 1) if by]
    second = fit(
        model,
        source,
        init=moved,
        **options.climbing,
        on_pass=progress,
        certificate=False,
    )
    return with_certificate(join(first, second, "best, shifted"), source, options.threads)


def site_intervals(finding: Finding, options: Options) -> list[Interval]:
    """The sites in coordinates of the FASTA."""
    intervals = []
    for i in finding.called:
        piece, start = finding.pieces[i], finding.pieces[i].start + int(finding.sites.starts[i])
        score = round(FULL_SCORE * float(finding.sites.posterior[i]))
        strand = STRANDS[int(finding.sites.strands[i])]
        intervals.append(Interval(piece.record, start, start + options.width, options.name, score, strand))
    return intervals


def site_rows(finding: Finding) -> list[Row]:
    """What the figure of sites shows."""
    called = set(finding.called)
    return [
        Row(
            label=piece.label,
            record=piece.record,
            offset=piece.start,
            length=len(piece.codes),
            start=int(finding.sites.starts[i]),
            strand=STRANDS[int(finding.sites.strands[i])],
            posterior=float(finding.sites.posterior[i]),
            called=i in called,
            known=[(k.start - piece.start, k.end - piece.start) for k in finding.known if holds(piece, k)],
        )
        for i, piece in enumerate(finding.pieces)
    ]


def measure(intervals: Sequence[Interval], finding: Finding, options: Options) -> pd.DataFrame:
    """Agreement with the known sites."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(piece.record for piece in finding.pieces))}

    def spans(items: Sequence[Interval]) -> Any:
        return np.array([(numbers[i.record], i.start, i.end) for i in items], dtype=np.int64).reshape(-1, 3)

    predicted, known = spans(intervals), spans(finding.known)
    hit = matches(predicted, known)
    with_known = {p for p, piece in enumerate(finding.pieces) if any(holds(piece, k) for k in finding.known)}
    found = {p for row, p in enumerate(finding.called) if p in with_known and hit[row].any()}
    shared = n_shared_positions(predicted, known)
    precision = shared / n_positions(predicted) if len(predicted) else float("nan")
    recall = shared / n_positions(known)
    values = {
        "sequences_with_known_site": len(with_known),
        "sequences_found": len(found),
        "known_sites": len(known),
        "known_sites_found": int(hit.any(axis=0).sum()),
        "predicted_sites": len(predicted),
        "false_sites": int((~hit.any(axis=1)).sum()),
        "nucleotide_precision": precision,
        "nucleotide_recall": recall,
        "nucleotide_f1": 2 * precision * recall / (precision + recall) if shared else 0.0,
    }
    return pd.DataFrame({"method": options.occurrence, "metric": values.keys(), "value": values.values()})


def describe(
    options: Options,
    model: Motif,
    fitted: Fit[Any, Any],
    finding: Finding,
    intervals: Sequence[Interval],
    gain: float,
    pictures: Sequence[Picture],
    accuracy: pd.DataFrame | None,
) -> Page:
    """The page of the motif."""
    bits = model.information(fitted.params)
    n, n_letters = len(finding.pieces), sum(len(piece.codes) for piece in finding.pieces)
    needed = model.locating_bits(np.array([len(piece.codes) for piece in finding.pieces]))
    corrected = model.corrected_information(fitted.params, len(intervals))
    letters = consensus(fitted.params.matrix)
    stretches = "sequences" if all(piece.whole for piece in finding.pieces) else "searched stretches"
    lead = f"A motif of {options.width} bp, {letters}, has a site in {len(intervals)} of {n} {stretches}."
    facts = {
        "Sites": f"{len(intervals)} in {n} {stretches}",
        "Information": f"{bits.sum():.1f} bits",
        "Less what chance shows": f"{corrected:.1f} bits",
        "Needed to single out a site": f"{needed:.1f} bits",
        "Gain over no motif": f"{gain:.1f} nats",
        "Background": f"order {options.background_order}, {100 * model.background.frequencies[1:3].sum():.0f} % GC",
    }
    if options.occurrence == "zoops":
        facts["Occurrence"] = f"{100 * fitted.params.occurrence:.0f} % of {stretches}"
    tables = []
    if accuracy is not None:
        value = dict(zip(accuracy["metric"], accuracy["value"], strict=True))
        lead += (
            f" It meets a known site in {value['sequences_found']:.0f} of the {value['sequences_with_known_site']:.0f} "
            f"sequences that have one, and {value['known_sites_found']:.0f} of {value['known_sites']:.0f} known sites; "
            f"{value['false_sites']:.0f} of its sites are not known ones."
        )
        facts["Known sites found"] = f"{value['known_sites_found']:.0f} of {value['known_sites']:.0f}"
        facts["Nucleotide F1"] = f"{value['nucleotide_f1']:.2f}"
        what = "A known site is found where a predicted one covers at least half of it. "
        what += f"The model places at most one site a sequence, so it can find at most {n} sites."
        tables.append(Table("Accuracy against known sites", what, accuracy))
    if corrected < needed:
        lead += (
            f" With {corrected:.1f} bits (less what chance shows) it is weaker than the {needed:.1f} bits that it takes to single out one place in a "
            "stretch: read it as composition, not as a binding site."
        )
    else:
        lead += " Random sequences have a best motif too, and no significance is stated here."
    tables += [site_table(finding, intervals), matrix_table(fitted.params.matrix, bits)]
    left = f"{finding.n_left_out} stretches without {options.width} known letters in a row were left out. "
    sparse = n_letters < SPARSE * 4 ** (options.background_order + 1) and options.background_order > 0
    warning = (
        f"The background has {4 ** (options.background_order + 1)} probabilities for {n_letters} letters, which is few: "
        "compare with a lower order. "
    )
    one_or_two = "both strands" if model.both else "the forward strand"
    at_most = "one site a sequence" if options.occurrence == "oops" else "zero or one site a sequence"
    methods = (
        f"A position weight matrix of {options.width} bp with {at_most} on {one_or_two} ({options.occurrence.upper()}) was "
        f"fitted by EM to {n} sequences ({n_letters} letters) over a Markov background of order "
        f"{options.background_order} estimated from them, with {model.pseudocount:g} sites' worth of background letters as "
        f"Dirichlet prior. Each of {options.starts} starts is the best of up to 64 random words of the data by the likelihood "
        f"after one pass; {len(fitted.starts) - options.starts} more starts shift the best motif along its sites. "
        f"A sequence has a site in the results where the posterior probability of any site is at least {CALLED:g}; its "
        "place is the start with the largest posterior, both strands together. Letters that were not observed (N) are summed "
        f"out, and no site overlaps one. {left if finding.n_left_out else ''}{warning if sparse else ''}"
    )
    return Page(
        title=f"{options.name}: a motif in {options.input.name}",
        lead=lead,
        facts=facts,
        pictures=pictures,
        tables=tables,
        methods=methods,
        references=REFERENCES,
        files=FILES | ({"accuracy.tsv": "agreement with the known sites"} if accuracy is not None else {}),
    )


def site_table(finding: Finding, intervals: Sequence[Interval]) -> Table:
    """The sites with their letters, the most probable first."""
    rows = []
    for i, site in zip(finding.called, intervals, strict=True):
        piece = finding.pieces[i]
        codes = piece.codes[site.start - piece.start : site.end - piece.start]
        text = decode(codes if site.strand == "+" else 3 - codes[::-1])
        posterior, anywhere = float(finding.sites.posterior[i]), float(finding.sites.any_site[i])
        rows.append((site.record, site.start, site.end, site.strand, posterior, anywhere, text))
    names = ["sequence", "start", "end", "strand", "posterior", "any site", "letters on that strand"]
    frame = pd.DataFrame(rows, columns=names).sort_values("posterior", ascending=False, kind="stable")
    caption = (
        "The most probable first. Start and end are 0-based, half-open, as in sites.bed. “posterior” is the probability that the site starts there (on "
        "either strand), “any site” that the sequence has one at all: a low first and a high second number mean that the "
        "place is in doubt, not the site."
    )
    return Table("Sites", caption, frame)


def matrix_table(matrix: Any, bits: Any) -> Table:
    """The matrix with the information content of each position."""
    frame = pd.DataFrame(matrix, columns=list("ACGT"))
    frame.insert(0, "position", np.arange(1, len(matrix) + 1))
    frame["information, bits"] = bits
    return Table("Matrix", "Letter probabilities at each position of a site, and how much each position says.", frame)
