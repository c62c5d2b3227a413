"""The benchmark page: what each script of benchmarks/ says it does, and the table that it stored."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tutorials import markdown_table

from emtools.plots.style import Picture

LONGEST = 30
DEMANDS = ("branch", "task", "peer", "measured", "asked", "met", "spread", "wall", "why")
INTRODUCTION = """# Benchmarks

Every table is read from `benchmarks/` of the repository when this site is built; beside each stands the command that measures
it anew. Speeds are CPU seconds of one thread, both sides in the same run on the same data; they are ratios, not promises
about your machine. `spread` is the lowest and the highest ratio of runs that alternate, `wall` the ratio of wall times beside it. Where ours is
slower or less accurate the table says so as well.
"""


class Summary(NamedTuple):
    """How a long table is told: means of `value`, one row for each `rows`, one column for each `columns`."""

    rows: tuple[str, ...]
    columns: str
    value: str
    what: str


SUMMARIES = {
    "bulk_accuracy": Summary(("set", "condition"), "method", "rmse", "Root mean square error of the fractions"),
    "bulk_trials": Summary(("set",), "estimate", "rmse", "Root mean square error of the fractions"),
    "cell_types": Summary(("set", "task"), "method", "ari", "Adjusted Rand index against the labels of experts"),
    "impute_accuracy": Summary(
        ("table", "mechanism", "share"), "method", "nrmse", "Normalised root mean square error of the hidden cells"
    ),
    "impute_coverage": Summary(
        ("table", "mechanism", "estimates"), "method", "coverage", "Share of 95 % intervals that hold the truth"
    ),
    "impute_limits": Summary(("table", "mask"), "method", "nrmse_column", "Error below the limit, in column SDs"),
    "impute_limits_more": Summary(("table", "mask"), "method", "nrmse_column", "Error below the limit, in column SDs"),
    "impute_wide": Summary(("table",), "method", "error", "Normalised root mean square error of the hidden cells"),
    "segment_accuracy": Summary(("set", "condition"), "method", "dice", "Dice overlap with annotated nuclei"),
    "motif_accuracy": Summary(
        ("occurrence",), "flattened", "ours", "F1 of planted sites, ours; columns: flattening of the matrix"
    ),
}


def benchmark_page(folder: Path, pictures: Iterable[Picture] = ()) -> str:
    """The page in Markdown, from the scripts of a folder and the tables beside them, after pictures in its folder ``benchmarks/``."""
    parts = [INTRODUCTION]
    parts += [f"![{one.title}](benchmarks/{one.stem}.svg)\n\n**{one.title}.** {one.caption}" for one in pictures]
    for script in sorted(folder.glob("*.py")):
        table = folder / ("results.tsv" if script.stem == "__main__" else f"{script.stem}.tsv")
        if table.is_file():
            parts.append(section(script, table))
    return "\n\n".join(parts) + "\n"


def section(script: Path, table: Path) -> str:
    """What was measured, how, and what came out."""
    text = re.sub(r"\s+", " ", (ast.get_docstring(ast.parse(script.read_text())) or "").split("\n\n")[0]).strip()
    detail = (ast.get_docstring(ast.parse(script.read_text())) or "").partition("\n\n")[2]
    title = re.split(r":\s+``|\.\s+``|:\s|\. ", text)[0].rstrip(".:")
    module = "benchmarks" if script.stem == "__main__" else f"benchmarks.{script.stem}"
    frame = pd.read_csv(table, sep="\t", comment="#")
    lines = [f"## {title}", f"`python -m {module}` · [{table.name}](benchmarks/{table.name}), {len(frame)} rows"]
    lines.append("\n".join(line.removeprefix("    ") for line in detail.splitlines() if not line.startswith("    ")))
    lines.append(told(script.stem, frame))
    times = table.with_name("studies.tsv")
    if script.stem == "__main__" and times.is_file():
        lines.append(f"Seconds of each study of the last whole run ([{times.name}](benchmarks/{times.name})):")
        lines.append(markdown_table(pd.read_csv(times, sep="\t")))
    return "\n\n".join(lines)


def told(name: str, frame: pd.DataFrame) -> str:
    """The table, or the means of a long one."""
    if name == "__main__":
        return markdown_table(frame[list(DEMANDS)].fillna(""))
    if len(frame) <= LONGEST:
        return markdown_table(frame)
    if name not in SUMMARIES:
        return f"*{len(frame)} rows; open the table.*"
    summary = SUMMARIES[name]
    if "marker" in frame:
        frame = frame[frame["marker"] == "all"]
    means = frame.pivot_table(summary.value, list(summary.rows), summary.columns, aggfunc="mean", sort=False)
    return (
        f"{summary.what}; means over what the table tells apart beyond these:\n\n{markdown_table(means.reset_index())}"
    )
