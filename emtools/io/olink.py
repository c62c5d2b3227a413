"""Olink's long format, one line for each sample and assay: to a table of samples, and back with NPX filled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.cell_text import is_missing
from emtools.io.markers import find_decimal, read_numbers
from emtools.io.sheets import Columns, Numbers

SAMPLE, VALUE = "sampleid", "npx"
ASSAYS = ("olinkid", "assay")
LODS = ("lod", "platelod", "plate_lod", "plate lod", "maxlod", "fixed lod")
SAMPLE_QC = ("qc_warning", "sampleqc", "sample_qc", "qc warning")
ASSAY_QC = ("assay_warning", "assayqc", "assay_qc", "assay warning")
KINDS = ("sampletype", "sample_type", "sample type")
ASSAY_KINDS = ("assaytype", "assay_type")
OWN_ASSAYS, OWN_SAMPLES = ("assay", ""), ("sample", "")
CONTROL_SAMPLE = re.compile(
    r"(plate|sample|neg|negative|inter-?plate)[ _-]?(control|ctrl)\b.*|control_sample.*", re.IGNORECASE
)
CONTROL_ASSAY = re.compile(r"(inc|ext|amp|det)\w*[ _-]?(control|ctrl)\b.*", re.IGNORECASE)
PASSED = ("pass", "na", "", "excluded_no")
FLAG = "Imputed"
SHOWN = 5

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Olink:
    """A long table that was turned into samples × assays.

    Parameters
    ----------
    long : object
        The file as its format holds it.
    columns : Columns
        Its columns.
    value : int
        Place of NPX among them.
    lines : ndarray of int, shape (n, a)
        Line of the long table of each sample and assay, -1 where there is none.
    first : int
        Place of the first assay among the columns of the wide table.
    decimal : str
        "." or ",".
    """

    long: Any
    columns: Columns
    value: int
    lines: npt.NDArray[np.intp]
    first: int
    decimal: str


def is_olink(header: Sequence[str]) -> bool:
    """Whether columns are those of Olink's long format."""
    names = {name.lower() for name in header}
    return SAMPLE in names and VALUE in names and bool(names & set(ASSAYS))


