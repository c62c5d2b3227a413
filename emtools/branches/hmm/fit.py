"""What ``emtools hmm`` makes of sequences that are read: models compared, the best one fitted, all of it written."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emtools.branches.finish import finish
from emtools.branches.hmm import against, sampled
from emtools.branches.hmm.decode import Chain, decode_all, segments_of, without_first
from emtools.branches.hmm.page import (
    BIC,
    CODES,
    REFERENCES,
    compositions,
    describe_states,
    facts,
    lead,
    methods,
    notices,
    parameter_table,
    readable,
    segment_table,
    state_caption,
    words,
)
from emtools.branches.hmm.types import Options
from emtools.engine.chunks import SequenceSource
from emtools.engine.starts import climb_starts, fit, with_certificate
from emtools.errors import InputError
from emtools.io.console import Progress
from emtools.io.fasta import ALPHABETS, Record, partial_sets
from emtools.io.intervals import write_bed
from emtools.io.outputs import staged
from emtools.io.start_files import Ends, read_ends
from emtools.models.hmm import MOST_STATES, CategoricalHMM, HMMParams
from emtools.models.hmm_known import known
from emtools.plots.hmm import draw_parameters, draw_track
from emtools.report.components import state_sizes
from emtools.report.page import PROBABILITY, Page, Table

MOST_ERRORS = 200  # parameters of a ready-made model above which standard errors would take minutes


def analyse(options: Options, records: Sequence[Record]) -> int:
    """Fit, decode and write; the exit status."""
    letters = ALPHABETS[options.alphabet]
    chains = candidates(options)
    source = SequenceSource([record.codes for record in records])
    n_observed = int((source.codes < len(letters)).sum())
    most = max(chain.model.n_states for chain in chains)
    if n_observed < most:
        raise InputError(
            str(options.input),
            f"{n_observed} observed letter{'s' * (n_observed != 1)}",
            f"at least one for each of {most} states",
            "use more sequence" if options.model else "use fewer --states or more sequence",
        )
    ends = read_ends(options)
    if ends is not None and options.only_starts:
        return climb_ends(chains, records, source, options, ends)
    other = against.read_other(options, records, {chain.model.order for chain in chains})
    compared = compare(chains, records, options, ends) if len(chains) > 1 else None
    chain = chains[0 if compared is None else int(np.argmin(compared["BIC"]))]
    progress = Progress("hmm", options.starts, options.quiet)
    errors = not chain.init or chain.model.n_free_parameters <= MOST_ERRORS
    result = fit(
        chain.model,
        source,
        starts=options.starts,
        init=chain.init,
        **options.climbing,
        checkpoint=options.checkpoint,
        on_pass=progress,
        certificate=errors,
        ended=None if ends is None else ends.climbs(part_of(chain), HMMParams, options.starts),
    )
    if not errors:
        result = with_certificate(result, source, options.threads, errors=False)
    progress.close(result.summary)
    params: HMMParams = result.params
    with staged(options.out) as folder:
        decoded = decode_all(chain, params, records, folder)
        segments = [segment for item in decoded for segment in segments_of(item, chain.groups)]
        states = describe_states(chain, params, decoded, segments, letters)
        notes = notices(chain, records, states, letters, options)
        for note in notes:
            print(f"hmm: {note}", file=sys.stderr)
        write_bed(folder / "segments.bed", segments)
        parameter_table(chain, params, letters).to_csv(folder / "parameters.tsv", sep="\t", index=False)
        if compared is not None:
            compared.to_csv(folder / "models.tsv", sep="\t", index=False)
        more = beside(chain, params, records, options, other, folder)
        emitted = compositions(chain, params, decoded)
        held = result.stats.n_emission.reshape(len(chain.states), -1).sum(axis=1)
        answer = lead(chain, records, n_observed, states, len(segments))
        page = Page(
            title=f"Hidden states in {options.input.name}",
            lead=" ".join([answer, *(f"Mind: {n}." for n in notes)]),
            facts=facts(chain, records, n_observed, states, len(segments)),
            pictures=[
                draw_track(decoded, emitted, chain.groups, letters, folder),
                draw_parameters(
                    chain.model, params, chain.states, words(letters, chain.model.order + 1), n_observed, folder
                ),
            ],
            tables=[
                *([] if compared is None else [Table("Models compared", COMPARISON, compared)]),
                Table("States", state_caption(options.alphabet, chain), readable(states)),
                Table(
                    "Segments",
                    "Stretches of one state along the most probable path (Viterbi). Start and end are 0-based, "
                    "half-open, as in segments.bed; the posterior is the mean probability of that state over the segment.",
                    segment_table(segments, decoded, letters, "island" in chain.groups),
                ),
                *more.tables,
            ],
            check_tables=[state_sizes(chain.states, result.stats, held, chain.model.composition(params), "letters")],
            methods=methods(options, options.alphabet, chain, compared),
            references=(*references(chain, records, compared), *more.references),
            files=files(chain, compared) | more.files,
        )
        return finish(
            folder,
            result,
            page,
            options,
            branch="hmm",
            inputs=[options.input, *more.inputs],
            labels=(labels := labels_of(chain, letters)),
            units=dict.fromkeys(labels, PROBABILITY),
            extra={"n_segments": len(segments), "n_letters_observed": n_observed, "states": states.to_dict("records")}
            | more.extra,
        )


@dataclass(frozen=True)
class Beside:
    """What is told beside the states: tables of the page, what files hold, numbers for fit.json, files that were read, sources."""

    tables: list[Table]
    files: dict[str, str]
    extra: dict[str, Any]
    inputs: list[Path]
    references: list[str]


def beside(
    chain: Chain,
    params: HMMParams,
    records: Sequence[Record],
    options: Options,
    other: against.Other | None,
    folder: Path,
) -> Beside:
    """Drawn paths and log-odds against another model, where they are asked for."""
    found = Beside([], {}, {}, [], [])
    if options.sample:
        summary, table = sampled.sample(chain, params, records, options.sample, options.seed, folder)
        found.tables.append(table)
        found.files.update(sampled.FILES)
        found.extra["sampled"] = summary.to_dict("records")
        found.references.append(sampled.REFERENCE)
    if other is not None:
        odds, table = against.log_odds(chain, params, other, records, folder)
        found.tables.append(table)
        found.files.update(against.files(other.window))
        found.extra["log_odds_bits"] = float(odds["log-odds, bits"].sum())
        found.inputs.append(other.file)
    return found


def candidates(options: Options) -> list[Chain]:
    """The models that were asked for."""
    sets = partial_sets(options.alphabet)
    if options.model is not None:
        ready = known(options.model, options.pseudocount, sets, ALPHABETS[options.alphabet])
        return [
            Chain(ready.model, ready.states, ready.groups, ready.group_of, (ready.params,), ready.what, ready.reference)
        ]
    assert options.states is not None
    fewest, most = options.states
    if options.repeats > 1 and (fewest < 2 or most * options.repeats > MOST_STATES):
        raise InputError(
            "--repeats", f"{options.repeats} with --states {fewest}-{most}",
            f"at least 2 states, and at most {MOST_STATES} with all their repeats",
        )  # fmt: skip
    chains, n_letters, pseudocount = [], len(ALPHABETS[options.alphabet]), options.pseudocount or 0.0
    for n_states in range(fewest, most + 1):
        names = [f"S{k + 1}" for k in range(n_states)]
        for order in range(options.order[0], options.order[1] + 1):
            model = CategoricalHMM(
                n_states, n_letters, pseudocount, order, sets, options.topology, repeats=options.repeats
            )
            chains.append(Chain(model, names, names, range(n_states)))
    return chains


COMPARISON = (
    "Every model on the same letters: those before which as many as the highest order needs were observed, given the others; codes of "
    "several letters count as not observed here. BIC is −2 log-likelihood + parameters × log(letters); the lowest is the "
    "answer, fitted anew to all letters."
)


def climb_ends(
    chains: Sequence[Chain], records: Sequence[Record], source: SequenceSource, options: Options, ends: Ends
) -> int:
    """Climb some of the starts of every model, on the letters on which models are compared where there are several."""
    if chains[0].init:
        raise InputError("--only-starts", "with --model", "--states", "a ready-made model has one start: leave it out")
    for chain in chains:
        letters, part = source, part_of(chain)
        if len(chains) > 1:
            hidden = common_letters(chain, chains, records)
            letters, part = SequenceSource(hidden), part_of(chain, hidden, records)
        ends.add(part, climb_starts(chain.model, letters, options.restarts, **options.climbing))
    ends.write(options.out)
    return 0


def part_of(chain: Chain, hidden: Sequence[np.ndarray] = (), records: Sequence[Record] = ()) -> str:
    """Which fit of this command: the model, and the letters where some are hidden."""
    some = any(not np.array_equal(codes, record.codes) for codes, record in zip(hidden, records, strict=False))
    return f"{chain.model.n_states} states of order {chain.model.order}{', on common letters' * some}"


def common_letters(chain: Chain, chains: Sequence[Chain], records: Sequence[Record]) -> list[np.ndarray]:
    """The letters of each record that every one of the models scores, the others hidden."""
    more = max(other.model.order for other in chains) - chain.model.order
    return [without_first(record.codes, chain.model.n_letters, more) for record in records]


def compare(
    chains: Sequence[Chain], records: Sequence[Record], options: Options, ends: Ends | None = None
) -> pd.DataFrame:
    """Each model's log-likelihood and BIC on the same letters."""
    most = max(chain.model.order for chain in chains)
    rows = []
    for chain in chains:
        model = chain.model
        hidden = common_letters(chain, chains, records)
        n_scored = sum(scored(codes, model) for codes in hidden)
        if not n_scored:
            raise InputError(
                str(options.input),
                "no letter to compare models by",
                f"letters with {most} observed ones before them",
                "lower --order",
            )
        ended = None if ends is None else ends.climbs(part_of(chain, hidden, records), HMMParams, options.starts)
        result = fit(
            model,
            SequenceSource(hidden),
            starts=options.starts,
            **options.climbing,
            certificate=False,
            ended=ended,
        )
        p = model.n_free_parameters
        bic = -2.0 * result.loglik + p * math.log(n_scored)
        rows.append(
            {"states": model.n_states, "order": model.order, "parameters": p, "letters": n_scored}
            | {"log-likelihood, nats": result.loglik, "BIC": bic, "converged": result.converged}
        )
        print(f"hmm: {model.n_states} states of order {model.order}: BIC {bic:.1f}", file=sys.stderr)
    return pd.DataFrame(rows)


