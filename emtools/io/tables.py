"""Tables of markers: CSV, TSV and Parquet in, and out again with nothing changed but the cells that were filled."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emtools.errors import InputError
from emtools.io.delimited import Delimited, read_delimited, unquote
from emtools.io.outputs import require_file
from emtools.io.sniff import bare_suffix, whole_suffix

if TYPE_CHECKING:
    import pyarrow

TEXT = (".csv", ".tsv", ".tab", ".txt")
PARQUET = (".parquet", ".pq")
MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "."))
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
LIMIT = re.compile(r"[<>]=?\s*[\d.,]+")
DIGITS = 10
LARGEST, SMALLEST = 1e100, 1e-100
DIGITS_LEFT = 1e-10

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
    rows : tuple of str
        Names of the rows: the id column, or numbers from 1.
    values : ndarray, shape (n, d)
        NaN where missing.
    positions : tuple of int
        Place of each marker among the columns of the file.
    notices : tuple of str
        What the reader should know: columns that were left alone.
    decimal : str
        "." or ",".
    content : Delimited or pyarrow.Table
        The whole file.
    places : tuple of str
        Where each row stands in the file: "line 3" or "row 2".
    """

    path: Path
    markers: tuple[str, ...]
    rows: tuple[str, ...]
    values: Floats
    positions: tuple[int, ...]
    notices: tuple[str, ...]
    decimal: str
    content: Delimited | pyarrow.Table
    places: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """Columns of a file as text, with where each row stands."""

    path: Path
    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]  # one tuple a column
    places: tuple[str, ...]  # "line 3" or "row 2"
    codes: tuple[str, ...]

    def at(self, row: int, column: int) -> str:
        return f"{self.path}, {self.places[row]}, column {self.header[column]!r}"


def read_table(
    path: Path,
    *,
    id_column: str | None = None,
    columns: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    option: str = "--columns",
) -> Table:
    """Read the markers of a table.

    Parameters
    ----------
    path : Path
        .csv, .tsv, .tab or .txt (the separator is found in the text), plain or gzip, or .parquet.
    id_column : str, optional
        Column that names the rows; its values must differ.
    columns : sequence of str, optional
        Markers; by default every numeric column but the id. A column of text is left alone.
    missing : sequence of str
        Codes for a missing value beside blanks, NA, N/A, NaN, null, none and a lone point.
    option : str
        What to check where a column is absent.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        If the file, a column or a cell cannot be used; the message names it.
    """
    sheet, content = read_sheet(Path(path), missing)
    rows = row_names(sheet, id_column)
    asked = columns is not None
    positions = chosen_columns(sheet, id_column, columns, option)
    decimal = find_decimal(sheet, positions) if isinstance(content, Delimited) else "."
    arrays, notices = {}, []
    for position in positions:
        array = marker_values(sheet, position, decimal, asked)
        if array is None:
            notices.append(sheet.header[position])
        else:
            arrays[position] = array
    if len(arrays) < 2:
        names = ", ".join(repr(sheet.header[p]) for p in arrays) or "none"
        raise InputError(
            str(sheet.path),
            f"{len(arrays)} numeric column{'s' * (len(arrays) != 1)} to model ({names})",
            "at least 2: a gap is filled from the other markers of its row",
            "check the separator and --columns",
        )
    left = (f"left alone, not numeric: {', '.join(notices)}",) if notices else ()
    return Table(
        path=sheet.path,
        markers=tuple(sheet.header[p] for p in arrays),
        rows=rows,
        values=np.column_stack(list(arrays.values())),
        positions=tuple(arrays),
        notices=left,
        decimal=decimal,
        content=content,
        places=sheet.places,
    )


def read_sheet(path: Path, missing: Sequence[str] = ()) -> tuple[Columns, Delimited | pyarrow.Table]:
    """All columns of a table as text, and the file as it was read."""
    require_file(path, "table")
    suffix = path.suffix.lower()
    content: Any
    if bare_suffix(path) in TEXT:
        content = read_delimited(path)
        cells = tuple(zip(*([unquote(cell) for cell in row] for row in content.cells), strict=True))
        places = tuple(f"line {line}" for line in content.lines)
        header = content.header
    elif suffix in PARQUET:
        content = read_parquet(path)
        cells = tuple(tuple(as_text(cell) for cell in column.to_pylist()) for column in content.columns)
        places = tuple(f"row {row}" for row in range(1, content.num_rows + 1))
        header = tuple(content.column_names)
    else:
        advice = "save the sheet as CSV" if suffix in (".xlsx", ".xls", ".ods") else "export it as CSV or TSV"
        raise InputError(
            str(path),
            f"the ending is {whole_suffix(path) or 'absent'!r}",
            "a .csv, .tsv (plain or .gz) or .parquet table",
            advice,
        )
    if len(header) > 1 and all(NUMBER.fullmatch(name) for name in header):
        raise InputError(str(path), "the first line holds numbers", "names of the columns there", "add a header line")
    if len(places) < 2:
        raise InputError(str(path), f"{len(places)} row", "at least 2 rows", "check how it was made")
    return Columns(path, header, cells, places, tuple(missing)), content


