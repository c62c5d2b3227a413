"""Excel workbooks: a table found in a sheet, and its cells filled with every other byte of the workbook as it was."""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from emtools.errors import InputError
from emtools.io.cell_text import COMMA_NUMBER, ERRORS, THOUSANDS, number_part
from emtools.io.delimited import LEAST_SHARE
from emtools.io.olink_wide import find_wide, wide_columns
from emtools.io.sheets import Columns
from emtools.io.sniff import require_modest

# What openpyxl raises of damaged parts.
DAMAGED = (zipfile.BadZipFile, LookupError, ValueError, TypeError, ArithmeticError, ElementTree.ParseError, OSError)
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0"
LOOKED_AT = 50
MOST_ROWS = 2**20  # of a sheet of Excel
SHOWN = 5
COLOUR = "FFFFF2CC"


@dataclass(frozen=True)
class Workbook:
    """A table in a sheet of a workbook.

    Parameters
    ----------
    path : Path
        File.
    part : str
        Name of the sheet inside the file.
    rows : tuple of int
        Row of the sheet of each row of the table, from 1.
    columns : tuple of int
        Column of the sheet of each column of the table, from 1.
    """

    path: Path
    part: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def read_workbook(
    path: Path, sheet: str | None, codes: tuple[str, ...], warned: str = "keep"
) -> tuple[Columns, Workbook]:
    """The table of a sheet, and where it stands.

    Parameters
    ----------
    path : Path
        .xlsx or .xlsm.
    sheet : str, optional
        Name of the sheet; by default the first that is not empty.
    codes : tuple of str
        Codes for a missing value.
    warned : str
        What becomes of Olink's values with a warning of quality control: "keep" or "blank".

    Raises
    ------
    InputError
        If the file is damaged or locked, the sheet is absent or empty, or cells of the table are merged.
    """
    if find_spec("openpyxl") is None:
        raise InputError(str(path), "Excel needs openpyxl, which is absent", "", "pip install emtools[excel]")
    require_workbook(path)
    parts = sheet_parts(path)
    names = list(parts)
    if sheet is not None and sheet not in parts:
        shown = ", ".join(repr(name) for name in names)
        raise InputError(str(path), f"no sheet {sheet!r}", f"one of {shown}", "check --sheet")
    notices = []
    if sheet is None:
        full = [name for name in names if "<v>" in part_text(path, parts[name]) or "<t" in part_text(path, parts[name])]
        if not full:
            raise InputError(str(path), "all sheets are empty", "a table", "check how it was made")
        sheet = full[0]
        if len(full) > 1:
            others = ", ".join(repr(name) for name in full[1:])
            notices.append(f"sheet {sheet!r} was read; there are {others} too: choose with --sheet")
    raw = sheet_rows(path, sheet)
    grid = [[as_text(cell) for cell in line] for _, line in raw]
    wide = find_wide(grid)
    if wide is not None:
        columns, lines = tuple(range(1, len(wide.header) + 1)), tuple(raw[at][0] for at in wide.rows)
        places = [f"sheet {sheet!r}, row {number}" for number, _ in raw]
        found = wide_columns(path, wide, grid, places, codes, warned)
        at = tuple(column for column, name in zip(columns, wide.header, strict=True) if name)
        return replace(found, notices=(*notices, *found.notices)), Workbook(path, parts[sheet], lines, at)
    header_row, first, last = find_header(path, sheet, raw)
    merged = merged_ranges(part_text(path, parts[sheet]))
    header = [heading(cell) for cell in (raw[header_row][1] + [None] * last)[first:last]]
    two = two_rows(raw, header_row, first, last, merged)
    if two is not None:
        header_row, header = two
        notices.append(
            f"the header stands in rows {raw[header_row][0] - 1} and {raw[header_row][0]} of sheet {sheet!r}"
        )
    above = sum(any(cell is not None for cell in cells) for _, cells in raw[:header_row])
    if above and two is None:
        notices.append(
            f"the header was taken from row {raw[header_row][0]} of sheet {sheet!r}; what stands above it was left alone"
        )
    body = [(number, (cells + [None] * last)[first:last]) for number, cells in raw[header_row + 1 :]]
    body = [(number, cells) for number, cells in body if any(cell is not None for cell in cells)]
    empty = [at for at, name in enumerate(header) if not name and all(cells[at] is None for _, cells in body)]
    kept = [at for at in range(len(header)) if at not in empty]
    names_of = [header[at] for at in kept]
    check_names(path, sheet, names_of, [first + at + 1 for at in kept])
    rows, columns = tuple(number for number, _ in body), tuple(first + at + 1 for at in kept)
    check_merged(path, sheet, merged, raw[header_row][0] + (two is not None), rows, columns)
    formulas = uncalculated(path, sheet, parts[sheet], body, rows, kept, first)
    cells = with_points([[formulas.get((number, at), as_text(line[at])) for number, line in body] for at in kept])
    notices += text_numbers(names_of, [[line[at] for _, line in body] for at in kept])
    places = tuple(f"sheet {sheet!r}, row {number}" for number in rows)
    content = Workbook(path, parts[sheet], rows, columns)
    return Columns(path, tuple(names_of), cells, places, codes, notices=tuple(notices)), content