def scored(codes: np.ndarray, model: CategoricalHMM) -> int:
    """Letters whose probability enters the likelihood."""
    steps = model.steps_of(codes, np.array([0, len(codes)]))
    return int((steps < model.steps.n_whole).sum())


def labels_of(chain: Chain, letters: str) -> dict[str, list[list[str]]]:
    """Names along the axes of each parameter."""
    names = list(chain.states)
    before = [words(letters, chain.model.order)] * (chain.model.order > 0)
    return {"start": [names], "transition": [names, names], "emission": [names, *before, list(letters)]}


def references(chain: Chain, records: Sequence[Record], compared: pd.DataFrame | None) -> tuple[str, ...]:
    """Sources of what was done."""
    codes = [CODES] * any(record.codes.max() > chain.model.n_letters for record in records)
    return (*REFERENCES, *codes, *([] if compared is None else [BIC]), *([chain.reference] if chain.reference else []))


def files(chain: Chain, compared: pd.DataFrame | None) -> dict[str, str]:
    """What each file holds."""
    told = {
        "segments.bed": "most probable segments, BED9: the score is 1000 × the mean posterior, colours as here",
        "posteriors.tsv.gz": "probability of each state at each letter (position 0-based)",
        f"posterior_{chain.groups[0]}.bedgraph.gz": "probability of a state along the records, to three decimals, as a track "
        "for a genome browser; one file a state",
        "parameters.tsv": "start, transition and emission probabilities of each state",
    }
    return told if compared is None else {"models.tsv": "log-likelihood and BIC of each model compared", **told}
