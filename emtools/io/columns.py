"""What each column of a table is: its name's unit, its role, its covariates, its limits of detection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.cell_text import DATE, MONTHS, Rules, is_missing
from emtools.io.dictionary import Dictionary, Entry, Limit, read_number
from emtools.io.markers import Marker, read_marker, read_numbers
from emtools.io.sheets import Columns, Numbers, find_column

if TYPE_CHECKING:
    import pandas as pd

UNIT = re.compile(r".*?\S\s*[(\[]\s*([^()\[\]]+?)\s*[)\]]")
KNOWN_UNITS = frozenset(
    [
        "a.u.",
        "au",
        "bpm",
        "cm",
        "d",
        "days",
        "g",
        "h",
        "iu",
        "kda",
        "kg",
        "kpa",
        "l",
        "log10",
        "log2",
        "m",
        "mfi",
        "mg",
        "min",
        "ml",
        "mm",
        "mmhg",
        "months",
        "nm",
        "npx",
        "od",
        "pg",
        "s",
        "u",
        "years",
        "yr",
        "yrs",
        "µg",
        "μg",
        "ug",
        "ng",
        "µl",
        "μl",
        "µm",
        "μm",
        "pm",
        "µmol",
        "mmol",
        "nmol",
        "pmol",
        "mol",
        "°c",
    ]
)
LOWER_LIMIT = re.compile(r"(.+?)[_ .-](?:lod|llod|loq|lloq)|(?:lod|llod|loq|lloq)[_ .-](.+)", re.IGNORECASE)
UPPER_LIMIT = re.compile(r"(.+?)[_ .-](?:ulod|uloq)|(?:ulod|uloq)[_ .-](.+)", re.IGNORECASE)
GENE_DATE = re.compile(rf"\d{{1,2}}-({MONTHS})|({MONTHS})-\d{{1,2}}|\d{{4}}-(03|09|12)-\d\d( 00:00:00)?", re.IGNORECASE)
FEW_LEVELS = 20
ZEROS, PILE = 0.05, 0.10
LEAST_PILE, LEAST_DISTINCT = 5, 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Roles:
    """Columns by what they are for.

    Parameters
    ----------
    id : str or None
        Column that names the rows.
    markers : tuple of int
        Places of the columns to model.
    asked : bool
        Whether they were asked for by name, so that one that cannot be read is an error.
    insisted : bool
        Whether one that does not vary is an error too.
    covariates, batches : tuple of str
        Columns that enter as fixed effects.
    """

    id: str | None
    markers: tuple[int, ...]
    asked: bool
    insisted: bool
    covariates: tuple[str, ...]
    batches: tuple[str, ...]


def unit_of(name: str) -> str:
    """Unit in a column's name, as in "CRP (mg/L)"; empty where the bracket holds something else.

    Examples
    --------
    >>> unit_of("CRP [mg/L]"), unit_of("SLC2A4 (soluble)")
    ('mg/L', '')
    """
    found = UNIT.fullmatch(name)
    if found is None:
        return ""
    text = found.group(1)
    return text if "/" in text or "%" in text or text.lower() in KNOWN_UNITS else ""


def roles_of(
    sheet: Columns,
    *,
    id_column: str | None,
    columns: Sequence[str] | None,
    covariates: Sequence[str],
    batches: Sequence[str],
    leave: Sequence[str],
    dictionary: Dictionary | None,
    option: str,
) -> Roles:
    """Roles of the columns: what was asked for by name, then what the dictionary says, then what the table shows.

    Raises
    ------
    InputError
        If a column is absent, or named twice.
    """
    role = {} if dictionary is None else {entry.column: entry.role for entry in dictionary.entries}
    for name in role:
        if name not in sheet.header:
            assert dictionary is not None
            raise InputError(
                dictionary.where.get(name, "dictionary"),
                f"{sheet.path} has no column {name!r}",
                "columns of the table",
                "mend the name or take the line out",
            )
    if id_column is None:
        id_column = next((name for name, one in role.items() if one == "id"), None)
    named = (("--covariates", covariates), ("--batch", batches), ("leave", leave))
    for where, names in (*named, ("--columns" if option == "--columns" else option, columns or ())):
        for name in names:
            find_column(sheet, name, where)
            if list(names).count(name) > 1:
                raise InputError(where, f"{name!r} is named twice", "each column once", "take one out")
            if name == id_column:
                raise InputError(where, f"{name!r} is the id column", "other columns", "take it out")
    taken: dict[str, str] = {}
    for where, names in (*named, ("--columns", columns or ())):
        for name in names:
            if taken.setdefault(name, where) != where:
                raise InputError(where, f"{name!r} is in {taken[name]} too", "one role a column", "take it out of one")
    chosen = {"covariate": tuple(covariates), "batch": tuple(batches)}
    for one in chosen:
        chosen[one] += tuple(name for name, held in role.items() if held == one and name not in taken)
    if columns is not None:
        places = tuple(find_column(sheet, name, option) for name in columns)
        return Roles(id_column, places, True, True, chosen["covariate"], chosen["batch"])
    apart = {id_column, "", *taken, *chosen["covariate"], *chosen["batch"]}
    apart |= {name for name, one in role.items() if one not in ("marker",)}
    candidates = range(len(sheet.header)) if sheet.candidates is None else sheet.candidates
    more = {sheet.header.index(name) for name, one in role.items() if one == "marker"}
    places = tuple(
        place
        for place in sorted({*candidates, *more})
        if sheet.header[place] not in apart and not sheet.header[place].startswith("__index_level_")
    )
    return Roles(id_column, places, False, False, chosen["covariate"], chosen["batch"])


def companions(sheet: Columns, roles: Roles, dictionary: Dictionary | None) -> dict[str, dict[str, str]]:
    """Columns that hold a limit for each row of a marker, by their names: {"lod": {"CRP": "CRP_lod"}, …}."""
    names = {sheet.header[place] for place in roles.markers}
    by_name = {name.lower(): name for name in names}
    used = {*roles.covariates, *roles.batches, roles.id}
    found: dict[str, dict[str, str]] = {"lod": {}, "upper_limit": {}}
    for column in sheet.header:
        if column in used or (dictionary is not None and dictionary.of(column) is not None):
            continue
        for kind, pattern in (("lod", LOWER_LIMIT), ("upper_limit", UPPER_LIMIT)):
            match = pattern.fullmatch(column)
            base = by_name.get((match.group(1) or match.group(2)).lower()) if match else None
            if base is not None and base != column:
                found[kind].setdefault(base, column)
    return found


def limit_values(sheet: Columns, limit: Limit, where: str, decimal: str) -> float | Floats | None:
    """A limit as one number or one a row, NaN in rows without.

    Raises
    ------
    InputError
        If it is neither a finite number nor a column of numbers.
    """
    number = read_number(limit) if isinstance(limit, str) else limit
    if number is not None and not np.isfinite(number):
        raise InputError(
            where, f"{limit} is no limit", "a finite number, or a column", "mend it, or leave the limit out"
        )
    if number is not None or limit is None:
        return number
    if limit not in sheet.header:
        raise InputError(
            where, f"{limit!r} is neither a number nor a column", "one of them", "check the name, or give a number"
        )
    found = read_marker(
        sheet,
        sheet.header.index(str(limit)),
        Rules(decimal, sheet.codes),
        asked=True,
        remedy="take it out of the limits",
    )
    assert found is not None
    return found.values


def covariate_frame(sheet: Columns, roles: Roles, dictionary: Dictionary | None, decimal: str) -> pd.DataFrame:
    """Covariates and batches: numbers, or levels as text; NaN or None where missing, shape (n, c)."""
    import pandas as pd

    held = {}
    for name in (*roles.covariates, *roles.batches):
        entry = None if dictionary is None else dictionary.of(name)
        kind = "category" if name in roles.batches else "" if entry is None else entry.type
        held[name] = covariate(sheet, sheet.header.index(name), kind, rules_of(sheet, entry, decimal))
    return pd.DataFrame(held, index=pd.RangeIndex(len(sheet.places)))


def covariate(sheet: Columns, position: int, kind: str, rules: Rules) -> pd.Series:
    """One covariate of a type of `emtools.io.dictionary.TYPES`, or by what its cells say where that is empty."""
    import pandas as pd

    cells = sheet.cells[position]
    if kind in ("binary", "category", "text"):
        levels = pd.Series(
            [None if is_missing(cell, rules.missing) else level_of(cell) for cell in cells], dtype=object
        )
        if kind == "binary" and levels.nunique() > 2:
            raise InputError(
                f"{sheet.path}, column {sheet.header[position]!r}",
                f"{levels.nunique()} different values in a binary covariate",
                "two",
                "give it the type category in the dictionary",
            )
        return levels
    values, odd = read_numbers(cells, rules.decimal)
    unread = [row for row in odd if not is_missing(cells[row], rules.missing)]
    if unread and kind != "number":
        return covariate(sheet, position, "category", rules)
    if unread:
        raise InputError(
            sheet.at(unread[0], position),
            f"{cells[unread[0]][:40]!r} is not a number",
            "numbers and missing codes only",
            "mend the cell, or give the column the type category in the dictionary",
        )
    codes = [float(code) for code in rules.missing if read_number(code) is not None]
    return pd.Series(np.where(np.isin(values, codes), np.nan, values))


def level_of(cell: str) -> str:
    """A level as text; 1.0 is the level 1."""
    return cell[:-2] if cell.endswith(".0") and cell[:-2].isdecimal() else cell


def rules_of(sheet: Columns, entry: Entry | None, decimal: str, below: Sequence[str] = ()) -> Rules:
    """How the cells of a column are read."""
    if entry is None:
        return Rules(decimal, sheet.codes, tuple(below))
    return Rules(
        decimal,
        (*sheet.codes, *entry.missing_codes),
        (*below, *entry.below_codes),
        entry.above_codes,
        entry.type == "interval",
    )


def marker_entry(name: str, marker: Marker, old: Entry | None, unit: str, lod: Limit, upper_limit: Limit) -> Entry:
    """The dictionary's line of a marker, with its counts."""
    seen = marker.values[~np.isnan(marker.values)]
    start = Entry(name, "marker", "number") if old is None else old
    n_missing, n_below, n_above, n_between = marker.counts()
    return replace(
        start,
        role="marker",
        type=start.type or "number",
        unit=unit,
        lod=lod,
        upper_limit=upper_limit,
        n_observed=seen.size,
        n_missing=n_missing + n_between,
        n_below=n_below,
        n_above=n_above,
        min=float(seen.min()) if seen.size else None,
        max=float(seen.max()) if seen.size else None,
    )