def require_workbook(path: Path) -> None:
    """Raise where the file is no workbook, cut short, or locked by a password."""
    with open(path, "rb") as file:
        head = file.read(4)
    if head == OLE:
        raise InputError(
            str(path), "an old or locked workbook in spite of its name", ".xlsx without a password", "save it as .xlsx"
        )
    broken = InputError(
        str(path), "is no workbook, or cut short", "an .xlsx file", "copy it again, or save it as .xlsx"
    )
    if head != ZIP or not zipfile.is_zipfile(path):
        raise broken
    try:
        with zipfile.ZipFile(path) as file:
            parts = file.infolist()
            require_modest(path, sum(part.file_size for part in parts), sum(part.compress_size for part in parts))
            if "xl/workbook.xml" not in file.namelist() or file.testzip() is not None:
                raise broken
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise broken from error


def sheet_parts(path: Path) -> dict[str, str]:
    """Names of the sheets, and the part of the file that holds each."""
    with zipfile.ZipFile(path) as file:
        try:
            book = ElementTree.fromstring(file.read("xl/workbook.xml"))
            links = ElementTree.fromstring(file.read("xl/_rels/workbook.xml.rels"))
        except (KeyError, ElementTree.ParseError) as error:
            raise InputError(str(path), "the workbook is damaged", "", "save it again as .xlsx") from error
        targets = {link.get("Id"): str(link.get("Target")) for link in links}
        found = {}
        for sheet in (*book.iter(f"{MAIN}sheet"), *book.iter(f"{STRICT}sheet")):
            key = next((value for name, value in sheet.attrib.items() if name.endswith("}id")), None)
            target = targets.get(key, "")
            part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
            if part in file.namelist() and "worksheets" in part:
                found[str(sheet.get("name"))] = part
    if not found:
        raise InputError(str(path), "there is no sheet in it", "a workbook with a table", "check how it was made")
    return found


def part_text(path: Path, part: str) -> str:
    """Text of a part of the file."""
    with zipfile.ZipFile(path) as file:
        try:
            return file.read(part).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, {part}", "is no text in UTF-8", "a workbook", "save it again as .xlsx"
            ) from error


def sheet_rows(path: Path, sheet: str, formulas: bool = False) -> list[tuple[int, list[Any]]]:
    """Number and cells of each row of a sheet: values as last calculated, or formulas."""
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(path, read_only=True, data_only=not formulas, keep_links=False)
            try:
                page = book[sheet]
                page.reset_dimensions()
                rows: list[list[Any]] = []
                for cells in page.iter_rows(values_only=True):
                    if len(rows) == MOST_ROWS:
                        raise InputError(
                            f"{path}, sheet {sheet!r}",
                            f"a row beyond {MOST_ROWS:,}",
                            f"at most {MOST_ROWS:,}, as in Excel",
                            "export it as .csv",
                        )
                    rows.append(list(cells))
            finally:
                book.close()
    except DAMAGED as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise InputError(str(path), f"the workbook is damaged ({reason})", "", "save it again as .xlsx") from error
    return [(number, [blank(cell) for cell in cells]) for number, cells in enumerate(rows, 1)]


def blank(cell: Any) -> Any:
    """None for text of nothing but blanks."""
    return None if isinstance(cell, str) and not cell.strip() else cell