def read_parquet(path: Path) -> pyarrow.Table:
    """A Parquet file as an Arrow table."""
    if find_spec("pyarrow") is None:
        raise InputError(str(path), "Parquet needs pyarrow, which is absent", "", "pip install emtools[parquet]")
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:80]
        raise InputError(str(path), f"the content is not Parquet ({reason})", "", "check how it was made") from error
    seen: set[str] = set()
    for name in table.column_names:
        if name in seen:
            raise InputError(f"{path}, header", f"two columns are named {name!r}", "", "rename one")
        seen.add(name)
    return table


def as_text(value: object) -> str:
    """A Parquet value as a CSV file would hold it."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def row_names(sheet: Columns, id_column: str | None) -> tuple[str, ...]:
    """Names from the id column, which must differ, or numbers from 1."""
    if id_column is None:
        return tuple(str(row + 1) for row in range(len(sheet.places)))
    position = find_column(sheet, id_column, "--id")
    seen: dict[str, int] = {}
    for row, name in enumerate(sheet.cells[position]):
        if name in seen:
            raise InputError(
                sheet.at(row, position),
                f"the id {name!r} stands at {sheet.places[seen[name]]} too" if name else "more than one id is empty",
                "an id of its own for each row",
                "make the ids differ, or leave out --id",
            )
        seen[name] = row
    return sheet.cells[position]


def find_column(sheet: Columns, name: str, option: str) -> int:
    """Place of a column by its name."""
    if name not in sheet.header:
        shown = ", ".join(repr(column) for column in sheet.header[:12])
        more = ", …" if len(sheet.header) > 12 else ""
        raise InputError(str(sheet.path), f"no column {name!r}", f"one of {shown}{more}", f"check {option}")
    return sheet.header.index(name)


def chosen_columns(
    sheet: Columns, id_column: str | None, columns: Sequence[str] | None, option: str = "--columns"
) -> list[int]:
    """Columns to look at: those asked for, or all but row names."""
    if columns is None:
        return [
            position
            for position, name in enumerate(sheet.header)
            if name not in (id_column, "") and not name.startswith("__index_level_")
        ]
    positions = [find_column(sheet, name, option) for name in columns]
    for name in columns:
        if name == id_column:
            raise InputError("--columns", f"{name!r} is the id column", "markers", "take it out")
        if columns.count(name) > 1:
            raise InputError("--columns", f"{name!r} is named twice", "each marker once", "take one out")
    return positions


def is_missing(cell: str, codes: Sequence[str]) -> bool:
    """Whether a cell says that its value is missing."""
    if cell.lower() in MISSING or cell in codes:
        return True
    if not codes or not NUMBER.fullmatch(cell):
        return False
    return any(NUMBER.fullmatch(code) and float(code) == float(cell) for code in codes)


def find_decimal(sheet: Columns, positions: Sequence[int]) -> str:
    """Decimal point or comma, from all columns that look numeric.

    Raises
    ------
    InputError
        If both occur, or commas could as well separate thousands.
    """
    commas: list[tuple[int, int]] = []
    points = False
    clear = False
    for position in positions:
        cells = sheet.cells[position]
        held = [row for row, cell in enumerate(cells) if not is_missing(cell, sheet.codes)]
        with_comma = [row for row in held if "," in cells[row] and COMMA_NUMBER.fullmatch(cells[row])]
        thousands = [row for row in held if THOUSANDS.fullmatch(cells[row])]
        plain = sum(bool(NUMBER.fullmatch(cells[row])) for row in held)
        if 2 * (plain + len(set(with_comma) | set(thousands))) < len(held):
            continue
        points = points or any("." in cells[row] and NUMBER.fullmatch(cells[row]) for row in held)
        commas += [(row, position) for row in sorted(set(with_comma) | set(thousands))]
        clear = clear or any(row not in thousands for row in with_comma)
    if not commas:
        return "."
    row, position = commas[0]
    cell = sheet.cells[position][row]
    if points or not clear:
        why = "other cells have a decimal point" if points else "it may be a decimal comma or a thousands separator"
        raise InputError(
            sheet.at(row, position),
            f"{cell!r} is ambiguous ({why})",
            "one decimal sign in the whole table and no thousands separators",
            "export it again with decimal points",
        )
    return ","


def marker_values(sheet: Columns, position: int, decimal: str, asked: bool) -> Floats | None:
    """Values of a column, NaN where missing; None for a column of text that nobody asked for."""
    cells = sheet.cells[position]
    name = sheet.header[position]
    array = np.full(len(cells), np.nan)
    bad = []
    n_observed = 0
    for row, cell in enumerate(cells):
        if is_missing(cell, sheet.codes):
            continue
        number = cell.replace(",", ".") if decimal == "," and COMMA_NUMBER.fullmatch(cell) else cell
        if INFINITE.fullmatch(number) or (NUMBER.fullmatch(number) and math.isinf(float(number))):
            raise InputError(
                sheet.at(row, position), f"{cell!r} is infinite", "a finite number", "blank the cell if it is unknown"
            )
        if NUMBER.fullmatch(number):
            array[row] = float(number)
            n_observed += 1
        else:
            bad.append(row)
    if bad and not asked and n_observed < len(bad):
        return None
    if bad:
        cell = cells[bad[0]]
        limit = LIMIT.fullmatch(cell) is not None
        more = f" (and {len(bad) - 1} more cells)" if len(bad) > 1 else ""
        what = "a detection limit, which this model cannot use" if limit else "not a number"
        raise InputError(
            sheet.at(bad[0], position),
            f"{cell[:40]!r} is {what}{more}",
            "numbers and missing codes only",
            f"mend the cell, declare it with --missing '{cell[:40]}', or choose markers with --columns",
        )
    where, needed, remedy = str(sheet.path), "at least 2 different values are needed", "leave it out with --columns"
    if n_observed == 0:
        raise InputError(where, f"column {name!r} is missing in all {len(cells)} rows", needed, remedy)
    if n_observed == 1:
        raise InputError(where, f"column {name!r} has a value in only one of {len(cells)} rows", needed, remedy)
    if np.nanmin(array) == np.nanmax(array):
        raise InputError(where, f"column {name!r} is constant ({np.nanmin(array):g})", needed, remedy)
    size, spread = float(np.nanmax(np.abs(array))), float(np.nanmax(array)) - float(np.nanmin(array))
    if size > LARGEST or spread < SMALLEST:
        got = f"column {name!r} has values up to {size:g} and a range of {spread:g}"
        raise InputError(where, got, f"values below {LARGEST:g} that vary by more than {SMALLEST:g}", "change its unit")
    if spread < DIGITS_LEFT * size:
        got = f"column {name!r} varies by {spread:g} around {np.nanmean(array):g}"
        raise InputError(where, got, f"variation above {DIGITS_LEFT:g} of the size", "subtract a constant from it")
    return array


def write_completed(table: Table, filled: Floats, folder: Path) -> Path:
    """Write the whole table as completed.<ending of the input>, changed in nothing but the missing cells.

    Parameters
    ----------
    table : Table
        As read.
    filled : ndarray, shape (n, d)
        Values without gaps.
    folder : Path
        Where to.
    """
    target = folder / f"completed{whole_suffix(table.path)}"
    gaps = np.argwhere(np.isnan(table.values))
    if isinstance(table.content, Delimited):
        changes = {
            (int(row), table.positions[marker]): number_text(float(filled[row, marker]), table) for row, marker in gaps
        }
        raw = table.content.with_cells(changes)
        target.write_bytes(gzip.compress(raw, mtime=0) if target.suffix == ".gz" else raw)
        return target
    import pyarrow
    import pyarrow.parquet

    content = table.content
    for marker in sorted({int(marker) for _, marker in gaps}):
        position = table.positions[marker]
        field = content.schema.field(position)
        kind = field.type if pyarrow.types.is_floating(field.type) else pyarrow.float64()
        column = pyarrow.array(filled[:, marker]).cast(kind)
        content = content.set_column(position, pyarrow.field(field.name, kind, metadata=field.metadata), column)
    pyarrow.parquet.write_table(content, target)
    return target


def number_text(value: float, table: Table) -> str:
    """A filled value with `DIGITS` significant digits, in the decimal sign of the table."""
    text = format(value, f".{DIGITS}g").replace(".", table.decimal)
    assert isinstance(table.content, Delimited)
    return f'"{text}"' if table.content.separator in text else text
