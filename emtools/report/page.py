"""One self-contained page per fit: the answer first, then whether to believe it, then how it was made."""

from __future__ import annotations

import base64
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from emtools.plots.style import Picture
from emtools.report.energy import sentence, strip
from emtools.report.glance import curve
from emtools.report.rules import stops

LARGEST_SVG = 250_000
LONGEST_TABLE = 200
LONGEST_OPEN = 60
PROBABILITY = "probability"
LEAST_PROBABILITY = 1e-6
UNBROKEN = 26  # letters of code that stay on one line of a phone
FAR = 10  # nats from the top from which the rate there tells nothing
FULL = 15  # digits of a float
HEAD, PER_POINT, UNKNOWN = (
    2000,
    1.8,
    900,
)  # letters of an SVG with its size; pixels of the page a point, and where it has none


@dataclass(frozen=True)
class Table:
    """A table on a page.

    Parameters
    ----------
    title, caption : str
        What it is; what to conclude.
    frame : pandas.DataFrame
        Its rows; the index is not shown.
    """

    title: str
    caption: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class Page:
    """What a branch has to say.

    Parameters
    ----------
    title : str
        Analysis and data set.
    lead : str
        The answer, in one or two sentences for a biologist.
    facts : mapping of str to str
        Key figures shown as tiles.
    notices : sequence of str
        What the reader should know first, without final full stops.
    assumed : sequence of str
        Paragraphs on what was assumed, where they belong before the answer.
    pictures : sequence of Picture
        Figures of the answer, already saved.
    tables : sequence of Table
        Tables of the answer.
    belief : sequence of str
        Sentences for and against the answer.
    checks, check_tables : sequences of Picture and Table
        Figures and tables of whether to believe it.
    following : sequence of str
        What to do next, a sentence or two each.
    quotable : str
        The same analysis in the words of a methods section, to copy.
    methods : str
        What a methods section would have; paragraphs are parted by empty lines.
    references : sequence of str
        What to cite.
    files : mapping of str to str
        File name beside the page, and what it holds.
    """

    title: str
    lead: str
    facts: Mapping[str, str] = field(default_factory=dict)
    notices: Sequence[str] = ()
    assumed: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    belief: Sequence[str] = ()
    checks: Sequence[Picture] = ()
    check_tables: Sequence[Table] = ()
    following: Sequence[str] = ()
    quotable: str = ""
    methods: str = ""
    references: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def data_uri(folder: Path, picture: Picture) -> str:
    """The figure as text: SVG where it is small, else PNG."""
    svg = folder / f"{picture.stem}.svg"
    path, kind = (svg, "svg+xml") if svg.stat().st_size <= LARGEST_SVG else (svg.with_suffix(".png"), "png")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def shown_width(folder: Path, picture: Picture) -> int:
    """Width on the page in pixels: larger than on paper, so that text of 7 pt is as large as what stands around it."""
    head = (folder / f"{picture.stem}.svg").read_text(encoding="utf-8")[:HEAD]
    points = re.search(r'<svg [^>]*?\bwidth="([\d.]+)pt"', head)
    return round(float(points[1]) * PER_POINT) if points else UNKNOWN


def embedded(folder: Path, pictures: Sequence[Picture]) -> list[tuple[Picture, str, int]]:
    """Each picture with its figure as text and its width on the page."""
    return [(p, data_uri(folder, p), shown_width(folder, p)) for p in pictures]


