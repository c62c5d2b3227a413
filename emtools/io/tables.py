"""Tables of markers in, and out again with nothing changed but the cells that were filled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.cell_text import is_missing, why_not_a_number
from emtools.io.columns import (
    companions,
    covariate_frame,
    limit_values,
    marker_entry,
    other_entry,
    piles,
    roles_of,
    rules_of,
    turned_to_dates,
    unit_of,
)
from emtools.io.completed import Filled, write_content
from emtools.io.delimited import Delimited
from emtools.io.dictionary import Dictionary, Entry, Limit, read_dictionary
from emtools.io.excel import Workbook
from emtools.io.markers import Marker, find_decimal, read_marker, refuse_unmodelled, require_range, why_not_modelled
from emtools.io.olink import Olink, is_olink, read_olink
from emtools.io.readers import read_sheet
from emtools.io.sheets import Columns, find_column, row_names
from emtools.io.sniff import whole_suffix
from emtools.kernels.readings import Readings

if TYPE_CHECKING:
    import pandas as pd

SHOWN, TOLD = 12, 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Markers of a table and what is needed to write it again.

    Parameters
    ----------
    path : Path
        File that it came from.
    markers : tuple of str
        Columns that are modelled.
    rows : sequence of str
        Names of the rows: the id column, or numbers from 1.
    values : ndarray, shape (n, d)
        NaN where missing or beyond a limit.
    positions : tuple of int
        Place of each marker among the columns of the file.
    notices : tuple of str
        What the reader should know, in sentences without a full stop: columns that were left out, limits, zeros.
    decimal : str
        "." or ",".
    content : object
        The whole file, as its format holds it.
    places : sequence of str
        Where each row stands in the file: "line 3" or "row 2".
    readings : Readings
        `values` with the bounds of what lies beyond a limit, in the units of the table.
    units, scales : tuple of str
        Unit of each marker, and the scale that the dictionary names for it; empty where unknown.
    covariates : DataFrame, shape (n, c)
        Covariates and batches: numbers, or levels as text; NaN or None where missing.
    batches : tuple of str
        Those of them that are batches.
    dictionary : Dictionary
        What each column of the file was taken for.
    """

    path: Path
    markers: tuple[str, ...]
    rows: Sequence[str]
    values: Floats
    positions: tuple[int, ...]
    notices: tuple[str, ...]
    decimal: str
    content: Any
    places: Sequence[str]
    readings: Readings
    units: tuple[str, ...]
    scales: tuple[str, ...]
    covariates: pd.DataFrame
    batches: tuple[str, ...]
    dictionary: Dictionary

    def at(self, row: int, marker: int) -> str:
        """Where a cell stands, for a message."""
        return f"{self.path}, {self.places[row]}, column {self.markers[marker]!r}"


