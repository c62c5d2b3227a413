"""One page for a run of many fits: what each found, and which are not to be believed; and the tables for MultiQC."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from emtools.errors import InputError
from emtools.io.outputs import staged
from emtools.report.glance import Light, describe_model, judge, known_part, read_fit
from emtools.report.page import joined, show_value, templates

FIGURES = {"impute": "imputed", "deconvolve": "types", "segment": "overlay", "hmm": "track", "motif": "logo"}
TELLING = ("ARI", "Dice", "nucleotide_f1", "NRMSE")
FIELDS = (
    ("verdict", "Verdict", "converged, converged but look twice, or not converged"),
    ("branch", "Branch", "Command that made the fit"),
    ("data", "Data", "Name of the analysis in the config"),
    ("model", "Model", "What was fitted"),
    ("loglik", "Log-likelihood", "Of the observed data at the estimates, nats"),
    ("gap", "To gain", "Estimated gain still to come on this hill, nats"),
    ("rate", "Rate", "Largest fraction of missing information; near 1 is slow"),
    ("passes", "Passes", "Passes over the data, all starts together"),
    (
        "seconds",
        "CPU s",
        "CPU seconds of the job, where the workflow ran it, with those of jobs that climbed its starts",
    ),
    ("memory", "MB", "Largest resident memory of these jobs"),
    ("agreeing", "Starts at the best", "Starts that reached the best optimum, of all starts"),
    ("accuracy", "Accuracy", "Agreement with a known truth, where there is one"),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to summarise and where to write it.

    Parameters
    ----------
    fits : sequence of Path
        fit.json of each fit; the figures and the page of a fit lie beside it.
    out : Path
        Folder of index.html, runs.tsv and multiqc/.
    multiqc, snakemake : str, optional
        Reports to link to, seen from `out`.
    starts : sequence of Path
        Files of starts that jobs of their own climbed, whose costs are counted with their fit's.
    command : tuple of str
        Command line as typed.
    """

    fits: Sequence[Path]
    out: Path
    multiqc: str | None = None
    snakemake: str | None = None
    starts: Sequence[Path] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Card:
    """A fit as the page shows it.

    Parameters
    ----------
    data, branch, model : str
        Names.
    light : Light
        Verdict at a glance.
    record : mapping
        Content of its fit.json.
    seconds, memory : float or None
        CPU seconds and largest resident memory in MB, from the benchmark file of the workflow.
    page, figure : str or None
        Links to report.html and to a figure, seen from the page of the run.
    accuracy : DataFrame or None
        Metrics by methods, without those of single columns (``NRMSE bmi`` beside ``NRMSE``).
    """

    data: str
    branch: str
    model: str
    light: Light
    record: Mapping[str, Any]
    seconds: float | None
    memory: float | None
    page: str | None
    figure: str | None
    accuracy: pd.DataFrame | None

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.branch} {self.data}"

    @property
    def n_agreeing(self) -> int:
        """Starts that reached the best optimum."""
        return sum(start["optimum"] == 1 for start in self.record["starts"])

    @property
    def answer(self) -> str:
        """What was found, in words; empty where the fit is not to be used."""
        return "" if self.light.color == "bad" else str(self.record.get("answer") or "")

    @property
    def headline(self) -> str:
        """The most telling metric of the first method, in words."""
        rows = self.record.get("accuracy") or []
        telling = [row for metric in TELLING for row in rows if row["metric"] == metric]
        chosen = (telling or rows)[:1]
        return f"{chosen[0]['metric'].replace('_', ' ')} {show_value(chosen[0]['value'])}" if chosen else ""

    @property
    def row(self) -> dict[str, Any]:
        """The fit as a row of runs.tsv."""
        record = self.record
        return {
            "verdict": self.light.words,
            "branch": self.branch,
            "data": self.data,
            "model": self.model,
            "status": record["status"],
            "loglik": record["loglik"],
            "gap": record["gap"],
            "rate": record["rate"],
            "passes": record["passes"],
            "starts": len(record["starts"]),
            "agreeing": self.n_agreeing,
            "seconds": self.seconds,
            "memory": self.memory,
            "accuracy": self.headline,
            "sentence": record["verdict"],
        }