def find_header(path: Path, sheet: str, rows: Sequence[tuple[int, list[Any]]]) -> tuple[int, int, int]:
    """Place of the header among the rows, and the first and the end of its columns.

    It is the first row that fills most of the width of the table, so that titles above it are passed over.
    """
    filled = [sum(cell is not None for cell in cells) for _, cells in rows]
    width = max(filled[:LOOKED_AT], default=0)
    if not width:
        raise InputError(f"{path}, sheet {sheet!r}", "the sheet is empty", "a table", "choose another with --sheet")
    at = next(place for place, count in enumerate(filled) if count >= LEAST_SHARE * width)
    cells = rows[at][1]
    there = [place for place, cell in enumerate(cells) if cell is not None]
    widest = max((place for _, line in rows[at:] for place, cell in enumerate(line) if cell is not None), default=0)
    first = min((place for _, line in rows[at:] for place, cell in enumerate(line) if cell is not None), default=0)
    return at, min(first, there[0]), max(widest, there[-1]) + 1


def heading(cell: Any) -> str:
    """Name of a column; a date stands as a spreadsheet shows it."""
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.strftime("%Y-%m-%d")
    return as_text(cell)


def as_text(cell: Any) -> str:
    """A cell as a CSV file would hold it."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return repr(cell)
    if isinstance(cell, (datetime, date)):
        return str(cell)
    if isinstance(cell, (time, timedelta)):
        return f"{cell} (a time)"
    return str(cell).strip()


def check_names(path: Path, sheet: str, names: Sequence[str], columns: Sequence[int]) -> None:
    """Names must be there and differ; the first may be absent."""
    seen: dict[str, int] = {}
    for name, column in zip(names, columns, strict=True):
        place = f"{path}, sheet {sheet!r}, column {letters(column)}"
        if not name and column != columns[0]:
            raise InputError(place, "has no name", "", "name every column, and leave nothing beside the table")
        if name in seen:
            raise InputError(place, f"the name {name!r} stands over column {letters(seen[name])} too", "", "rename one")
        seen[name] = column


def merged_ranges(text: str) -> list[tuple[str, int, int, int, int]]:
    """Merged cells of a sheet: reference, left and right column, top and bottom row."""
    found = []
    for reference in re.findall(r'<(?:\w+:)?mergeCell\b[^>]*?\bref="([A-Z]+\d+(?::[A-Z]+\d+)?)"', text):
        corners = [re.fullmatch(r"([A-Z]+)(\d+)", corner) for corner in reference.split(":")]
        (left, top), (right, bottom) = (
            (number_of(c.group(1)), int(c.group(2))) for c in (corners[0], corners[-1]) if c
        )
        found.append((reference, left, right, top, bottom))
    return found


def two_rows(
    raw: Sequence[tuple[int, list[Any]]],
    at: int,
    first: int,
    last: int,
    merged: Sequence[tuple[str, int, int, int, int]],
) -> tuple[int, list[str]] | None:
    """Place of the second row of a header of two, whose first has cells merged over several columns, and the names.

    A column is named by the second row, after what stands merged above it where that name occurs twice; by the first
    where the second says nothing.
    """
    for upper in (at, at - 1):
        if upper < 0 or upper + 1 >= len(raw):
            continue
        if upper < at and len({cell for cell in raw[at][1][first:last] if cell is not None}) == last - first:
            continue  # a title above a header that names every column
        number, low = raw[upper][0], (raw[upper + 1][1] + [None] * last)[first:last]
        spans = [(left, right) for _, left, right, top, bottom in merged if top == bottom == number and right > left]
        spans = [(left, right) for left, right in spans if right - left + 1 < last - first]
        under = [any(left <= first + k + 1 <= right for left, right in spans) for k in range(last - first)]
        if not spans or not all(isinstance(cell, str) for cell, held in zip(low, under, strict=True) if held):
            continue
        if not all(cell is None or isinstance(cell, str) for cell in low):
            continue
        top = [heading(cell) for cell in (raw[upper][1] + [None] * last)[first:last]]
        for left, right in spans:
            for column in range(left, right):
                top[column - first] = top[left - 1 - first]
        names = [heading(cell) for cell in low]
        twice = {name for name in names if names.count(name) > 1}
        return upper + 1, [
            f"{over} {name}".strip() if name in twice else name or over for name, over in zip(names, top, strict=True)
        ]
    return None


def check_merged(
    path: Path,
    sheet: str,
    merged: Sequence[tuple[str, int, int, int, int]],
    header: int,
    rows: Sequence[int],
    columns: Sequence[int],
) -> None:
    """Raise where cells of the table are merged."""
    if not rows:
        return
    for reference, left, right, top, bottom in merged:
        if bottom >= header and top <= rows[-1] and right >= columns[0] and left <= columns[-1]:
            raise InputError(
                f"{path}, sheet {sheet!r}",
                f"the cells {reference} are merged",
                "one cell for each value",
                "unmerge them and write the value into each",
            )


def uncalculated(
    path: Path, sheet: str, part: str, body: Sequence[Any], rows: Sequence[int], kept: Sequence[int], first: int
) -> dict[tuple[int, int], str]:
    """Formulas of cells that hold no value, by row of the sheet and column of the table."""
    if re.search(r"<(?:\w+:)?f[ >/]", part_text(path, part)) is None:
        return {}
    written = dict(sheet_rows(path, sheet, formulas=True))
    found = {}
    for number, line in body:
        for at in kept:
            cell = written[number][first + at] if first + at < len(written[number]) else None
            if line[at] is None and isinstance(cell, str) and cell.startswith("="):
                found[number, at] = cell
    empty = {
        match.group(1)
        for match in re.finditer(r'<(?:\w+:)?c\b(?=[^>]*\bt="str")[^>]*?\br="([A-Z]+\d+)"', part_text(path, part))
    }  # a formula with an empty text as its answer is a blank
    return {key: formula for key, formula in found.items() if f"{letters(first + key[1] + 1)}{key[0]}" not in empty}


def text_numbers(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[str]:
    """Sentences on numbers that are stored as text, and on cells with errors."""
    told = []
    counts = []
    for name, cells in zip(names, columns, strict=True):
        numbers = sum(isinstance(cell, (int, float)) and not isinstance(cell, bool) for cell in cells)
        texts = sum(isinstance(cell, str) and is_plain(cell) for cell in cells)
        if texts and numbers:
            counts.append(f"{name} ({texts})")
    if counts:
        more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
        told.append(f"numbers stored as text were read as numbers: {', '.join(counts[:SHOWN])}{more}")
    wrong = sum(isinstance(cell, str) and cell.lower() in ERRORS for cells in columns for cell in cells)
    if wrong:
        told.append(f"{wrong} cells hold errors such as #DIV/0!")
    return told


def with_points(columns: list[list[str]]) -> list[list[str]]:
    """Columns of text with decimal points where text such as "<0,5" has commas; numbers of a sheet have none."""
    texts = {cell for column in columns for cell in column if "," in cell}
    commas = {cell for cell in texts if COMMA_NUMBER.fullmatch(number_part(cell))}
    if all(THOUSANDS.fullmatch(number_part(cell)) for cell in commas):
        return columns
    return [[cell.replace(",", ".") if cell in commas else cell for cell in column] for column in columns]


def is_plain(cell: str) -> bool:
    """Whether a text is a number."""
    return re.fullmatch(r"\s*[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?\s*", cell) is not None


def letters(column: int) -> str:
    """Letters of a column, from 1: 28 is AB."""
    text = ""
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def number_of(text: str) -> int:
    """Number of a column by its letters."""
    number = 0
    for letter in text:
        number = 26 * number + ord(letter) - 64
    return number


def write_workbook(book: Workbook, changes: Mapping[tuple[int, int], float], target: Path) -> None:
    """The workbook with some cells filled and coloured; all other cells, sheets and parts keep their bytes.

    Parameters
    ----------
    book : Workbook
        As read.
    changes : mapping
        Numbers by row and column of the table.
    target : Path
        File to write.
    """
    from emtools.io.excel_xml import with_numbers

    places = {(book.rows[row], book.columns[column]): value for (row, column), value in changes.items()}
    with zipfile.ZipFile(book.path) as source, zipfile.ZipFile(target, "w") as made:
        parts = {item.filename: source.read(item) for item in source.infolist()}
        if places:
            parts = with_numbers(parts, book.part, places, COLOUR)
        for item in source.infolist():
            if item.filename in parts:
                made.writestr(item, parts[item.filename], compress_type=item.compress_type)
