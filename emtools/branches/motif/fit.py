"""``emtools motif``: motifs and their sites in the sequences of a FASTA file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools.branches.finish import NOT_CONVERGED, finish
from emtools.branches.motif.known import Comparison, add_matches, compare, read_library
from emtools.branches.motif.neighbours import add_neighbours, told_dependence, without_leaning_errors
from emtools.branches.motif.page import CHANCE, Ended, Finding, Searched, describe, errors_of, read_as, words_of
from emtools.branches.motif.types import Options
from emtools.engine.certificate import MOST
from emtools.engine.chunks import SequenceSource
from emtools.engine.protocol import Floats
from emtools.engine.result import ONE_START, Fit
from emtools.engine.starts import fit, with_certificate
from emtools.errors import FitError, InputError
from emtools.io.bedgraph import ValueTrack
from emtools.io.console import Progress
from emtools.io.fasta import UNITS, Record, read_fasta
from emtools.io.intervals import FULL_SCORE, Interval, read_bed, write_bed, write_gff3
from emtools.io.motifs import Matrix, write_jaspar, write_meme, write_transfac
from emtools.io.outputs import staged
from emtools.io.regions import Piece, cut
from emtools.io.start_files import Ends, read_ends
from emtools.io.weights import values_between
from emtools.kernels.spans import matches, n_positions, n_shared_positions
from emtools.models.motif import (
    WIDEST_FAST,
    Background,
    MotifParams,
    estimate_background,
    has_room,
)
from emtools.motif_finding.background import choose_order
from emtools.motif_finding.calling import Calls, call_sites
from emtools.motif_finding.dependence import Dependence, linked, look_at
from emtools.motif_finding.erasing import erase, masked
from emtools.motif_finding.evidence import Choice
from emtools.motif_finding.places import place_prior
from emtools.motif_finding.search import Candidate, Terms, climb_seeds, search, settle
from emtools.motif_finding.significance import background_of_test, halves, held_out_test, site_p_values
from emtools.plots.motif import Look, Row, Site, draw_logo, draw_positions, draw_sites
from emtools.plots.style import Picture

MOST_LOOKED = 2e9  # letters times parameters of order 1, up to which their errors are computed: 4 passes a parameter
FEWEST_LETTERS = 10  # letters for each context of the background, below which it is refused
STRANDS = "+-"
ONTOLOGY = {"dna": "TF_binding_site", "rna": "nucleotide_motif", "protein": "polypeptide_motif"}
SEARCH, HALF = "search", "search of half of the sequences"


def analyse(
    options: Options,
    records: Sequence[Record],
    regions: Sequence[Interval] | None,
    weights: Mapping[str, ValueTrack] | None,
) -> int:
    """Search what was read, fit, write; the exit code."""
    everything = cut(records, regions, options.window)
    pieces = [piece for piece in everything if has_room(piece.codes, options.width[0], options.n_letters)]
    require_enough(pieces, everything, options)
    require_width(options)
    known = read_known(options, records, pieces)
    library = None if options.known is None else read_library(options.known, options.letters)

    source = SequenceSource([piece.codes for piece in pieces], prior=prior_of(pieces, options, weights))
    background, note = learn_background(source, options)
    searched = Searched(pieces, len(everything) - len(pieces), known, note)
    ends = read_ends(options)
    if ends is not None and options.only_starts:
        return write_starts(ends, source, background, options)
    findings, ended = find_all(source, background, searched, options, ends)
    comparison = None if library is None else compare(findings, library)
    return write(options, searched, findings, ended, comparison)


def prior_of(pieces: Sequence[Piece], options: Options, weights: Mapping[str, ValueTrack] | None) -> Floats | None:
    """Weight of each letter of the pieces for where sites lie; None where all weigh the same."""
    known, track = np.concatenate([piece.codes < options.n_letters for piece in pieces]), None
    if weights is not None:
        track = [values_between(weights.get(piece.record), piece.start, piece.end) for piece in pieces]
        if not (np.concatenate(track)[known] > 0.0).any():
            got = "no value above 0 in what is searched"
            raise InputError(str(options.prior), got, "one at least", "leave out --prior")
    return place_prior([len(piece.codes) for piece in pieces], options.central, track, known)


def find_all(
    source: SequenceSource, background: Background, searched: Searched, options: Options, ends: Ends | None
) -> tuple[list[Finding], Ended | None]:
    """One motif after the other, each in what those before have left; why no more were sought, if fewer than asked for.

    Starts that were climbed elsewhere are those of the first motif: what the next is sought in is known only after it.

    A motif that the held-out test does not tell from chance is the last that is sought, and is among the findings only if it is the first.
    """
    findings: list[Finding] = []
    rest = source
    for number in range(1, options.motifs + 1):
        name = options.name if options.motifs == 1 else f"{options.name}_{number}"
        saved = options.checkpoint
        if saved is not None and number > 1:
            saved = saved.with_name(f"{saved.name}.{number}")
        if number > 1 and not any(
            has_room(codes, options.width[0], options.n_letters) for codes in pieces_of(masked(rest))
        ):
            return findings, Ended("no further one has room")
        try:
            finding = find(
                name, rest, background, searched, replace(options, checkpoint=saved), ends if number == 1 else None
            )
        except FitError as error:
            if findings:
                if saved is not None:
                    saved.unlink(missing_ok=True)
                return findings, Ended(f"no further motif holds its own ({error.got})")
            remedy = "use more sequences, a smaller --width, or a lower --background-order"
            raise InputError(str(options.input), error.got, "", remedy) from error
        seen = finding.significance
        by_chance = seen is not None and seen.p > CHANCE
        if number == 1 or not by_chance:
            findings.append(finding)
        if by_chance and options.motifs > 1:
            which = (
                "the motif" if number == 1 else f"the next, {finding.consensus} with {len(finding.intervals)} sites,"
            )
            return findings, Ended(f"{which} is no better than chance", seen.p)
        if number < options.motifs:
            rest = erase(rest, finding.motif, finding.scored)
    return findings, None


def pieces_of(source: SequenceSource) -> list[np.ndarray]:
    """Its sequences."""
    return [source[i] for i in range(source.n_units)]


def find(
    name: str,
    source: SequenceSource,
    background: Background,
    searched: Searched,
    options: Options,
    ends: Ends | None,
) -> Finding:
    """The best motif of what is free, its sites, and whether it is real."""
    terms = terms_of(options)
    progress = Progress(name if options.motifs > 1 else f"motif {options.input.name}", 1, options.quiet)
    fitted, found, depends = climb_best(source, background, terms, options, progress, ended_of(ends, SEARCH, options))
    progress.close(fitted.summary)
    model, scored = read_as(fitted)
    calls = call_sites(model, scored, source)
    seen = None
    if not options.untested:
        ended = ended_of(ends, HALF, options)
        own = options.background is None
        seen = held_out_test(source, background, terms, options.seed, options.starts, ended, own)
    intervals = site_intervals(searched.pieces, calls, model.width, name)
    words = words_of(searched.pieces, calls, intervals, options.alphabet)
    candidates = [
        {"evidence": c.choice.evidence, "width": c.choice.width, "n_sites": c.choice.n_sites}
        for c in found
        if np.isfinite(c.choice.evidence)
    ]
    gain = fitted.loglik - model.background_loglik(source)
    p_values = p_values_of(words, scored.matrix, background.frequencies, options.letters)
    return Finding(name, options.alphabet, fitted, gain, calls, intervals, words, p_values, seen, candidates, depends)


def learn_background(source: SequenceSource, options: Options) -> tuple[Background, str]:
    """The background, and a note on how its order was chosen."""
    both, order = options.strands == "both", options.background_order
    learnt, n_letters = source, options.n_letters
    if options.background is not None:
        learnt = SequenceSource([r.codes for r in read_fasta(options.background, options.alphabet)])
    of = "estimated from them" if options.background is None else f"estimated from {options.background.name}"
    n_known = int(np.count_nonzero(learnt.codes < n_letters))
    if order is None:
        order = choose_order(n_known, options.background is not None, n_letters)
        return estimate_background(learnt, order, n_letters, both), f"{of}; order chosen for its {n_known:,} letters"
    require_background(learnt, order, options)
    return estimate_background(learnt, order, n_letters, both), f"{of}; order as asked for"


def terms_of(options: Options) -> Terms:
    """What is asked of a motif."""
    both = options.strands == "both"
    return Terms(options.width, options.occurrence, both, palindrome=options.palindrome, order=options.motif_order)


def parts_of(source: SequenceSource, options: Options) -> dict[str, SequenceSource]:
    """The searches of this command, by what is searched."""
    half, tested, _ = halves(source, options.seed)
    return {SEARCH: source} | ({} if options.untested or tested is None else {HALF: half})


def write_starts(ends: Ends, source: SequenceSource, background: Background, options: Options) -> int:
    """Climb from some starts alone, for a later command to gather; the exit code."""
    for part, letters in parts_of(source, options).items():
        terms, own = terms_of(options), options.background is None
        learnt = background_of_test(letters, background, own, terms.both) if part == HALF else background
        climbed = climb_seeds(letters, learnt, terms, options.seed, options.restarts)
        ends.records |= {(part, number): candidate_record(candidate) for number, candidate in climbed.items()}
    ends.write(options.out)
    return 0


def candidate_record(candidate: Candidate) -> dict[str, Any]:
    """A candidate as JSON values."""
    return {"occurrence": candidate.params.occurrence, "matrix": candidate.params.matrix.tolist()} | {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(candidate.choice).items()
    }


def ended_of(ends: Ends | None, part: str, options: Options) -> dict[int, Candidate]:
    """Candidates of a search that were climbed elsewhere."""

    def made(record: dict[str, Any], _: int) -> Candidate:
        shape = (-1, options.n_letters)
        matrix, counts = (np.array(record[name], dtype=np.float64).reshape(shape) for name in ("matrix", "counts"))
        whole = (int(record[name]) for name in ("n_sites", "first", "width"))
        return Candidate(
            MotifParams(float(record["occurrence"]), matrix), Choice(*whole, float(record["evidence"]), counts)
        )

    return {} if ends is None else ends.of(part, made, options.starts)


def climb_best(
    source: SequenceSource,
    background: Background,
    terms: Terms,
    options: Options,
    progress: Progress,
    ended: Mapping[int, Candidate],
) -> tuple[Fit[Any, Any], list[Candidate], Dependence | None]:
    """Search, then full EM from the best candidate; the candidates too, and what its sites say of neighbours where that is asked for."""
    found = search(source, background, terms, options.seed, options.starts, ended)
    model, start = settle(source, background, terms, found, options.seed)
    init: list[Any] = [start]
    of: Any = model
    depends = None
    if terms.order:
        apart = fit(model, source, init=init, **options.climbing, certificate=False).params
        depends = look_at(model, apart, source)
        of, init[0] = linked(model, apart, depends)
    fitted = fit(of, source, init=init, **options.climbing, checkpoint=options.checkpoint, on_pass=progress)
    if terms.order and source.codes.size * of.pack(fitted.params).size <= MOST_LOOKED:
        fitted = without_leaning_errors(with_certificate(fitted, source, options.threads, limit=MOST))
    origin = f"Begun from the best of {len(found)} motifs that the search climbed, by the evidence of their sites."
    told = {name: getattr(fitted, name).replace(ONE_START, origin) for name in ("summary", "verdict")}
    return replace(fitted, **told), found, depends


def p_values_of(words: Sequence[str], matrix: Floats, frequencies: Floats, alphabet: str) -> Floats:
    """p-value of each site from its letters; `matrix` as in `site_p_values`."""
    width = len(matrix)
    letters = np.array([[alphabet.index(c) for c in word] for word in words], dtype=np.int64).reshape(-1, width)
    logs = np.log(matrix / frequencies)
    if logs.ndim == 3:
        before = np.concatenate([np.zeros((len(letters), 1), dtype=np.int64), letters[:, :-1]], axis=1)
        scores = logs[np.arange(width), before, letters].sum(axis=1)
    else:
        scores = logs[np.arange(width), letters].sum(axis=1)
    return site_p_values(matrix, frequencies, scores)


def write(
    options: Options,
    searched: Searched,
    findings: Sequence[Finding],
    ended: Ended | None,
    comparison: Comparison | None,
) -> int:
    """All files; the exit code."""
    first = findings[0]
    accuracy = None if options.truth is None else measure_all(findings, searched, options)
    with staged(options.out) as folder:
        write_motifs(folder, findings, options)
        intervals = [site for finding in findings for site in finding.intervals]
        write_bed(folder / "sites.bed", intervals)
        notes = [
            {"posterior": f"{z:.4f}", "pvalue": f"{p:.3g}", "letters": word}
            for finding in findings
            for z, p, word in zip(finding.calls.posterior, finding.p_values, finding.words, strict=True)
        ]
        write_gff3(folder / "sites.gff3", intervals, notes, ONTOLOGY[options.alphabet])
        pictures = [p for k, f in enumerate(findings, 1) for p in draw(f, k, options, searched, folder)]
        page = describe(options, searched, findings, ended, pictures, accuracy)
        matches, look = {}, Look(options.letters, UNITS[options.alphabet])
        if options.motif_order:
            page = add_neighbours(page, findings, look, folder)
        if comparison is not None:
            page, rows = add_matches(page, findings, comparison, look, folder)
            matches = {"matches": rows}
        inputs = (options.input, options.regions, options.truth, options.background, options.known, options.prior)
        several = (
            {} if options.motifs == 1 else {"motifs": [told(f) for f in findings], "ended": ended and asdict(ended)}
        )
        code = finish(
            folder,
            first.fitted,
            page,
            options,
            branch="motif",
            inputs=[path for path in inputs if path is not None],
            labels=labels_of(first, options.letters),
            units={"dependence": "bits"},
            accuracy=accuracy,
            extra={
                "consensus": first.consensus,
                "occurrence": first.fitted.params.occurrence,
                "information": first.bits,
                "gain_over_background": first.gain,
                "background": searched.background_note,
                "n_sequences": len(searched.pieces),
                "n_left_out": searched.n_left_out,
                "n_sites": len(first.intervals),
                "candidates": first.candidates,
                "significance": None if first.significance is None else asdict(first.significance),
                **told_dependence(first),
                **several,
                **matches,
            },
        )
        return code if all(finding.fitted.converged for finding in findings) else NOT_CONVERGED


def labels_of(finding: Finding, letters: str) -> dict[str, list[list[str]]]:
    """Names along the axes of the parameters."""
    places = [str(w + 1) for w in range(finding.motif.width)]
    pairs = [f"{w}-{w + 1}" for w in range(1, finding.motif.width)]
    labels = {"matrix": [places, list(letters)]}
    if finding.dependence is not None:
        labels |= {"transitions": [pairs, list(letters), list(letters)], "dependence": [pairs]}
    return labels


def write_motifs(folder: Path, findings: Sequence[Finding], options: Options) -> None:
    """The motifs in the formats of others; JASPAR and TRANSFAC know no protein."""
    model = findings[0].motif
    matrices = [
        Matrix(f.name, f.fitted.params.matrix, f.counts, len(f.intervals), f.significance and f.significance.p)
        for f in findings
    ]
    write_meme(folder / "motifs.meme", matrices, model.background.frequencies, model.both, options.letters)
    if options.alphabet != "protein":
        write_jaspar(folder / "motifs.jaspar", matrices)
        write_transfac(folder / "motifs.transfac", matrices)


def draw(finding: Finding, number: int, options: Options, searched: Searched, folder: Path) -> list[Picture]:
    """The figures of one motif; their files are numbered from the second motif on."""
    model, matrix = finding.motif, finding.fitted.params.matrix
    frequencies, n_sites = model.background.frequencies, len(finding.intervals)
    look = Look(options.letters, UNITS[options.alphabet], number, "" if options.motifs == 1 else finding.name)
    rows = site_rows(finding, searched)
    turned = model.both and not model.palindrome
    return [
        draw_logo(matrix, frequencies, errors_of(finding.fitted), finding.consensus, n_sites, turned, folder, look),
        draw_sites(rows, model.width, options.truth is not None, folder, look),
        draw_positions(rows, model.width, folder, look),
    ]


def told(finding: Finding) -> dict[str, Any]:
    """A motif of several, for fit.json."""
    fitted, seen = finding.fitted, finding.significance
    return {
        "name": finding.name,
        "consensus": finding.consensus,
        "status": fitted.status,
        "verdict": fitted.verdict,
        "passes": fitted.passes,
        "loglik": fitted.loglik,
        "gain_over_background": finding.gain,
        "occurrence": fitted.params.occurrence,
        "matrix": fitted.params.matrix,
        "matrix_se": errors_of(fitted),
        **told_dependence(finding, tables=True),
        "information": finding.bits,
        "n_sites": len(finding.intervals),
        "candidates": finding.candidates,
        "significance": None if seen is None else asdict(seen),
    }


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
    if options.alphabet != "protein" and options.width[1] > WIDEST_FAST:
        raise InputError("--width", f"{options.width[1]} bp", f"at most {WIDEST_FAST} bp", "use a smaller --width")


def require_background(source: SequenceSource, order: int, options: Options) -> None:
    """Refuse a background with more contexts than the letters can tell apart: it would explain any sequence."""
    n_counted = int(np.maximum(np.diff(source.offsets) - order, 0).sum())
    needed = FEWEST_LETTERS * options.n_letters**order
    if order and n_counted < needed:
        raise InputError(
            str(options.background or options.regions or options.input),
            f"{n_counted:,} letters to count a background of order {order} from",
            f"at least {needed:,} ({FEWEST_LETTERS} for each of {options.n_letters**order:,} contexts)",
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


def site_intervals(pieces: Sequence[Piece], calls: Calls, width: int, name: str) -> list[Interval]:
    """The sites in coordinates of the FASTA."""
    intervals = []
    for i, at, strand, posterior in zip(calls.sequence, calls.start, calls.strand, calls.posterior, strict=True):
        piece, start = pieces[i], pieces[i].start + int(at)
        score = round(FULL_SCORE * min(1.0, float(posterior)))
        intervals.append(Interval(piece.record, start, start + width, name, score, STRANDS[strand]))
    return intervals


def site_rows(finding: Finding, searched: Searched) -> list[Row]:
    """What the figure of sites shows."""
    sites: list[list[Site]] = [[] for _ in searched.pieces]
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
            known=[(k.start - piece.start, k.end - piece.start) for k in searched.known if holds(piece, k)],
        )
        for piece, found in zip(searched.pieces, sites, strict=True)
    ]


def measure_all(findings: Sequence[Finding], searched: Searched, options: Options) -> pd.DataFrame:
    """Agreement with the known sites, of one motif or of each; the best first."""
    tables = [measure(f, searched, options.occurrence if options.motifs == 1 else f.name) for f in findings]
    return pd.concat(sorted(tables, key=lambda table: -float(table["value"].iloc[-1])), ignore_index=True)


def measure(finding: Finding, searched: Searched, method: str) -> pd.DataFrame:
    """Agreement with the known sites."""
    pieces = searched.pieces
    numbers = {name: i for i, name in enumerate(dict.fromkeys(piece.record for piece in pieces))}

    def spans(items: Sequence[Interval]) -> Any:
        return np.array([(numbers[i.record], i.start, i.end) for i in items], dtype=np.int64).reshape(-1, 3)

    predicted, known = spans(finding.intervals), spans(searched.known)
    hit = matches(predicted, known)
    with_known = {p for p, piece in enumerate(pieces) if any(holds(piece, k) for k in searched.known)}
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
    return pd.DataFrame({"method": method, "metric": values.keys(), "value": values.values()})