def other_entry(sheet: Columns, position: int, role: str, old: Entry | None, note: str = "") -> Entry:
    """The dictionary's line of a column that is no marker."""
    name, cells = sheet.header[position], sheet.cells[position]
    codes = sheet.codes if old is None else (*sheet.codes, *old.missing_codes)
    if isinstance(cells, Numbers):
        kind, n_missing = "number", int(np.isnan(cells.values).sum())
    else:
        held = [cell for cell in cells if not is_missing(cell, codes)]
        kind, n_missing = cell_type(held), len(cells) - len(held)
        if role == "leave" and not note and kind == "text" and held and len(set(held)) == len(cells):
            note = "every value differs: with the role id it names the rows"
        elif role == "leave" and not note and kind in ("binary", "category"):
            note = "with the role covariate or batch it enters as a fixed effect"
    start = Entry(name, role, unit=unit_of(name)) if old is None else old
    return replace(
        start,
        role=role,
        type=start.type or kind,
        note=start.note or note,
        n_observed=len(cells) - n_missing,
        n_missing=n_missing,
    )


def cell_type(held: Sequence[str]) -> str:
    """Type of a column by its cells."""
    levels = set(held)
    if held and all(read_number(cell) is not None for cell in levels):
        return "number"
    if held and all(DATE.fullmatch(cell) for cell in levels):
        return "date"
    if len(levels) == 2 and len(held) > 2:
        return "binary"
    return "category" if len(levels) <= FEW_LEVELS and 2 * len(levels) <= len(held) else "text"


