"""``emtools pool``: one regression from the completed tables of ``emtools impute --draws``, by Rubin's rules."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from emtools.imputing.pooling import Pooled
    from emtools.imputing.regression import Regressions

FAMILIES = ("gaussian", "binomial", "poisson")
LEVEL = 0.95
SEAL = "pooled.json"
MUCH = 0.5  # fraction of missing information from which more tables are advised
TABLES_PER_SHARE = 100  # tables for each unit of it


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``emtools pool``.

    Parameters
    ----------
    input : Path
        Folder of a run with completed_1, completed_2, ….
    formula : str
        Regression, as in R or patsy.
    out : Path
        Folder for pooled.tsv and pooled.json.
    family : str
        "gaussian", "binomial" or "poisson".
    level : float
        Of the intervals.
    missing : sequence of str
        Codes for a missing value in columns that were not imputed.
    command : tuple of str
        Command line as typed, for the record.
    """

    input: Path
    formula: str
    out: Path
    family: str = FAMILIES[0]
    level: float = LEVEL
    missing: Sequence[str] = ()
    command: tuple[str, ...] = ()


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command to a parser; imports nothing heavy."""
    parser = commands.add_parser(
        "pool",
        help="pool a regression over completed tables (Rubin's rules)",
        description="Fit a regression to every completed table of a run of emtools impute with --draws, and pool.",
        epilog="example:\n  emtools pool results/markers --formula 'CRP ~ age + albumin' --out results/markers/crp",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(module="emtools.branches.pool")
    parser.add_argument("input", metavar="DIR", type=Path, help="results of emtools impute --draws")
    parser.add_argument("--formula", required=True, help="as in R: 'bili ~ age + log(albumin) + C(stage)'")
    parser.add_argument(
        "--family",
        choices=FAMILIES,
        default=FAMILIES[0],
        help="least squares, logistic or log-linear (default gaussian)",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for pooled.tsv and pooled.json")
    parser.add_argument(
        "--level", type=share, default=LEVEL, metavar="P", help="of the intervals (default %(default)g)"
    )
    parser.add_argument(
        "--missing", nargs="+", action="extend", default=[], metavar="CODE", help="codes for a missing value"
    )
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    return parser


def share(text: str) -> float:
    """Reader of numbers between 0 and 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 < number < 1.0:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not between 0 and 1")
    return number


def run(options: Options) -> int:
    """Read, fit, pool, write and show; the exit status."""
    from emtools.imputing.pooling import pool
    from emtools.imputing.regression import regress
    from emtools.io.frames import completed_tables, read_frame

    paths = completed_tables(options.input)
    found = regress([read_frame(path, options.missing) for path in paths], options.formula, options.family)
    pooled = pool(found.estimates, found.variances, found.complete_df)
    frame = as_frame(found, pooled, options.level)
    notices = what_to_know(found, pooled)
    write(options, paths, found, frame, notices)
    print(shown(options, found, pooled, frame, notices))
    return 0


def as_frame(found: Regressions, pooled: Pooled, level: float) -> pd.DataFrame:
    """One row a coefficient; the last columns have the names that mice gives them."""
    import pandas as pd

    low, high = pooled.interval(level)
    return pd.DataFrame(
        {
            "term": found.terms,
            "estimate": pooled.estimate,
            "std_error": pooled.error,
            "statistic": pooled.statistic,
            "df": pooled.df,
            "p_value": pooled.p_value,
            "lower": low,
            "upper": high,
            "fmi": pooled.missing,
            "lambda": pooled.share,
            "riv": pooled.increase,
            "ubar": pooled.within,
            "b": pooled.between,
            "t": pooled.total,
            "dfcom": pooled.complete_df,
        }
    )


def what_to_know(found: Regressions, pooled: Pooled) -> list[str]:
    """Sentences on rows left out and on too few tables."""
    told = []
    if found.n_left_out:
        n = found.n_rows + found.n_left_out
        told.append(f"{found.n_left_out} of {n} rows left out: a variable of the formula has no value there")
    if not pooled.between.any():
        told.append("the completed tables give the same answer: no variable of the formula was imputed")
    worst = float(pooled.missing.max())
    if worst > MUCH and pooled.n_tables < TABLES_PER_SHARE * worst:
        term = found.terms[int(pooled.missing.argmax())]
        told.append(
            f"{100 * worst:.0f} % of the information on {term} is missing: draw at least "
            f"{TABLES_PER_SHARE * worst:.0f} tables for errors that another seed would repeat"
        )
    return told


def write(
    options: Options, paths: Sequence[Path], found: Regressions, frame: pd.DataFrame, notices: Sequence[str]
) -> None:
    """pooled.tsv and pooled.json."""
    import json

    from emtools import __version__
    from emtools.io.outputs import sha256, staged

    record = {
        "emtools": __version__,
        "command": list(options.command),
        "formula": options.formula,
        "family": options.family,
        "outcome": found.outcome,
        "level": options.level,
        "tables": {path.name: sha256(path) for path in paths},
        "n_rows": found.n_rows,
        "n_left_out": found.n_left_out,
        "terms": frame.to_dict(orient="records"),
        "notices": list(notices),
    }
    with staged(options.out, SEAL) as folder:
        frame.to_csv(folder / "pooled.tsv", sep="\t", index=False, float_format="%.12g")
        (folder / SEAL).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def shown(options: Options, found: Regressions, pooled: Pooled, frame: pd.DataFrame, notices: Sequence[str]) -> str:
    """The answer as a table to read."""
    percent = f"{100 * options.level:g} %"
    head = ("", "estimate", "error", f"{percent} interval", "df", "p", "missing information")
    records: list[Any] = list(frame.itertuples())
    rows = [
        (
            str(row.term),
            f"{row.estimate:.4g}",
            f"{row.std_error:.3g}",
            f"{row.lower:.4g} to {row.upper:.4g}",
            f"{row.df:.0f}",
            "< 0.0001" if row.p_value < 1e-4 else f"{row.p_value:.4f}",
            f"{100 * row.fmi:.0f} %",
        )
        for row in records
    ]
    widths = [max(len(line[k]) for line in (head, *rows)) for k in range(len(head))]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in (head, *rows)
    ]
    title = f"{found.outcome} ({options.family}), {found.n_rows} rows, {pooled.n_tables} completed tables"
    return "\n".join([title, *lines, *(f"{notice}." for notice in notices)])
