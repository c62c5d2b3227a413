"""The command line: ``emtools <branch> INPUT --out DIR``. Nothing heavy is imported before the arguments are read."""

from __future__ import annotations

import gc
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from emtools import __version__
from emtools.branches.pool import add_parser as add_pool
from emtools.commands.around import add_helpers
from emtools.commands.deconvolve import add_deconvolve, route_deconvolve
from emtools.commands.impute import add_impute, add_transform
from emtools.commands.parsing import EXITS, Parser
from emtools.commands.segment import add_segment, route_segment
from emtools.commands.sequences import add_hmm, add_motif, route_hmm
from emtools.errors import EmtoolsError, require_text
from emtools.io.outputs import require_target

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
CLOSED = 141  # status of a command whose output nobody reads any more, as shells have it
LOOK_EVERY = 10_000  # new objects; by default 700
ROUTES = {"deconvolve": route_deconvolve, "segment": route_segment, "hmm": route_hmm}
ADDERS = (add_impute, add_transform, add_pool, add_deconvolve, add_segment, add_hmm, add_motif, add_helpers)


def build_parser() -> Parser:
    """All sub-commands."""
    parser = Parser(
        prog="emtools",
        description="Expectation-Maximization for what was not observed, with word on whether to believe the answer.",
        epilog=EXITS,
    )
    parser.add_argument("--version", action="version", version=f"emtools {__version__}")
    branches = parser.add_subparsers(dest="branch", metavar="COMMAND", required=True)
    for add in ADDERS:
        add(branches)
    return parser


def pin_threads() -> None:
    """One thread for BLAS and OpenMP; ours are our own. Must come before numpy is imported.

    Called within Python, numba may have started its threads, and refuses to hear of another number of them.
    """
    for name in POOLS:
        if name != "NUMBA_NUM_THREADS" or "numba" not in sys.modules:
            os.environ[name] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit status; see the epilog of the help.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = vars(build_parser().parse_args(words))
    pin_threads()
    branch = chosen.pop("branch")
    traceback = chosen.pop("traceback", False)
    try:
        require_text(words)
        if branch in ROUTES:
            chosen = ROUTES[branch](chosen)
        name = chosen.pop("module")
        if name.startswith("emtools.branches."):
            given = [value for key, value in chosen.items() if key != "out" and isinstance(value, Path)]
            given += chosen.get("inputs", ())
            require_target(chosen["out"], given)
        module = import_module(name)
        return int(module.run(module.Options(**chosen, command=("emtools", *words))))
    except EmtoolsError as error:
        if traceback:
            raise
        print(f"emtools: error: {error}", file=sys.stderr)
        return error.exit_code


def is_unread() -> bool:
    """Whether who read stdout wanted no more of it, as `head` does."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    # Without a buffer (PYTHONUNBUFFERED) nothing is left to flush: ask the pipe.
    watch = select.poll()
    watch.register(sys.stdout, 0)
    return bool(watch.poll(0))


def entry() -> None:
    """Console script. Looks for garbage are rarer: of a small fit, 8 % were spent on going through what imports left."""
    gc.set_threshold(LOOK_EVERY)
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        if not is_unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = CLOSED
    sys.exit(status)


if __name__ == "__main__":
    entry()
