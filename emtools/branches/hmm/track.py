"""``emtools hmm TRACK``: hidden states along values on a genome, such as copy number or coverage, as BED segments."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools.branches.finish import finish
from emtools.branches.hmm.page import BIC
from emtools.branches.hmm.track_types import Options
from emtools.engine.series import SeriesSource
from emtools.engine.starts import climb_starts, fit
from emtools.errors import FitError, InputError
from emtools.io.bedgraph import ValueTrack
from emtools.io.console import Progress
from emtools.io.intervals import FULL_SCORE, Interval, write_bed, zipped_text
from emtools.io.outputs import staged
from emtools.io.start_files import Ends, read_ends
from emtools.models.gaussian_hmm import GaussianHMM, GaussianHMMParams
from emtools.models.isochores import FAMILIES, LEVELS, LIMITS, IsochoreHMM
from emtools.models.negative_binomial_hmm import NegativeBinomialHMM, NegativeBinomialHMMParams
from emtools.models.poisson_hmm import PoissonHMM, PoissonHMMParams
from emtools.plots.hmm import rgb_of
from emtools.plots.hmm_track import CalledTrack, draw_levels, draw_values
from emtools.report.components import state_sizes
from emtools.report.page import PROBABILITY, Page, Table

REFERENCES = (
    "Baum, Petrie, Soules & Weiss (1970) Ann. Math. Statist. 41, 164–171, doi:10.1214/aoms/1177697196 (Baum–Welch)",
    "Rabiner (1989) Proc. IEEE 77, 257–286, doi:10.1109/5.18626 (scaling, several sequences, Viterbi)",
    "Fridlyand, Snijders, Pinkel, Albertson & Jain (2004) J. Multivar. Anal. 90, 132–153, doi:10.1016/j.jmva.2004.02.008 "
    "(hidden Markov models of array CGH)",
)
ISOCHORES = "Costantini, Clay, Auletta & Bernardi (2006) Genome Res. 16, 536–541, doi:10.1101/gr.4910606 (isochore families and their limits)"
UNITS = {"stay": PROBABILITY, "variance": "(% GC)²"}  # of isochores
FEWEST_VALUES = 10  # observed values a free parameter, below which the page warns


def analyse(options: Options, tracks: Sequence[ValueTrack], width: int | None) -> int:
    """Fit, decode and write what was read."""
    n_values = sum(int(np.isfinite(track.values).sum()) for track in tracks)
    source = SeriesSource([track.values for track in tracks])
    if options.model is not None and (options.only_starts or options.starts_from):
        raise InputError("--only-starts", "with --model", "--states", "a ready-made model has one start: leave it out")
    ends = read_ends(options)
    if ends is not None and options.only_starts:
        for n_states in range(options.states[0], options.states[1] + 1):
            climbs = climb_starts(model_of(options, n_states), source, options.restarts, **options.climbing)
            ends.add(f"{n_states} states", climbs)
        ends.write(options.out)
        return 0
    compared = compare(options, source, n_values, ends) if options.states[0] < options.states[1] else None
    n_states = options.states[0] if compared is None else int(compared["states"][compared["BIC"].idxmin()])
    model = model_of(options, n_states)
    progress = Progress("hmm", options.starts, options.quiet)
    try:
        result = fit(
            model,
            source,
            starts=options.starts,
            **options.climbing,
            checkpoint=options.checkpoint,
            on_pass=progress,
            ended=ended_of(ends, options, n_states),
        )
    except FitError as error:
        remedy = (
            "use fewer --states or a --pseudocount" if options.model is None else "use another --bin or other sequence"
        )
        raise FitError(str(options.input), error.got, error.expected, remedy) from error
    progress.close(result.summary)
    params: Any = result.params
    called = [CalledTrack(t, model.viterbi(params, t.values), model.posterior(params, t.values)) for t in tracks]
    names = [f"S{k + 1}" for k in range(n_states)] if options.model is None else list(FAMILIES)
    segments = [segment for item in called for segment in segments_of(item, names)]
    table = parameter_table(params, names)
    states = describe(called, segments, table)
    notes = [
        f"{row['state']} holds no segment of the most probable path; fewer --states may say as much"
        for row in states.to_dict("records")
        if not row["segments"] and options.model is None
    ]
    for note in notes:
        print(f"hmm: {note}", file=sys.stderr)
    quantity = "value" if options.model is None else "GC content of a window, %"
    with staged(options.out) as folder:
        write_bed(folder / "segments.bed", segments)
        write_posteriors(folder / "posteriors.tsv.gz", called, names)
        table.to_csv(folder / "parameters.tsv", sep="\t", index=False)
        if compared is not None:
            compared.to_csv(folder / "models.tsv", sep="\t", index=False)
        page = Page(
            title=f"{'Hidden states' if options.model is None else 'Isochores'} in {options.input.name}",
            lead=" ".join([lead(model, called, n_values, states, len(segments)), *(f"Mind: {n}." for n in notes)]),
            facts={
                "Records": f"{len(tracks):,}",
                "Steps": f"{sum(map(len, tracks)):,}",
                "Values": f"{n_values:,}",
                "Segments": f"{len(segments):,}",
                "Free parameters": str(model.n_free_parameters),
            },
            pictures=[
                draw_values(called, table, folder, quantity),
                draw_levels(called, params, table, folder, quantity),
            ],
            tables=[
                *([] if compared is None else [Table("Models compared", COMPARISON, compared)]),
                Table(
                    "States",
                    (STATES if options.model is None else KNOWN) + DISPERSION * ("dispersion" in states),
                    readable(states),
                ),
                Table(
                    "Segments",
                    "Runs of one state along the most probable path; 0-based, half-open.",
                    rows_of(segments, called),
                ),
            ],
            check_tables=[
                state_sizes(
                    names,
                    result.stats,
                    sum(i.posterior[np.isfinite(i.track.values)].sum(axis=0) for i in called),
                    None,
                    "values",
                )
            ],
            methods=methods(options, model, width, compared),
            references=references(options, compared is not None),
            files={
                "segments.bed": "most probable segments, BED9: the score is 1000 × the mean posterior, colours as here",
                "posteriors.tsv.gz": "value and probability of each state at each step (0-based, half-open)",
                "parameters.tsv": "start, transition and emission parameters of each state",
                **({} if compared is None else {"models.tsv": "log-likelihood and BIC of each number of states"}),
            },
        )
        labels = labels_of(model.natural(params), names)
        return finish(
            folder,
            result,
            page,
            options,
            branch="hmm",
            inputs=[options.input],
            labels=labels,
            units=dict.fromkeys(("start", "transition"), PROBABILITY) if options.model is None else UNITS,
            extra={"n_segments": len(segments), "n_values": n_values, "states": states.to_dict("records")},
        )


EMITS = {
    "gaussian": "a normal value with a mean and a variance of its own",
    "poisson": "a count (Poisson)",
    "negative-binomial": "a count with a mean m and a dispersion a of its own, so that its variance is m + a m² (negative binomial)",
}
ROUNDED = " and rounded to whole numbers"
COMPARISON = "BIC is −2 log-likelihood + parameters × log(values); the lowest is the answer."
STATES = (
    "States by ascending level. The share sums posterior probabilities over the steps; segments are counted on the most "
    "probable path; the expected stay is 1 / (1 − probability of staying)."
)
BETWEEN = f"{', '.join(f'{limit:g}' for limit in LIMITS[:-1])} and {LIMITS[-1]:g}"
KNOWN = (
    f"The levels, in % GC as the spread, are fixed: half way between two lies the limit between the families, {BETWEEN} % GC. The share sums posterior "
    "probabilities over the windows; segments are counted on the most probable path; the expected stay is 1 / (1 − probability of staying)."
)
DISPERSION = " The variance of a state is level + dispersion × level²; a dispersion of 0 is a Poisson count."


def model_of(options: Options, n_states: int) -> Any:
    """The model of a number of states."""
    if options.model is not None:
        return IsochoreHMM()
    if options.emission == "poisson":
        return PoissonHMM(n_states, 1, options.pseudocount)
    if options.emission == "negative-binomial":
        return NegativeBinomialHMM(n_states, 1, options.pseudocount)
    return GaussianHMM(n_states, 1, "diagonal", pseudocount=options.pseudocount)


def ended_of(ends: Ends | None, options: Options, n_states: int) -> dict[int, Any]:
    """Ends of starts of the model of so many states that were climbed elsewhere."""
    kinds = {"poisson": PoissonHMMParams, "negative-binomial": NegativeBinomialHMMParams}
    kind: Any = kinds.get(options.emission, GaussianHMMParams)
    return {} if ends is None else ends.climbs(f"{n_states} states", kind, options.starts)


def compare(options: Options, source: SeriesSource, n_values: int, ends: Ends | None = None) -> pd.DataFrame:
    """Log-likelihood and BIC of each number of states."""
    rows = []
    for n_states in range(options.states[0], options.states[1] + 1):
        model = model_of(options, n_states)
        ended = ended_of(ends, options, n_states)
        result = fit(model, source, starts=options.starts, **options.climbing, certificate=False, ended=ended)
        bic = -2.0 * result.loglik + model.n_free_parameters * math.log(n_values)
        rows.append(
            {
                "states": n_states,
                "parameters": model.n_free_parameters,
                "log-likelihood, nats": result.loglik,
                "BIC": bic,
            }
            | {"converged": result.converged}
        )
        print(f"hmm: {n_states} states: BIC {bic:.1f}", file=sys.stderr)
    return pd.DataFrame(rows)


def segments_of(item: CalledTrack, names: Sequence[str]) -> list[Interval]:
    """Runs of one state along the best path, from the first step of each to the end of its last."""
    bounds = [0, *(np.flatnonzero(np.diff(item.path)) + 1).tolist(), len(item.path)]
    segments = []
    for begin, end in itertools.pairwise(bounds):
        state = int(item.path[begin])
        score = round(FULL_SCORE * float(item.posterior[begin:end, state].mean()))
        start, last = int(item.track.starts[begin]), int(item.track.ends[end - 1])
        segments.append(Interval(item.track.name, start, last, names[state], score, ".", rgb_of(state)))
    return segments


def parameter_table(params: Any, names: Sequence[str]) -> pd.DataFrame:
    """All parameters, one row per state; the level is the mean of what it emits, the spread its standard deviation."""
    level = (params.rates if hasattr(params, "rates") else params.means)[:, 0]
    table: dict[str, Any] = {"state": list(names), "level": level}
    if hasattr(params, "covariances"):
        table["spread"] = np.sqrt(params.covariances[:, 0])
    elif hasattr(params, "dispersions"):
        dispersion = params.dispersions[:, 0]
        table |= {"spread": np.sqrt(level + dispersion * level**2), "dispersion": dispersion}
    else:
        table["spread"] = np.sqrt(level)
    table["start"] = params.start
    return pd.DataFrame(table | {f"to_{name}": params.transition[:, j] for j, name in enumerate(names)})


def describe(called: Sequence[CalledTrack], segments: Sequence[Interval], table: pd.DataFrame) -> pd.DataFrame:
    """One row per state: its level, how much of the steps it holds, how long it stays."""
    expected = sum(item.posterior.sum(axis=0) for item in called)
    rows = []
    for k, row in enumerate(table.to_dict("records")):
        leave = 1.0 - row[f"to_{row['state']}"]
        rows.append(
            {
                "state": row["state"],
                "level": row["level"],
                "spread": row["spread"],
                **({"dispersion": row["dispersion"]} if "dispersion" in row else {}),
                "share of steps, %": 100.0 * float(expected[k]) / sum(len(item.track) for item in called),
                "segments": sum(segment.name == row["state"] for segment in segments),
                "expected stay, steps": 1.0 / leave if leave > 0.0 else float("inf"),
            }
        )
    return pd.DataFrame(rows)


def readable(states: pd.DataFrame) -> pd.DataFrame:
    """The table of states as a person reads it."""
    column = "expected stay, steps"
    stays = ["never leaves" if math.isinf(stay) else f"{stay:,.1f}" for stay in states[column]]
    return states.round(4).assign(**{column: stays})


def rows_of(segments: Sequence[Interval], called: Sequence[CalledTrack]) -> pd.DataFrame:
    """Segments as a person reads them."""
    tracks = {item.track.name: item.track for item in called}
    rows = []
    for s in segments:
        track = tracks[s.record]
        first, last = np.searchsorted(track.starts, [s.start, s.end])
        values = track.values[first:last]
        seen = values[np.isfinite(values)]
        rows.append(
            {
                "record": s.record,
                "start": s.start,
                "end": s.end,
                "steps": len(values),
                "state": s.name,
                "mean value": f"{seen.mean():.4g}" if len(seen) else "",
                "posterior": f"{s.score / FULL_SCORE:.3f}",
            }
        )
    return pd.DataFrame(rows)


def write_posteriors(path: Path, called: Sequence[CalledTrack], names: Sequence[str]) -> None:
    """Gzipped TSV with the same bytes for the same numbers."""
    with zipped_text(path) as text:
        text.write("\t".join(["record", "start", "end", "value", *names]) + "\n")
        for item in called:
            track = item.track
            for start, end, value, shares in zip(track.starts, track.ends, track.values, item.posterior, strict=True):
                told = "NA" if np.isnan(value) else f"{value:.6g}"
                text.write("\t".join([track.name, str(start), str(end), told, *(f"{p:.5f}" for p in shares)]) + "\n")


def labels_of(natural: dict[str, Any], names: Sequence[str]) -> dict[str, list[list[str]]]:
    """Names along the axes of each parameter."""
    labels = {"start": [list(names)], "transition": [list(names), list(names)]}
    labels = {key: value for key, value in labels.items() if key in natural}
    return labels | {key: [list(names), ["value"]] for key in natural if key not in labels and natural[key].ndim}


def references(options: Options, chosen: bool) -> tuple[str, ...]:
    """Sources of what was done."""
    if options.model is not None:
        return (*REFERENCES[:2], ISOCHORES)
    return (*REFERENCES, BIC) if chosen else REFERENCES


def lead(model: Any, called: Sequence[CalledTrack], n_values: int, states: pd.DataFrame, n_segments: int) -> str:
    """The answer in two sentences."""
    what = called[0].track.name if len(called) == 1 else f"{len(called)} records"
    parts = [
        f"{row['state']} holds {row['share of steps, %']:.1f} % of the steps"
        + f" at a level of {row['level']:.3g}" * (not isinstance(model, IsochoreHMM))
        for row in states.to_dict("records")
    ]
    text = (
        f"{model.n_states} hidden state{'s' * (model.n_states != 1)} divide {what} ({n_values:,} values) into {n_segments:,} "
        f"segment{'s' * (n_segments != 1)}. {'; '.join(parts)}.{'' if isinstance(model, IsochoreHMM) else ' States are numbered by ascending level.'}"
    )
    if model.n_free_parameters * FEWEST_VALUES > n_values:
        text += (
            f" Caution: {model.n_free_parameters} free parameters were fitted to {n_values} values; use fewer states."
        )
    return text


def methods(options: Options, model: Any, width: int | None, compared: pd.DataFrame | None) -> str:
    """The paragraph of a methods section."""
    if options.model is not None:
        return (
            f"The GC content of windows of {width:,} letters (not told where fewer than half of as many were known, and summed out) was divided into the isochore families "
            f"{', '.join(FAMILIES)} by a hidden Markov model whose states emit normal values about {', '.join(f'{level:g}' for level in LEVELS)} % GC, so that the limits of "
            f"Costantini et al. ({BETWEEN} %) lie half way between two of them. The standard deviation, the same in all families, and the probability of staying, the same too "
            "and with ten steps of a stay of ten windows as prior, were estimated by the Baum–Welch algorithm. Segments are the most probable path (Viterbi); posteriors are the "
            "forward–backward probabilities at the same parameters."
        )
    emits = EMITS[options.emission]
    steps = (
        "Each interval of the file was one step of the chain, whatever the distance to the next."
        if width is None
        else f"Values were averaged over bins of {width:,} letters{ROUNDED * (options.emission != 'gaussian')}, which are the steps of the chain; bins without a value were "
        "summed out."
        if options.bin is not None
        else f"Each bin of {width:,} letters between the first and the last of a record was one step of the chain; bins "
        "that the file does not hold were summed out."
    )
    prior = f" with a pseudo-count of {options.pseudocount:g}" if options.pseudocount else ""
    choice = "" if compared is None else " The number of states was chosen by the Bayesian information criterion."
    return (
        f"A hidden Markov model with {model.n_states} states, each emitting {emits}, was fitted to all records together by maximum "
        f"likelihood{prior} with the Baum–Welch algorithm from {options.starts} starts, each until less than {options.tol:g} nats "
        f"were estimated to be left. {steps}{choice} Segments are the most probable path (Viterbi); posteriors are the "
        "forward–backward probabilities at the same parameters."
    )