def link_of(path: Path, out: Path) -> str | None:
    """Link to `path` from the page in `out`; None where there is no such file."""
    return quote(Path(os.path.relpath(path, out)).as_posix()) if path.is_file() else None


def cost_of(path: Path) -> tuple[float | None, float | None]:
    """CPU seconds and largest resident memory in MB of a job, from a benchmark file of Snakemake; None where there is none."""
    if not path.is_file():
        return None, None
    head, values, *_ = (line.split("\t") for line in [*path.read_text("utf-8", "replace").splitlines(), "", ""])
    row = dict(zip(head, values, strict=False))
    numbers = (row.get(key, "") for key in ("cpu_time", "max_rss"))
    seconds, memory = (float(text) if text.replace(".", "", 1).isdigit() else None for text in numbers)
    return seconds, memory


def costs_of(branch: str, name: str, out: Path, starts: Sequence[Path]) -> tuple[float | None, float | None]:
    """CPU seconds of all jobs of a fit, those that climbed some of its starts among them, and the largest memory of one."""
    place = Path("starts") / branch / name
    parts = [path.parent.name for path in starts if path.parent.parent.parts[-3:] == place.parts]
    files = [Path(branch) / f"{name}.tsv", *(place / f"{part}.tsv" for part in parts)]
    costs = [cost_of(out / "benchmarks" / file) for file in files]
    seconds, memories = ([cost[i] for cost in costs] for i in (0, 1))
    known = [memory for memory in memories if memory is not None]
    whole = None if None in seconds else round(sum(cost for cost in seconds if cost is not None), 2)
    return whole, max(known, default=None)


def read_card(path: Path, out: Path, starts: Sequence[Path] = ()) -> Card:
    """A fit from its fit.json; `starts` as of `Options`."""
    record = read_fit(path)
    folder = path.parent
    branch = str(record["branch"])
    names = ("composition", FIGURES.get(branch, "convergence"), "boundary", "convergence")
    stems = (next((name for name in names if (folder / f"{name}.png").is_file()), "convergence"), "convergence")
    figures = [link_of(folder / f"{stem}.png", out) for stem in stems]
    rows = pd.DataFrame(record.get("accuracy") or [], columns=["method", "metric", "value"])
    table = None
    metrics = list(dict.fromkeys(rows["metric"]))
    rows = rows[[not any(metric.startswith(f"{other} ") for other in metrics) for metric in rows["metric"]]]
    if len(rows):
        sides = ("metric", "method") if rows["method"].nunique() <= rows["metric"].nunique() else ("method", "metric")
        table = rows.pivot_table("value", *sides, sort=False).reset_index().rename_axis(columns=None)
    return Card(
        folder.resolve().name,
        branch,
        describe_model(record["model"]),
        judge(record),
        record,
        *costs_of(branch, folder.resolve().name, out, starts),
        link_of(folder / "report.html", out),
        next((figure for figure in figures if figure), None),
        table,
    )