def read_table(
    path: Path,
    *,
    id_column: str | None = None,
    columns: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    option: str = "--columns",
    covariates: Sequence[str] = (),
    batch: str | Sequence[str] | None = None,
    leave: Sequence[str] = (),
    dictionary: Path | Dictionary | None = None,
    sheet: str | None = None,
    layer: str | None = None,
    lod: Mapping[str, Limit] | None = None,
    upper_limit: Mapping[str, Limit] | None = None,
    below_codes: Sequence[str] = (),
    below_lod: Literal["keep", "censor"] = "keep",
    warned: Literal["keep", "blank"] = "keep",
    new_rows: bool = False,
) -> Table:
    """Read the markers of a table.

    Parameters
    ----------
    path : Path
        .csv, .tsv, .tab or .txt (the separator is found in the text), plain or gzip; .parquet, .xlsx or .h5ad. A table
        with the columns SampleID, NPX and Assay or OlinkID, in any of these but .h5ad, is taken for Olink's long
        format.
    id_column : str, optional
        Column that names the rows; its values must differ.
    columns : sequence of str, optional
        Markers; by default every numeric column that has no other role. A column of text is left alone, one that does
        not vary is left out, and both are told; asked for by name they are errors.
    missing : sequence of str
        Codes for a missing value beside blanks, NA, N/A, NaN, null, none and a lone point.
    option : str
        What to check where a column is absent.
    covariates : sequence of str
        Columns that enter as fixed effects: numbers as they are, text as categories.
    batch : str or sequence of str, optional
        Columns of batches or plates: categories, also where they are numbers.
    leave : sequence of str
        Columns to leave alone.
    dictionary : Path or Dictionary, optional
        What the columns are; what is named here goes before what it says.
    sheet, layer : str, optional
        Sheet of a workbook, by default its only one with a table or the first; layer of an AnnData file, by default X.
    lod, upper_limit : mapping, optional
        Limits by marker: a number, or the name of a column that holds one a row. They bound cells that say "below" or
        "above" without a number. A column named like CRP_lod or CRP_uloq is taken for the limits of CRP.
    below_codes : sequence of str
        Codes for a value below the limit of detection, such as ND.
    below_lod : str
        Whether values beyond a limit that the file reports all the same, as Olink does, are kept as they are, or count
        as beyond it and no more ("censor").
    warned : str
        Whether values of Olink with a warning of quality control are kept, or left out and filled ("blank").
    new_rows : bool
        Whether the rows are for a model that was fitted before: any number of them, and markers need not vary.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        If the file, a column or a cell cannot be used; the message names it.
    """
    found, content = read_sheet(
        Path(path), missing, sheet=sheet, layer=layer, least_rows=1 if new_rows else 2, warned=warned
    )
    if is_olink(found.header):
        found, content = read_olink(
            found, content, warned, isinstance(content, Delimited), not isinstance(content, Workbook)
        )
    book = dictionary if dictionary is None or isinstance(dictionary, Dictionary) else read_dictionary(dictionary)
    batches = (batch,) if isinstance(batch, str) else tuple(batch or ())
    roles = roles_of(
        found,
        id_column=id_column,
        columns=columns,
        covariates=covariates,
        batches=batches,
        leave=leave,
        dictionary=book,
        option=option,
    )
    rows = row_names(found, roles.id)
    beside = companions(found, roles, book)
    limit_names = {name for held in beside.values() for name in held.values()} if columns is None else set()
    places = tuple(place for place in roles.markers if found.header[place] not in limit_names)
    fixed = tuple(found.header.index(name) for name in (*roles.covariates, *roles.batches))
    decimal = content.decimal if isinstance(content, Olink) else "."
    if isinstance(content, Delimited):
        decimal = find_decimal(found, (*places, *fixed))
    given = {"lod": dict(lod or {}), "upper_limit": dict(upper_limit or {})}
    for kind, held in given.items():
        for name in held:
            option = f"--{kind.replace('_', '-')}"
            if find_column(found, name, option) not in places:
                raise InputError(
                    str(found.path), f"column {name!r} is not a marker", "limits of markers only", f"check {option}"
                )
    kept: dict[int, Marker] = {}
    entries: dict[str, Entry] = {}
    notices = [*found.notices, *turned_to_dates(found.header, "names of columns")]
    left: dict[str, list[str]] = {}
    limited: dict[str, bool] = {}
    below: list[str] = []
    remarks: list[str] = []
    for place in places:
        name = found.header[place]
        old = None if book is None else book.of(name)
        set_by = {
            kind: given[kind].get(name, (getattr(old, kind) if old is not None else None) or beside[kind].get(name))
            for kind in given
        }
        limits = {
            kind: limit_values(found, value, f"{found.path}, limit of column {name!r}", decimal)
            for kind, value in set_by.items()
        }
        if limits["lod"] is None and name in found.limits:
            limits["lod"] = found.limits[name]
        marker = read_marker(
            found,
            place,
            rules_of(found, old, decimal, below_codes),
            asked=roles.asked or (old is not None and old.role == "marker"),
            lod=limits["lod"],
            upper_limit=limits["upper_limit"],
            censor=below_lod == "censor",
        )
        if marker is None:
            what = odd_numbers(found, place)
            left.setdefault(f"left alone, {what or 'not numeric'}", []).append(name)
            continue
        require_order(found, name, marker, limits["lod"], limits["upper_limit"])
        remarks += [f"{name}: {remark}" for remark in marker.remarks]
        unit = (old.unit if old is not None else "") or found.units.get(name, "") or unit_of(name)
        entries[name] = marker_entry(name, marker, old, unit, set_by["lod"], set_by["upper_limit"])
        why = "" if new_rows else why_not_modelled(marker.values)
        if why and roles.insisted:
            refuse_unmodelled(found, name, why)
        if why:
            left.setdefault("left out of the model and unchanged in the output", []).append(f"{name} ({why})")
            entries[name] = marker_entry(name, marker, old, unit, set_by["lod"], set_by["upper_limit"])
            continue
        if not new_rows:
            require_range(found, name, marker.values)
        kept[place] = marker
        limited[name] = limits["lod"] is not None or limits["upper_limit"] is not None
        if limits["lod"] is not None:
            with np.errstate(invalid="ignore"):
                n_low = int((marker.values < limits["lod"]).sum())
            below += [f"{name} ({n_low})"] if n_low else []
    if not kept:
        raise InputError(
            str(found.path),
            "0 numeric columns to model (none)",
            "at least 1 that varies",
            f"check {'--sheet' if isinstance(content, Workbook) else 'the separator'} and --columns",
        )
    more = [f"{len(remarks) - TOLD} more such notes on cells of other columns"] if len(remarks) > TOLD else []
    notices += [*remarks[:TOLD], *more]
    notices += [f"{what}: {listed(names)}" for what, names in left.items()]
    names = [found.header[place] for place in kept]
    markers = list(kept.values())
    notices += told_of_limits(names, markers, below, beside, columns is None)
    if not new_rows:
        notices += piles(names, markers, limited)
    if len(kept) == 1 and not fixed and not new_rows:
        notices.append(
            f"{names[0]} is the only marker, and nothing else tells of its gaps: each is filled with its mean"
        )
    for position, name in enumerate(found.header):
        old = None if book is None else book.of(name)
        if position in kept:
            continue
        role = (
            "id"
            if name == roles.id
            else "batch"
            if name in roles.batches
            else "covariate"
            if name in roles.covariates
            else "leave"
        )
        if name in entries:
            entries[name] = entries[name].__class__(
                **{**vars(entries[name]), "role": "leave", "note": entries[name].note or "does not vary"}
            )
        else:
            entries[name] = other_entry(found, position, role, old, limit_note(name, beside))
    values = np.column_stack([marker.values for marker in markers])
    readings = Readings(values)
    if not all(marker.unbounded for marker in markers):
        bounds = (np.column_stack([getattr(marker, side) for marker in markers]) for side in ("lower", "upper"))
        readings = Readings(values, *bounds)
    return Table(
        path=found.path,
        markers=tuple(names),
        rows=rows,
        values=values,
        positions=tuple(kept),
        notices=tuple(notices),
        decimal=decimal,
        content=content,
        places=found.places,
        readings=readings,
        units=tuple(entries[name].unit for name in names),
        scales=tuple(entries[name].scale for name in names),
        covariates=covariate_frame(found, roles, book, decimal),
        batches=roles.batches,
        dictionary=Dictionary(tuple(entries[name] for name in found.header), {}),
    )