def show_value(value: Any) -> str:
    """A table cell: four significant digits for fractions, none after the point from 10,000 on, an empty cell for what is missing."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        whole = (value.is_integer() and abs(value) < 1e7) or 1e4 <= abs(value) < 1e7
        return f"{value:.0f}" if whole else f"{value:.4g}"
    return str(value)


class Estimate(NamedTuple):
    """A row of the table of estimates; None or NaN where there is nothing to show."""

    name: str
    value: float | str
    se: float | None
    unit: str
    lower: float | None = None
    upper: float | None = None
    missing: float | None = None


def show_beside(value: Any, width: float | None) -> str:
    """A number with digits enough to be told from another at this distance; as `show_value` where there is none."""
    if not isinstance(value, float) or not width or not math.isfinite(width) or not math.isfinite(value) or not value:
        return show_value(value)
    digits = 1 + math.ceil(math.log10(abs(value) / width))
    return f"{value:.{min(digits, FULL)}g}" if digits > 4 else show_value(value)


def show_interval(row: Estimate) -> str:
    """Both ends of the interval, an empty cell where there is none."""
    if row.lower is None or row.upper is None or math.isnan(row.lower):
        return ""
    return " to ".join(show_beside(end, row.upper - row.lower) for end in (row.lower, row.upper))


def show_percent(value: Any) -> str:
    """A share in percent to three digits, an empty cell for what is missing."""
    return "" if value is None or value != value else f"{100.0 * value:.3g} %" if value >= 1e-4 else "0 %"


def estimate_rows(record: Mapping[str, Any]) -> list[Estimate]:
    """One row per number: name with the labels along its axes, value, standard error, unit, interval, missing share.

    A probability below 1e-6 is shown as such, without a standard error.
    """
    rows: list[Estimate] = []
    for name, parameter in record["parameters"].items():
        value = np.asarray(parameter["value"], dtype=float)
        se, lower, upper, missing = (
            np.full(value.shape, np.nan) if parameter.get(key) is None else np.asarray(parameter[key], dtype=float)
            for key in ("se", "lower", "upper", "missing")
        )
        labels = parameter.get("labels", [])
        for index in np.ndindex(value.shape):
            words = [str(labels[axis][i]) if axis < len(labels) else str(i + 1) for axis, i in enumerate(index)]
            where = f"{name} [{', '.join(words)}]" if words else name
            if parameter["unit"] == PROBABILITY and 0.0 < value[index] < LEAST_PROBABILITY:
                rows.append(Estimate(where, f"<{LEAST_PROBABILITY:g}".replace("e-0", "e-"), None, PROBABILITY))
            else:
                numbers = (float(part[index]) for part in (lower, upper, missing))
                rows.append(Estimate(where, float(value[index]), float(se[index]), parameter["unit"], *numbers))
    return rows


def unbroken_exponents(text: str) -> str:
    """The text with hyphens in exponents that a line cannot break at."""
    return re.sub(r"(?<=\de)-(?=\d)", "\N{NON-BREAKING HYPHEN}", text)


def show_nats(value: float) -> str:
    """Nats that a stop rule leaves; beyond ten the estimate tells no more than that."""
    return f"{value:.2g}" if value <= FAR else f"more than {FAR}"


def with_options(command: str) -> Markup:
    """A command whose options do not break at their hyphens."""
    words = (Markup("<span class='option'>{}</span>").format(w) if w.startswith("-") else w for w in command.split(" "))
    return Markup(" ").join(words)


def breakable(text: str) -> Markup:
    """The text with places in the names of files at which a line may break."""
    return Markup(re.sub(r"(?<=\w)(?=[_.]\w)", "<wbr>", str(escape(text))))


def joined(html: str) -> str:
    """The page with numbers that a line does not part from their per cent; code is left as it is."""
    parts = re.split(r"(<pre>.*?</pre>|<code[ >].*?</code>)", html, flags=re.DOTALL)
    parts[::2] = (re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", part) for part in parts[::2])
    return "".join(parts)


def with_code(text: str) -> Markup:
    """The text with options such as ``--log``, and what stands between backticks, set as code."""
    words = re.split(r"(`[^`]+`|(?<![\w-])--[a-z][a-z-]*(?: (?:(?:t|factors|mixture)(?![\w-])|\S+=[\w-]+'?))?)", text)
    parts = (
        Markup("<code class='word{}'>{}</code>").format(" long" * (len(w) > UNBROKEN), with_options(w.strip("`")))
        if i % 2
        else escape(w)
        for i, w in enumerate(words)
    )
    return Markup("").join(parts)


@cache
def templates() -> jinja2.Environment:
    """Templates of this package; everything that they show is escaped."""
    source = str(files("emtools.report") / "templates")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(source), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["show"] = show_value
    environment.filters["beside"] = show_beside
    environment.filters["interval"] = show_interval
    environment.filters["percent"] = show_percent
    environment.filters["nats"] = show_nats
    environment.filters["code"] = with_code
    environment.filters["breakable"] = breakable
    environment.filters["unbroken"] = unbroken_exponents
    return environment


def write_page(path: Path, page: Page, diagnostics: Sequence[Picture], record: Mapping[str, Any]) -> None:
    """Write the page of a fit.

    Parameters
    ----------
    path : Path
        HTML file; the figures lie in its folder.
    page : Page
        What the branch has to say.
    diagnostics : sequence of Picture
        Figures of convergence.
    record : mapping
        Content of fit.json.
    """
    folder = path.parent
    html = (
        templates()
        .get_template("page.html")
        .render(
            page=page,
            record=record,
            converged=record["status"] == "converged",
            pictures=embedded(folder, page.pictures),
            checks=embedded(folder, page.checks),
            diagnostics=embedded(folder, diagnostics),
            longest=LONGEST_TABLE,
            longest_open=LONGEST_OPEN,
            estimates=estimate_rows(record),
            stops=stops(record),
            energy=sentence(record),
            climb=curve(record),
            strip=strip(record),
            command=shlex.join(record["command"]),
        )
    )
    path.write_text(joined(html), encoding="utf-8")