def multiqc_tables(cards: Sequence[Card]) -> dict[str, dict[str, Any]]:
    """MultiQC custom content: table of all fits, and their climbs."""
    words = {key: {"title": title, "description": meaning} for key, title, meaning in FIELDS}
    order = ("verdict", "accuracy", "agreeing", "loglik", "gap", "rate", "passes", "seconds", "memory", "model")
    headers: dict[str, dict[str, Any]] = {key: dict(words[key]) for key in order}
    headers["verdict"]["cond_formatting_rules"] = {
        "pass": [{"s_eq": "converged"}],
        "warn": [{"s_contains": "found by 1"}, {"s_contains": "identified"}],
        "fail": [{"s_contains": "not converged"}],
    }
    headers["loglik"] |= {"format": "{:,.2f}", "scale": False}
    headers["gap"] |= {"format": "{:.1e}", "scale": False}
    headers["rate"] |= {"format": "{:.4f}", "min": 0, "max": 1, "scale": "OrRd"}
    headers["passes"] |= {"format": "{:,.0f}", "scale": "Blues", "min": 0}
    headers["seconds"] |= {"format": "{:,.1f}", "scale": False, "min": 0}
    headers["memory"] |= {"format": "{:,.0f}", "scale": False, "min": 0}
    headers["agreeing"] |= {"scale": False}
    keys = [key for key in headers if key != "agreeing"]
    rows = {
        card.name: {key: card.row[key] for key in keys if card.row[key] not in (None, "")}
        | {"agreeing": f"{card.n_agreeing} of {len(card.record['starts'])}"}
        for card in cards
    }
    fits = {
        "id": "emtools_fits",
        "section_name": "All fits",
        "description": "One row per fit. A fit that did not converge is red; do not use its numbers.",
        "plot_type": "table",
        "pconfig": {"id": "emtools_fits_table", "title": "emtools: all fits", "col1_header": "Fit", "no_violin": True},
        "headers": headers,
        "data": rows,
    }
    traces = {
        "id": "emtools_traces",
        "section_name": "Climbs",
        "description": (
            "Nats below the top of the hill at each pass of the start that was kept. A straight descent on this log "
            "axis is healthy; the steeper, the less information is missing. Where how far the top is is not known (fits "
            "that did not converge), nats below the last pass."
        ),
        "plot_type": "linegraph",
        "pconfig": {
            "id": "emtools_traces_plot",
            "title": "emtools: climbs",
            "xlab": "Pass over the data",
            "ylab": "Nats below the top",
            "ylog": True,
            "logswitch": False,
            "style": "lines+markers",
        },
        "data": {card.name: points for card in cards if (points := known_part(card.record))},
    }
    return {"emtools_fits_mqc.json": fits, "emtools_traces_mqc.json": traces}


def run(options: Options) -> int:
    """Write the page of a run, runs.tsv and the files for MultiQC.

    Raises
    ------
    InputError
        If a fit.json is not one, or two fits have one name.
    """
    cards = [read_card(path, options.out, options.starts) for path in options.fits]
    names = [card.name for card in cards]
    for name, path in zip(names, options.fits, strict=True):
        if names.count(name) > 1:
            raise InputError(str(path), f"another fit is named {name!r} too", "", "give each its own folder name")
    bad = [card for card in cards if card.light.color == "bad"]
    links = {"MultiQC report": options.multiqc, "Snakemake report": options.snakemake}
    empty = {key for key in ("seconds", "memory", "accuracy") if all(card.row[key] in (None, "") for card in cards)}
    page = templates().get_template("run.html")
    html = page.render(
        cards=cards,
        bad=bad,
        fields=[field for field in FIELDS if field[0] not in empty],
        empty=empty,
        branches=list(dict.fromkeys(card.branch for card in cards)),
        words=("verdict", "branch", "data", "model", "accuracy"),
        links={title: quote(link) for title, link in links.items() if link},
    )
    with staged(options.out, seal="index.html") as folder:
        (folder / "index.html").write_text(joined(html), encoding="utf-8")
        pd.DataFrame([card.row for card in cards]).to_csv(folder / "runs.tsv", sep="\t", index=False)
        (folder / "multiqc").mkdir()
        for name, content in multiqc_tables(cards).items():
            (folder / "multiqc" / name).write_text(
                json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
            )
    state = f"{len(bad)} of {len(cards)} NOT CONVERGED" if bad else f"all {len(cards)} converged"
    print(f"emtools summary: {state}; page in {options.out / 'index.html'}", file=sys.stderr)
    return 0
