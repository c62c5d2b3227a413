"""``emtools show FIT.json``: a fit in the terminal, the answer first, then whether to believe it."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from emtools.errors import printable
from emtools.report.glance import describe_model, judge, known_part, read_fit, unconverged

BARS = "▁▂▃▄▅▆▇█"
WIDEST = 100  # columns of a wide terminal that are used
CURVE_WIDTH = 48
NAMES = 22  # columns before what a name is said to be
MOST_DECIMALS = 9
SHOWN = 24  # estimates, unless all are asked for
NOT_CONVERGED = 3  # exit status, as of the fit itself


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to show.

    Parameters
    ----------
    fits : sequence of Path
        fit.json, or the folder that holds it, of each fit.
    all : bool
        Every estimate, however many there are.
    command : tuple of str
        Command line as typed.
    """

    fits: Sequence[Path]
    all: bool = False
    command: tuple[str, ...] = ()


def run(options: Options) -> int:
    """Show each fit; 3 where one of them is not converged, as the fit itself ended.

    Raises
    ------
    InputError
        If a file is no fit.json.
    """
    paths = [path / "fit.json" if path.is_dir() else path for path in options.fits]
    records = [read_fit(path) for path in paths]
    width = min(shutil.get_terminal_size().columns, WIDEST)
    texts = [
        "\n".join(printable(line) for line in lines_of(record, path, width, options.all))
        for record, path in zip(records, paths, strict=True)
    ]
    encoding = sys.stdout.encoding or "utf-8"
    print("\n\n".join(texts).encode(encoding, "replace").decode(encoding))
    return (
        0 if all(record["status"] == "converged" and not unconverged(record) for record in records) else NOT_CONVERGED
    )


def lines_of(record: Mapping[str, Any], path: Path, width: int, every: bool) -> Iterator[str]:
    """The fit of a fit.json, line by line."""
    light = judge(record)
    read = ", ".join(item["path"] for item in record.get("inputs") or ())
    yield f"{light.sign} {record['branch']}: {describe_model(record['model'])}" + (
        f", fitted to {read}" if read else ""
    )
    answer = record.get("answer") if light.color != "bad" else None  # as on the page of a run
    for text in filter(None, (answer, record["verdict"])):
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
        yield ""
    yield from pairs(facts_of(record))
    climb = climb_of(record, width)
    if climb:
        yield from pairs({"climb": climb})
    accuracy = record.get("accuracy") or []
    if accuracy:
        yield ""
        rows = [[row["metric"].replace("_", " "), row["method"], number(row["value"])] for row in accuracy]
        yield from columns([["against the truth", "method", "value"], *rows])
    rows = list(estimates_of(record))
    if rows:
        chosen = rows if every else rows[:SHOWN]
        known = any(row[2] or row[3] for row in rows)
        heads = ["estimate", "value", "standard error", "95 % interval"]
        yield ""
        yield from columns([row[: 4 if known else 2] for row in [heads, *chosen]])
        if not known:
            yield "  This fit has no standard errors."
        if len(chosen) < len(rows):
            yield f"  … and {len(rows) - len(chosen):,} more: emtools show --all {path}"
    page = path.with_name("report.html")
    if page.is_file():
        yield ""
        yield f"  figures and methods: {page}"


def facts_of(record: Mapping[str, Any]) -> dict[str, str]:
    """How high, how far from the top, by how many starts."""
    starts = record["starts"]
    hits = sum(start["optimum"] == 1 for start in starts)
    optima = len(record.get("optima") or ())
    facts = {
        "log-likelihood": f"{record['loglik']:,.4f} nats" if record["loglik"] is not None else "not known",
        "left to gain": "not known" if record["gap"] is None else f"{record['gap']:.1e} nats",
    }
    if record["rate"] is not None:
        facts["missing information"] = f"{100 * record['rate']:.1f} % about what is hardest to see"
    facts["starts"] = f"{hits} of {len(starts)} at the best optimum" + (f", {optima} optima seen" if optima > 1 else "")
    facts["passes"] = f"{record['passes']:,} over the data"
    return facts


def climb_of(record: Mapping[str, Any], width: int = WIDEST) -> str:
    """Nats below the top at each pass as a row of bars on a log axis; empty where there is no climb, or it began at the top.

    Where what is left is not known, those of the earlier passes below the last one.
    """
    known = record["gap"] is not None
    below = [height for _, height in known_part(record)]
    if len(below) < 2 or min(below) == max(below):
        return ""
    logs = [math.log10(height) for height in below]
    told = f"  {below[0]:.1e} → {below[-1]:.1e} nats below the {'top' if known else 'last pass'}, log axis"
    n = min(CURVE_WIDTH, len(logs), max(width - NAMES - len(told), len(BARS)))
    picked = [logs[round(i * (len(logs) - 1) / max(n - 1, 1))] for i in range(n)]
    low, high = min(picked), max(picked)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    bars = "".join(BARS[round((value - low) * scale)] for value in picked)
    return f"{bars}{told}"


def estimates_of(record: Mapping[str, Any]) -> Iterator[list[str]]:
    """Name, value, standard error and interval of each number."""
    for name, parameter in (record.get("parameters") or {}).items():
        shape = parameter["shape"]
        labels = parameter.get("labels") or [[str(i + 1) for i in range(n)] for n in shape]
        for index in product(*map(range, shape)):
            value, se, lower, upper = (entry(parameter.get(key), index) for key in ("value", "se", "lower", "upper"))
            where = f" [{', '.join(str(labels[axis][i]) for axis, i in enumerate(index))}]" if index else ""
            interval = f"{number(lower, se)} to {number(upper, se)}" if lower is not None and upper is not None else ""
            yield [f"{name}{where}", number(value, se), number(se, se), interval]


def entry(table: Any, index: Sequence[int]) -> Any:
    """An entry of nested lists; None where there is none."""
    for i in index:
        if table is None:
            return None
        table = table[i]
    return table


def number(value: Any, se: float | None = None) -> str:
    """As many decimals as give its standard error two digits, else four digits; empty for what is not known."""
    if not isinstance(value, float) or not se:
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    decimals = 1 - math.floor(math.log10(se))
    return f"{value:,.{max(decimals, 0)}f}" if decimals <= MOST_DECIMALS else f"{value:.4g}"


def pairs(facts: Mapping[str, str]) -> Iterator[str]:
    """Names and what they are, the second in one column."""
    for name, value in facts.items():
        yield f"  {name:<{NAMES - 2}}{value}"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with their cells below one another."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