def require_order(
    sheet: Columns, name: str, marker: Marker, lod: float | Floats | None, upper_limit: float | Floats | None
) -> None:
    """Raise where anything was read and the limit of detection does not lie below the upper limit of its row."""
    if lod is None or upper_limit is None:
        return
    low, high = (np.broadcast_to(limit, len(sheet.places)) for limit in (lod, upper_limit))
    with np.errstate(invalid="ignore"):
        read = np.isfinite(marker.values) | np.isfinite(marker.lower) | np.isfinite(marker.upper)
        crossed = np.flatnonzero((low >= high) & read)
    if crossed.size:
        row = int(crossed[0])
        got = f"the limit of detection, {low[row]:g}, is not below the upper limit, {high[row]:g}"
        place = sheet.at(row, sheet.header.index(name))
        raise InputError(place, got, "", "mend --lod, --upper-limit or their columns")


def listed(words: Sequence[str]) -> str:
    """The first of some words, and how many more there are."""
    return ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")


def odd_numbers(sheet: Columns, place: int) -> str:
    """Why a column is text although its cells begin with numbers, and what to do; empty where they do not."""
    held = [cell for cell in sheet.cells[place] if not is_missing(cell, sheet.codes)]
    whys = Counter(why_not_a_number(cell) for cell in held if re.match(r"[<>~≤≥]?\s*[+-]?\d", cell))
    if not whys:
        return ""
    (why, advice), count = whys.most_common(1)[0]
    return f"each cell {why}: {advice}" if advice and "unit" in advice + why and 2 * count > len(held) else ""


