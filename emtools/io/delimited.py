"""Delimited text, kept cell by cell as it was written, so that what is not changed comes back byte for byte."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emtools.errors import InputError
from emtools.io.cell_text import COMMA_NUMBER, NUMBER, Rules, what_it_says
from emtools.io.sniff import GZIP, gunzip

SEPARATORS = (",", "\t", ";", "|")
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
SNIFFED_LINES = 50
LEAST_SHARE = 0.6  # of the width of a table that its header fills


@dataclass(frozen=True)
class Delimited:
    """Text of a table.

    Parameters
    ----------
    separator : str
        One character.
    encoding : str
        How its bytes are read and written.
    header : tuple of str
        Column names.
    lines : tuple of int
        Line number in the file of each row, from 1.
    cells : tuple of tuple of str
        Cells of each row as written, quotes and blanks included.
    layout : tuple
        Every line of the file in order: its row number (-1 for lines that are no rows), its text, its line ending.
    head, head_line : int
        Which of them is the header, and its line number in the file.
    """

    separator: str
    encoding: str
    header: tuple[str, ...]
    lines: tuple[int, ...]
    cells: tuple[tuple[str, ...], ...]
    layout: tuple[tuple[int, str, str], ...]
    head: int = 0
    head_line: int = 1

    @property
    def above(self) -> int:
        """Lines with text above the header."""
        return sum(bool(text.strip()) for _, text, _ in self.layout[: self.head])

    def with_cells(self, changes: Mapping[tuple[int, int], str]) -> bytes:
        """The bytes of the file with some cells, by (row, column), replaced."""
        parts = []
        changed = self.changed_rows(changes)
        for row, text, ending in self.layout:
            parts.append(changed.get(row, text) + ending)
        return "".join(parts).encode(self.encoding)

    def changed_rows(self, changes: Mapping[tuple[int, int], str]) -> dict[int, str]:
        """Text of the rows in which cells, by (row, column), are replaced."""
        rows: dict[int, list[str]] = {}
        for (row, column), cell in changes.items():
            if row not in rows:
                rows[row] = list(self.cells[row])
            rows[row][column] = cell
        return {row: self.separator.join(cells) for row, cells in rows.items()}

    def with_column(
        self,
        name: str,
        column: Sequence[str],
        changes: Mapping[tuple[int, int], str],
        rows: Sequence[Sequence[str]] = (),
    ) -> bytes:
        """The bytes of the file with one column more, some cells replaced, and rows added below.

        Parameters
        ----------
        name : str
            Header of the new column.
        column : sequence of str
            Its cells.
        changes : mapping
            Cells by (row, column), as they are to be written.
        rows : sequence of sequences of str
            Cells of the new rows, the new column included.
        """
        changed = self.changed_rows(changes)
        parts, last = [], "\n"
        for at, (row, text, ending) in enumerate(self.layout):
            if row < 0:
                text += self.separator + name if at == self.head else ""
            else:
                text = changed.get(row, text) + self.separator + column[row]
            last = ending or last
            parts.append(text + ending)
        if rows and parts and not parts[-1].endswith(last):
            parts.append(last)
        parts += [self.separator.join(self.quoted(cell) for cell in cells) + last for cells in rows]
        return "".join(parts).encode(self.encoding)

    def quoted(self, cell: str) -> str:
        """A cell as it is written: in quotes where it holds a separator, a quote or a line break."""
        needed = any(mark in cell for mark in (self.separator, '"', "\n", "\r"))
        return '"' + cell.replace('"', '""') + '"' if needed else cell


def read_delimited(path: Path) -> Delimited:
    """Read a delimited text file with one header line.

    The separator is found in the text. A header that is one name short, as R writes it, gets an unnamed first column.
    Lines above it that leave much of its width blank, as plate readers and spreadsheets put there, are passed over; see
    `find_header`.

    Raises
    ------
    InputError
        If it is no text, has no row, rows of unequal length, an open quote, or two columns of one name.
    """
    text, encoding = decode(path)
    records = split_records(path, text)
    filled = [number for number, (_, record, _) in enumerate(records) if record.strip()]
    if not filled:
        raise InputError(str(path), "there is no text in it", "a header line and rows", "check how it was made")
    separator = find_separator([records[number][1] for number in filled[:SNIFFED_LINES]])
    head = filled[find_header([split_cells(records[number][1], separator) for number in filled[:SNIFFED_LINES]])]
    header = [unquote(cell) for cell in split_cells(records[head][1], separator)]
    if len(filled) == 1:
        raise InputError(str(path), "there is a header but no row", "at least 2 rows", "check how it was made")
    lines: list[int] = []
    cells: list[tuple[str, ...]] = []
    layout: list[tuple[int, str, str]] = []
    for number, (line, record, ending) in enumerate(records):
        if number <= head or (not record.strip() and separator not in record):
            layout.append((-1, record, ending))
            continue
        layout.append((len(cells), record, ending))
        lines.append(line)
        cells.append(tuple(split_cells(record, separator)))
    if len(cells[0]) == len(header) + 1:
        header = ["", *header]
    for line, row in zip(lines, cells, strict=True):
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line}",
                f"{len(row)} cells where the header has {len(header)}",
                f"cells separated by {separator!r}, text with a separator in double quotes",
                "mend the line",
            )
    check_header(path, header)
    return Delimited(
        separator, encoding, tuple(header), tuple(lines), tuple(cells), tuple(layout), head, records[head][0]
    )


def find_header(lines: Sequence[Sequence[str]]) -> int:
    """Place of the header among the first lines: the first, unless that and those below it leave much of the width blank.

    A line leaves much of it blank that fills less than `LEAST_SHARE` of it, or ends in a blank cell, as no header does.
    Then the header is the first line that names every column of the lines below it, if there is one.

    Examples
    --------
    >>> rows = [["a", "1.5", "2", "7"], ["b", "0.5", "3", "8"]]
    >>> find_header([["Plate", "P1"], ["id", "CRP", "IL6", "TNF"], *rows])
    1
    """
    widths = [len(cells) for cells in lines]
    width = Counter(widths).most_common(1)[0][0] if widths else 0
    texts = [[unquote(cell) for cell in cells] for cells in lines]
    if width < 2 or fills(texts[0], width):
        return 0
    for at, cells in enumerate(texts[:-1]):
        if fills(cells, width):
            named = all(cells) and not any(is_number(cell) or what_it_says(cell, Rules()) for cell in cells)
            return at if named and widths[at + 1] in (widths[at], widths[at] + 1) else 0
    return 0


def fills(cells: Sequence[str], width: int) -> bool:
    """Whether a line fills the width of a table as a header does."""
    return bool(cells[-1]) and sum(map(bool, cells)) >= LEAST_SHARE * width


def is_number(text: str) -> bool:
    """Whether a text is a number, with a decimal point or comma."""
    return NUMBER.fullmatch(text) is not None or COMMA_NUMBER.fullmatch(text) is not None


def decode(path: Path) -> tuple[str, str]:
    """Text of a file, plain or gzip, and its encoding: UTF-8, UTF-16 where it is marked, else Windows-1252."""
    raw = path.read_bytes()
    if raw.startswith(GZIP):
        try:
            raw = gunzip(path, raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(str(path), "is a damaged gzip file", str(error), "copy it again") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        order = "utf-16-le" if raw[0] == 0xFF else "utf-16-be"
        candidates: tuple[str, ...] = (order,)
    else:
        candidates = ("utf-8", "cp1252")
    for encoding in candidates:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not CONTROLS.search(text):
            return text, encoding
        break
    raise InputError(str(path), "the content is not text", "a delimited table", "export it as CSV or TSV in UTF-8")


def split_records(path: Path, text: str) -> list[tuple[int, str, str]]:
    """Line number, text and line ending of each record; a quoted cell may hold line breaks."""
    records, line, start, at = [], 1, 0, 0
    open_quote = False
    first = line
    for match in re.finditer(r'"|\r\n|\n|\r', text):
        mark, at = match.group(), match.end()
        if mark == '"':
            open_quote = not open_quote
            continue
        line += 1
        if not open_quote:
            records.append((first, text[start : match.start()], mark))
            start, first = at, line
    if open_quote:
        raise InputError(
            f"{path}, line {first}", "a double quote is opened and never closed", "", "close or remove the quote"
        )
    if start < len(text):
        records.append((first, text[start:], ""))
    return records


def find_separator(lines: Sequence[str]) -> str:
    """The separator that cuts all lines into most cells alike; a comma where none does, and where there are no lines."""

    def score(separator: str) -> tuple[bool, int]:
        counts = [len(split_cells(line, separator)) for line in lines]
        alike = len(set(counts[1:] or counts)) == 1 and counts[0] in (counts[-1], counts[-1] - 1)
        return alike and counts[0] > 1, counts[0]

    best = max(SEPARATORS, key=score) if lines else ","
    return best if lines and score(best)[1] > 1 else ","


def split_cells(record: str, separator: str) -> list[str]:
    """Cells of a record as written; separators inside double quotes do not count."""
    if '"' not in record:
        return record.split(separator)
    cells, start, open_quote = [], 0, False
    for at, character in enumerate(record):
        if character == '"':
            open_quote = not open_quote
        elif character == separator and not open_quote:
            cells.append(record[start:at])
            start = at + 1
    return [*cells, record[start:]]


def unquote(cell: str) -> str:
    """What a cell says, without quotes, outer blanks or a byte-order mark."""
    text = cell.strip().lstrip("\ufeff")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"').strip()
    return text


def check_header(path: Path, header: Sequence[str]) -> None:
    """Names must be there (the first may be empty) and differ."""
    seen: dict[str, int] = {}
    for number, name in enumerate(header):
        if not name and number:
            raise InputError(f"{path}, header", f"column {number + 1} has no name", "", "name every column")
        first = seen.setdefault(name, number)
        if first != number:
            raise InputError(
                f"{path}, header",
                f"the name {name!r} stands over columns {first + 1} and {number + 1}",
                "a name of its own for each column",
                "rename one",
            )
