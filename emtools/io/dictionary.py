"""The data dictionary of a table: what each column is, written so that a person can correct it and hand it back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from emtools.errors import InputError
from emtools.io.cell_text import as_number
from emtools.io.delimited import read_delimited, unquote
from emtools.io.outputs import require_file
from emtools.kernels.scales import kind_and_power

ROLES = ("id", "marker", "covariate", "batch", "leave")
TYPES = ("number", "interval", "binary", "category", "text", "date")
CODES_APART = "|"
Limit = float | str | None


@dataclass(frozen=True)
class Entry:
    """What is known of one column.

    Parameters
    ----------
    column : str
        Name.
    role : str
        "id", "marker", "covariate", "batch" or "leave".
    type : str
        "number", "interval" (cells such as 0.5-1.0 are bounds), "binary", "category", "text" or "date"; empty for what
        the cells say.
    unit : str
        Unit, empty where unknown.
    scale : str
        "none", "log", "logit", "rank-normal", "yeo-johnson", "box-cox" or "box-cox" and its power; empty where nobody
        chose.
    missing_codes, below_codes, above_codes : tuple of str
        Codes for a missing value, and for one below or above the limits.
    lod, upper_limit : float, str or None
        Limit of detection and upper limit of quantification: a number, or the name of a column with a limit a row.
    n_observed, n_missing, n_below, n_above : int or None
        Cells.
    min, max : float or None
        Range of the observed values.
    note : str
        Anything.
    """

    column: str
    role: str
    type: str = ""
    unit: str = ""
    scale: str = ""
    missing_codes: tuple[str, ...] = ()
    below_codes: tuple[str, ...] = ()
    above_codes: tuple[str, ...] = ()
    lod: Limit = None
    upper_limit: Limit = None
    n_observed: int | None = None
    n_missing: int | None = None
    n_below: int | None = None
    n_above: int | None = None
    min: float | None = None
    max: float | None = None
    note: str = ""


FIELDS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True)
class Dictionary:
    """Entries of all columns, in the order of the table.

    Parameters
    ----------
    entries : tuple of Entry
        One a column.
    where : mapping
        Place of the line of each column, where it was read from a file.
    """

    entries: tuple[Entry, ...]
    where: Mapping[str, str]

    @cached_property
    def by_column(self) -> dict[str, Entry]:
        """Entries by the names of their columns."""
        return {entry.column: entry for entry in self.entries}

    def of(self, column: str) -> Entry | None:
        """Entry of a column, None where there is none."""
        return self.by_column.get(column)

    def at(self, column: str, field: str) -> str:
        """Where a field stands, for a message."""
        return f"{self.where.get(column, 'dictionary')}, {field} of column {column!r}"


def write_dictionary(dictionary: Dictionary, path: Path) -> Path:
    """Write a dictionary as tab-separated text; reading it gives the same dictionary.

    Parameters
    ----------
    dictionary : Dictionary
        Entries.
    path : Path
        File to write.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(FIELDS)
    for entry in dictionary.entries:
        writer.writerow([as_field(getattr(entry, name)) for name in FIELDS])
    path.write_bytes(text.getvalue().encode("utf-8"))
    return path


def as_field(value: object) -> str:
    """A field as text."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return CODES_APART.join(value)
    return repr(value) if isinstance(value, float) else str(value)


def read_dictionary(path: Path) -> Dictionary:
    """Read a dictionary that a person may have edited, perhaps in a spreadsheet.

    Parameters
    ----------
    path : Path
        Text with a header line; `column` and `role` must be there, other fields may be absent or empty.

    Raises
    ------
    InputError
        If a field is unknown or wrong: one line that names file, line and field.
    """
    path = Path(path)
    require_file(path, "dictionary")
    content = read_delimited(path)
    for name in content.header:
        if name not in FIELDS:
            raise InputError(f"{path}, header", f"no field {name!r}", f"some of {', '.join(FIELDS)}", "mend the name")
    for name in ("column", "role"):
        if name not in content.header:
            raise InputError(f"{path}, header", f"there is no field {name!r}", "", "add it")
    entries: list[Entry] = []
    where: dict[str, str] = {}
    for line, cells in zip(content.lines, content.cells, strict=True):
        texts = dict(zip(content.header, (unquote(cell) for cell in cells), strict=True))
        place = f"{path}, line {line}"
        entry = entry_of(texts, place)
        if entry.column in where:
            raise InputError(place, f"column {entry.column!r} has a line already", "one line a column", "take one out")
        where[entry.column] = place
        entries.append(entry)
    ids = [entry.column for entry in entries if entry.role == "id"]
    if len(ids) > 1:
        raise InputError(where[ids[1]], f"{ids[0]!r} and {ids[1]!r} both have the role id", "one", "give one another")
    return Dictionary(tuple(entries), where)


def entry_of(texts: Mapping[str, str], place: str) -> Entry:
    """An entry from the texts of its fields."""
    values: dict[str, object] = {}
    for name, text in texts.items():
        if name in ("column", "unit", "note"):
            values[name] = text
        elif name in ("role", "type"):
            values[name] = one_of(text.lower(), name, place)
        elif name == "scale":
            values[name] = text.lower()
            kind_and_power(text.lower() or "none", f"{place}, field scale")
        elif name.endswith("_codes"):
            values[name] = tuple(code.strip() for code in text.split(CODES_APART)) if text else ()
        elif name in ("lod", "upper_limit"):
            number = read_number(text)
            values[name] = number if number is not None else text or None
        else:
            values[name] = counted(text, name, place) if name.startswith("n_") else measured(text, name, place)
    entry = Entry(**values)  # type: ignore[arg-type]
    if isinstance(entry.lod, float) and isinstance(entry.upper_limit, float) and entry.lod >= entry.upper_limit:
        got = f"lod {entry.lod:g} and upper_limit {entry.upper_limit:g}"
        raise InputError(f"{place}, column {entry.column!r}", got, "a lod below the upper_limit", "mend one")
    if entry.role == "marker" and entry.type not in ("", "number", "interval"):
        got = f"role marker and type {entry.type}"
        raise InputError(f"{place}, column {entry.column!r}", got, "type number or interval", "or role covariate")
    return entry


def one_of(text: str, name: str, place: str) -> str:
    """A word of a short list."""
    words = {"role": ROLES, "type": TYPES}[name]
    if text not in words and (text or name == "role"):
        raise InputError(f"{place}, field {name}", repr(text), f"one of {', '.join(words)}", "mend the word")
    return text


def read_number(text: str) -> float | None:
    """A finite number with a decimal point or comma, None where the text is none."""
    value = as_number(text, ".")
    return value if value is not None else as_number(text, ",")


def counted(text: str, name: str, place: str) -> int | None:
    """A count, or nothing."""
    if not text:
        return None
    if not text.isdecimal():
        raise InputError(f"{place}, field {name}", repr(text), "a whole number or nothing", "blank it")
    return int(text)


def measured(text: str, name: str, place: str) -> float | None:
    """A finite number, or nothing."""
    value = read_number(text)
    if text and (value is None or not math.isfinite(value)):
        raise InputError(f"{place}, field {name}", repr(text), "a number or nothing", "blank it")
    return value
