"""``emtools hmm FASTA``: hidden states along sequences, their segments and how sure they are."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emtools.branches.finish import finish
from emtools.branches.options import RunOptions
from emtools.engine.chunks import SequenceSource
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.io.console import Progress
from emtools.io.fasta import ALPHABETS, Record, read_fasta
from emtools.io.intervals import FULL_SCORE, Interval, write_bed, write_bedgraph
from emtools.io.outputs import staged
from emtools.models.hmm import CategoricalHMM, HMMParams
from emtools.plots.hmm import Decoded, draw_parameters, draw_track, rgb_of
from emtools.report.page import PROBABILITY, Page, Table

NEGLIGIBLE = 1e-6  # per cent, shown as 0
FEWEST_LETTERS = 10  # observed letters a free parameter, below which the page warns
ROWS_AT_ONCE = 2**16
REFERENCES = (
    "Baum, Petrie, Soules & Weiss (1970) Ann. Math. Statist. 41, 164–171, doi:10.1214/aoms/1177697196 (Baum–Welch)",
    "Rabiner (1989) Proc. IEEE 77, 257–286, doi:10.1109/5.18626 (scaling, several sequences, Viterbi)",
    "Churchill (1989) Bull. Math. Biol. 51, 79–94, doi:10.1016/S0092-8240(89)80049-7 (hidden Markov models of DNA)",
)


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools hmm``.

    Parameters
    ----------
    input : Path
        FASTA file.
    states : int
        Number of hidden states.
    alphabet : {"dna", "rna", "protein"}
        Letters.
    pseudocount : float
        Dirichlet pseudo-count of every probability; 0.0 is maximum likelihood.
    """

    input: Path
    states: int
    alphabet: str = "dna"
    pseudocount: float = 0.0


def run(options: Options) -> int:
    """Fit, decode and write."""
    letters = ALPHABETS[options.alphabet]
    model = CategoricalHMM(options.states, len(letters), options.pseudocount)
    records = read_fasta(options.input, options.alphabet)
    source = SequenceSource([record.codes for record in records])
    n_observed = int((source.codes < len(letters)).sum())
    if n_observed < options.states:
        raise InputError(
            str(options.input),
            f"{n_observed} observed letter{'s' * (n_observed != 1)}",
            f"at least one for each of {options.states} states",
            "use fewer --states or more sequence",
        )
    progress = Progress("hmm")
    result = fit(
        model,
        source,
        starts=options.starts,
        **options.climbing,
        checkpoint=options.checkpoint,
        on_pass=progress,
    )
    progress.close(result.summary)
    params: HMMParams = result.params
    decoded = [
        Decoded(r.name, r.codes, model.viterbi(params, r.codes), model.posterior(params, r.codes)) for r in records
    ]
    names = [f"S{k + 1}" for k in range(options.states)]
    segments = [segment for item in decoded for segment in segments_of(item, names)]
    states = describe_states(params, decoded, segments, names, letters)
    notes = notices(records, states, letters)
    for note in notes:
        print(f"hmm: {note}", file=sys.stderr)

    with staged(options.out) as folder:
        write_bed(folder / "segments.bed", segments)
        write_posteriors(folder / "posteriors.tsv.gz", decoded, names)
        for k, name in enumerate(names):
            tracks = ((item.name, item.posterior[:, k]) for item in decoded)
            write_bedgraph(folder / f"posterior_{name}.bedgraph.gz", tracks, f"P({name})", rgb_of(k))
        parameter_table(params, names, letters).to_csv(folder / "parameters.tsv", sep="\t", index=False)
        pictures = [
            draw_track(decoded, params, names, letters, folder),
            draw_parameters(params, names, letters, folder),
        ]
        page = Page(
            title=f"Hidden states in {options.input.name}",
            lead=" ".join(
                [lead(options, records, n_observed, states, len(segments), model), *(f"Mind: {n}." for n in notes)]
            ),
            facts=facts(records, n_observed, states, len(segments), model),
            pictures=pictures,
            tables=[
                Table("States", state_caption(options.alphabet), readable(states)),
                Table(
                    "Segments",
                    "Stretches of one state along the most probable path (Viterbi). Start and end are 0-based, "
                    "half-open, as in segments.bed; the posterior is the mean probability of that state over the segment.",
                    segment_table(segments, decoded, letters),
                ),
            ],
            methods=methods(options, model),
            references=REFERENCES,
            files={
                "segments.bed": "most probable segments, BED9: the score is 1000 × the mean posterior, colours as here",
                "posteriors.tsv.gz": "probability of each state at each letter (position 0-based)",
                f"posterior_{names[0]}.bedgraph.gz": "probability of a state along the records, to three decimals, as a track "
                "for a genome browser; one file a state",
                "parameters.tsv": "start, transition and emission probabilities of each state",
            },
        )
        labels = {"start": [names], "transition": [names, names], "emission": [names, list(letters)]}
        extra = {"n_segments": len(segments), "n_letters_observed": n_observed, "states": states.to_dict("records")}
        return finish(
            folder,
            result,
            page,
            options,
            branch="hmm",
            inputs=[options.input],
            labels=labels,
            units=dict.fromkeys(labels, PROBABILITY),
            extra=extra,
        )


