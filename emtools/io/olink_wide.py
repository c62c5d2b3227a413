"""Olink's wide export of NPX Signature and NPX Manager: a block of headers, the samples, and a block of limits below."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.cell_text import is_missing
from emtools.io.delimited import Delimited, decode, find_separator, split_cells, split_records, unquote
from emtools.io.markers import find_decimal, read_numbers
from emtools.io.olink import CONTROL_ASSAY, CONTROL_SAMPLE, PASSED, shown
from emtools.io.sheets import Columns
from emtools.io.sniff import GZIP

TOP = ("panel", "assay", "uniprot id", "uniprot", "olinkid", "olink id", "unit")
BELOW = ("missing data freq.", "missing freq.", "missing data freq", "normalization", "assay warning", "lowest quantifiable level",
         "lloq", "uloq")  # fmt: skip
LODS = ("lod", "plate lod", "plate_lod", "max lod")
PLATE, QC = "plate id", "qc warning"
LOOKED_AT = 1_000_000  # bytes in which a text file shows its block of headers
DEEPEST = 12  # rows in which the block of headers ends
SAMPLE = "SampleID"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Wide:
    """Where things stand in the grid of a wide export.

    Parameters
    ----------
    header : tuple of str
        Names of the columns: the sample, assays by name, and what stands beside them.
    assays : tuple of int
        Columns of assays that are no controls.
    panels : tuple of str
        Panel of each column.
    units : mapping of str to str
        By assay.
    rows : tuple of int
        Rows of the grid that hold samples, controls left out.
    lods : tuple of int
        Rows of the grid that hold limits of detection.
    controls : tuple of str
        Samples left out.
    """

    header: tuple[str, ...]
    assays: tuple[int, ...]
    panels: tuple[str, ...]
    units: dict[str, str]
    rows: tuple[int, ...]
    lods: tuple[int, ...]
    controls: tuple[str, ...]


def looks_wide(path: Path) -> bool:
    """Whether a text file begins with the block of headers of a wide export."""
    with open(path, "rb") as file:
        packed = file.read(2) == GZIP[:2]
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            raw = file.read(LOOKED_AT)
    except (OSError, EOFError, zlib.error):
        return False
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    lines = raw.decode(encoding, errors="replace").lower().splitlines()[:DEEPEST]
    words = [re.split(r"[;,\t|]", line)[0].strip(' "') for line in lines]
    return {"panel", "assay"} <= set(words) and bool({"olinkid", "olink id"} & set(words))


def read_wide(path: Path, codes: tuple[str, ...], warned: str) -> tuple[Columns, Delimited]:
    """A wide export as text, its samples as rows.

    Raises
    ------
    InputError
        If it cannot be read; the message names the place.
    """
    text, encoding = decode(path)
    records = split_records(path, text)
    heads = [record for _, record, _ in records[:DEEPEST] if record.lower().strip('" ').startswith(("panel", "assay"))]
    separator = find_separator(heads)
    cells = [split_cells(record, separator) for _, record, _ in records]
    grid = [[unquote(cell) for cell in line] for line in cells]
    wide = find_wide(grid)
    if wide is None:
        raise InputError(
            str(path), "the block of headers has no OlinkID over an assay", "Olink's wide export as it comes", "export it again"
        )  # fmt: skip
    row_of = {at: row for row, at in enumerate(wide.rows)}
    width = len(wide.header)
    content = Delimited(
        separator,
        encoding,
        wide.header,
        tuple(records[at][0] for at in wide.rows),
        tuple((*cells[at], *[""] * (width - len(cells[at]))) for at in wide.rows),
        tuple((row_of.get(at, -1), text, ending) for at, (_, text, ending) in enumerate(records)),
    )
    places = [f"line {line}" for line, _, _ in records]
    return wide_columns(path, wide, grid, places, codes, warned), content


def find_wide(grid: Sequence[Sequence[str]]) -> Wide | None:
    """What the grid of a file holds if it is a wide export, else None.

    Parameters
    ----------
    grid : sequence of sequences of str
        Every row of the file, cells without quotes and outer blanks; rows may be shorter than others.

    Examples
    --------
    >>> top = [["Panel", "INF", "INF"], ["Assay", "IL6", "TNF"], ["OlinkID", "OID1", "OID2"], []]
    >>> found = find_wide([["NPX data"], *top, ["A1", "2.5", "3.0"], ["A2", "", "1.0"], [], ["LOD", "1.0", "0.5"]])
    >>> found.header, found.rows, found.lods
    (('SampleID', 'IL6', 'TNF'), (5, 6), (8,))
    """
    named: dict[str, int] = {}
    for at, cells in enumerate(grid[:DEEPEST]):
        word = cells[0].lower() if cells else ""
        if word in TOP:
            named.setdefault(word.replace(" ", ""), at)
    if not {"panel", "assay", "olinkid"} <= named.keys():
        return None
    width = max(len(grid[at]) for at in named.values())

    def row(word: str) -> list[str]:
        cells = list(grid[named[word]]) if word in named else []
        return cells + [""] * (width - len(cells))

    panels, assay, keys, units = row("panel"), row("assay"), row("olinkid"), row("unit")
    own = [column for column in range(1, width) if keys[column]]
    if not own:
        return None
    times = Counter(assay[column] for column in own)
    beside = Counter(assay[column] for column in range(1, width) if not keys[column])
    header = [SAMPLE]
    for column in range(1, width):
        name, panel = assay[column] or keys[column], panels[column]
        if keys[column]:
            header.append(name if times[assay[column]] == 1 else f"{name}_{keys[column]}")
        else:
            header.append(name if beside[name] == 1 else f"{name} ({panel})" if name else "")
    rows: list[int] = []
    lods: list[int] = []
    controls: list[str] = []
    for at in range(max(named.values()) + 1, len(grid)):
        cells = grid[at]
        word = cells[0].lower() if cells else ""
        if word in LODS:
            lods.append(at)
        elif word in BELOW or not any(cells) or lods:
            continue
        elif CONTROL_SAMPLE.fullmatch(cells[0]):
            controls.append(cells[0])
        else:
            rows.append(at)
    title = " ".join(cell for cells in grid[: min(named.values())] for cell in cells).lower()
    usual = "" if "quant" in title or title.startswith("ct ") or " ct data" in title else "NPX (log2)"
    return Wide(
        tuple(header),
        tuple(column for column in own if not CONTROL_ASSAY.fullmatch(assay[column])),
        tuple(panels),
        {header[column]: units[column] or usual for column in own},
        tuple(rows),
        tuple(lods),
        tuple(controls),
    )


def wide_columns(
    path: Path, wide: Wide, grid: Sequence[Sequence[str]], places: Sequence[str], codes: tuple[str, ...], warned: str
) -> Columns:
    """The samples of a wide export by columns.

    Parameters
    ----------
    path : Path
        File.
    wide : Wide
        As found in `grid`.
    grid : sequence of sequences of str
        Rows of the file.
    places : sequence of str
        Where each row of the grid stands.
    codes : tuple of str
        Codes for a missing value.
    warned : str
        "keep" or "blank": what becomes of values with a warning of quality control.

    Raises
    ------
    InputError
        If no sample is left, one has no name, or a limit is no number.
    """
    width = len(wide.header)
    lines = [[*grid[at], *[""] * width][:width] for at in wide.rows]
    if not lines:
        raise InputError(str(path), "no sample stands in it beside controls", "rows of samples", "check the export")
    empty = next((at for at, line in zip(wide.rows, lines, strict=True) if not line[0]), None)
    if empty is not None:
        raise InputError(
            f"{path}, {places[empty]}", "no sample is named", "a name in the first column", "mend the line"
        )
    kept = [column for column in range(width) if wide.header[column]]
    header = tuple(wide.header[column] for column in kept)
    seen: Counter[str] = Counter()
    names = []
    for line in lines:
        seen[line[0]] += 1
        names.append(line[0] if seen[line[0]] == 1 else f"{line[0]} ({seen[line[0]]})")
    notices = [f"Olink's wide export: {len(names)} samples × {len(wide.assays)} assays, NPX on its log2 scale"]
    if not all(unit.startswith("NPX") for unit in wide.units.values()):
        notices[0] = notices[0].partition(", NPX")[0]
    again = [name for name, count in seen.items() if count > 1]
    if again:
        notices.append(f"{len(again)} samples stand more than once and make a row each time: {shown(again)}")
    if wide.controls:
        notices.append(f"{len(wide.controls)} control samples are left out of the model: {shown(wide.controls)}")
    found = Columns(
        path,
        header,
        [[line[column] for line in lines] for column in kept],
        tuple(places[at] for at in wide.rows),
        codes,
        candidates=tuple(kept.index(column) for column in wide.assays),
        names=names,
        units=wide.units,
        notices=tuple(notices),
    )
    return with_limits(with_quality(found, wide, kept, warned), wide, grid, places)


def with_quality(found: Columns, wide: Wide, kept: Sequence[int], warned: str) -> Columns:
    """The same with values of samples that have a warning of quality control counted, and blank where that is asked."""
    cells = [list(column) for column in found.cells]
    n = 0
    for place, column in enumerate(kept):
        if found.header[place].partition(" (")[0].lower() != QC:
            continue
        bad = [row for row, cell in enumerate(cells[place]) if cell.strip().lower() not in PASSED]
        panel = wide.panels[column]
        for assay in wide.assays:
            if panel and wide.panels[assay] != panel:
                continue
            held = cells[kept.index(assay)]
            hit = [row for row in bad if not is_missing(held[row], found.codes)]
            n += len(hit)
            if warned == "blank":
                for row in hit:
                    held[row] = ""
    if not n:
        return found
    what = (
        "were blanked and are filled" if warned == "blank" else "are kept; --qc-warnings blank leaves them out"
    )  # fmt: skip
    told = f"{n} values of samples with a warning of quality control {what}"
    return replace(found, cells=cells, notices=(*found.notices, told))


def with_limits(found: Columns, wide: Wide, grid: Sequence[Sequence[str]], places: Sequence[str]) -> Columns:
    """The same with limits of detection, of the plate where there is one for each."""
    assays = list(found.candidates or ())
    decimal = find_decimal(found, assays)
    plates: dict[str, list[str]] = {}
    for place, name in enumerate(found.header):
        if name.partition(" (")[0].lower() == PLATE:
            plates[wide.panels[wide.header.index(name)]] = list(found.cells[place])
    limits: dict[str, Floats] = {}
    for at in wide.lods:
        line = [*grid[at], *[""] * len(wide.header)]
        for place in assays:
            column = wide.header.index(found.header[place])
            values, odd = read_numbers([line[column]], decimal)
            if odd and not is_missing(line[column], found.codes):
                raise InputError(
                    f"{found.path}, {places[at]}, column {found.header[place]!r}",
                    f"the limit {line[column]!r} is not a number",
                    "a number",
                    "mend the cell",
                )
            own = plates.get(wide.panels[column], [])
            here = {
                line[k] for k in range(1, len(wide.header))
                if wide.header[k].partition(" (")[0].lower() == PLATE and line[k] and wide.panels[k] == wide.panels[column]
            }  # fmt: skip
            rows = np.array([not here or plate in here for plate in own or [""] * len(found.places)])
            limit = limits.setdefault(found.header[place], np.full(len(found.places), np.nan))
            limit[rows] = values[0]
    return replace(found, limits={name: limit for name, limit in limits.items() if np.isfinite(limit).any()})
