"""``emtools hmm FASTA`` until its sequences are read: nothing heavy is imported before."""

from __future__ import annotations

from emtools.branches.hmm.types import Options, file_of
from emtools.errors import InputError
from emtools.io.fasta import read_fasta


def run(options: Options) -> int:
    """Read, then fit, decode and write."""
    require_consistent(options)
    records = read_fasta(options.input, options.alphabet, partial=True)

    from emtools.branches.hmm.fit import analyse  # what a file that cannot be read need not wait for

    return analyse(options, records)


def require_consistent(options: Options) -> None:
    """Raise where options do not go together."""
    if options.model is None and options.states is None:
        raise InputError("emtools hmm", "no number of states", "--states K, --states A-B or --model cpg")
    beside = options.states or options.order != (0, 0) or options.topology != "free" or options.alphabet == "protein"
    beside = beside or options.repeats > 1
    if options.model is not None and beside:
        raise InputError(
            f"--model {options.model}",
            "--states, --order, --topology, --repeats or --alphabet protein beside it",
            "none of them: the model of DNA is ready-made",
        )
    require_other_model(options)


def require_other_model(options: Options) -> None:
    """Raise where there is no model to compare with, or where it would be written over."""
    if options.against is None:
        if options.odds_window is not None:
            raise InputError(
                "--odds-window", "without --against", "both of them", "leave it out, or give --against FIT"
            )
        return
    if not options.against.exists():
        raise InputError("--against", f"{options.against} does not exist", "fit.json of a run of emtools hmm")
    if file_of(options.against).resolve().parent == options.out.resolve():
        raise InputError(
            "--against", f"{options.against} lies in --out and would be replaced", "", "choose another --out folder"
        )