def piles(names: Sequence[str], markers: Sequence[Marker], limited: Mapping[str, bool]) -> list[str]:
    """Sentences on zeros, and on smallest and largest values, that so many cells share that they may be limits."""
    zeros: list[str] = []
    floors: list[str] = []
    ceilings: list[str] = []
    for name, marker in zip(names, markers, strict=True):
        seen = marker.values[~np.isnan(marker.values)]
        low, high = float(seen.min()), float(seen.max())
        at_low, at_high = int((seen == low).sum()), int((seen == high).sum())
        few = max(3, ZEROS * seen.size) if low == 0.0 else max(LEAST_PILE, PILE * seen.size)
        many_high = at_high >= max(LEAST_PILE, PILE * seen.size)
        if limited.get(name) or not (at_low >= few or many_high) or np.unique(seen).size < LEAST_DISTINCT:
            continue
        if at_low >= few:
            piled = f"{name} ({at_low} of {seen.size}{'' if low == 0.0 else f' are {low:g}'})"
            (zeros if low == 0.0 else floors).append(piled)
        if many_high:
            ceilings.append(f"{name} ({at_high} of {seen.size} are {high:g})")
    told = []
    if zeros:
        told.append(
            f"many zeros in markers that are never below 0: {', '.join(zeros)}; they are taken as measured: where 0 "
            "stands for not detected, set below_codes 0 and lod in the dictionary"
        )
    if floors:
        told.append(
            f"many cells share the smallest value: {', '.join(floors)}; they are taken as measured: where it stands for "
            "not detected, set it as below_codes, and lod, in the dictionary"
        )
    if ceilings:
        told.append(
            f"many cells share the largest value: {', '.join(ceilings)}; they are taken as measured: where it is the end "
            "of the range, set it as above_codes, and upper_limit, in the dictionary"
        )
    return told


def turned_to_dates(names: Sequence[str], what: str) -> list[str]:
    """A sentence on names that look like dates, which spreadsheets make of gene names."""
    found = [name for name in names if GENE_DATE.fullmatch(name)]
    if not found or len(found) > max(5, 0.2 * len(names)):
        return []
    shown = ", ".join(repr(name) for name in found[:5]) + (", …" if len(found) > 5 else "")
    return [
        f"{what} look like dates: {shown}; a spreadsheet makes them of gene names such as MARCHF1 or SEPTIN2: check them"
    ]
