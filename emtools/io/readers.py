"""Tables read from files of any format, every column by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emtools.errors import InputError
from emtools.io.cell_text import COMMA_NUMBER, NUMBER, is_missing, number_part
from emtools.io.delimited import Delimited, read_delimited, unquote
from emtools.io.outputs import require_file
from emtools.io.sheets import Columns, Numbered, Numbers
from emtools.io.sniff import TEXT, bare_suffix, whole_suffix

if TYPE_CHECKING:
    import pyarrow

PARQUET = (".parquet", ".pq")
EXCEL = (".xlsx", ".xlsm")
ANNDATA = (".h5ad",)
OLD_SHEETS = (".xls", ".ods", ".xlsb", ".numbers")
LARGEST = 2**28  # cells of a Parquet table
LEAST_UNDER = 3  # rows from which a first one may hold units
UNIT = re.compile(r"[/%µμ()\[\]]|^(mg|g|ng|pg|ml|l|dl|u|iu|mmol|nmol|pmol|npx|years?|s|cm|kg|mmhg)$", re.IGNORECASE)
UNBRACKETED = re.compile(r"^[(\[](.*)[)\]]$")


def read_sheet(
    path: Path,
    missing: Sequence[str] = (),
    *,
    sheet: str | None = None,
    layer: str | None = None,
    least_rows: int = 2,
    warned: str = "keep",
) -> tuple[Columns, Any]:
    """All columns of a table, and the file as it was read.

    Parameters
    ----------
    path : Path
        Text (.csv, .tsv, .tab, .txt; plain or .gz), .parquet, .xlsx or .h5ad.
    missing : sequence of str
        Codes for a missing value.
    sheet : str, optional
        Sheet of an Excel workbook.
    layer : str, optional
        Layer of an AnnData file; X by default.
    least_rows : int
        Rows that there must be.
    warned : str
        What becomes of values with a warning of quality control in Olink's wide export: "keep" or "blank".

    Raises
    ------
    InputError
        If the file cannot be used; the message names the place.
    """
    require_file(path, "table")
    suffix = path.suffix.lower()
    for name, value, endings in (("--sheet", sheet, EXCEL), ("--layer", layer, ANNDATA)):
        if value is not None and suffix not in endings:
            raise InputError(name, f"given with {path.name}", f"a {endings[0]} file", f"leave {name} out")
    content: Any
    codes = tuple(missing)
    if bare_suffix(path) in TEXT:
        from emtools.io.olink_wide import looks_wide, read_wide

        if looks_wide(path):
            columns, content = read_wide(path, codes, warned)
        else:
            content = read_delimited(path)
            columns = from_delimited(path, content, codes)
    elif suffix in PARQUET:
        content = read_parquet(path)
        columns = from_arrow(path, content, codes)
    elif suffix in EXCEL:
        from emtools.io.excel import read_workbook

        columns, content = read_workbook(path, sheet, codes, warned)
    elif suffix in ANNDATA:
        from emtools.io.annotated import read_annotated

        columns, content = read_annotated(path, layer, codes)
    else:
        advice = "save the sheet as .xlsx or CSV" if suffix in OLD_SHEETS else "export it as CSV or TSV"
        raise InputError(
            str(path),
            f"the ending is {whole_suffix(path) or 'absent'!r}",
            "a .csv, .tsv (plain or .gz), .parquet, .xlsx or .h5ad table",
            advice,
        )
    if isinstance(content, Delimited) or suffix in EXCEL:
        columns, content = without_units(columns, content)
    header, n_rows = columns.header, len(columns.places)
    if len(header) > 1 and all(NUMBER.fullmatch(name) for name in header):
        raise InputError(str(path), "the first line holds numbers", "names of the columns there", "add a header line")
    if n_rows < least_rows:
        plural = "s" * (n_rows != 1)
        raise InputError(str(path), f"{n_rows} row{plural}", f"at least {least_rows} rows", "check how it was made")
    return columns, content


def without_units(columns: Columns, content: Any) -> tuple[Columns, Any]:
    """The same without a first row that holds the units of the columns, as many exports put it under the header.

    It is one where over every column of numbers there stands text that is no reading, or nothing: at least two texts, or
    one that looks like a unit.
    """
    if len(columns.places) < LEAST_UNDER or columns.candidates is not None:
        return columns, content
    units = {}
    for name, cells in zip(columns.header, columns.cells, strict=True):
        if isinstance(cells, Numbers):
            return columns, content
        below = [cell for cell in cells[1:] if not is_missing(cell, columns.codes)]
        if 2 * sum(is_reading(cell) for cell in below) <= len(below):
            continue
        if is_reading(cells[0]):
            return columns, content
        if not is_missing(cells[0], columns.codes):
            units[name] = UNBRACKETED.sub(r"\1", cells[0])
    if not units or (len(units) == 1 and not UNIT.search(next(iter(units.values())))):
        return columns, content
    told = (
        f"{columns.places[0]} holds units ({', '.join(list(units.values())[:3])}{', …' * (len(units) > 3)}), not values"
    )
    columns = replace(
        columns,
        cells=[cells[1:] for cells in columns.cells],
        places=columns.places[1:],
        units={**units, **columns.units},
        notices=(*columns.notices, told),
    )
    if isinstance(content, Delimited):
        return columns, replace(
            content,
            lines=content.lines[1:],
            cells=content.cells[1:],
            layout=tuple((row - 1 if row >= 0 else row, text, ending) for row, text, ending in content.layout),
        )
    return columns, replace(content, rows=content.rows[1:])


def is_reading(cell: str) -> bool:
    """Whether a cell looks like a number or a limit."""
    text = number_part(cell)
    return bool(NUMBER.fullmatch(text) or COMMA_NUMBER.fullmatch(text))


def from_delimited(path: Path, content: Delimited, codes: tuple[str, ...]) -> Columns:
    """Columns of delimited text."""
    odd = any('"' in text or "\ufeff" in text for row, text, _ in content.layout if row >= 0)
    clean = unquote if odd else str.strip
    cells = tuple(list(map(clean, column)) for column in zip(*content.cells, strict=True))
    places = tuple(f"line {line}" for line in content.lines)
    told = [f"the header was taken from line {content.head_line}; what stands above it was left alone"]
    return Columns(path, content.header, cells, places, codes, notices=tuple(told if content.above else ()))


def from_arrow(path: Path, content: pyarrow.Table, codes: tuple[str, ...]) -> Columns:
    """Columns of an Arrow table; numbers stay numbers."""
    import pyarrow

    kinds = pyarrow.types
    cells: list[Sequence[str]] = []
    for name, column in zip(content.column_names, content.columns, strict=True):
        if kinds.is_floating(column.type) or kinds.is_integer(column.type):
            numbers = column.cast(pyarrow.float64(), safe=False).to_numpy()
            cells.append(Numbers(np.asarray(numbers, dtype=np.float64), kinds.is_integer(column.type)))
        elif kinds.is_decimal(column.type):
            cells.append(Numbers(np.asarray(column.cast(pyarrow.float64()).to_numpy(), dtype=np.float64)))
        else:
            try:
                cells.append([as_text(cell) for cell in column.to_pylist()])
            except (OverflowError, ValueError) as error:
                got = f"a value of type {column.type} cannot be shown ({str(error).splitlines()[0][:80]})"
                raise InputError(f"{path}, column {name!r}", got, "", "mend it, or leave the column out") from error
    return Columns(path, tuple(content.column_names), cells, Numbered("row ", content.num_rows), codes)


def read_parquet(path: Path) -> pyarrow.Table:
    """A Parquet file as an Arrow table."""
    if find_spec("pyarrow") is None:
        raise InputError(str(path), "Parquet needs pyarrow, which is absent", "", "pip install emtools[parquet]")
    import pyarrow
    import pyarrow.parquet

    try:
        about = pyarrow.parquet.read_metadata(path)
        if about.num_rows * about.num_columns > LARGEST:
            got = f"{about.num_rows:,} rows of {about.num_columns:,} columns"
            raise InputError(str(path), got, f"at most {LARGEST:,} cells", "take columns or rows out")
        table = pyarrow.parquet.read_table(path)
        names = table.column_names
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:80]
        raise InputError(str(path), f"the content is not Parquet ({reason})", "", "check how it was made") from error
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{path}, header", f"two columns are named {name!r}", "", "rename one")
        seen.add(name)
    return table


def as_text(value: object) -> str:
    """A Parquet or Excel value as a CSV file would hold it."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value).strip()
