"""``emtools hmm FASTA``: hidden states along sequences, their segments and how sure they are."""

from __future__ import annotations

from emtools.branches.hmm_types import Options
from emtools.errors import InputError
from emtools.io.fasta import read_fasta


def run(options: Options) -> int:
    """Read, then fit, decode and write."""
    require_consistent(options)
    records = read_fasta(options.input, options.alphabet, partial=True)

    from emtools.branches.hmm_fit import analyse  # what a file that cannot be read need not wait for

    return analyse(options, records)


def require_consistent(options: Options) -> None:
    """Raise where options do not go together."""
    if options.model is None and options.states is None:
        raise InputError("emtools hmm", "no number of states", "--states K, --states A-B or --model cpg")
    beside = options.states or options.order != (0, 0) or options.topology != "free" or options.alphabet == "protein"
    if options.model is not None and beside:
        raise InputError(
            f"--model {options.model}",
            "--states, --order, --topology or --alphabet protein beside it",
            "none of them: the model of DNA is ready-made",
        )
