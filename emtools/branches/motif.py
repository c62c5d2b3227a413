"""``emtools motif``: one motif and its sites in the sequences of a FASTA file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools.branches.finish import finish
from emtools.branches.motif_page import Finding, describe, errors_of, words_of
from emtools.branches.options import RunOptions
from emtools.engine.chunks import SequenceSource
from emtools.engine.result import ONE_START, Fit
from emtools.engine.starts import fit
from emtools.errors import FitError, InputError
from emtools.io.console import Progress
from emtools.io.fasta import Record, read_fasta
from emtools.io.intervals import FULL_SCORE, Interval, read_bed, write_bed, write_gff3
from emtools.io.motifs import consensus, motif_name, write_jaspar, write_meme, write_transfac
from emtools.io.outputs import staged
from emtools.io.regions import Piece, cut, read_regions
from emtools.kernels.spans import matches, n_positions, n_shared_positions
from emtools.models.motif import WIDEST_FAST, Background, Occurrence, Strands, estimate_background, has_room
from emtools.motif_finding.background import choose_order
from emtools.motif_finding.calling import call_sites
from emtools.motif_finding.search import Candidate, Terms, search, settle
from emtools.motif_finding.significance import held_out_test, site_p_values
from emtools.plots.motif import Row, Site, draw_logo, draw_positions, draw_sites

FEWEST_LETTERS = 10  # letters for each context of the background, below which it is refused
STRANDS = "+-"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools motif``; the fields are those of the command line.

    Parameters
    ----------
    input : Path
        FASTA file of DNA.
    width : (int, int)
        Fewest and most positions of a site.
    occurrence : str
        One site a sequence (oops), zero or one (zoops), or any number (anr).
    strands : str
        Search both strands or one.
    palindrome : bool
        Tie the motif to its own reverse complement.
    background_order : int or None
        Order of the Markov background; None to choose it by the number of letters.
    background : Path or None
        FASTA file that the background is learnt from; None for what is searched.
    untested : bool
        Leave out the test on held-out sequences.
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
    width: tuple[int, int]
    occurrence: Occurrence = "zoops"
    strands: Strands = "both"
    palindrome: bool = False
    background_order: int | None = None
    background: Path | None = None
    untested: bool = False
    name: str = "motif"
    regions: Path | None = None
    region_name: str | None = None
    window: int | None = None
    truth: Path | None = None


def run(options: Options) -> int:
    """Read, search, fit, write; the exit code."""
    motif_name(options.name)
    require_consistent(options)
    records = read_dna(options.input)
    regions = None if options.regions is None else read_regions(options.regions, records, options.region_name)
    everything = cut(records, regions, options.window)
    pieces = [piece for piece in everything if has_room(piece.codes, options.width[0])]
    require_enough(pieces, everything, options)
    require_width(options)
    known = read_known(options, records, pieces)

    source = SequenceSource([piece.codes for piece in pieces])
    background, note = learn_background(source, options)
    terms = Terms(options.width, options.occurrence, options.strands == "both", palindrome=options.palindrome)
    progress = Progress(f"motif {options.input.name}", options.starts, options.quiet)
    try:
        fitted, found = find(source, background, terms, options, progress)
    except FitError as error:
        raise InputError(
            str(options.input), error.got, "", "use more sequences, a smaller --width, or a lower --background-order"
        ) from error
    progress.close(fitted.summary)
    calls = call_sites(fitted.model, fitted.params, source)
    seen = None if options.untested else held_out_test(source, background, terms, options.seed, options.starts)
    finding = Finding(pieces, len(everything) - len(pieces), calls, np.empty(0), known, seen, note)
    intervals = site_intervals(finding, fitted.model.width, options)
    p_values = p_values_of(words_of(finding, intervals), fitted)
    candidates = [
        {"evidence": c.choice.evidence, "width": c.choice.width, "n_sites": c.choice.n_sites}
        for c in found
        if np.isfinite(c.choice.evidence)
    ]
    return write(options, source, fitted, replace(finding, p_values=p_values), intervals, candidates)


def learn_background(source: SequenceSource, options: Options) -> tuple[Background, str]:
    """The background, and a note on how its order was chosen."""
    both, order = options.strands == "both", options.background_order
    learnt = source if options.background is None else SequenceSource([r.codes for r in read_dna(options.background)])
    of = "estimated from them" if options.background is None else f"estimated from {options.background.name}"
    n_known = int(np.count_nonzero(learnt.codes < 4))
    if order is None:
        order = choose_order(n_known, options.background is not None)
        return estimate_background(learnt, order, both=both), f"{of}; order chosen for its {n_known:,} letters"
    require_background(learnt, order, options)
    return estimate_background(learnt, order, both=both), f"{of}; order as asked for"


def find(
    source: SequenceSource, background: Background, terms: Terms, options: Options, progress: Progress
) -> tuple[Fit[Any, Any], list[Candidate]]:
    """Search, then full EM from the best candidate; the candidates too."""
    found = search(source, background, terms, options.seed, options.starts)
    model, start = settle(source, background, terms, found, options.seed)
    init = [start]
    fitted = fit(model, source, init=init, **options.climbing, checkpoint=options.checkpoint, on_pass=progress)
    origin = f"Begun from the best of {len(found)} motifs that the search climbed, by the evidence of their sites."
    told = {name: getattr(fitted, name).replace(ONE_START, origin) for name in ("summary", "verdict")}
    return replace(fitted, **told), found


def p_values_of(words: Sequence[str], fitted: Fit[Any, Any]) -> Any:
    """p-value of each site from its letters."""
    matrix, frequencies = fitted.params.matrix, fitted.model.background.frequencies
    letters = np.array([["ACGT".index(c) for c in word] for word in words], dtype=np.int64).reshape(-1, len(matrix))
    scores = np.log(matrix / frequencies)[np.arange(len(matrix)), letters].sum(axis=1)
    return site_p_values(matrix, frequencies, scores)


def write(
    options: Options,
    source: SequenceSource,
    fitted: Fit[Any, Any],
    finding: Finding,
    intervals: list[Interval],
    candidates: list[dict[str, Any]],
) -> int:
    """All files; the exit code."""
    model, matrix = fitted.model, fitted.params.matrix
    counts = model.tied(fitted.stats.counts)
    accuracy = None if options.truth is None else measure(intervals, finding, options)
    gain = fitted.loglik - model.background_loglik(source)
    letters, bits, both = consensus(matrix), model.information(fitted.params), model.both
    seen, frequencies = finding.significance, model.background.frequencies
    with staged(options.out) as folder:
        e_value = None if seen is None else seen.p
        n_sites = max(1, len(intervals))
        write_meme(folder / "motifs.meme", options.name, matrix, frequencies, n_sites, both, e_value)
        write_jaspar(folder / "motifs.jaspar", options.name, counts)
        write_transfac(folder / "motifs.transfac", options.name, counts)
        write_bed(folder / "sites.bed", intervals)
        notes = [
            {"posterior": f"{z:.4f}", "pvalue": f"{p:.3g}", "letters": word}
            for z, p, word in zip(finding.calls.posterior, finding.p_values, words_of(finding, intervals), strict=True)
        ]
        write_gff3(folder / "sites.gff3", intervals, notes)
        rows = site_rows(finding)
        pictures = [
            draw_logo(
                matrix, frequencies, errors_of(fitted), letters, len(intervals), both and not model.palindrome, folder
            ),
            draw_sites(rows, model.width, options.truth is not None, folder),
            draw_positions(rows, model.width, folder),
        ]
        inputs = (options.input, options.regions, options.truth, options.background)
        return finish(
            folder,
            fitted,
            describe(options, fitted, finding, intervals, gain, pictures, accuracy),
            options,
            branch="motif",
            inputs=[path for path in inputs if path is not None],
            labels={"matrix": [[str(w + 1) for w in range(model.width)], list("ACGT")]},
            accuracy=accuracy,
            extra={
                "consensus": letters,
                "occurrence": fitted.params.occurrence,
                "information": bits,
                "gain_over_background": gain,
                "background": finding.background_note,
                "n_sequences": len(finding.pieces),
                "n_left_out": finding.n_left_out,
                "n_sites": len(intervals),
                "candidates": candidates,
                "significance": None if seen is None else asdict(seen),
            },
        )


def require_consistent(options: Options) -> None:
    """Refuse options that do not go together."""
    if options.region_name is not None and options.regions is None:
        raise InputError("--region-name", repr(options.region_name), "--regions BED", "add it or leave both out")
    if options.palindrome and options.strands == "one":
        raise InputError("--palindrome", "with --strands one", "both strands", "leave one of them out")
    narrow, wide = options.width
    if not 2 <= narrow <= wide:
        raise InputError("--width", f"{narrow}-{wide}", "at least 2 bp, the smaller one first")
    if options.window is not None and options.window < narrow:
        raise InputError(
            "--window", f"{options.window} bp", f"at least the width of the motif, {narrow} bp", "use wider windows"
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
        f"{len(pieces)} of {len(everything)} sequences to search have {options.width[0]} known letters in a row "
        f"(the longest has {longest} letters)",
        "at least 2",
        "cut the long one with --window" if pieces and longest >= 2 * options.width[0] else "use a smaller --width",
    )


def require_width(options: Options) -> None:
    """Refuse a motif so wide that products of its ratios leave the range of numbers."""
    if options.width[1] > WIDEST_FAST:
        raise InputError("--width", f"{options.width[1]} bp", f"at most {WIDEST_FAST} bp", "use a smaller --width")


def require_background(source: SequenceSource, order: int, options: Options) -> None:
    """Refuse a background with more contexts than the letters can tell apart: it would explain any sequence."""
    n_counted = int(np.maximum(np.diff(source.offsets) - order, 0).sum())
    needed = FEWEST_LETTERS * 4**order
    if order and n_counted < needed:
        raise InputError(
            str(options.background or options.regions or options.input),
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


def site_intervals(finding: Finding, width: int, options: Options) -> list[Interval]:
    """The sites in coordinates of the FASTA."""
    intervals, calls = [], finding.calls
    for i, at, strand, posterior in zip(calls.sequence, calls.start, calls.strand, calls.posterior, strict=True):
        piece, start = finding.pieces[i], finding.pieces[i].start + int(at)
        score = round(FULL_SCORE * min(1.0, float(posterior)))
        intervals.append(Interval(piece.record, start, start + width, options.name, score, STRANDS[strand]))
    return intervals


def site_rows(finding: Finding) -> list[Row]:
    """What the figure of sites shows."""
    sites: list[list[Site]] = [[] for _ in finding.pieces]
    calls = finding.calls
    for i, at, strand, posterior in zip(calls.sequence, calls.start, calls.strand, calls.posterior, strict=True):
        sites[i].append(Site(int(at), STRANDS[strand], float(posterior)))
    return [
        Row(
            label=piece.label,
            record=piece.record,
            offset=piece.start,
            length=len(piece.codes),
            sites=found,
            known=[(k.start - piece.start, k.end - piece.start) for k in finding.known if holds(piece, k)],
        )
        for piece, found in zip(finding.pieces, sites, strict=True)
    ]


def measure(intervals: Sequence[Interval], finding: Finding, options: Options) -> pd.DataFrame:
    """Agreement with the known sites."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(piece.record for piece in finding.pieces))}

    def spans(items: Sequence[Interval]) -> Any:
        return np.array([(numbers[i.record], i.start, i.end) for i in items], dtype=np.int64).reshape(-1, 3)

    predicted, known = spans(intervals), spans(finding.known)
    hit = matches(predicted, known)
    with_known = {p for p, piece in enumerate(finding.pieces) if any(holds(piece, k) for k in finding.known)}
    found = {p for row, p in enumerate(finding.calls.sequence.tolist()) if p in with_known and hit[row].any()}
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
