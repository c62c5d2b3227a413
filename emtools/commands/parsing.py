"""Readers of option values, and the options that every fit has."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

EXITS = "exit status: 0 converged; 3 finished but not converged; 2 bad input or options; 1 anything else"
OUT = "folder for the results; those of an earlier fit there are replaced, other files stay"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}; see {self.prog} --help\n")


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Reader of integers from `low` to `high`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number") from None
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(
                f"{number} is not {f'at least {low}' if high is None else f'in {low} to {high}'}"
            )
        return number

    return read


positive = whole(1)


def whole_range(low: int, high: int | None = None) -> Callable[[str], tuple[int, int]]:
    """Reader of a whole number, or of the smallest and the largest with a hyphen between."""

    def read(text: str) -> tuple[int, int]:
        first, hyphen, last = text.partition("-")
        smallest = whole(low, high)(first)
        largest = whole(low, high)(last) if hyphen else smallest
        if largest < smallest:
            raise argparse.ArgumentTypeError(f"{text}: the smaller number comes first")
        return smallest, largest

    return read


def real(low: float, inclusive: bool = False) -> Callable[[str], float]:
    """Reader of finite numbers above `low`, or at least `low`."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number") from None
        if not math.isfinite(number):
            raise argparse.ArgumentTypeError(f"{text} is not a finite number")
        if number < low or (number == low and not inclusive):
            raise argparse.ArgumentTypeError(f"{text} is not {'at least' if inclusive else 'above'} {low:g}")
        return number

    return read


positive_real = real(0)


def target(text: str) -> Path:
    """A path to write to."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def branch_parser(
    branches: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    source: str,
    what: str,
    example: str,
    starts: int,
) -> argparse.ArgumentParser:
    """A sub-command with the options that every branch has."""
    parser = branches.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  {example}\n\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # one spelling of an option, so that fit.json has one command
    )
    parser.set_defaults(module=f"emtools.branches.{name}.input")
    several = {"nargs": "+"} if source.endswith("…") else {}
    parser.add_argument("input", metavar=source.rstrip("…"), type=Path, **several)
    parser.add_argument("--out", metavar="DIR", type=target, required=True, help=OUT)
    common = parser.add_argument_group("fit")
    common.add_argument("--seed", type=whole(0), default=0, help="root of all random numbers (default 0)")
    common.add_argument("--threads", type=positive, default=1, help="threads; cannot change a result (default 1)")
    common.add_argument("--starts", type=positive, default=starts, help=f"number of starts (default {starts})")
    common.add_argument(
        "--tol", type=positive_real, default=1e-6, help="remaining gain to stop at, nats (default %(default)g)"
    )
    common.add_argument("--max-passes", type=positive, default=2000, help="passes a start may take (default 2000)")
    common.add_argument(
        "--algorithm", choices=("accelerated", "em"), default="accelerated", help="em: plain EM (default %(default)s)"
    )
    common.add_argument(
        "--executor",
        metavar="WHERE",
        default="threads",
        help="threads (default), processes, or the address of a Dask scheduler; cannot change a result",
    )
    common.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="file from which an interrupted fit goes on, to the same bytes"
    )
    common.add_argument("--quiet", action="store_true", help="no progress line (there is none but on a terminal)")
    common.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    return parser


def add_scatter(parser: argparse.ArgumentParser) -> None:
    """Options of a command whose starts may be climbed in jobs of their own."""
    scatter = parser.add_argument_group("one fit in several jobs, to the same bytes")
    scatter.add_argument(
        "--only-starts",
        metavar="I|A-B",
        type=whole_range(1),
        help="climb these of the starts, numbered from 1, write their ends to DIR/starts.json, and do no more",
    )
    scatter.add_argument(
        "--starts-from",
        metavar="FILE",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        help="go on from these ends, the files of --only-starts of the same command; other starts are climbed here",
    )
