"""Numbers put into the XML of a workbook, so that nothing else of it changes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from emtools.errors import InputError

ROW = re.compile(r"<(?P<p>(?:\w+:)?)row\b(?P<head>[^>]*?)(?:/>|>(?P<body>.*?)</(?P=p)row>)", re.DOTALL)
CELL = re.compile(r"<(?P<p>(?:\w+:)?)c(?=[ />])(?P<head>[^>]*?)(?:/>|>(?P<body>.*?)</(?P=p)c>)", re.DOTALL)
FORMULA = re.compile(r"<(?:\w+:)?f(?P<head>[^>]*?)(?:/>|>.*?</(?:\w+:)?f>)", re.DOTALL)
STYLES, CHAIN, BOOK = "xl/styles.xml", "xl/calcChain.xml", "xl/workbook.xml"
TYPES, LINKS = "[Content_Types].xml", "xl/_rels/workbook.xml.rels"

Parts = dict[str, bytes]


def with_numbers(parts: Parts, sheet: str, values: Mapping[tuple[int, int], float], colour: str) -> Parts:
    """The parts of a workbook with numbers in some cells of a sheet.

    Parameters
    ----------
    parts : dict
        Bytes of each part by its name.
    sheet : str
        Part of the sheet.
    values : mapping
        Numbers by row and column of the sheet, from 1.
    colour : str
        Fill of these cells, as ARGB.

    Returns
    -------
    dict
        Parts; what lists formulas in order of calculation is gone where a formula was overwritten.
    """
    parts = dict(parts)
    styles = Styles(parts.get(STYLES, b"").decode("utf-8"), colour)
    text = parts[sheet].decode("utf-8")
    rows: dict[int, dict[int, float]] = {}
    for (row, column), value in values.items():
        rows.setdefault(row, {})[column] = value
    overwritten: list[str] = []
    number = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal number
        given = attribute(match["head"], "r")
        number = int(given) if given else number + 1
        if number not in rows:
            return match.group()
        body = filled_row(match["body"] or "", number, rows.pop(number), match["p"], styles, overwritten)
        return f"<{match['p']}row{match['head']}>{body}</{match['p']}row>"

    text = ROW.sub(replaced, text)
    if rows:
        raise InputError(sheet, f"row {min(rows)} is not in the sheet", "the rows that were read", "read it again")
    for formula in overwritten:
        group = attribute(formula, "si")
        if group is not None and attribute(formula, "ref") is not None:
            shared = re.compile(rf'<(?:\w+:)?f\b(?=[^>]*\bsi="{group}")[^>]*?(?:/>|>.*?</(?:\w+:)?f>)', re.DOTALL)
            text = shared.sub("", text)
    parts[sheet] = text.encode("utf-8")
    parts[STYLES] = styles.text.encode("utf-8")
    if overwritten:
        drop_chain(parts)
    book = parts[BOOK].decode("utf-8")
    if "fullCalcOnLoad" not in book:
        book = re.sub(r"<((?:\w+:)?calcPr)\b", r'<\1 fullCalcOnLoad="1"', book, count=1)
    parts[BOOK] = book.encode("utf-8")
    return parts


def attribute(head: str, name: str) -> str | None:
    """Value of an attribute in the head of an element."""
    found = re.search(rf'(?<![\w:]){name}="([^"]*)"', head)
    return found.group(1) if found else None


def filled_row(
    body: str, row: int, values: dict[int, float], prefix: str, styles: Styles, overwritten: list[str]
) -> str:
    """Cells of a row, with some replaced or put in at their place."""
    pieces: list[str] = []
    column = 0
    for match in CELL.finditer(body):
        given = attribute(match["head"], "r")
        column = column_of(given) if given else column + 1
        for earlier in sorted(place for place in values if place < column):
            pieces.append(number_cell(row, earlier, values.pop(earlier), prefix, styles.marked(None)))
        if column not in values:
            pieces.append(match.group())
            continue
        formula = FORMULA.search(match["body"] or "")
        if formula:
            overwritten.append(formula["head"])
        style = styles.marked(attribute(match["head"], "s"))
        pieces.append(number_cell(row, column, values.pop(column), prefix, style))
    for place in sorted(values):
        pieces.append(number_cell(row, place, values[place], prefix, styles.marked(None)))
    return "".join(pieces)


def column_of(reference: str) -> int:
    """Column of a reference such as AB12, from 1."""
    number = 0
    for letter in reference.rstrip("0123456789"):
        number = 26 * number + ord(letter) - 64
    return number


def number_cell(row: int, column: int, value: float, prefix: str, style: str) -> str:
    """A cell that holds a number."""
    name = ""
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return f'<{prefix}c r="{name}{row}"{style}><{prefix}v>{value!r}</{prefix}v></{prefix}c>'


def drop_chain(parts: Parts) -> None:
    """Take out the list of formulas in order of calculation; a spreadsheet makes it anew."""
    if parts.pop(CHAIN, None) is None:
        return
    for part, pattern in (
        (TYPES, r'<(?:\w+:)?Override\b[^>]*calcChain\.xml"[^>]*/>'),
        (LINKS, r'<(?:\w+:)?Relationship\b[^>]*calcChain\.xml"[^>]*/>'),
    ):
        parts[part] = re.sub(pattern, "", parts[part].decode("utf-8")).encode("utf-8")


class Styles:
    """Styles of a workbook, to which filled ones are added when they are asked for.

    Parameters
    ----------
    text : str
        XML of the styles; may be empty.
    colour : str
        Fill, as ARGB.
    """

    def __init__(self, text: str, colour: str) -> None:
        self.text = text
        self.colour = colour
        self.fill: int | None = None
        self.known: dict[str, str] = {}

    def marked(self, style: str | None) -> str:
        """Attribute of a cell with the style of that number and the fill; empty where the workbook has no styles."""
        key = style or "0"
        if key not in self.known:
            self.known[key] = self.add(int(key))
        return self.known[key]

    def add(self, style: int) -> str:
        """A copy of a style with the fill."""
        formats = self.children("cellXfs", "xf")
        if not formats or style >= len(formats):
            return ""
        if self.fill is None:
            fills = self.children("fills", "fill")
            prefix = self.prefix("cellXfs")
            self.fill = len(fills)
            self.append(
                "fills",
                f'<{prefix}fill><{prefix}patternFill patternType="solid"><{prefix}fgColor rgb="{self.colour}"/>'
                f'<{prefix}bgColor indexed="64"/></{prefix}patternFill></{prefix}fill>',
                self.fill + 1,
            )
        base = formats[style]
        head = re.match(r"<[^>]*?(?=/?>)", base)
        assert head is not None
        opened = re.sub(r'\s(?:fillId|applyFill|quotePrefix)="[^"]*"', "", head.group())
        opened = re.sub(r'(\snumFmtId)="49"', r'\1="0"', opened)  # text becomes general
        self.append("cellXfs", f'{opened} fillId="{self.fill}" applyFill="1"{base[head.end() :]}', len(formats) + 1)
        return f' s="{len(formats)}"'

    def prefix(self, name: str) -> str:
        """Namespace prefix of an element, with its colon."""
        found = re.search(rf"<((?:\w+:)?){name}\b", self.text)
        return found.group(1) if found else ""

    def children(self, parent: str, child: str) -> list[str]:
        """Children of an element as text."""
        found = re.search(rf"<((?:\w+:)?){parent}\b[^>]*>(.*?)</\1{parent}>", self.text, re.DOTALL)
        if found is None:
            return []
        pattern = rf"<((?:\w+:)?){child}\b[^>]*?(?:/>|>.*?</\1{child}>)"
        return [match.group() for match in re.finditer(pattern, found.group(2), re.DOTALL)]

    def append(self, parent: str, child: str, count: int) -> None:
        """Put a child behind the others and correct their count."""
        self.text = re.sub(rf"(</(?:\w+:)?{parent}>)", lambda match: child + match.group(), self.text, count=1)
        self.text = re.sub(rf'(<(?:\w+:)?{parent}\b[^>]*?\bcount=")\d+(")', rf"\g<1>{count}\2", self.text, count=1)