def notices(records: Sequence[Record], states: pd.DataFrame, letters: str) -> list[str]:
    """What of the answer is empty."""
    counts = sum(np.bincount(record.codes, minlength=len(letters) + 1)[: len(letters)] for record in records)
    present = np.flatnonzero(counts)
    notes = []
    if len(present) == 1 and len(states) > 1:
        notes.append(f"every observed letter is {letters[present[0]]}, so that nothing tells states apart")
    for row in states.to_dict("records"):
        if not row["segments"]:
            notes.append(
                f"{row['state']} holds no segment of the most probable path ({row['share of letters, %']:.2g} % of the "
                "letters by posterior); fewer --states may say as much"
            )
    return notes


def segments_of(item: Decoded, names: Sequence[str]) -> list[Interval]:
    """Runs of one state along the best path."""
    ends = [*(np.flatnonzero(np.diff(item.path)) + 1).tolist(), len(item.path)]
    segments, begin = [], 0
    for end in ends:
        state = int(item.path[begin])
        score = round(FULL_SCORE * float(item.posterior[begin:end, state].mean()))
        segments.append(Interval(item.name, begin, end, names[state], score, ".", rgb_of(state)))
        begin = end
    return segments


def gc_percent(codes: np.ndarray, letters: str) -> float:
    """G + C among observed letters, in percent; NaN where none is observed."""
    counts = np.bincount(codes, minlength=len(letters) + 1)[: len(letters)]
    strong = counts[letters.index("C")] + counts[letters.index("G")]
    return float(100.0 * strong / counts.sum()) if counts.sum() else float("nan")


def describe_states(
    params: HMMParams, decoded: Sequence[Decoded], segments: Sequence[Interval], names: Sequence[str], letters: str
) -> pd.DataFrame:
    """One row per state: what it emits, how much of the sequence it holds, how long it stays."""
    n_total = sum(len(item.path) for item in decoded)
    expected = sum(item.posterior.sum(axis=0) for item in decoded)
    rows = []
    for k, name in enumerate(names):
        own = [s for s in segments if s.name == name]
        held = sum(map(len, own))
        leave = 1.0 - params.transition[k, k]
        row = {
            "state": name,
            "share of letters, %": 100.0 * float(expected[k]) / n_total,
            "segments": len(own),
            "mean segment, letters": held / len(own) if own else float("nan"),
            "expected stay, letters": 1.0 / leave if leave > 0.0 else float("inf"),
        }
        if len(letters) == len("ACGT"):
            row["GC, %"] = 100.0 * float(
                params.emission[k, letters.index("C")] + params.emission[k, letters.index("G")]
            )
        else:
            order = np.argsort(-params.emission[k])[:5]
            row["commonest letters"] = " ".join(f"{letters[i]} {params.emission[k, i]:.3f}" for i in order)
        rows.append(row)
    return pd.DataFrame(rows)


def readable(states: pd.DataFrame) -> pd.DataFrame:
    """The table of states with lengths as whole letters."""
    shown = states.copy()
    for column in ("share of letters, %", "GC, %"):
        if column in shown:
            shown[column] = shown[column].where(shown[column] > NEGLIGIBLE, 0.0)
    for column in ("mean segment, letters", "expected stay, letters"):
        shown[column] = [
            "never leaves" if np.isinf(v) else "" if np.isnan(v) else f"{v:,.0f}" if v >= 10 else f"{v:.2g}"
            for v in states[column]
        ]
    return shown


def segment_table(segments: Sequence[Interval], decoded: Sequence[Decoded], letters: str) -> pd.DataFrame:
    """Segments as a person reads them."""
    codes = {item.name: item.codes for item in decoded}
    table = pd.DataFrame(
        {
            "record": [s.record for s in segments],
            "start": [s.start for s in segments],
            "end": [s.end for s in segments],
            "length": [len(s) for s in segments],
            "state": [s.name for s in segments],
            "posterior": [f"{s.score / FULL_SCORE:.3f}" for s in segments],
        }
    )
    if len(letters) == len("ACGT"):
        table["GC, %"] = [f"{gc_percent(codes[s.record][s.start : s.end], letters):.1f}" for s in segments]
    return table