def limit_note(name: str, beside: Mapping[str, Mapping[str, str]]) -> str:
    """A note on a column that holds limits of another."""
    bases = [base for held in beside.values() for base, column in held.items() if column == name]
    return f"limits of {bases[0]}, row by row" if bases else ""


def told_of_limits(
    names: Sequence[str],
    markers: Sequence[Marker],
    below: Sequence[str],
    beside: Mapping[str, Mapping[str, str]],
    found: bool,
) -> list[str]:
    """Sentences on what was read as beyond a limit, and on limits that were found."""
    told = []
    counts = []
    for name, marker in zip(names, markers, strict=True):
        sides = zip(("below", "above", "between two"), marker.counts()[1:], strict=True)
        words = [f"{count} {side}" for side, count in sides if count]
        counts += [f"{name} ({', '.join(words)})"] if words else []
    if counts:
        told.append(f"known only to lie beyond a limit: {listed(counts)}")
    columns = sorted({column for held in beside.values() for column in held.values()})
    if columns and found:
        told.append(f"taken for limits of the marker that the name begins with, row by row: {listed(columns)}")
    if below:
        told.append(
            f"values below their limit of detection are kept as reported: {listed(below)}; "
            "--below-lod censor takes them as below it and no more"
        )
    return told


def write_completed(
    table: Table, filled: Floats, folder: Path, stem: str = "completed", *, sd: Floats | None = None
) -> Path:
    """Write the whole table as <stem>.<ending of the input>, changed in nothing but the cells that were not observed.

    Parameters
    ----------
    table : Table
        As read.
    filled : ndarray, shape (n, d)
        Values without gaps.
    folder : Path
        Where to.
    stem : str
        Name of the file without its ending.
    sd : ndarray, shape (n, d), optional
        Conditional standard deviation of each filled cell, for formats with a place for it (.h5ad).

    Returns
    -------
    Path
        The file.
    """
    target = folder / f"{stem}{whole_suffix(table.path)}"
    write_content(
        table.content,
        Filled(~table.readings.observed, np.asarray(filled, dtype=np.float64), sd, table.positions, table.decimal),
        target,
    )
    return target


def write_flags(table: Table, folder: Path, stem: str = "imputed") -> Path:
    """Write <stem>.tsv: 1 where a cell was filled, 0 where it was observed, in the shape of the markers.

    Parameters
    ----------
    table : Table
        As read.
    folder : Path
        Where to.
    stem : str
        Name of the file without its ending.

    Returns
    -------
    Path
        The file.
    """
    target = folder / f"{stem}.tsv"
    import pandas as pd

    flags = pd.DataFrame((~table.readings.observed).astype(np.int8), columns=list(table.markers))
    flags.insert(0, "row", list(table.rows), allow_duplicates=True)
    flags.to_csv(target, sep="\t", index=False, lineterminator="\n")
    return target