def place_of(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Place of the first of some names in a header, whatever their case."""
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in names if name in lower), None)


def read_olink(long: Columns, content: Any, warned: str, is_text: bool, adds: bool = True) -> tuple[Columns, Olink]:
    """Samples × assays of a long table: covariates of samples, then NPX of assays.

    Controls are left out. Values below the limit of detection are there and are kept. A sample that stands more than
    once for an assay becomes a row for each time.

    Parameters
    ----------
    long : Columns
        The long table.
    content : object
        Its file.
    warned : str
        "keep" or "blank": what becomes of values with a warning of quality control.
    is_text : bool
        Whether decimal signs must be looked for.
    adds : bool
        Whether the output can have more lines than the input.

    Raises
    ------
    InputError
        If NPX or LOD are no numbers, or nothing is left.
    """
    header, cells = long.header, long.cells
    sample, value = place_of(header, (SAMPLE,)), place_of(header, (VALUE,))
    assert sample is not None
    assert value is not None
    lod = place_of(header, LODS)
    decimal = find_decimal(long, [value] + ([lod] if lod is not None else [])) if is_text else "."
    npx = numbers(long, value, decimal)
    notices: list[str] = []
    keep = own_rows(long, notices)
    if not keep.any():
        raise InputError(str(long.path), "no line of a sample is left beside controls", "", "check SampleType")
    assays, units_of_assays = assay_names(long)
    ids = [str(name) for name in cells[sample]]
    nameless = next((row for row in np.flatnonzero(keep).tolist() if not ids[row]), None)
    if nameless is not None:
        raise InputError(long.at(nameless, sample), "no sample is named", "a SampleID on each line", "mend the line")
    quality(long, npx, keep, warned, notices)
    rows: dict[tuple[str, int], int] = {}
    columns: dict[str, int] = {}
    times: dict[tuple[str, str], int] = {}
    spots = []
    for row in np.flatnonzero(keep).tolist():
        key = (ids[row], assays[row])
        times[key] = times.get(key, -1) + 1
        at = rows.setdefault((ids[row], times[key]), len(rows))
        spots.append((row, at, columns.setdefault(assays[row], len(columns))))
    lines = np.full((len(rows), len(columns)), -1, dtype=np.intp)
    for row, at, column in spots:
        lines[at, column] = row
    order = sorted(range(len(rows)), key=lambda at: lines[at][lines[at] >= 0].min())
    lines = lines[order]
    keys = [list(rows)[at] for at in order]
    names = tuple(name if time == 0 else f"{name} ({time + 1})" for name, time in keys)
    again = sorted({name for name, time in keys if time})
    if again:
        notices.append(f"{len(again)} samples stand more than once and make a row each time: {shown(again)}")
    absent = int((lines < 0).sum())
    if absent:
        what = "lines for them are added to the output" if adds else "they are filled but have no place in the output"
        notices.append(f"{absent} pairs of sample and assay have no line: {what}")
    apart = {place for place, name in enumerate(header) if place in (sample, value) or not name or name in columns}
    wide_header, wide_cells = sample_columns(long, lines, apart)
    first = len(wide_header) + 1
    there = lines >= 0
    wide = np.where(there, npx[lines], np.nan)
    limits: dict[str, Floats] = {}
    if lod is not None:
        held = numbers(long, lod, decimal)
        limits = {
            name: np.where(there[:, j], held[lines[:, j]], np.nan)
            for j, name in enumerate(columns)
            if np.isfinite(held[lines[there[:, j], j]]).any()
        }
    made = Columns(
        long.path,
        (header[sample], *wide_header, *columns),
        [list(names), *wide_cells, *(Numbers(column) for column in wide.T)],
        tuple(f"sample {name}" for name in names),
        long.codes,
        candidates=tuple(range(first, first + len(columns))),
        names=names,
        units=dict.fromkeys(columns, units_of_assays),
        limits=limits,
        notices=(
            *long.notices,
            f"Olink's long format: {len(names)} samples × {len(columns)} assays, NPX on its log2 scale",
            *notices,
        ),
    )
    return made, Olink(content, long, value, lines, first, decimal)


def shown(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def numbers(long: Columns, position: int, decimal: str) -> Floats:
    """A column of the long table as numbers, NaN where missing.

    Raises
    ------
    InputError
        If a cell is no number.
    """
    values, odd = read_numbers(long.cells[position], decimal)
    for row in odd:
        if not is_missing(long.cells[position][row], long.codes):
            raise InputError(
                long.at(row, position),
                f"{long.cells[position][row][:40]!r} is not a finite number",
                "numbers and missing codes only",
                "mend the cell, or declare it with --missing",
            )
    return values


def own_rows(long: Columns, notices: list[str]) -> npt.NDArray[np.bool_]:
    """Lines of samples and assays that are no controls, shape (n,)."""
    keep = np.ones(len(long.places), dtype=bool)
    for kinds, own, named, pattern, what in (
        (KINDS, OWN_SAMPLES, (SAMPLE,), CONTROL_SAMPLE, "control samples"),
        (ASSAY_KINDS, OWN_ASSAYS, ("assay", "olinkid"), CONTROL_ASSAY, "control assays"),
    ):
        kind, name = place_of(long.header, kinds), place_of(long.header, named)
        assert name is not None
        if kind is not None:
            control = np.array([cell.strip().lower() not in own for cell in long.cells[kind]])
        else:
            control = np.array([pattern.fullmatch(cell) is not None for cell in long.cells[name]])
        found = sorted({str(long.cells[name][row]) for row in np.flatnonzero(control).tolist()})
        if found:
            notices.append(f"{len(found)} {what} are left out of the model: {shown(found)}")
        keep &= ~control
    return keep


def assay_names(long: Columns) -> tuple[list[str], str]:
    """Name of the assay of each line, its OlinkID behind where two assays share a name; and the unit."""
    assay, olink = place_of(long.header, ("assay",)), place_of(long.header, ("olinkid",))
    if assay is None or olink is None:
        only = assay if assay is not None else olink
        assert only is not None
        return [str(cell) for cell in long.cells[only]], "NPX (log2)"
    of_name: dict[str, set[str]] = {}
    pairs = list(zip(long.cells[assay], long.cells[olink], strict=True))
    for name, key in pairs:
        of_name.setdefault(name, set()).add(key)
    return [name if name and len(of_name[name]) == 1 else f"{name}_{key}" for name, key in pairs], "NPX (log2)"


def quality(long: Columns, npx: Floats, keep: npt.NDArray[np.bool_], warned: str, notices: list[str]) -> None:
    """Count warnings of quality control, and blank the values that have one where that is asked for."""
    for names, what in ((SAMPLE_QC, "of the sample"), (ASSAY_QC, "of the assay")):
        place = place_of(long.header, names)
        if place is None:
            continue
        marked = np.array([cell.strip().lower() not in PASSED for cell in long.cells[place]]) & keep & ~np.isnan(npx)
        n = int(marked.sum())
        if n and warned == "blank":
            npx[marked] = np.nan
            notices.append(f"{n} values with a warning of quality control {what} were blanked and are filled")
        elif n:
            notices.append(
                f"{n} values have a warning of quality control {what} and are kept; --qc-warnings blank leaves them out"
            )


def sample_columns(
    long: Columns, lines: npt.NDArray[np.intp], apart: set[int]
) -> tuple[list[str], list[Sequence[str]]]:
    """Columns that say one thing of each sample; the plate by panel where a sample is on several plates."""
    header: list[str] = []
    cells: list[Sequence[str]] = []
    there = [row[row >= 0] for row in lines]
    panel = place_of(long.header, ("panel",))
    for place, name in enumerate(long.header):
        if place in apart:
            continue
        held = [str(cell) for cell in long.cells[place]]
        per_sample = [{held[line] for line in row.tolist()} for row in there]
        if all(len(found) == 1 for found in per_sample):
            header.append(name)
            cells.append([next(iter(found)) for found in per_sample])
        elif name.lower() == "plateid" and panel is not None:
            panels = [str(cell) for cell in long.cells[panel]]
            for one in sorted(set(panels)):
                by_panel = [sorted({held[line] for line in row.tolist() if panels[line] == one}) for row in there]
                if all(len(found) <= 1 for found in by_panel):
                    header.append(f"{name}_{one}")
                    cells.append([found[0] if found else "" for found in by_panel])
    return header, cells


def lines_like(source: Olink, pairs: Sequence[tuple[int, int]]) -> list[dict[int, str]]:
    """Texts by column of new lines: what is the same on all lines of the assay, of the sample, or of its panel.

    Parameters
    ----------
    source : Olink
        As read.
    pairs : sequence of (int, int)
        Places of sample and assay in the wide table.
    """
    header, cells = source.columns.header, source.columns.cells
    names = [str(cell) for cell in source.columns.names or ()]
    texts = [[str(cell) for cell in column] for column in cells]
    sample, panel = place_of(header, (SAMPLE,)), place_of(header, ("panel",))
    assert sample is not None
    by_assay = [column[column >= 0].tolist() for column in source.lines.T]
    by_sample = [row[row >= 0].tolist() for row in source.lines]
    others = [place for place in range(len(header)) if place not in (source.value, sample)]
    of_sample = {p for p in others if all(len({texts[p][line] for line in lines}) == 1 for lines in by_sample)}
    of_assay = {
        p for p in others if all(len({texts[p][line] for line in lines}) == 1 for lines in by_assay)
    } - of_sample
    found = []
    for row, assay in pairs:
        line = {sample: names[row] if names else texts[sample][by_sample[row][0]]}
        line |= {place: texts[place][by_sample[row][0]] for place in of_sample}
        line |= {place: texts[place][by_assay[assay][0]] for place in of_assay}
        if panel in of_assay:
            beside = [one for one in by_sample[row] if texts[panel][one] == line[panel]]
            for place in others:
                held = {texts[place][one] for one in beside}
                if header[place].lower() == "plateid" and place not in line and len(held) == 1:
                    line[place] = held.pop()
        found.append(line)
    return found


def flag_name(header: Sequence[str]) -> str:
    """A name for the column of flags that is free."""
    name = FLAG
    while name in header:
        name += "_"
    return name