def parameter_table(params: HMMParams, names: Sequence[str], letters: str) -> pd.DataFrame:
    """All parameters, one row per state."""
    table = pd.DataFrame({"state": names, "start": params.start})
    for j, name in enumerate(names):
        table[f"to_{name}"] = params.transition[:, j]
    for j, letter in enumerate(letters):
        table[f"emits_{letter}"] = params.emission[:, j]
    return table


def write_posteriors(path: Path, decoded: Sequence[Decoded], names: Sequence[str]) -> None:
    """Gzipped TSV with the same bytes for the same numbers."""
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as zipped:
        text = io.TextIOWrapper(zipped, encoding="utf-8", newline="\n")
        text.write("\t".join(["record", "position", *names]) + "\n")
        for item in decoded:
            row = f"{item.name.replace('%', '%%')}\t%d" + "\t%.5f" * len(names) + "\n"
            for begin in range(0, len(item.posterior), ROWS_AT_ONCE):
                block = item.posterior[begin : begin + ROWS_AT_ONCE].tolist()
                text.writelines(row % (begin + i, *shares) for i, shares in enumerate(block))
        text.flush()
        text.detach()


def lead(
    options: Options,
    records: Sequence[Record],
    n_observed: int,
    states: pd.DataFrame,
    n_segments: int,
    model: CategoricalHMM,
) -> str:
    """The answer in two sentences."""
    what = records[0].name if len(records) == 1 else f"{len(records)} records"
    n_total = sum(len(record.codes) for record in records)
    text = (
        f"{options.states} hidden state{'s' * (options.states != 1)} divide {what} ({n_total:,} letters) into "
        f"{n_segments:,} segment{'s' * (n_segments != 1)}. "
    )
    if "GC, %" in states:
        parts = [
            f"{row['state']} holds {row['share of letters, %']:.0f} % of the letters at {row['GC, %']:.1f} % GC"
            for row in states.to_dict("records")
        ]
        text += "; ".join(parts) + ". States are numbered by ascending GC."
    if model.n_free_parameters * FEWEST_LETTERS > n_observed:
        text += (
            f" Caution: {model.n_free_parameters} free parameters were fitted to {n_observed} observed letters; "
            "use fewer states or more sequence."
        )
    return text


def facts(
    records: Sequence[Record], n_observed: int, states: pd.DataFrame, n_segments: int, model: CategoricalHMM
) -> dict[str, str]:
    """Tiles of the page."""
    n_total = sum(len(record.codes) for record in records)
    tiles = {
        "Records": f"{len(records):,}",
        "Letters": f"{n_total:,}",
        "Not observed (N)": f"{n_total - n_observed:,}",
        "Segments": f"{n_segments:,}",
        "Free parameters": str(model.n_free_parameters),
    }
    if "GC, %" in states and len(states) <= 6:
        tiles |= {f"GC of {row['state']}": f"{row['GC, %']:.1f} %" for row in states.to_dict("records")}
    return tiles


def state_caption(alphabet: str) -> str:
    """What the table of states says."""
    order = "descending frequency of the first letter" if alphabet == "protein" else "ascending GC"
    return (
        f"States by {order}. The share sums posterior probabilities; segments are counted on the most probable path; "
        "the expected stay is 1 / (1 − probability of staying), which the transition matrix implies. Where it is much "
        "shorter than the mean segment, the path hides short visits that are too uncertain to be called."
    )


def methods(options: Options, model: CategoricalHMM) -> str:
    """The paragraph of a methods section."""
    prior = (
        f"a Dirichlet prior (pseudo-count {options.pseudocount:g}) on every distribution"
        if options.pseudocount
        else "maximum likelihood"
    )
    return (
        f"A hidden Markov model with {options.states} states, each emitting one of {model.n_letters} {options.alphabet} "
        f"letters, was fitted to all records together by {prior} with the Baum–Welch algorithm (scaled forward–backward) from "
        f"{options.starts} starts (windows grouped by composition), each until less than {options.tol:g} nats were "
        "estimated to be left. N and other ambiguity codes were summed out. Segments are the most probable path "
        "(Viterbi); posteriors are the forward–backward probabilities at the same parameters."
    )
